//! Publication: a segment becomes an object with a number, a digest and a line in a playlist.
//!
//! Rule: bytes and digest are on disk first, then the state that names them, then the playlist that
//! shows them, then the tracker hears of it. If a step fails, nothing of the later ones happened.

use super::object::{Location, StoredObject, Traffic, etag, extension, is_shared};
use super::state::{InitRecord, Lines, RenditionState, SegmentRecord, Source};
use super::stream::{News, Stream, Writer};
use super::view::{Playlist, RenditionView};
use super::{files, journal, unix_ms};
use bytes::Bytes;
use shoal_wire::tracker_message::RenditionInfo;
use shoal_wire::{CHUNK_SIZE, DecodeError, Digest, ObjectId, SignedDigest, StreamName};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A segment that is complete and to be published.
#[derive(Clone, Debug)]
pub(crate) struct NewSegment {
    pub(crate) bytes: Bytes,
    pub(crate) hash: blake3::Hash,
    /// The name that it was pushed under; only its extension is kept.
    pub(crate) name: String,
    pub(crate) duration: Duration,
    /// Its lines; as the URI, only the query that is to follow its name.
    pub(crate) lines: Lines,
    /// There are no bytes of it: it is shown with EXT-X-GAP, and nobody can fetch it.
    pub(crate) gap: bool,
    /// The encoder's playlist names it, and the track waits for it.
    pub(crate) named: bool,
    /// Into how many parts of about the same size the next ones will be cut.
    pub(crate) pieces: usize,
}

