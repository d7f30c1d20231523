//! Reads media playlists, as far as the demo needs them.
//!
//! Rule: our own reading of RFC 8216, independent of the server that wrote the text. It knows no
//! master playlists, keys or parts.

use super::clock;

/// One segment as a playlist lists it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// Media sequence number.
    pub(crate) msn: u64,
    /// URI as written.
    pub(crate) uri: String,
    /// EXTINF, seconds.
    pub(crate) duration_s: f64,
    /// Program date time as Unix seconds: its own, or reckoned on from an earlier segment's.
    pub(crate) date_s: Option<f64>,
    /// Whether the timestamps start anew here.
    pub(crate) discontinuity: bool,
}

/// The segments of a media playlist, in order.
pub(crate) fn parse(text: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut msn = 0;
    let (mut duration_s, mut date_s, mut discontinuity) = (0.0, None, false);
    for line in text.lines().map(str::trim) {
        if let Some(number) = line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:") {
            msn = number.trim().parse().unwrap_or(0);
        } else if let Some(info) = line.strip_prefix("#EXTINF:") {
            let number = info.split(',').next().unwrap_or_default();
            duration_s = number.trim().parse().unwrap_or(0.0);
        } else if let Some(date) = line.strip_prefix("#EXT-X-PROGRAM-DATE-TIME:") {
            date_s = clock::parse_date_time(date);
        } else if line == "#EXT-X-DISCONTINUITY" {
            discontinuity = true;
        } else if !line.is_empty() && !line.starts_with('#') {
            let reckoned = entries.last().and_then(|last| Some(last.date_s? + last.duration_s));
            let date_s = date_s.take().or(reckoned);
            entries.push(Entry { msn, uri: line.to_owned(), duration_s, date_s, discontinuity });
            msn += 1;
            discontinuity = false;
        }
    }
    entries
}

/// The URL that `uri`, found in the playlist at `base`, points to. Relative and rooted URIs only.
pub(crate) fn resolve(base: &str, uri: &str) -> String {
    if uri.starts_with("http://") {
        return uri.to_owned();
    }
    let base = base.split(['?', '#']).next().unwrap_or(base);
    let host_end = base.find("://").map_or(0, |at| at + 3);
    let path_at = base[host_end..].find('/').map_or(base.len(), |at| host_end + at);
    if uri.starts_with('/') {
        return format!("{}{uri}", &base[..path_at]);
    }
    let folder_end = base[path_at..].rfind('/').map_or(base.len(), |at| path_at + at);
    format!("{}/{uri}", &base[..folder_end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_with_dates_and_discontinuities() {
        let text = "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:7\n#EXT-X-PROGRAM-DATE-TIME:1970-01-01T00:01:40Z\n\
                    #EXTINF:2.0,\n0-1-7.ts\n#EXTINF:1.5,\n0-1-8.ts\n#EXT-X-DISCONTINUITY\n\
                    #EXTINF:2,title\n0-2-9.ts\n";
        let entries = parse(text);
        let read: Vec<_> =
            entries.iter().map(|entry| (entry.msn, entry.date_s, entry.discontinuity)).collect();
        let expected =
            vec![(7, Some(100.0), false), (8, Some(102.0), false), (9, Some(103.5), true)];
        assert_eq!(read, expected);
        assert_eq!(entries[2].uri, "0-2-9.ts");
        assert_eq!(entries[1].duration_s, 1.5);
    }

    #[test]
    fn urls() {
        let base = "http://h:1/live/cam/index.m3u8?x=/y";
        assert_eq!(resolve(base, "0-1-2.ts"), "http://h:1/live/cam/0-1-2.ts");
        assert_eq!(resolve(base, "/a/b.ts"), "http://h:1/a/b.ts");
        assert_eq!(resolve(base, "http://g/c.ts"), "http://g/c.ts");
    }
}
