//! Playlists as origins write them, and what they become when digests follow.

use super::*;
use shoal_wire::{Epoch, RenditionId};

const HEADER: &str = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n";

fn playlist(first: u64, discontinuities: u64, segments: &[&str], tail: &str) -> String {
    let segments = segments.concat();
    format!(
        "{HEADER}#EXT-X-MEDIA-SEQUENCE:{first}\n\
         #EXT-X-DISCONTINUITY-SEQUENCE:{discontinuities}\n{segments}{tail}"
    )
}

fn digest(msn: u64, lines: &str) -> Digest {
    Digest {
        stream: "a".parse().unwrap(),
        object: ObjectId::segment(RenditionId(0), Epoch(1), msn),
        ordinal: msn,
        byte_len: u32::from(!lines.is_empty()),
        chunk_size: 16_384,
        substreams: 1,
        duration: Duration::from_secs(2),
        published_unix_ms: 0,
        discontinuity_sequence: 0,
        end_of_stream: lines.is_empty(),
        playlist_lines: lines.into(),
        hashes: Vec::new(),
    }
}

/// A window of the origin, then digests from `from` on with these lines; what is shown then.
fn check(origin: &str, from: u64, lines: &[&str], expected: &str) {
    let mut window = Window::parse(origin).unwrap();
    assert_eq!(window.render(), origin, "a playlist is shown as it came");
    for (msn, lines) in (from..).zip(lines) {
        assert_eq!(window.append(&digest(msn, lines)), Append::Shown, "{msn}");
    }
    assert_eq!(window.render(), expected);
}

const A: &str = "#EXTINF:2.000,\na.ts\n";
const B: &str = "#EXTINF:2.000,\nb.ts\n";
const C: &str = "#EXTINF:2.000,\n#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:00Z\nc.ts\n";
const D: &str = "#EXT-X-DISCONTINUITY\n#EXTINF:2.000,\nd.ts\n";

#[test]
fn the_window_slides() {
    let six = [A, B, A, B, A, B];
    check(&playlist(5, 0, &six, ""), 11, &[C, A], &playlist(7, 0, &[A, B, A, B, C, A], ""));
}

#[test]
fn it_grows_while_nothing_was_dropped() {
    check(&playlist(0, 0, &[A], ""), 1, &[B, C], &playlist(0, 0, &[A, B, C], ""));
    let many = vec![A; 12];
    check(&playlist(0, 0, &[A], ""), 1, &many, &playlist(3, 0, &[A; 10], ""));
}

#[test]
fn a_small_window_may_double() {
    let after = playlist(5, 0, &[A, B, C, A], "");
    check(&playlist(4, 0, &[A, A], ""), 6, &[B, C, A], &after);
}

#[test]
fn discontinuities_are_counted_when_they_leave() {
    let six = [A, D, A, B, A, B];
    check(&playlist(5, 3, &six, ""), 11, &[C], &playlist(6, 3, &[D, A, B, A, B, C], ""));
    check(&playlist(5, 3, &six, ""), 11, &[C, D], &playlist(7, 4, &[A, B, A, B, C, D], ""));
}

#[test]
fn keys_and_maps_stay_in_force() {
    let key = "#EXT-X-KEY:METHOD=AES-128,URI=\"k\"\n";
    let map = "#EXT-X-MAP:URI=\"i.mp4\"\n";
    let none = "#EXT-X-KEY:METHOD=NONE\n";
    let first = format!("{key}{map}{A}");
    let discontinuous = format!("#EXT-X-DISCONTINUITY\n{key}{map}#EXTINF:2.000,\nd.ts\n");
    let origin = playlist(1, 0, &[&first, D, A, B, A, B], "");
    // A digest repeats what is in force; the playlist does not.
    let repeated = format!("{key}{map}{C}");
    check(&origin, 7, &[&repeated], &playlist(2, 0, &[&discontinuous, A, B, A, B, C], ""));
    let clear = format!("{key}{map}{none}{C}");
    let shown = format!("{none}{C}");
    check(
        &origin,
        7,
        &[&repeated, &clear],
        &playlist(3, 1, &[&format!("{key}{map}{A}"), B, A, B, C, &shown], ""),
    );
}

