//! Who serves an on-demand or time-shifted viewer: a few holders for each segment of its window.
//!
//! Rule: only whoever said that it holds a segment is named for it; existing links and short ways
//! first, and no uplink is promised twice while another has room. A viewer that comes to the live
//! edge goes to the trees, one that falls far behind leaves them.

use crate::demand::Position;
use crate::engine::Tracker;
use crate::output::Output;
use crate::peers::{PeerIx, SwarmIx, Watch};
use crate::shared::Core;
use crate::swarm::Swarm;
use crate::tree::MemberIx;
use alloc::vec::Vec;
use rand_core::Rng;
use shoal_wire::tracker_message::{AHEAD_MAX, MsnRun, Source};
use shoal_wire::{Epoch, PeerId, RenditionId};

/// Sources of one segment that are looked for: losing one leaves two.
const PER_SEGMENT: u8 = 3;
/// Sources that are looked for of what nobody has yet: viewers that are there sooner.
const COMPANIONS: u8 = 2;
/// Rate of a rendition of which nothing is known but positions.
const RATE_PRIOR_KBPS: u32 = 3_000;
/// An uplink of which more than this is promised is taken only where no other is, ‰.
const FULL: u32 = 1_000;
/// One of which more than this is promised is not taken at all, ‰.
const OVERFULL: u32 = 2_000;
/// What a full uplink weighs against a way, µs.
const FULL_US: u32 = 2_000_000;
/// What being used to each other is worth: a change costs what was asked for.
const USED_US: u32 = 50_000;

/// Somebody who might serve.
struct Candidate {
    peer: PeerIx,
    cost_us: u32,
    /// What it has of the window, one bit for each segment.
    has: u32,
    /// What it will have before the viewer needs it.
    will: u32,
    /// Whether it is a source already.
    is_old: bool,
}

impl Tracker {
    /// A rendition is complete.
    pub(crate) fn end_rendition(&mut self, rendition: RenditionId) {
        if let Some(ix) = self.swarm_of(rendition) {
            self.swarms[ix.at()].is_on_demand = true;
        }
    }

    /// A viewer says where it is.
    pub(crate) fn position(&mut self, id: PeerId, rendition: RenditionId, position: Position) {
        let Some(peer) = self.core.peers.find(id) else { return };
        let Some(&ix) = self.renditions.get(&rendition) else { return };
        self.watch_on_demand(peer, ix);
        let entry = self.core.peers.peer(peer);
        let Some(watch) = entry.watches.iter().find(|watch| watch.swarm == ix) else { return };
        if !self.core.enabled || !entry.is_planned() {
            return;
        }
        let was_shifted = watch.on_demand;
        let shift = self.core.config.shift(was_shifted);
        let is_shifted = self.swarms[ix.at()].is_behind(position.msn, shift);
        if !was_shifted && !is_shifted {
            return;
        }
        if was_shifted != is_shifted {
            self.exit(peer, ix);
            self.set_on_demand(peer, ix, is_shifted);
            self.enter(peer, ix);
            self.share_upload(peer);
        }
        if is_shifted {
            let swarm = &mut self.swarms[ix.at()];
            swarm.demand.set(peer, position.bounded());
            swarm.choose_sources(&mut self.core, peer);
        }
    }

    /// Whoever says where it is in a rendition that is complete watches it, and need not say so.
    fn watch_on_demand(&mut self, peer: PeerIx, ix: SwarmIx) {
        let watches_max = usize::from(self.core.config.watches_max);
        let is_on_demand = self.swarms[ix.at()].is_on_demand;
        let watches = &mut self.core.peers.peer_mut(peer).watches;
        let is_known = watches.iter().any(|watch| watch.swarm == ix);
        if is_on_demand && !is_known && watches.len() < watches_max {
            watches.push(Watch { swarm: ix, member: MemberIx::NONE, on_demand: true });
        }
    }

    /// Notes whether a viewer of a rendition gets sources instead of a place in trees.
    pub(crate) fn set_on_demand(&mut self, peer: PeerIx, ix: SwarmIx, on_demand: bool) {
        for watch in &mut self.core.peers.peer_mut(peer).watches {
            if watch.swarm == ix {
                watch.on_demand = on_demand;
            }
        }
    }

    /// The link of two peers is gone: whoever was served over it gets others.
    pub(crate) fn part_sources(&mut self, a: PeerIx, b: PeerIx) {
        for swarm in &mut self.swarms {
            for (peer, source) in [(a, b), (b, a)] {
                if swarm.drop_source(&mut self.core, peer, source) {
                    swarm.choose_sources(&mut self.core, peer);
                }
            }
        }
    }
}

