//! Room that only few can use, made room for others.
//!
//! Rule: a symmetric member reaches few, so its slots stay free while others are short of them.
//! Then one that it does reach, and that somebody else feeds, becomes its child, and the slot that
//! it leaves goes to a root. The other way round, a root that reaches none of the free slots, or
//! would be late there with all that hangs below it, takes that of a leaf that does. One trade
//! frees one slot; the searches are bounded.

use crate::attach::Search;
use crate::input::Mapping;
use crate::places::Queue;
use crate::shared::Core;
use crate::swarm::Swarm;
use crate::tree::{MemberIx, Parent};

/// Symmetric members with room that are asked to take a child over.
const TRADERS_MAX: usize = 8;
/// Interior members that are looked at for a place that a leaf could leave.
const LOOKED_AT_MAX: usize = 64;
/// Of them, those whose leaf looks for another place.
const SWAPS_MAX: usize = 4;
/// Children of each that are looked at.
const LEAVES_MAX: usize = 4;

/// Who changes places.
struct Trade {
    /// Moves from `parent` to `taker`.
    child: MemberIx,
    taker: MemberIx,
    /// Takes the root instead.
    parent: MemberIx,
}

impl Swarm {
    /// Makes room for a root that reaches none of those that have any. False if that cannot be.
    pub(crate) fn trade_place(&mut self, core: &mut Core, k: usize, root: MemberIx) -> bool {
        if self.trees[k].parent(root) != Parent::Origin {
            return false;
        }
        let start = self.search_start(root);
        let trade = self.find_trade(core, k, root, start);
        let trade = trade.or_else(|| self.find_swap(core, k, root, start));
        self.make_trade(core, k, root, trade)
    }

    /// Lets a root take the place of a leaf, the earliest that can be had. False if that cannot be.
    pub(crate) fn swap_place(&mut self, core: &mut Core, k: usize, root: MemberIx) -> bool {
        if self.trees[k].parent(root) != Parent::Origin {
            return false;
        }
        let start = self.search_start(root);
        let swap = self.find_swap(core, k, root, start);
        self.make_trade(core, k, root, swap)
    }

    fn make_trade(
        &mut self,
        core: &mut Core,
        k: usize,
        root: MemberIx,
        trade: Option<Trade>,
    ) -> bool {
        let Some(Trade { child, taker, parent }) = trade else { return false };
        self.assign(core, k, child, Parent::Member(taker));
        self.assign(core, k, root, Parent::Member(parent));
        true
    }

    /// A parent that the root reaches, full as it is, with a leaf that finds a place elsewhere.
    fn find_swap(&mut self, core: &Core, k: usize, root: MemberIx, start: u32) -> Option<Trade> {
        let own = self.member(root).peer;
        let is_sure = |swarm: &Self, parent: MemberIx| {
            let parent = swarm.member(parent).peer;
            let symmetric = core.peers.peer(own).mapping == Mapping::Symmetric;
            let lets_in = core.peers.peer(parent).takes_symmetric == Some(true);
            core.are_linked(own, parent) || !symmetric || lets_in
        };
        let rooms = self.trees[k].places.rooms(Queue::Upper, start).take(LOOKED_AT_MAX);
        let fit = rooms.filter_map(|room| {
            let parent = room.member;
            let leaf = self.leaf_to_swap(core, k, root, parent)?;
            let fits = is_sure(self, parent) && self.can_be_child(core, k, root, parent);
            fits.then_some((leaf, parent))
        });
        let mut swaps = [(MemberIx::NONE, MemberIx::NONE); SWAPS_MAX];
        for (slot, swap) in swaps.iter_mut().zip(fit) {
            *slot = swap;
        }
        for (child, parent) in swaps.into_iter().filter(|(child, _)| *child != MemberIx::NONE) {
            if let Some(place) = self.find_place(core, k, child, Some(parent), Search::Free) {
                return Some(Trade { child, taker: place.parent, parent });
            }
        }
        None
    }

    /// A leaf that may find a place elsewhere.
    fn leaf_to_swap(
        &self,
        core: &Core,
        k: usize,
        root: MemberIx,
        parent: MemberIx,
    ) -> Option<MemberIx> {
        let tree = &self.trees[k];
        let fits = |child: &MemberIx| {
            let mapping = core.peers.peer(self.member(*child).peer).mapping;
            *child != root && tree.node(*child).children() == 0 && mapping != Mapping::Symmetric
        };
        tree.children_back(parent).take(LEAVES_MAX).find(fits)
    }

    /// A symmetric member with room, and a neighbour of it whose slot the root can take.
    fn find_trade(&self, core: &Core, k: usize, root: MemberIx, start: u32) -> Option<Trade> {
        let tree = &self.trees[k];
        let homes = tree.places.rooms(Queue::Free, start).map(|room| room.member);
        let takers = homes.chain(self.spare(start));
        let symmetric = |member: &MemberIx| {
            core.peers.peer(self.member(*member).peer).mapping == Mapping::Symmetric
        };
        for taker in takers.filter(symmetric).take(TRADERS_MAX) {
            let entry = self.member(taker);
            if entry.used >= entry.slots || tree.parent(taker) == Parent::Out {
                continue;
            }
            // Others would have to be tried; what fails costs more than it brings.
            for link in core.peers.peer(entry.peer).links.iter().filter(|link| link.is_open()) {
                let Some(child) = core.peers.peer(link.other).member_of(self.ix) else { continue };
                let Parent::Member(parent) = tree.parent(child) else { continue };
                let fits = !symmetric(&parent)
                    && child != root
                    && tree.node(child).children() == 0
                    && self.can_be_child(core, k, child, taker)
                    && self.can_be_child(core, k, root, parent);
                if fits {
                    return Some(Trade { child, taker, parent });
                }
            }
        }
        None
    }
}
