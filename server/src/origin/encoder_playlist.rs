//! What an encoder's playlist says, segment by segment, as names of uploads.
//!
//! Rule: lines that need no change are kept byte for byte. Tags that bind several segments (key,
//! map) are kept with each segment that they bind, so that a segment's lines stand on their own.
//! Low-latency tags are left out: what they name is not stored. No viewer is shown an ingest key.

pub(crate) use shoal_playlist::PlaylistError as ReadError;
use shoal_playlist::{ByteRange, Context, Map, Playlist, UriRef, Variables};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// A playlist as pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EncoderPlaylist {
    /// Names media playlists; as viewers are shown it.
    Master(String),
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
    /// The encoder's number of the first entry.
    pub(crate) first_seq: u64,
    /// EXT-X-INDEPENDENT-SEGMENTS.
    pub(crate) independent: bool,
    /// EXT-X-ENDLIST.
    pub(crate) ended: bool,
    /// EXT-X-DEFINE lines that viewers need: of variables from their URL's query.
    pub(crate) defines: Vec<String>,
    /// The segments.
    pub(crate) entries: Vec<Entry>,
}

/// One segment as an encoder's playlist names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Where its bytes are.
    pub(crate) piece: Piece,
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

impl Entry {
    /// The EXT-X-KEY lines that its map is under.
    pub(crate) fn map_keys(&self) -> Vec<String> {
        self.map.as_ref().filter(|_| !self.gap).map(|map| map.keys.clone()).unwrap_or_default()
    }
}

/// An upload, or a range of one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Piece {
    /// Path of the upload in the stream.
    pub(crate) name: String,
    /// First byte and number of bytes, or all.
    pub(crate) range: Option<(u64, u64)>,
}

impl Piece {
    /// All of the upload `name`.
    #[cfg(test)]
    pub(crate) fn whole(name: &str) -> Self {
        Self { name: name.to_owned(), range: None }
    }

    /// What it is known by: the name of the upload, with the range after a `#`.
    pub(crate) fn key(&self) -> String {
        match self.range {
            None => self.name.clone(),
            Some((offset, length)) => format!("{}#{length}@{offset}", self.name),
        }
    }
}

/// An EXT-X-MAP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MapTag {
    tag: Arc<Map>,
    /// Where the init section is.
    pub(crate) piece: Piece,
    /// EXT-X-KEY lines in force at its place.
    pub(crate) keys: Vec<String>,
}

impl MapTag {
    /// The line for a file that holds the init section and nothing else.
    pub(crate) fn with_uri(&self, uri: &str) -> String {
        self.tag.as_whole_file(uri)
    }
}

/// Why a pushed playlist is of no use. Each is a sentence for the encoder's log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlaylistError {
    #[error("{0}")]
    Read(#[from] ReadError),
    #[error("line {0} names something outside of the stream")]
    Outside(usize),
    #[error("the playlist shows the ingest key to viewers: push names that are relative")]
    ShowsKey,
}

/// Where a playlist was pushed to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// The stream's name.
    pub(crate) stream: &'a str,
    /// The playlist's path in it.
    pub(crate) path: &'a str,
    /// The path at which viewers find it.
    pub(crate) shown: &'a str,
}

impl EncoderPlaylist {
    /// Reads `text`, pushed to `place`; `imports` are the variables of the stream's masters.
    pub(crate) fn parse(
        text: &[u8],
        place: Place<'_>,
        imports: &Variables,
    ) -> Result<Self, PlaylistError> {
        let context = Context { imports: Some(imports), query: None };
        match Playlist::parse(text, context)? {
            Playlist::Master(master) => {
                let text = std::str::from_utf8(text).map_err(|_| ReadError::Text)?;
                // Few players know variables, and media playlists are shown without them too.
                let text = shoal_playlist::substitute(text, &master.variables)?;
                let text = place.reduce(&text);
                // The key may also be in a variable, or where no URI is expected.
                let shown =
                    text.contains("/publish/") && text.contains(&format!("/{}/", place.stream));
                if shown { Err(PlaylistError::ShowsKey) } else { Ok(Self::Master(text)) }
            }
            Playlist::Media(media) => place.media(media).map(Self::Media),
        }
    }
}

