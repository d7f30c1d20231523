//! Low-latency HLS: the parts of a rendition's newest segments, and what its playlist says of them.
//!
//! Rule: a part that was shown is shown until its segment is old, and its segment has its number.
//! Parts are in memory alone: after a start the playlist shows whole segments, in a new epoch if
//! parts of the next one had been shown.

use super::object::{StoredObject, extension};
use super::state::{RenditionState, Shown};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use shoal_wire::{Epoch, ObjectId, Part, RenditionId};
use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

/// Parts are shown of so many target durations (rfc8216bis, 4.4.4.9), and can be had for twice that.
const SHOWN_TARGETS: u32 = 3;
/// Segments older than so many target durations are left out of delta updates (4.4.3.8).
pub(super) const SKIP_TARGETS: u32 = 6;
/// PART-HOLD-BACK in part targets: at least 2, 3 are advised (4.4.3.8).
const HOLD_BACK_PARTS: u32 = 3;
/// Parts that a client may ask for ahead of the newest (6.2.5.2), if they last a second or more.
const ADVANCE_PARTS: u32 = 3;

/// A rendition whose encoder streams its segments.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct LowLatency {
    /// EXT-X-PART-INF: no part was longer so far.
    pub(crate) part_target: Duration,
    /// The newest segment of which parts were shown.
    pub(crate) shown_msn: Option<u64>,
    /// The segment that is coming.
    #[serde(skip)]
    pub(crate) live: Option<Live>,
    /// Segments that have come.
    #[serde(skip)]
    pub(super) recent: VecDeque<Recent>,
}

/// A segment that is coming, as far as it is shown.
#[derive(Debug)]
pub(crate) struct Live {
    /// Its body, see `parts`.
    pub(crate) body: u64,
    /// The name that it is pushed under.
    pub(crate) name: String,
    pub(crate) discontinuity: bool,
    pub(crate) parts: Vec<PartRecord>,
}

/// A part that is shown.
#[derive(Debug)]
pub(crate) struct PartRecord {
    pub(crate) object: Arc<StoredObject>,
    pub(crate) bytes: Bytes,
    pub(crate) duration: Duration,
    pub(crate) independent: bool,
}

#[derive(Debug)]
pub(super) struct Recent {
    msn: u64,
    duration: Duration,
    parts: Vec<PartRecord>,
}

/// How far a low-latency playlist has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) rendition: RenditionId,
    pub(crate) epoch: Epoch,
    /// The number of the segment that is coming.
    pub(crate) next_msn: u64,
    /// Its parts.
    live_parts: u64,
    /// Parts of the one before; 0 if it is shown without.
    last_parts: u64,
    part_target: Duration,
    pub(crate) target: Duration,
    pub(crate) ended: bool,
}

impl Progress {
    /// Whether the playlist shows segment `msn`, or this part of it.
    pub(crate) fn shows(&self, msn: u64, part: Option<u64>) -> bool {
        let Some(part) = part else { return msn < self.next_msn };
        if msn + 1 == self.next_msn && self.last_parts > 0 && part >= self.last_parts {
            // Past its segment's last: the next segment's first is meant (rfc8216bis, 6.2.5.2).
            return self.live_parts > 0;
        }
        msn < self.next_msn || (msn == self.next_msn && part < self.live_parts)
    }

    /// Whether nobody should wait for it yet.
    pub(crate) fn is_far(&self, msn: u64, part: Option<u64>) -> bool {
        let seconds = self.part_target.as_secs_f64().clamp(0.01, 1.0);
        let advance = (f64::from(ADVANCE_PARTS) / seconds).ceil() as u64;
        msn > self.next_msn + 1
            || (msn == self.next_msn && part.is_some_and(|part| part >= self.live_parts + advance))
    }
}

impl PartRecord {
    /// EXT-X-PART.
    pub(super) fn tag(&self) -> String {
        part_tag(&self.object.file, self.duration, self.independent)
    }
}

pub(super) fn part_tag(file: &str, duration: Duration, independent: bool) -> String {
    let independent = if independent { ",INDEPENDENT=YES" } else { "" };
    format!("#EXT-X-PART:DURATION={:.5},URI=\"{file}\"{independent}", duration.as_secs_f64())
}

impl Live {
    /// Bytes of the parts.
    pub(super) fn bytes(&self) -> Bytes {
        self.parts.iter().flat_map(|part| &part.bytes).copied().collect()
    }

    pub(super) fn duration(&self) -> Duration {
        self.parts.iter().map(|part| part.duration).sum()
    }

    /// Whether `segment` begins with the parts; true if those are all of it.
    pub(super) fn fits(&self, mut segment: &[u8]) -> Option<bool> {
        for part in &self.parts {
            segment = segment.strip_prefix(&part.bytes[..])?;
        }
        Some(segment.is_empty())
    }
}

impl LowLatency {
    /// Segment `msn` is published, and `bytes` are all of it: the parts that came before it are
    /// its own. Gives what nobody needs any more.
    pub(super) fn complete(
        &mut self,
        msn: u64,
        (bytes, duration): (&[u8], Duration),
        target: Duration,
    ) -> Vec<Arc<StoredObject>> {
        let mut parts = Vec::new();
        let mut removed = Vec::new();
        if let Some(live) = self.live.take() {
            let own = if live.fits(bytes) == Some(true) { &mut parts } else { &mut removed };
            own.extend(live.parts);
        }
        self.recent.push_back(Recent { msn, duration, parts });
        let mut newer: Duration = self.recent.iter().map(|recent| recent.duration).sum();
        while let Some(front) = self.recent.front()
            && newer - front.duration >= target * SHOWN_TARGETS * 2
        {
            newer -= front.duration;
            removed.extend(self.recent.pop_front().into_iter().flat_map(|recent| recent.parts));
        }
        removed.into_iter().map(|part| part.object).collect()
    }

