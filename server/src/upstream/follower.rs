//! The follower of one rendition: polls its playlist and makes each new segment's digest.
//!
//! Rule: each segment is fetched once, whatever the audience, in the name of a viewer who watches
//! or of the operator. One task per rendition, which ends when nobody has asked for a while.

use super::Upstream;
use super::cache::{Text, TextError, read};
use super::fetch::{Asker, FetchError, Fetched};
use super::place::query_of;
use super::rendition::{Known, Verdict};
use crate::origin::object::extension;
use crate::origin::{Header, Lines, NewSegment, Numbers, PushError};
use shoal_playlist::{Entry, MediaPlaylist, Playlist, What, lines};
use shoal_wire::ObjectId;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use url::Url;

/// Segments that are published when a rendition is first asked for: those with which players begin.
const FIRST_SEGMENTS: usize = 4;
/// Segments of one playlist that are caught up with; a poll is never so late.
const CATCH_UP_MAX: usize = 16;
/// Polls are no closer than this.
const POLL_MIN: Duration = Duration::from_millis(200);
/// How often a segment that is due is looked for, at most.
const POLL_MAX: Duration = Duration::from_millis(500);
/// A poll that failed is repeated after the longest of these. Where the upstream is down it is after
/// a part of the time for which polls have failed by then: viewers stand still, and what is published
/// here is what they wait for.
const RETRY_DIVISOR: u32 = 400;
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_millis(700);
/// Nobody asked for so long, and for so many targets: the task ends.
const IDLE_MIN: Duration = Duration::from_secs(30);
const IDLE_TARGETS: u32 = 6;
/// Tags that say the same to every viewer.
const COMMON_TAGS: [&str; 3] = ["INF", "-X-PROGRAM-DATE-TIME", "-X-BITRATE"];

/// A rendition and its follower.
#[derive(Debug)]
pub(crate) struct Rendition {
    /// What the origin calls it: nothing of its URL, which might hold a token that no rule names.
    pub(crate) name: String,
    known: Mutex<Known>,
    /// Changes when something is published.
    pub(crate) changed: watch::Sender<u64>,
    /// A viewer saw something new.
    pub(crate) news: Notify,
}

impl Rendition {
    pub(crate) fn new(canonical: &str, keep: usize) -> Self {
        let name = blake3::hash(canonical.as_bytes()).to_hex();
        Self {
            name: format!("{}.m3u8", &name[..16]),
            known: Mutex::new(Known::new(keep, Instant::now())),
            changed: watch::Sender::new(0),
            news: Notify::new(),
        }
    }

    pub(crate) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish_change(&self) {
        self.changed.send_modify(|version| *version += 1);
    }
}

/// A segment that is to be fetched.
struct Work {
    msn: u64,
    url: Url,
    entry: Entry,
    discontinuities: u64,
    lines: Lines,
}

/// The task's own state.
pub(crate) struct Follower {
    upstream: Arc<Upstream>,
    rendition: Arc<Rendition>,
    has_begun: bool,
    /// Number of the first segment of this life.
    first_msn: u64,
    failing_since: Option<Instant>,
}

impl Follower {
    pub(crate) const fn new(upstream: Arc<Upstream>, rendition: Arc<Rendition>) -> Self {
        Self { upstream, rendition, has_begun: false, first_msn: 0, failing_since: None }
    }

    /// Follows until nobody asks any more.
    pub(crate) async fn run(mut self) {
        loop {
            let began = Instant::now();
            let wait = match self.poll().await {
                Ok(text) => self.take_in(&text).await,
                Err(error) => Err(Failed::Playlist(error)),
            };
            self.rendition.known().is_ready = true;
            self.rendition.publish_change();
            let wait = match wait {
                Ok(due) => {
                    self.failing_since = None;
                    due.saturating_sub(began.elapsed()).max(POLL_MIN)
                }
                Err(Failed::Publish(error @ PushError::Renditions(_))) => {
                    let stream = &self.upstream.stream.name;
                    tracing::warn!(%stream, %error, "a rendition of the upstream is not shared; \
                        `shoal-server explain` compares two viewers' URLs");
                    self.until_idle().await;
                    return;
                }
                Err(error) => {
                    let stream = &self.upstream.stream.name;
                    if self.failing_since.is_none() {
                        tracing::warn!(%stream, %error, "the upstream is not followed; trying again");
                    }
                    let since = *self.failing_since.get_or_insert_with(Instant::now);
                    if error.is_outage() { retry_after(since.elapsed()) } else { RETRY_MAX }
                }
            };
            let least = POLL_MIN.min(wait);
            tokio::time::sleep(least).await;
            tokio::select! {
                () = tokio::time::sleep(wait - least) => {}
                () = self.rendition.news.notified() => {}
            }
            if self.is_idle() {
                return;
            }
        }
    }

