//! Who feeds a member that was moved, until the link to its new parent is open.
//!
//! Rule: a peer keeps its old parent until the new one serves it, so for as long as a link opens
//! data takes another way than the plan's. Nobody is hung below what it feeds on either way: a ring
//! of peers that wait for each other gets nothing.

use crate::shared::Core;
use crate::swarm::Swarm;
use crate::tree::{MemberIx, Parent};
use core::time::Duration;

/// A link has opened or failed long before.
const ACTING_TIME: Duration = Duration::from_secs(60);

impl Swarm {
    /// Who feeds a member in place of its parent, whose link is not open yet.
    pub(crate) fn acting_parent(
        &self,
        core: &Core,
        k: usize,
        member: MemberIx,
    ) -> Option<MemberIx> {
        let acting = self.trees[k].node(member).acting;
        if acting == MemberIx::NONE || !self.has(acting) {
            return None;
        }
        let is_open =
            |other: MemberIx| core.are_linked(self.member(member).peer, self.member(other).peer);
        let acts = match self.trees[k].parent(member) {
            Parent::Origin | Parent::Awaited => false,
            // It is on its way to another place.
            Parent::Out => true,
            Parent::Member(parent) => !is_open(parent),
        };
        (acts && is_open(acting)).then_some(acting)
    }

    /// Whether a member is another, or is fed through it by the plan or for now.
    pub(crate) fn is_fed_through(
        &self,
        core: &Core,
        k: usize,
        member: MemberIx,
        top: MemberIx,
    ) -> bool {
        self.trees[k].is_below(member, top, |at| self.acting_parent(core, k, at))
    }

    /// A member loses its parent in the plan: if they are linked, that one goes on for now.
    pub(crate) fn begin_acting(
        &mut self,
        core: &Core,
        k: usize,
        member: MemberIx,
        parent: MemberIx,
    ) {
        if core.are_linked(self.member(member).peer, self.member(parent).peer) {
            self.trees[k].node_mut(member).acting = parent;
            self.member_mut(parent).acts_until = core.now.after(ACTING_TIME);
        }
    }

    /// Who fed a member until now does so no longer, if the link to its parent is open.
    pub(crate) fn end_acting(&mut self, core: &Core, k: usize, member: MemberIx, parent: MemberIx) {
        if core.are_linked(self.member(member).peer, self.member(parent).peer) {
            self.trees[k].node_mut(member).acting = MemberIx::NONE;
        }
    }

    /// The link between two members is gone, and with it what one does for the other.
    pub(crate) fn forget_acting_pair(&mut self, a: MemberIx, b: MemberIx) {
        for (member, other) in [(a, b), (b, a)] {
            for tree in &mut self.trees {
                let node = tree.node_mut(member);
                if node.acting == other {
                    node.acting = MemberIx::NONE;
                }
            }
        }
    }

    /// A member goes; whom it still feeds is among those that it has links with.
    pub(crate) fn forget_actor(&mut self, core: &Core, member: MemberIx) {
        if self.member(member).acts_until <= core.now {
            return;
        }
        for link in &core.peers.peer(self.member(member).peer).links {
            if let Some(other) = core.peers.peer(link.other).member_of(self.ix) {
                self.forget_acting_pair(member, other);
            }
        }
    }

    /// Moves a member whose link to its parent did not open back to who still feeds it, if it may
    /// stay there.
    pub(crate) fn go_back(&mut self, core: &mut Core, k: usize, child: MemberIx) -> bool {
        let Some(acting) = self.acting_parent(core, k, child) else { return false };
        let entry = self.member(acting);
        if entry.used >= entry.slots || !self.can_be_child(core, k, child, acting) {
            return false;
        }
        self.assign(core, k, child, Parent::Member(acting));
        true
    }
}
