//! What comes in: digests, chunks from neighbours, bytes from the origin.
//!
//! Rule: a chunk enters the store as verified only if its hash is the digest's.

use crate::children::Child;
use crate::engine::Engine;
use crate::feed::Parent;
use crate::input::FetchId;
use crate::neighbour::most_are_delayed;
use crate::object::{Asked, Cell, Unverified};
use crate::output::{Offence, Output};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;
use shoal_wire::peer_message::Holding;
use shoal_wire::{
    ChunkRange, ClientMessage, Instant, ObjectId, Payload, PeerId, PeerMessage, SignedDigest,
    Substream,
};

impl Engine {
    pub(crate) fn on_link_invalid(&mut self, peer: PeerId, now: Instant) {
        if self.neighbours.contains_key(&peer) {
            self.cut_off(peer, Offence::BadMessage, None, now);
        }
    }

    pub(crate) fn on_link_message(&mut self, peer: PeerId, message: PeerMessage, now: Instant) {
        if !self.neighbours.contains_key(&peer) {
            return;
        }
        match message {
            PeerMessage::Subscribe { substream, from, weight, turn } => {
                let child = Child { from, until: None, weight, turn };
                self.on_subscribe(peer, substream, child, now);
            }
            PeerMessage::Subscribed { substream, from } => {
                self.on_subscribed(peer, substream, from, now);
            }
            PeerMessage::Unsubscribe { substream, until, turn } => {
                self.on_unsubscribe(peer, substream, until, turn);
            }
            PeerMessage::Fetch { object, chunks } => self.on_fetch(peer, object, chunks, now),
            PeerMessage::Cancel { object, chunks } => self.on_cancel(peer, object, chunks, now),
            PeerMessage::Refuse { object, chunks } => self.on_refuse(peer, object, chunks, now),
            PeerMessage::Chunk { object, chunks, payload, .. } => {
                self.on_chunks(peer, object, chunks, payload, now);
            }
            PeerMessage::Digest(encoded) => self.on_digest(Some(peer), encoded, now),
            PeerMessage::Have { object, holding } => self.on_have(peer, object, holding, now),
            PeerMessage::Offer { object, runs } => self.on_offer(peer, object, runs, now),
            PeerMessage::End { object, substream, .. } => self.on_end(peer, object, substream, now),
            PeerMessage::Late { object, chunks } => self.on_late(peer, object, chunks, now),
            PeerMessage::Forget { rendition } => self.on_forget(peer, rendition),
            PeerMessage::Ping(nonce) => self.tell(peer, PeerMessage::Pong(nonce)),
            PeerMessage::Pong(nonce) => self.on_pong(peer, nonce, now),
            PeerMessage::Bye => self.close_link(peer, now),
        }
    }

    /// Cuts a neighbour off that broke the protocol or sent bad bytes.
    pub(crate) fn cut_off(
        &mut self,
        peer: PeerId,
        offence: Offence,
        object: Option<ObjectId>,
        now: Instant,
    ) {
        self.push(Output::CutOff { peer, offence });
        self.counters.cut_off += 1;
        self.remember_cut_off(peer);
        if let Some(object) = object {
            self.tell_server(ClientMessage::BadChunk { peer, object });
        }
        self.close_link(peer, now);
    }

    fn on_pong(&mut self, peer: PeerId, nonce: u64, now: Instant) {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else {
            return;
        };
        let sent_at = Instant::from_micros(nonce);
        if sent_at <= now {
            neighbour.note_round_trip(now - sent_at, self.uplink.own_delay());
        }
        if most_are_delayed(self.neighbours.values()) {
            self.uplink.note_delay();
        }
    }

    fn on_have(&mut self, peer: PeerId, object: ObjectId, holding: Holding, now: Instant) {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else {
            return;
        };
        neighbour.note_holding(object, holding);
        if holding == Holding::Digest {
            return;
        }
        let is_on_demand = self.is_on_demand(object.rendition);
        self.timers.demand_stale |= is_on_demand;
        let all = ChunkRange::new(0, u32::MAX);
        self.uplink.cancel(peer, &object, all);
        if holding == Holding::Private {
            return;
        }
        let Some(entry) = self.store.object_mut(&object) else {
            return;
        };
        let failed = entry.failures > 0 && !entry.is_complete();
        let mut starved = false;
        for run in entry.runs.iter_mut().filter(|run| run.starved) {
            run.repair_at = run.repair_at.min(now);
            run.starved = false;
            starved = true;
        }
        if failed {
            self.timers.objects_stale = true;
            self.ask_peers(object, now);
        }
        if starved {
            self.timers.objects_stale = true;
            self.consider(object, now);
        }
    }