    async fn until_idle(&self) {
        while !self.is_idle() {
            tokio::time::sleep(IDLE_MIN / 4).await;
        }
    }

    fn is_idle(&self) -> bool {
        let known = self.rendition.known();
        known.asked_at.elapsed() > IDLE_MIN.max(known.target() * IDLE_TARGETS)
    }

    /// The playlist, with whatever credential is good.
    async fn poll(&self) -> Result<Arc<Text>, TextError> {
        loop {
            let credential = self.rendition.known().credential().cloned();
            let Some(viewer) = credential else {
                return Err(
                    FetchError::Unreachable("no viewer's URL is good any more".into()).into()
                );
            };
            let upstream = &self.upstream;
            let url = upstream.settings.own_url(&upstream.rules, &viewer);
            // What the operator's credentials open is not kept for viewers.
            let answer = read(&upstream.client, &url, Asker::Server).await;
            let is_denied = match &answer {
                Err(TextError::Fetch(error)) => error.denied().is_some(),
                Ok(_) | Err(TextError::Playlist(_)) => false,
            };
            if !is_denied || !self.rendition.known().denied(&viewer) {
                return answer;
            }
        }
    }

    /// Publishes what is new; says when the next segment is due.
    async fn take_in(&mut self, text: &Text) -> Result<Duration, Failed> {
        let Playlist::Media(media) = &text.playlist else {
            return Err(Failed::Changed);
        };
        let works = self.works(text, media).await?;
        let has_news = !works.is_empty();
        let last = media.entries.last().map_or(Duration::ZERO, |entry| entry.duration);
        for work in works {
            self.publish(work, media).await?;
        }
        let settled =
            text.last_msn().is_none_or(|msn| self.rendition.known().waiting_since(msn).is_none());
        if media.ended && settled && self.has_begun && !self.rendition.known().has_ended {
            self.upstream.stream.end_followed(&self.rendition.name).await?;
            self.rendition.known().has_ended = true;
        }
        let often = (text.target().unwrap_or(POLL_MAX) / 8).clamp(POLL_MIN, POLL_MAX);
        Ok(if has_news { (last * 7 / 8).max(often) } else { often })
    }

    /// What is to be published, in order. A new life of the encoder begins a new epoch first.
    async fn works(&mut self, text: &Text, media: &MediaPlaylist) -> Result<Vec<Work>, Failed> {
        let upstream = &self.upstream;
        let first = media.media_sequence + media.skipped;
        let identities: Vec<_> = (first..)
            .zip(&media.entries)
            .map(|(msn, entry)| (msn, upstream.identity(&text.found, entry)))
            .collect();
        let count = identities.len();
        let (verdict, newest) = {
            let known = self.rendition.known();
            (known.verdict(&identities), known.newest_published())
        };
        let anew = !self.has_begun || verdict == Verdict::Anew;
        let from = if anew {
            count.saturating_sub(FIRST_SEGMENTS)
        } else {
            let next = newest.map_or(self.first_msn, |newest| newest + 1);
            let known = usize::try_from(next.saturating_sub(first)).unwrap_or(count);
            known.max(count.saturating_sub(CATCH_UP_MAX))
        };
        if from >= count {
            return Ok(Vec::new());
        }
        if anew {
            let msn = first + from as u64;
            let is_used = |name: &str| upstream.is_followed(name);
            let id = upstream.stream.begin_followed(&self.rendition.name, msn, is_used).await?;
            let mut known = self.rendition.known();
            known.begin_anew();
            known.id = Some(id);
            (self.has_begun, self.first_msn) = (true, msn);
        }
        let now = Instant::now();
        let mut discontinuities = media.discontinuity_sequence;
        let mut works = Vec::new();
        let mut known = self.rendition.known();
        for (index, (msn, identity)) in identities.into_iter().enumerate() {
            let entry = &media.entries[index];
            let is_settled = !anew && known.is_settled(msn);
            if index >= from && !is_settled {
                known.expect(msn, identity, now);
                let lines = common_lines(upstream, text, media, index);
                let Ok(url) = text.found.join(&entry.uri) else { continue };
                works.push(Work { msn, url, entry: entry.clone(), discontinuities, lines });
            }
            discontinuities += entry.discontinuities;
        }
        Ok(works)
    }

