//! How members come into a swarm and leave it, and what becomes of those below a leaver.
//!
//! Rule: after every step each member has a parent, the origin at the worst, in every substream.

use crate::attach::{NEW_LINK_US, Search};
use crate::links::SPARE_FOR_PARENTS;
use crate::output::Output;
use crate::peers::PeerIx;
use crate::shared::Core;
use crate::swarm::{Member, Swarm};
use crate::tree::{MemberIx, Parent};
use alloc::vec;
use alloc::vec::Vec;
use rand_core::Rng;

/// What the way to a sibling's new parent may be longer than the sibling's, a new link included.
const FOLLOW_US: u32 = NEW_LINK_US + 10_000;
/// Nodes at the bottom of which the one with the fewest children takes over a place.
const STAND_INS_MAX: usize = 16;

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
        let (count, start) = (self.substreams(), core.random.next_u32() as usize);
        for k in (0..count).map(|k| (k + start % count) % count) {
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
        // It offers nothing any more, so that its children can go without much ado.
        self.set_crowded(core.now, member);
        for k in 0..self.substreams() {
            self.vacate(core, k, member);
            self.join_roots(core, k, 2);
        }
        self.clear_slots(member);
    }

    /// Takes a member out of one tree, where it is interior no longer. If much hangs on several of
    /// its children, a strong node from the bottom takes its place with all of them; else the best
    /// child does, with as many of the others as it has room for. The rest go where they may.
    pub(crate) fn vacate(&mut self, core: &mut Core, k: usize, member: MemberIx) {
        let above = self.trees[k].parent(member);
        let stand_in = self.find_stand_in(core, k, member);
        let has_children = self.trees[k].node(member).children() > 0;
        let place_us = if has_children { self.arrival_us(k, member) } else { 0 };
        self.assign(core, k, member, Parent::Out);
        let mut orphans = core::mem::take(&mut self.scratch);
        orphans.extend(self.trees[k].children(member));
        for &orphan in &orphans {
            self.assign(core, k, orphan, Parent::Out);
        }
        self.drop_home(member, k);
        match (above, stand_in) {
            (Parent::Out | Parent::Awaited, _) => {}
            (_, Some(stand_in)) => self.stand_in(core, k, stand_in, above, &mut orphans),
            (Parent::Origin, None) => {
                if self.trees[k].root_count() == 0 {
                    self.crown_heir(core, k, &orphans);
                }
            }
            (Parent::Member(above), None) => self.promote_heir(core, k, &orphans, above, place_us),
        }
        self.leaver = Some(member);
        self.place_orphans(core, k, &orphans);
        self.leaver = None;
        orphans.clear();
        self.scratch = orphans;
    }

    /// Finds places for orphans. Weak ones follow the one before to its new parent while that has
    /// room and is not clearly farther from them: a search for each would cost much at a large leaver.
    fn place_orphans(&mut self, core: &mut Core, k: usize, orphans: &[MemberIx]) {
        let mut last = None;
        for &orphan in orphans {
            if self.trees[k].parent(orphan) != Parent::Out {
                continue;
            }
            let is_weak = !self.trees[k].node(orphan).is_strong();
            let follows = last.filter(|&(parent, way_us)| {
                let above = self.member(parent);
                let farther = || core.way_us(self.member(orphan).peer, above.peer) > way_us;
                is_weak
                    && above.used < above.even.min(above.slots)
                    && !farther()
                    && self.can_be_child(core, k, orphan, parent)
            });
            if let Some((parent, _)) = follows {
                self.assign(core, k, orphan, Parent::Member(parent));
                continue;
            }
            self.place(core, k, orphan);
            if let Parent::Member(parent) = self.trees[k].parent(orphan) {
                let way_us = core.trip_us(self.member(orphan).peer, self.member(parent).peer);
                last = Some((parent, way_us + FOLLOW_US));
            }
        }
    }

    /// Whether several children of a node have strong children themselves.
    pub(crate) fn carries_much(&self, k: usize, member: MemberIx) -> bool {
        let tree = &self.trees[k];
        let carries = |&child: &MemberIx| tree.node(child).strong_children() > 0;
        tree.interior_children(member).filter(carries).nth(1).is_some()
    }

    /// A strong node from the bottom that can take the place of a member on which much hangs.
    pub(crate) fn find_stand_in(
        &self,
        core: &Core,
        k: usize,
        member: MemberIx,
    ) -> Option<MemberIx> {
        let tree = &self.trees[k];
        if core.frozen || !self.carries_much(k, member) {
            return None;
        }
        let above = tree.parent(member);
        let children = tree.node(member).children();
        let fits = |&other: &MemberIx| {
            let (node, entry) = (tree.node(other), self.member(other));
            let linked = match above {
                Parent::Member(above) => {
                    above != other
                        && core.can_link(entry.peer, self.member(above).peer)
                        && !self.is_fed_through(core, k, above, other)
                }
                Parent::Out | Parent::Origin | Parent::Awaited => true,
            };
            other != member
                && node.class() >= tree.node(member).class()
                && linked
                && node.strong_children() == 0
                && tree.parent(other) != Parent::Out
                && entry.slots - entry.used + node.children() >= children
                && core.link_room(entry.peer) > usize::from(children) + SPARE_FOR_PARENTS
        };
        let latest = tree.places.latest().take(STAND_INS_MAX);
        latest.filter(fits).min_by_key(|&other| tree.node(other).children())
    }

    /// Makes a node take over a place and the orphans from it; its own children become orphans.
    fn stand_in(
        &mut self,
        core: &mut Core,
        k: usize,
        member: MemberIx,
        above: Parent,
        orphans: &mut Vec<MemberIx>,
    ) {
        let mut below = core::mem::take(&mut self.scratch_below);
        below.extend(self.trees[k].children(member));
        for &child in &below {
            self.assign(core, k, child, Parent::Out);
        }
        // It may be an orphan itself.
        self.assign(core, k, member, above);
        for &orphan in orphans.iter() {
            let entry = self.member(member);
            if entry.used < entry.slots && self.can_be_child(core, k, orphan, member) {
                self.assign(core, k, orphan, Parent::Member(member));
            }
        }
        orphans.append(&mut below);
        self.scratch_below = below;
    }

    /// Has the strongest orphan take the place below `above`, and others below itself within its
    /// even share. Orphans come strongest first.
    fn promote_heir(
        &mut self,
        core: &mut Core,
        k: usize,
        orphans: &[MemberIx],
        above: MemberIx,
        place_us: u32,
    ) {
        let Some((&heir, others)) = orphans.split_first() else { return };
        let is_free = |entry: &Member| entry.used < entry.slots;
        if !self.trees[k].node(heir).is_strong()
            || !is_free(self.member(above))
            || !self.can_be_child(core, k, heir, above)
        {
            return;
        }
        let found = self.find_place(core, k, heir, Some(above), Search::Displace);
        match found.filter(|choice| choice.cost_us < place_us) {
            Some(choice) => self.take_place(core, k, heir, choice),
            None => self.assign(core, k, heir, Parent::Member(above)),
        }
        for &other in others {
            let entry = self.member(heir);
            if entry.used >= entry.even.min(entry.slots) {
                return;
            }
            let is_weak = !self.trees[k].node(other).is_strong();
            if is_weak && self.can_be_child(core, k, other, heir) {
                self.assign(core, k, other, Parent::Member(heir));
            }
        }
    }

    /// Makes the best of a root's children the root.
    fn crown_heir(&mut self, core: &mut Core, k: usize, orphans: &[MemberIx]) {
        let rank = |&member: &MemberIx| {
            let entry = self.member(member);
            let inner = self.trees[k].node(member).is_strong();
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
        self.forget_actor(core, member);
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
        self.forget_acting_pair(a, b);
        for k in 0..self.substreams() {
            for (child, parent) in [(a, b), (b, a)] {
                if self.trees[k].parent(child) == Parent::Member(parent)
                    && !self.go_back(core, k, child)
                {
                    self.replant(core, k, child);
                }
            }
        }
    }

    /// Takes every member out of the trees: peers are switched off.
    pub(crate) fn clear(&mut self, core: &mut Core) {
        let members: Vec<_> = self.indices().collect();
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
