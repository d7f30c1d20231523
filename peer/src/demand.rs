//! A rendition that is played on demand, or far behind the live edge: where the player is, what is
//! held, who has what comes next.
//!
//! Rule: what peers may bring is waited for as long as its deadline allows, but nobody waits for
//! what no peer has: the origin is asked for that at once, or, where another viewer that is linked
//! needs it sooner, when little time is left. Nothing is asked of the origin that no player
//! asked for. Whether a rendition is played so is the server's word: sources instead of a plan.

use crate::engine::Engine;
use crate::feed::Rendition;
use crate::object::{Asked, Object};
use crate::origin::fallback_at;
use alloc::vec::Vec;
use core::time::Duration;
use shoal_wire::peer_message::Holding;
use shoal_wire::tracker_message::{AHEAD_MAX, HELD_RUNS_MAX, MsnRun, Source};
use shoal_wire::{ClientMessage, Epoch, Instant, ObjectId, Part, PeerId, PeerMessage, RenditionId};

/// Time between two positions that are told.
const TELL_INTERVAL: Duration = Duration::from_secs(4);
/// The same for the first after a start or a seek, when there is something to give at once.
const TELL_INTERVAL_FIRST: Duration = Duration::from_secs(1);
/// The same while a player jumps about.
const TELL_INTERVAL_MIN: Duration = Duration::from_millis(500);
/// The server's answer is waited for no longer.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// Media ahead of the playhead that is fetched from peers.
const READ_AHEAD: Duration = Duration::from_secs(30);
/// Segments beyond what the player asked for that are fetched, whatever it has.
const READ_AHEAD_MIN: u64 = 2;
/// With less than this left, what nobody has yet is not waited for.
const SLACK_MIN: Duration = Duration::from_secs(3);
/// The origin is asked at least so long before the deadline: the other segments that the player
/// waits for come from there one after another as well.
const LEAD_MIN: Duration = Duration::from_secs(1);

/// What was told of a rendition.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    front: ObjectId,
    held: Vec<MsnRun>,
}

/// A rendition that is played on demand.
#[derive(Debug, Default)]
pub(crate) struct Demand {
    /// The segment that a player asked for last.
    front: Option<ObjectId>,
    /// One past the last segment that is wanted.
    end: u64,
    told: Option<Told>,
    told_at: Option<Instant>,
    /// Nothing is told before.
    tell_at: Instant,
    /// The first segment that lacked then.
    told_next: u64,
    /// Whether the server knows where this viewer is and has said who has what it needs.
    answered: bool,
    epoch: Epoch,
    sources: Vec<Source>,
}

impl Demand {
    fn at(front: Option<ObjectId>) -> Self {
        Self { front, end: front.map_or(0, |front| front.msn + 1), ..Self::default() }
    }

    /// Whether `object` is to be fetched from peers, asked for or not.
    pub(crate) fn wants(&self, object: &ObjectId) -> bool {
        self.front.is_some_and(|front| {
            let is_near = (front.msn..self.end).contains(&object.msn);
            is_near && object.epoch == front.epoch && object.part == Part::WHOLE
        })
    }

    /// What is wanted, in playout order.
    pub(crate) fn window(&self) -> impl Iterator<Item = ObjectId> + use<> {
        let end = self.end;
        self.front.into_iter().flat_map(move |front| {
            (front.msn..end).map(move |msn| ObjectId { msn, part: Part::WHOLE, ..front })
        })
    }

    /// Whoever lacks it as well and needs it sooner, or as soon: of those one goes first.
    fn leaders(&self, object: &ObjectId, me: Option<PeerId>) -> impl Iterator<Item = PeerId> + '_ {
        let (msn, own) = (object.msn, self.told_next);
        let is_same = self.epoch == object.epoch;
        let leads = move |source: &&Source| {
            let is_ahead = source.next > own || source.next == own && Some(source.peer) < me;
            is_same && is_ahead && source.next <= msn
        };
        self.sources.iter().filter(leads).map(|source| source.peer)
    }

    fn named(&self, object: &ObjectId) -> impl Iterator<Item = PeerId> + '_ {
        let (epoch, msn) = (object.epoch, object.msn);
        let has = move |runs: &[MsnRun]| runs.iter().any(|run| run.first <= msn && msn < run.end());
        let named =
            self.sources.iter().filter(move |source| self.epoch == epoch && has(&source.runs));
        named.map(|source| source.peer)
    }
}

