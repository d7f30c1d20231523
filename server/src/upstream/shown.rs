//! Playlists as viewers see them: the upstream's text with other URIs.
//!
//! Rule: what need not change stays byte for byte. A shared segment has our name and carries the
//! viewer's own URI; all that is not shared (keys, init sections, subtitles, other hosts) becomes
//! the viewer's own absolute URL, so that no request of it comes here.

use super::place::Page;
use shoal_playlist::{MasterPlaylist, MediaPlaylist, UriKind, What, lines, rewrite, substitute};
use std::collections::BTreeSet;

/// How a viewer sees one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Show {
    /// Under our name.
    Named(String),
    /// With the viewer's own URL.
    AsIs,
    /// Not yet, and nothing after it.
    HeldBack,
}

/// A master playlist: its media playlists lead here.
pub(crate) fn master(text: &str, master: &MasterPlaylist, page: Page<'_>) -> String {
    let is_subtitles = |it: &&shoal_playlist::Alternative| {
        it.attributes.text("TYPE").is_some_and(|kind| kind == "SUBTITLES")
    };
    let subtitles: BTreeSet<usize> =
        master.alternatives.iter().filter(is_subtitles).map(|it| it.line).collect();
    // Names are put in first: what a name stands for may be a part of a URI.
    let with_values = substitute(text, &master.variables);
    let text = with_values.as_deref().unwrap_or(text);
    rewrite(text, |uri| match uri.kind {
        UriKind::Variant | UriKind::Alternative if !subtitles.contains(&uri.line) => {
            page.playlist(uri.text)
        }
        UriKind::Variant
        | UriKind::Alternative
        | UriKind::Segment
        | UriKind::Map
        | UriKind::Part
        | UriKind::Hint
        | UriKind::IFrames
        | UriKind::Report
        | UriKind::Key
        | UriKind::SessionData
        | UriKind::Other => page.absolute(uri.text),
    })
}

