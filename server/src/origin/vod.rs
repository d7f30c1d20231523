//! Recordings: folders of the operator's, served as streams that have ended.
//!
//! Rule: nothing is written into the operator's folder, and nothing outside of it is read. Segments
//! are served from their files; digests are made once and kept with the stream's state, until a
//! playlist, or the length or time of a file that it names, changes: then everything gets a new
//! epoch. A recording is shown when all of it is ready.

use super::encoder_playlist::{self, EncoderPlaylist, MediaPlaylist, Piece, Place};
use super::object::{extension, is_shared};
use super::publish::{PublishError, describe, describe_end};
use super::state::{Header, InitRecord, Lines, RenditionState, SegmentRecord, Source, StreamState};
use super::stream::{News, Stream};
use super::{KEY_BYTES_MAX, files, journal, unix_ms};
use shoal_playlist::{UriKind, Variables};
use shoal_wire::{Epoch, ObjectId, RenditionId};
use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

/// Deepest folder that is looked into, as for pushed paths.
const DEPTH_MAX: usize = 8;
/// Most bytes of a playlist, as for pushed ones.
const PLAYLIST_BYTES_MAX: u64 = 5 * 1024 * 1024;
/// How often the log says how far it has come.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// Why a recording is not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VodError {
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{path}: {error}")]
    Playlist { path: String, error: encoder_playlist::PlaylistError },
    #[error("{path} names `{name}`, which is not a file of this folder with so many bytes")]
    Absent { path: String, name: String },
    #[error("there is no media playlist (.m3u8) in this folder")]
    Empty,
    #[error("it has {0} media playlists, more than origin.renditions_max")]
    Renditions(usize),
    #[error("{0}")]
    Publish(#[from] PublishError),
}

/// A recording as its folder has it.
#[derive(Debug, Default)]
struct Recording {
    masters: BTreeMap<String, String>,
    media: BTreeMap<String, Media>,
    keys: Vec<(String, Vec<u8>)>,
    /// Of all that is named: it changes when anything of it does.
    fingerprint: String,
    bytes: u64,
}

#[derive(Debug)]
struct Media {
    playlist: MediaPlaylist,
    i_frames_only: bool,
}

/// The folder of a recording, its links resolved.
struct Folder<'a> {
    root: PathBuf,
    stream: &'a str,
}

