//! A media playlist: its segments, and what it says of itself.
//!
//! Rule: each entry stands on its own: what is in force for it (keys, map, the offset of its byte
//! range) is with it, and its lines need no variable any more.

use crate::attributes::Attributes;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// A media playlist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MediaPlaylist {
    /// EXT-X-VERSION, or 1.
    pub version: u32,
    /// EXT-X-TARGETDURATION in seconds; 0 if it is absent.
    pub target_s: u64,
    /// EXT-X-MEDIA-SEQUENCE: the number of the first segment, skipped ones included.
    pub media_sequence: u64,
    /// EXT-X-DISCONTINUITY-SEQUENCE.
    pub discontinuity_sequence: u64,
    /// EXT-X-PLAYLIST-TYPE.
    pub playlist_type: Option<PlaylistType>,
    /// EXT-X-INDEPENDENT-SEGMENTS.
    pub independent: bool,
    /// EXT-X-I-FRAMES-ONLY.
    pub i_frames_only: bool,
    /// EXT-X-ENDLIST.
    pub ended: bool,
    /// EXT-X-SERVER-CONTROL.
    pub server_control: Option<ServerControl>,
    /// EXT-X-PART-INF: the longest part.
    pub part_target: Option<Duration>,
    /// EXT-X-SKIP: how many segments before the first entry are left out.
    pub skipped: u64,
    /// EXT-X-DEFINE:QUERYPARAM tags whose variables still stand in the lines.
    pub query_params: Vec<String>,
    /// The segments.
    pub entries: Vec<Entry>,
    /// Parts after the last entry: of the segment that is still made.
    pub parts: Vec<Part>,
    /// EXT-X-PRELOAD-HINT.
    pub hints: Vec<PreloadHint>,
    /// EXT-X-RENDITION-REPORT.
    pub reports: Vec<RenditionReport>,
}

/// EXT-X-PLAYLIST-TYPE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaylistType {
    /// Segments are only added.
    Event,
    /// Nothing changes any more.
    Vod,
}

/// One segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Line of its URI, from 1.
    pub line: usize,
    /// Its URI.
    pub uri: String,
    /// EXTINF.
    pub duration: Duration,
    /// EXT-X-BYTERANGE, with its offset. All of the file if absent.
    pub range: Option<ByteRange>,
    /// EXT-X-DISCONTINUITY tags before it (rarely more than one).
    pub discontinuities: u64,
    /// EXT-X-GAP: there are no bytes for it.
    pub gap: bool,
    /// EXT-X-BITRATE in force, kbit/s.
    pub bitrate: Option<u64>,
    /// EXT-X-PROGRAM-DATE-TIME, as it stands.
    pub date_time: Option<String>,
    /// EXT-X-KEY in force: one key in one or several formats.
    pub keys: Arc<[Key]>,
    /// EXT-X-MAP in force.
    pub map: Option<Arc<Map>>,
    /// Its parts.
    pub parts: Vec<Part>,
    /// Its other lines as they stand, EXTINF and unknown tags among them, without line ends.
    pub tags: Vec<String>,
}

/// A range of a file's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ByteRange {
    /// First byte.
    pub offset: u64,
    /// Number of bytes; the end is a number too.
    pub length: u64,
}

impl ByteRange {
    /// None if it has no end that is a number.
    pub fn new(offset: u64, length: u64) -> Option<Self> {
        offset.checked_add(length).map(|_| Self { offset, length })
    }

    /// First byte after it.
    pub const fn end(self) -> u64 {
        self.offset + self.length
    }
}

/// An EXT-X-KEY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// METHOD.
    pub method: String,
    /// URI.
    pub uri: Option<String>,
    /// The whole tag, variables substituted.
    pub tag: String,
}

impl Key {
    /// The tag with an IV, for a segment that was number `seq` where the tag comes from: without
    /// one, the IV is the media sequence number (RFC 8216, 5.2), which may be another elsewhere.
    pub fn with_iv(&self, seq: u64) -> Cow<'_, str> {
        let attributes = Attributes::of(&self.tag);
        let numbered = matches!(self.method.as_str(), "AES-128" | "SAMPLE-AES" | "AES-256");
        let format = attributes.text("KEYFORMAT").unwrap_or("identity");
        // Keys of a licence system bring their own, with or without KEYFORMAT.
        let licence = self.uri.as_ref().is_some_and(|uri| uri.starts_with("skd:"));
        if numbered && !licence && format == "identity" && attributes.text("IV").is_none() {
            Cow::Owned(format!("{},IV=0x{seq:032x}", self.tag.trim_end_matches(',')))
        } else {
            Cow::Borrowed(&self.tag)
        }
    }
}

