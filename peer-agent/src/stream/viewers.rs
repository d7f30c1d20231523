//! Who watches: renditions with players, known by what is requested.
//!
//! Rule: HTTP players say no goodbye, so a rendition is watched as long as its playlist or its
//! segments are asked for; the silence that ends it is longer than any player's polling pause.

use shoal_wire::{ObjectId, RenditionId};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tokio::time::Instant;

/// A player polls once per target duration; after three it is gone.
const SILENT_TARGETS: u32 = 3;
/// And not before this: short segments leave room for a slow machine.
const SILENCE_MIN: Duration = Duration::from_secs(10);
/// A stream without any player is left after this: a pause for a phone call ends before.
const LEAVE_AFTER: Duration = Duration::from_secs(30);
/// Objects per rendition whose requests are counted.
const OBJECTS_MAX: usize = 5;

/// Activity of all renditions.
#[derive(Debug)]
pub(crate) struct Viewers {
    renditions: BTreeMap<RenditionId, Activity>,
    last_any: Instant,
}

#[derive(Debug)]
struct Activity {
    last: Instant,
    target: Duration,
    /// The newest requested objects, and how often each was asked for.
    requested: VecDeque<(ObjectId, u32)>,
}

impl Viewers {
    pub(crate) fn new(now: Instant) -> Self {
        Self { renditions: BTreeMap::new(), last_any: now }
    }

    /// A rendition's playlist was asked for, or one of its requests goes on.
    pub(crate) fn touch(&mut self, rendition: RenditionId, target: Option<Duration>, now: Instant) {
        let activity = self.renditions.entry(rendition).or_insert_with(|| Activity {
            last: now,
            target: Duration::ZERO,
            requested: VecDeque::new(),
        });
        activity.last = now;
        activity.target = target.unwrap_or(activity.target);
        self.last_any = now;
    }

    /// An object was asked for, from its first byte.
    pub(crate) fn request(&mut self, object: ObjectId, now: Instant) {
        self.touch(object.rendition, None, now);
        let Some(activity) = self.renditions.get_mut(&object.rendition) else { return };
        if let Some((_, count)) = activity.requested.iter_mut().find(|(o, _)| *o == object) {
            *count += 1;
            return;
        }
        activity.requested.push_back((object, 1));
        while activity.requested.len() > OBJECTS_MAX {
            activity.requested.pop_front();
        }
    }

    /// Renditions that nobody plays any more; they are forgotten here.
    pub(crate) fn gone(&mut self, now: Instant) -> Vec<RenditionId> {
        let is_gone = |activity: &Activity| {
            let silence = (activity.target * SILENT_TARGETS).max(SILENCE_MIN);
            now.saturating_duration_since(activity.last) > silence
        };
        let gone: Vec<_> =
            self.renditions.iter().filter(|(_, a)| is_gone(a)).map(|(r, _)| *r).collect();
        for rendition in &gone {
            self.renditions.remove(rendition);
        }
        gone
    }

    /// Whether the stream can be left.
    pub(crate) fn all_left(&self, now: Instant) -> bool {
        self.renditions.is_empty() && now.saturating_duration_since(self.last_any) > LEAVE_AFTER
    }

    /// How many players there seem to be: each asks once for each object, so the median count of a
    /// rendition's newest objects tells. A player of several renditions is counted once.
    pub(crate) fn players(&self) -> u32 {
        let median = |activity: &Activity| {
            let mut counts: Vec<_> = activity.requested.iter().map(|(_, count)| *count).collect();
            counts.sort_unstable();
            counts.get(counts.len() / 2).copied().unwrap_or(1)
        };
        self.renditions.values().map(median).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_wire::Epoch;

    const R: RenditionId = RenditionId(1);

    #[test]
    fn silence_ends_a_rendition_and_then_the_stream() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut viewers = Viewers::new(start);
        viewers.touch(R, Some(Duration::from_secs(2)), at(0));
        viewers.touch(RenditionId(2), Some(Duration::from_secs(6)), at(0));
        assert!(viewers.gone(at(10)).is_empty());
        assert_eq!(viewers.gone(at(11)), [R]);
        assert_eq!(viewers.gone(at(19)), [RenditionId(2)]);
        assert!(!viewers.all_left(at(30)));
        assert!(viewers.all_left(at(31)));
        viewers.touch(R, None, at(31));
        assert!(!viewers.all_left(at(99)));
    }

    #[test]
    fn players_are_counted_by_their_requests() {
        let now = Instant::now();
        let mut viewers = Viewers::new(now);
        assert_eq!(viewers.players(), 0);
        for msn in 0..8 {
            let object = ObjectId::segment(R, Epoch(1), msn);
            viewers.request(object, now);
            viewers.request(object, now);
        }
        // One retry too many.
        viewers.request(ObjectId::segment(R, Epoch(1), 7), now);
        assert_eq!(viewers.players(), 2);
    }
}
