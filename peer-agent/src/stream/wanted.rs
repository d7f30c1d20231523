//! Fetches that wait for a URL: an object's own, which only this viewer's playlist can tell.
//!
//! Rule: what waits has a limit in number and time. It fetches nothing.

use shoal_peer::FetchId;
use shoal_wire::ObjectId;
use std::time::Duration;
use tokio::time::Instant;

/// A playlist names a segment about when its digest comes; the engine does not wait for longer.
const WAIT_MAX: Duration = Duration::from_secs(3);
/// Fetches at once: those of a segment of each rendition, in runs.
const WANTED_MAX: usize = 64;

/// First byte and number of bytes, or all.
type Range = Option<(u32, u32)>;

/// What waits.
#[derive(Debug, Default)]
pub(super) struct Wanted(Vec<(FetchId, ObjectId, Range, Instant)>);

impl Wanted {
    /// Waits from `now` on; false if too much does already.
    pub(super) fn add(
        &mut self,
        fetch: FetchId,
        object: ObjectId,
        range: Range,
        now: Instant,
    ) -> bool {
        let has_room = self.0.len() < WANTED_MAX;
        if has_room {
            self.0.push((fetch, object, range, now));
        }
        has_room
    }

    /// The engine wants it no more.
    pub(super) fn cancel(&mut self, fetch: FetchId) {
        self.0.retain(|(waiting, ..)| *waiting != fetch);
    }

    /// Takes out what `is_known` says can be fetched.
    pub(super) fn found(
        &mut self,
        is_known: impl Fn(ObjectId) -> bool,
    ) -> Vec<(FetchId, ObjectId, Range)> {
        let found = self.0.extract_if(.., |(_, object, ..)| is_known(*object));
        found.map(|(fetch, object, range, _)| (fetch, object, range)).collect()
    }

    /// Takes out what has waited for too long.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<FetchId> {
        let overdue = |since: Instant| now.saturating_duration_since(since) >= WAIT_MAX;
        self.0.extract_if(.., |(.., since)| overdue(*since)).map(|(fetch, ..)| fetch).collect()
    }

    /// What has waited longest.
    pub(super) fn first(&self) -> Option<ObjectId> {
        self.0.first().map(|(_, object, ..)| *object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_wire::{Epoch, RenditionId};

    #[test]
    fn what_waits_is_found_given_up_or_cancelled() {
        let object = |msn| ObjectId::segment(RenditionId(0), Epoch(1), msn);
        let start = Instant::now();
        let mut wanted = Wanted::default();
        for fetch in 0..4 {
            let at = start + Duration::from_secs(fetch);
            assert!(wanted.add(FetchId(fetch), object(fetch), Some((0, 5)), at));
        }
        let found = wanted.found(|found| found == object(2));
        assert_eq!(found, [(FetchId(2), object(2), Some((0, 5)))]);
        wanted.cancel(FetchId(0));
        assert_eq!(wanted.first(), Some(object(1)));
        assert_eq!(wanted.overdue(start + Duration::from_secs(4)), [FetchId(1)]);
        assert_eq!(wanted.overdue(start + Duration::from_secs(5)), []);
        for fetch in 4..200 {
            wanted.add(FetchId(fetch), object(fetch), None, start);
        }
        assert_eq!(wanted.0.len(), WANTED_MAX);
    }
}
