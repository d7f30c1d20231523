//! What the operator may see of a tracker.
//!
//! It changes nothing. The tree statistics cost O(n) and are for status pages and tests, not for
//! every event.

use crate::engine::Tracker;
use crate::shared::Counts;
use crate::swarm::{ROOT_ARRIVAL_US, Swarm};
use crate::tree::Parent;
use alloc::vec::Vec;
use shoal_wire::{BitRate, PeerId, RenditionId, Substream};

/// A stream's swarms at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Connected peers.
    pub peers: usize,
    /// Links that are open or opening.
    pub links: usize,
    /// Counts since the start.
    pub counts: Counts,
    /// Every rendition's swarm, by rendition.
    pub swarms: Vec<SwarmView>,
}

/// One rendition's swarm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwarmView {
    /// The rendition.
    pub rendition: RenditionId,
    /// Its viewers that are planned.
    pub members: u32,
    /// K; 0 before the first object.
    pub substreams: u8,
    /// Rate, smoothed over the objects.
    pub rate: BitRate,
    /// The part of the demand that the usable upload covers, ‰.
    pub resource_index: u64,
    /// Roots per substream: their mean is the number of origin copies per object.
    pub roots: Vec<u32>,
    /// Edges from peer to peer, over all substreams.
    pub edges: u32,
    /// The longest way from the origin, in hops; a root has one.
    pub depth_max: u32,
    /// Time from publication to the first chunk that the plan means, in half, in 99 % and in all
    /// places, ms. Computed anew from the top, so that it shows no estimate that is out of date.
    pub arrival_ms_p50: u32,
    /// See above.
    pub arrival_ms_p99: u32,
    /// See above.
    pub arrival_ms_max: u32,
    /// How far the kept estimates of interior nodes are off, in 99 % of them at most, ms.
    pub estimate_off_ms_p99: u32,
    /// Most children of one peer, over all substreams.
    pub children_max: u32,
}

impl Tracker {
    /// A look at everything.
    pub fn view(&self) -> View {
        let links: usize = self.core.peers.iter().map(|(_, peer)| peer.links.len()).sum();
        View {
            peers: self.core.peers.len(),
            links: links / 2,
            counts: self.counts(),
            swarms: self.renditions.values().map(|ix| self.swarms[ix.at()].view()).collect(),
        }
    }

    /// A peer's parent in one substream: none if it is not planned there, `Some(None)` for the
    /// origin.
    pub fn parent(
        &self,
        peer: PeerId,
        rendition: RenditionId,
        substream: Substream,
    ) -> Option<Option<PeerId>> {
        let ix = *self.renditions.get(&rendition)?;
        let swarm = &self.swarms[ix.at()];
        let member = self.core.peers.peer(self.core.peers.find(peer)?).member_of(ix)?;
        match swarm.trees.get(usize::from(substream.0))?.parent(member) {
            Parent::Out | Parent::Awaited => None,
            Parent::Origin => Some(None),
            Parent::Member(above) => Some(Some(self.core.peers.peer(swarm.member(above).peer).id)),
        }
    }

    /// Heap bytes of the tracker's tables, by their capacities; B-trees at two thirds full.
    pub fn memory_bytes(&self) -> usize {
        self.core.memory_bytes() + self.swarms.iter().map(Swarm::memory_bytes).sum::<usize>()
    }
}

impl Swarm {
    fn view(&self) -> SwarmView {
        let nodes =
            || self.trees.iter().flat_map(|tree| self.indices().map(move |member| (tree, member)));
        let below = |parent| matches!(parent, Parent::Member(_));
        let edges = nodes().filter(|(tree, member)| below(tree.parent(*member))).count();
        let (mut arrivals, mut errors) = self.arrivals();
        SwarmView {
            rendition: self.rendition,
            members: self.len(),
            substreams: u8::try_from(self.trees.len()).unwrap_or(u8::MAX),
            rate: BitRate::from_bps(
                self.shape.map_or(0, |shape| u64::from(shape.rate_kbps) * 1_000),
            ),
            resource_index: self.resource_index(),
            roots: self.trees.iter().map(crate::tree::Tree::root_count).collect(),
            edges: u32::try_from(edges).unwrap_or(u32::MAX),
            depth_max: nodes().filter_map(|(tree, member)| tree.depth(member)).max().unwrap_or(0),
            arrival_ms_p50: quantile(&mut arrivals, 500) / 1_000,
            arrival_ms_p99: quantile(&mut arrivals, 990) / 1_000,
            arrival_ms_max: quantile(&mut arrivals, 1_000) / 1_000,
            estimate_off_ms_p99: quantile(&mut errors, 990) / 1_000,
            children_max: self
                .indices()
                .map(|member| u32::from(self.member(member).used))
                .max()
                .unwrap_or(0),
        }
    }

    /// Arrivals at every place, µs, from the top down, and what the kept estimates differ by.
    fn arrivals(&self) -> (Vec<u32>, Vec<u32>) {
        let (mut arrivals, mut errors) = (Vec::new(), Vec::new());
        let mut below = Vec::new();
        for (k, tree) in self.trees.iter().enumerate() {
            let tops = self.indices().filter(|&member| tree.parent(member) == Parent::Origin);
            below.extend(tops.map(|root| (root, ROOT_ARRIVAL_US)));
            while let Some((member, arrival)) = below.pop() {
                arrivals.push(arrival);
                if tree.node(member).is_interior() {
                    errors.push(tree.node(member).arrival_us.abs_diff(arrival));
                }
                for (place, child) in (1..).zip(tree.children(member)) {
                    let hop = self.hop_us(k, child, member, place);
                    below.push((child, arrival.saturating_add(hop)));
                }
            }
        }
        (arrivals, errors)
    }
}

/// The value that so many ‰ do not exceed.
fn quantile(values: &mut [u32], permille: usize) -> u32 {
    let Some(last) = values.len().checked_sub(1) else { return 0 };
    *values.select_nth_unstable(last * permille / 1_000).1
}