impl Folder<'_> {
    fn file(&self, name: &str) -> Option<PathBuf> {
        let path = self.root.join(name).canonicalize().ok()?;
        (path.starts_with(&self.root) && path.is_file()).then_some(path)
    }

    /// The playlists below it, by path.
    fn playlists(&self) -> Result<BTreeMap<String, Vec<u8>>, VodError> {
        let mut found = BTreeMap::new();
        let mut folders = vec![(self.root.clone(), 1)];
        while let Some((folder, depth)) = folders.pop() {
            let failed = |error| VodError::Io { path: folder.clone(), error };
            for entry in std::fs::read_dir(&folder).map_err(failed)? {
                let path = entry.map_err(failed)?.path();
                if path.is_dir() && depth < DEPTH_MAX {
                    folders.push((path, depth + 1));
                    continue;
                }
                let name = path.strip_prefix(&self.root).ok().and_then(Path::to_str);
                let Some(name) = name.filter(|name| extension(name) == Some("m3u8")) else {
                    continue;
                };
                let Some(path) = self.file(name) else { continue };
                let mut text = Vec::new();
                let file = std::fs::File::open(&path).map_err(failed)?;
                file.take(PLAYLIST_BYTES_MAX).read_to_end(&mut text).map_err(failed)?;
                found.insert(name.to_owned(), text);
            }
        }
        Ok(found)
    }

    fn read(&self) -> Result<Recording, VodError> {
        let texts = self.playlists()?;
        let mut recording = Recording::default();
        let mut variables = Variables::default();
        let parse = |path: &String, text: &[u8], variables: &Variables| {
            let parsed = EncoderPlaylist::parse(text, Place::new(self.stream, path), variables);
            parsed.map_err(|error| VodError::Playlist { path: path.clone(), error })
        };
        // Masters first: the others may import their variables.
        for (path, text) in &texts {
            if let Ok(EncoderPlaylist::Master(text)) = parse(path, text, &variables) {
                encoder_playlist::variables(&text, &mut variables);
                recording.masters.insert(path.clone(), text);
            }
        }
        let mut hasher = blake3::Hasher::new();
        for (path, text) in &texts {
            hasher.update(path.as_bytes()).update(&[0]).update(text).update(&[0]);
            if recording.masters.contains_key(path) {
                continue;
            }
            if let EncoderPlaylist::Media(playlist) = parse(path, text, &variables)? {
                let text = String::from_utf8_lossy(text);
                let i_frames_only = text.contains("#EXT-X-I-FRAMES-ONLY");
                self.key_files(path, &text, &mut recording)?;
                let media = Media { playlist, i_frames_only };
                recording.bytes += self.stamp(path, &media.playlist, &mut hasher)?;
                recording.media.insert(path.clone(), media);
            }
        }
        if recording.media.is_empty() {
            return Err(VodError::Empty);
        }
        recording.fingerprint = hasher.finalize().to_hex().to_string();
        Ok(recording)
    }

    /// Takes lengths and times of what a playlist names into the fingerprint; the bytes in all.
    fn stamp(
        &self,
        path: &str,
        playlist: &MediaPlaylist,
        hasher: &mut blake3::Hasher,
    ) -> Result<u64, VodError> {
        let mut bytes = 0;
        let segments = playlist.entries.iter().filter(|entry| !entry.gap);
        let pieces =
            segments.flat_map(|it| [Some(&it.piece), it.map.as_ref().map(|map| &map.piece)]);
        for piece in pieces.flatten() {
            let absent = || VodError::Absent { path: path.to_owned(), name: piece.key() };
            let meta = self.file(&piece.name).and_then(|file| file.metadata().ok());
            let meta = meta.ok_or_else(absent)?;
            let (_, len) = part(piece, meta.len()).ok_or_else(absent)?;
            let changed = meta.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
            hasher.update(&meta.len().to_le_bytes());
            hasher.update(&changed.unwrap_or_default().as_nanos().to_le_bytes());
            bytes += len;
        }
        Ok(bytes)
    }

    /// Keys that lie in the folder; others the player fetches elsewhere.
    fn key_files(&self, path: &str, text: &str, into: &mut Recording) -> Result<(), VodError> {
        let place = Place::new(self.stream, path);
        for uri in shoal_playlist::uris(text).filter(|uri| uri.kind == UriKind::Key) {
            let Some(name) = place.resolve(uri.text) else { continue };
            let Some(file) = self.file(&name) else { continue };
            let failed = |error| VodError::Io { path: file.clone(), error };
            if file.metadata().map_err(failed)?.len() <= KEY_BYTES_MAX as u64 {
                into.keys.push((name, std::fs::read(&file).map_err(failed)?));
            }
        }
        Ok(())
    }
}

/// Offset and length of a piece of a file of `len` bytes, if it is in the file.
fn part(piece: &Piece, len: u64) -> Option<(u64, u64)> {
    let (offset, length) = piece.range.unwrap_or((0, len));
    (length > 0 && offset.checked_add(length)? <= len).then_some((offset, length))
}

/// How far it has come.
struct Progress {
    done: u64,
    of: u64,
    said: Instant,
}

/// One media playlist on its way to be a rendition.
struct Work<'a> {
    stream: &'a Stream,
    folder: &'a Folder<'a>,
    path: &'a str,
    rendition: RenditionState,
    shared: bool,
}

