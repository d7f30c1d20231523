//! What neighbours ask for, and the sending of all chunks.

use crate::engine::{Echo, Engine};
use crate::output::Output;
use crate::uplink::Why;
use alloc::vec::Vec;
use core::time::Duration;
use shoal_wire::peer_message::{CHUNK_HEADER_BYTES, MESSAGE_BYTES_MAX};
use shoal_wire::{ChunkRange, Instant, ObjectId, Payload, PeerId, PeerMessage, Substream};

/// Pushed chunks of an object this old would be too late for anybody.
const PUSH_AGE_MAX: Duration = Duration::from_secs(30);
/// A message of several chunks must leave within this.
const MESSAGE_TIME: Duration = Duration::from_millis(10);
/// Time until another look at a transport that does not drain.
const STUCK_LOOK: Duration = Duration::from_millis(100);
/// An uplink for which less waits in the transports than so many chunks may run dry.
const BUSY_CHUNKS: u64 = 2;
/// How often the end of a run is said again.
const END_ECHOES: u8 = 2;
/// Echoes are said at multiples of this, µs.
const ECHO_STEP_US: u64 = 10_000;
/// Echoes waiting at once; more would be for children long served.
const ECHOES_MAX: usize = 1024;

impl Engine {
    pub(crate) fn on_fetch(
        &mut self,
        peer: PeerId,
        object: ObjectId,
        chunks: ChunkRange,
        now: Instant,
    ) {
        if chunks.is_empty() {
            self.give_digest(peer, &object);
            return;
        }
        let entry = self.store.object(&object).filter(|_| self.may_serve());
        // Nobody in the trees lacks anything so old.
        let is_old = entry.is_some_and(|o| now - o.known_at > PUSH_AGE_MAX);
        let on_demand = is_old || self.is_on_demand(object.rendition);
        let (why, room) = if on_demand {
            (Why::Demanded, self.demand_room())
        } else {
            (Why::Pulled, self.pull_room())
        };
        let here = |chunk: u32| {
            entry.is_some_and(|o| {
                matches!(o.cells.get(chunk as usize), Some(crate::object::Cell::Held { .. }))
            })
        };
        let count = chunks.count.min(room);
        let served: Vec<u32> =
            ChunkRange::new(chunks.first, count).indices().filter(|c| here(*c)).collect();
        let refused = refused_ranges(chunks, &served);
        if let Some(neighbour) = self.neighbours.get_mut(&peer) {
            neighbour.uncancel(&object, chunks);
        }
        if !served.is_empty() {
            let tie = if on_demand { self.uplink.turn() } else { self.random(u32::MAX) };
            // Pushed as well, they would come twice.
            self.uplink.cancel(peer, &object, chunks);
            let job = self.uplink.job(peer, object, why, 0, tie);
            for chunk in served {
                job.add(chunk);
            }
        }
        for chunks in refused {
            self.tell(peer, PeerMessage::Refuse { object, chunks });
        }
    }

    pub(crate) fn on_cancel(
        &mut self,
        peer: PeerId,
        object: ObjectId,
        chunks: ChunkRange,
        now: Instant,
    ) {
        self.uplink.cancel(peer, &object, chunks);
        let known_at = self.store.object(&object).map(|o| o.known_at);
        if let Some(neighbour) = self.neighbours.get_mut(&peer) {
            neighbour.note_cancel(known_at.map_or(Duration::ZERO, |at| now - at));
            neighbour.cancel(object, chunks);
        }
    }

    pub(crate) fn on_link_buffered(&mut self, peer: PeerId, bytes: u32, now: Instant) {
        if let Some(neighbour) = self.neighbours.get_mut(&peer) {
            self.backlog.update(&mut neighbour.buffer, bytes, now);
        }
    }

    /// Bytes that wait in the transports for the uplink.
    fn backlog(&mut self, now: Instant) -> u64 {
        let buffers = self.neighbours.values_mut().map(|neighbour| &mut neighbour.buffer);
        self.backlog.in_uplink(buffers, now)
    }

    /// Whether so many bytes wait in the transports, those of stuck links aside.
    fn transports_hold(&self, bytes: u64, now: Instant) -> bool {
        let stuck = || self.neighbours.values().map(|neighbour| neighbour.buffer.stuck(now));
        let total = self.backlog.total();
        total >= bytes && total - stuck().sum::<u64>() >= bytes
    }

