//! Upstream mode: an existing origin or CDN stays where it is, and its viewers share.
//!
//! Rule: authorisation is the upstream's. A viewer's playlist is asked for with exactly the viewer's
//! own URL, and what the upstream denies is denied. Objects are compared blind to tokens; no token
//! goes into a digest, a name or a log.

mod cache;
mod explain;
mod fetch;
mod follower;
mod hosts;
mod identity;
mod place;
mod presets;
mod rendition;
mod settings;
mod shown;

pub use explain::{Explanation, explain};
pub use hosts::AllowedHost;
pub use identity::{PathPattern, QueryKey, Rules};
pub use presets::Preset;
pub use settings::{Fetch, OperatorQuery, OptionalHeader, UpstreamUrl};

use crate::config::Config;
use crate::metrics::Metrics;
use crate::origin::{Origin, Stream};
use axum::http::StatusCode;
use cache::{Text, TextError, Texts};
use fetch::{Client, FetchError};
use follower::{Follower, Rendition};
use identity::Part;
use place::{Page, Place};
use rendition::Identity;
use settings::Settings;
use shoal_playlist::{Entry, MediaPlaylist, Playlist};
use shoal_wire::{ObjectId, StreamName};
use shown::Show;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

/// The first viewer of a rendition waits for its first digests this long, then sees the upstream's
/// own URLs: a start that late is worse than a few segments that are not shared.
const FIRST_DIGESTS_WAIT: Duration = Duration::from_millis(1500);
/// Caches answer for a master playlist for half of so many seconds.
const MASTER_TARGET_S: u64 = 4;
/// How often what nobody asks for is forgotten.
const TIDY_INTERVAL: Duration = Duration::from_secs(10);

/// All upstreams by stream.
#[derive(Debug, Default)]
pub(crate) struct Upstreams(BTreeMap<StreamName, Arc<Upstream>>);

impl Upstreams {
    /// # Errors
    /// A sentence, if the system's certificates cannot be used.
    pub(crate) fn new(
        config: &Config,
        origin: &Origin,
        metrics: &Arc<Metrics>,
        stop: &CancellationToken,
    ) -> Result<Self, String> {
        let mut all = BTreeMap::new();
        for url in &config.upstream.urls {
            let stream = origin.stream(url.name.as_str()).expect("the origin has all streams");
            let client = Client::new(&url.base, &config.upstream, Arc::clone(metrics))?;
            let upstream = Upstream {
                place: Place::new(url.base.clone(), Arc::clone(&client.hosts)),
                rules: config.upstream.rules(),
                settings: config.upstream.clone(),
                keep_segments: config.origin.keep_segments.0,
                renditions_max: config.origin.renditions_max.0,
                stream: Arc::clone(stream),
                client,
                texts: Texts::default(),
                renditions: Mutex::default(),
                followers: TaskTracker::new(),
                stop: stop.clone(),
            };
            all.insert(url.name.clone(), Arc::new(upstream));
        }
        Ok(Self(all))
    }

    /// The upstream of that stream, if it has one.
    pub(crate) fn of(&self, stream: &StreamName) -> Option<&Arc<Upstream>> {
        self.0.get(stream)
    }

    /// Forgets what nobody asks for, for ever.
    pub(crate) async fn keep_tidy(self: Arc<Self>) {
        let mut interval = tokio::time::interval(TIDY_INTERVAL);
        loop {
            interval.tick().await;
            self.0.values().for_each(|upstream| upstream.texts.tidy(Instant::now()));
        }
    }
}

/// One upstream.
#[derive(Debug)]
pub(crate) struct Upstream {
    place: Place,
    rules: Rules,
    settings: Settings,
    keep_segments: usize,
    renditions_max: usize,
    stream: Arc<Stream>,
    client: Client,
    texts: Texts,
    /// By canonical URL of the media playlist.
    renditions: Mutex<HashMap<String, Arc<Rendition>>>,
    followers: TaskTracker,
    stop: CancellationToken,
}

/// A playlist for a viewer.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) text: String,
    pub(crate) target_s: u64,
}

/// Where a viewer is to get an object.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the upstream, with its own URL.
    Upstream(Url),
    /// From the copy here.
    Here,
}

/// Why a viewer's request comes to nothing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Denial {
    pub(crate) status: StatusCode,
    /// A sentence without any URL.
    pub(crate) why: String,
}