    /// Fetches a segment and publishes it; one that cannot be had is left to the viewers.
    async fn publish(&self, work: Work, media: &MediaPlaylist) -> Result<(), Failed> {
        let Work { msn, url, entry, discontinuities, mut lines } = work;
        let Some(fetched) = self.fetch(msn, &url, &entry).await? else {
            self.rendition.known().settled(msn, None);
            return Ok(());
        };
        let name = file_name(&url, fetched.content_type.as_deref());
        if !crate::origin::object::is_shared(&name) {
            self.rendition.known().settled(msn, None);
            return Ok(());
        }
        lines.discontinuity = entry.discontinuities > 0;
        let hash = blake3::hash(&fetched.bytes);
        let (bytes, duration) = (fetched.bytes, entry.duration);
        let segment =
            NewSegment { bytes, hash, name, duration, lines, gap: false, named: false, pieces: 1 };
        let header = Header {
            version: media.version,
            target_s: media.target_s,
            independent: media.independent,
            window: media.entries.len(),
            ..Header::default()
        };
        let numbers = Numbers { msn, discontinuities };
        let stream = &self.upstream.stream;
        let id = stream.publish_followed(&self.rendition.name, header, numbers, segment).await?;
        let file = stored_name(&self.upstream, id);
        self.rendition.known().settled(msn, file);
        self.rendition.publish_change();
        Ok(())
    }

    /// The segment's bytes; none if they cannot be had in the time that viewers wait.
    async fn fetch(&self, msn: u64, url: &Url, entry: &Entry) -> Result<Option<Fetched>, Failed> {
        if entry.gap {
            return Ok(None);
        }
        loop {
            let error = match self.upstream.client.segment(url, entry.range).await {
                Ok(fetched) if !fetched.bytes.is_empty() => return Ok(Some(fetched)),
                Ok(_) => FetchError::Type("empty".to_owned()),
                Err(error) => error,
            };
            if error.denied().is_some_and(|status| matches!(status.as_u16(), 401 | 403)) {
                // The playlist has to be asked for with another viewer's URL.
                let mut known = self.rendition.known();
                if let Some(viewer) = known.credential().cloned()
                    && known.denied(&viewer)
                {
                    return Err(Failed::Segment(error));
                }
            }
            let stream = &self.upstream.stream.name;
            let patience = self.rendition.known().target();
            let since = self.rendition.known().waiting_since(msn);
            let is_final = match &error {
                FetchError::TooLong(_) | FetchError::Refused(_) | FetchError::Redirect(_) => true,
                FetchError::Status(_)
                | FetchError::Unreachable(_)
                | FetchError::Slow(_)
                | FetchError::Type(_)
                | FetchError::Range => since.is_none_or(|since| since.elapsed() > patience),
            };
            if is_final {
                tracing::warn!(%stream, msn, %error, "a segment of the upstream is not shared");
                return Ok(None);
            }
            tokio::time::sleep(POLL_MIN).await;
        }
    }
}

/// The wait after a poll that failed, once the upstream has been down for so long.
fn retry_after(failing_for: Duration) -> Duration {
    (failing_for / RETRY_DIVISOR).clamp(RETRY_MIN, RETRY_MAX)
}

