//! Room that only few can use, made room for others.
//!
//! Rule: a symmetric member reaches few, so its slots stay free while others are short of them.
//! Then one that it does reach, and that somebody else feeds, becomes its child, and the slot that
//! it leaves goes to a root. One trade frees one slot; the search is bounded.

use crate::input::Mapping;
use crate::places::Queue;
use crate::shared::Core;
use crate::swarm::Swarm;
use crate::tree::{MemberIx, Parent};

/// Symmetric members with room that are asked to take a child over.
const TRADERS_MAX: usize = 8;

/// Who changes places.
struct Trade {
    /// Moves from `parent` to `taker`.
    child: MemberIx,
    taker: MemberIx,
    /// Takes the root instead.
    parent: MemberIx,
}

impl Swarm {
    /// Makes room for a root where only symmetric members have any. False if that cannot be.
    pub(crate) fn trade_place(&mut self, core: &mut Core, k: usize, root: MemberIx) -> bool {
        let start = self.search_start(root);
        let Some(trade) = self.find_trade(core, k, root, start) else { return false };
        let Trade { child, taker, parent } = trade;
        self.assign(core, k, child, Parent::Member(taker));
        self.assign(core, k, root, Parent::Member(parent));
        true
    }

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
