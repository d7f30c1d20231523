//! HLS playlists (RFC 8216 and its successor draft): what they say, and the same text with other
//! URIs in it.
//!
//! Rule: functions over text. A line is understood by `quick-m3u8` or kept as it is; what is not
//! changed stays byte for byte. Nothing here fetches, stores, or knows what a segment's bytes are.

mod attributes;
mod define;
mod error;
mod line;
mod master;
mod media;
mod read;
mod uri;

pub use attributes::Attributes;
pub use define::Variables;
pub use error::PlaylistError;
pub use line::{Line, What, lines};
pub use master::{Alternative, MasterPlaylist, Variant};
pub use media::{
    ByteRange, Entry, Key, Map, MediaPlaylist, Part, PlaylistType, PreloadHint, RenditionReport,
    ServerControl,
};
pub use read::{Context, Playlist};
pub use uri::{UriKind, UriRef, rewrite, substitute, uris};

/// Most lines of a playlist. A day of two-second segments with four lines each has 172,800.
pub const LINES_MAX: usize = 200_000;
