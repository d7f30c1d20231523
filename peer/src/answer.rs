//! What the origin answers: bytes become chunks, failures are tried again.
//!
//! Rule: bytes of the viewer's own origin are played even if they are not what the digest says, and
//! then never passed on.

use crate::engine::Engine;
use crate::input::{FetchId, OriginFailure};
use crate::object::{Asked, Cell, Object};
use crate::origin::Fetch;
use bytes::{Buf, Bytes};
use core::time::Duration;
use shoal_wire::{Instant, ObjectId, SignedDigest};

/// First wait before a failed fetch is tried again; it doubles up to sixteen times this.
const RETRY_WAIT: Duration = Duration::from_millis(100);
/// While the origin fails, one object finds out when it answers again; others wait for that.
const RETRY_WAIT_BEHIND: Duration = Duration::from_secs(5);

impl Engine {
    pub(crate) fn on_origin_started(
        &mut self,
        fetch: FetchId,
        total_len: Option<u32>,
        offset: u32,
        now: Instant,
    ) {
        self.origin.note_started(fetch, now);
        let Some(open) = self.origin.fetch_mut(fetch) else {
            return;
        };
        open.base = offset;
        let id = open.object;
        if let Some(object) = self.store.object_mut(&id)
            && object.digest.is_none()
        {
            object.total_len = total_len;
        }
        self.retry_now(now);
    }

    pub(crate) fn on_origin_data(&mut self, fetch: FetchId, bytes: &Bytes, now: Instant) {
        self.origin.note_bytes(fetch, bytes.len());
        let Some(open) = self.origin.fetch_mut(fetch) else {
            return;
        };
        open.tail.extend_from_slice(bytes);
        let id = open.object;
        self.counters.from_origin += bytes.len() as u64;
        self.cut_chunks(fetch, now);
        self.serve(id, now);
    }

    /// Turns what a fetch brought into chunks, as far as they are whole.
    pub(crate) fn cut_chunks(&mut self, fetch: FetchId, now: Instant) {
        let Some(id) = self.origin.fetch(fetch).map(|open| open.object) else {
            return;
        };
        let Some(digest) = self.store.object(&id).and_then(|o| o.digest.clone()) else {
            return;
        };
        while let Some((chunk, bytes)) = self.next_chunk(fetch, &digest) {
            let known = self.store.object(&id).is_none_or(|object| object.has(chunk));
            if known {
                continue;
            }
            if digest.chunk_matches(chunk, &bytes) {
                self.accept(id, chunk, bytes, None, now);
            } else {
                self.accept_local(id, chunk, bytes, now);
            }
        }
    }

    fn next_chunk(&mut self, fetch: FetchId, digest: &SignedDigest) -> Option<(u32, Bytes)> {
        let open = self.origin.fetch_mut(fetch)?;
        let into = open.base % digest.chunk_size;
        if into != 0 {
            // The answer begins inside a chunk: its rest is of no use.
            let skip = ((digest.chunk_size - into) as usize).min(open.tail.len());
            open.tail.advance(skip);
            open.base += u32::try_from(skip).ok()?;
            if open.base % digest.chunk_size != 0 {
                return None;
            }
        }
        let chunk = open.base / digest.chunk_size;
        let len = digest.chunk_len(chunk) as usize;
        if len == 0 || open.tail.len() < len {
            return None;
        }
        let bytes = open.tail.split_to(len).freeze();
        open.base += u32::try_from(len).ok()?;
        Some((chunk, bytes))
    }

    /// The viewer's own origin sent something else than the digest says (an ad, a watermark): it
    /// is played and not passed on.
    fn accept_local(&mut self, id: ObjectId, chunk: u32, bytes: Bytes, now: Instant) {
        self.counters.origin_mismatches += 1;
        self.store.note_bytes(bytes.len());
        let Some(object) = self.store.object_mut(&id) else {
            return;
        };
        if object.fill(chunk, Cell::Local(bytes)).is_some() && object.missing == 0 {
            self.on_complete(id, now);
        }
    }

