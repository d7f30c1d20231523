//! One stream of the origin: what is pushed into it becomes what is seen of it.
//!
//! Rule: one writer at a time, and the writer alone changes numbers and files. It knows neither
//! HTTP nor viewers; news for the tracker go into a bounded queue.

use super::encoder_playlist::{EncoderPlaylist, Entry, PlaylistError};
use super::object::Cache;
use super::publish::{NewSegment, PublishError};
use super::state::{Lines, StreamState};
use super::track::{Step, Verdict};
use super::uploads::{Upload, Uploads};
use super::view::{Playlist, View};
use super::{Limits, files};
use crate::config::IngestKey;
use bytes::Bytes;
use shoal_wire::tracker_message::RenditionInfo;
use shoal_wire::{ObjectId, OriginSigner, SignedDigest, StreamName};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;
use tokio::sync::mpsc;

/// Most master playlists in a stream: one per way of grouping its renditions, with room.
const MASTERS_MAX: usize = 16;

/// A stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) name: StreamName,
    /// None: encoders may not push into it.
    pub(crate) key: Option<IngestKey>,
    pub(super) dir: PathBuf,
    pub(super) signer: Arc<Signer>,
    pub(super) limits: Limits,
    pub(super) writer: tokio::sync::Mutex<Writer>,
    uploads: Mutex<Uploads>,
    view: RwLock<View>,
    news: mpsc::Sender<News>,
}

/// The signing key, without showing it.
pub(crate) struct Signer(pub(crate) OriginSigner);

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer(…)")
    }
}

impl std::ops::Deref for Signer {
    type Target = OriginSigner;
    fn deref(&self) -> &OriginSigner {
        &self.0
    }
}

/// What only the writer sees.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) state: StreamState,
    pub(crate) cache: Cache,
}

/// What the tracker is told.
#[derive(Clone, Debug)]
pub(crate) enum News {
    /// An object, or the end of the stream, is published.
    Published {
        /// The stream.
        stream: StreamName,
        /// Its digest.
        digest: Arc<SignedDigest>,
    },
    /// The renditions changed.
    Renditions {
        /// The stream.
        stream: StreamName,
        /// All of them.
        renditions: Vec<RenditionInfo>,
    },
}

/// What an upload was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Something new.
    New,
    /// The same bytes again.
    Retry,
}

/// Why a push came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PushError {
    #[error("{0}")]
    Playlist(#[from] PlaylistError),
    #[error("a stream has at most {0} media playlists; see origin.renditions_max")]
    Renditions(usize),
    #[error("a stream has at most {MASTERS_MAX} master playlists")]
    Masters,
    #[error("the origin cannot store it: {0}")]
    Store(#[from] PublishError),
}

/// A body that is coming. Dropped before it is complete, it is forgotten.
#[derive(Debug)]
pub(crate) struct Incoming {
    stream: Arc<Stream>,
    name: String,
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.stream.uploads().end(&self.name);
    }
}

impl Stream {
    pub(super) fn new(
        identity: (StreamName, Option<IngestKey>, PathBuf),
        signer: Arc<Signer>,
        limits: Limits,
        loaded: (Writer, View),
        news: mpsc::Sender<News>,
    ) -> Self {
        let (name, key, dir) = identity;
        let (writer, view) = loaded;
        let uploads = Mutex::new(Uploads::new(limits.uploads_bytes_max));
        let (writer, view) = (tokio::sync::Mutex::new(writer), RwLock::new(view));
        Self { name, key, dir, signer, limits, writer, uploads, view, news }
    }

    pub(super) fn objects_dir(&self) -> PathBuf {
        self.dir.join("objects")
    }

    pub(super) fn digest_path(&self, object: ObjectId) -> PathBuf {
        self.objects_dir().join(format!("{}.digest", object.file_stem()))
    }