/// A media playlist, of whose entries each is shown as `shows` says.
pub(crate) fn media(
    text: &str,
    playlist: &MediaPlaylist,
    page: Page<'_>,
    shows: &[Show],
) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    // What belongs to a segment that is held back goes with it.
    let mut cut = 0;
    let mut entries = playlist.entries.iter().zip(shows).peekable();
    for line in lines(text) {
        let next = entries.peek().map(|(entry, show)| (*entry, *show));
        match (line.what(), next) {
            (What::Uri(uri), Some((entry, show))) if entry.line == line.number => {
                let shown = match show {
                    Show::HeldBack => {
                        out.truncate(cut);
                        return out;
                    }
                    Show::Named(file) => {
                        page.object_query(&entry.uri).map(|query| format!("{file}{query}"))
                    }
                    Show::AsIs => page.absolute(&entry.uri),
                };
                let shown = shown.as_deref().unwrap_or(&entry.uri);
                out.push_str(&line.raw.replacen(uri, shown, 1));
                cut = out.len();
                entries.next();
            }
            (What::Tag { name: "-X-BYTERANGE", .. }, Some((entry, show))) => {
                // A named object is the range and nothing else.
                if let (Show::AsIs, Some(range)) = (show, entry.range) {
                    let whole = format!("#EXT-X-BYTERANGE:{}@{}", range.length, range.offset);
                    out.push_str(&line.raw.replacen(line.text, &whole, 1));
                }
            }
            (What::Tag { .. }, _) => out.push_str(&rewrite(line.raw, |uri| match uri.kind {
                UriKind::Report => page.playlist(uri.text),
                UriKind::Segment
                | UriKind::Variant
                | UriKind::Map
                | UriKind::Part
                | UriKind::Hint
                | UriKind::Alternative
                | UriKind::IFrames
                | UriKind::Key
                | UriKind::SessionData
                | UriKind::Other => page.absolute(uri.text),
            })),
            (What::Uri(_) | What::Nothing, _) => out.push_str(line.raw),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::hosts::Hosts;
    use super::super::place::Place;
    use super::*;
    use shoal_playlist::{Context, Playlist};
    use std::sync::Arc;
    use url::Url;

    fn with_page<T>(see: impl FnOnce(Page<'_>) -> T) -> T {
        let base = Url::parse("http://o.example/").unwrap();
        let hosts = Arc::new(Hosts::new(&base, &[]));
        let (place, asked) = (Place::new(base.clone(), hosts), base.join("t1/i.m3u8").unwrap());
        see(Page { place: &place, asked: &asked, found: &asked, path: "t1/i.m3u8" })
    }

    fn shown(text: &str, shows: &[Show]) -> String {
        match Playlist::parse(text.as_bytes(), Context::default()).unwrap() {
            Playlist::Media(playlist) => with_page(|page| media(text, &playlist, page, shows)),
            Playlist::Master(playlist) => with_page(|page| master(text, &playlist, page)),
        }
    }

    fn named(file: &str) -> Show {
        Show::Named(file.to_owned())
    }

    #[test]
    fn segments_are_named_and_the_rest_is_the_viewers_own() {
        let text = "\u{feff}#EXTM3U\r\n#EXT-X-TARGETDURATION:2\r\n#EXT-X-KEY:METHOD=AES-128,URI=\"k\"\r\n\
                    #EXT-X-MAP:URI=\"/i.mp4\",BYTERANGE=\"9@0\"\r\n#EXTINF:2, a b\r\n a.ts?t=1 \r\n#c\r\n\
                    #EXTINF:2,\r\nb.ts\r\n#EXT-X-ENDLIST\r\n";
        let expected = text
            .replace("URI=\"k\"", "URI=\"http://o.example/t1/k\"")
            .replace("URI=\"/i.mp4\"", "URI=\"http://o.example/i.mp4\"")
            .replace("a.ts?t=1", "0-1-4.ts?u=a.ts%3Ft%3D1")
            .replace("\nb.ts", "\nhttp://o.example/t1/b.ts");
        assert_eq!(shown(text, &[named("0-1-4.ts"), Show::AsIs]), expected);
    }

    #[test]
    fn what_is_held_back_is_cut_off_with_all_that_belongs_to_it() {
        let text = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\na.ts\n#EXT-X-DISCONTINUITY\n\
                    #EXT-X-KEY:METHOD=NONE\n#EXTINF:2,\nb.ts\n#EXT-X-ENDLIST\n";
        let expected = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n0-1-4.ts?u=a.ts\n";
        assert_eq!(shown(text, &[named("0-1-4.ts"), Show::HeldBack]), expected);
    }

    #[test]
    fn a_range_is_an_object_of_its_own() {
        let text = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-BYTERANGE:5@0\n#EXTINF:2,\na.ts\n\
                    #EXT-X-BYTERANGE:7\n#EXTINF:2,\na.ts\n";
        let expected = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n0-1-4.ts?u=a.ts\n\
                        #EXT-X-BYTERANGE:7@5\n#EXTINF:2,\nhttp://o.example/t1/a.ts\n";
        assert_eq!(shown(text, &[named("0-1-4.ts"), Show::AsIs]), expected);
    }

    #[test]
    fn low_latency_tags_lead_to_the_upstream_and_reports_here() {
        let text = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-PART:DURATION=1,URI=\"p.ts\"\n\
                    #EXTINF:2,\na.ts\n#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"q.ts\"\n\
                    #EXT-X-RENDITION-REPORT:URI=\"../t1/o.m3u8\",LAST-MSN=3\n";
        let expected = text
            .replace("\"p.ts\"", "\"http://o.example/t1/p.ts\"")
            .replace("\"q.ts\"", "\"http://o.example/t1/q.ts\"")
            .replace("\na.ts", "\n0-1-4.ts?u=a.ts");
        assert_eq!(shown(text, &[named("0-1-4.ts")]), expected);
    }

    #[test]
    fn a_masters_media_playlists_lead_here_and_subtitles_do_not() {
        let text = "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"a\",URI=\"a/i.m3u8\"\n\
                    #EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"s\",NAME=\"s\",URI=\"s.m3u8\"\n\
                    #EXT-X-STREAM-INF:BANDWIDTH=1\n/v.m3u8?x\n\
                    #EXT-X-STREAM-INF:BANDWIDTH=2\nhttps://else.example/w.m3u8\n";
        let expected = text
            .replace("\"s.m3u8\"", "\"http://o.example/t1/s.m3u8\"")
            .replace("\n/v.m3u8?x", "\n../v.m3u8?x");
        assert_eq!(shown(text, &[]), expected);
    }

    #[test]
    fn a_masters_variables_are_put_in_before_its_uris_change() {
        let text = "#EXTM3U\n#EXT-X-DEFINE:NAME=\"q\",VALUE=\"/a/hi\"\n\
                    #EXT-X-STREAM-INF:BANDWIDTH=1\n{$q}.m3u8\n";
        let expected = text.replace("\n{$q}.m3u8", "\n../a/hi.m3u8");
        assert_eq!(shown(text, &[]), expected);
    }
}
