//! What is still missing: who is asked for it, and when.
//!
//! Rule: a root fetches its runs as soon as it knows the object; a child waits for its parent, then
//! asks a neighbour that has the object; and from `fallback_at` on the origin is asked, whatever
//! else goes on.

use crate::chunk_set::skip_first;
use crate::engine::Engine;
use crate::feed::Parent;
use crate::object::{Asked, Cell, Object};
use crate::origin::fallback_at;
use crate::output::{FallbackReason, Output};
use alloc::vec::Vec;
use core::time::Duration;
use shoal_wire::tracker_message::LostReason;
use shoal_wire::{
    ChunkRange, ClientMessage, Instant, ObjectId, PeerId, PeerMessage, RenditionId, Substream,
};

/// Silent runs in a row after which the tracker hears of a parent.
const SILENT_IN_ROW_MAX: u32 = 2;
/// A link takes this long to open: what depends on it is not repaired before.
const LINK_OPENING: Duration = Duration::from_millis(1500);
/// A parent from which nothing came for this long is not busy.
const SILENCE_MIN: Duration = Duration::from_secs(1);
/// A peer with so many below it in a substream does not wait for others.
const RESCUED_WEIGHT_MIN: u16 = 2;
/// With so many below it in a substream, a peer whose parent there is gone waits for the next one no
/// longer than a subscription over an open link takes.
const ORPHAN_WEIGHT_MIN: u16 = 16;
const ORPHAN_WAIT: Duration = Duration::from_millis(200);
/// A parent that brought something so lately is sending: the first chunks that lack are under way.
const SENDING: Duration = Duration::from_millis(600);
/// How many are: what waits in a transport.
const UNDER_WAY: u32 = 2;
/// Time between two looks at a run of which a busy parent lacks the time to send all.
const BUSY_WAIT: Duration = Duration::from_millis(250);
/// Time between two looks for a neighbour that has what is missing.
const STARVED_WAIT: Duration = Duration::from_millis(250);

impl Engine {
    pub(crate) fn is_requested(&self, id: &ObjectId) -> bool {
        self.requests.values().any(|request| request.object == *id)
    }

    pub(crate) fn is_wanted(&self, id: &ObjectId) -> bool {
        self.renditions.get(&id.rendition).is_some_and(|r| r.wants(id)) || self.is_requested(id)
    }

    /// Whether peers may bring anything of this rendition.
    pub(crate) fn peers_may_help(&self, rendition: RenditionId) -> bool {
        self.uses_peers()
            && (!self.session.is_lost() || !self.neighbours.is_empty())
            && self
                .renditions
                .get(&rendition)
                .is_some_and(|r| r.is_fed_by_peers() || !self.neighbours.is_empty())
    }

    /// When the origin is to be asked for what is missing.
    pub(crate) fn fallback_due(&self, id: &ObjectId, object: &Object) -> Option<Instant> {
        let may_help = self.peers_may_help(id.rendition);
        if self.is_on_demand(id.rendition) && !may_help && !self.is_requested(id) {
            return None;
        }
        if object.direct && self.is_requested(id) || !may_help {
            return Some(Instant::ZERO);
        }
        let rendition = self.renditions.get(&id.rendition)?;
        let bytes = match &object.digest {
            Some(digest) => object.missing.saturating_mul(digest.chunk_size),
            None => rendition.segment_bytes,
        };
        if rendition.demand.is_some() {
            return self.demand_fallback_due(id, object, rendition, bytes.into());
        }
        let expected = rendition.expected_need(id, object.known_at);
        let deadline = object.deadline.into_iter().chain(expected).min()?;
        let lead = self.origin.expected(bytes.into(), &self.config);
        Some(fallback_at(deadline, lead, object.jitter_percent, &self.config))
    }