    /// Sends chunks while the pacer and the transport have room.
    pub(crate) fn pump(&mut self, now: Instant) {
        if self.uplink.rests(now) {
            self.pump_at = None;
            return;
        }
        let usual = self.config.chunk_size_prior;
        let backlog_max = self.uplink.backlog_max();
        let transport_max = self.uplink.transport_max();
        let quick = self.uplink.chunks_within(MESSAGE_TIME);
        // No single link may hold up the others.
        let link_max = u32::try_from(backlog_max / 4).unwrap_or(u32::MAX).max(usual * 2);
        while self.uplink.free_at() <= now {
            let backlog = self.backlog(now);
            if backlog >= backlog_max || self.transports_hold(transport_max, now) {
                break;
            }
            let neighbours = &self.neighbours;
            let open = |peer: PeerId| {
                let buffer = neighbours.get(&peer).map(|neighbour| &neighbour.buffer);
                buffer.is_some_and(|it| !it.is_stuck(now) && it.bytes() < link_max)
            };
            let Some(job) = self.uplink.next(open) else {
                // Links that hold as much as one may keep the uplink busy as well.
                if backlog < u64::from(usual) * BUSY_CHUNKS {
                    self.uplink.note_starved();
                }
                break;
            };
            let (peer, object, why) = (job.peer, job.object, job.why);
            // In gaps only: what waits in the transport is in nobody's way then.
            let in_gaps = match why {
                Why::Pushed | Why::CatchUp => false,
                Why::Pulled => true,
                Why::Demanded => !self.children.is_empty(),
            };
            if in_gaps && backlog > 0 {
                break;
            }
            let chunk_size = self.store.object(&object).and_then(|o| o.digest.as_ref());
            let chunk_size = chunk_size.map_or(usual, |d| d.chunk_size);
            let count = (MESSAGE_BYTES_MAX - CHUNK_HEADER_BYTES) / chunk_size as usize;
            // A child passes on nothing of a message before all of it has come.
            let range = job.take(u32::try_from(count).unwrap_or(1).min(quick).max(1));
            let ends = if job.is_drained() { core::mem::take(&mut job.ends) } else { Vec::new() };
            self.uplink.drop_empty();
            if let Some(range) = range {
                self.send_chunks(peer, object, range, why, now);
            }
            for k in ends {
                self.send_end(peer, object, k, now);
            }
        }
        let backlog = self.backlog(now);
        self.uplink.learn(self.backlog.total(), now);
        // A full transport says when it drains; the look after a while is for links that are stuck.
        let next = self.uplink.free_at();
        let paced = next > now && backlog < backlog_max;
        let next = if paced { next } else { next.max(now + STUCK_LOOK) };
        self.pump_at = (!self.uplink.is_idle()).then_some(next);
    }

    fn send_chunks(
        &mut self,
        peer: PeerId,
        id: ObjectId,
        chunks: ChunkRange,
        why: Why,
        now: Instant,
    ) {
        let Some(object) = self.store.object(&id) else {
            return;
        };
        let age = now - object.known_at;
        let given_up = self.neighbours.get(&peer).is_none_or(|n| n.has_given_up(age));
        let too_late = match why {
            Why::Pushed => given_up || age > PUSH_AGE_MAX,
            Why::CatchUp => age > PUSH_AGE_MAX,
            Why::Pulled | Why::Demanded => false,
        };
        let has_all = chunks.indices().all(|c| object.held(c, now).is_some());
        if too_late || !has_all {
            self.tell(peer, PeerMessage::Refuse { object: id, chunks });
            return;
        }
        let waited = object.held(chunks.first, now).map_or(Duration::ZERO, |(_, waited)| waited);
        let mut payload = Payload::default();
        for (bytes, _) in chunks.indices().filter_map(|c| object.held(c, now)) {
            payload.push(bytes.clone());
        }
        let len = payload.len() as u64;
        let waiting = self.backlog(now);
        self.send_digest(peer, &id);
        let message = PeerMessage::Chunk { object: id, chunks, held: waited, payload };
        if let Some(neighbour) = self.neighbours.get_mut(&peer) {
            let added = u32::try_from(len).unwrap_or(u32::MAX);
            let due_at = now + self.uplink.time_to_send(waiting + len);
            self.backlog.hand_over(&mut neighbour.buffer, added, due_at, now);
            neighbour.sent += len;
        }
        self.counters.to_peers += len;
        self.uplink.note_sent(len, now);
        self.push(Output::Send { peer, message });
    }

    fn send_end(&mut self, peer: PeerId, object: ObjectId, k: Substream, now: Instant) {
        let Some(entry) = self.store.object(&object) else {
            return;
        };
        let count = u16::try_from(entry.run_chunks(k).count).unwrap_or(u16::MAX);
        let message = PeerMessage::End { object, substream: k, count };
        let Some(neighbour) = self.neighbours.get(&peer) else {
            return;
        };
        let wait = (neighbour.round_trip() / 4).max(Duration::from_millis(10));
        if self.echoes.len() < ECHOES_MAX {
            // In steps, so that those of a moment are said together.
            let at = Instant::from_micros((now + wait).as_micros().next_multiple_of(ECHO_STEP_US));
            let left = END_ECHOES;
            self.say_again(Echo { at, peer, object, message: message.clone(), wait, left });
        }
        self.push(Output::Send { peer, message });
    }
}

/// The parts of `chunks` that are not in `served`, which is in order.
fn refused_ranges(chunks: ChunkRange, served: &[u32]) -> Vec<ChunkRange> {
    let mut refused: Vec<ChunkRange> = Vec::new();
    for chunk in chunks.indices() {
        if served.binary_search(&chunk).is_ok() {
            continue;
        }
        match refused.last_mut() {
            Some(last) if last.end() == chunk => last.count += 1,
            _ => refused.push(ChunkRange::new(chunk, 1)),
        }
    }
    refused
}