    fn uploads(&self) -> MutexGuard<'_, Uploads> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn view(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn view_mut(&self) -> RwLockWriteGuard<'_, View> {
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn tell(&self, news: News) {
        // The tracker is gone only when the server stops.
        let _ = self.news.send(news).await;
    }

    pub(super) async fn save(&self, writer: &Writer, sync: bool) -> std::io::Result<()> {
        let json = serde_json::to_vec(&writer.state).map_err(std::io::Error::other)?;
        files::replace(&self.dir.join("state.json"), &json, sync).await
    }

    /// A body for `name` begins to come.
    pub(crate) fn begin_upload(self: &Arc<Self>, name: &str) -> Incoming {
        self.uploads().begin(name);
        Incoming { stream: Arc::clone(self), name: name.to_owned() }
    }

    /// The body of `incoming` is complete.
    pub(crate) async fn uploaded(
        &self,
        incoming: Incoming,
        bytes: Bytes,
    ) -> Result<Taken, PushError> {
        let name = incoming.name.clone();
        let hash = blake3::hash(&bytes);
        self.uploads().insert(&name, bytes, hash, Instant::now());
        drop(incoming);
        let mut writer = self.writer.lock().await;
        let retry = writer.state.renditions.iter().any(|r| r.track.knows(&name, &hash));
        for index in 0..writer.state.renditions.len() {
            let track = &mut writer.state.renditions[index].track;
            let verdict = track.look_again(&self.uploads(), Instant::now());
            if verdict == Verdict::Restarts {
                self.restart(&mut writer, index).await?;
            }
        }
        self.settle_locked(&mut writer).await?;
        Ok(if retry { Taken::Retry } else { Taken::New })
    }

    /// A playlist is pushed to `path`.
    pub(crate) async fn push_playlist(&self, path: &str, text: &[u8]) -> Result<(), PushError> {
        let playlist = match EncoderPlaylist::parse(text, path)? {
            EncoderPlaylist::Media(playlist) => playlist,
            EncoderPlaylist::Master => return self.push_master(path, text).await,
        };
        let mut writer = self.writer.lock().await;
        let index = self.rendition(&mut writer, path).await?;
        let verdict = {
            let rendition = &mut writer.state.renditions[index];
            let header = playlist.clone();
            let verdict = rendition.track.playlist(playlist, &self.uploads(), Instant::now());
            rendition.header_from(&header, verdict == Verdict::Restarts);
            verdict
        };
        let resumed = verdict == Verdict::Continues && writer.state.renditions[index].end.is_some();
        if verdict == Verdict::Restarts || resumed {
            self.restart(&mut writer, index).await?;
        }
        self.settle_locked(&mut writer).await
    }

    async fn restart(&self, writer: &mut Writer, index: usize) -> Result<(), PushError> {
        let epoch = writer.state.restart(index);
        self.save(writer, true).await.map_err(PublishError::from)?;
        tracing::info!(stream = %self.name, rendition = index, epoch = epoch.0, "the encoder began anew");
        Ok(())
    }

    /// The rendition shown at `path`, made if it is new.
    async fn rendition(&self, writer: &mut Writer, path: &str) -> Result<usize, PushError> {
        if let Some(index) = writer.state.rendition_at(path) {
            return Ok(index);
        }
        if writer.state.renditions.len() >= self.limits.renditions_max {
            return Err(PushError::Renditions(self.limits.renditions_max));
        }
        let index = writer.state.add_rendition(path);
        self.save(writer, true).await.map_err(PublishError::from)?;
        self.show(writer, index, None);
        tracing::info!(stream = %self.name, rendition = index, playlist = path, "new rendition");
        let renditions = self.view().infos();
        self.tell(News::Renditions { stream: self.name.clone(), renditions }).await;
        Ok(index)
    }

    async fn push_master(&self, path: &str, text: &[u8]) -> Result<(), PushError> {
        let text = String::from_utf8(text.to_vec()).map_err(|_| PlaylistError::Text)?;
        let mut writer = self.writer.lock().await;
        let masters = &mut writer.state.masters;
        if masters.len() >= MASTERS_MAX && !masters.contains_key(path) {
            return Err(PushError::Masters);
        }
        masters.insert(path.to_owned(), text.clone());
        self.save(&writer, false).await.map_err(PublishError::from)?;
        self.view_mut().playlists.insert(path.to_owned(), Playlist::new(text, MASTER_TARGET_S));
        Ok(())
    }

    /// Publishes what is ready. Called when time passes; pushes do it themselves.
    pub(crate) async fn settle(&self) -> Result<(), PushError> {
        // A writer that is busy settles by itself.
        let Ok(mut writer) = self.writer.try_lock() else { return Ok(()) };
        if writer.state.renditions.iter().any(|rendition| rendition.track.is_waiting()) {
            self.settle_locked(&mut writer).await?;
        }
        Ok(())
    }

    async fn settle_locked(&self, writer: &mut Writer) -> Result<(), PushError> {
        for index in 0..writer.state.renditions.len() {
            loop {
                let track = &mut writer.state.renditions[index].track;
                let step = track.step(&self.uploads(), Instant::now());
                match step {
                    Step::Publish { entry } => self.publish_entry(writer, index, *entry).await?,
                    Step::GaveUp => {
                        tracing::warn!(stream = %self.name, rendition = index, "a segment that the \
                            encoder's playlist names never came; it is left out");
                    }
                    Step::End => {
                        if writer.state.renditions[index].end.is_none() {
                            self.publish_end(writer, index).await?;
                        }
                        writer.state.renditions[index].track.end_published();
                    }
                    Step::Wait => break,
                }
            }
        }
        Ok(())
    }

    async fn publish_entry(
        &self,
        writer: &mut Writer,
        index: usize,
        entry: Entry,
    ) -> Result<(), PushError> {
        let Some(upload) = self.uploads().peek(&entry.name).cloned() else { return Ok(()) };
        let map = match &entry.map {
            Some(tag) => match self.init_section(writer, index, &tag.name).await? {
                Some(file) => Some(tag.with_uri(&file)),
                None => {
                    tracing::warn!(stream = %self.name, init = tag.name, "the init section that the \
                        playlist names was not pushed; its segment is left out");
                    writer.state.renditions[index].track.give_up();
                    return Ok(());
                }
            },
            None => None,
        };
        let Entry { name, duration, discontinuity, keys, tags, .. } = entry;
        let lines = Lines { discontinuity, keys, map, tags, uri: String::new() };
        let Upload { bytes, hash, .. } = upload;
        let segment = NewSegment { bytes, hash, name: name.clone(), duration, lines };
        match self.publish(writer, index, segment).await {
            Ok(_) => {
                self.forget_upload(&name, &hash);
                Ok(())
            }
            Err(error @ PublishError::Store(_)) => Err(error.into()),
            Err(error @ PublishError::Digest(_)) => {
                tracing::warn!(stream = %self.name, %error, "a segment is left out");
                writer.state.renditions[index].track.give_up();
                self.forget_upload(&name, &hash);
                Ok(())
            }
        }
    }

    fn forget_upload(&self, name: &str, hash: &blake3::Hash) {
        let mut uploads = self.uploads();
        // A later body of that name stays: it is another segment's.
        if uploads.peek(name).is_some_and(|upload| upload.hash == *hash) {
            uploads.remove(name);
        }
    }

    async fn init_section(
        &self,
        writer: &mut Writer,
        index: usize,
        name: &str,
    ) -> Result<Option<String>, PushError> {
        let upload = self.uploads().peek(name).cloned();
        if let Some(Upload { bytes, hash, .. }) = upload {
            return Ok(Some(self.publish_init(writer, index, name, bytes, &hash).await?));
        }
        let inits = &writer.state.renditions[index].inits;
        Ok(inits.iter().rev().find(|init| init.pushed_as == name).map(|init| init.file.clone()))
    }

    /// Publishes a segment that no encoder pushed, into the rendition at `playlist`, in real time.
    pub(crate) async fn publish_own(
        &self,
        playlist: &str,
        header: super::state::Header,
        segment: NewSegment,
    ) -> Result<ObjectId, PushError> {
        let mut writer = self.writer.lock().await;
        let index = self.rendition(&mut writer, playlist).await?;
        writer.state.renditions[index].header = header;
        Ok(self.publish(&mut writer, index, segment).await?)
    }

    /// Begins a new epoch of the rendition at `playlist`, if it has any segment.
    pub(crate) async fn begin_own(&self, playlist: &str) -> Result<(), PushError> {
        let mut writer = self.writer.lock().await;
        let index = self.rendition(&mut writer, playlist).await?;
        if writer.state.renditions[index].counters.next_msn > 0 {
            self.restart(&mut writer, index).await?;
        }
        Ok(())
    }
}

/// Master playlists change rarely; caches may keep them for half of this many seconds.
pub(super) const MASTER_TARGET_S: u64 = 4;
