//! What an encoder's playlist says (RFC 8216, 4.3), segment by segment.
//!
//! Rule: lines that need no change are kept byte for byte. Tags that bind several segments (key,
//! map) are kept with each segment that they bind, so that a segment's lines stand on their own.
//! Low-latency tags are left out: what they name is not stored.

use std::time::Duration;

/// Most lines of an encoder's playlist: a day of two-second segments with four lines each would be
/// 172,800; live playlists have a few dozen.
const LINES_MAX: usize = 20_000;

/// A playlist as pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EncoderPlaylist {
    /// Names media playlists; kept as it is.
    Master,
    /// Names segments.
    Media(MediaPlaylist),
}

/// A media playlist as pushed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MediaPlaylist {
    /// EXT-X-VERSION.
    pub(crate) version: u32,
    /// EXT-X-TARGETDURATION, seconds.
    pub(crate) target_s: u64,
    /// EXT-X-MEDIA-SEQUENCE: the encoder's number of the first entry.
    pub(crate) first_seq: u64,
    /// EXT-X-INDEPENDENT-SEGMENTS.
    pub(crate) independent: bool,
    /// EXT-X-ENDLIST.
    pub(crate) ended: bool,
    /// The segments.
    pub(crate) entries: Vec<Entry>,
}

/// One segment as an encoder's playlist names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Path of its upload in the stream.
    pub(crate) name: String,
    /// EXTINF.
    pub(crate) duration: Duration,
    /// EXT-X-DISCONTINUITY stands before it.
    pub(crate) discontinuity: bool,
    /// EXT-X-GAP: the encoder has no bytes for it.
    pub(crate) gap: bool,
    /// EXT-X-KEY lines in force.
    pub(crate) keys: Vec<String>,
    /// EXT-X-MAP in force.
    pub(crate) map: Option<MapTag>,
    /// All its other lines, EXTINF among them.
    pub(crate) tags: Vec<String>,
}

/// An EXT-X-MAP line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MapTag {
    /// Up to and with the quote before the URI.
    before: String,
    /// From the quote after the URI on.
    after: String,
    /// Path of the init section's upload in the stream.
    pub(crate) name: String,
}

impl MapTag {
    /// The line with another URI.
    pub(crate) fn with_uri(&self, uri: &str) -> String {
        format!("{}{uri}{}", self.before, self.after)
    }
}

/// Why a pushed playlist is of no use. Each is a sentence for the encoder's log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlaylistError {
    #[error("the playlist is not UTF-8 text")]
    Text,
    #[error("the playlist does not begin with #EXTM3U")]
    NoHeader,
    #[error("line {0} of the playlist has a value that does not parse")]
    Value(usize),
    #[error("line {0}: segments that are byte ranges of one file cannot be pushed")]
    ByteRange(usize),
    #[error("line {0}: the segment has no EXTINF")]
    NoDuration(usize),
    #[error("line {0} names something outside of the stream")]
    Outside(usize),
    #[error("the playlist has more than {LINES_MAX} lines")]
    TooLong,
}

impl EncoderPlaylist {
    /// Reads `text`, pushed to `path` in its stream.
    pub(crate) fn parse(text: &[u8], path: &str) -> Result<Self, PlaylistError> {
        let text = std::str::from_utf8(text).map_err(|_| PlaylistError::Text)?;
        let mut lines = text.lines().map(str::trim_end).enumerate().map(|(i, line)| (i + 1, line));
        let first = lines.next().map_or("", |(_, line)| line.trim_start_matches('\u{feff}'));
        if first != "#EXTM3U" {
            return Err(PlaylistError::NoHeader);
        }
        let mut reader = Reader { base: path, ..Reader::default() };
        for (number, line) in lines {
            if number > LINES_MAX {
                return Err(PlaylistError::TooLong);
            }
            if line.starts_with("#EXT-X-STREAM-INF") || line.starts_with("#EXT-X-I-FRAME-STREAM") {
                return Ok(Self::Master);
            }
            reader.line(number, line)?;
        }
        Ok(Self::Media(reader.playlist))
    }
}

#[derive(Default)]
struct Reader<'a> {
    base: &'a str,
    playlist: MediaPlaylist,
    /// The segment whose URI line is still to come.
    next: Entry,
    timed: bool,
    keyed: bool,
}