    /// When `consider` is to be called for an object, as far as time alone decides.
    pub(crate) fn due(&self, id: &ObjectId, object: &Object) -> Option<Instant> {
        if object.is_complete() || !self.is_wanted(id) {
            return None;
        }
        let hedge = self.origin.hedge_at(id, &self.config);
        if object.digest.is_none() {
            let idle = object.raw_fetch.is_none() && self.is_requested(id);
            let fetch = self.fallback_due(id, object).filter(|_| idle);
            let fetch = fetch.map(|at| at.max(object.origin_at));
            return fetch.into_iter().chain(hedge).min();
        }
        let not_at_origin =
            |cell: &Cell| matches!(cell, Cell::Missing | Cell::Asked(Asked::Peer(_)));
        let fallback = object.cells.iter().any(not_at_origin);
        let fallback = self.fallback_due(id, object).filter(|_| fallback);
        let is_on_demand = self.is_on_demand(id.rendition);
        let runs = (0u8..).zip(&object.runs).filter(|(k, run)| {
            let lacks = |chunk| object.cells.get(chunk as usize).is_some_and(not_at_origin);
            !is_on_demand && !run.complete && object.run_chunks(Substream(*k)).indices().any(lacks)
        });
        let repair = runs.map(|(_, run)| run.repair_at).min();
        let fallback = fallback.map(|at| at.max(object.origin_at));
        fallback.into_iter().chain(repair).chain(hedge).min()
    }

    pub(crate) fn consider_all(&mut self, now: Instant) {
        for id in self.store.incomplete() {
            self.consider(id, now);
        }
    }

    /// Asks for what is missing of an object, where it is time to.
    pub(crate) fn consider(&mut self, id: ObjectId, now: Instant) {
        self.hedge(id, now);
        let Some(object) = self.store.object(&id) else {
            return;
        };
        if object.is_complete() || !self.is_wanted(&id) {
            return;
        }
        let overdue = self.fallback_due(&id, object).is_some_and(|at| at <= now);
        let in_turn = object.origin_at <= now;
        if object.digest.is_none() {
            if in_turn && overdue && object.raw_fetch.is_none() && self.is_requested(&id) {
                self.fetch_undigested(id, now);
            }
            return;
        }
        let behind = in_turn && self.is_behind(&id, now);
        let in_turn = in_turn && !behind;
        if overdue && in_turn {
            self.fall_back(id, now);
            return;
        }
        if self.is_on_demand(id.rendition) {
            // What lacks is asked of peers all the time.
            self.put_off(id, behind, now);
            return;
        }
        if behind && let Some(object) = self.store.object_mut(&id) {
            object.origin_at = now + BUSY_WAIT;
        }
        if in_turn {
            self.fetch_as_root(id, now);
        }
        for k in 0..self.store.object(&id).map_or(0, |o| o.runs.len()) {
            self.repair_run(id, Substream(u8::try_from(k).unwrap_or(u8::MAX)), in_turn, now);
        }
    }

    /// An on-demand object that is overdue waits for one before it.
    fn put_off(&mut self, id: ObjectId, behind: bool, now: Instant) {
        if behind && let Some(object) = self.store.object_mut(&id) {
            object.origin_at = now + BUSY_WAIT;
        }
    }

    /// What a silent fetch was to bring is missing again; its answer still counts if it comes.
    fn hedge(&mut self, id: ObjectId, now: Instant) {
        for fetch in self.origin.take_silent(&id, &self.config, now) {
            let Some(object) = self.store.object_mut(&id) else { return };
            object.release(Asked::Origin(fetch));
            if object.raw_fetch == Some(fetch) {
                object.raw_fetch = None;
            }
        }
    }

    fn fetch_undigested(&mut self, id: ObjectId, now: Instant) {
        if self.origin_is_busy(id, now) {
            return;
        }
        let fetch = self.origin.open(id, None, now);
        if let Some(object) = self.store.object_mut(&id) {
            object.raw_fetch = Some(fetch);
        }
        self.push(Output::OriginFetch { fetch, object: id, range: None });
    }

