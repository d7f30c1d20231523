//! One stream of the origin: what is pushed into it becomes what is seen of it.
//!
//! Rule: one writer at a time, and the writer alone changes numbers and files. It knows neither
//! HTTP nor viewers; news for the tracker go into a bounded queue.

use super::cmaf::{CutPart, Cutter};
use super::encoder_playlist::{self, EncoderPlaylist, Entry, Piece, Place, PlaylistError};
use super::encoders::{Encoder, Heard, keep_newest};
use super::keys::Keys;
use super::object::Cache;
use super::parts::Bodies;
use super::publish::{NewSegment, PublishError};
use super::state::{Lines, StreamState};
use super::track::{Step, Verdict};
use super::uploads::Uploads;
use super::view::{Playlist, View};
use super::{Limits, files, load};
use crate::config::IngestKey;
use bytes::Bytes;
use shoal_playlist::Variables;
use shoal_wire::tracker_message::RenditionInfo;
use shoal_wire::{Epoch, ObjectId, OriginSigner, SignedDigest, StreamName};
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

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
    bodies: Mutex<Bodies>,
    /// Counts changes of what is seen.
    pub(super) changed: watch::Sender<u64>,
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
#[derive(Debug, Default)]
pub(crate) struct Writer {
    pub(crate) state: StreamState,
    pub(crate) cache: Cache,
    pub(crate) keys: Keys,
    /// Paths of media playlists that hold subtitles: those are not shared.
    subtitles: BTreeSet<String>,
    /// Variables of the master playlists.
    variables: Variables,
    /// By rendition.
    heard: HashMap<usize, Heard>,
    /// Media to be deleted before the log says again that the disk's share is used up.
    pub(crate) full_said: Duration,
}

impl Writer {
    pub(super) fn new(state: StreamState, cache: Cache, keys: Keys) -> Self {
        let mut writer = Self { state, cache, keys, ..Self::default() };
        writer.read_masters();
        writer
    }

    /// Whether the playlist of rendition `index` holds subtitles, as a master playlist says.
    pub(super) fn is_subtitles(&self, index: usize) -> bool {
        self.subtitles.contains(&self.state.renditions[index].playlist)
    }

    /// For how long the encoder of rendition `index` has been silent, if the other one, which pushed
    /// a playlist just now, is to take over.
    fn takes_over(&mut self, index: usize, now: Instant) -> Option<Duration> {
        let rendition = &self.state.renditions[index];
        if rendition.counters.next_msn == 0 && !rendition.track.is_waiting() {
            return Some(Duration::MAX);
        }
        let target = Duration::from_secs(rendition.header.target_s.max(1));
        let heard = self.heard.entry(index).or_insert_with(|| Heard::new(now));
        heard.standby(target, rendition.end.is_some(), now)
    }

    /// Takes over what the master playlists say of the others.
    fn read_masters(&mut self) {
        (self.subtitles, self.variables) = (BTreeSet::new(), Variables::default());
        for (path, text) in &self.state.masters {
            let place = Place::new("", path);
            self.subtitles.extend(encoder_playlist::subtitles(text, place));
            encoder_playlist::variables(text, &mut self.variables);
        }
    }
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
    /// Its parts are published while it comes.
    cut: Option<(u64, Cutter)>,
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.stream.uploads().end(&self.name);
        if let Some((body, _)) = self.cut {
            self.stream.bodies().end(body);
        }
    }
}

impl Incoming {
    /// More of the body came.
    pub(crate) async fn feed(&mut self, data: &[u8]) {
        let Some((body, cutter)) = &mut self.cut else { return };
        let (body, parts) = (*body, cutter.push(data));
        if let Err(error) = self.stream.add_parts(body, parts).await {
            tracing::warn!(stream = %self.stream.name, %error, "cannot publish a part");
        }
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
        let (bodies, changed) = (Mutex::default(), watch::Sender::new(0));
        Self { name, key, dir, signer, limits, writer, uploads, bodies, changed, view, news }
    }

    pub(super) fn objects_dir(&self) -> PathBuf {
        self.dir.join("objects")
    }

    pub(super) fn digest_path(&self, object: ObjectId) -> PathBuf {
        self.objects_dir().join(format!("{}.digest", object.file_stem()))
    }

    /// Takes over what is stored, in place of what is known.
    pub(super) fn load_again(&self, writer: &mut Writer) -> std::io::Result<()> {
        let (loaded, view) = load::load(&self.dir, &self.signer, &self.limits)?;
        *writer = loaded;
        *self.view_mut() = view;
        Ok(())
    }