impl<'a> Place<'a> {
    /// Of a playlist that viewers find where it was pushed to.
    pub(crate) const fn new(stream: &'a str, path: &'a str) -> Self {
        Self { stream, path, shown: path }
    }

    fn media(self, media: shoal_playlist::MediaPlaylist) -> Result<MediaPlaylist, PlaylistError> {
        let line = |line: &str| self.reduce(line);
        let first_seq = media.media_sequence.saturating_add(media.skipped);
        let mut entries = Vec::with_capacity(media.entries.len());
        for (seq, entry) in (first_seq..).zip(media.entries) {
            let outside = || PlaylistError::Outside(entry.line);
            let map = match entry.map {
                Some(tag) => {
                    let piece = self.piece(&tag.uri, tag.range).ok_or_else(outside)?;
                    let keys = tag.keys.iter().map(|key| line(&key.tag)).collect();
                    Some(MapTag { tag, piece, keys })
                }
                None => None,
            };
            entries.push(Entry {
                piece: self.piece(&entry.uri, entry.range).ok_or_else(outside)?,
                duration: entry.duration,
                discontinuity: entry.discontinuities > 0,
                gap: entry.gap,
                keys: entry.keys.iter().map(|key| line(&key.with_iv(seq))).collect(),
                map,
                tags: entry.tags.iter().map(|tag| line(tag)).collect(),
            });
        }
        Ok(MediaPlaylist {
            version: media.version,
            target_s: media.target_s,
            first_seq,
            independent: media.independent,
            ended: media.ended,
            defines: media.query_params,
            entries,
        })
    }

    fn piece(self, uri: &str, range: Option<ByteRange>) -> Option<Piece> {
        let range = range.map(|range| (range.offset, range.length));
        Some(Piece { name: self.resolve(uri)?, range })
    }

    /// The path in the stream that `uri` means, or none if it points outside.
    pub(crate) fn resolve(self, uri: &str) -> Option<String> {
        if let Some(path) = ours(uri, self.stream) {
            return join("", path);
        }
        let path = uri.split(['?', '#']).next()?;
        let outside = path.starts_with('/') || path.contains("://");
        if outside { None } else { join(self.directory(), path) }
    }

    fn directory(self) -> &'a str {
        self.path.rsplit_once('/').map_or("", |(directory, _)| directory)
    }

    /// `text` with each URI that points into this stream as viewers of the playlist need it: an
    /// absolute one becomes relative, and a relative one changes where they find it elsewhere.
    fn reduce(self, text: &str) -> String {
        let up = "../".repeat(self.shown.matches('/').count());
        shoal_playlist::rewrite(text, |UriRef { text: uri, .. }| {
            if let Some(path) = ours(uri, self.stream) {
                return Some(format!("{up}{path}"));
            }
            let relative = !uri.starts_with('/') && !uri.split(['/', '?']).next()?.contains(':');
            let moved = self.shown != self.path && relative && !uri.contains("{$");
            moved.then(|| format!("{up}{}/{uri}", self.directory()))
        })
    }
}

/// The path in `stream` that an absolute URI means, if it is one that the encoder pushed to or that
/// viewers are served from: `…/ingest/STREAM/PATH`, `…/publish/KEY/STREAM/PATH`,
/// `…/live/STREAM/PATH`, `…/vod/STREAM/PATH`, or any whose query names a `file`.
fn ours<'u>(uri: &'u str, stream: &str) -> Option<&'u str> {
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    if path.rsplit('/').next() == Some(UPLOAD_PATH) {
        return query.split('&').find_map(|pair| pair.strip_prefix("file="));
    }
    let path = match path.split_once("://") {
        Some((_, rest)) => rest.split_once('/')?.1,
        None => path.strip_prefix('/')?,
    };
    let (face, rest) = path.split_once('/')?;
    let rest = match face {
        "publish" => rest.split_once('/')?.1,
        "ingest" | "live" | "vod" => rest,
        _ => return None,
    };
    let (name, path) = rest.split_once('/')?;
    (name == stream).then_some(path)
}