    fn fall_back(&mut self, id: ObjectId, now: Instant) {
        let Some(object) = self.store.object(&id) else {
            return;
        };
        let open = |_, cell: &Cell| matches!(cell, Cell::Missing | Cell::Asked(Asked::Peer(_)));
        let ranges = object.ranges(object.all(), open);
        let asked: Vec<PeerId> =
            object.all().indices().filter_map(|c| object.asked_peer(c)).collect();
        // What nobody has is not what peers should have brought.
        let is_expected = !self.is_on_demand(id.rendition) || self.is_held_near(&id);
        let counts = !object.direct && !object.fell_back && !ranges.is_empty() && is_expected;
        let helped = self.peers_may_help(id.rendition);
        // What peers send of it counts for as long as the origin does not answer.
        let answers = object.failures == 0;
        for chunks in &ranges {
            self.fetch_chunks(id, *chunks, now);
            if helped && answers {
                self.cancel_at_parents(id, *chunks, &asked);
            }
        }
        if let Some(object) = self.store.object_mut(&id)
            && counts
        {
            object.fell_back = true;
            let fed = self.renditions.get(&id.rendition).is_some_and(|r| r.is_fed_by_peers());
            // The only viewer is a root of everything: nothing fell back.
            if helped || self.session.is_lost() || !self.uses_peers() || fed {
                let deadline = FallbackReason::Deadline;
                self.fell_back(id, if helped { deadline } else { FallbackReason::NoPeers });
            }
        }
    }

    fn cancel_at_parents(&mut self, object: ObjectId, chunks: ChunkRange, asked: &[PeerId]) {
        let peers: Vec<PeerId> = self.neighbours.keys().copied().collect();
        let Some(rendition) = self.renditions.get(&object.rendition) else {
            return;
        };
        let feeding = |peer: &PeerId| !rendition.fed_by(*peer).is_empty() || asked.contains(peer);
        let feeding: Vec<PeerId> = peers.into_iter().filter(feeding).collect();
        for peer in feeding {
            self.tell(peer, PeerMessage::Cancel { object, chunks });
        }
    }

    /// Looks after a run that is late; `in_turn` if the origin may be asked for it.
    fn repair_run(&mut self, id: ObjectId, k: Substream, in_turn: bool, now: Instant) {
        let Some(object) = self.store.object_mut(&id) else {
            return;
        };
        let chunks = object.run_chunks(k);
        let Some(run) = object.runs.get_mut(usize::from(k.0)) else {
            return;
        };
        if run.complete || run.repair_at > now {
            return;
        }
        let state = self.renditions.get(&id.rendition);
        // Children take turns: one may hear nothing of a whole segment.
        let silence = state.map_or(SILENCE_MIN, |state| SILENCE_MIN.max(state.segment_len * 2));
        let busy = state.and_then(|state| state.feed(k)).is_some_and(|feed| {
            matches!(feed.current, Parent::Peer(_)) && now - feed.heard_at < silence
        });
        if in_turn && self.descendants(id.rendition, k) >= RESCUED_WEIGHT_MIN {
            self.rescue(id, k, now);
            return;
        }
        let Some(object) = self.store.object_mut(&id) else {
            return;
        };
        let Some(run) = object.runs.get_mut(usize::from(k.0)) else {
            return;
        };
        if busy && !run.ended {
            // It sends what it can: to ask elsewhere would only move the load.
            run.repair_at = now + BUSY_WAIT;
            return;
        }
        // Whoever was asked before had its time.
        for asked in chunks.indices().filter_map(|c| object.asked_peer(c)).collect::<Vec<_>>() {
            object.release(Asked::Peer(asked));
        }
        let missing = object.ranges(chunks, |_, cell| matches!(cell, Cell::Missing));
        if missing.is_empty() {
            return;
        }
        let lacks = missing.iter().map(|range| range.count).sum::<u32>();
        // A parent that brought more than a quarter is busy, not broken.
        let silent = lacks * 4 > chunks.count * 3;
        self.note_repair(id, k, silent);
        match self.repair_source(&id, now) {
            Some(peer) => self.pull(id, k, peer, &missing, now),
            None => self.starve(id, k, &missing, in_turn, now),
        }
    }

