//! Surplus roots join the rest, where there is room for them.
//!
//! Rule: those without children first, wherever a slot is free. What hangs below one with children
//! is as late as the place that it gets, and slots are free at the bottom: it takes the place of a
//! leaf further up, and the leaf goes to the free slot.

use crate::attach::Search;
use crate::places::Queue;
use crate::shared::Core;
use crate::swarm::Swarm;
use crate::tree::{MemberIx, Parent};
use alloc::vec::Vec;

/// Roots that are looked at for each that may join the rest.
const ROOTS_PER_TRY: usize = 4;
/// Roots that are passed over at most on the way to those whose turn it is.
const SKIPPED_MAX: usize = 256;
/// A root with children joins where a copy arrives within this part of a segment's duration.
const EARLY_DIVISOR: u32 = 4;

/// One way to spare a root, if it is possible.
type Step = fn(&mut Swarm, &mut Core, usize, MemberIx) -> bool;

impl Swarm {
    /// Joins surplus roots of a substream to the rest, as far as there is room.
    pub(crate) fn join_roots(&mut self, core: &mut Core, k: usize, tries: usize) -> usize {
        // For those without children, or those with some.
        const STEPS: [(bool, Step); 4] = [
            (true, Swarm::join_root),
            (false, Swarm::swap_place),
            (true, Swarm::trade_place),
            (false, Swarm::join_root),
        ];
        let mut joined = 0;
        if self.trees[k].root_count() <= 1 || !self.has_room(k) {
            return 0;
        }
        let mut roots = core::mem::take(&mut self.scratch);
        self.roots_to_join(core, k, tries, &mut roots);
        while joined < tries && self.trees[k].root_count() > 1 {
            let joins = STEPS.iter().any(|(childless, step)| {
                roots.iter().any(|&root| {
                    let node = self.trees[k].node(root);
                    (node.children() == 0) == *childless && step(self, core, k, root)
                })
            });
            if !joins {
                break;
            }
            joined += 1;
        }
        roots.clear();
        self.scratch = roots;
        joined
    }

    /// Whether anybody has a free slot that may be for substream `k`.
    fn has_room(&self, k: usize) -> bool {
        let free = self.trees[k].places.rooms(Queue::Free, 0).next().is_some();
        free || self.spare(0).next().is_some()
    }

    /// Finds a place for a root, if there is one.
    fn join_root(&mut self, core: &mut Core, k: usize, root: MemberIx) -> bool {
        if self.trees[k].parent(root) != Parent::Origin {
            return false;
        }
        // To displace a leaf would only make another root.
        let Some(choice) = self.find_place(core, k, root, None, Search::Recruit) else {
            return false;
        };
        let early_us = (self.segment_len / EARLY_DIVISOR).as_micros();
        if self.trees[k].node(root).children() > 0 && u128::from(choice.cost_us) > early_us {
            return false;
        }
        self.take_place(core, k, root, choice);
        true
    }

    /// Roots that are tried in this round: the newest, the oldest, and some between them in turn,
    /// without those with which no link opens.
    fn roots_to_join(&self, core: &Core, k: usize, tries: usize, roots: &mut Vec<MemberIx>) {
        roots.clear();
        let tree = &self.trees[k];
        let hopeful =
            |root: &MemberIx| !core.peers.peer(self.member(*root).peer).is_hopeless(core.now);
        let turn = self.roots_in_turn(k, MemberIx(0));
        let ends = [tree.last_root(), tree.first_root()].into_iter().flatten();
        roots.extend(ends.chain(turn.take(tries * ROOTS_PER_TRY)).filter(hopeful));
        // The origin had better go on serving those that pass it on.
        roots.sort_by_key(|root| tree.node(*root).children());
    }

    /// Roots of a substream, beginning anywhere.
    pub(crate) fn roots_in_turn(
        &self,
        k: usize,
        salt: MemberIx,
    ) -> impl Iterator<Item = MemberIx> + '_ {
        let tree = &self.trees[k];
        let start = self.search_start(salt) as usize;
        tree.roots().skip(start % (tree.root_count() as usize).clamp(1, SKIPPED_MAX))
    }
}
