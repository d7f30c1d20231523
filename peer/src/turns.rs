//! Whose turn it is at the origin, and what is fetched before anybody waits for it.
//!
//! Rule: what a player stands still for has all of the downlink, and of a batch that becomes known
//! at once the first objects come first.

use crate::clock::Place;
use crate::engine::Engine;
use crate::feed::Parent;
use crate::object::{Asked, Cell, Object};
use crate::output::Output;
use core::time::Duration;
use shoal_wire::{ChunkRange, Instant, ObjectId, RenditionId, Substream};

/// So many objects at a time are fetched from the origin before anybody needs them: of a batch that
/// becomes known at once, the first would be late with all of it.
const AT_A_TIME_MAX: usize = 2;
/// Time until the next try when too many origin fetches are open.
const ORIGIN_BUSY_WAIT: Duration = Duration::from_millis(50);

impl Engine {
    /// Whether the origin is asked for something before `id` first, which then has all of the
    /// downlink.
    pub(crate) fn is_behind(&self, id: &ObjectId, now: Instant) -> bool {
        let alone = !self.is_requested(id) && !self.peers_may_help(id.rendition);
        self.stands_still_before(id, now) || alone && self.is_one_too_many(id)
    }

    /// Whether a player stands still for something before `id` that it asked for, or is about to
    /// ask for because it has nothing left.
    pub(crate) fn stands_still_before(&self, id: &ObjectId, now: Instant) -> bool {
        let waits = self.requests.values().any(|request| {
            let before = request.object.rendition == id.rendition && request.object < *id;
            let deadline = self.store.object(&request.object).and_then(|object| object.deadline);
            before && deadline.is_some_and(|at| at <= now)
        });
        let Some(state) = self.renditions.get(&id.rendition) else { return waits };
        let is_next = |(next, _): (&ObjectId, &Object)| {
            let before = next.rendition == id.rendition && *next < *id;
            before && self.is_wanted(next) && state.clocks.is_dry_before(Place::of(next), now)
        };
        waits || state.demand.is_none() && self.store.iter_incomplete().any(is_next)
    }

    /// Whether enough is being fetched of what comes before `id`.
    fn is_one_too_many(&self, id: &ObjectId) -> bool {
        !self.is_on_demand(id.rendition) && self.origin.earlier(id) >= AT_A_TIME_MAX
    }

    /// A fetch ended: those that waited for it, or for what it was for, take their turn.
    pub(crate) fn fetch_next(&mut self, rendition: RenditionId, now: Instant) {
        for id in self.store.incomplete() {
            if id.rendition == rendition
                && self.is_wanted(&id)
                && self.store.object(&id).is_some_and(|object| object.origin_at <= now)
                && !self.stands_still_before(&id, now)
            {
                self.fetch_as_root(id, now);
            }
        }
    }

    /// Fetches the runs of which this peer is a root.
    pub(crate) fn fetch_as_root(&mut self, id: ObjectId, now: Instant) {
        let Some(rendition) = self.renditions.get(&id.rendition) else {
            return;
        };
        if self.is_one_too_many(&id) {
            return;
        }
        let Some(object) = self.store.object(&id) else {
            return;
        };
        let Some(digest) = object.digest.as_ref() else {
            return;
        };
        let is_root = |k: Substream| {
            rendition.feed(k).is_some_and(|feed| {
                feed.current == Parent::Origin && feed.root_from.is_none_or(|from| id >= from)
            })
        };
        let mine = |chunk, cell: &Cell| {
            matches!(cell, Cell::Missing) && is_root(digest.substream_of(chunk))
        };
        for chunks in object.ranges(object.all(), mine) {
            self.fetch_chunks(id, chunks, now);
        }
    }

    pub(crate) fn origin_is_busy(&mut self, id: ObjectId, now: Instant) -> bool {
        let busy = self.origin.len() >= self.config.origin_fetches_max;
        if busy && let Some(object) = self.store.object_mut(&id) {
            object.origin_at = now + ORIGIN_BUSY_WAIT;
        }
        busy
    }

    pub(crate) fn fetch_chunks(&mut self, id: ObjectId, chunks: ChunkRange, now: Instant) {
        if self.origin_is_busy(id, now) {
            return;
        }
        let Some(object) = self.store.object_mut(&id) else {
            return;
        };
        let Some(digest) = object.digest.as_ref() else {
            return;
        };
        let (offset, len) = digest.byte_range(chunks);
        let range = (len != digest.byte_len).then_some((offset, len));
        let fetch = self.origin.open(id, range, now);
        object.mark_asked(chunks, Asked::Origin(fetch));
        self.push(Output::OriginFetch { fetch, object: id, range });
    }
}