    /// The run was sent to the end: what lacks after the links' reordering was lost.
    fn on_end(&mut self, peer: PeerId, object: ObjectId, substream: Substream, now: Instant) {
        let Some(neighbour) = self.neighbours.get(&peer) else {
            return;
        };
        let at = now + neighbour.round_trip() + Duration::from_millis(50);
        let Some(entry) = self.store.object_mut(&object) else {
            return;
        };
        if let Some(run) = entry.runs.get_mut(usize::from(substream.0))
            && !run.complete
        {
            run.ended = true;
            run.repair_at = run.repair_at.min(at);
            self.timers.hasten_objects(at);
        }
    }

    /// The parent itself misses these: it is not to blame, and repairing at once helps nobody.
    fn on_late(&mut self, peer: PeerId, object: ObjectId, chunks: ChunkRange, now: Instant) {
        let Some(digest) = self.store.object(&object).and_then(|o| o.digest.clone()) else {
            return;
        };
        let k = digest.substream_of(chunks.first);
        let wait = self.config.repair_wait_min * 2;
        let feed = self.renditions.get(&object.rendition).and_then(|r| r.feed(k));
        if feed.is_none_or(|feed| feed.current != Parent::Peer(peer)) {
            return;
        }
        let Some(entry) = self.store.object_mut(&object) else {
            return;
        };
        let Some(run) = entry.runs.get_mut(usize::from(k.0)) else {
            return;
        };
        run.parent_late = true;
        if run.complete || core::mem::replace(&mut run.told_late, true) {
            return;
        }
        run.repair_at = run.repair_at.max(now) + wait;
        self.tell_late(object, k);
    }

    fn on_refuse(&mut self, peer: PeerId, object: ObjectId, chunks: ChunkRange, now: Instant) {
        if let Some(neighbour) = self.neighbours.get_mut(&peer) {
            neighbour.note_refusal(object);
            neighbour.pull.rest(now);
        }
        if self.is_on_demand(object.rendition) {
            self.note_pull_refused(peer, now);
        }
        let Some(entry) = self.store.object_mut(&object) else {
            return;
        };
        let Some(digest) = entry.digest.clone() else {
            return;
        };
        let mut hit = false;
        for chunk in chunks.indices().take(entry.cells.len()) {
            if let Some(cell @ Cell::Asked(_)) = entry.cells.get_mut(chunk as usize)
                && matches!(cell, Cell::Asked(Asked::Peer(asked)) if *asked == peer)
            {
                *cell = Cell::Missing;
                hit = true;
            }
        }
        let k = digest.substream_of(chunks.first);
        let parent = self.renditions.get(&object.rendition).and_then(|r| r.feed(k));
        let is_parent = parent.is_some_and(|feed| feed.current == Parent::Peer(peer));
        if (hit || is_parent)
            && let Some(run) =
                self.store.object_mut(&object).and_then(|o| o.runs.get_mut(usize::from(k.0)))
        {
            run.repair_at = run.repair_at.min(now + self.config.repair_wait_min);
        }
    }

    pub(crate) fn on_digest(&mut self, from: Option<PeerId>, encoded: Bytes, now: Instant) {
        if self.session.keys.is_empty() {
            return;
        }
        let digest = match self.verifier.verify(&encoded, &self.session.keys) {
            Ok(digest) if digest.stream == self.stream => digest,
            Ok(_) | Err(_) => {
                if let Some(peer) = from {
                    self.cut_off(peer, Offence::BadDigest, None, now);
                }
                return;
            }
        };
        let id = digest.object;
        if let Some(peer) = from
            && let Some(neighbour) = self.neighbours.get_mut(&peer)
        {
            neighbour.note_holding(id, Holding::Digest);
        }
        if self.store.object(&id).is_some_and(|object| object.digest.is_some()) {
            return;
        }
        let jitter = self.random(20);
        let repair: Vec<Instant> =
            (0..digest.substreams).map(|k| self.first_repair_at(&id, Substream(k), now)).collect();
        let object = self.store.ensure(id, now, jitter);
        object.known_at = now;
        object.adopt_digest(Arc::clone(&digest), now);
        for (run, at) in object.runs.iter_mut().zip(repair) {
            run.repair_at = at;
        }
        let unverified = core::mem::take(&mut object.unverified);
        let (undigested, raw_fetch) = (object.undigested.take(), object.raw_fetch.take());
        self.note_newest(&digest, now);
        self.pass_on_digest(&digest, from);
        for k in 0..digest.substreams {
            self.tell_weight(id.rendition, Substream(k));
        }
        self.push(Output::Published(digest));
        self.adopt_raw(id, undigested, raw_fetch, now);
        for early in unverified {
            self.count_unverified(early.peer, -early.payload.len().cast_signed());
            self.on_chunks(early.peer, id, early.chunks, early.payload, now);
        }
        if self.store.object(&id).is_some_and(|o| o.is_complete()) {
            self.store.note_complete(&id);
        }
        self.evict();
        self.serve(id, now);
        self.consider(id, now);
        self.timers.demand_stale = true;
    }