impl Rendition {
    /// The newest segment that a player asked for.
    pub(crate) fn front(&self) -> Option<ObjectId> {
        self.demand.as_ref().and_then(|demand| demand.front).or(self.asked_last)
    }
}

impl Engine {
    pub(crate) fn is_on_demand(&self, rendition: RenditionId) -> bool {
        self.renditions.get(&rendition).is_some_and(|state| state.demand.is_some())
    }

    /// Nobody feeds this rendition any more: it is fetched from whoever the server names.
    pub(crate) fn begin_demand(&mut self, rendition: RenditionId) {
        let Some(state) = self.renditions.get_mut(&rendition) else { return };
        if state.demand.is_some() || state.first.is_none() {
            return;
        }
        state.demand = Some(Demand::at(state.asked_last.or(state.first)));
        state.feeds.clear();
        self.timers.demand_stale = true;
        let peers: Vec<_> = self.neighbours.keys().copied().collect();
        for peer in peers {
            self.tell(peer, PeerMessage::Forget { rendition });
        }
    }

    /// The server has a plan for this rendition: it is live again.
    pub(crate) fn end_demand(&mut self, rendition: RenditionId) {
        let Some(state) = self.renditions.get_mut(&rendition) else { return };
        if let Some(demand) = state.demand.take() {
            state.first = demand.front.or(state.first);
        }
    }

    /// The server does not know any more where this viewer is.
    pub(crate) fn forget_told(&mut self) {
        for (_, state) in self.renditions.iter_mut() {
            if let Some(demand) = &mut state.demand {
                (demand.told, demand.told_at, demand.answered) = (None, None, false);
                demand.tell_at = Instant::ZERO;
                self.timers.demand_stale = true;
            }
        }
    }

    /// A player asked for `object`.
    pub(crate) fn note_front(&mut self, object: ObjectId, now: Instant) {
        let state = self.rendition_mut(object.rendition);
        state.asked_last = Some(object);
        let Some(demand) = &mut state.demand else {
            self.tell_shift(object, now);
            return;
        };
        let is_seek = !demand.wants(&object) && demand.end != object.msn;
        demand.front = Some(object);
        if is_seek {
            demand.answered = false;
            demand.tell_at = demand.told_at.map_or(now, |at| at + TELL_INTERVAL_MIN);
        }
        self.widen(object.rendition, now);
        if is_seek {
            self.release_unwanted(object.rendition);
        }
        self.timers.demand_stale = true;
    }

    /// A player in the trees asked for something far behind the live edge: the server is to know.
    fn tell_shift(&mut self, object: ObjectId, now: Instant) {
        let shift_min = self.config.shift_min;
        let state = self.rendition_mut(object.rendition);
        let behind = state.newest.map_or(0, |newest| newest.msn.saturating_sub(object.msn));
        let behind = state.segment_len.saturating_mul(u32::try_from(behind).unwrap_or(u32::MAX));
        let is_told = state.shift_told_at.is_some_and(|at| now - at < TELL_INTERVAL);
        if behind > shift_min && !is_told {
            state.shift_told_at = Some(now);
            let held = self.held(object);
            self.send_position(object, held);
        }
    }

    /// Says where the player is; the first segment that lacks.
    fn send_position(&mut self, front: ObjectId, held: Vec<MsnRun>) -> u64 {
        let state = self.renditions.get(&front.rendition);
        let len = state.map_or(Duration::ZERO, |state| state.segment_len);
        let ahead = READ_AHEAD.as_millis() / len.as_millis().max(1);
        let ahead = u8::try_from(ahead).unwrap_or(u8::MAX).clamp(4, AHEAD_MAX);
        let lacks = |run: &&MsnRun| run.first <= front.msn && front.msn < run.end();
        let msn = held.iter().find(lacks).map_or(front.msn, |run| run.end());
        let (rendition, epoch) = (front.rendition, front.epoch);
        self.tell_server(ClientMessage::Position { rendition, epoch, msn, ahead, held });
        msn
    }