impl Swarm {
    /// Whether `msn` is clearly behind the live edge, or there is none.
    pub(crate) fn is_behind(&self, msn: u64, by: core::time::Duration) -> bool {
        let newest = self.recent.back().map_or(0, |newest| newest.msn);
        let segments = u32::try_from(newest.saturating_sub(msn)).unwrap_or(u32::MAX);
        self.is_on_demand || self.segment_len.saturating_mul(segments) > by
    }

    /// Tells a viewer that it gets sources, of which none is known before it says where it is.
    pub(crate) fn ask_position(&self, core: &mut Core, peer: PeerIx) {
        let epoch = self.recent.back().map_or(Epoch(0), |newest| newest.epoch);
        let (peer, rendition) = (core.peers.peer(peer).id, self.rendition);
        core.emit(Output::Sources { peer, rendition, epoch, sources: Vec::new() });
    }

    /// Takes a peer out, as a viewer and as a source; its consumers get others.
    pub(crate) fn leave_demand(&mut self, core: &mut Core, peer: PeerIx) {
        let Some(viewer) = self.demand.remove(peer) else { return };
        for &source in &viewer.sources {
            core.peers.peer_mut(source).given_kbps -= viewer.share_kbps;
            core.release_link(peer, source);
        }
        let links = core.peers.peer(peer).links.iter().map(|link| link.other);
        for consumer in links.collect::<Vec<_>>() {
            if self.drop_source(core, consumer, peer) {
                self.choose_sources(core, consumer);
            }
        }
    }

    /// Forgets everybody: peers are switched off.
    pub(crate) fn clear_demand(&mut self, core: &mut Core) {
        for (_, viewer) in self.demand.viewers() {
            for &source in &viewer.sources {
                core.peers.peer_mut(source).given_kbps -= viewer.share_kbps;
            }
        }
        self.demand.clear();
    }

    /// Whether a source was one, and is not any more.
    fn drop_source(&mut self, core: &mut Core, peer: PeerIx, source: PeerIx) -> bool {
        let Some(viewer) = self.demand.viewer_mut(peer) else { return false };
        let Some(at) = viewer.sources.iter().position(|own| *own == source) else { return false };
        viewer.sources.remove(at);
        core.peers.peer_mut(source).given_kbps -= viewer.share_kbps;
        core.release_link(peer, source);
        true
    }

    /// Finds sources for a viewer's window, opens what links they need, and tells it.
    pub(crate) fn choose_sources(&mut self, core: &mut Core, peer: PeerIx) {
        let Some(viewer) = self.demand.viewer_mut(peer) else { return };
        let old = core::mem::take(&mut viewer.sources);
        let old_share = core::mem::take(&mut viewer.share_kbps);
        for &source in &old {
            core.peers.peer_mut(source).given_kbps -= old_share;
        }
        let candidates = self.candidates(core, peer, &old);
        let mut chosen = Vec::new();
        pick(core, peer, &candidates, |candidate| candidate.has, PER_SEGMENT, &mut chosen);
        pick(core, peer, &candidates, |candidate| candidate.will, COMPANIONS, &mut chosen);
        for &source in old.iter().filter(|source| !chosen.contains(source)) {
            core.release_link(peer, source);
        }
        let share_kbps = self.rate_kbps() / u32::try_from(chosen.len().max(1)).unwrap_or(1);
        for &source in &chosen {
            core.peers.peer_mut(source).given_kbps += share_kbps;
        }
        self.tell_sources(core, peer, &chosen);
        if let Some(viewer) = self.demand.viewer_mut(peer) {
            viewer.sources = chosen;
            viewer.share_kbps = share_kbps;
        }
    }

    fn rate_kbps(&self) -> u32 {
        self.shape.map_or(RATE_PRIOR_KBPS, |shape| shape.rate_kbps)
    }

