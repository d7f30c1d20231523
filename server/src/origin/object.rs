//! A stored object as it is served: a file, its type, and its bytes while they are new.
//!
//! Rule: an object never changes. What is counted of it are bytes handed to a socket.

use bytes::Bytes;
use shoal_wire::ObjectId;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// A segment or an init section.
#[derive(Debug)]
pub(crate) struct StoredObject {
    /// Its name in URLs.
    pub(crate) file: String,
    pub(crate) at: Location,
    pub(crate) len: u64,
    pub(crate) etag: String,
    /// Whether there is a digest of it, here or on the disk.
    pub(crate) shared: bool,
    pub(crate) traffic: Arc<Traffic>,
    cached: RwLock<Option<Bytes>>,
}

/// Where an object's bytes are on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) path: PathBuf,
    /// Its first byte in that file.
    pub(crate) offset: u64,
}

/// What went out of one object.
#[derive(Debug)]
pub(crate) struct Traffic {
    /// The segment; none for an init section.
    pub(crate) object: Option<ObjectId>,
    pub(crate) len: u64,
    pub(crate) published_unix_ms: u64,
    sent: AtomicU64,
}

impl Traffic {
    pub(crate) fn new(object: Option<ObjectId>, len: u64, published_unix_ms: u64) -> Self {
        Self { object, len, published_unix_ms, sent: AtomicU64::new(0) }
    }

    pub(crate) fn add(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl StoredObject {
    pub(crate) fn new(file: &str, at: Location, etag: String, traffic: Traffic) -> Self {
        let (file, len) = (file.to_owned(), traffic.len);
        let shared = traffic.object.is_some() && is_shared(&file);
        Self { file, at, len, etag, shared, traffic: Arc::new(traffic), cached: RwLock::default() }
    }

    /// Its bytes, while they are in memory.
    pub(crate) fn cached(&self) -> Option<Bytes> {
        self.cached.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_cached(&self, bytes: Option<Bytes>) {
        *self.cached.write().unwrap_or_else(PoisonError::into_inner) = bytes;
    }

    /// Media type by extension (RFC 8216, 3; iana.org).
    pub(crate) fn content_type(&self) -> &'static str {
        content_type(&self.file).unwrap_or("application/octet-stream")
    }
}

/// The entity tag of the bytes with this BLAKE3 hash, given in hex.
pub(crate) fn etag(hash_hex: &str) -> String {
    format!("\"{}\"", hash_hex.get(..32).unwrap_or(hash_hex))
}

/// The media type that goes with a file's extension, of those that HLS has.
pub(crate) fn content_type(file: &str) -> Option<&'static str> {
    Some(match extension(file)? {
        "m3u8" => "application/vnd.apple.mpegurl",
        "ts" => "video/mp2t",
        "mp4" | "m4s" | "m4v" | "cmfv" => "video/mp4",
        "m4a" | "cmfa" => "audio/mp4",
        "cmft" => "application/mp4",
        "aac" => "audio/aac",
        "mp3" => "audio/mpeg",
        "ac3" => "audio/ac3",
        "ec3" => "audio/eac3",
        "vtt" | "webvtt" => "text/vtt",
        _ => return None,
    })
}

/// Whether files of this name are shared by peers. Subtitles go by HTTP alone.
pub(crate) fn is_shared(file: &str) -> bool {
    !matches!(extension(file), Some("vtt" | "webvtt" | "cmft"))
}

/// What follows the last dot of a path's last component.
pub(crate) fn extension(path: &str) -> Option<&str> {
    let name = path.rsplit('/').next()?;
    name.rsplit_once('.').map(|(_, extension)| extension)
}

/// The newest objects of a stream, whose bytes stay in memory up to a limit.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    newest_last: VecDeque<(Arc<StoredObject>, usize)>,
    bytes: usize,
    bytes_max: usize,
}

impl Cache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { newest_last: VecDeque::new(), bytes: 0, bytes_max }
    }

    pub(crate) fn insert(&mut self, object: Arc<StoredObject>, bytes: Bytes) {
        self.bytes += bytes.len();
        self.newest_last.push_back((Arc::clone(&object), bytes.len()));
        object.set_cached(Some(bytes));
        while self.bytes > self.bytes_max {
            let Some((old, len)) = self.newest_last.pop_front() else { break };
            self.bytes -= len;
            old.set_cached(None);
        }
    }

    /// Forgets an object that is deleted.
    pub(crate) fn remove(&mut self, object: &Arc<StoredObject>) {
        if let Some(at) = self.newest_last.iter().position(|(kept, _)| Arc::ptr_eq(kept, object)) {
            let (_, len) = self.newest_last.remove(at).expect("position was found");
            self.bytes -= len;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_holds_the_newest() {
        let object = |name: &str| {
            let at = Location { path: PathBuf::from(name), offset: 0 };
            let traffic = Traffic::new(None, 4, 0);
            Arc::new(StoredObject::new(name, at, String::new(), traffic))
        };
        let (a, b, c) = (object("a.ts"), object("b.ts"), object("c.ts"));
        let mut cache = Cache::new(8);
        for object in [&a, &b, &c] {
            cache.insert(Arc::clone(object), Bytes::from_static(b"1234"));
        }
        assert!(a.cached().is_none() && b.cached().is_some() && c.cached().is_some());
        cache.remove(&b);
        assert_eq!(cache.bytes, 4);
    }

    #[test]
    fn types_go_by_the_last_extension() {
        assert_eq!(content_type("a.b/x.tar.ts"), Some("video/mp2t"));
        assert_eq!(content_type("a.ts/x"), None);
        assert_eq!(content_type("x.exe"), None);
    }
}