impl Work<'_> {
    fn read(&self, piece: &Piece) -> Result<(Source, Vec<u8>), VodError> {
        let absent = || VodError::Absent { path: self.path.to_owned(), name: piece.key() };
        let path = self.folder.file(&piece.name).ok_or_else(absent)?;
        let read = || {
            let mut file = std::fs::File::open(&path)?;
            let (offset, length) =
                part(piece, file.metadata()?.len()).ok_or(io::ErrorKind::NotFound)?;
            file.seek(SeekFrom::Start(offset))?;
            let mut bytes = Vec::new();
            file.take(length).read_to_end(&mut bytes)?;
            Ok((offset, bytes))
        };
        let read: io::Result<_> = read();
        let (offset, bytes) = read.map_err(|error| VodError::Io { path: path.clone(), error })?;
        Ok((Source { path, offset }, bytes))
    }

    fn init(&mut self, piece: &Piece) -> Result<String, VodError> {
        let key = piece.key();
        if let Some(init) = self.rendition.inits.iter().find(|init| init.pushed_as == key) {
            return Ok(init.file.clone());
        }
        let (source, bytes) = self.read(piece)?;
        let (id, epoch) = (self.rendition.id.0, self.rendition.epoch.0);
        let extension = extension(&piece.name).unwrap_or("mp4");
        let file = format!("{id}-{epoch}-init{}.{extension}", self.rendition.inits_made);
        self.rendition.inits_made += 1;
        self.rendition.inits.push_back(InitRecord {
            file: file.clone(),
            pushed_as: key,
            len: bytes.len() as u64,
            hash: blake3::hash(&bytes).to_hex().to_string(),
            source: Some(source),
        });
        Ok(file)
    }

    fn segment(&mut self, entry: encoder_playlist::Entry) -> Result<u64, VodError> {
        let map = match entry.map.as_ref().filter(|_| !entry.gap) {
            Some(tag) => Some(tag.with_uri(&self.init(&tag.piece)?)),
            None => None,
        };
        let (source, bytes) = if entry.gap {
            (None, Vec::new())
        } else {
            let (source, bytes) = self.read(&entry.piece)?;
            (Some(source), bytes)
        };
        let counters = self.rendition.counters;
        let id = ObjectId::segment(self.rendition.id, self.rendition.epoch, counters.next_msn);
        let file = format!("{}.{}", id.file_stem(), extension(&entry.piece.name).unwrap_or("bin"));
        let map_keys = entry.map_keys();
        let mut tags = entry.tags;
        if entry.gap {
            tags.push("#EXT-X-GAP".into());
        }
        let lines = Lines {
            discontinuity: entry.discontinuity,
            keys: entry.keys,
            map,
            map_keys,
            tags,
            uri: file.clone(),
        };
        let record = SegmentRecord {
            object: id,
            file,
            len: bytes.len() as u64,
            hash: blake3::hash(&bytes).to_hex().to_string(),
            duration: entry.duration,
            discontinuity_sequence: counters.discontinuities,
            published_unix_ms: unix_ms(),
            lines: lines.after(&counters),
            gap: entry.gap,
            source,
        };
        let fits = bytes.len() <= shoal_wire::OBJECT_BYTES_MAX as usize;
        let shared = self.shared && fits && !record.gap && is_shared(&record.file);
        let digest = if shared {
            let digest = describe(&self.stream.name, &self.rendition, &record, &bytes, 1);
            let signed = self.stream.signer.sign(digest).map_err(PublishError::from)?;
            let path = self.stream.digest_path(id);
            let failed = |error| VodError::Io { path: path.clone(), error };
            std::fs::write(&path, signed.encoded()).map_err(failed)?;
            Some(signed)
        } else {
            None
        };
        let len = record.len;
        self.rendition.record(record, digest.as_ref());
        Ok(len)
    }

    fn end(&mut self) -> Result<(), VodError> {
        let counters = self.rendition.counters;
        let id = ObjectId::segment(self.rendition.id, self.rendition.epoch, counters.next_msn);
        let digest = describe_end(&self.stream.name, &self.rendition, id);
        let signed = self.stream.signer.sign(digest).map_err(PublishError::from)?;
        let path = self.stream.digest_path(id);
        std::fs::write(&path, signed.encoded()).map_err(|error| VodError::Io { path, error })?;
        self.rendition.end = Some(id);
        Ok(())
    }
}

