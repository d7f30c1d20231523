//! How members come into a swarm and leave it, and what becomes of those below a leaver.
//!
//! Rule: after every step each member has a parent, the origin at the worst, in every substream.

use crate::output::Output;
use crate::peers::PeerIx;
use crate::shared::Core;
use crate::swarm::Swarm;
use crate::tree::{MemberIx, Parent};
use alloc::vec;

impl Swarm {
    /// Whether its members are planned.
    pub(crate) fn is_active(&self, core: &Core) -> bool {
        core.enabled && self.shape.is_some()
    }

    /// Adds a peer, outside of the trees.
    pub(crate) fn join(&mut self, core: &mut Core, peer: PeerIx) -> MemberIx {
        let member = self.insert(peer, core.now);
        for watch in &mut core.peers.peer_mut(peer).watches {
            if watch.swarm == self.ix {
                watch.member = member;
            }
        }
        member
    }

    /// Gives a member that is out of the trees its slots and parents.
    pub(crate) fn plant(&mut self, core: &mut Core, member: MemberIx, share_kbps: u32) {
        self.set_upload(member, share_kbps);
        self.size_slots(core, member, true);
        let adopted = self.adopt(core, member);
        if !adopted {
            self.choose_homes(core, member);
        }
        for k in 0..self.substreams() {
            if self.trees[k].parent(member) == Parent::Out {
                self.place(core, k, member);
            }
            self.join_roots(core, k, 1);
        }
        self.adopt_awaiting(core, member);
    }

    /// Sends a newcomer the newest digests: its start-up buffer.
    pub(crate) fn send_recent(&self, core: &mut Core, member: MemberIx) {
        let peer = core.peers.peer(self.member(member).peer).id;
        for &object in &self.recent {
            core.emit(Output::Digest { object, peers: vec![peer] });
        }
    }

    /// Takes a member out of all trees and gives its children other parents. Its links stay.
    pub(crate) fn uproot(&mut self, core: &mut Core, member: MemberIx) {
        for k in 0..self.substreams() {
            let was_root = self.trees[k].parent(member) == Parent::Origin;
            self.assign(core, k, member, Parent::Out);
            let mut orphans = core::mem::take(&mut self.scratch);
            orphans.extend(self.trees[k].children(member));
            for &orphan in &orphans {
                self.assign(core, k, orphan, Parent::Out);
            }
            self.drop_home(member, k);
            if was_root && self.trees[k].root_count() == 0 {
                self.crown_heir(core, k, &orphans);
            }
            for orphan in orphans.drain(..) {
                if self.trees[k].parent(orphan) == Parent::Out {
                    self.place(core, k, orphan);
                }
            }
            self.scratch = orphans;
            self.join_roots(core, k, 2);
        }
        self.clear_slots(member);
    }

    /// Makes the best of a root's children the root.
    fn crown_heir(&mut self, core: &mut Core, k: usize, orphans: &[MemberIx]) {
        let rank = |&member: &MemberIx| {
            let entry = self.member(member);
            let inner = self.trees[k].node(member).is_inner();
            (inner, entry.slots.saturating_sub(entry.used), u8::MAX - entry.roots)
        };
        if let Some(heir) = orphans.iter().copied().max_by_key(|orphan| rank(orphan)) {
            self.assign(core, k, heir, Parent::Origin);
        }
    }

    /// Takes a peer out of the swarm.
    pub(crate) fn leave(&mut self, core: &mut Core, member: MemberIx) {
        self.uproot(core, member);
        self.forget_awaited(member);
        self.remove(member);
    }

    /// Gives a member another parent at once: the one that it has does not work.
    pub(crate) fn replant(&mut self, core: &mut Core, k: usize, member: MemberIx) {
        self.assign(core, k, member, Parent::Out);
        self.place(core, k, member);
        self.join_roots(core, k, 1);
    }

    /// Takes all edges between two members away and replaces them.
    pub(crate) fn part(&mut self, core: &mut Core, a: MemberIx, b: MemberIx) {
        for k in 0..self.substreams() {
            for (child, parent) in [(a, b), (b, a)] {
                if self.trees[k].parent(child) == Parent::Member(parent) {
                    self.replant(core, k, child);
                }
            }
        }
    }

    /// Takes every member out of the trees: peers are switched off.
    pub(crate) fn clear(&mut self, core: &mut Core) {
        let members: alloc::vec::Vec<_> = self.indices().collect();
        for &member in &members {
            for k in 0..self.substreams() {
                self.assign(core, k, member, Parent::Out);
            }
        }
        for &member in &members {
            self.clear_slots(member);
        }
        self.awaited.clear();
    }
}
