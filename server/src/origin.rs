//! The origin: streams on disk, their newest bytes in memory, their digests signed.
//!
//! Rule: a playlist never names an absent segment, a number never stands for two segments, and a
//! digest is made once. It knows no HTTP and no viewer.

mod cmaf;
mod encoder_playlist;
mod encoders;
mod files;
mod follow;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod journal;
mod keys;
mod load;
mod low_latency;
pub(crate) mod object;
mod parts;
mod publish;
mod retention;
mod signing;
mod state;
mod stream;
mod track;
mod uploads;
mod view;
mod vod;

pub(crate) use encoder_playlist::UPLOAD_PATH;
pub(crate) use encoders::BACKUP_DIR;
pub(crate) use follow::Numbers;
pub(crate) use keys::KEY_BYTES_MAX;
pub(crate) use low_latency::Progress;
pub(crate) use publish::NewSegment;
use retention::Dvr;
pub(crate) use state::{Header, Lines};
pub(crate) use stream::{Incoming, News, PushError, Stream, Taken};
pub(crate) use view::Playlist;

use crate::config::{Config, DEMO_STREAM, IngestKey, Parts};
use shoal_wire::{OriginKey, StreamName};
use std::collections::BTreeMap;
use std::fs::TryLockError;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use stream::Signer;
use tokio::sync::mpsc;

/// How often streams are looked at for segments that never came.
const SETTLE_INTERVAL: Duration = Duration::from_millis(500);

/// What a stream may hold.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    keep_segments: usize,
    playlist_segments: usize,
    cache_bytes_max: usize,
    renditions_max: usize,
    /// Pushed and not named yet: two of the largest bodies, one for each of two renditions.
    uploads_bytes_max: usize,
    /// None: viewers see the live window alone.
    dvr: Option<Dvr>,
    /// What parts last, where encoders stream their segments.
    part_target: Duration,
    /// Whether viewers share parts, or take them from here and share segments.
    parts: Parts,
}

/// All streams.
#[derive(Debug)]
pub(crate) struct Origin {
    streams: BTreeMap<StreamName, Arc<Stream>>,
    signer: Arc<Signer>,
    /// The folders of recordings.
    recordings: Vec<(StreamName, PathBuf)>,
    /// Held while this process uses the data directory.
    _lock: std::fs::File,
}

/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("another shoal-server uses {}: choose another directory with --data-dir", .0.display())]
    InUse(PathBuf),
    #[error("cannot use {}: {error} (choose another place with --data-dir)", path.display())]
    Io { path: PathBuf, error: std::io::Error },
    #[error("cannot read {}: {error} (choose another place with --vod)", path.display())]
    Vod { path: PathBuf, error: std::io::Error },
}

