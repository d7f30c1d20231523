//! A stream as the disk has it, after a start.
//!
//! Rule: what is loaded is what was shown. A segment whose file is gone is left out together with
//! all before it; a digest that this key did not sign is left out, and its segment goes by HTTP.

use super::object::{Cache, StoredObject, Traffic, etag};
use super::state::{RenditionState, SegmentRecord, StreamState};
use super::stream::{MASTER_TARGET_S, Signer, Writer};
use super::view::{Playlist, View};
use super::{Limits, files};
use shoal_wire::{ObjectId, SignedDigest};
use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Reads the stream in `dir`, or makes an empty one there.
pub(super) fn load(dir: &Path, signer: &Signer, limits: &Limits) -> io::Result<(Writer, View)> {
    let objects = dir.join("objects");
    std::fs::create_dir_all(&objects)?;
    let mut state = match std::fs::read(dir.join("state.json")) {
        Ok(json) => serde_json::from_slice(&json).map_err(|error| {
            let path = dir.join("state.json");
            let message =
                format!("{} is damaged ({error}); delete {}", path.display(), dir.display());
            io::Error::new(io::ErrorKind::InvalidData, message)
        })?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => StreamState::default(),
        Err(error) => return Err(error),
    };
    let mut view = View { epoch: state.epoch.0, ..View::default() };
    let mut wanted = HashSet::new();
    for rendition in &mut state.renditions {
        load_rendition(rendition, &objects, signer, &mut view);
        wanted.extend(rendition.end.map(digest_file));
        if let Some(text) = rendition.render(limits.window(rendition)) {
            let playlist = Playlist::new(text, rendition.header.target_s);
            view.playlists.insert(rendition.playlist.clone(), playlist);
        }
    }
    for (path, text) in &state.masters {
        view.playlists.insert(path.clone(), Playlist::new(text.clone(), MASTER_TARGET_S));
    }
    view.renditions = state.renditions.iter().map(RenditionState::view).collect();
    wanted.extend(view.objects.keys().cloned());
    wanted.extend(view.digests.keys().map(|id| digest_file(*id)));
    files::sweep(&objects, |name| wanted.contains(name))?;
    Ok((Writer { state, cache: Cache::new(limits.cache_bytes_max) }, view))
}

fn digest_file(object: ObjectId) -> String {
    format!("{}.digest", object.file_stem())
}

fn load_rendition(
    rendition: &mut RenditionState,
    objects: &Path,
    signer: &Signer,
    view: &mut View,
) {
    let present = |segment: &SegmentRecord| {
        std::fs::metadata(objects.join(&segment.file)).is_ok_and(|meta| meta.len() == segment.len)
    };
    let gone = rendition.segments.iter().rposition(|segment| !present(segment));
    if let Some(gone) = gone {
        tracing::warn!(playlist = rendition.playlist, "{} segments are gone from disk", gone + 1);
        rendition.segments.drain(..=gone);
    }
    for segment in &rendition.segments {
        let digest = load_digest(objects, segment.object, signer);
        let object = segment.stored(objects.join(&segment.file), digest);
        view.add_object(&Arc::new(object));
    }
    for init in &rendition.inits {
        let path = objects.join(&init.file);
        let traffic = Traffic::new(None, init.len, 0);
        view.add_object(&Arc::new(StoredObject::new(path, etag(&init.hash), None, traffic)));
    }
    if let Some(end) = rendition.end
        && let Some(digest) = load_digest(objects, end, signer)
    {
        view.digests.insert(end, digest);
    }
}

fn load_digest(objects: &Path, object: ObjectId, signer: &Signer) -> Option<Arc<SignedDigest>> {
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
