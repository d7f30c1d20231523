//! What the world sees of a stream: playlists, objects and digests, ready to be served.
//!
//! Rule: a playlist here names only objects that are here too. Readers hold its lock for a look-up
//! and never across an await.

use super::low_latency::Progress;
use super::object::{StoredObject, Traffic, etag};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use shoal_wire::tracker_message::RenditionInfo;
use shoal_wire::{ObjectId, Part, SignedDigest};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::Write;
use std::sync::{Arc, OnceLock};

/// Objects whose traffic is remembered after they are gone, for the operator's status.
const TRAFFIC_MAX: usize = 300;

/// Below it, headers outweigh what gzip saves.
const GZIP_BYTES_MIN: usize = 512;

/// The visible part of a stream.
#[derive(Debug, Default)]
pub(crate) struct View {
    /// By file name.
    pub(crate) objects: HashMap<String, Arc<StoredObject>>,
    /// The newest; older ones are on the disk.
    pub(crate) digests: BTreeMap<ObjectId, Arc<SignedDigest>>,
    /// By path in the stream.
    pub(crate) playlists: HashMap<String, Playlist>,
    /// Decryption keys by path in the stream.
    pub(crate) keys: HashMap<String, Bytes>,
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
    /// The same without old segments, for clients that have those.
    pub(crate) delta: Option<Arc<Self>>,
    /// How far it has come, if it has low-latency parts.
    pub(crate) progress: Option<Progress>,
    /// Made when somebody asks for it.
    gzipped: Arc<OnceLock<Bytes>>,
}

/// One rendition, for the tracker and the status.
#[derive(Clone, Debug)]
pub(crate) struct RenditionView {
    pub(crate) info: RenditionInfo,
    pub(crate) substreams: Option<u8>,
    pub(crate) last_msn: Option<u64>,
    /// Nothing is published any more, unless its encoder begins anew.
    pub(crate) ended: bool,
}

impl Playlist {
    pub(crate) fn new(text: String, target_s: u64) -> Self {
        let etag = etag(&blake3::hash(text.as_bytes()).to_hex());
        let gzipped = Arc::default();
        let (delta, progress) = (None, None);
        Self { text: text.into(), etag, max_age_s: target_s / 2, delta, progress, gzipped }
    }

    /// A playlist with low-latency parts: caches keep it for a second.
    pub(crate) fn low_latency(text: String, delta: Option<String>, progress: Progress) -> Self {
        let delta = delta.map(|text| Arc::new(Self { max_age_s: 1, ..Self::new(text, 1) }));
        let progress = Some(progress);
        Self { max_age_s: 1, delta, progress, ..Self::new(text, 1) }
    }

    /// The text as gzip (RFC 1952), unless it is too short to be worth it.
    pub(crate) fn gzipped(&self) -> Option<Bytes> {
        if self.text.len() < GZIP_BYTES_MIN {
            return None;
        }
        let gzip = || {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&self.text).expect("a vector takes all");
            encoder.finish().expect("a vector takes all").into()
        };
        Some(self.gzipped.get_or_init(gzip).clone())
    }
}

impl View {
    pub(crate) fn add_object(&mut self, object: &Arc<StoredObject>) {
        self.objects.insert(object.file.clone(), Arc::clone(object));
        if object.traffic.object.is_some() {
            self.traffic.push_back(Arc::clone(&object.traffic));
            while self.traffic.len() > TRAFFIC_MAX {
                self.traffic.pop_front();
            }
        }
    }

    /// Takes in a digest; of each rendition's segments the newest `keep` stay, and of their parts
    /// those whose objects do.
    pub(crate) fn add_digest(&mut self, digest: &Arc<SignedDigest>, keep: usize) {
        let id = digest.object;
        self.digests.insert(id, Arc::clone(digest));
        let of_rendition =
            |digest: &&ObjectId| digest.rendition == id.rendition && digest.part == Part::WHOLE;
        let excess = self.digests.keys().filter(of_rendition).count().saturating_sub(keep);
        let oldest: Vec<_> =
            self.digests.keys().filter(of_rendition).take(excess).copied().collect();
        oldest.iter().for_each(|id| drop(self.digests.remove(id)));
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
