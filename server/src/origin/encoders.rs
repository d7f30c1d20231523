//! Two encoders of one stream: who is shown, and when the other takes over.
//!
//! Rule: one encoder at a time makes a rendition. The other one may push all the while, below
//! `backup/`; it takes over when the first has shown nothing new for [`SILENT_TARGETS`] target
//! durations, in an epoch of its own, and stays until it falls silent itself. Nothing is compared
//! between the two: they need not be in step.

use super::encoder_playlist::MediaPlaylist;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Below this path the second encoder pushes what the first pushes above it.
pub(crate) const BACKUP_DIR: &str = "backup/";
/// RFC 8216, 6.2.1, has a new segment each target duration; two late ones are no failure.
const SILENT_TARGETS: u32 = 3;

/// One of a stream's two encoders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Encoder {
    #[default]
    Main,
    Backup,
}

impl Encoder {
    /// Who pushes to `path`, and the path that viewers know.
    pub(crate) fn of(path: &str) -> (Self, &str) {
        match path.strip_prefix(BACKUP_DIR) {
            Some(shown) => (Self::Backup, shown),
            None => (Self::Main, path),
        }
    }
}

/// When the two encoders of a rendition were heard of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    /// The encoder that is shown had something new.
    active_at: Instant,
    /// The other one pushed a playlist.
    standby_at: Instant,
    /// Since when it has done so without a break.
    standby_since: Instant,
}

impl Heard {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { active_at: now, standby_at: now, standby_since: now }
    }

    /// The encoder that is shown had something new.
    pub(crate) const fn active(&mut self, now: Instant) {
        self.active_at = now;
    }

    /// The other encoder pushed a playlist: for how long the first has been silent, if that is long
    /// enough. What the first has `ended` is begun anew only by one that came later.
    pub(crate) fn standby(
        &mut self,
        target: Duration,
        ended: bool,
        now: Instant,
    ) -> Option<Duration> {
        let patience = target * SILENT_TARGETS;
        if now.saturating_duration_since(self.standby_at) > patience {
            self.standby_since = now;
        }
        self.standby_at = now;
        let silence = now.saturating_duration_since(self.active_at);
        let late = !ended || self.standby_since > self.active_at;
        (silence > patience && late).then_some(silence)
    }
}

/// Leaves of a playlist what may be new to viewers who saw nothing for `silence`.
pub(crate) fn keep_newest(playlist: &mut MediaPlaylist, silence: Duration) {
    let mut left = silence;
    let newest = playlist.entries.iter().rev().take_while(|entry| {
        let before = left;
        left = left.saturating_sub(entry.duration.max(Duration::from_millis(1)));
        before > Duration::ZERO
    });
    let old = playlist.entries.len() - newest.count();
    playlist.entries.drain(..old);
    playlist.first_seq += old as u64;
}

#[cfg(test)]
mod tests {
    use super::super::encoder_playlist::Entry;
    use super::*;

    const TARGET: Duration = Duration::from_secs(2);

    #[test]
    fn the_other_takes_over_after_three_targets_of_silence() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut heard = Heard::new(start);
        assert_eq!(heard.standby(TARGET, false, at(6)), None);
        assert_eq!(heard.standby(TARGET, false, at(7)), Some(Duration::from_secs(7)));
        heard.active(at(8));
        assert_eq!(heard.standby(TARGET, false, at(14)), None);
    }

    #[test]
    fn an_end_is_the_end_for_both() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut heard = Heard::new(start);
        for second in 1..20 {
            assert_eq!(heard.standby(TARGET, true, at(second)), None, "it went on from before");
        }
        assert!(heard.standby(TARGET, true, at(30)).is_some(), "it came back later");
    }

    #[test]
    fn what_was_seen_is_not_shown_twice() {
        let entry = Entry { duration: TARGET, ..Entry::default() };
        let playlist =
            MediaPlaylist { first_seq: 7, entries: vec![entry; 6], ..MediaPlaylist::default() };
        for (silence, first_seq, count) in [(7, 9, 4), (100, 7, 6), (0, 13, 0)] {
            let mut newest = playlist.clone();
            keep_newest(&mut newest, Duration::from_secs(silence));
            assert_eq!((newest.first_seq, newest.entries.len()), (first_seq, count));
        }
    }
}
