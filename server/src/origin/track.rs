//! What one encoder's playlists mean: which segment comes next, and when the encoder began anew.
//!
//! Rule: a segment is ready when its playlist names it and its bytes are complete, in the order of
//! the playlist, once. It knows names, numbers and hashes; it neither stores nor numbers anything.

use super::encoder_playlist::{Entry, MediaPlaylist};
use super::uploads::Uploads;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Most segments that are named and not there yet: an encoder's window with room.
const WAITING_MAX: usize = 128;
/// A named segment whose bytes do not come is given up after this time, once a later one is there:
/// encoders push the bytes first, so only requests that overtake each other are waited for.
const MISSING_WAIT: Duration = Duration::from_secs(1);
/// A playlist that is behind by up to this many segments was overtaken by a newer one; one further
/// behind comes from an encoder that began anew.
const OVERTAKEN_MAX: u64 = 16;
/// For so long, a playlist that showed nothing new is looked at again when an upload changes.
const SECOND_LOOK: Duration = Duration::from_secs(2);

/// One encoder playlist's life so far.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Track {
    /// The newest published segments of this encoder's life, oldest first.
    known: VecDeque<Known>,
    /// The encoder's number of the newest segment that was named. What was named and not published
    /// is named again after a start, so it is not saved.
    #[serde(skip)]
    last_seq: Option<u64>,
    /// Named and not published yet, in order.
    #[serde(skip)]
    waiting: VecDeque<Waiting>,
    /// Something was left out before the next segment.
    discontinuity_due: bool,
    /// The playlist has ended.
    #[serde(skip)]
    ended: bool,
    #[serde(skip)]
    second_look: Option<(MediaPlaylist, Instant)>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Known {
    seq: u64,
    /// The key of its piece.
    name: String,
    /// Empty where other bytes cannot be told: of a gap, and of a range of a file that may grow.
    hash: String,
}

#[derive(Clone, Debug)]
struct Waiting {
    seq: u64,
    entry: Entry,
    named_at: Instant,
}

/// What a playlist meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing new.
    Known,
    /// The encoder goes on.
    Continues,
    /// Another life of the encoder begins with this playlist.
    Restarts,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Publish this, then call [`Track::published`].
    Publish {
        /// The segment, with a discontinuity where something was left out before it.
        entry: Box<Entry>,
    },
    /// A segment was given up; ask again.
    GaveUp,
    /// All segments are published and the encoder has ended the stream.
    End,
    /// Nothing is ready.
    Wait,
}

impl Track {
    /// Takes a playlist in.
    pub(crate) fn playlist(
        &mut self,
        playlist: MediaPlaylist,
        uploads: &Uploads,
        now: Instant,
    ) -> Verdict {
        let count = playlist.entries.len() as u64;
        let last = (playlist.first_seq + count).checked_sub(1);
        let newest = self.newest();
        let verdict = match (newest, last) {
            (None, Some(_)) => Verdict::Continues,
            (_, None) => Verdict::Known,
            (Some(_), Some(_)) if self.contradicts(&playlist, uploads) => Verdict::Restarts,
            (Some(newest), Some(last)) if last > newest => Verdict::Continues,
            (Some(newest), Some(last)) if newest - last > OVERTAKEN_MAX => Verdict::Restarts,
            (Some(_), Some(_)) => Verdict::Known,
        };
        if verdict == Verdict::Restarts {
            *self = Self { discontinuity_due: true, ..Self::default() };
        }
        if playlist.ended && (verdict != Verdict::Known || last == newest) {
            self.ended = true;
        }
        if verdict == Verdict::Known {
            self.second_look = Some((playlist, now));
        } else {
            self.second_look = None;
            self.enqueue(playlist, now);
        }
        verdict
    }

    /// An upload changed: looks again at a playlist that had shown nothing new.
    pub(crate) fn look_again(&mut self, uploads: &Uploads, now: Instant) -> Verdict {
        match self.second_look.take() {
            Some((playlist, at))
                if now.saturating_duration_since(at) < SECOND_LOOK
                    && self.contradicts(&playlist, uploads) =>
            {
                self.playlist(playlist, uploads, now)
            }
            other => {
                self.second_look = other;
                Verdict::Known
            }
        }
    }