impl Reader<'_> {
    fn line(&mut self, number: usize, line: &str) -> Result<(), PlaylistError> {
        if line.is_empty() {
            return Ok(());
        }
        if !line.starts_with('#') {
            return self.uri(number, line);
        }
        let (tag, value) = line.split_once(':').unwrap_or((line, ""));
        let whole = || value.trim().parse().map_err(|_| PlaylistError::Value(number));
        let playlist = &mut self.playlist;
        match tag {
            "#EXT-X-VERSION" => {
                playlist.version =
                    value.trim().parse().map_err(|_| PlaylistError::Value(number))?;
            }
            "#EXT-X-TARGETDURATION" => playlist.target_s = whole()?,
            "#EXT-X-MEDIA-SEQUENCE" => playlist.first_seq = whole()?,
            "#EXT-X-INDEPENDENT-SEGMENTS" => playlist.independent = true,
            "#EXT-X-ENDLIST" => playlist.ended = true,
            "#EXT-X-DISCONTINUITY-SEQUENCE"
            | "#EXT-X-PLAYLIST-TYPE"
            | "#EXT-X-I-FRAMES-ONLY"
            | "#EXT-X-START"
            | "#EXT-X-ALLOW-CACHE"
            | "#EXT-X-SERVER-CONTROL"
            | "#EXT-X-PART-INF"
            | "#EXT-X-PART"
            | "#EXT-X-PRELOAD-HINT"
            | "#EXT-X-RENDITION-REPORT"
            | "#EXT-X-SKIP"
            | "#EXT-X-DEFINE" => {}
            "#EXT-X-BYTERANGE" => return Err(PlaylistError::ByteRange(number)),
            "#EXT-X-DISCONTINUITY" => self.next.discontinuity = true,
            "#EXT-X-GAP" => self.next.gap = true,
            "#EXT-X-KEY" => self.key(line),
            "#EXT-X-MAP" => self.next.map = Some(map_tag(line, self.base, number)?),
            "#EXTINF" => self.duration(number, line, value)?,
            _ => self.next.tags.push(line.to_owned()),
        }
        Ok(())
    }

    fn key(&mut self, line: &str) {
        // Several key lines before one segment are the same key in several formats.
        if !std::mem::replace(&mut self.keyed, true) {
            self.next.keys.clear();
        }
        self.next.keys.push(line.to_owned());
    }

    fn duration(&mut self, number: usize, line: &str, value: &str) -> Result<(), PlaylistError> {
        let seconds = value.split(',').next().unwrap_or_default().trim();
        let seconds: f64 = seconds.parse().map_err(|_| PlaylistError::Value(number))?;
        self.next.duration =
            Duration::try_from_secs_f64(seconds).map_err(|_| PlaylistError::Value(number))?;
        self.next.tags.push(line.to_owned());
        self.timed = true;
        Ok(())
    }

    fn uri(&mut self, number: usize, uri: &str) -> Result<(), PlaylistError> {
        if !std::mem::take(&mut self.timed) {
            return Err(PlaylistError::NoDuration(number));
        }
        self.next.name = resolve(self.base, uri).ok_or(PlaylistError::Outside(number))?;
        self.keyed = false;
        let carried =
            Entry { keys: self.next.keys.clone(), map: self.next.map.clone(), ..Entry::default() };
        self.playlist.entries.push(std::mem::replace(&mut self.next, carried));
        Ok(())
    }
}

fn map_tag(line: &str, base: &str, number: usize) -> Result<MapTag, PlaylistError> {
    if line.contains("BYTERANGE=") {
        return Err(PlaylistError::ByteRange(number));
    }
    let start = line.find("URI=\"").ok_or(PlaylistError::Value(number))? + "URI=\"".len();
    let len = line[start..].find('"').ok_or(PlaylistError::Value(number))?;
    let name = resolve(base, &line[start..start + len]).ok_or(PlaylistError::Outside(number))?;
    let (before, after) = (line[..start].to_owned(), line[start + len..].to_owned());
    Ok(MapTag { before, after, name })
}

/// The path in its stream that `uri` means in the playlist at `base`, or none if it points outside.
///
/// An absolute URI is the one that the encoder pushed to, `…/ingest/STREAM/PATH` or
/// `…/publish/KEY/STREAM/PATH`.
fn resolve(base: &str, uri: &str) -> Option<String> {
    let uri = uri.split(['?', '#']).next()?;
    let absolute = match uri.split_once("://") {
        Some((_, rest)) => Some(rest.split_once('/')?.1),
        None => uri.strip_prefix('/'),
    };
    if let Some(path) = absolute {
        let (prefix, rest) = path.split_once('/')?;
        let parts = if prefix == "publish" { 3 } else { 2 };
        return join("", rest.splitn(parts, '/').nth(parts - 1)?);
    }
    let directory = base.rsplit_once('/').map_or("", |(directory, _)| directory);
    join(directory, uri)
}