#[test]
fn a_clear_map_stays_clear() {
    let key = "#EXT-X-KEY:METHOD=AES-128,URI=\"k\"\n";
    let map = "#EXT-X-MAP:URI=\"i.mp4\"\n";
    let first = format!("{map}{key}{A}");
    let origin = playlist(1, 0, &[&first, B, A, B, A, B], "");
    let repeated = format!("{map}{key}{C}");
    let second = format!("{map}{key}{B}");
    check(&origin, 7, &[&repeated], &playlist(2, 0, &[&second, A, B, A, B, C], ""));
    let other = "#EXT-X-KEY:METHOD=AES-128,URI=\"l\"\n";
    let (keyed, turned) = (format!("{map}{other}{C}"), format!("{other}{C}"));
    check(&origin, 7, &[&keyed], &playlist(2, 0, &[&second, A, B, A, B, &turned], ""));
    // Another init section, in the clear too, and then one under the key.
    let next = format!("#EXT-X-MAP:URI=\"j.mp4\"\n{key}{D}");
    let said = format!("#EXT-X-KEY:METHOD=NONE\n#EXT-X-MAP:URI=\"j.mp4\"\n{key}{D}");
    let under = format!("{key}#EXT-X-MAP:URI=\"l.mp4\"\n{A}");
    let shown = format!("#EXT-X-MAP:URI=\"l.mp4\"\n{A}");
    let third = format!("{map}{key}{A}");
    check(&origin, 7, &[&next, &under], &playlist(3, 0, &[&third, B, A, B, &said, &shown], ""));
}

#[test]
fn the_end_is_shown() {
    let origin = playlist(1, 0, &[A, B, C], "");
    check(&origin, 4, &[""], &playlist(1, 0, &[A, B, C], "#EXT-X-ENDLIST\n"));
    let ended = Window::parse(&playlist(1, 0, &[A], "#EXT-X-ENDLIST\n")).unwrap();
    assert!(!ended.follows_digests());
}

#[test]
fn what_digests_cannot_tell_is_left_to_the_origin() {
    let mut window = Window::parse(&playlist(1, 0, &[A, B], "")).unwrap();
    assert_eq!(window.next_msn(), 3);
    assert_eq!(window.append(&digest(2, A)), Append::Known);
    assert_eq!(window.append(&digest(4, A)), Append::AskOrigin);
    let long = Digest { duration: Duration::from_millis(2_500), ..digest(3, A) };
    assert_eq!(window.append(&long), Append::AskOrigin);
    let fits = Digest { duration: Duration::from_millis(2_499), ..digest(3, A) };
    assert_eq!(window.append(&fits), Append::Shown);
    for unfollowed in [
        "#EXT-X-PART-INF:PART-TARGET=0.5\n",
        "#EXT-X-PLAYLIST-TYPE:VOD\n",
        "#EXT-X-I-FRAMES-ONLY\n",
    ] {
        let text = playlist(1, 0, &[A], "").replace(HEADER, &format!("{HEADER}{unfollowed}"));
        assert!(!Window::parse(&text).unwrap().follows_digests(), "{unfollowed}");
    }
    let ranges = playlist(1, 0, &["#EXTINF:2,\n#EXT-X-BYTERANGE:9@0\na.mp4\n"], "");
    assert!(!Window::parse(&ranges).unwrap().follows_digests());
}

#[test]
fn other_texts_are_no_media_playlists() {
    for text in ["", "<html>", "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8\n"] {
        assert!(Window::parse(text).is_none(), "{text}");
    }
}

#[test]
fn line_ends_may_be_windows_own() {
    let text = playlist(1, 0, &[A, D], "").replace('\n', "\r\n");
    let mut window = Window::parse(&text).unwrap();
    assert_eq!((window.next_msn(), window.duration(2)), (3, Some(Duration::from_secs(2))));
    assert_eq!((window.duration(0), window.duration(3)), (None, None));
    assert!(window.append(&digest(3, C)) == Append::Shown && window.render().ends_with("c.ts\n"));
    assert_eq!(window.last_duration(), Duration::from_secs(2));
    assert_eq!(window.target(), Duration::from_secs(2));
}

#[test]
fn it_slides_as_the_origin_says() {
    let of = |first, segments: &[&str]| {
        playlist(first, 0, segments, "")
            .replace(HEADER, &format!("{HEADER}#EXT-X-SHOAL-WINDOW:8\n"))
    };
    check(&of(0, &[A]), 1, &[B, A, B], &of(0, &[A, B, A, B]));
    check(&of(0, &[A]), 1, &[B, A, B, C, D], &of(2, &[A, B, C, D]));
    check(&of(3, &[A; 6]), 9, &[B], &of(4, &[A, A, A, A, A, B]));
    let unlimited = of(0, &[A]).replace("#EXT-X-SHOAL-WINDOW:8", "#EXT-X-SHOAL-WINDOW:1000");
    let many = vec![A; 30];
    let shown = of(0, &[A; 31]).replace("#EXT-X-SHOAL-WINDOW:8", "#EXT-X-SHOAL-WINDOW:1000");
    check(&unlimited, 1, &many, &shown);
}
