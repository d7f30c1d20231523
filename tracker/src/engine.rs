//! One stream's tracker: takes what happens, says what to do.
//!
//! Rule: same config, seed and inputs, same outputs. `handle` matches the input and calls one
//! function; it never fails, since whatever a peer says can be answered by planning without it.

use crate::config::Config;
use crate::demand::Position;
use crate::input::{Input, Published};
use crate::links::Down;
use crate::output::Output;
use crate::peers::{PeerIx, SwarmIx, Watch};
use crate::shared::{Core, Counts};
use crate::stamp::Stamp;
use crate::swarm::{Shape, Swarm};
use crate::tree::MemberIx;
use crate::trust::Verdict;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;
use shoal_wire::tracker_message::{LinkState, Report};
use shoal_wire::{BitRate, Instant, PeerId, RenditionId, ShareMode};

/// The scheduler of one stream.
#[derive(Clone, Debug)]
pub struct Tracker {
    pub(crate) core: Core,
    pub(crate) swarms: Vec<Swarm>,
    pub(crate) renditions: BTreeMap<RenditionId, SwarmIx>,
    first_event: Option<Instant>,
    next_tick: Option<Instant>,
}

impl Tracker {
    /// A tracker without peers.
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            core: Core::new(config, seed),
            swarms: Vec::new(),
            renditions: BTreeMap::new(),
            first_event: None,
            next_tick: None,
        }
    }

    /// Takes an event. Outputs are ready afterwards.
    pub fn handle(&mut self, input: Input, now: Instant) {
        let first = *self.first_event.get_or_insert(now);
        self.core.now = Stamp::new(first, now);
        match input {
            Input::Join { peer, profile, edges, neighbours } => {
                self.join(peer, &profile, edges, &neighbours);
            }
            Input::Leave { peer } => self.leave(peer),
            Input::Watch { peer, rendition, msn } => self.watch(peer, rendition, msn),
            Input::Position { peer, rendition, epoch, msn, ahead, held } => {
                self.position(peer, rendition, Position { epoch, msn, ahead, held });
            }
            Input::Unwatch { peer, rendition } => self.unwatch(peer, rendition),
            Input::Share { peer, share, upload_cap } => self.share(peer, share, upload_cap),
            Input::Mapping { peer, mapping } => self.map(peer, mapping),
            Input::Link { peer, other, state, rtt } => self.link(peer, other, state, rtt),
            Input::Lost { peer, rendition, substream, parent, reason } => {
                self.lost(peer, rendition, substream, parent, reason);
            }
            Input::BadChunk { reporter, accused } => self.bad_chunk(reporter, accused),
            Input::Report { peer, report } => self.report(peer, &report),
            Input::Published(published) => self.published(published),
            Input::OnDemand { rendition } => self.end_rendition(rendition),
            Input::Peers { enabled } => self.switch(enabled),
            Input::Tick => self.tick(now),
        }
        self.finish(now);
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.core.take_output()
    }

    /// When to send [`Input::Tick`]; never, while there are no peers.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next_tick
    }

    /// Counts since the start.
    pub fn counts(&self) -> Counts {
        self.core.counts
    }

    /// Sends the plans that changed and re-arms the timer.
    fn finish(&mut self, now: Instant) {
        for swarm in &mut self.swarms {
            swarm.settle_estimates(ESTIMATES_MAX);
            swarm.flush(&mut self.core);
        }
        if self.core.peers.len() == 0 {
            self.next_tick = None;
        } else if self.next_tick.is_none() {
            self.next_tick = Some(now + self.core.config.tick);
        }
    }

    /// Index of the swarm of a rendition, made if there is none yet; nothing beyond the limit.
    pub(crate) fn swarm_of(&mut self, rendition: RenditionId) -> Option<SwarmIx> {
        if let Some(&ix) = self.renditions.get(&rendition) {
            return Some(ix);
        }
        if self.swarms.len() >= usize::from(self.core.config.renditions_max) {
            return None;
        }
        let ix = SwarmIx(u16::try_from(self.swarms.len()).ok()?);
        self.swarms.push(Swarm::new(ix, rendition));
        self.renditions.insert(rendition, ix);
        Some(ix)
    }

    fn watch(&mut self, id: PeerId, rendition: RenditionId, msn: u64) {
        let Some(peer) = self.core.peers.find(id) else { return };
        let Some(swarm) = self.swarm_of(rendition) else { return };
        let watches_max = usize::from(self.core.config.watches_max);
        let watches = &mut self.core.peers.peer_mut(peer).watches;
        if watches.len() >= watches_max || watches.iter().any(|watch| watch.swarm == swarm) {
            return;
        }
        watches.reserve_exact(1);
        let shift = self.core.config.shift(false);
        let on_demand = self.swarms[swarm.at()].is_behind(msn, shift);
        watches.push(Watch { swarm, member: MemberIx::NONE, on_demand });
        if on_demand {
            self.swarms[swarm.at()].ask_position(&mut self.core, peer);
        }
        self.enter(peer, swarm);
        self.share_upload(peer);
    }

    /// Makes a peer a member of a swarm that it watches, if it is to be planned.
    pub(crate) fn enter(&mut self, peer: PeerIx, ix: SwarmIx) {
        let (core, swarm) = (&mut self.core, &mut self.swarms[ix.at()]);
        let entry = core.peers.peer(peer);
        let on_demand = |watch: &Watch| watch.swarm == ix && watch.on_demand;
        if !entry.is_planned() || entry.watches.iter().any(on_demand) {
            return;
        }
        let member = swarm.join(core, peer);
        if swarm.is_active(core) {
            let share = self.upload_share(peer, ix);
            let (core, swarm) = (&mut self.core, &mut self.swarms[ix.at()]);
            swarm.plant(core, member, share);
            swarm.flush(core);
            swarm.send_recent(core, member);
        }
    }

    fn unwatch(&mut self, id: PeerId, rendition: RenditionId) {
        let Some(peer) = self.core.peers.find(id) else { return };
        let Some(&swarm) = self.renditions.get(&rendition) else { return };
        self.exit(peer, swarm);
        self.core.peers.peer_mut(peer).watches.retain(|watch| watch.swarm != swarm);
        self.share_upload(peer);
    }

    /// Takes a peer out of a swarm that it still watches.
    pub(crate) fn exit(&mut self, peer: PeerIx, ix: SwarmIx) {
        self.swarms[ix.at()].leave_demand(&mut self.core, peer);
        let Some(member) = self.core.peers.peer(peer).member_of(ix) else { return };
        self.swarms[ix.at()].leave(&mut self.core, member);
        for watch in &mut self.core.peers.peer_mut(peer).watches {
            if watch.swarm == ix {
                watch.member = MemberIx::NONE;
            }
        }
    }

    fn share(&mut self, id: PeerId, share: ShareMode, upload_cap: Option<BitRate>) {
        let Some(peer) = self.core.peers.find(id) else { return };
        let was_planned = self.core.peers.peer(peer).is_planned();
        let entry = self.core.peers.peer_mut(peer);
        entry.share = share;
        entry.set_cap(upload_cap);
        let is_planned = entry.is_planned();
        if was_planned && !is_planned {
            self.exit_all(peer);
        } else if is_planned && !was_planned {
            for watch in self.core.peers.peer(peer).watches.clone() {
                self.enter(peer, watch.swarm);
            }
        }
        self.share_upload(peer);
    }

    fn link(&mut self, id: PeerId, other: PeerId, state: LinkState, rtt: Option<Duration>) {
        let (Some(a), Some(b)) = (self.core.peers.find(id), self.core.peers.find(other)) else {
            return;
        };
        match state {
            LinkState::Up => self.link_opened(a, b, rtt),
            LinkState::Failed => self.link_down(a, b, Down::Failed),
            LinkState::Closed => self.link_down(a, b, Down::Closed),
        }
    }

    fn link_opened(&mut self, a: PeerIx, b: PeerIx, rtt: Option<Duration>) {
        self.core.link_opened(a, b, rtt);
        for at in 0..self.core.peers.peer(a).watches.len() {
            let watch = self.core.peers.peer(a).watches[at];
            let other = self.core.peers.peer(b).member_of(watch.swarm);
            if let Some(other) = other.filter(|_| watch.member != MemberIx::NONE) {
                self.swarms[watch.swarm.at()].measure_pair(&self.core, watch.member, other);
            }
        }
    }

    fn bad_chunk(&mut self, reporter: PeerId, accused: PeerId) {
        let peers = &self.core.peers;
        let (Some(a), Some(b)) = (peers.find(reporter), peers.find(accused)) else { return };
        // Only a neighbour can have sent anything; an accusation is worth something once.
        if a == b || peers.peer(a).link(b).is_none() {
            return;
        }
        let subnet = peers.peer(a).place.subnet;
        let verdict = self.core.trust.accuse(&self.core.config, reporter, subnet, accused);
        self.core.peers.peer_mut(a).feud = true;
        self.core.peers.peer_mut(b).feud = true;
        self.core.disconnect(a, b);
        self.link_down(a, b, Down::Separated);
        let settled = self.core.now.is_past(self.core.peers.peer(b).joined, BAN_AGE_MIN);
        let certain = settled || self.core.trust.is_certain(&self.core.config, accused);
        if verdict == Verdict::Ban && certain && !self.has_content_child(b) {
            self.core.trust.ban(accused);
            self.ban(b);
        }
    }

    fn report(&mut self, id: PeerId, report: &Report) {
        let Some(peer) = self.core.peers.find(id) else { return };
        self.core.peers.peer_mut(peer).learn(report.upload);
        let known_max = usize::from(self.core.config.links_max);
        for neighbour in report.neighbours.iter().take(known_max) {
            let Some(other) = self.core.peers.find(neighbour.peer) else { continue };
            if neighbour.rtt_us > 0 {
                let round_trip = Duration::from_micros(u64::from(neighbour.rtt_us));
                self.core.measure_link(peer, other, round_trip);
            }
        }
        self.share_upload(peer);
    }

    fn published(&mut self, published: Published) {
        let Some(ix) = self.swarm_of(published.object.rendition) else { return };
        let is_new = self.swarms[ix.at()].take_object(&mut self.core, published);
        if is_new {
            self.plant_all(ix);
        }
        let (core, swarm) = (&mut self.core, &mut self.swarms[ix.at()]);
        if swarm.is_active(core) {
            swarm.flush(core);
            swarm.announce(core, published.object);
        }
    }

    /// Plans every member of a swarm anew.
    fn plant_all(&mut self, ix: SwarmIx) {
        if !self.swarms[ix.at()].is_active(&self.core) {
            return;
        }
        let members: Vec<_> = self.swarms[ix.at()].indices().collect();
        for member in members {
            let share = self.upload_share(self.swarms[ix.at()].member(member).peer, ix);
            self.swarms[ix.at()].plant(&mut self.core, member, share);
        }
    }

    fn switch(&mut self, enabled: bool) {
        self.core.emit(Output::Peers { enabled });
        if self.core.enabled == enabled {
            return;
        }
        if enabled {
            self.core.enabled = true;
            for ix in (0..self.swarms.len()).map(swarm_ix) {
                self.plant_all(ix);
            }
            return;
        }
        for swarm in &mut self.swarms {
            swarm.clear(&mut self.core);
            swarm.clear_demand(&mut self.core);
        }
        for peer in self.core.peers.indices() {
            self.core.peers.peer_mut(peer).links.clear();
        }
        self.core.enabled = false;
    }

    fn tick(&mut self, now: Instant) {
        if self.next_tick.is_none_or(|next| now < next) {
            return;
        }
        self.next_tick = None;
        self.thaw();
        for swarm in &mut self.swarms {
            if swarm.is_active(&self.core) {
                swarm.rebalance(&mut self.core);
            }
        }
    }

    /// Ends the time in which a restarted tracker moves nobody.
    fn thaw(&mut self) {
        if !self.core.frozen || self.core.now < Stamp::ZERO.after(self.core.config.adopt_grace) {
            return;
        }
        self.core.frozen = false;
        for swarm in &mut self.swarms {
            swarm.end_waiting(&mut self.core);
        }
    }

    /// Upload of a peer that one of its renditions may use, in kbit/s: by rate.
    pub(crate) fn upload_share(&self, peer: PeerIx, ix: SwarmIx) -> u32 {
        let rate = |ix: SwarmIx| {
            let shape: Option<Shape> = self.swarms[ix.at()].shape;
            shape.map_or(0, |shape| u64::from(shape.rate_kbps))
        };
        let entry = self.core.peers.peer(peer);
        let (prior, max) = (self.core.config.upload_prior, self.core.config.upload_max);
        let all: u64 = entry.watches.iter().map(|watch| rate(watch.swarm)).sum();
        let share = u64::from(entry.usable_kbps(prior, max)) * rate(ix);
        share.checked_div(all).map_or(0, |share| u32::try_from(share).unwrap_or(u32::MAX))
    }

    /// Splits a peer's upload among its renditions anew.
    pub(crate) fn share_upload(&mut self, peer: PeerIx) {
        for at in 0..self.core.peers.peer(peer).watches.len() {
            let watch = self.core.peers.peer(peer).watches[at];
            if watch.member == MemberIx::NONE
                || !self.swarms[watch.swarm.at()].is_active(&self.core)
            {
                continue;
            }
            let share = self.upload_share(peer, watch.swarm);
            let swarm = &mut self.swarms[watch.swarm.at()];
            swarm.set_upload(watch.member, share);
            swarm.size_slots(&self.core, watch.member, false);
        }
    }
}

fn swarm_ix(at: usize) -> SwarmIx {
    SwarmIx(u16::try_from(at).expect("renditions_max is 16 bits"))
}

/// Before that no child can have been content for long: more must accuse it.
const BAN_AGE_MIN: Duration = Duration::from_secs(20);
/// Estimates brought up to date after an event: enough for all that one event changes near by.
const ESTIMATES_MAX: usize = 4;