    /// What is here, whole and verified, of the epoch of `front`: the longest runs if they are many.
    fn held(&self, front: ObjectId) -> Vec<MsnRun> {
        let mut runs: Vec<MsnRun> = Vec::new();
        if !self.may_serve() {
            return runs;
        }
        let first = ObjectId { msn: 0, part: Part(0), ..front };
        let same = self.store.from(first).take_while(|(id, _)| id.epoch == front.epoch);
        let whole = same.filter(|(id, object)| id.part == Part::WHOLE && object.is_shareable());
        for (id, _) in whole {
            match runs.last_mut().filter(|run| run.end() == id.msn) {
                Some(run) => run.count += 1,
                None => runs.push(MsnRun { first: id.msn, count: 1 }),
            }
        }
        if runs.len() > HELD_RUNS_MAX {
            runs.sort_unstable_by_key(|run| core::cmp::Reverse((run.count, run.first)));
            runs.truncate(HELD_RUNS_MAX);
            runs.sort_unstable_by_key(|run| run.first);
        }
        runs
    }

    /// Says where the player is and what is here, where it is time to and it has changed.
    pub(crate) fn tell_positions(&mut self, now: Instant) {
        if !self.tells_positions() {
            return;
        }
        let due = |state: &Rendition| {
            let is_due = state.demand.as_ref()?.tell_at <= now;
            is_due.then(|| state.front())?
        };
        let fronts: Vec<ObjectId> = self.renditions.values().filter_map(due).collect();
        for front in fronts {
            self.widen(front.rendition, now);
            let told = Told { front, held: self.held(front) };
            let Some(demand) = self.rendition_mut(front.rendition).demand.as_mut() else {
                continue;
            };
            let wait = if demand.answered { TELL_INTERVAL } else { TELL_INTERVAL_FIRST };
            demand.tell_at = now + wait;
            if demand.told.as_ref() == Some(&told) {
                continue;
            }
            demand.told_at = Some(now);
            let held = told.held.clone();
            demand.told = Some(told);
            let next = self.send_position(front, held);
            if let Some(demand) = self.rendition_mut(front.rendition).demand.as_mut() {
                demand.told_next = next;
            }
        }
    }

    /// When the next position is to be told.
    pub(crate) fn positions_due(&self) -> Option<Instant> {
        let demands = self.renditions.values().filter_map(|state| state.demand.as_ref());
        demands.map(|demand| demand.tell_at).min().filter(|_| self.tells_positions())
    }

    fn tells_positions(&self) -> bool {
        self.session.is_welcome() && self.uses_peers()
    }

    /// How far ahead is fetched: what the player lacks to have enough, as far as there is room.
    fn widen(&mut self, rendition: RenditionId, now: Instant) {
        let bytes_max = self.config.on_demand_bytes_max;
        let Some(state) = self.renditions.get_mut(&rendition) else { return };
        let lacks = READ_AHEAD.saturating_sub(state.clocks.buffered(now));
        let lacks = lacks.as_millis() / state.segment_len.as_millis().max(1);
        let room = bytes_max as u64 / 4 / u64::from(state.segment_bytes.max(1));
        let ahead =
            u64::try_from(lacks).unwrap_or(u64::MAX).clamp(READ_AHEAD_MIN, AHEAD_MAX.into());
        let Some(demand) = &mut state.demand else { return };
        if let Some(front) = demand.front {
            demand.end = front.msn.saturating_add(1).saturating_add(ahead.min(room));
        }
    }

    /// What was asked of peers and is not wanted any more is not to come.
    fn release_unwanted(&mut self, rendition: RenditionId) {
        for id in self.store.incomplete() {
            if id.rendition != rendition || self.is_wanted(&id) {
                continue;
            }
            let Some(object) = self.store.object(&id) else { continue };
            let mut asked: Vec<PeerId> =
                object.all().indices().filter_map(|chunk| object.asked_peer(chunk)).collect();
            asked.sort_unstable();
            asked.dedup();
            for peer in asked {
                self.take_back(id, peer);
            }
        }
    }

