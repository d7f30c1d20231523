//! The stream's media playlists: which are known, what digests added, when the origin is asked.
//!
//! Rule: a player gets the origin's last word or what signed digests add to it. The origin is
//! asked when digests may be missing: the newest is overdue by half a segment, there is a gap, or
//! no session with the tracker stands; and never more often than [`POLL_INTERVAL_MIN`].

use crate::origin::{PlaylistFailure, PlaylistText};
use crate::playlist::{Append, Window};
use shoal_wire::{ObjectId, Part, RenditionId, SignedDigest};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;
use url::Url;

/// Equal polls within this time get the same answer: players poll once per segment or half of it.
const POLL_INTERVAL_MIN: Duration = Duration::from_millis(500);
/// Most playlists known: a ladder of eight with audio and a few token variants of each.
const PLAYLISTS_MAX: usize = 32;
/// Digests kept per rendition, to go on from an origin's answer that is older than they are.
const DIGESTS_MAX: usize = 32;
/// Requests that wait for one poll; a player has one open at a time.
const WAITING_MAX: usize = 64;

/// What a player's request is answered with; none if the playlist is not known here.
pub(crate) type Answer = Option<Result<Arc<PlaylistText>, PlaylistFailure>>;

/// All playlists of a stream.
#[derive(Debug, Default)]
pub(crate) struct Playlists {
    entries: Vec<Entry>,
    digests: BTreeMap<RenditionId, BTreeMap<u64, Arc<SignedDigest>>>,
}

/// One playlist, by the URL that players use.
#[derive(Debug)]
struct Entry {
    asked: Url,
    found: Url,
    window: Window,
    rendition: Option<RenditionId>,
    /// When the newest segment appeared here.
    news_at: Instant,
    polled_at: Instant,
    used_at: Instant,
    /// A digest could not be shown: something before it is missing.
    behind: bool,
    polling: bool,
    waiting: Vec<oneshot::Sender<Answer>>,
}

/// What to do about a player's request.
#[derive(Debug)]
pub(crate) enum Decision {
    /// It has been answered, or waits for a poll that is under way.
    Done,
    /// Poll the origin; [`Playlists::polled`] takes the result.
    Poll(Url),
}

impl Playlists {
    /// Takes in what the origin gave for `asked`; none if it is no media playlist.
    pub(crate) fn seen(
        &mut self,
        asked: &Url,
        playlist: &PlaylistText,
        rendition: Option<RenditionId>,
        now: Instant,
    ) -> bool {
        let Some(window) = Window::parse(&playlist.text) else { return false };
        let index = self.index(asked).unwrap_or_else(|| self.insert(asked, &window, now));
        let entry = &mut self.entries[index];
        if window.next_msn() > entry.window.next_msn() {
            entry.news_at = now;
        }
        entry.window = window;
        entry.found = playlist.found.clone();
        entry.rendition = rendition.or(entry.rendition);
        entry.polled_at = now;
        entry.behind = false;
        entry.catch_up(&self.digests, now);
        true
    }

    /// A digest was checked.
    pub(crate) fn published(&mut self, digest: &Arc<SignedDigest>, now: Instant) {
        let ObjectId { rendition, msn, part, .. } = digest.object;
        if part != Part::WHOLE {
            return;
        }
        let of_rendition = self.digests.entry(rendition).or_default();
        let known = of_rendition.get(&msn);
        if known.is_none_or(|known| known.object <= digest.object) {
            of_rendition.insert(msn, Arc::clone(digest));
        }
        while of_rendition.len() > DIGESTS_MAX {
            of_rendition.pop_first();
        }
        for entry in self.entries.iter_mut().filter(|entry| entry.rendition == Some(rendition)) {
            entry.catch_up(&self.digests, now);
        }
    }

    /// Answers a player, or says what has to be done first.
    pub(crate) fn request(
        &mut self,
        asked: &Url,
        connected: bool,
        reply: oneshot::Sender<Answer>,
        now: Instant,
    ) -> Decision {
        let Some(index) = self.index(asked) else {
            send(reply, None);
            return Decision::Done;
        };
        let entry = &mut self.entries[index];
        entry.used_at = now;
        if entry.polling {
            if entry.waiting.len() < WAITING_MAX {
                entry.waiting.push(reply);
            }
            return Decision::Done;
        }
        if entry.needs_origin(connected, now) {
            entry.polling = true;
            entry.waiting.push(reply);
            return Decision::Poll(asked.clone());
        }
        send(reply, Some(Ok(entry.text())));
        Decision::Done
    }

