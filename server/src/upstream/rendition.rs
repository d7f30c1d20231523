//! What is known of one rendition of an upstream: which segments are published, and under what.
//!
//! Rule: a segment is shown under our name only where the viewer's own playlist names the same
//! object under the same number. What is not published yet is held back for a while, then shown as
//! it is. Nothing here fetches or waits.

use super::shown::Show;
use shoal_playlist::ByteRange;
use shoal_wire::RenditionId;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};
use url::Url;

/// Viewers' URLs that are remembered, in case that the one in use is denied.
const CREDENTIALS_MAX: usize = 8;

/// One segment, blind to tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Canonical URL.
    pub(crate) url: String,
    pub(crate) range: Option<ByteRange>,
}

/// What became of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// It was seen then, and is being fetched or will be.
    Pending(Instant),
    /// Under this name.
    Published(String),
    /// It cannot be had, or has no bytes.
    Unshared,
}

/// What a playlist means beside what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes on from what is known, or is older.
    Continues,
    /// It is another life of the encoder, or another one's.
    Anew,
}

/// One rendition.
#[derive(Debug)]
pub(crate) struct Known {
    segments: BTreeMap<u64, (Identity, State)>,
    newest_published: Option<u64>,
    /// Segments remembered: as many as are kept on disk.
    keep: usize,
    /// Longest that a segment is held back: one target duration.
    patience: Duration,
    /// Its number with the origin, once something is published.
    pub(crate) id: Option<RenditionId>,
    /// Viewers' URLs that worked; the one in use comes first, then the freshest.
    credentials: VecDeque<Url>,
    /// When a viewer last asked for anything of it.
    pub(crate) asked_at: Instant,
    /// Whether the first segments have been looked at.
    pub(crate) is_ready: bool,
    /// The end is published.
    pub(crate) has_ended: bool,
}

impl Known {
    pub(crate) fn new(keep: usize, now: Instant) -> Self {
        Self {
            segments: BTreeMap::new(),
            newest_published: None,
            keep,
            patience: Duration::ZERO,
            id: None,
            credentials: VecDeque::new(),
            asked_at: now,
            is_ready: false,
            has_ended: false,
        }
    }

    /// Forgets all segments.
    pub(crate) fn begin_anew(&mut self) {
        self.segments.clear();
        (self.newest_published, self.has_ended) = (None, false);
    }

    /// A viewer's playlist at `url` was there.
    pub(crate) fn worked(&mut self, url: &Url, target: Duration, now: Instant) {
        self.asked_at = now;
        self.patience = target.max(Duration::from_secs(1));
        if self.credentials.front() == Some(url) {
            return;
        }
        self.credentials.retain(|known| known != url);
        let place = usize::from(!self.credentials.is_empty());
        self.credentials.insert(place, url.clone());
        self.credentials.truncate(CREDENTIALS_MAX);
    }

    /// The URL to ask with.
    pub(crate) fn credential(&self) -> Option<&Url> {
        self.credentials.front()
    }

    /// That URL is denied; whether there is another. The last one stays: there is nothing better.
    pub(crate) fn denied(&mut self, url: &Url) -> bool {
        let has_other = self.credentials.iter().any(|known| known != url);
        if has_other {
            self.credentials.retain(|known| known != url);
        }
        has_other
    }

    /// The target duration.
    pub(crate) const fn target(&self) -> Duration {
        self.patience
    }

    /// Whether it is decided what becomes of this segment.
    pub(crate) fn is_settled(&self, msn: u64) -> bool {
        self.segments.get(&msn).is_some_and(|(_, state)| !matches!(state, State::Pending(_)))
    }

    pub(crate) const fn newest_published(&self) -> Option<u64> {
        self.newest_published
    }

    /// Whether `msn` is newer than all that is known.
    pub(crate) fn is_new(&self, msn: u64) -> bool {
        self.segments.last_key_value().is_none_or(|(newest, _)| msn > *newest)
    }

    /// What the server's own playlist, with these segments, means.
    pub(crate) fn verdict(&self, segments: &[(u64, Identity)]) -> Verdict {
        let Some((oldest, _)) = self.segments.first_key_value() else { return Verdict::Continues };
        let Some((last, _)) = segments.last() else { return Verdict::Continues };
        let contradicts = |(msn, identity): &(u64, Identity)| {
            let known = self.segments.get(msn);
            known.is_some_and(|(known, state)| {
                known != identity && matches!(state, State::Published(_))
            })
        };
        let goes_on = self.has_ended && self.is_new(*last);
        if last < oldest || goes_on || segments.iter().any(contradicts) {
            Verdict::Anew
        } else {
            Verdict::Continues
        }
    }

    /// The server will fetch this segment.
    pub(crate) fn expect(&mut self, msn: u64, identity: Identity, now: Instant) {
        let since = match self.segments.get(&msn) {
            Some((_, State::Pending(since))) => *since,
            Some(_) | None => now,
        };
        self.segments.insert(msn, (identity, State::Pending(since)));
        while self.segments.len() > self.keep {
            self.segments.pop_first();
        }
    }

    /// When the segment was first seen, while it is not published.
    pub(crate) fn waiting_since(&self, msn: u64) -> Option<Instant> {
        match self.segments.get(&msn)?.1 {
            State::Pending(since) => Some(since),
            State::Published(_) | State::Unshared => None,
        }
    }

