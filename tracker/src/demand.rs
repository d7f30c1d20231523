//! Where the on-demand and time-shifted viewers of a rendition are, and what they hold.
//!
//! Rule: what is kept per viewer is bounded, and an update costs what changed. It chooses nobody
//! (see `sources`).

use crate::peers::PeerIx;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use shoal_wire::Epoch;
use shoal_wire::tracker_message::{AHEAD_MAX, HELD_RUNS_MAX, HELD_SEGMENTS_MAX, MsnRun};

/// Segments that are looked up together: holders of one are mostly holders of its neighbours.
const BLOCK: u64 = 16;

/// What a viewer says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) epoch: Epoch,
    /// The first segment that it lacks.
    pub(crate) msn: u64,
    pub(crate) ahead: u8,
    /// In order and apart.
    pub(crate) held: Vec<MsnRun>,
}

impl Position {
    /// The same within the limits, its runs in order and apart.
    pub(crate) fn bounded(mut self) -> Self {
        self.ahead = self.ahead.min(AHEAD_MAX);
        self.held.truncate(HELD_RUNS_MAX);
        self.held.sort_unstable_by_key(|run| run.first);
        let (mut left, mut end) = (HELD_SEGMENTS_MAX, 0);
        self.held.retain_mut(|run| {
            let is_apart = run.first >= end && run.first.checked_add(run.count.into()).is_some();
            run.count = if is_apart { run.count.min(left) } else { 0 };
            left -= run.count;
            end = end.max(run.end());
            run.count > 0
        });
        self
    }

    /// One past the last segment that it looks for sources of.
    pub(crate) fn end(&self) -> u64 {
        self.msn.saturating_add(self.ahead.into())
    }

    /// What it holds of the segments from `first` to before `end`.
    pub(crate) fn held_within(&self, first: u64, end: u64) -> impl Iterator<Item = MsnRun> + '_ {
        self.held.iter().filter_map(move |run| run.within(first, end))
    }

    const fn place(&self, peer: PeerIx) -> (Epoch, u64, PeerIx) {
        (self.epoch, self.msn / BLOCK, peer)
    }

    /// The blocks in which it holds anything, in order, each once.
    fn blocks(&self) -> impl Iterator<Item = u64> + '_ {
        let mut next = 0;
        self.held.iter().flat_map(move |run| {
            let (first, last) = ((run.first / BLOCK).max(next), (run.end() - 1) / BLOCK);
            next = last + 1;
            first..next
        })
    }
}

/// One viewer.
#[derive(Clone, Debug)]
pub(crate) struct Viewer {
    pub(crate) position: Position,
    /// Whom it asks; a link to each is in use for it.
    pub(crate) sources: Vec<PeerIx>,
    /// What it takes of each of their uplinks, as planned.
    pub(crate) share_kbps: u32,
}

/// The on-demand viewers of a rendition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Demand {
    viewers: BTreeMap<PeerIx, Viewer>,
    /// Who holds anything of which block.
    holders: BTreeSet<(Epoch, u64, PeerIx)>,
    /// In which block each is.
    places: BTreeSet<(Epoch, u64, PeerIx)>,
}

impl Demand {
    pub(crate) fn viewer(&self, peer: PeerIx) -> Option<&Viewer> {
        self.viewers.get(&peer)
    }

    pub(crate) fn viewer_mut(&mut self, peer: PeerIx) -> Option<&mut Viewer> {
        self.viewers.get_mut(&peer)
    }

    pub(crate) fn viewers(&self) -> impl Iterator<Item = (PeerIx, &Viewer)> {
        self.viewers.iter().map(|(&peer, viewer)| (peer, viewer))
    }

    /// Takes a new position; a newcomer has no sources yet.
    pub(crate) fn set(&mut self, peer: PeerIx, position: Position) {
        let old = self.viewers.get(&peer).map(|viewer| &viewer.position);
        let is_same = old.is_some_and(|o| o.epoch == position.epoch && o.held == position.held);
        if !is_same {
            if let Some(old) = old {
                for block in old.blocks() {
                    self.holders.remove(&(old.epoch, block, peer));
                }
            }
            for block in position.blocks() {
                self.holders.insert((position.epoch, block, peer));
            }
        }
        let place = position.place(peer);
        if let Some(old) = old.map(|old| old.place(peer)).filter(|old| *old != place) {
            self.places.remove(&old);
        }
        self.places.insert(place);
        match self.viewers.get_mut(&peer) {
            Some(viewer) => viewer.position = position,
            None => {
                let viewer = Viewer { position, sources: Vec::new(), share_kbps: 0 };
                self.viewers.insert(peer, viewer);
            }
        }
    }

