//! The origin: publishes objects, answers fetches, can be slow or gone.
//!
//! Its bytes are small in memory: a chunk of 16 KiB is one block of the hash. Everything that the
//! engines see is smaller by the same factor; everything that is counted is not.

use super::{Event, SCALE, World};
use crate::random::Random;
use crate::scenario::Settings;
use bytes::Bytes;
use shoal_peer::{FetchId, Input, OriginFailure};
use shoal_wire::{
    CHUNK_SIZE, Digest, Epoch, ObjectId, OriginSigner, RenditionId, SignedDigest, StreamName,
};
use std::sync::Arc;
use std::time::Duration;

/// Time that the origin takes to begin an answer, µs.
const SERVICE_US: u64 = 5_000;
/// Status line and headers of an answer.
const HEADER_BYTES: u64 = 250;
/// Bytes of an answer that are handed over at once.
const PIECE_BYTES: u64 = 4 * CHUNK_SIZE as u64;
/// A connection that is cut breaks after this long, µs.
pub(super) const BREAK_US: u64 = 1_000_000;
const EPOCH: Epoch = Epoch(1);

/// A published object.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) bytes: Bytes,
    pub(crate) digest: Arc<SignedDigest>,
    pub(crate) published_at: u64,
}

/// The origin.
pub(crate) struct Origin {
    signer: OriginSigner,
    stream: StreamName,
    random: Random,
    /// Objects by rendition and media sequence number.
    objects: Vec<Vec<Object>>,
    /// Bytes per µs.
    rate: f64,
    free_at: u64,
    pub(crate) slow_until: u64,
    pub(crate) is_down: bool,
    /// When it came back last.
    pub(crate) back_at: u64,
    /// Segments of which the server has made digests.
    pub(crate) announced: u64,
}

impl Origin {
    pub(crate) fn new(settings: &Settings, stream: StreamName, seed: u64) -> Self {
        Self {
            signer: OriginSigner::from_secret(&[7; 32]),
            stream,
            random: Random::new(seed, 3),
            objects: (0..settings.renditions).map(|_| Vec::new()).collect(),
            rate: settings.origin_rate / 8.0,
            free_at: 0,
            slow_until: 0,
            is_down: false,
            back_at: 0,
            announced: 0,
        }
    }

    pub(crate) fn key_hex(&self) -> String {
        self.signer.key().to_bytes().iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Number of segments published in each rendition.
    pub(crate) fn published(&self) -> u64 {
        self.objects[0].len() as u64
    }

    pub(crate) fn object(&self, id: ObjectId) -> Option<&Object> {
        self.objects.get(usize::from(id.rendition.0))?.get(usize::try_from(id.msn).ok()?)
    }

    /// The digests that the server is to make now, oldest first.
    pub(crate) fn take_unannounced(&mut self) -> Vec<Arc<SignedDigest>> {
        let new = self.announced as usize..self.objects[0].len();
        self.announced = new.end as u64;
        let of =
            |msn: usize| self.objects.iter().map(move |objects| Arc::clone(&objects[msn].digest));
        new.flat_map(of).collect()
    }

    /// Makes the next segment of a rendition.
    pub(crate) fn publish(&mut self, settings: &Settings, rendition: u16, now: u64) -> &Object {
        let rate = rate_of(settings, rendition);
        let real_len = (rate * settings.segment_s * 1e6 / 8.0) as u64;
        let byte_len = (real_len / SCALE).max(1) as u32;
        let chunk_size = CHUNK_SIZE / SCALE as u32;
        let mut bytes = Vec::with_capacity(byte_len as usize + 8);
        while bytes.len() < byte_len as usize {
            bytes.extend_from_slice(&self.random.bits().to_le_bytes());
        }
        bytes.truncate(byte_len as usize);
        let msn = self.objects[usize::from(rendition)].len() as u64;
        let hashes = Digest::hash_chunks(&bytes, chunk_size);
        let digest = self.signer.sign(Digest {
            stream: self.stream.clone(),
            object: object_id(rendition, msn),
            ordinal: msn,
            byte_len,
            chunk_size,
            substreams: Digest::substreams_for(byte_len, chunk_size),
            duration: Duration::from_secs_f64(settings.segment_s),
            published_unix_ms: now / 1_000,
            discontinuity_sequence: 0,
            end_of_stream: false,
            playlist_lines: format!("#EXTINF:{},\n{rendition}-1-{msn}.m4s\n", settings.segment_s),
            hashes,
        });
        let digest = Arc::new(digest.expect("settings are within a digest's limits"));
        let objects = &mut self.objects[usize::from(rendition)];
        objects.push(Object { bytes: bytes.into(), digest, published_at: now });
        &objects[msn as usize]
    }
}

/// A failure by its status, 0 where there was no answer.
const fn failure_of(status: u16) -> OriginFailure {
    match status {
        0 => OriginFailure::Unreachable,
        status => OriginFailure::Status(status),
    }
}

/// Rate of a rendition, Mbit/s: each has half of the one above.
pub(crate) fn rate_of(settings: &Settings, rendition: u16) -> f64 {
    settings.rate / f64::from(1u32 << rendition)
}

pub(crate) const fn object_id(rendition: u16, msn: u64) -> ObjectId {
    ObjectId::segment(RenditionId(rendition), EPOCH, msn)
}

/// A viewer's open fetch.
#[derive(Debug)]
pub(crate) struct Fetch {
    pub(crate) id: FetchId,
    object: ObjectId,
    /// What is left to send, in the engines' bytes.
    next: u32,
    end: u32,
}

impl World<'_> {
    pub(crate) fn origin_fetch(
        &mut self,
        viewer: u32,
        id: FetchId,
        object: ObjectId,
        range: Option<(u32, u32)>,
    ) {
        let round_trip = self.viewers[viewer as usize].server_us * 2;
        let begin = self.now + round_trip;
        if self.viewers[viewer as usize].cut_off {
            self.queue.push(self.now + BREAK_US, Event::FetchFailed(viewer, id, 0));
        } else if self.origin.is_down {
            self.queue.push(begin, Event::FetchFailed(viewer, id, 0));
        } else if let Some(published) = self.origin.object(object) {
            let all = published.digest.byte_len;
            let (next, len) = range.unwrap_or((0, all));
            let end = next.saturating_add(len).min(all);
            self.viewers[viewer as usize].fetches.push(Fetch { id, object, next, end });
            self.tally.origin_bytes(object, HEADER_BYTES, self.now);
            let is_slow = self.now < self.origin.slow_until;
            let slow = if is_slow { self.settings.origin_slow_by_s * 1e6 } else { 0.0 };
            self.queue.push(begin + SERVICE_US + slow as u64, Event::FetchStarted(viewer, id));
        } else {
            self.queue.push(begin, Event::FetchFailed(viewer, id, 404));
        }
    }

