//! Upstreams' playlists, each asked for once however many ask for it.
//!
//! Rule: an answer is kept for exactly the URL that it was given to, tokens and all, and for a
//! fraction of a segment. Who asks meanwhile waits for the same answer. While an upstream is down,
//! its last word stands for a short time.

use super::fetch::{Asker, Client, FetchError};
use shoal_playlist::{Context, Playlist};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use url::Url;

/// A refusal is not asked for again for this long, and a success for at least as long.
const FRESH_MIN: Duration = Duration::from_millis(200);
/// Longest that a media playlist is kept, and how long a master playlist is.
const FRESH_MAX: Duration = Duration::from_secs(2);
/// How long the last word of an upstream that is down stands, in targets and at least.
const STALE_TARGETS: u32 = 3;
const STALE_MIN: Duration = Duration::from_secs(10);
/// What nobody asked for in this time is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(60);
/// A poll that asks for what comes next has a URL of its own, which is soon in the past.
const FORGET_POLL_AFTER: Duration = Duration::from_secs(5);
/// URLs at once: viewers with tokens of their own who poll. Beyond it nothing is kept.
const SLOTS_MAX: usize = 20_000;
/// Bytes of all texts: a thousand viewers with windows of hours. Beyond it nothing is kept.
const BYTES_MAX: usize = 256 << 20;

/// A playlist as an upstream gave it.
#[derive(Debug)]
pub(crate) struct Text {
    /// Where it was found, after redirects.
    pub(crate) found: Url,
    pub(crate) text: String,
    pub(crate) playlist: Playlist,
    pub(crate) fetched_at: Instant,
}

impl Text {
    /// EXT-X-TARGETDURATION; none of a master playlist.
    pub(crate) fn target(&self) -> Option<Duration> {
        match &self.playlist {
            Playlist::Master(_) => None,
            Playlist::Media(media) => Some(Duration::from_secs(media.target_s.clamp(1, 60))),
        }
    }

    /// The number of its last segment.
    pub(crate) fn last_msn(&self) -> Option<u64> {
        match &self.playlist {
            Playlist::Master(_) => None,
            Playlist::Media(media) => {
                let count = media.entries.len() as u64 + media.skipped;
                (media.media_sequence + count).checked_sub(1)
            }
        }
    }

    fn fresh_for(&self) -> Duration {
        self.target().map_or(FRESH_MAX, |target| (target / 4).clamp(FRESH_MIN, FRESH_MAX))
    }
}

/// Why there is no playlist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TextError {
    #[error("{0}")]
    Fetch(#[from] FetchError),
    #[error("the upstream's answer is no playlist: {0}")]
    Playlist(shoal_playlist::PlaylistError),
}

type Answer = Result<Arc<Text>, TextError>;

/// All playlists of one upstream.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    slots: Mutex<HashMap<String, Arc<Slot>>>,
}

#[derive(Debug, Default)]
struct Slot {
    kept: tokio::sync::Mutex<Kept>,
    seen: Mutex<Option<(Instant, usize)>>,
}

#[derive(Debug, Default)]
struct Kept {
    answer: Option<(Instant, Answer)>,
    last_good: Option<Arc<Text>>,
}

impl Texts {
    /// The playlist at `url`, no older than it may be and with segment `newest`, if that is known
    /// to be there.
    pub(crate) async fn read(&self, client: &Client, url: &Url, newest: Option<u64>) -> Answer {
        let slot = self.slot(url.as_str());
        let mut kept = slot.kept.lock().await;
        if let Some((at, answer)) = &kept.answer {
            let (fresh_for, lacks) = match answer {
                Ok(text) => (text.fresh_for(), newest > text.last_msn().or(newest)),
                Err(_) => (FRESH_MIN, false),
            };
            let age = at.elapsed();
            if age < fresh_for && (!lacks || age < FRESH_MIN / 2) {
                return answer.clone();
            }
        }
        let fetched = read(client, url, Asker::Viewer).await;
        let now = Instant::now();
        let answer = match fetched {
            Ok(text) => {
                kept.last_good = Some(Arc::clone(&text));
                Ok(text)
            }
            Err(error) => kept.last_word(error, now),
        };
        let bytes = kept.last_good.as_ref().map_or(0, |text| text.text.len());
        *slot.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, bytes));
        kept.answer = Some((now, answer.clone()));
        answer
    }

    fn slot(&self, url: &str) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(url) {
            return Arc::clone(slot);
        }
        let slot = Arc::new(Slot::default());
        if slots.len() < SLOTS_MAX {
            slots.insert(url.to_owned(), Arc::clone(&slot));
        }
        slot
    }

    /// Forgets what nobody asks for. Called now and then.
    pub(crate) fn tidy(&self, now: Instant) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = |slot: &Slot| *slot.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = 0;
        slots.retain(|url, slot| {
            let Some((at, len)) = seen(slot) else { return Arc::strong_count(slot) > 1 };
            let is_poll = url.contains("_HLS_msn=");
            let after = if is_poll { FORGET_POLL_AFTER } else { FORGET_AFTER };
            let is_used = now.saturating_duration_since(at) < after;
            bytes += if is_used { len } else { 0 };
            is_used && bytes <= BYTES_MAX
        });
    }
}

impl Kept {
    /// What to answer while the upstream is down.
    fn last_word(&mut self, error: TextError, now: Instant) -> Answer {
        let denied = match &error {
            TextError::Fetch(error) => error.denied().is_some(),
            TextError::Playlist(_) => false,
        };
        if denied {
            self.last_good = None;
        }
        let Some(text) = &self.last_good else { return Err(error) };
        let stands =
            text.target().map_or(STALE_MIN, |target| STALE_MIN.max(target * STALE_TARGETS));
        if now.saturating_duration_since(text.fetched_at) < stands {
            tracing::debug!(%error, "the upstream's last playlist stands");
            return Ok(Arc::clone(text));
        }
        self.last_good = None;
        Err(error)
    }
}

/// Asks the upstream, and reads what it answers.
pub(crate) async fn read(client: &Client, url: &Url, asker: Asker) -> Answer {
    let fetched = client.playlist(url, asker).await?;
    let context = Context { imports: None, query: Some(url.query().unwrap_or_default()) };
    let playlist = Playlist::parse(&fetched.bytes, context).map_err(TextError::Playlist)?;
    let text = String::from_utf8(fetched.bytes.into());
    let text = text.map_err(|_| TextError::Playlist(shoal_playlist::PlaylistError::Text))?;
    Ok(Arc::new(Text { found: fetched.found, text, playlist, fetched_at: Instant::now() }))
}
