//! Chunks of on-demand objects, asked of several neighbours at once.
//!
//! Rule: in playout order, each piece of the neighbour that has least to do for this viewer. Who
//! refuses or is silent is asked for less, and for nothing for a while. When the origin is asked is
//! not decided here.

use crate::engine::Engine;
use crate::object::{Asked, Cell};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;
use shoal_wire::{ChunkRange, Instant, ObjectId, PeerId, PeerMessage, RenditionId};

/// Chunks that are asked for at once of one neighbour: 128 KiB.
const PIECE: u32 = 8;
/// Chunks under way from one neighbour: at first, at least and at most.
const ROOM_FIRST: u32 = 16;
const ROOM_MIN: u32 = 4;
const ROOM_MAX: u32 = 64;
/// Media that is under way from all neighbours together at most, ms of playback.
const UNDER_WAY_MS: u64 = 2_000;
/// What comes from the origin and is needed within this has the downlink for itself.
const URGENT: Duration = Duration::from_secs(3);
/// One that brings nothing for this long is given up: longer than it promises to take.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// How long it is left alone then.
const SILENT_REST: Duration = Duration::from_secs(4);
/// How long one that refused is left alone.
const REFUSED_REST: Duration = Duration::from_millis(300);
/// A digest that has not come after this is asked of somebody else.
const DIGEST_WAIT: Duration = Duration::from_secs(1);
/// What is promised to on-demand viewers leaves within this.
const PROMISE: Duration = Duration::from_millis(1_500);

/// What is under way from a neighbour.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pull {
    asked: u32,
    room: u32,
    /// When it was last heard of, or asked after a pause.
    heard_at: Instant,
    rests_until: Instant,
}

impl Default for Pull {
    fn default() -> Self {
        let never = Instant::ZERO;
        Self { asked: 0, room: ROOM_FIRST, heard_at: never, rests_until: never }
    }
}

impl Pull {
    fn punish(&mut self, rest: Duration, now: Instant) {
        self.room = (self.room / 2).max(ROOM_MIN);
        self.rests_until = now + rest;
    }

    pub(crate) fn rest(&mut self, now: Instant) {
        self.rests_until = now + REFUSED_REST;
    }

    pub(crate) fn has_rested(&self, now: Instant) -> bool {
        self.rests_until <= now
    }
}

impl Engine {
    /// Does what on-demand renditions need now, if anything has changed.
    pub(crate) fn attend_demand(&mut self, now: Instant) {
        let is_due = self.timers.demand.is_some_and(|at| at <= now);
        if !core::mem::take(&mut self.timers.demand_stale) && !is_due {
            return;
        }
        self.timers.demand = None;
        if self.renditions.values().all(|state| state.demand.is_none()) {
            return;
        }
        self.tell_positions(now);
        let mut wanted = self.wanted_objects();
        self.count_asked(&wanted);
        self.give_up_silent(&wanted, now);
        if self.stands_still(now) {
            // That comes first, with all of the downlink.
            wanted.retain(|id| self.is_requested(id));
        }
        if self.uses_peers() {
            for id in wanted {
                self.pull_object(id, now);
            }
        }
        self.timers.objects_stale = true;
        let silent = self.neighbours.values().filter(|n| n.pull.asked > 0);
        let silent = silent.map(|n| n.pull.heard_at + SILENCE_MAX);
        let rested = self.neighbours.values().map(|n| n.pull.rests_until).filter(|at| *at > now);
        let next = silent.chain(rested).chain(self.positions_due()).min();
        // Nothing is so urgent that it may keep the engine from anything else.
        self.timers.demand = next.map(|at| at.max(now + Duration::from_millis(10)));
    }

    /// What is to come from peers, in playout order.
    fn wanted_objects(&self) -> Vec<ObjectId> {
        let asked = self.requests.values().map(|request| request.object);
        let asked = asked.filter(|id| self.is_on_demand(id.rendition));
        let windows = self.renditions.values().filter_map(|state| state.demand.as_ref());
        let mut wanted: Vec<ObjectId> =
            asked.chain(windows.flat_map(crate::demand::Demand::window)).collect();
        wanted.sort_unstable();
        wanted.dedup();
        wanted.retain(|id| self.store.object(id).is_none_or(|object| !object.is_complete()));
        wanted
    }

    /// Whether a player waits for something that is overdue, or soon will if it does not come from
    /// the origin in time.
    fn stands_still(&self, now: Instant) -> bool {
        self.requests.values().any(|request| {
            let object = request.object;
            let deadline = self.store.object(&object).and_then(|object| object.deadline);
            self.is_on_demand(object.rendition)
                && deadline.is_some_and(|at| {
                    at <= now || at <= now + URGENT && !self.origin.of(object).is_empty()
                })
        })
    }

    /// Chunks that may still be asked for: what is under way must not keep the line from what comes
    /// from the origin.
    fn pull_left(&self, rendition: RenditionId) -> u32 {
        let Some(state) = self.renditions.get(&rendition) else { return 0 };
        let len = u64::try_from(state.segment_len.as_millis()).unwrap_or(u64::MAX).max(1);
        let chunks = u64::from(state.segment_bytes / self.config.chunk_size_prior.max(1));
        let most = u32::try_from(chunks * UNDER_WAY_MS / len).unwrap_or(u32::MAX).max(ROOM_FIRST);
        most.saturating_sub(self.neighbours.values().map(|n| n.pull.asked).sum())
    }

