//! What the world sees of a stream: playlists, objects and digests, ready to be served.
//!
//! Rule: a playlist here names only objects that are here too. Readers hold its lock for a look-up
//! and never across an await.

use super::object::{StoredObject, Traffic, etag};
use bytes::Bytes;
use shoal_wire::tracker_message::RenditionInfo;
use shoal_wire::{ObjectId, SignedDigest};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Objects whose traffic is remembered after they are gone, for the operator's status.
const TRAFFIC_MAX: usize = 300;

/// The visible part of a stream.
#[derive(Debug, Default)]
pub(crate) struct View {
    /// By file name.
    pub(crate) objects: HashMap<String, Arc<StoredObject>>,
    pub(crate) digests: HashMap<ObjectId, Arc<SignedDigest>>,
    /// By path in the stream.
    pub(crate) playlists: HashMap<String, Playlist>,
    pub(crate) renditions: Vec<RenditionView>,
    /// Newest last.
    pub(crate) traffic: VecDeque<Arc<Traffic>>,
    pub(crate) epoch: u32,
}

/// A playlist's text.
#[derive(Clone, Debug)]
pub(crate) struct Playlist {
    pub(crate) text: Bytes,
    pub(crate) etag: String,
    /// Seconds that a cache may keep it: half a segment.
    pub(crate) max_age_s: u64,
}

/// One rendition, for the tracker and the status.
#[derive(Clone, Debug)]
pub(crate) struct RenditionView {
    pub(crate) info: RenditionInfo,
    pub(crate) substreams: Option<u8>,
    pub(crate) last_msn: Option<u64>,
}

impl Playlist {
    pub(crate) fn new(text: String, target_s: u64) -> Self {
        let etag = etag(&blake3::hash(text.as_bytes()).to_hex());
        Self { text: text.into(), etag, max_age_s: target_s / 2 }
    }
}

impl View {
    pub(crate) fn add_object(&mut self, object: &Arc<StoredObject>) {
        self.objects.insert(object.file.clone(), Arc::clone(object));
        if let Some(digest) = &object.digest {
            self.digests.insert(digest.object, Arc::clone(digest));
        }
        if object.traffic.object.is_some() {
            self.traffic.push_back(Arc::clone(&object.traffic));
            while self.traffic.len() > TRAFFIC_MAX {
                self.traffic.pop_front();
            }
        }
    }

    pub(crate) fn remove_object(&mut self, file: &str) -> Option<Arc<StoredObject>> {
        let object = self.objects.remove(file)?;
        if let Some(id) = object.traffic.object {
            self.digests.remove(&id);
        }
        Some(object)
    }

    pub(crate) fn infos(&self) -> Vec<RenditionInfo> {
        self.renditions.iter().map(|rendition| rendition.info.clone()).collect()
    }
}