    /// Others wait for what lacks here: one copy from the origin now spares it many later.
    fn rescue(&mut self, id: ObjectId, k: Substream, now: Instant) {
        let Some(object) = self.store.object_mut(&id) else {
            return;
        };
        let open = |_, cell: &Cell| matches!(cell, Cell::Missing | Cell::Asked(Asked::Peer(_)));
        let mut missing = object.ranges(object.run_chunks(k), open);
        let lacks = missing.iter().map(|range| range.count).sum::<u32>();
        let silent = lacks * 4 > object.run_chunks(k).count * 3;
        if let Some(run) = object.runs.get_mut(usize::from(k.0)) {
            run.repair_at = now + BUSY_WAIT;
            if now - run.heard_at < SENDING {
                skip_first(&mut missing, UNDER_WAY);
            }
        }
        if missing.is_empty() {
            return;
        }
        self.note_repair(id, k, silent);
        let parent = self.renditions.get(&id.rendition).and_then(|r| r.feed(k)?.current.peer());
        for chunks in missing {
            self.fetch_chunks(id, chunks, now);
            if let Some(parent) = parent {
                self.tell(parent, PeerMessage::Cancel { object: id, chunks });
            }
        }
        self.fell_back(id, FallbackReason::NoSource);
    }

    fn note_repair(&mut self, id: ObjectId, k: Substream, silent: bool) {
        let Some(run) = self.store.object_mut(&id).and_then(|o| o.runs.get_mut(usize::from(k.0)))
        else {
            return;
        };
        run.repairs += 1;
        let first = !core::mem::replace(&mut run.told_late, true);
        if run.repairs > 1 {
            return;
        }
        if first {
            self.tell_late(id, k);
        }
        self.suspect_parent(id, k, silent);
    }

    /// Complains of a parent that brings next to nothing, run after run. Of a run it is judged when
    /// the next one needs repair: until then it may say that it lacks it itself.
    fn suspect_parent(&mut self, id: ObjectId, k: Substream, silent: bool) {
        let Some(feed) = self.renditions.get_mut(&id.rendition).and_then(|r| r.feed_mut(k)) else {
            return;
        };
        feed.note_repaired();
        let suspect = core::mem::replace(&mut feed.suspect, silent.then_some(id));
        let run = suspect.and_then(|id| self.store.object(&id)?.runs.get(usize::from(k.0)));
        if run.is_none_or(|run| run.parent_late) {
            feed.silent_in_row = 0;
            return;
        }
        feed.silent_in_row += 1;
        if let Parent::Peer(parent) = feed.current
            && feed.silent_in_row >= SILENT_IN_ROW_MAX
        {
            feed.silent_in_row = 0;
            let (rendition, parent, reason) = (id.rendition, Some(parent), LostReason::Late);
            self.tell_server(ClientMessage::Lost { rendition, substream: k, parent, reason });
        }
    }

    /// The neighbour to pull from: it has the whole object, drains, and was asked for least. While
    /// the origin gives nothing of it, those that refused are asked again after a while.
    fn repair_source(&mut self, id: &ObjectId, now: Instant) -> Option<PeerId> {
        let fails = self.store.object(id).is_some_and(|object| object.failures > 0);
        let now_able = |n: &crate::neighbour::Neighbour| {
            n.has_all(id) || fails && n.says_it_has_all(id) && n.pull.has_rested(now)
        };
        let least =
            self.neighbours.values().filter(|n| now_able(n)).map(|n| n.asked_chunks).min()?;
        let able: Vec<PeerId> = self
            .neighbours
            .iter()
            .filter(|(_, n)| now_able(n) && n.asked_chunks == least)
            .map(|(peer, _)| *peer)
            .collect();
        let pick = self.random(u32::try_from(able.len()).unwrap_or(1));
        able.get(pick as usize).copied()
    }