impl From<FetchError> for Denial {
    fn from(error: FetchError) -> Self {
        let status = match &error {
            FetchError::Refused(_) => StatusCode::FORBIDDEN,
            FetchError::Slow(_) => StatusCode::GATEWAY_TIMEOUT,
            FetchError::Status(_)
            | FetchError::Redirect(_)
            | FetchError::Unreachable(_)
            | FetchError::TooLong(_)
            | FetchError::Type(_)
            | FetchError::Range => error.denied().unwrap_or(StatusCode::BAD_GATEWAY),
        };
        Self { status, why: error.to_string() }
    }
}

impl From<TextError> for Denial {
    fn from(error: TextError) -> Self {
        match error {
            TextError::Fetch(error) => error.into(),
            TextError::Playlist(_) => {
                Self { status: StatusCode::BAD_GATEWAY, why: error.to_string() }
            }
        }
    }
}

impl Upstream {
    /// The upstream's URL of our `path` in the stream.
    pub(crate) fn url(&self, path: &str, query: Option<&str>) -> Result<Url, Denial> {
        self.place.upstream(path, query).map_err(|refused| FetchError::Refused(refused).into())
    }

    /// The playlist that the viewer with this URL is to see.
    pub(crate) async fn playlist(
        self: &Arc<Self>,
        path: &str,
        query: Option<&str>,
    ) -> Result<Shown, Denial> {
        let asked = self.url(path, query)?;
        let canonical = self.rules.canonical(&asked).text;
        let known = self.renditions().get(&canonical).cloned();
        let newest = known.as_ref().and_then(|it| it.known().newest_published());
        let mut text = self.texts.read(&self.client, &asked, newest).await?;
        let mut rendition = None;
        if let (Playlist::Media(media), Some(target)) = (&text.playlist, text.target())
            && (known.is_some() || is_followed(media))
        {
            rendition = self.follow(canonical, &asked, target).await;
            let newest = rendition.as_ref().and_then(|it| it.known().newest_published());
            if newest > text.last_msn() {
                text = self.texts.read(&self.client, &asked, newest).await?;
            }
        }
        let page = Page { place: &self.place, asked: &asked, found: &text.found, path };
        Ok(match &text.playlist {
            Playlist::Master(master) => {
                Shown { text: shown::master(&text.text, master, page), target_s: MASTER_TARGET_S }
            }
            Playlist::Media(media) => {
                let shows = self.shows(&text, media, rendition.as_deref());
                let shown = shown::media(&text.text, media, page, &shows);
                Shown { text: shown, target_s: media.target_s }
            }
        })
    }

    /// How each segment of a viewer's playlist is shown.
    fn shows(
        &self,
        text: &Text,
        media: &MediaPlaylist,
        rendition: Option<&Rendition>,
    ) -> Vec<Show> {
        let Some(rendition) = rendition else { return vec![Show::AsIs; media.entries.len()] };
        let first = media.media_sequence + media.skipped;
        let identities = media.entries.iter().map(|entry| self.identity(&text.found, entry));
        let identities: Vec<_> = (first..).zip(identities).collect();
        let mut known = rendition.known();
        let has_news = identities.last().is_some_and(|(msn, _)| known.is_new(*msn));
        let now = Instant::now();
        let mut shows: Vec<_> =
            identities.iter().map(|(msn, identity)| known.show(*msn, identity, now)).collect();
        drop(known);
        if has_news {
            rendition.news.notify_one();
        }
        // Parts of the next segment would stand after a hole; and without any segment a player gives
        // up, where it would wait for the next one.
        let is_low_latency = !media.parts.is_empty() || !media.hints.is_empty();
        if is_low_latency || shows.first() == Some(&Show::HeldBack) {
            shows.iter_mut().filter(|it| **it == Show::HeldBack).for_each(|it| *it = Show::AsIs);
        }
        shows
    }