impl Origin {
    /// Opens the data directory and every stream in the configuration.
    pub(crate) fn open(config: &Config, news: &mpsc::Sender<News>) -> Result<Self, OpenError> {
        let dir = config.server.data_dir.as_path();
        let failed = |error| OpenError::Io { path: dir.to_path_buf(), error };
        std::fs::create_dir_all(dir).map_err(failed)?;
        let lock = lock(dir)?;
        let signer = signing::load_or_make(&dir.join("signing.key")).map_err(failed)?;
        let signer = Arc::new(Signer(signer));
        let limits = Limits {
            keep_segments: config.origin.keep_segments.0,
            playlist_segments: config.origin.playlist_segments,
            cache_bytes_max: config.origin.cache_mib_max.bytes(),
            renditions_max: config.origin.renditions_max.0,
            uploads_bytes_max: 2 * config.ingest.body_mib_max.bytes(),
            dvr: None,
            part_target: config.origin.part_target_ms.0,
            parts: Parts::Share,
        };
        let demo = config.demo.channel.then(|| DEMO_STREAM.parse().expect("a stream name"));
        let configured = config.streams.iter().map(|stream| {
            let dvr = config.origin.dvr(stream).map(Dvr::from);
            (stream.name.clone(), Some(stream.ingest_key.clone()), dvr, stream.parts)
        });
        let mut streams = BTreeMap::new();
        let mut add = |(name, key, dvr, parts): (StreamName, Option<IngestKey>, _, _), shown| {
            let dir = dir.join("streams").join(name.as_str());
            let limits = Limits { dvr, parts, ..limits.clone() };
            let (writer, view) = load::load(&dir, &signer, &limits).map_err(failed)?;
            let loaded = (writer, if shown { view } else { view::View::default() });
            let identity = (name.clone(), key, dir);
            let signer = Arc::clone(&signer);
            let stream = Stream::new(identity, signer, limits, loaded, news.clone());
            streams.insert(name, Arc::new(stream));
            Ok(())
        };
        let plain = |name| (name, None, None, Parts::Share);
        let followed = config.upstream.urls.iter().map(|it| plain(it.name.clone()));
        for stream in configured.chain(followed).chain(demo.map(plain)) {
            add(stream, true)?;
        }
        let live = |name: &StreamName| {
            config.streams.iter().any(|it| it.name == *name)
                || config.upstream.urls.iter().any(|it| it.name == *name)
                || name.as_str() == DEMO_STREAM
        };
        let recordings = match &config.origin.vod_dir.0 {
            Some(dir) => recordings(dir, live)?,
            None => Vec::new(),
        };
        for (name, _) in &recordings {
            // It is shown when its folder is known to be what it was.
            add((name.clone(), None, Some(Dvr::ALL), Parts::Share), false)?;
        }
        Ok(Self { streams, signer, recordings, _lock: lock })
    }

    /// Serves the recordings, one after the other.
    pub(crate) async fn serve_recordings(self: Arc<Self>) {
        for (name, folder) in &self.recordings {
            let Some(stream) = self.streams.get(name) else { continue };
            if let Err(error) = Arc::clone(stream).serve_recording(folder.clone()).await {
                tracing::error!(stream = %name, %error, "a recording is not served");
            }
        }
    }

    /// The stream of that name.
    pub(crate) fn stream(&self, name: &str) -> Option<&Arc<Stream>> {
        self.streams.get(&name.parse().ok()?)
    }

    /// All streams by name.
    pub(crate) fn streams(&self) -> impl Iterator<Item = &Arc<Stream>> {
        self.streams.values()
    }

    /// The key that viewers check digests with.
    pub(crate) fn key(&self) -> OriginKey {
        self.signer.key()
    }

    /// Looks after segments that never came, for ever.
    pub(crate) async fn keep_settling(self: Arc<Self>) {
        let mut interval = tokio::time::interval(SETTLE_INTERVAL);
        loop {
            interval.tick().await;
            for stream in self.streams() {
                if let Err(error) = stream.settle().await {
                    tracing::warn!(stream = %stream.name, %error, "cannot publish; trying again");
                }
            }
        }
    }
}

/// The sub-folders of `dir` by stream name.
fn recordings(
    dir: &Path,
    taken: impl Fn(&StreamName) -> bool,
) -> Result<Vec<(StreamName, PathBuf)>, OpenError> {
    let failed = |error| OpenError::Vod { path: dir.to_path_buf(), error };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.path().is_dir() {
            continue;
        }
        let name = entry.file_name();
        match name.to_string_lossy().parse::<StreamName>() {
            Ok(name) if !taken(&name) => found.push((name, entry.path())),
            Ok(name) => tracing::error!(%name, "a recording has the name of a live stream"),
            Err(error) => tracing::error!(?name, %error, "a recording's folder is no stream name"),
        }
    }
    found.sort();
    Ok(found)
}

fn lock(dir: &Path) -> Result<std::fs::File, OpenError> {
    let failed = |error| OpenError::Io { path: dir.to_path_buf(), error };
    let file = std::fs::File::create(dir.join("lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(dir.to_path_buf())),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Milliseconds since the Unix epoch.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