    /// The digest of `object`: in memory while it is new, else from the disk.
    pub(crate) fn digest(&self, object: ObjectId) -> Option<Arc<SignedDigest>> {
        let new = self.view().digests.get(&object).cloned();
        new.or_else(|| load::load_digest(&self.objects_dir(), object, &self.signer))
    }

    fn uploads(&self) -> MutexGuard<'_, Uploads> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn bodies(&self) -> MutexGuard<'_, Bodies> {
        self.bodies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes whenever what is seen of the stream does.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
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
        let cut = self.bodies().begin(name);
        Incoming { stream: Arc::clone(self), name: name.to_owned(), cut }
    }

    /// These parts of a body have come.
    async fn add_parts(&self, body: u64, parts: Vec<CutPart>) -> Result<(), PushError> {
        if parts.is_empty() {
            return Ok(());
        }
        let index = self.bodies().add(body, parts);
        let Some(index) = index else { return Ok(()) };
        let mut writer = self.writer.lock().await;
        self.settle_parts(&mut writer, index).await
    }

    /// The body of `incoming` is complete.
    pub(crate) async fn uploaded(
        &self,
        mut incoming: Incoming,
        bytes: Bytes,
    ) -> Result<Taken, PushError> {
        if let Some((body, cutter)) = incoming.cut.take() {
            self.bodies().complete(body);
            self.add_parts(body, cutter.finish().into_iter().collect()).await?;
        }
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
        let mut writer = self.writer.lock().await;
        let (encoder, shown) = Encoder::of(path);
        let place = Place { stream: self.name.as_str(), path, shown };
        let mut playlist = match EncoderPlaylist::parse(text, place, &writer.variables)? {
            EncoderPlaylist::Media(playlist) => playlist,
            EncoderPlaylist::Master(text) => {
                // What the first encoder says of the renditions stands.
                let known = writer.state.masters.contains_key(shown);
                if encoder == Encoder::Backup && known {
                    return Ok(());
                }
                return self.push_master(writer, shown, text).await;
            }
        };
        if playlist.target_s == 0 && playlist.entries.is_empty() {
            // The head of a master playlist: ffmpeg pushes it before it knows any variant.
            return Ok(());
        }
        let index = self.rendition(&mut writer, shown).await?;
        let now = Instant::now();
        if writer.state.renditions[index].encoder != encoder {
            match writer.takes_over(index, now) {
                Some(silence) => keep_newest(&mut playlist, silence),
                None => return Ok(()),
            }
            writer.state.renditions[index].switch_to(encoder);
            tracing::warn!(stream = %self.name, rendition = index, ?encoder, "the other encoder is \
                silent; this one takes over");
            self.restart(&mut writer, index).await?;
        }
        let verdict = {
            let rendition = &mut writer.state.renditions[index];
            let header = playlist.clone();
            let verdict = rendition.track.playlist(playlist, &self.uploads(), Instant::now());
            rendition.header_from(&header, verdict == Verdict::Restarts);
            verdict
        };
        if verdict != Verdict::Known {
            writer.heard.entry(index).or_insert_with(|| Heard::new(now)).active(now);
        }
        let resumed = verdict == Verdict::Continues && writer.state.renditions[index].end.is_some();
        if verdict == Verdict::Restarts || resumed {
            self.restart(&mut writer, index).await?;
        }
        self.settle_locked(&mut writer).await
    }

