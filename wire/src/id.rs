//! Identities: who (peer), what (stream, epoch, rendition, object), which piece (chunk, substream).

use alloc::string::{String, ToString};
use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One viewer's engine, as the server named it. Written as 16 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u64);

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for PeerId {
    type Err = core::num::ParseIntError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

impl Serialize for PeerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PeerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <alloc::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A stream's name: 1 to 64 characters of `a-z A-Z 0-9 . _ -`, not starting with a dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct StreamName(String);

/// A text that is no stream name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stream name is 1 to 64 characters of a-z A-Z 0-9 . _ - and does not start with a dot")]
pub struct InvalidStreamName;

impl StreamName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StreamName {
    type Err = InvalidStreamName;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=64).contains(&text.len())
            && !text.starts_with('.')
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if fits { Ok(Self(text.to_string())) } else { Err(InvalidStreamName) }
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for StreamName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <alloc::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// One life of a stream's encoder. Segment names repeat after a restart, epochs never.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u32);

/// One variant of a stream (a media playlist), numbered by the server.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct RenditionId(pub u16);

/// Which piece of a media sequence number an object is: one part of it, or the whole segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Part(pub u16);

impl Part {
    /// The whole segment. It sorts after the segment's parts, as it is published after them.
    pub const WHOLE: Self = Self(u16::MAX);
}

/// What is hashed, planned and transferred: a segment or one part of it.
///
/// Within a rendition the order is the order of publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectId {
    /// The rendition that it belongs to.
    pub rendition: RenditionId,
    /// The encoder's life that made it.
    pub epoch: Epoch,
    /// Media sequence number, monotone over epochs.
    pub msn: u64,
    /// The part, or the whole segment.
    pub part: Part,
}

impl ObjectId {
    /// The whole segment `msn`.
    pub const fn segment(rendition: RenditionId, epoch: Epoch, msn: u64) -> Self {
        Self { rendition, epoch, msn, part: Part::WHOLE }
    }

    /// Name of the object's file without its extension, as our own origin serves it:
    /// `RENDITION-EPOCH-MSN` for a segment, `RENDITION-EPOCH-MSN-PART` for a part.
    pub fn file_stem(self) -> String {
        let Self { rendition, epoch, msn, part } = self;
        if part == Part::WHOLE {
            alloc::format!("{}-{}-{}", rendition.0, epoch.0, msn)
        } else {
            alloc::format!("{}-{}-{}-{}", rendition.0, epoch.0, msn, part.0)
        }
    }

    /// The object that a URL of our own origin names, or none. Directories, extension and query do
    /// not matter.
    pub fn from_url_path(path: &str) -> Option<Self> {
        let path = path.split(['?', '#']).next()?;
        let name = path.rsplit('/').next()?;
        let stem = name.split('.').next()?;
        let mut fields = stem.split('-');
        let rendition = RenditionId(fields.next()?.parse().ok()?);
        let epoch = Epoch(fields.next()?.parse().ok()?);
        let msn = fields.next()?.parse().ok()?;
        let part = match fields.next() {
            Some(part) => Part(part.parse().ok()?),
            None => Part::WHOLE,
        };
        fields.next().is_none().then_some(Self { rendition, epoch, msn, part })
    }
}

/// Index of a chunk in its object, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkIndex(pub u32);

/// A run of chunks: `first .. first + count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkRange {
    /// Index of the first chunk.
    pub first: u32,
    /// Number of chunks.
    pub count: u32,
}

impl ChunkRange {
    /// `first .. first + count`.
    pub const fn new(first: u32, count: u32) -> Self {
        Self { first, count }
    }

    /// One past the last index.
    pub const fn end(self) -> u32 {
        self.first.saturating_add(self.count)
    }

    /// Whether no chunk is in it.
    pub const fn is_empty(self) -> bool {
        self.count == 0
    }

    /// Whether `chunk` lies in it.
    pub const fn contains(self, chunk: u32) -> bool {
        chunk >= self.first && chunk < self.end()
    }

    /// The chunk indices.
    pub fn indices(self) -> impl Iterator<Item = u32> + Clone {
        self.first..self.end()
    }
}

/// Substream k of K: the k-th of K contiguous runs of each object's chunks, rotated per object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Substream(pub u8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_names() {
        for good in ["cam1", "a", "Main.Stage_2-hd"] {
            assert!(good.parse::<StreamName>().is_ok(), "{good}");
        }
        let long = "x".repeat(65);
        for bad in ["", ".", "..", ".hidden", "a/b", "a b", "é", "a\0", long.as_str()] {
            assert!(bad.parse::<StreamName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn objects_are_read_from_urls() {
        let segment = ObjectId::segment(RenditionId(2), Epoch(3), 41);
        assert_eq!(ObjectId::from_url_path("/live/cam/2-3-41.ts?token=a-b"), Some(segment));
        let part = ObjectId { part: Part(5), ..segment };
        for object in [segment, part] {
            assert_eq!(ObjectId::from_url_path(&object.file_stem()), Some(object));
        }
        for other in ["index.m3u8", "2-3.ts", "2-3-4-5-6.ts", "0-1-init0.mp4", "-1-2-3.ts", ""] {
            assert_eq!(ObjectId::from_url_path(other), None, "{other}");
        }
    }

    #[test]
    fn parts_precede_their_segment() {
        let whole = ObjectId::segment(RenditionId(0), Epoch(1), 7);
        let part = ObjectId { part: Part(3), ..whole };
        assert!(part < whole);
        assert!(whole < ObjectId { msn: 8, part: Part(0), ..whole });
        assert!(ObjectId { msn: 900, ..whole } < ObjectId { epoch: Epoch(2), msn: 8, ..whole });
    }
}