/// The last component of the path that takes uploads by query, as YouTube's does.
pub(crate) const UPLOAD_PATH: &str = "http_upload_hls";

/// `relative`, percent-decoded, from `directory` on; none outside of the stream, or where no upload
/// can be.
fn join(directory: &str, relative: &str) -> Option<String> {
    let relative = decoded(relative)?;
    if relative.chars().any(|c| c.is_control() || c == '\\') {
        return None;
    }
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

/// Percent-decoded (RFC 3986, 2.1): uploads are known by decoded paths.
fn decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let hex = |digit: Option<u8>| char::from(digit?).to_digit(16);
        let mut ahead = bytes.clone();
        if byte == b'%'
            && let (Some(high), Some(low)) = (hex(ahead.next()), hex(ahead.next()))
        {
            out.push(u8::try_from(high * 16 + low).ok()?);
            bytes = ahead;
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

/// The paths of media playlists that hold subtitles, in a master at `path`.
pub(crate) fn subtitles(master: &str, place: Place<'_>) -> BTreeSet<String> {
    let Ok(Playlist::Master(master)) = Playlist::parse(master.as_bytes(), Context::default())
    else {
        return BTreeSet::new();
    };
    let subtitles =
        master.alternatives.iter().filter(|it| it.attributes.text("TYPE") == Some("SUBTITLES"));
    subtitles.filter_map(|it| place.resolve(it.uri.as_deref()?)).collect()
}

/// Adds the variables of a master playlist to `variables`.
pub(crate) fn variables(master: &str, variables: &mut Variables) {
    if let Ok(Playlist::Master(master)) = Playlist::parse(master.as_bytes(), Context::default()) {
        variables.extend(&master.variables);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_upload_can_have_are_refused() {
        for name in ["a\u{0}.ts", "a%00.ts", "a\\b.ts", "%2e%2e/%2e%2e/a.ts", "../../a.ts"] {
            assert_eq!(join("v0", name), None, "{name:?}");
        }
        assert_eq!(join("v0", "../a%20b.ts").as_deref(), Some("a b.ts"));
    }

    fn parse(text: &[u8], path: &str) -> Result<EncoderPlaylist, PlaylistError> {
        EncoderPlaylist::parse(text, Place::new("cam", path), &Variables::default())
    }

    fn media(text: &str, path: &str) -> MediaPlaylist {
        match parse(text.as_bytes(), path).unwrap() {
            EncoderPlaylist::Media(playlist) => playlist,
            EncoderPlaylist::Master(_) => panic!("not a media playlist"),
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
        assert_eq!((&a.piece, a.duration), (&Piece::whole("hd/a.m4s"), Duration::from_secs(4)));
        assert_eq!(a.tags, ["#EXTINF:4.0,", "#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:00Z"]);
        assert_eq!(b.piece.key(), "hd/b.m4s");
        assert_eq!(b.duration, Duration::from_millis(1500));
        assert_eq!(b.tags, ["#EXT-X-CUE-OUT:30", "#EXTINF:1.5,title"]);
        assert!(b.discontinuity && !a.discontinuity);
        let key = "#EXT-X-KEY:METHOD=AES-128,URI=\"k\",IV=0x0000000000000000000000000000000";
        assert_eq!((&a.keys, &b.keys), (&vec![format!("{key}9")], &vec![format!("{key}a")]));
        let map = b.map.as_ref().unwrap();
        assert_eq!(map.piece.name, "hd/init.mp4");
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
            ("x/i.m3u8", "../a%20b%2.ts", Some("a b%2.ts")),
            ("x/i.m3u8", "../../a.ts", None),
            ("x/i.m3u8", "%2e%2e/%2e%2e/a.ts", None),
            ("i.m3u8", "/ingest/cam/d/a.ts", Some("d/a.ts")),
            ("i.m3u8", "http://h:1/publish/key/cam/d/a.ts", Some("d/a.ts")),
            ("x/i.m3u8", "/vod/cam/d/a.ts", Some("d/a.ts")),
            ("x/i.m3u8", "/vod/other/d/a.ts", None),
            ("x/i.m3u8", "http_upload_hls?cid=k&file=a.ts", Some("a.ts")),
            ("i.m3u8", "http://h:1/publish/key/other/d/a.ts", None),
            ("i.m3u8", "http://h/a.ts", None),
            ("i.m3u8", "http://h", None),
        ] {
            let place = Place::new("cam", base);
            assert_eq!(place.resolve(uri).as_deref(), path, "{base} {uri}");
        }
    }

    #[test]
    fn no_viewer_sees_where_it_was_pushed() {
        let playlist = media(
            "#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,IV=0x1,URI=\"http://h/publish/s3/cam/x/k.key\"\n\
             #EXT-X-MAP:URI=\"/publish/s3/cam/x/init.mp4\"\n#EXTINF:1,\n\
             http://h/publish/s3/cam/x/a.m4s\n#EXT-X-KEY:METHOD=AES-128,IV=0x2,URI=\"https://drm/k\"\n\
             #EXTINF:1,\nb.m4s\n",
            "x/i.m3u8",
        );
        let [a, b] = playlist.entries.as_slice() else { panic!("two segments") };
        assert_eq!(a.keys, ["#EXT-X-KEY:METHOD=AES-128,IV=0x1,URI=\"../x/k.key\""]);
        assert_eq!(b.keys, ["#EXT-X-KEY:METHOD=AES-128,IV=0x2,URI=\"https://drm/k\""]);
        assert_eq!(a.map.as_ref().unwrap().piece, Piece::whole("x/init.mp4"));
        let master = "#EXTM3U\r\n#EXT-X-STREAM-INF:BANDWIDTH=1\r\nhttp://h/ingest/cam/x/i.m3u8\r\n\
                      #EXT-X-STREAM-INF:BANDWIDTH=2\r\nhttp://cdn/y.m3u8";
        let shown = master.replace("http://h/ingest/cam/x", "x");
        assert_eq!(parse(master.as_bytes(), "m.m3u8"), Ok(EncoderPlaylist::Master(shown)));
        let variable = "#EXTM3U\n#EXT-X-DEFINE:NAME=\"d\",VALUE=\"http://h/publish/s3/cam/x\"\n\
                        #EXT-X-STREAM-INF:BANDWIDTH=1\n{$d}/i.m3u8\n";
        assert_eq!(parse(variable.as_bytes(), "m.m3u8"), Err(PlaylistError::ShowsKey));
    }

    #[test]
    fn keys_of_the_backup_stay_apart() {
        let text = "#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,IV=0x1,URI=\"k.key\"\n#EXTINF:1,\na.ts\n\
                    #EXT-X-KEY:METHOD=SAMPLE-AES,KEYFORMAT=\"x\",URI=\"skd:k\"\n#EXTINF:1,\nb.ts\n";
        let place = Place { stream: "cam", path: "backup/d/i.m3u8", shown: "d/i.m3u8" };
        let Ok(EncoderPlaylist::Media(playlist)) =
            EncoderPlaylist::parse(text.as_bytes(), place, &Variables::default())
        else {
            panic!("not a media playlist")
        };
        let [a, b] = playlist.entries.as_slice() else { panic!("two segments") };
        assert_eq!(a.keys, ["#EXT-X-KEY:METHOD=AES-128,IV=0x1,URI=\"../backup/d/k.key\""]);
        assert_eq!(b.keys, ["#EXT-X-KEY:METHOD=SAMPLE-AES,KEYFORMAT=\"x\",URI=\"skd:k\""]);
        assert_eq!(a.piece, Piece::whole("backup/d/a.ts"));
    }

    #[test]
    fn variables_are_put_in_but_those_of_the_viewers_query() {
        let mut imports = Variables::default();
        variables(
            "#EXTM3U\n#EXT-X-DEFINE:NAME=\"d\",VALUE=\"x\"\n#EXT-X-STREAM-INF:A=1\ni",
            &mut imports,
        );
        let text = "#EXTM3U\n#EXT-X-DEFINE:IMPORT=\"d\"\n#EXT-X-DEFINE:QUERYPARAM=\"t\"\n\
                    #EXT-X-KEY:METHOD=AES-128,IV=0x1,URI=\"{$d}/k?{$t}\"\n#EXTINF:1,\n{$d}/a.ts?{$t}\n";
        let place = Place::new("cam", "i.m3u8");
        let Ok(EncoderPlaylist::Media(playlist)) =
            EncoderPlaylist::parse(text.as_bytes(), place, &imports)
        else {
            panic!("not a media playlist")
        };
        assert_eq!(playlist.entries[0].piece, Piece::whole("x/a.ts"));
        assert_eq!(playlist.entries[0].keys, ["#EXT-X-KEY:METHOD=AES-128,IV=0x1,URI=\"x/k?{$t}\""]);
        assert_eq!(playlist.defines, ["#EXT-X-DEFINE:QUERYPARAM=\"t\""]);
    }

    #[test]
    fn a_master_shows_what_its_variables_stand_for() {
        let master = "#EXTM3U\n#EXT-X-DEFINE:NAME=\"part\",VALUE=\"hd\"\n\
                      #EXT-X-DEFINE:QUERYPARAM=\"t\"\n\
                      #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"{$part}\",URI=\"{$part}-a.m3u8\"\n\
                      #EXT-X-STREAM-INF:BANDWIDTH=1\n{$part}.m3u8?t={$t}\n";
        let shown = master
            .replace("NAME=\"{$part}\"", "NAME=\"hd\"")
            .replace("{$part}-a.m3u8", "hd-a.m3u8")
            .replace("{$part}.m3u8", "hd.m3u8");
        assert_eq!(parse(master.as_bytes(), "m.m3u8"), Ok(EncoderPlaylist::Master(shown)));
    }

    #[test]
    fn subtitles_are_known_by_their_attributes() {
        let master = "#EXTM3U\n#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"s\",NAME=\"fr\",URI=\"s/fr.m3u8\"\n\
                      #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"fr\",URI=\"a/fr.m3u8\"\n\
                      #EXT-X-STREAM-INF:BANDWIDTH=1,SUBTITLES=\"s\"\nv.m3u8\n";
        let found = subtitles(master, Place::new("cam", "m/x.m3u8"));
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["m/s/fr.m3u8"]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let value = |line, tag| PlaylistError::Read(ReadError::Value { line, tag });
        for (text, error) in [
            (&b"\xff"[..], ReadError::Text.into()),
            (b"", ReadError::NoHeader.into()),
            (b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:x", value(2, "-X-MEDIA-SEQUENCE")),
            (b"#EXTM3U\n#EXTINF:-1,\na.ts", value(2, "INF")),
            (b"#EXTM3U\na.ts", ReadError::NoDuration(2).into()),
            (b"#EXTM3U\n#EXTINF:1,\n../a.ts", PlaylistError::Outside(3)),
        ] {
            assert_eq!(parse(text, "i.m3u8"), Err(error));
        }
        let master = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhd.m3u8\n";
        let same = Ok(EncoderPlaylist::Master(master.into()));
        assert_eq!(parse(master.as_bytes(), "m.m3u8"), same);
    }
}