    fn pull(
        &mut self,
        id: ObjectId,
        k: Substream,
        peer: PeerId,
        missing: &[ChunkRange],
        now: Instant,
    ) {
        let Some(object) = self.store.object_mut(&id) else {
            return;
        };
        let Some(neighbour) = self.neighbours.get_mut(&peer) else {
            return;
        };
        let mut asked = 0;
        for chunks in missing {
            object.mark_asked(*chunks, Asked::Peer(peer));
            asked += chunks.count;
        }
        neighbour.asked_chunks += asked;
        let wait = neighbour.round_trip() * 2 + self.config.repair_wait_min;
        // At the slowest useful rate, 1 Mbit/s, a chunk of 16 KiB takes 131 ms.
        let transfer = Duration::from_millis(u64::from(asked) * 130);
        if let Some(run) = object.runs.get_mut(usize::from(k.0)) {
            run.repair_at = now + wait + transfer.min(Duration::from_secs(1));
            run.starved = false;
        }
        let parent = self.renditions.get(&id.rendition).and_then(|r| r.feed(k)?.current.peer());
        for chunks in missing {
            let chunks = *chunks;
            self.tell(peer, PeerMessage::Fetch { object: id, chunks });
            // The parent may only be slow: without this, its chunks would come as well.
            if let Some(parent) = parent.filter(|parent| *parent != peer) {
                self.tell(parent, PeerMessage::Cancel { object: id, chunks });
            }
        }
    }

    /// The parent of a run delivers: what follows gets its usual time.
    pub(crate) fn note_progress(&mut self, id: ObjectId, k: Substream, from: PeerId, now: Instant) {
        let feed = self.renditions.get_mut(&id.rendition).and_then(|r| r.feed_mut(k));
        let Some(feed) = feed.filter(|feed| feed.current == Parent::Peer(from)) else { return };
        feed.heard_at = now;
        let round_trip = self.neighbours.get(&from).map(crate::neighbour::Neighbour::round_trip);
        let wait = feed.lag + round_trip.unwrap_or_default() * 2 + self.config.repair_wait_min;
        let inner = self.descendants(id.rendition, k) >= RESCUED_WEIGHT_MIN;
        let Some(object) = self.store.object_mut(&id) else { return };
        if let Some(run) = object.runs.get_mut(usize::from(k.0)) {
            // Where others wait for it, what lacks is not waited for much longer.
            if !inner {
                run.repair_at = run.repair_at.max(now + wait);
            }
            run.heard_at = now;
        }
    }

    /// The origin failed to give what is missing: neighbours are asked for it, those that have all
    /// of it, or else the parents, which may have some of it and pass on the rest when it comes.
    pub(crate) fn ask_peers(&mut self, id: ObjectId, now: Instant) {
        let runs = self.store.object(&id).map_or(0, |object| object.runs.len());
        for k in (0..runs).map(|k| Substream(u8::try_from(k).unwrap_or(u8::MAX))) {
            let Some(object) = self.store.object(&id) else { return };
            let missing =
                object.ranges(object.run_chunks(k), |_, cell| matches!(cell, Cell::Missing));
            if missing.is_empty() {
                continue;
            }
            let parent = self.renditions.get(&id.rendition).and_then(|r| r.feed(k)?.current.peer());
            // Once asked, it passes on what it gets.
            let first = object.failures <= 1;
            let parent = parent.filter(|parent| first && self.neighbours.contains_key(parent));
            if let Some(peer) = self.repair_source(&id, now).or(parent) {
                self.pull(id, k, peer, &missing, now);
            }
        }
    }

