//! What a player reads from a media playlist.

/// A segment that a playlist shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Media sequence number.
    pub(crate) number: u64,
    pub(crate) uri: String,
}

/// The segments of a media playlist, the oldest first.
pub(crate) fn segments(text: &str) -> Vec<Segment> {
    let first = text.lines().find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:"));
    let first = first.and_then(|first| first.trim().parse::<u64>().ok()).unwrap_or(0);
    let uris =
        text.lines().map(str::trim).filter(|line| !line.starts_with('#') && !line.is_empty());
    (first..).zip(uris).map(|(number, uri)| Segment { number, uri: uri.to_owned() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_playlist_is_read() {
        let text = "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:7\n#EXTINF:2,\na.ts\n\n#EXTINF:2,\nb.ts?c=1\n";
        let read: Vec<_> = segments(text).into_iter().map(|it| (it.number, it.uri)).collect();
        assert_eq!(read, [(7, "a.ts".to_owned()), (8, "b.ts?c=1".to_owned())]);
        assert!(segments("").is_empty());
    }
}
