//! Peers that come, go, or lose each other.
//!
//! Rule: a link that is gone takes its edges with it at once, in every rendition.

use crate::attach::Search;
use crate::engine::Tracker;
use crate::input::{Mapping, Profile};
use crate::links::Down;
use crate::output::Output;
use crate::peers::{Peer, PeerIx, REPORTERS_MAX, Watch};
use crate::tree::{MemberIx, Parent};
use alloc::vec::Vec;
use core::time::Duration;
use shoal_wire::tracker_message::{Assignment, Edge, LostReason};
use shoal_wire::{PeerId, RenditionId, Substream};

/// Edges that a peer may bring along: eight substreams of eight renditions.
const EDGES_MAX: usize = 64;
/// How long a pair is left alone after the child moved away because of lateness.
const LATE_PAIR_MEMORY: Duration = Duration::from_secs(30);
/// Complaints of a parent that are further apart have nothing to do with each other.
const LATE_WINDOW: Duration = Duration::from_secs(20);
/// A child that was fed for so long has had several segments.
const CONTENT_AFTER: Duration = Duration::from_secs(10);
/// Time between two moves of one node because of lateness: the new parent needs time to show.
const LATE_MOVE_MIN: Duration = Duration::from_secs(5);
/// What a late parent's copies are assumed to be late by, µs.
const LATE_US: u32 = 200_000;

impl Tracker {
    pub(crate) fn join(
        &mut self,
        id: PeerId,
        profile: &Profile,
        mut edges: Vec<Edge>,
        neighbours: &[PeerId],
    ) {
        self.leave(id);
        if self.core.peers.len() >= self.core.config.peers_max as usize {
            return;
        }
        let mut peer = Peer::new(id, profile, self.core.config.links_max, self.core.now);
        peer.banned = self.core.trust.is_banned(id);
        peer.feud = self.core.trust.is_involved(id);
        let links_max = usize::from(peer.links_max);
        let resumes = !edges.is_empty() || !neighbours.is_empty();
        let grace = self.core.config.adopt_grace;
        if resumes && !self.core.now.is_past(crate::stamp::Stamp::ZERO, grace) {
            self.core.frozen = true;
        }
        edges.truncate(EDGES_MAX);
        peer.resume = edges;
        let ix = self.core.peers.insert(peer);
        for other in neighbours.iter().take(links_max) {
            if let Some(other) = self.core.peers.find(*other) {
                self.adopt_link(ix, other);
            }
        }
    }

    /// Takes over a link that a peer brought along, or has it closed if the two must not have it.
    fn adopt_link(&mut self, peer: PeerIx, other: PeerIx) {
        let peers = &self.core.peers;
        let fits = |ix| {
            let peer: &Peer = peers.peer(ix);
            peer.is_planned() && peer.links.len() < usize::from(peer.links_max)
        };
        if fits(peer) && fits(other) && self.core.can_link(peer, other) {
            self.core.add_link(peer, other, true);
        } else if peer != other && peers.peer(peer).link(other).is_none() {
            self.core.disconnect(peer, other);
        }
    }

    pub(crate) fn leave(&mut self, id: PeerId) {
        let Some(peer) = self.core.peers.find(id) else { return };
        let links = &self.core.peers.peer(peer).links;
        self.core.peers.warm(links.iter().map(|link| link.other));
        // Nobody is to be linked to it while its children find other parents.
        for watch in self.core.peers.peer(peer).watches.clone() {
            self.exit(peer, watch.swarm);
        }
        self.drop_links(peer);
        self.core.peers.remove(peer);
    }

    fn drop_links(&mut self, peer: PeerIx) {
        while let Some(link) = self.core.peers.peer(peer).links.last().copied() {
            self.core.remove_link(peer, link.other);
        }
    }

    /// Takes a peer out of all swarms and tells it so; it goes on with the origin alone.
    pub(crate) fn exit_all(&mut self, peer: PeerIx) {
        for watch in self.core.peers.peer(peer).watches.clone() {
            let was_member = watch.member != MemberIx::NONE;
            self.exit(peer, watch.swarm);
            if !was_member {
                continue;
            }
            let swarm = &self.swarms[watch.swarm.at()];
            let substreams = u8::try_from(swarm.substreams()).expect("substreams fit in a byte");
            if substreams == 0 || !self.core.enabled {
                continue;
            }
            let origin = |k| Assignment { substream: Substream(k), parent: None };
            let assignments: Vec<_> = (0..substreams).map(origin).collect();
            let version = self.core.next_version(assignments.len());
            let (peer, rendition) = (self.core.peers.peer(peer).id, swarm.rendition);
            self.core.emit(Output::Plan { peer, version, rendition, substreams, assignments });
        }
    }

    /// A peer's mapping is known. Links that are opening and that it bars are given up at once: to
    /// wait until they fail would take many seconds.
    pub(crate) fn map(&mut self, id: PeerId, mapping: Mapping) {
        let Some(peer) = self.core.peers.find(id) else { return };
        self.core.peers.peer_mut(peer).mapping = mapping;
        let opening = self.core.peers.peer(peer).links.iter().filter(|link| !link.is_open());
        let barred = opening.map(|link| link.other).filter(|it| self.core.is_barred(peer, *it));
        for other in barred.collect::<Vec<_>>() {
            self.core.disconnect(peer, other);
            self.link_down(peer, other, Down::Barred);
        }
    }