    fn count_asked(&mut self, wanted: &[ObjectId]) {
        let mut counts: BTreeMap<PeerId, u32> = BTreeMap::new();
        for object in wanted.iter().filter_map(|id| self.store.object(id)) {
            for peer in object.all().indices().filter_map(|chunk| object.asked_peer(chunk)) {
                *counts.entry(peer).or_default() += 1;
            }
        }
        for (peer, neighbour) in self.neighbours.iter_mut() {
            neighbour.pull.asked = counts.get(peer).copied().unwrap_or(0);
        }
    }

    fn give_up_silent(&mut self, wanted: &[ObjectId], now: Instant) {
        let is_silent = |(_, n): &(&PeerId, &crate::neighbour::Neighbour)| {
            n.pull.asked > 0 && n.pull.heard_at + SILENCE_MAX <= now
        };
        let silent: Vec<PeerId> =
            self.neighbours.iter().filter(is_silent).map(|(peer, _)| *peer).collect();
        for peer in silent {
            for id in wanted {
                self.take_back(*id, peer);
            }
            if let Some(neighbour) = self.neighbours.get_mut(&peer) {
                neighbour.pull.asked = 0;
                neighbour.pull.punish(SILENT_REST, now);
            }
        }
    }

    fn pull_object(&mut self, id: ObjectId, now: Instant) {
        let Some(object) = self.store.object(&id).filter(|object| object.digest.is_some()) else {
            self.pull_digest(id, now);
            return;
        };
        let missing = object.ranges(object.all(), |_, cell| matches!(cell, Cell::Missing));
        for mut chunks in missing {
            while !chunks.is_empty() && self.pull_left(id.rendition) > 0 {
                let Some(peer) = self.pull_source(&id, now) else { return };
                let piece = self.ask_piece(id, chunks, peer, now);
                chunks = ChunkRange::new(piece.end(), chunks.end() - piece.end());
            }
        }
    }

    /// The neighbour that has it and has most room; the nearest of those.
    fn pull_source(&self, id: &ObjectId, now: Instant) -> Option<PeerId> {
        let able = self
            .neighbours
            .iter()
            .filter(|(_, n)| n.pull.asked < n.pull.room && n.pull.has_rested(now) && n.has_all(id));
        let load = |n: &crate::neighbour::Neighbour| n.pull.asked * 1_000 / n.pull.room;
        able.min_by_key(|(peer, n)| (load(n), n.round_trip(), **peer)).map(|(peer, _)| *peer)
    }

    /// Asks a neighbour for the first of these chunks, as many as it has room for.
    fn ask_piece(
        &mut self,
        id: ObjectId,
        chunks: ChunkRange,
        peer: PeerId,
        now: Instant,
    ) -> ChunkRange {
        let mut piece = ChunkRange::new(chunks.first, chunks.count.min(PIECE));
        if let Some(neighbour) = self.neighbours.get_mut(&peer) {
            let pull = &mut neighbour.pull;
            piece.count = piece.count.min(pull.room - pull.asked);
            if pull.asked == 0 {
                pull.heard_at = now;
            }
            pull.asked += piece.count;
            neighbour.asked_chunks += piece.count;
        }
        if let Some(object) = self.store.object_mut(&id) {
            object.mark_asked(piece, Asked::Peer(peer));
        }
        self.tell(peer, PeerMessage::Fetch { object: id, chunks: piece });
        piece
    }

    /// Asks a neighbour that has an object for its digest: without it nothing can be asked for.
    fn pull_digest(&mut self, id: ObjectId, now: Instant) {
        let asked = self.store.object(&id).and_then(|object| object.digest_asked);
        if asked.is_some_and(|(_, at)| now - at < DIGEST_WAIT) {
            self.wake_demand(now + DIGEST_WAIT);
            return;
        }
        if let Some((peer, _)) = asked
            && let Some(neighbour) = self.neighbours.get_mut(&peer)
        {
            // It would have answered.
            neighbour.note_refusal(id);
        }
        let Some(peer) = self.pull_source(&id, now) else { return };
        let jitter = self.random(20);
        self.store.ensure(id, now, jitter).digest_asked = Some((peer, now));
        self.wake_demand(now + DIGEST_WAIT);
        self.tell(peer, PeerMessage::Fetch { object: id, chunks: ChunkRange::new(0, 0) });
    }

    fn wake_demand(&mut self, at: Instant) {
        self.timers.demand = Some(self.timers.demand.map_or(at, |old| old.min(at)));
    }

    /// A chunk came that this neighbour was asked for.
    pub(crate) fn note_pulled(&mut self, peer: PeerId, now: Instant) {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        let pull = &mut neighbour.pull;
        pull.asked = pull.asked.saturating_sub(1);
        pull.room = (pull.room + 1).min(ROOM_MAX);
        pull.heard_at = now;
        self.timers.demand_stale |= pull.asked * 2 <= pull.room;
    }

    /// A neighbour refused something of an on-demand rendition.
    pub(crate) fn note_pull_refused(&mut self, peer: PeerId, now: Instant) {
        if let Some(neighbour) = self.neighbours.get_mut(&peer) {
            neighbour.pull.punish(REFUSED_REST, now);
        }
        self.timers.demand_stale = true;
    }

    /// Chunks that may still be promised to on-demand viewers.
    pub(crate) fn demand_room(&self) -> u32 {
        let most = self.uplink.chunks_within(PROMISE).max(ROOM_MIN);
        most.saturating_sub(self.uplink.demanded_chunks())
    }
}
