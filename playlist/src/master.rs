//! A master playlist (RFC 8216bis: multivariant playlist): which media playlists there are.
//!
//! Rule: attributes are kept as they stand, known or not; a rendition is known by them.

use crate::attributes::Attributes;
use crate::define::Variables;

/// A master playlist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MasterPlaylist {
    /// EXT-X-INDEPENDENT-SEGMENTS.
    pub independent: bool,
    /// EXT-X-STREAM-INF and the URI after it.
    pub variants: Vec<Variant>,
    /// EXT-X-I-FRAME-STREAM-INF.
    pub i_frames: Vec<Variant>,
    /// EXT-X-MEDIA.
    pub alternatives: Vec<Alternative>,
    /// EXT-X-DEFINE, for media playlists that import from here.
    pub variables: Variables,
}

/// One variant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variant {
    /// Line of its tag, from 1.
    pub line: usize,
    /// Its media playlist.
    pub uri: String,
    /// Its attributes: BANDWIDTH, CODECS, RESOLUTION, AUDIO …
    pub attributes: Attributes,
}

/// One alternative: a media playlist, or captions inside the video (no URI).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alternative {
    /// Line of its tag, from 1.
    pub line: usize,
    /// Its media playlist.
    pub uri: Option<String>,
    /// Its attributes: TYPE, GROUP-ID, NAME, LANGUAGE …
    pub attributes: Attributes,
}

impl MasterPlaylist {
    /// The media playlists that it names, in order, each as often as it is named.
    pub fn media_playlists(&self) -> impl Iterator<Item = &str> {
        let variants =
            self.variants.iter().chain(&self.i_frames).map(|variant| variant.uri.as_str());
        variants.chain(self.alternatives.iter().filter_map(|media| media.uri.as_deref()))
    }
}