/// Why a rendition could not be followed this time.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("{0}")]
    Playlist(#[from] TextError),
    #[error("{0}")]
    Segment(FetchError),
    #[error("its playlist has become a master playlist")]
    Changed,
    #[error("{0}")]
    Publish(#[from] PushError),
}

impl Failed {
    /// Whether the upstream is down, so that asking it soon again may help and harms nobody.
    fn is_outage(&self) -> bool {
        let (Self::Playlist(TextError::Fetch(error)) | Self::Segment(error)) = self else {
            return false;
        };
        match error {
            FetchError::Unreachable(_) | FetchError::Slow(_) => true,
            FetchError::Status(status) => status.is_server_error(),
            FetchError::Refused(_)
            | FetchError::Redirect(_)
            | FetchError::TooLong(_)
            | FetchError::Type(_)
            | FetchError::Range => false,
        }
    }
}

/// The name under which the origin stored `id`.
fn stored_name(upstream: &Upstream, id: ObjectId) -> Option<String> {
    let view = upstream.stream.view();
    let start = format!("{}.", id.file_stem());
    view.objects.keys().find(|file| file.starts_with(&start)).cloned()
}

/// A name with the extension of `url`, or one that fits its type: players know segments by it.
fn file_name(url: &Url, content_type: Option<&str>) -> String {
    const KNOWN: [&str; 14] = [
        "ts", "m2ts", "mts", "mp4", "m4s", "m4v", "m4a", "cmfv", "cmfa", "aac", "mp3", "ac3",
        "ec3", "vtt",
    ];
    let known = extension(url.path()).map(str::to_ascii_lowercase);
    let known = known.filter(|it| KNOWN.contains(&it.as_str()) || it == "webvtt" || it == "cmft");
    let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let typed = match essence {
        "video/mp4" | "audio/mp4" | "video/iso.segment" | "application/mp4" => "m4s",
        "audio/aac" => "aac",
        "text/vtt" => "vtt",
        _ => "ts",
    };
    format!("segment.{}", known.as_deref().unwrap_or(typed))
}

/// What a digest may say of entry `index` to every viewer: its tags, and its URI relative to the
/// playlist. Nothing where a viewer's own playlist could say something else: then the digest has no
/// lines, and viewers ask for theirs.
fn common_lines(upstream: &Upstream, text: &Text, media: &MediaPlaylist, index: usize) -> Lines {
    let entry = &media.entries[index];
    let Some(before) = index.checked_sub(1).map(|index| &media.entries[index]) else {
        return Lines::default();
    };
    let is_common = |tag: &String| {
        lines(tag).all(|line| match line.what() {
            What::Tag { name, .. } => COMMON_TAGS.contains(&name),
            What::Nothing | What::Uri(_) => false,
        })
    };
    let same_around = entry.keys == before.keys && entry.map == before.map;
    let whole = entry.range.is_none() && entry.parts.is_empty() && media.parts.is_empty();
    let plain = !text.text.contains("#EXT-X-DEFINE") && !text.text.contains("#EXT-X-SKIP");
    let fits = entry.tags.iter().all(is_common)
        && same_around
        && whole
        && plain
        && upstream.is_common(&text.found, &entry.uri);
    if !fits {
        return Lines::default();
    }
    Lines { tags: entry.tags.clone(), uri: query_of(&entry.uri), ..Lines::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_it_fails_the_less_often_it_is_asked() {
        for (failing_s, wait_ms) in [(0, 50), (20, 50), (80, 200), (3600, 700)] {
            let wait = retry_after(Duration::from_secs(failing_s));
            assert_eq!(wait, Duration::from_millis(wait_ms), "{failing_s}");
        }
    }

    #[test]
    fn only_an_upstream_that_is_down_is_asked_soon_again() {
        let failed = |error: FetchError| Failed::Playlist(error.into());
        let status = |code| FetchError::Status(axum::http::StatusCode::from_u16(code).unwrap());
        assert!(failed(FetchError::Unreachable("refused".into())).is_outage());
        assert!(failed(status(502)).is_outage());
        assert!(!failed(status(403)).is_outage() && !failed(status(429)).is_outage());
        assert!(!Failed::Changed.is_outage());
    }
}