    /// Asks a peer no longer for what lacks of an object.
    pub(crate) fn take_back(&mut self, id: ObjectId, peer: PeerId) {
        let Some(object) = self.store.object_mut(&id) else { return };
        let theirs = object.ranges(object.all(), |_, cell| {
            matches!(cell, crate::object::Cell::Asked(Asked::Peer(asked)) if *asked == peer)
        });
        object.release(Asked::Peer(peer));
        for chunks in theirs {
            self.tell(peer, PeerMessage::Cancel { object: id, chunks });
        }
    }

    /// The server says who has what comes next.
    pub(crate) fn on_sources(
        &mut self,
        rendition: RenditionId,
        epoch: Epoch,
        sources: Vec<Source>,
        now: Instant,
    ) {
        self.begin_demand(rendition);
        let Some(demand) = self.renditions.get_mut(&rendition).and_then(|r| r.demand.as_mut())
        else {
            return;
        };
        demand.answered = demand.told.is_some();
        (demand.epoch, demand.sources) = (epoch, sources);
        let linked: Vec<PeerId> = demand.sources.iter().map(|source| source.peer).collect();
        for peer in linked {
            self.note_source(peer);
        }
        self.timers.demand_stale = true;
        self.consider_all(now);
    }

    /// Believes of a neighbour what the server says that it has.
    pub(crate) fn note_source(&mut self, peer: PeerId) {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        for (rendition, state) in self.renditions.iter() {
            let Some(demand) = &state.demand else { continue };
            let own = demand.sources.iter().filter(|source| source.peer == peer);
            for run in own.flat_map(|source| &source.runs) {
                for msn in run.first..run.end().min(run.first.saturating_add(AHEAD_MAX.into())) {
                    let object = ObjectId::segment(*rendition, demand.epoch, msn);
                    neighbour.note_holding(object, Holding::Complete);
                    self.timers.demand_stale = true;
                }
            }
        }
    }

    /// When the origin is to be asked for an object of a rendition that is played on demand.
    pub(crate) fn demand_fallback_due(
        &self,
        id: &ObjectId,
        object: &Object,
        state: &Rendition,
        bytes: u64,
    ) -> Option<Instant> {
        let demand = state.demand.as_ref()?;
        let deadline = object.deadline.filter(|_| self.is_requested(id))?;
        let deadline =
            deadline.saturating_sub(LEAD_MIN.saturating_sub(self.config.fallback_lead_min));
        let lead = self.origin.expected(bytes, &self.config);
        let at = fallback_at(deadline, lead, object.jitter_percent, &self.config);
        Some(at.min(self.hope_ends(id, object, demand, at)))
    }

    /// Until when somebody may bring it, if the deadline is at `at`.
    fn hope_ends(&self, id: &ObjectId, object: &Object, demand: &Demand, at: Instant) -> Instant {
        let opens = || demand.named(id).any(|peer| self.opening.contains(&peer));
        if self.is_held_near(id) || opens() {
            return Instant::FAR_FUTURE;
        }
        if !demand.answered {
            let asked_at = demand.told_at.filter(|_| demand.told.is_some());
            return asked_at.map_or(Instant::FAR_FUTURE, |at| at + ANSWER_MAX);
        }
        let is_led = demand
            .leaders(id, self.session.me())
            .any(|peer| self.neighbours.contains_key(&peer) || self.opening.contains(&peer));
        let Some(asked_at) = object.asked_at.filter(|_| is_led) else { return Instant::ZERO };
        let slack = (at - asked_at).saturating_sub(SLACK_MIN);
        asked_at + slack * (100 - object.jitter_percent) / 100
    }

    /// Whether a neighbour has all of it.
    pub(crate) fn is_held_near(&self, id: &ObjectId) -> bool {
        self.neighbours.values().any(|neighbour| neighbour.has_all(id))
    }
}