    pub(crate) fn remove(&mut self, peer: PeerIx) -> Option<Viewer> {
        let viewer = self.viewers.remove(&peer)?;
        self.places.remove(&viewer.position.place(peer));
        for block in viewer.position.blocks() {
            self.holders.remove(&(viewer.position.epoch, block, peer));
        }
        Some(viewer)
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Holders of anything near the segments from `first` to before `end`, and viewers that are
    /// there, so many of either and of each block, from `start` on around.
    pub(crate) fn near(
        &self,
        epoch: Epoch,
        (first, end): (u64, u64),
        start: PeerIx,
        count: usize,
    ) -> impl Iterator<Item = PeerIx> + '_ {
        let last = end.saturating_sub(1).max(first) / BLOCK;
        (first / BLOCK..=last).flat_map(move |block| {
            [&self.holders, &self.places].into_iter().flat_map(move |listed| {
                let (none, all) = (PeerIx(0), PeerIx(u32::MAX));
                let later = listed.range((epoch, block, start)..=(epoch, block, all));
                let earlier = listed.range((epoch, block, none)..(epoch, block, start));
                later.chain(earlier).take(count).map(|&(_, _, peer)| peer)
            })
        })
    }

    /// Whether the index says what the positions say.
    pub(crate) fn is_indexed(&self) -> bool {
        let keys = |(&peer, viewer): (&PeerIx, &Viewer)| {
            let epoch = viewer.position.epoch;
            viewer.position.blocks().map(|block| (epoch, block, peer)).collect::<Vec<_>>()
        };
        let expected: BTreeSet<_> = self.viewers.iter().flat_map(keys).collect();
        let places: BTreeSet<_> = self.viewers().map(|(peer, v)| v.position.place(peer)).collect();
        expected == self.holders && places == self.places
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let own = |viewer: &Viewer| {
            size_of::<(PeerIx, Viewer)>() * 3 / 2
                + viewer.position.held.capacity() * size_of::<MsnRun>()
                + viewer.sources.capacity() * size_of::<PeerIx>()
        };
        self.viewers.values().map(own).sum::<usize>()
            + (self.holders.len() + self.places.len()) * size_of::<(Epoch, u64, PeerIx)>() * 3 / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(held: &[(u64, u32)]) -> Position {
        let held = held.iter().map(|&(first, count)| MsnRun { first, count }).collect();
        Position { epoch: Epoch(1), msn: 1_000, ahead: 4, held }.bounded()
    }

    #[test]
    fn what_a_peer_says_it_holds_is_bounded() {
        let runs = |position: &Position| -> Vec<(u64, u32)> {
            position.held.iter().map(|run| (run.first, run.count)).collect()
        };
        assert_eq!(runs(&position(&[(40, 2), (3, 5), (4, 1), (9, 0)])), [(3, 5), (40, 2)]);
        assert_eq!(runs(&position(&[(0, u32::MAX), (7, 1)])), [(0, HELD_SEGMENTS_MAX)]);
        assert_eq!(runs(&position(&[(u64::MAX, 9)])), []);
        let many: Vec<_> = (0..1_000).map(|at| (at * 100, 1)).collect();
        assert_eq!(position(&many).held.len(), HELD_RUNS_MAX);
    }

    #[test]
    fn holders_are_found_near_what_they_hold_until_they_lack_it() {
        let mut demand = Demand::default();
        demand.set(PeerIx(3), position(&[(0, 20)]));
        demand.set(PeerIx(5), position(&[(15, 1), (17, 40)]));
        let near = |demand: &Demand, first, end, start| -> Vec<u32> {
            let found = demand.near(Epoch(1), (first, end), PeerIx(start), 8);
            found.map(|peer| peer.0).collect()
        };
        assert_eq!(near(&demand, 4, 8, 0), [3, 5]);
        assert_eq!(near(&demand, 4, 8, 4), [5, 3]);
        assert_eq!(near(&demand, 14, 18, 0), [3, 5, 3, 5]);
        assert_eq!(near(&demand, 40, 44, 0), [5]);
        demand.set(PeerIx(5), position(&[(60, 4)]));
        assert_eq!(near(&demand, 40, 44, 0), [0u32; 0]);
        assert!(demand.is_indexed());
        demand.remove(PeerIx(3));
        assert_eq!(near(&demand, 4, 8, 0), [0u32; 0]);
        assert!(demand.is_indexed());
    }
}
