//! Which moment of the stream a player's position is: segments with their dates and timestamps.
//!
//! Rule: pure; fed by the reference download. Positions inside a stretch without discontinuity are
//! compared by timestamp, never by date, because dates are only as exact as the encoder writes them.

use super::playlist::Entry;
use std::collections::VecDeque;

/// Segments remembered: ten minutes of 2 s, far more than any player lags behind.
const SEGMENTS_MAX: usize = 300;

/// Slack for what a segment's nominal duration leaves out, such as audio ahead of its video.
const SLACK_S: f64 = 0.3;

/// Where a player is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Position {
    /// At this presentation timestamp, in seconds.
    Pts(f64),
    /// That many seconds after the start of segment `msn`.
    After { msn: u64, seconds: f64 },
}

/// A position on the stream's own time line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Place {
    /// Seconds of media since the first segment that was seen.
    pub(crate) media_s: f64,
    /// Program date time of the frame, Unix seconds.
    pub(crate) date_s: Option<f64>,
}

#[derive(Clone, Debug)]
struct Segment {
    msn: u64,
    duration_s: f64,
    pts_s: Option<f64>,
    date_s: Option<f64>,
    media_s: f64,
    listed_s: f64,
}

/// The segments seen so far, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    segments: VecDeque<Segment>,
}

impl Timeline {
    /// Adds the newest segment, first listed at `listed_s`; its first timestamp if it is known.
    pub(crate) fn push(&mut self, entry: &Entry, pts_s: Option<f64>, listed_s: f64) {
        let media_s = self.segments.back().map_or(0.0, |last| {
            let by_pts = (!entry.discontinuity && last.msn + 1 == entry.msn)
                .then(|| Some(pts_s? - last.pts_s?))
                .flatten();
            let by_date = || {
                (last.msn + 1 != entry.msn).then(|| Some(entry.date_s? - last.date_s?)).flatten()
            };
            last.media_s + by_pts.or_else(by_date).unwrap_or(last.duration_s)
        });
        self.segments.push_back(Segment {
            msn: entry.msn,
            duration_s: entry.duration_s,
            pts_s,
            date_s: entry.date_s,
            media_s,
            listed_s,
        });
        if self.segments.len() > SEGMENTS_MAX {
            self.segments.pop_front();
        }
    }

    /// The newest media sequence number.
    pub(crate) fn newest(&self) -> Option<u64> {
        self.segments.back().map(|segment| segment.msn)
    }

    /// Segments remembered.
    pub(crate) fn len(&self) -> usize {
        self.segments.len()
    }

    /// The place of a position that a player showed at `now_s`.
    ///
    /// Timestamps may repeat (a looped clip); then it is the newest segment that was listed by
    /// that time.
    pub(crate) fn locate(&self, position: Position, now_s: f64) -> Option<Place> {
        let (segment, offset_s) = match position {
            Position::After { msn, seconds } => {
                (self.segments.iter().rev().find(|segment| segment.msn == msn)?, seconds)
            }
            Position::Pts(pts_s) => {
                let offset = |segment: &Segment| Some(pts_s - segment.pts_s?);
                let holds = |segment: &&Segment| {
                    segment.listed_s <= now_s + SLACK_S
                        && offset(segment).is_some_and(|offset_s| {
                            (-0.001..segment.duration_s + SLACK_S).contains(&offset_s)
                        })
                };
                let segment = self.segments.iter().rev().find(holds)?;
                (segment, offset(segment)?)
            }
        };
        Some(Place {
            media_s: segment.media_s + offset_s,
            date_s: segment.date_s.map(|date_s| date_s + offset_s),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(msn: u64, discontinuity: bool) -> Entry {
        let date_s = Some(1000.0 + msn as f64 * 2.0);
        Entry { msn, uri: String::new(), duration_s: 2.0, date_s, discontinuity }
    }

    #[test]
    fn positions_in_a_looped_clip() {
        let mut timeline = Timeline::default();
        for msn in 0..8 {
            let pts_s = Some(10.0 + (msn % 4) as f64 * 2.0);
            timeline.push(&entry(msn, msn == 4), pts_s, 1002.0 + msn as f64 * 2.0);
        }
        let at = |pts_s, now_s| timeline.locate(Position::Pts(pts_s), now_s);
        let place = |media_s: f64| Some(Place { media_s, date_s: Some(1000.0 + media_s) });
        assert_eq!(at(11.0, 1005.0), place(1.0));
        assert_eq!(at(11.0, 1012.0), place(9.0), "the second round, once it is listed");
        assert_eq!(at(17.5, 1016.5), place(15.5));
        assert_eq!(at(30.0, 1016.5), None);
        let after = Position::After { msn: 5, seconds: 2.5 };
        assert_eq!(timeline.locate(after, 1016.5), place(12.5));
    }
}
