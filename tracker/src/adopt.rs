//! Standing plans taken over from peers that were connected before the tracker restarted.
//!
//! Rule: what works stays. An edge that a peer reports is taken as it is, without a new plan, also
//! when the parent comes back later; a cycle is broken; after the grace, what is still missing is
//! planned anew.

use crate::shared::Core;
use crate::swarm::Swarm;
use crate::tree::{MemberIx, Parent};
use alloc::vec::Vec;
use shoal_wire::PeerId;
use shoal_wire::tracker_message::Edge;

impl Swarm {
    /// Takes over the edges that a member brought along; says whether there were any.
    pub(crate) fn adopt(&mut self, core: &mut Core, member: MemberIx) -> bool {
        let peer = self.member(member).peer;
        let resume = &mut core.peers.peer_mut(peer).resume;
        let own = |edge: &Edge| edge.rendition == self.rendition;
        let edges: Vec<Edge> = resume.iter().copied().filter(own).collect();
        resume.retain(|edge| !own(edge));
        if resume.is_empty() {
            *resume = Vec::new();
        }
        let mut adopted = false;
        for edge in edges {
            let k = usize::from(edge.substream.0);
            if k >= self.substreams() || self.trees[k].parent(member) != Parent::Out {
                continue;
            }
            adopted |= self.adopt_edge(core, k, member, edge.parent);
        }
        adopted
    }

    fn adopt_edge(
        &mut self,
        core: &mut Core,
        k: usize,
        member: MemberIx,
        parent: Option<PeerId>,
    ) -> bool {
        let Some(parent) = parent else {
            self.hook(core, k, member, Parent::Origin);
            return true;
        };
        let present =
            core.peers.find(parent).and_then(|peer| core.peers.peer(peer).member_of(self.ix));
        match present {
            Some(above) => self.adopt_below(core, k, member, above),
            None if core.frozen => {
                self.hook(core, k, member, Parent::Awaited);
                let k = u8::try_from(k).expect("substreams fit in a byte");
                self.awaited.entry(parent).or_default().push((k, member));
                true
            }
            None => false,
        }
    }

    /// Adopts an edge between two members, unless it closes a cycle or may not be.
    fn adopt_below(
        &mut self,
        core: &mut Core,
        k: usize,
        member: MemberIx,
        above: MemberIx,
    ) -> bool {
        let tree = &self.trees[k];
        let is_out = tree.parent(above) == Parent::Out;
        if member == above || is_out || self.is_fed_through(core, k, above, member) {
            return false;
        }
        let (child, parent) = (self.member(member).peer, self.member(above).peer);
        if self.member(above).slots == 0 || !core.can_link(child, parent) {
            return false;
        }
        self.hook(core, k, member, Parent::Member(above));
        true
    }

    /// Gives a member that came back the children that wait for it.
    pub(crate) fn adopt_awaiting(&mut self, core: &mut Core, member: MemberIx) {
        let id = core.peers.peer(self.member(member).peer).id;
        for (k, child) in self.awaited.remove(&id).unwrap_or_default() {
            let k = usize::from(k);
            if !self.has(child) || self.trees[k].parent(child) != Parent::Awaited {
                continue;
            }
            self.trees[k].detach(child);
            if !self.adopt_below(core, k, child, member) {
                self.place(core, k, child);
            }
        }
    }

    /// Gives up waiting: plans anew what still waits for a parent.
    pub(crate) fn end_waiting(&mut self, core: &mut Core) {
        for (k, child) in core::mem::take(&mut self.awaited).into_values().flatten() {
            let k = usize::from(k);
            if self.has(child) && self.trees[k].parent(child) == Parent::Awaited {
                self.replant(core, k, child);
            }
        }
    }

    /// Drops what a leaver waited for.
    pub(crate) fn forget_awaited(&mut self, member: MemberIx) {
        self.awaited.retain(|_, children| {
            children.retain(|&(_, child)| child != member);
            !children.is_empty()
        });
    }
}