    fn note_newest(&mut self, digest: &SignedDigest, now: Instant) {
        let state = self.rendition_mut(digest.object.rendition);
        if state.newest.is_none_or(|newest| newest < digest.object) {
            state.newest = Some(digest.object);
            state.news.note_newest(now);
            if !digest.end_of_stream {
                state.segment_len = digest.duration;
                state.segment_bytes = digest.byte_len;
                self.uplink.set_load(self.children.load(digest));
            }
        }
    }

    /// Bytes that came from the origin before the digest: what fits it may be passed on.
    fn adopt_raw(
        &mut self,
        id: ObjectId,
        undigested: Option<Bytes>,
        raw_fetch: Option<FetchId>,
        now: Instant,
    ) {
        if let Some(whole) = undigested {
            self.store.note_removed(whole.len());
            let fetch = self.origin.open(id, None, now);
            if let Some(open) = self.origin.fetch_mut(fetch) {
                open.tail.extend_from_slice(&whole);
            }
            self.cut_chunks(fetch, now);
            self.drop_fetch(fetch);
        } else if let Some(fetch) = raw_fetch {
            if let Some(object) = self.store.object_mut(&id) {
                let all = object.all();
                object.mark_asked(all, Asked::Origin(fetch));
            }
            self.cut_chunks(fetch, now);
        }
    }

    fn count_unverified(&mut self, peer: PeerId, change: isize) {
        if let Some(neighbour) = self.neighbours.get_mut(&peer) {
            neighbour.unverified_bytes = neighbour.unverified_bytes.saturating_add_signed(change);
        }
    }

    fn on_chunks(
        &mut self,
        peer: PeerId,
        id: ObjectId,
        chunks: ChunkRange,
        payload: Payload,
        now: Instant,
    ) {
        let Some(digest) = self.store.object(&id).and_then(|o| o.digest.clone()) else {
            self.keep_unverified(peer, id, chunks, payload, now);
            return;
        };
        let (_, len) = digest.byte_range(chunks);
        if chunks.end() > digest.chunk_count() || len as usize != payload.len() {
            self.cut_off(peer, Offence::BadMessage, None, now);
            return;
        }
        let mut rest = payload;
        for chunk in chunks.indices() {
            let bytes = rest.split_to(digest.chunk_len(chunk) as usize);
            let known = self.store.object(&id).is_none_or(|o| o.has(chunk));
            // One that has proved nothing yet is judged by what is not needed as well.
            let proved = self.neighbours.get(&peer).is_none_or(|n| n.received > 0);
            if known && (proved || digest.chunk_matches(chunk, &bytes)) {
                self.counters.wasted += bytes.len() as u64;
            } else if digest.chunk_matches(chunk, &bytes) {
                self.counters.from_peers += bytes.len() as u64;
                if let Some(neighbour) = self.neighbours.get_mut(&peer) {
                    neighbour.received += bytes.len() as u64;
                }
                self.accept(id, chunk, bytes, Some(peer), now);
            } else {
                self.counters.hash_mismatches += 1;
                self.counters.wasted += bytes.len() as u64;
                self.cut_off(peer, Offence::BadChunk, Some(id), now);
                break;
            }
        }
        self.serve(id, now);
    }