    /// The segment is published under `file`, or never will be.
    pub(crate) fn settled(&mut self, msn: u64, file: Option<String>) {
        let Some((_, state)) = self.segments.get_mut(&msn) else { return };
        if file.is_some() {
            self.newest_published = self.newest_published.max(Some(msn));
        }
        *state = file.map_or(State::Unshared, State::Published);
    }

    /// How a viewer whose playlist has `identity` under the number `msn` sees it.
    pub(crate) fn show(&mut self, msn: u64, identity: &Identity, now: Instant) -> Show {
        if self.is_ready && self.is_new(msn) && !self.has_ended {
            self.expect(msn, identity.clone(), now);
        }
        match self.segments.get(&msn) {
            Some((known, State::Published(file))) if known == identity => Show::Named(file.clone()),
            Some((known, State::Pending(since)))
                if known == identity
                    && self.newest_published.is_some_and(|newest| msn > newest)
                    && now.saturating_duration_since(*since) < self.patience =>
            {
                Show::HeldBack
            }
            Some(_) | None => Show::AsIs,
        }
    }

    /// What is published as `file`.
    pub(crate) fn published(&self, file: &str) -> Option<&Identity> {
        self.segments.values().rev().find_map(|(identity, state)| match state {
            State::Published(name) if name == file => Some(identity),
            State::Published(_) | State::Pending(_) | State::Unshared => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(name: &str) -> Identity {
        Identity { url: format!("h/{name}"), range: None }
    }

    fn known(now: Instant) -> Known {
        let mut known = Known::new(4, now);
        known.worked(&Url::parse("http://h/i.m3u8?t=1").unwrap(), Duration::from_secs(2), now);
        known.is_ready = true;
        for msn in [5, 6] {
            known.expect(msn, identity(&format!("{msn}.ts")), now);
            known.settled(msn, Some(format!("0-1-{msn}.ts")));
        }
        known
    }

    #[test]
    fn the_same_object_is_named_and_another_is_not() {
        let now = Instant::now();
        let mut known = known(now);
        assert_eq!(known.show(6, &identity("6.ts"), now), Show::Named("0-1-6.ts".into()));
        assert_eq!(known.show(6, &identity("x.ts"), now), Show::AsIs);
        let range = Some(ByteRange { offset: 0, length: 1 });
        let part = Identity { range, ..identity("6.ts") };
        assert_eq!(known.show(6, &part, now), Show::AsIs);
        assert_eq!(known.show(4, &identity("4.ts"), now), Show::AsIs);
        assert_eq!(known.published("0-1-6.ts"), Some(&identity("6.ts")));
        assert_eq!(known.published("0-1-7.ts"), None);
    }

    #[test]
    fn what_is_new_is_held_back_and_not_for_ever() {
        let now = Instant::now();
        let mut known = known(now);
        let late = now + Duration::from_secs(2);
        assert_eq!(known.show(7, &identity("7.ts"), now), Show::HeldBack);
        assert_eq!(known.show(7, &identity("7.ts"), late), Show::AsIs);
        known.settled(7, Some("0-1-7.ts".into()));
        assert_eq!(known.show(7, &identity("7.ts"), late), Show::Named("0-1-7.ts".into()));
        assert_eq!(known.show(8, &identity("8.ts"), now), Show::HeldBack);
        known.settled(8, None);
        assert_eq!(known.show(8, &identity("8.ts"), now), Show::AsIs);
    }

    #[test]
    fn before_anything_is_published_nothing_is_held_back() {
        let now = Instant::now();
        let mut known = Known::new(4, now);
        known.is_ready = true;
        known.expect(5, identity("5.ts"), now);
        assert_eq!(known.show(5, &identity("5.ts"), now), Show::AsIs);
    }

    #[test]
    fn a_reset_is_told_from_an_old_playlist() {
        let now = Instant::now();
        let known = known(now);
        let list = |names: &[(u64, &str)]| -> Vec<_> {
            names.iter().map(|(msn, name)| (*msn, identity(name))).collect()
        };
        for (segments, verdict) in [
            (list(&[(5, "5.ts"), (6, "6.ts"), (7, "7.ts")]), Verdict::Continues),
            (list(&[(3, "3.ts"), (4, "4.ts"), (5, "5.ts")]), Verdict::Continues),
            (list(&[(90, "90.ts")]), Verdict::Continues),
            (list(&[(0, "0.ts"), (1, "1.ts")]), Verdict::Anew),
            (list(&[(5, "a.ts"), (6, "b.ts")]), Verdict::Anew),
            (list(&[]), Verdict::Continues),
        ] {
            assert_eq!(known.verdict(&segments), verdict, "{segments:?}");
        }
    }

    #[test]
    fn a_denied_url_gives_way_to_the_freshest() {
        let now = Instant::now();
        let mut known = known(now);
        let url = |token: u32| Url::parse(&format!("http://h/i.m3u8?t={token}")).unwrap();
        for token in 2..20 {
            known.worked(&url(token), Duration::from_secs(2), now);
        }
        assert_eq!(known.credential(), Some(&url(1)), "what works is kept");
        assert_eq!(known.credentials.len(), CREDENTIALS_MAX);
        assert!(known.denied(&url(1)));
        assert_eq!(known.credential(), Some(&url(19)));
    }
}