    /// What can be done now.
    pub(crate) fn step(&mut self, uploads: &Uploads, now: Instant) -> Step {
        let ready = |waiting: &Waiting| waiting.entry.gap || uploads.has(&waiting.entry.piece);
        let Some(front) = self.waiting.front() else {
            return if self.ended { Step::End } else { Step::Wait };
        };
        if ready(front) {
            let mut entry = Box::new(front.entry.clone());
            entry.discontinuity |= self.discontinuity_due;
            return Step::Publish { entry };
        }
        let waited = now.saturating_duration_since(front.named_at);
        let lost = waited >= MISSING_WAIT && !uploads.is_coming(&front.entry.piece.name);
        let overdue = self.waiting.len() > WAITING_MAX;
        if overdue || (lost && self.waiting.iter().skip(1).any(ready)) {
            self.give_up();
            return Step::GaveUp;
        }
        Step::Wait
    }

    /// The segment of [`Step::Publish`] is published; `keep` of them are remembered.
    pub(crate) fn published(&mut self, hash: &blake3::Hash, keep: usize) {
        let Some(Waiting { seq, entry, .. }) = self.waiting.pop_front() else { return };
        self.discontinuity_due = false;
        let comparable = !entry.gap && entry.piece.range.is_none();
        let hash = if comparable { hash.to_hex().to_string() } else { String::new() };
        self.known.push_back(Known { seq, name: entry.piece.key(), hash });
        while self.known.len() > keep {
            self.known.pop_front();
        }
    }

    /// The segment at the front cannot be had; the next one follows a gap.
    pub(crate) fn give_up(&mut self) {
        self.waiting.pop_front();
        self.discontinuity_due = true;
    }

    /// The next segment does not go on where the last one stopped.
    pub(crate) fn discontinue(&mut self) {
        self.discontinuity_due = true;
    }

    /// Whether the next segment does not go on where the last one stopped.
    pub(crate) fn is_discontinuous(&self) -> bool {
        self.discontinuity_due
    }

    /// The end of the stream is published.
    pub(crate) fn end_published(&mut self) {
        self.ended = false;
    }

    /// Whether something waits for time to pass or bytes to come.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether this published segment was pushed under `name` with these bytes.
    pub(crate) fn knows(&self, name: &str, hash: &blake3::Hash) -> bool {
        self.known.iter().any(|known| known.name == name && *known.hash == *hash.to_hex())
    }

    /// Whether a number that is known now stands for other bytes.
    fn contradicts(&self, playlist: &MediaPlaylist, uploads: &Uploads) -> bool {
        (playlist.first_seq..).zip(&playlist.entries).any(|(seq, entry)| {
            let named = self.waiting.iter().find(|waiting| waiting.seq == seq);
            if let Some(waiting) = named {
                return waiting.entry.piece != entry.piece;
            }
            let Some(known) = self.known.iter().find(|known| known.seq == seq) else {
                return false;
            };
            let replaced = |known: &Known| {
                let now = uploads.peek(&entry.piece.name);
                !known.hash.is_empty()
                    && now.is_some_and(|upload| *upload.hash.to_hex() != *known.hash)
            };
            known.name != entry.piece.key() || replaced(known)
        })
    }

    fn newest(&self) -> Option<u64> {
        self.last_seq.or_else(|| self.known.back().map(|known| known.seq))
    }

    fn enqueue(&mut self, playlist: MediaPlaylist, now: Instant) {
        for (seq, entry) in (playlist.first_seq..).zip(playlist.entries) {
            if self.newest().is_some_and(|last| seq <= last) {
                continue;
            }
            if self.newest().is_some_and(|last| seq > last + 1) {
                self.discontinuity_due = true;
            }
            self.last_seq = Some(seq);
            self.waiting.push_back(Waiting { seq, entry, named_at: now });
        }
    }
}

#[cfg(test)]
#[path = "track_tests.rs"]
mod tests;