    /// Nobody has it: a root asks the origin, a child waits for the next that completes it.
    fn starve(
        &mut self,
        id: ObjectId,
        k: Substream,
        missing: &[ChunkRange],
        in_turn: bool,
        now: Instant,
    ) {
        let feed = self.renditions.get(&id.rendition).and_then(|r| r.feed(k));
        let is_root = feed.is_some_and(|feed| feed.current == Parent::Origin);
        if let Some(run) = self.store.object_mut(&id).and_then(|o| o.runs.get_mut(usize::from(k.0)))
        {
            run.starved = true;
            run.repair_at = now + STARVED_WAIT;
        }
        if is_root && in_turn {
            for chunks in missing {
                self.fetch_chunks(id, *chunks, now);
            }
            self.fell_back(id, FallbackReason::NoSource);
        }
    }

    /// When the run of a new object is repaired, if it has not come by then: after its usual time,
    /// and not before half of the time is over in which peers may bring it. Early repair only moves
    /// load from one uplink to another, unless many wait for a peer that has no parent.
    pub(crate) fn first_repair_at(&self, id: &ObjectId, k: Substream, now: Instant) -> Instant {
        if self.is_heavy_orphan(id.rendition, k) {
            return now + ORPHAN_WAIT;
        }
        let usual = self.usual_repair_at(id.rendition, k, now);
        let rendition = self.renditions.get(&id.rendition);
        let is_root =
            rendition.and_then(|r| r.feed(k)).is_some_and(|feed| feed.current == Parent::Origin);
        let expected = rendition.and_then(|r| r.expected_need(id, now));
        let asked = self.store.object(id).and_then(|object| object.deadline);
        let Some(deadline) = expected.into_iter().chain(asked).min().filter(|_| !is_root) else {
            return usual;
        };
        let patience = (deadline - now).saturating_sub(self.config.fallback_lead_min) / 2;
        usual.max(now + patience)
    }

    fn is_heavy_orphan(&self, rendition: RenditionId, k: Substream) -> bool {
        let feed = self.renditions.get(&rendition).and_then(|r| r.feed(k));
        let is_orphan = feed.is_some_and(|feed| match feed.current {
            Parent::Nobody => true,
            Parent::Origin => false,
            Parent::Peer(parent) => !self.neighbours.contains_key(&parent),
        });
        is_orphan && self.descendants(rendition, k) >= ORPHAN_WEIGHT_MIN
    }

    fn usual_repair_at(&self, rendition: RenditionId, k: Substream, now: Instant) -> Instant {
        let feed = self.renditions.get(&rendition).and_then(|r| r.feed(k));
        let Some(feed) = feed else {
            return now + LINK_OPENING;
        };
        let round_trip = feed
            .current
            .peer()
            .and_then(|peer| self.neighbours.get(&peer))
            .map(crate::neighbour::Neighbour::round_trip);
        match (feed.current, round_trip) {
            (Parent::Peer(_), Some(rtt)) => {
                now + feed.lag * 2 + rtt * 2 + self.config.repair_wait_min
            }
            (Parent::Origin, _) => now + self.config.repair_wait_min,
            (Parent::Peer(_) | Parent::Nobody, _) => now + LINK_OPENING,
        }
    }

    /// The parent of this run is gone: repair at once.
    pub(crate) fn hasten_repair(&mut self, rendition: RenditionId, k: Substream, now: Instant) {
        for id in self.store.incomplete() {
            if id.rendition == rendition
                && let Some(object) = self.store.object_mut(&id)
                && let Some(run) = object.runs.get_mut(usize::from(k.0))
            {
                run.repair_at = run.repair_at.min(now);
            }
        }
    }

    /// A new parent serves from `from` on: give it time.
    pub(crate) fn delay_repair(&mut self, k: Substream, from: ObjectId, now: Instant) {
        for id in self.store.incomplete() {
            let at = self.first_repair_at(&id, k, now);
            if id >= from
                && id.rendition == from.rendition
                && let Some(object) = self.store.object_mut(&id)
                && let Some(run) = object.runs.get_mut(usize::from(k.0))
            {
                run.repair_at = at;
            }
        }
    }
}