/// An EXT-X-MAP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    /// URI.
    pub uri: String,
    /// BYTERANGE.
    pub range: Option<ByteRange>,
    /// EXT-X-KEY in force at its place: with these it is encrypted (RFC 8216, 4.3.2.5), and not
    /// with such as follow it before the same segment.
    pub keys: Arc<[Key]>,
    /// The whole tag, variables substituted.
    pub tag: String,
}

impl Map {
    /// The tag for a file that holds these bytes and no others.
    pub fn as_whole_file(&self, uri: &str) -> String {
        let mut out = String::with_capacity(self.tag.len() + uri.len());
        let mut from = 0;
        for span in crate::attributes::spans(&self.tag) {
            if span.name == "URI" {
                out.push_str(&self.tag[from..span.at.start]);
                out.push_str(uri);
                from = span.at.end;
            } else if span.name == "BYTERANGE" {
                let start = span.at.start - usize::from(span.quoted) - "BYTERANGE=".len();
                out.push_str(&self.tag[from..start]);
                from = span.at.end + usize::from(span.quoted);
                // With the comma after it, or else the one before it.
                if self.tag[from..].starts_with(',') {
                    from += 1;
                } else if out.ends_with(',') {
                    out.pop();
                }
            }
        }
        out.push_str(&self.tag[from..]);
        out
    }
}

/// An EXT-X-PART.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// URI.
    pub uri: String,
    /// DURATION.
    pub duration: Duration,
    /// INDEPENDENT.
    pub independent: bool,
    /// GAP.
    pub gap: bool,
    /// BYTERANGE, with its offset.
    pub range: Option<ByteRange>,
    /// The whole tag, variables substituted.
    pub tag: String,
}

/// EXT-X-SERVER-CONTROL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerControl {
    /// CAN-SKIP-UNTIL.
    pub can_skip_until: Option<Duration>,
    /// CAN-SKIP-DATERANGES.
    pub can_skip_dateranges: bool,
    /// HOLD-BACK.
    pub hold_back: Option<Duration>,
    /// PART-HOLD-BACK.
    pub part_hold_back: Option<Duration>,
    /// CAN-BLOCK-RELOAD.
    pub can_block_reload: bool,
}

/// EXT-X-PRELOAD-HINT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreloadHint {
    /// Whether it is an init section's (TYPE=MAP), and not a part's.
    pub is_map: bool,
    /// URI.
    pub uri: String,
    /// BYTERANGE-START.
    pub offset: u64,
    /// BYTERANGE-LENGTH.
    pub length: Option<u64>,
}

/// EXT-X-RENDITION-REPORT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenditionReport {
    /// URI of the other media playlist.
    pub uri: String,
    /// LAST-MSN.
    pub last_msn: u64,
    /// LAST-PART.
    pub last_part: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_iv_that_was_the_number_is_said() {
        for (method, tag, expected) in [
            ("AES-128", "URI=\"k\"", "URI=\"k\",IV=0x0000000000000000000000000000000a"),
            ("AES-128", "URI=\"k\",IV=0x1", "URI=\"k\",IV=0x1"),
            ("AES-128", "KEYFORMAT=\"com.x\"", "KEYFORMAT=\"com.x\""),
            ("NONE", "X=1", "X=1"),
            ("SAMPLE-AES", "URI=\"skd://k\"", "URI=\"skd://k\""),
        ] {
            let tag = format!("#EXT-X-KEY:METHOD={method},{tag}");
            let uri = Attributes::of(&tag).text("URI").map(str::to_owned);
            let key = Key { method: method.into(), uri, tag };
            assert_eq!(key.with_iv(10), format!("#EXT-X-KEY:METHOD={method},{expected}"));
        }
    }

    #[test]
    fn a_map_of_a_whole_file() {
        for (tag, expected) in [
            ("#EXT-X-MAP:URI=\"a\",BYTERANGE=\"5@0\",X=1", "#EXT-X-MAP:URI=\"b\",X=1"),
            ("#EXT-X-MAP:BYTERANGE=\"5@0\",URI=\"a\"", "#EXT-X-MAP:URI=\"b\""),
            ("#EXT-X-MAP:URI=\"a\",BYTERANGE=\"5@0\"", "#EXT-X-MAP:URI=\"b\""),
            ("#EXT-X-MAP:URI=\"a\"", "#EXT-X-MAP:URI=\"b\""),
        ] {
            let map = Map { uri: "a".into(), range: None, keys: [].into(), tag: tag.into() };
            assert_eq!(map.as_whole_file("b"), expected, "{tag}");
        }
    }
}