    /// The parts of segment `msn`, if they are shown.
    pub(super) fn parts(&self, msn: u64, target: Duration) -> &[PartRecord] {
        let mut newer = Duration::ZERO;
        for recent in self.recent.iter().rev() {
            if newer >= target * SHOWN_TARGETS {
                break;
            }
            if recent.msn == msn {
                return &recent.parts;
            }
            newer += recent.duration;
        }
        &[]
    }

    /// EXT-X-SERVER-CONTROL and EXT-X-PART-INF.
    pub(super) fn header(&self, out: &mut String, target: Duration) {
        let part = self.part_target.as_secs_f64();
        let hold_back = (self.part_target * HOLD_BACK_PARTS).as_secs_f64();
        let skip = (target * SKIP_TARGETS).as_secs_f64();
        write!(
            out,
            "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK={hold_back:.5},\
             CAN-SKIP-UNTIL={skip:.1}\n#EXT-X-PART-INF:PART-TARGET={part:.5}\n"
        )
        .expect("writing to a string cannot fail");
    }
}

impl RenditionState {
    pub(super) fn target(&self) -> Duration {
        Duration::from_secs(self.header.target_s.max(1))
    }

    /// What comes after the last whole segment: parts, the next one's name, other renditions.
    pub(super) fn write_live(&self, out: &mut String, shown: &Shown) {
        let Some(low_latency) = &self.low_latency else { return };
        if let Some(live) = &low_latency.live {
            if live.discontinuity && self.counters.next_msn > 0 {
                out.push_str("#EXT-X-DISCONTINUITY\n");
            }
            for part in &live.parts {
                out.push_str(&part.tag());
                out.push('\n');
            }
        }
        if let Some(file) = self.next_part(low_latency) {
            writeln!(out, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{file}\"")
                .expect("writing to a string cannot fail");
        }
        shown.reports.iter().for_each(|report| out.push_str(report));
    }

    /// The name of the part that comes next, as far as can be told.
    fn next_part(&self, low_latency: &LowLatency) -> Option<String> {
        let last = self.segments.back()?;
        let (mut msn, mut part) = (self.counters.next_msn, 0);
        if let Some(live) = &low_latency.live {
            // A segment that is as long as the last one has all its parts.
            if live.duration() + low_latency.part_target / 4 >= last.duration {
                msn += 1;
            } else {
                part = u16::try_from(live.parts.len()).ok()?;
            }
        }
        let id = ObjectId { part: Part(part), ..ObjectId::segment(self.id, self.epoch, msn) };
        Some(format!("{}.{}", id.file_stem(), extension(&last.file)?))
    }

    /// What other renditions' playlists say of this one, at `up` to the stream's root.
    pub(super) fn report(&self, up: &str) -> Option<String> {
        let live = &self.low_latency.as_ref()?.live;
        let live_parts = live.as_ref().map_or(0, |live| live.parts.len());
        let last = self.segments.back()?;
        let (msn, part) = match live_parts.checked_sub(1) {
            Some(part) => (self.counters.next_msn, Some(part)),
            None => {
                let parts = self.low_latency.as_ref()?.parts(last.object.msn, self.target());
                (last.object.msn, parts.len().checked_sub(1))
            }
        };
        let part = part.map_or(String::new(), |part| format!(",LAST-PART={part}"));
        let uri = &self.playlist;
        Some(format!("#EXT-X-RENDITION-REPORT:URI=\"{up}{uri}\",LAST-MSN={msn}{part}\n"))
    }

    /// How far it has come, if it has parts.
    pub(super) fn progress(&self) -> Option<Progress> {
        let low_latency = self.low_latency.as_ref()?;
        let target = self.target();
        let last = self.counters.next_msn.saturating_sub(1);
        let live = low_latency.live.as_ref();
        Some(Progress {
            rendition: self.id,
            epoch: self.epoch,
            next_msn: self.counters.next_msn,
            live_parts: live.map_or(0, |live| live.parts.len()) as u64,
            last_parts: low_latency.parts(last, target).len() as u64,
            part_target: low_latency.part_target,
            target,
            ended: self.end.is_some(),
        })
    }

    /// How many of the segments from `first` on a delta update leaves out.
    pub(super) fn skippable(&self, first: usize) -> usize {
        let boundary = self.target() * SKIP_TARGETS;
        let mut newer = Duration::ZERO;
        let kept = self.segments.iter().skip(first).rev().take_while(|segment| {
            let within = newer < boundary;
            newer += segment.duration;
            within
        });
        self.segments.len() - first - kept.count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_ahead_waits_and_who_asks_far_ahead_does_not() {
        let progress = Progress {
            rendition: RenditionId(0),
            epoch: Epoch(1),
            next_msn: 10,
            live_parts: 2,
            last_parts: 4,
            part_target: Duration::from_millis(500),
            target: Duration::from_secs(2),
            ended: false,
        };
        for (msn, part, shows, far) in [
            (9, None, true, false),
            (10, None, false, false),
            (10, Some(1), true, false),
            (10, Some(2), false, false),
            (9, Some(4), true, false),
            (10, Some(7), false, false),
            (10, Some(8), false, true),
            (11, Some(0), false, false),
            (12, None, false, true),
        ] {
            assert_eq!(progress.shows(msn, part), shows, "{msn} {part:?}");
            assert_eq!(progress.is_far(msn, part), far, "{msn} {part:?}");
        }
        let none = Progress { live_parts: 0, ..progress };
        assert!(!none.shows(9, Some(4)), "the next segment's first is not there");
        assert!(none.shows(9, Some(3)));
    }
}
