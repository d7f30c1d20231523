//! The way down: digests and chunks go to those who subscribed, the moment they are verified.

use crate::children::Child;
use crate::engine::Engine;
use crate::feed::Parent;
use crate::output::Output;
use crate::uplink::Why;
use alloc::vec::Vec;
use shoal_wire::peer_message::{Holding, MESSAGE_BYTES_MAX};
use shoal_wire::{
    Instant, ObjectId, PeerId, PeerMessage, RenditionId, ShareMode, SignedDigest, Substream,
};

impl Engine {
    pub(crate) fn may_serve(&self) -> bool {
        self.share == ShareMode::Share && self.peers_enabled
    }

    pub(crate) fn on_subscribe(
        &mut self,
        peer: PeerId,
        substream: Substream,
        child: Child,
        now: Instant,
    ) {
        if !self.may_serve() {
            return;
        }
        let Child { from, weight, turn, .. } = child;
        if let Some(known) = self.children.get_mut(from.rendition, substream, peer) {
            if turn <= known.turn {
                return;
            }
            if known.until.is_none() && known.from <= from {
                (known.weight, known.turn) = (weight, turn);
                self.tell_weight(from.rendition, substream);
                // It may ask anew, and what it said in between may be still on its way.
                self.tell(peer, PeerMessage::Subscribed { substream, from });
                return;
            }
        }
        if !self.children.insert(substream, peer, child) {
            return;
        }
        self.tell_weight(from.rendition, substream);
        self.tell(peer, PeerMessage::Subscribed { substream, from });
        let known: Vec<ObjectId> = self
            .store
            .from(from)
            .filter(|(_, object)| object.digest.is_some())
            .map(|(id, _)| *id)
            .collect();
        for id in known {
            self.offer_object(peer, id, substream, weight, now);
        }
    }

    /// Queues what is here of an object's run for a new child. Of the newest segment, a child with
    /// others below it gets it in its turn: all of them would wait behind every leaf.
    fn offer_object(
        &mut self,
        peer: PeerId,
        id: ObjectId,
        substream: Substream,
        weight: u16,
        now: Instant,
    ) {
        self.send_digest(peer, &id);
        let tie = self.random(u32::MAX);
        let Some(object) = self.store.object(&id) else {
            return;
        };
        let Some(neighbour) = self.neighbours.get(&peer) else {
            return;
        };
        if !neighbour.lacks(&id) {
            return;
        }
        let run = object.run_chunks(substream);
        let held = run.indices().filter(|c| object.held(*c, now).is_some());
        let held: Vec<u32> = held.filter(|c| !neighbour.has_cancelled(&id, *c)).collect();
        if held.is_empty() {
            return;
        }
        let segment_len = self.renditions.get(&id.rendition).map(|state| state.segment_len);
        let is_new = Some(now - object.known_at) < segment_len;
        let why = if weight > 0 && is_new { Why::Pushed } else { Why::CatchUp };
        let job = self.uplink.job(peer, id, why, weight, tie);
        let whole = held.len() == run.count as usize;
        for chunk in held {
            job.add(chunk);
        }
        if whole {
            job.ends.push(substream);
        }
    }

    pub(crate) fn on_unsubscribe(
        &mut self,
        peer: PeerId,
        substream: Substream,
        until: ObjectId,
        turn: u32,
    ) {
        if let Some(child) = self.children.get_mut(until.rendition, substream, peer)
            && child.turn < turn
        {
            child.until = Some(child.until.map_or(until, |before| before.min(until)));
            child.turn = turn;
        }
    }

    /// The neighbour plays the rendition no more: nothing of it goes there, nothing comes.
    pub(crate) fn on_forget(&mut self, peer: PeerId, rendition: RenditionId) {
        self.children.forget(peer, rendition);
    }

    /// Sends a new digest to the children that pass it on, and tells the parents that it is here:
    /// nobody else would send it. Whoever subscribes says what it has before. Leaves get it ahead of
    /// the first chunk, since by then most have it from another parent.
    pub(crate) fn pass_on_digest(&mut self, digest: &SignedDigest, from: Option<PeerId>) {
        let object = digest.object;
        let feeds = self.renditions.get(&object.rendition).map_or(&[][..], |r| &r.feeds);
        let next = feeds.iter().filter_map(|feed| feed.next).map(|next| next.peer);
        let mut parents: Vec<PeerId> =
            feeds.iter().filter_map(|feed| feed.current.peer()).chain(next).collect();
        parents.sort_unstable();
        parents.dedup();
        for peer in parents {
            if Some(peer) != from && self.neighbours.contains_key(&peer) {
                self.tell(peer, PeerMessage::Have { object, holding: Holding::Digest });
            }
        }
        if !self.may_serve() {
            return;
        }
        let substreams = (0..digest.substreams).map(Substream);
        let lacking = substreams.flat_map(|k| self.lacking(k, &object));
        let mut peers: Vec<PeerId> =
            lacking.filter(|(_, child)| child.weight > 0).map(|(peer, _)| peer).collect();
        peers.sort_unstable();
        peers.dedup();
        for peer in peers {
            self.send_digest(peer, &object);
        }
    }