    /// The origin was polled: answers those who wait. An origin that is down or failing leaves
    /// players with what is known; what it denies is denied.
    pub(crate) fn polled(
        &mut self,
        asked: &Url,
        result: Result<PlaylistText, PlaylistFailure>,
        rendition: Option<RenditionId>,
        now: Instant,
    ) {
        let failure = match result {
            Ok(playlist) => {
                let media = self.seen(asked, &playlist, rendition, now);
                (!media).then_some(PlaylistFailure::Unreadable)
            }
            Err(failure) => Some(failure),
        };
        let Some(index) = self.index(asked) else { return };
        let entry = &mut self.entries[index];
        entry.polling = false;
        entry.polled_at = now;
        let denied = failure.filter(|failure| match failure {
            PlaylistFailure::Status(status) => !status.is_server_error(),
            PlaylistFailure::Unreadable => true,
            PlaylistFailure::Unreachable => false,
        });
        let answer = denied.map_or_else(|| Ok(entry.text()), Err);
        for reply in std::mem::take(&mut entry.waiting) {
            send(reply, Some(answer.clone()));
        }
    }

    /// The rendition of a playlist, and its target duration.
    pub(crate) fn rendition(&self, asked: &Url) -> Option<(RenditionId, Duration)> {
        let entry = &self.entries[self.index(asked)?];
        Some((entry.rendition?, entry.window.target()))
    }

    /// How long `object` plays, as its playlist says.
    pub(crate) fn duration(&self, object: ObjectId) -> Option<Duration> {
        let entry = self.entries.iter().find(|e| e.rendition == Some(object.rendition))?;
        entry.window.duration(object.msn)
    }

    /// The URL by which this viewer's player asks for a playlist of that rendition.
    pub(crate) fn asked(&self, rendition: RenditionId) -> Option<&Url> {
        let entries = self.entries.iter().filter(|e| e.rendition == Some(rendition));
        entries.max_by_key(|entry| entry.used_at).map(|entry| &entry.asked)
    }

    /// Whether a poll of it is to begin that no player asked for: [`Self::polled`] takes the result.
    pub(crate) fn begin_poll(&mut self, asked: &Url) -> bool {
        let Some(index) = self.index(asked) else { return false };
        !std::mem::replace(&mut self.entries[index].polling, true)
    }

    /// Where the playlists of a rendition are: its digests' URIs are relative to them.
    pub(crate) fn base(&self, rendition: RenditionId) -> Option<&Url> {
        self.entries.iter().find(|e| e.rendition == Some(rendition)).map(|e| &e.found)
    }

    fn index(&self, asked: &Url) -> Option<usize> {
        self.entries.iter().position(|entry| entry.asked == *asked)
    }

    fn insert(&mut self, asked: &Url, window: &Window, now: Instant) -> usize {
        let idle = |entry: &Entry| entry.waiting.is_empty();
        if self.entries.len() >= PLAYLISTS_MAX {
            let oldest = self.entries.iter().enumerate().filter(|(_, entry)| idle(entry));
            if let Some(index) = oldest.min_by_key(|(_, entry)| entry.used_at).map(|(i, _)| i) {
                self.entries.swap_remove(index);
            }
        }
        self.entries.push(Entry {
            asked: asked.clone(),
            found: asked.clone(),
            window: window.clone(),
            rendition: None,
            news_at: now,
            polled_at: now,
            used_at: now,
            behind: false,
            polling: false,
            waiting: Vec::new(),
        });
        self.entries.len() - 1
    }
}

impl Entry {
    fn text(&self) -> Arc<PlaylistText> {
        let (found, text) = (self.found.clone(), self.window.render());
        Arc::new(PlaylistText { found, text, address: None })
    }

    fn needs_origin(&self, connected: bool, now: Instant) -> bool {
        let overdue_after = self.window.last_duration().mul_f32(1.5);
        let stale = !connected
            || self.behind
            || !self.window.follows_digests()
            || now.saturating_duration_since(self.news_at) > overdue_after;
        stale && now.saturating_duration_since(self.polled_at) >= POLL_INTERVAL_MIN
    }

    fn catch_up(
        &mut self,
        digests: &BTreeMap<RenditionId, BTreeMap<u64, Arc<SignedDigest>>>,
        now: Instant,
    ) {
        let Some(digests) = self.rendition.and_then(|rendition| digests.get(&rendition)) else {
            return;
        };
        for digest in digests.range(self.window.next_msn()..).map(|(_, digest)| digest) {
            match self.window.append(digest) {
                Append::Shown => {
                    self.news_at = now;
                    self.behind = false;
                }
                Append::Known => {}
                Append::AskOrigin => {
                    self.behind = true;
                    return;
                }
            }
        }
    }
}

/// A player that has gone meanwhile needs no answer.
fn send(reply: oneshot::Sender<Answer>, answer: Answer) {
    let _ = reply.send(answer);
}

#[cfg(test)]
#[path = "playlists_tests.rs"]
mod tests;