/// Why a segment was not published.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PublishError {
    /// The disk's fault: it may be tried again.
    #[error("cannot store: {0}")]
    Store(#[from] std::io::Error),
    /// The segment's: it never can be.
    #[error("no digest can be made: {0}")]
    Digest(#[from] DecodeError),
}

impl Stream {
    /// Publishes the next segment of rendition `index`; its track moves on with it.
    pub(super) async fn publish(
        &self,
        writer: &mut Writer,
        index: usize,
        segment: NewSegment,
    ) -> Result<ObjectId, PublishError> {
        let rendition = &writer.state.renditions[index];
        let id = ObjectId::segment(rendition.id, rendition.epoch, rendition.counters.next_msn);
        let extension = extension(&segment.name).unwrap_or("bin");
        let file = format!("{}.{extension}", id.file_stem());
        let mut lines = segment.lines;
        lines.uri.insert_str(0, &file);
        let record = SegmentRecord {
            object: id,
            file,
            len: segment.bytes.len() as u64,
            hash: segment.hash.to_hex().to_string(),
            duration: segment.duration,
            discontinuity_sequence: rendition.counters.discontinuities,
            published_unix_ms: unix_ms(),
            lines: lines.after(&rendition.counters),
            gap: segment.gap,
            source: None,
        };
        let shared = !record.gap && is_shared(&record.file) && !writer.is_subtitles(index);
        let digest = if shared {
            let (bytes, pieces) = (&segment.bytes, segment.pieces);
            Some(Arc::new(self.sign(&describe(&self.name, rendition, &record, bytes, pieces))?))
        } else {
            None
        };
        let mut object = None;
        if !record.gap {
            object = Some(self.store(&record, &segment.bytes, digest.as_deref()).await?);
        }
        journal::append(&self.dir, rendition.id, &record).await?;
        let before = {
            let rendition = &mut writer.state.renditions[index];
            let before = (rendition.counters, rendition.track.clone());
            if segment.named {
                rendition.track.published(&segment.hash, self.limits.keep_segments);
            }
            rendition.record(record, digest.as_deref());
            before
        };
        if let Err(error) = self.save(writer, false).await {
            let rendition = &mut writer.state.renditions[index];
            (rendition.counters, rendition.track) = before;
            let unsaved = rendition.segments.pop_back();
            rendition.bytes -= unsaved.map_or(0, |record| record.len);
            return Err(error.into());
        }
        if let Some(digest) = &digest {
            self.view_mut().add_digest(digest, self.limits.keep_segments);
        }
        let whole = (&segment.bytes[..], segment.duration);
        let shared_in_parts = self.complete_parts(writer, index, id, whole);
        self.show(writer, index, object.as_ref().map(|object| (object, segment.bytes)));
        self.trim(writer, index).await?;
        // The same bytes do not go down the trees twice.
        if let Some(digest) = digest.filter(|_| !shared_in_parts) {
            self.tell(News::Published { stream: self.name.clone(), digest }).await;
        }
        Ok(id)
    }

    /// Publishes the end of rendition `index`.
    pub(super) async fn publish_end(
        &self,
        writer: &mut Writer,
        index: usize,
    ) -> Result<(), PublishError> {
        let rendition = &writer.state.renditions[index];
        let id = ObjectId::segment(rendition.id, rendition.epoch, rendition.counters.next_msn);
        let signed = Arc::new(self.sign(&describe_end(&self.name, rendition, id))?);
        files::replace(&self.digest_path(id), signed.encoded(), false).await?;
        writer.state.renditions[index].end = Some(id);
        self.save(writer, false).await?;
        self.view_mut().add_digest(&signed, self.limits.keep_segments);
        self.show(writer, index, None);
        tracing::info!(stream = %self.name, rendition = index, msn = id.msn, "the stream ended");
        self.tell(News::Published { stream: self.name.clone(), digest: signed }).await;
        Ok(())
    }

    /// Stores an init section unless rendition `index` has it; its name in URLs.
    pub(super) async fn publish_init(
        &self,
        writer: &mut Writer,
        index: usize,
        pushed_as: &str,
        bytes: Bytes,
        hash: &blake3::Hash,
    ) -> Result<String, PublishError> {
        let rendition = &mut writer.state.renditions[index];
        let hash = hash.to_hex().to_string();
        let same = |init: &&InitRecord| init.pushed_as == pushed_as && init.hash == hash;
        if let Some(init) = rendition.inits.iter().rev().find(same) {
            return Ok(init.file.clone());
        }
        let (id, epoch) = (rendition.id.0, rendition.epoch.0);
        let name = pushed_as.split('#').next().unwrap_or_default();
        let extension = extension(name).unwrap_or("mp4");
        let file = format!("{id}-{epoch}-init{}.{extension}", rendition.inits_made);
        let path = self.objects_dir().join(&file);
        files::replace(&path, &bytes, false).await?;
        let len = bytes.len() as u64;
        rendition.inits_made += 1;
        let pushed_as = pushed_as.to_owned();
        let record = InitRecord { file: file.clone(), pushed_as, len, hash, source: None };
        let object = Arc::new(record.stored(&self.objects_dir()));
        rendition.inits.push_back(record);
        self.view_mut().add_object(&object);
        writer.cache.insert(object, bytes);
        Ok(file)
    }

    pub(super) fn sign(&self, digest: &Digest) -> Result<SignedDigest, DecodeError> {
        self.signer.sign(digest.clone())
    }

    async fn store(
        &self,
        record: &SegmentRecord,
        bytes: &[u8],
        digest: Option<&SignedDigest>,
    ) -> std::io::Result<Arc<StoredObject>> {
        let path = self.objects_dir().join(&record.file);
        files::replace(&path, bytes, false).await?;
        if let Some(digest) = digest {
            files::replace(&self.digest_path(record.object), digest.encoded(), false).await?;
        }
        Ok(Arc::new(record.stored(&self.objects_dir(), digest.is_some())))
    }

    /// Makes the new state of rendition `index` visible, with its new object.
    pub(super) fn show(
        &self,
        writer: &mut Writer,
        index: usize,
        new: Option<(&Arc<StoredObject>, Bytes)>,
    ) {
        let rendition = &writer.state.renditions[index];
        let mut view = self.view_mut();
        if let Some((object, bytes)) = new {
            view.add_object(object);
            writer.cache.insert(Arc::clone(object), bytes);
        }
        if let Some(playlist) = self.playlist(&writer.state.renditions, index) {
            view.playlists.insert(rendition.playlist.clone(), playlist);
        }
        view.epoch = writer.state.epoch.0;
        view.renditions = writer.state.renditions.iter().map(RenditionState::view).collect();
        drop(view);
        self.changed.send_modify(|count| *count += 1);
    }

    /// The playlist of rendition `index`, unless it is empty.
    fn playlist(&self, renditions: &[RenditionState], index: usize) -> Option<Playlist> {
        let rendition = &renditions[index];
        let mut shown = self.limits.shown(rendition);
        let Some(progress) = rendition.progress() else {
            return Some(Playlist::new(rendition.render(&shown)?, rendition.header.target_s));
        };
        let up = "../".repeat(rendition.playlist.matches('/').count());
        let others = renditions.iter().filter(|other| other.id != rendition.id);
        shown.reports = others.filter_map(|other| other.report(&up)).collect();
        let text = rendition.render(&shown)?;
        let first = rendition.segments.len().saturating_sub(shown.window);
        shown.delta = true;
        let delta = if rendition.skippable(first) > 0 { rendition.render(&shown) } else { None };
        Some(Playlist::low_latency(text, delta, progress))
    }

    /// Segment `id` is published: the parts that were shown are its own. Says whether viewers had
    /// all of its bytes in parts to share.
    fn complete_parts(
        &self,
        writer: &mut Writer,
        index: usize,
        id: ObjectId,
        (bytes, duration): (&[u8], Duration),
    ) -> bool {
        let rendition = &mut writer.state.renditions[index];
        let target = rendition.target();
        let Some(low_latency) = &mut rendition.low_latency else { return false };
        let in_parts = low_latency.live.as_ref().is_some_and(|live| {
            live.fits(bytes) == Some(true) && live.parts.iter().all(|part| part.object.shared)
        });
        for object in low_latency.complete(id.msn, (bytes, duration), target) {
            self.view_mut().remove_object(&object.file);
        }
        in_parts
    }
}

/// What the origin says of a segment of `rendition`; K is for objects that are one of its `pieces`.
pub(super) fn describe(
    stream: &StreamName,
    rendition: &RenditionState,
    record: &SegmentRecord,
    bytes: &[u8],
    pieces: usize,
) -> Digest {
    let byte_len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let chunk_size = Digest::chunk_size_for(byte_len);
    let substreams = rendition.counters.substreams;
    Digest {
        stream: stream.clone(),
        object: record.object,
        ordinal: rendition.counters.ordinal,
        byte_len,
        chunk_size,
        substreams: substreams.unwrap_or_else(|| {
            let pieces = u32::try_from(pieces.max(1)).unwrap_or(u32::MAX);
            Digest::substreams_for(byte_len / pieces, chunk_size)
        }),
        duration: record.duration,
        published_unix_ms: record.published_unix_ms,
        discontinuity_sequence: record.discontinuity_sequence,
        end_of_stream: false,
        playlist_lines: record.lines.whole(),
        hashes: Digest::hash_chunks(bytes, chunk_size),
    }
}

/// What the origin says of the end of `rendition`.
pub(super) fn describe_end(
    stream: &StreamName,
    rendition: &RenditionState,
    id: ObjectId,
) -> Digest {
    Digest {
        stream: stream.clone(),
        object: id,
        ordinal: rendition.counters.ordinal,
        byte_len: 0,
        chunk_size: CHUNK_SIZE,
        substreams: rendition.counters.substreams.unwrap_or(1),
        duration: Duration::ZERO,
        published_unix_ms: unix_ms(),
        discontinuity_sequence: rendition.counters.discontinuities,
        end_of_stream: true,
        playlist_lines: "#EXT-X-ENDLIST\n".into(),
        hashes: Vec::new(),
    }
}

impl SegmentRecord {
    /// As it is served; `objects` is the folder of our own files.
    pub(super) fn stored(&self, objects: &Path, shared: bool) -> StoredObject {
        let traffic = Traffic::new(Some(self.object), self.len, self.published_unix_ms);
        let at = location(self.source.as_ref(), objects, &self.file);
        let mut object = StoredObject::new(&self.file, at, etag(&self.hash), traffic);
        object.shared &= shared;
        object
    }
}

impl InitRecord {
    /// As it is served.
    pub(super) fn stored(&self, objects: &Path) -> StoredObject {
        let at = location(self.source.as_ref(), objects, &self.file);
        StoredObject::new(&self.file, at, etag(&self.hash), Traffic::new(None, self.len, 0))
    }
}

fn location(source: Option<&Source>, objects: &Path, file: &str) -> Location {
    match source {
        Some(source) => Location { path: source.path.clone(), offset: source.offset },
        None => Location { path: objects.join(file), offset: 0 },
    }
}

impl RenditionState {
    /// Takes a stored segment into the state.
    pub(super) fn record(&mut self, record: SegmentRecord, digest: Option<&SignedDigest>) {
        let counters = &mut self.counters;
        counters.next_msn += 1;
        counters.discontinuities += u64::from(record.lines.discontinuity);
        counters.keyed |= !record.lines.keys.is_empty();
        if let Some(digest) = digest {
            counters.ordinal += 1;
            counters.substreams = Some(digest.substreams);
        }
        self.bytes += record.len;
        self.segments.push_back(record);
        self.journal_lines += 1;
    }

    pub(super) fn view(&self) -> RenditionView {
        RenditionView {
            info: RenditionInfo {
                rendition: self.id,
                playlist: self.playlist.clone(),
                on_demand: self.end.is_some(),
            },
            substreams: self.counters.substreams,
            last_msn: self.segments.back().map(|segment| segment.object.msn),
            ended: self.end.is_some(),
        }
    }
}