    async fn restart(&self, writer: &mut Writer, index: usize) -> Result<(), PushError> {
        self.seal(writer, index).await?;
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

    async fn push_master(
        &self,
        mut writer: tokio::sync::MutexGuard<'_, Writer>,
        path: &str,
        text: String,
    ) -> Result<(), PushError> {
        let masters = &mut writer.state.masters;
        if masters.len() >= MASTERS_MAX && !masters.contains_key(path) {
            return Err(PushError::Masters);
        }
        masters.insert(path.to_owned(), text.clone());
        writer.read_masters();
        self.save(&writer, false).await.map_err(PublishError::from)?;
        self.view_mut().playlists.insert(path.to_owned(), Playlist::new(text, MASTER_TARGET_S));
        Ok(())
    }

    /// Publishes what is ready. Called when time passes; pushes do it themselves.
    pub(crate) async fn settle(&self) -> Result<(), PushError> {
        // A writer that is busy settles by itself.
        let Ok(mut writer) = self.writer.try_lock() else { return Ok(()) };
        self.seal_broken(&mut writer).await?;
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
                            self.seal(writer, index).await?;
                            self.publish_end(writer, index).await?;
                        }
                        writer.state.renditions[index].track.end_published();
                    }
                    Step::Wait => break,
                }
            }
            self.settle_parts(writer, index).await?;
        }
        Ok(())
    }

    async fn publish_entry(
        &self,
        writer: &mut Writer,
        index: usize,
        entry: Entry,
    ) -> Result<(), PushError> {
        let upload = if entry.gap {
            Some((Bytes::new(), blake3::hash(&[])))
        } else {
            self.uploads().piece(&entry.piece)
        };
        let Some((bytes, hash)) = upload else { return Ok(()) };
        if self.seal_other(writer, index, (&entry, &bytes)).await? {
            // It is another number's now, and discontinuous: once more from the top.
            return Ok(());
        }
        let map = match entry.map.as_ref().filter(|_| !entry.gap) {
            Some(tag) => match self.init_section(writer, index, &tag.piece).await? {
                Some(file) => Some(tag.with_uri(&file)),
                None => {
                    tracing::warn!(stream = %self.name, init = tag.piece.name, "the init section that the \
                        playlist names was not pushed; its segment is left out");
                    writer.state.renditions[index].track.give_up();
                    return Ok(());
                }
            },
            None => None,
        };
        let pieces = self.learn(writer, index, (&entry, &bytes)).await?;
        let map_keys = entry.map_keys();
        let Entry { piece, duration, discontinuity, keys, mut tags, gap, .. } = entry;
        if gap {
            tags.push("#EXT-X-GAP".into());
        }
        let lines = Lines { discontinuity, keys, map, map_keys, tags, uri: String::new() };
        let name = piece.name.clone();
        let named = true;
        let segment = NewSegment { bytes, hash, name, duration, lines, gap, named, pieces };
        match self.publish(writer, index, segment).await {
            Ok(_) => {
                self.body_published(index, &piece.name);
                self.uploads().used(&piece, &hash, Instant::now());
                Ok(())
            }
            Err(error @ PublishError::Store(_)) => Err(error.into()),
            Err(error @ PublishError::Digest(_)) => {
                tracing::warn!(stream = %self.name, %error, "a segment is left out");
                writer.state.renditions[index].track.give_up();
                self.uploads().used(&piece, &hash, Instant::now());
                Ok(())
            }
        }
    }

    /// Learns how the encoder pushes from what it pushed; into how many parts it would be cut.
    async fn learn(
        &self,
        writer: &mut Writer,
        index: usize,
        (entry, bytes): (&Entry, &[u8]),
    ) -> Result<usize, PushError> {
        let Some(map) = &entry.map else { return Ok(1) };
        let took = self.uploads().peek(&entry.piece.name).map(|upload| upload.took);
        let Some(file) = self.init_section(writer, index, &map.piece).await? else { return Ok(1) };
        let object = self.view().objects.get(&file).cloned();
        let cached = object.as_ref().and_then(|object| object.cached());
        let init = match (cached, object) {
            (Some(init), _) => init,
            (None, Some(object)) => {
                tokio::fs::read(&object.at.path).await.map_err(PublishError::from)?.into()
            }
            (None, None) => return Ok(1),
        };
        let body = (bytes, took.unwrap_or_default());
        Ok(self.learn_body(writer, index, (entry, &init), body))
    }

    async fn init_section(
        &self,
        writer: &mut Writer,
        index: usize,
        piece: &Piece,
    ) -> Result<Option<String>, PushError> {
        let key = piece.key();
        let upload = self.uploads().piece(piece);
        if let Some((bytes, hash)) = upload {
            return Ok(Some(self.publish_init(writer, index, &key, bytes, &hash).await?));
        }
        let inits = &writer.state.renditions[index].inits;
        Ok(inits.iter().rev().find(|init| init.pushed_as == key).map(|init| init.file.clone()))
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

    /// Begins a new epoch of all renditions that have any segment; the newest epoch then.
    pub(crate) async fn begin_epoch(&self) -> Result<Epoch, PushError> {
        let mut writer = self.writer.lock().await;
        for index in 0..writer.state.renditions.len() {
            if writer.state.renditions[index].counters.next_msn > 0 {
                self.restart(&mut writer, index).await?;
            }
        }
        Ok(writer.state.epoch)
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