    pub(crate) fn send_digest(&mut self, peer: PeerId, object: &ObjectId) {
        let digest = self.store.object(object).and_then(|o| o.digest.clone());
        let Some(digest) = digest else { return };
        let Some(neighbour) = self.neighbours.get_mut(&peer) else {
            return;
        };
        if neighbour.knows_digest(object) || digest.encoded().len() >= MESSAGE_BYTES_MAX {
            return;
        }
        neighbour.note_holding(*object, Holding::Digest);
        self.tell(peer, PeerMessage::Digest(digest.encoded().clone()));
    }

    /// A neighbour lacks a digest and says so.
    pub(crate) fn give_digest(&mut self, peer: PeerId, object: &ObjectId) {
        let digest = self.store.object(object).and_then(|o| o.digest.clone());
        let Some(digest) = digest.filter(|_| self.may_serve()) else { return };
        if digest.encoded().len() < MESSAGE_BYTES_MAX
            && let Some(neighbour) = self.neighbours.get_mut(&peer)
        {
            neighbour.note_holding(*object, Holding::Digest);
            self.tell(peer, PeerMessage::Digest(digest.encoded().clone()));
        }
    }

    /// The children of a substream that an object is to be pushed to.
    fn lacking<'a>(
        &'a self,
        k: Substream,
        object: &'a ObjectId,
    ) -> impl Iterator<Item = (PeerId, &'a Child)> {
        let wants = |(_, child): &(PeerId, &Child)| child.covers(object);
        let lacks = |peer: &PeerId| self.neighbours.get(peer).is_some_and(|n| n.lacks(object));
        let wanting = self.children.of(object.rendition, k).filter(wants);
        wanting.filter(move |(peer, _)| lacks(peer))
    }

    /// Queues a verified chunk for the children of its substream.
    pub(crate) fn relay(
        &mut self,
        id: ObjectId,
        k: Substream,
        chunk: u32,
        from: Option<PeerId>,
        whole_run: bool,
    ) {
        if !self.may_serve() {
            return;
        }
        let queued_max = self.config.queued_chunks_per_neighbour_max;
        for (peer, child) in self.children.of(id.rendition, k) {
            let Some(neighbour) = self.neighbours.get(&peer) else { continue };
            if Some(peer) == from
                || !child.covers(&id)
                || !neighbour.lacks(&id)
                || neighbour.has_cancelled(&id, chunk)
                || self.uplink.queued_for(peer) >= queued_max
            {
                continue;
            }
            // Of equals the same one is first each time, for its chunks to come soon; of leaves another
            // one with each object.
            let turn = if child.weight > 0 { 0 } else { id.msn };
            let tie = scatter(peer.0 ^ turn.rotate_left(32));
            let job = self.uplink.job(peer, id, Why::Pushed, child.weight, tie);
            job.add(chunk);
            if whole_run {
                job.ends.push(k);
            }
        }
    }

    /// How many peers hang below this one in a substream, as far as the children told.
    pub(crate) fn descendants(&self, rendition: RenditionId, k: Substream) -> u16 {
        let below = self.children.of(rendition, k).map(|(_, child)| child);
        below
            .filter(|child| child.until.is_none())
            .fold(0u16, |sum, child| sum.saturating_add(child.weight).saturating_add(1))
    }

    /// Tells the parent how many peers hang below this one, if that has clearly changed.
    pub(crate) fn tell_weight(&mut self, rendition: RenditionId, k: Substream) {
        let weight = self.descendants(rendition, k);
        let Some(state) = self.renditions.get_mut(&rendition) else { return };
        let Some(from) = state.frontier() else { return };
        let Some(feed) = state.feed_mut(k) else { return };
        let (told, slack) = (feed.weight_told, feed.weight_told / 4);
        if let Parent::Peer(parent) = feed.current
            && weight.abs_diff(told) > slack
        {
            feed.weight_told = weight;
            let turn = self.turn(parent);
            self.tell(parent, PeerMessage::Subscribe { substream: k, from, weight, turn });
        }
    }

    /// Tells the children of a run that it will be late.
    pub(crate) fn tell_late(&mut self, object: ObjectId, k: Substream) {
        let Some(entry) = self.store.object(&object) else {
            return;
        };
        let lacking = |_, cell: &crate::object::Cell| {
            matches!(cell, crate::object::Cell::Missing | crate::object::Cell::Asked(_))
        };
        let missing = entry.ranges(entry.run_chunks(k), lacking);
        let peers: Vec<PeerId> = self.lacking(k, &object).map(|(peer, _)| peer).collect();
        for peer in peers {
            for chunks in &missing {
                self.tell(peer, PeerMessage::Late { object, chunks: *chunks });
            }
        }
    }

    pub(crate) fn tell_all(&mut self, message: &PeerMessage) {
        for peer in self.neighbours.keys() {
            let (peer, message) = (*peer, message.clone());
            self.outputs.push_back(Output::Send { peer, message });
        }
    }
}

/// Spreads the bits of a number (Steele, Lea, Flood 2014).
fn scatter(value: u64) -> u32 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    u32::try_from(value >> 32).unwrap_or(0)
}
