//! A bounded look at one rendition's trees, for the operator's page.
//!
//! Rule: it changes nothing, and costs no more than its caller allows, however large the swarm is.
//! What it leaves out it says.

use crate::engine::Tracker;
use crate::shared::Core;
use crate::swarm::Swarm;
use crate::tree::{MemberIx, Tree};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use shoal_wire::{BitRate, PeerId, RenditionId, Substream};

/// Bars of a histogram; the last one takes all that is beyond.
pub const BARS: usize = 16;

/// What a rendition needs and what its viewers could give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Supply {
    /// The rendition.
    pub rendition: RenditionId,
    /// Its viewers that are planned.
    pub members: u32,
    /// Rate, smoothed over the objects; 0 before the first.
    pub rate: BitRate,
    /// The part of the demand that the usable upload covers, ‰.
    pub resource_index: u64,
}

/// The trees of one rendition, or the upper part of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forest {
    /// The rendition.
    pub rendition: RenditionId,
    /// K; 0 before the first object.
    pub substreams: u8,
    /// Places in trees that the histograms are made of.
    pub visited: u32,
    /// Whether that is all of them; if not, those nearest to the origin.
    pub is_whole: bool,
    /// Places by hops from the origin: a root has one and is counted first.
    pub depths: [u32; BARS],
    /// Places by children there; leaves are counted first.
    pub fan_out: [u32; BARS],
    /// Trees to draw: all if they are small, else the upper part of the first.
    pub trees: Vec<Drawing>,
}

/// One substream's tree, from its roots down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawing {
    /// The substream.
    pub substream: Substream,
    /// Parents before their children.
    pub nodes: Vec<Node>,
    /// Whether that is all of it.
    pub is_whole: bool,
}

/// One place in a drawing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// Who.
    pub peer: PeerId,
    /// Index of its parent in the drawing; none is the origin.
    pub parent: Option<u32>,
}

impl Tracker {
    /// What each rendition needs and has, by rendition.
    pub fn supplies(&self) -> impl Iterator<Item = Supply> + '_ {
        self.renditions.values().map(|ix| {
            let swarm = &self.swarms[ix.at()];
            let rate = swarm.shape.map_or(0, |shape| u64::from(shape.rate_kbps) * 1_000);
            Supply {
                rendition: swarm.rendition,
                members: swarm.len(),
                rate: BitRate::from_bps(rate),
                resource_index: swarm.resource_index(),
            }
        })
    }

    /// The trees of a rendition: histograms over `visits_max` places at most, drawings with
    /// `nodes_max` at most. None if nobody knows the rendition.
    pub fn forest(
        &self,
        rendition: RenditionId,
        visits_max: usize,
        nodes_max: usize,
    ) -> Option<Forest> {
        let swarm = &self.swarms[self.renditions.get(&rendition)?.at()];
        Some(swarm.forest(&self.core, visits_max, nodes_max))
    }
}

impl Swarm {
    fn forest(&self, core: &Core, visits_max: usize, nodes_max: usize) -> Forest {
        let trees = self.trees.len();
        let fits = self.len() as usize * trees <= nodes_max;
        let mut forest = Forest {
            rendition: self.rendition,
            substreams: u8::try_from(trees).unwrap_or(u8::MAX),
            visited: 0,
            is_whole: true,
            depths: [0; BARS],
            fan_out: [0; BARS],
            trees: Vec::new(),
        };
        for (k, tree) in (0..).zip(&self.trees) {
            let mut drawing =
                Drawing { substream: Substream(k), nodes: Vec::new(), is_whole: true };
            let room = if fits || k == 0 { nodes_max } else { 0 };
            self.walk(core, tree, visits_max / trees, room, &mut forest, &mut drawing);
            if room > 0 {
                forest.trees.push(drawing);
            }
        }
        forest
    }

    /// Level by level from the roots down.
    fn walk(
        &self,
        core: &Core,
        tree: &Tree,
        visits_max: usize,
        nodes_max: usize,
        forest: &mut Forest,
        drawing: &mut Drawing,
    ) {
        let mut queue: VecDeque<(MemberIx, Option<u32>, usize)> = VecDeque::new();
        queue.extend(tree.roots().take(visits_max + 1).map(|root| (root, None, 0)));
        let mut visits = 0;
        while let Some((member, parent, depth)) = queue.pop_front() {
            if visits == visits_max {
                forest.is_whole = false;
                drawing.is_whole = false;
                return;
            }
            visits += 1;
            forest.visited += 1;
            forest.depths[depth.min(BARS - 1)] += 1;
            forest.fan_out[usize::from(tree.node(member).children()).min(BARS - 1)] += 1;
            let drawn = u32::try_from(drawing.nodes.len()).ok().filter(|at| {
                // Children of what is not drawn have no place in the drawing.
                (*at as usize) < nodes_max && (depth == 0 || parent.is_some())
            });
            match drawn {
                Some(_) => {
                    let peer = core.peers.peer(self.member(member).peer).id;
                    drawing.nodes.push(Node { peer, parent });
                }
                None => drawing.is_whole = false,
            }
            // One more than may be visited shows that there is more.
            let room = (visits_max + 1).saturating_sub(visits + queue.len());
            let children = tree.children(member).take(room);
            queue.extend(children.map(|child| (child, drawn, depth + 1)));
        }
    }
}