    pub(crate) fn on_fetch_started(&mut self, viewer: u32, id: FetchId) {
        let fetches = &self.viewers[viewer as usize].fetches;
        let Some(fetch) = fetches.iter().find(|fetch| fetch.id == id) else { return };
        let total = self.origin.object(fetch.object).map(|object| object.digest.byte_len);
        let started = Input::OriginStarted { fetch: id, total_len: total, offset: fetch.next };
        self.feed(viewer, started);
        self.on_fetch_piece(viewer, id);
    }

    /// Hands over a piece, when the way to the viewer has room for it.
    pub(crate) fn on_fetch_piece(&mut self, viewer: u32, id: FetchId) {
        let state = &mut self.viewers[viewer as usize];
        let Some(at) = state.fetches.iter().position(|fetch| fetch.id == id) else { return };
        if state.cut_off || self.origin.is_down {
            state.fetches.swap_remove(at);
            self.queue.push(self.now + BREAK_US, Event::FetchFailed(viewer, id, 0));
            return;
        }
        let fetch = &mut state.fetches[at];
        let piece = u32::try_from(PIECE_BYTES / SCALE).unwrap_or(u32::MAX);
        let end = (fetch.next + piece).min(fetch.end);
        let (object, range) = (fetch.object, fetch.next as usize..end as usize);
        fetch.next = end;
        let done = end == fetch.end;
        if done {
            state.fetches.swap_remove(at);
        }
        let bytes = range.len() as u64 * SCALE;
        let sent_at = self.origin.free_at.max(self.now) + (bytes as f64 / self.origin.rate) as u64;
        self.origin.free_at = sent_at;
        let next_at = state.downlink.pull(bytes, self.now).max(sent_at);
        self.tally.origin_bytes(object, bytes, self.now);
        let Some(published) = self.origin.object(object) else { return };
        let bytes = published.bytes.slice(range);
        self.queue.push(next_at, Event::FetchData(viewer, id, Box::new((bytes, done))));
    }

    pub(crate) fn on_fetch_data(&mut self, viewer: u32, id: FetchId, bytes: Bytes, done: bool) {
        self.feed(viewer, Input::OriginData { fetch: id, bytes });
        if done {
            self.feed(viewer, Input::OriginDone { fetch: id });
        } else {
            self.on_fetch_piece(viewer, id);
        }
    }

    /// A viewer asks for a digest, which is beside its object.
    pub(crate) fn digest_fetch(&mut self, viewer: u32, object: ObjectId) {
        let answered_at = self.now + self.viewers[viewer as usize].server_us * 2;
        let (at, found) = if self.viewers[viewer as usize].cut_off {
            (self.now + BREAK_US, Err(0))
        } else if self.origin.is_down {
            (answered_at, Err(0))
        } else {
            let published = self.origin.object(object);
            let bytes = published.map_or(0, |object| object.digest.encoded().len() as u64);
            let found = published.map(|_| ()).ok_or(404);
            self.tally.control_bytes(HEADER_BYTES + bytes, self.now);
            (answered_at + SERVICE_US, found)
        };
        self.queue.push(at, Event::DigestFetched(viewer, object, found));
    }

    pub(crate) fn on_digest_fetched(
        &mut self,
        viewer: u32,
        object: ObjectId,
        found: Result<(), u16>,
    ) {
        let published = self.origin.object(object);
        let digest = match (found, published) {
            (Ok(()), Some(published)) => Ok(published.digest.encoded().clone()),
            (Err(status), _) => Err(failure_of(status)),
            (Ok(()), None) => Err(failure_of(404)),
        };
        self.feed(viewer, Input::DigestFetched { object, digest });
    }

    pub(crate) fn on_fetch_failed(&mut self, viewer: u32, id: FetchId, status: u16) {
        let failure = failure_of(status);
        self.feed(viewer, Input::OriginFailed { fetch: id, failure });
    }

    pub(crate) fn origin_cancel(&mut self, viewer: u32, id: FetchId) {
        self.viewers[viewer as usize].fetches.retain(|fetch| fetch.id != id);
    }
}
