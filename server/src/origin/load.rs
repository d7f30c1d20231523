//! A stream as the disk has it, after a start.
//!
//! Rule: what is loaded is what was shown. A segment whose file is gone is left out together with
//! all before it; a digest that this key did not sign is left out, and its segment goes by HTTP.

use super::object::Cache;
use super::state::{RenditionState, SegmentRecord, StreamState};
use super::stream::{MASTER_TARGET_S, Signer, Writer};
use super::view::{Playlist, View};
use super::{Limits, files, journal, keys};
use shoal_wire::{ObjectId, SignedDigest};
use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Reads the stream in `dir`, or makes an empty one there.
pub(super) fn load(dir: &Path, signer: &Signer, limits: &Limits) -> io::Result<(Writer, View)> {
    let objects = dir.join("objects");
    std::fs::create_dir_all(&objects)?;
    let mut state: StreamState = match std::fs::read(dir.join("state.json")) {
        Ok(json) => serde_json::from_slice(&json).map_err(|error| {
            let path = dir.join("state.json");
            let message =
                format!("{} is damaged ({error}); delete {}", path.display(), dir.display());
            io::Error::new(io::ErrorKind::InvalidData, message)
        })?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => StreamState::default(),
        Err(error) => return Err(error),
    };
    for index in 0..state.renditions.len() {
        let rendition = &state.renditions[index];
        let shown = rendition.low_latency.as_ref().and_then(|it| it.shown_msn);
        // Parts of the next number were shown and are gone.
        if shown == Some(rendition.counters.next_msn) {
            state.restart(index);
        }
    }
    let mut view = View { epoch: state.epoch.0, ..View::default() };
    let mut wanted = HashSet::new();
    for rendition in &mut state.renditions {
        let (from, next) = (rendition.kept_from, rendition.counters.next_msn);
        rendition.segments = journal::read(dir, rendition.id, from, next)?;
        load_rendition(rendition, &objects, signer, (&mut view, limits.keep_segments));
        wanted.extend(rendition.segments.iter().map(|segment| digest_file(segment.object)));
        wanted.extend(rendition.end.map(digest_file));
        if let Some(text) = rendition.render(&limits.shown(rendition)) {
            let playlist = match rendition.progress() {
                Some(progress) => Playlist::low_latency(text, None, progress),
                None => Playlist::new(text, rendition.header.target_s),
            };
            view.playlists.insert(rendition.playlist.clone(), playlist);
        }
    }
    for (path, text) in &state.masters {
        view.playlists.insert(path.clone(), Playlist::new(text.clone(), MASTER_TARGET_S));
    }
    view.renditions = state.renditions.iter().map(RenditionState::view).collect();
    wanted.extend(view.objects.keys().cloned());
    files::sweep(&objects, |name| wanted.contains(name))?;
    let keys = keys::load(dir)?;
    view.keys = keys.by_path();
    let cache = Cache::new(limits.cache_bytes_max);
    Ok((Writer::new(state, cache, keys), view))
}

fn digest_file(object: ObjectId) -> String {
    format!("{}.digest", object.file_stem())
}

fn load_rendition(
    rendition: &mut RenditionState,
    objects: &Path,
    signer: &Signer,
    (view, keep): (&mut View, usize),
) {
    let gone = rendition.segments.iter().rposition(|segment| !is_present(segment, objects));
    if let Some(gone) = gone {
        tracing::warn!(playlist = rendition.playlist, "{} segments are gone from disk", gone + 1);
        rendition.segments.drain(..=gone);
    }
    rendition.kept_from =
        rendition.segments.front().map_or(rendition.counters.next_msn, |first| first.object.msn);
    rendition.journal_lines = rendition.segments.len();
    rendition.bytes = rendition.segments.iter().map(|segment| segment.len).sum();
    // Older digests are read when they are asked for.
    let new = rendition.segments.len().saturating_sub(keep);
    for (index, segment) in rendition.segments.iter().enumerate().filter(|(_, it)| !it.gap) {
        let digest = if index >= new { load_digest(objects, segment.object, signer) } else { None };
        let shared = digest.is_some() || index < new;
        view.add_object(&Arc::new(segment.stored(objects, shared)));
        digest.iter().for_each(|digest| view.add_digest(digest, keep));
    }
    for init in &rendition.inits {
        view.add_object(&Arc::new(init.stored(objects)));
    }
    if let Some(end) = rendition.end
        && let Some(digest) = load_digest(objects, end, signer)
    {
        view.add_digest(&digest, keep);
    }
}

fn is_present(segment: &SegmentRecord, objects: &Path) -> bool {
    if segment.gap {
        return true;
    }
    let len = |path: &Path| std::fs::metadata(path).map_or(0, |meta| meta.len());
    match &segment.source {
        Some(source) => len(&source.path) >= source.offset + segment.len,
        None => len(&objects.join(&segment.file)) == segment.len,
    }
}

/// The stored digest of `object`, if it is there and signed with our key.
pub(super) fn load_digest(
    objects: &Path,
    object: ObjectId,
    signer: &Signer,
) -> Option<Arc<SignedDigest>> {
    let encoded = std::fs::read(objects.join(digest_file(object))).ok()?;
    match SignedDigest::decode(encoded.into(), &[signer.key()]) {
        Ok(digest) if digest.object == object => Some(Arc::new(digest)),
        Ok(_) => None,
        Err(error) => {
            tracing::warn!(?object, %error, "a stored digest is left out");
            None
        }
    }
}