    /// The rendition, followed from now on; none if there are too many.
    async fn follow(
        self: &Arc<Self>,
        canonical: String,
        asked: &Url,
        target: Duration,
    ) -> Option<Arc<Rendition>> {
        let asked = &place::without_directives(asked);
        let rendition = {
            let mut renditions = self.renditions();
            let is_full = renditions.len() >= self.renditions_max;
            let known = renditions.get(&canonical).cloned();
            let rendition = match known {
                Some(rendition) => rendition,
                None if is_full => return None,
                None => {
                    let rendition = Arc::new(Rendition::new(&canonical, self.keep_segments));
                    renditions.insert(canonical.clone(), Arc::clone(&rendition));
                    rendition.known().worked(asked, target, Instant::now());
                    self.start(canonical, &rendition);
                    rendition
                }
            };
            rendition.known().worked(asked, target, Instant::now());
            rendition
        };
        let mut changed = rendition.changed.subscribe();
        let ready = changed.wait_for(|_| rendition.known().is_ready);
        // Whoever comes too early sees what there is.
        let _ = tokio::time::timeout(FIRST_DIGESTS_WAIT, ready).await;
        Some(rendition)
    }

    fn start(self: &Arc<Self>, canonical: String, rendition: &Arc<Rendition>) {
        let follower = Follower::new(Arc::clone(self), Arc::clone(rendition));
        let (upstream, stop) = (Arc::clone(self), self.stop.clone());
        self.followers.spawn(async move {
            tokio::select! {
                () = follower.run() => {}
                () = stop.cancelled() => {}
            }
            upstream.renditions().remove(&canonical);
        });
    }

    /// How the viewer is to get the object `file`, whose URL carries `uri`, below our `path`.
    pub(crate) async fn object(
        &self,
        path: &str,
        object: ObjectId,
        query: Option<&str>,
    ) -> Result<Way, Denial> {
        let forbidden = |why: &str| Denial { status: StatusCode::FORBIDDEN, why: why.to_owned() };
        let uri = query.and_then(place::uri_in).ok_or_else(|| {
            forbidden("the URL lacks the upstream's own (u=…): take it from the playlist")
        })?;
        let folder = path.rfind('/').map_or("", |at| &path[..=at]);
        let url = self.url(folder, None)?.join(&uri);
        let url = url.map_err(|_| forbidden("u=… is no URL"))?;
        self.client.hosts.check(&url).map_err(FetchError::Refused)?;
        let file = path[folder.len()..].to_owned();
        let known = {
            let renditions = self.renditions();
            let mut all = renditions.values();
            all.find_map(|rendition| {
                let mut known = rendition.known();
                if known.id != Some(object.rendition) {
                    return None;
                }
                known.asked_at = Instant::now();
                known.published(&file).cloned()
            })
        };
        let is_part = known.as_ref().is_some_and(|identity| identity.range.is_some());
        if self.settings.fetch == Fetch::Cdn && !is_part {
            return Ok(Way::Upstream(url));
        }
        let Some(known) = known else { return Ok(Way::Upstream(url)) };
        if self.rules.canonical(&url).text != known.url {
            return Err(forbidden("u=… is not this object's URL"));
        }
        self.client.authorises(&url).await?;
        Ok(Way::Here)
    }

    fn renditions(&self) -> MutexGuard<'_, HashMap<String, Arc<Rendition>>> {
        self.renditions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the rendition that the origin calls so is followed.
    fn is_followed(&self, name: &str) -> bool {
        self.renditions().values().any(|rendition| rendition.name == name)
    }

    fn identity(&self, found: &Url, entry: &Entry) -> Identity {
        let url = found.join(&entry.uri).map(|url| self.rules.canonical(&url).text);
        Identity { url: url.unwrap_or_else(|_| entry.uri.clone()), range: entry.range }
    }

    /// Whether `uri`, found in the playlist at `found`, can be said to every viewer: it is relative,
    /// and neither a query nor a piece of its path could be a viewer's own.
    fn is_common(&self, found: &Url, uri: &str) -> bool {
        let is_plain = !uri.starts_with('/')
            && !uri.contains(['?', '#', '{'])
            && !uri.split('/').any(|piece| piece == "..")
            && Url::parse(uri).is_err();
        let Some(url) = is_plain.then(|| found.join(uri).ok()).flatten() else { return false };
        let pieces = url.path().trim_start_matches('/').split('/').count();
        let of_folder = pieces.saturating_sub(uri.split('/').count());
        !self.rules.canonical(&url).ignored.iter().any(|ignored| match ignored.what {
            Part::Path(place) => place > of_folder,
            Part::Query(_) => true,
        })
    }
}

/// Whether a playlist that nobody follows yet is worth it: a live one, of media.
fn is_followed(media: &MediaPlaylist) -> bool {
    !media.ended && !media.i_frames_only && !media.entries.is_empty()
}