/// Reads and hashes everything; the state that serves it.
fn make(
    stream: &Stream,
    folder: &Folder<'_>,
    recording: Recording,
    epoch: Epoch,
) -> Result<StreamState, VodError> {
    let mut progress = Progress { done: 0, of: recording.bytes, said: Instant::now() };
    let mut state = StreamState { epoch, masters: recording.masters, ..StreamState::default() };
    state.recording = Some(recording.fingerprint);
    for (index, (path, media)) in recording.media.into_iter().enumerate() {
        let renditions_max = stream.limits.renditions_max;
        if index >= renditions_max {
            return Err(VodError::Renditions(renditions_max));
        }
        let id = RenditionId(u16::try_from(index).map_err(|_| VodError::Renditions(index))?);
        let subtitles = |(master, text): (&String, &String)| {
            encoder_playlist::subtitles(text, Place::new(folder.stream, master)).contains(&path)
        };
        let shared = !media.i_frames_only && !state.masters.iter().any(subtitles);
        let mut rendition = RenditionState::new(id, &path, epoch);
        rendition.header = Header { i_frames_only: media.i_frames_only, ..Header::default() };
        rendition.header_from(&media.playlist, false);
        let mut work = Work { stream, folder, path: &path, rendition, shared };
        for entry in media.playlist.entries {
            progress.done += work.segment(entry)?;
            if progress.said.elapsed() >= PROGRESS_INTERVAL {
                progress.said = Instant::now();
                let percent = progress.done * 100 / progress.of.max(1);
                tracing::info!(stream = %stream.name, percent, "reading a recording");
            }
        }
        work.end()?;
        state.renditions.push(work.rendition);
    }
    Ok(state)
}

impl Stream {
    /// Serves the recording in `folder`, reading it anew if it changed.
    pub(super) async fn serve_recording(self: Arc<Self>, folder: PathBuf) -> Result<(), VodError> {
        let mut writer = self.writer.lock().await;
        let known = (writer.state.recording.clone(), writer.state.epoch);
        let stream = Arc::clone(&self);
        let made = tokio::task::spawn_blocking(move || {
            let failed = |error| VodError::Io { path: folder.clone(), error };
            let root = folder.canonicalize().map_err(failed)?;
            let folder = Folder { root, stream: stream.name.as_str() };
            let mut recording = folder.read()?;
            if known.0.as_ref() == Some(&recording.fingerprint) {
                return Ok(None);
            }
            let (keys, epoch) = (std::mem::take(&mut recording.keys), Epoch(known.1.0 + 1));
            Ok(Some((make(&stream, &folder, recording, epoch)?, keys)))
        });
        let made: Result<_, VodError> = made.await.expect("the task is not cancelled");
        if let Some((state, keys)) = made? {
            let stored = async {
                for rendition in &state.renditions {
                    journal::rewrite(&self.dir, rendition.id, &rendition.segments).await?;
                }
                self.store_keys(keys).await?;
                let json = serde_json::to_vec(&state).map_err(io::Error::other)?;
                files::replace(&self.dir.join("state.json"), &json, true).await
            };
            stored.await.map_err(PublishError::from)?;
        }
        self.load_again(&mut writer).map_err(PublishError::from)?;
        drop(writer);
        let renditions = self.view().infos();
        tracing::info!(stream = %self.name, renditions = renditions.len(), "a recording is ready");
        self.tell(News::Renditions { stream: self.name.clone(), renditions }).await;
        Ok(())
    }
}