fn join(directory: &str, relative: &str) -> Option<String> {
    let mut parts: Vec<&str> = directory.split('/').filter(|part| !part.is_empty()).collect();
    for part in relative.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            _ => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn media(text: &str, path: &str) -> MediaPlaylist {
        match EncoderPlaylist::parse(text.as_bytes(), path).unwrap() {
            EncoderPlaylist::Media(playlist) => playlist,
            EncoderPlaylist::Master => panic!("not a media playlist"),
        }
    }

    #[test]
    fn lines_stay_with_their_segment() {
        let playlist = media(
            "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:9\n\
             #EXT-X-MAP:URI=\"init.mp4\",X=1\n#EXT-X-KEY:METHOD=AES-128,URI=\"k\"\n#EXTINF:4.0,\n\
             #EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:00Z\na.m4s\n#EXT-X-DISCONTINUITY\n\
             #EXT-X-CUE-OUT:30 \n#EXTINF:1.5,title\r\nb.m4s?t=1\n#EXT-X-ENDLIST\n",
            "hd/index.m3u8",
        );
        assert_eq!((playlist.version, playlist.target_s, playlist.first_seq), (7, 4, 9));
        assert!(playlist.ended && !playlist.independent);
        let [a, b] = playlist.entries.as_slice() else { panic!("two segments") };
        assert_eq!((a.name.as_str(), a.duration), ("hd/a.m4s", Duration::from_secs(4)));
        assert_eq!(a.tags, ["#EXTINF:4.0,", "#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:00Z"]);
        assert_eq!((b.name.as_str(), b.duration), ("hd/b.m4s", Duration::from_millis(1500)));
        assert_eq!(b.tags, ["#EXT-X-CUE-OUT:30", "#EXTINF:1.5,title"]);
        assert!(b.discontinuity && !a.discontinuity);
        assert_eq!(a.keys, b.keys);
        let map = b.map.as_ref().unwrap();
        assert_eq!(map.name, "hd/init.mp4");
        assert_eq!(map.with_uri("0-1-init0.mp4"), "#EXT-X-MAP:URI=\"0-1-init0.mp4\",X=1");
    }

    #[test]
    fn a_new_key_replaces_the_old_formats() {
        let playlist = media(
            "#EXTM3U\n#EXT-X-KEY:A\n#EXT-X-KEY:B\n#EXTINF:1,\na\n#EXTINF:1,\nb\n#EXT-X-KEY:C\n\
             #EXTINF:1,\nc\n",
            "i.m3u8",
        );
        let keys: Vec<usize> = playlist.entries.iter().map(|entry| entry.keys.len()).collect();
        assert_eq!(keys, [2, 2, 1]);
    }

    #[test]
    fn uris_resolve_inside_the_stream_or_not_at_all() {
        for (base, uri, path) in [
            ("i.m3u8", "a.ts", Some("a.ts")),
            ("x/i.m3u8", "a.ts?x=/../y", Some("x/a.ts")),
            ("x/i.m3u8", "../a.ts", Some("a.ts")),
            ("x/i.m3u8", "../../a.ts", None),
            ("i.m3u8", "/ingest/cam/d/a.ts", Some("d/a.ts")),
            ("i.m3u8", "http://h:1/publish/key/cam/d/a.ts", Some("d/a.ts")),
            ("i.m3u8", "http://h", None),
        ] {
            assert_eq!(resolve(base, uri).as_deref(), path, "{base} {uri}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, error) in [
            (&b"\xff"[..], PlaylistError::Text),
            (b"", PlaylistError::NoHeader),
            (b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:x", PlaylistError::Value(2)),
            (b"#EXTM3U\n#EXTINF:-1,\na.ts", PlaylistError::Value(2)),
            (b"#EXTM3U\na.ts", PlaylistError::NoDuration(2)),
            (b"#EXTM3U\n#EXTINF:1,\n#EXT-X-BYTERANGE:5\na.ts", PlaylistError::ByteRange(3)),
            (b"#EXTM3U\n#EXTINF:1,\n../a.ts", PlaylistError::Outside(3)),
        ] {
            assert_eq!(EncoderPlaylist::parse(text, "i.m3u8"), Err(error));
        }
        let master = b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhd.m3u8\n";
        assert_eq!(EncoderPlaylist::parse(master, "m.m3u8"), Ok(EncoderPlaylist::Master));
    }
}