    pub(crate) fn on_origin_done(&mut self, fetch: FetchId, now: Instant) {
        let Some(open) = self.origin.close(fetch) else {
            return;
        };
        self.origin.note_done(&open, &self.config, now);
        let id = open.object;
        self.take_in(fetch, open, now);
        self.fetch_next(id.rendition, now);
    }

    /// A fetch has brought all that it is going to.
    fn take_in(&mut self, fetch: FetchId, open: Fetch, now: Instant) {
        let id = open.object;
        let Some(object) = self.store.object_mut(&id) else {
            return;
        };
        if object.digest.is_some() {
            object.release(Asked::Origin(fetch));
            if !object.is_complete() {
                object.origin_at = object.origin_at.max(now + Duration::from_millis(1));
                self.consider(id, now);
            }
            return;
        }
        object.raw_fetch = None;
        if object.total_len.is_some_and(|total| total as usize != open.tail.len()) {
            self.retry_later(id, OriginFailure::Unreachable, now);
            return;
        }
        object.total_len = u32::try_from(open.tail.len()).ok();
        let whole = open.tail.freeze();
        self.store.note_bytes(whole.len());
        if let Some(object) = self.store.object_mut(&id) {
            object.undigested = Some(whole);
        }
        self.store.note_complete(&id);
        self.tell_traced(id, now);
        self.serve(id, now);
        self.evict();
    }

    pub(crate) fn on_origin_failed(
        &mut self,
        fetch: FetchId,
        failure: OriginFailure,
        now: Instant,
    ) {
        let Some(id) = self.drop_fetch(fetch) else {
            return;
        };
        self.retry_later(id, failure, now);
        self.fetch_next(id.rendition, now);
    }

    /// Forgets a fetch; what it was to bring is missing again.
    pub(crate) fn drop_fetch(&mut self, fetch: FetchId) -> Option<ObjectId> {
        let open = self.origin.close(fetch)?;
        if let Some(object) = self.store.object_mut(&open.object) {
            object.release(Asked::Origin(fetch));
            if object.raw_fetch == Some(fetch) {
                object.raw_fetch = None;
            }
        }
        Some(open.object)
    }

    /// The origin answers: what it failed to give before is asked for again at once.
    pub(crate) fn retry_now(&mut self, now: Instant) {
        if core::mem::take(&mut self.origin.fails) == 0 {
            return;
        }
        for id in self.store.incomplete() {
            if let Some(object) = self.store.object_mut(&id)
                && object.failures > 0
            {
                object.failures = 0;
                object.origin_at = now;
                self.consider(id, now);
            }
        }
    }

    fn retry_later(&mut self, id: ObjectId, failure: OriginFailure, now: Instant) {
        self.counters.origin_failures += 1;
        self.origin.fails += 1;
        let soon = self.origin.retry_at(now);
        let is_requested = self.is_requested(&id);
        let tried = |(other, object): (&ObjectId, &Object)| {
            *other < id && object.failures > 0 && self.is_wanted(other)
        };
        let is_behind = self.store.iter_incomplete().any(tried);
        let Some(object) = self.store.object_mut(&id) else {
            return;
        };
        object.origin_at = now + RETRY_WAIT * (1 << object.failures.min(4));
        if is_requested && object.failures > 0 {
            object.origin_at = soon;
        } else if is_behind {
            object.origin_at = now + RETRY_WAIT_BEHIND;
        }
        object.failures += 1;
        let since = *object.first_failure.get_or_insert(now);
        let unknown = object.digest.is_none();
        let refused =
            matches!(failure, OriginFailure::Status(status) if (400..500).contains(&status));
        if (unknown && refused) || now - since > self.config.origin_retry_max {
            self.fail_requests(id, failure);
        }
        self.ask_peers(id, now);
    }
}