    /// A link is gone, as `a` says: its edges get other parents.
    pub(crate) fn link_down(&mut self, a: PeerIx, b: PeerIx, down: Down) {
        if !self.core.remove_link(a, b) {
            return;
        }
        if down == Down::Failed {
            // The other end may still try to open it: what it waits for counts as one of its links,
            // and one that has too many refuses others in turn.
            let (failed, waiting) = (self.core.peers.peer(a).id, self.core.peers.peer(b).id);
            self.core.emit(Output::Disconnect { peer: waiting, other: failed });
        }
        self.core.note_down(a, b, down);
        self.part_sources(a, b);
        for watch in self.core.peers.peer(a).watches.clone() {
            let Some(other) = self.core.peers.peer(b).member_of(watch.swarm) else { continue };
            if watch.member != MemberIx::NONE {
                self.swarms[watch.swarm.at()].part(&mut self.core, watch.member, other);
            }
        }
    }

    /// Whether a peer has fed somebody for a while who does not complain. Who sends bad chunks has
    /// no such child; who is slandered by some has.
    pub(crate) fn has_content_child(&self, peer: PeerIx) -> bool {
        let content = |watch: &Watch| {
            let swarm = &self.swarms[watch.swarm.at()];
            watch.member != MemberIx::NONE
                && swarm.trees.iter().any(|tree| {
                    let mut children = tree.children(watch.member);
                    let moved = |child: &MemberIx| tree.node(*child).moved;
                    children.any(|child| self.core.now.is_past(moved(&child), CONTENT_AFTER))
                })
        };
        self.core.peers.peer(peer).watches.iter().any(content)
    }

    /// A peer feeds nobody any more; it is fed as others are.
    pub(crate) fn ban(&mut self, peer: PeerIx) {
        self.core.peers.peer_mut(peer).banned = true;
        self.core.counts.banned += 1;
        let id = self.core.peers.peer(peer).id;
        self.core.emit(Output::Banned { peer: id });
        for link in self.core.peers.peer(peer).links.clone() {
            self.core.disconnect(peer, link.other);
        }
        self.exit_all(peer);
        self.drop_links(peer);
        for watch in self.core.peers.peer(peer).watches.clone() {
            self.enter(peer, watch.swarm);
        }
        self.share_upload(peer);
    }

    pub(crate) fn lost(
        &mut self,
        id: PeerId,
        rendition: RenditionId,
        substream: Substream,
        parent: Option<PeerId>,
        reason: LostReason,
    ) {
        let k = usize::from(substream.0);
        let (Some(peer), Some(parent)) = (self.core.peers.find(id), parent) else { return };
        let Some(&ix) = self.renditions.get(&rendition) else { return };
        let Some(member) = self.core.peers.peer(peer).member_of(ix) else { return };
        let swarm = &mut self.swarms[ix.at()];
        if k >= swarm.substreams() {
            return;
        }
        if swarm.trees[k].parent(member) == Parent::Awaited {
            swarm.replant(&mut self.core, k, member);
            return;
        }
        let Some(above) = self.core.peers.find(parent) else { return };
        let Some(above_member) = self.core.peers.peer(above).member_of(ix) else { return };
        if swarm.trees[k].parent(member) != Parent::Member(above_member) {
            return;
        }
        match reason {
            LostReason::Link => self.link_down(peer, above, Down::Failed),
            LostReason::Misbehaved => {
                self.core.disconnect(peer, above);
                self.link_down(peer, above, Down::Separated);
            }
            LostReason::Late => {
                self.count_late(peer, above);
                self.swarms[ix.at()].leave_late(&mut self.core, k, member, above_member);
            }
        }
    }

    /// Counts a complaint; most children's take the parent's slots away for a while. Some have
    /// reason to complain of any uplink that is full.
    fn count_late(&mut self, child: PeerIx, parent: PeerIx) {
        let now = self.core.now;
        let (window, penalty) = (LATE_WINDOW, self.core.config.late_penalty);
        let children: u32 = self.children_of(parent);
        let least = self.core.config.late_children_min;
        let most = REPORTERS_MAX.max(least);
        let needed = u8::try_from(children * 3 / 4).unwrap_or(u8::MAX).clamp(least, most);
        let lateness = self.core.peers.peer_mut(parent).lateness.get_or_insert_default();
        if lateness.count == 0 || now.is_past(lateness.since, window) {
            (lateness.count, lateness.since) = (0, now);
        }
        let known = &lateness.reporters[..usize::from(lateness.count)];
        if known.contains(&child.0) || known.len() == lateness.reporters.len() {
            return;
        }
        lateness.reporters[usize::from(lateness.count)] = child.0;
        lateness.count += 1;
        if lateness.count >= needed {
            lateness.count = 0;
            lateness.penalty_until = now.after(penalty);
            self.share_upload(parent);
        }
    }

    fn children_of(&self, peer: PeerIx) -> u32 {
        let watches = self.core.peers.peer(peer).watches.iter();
        let used = watches
            .filter(|watch| watch.member != MemberIx::NONE)
            .map(|watch| u32::from(self.swarms[watch.swarm.at()].member(watch.member).used));
        used.sum()
    }
}

impl crate::swarm::Swarm {
    /// Moves a member away from a parent that is late, if there is a better place.
    fn leave_late(
        &mut self,
        core: &mut crate::shared::Core,
        k: usize,
        member: MemberIx,
        parent: MemberIx,
    ) {
        let node = self.trees[k].node(member);
        if !core.now.is_past(node.moved, LATE_MOVE_MIN) {
            return;
        }
        let limit = self.arrival_us(k, member).saturating_mul(2).saturating_add(LATE_US);
        let found = self.find_place(core, k, member, Some(parent), Search::Recruit);
        let Some(choice) = found.filter(|choice| choice.cost_us < limit) else { return };
        let (child, above) = (self.member(member).peer, self.member(parent).peer);
        self.take_place(core, k, member, choice);
        core.remember_pair(child, above, LATE_PAIR_MEMORY);
    }
}