    /// Who could serve a viewer, the cheapest first.
    fn candidates(&self, core: &mut Core, peer: PeerIx, old: &[PeerIx]) -> Vec<Candidate> {
        let Some(viewer) = self.demand.viewer(peer) else { return Vec::new() };
        let (first, end, epoch) =
            (viewer.position.msn, viewer.position.end(), viewer.position.epoch);
        let start = PeerIx(core.random.next_u32() % self.peers_end(core));
        let probes = usize::from(core.config.probes_max);
        let linked = core.peers.peer(peer).links.iter().map(|link| link.other);
        let mut peers: Vec<PeerIx> =
            linked.chain(self.demand.near(epoch, (first, end), start, probes)).collect();
        peers.sort_unstable();
        peers.dedup();
        let share = self.rate_kbps() / u32::from(PER_SEGMENT);
        let mut found: Vec<Candidate> = peers
            .into_iter()
            .filter_map(|other| {
                let position = &self.demand.viewer(other)?.position;
                if other == peer || position.epoch != epoch || !core.can_link(peer, other) {
                    return None;
                }
                let bits = |run: MsnRun| {
                    let run = run.first - first..run.end() - first;
                    run.fold(0u32, |bits, at| bits | 1 << at)
                };
                let has = position.held_within(first, end).map(bits).fold(0, |all, own| all | own);
                let (me, id) = (core.peers.peer(peer).id, core.peers.peer(other).id);
                // The same order as the viewers' own.
                let leads = (position.msn, me) > (first, id);
                let run = MsnRun { first: position.msn, count: AHEAD_MAX.into() };
                let will = run.within(first, end).filter(|_| leads).map_or(0, bits);
                let is_old = old.contains(&other);
                let cost_us = core.source_cost_us(peer, other, share)?;
                let cost_us = if is_old { cost_us.saturating_sub(USED_US) } else { cost_us };
                let candidate = Candidate { peer: other, cost_us, has, will, is_old };
                (has | will != 0).then_some(candidate)
            })
            .collect();
        found.sort_by_key(|candidate| candidate.cost_us);
        found
    }

    /// One past the highest index that a peer may have, 1 at least.
    fn peers_end(&self, core: &Core) -> u32 {
        u32::try_from(core.peers.len()).unwrap_or(u32::MAX).max(1)
    }

    fn tell_sources(&self, core: &mut Core, peer: PeerIx, chosen: &[PeerIx]) {
        let Some(viewer) = self.demand.viewer(peer) else { return };
        let (first, end, epoch) =
            (viewer.position.msn, viewer.position.end(), viewer.position.epoch);
        let source = |&source: &PeerIx| {
            let position = &self.demand.viewer(source)?.position;
            let runs = position.held_within(first, end).collect();
            Some(Source { peer: core.peers.peer(source).id, runs, next: position.msn })
        };
        let sources = chosen.iter().filter_map(source).collect();
        let (peer, rendition) = (core.peers.peer(peer).id, self.rendition);
        core.emit(Output::Sources { peer, rendition, epoch, sources });
    }
}

/// Adds the cheapest until each segment has so many of those that `offers` says have it.
fn pick(
    core: &mut Core,
    peer: PeerIx,
    candidates: &[Candidate],
    offers: impl Fn(&Candidate) -> u32,
    per_segment: u8,
    chosen: &mut Vec<PeerIx>,
) {
    let mut cover = [0u8; AHEAD_MAX as usize];
    let count = |cover: &mut [u8; AHEAD_MAX as usize], candidate: &Candidate| {
        let has = |at: &usize| offers(candidate) & (1 << at) != 0;
        (0..cover.len()).filter(has).for_each(|at| cover[at] += 1);
    };
    for candidate in candidates.iter().filter(|candidate| chosen.contains(&candidate.peer)) {
        count(&mut cover, candidate);
    }
    for wanted in 1..=per_segment {
        for segment in 0..cover.len() {
            if cover[segment] >= wanted || chosen.len() >= usize::from(core.config.sources_max) {
                continue;
            }
            let fits =
                |c: &&Candidate| offers(c) & (1 << segment) != 0 && !chosen.contains(&c.peer);
            let Some(best) = candidates.iter().find(fits) else { continue };
            if !best.is_old {
                // The links before may have taken the room.
                if !core.can_link(peer, best.peer) {
                    continue;
                }
                core.use_link(peer, best.peer);
            }
            chosen.push(best.peer);
            count(&mut cover, best);
        }
    }
}

impl Core {
    /// What it costs to be served by a peer: the way, and how much of its uplink is promised. None
    /// if it has nothing left to give.
    fn source_cost_us(&self, peer: PeerIx, source: PeerIx, share_kbps: u32) -> Option<u32> {
        let entry = self.peers.peer(source);
        let usable = entry.usable_kbps(self.config.upload_prior, self.config.upload_max);
        let promised = u64::from(entry.given_kbps) + u64::from(share_kbps);
        let used = (promised * 1_000).checked_div(u64::from(usable))?;
        let used = u32::try_from(used).unwrap_or(u32::MAX);
        if used > OVERFULL {
            return None;
        }
        let full_us = if used > FULL { FULL_US } else { 0 };
        Some(self.way_us(peer, source) + used * (FULL_US / 10 / FULL) + full_us)
    }
}