    /// A chunk whose digest has not come yet waits, within a limit per neighbour.
    fn keep_unverified(
        &mut self,
        peer: PeerId,
        id: ObjectId,
        chunks: ChunkRange,
        payload: Payload,
        now: Instant,
    ) {
        let wanted = self.renditions.get(&id.rendition).is_some_and(|r| r.wants(&id));
        let Some(neighbour) = self.neighbours.get_mut(&peer) else {
            return;
        };
        let total = neighbour.unverified_bytes + payload.len();
        // One that has proved nothing yet gets little room.
        let proved = neighbour.received > 0;
        let most = self.config.unverified_bytes_max;
        let most = if proved { most } else { most.min(2 * self.config.chunk_size_prior as usize) };
        if !wanted || total > most {
            self.counters.wasted += payload.len() as u64;
            return;
        }
        neighbour.unverified_bytes = total;
        let jitter = self.random(20);
        let object = self.store.ensure(id, now, jitter);
        object.unverified.push(Unverified { peer, chunks, payload });
    }

    /// A verified chunk: store it, pass it on.
    pub(crate) fn accept(
        &mut self,
        id: ObjectId,
        chunk: u32,
        bytes: Bytes,
        from: Option<PeerId>,
        now: Instant,
    ) {
        self.store.note_bytes(bytes.len());
        let Some(object) = self.store.object_mut(&id) else {
            return;
        };
        let asked = object.asked_peer(chunk);
        let Some(k) = object.fill(chunk, Cell::Held { bytes, since: now }) else {
            return;
        };
        let (known_at, done) = (object.known_at, object.missing == 0);
        let whole_run = object.runs.get(usize::from(k.0)).is_some_and(|run| run.left == 0);
        if whole_run && let Some(run) = object.runs.get_mut(usize::from(k.0)) {
            run.complete = true;
            let untroubled = run.repairs == 0;
            if let Some(state) = self.renditions.get_mut(&id.rendition)
                && let Some(feed) = state.feed_mut(k)
                && untroubled
                && from.is_some_and(|peer| feed.current == Parent::Peer(peer))
            {
                feed.note_good(now - known_at);
            }
        }
        if let Some(from) = from.filter(|_| self.is_on_demand(id.rendition)) {
            self.note_pulled(from, now);
        } else if let Some(from) = from.filter(|_| !whole_run) {
            self.note_progress(id, k, from, now);
        }
        if let Some(asked) = asked {
            self.spare_the_slower(id, k, chunk, asked, from);
        }
        self.relay(id, k, chunk, from, whole_run);
        if done {
            self.on_complete(id, now);
        }
    }

    /// A chunk that was asked of a neighbour is here: nobody else need send it, be it the neighbour
    /// or the parent.
    fn spare_the_slower(
        &mut self,
        object: ObjectId,
        k: Substream,
        chunk: u32,
        asked: PeerId,
        from: Option<PeerId>,
    ) {
        let feed = self.renditions.get(&object.rendition).and_then(|r| r.feed(k));
        let parent = feed.and_then(|feed| feed.current.peer());
        let other = if Some(asked) == from { parent } else { Some(asked) };
        if let Some(other) = other.filter(|other| Some(*other) != from) {
            let chunks = ChunkRange::new(chunk, 1);
            self.tell(other, PeerMessage::Cancel { object, chunks });
        }
    }

    pub(crate) fn on_complete(&mut self, object: ObjectId, now: Instant) {
        self.store.note_complete(&object);
        self.tell_traced(object, now);
        self.timers.demand_stale |= self.is_on_demand(object.rendition);
        let shareable = self.store.object(&object).is_some_and(crate::object::Object::is_shareable);
        let holding =
            if shareable && self.may_serve() { Holding::Complete } else { Holding::Private };
        self.tell_all(&PeerMessage::Have { object, holding });
        self.evict();
    }

    pub(crate) fn evict(&mut self) {
        let (requests, renditions) = (&self.requests, &self.renditions);
        // What is being played or is still to come stays; of the rest the oldest goes.
        let in_use = |id: &ObjectId| {
            requests.values().any(|r| r.object == *id)
                || renditions.get(&id.rendition).is_some_and(|r| {
                    r.newest == Some(*id) || r.demand.as_ref().is_some_and(|d| d.wants(id))
                })
        };
        let (bytes_max, objects_max) = if renditions.values().any(|r| r.demand.is_some()) {
            (self.config.on_demand_bytes_max, self.config.on_demand_objects_max)
        } else {
            (self.config.store_bytes_max, self.config.objects_max)
        };
        let gone = self.store.evict(bytes_max, objects_max, in_use, &mut self.uplink);
        for (id, object) in gone {
            self.cancel_fetches(id);
            for early in object.unverified {
                self.count_unverified(early.peer, -early.payload.len().cast_signed());
            }
        }
    }
}
