//! Playlists by hand, and what they say.

use super::*;

fn parse(text: &str) -> Result<Playlist, PlaylistError> {
    Playlist::parse(text.as_bytes(), Context::default())
}

fn media(text: &str) -> MediaPlaylist {
    match parse(text).unwrap() {
        Playlist::Media(media) => media,
        Playlist::Master(_) => panic!("a master playlist"),
    }
}

fn master(text: &str) -> MasterPlaylist {
    match parse(text).unwrap() {
        Playlist::Master(master) => master,
        Playlist::Media(_) => panic!("a media playlist"),
    }
}

const fn range(offset: u64, length: u64) -> Option<ByteRange> {
    Some(ByteRange { offset, length })
}

#[test]
fn what_is_in_force_is_with_each_segment() {
    let playlist = media(
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION: 4 \n#EXT-X-MEDIA-SEQUENCE:9\n\
         #EXT-X-DISCONTINUITY-SEQUENCE:3\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-PLAYLIST-TYPE:EVENT\n\
         #EXT-X-MAP:URI=\"i.mp4\",BYTERANGE=\"100@0\"\n\
         #EXT-X-KEY:METHOD=AES-128,URI=\"a\"\n#EXT-X-KEY:METHOD=AES-128,URI=\"b\",KEYFORMAT=\"x\"\n\
         #EXT-X-BITRATE:800\n# a comment\n#EXTINF:4.0,\n#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:00Z\n\
         a.m4s\n#EXT-X-DISCONTINUITY\n#EXT-X-CUE-OUT:30 \n#EXTINF:1.5,title\r\nb.m4s?t=1\n\
         #EXT-X-KEY:METHOD=NONE\n#EXTINF:1\n#EXT-X-GAP\nc\n#EXT-X-ENDLIST\n",
    );
    assert_eq!((playlist.version, playlist.target_s, playlist.media_sequence), (7, 4, 9));
    assert_eq!(playlist.discontinuity_sequence, 3);
    assert_eq!(playlist.playlist_type, Some(PlaylistType::Event));
    assert!(playlist.ended && playlist.independent && !playlist.i_frames_only);
    let [a, b, c] = playlist.entries.as_slice() else { panic!("three segments") };
    assert_eq!((a.uri.as_str(), a.line, a.duration), ("a.m4s", 15, Duration::from_secs(4)));
    assert_eq!(
        a.tags,
        [
            "#EXT-X-BITRATE:800",
            "# a comment",
            "#EXTINF:4.0,",
            "#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:00Z"
        ]
    );
    assert_eq!(a.date_time.as_deref(), Some("2026-01-01T00:00:00Z"));
    assert_eq!((b.uri.as_str(), b.duration), ("b.m4s?t=1", Duration::from_millis(1500)));
    assert_eq!(b.tags, ["#EXT-X-CUE-OUT:30", "#EXTINF:1.5,title"]);
    assert_eq!((a.discontinuities, b.discontinuities, c.discontinuities), (0, 1, 0));
    assert_eq!((a.bitrate, b.bitrate, b.date_time.as_ref()), (Some(800), Some(800), None));
    assert_eq!((a.keys.len(), b.keys.len(), c.keys.len()), (2, 2, 1));
    assert_eq!((a.keys[0].method.as_str(), a.keys[0].uri.as_deref()), ("AES-128", Some("a")));
    assert_eq!((c.keys[0].method.as_str(), c.keys[0].uri.as_deref()), ("NONE", None));
    let map = c.map.as_ref().unwrap();
    assert_eq!((map.uri.as_str(), map.range), ("i.mp4", range(0, 100)));
    assert!(c.gap && !a.gap);
}

#[test]
fn a_map_is_under_the_keys_before_it() {
    let playlist = media(
        "#EXTM3U\n#EXT-X-MAP:URI=\"clear\"\n#EXT-X-KEY:METHOD=AES-128,URI=\"a\"\n#EXTINF:1\nx\n\
         #EXT-X-MAP:URI=\"a\"\n#EXT-X-KEY:METHOD=AES-128,URI=\"b\"\n#EXTINF:1\ny\n\
         #EXT-X-KEY:METHOD=AES-128,URI=\"c\"\n#EXT-X-MAP:URI=\"c\"\n\
         #EXT-X-KEY:METHOD=AES-128,URI=\"d\"\n#EXTINF:1\nz\n",
    );
    let uris = |keys: &[Key]| keys.iter().filter_map(|key| key.uri.clone()).collect::<String>();
    let found: Vec<_> = playlist
        .entries
        .iter()
        .map(|entry| (uris(&entry.map.as_ref().unwrap().keys), uris(&entry.keys)))
        .collect();
    let expected = [("", "a"), ("a", "b"), ("c", "d")];
    assert_eq!(found, expected.map(|(map, keys)| (map.to_owned(), keys.to_owned())));
}

#[test]
fn ranges_go_on_where_the_last_one_of_their_file_ended() {
    let playlist = media(
        "#EXTM3U\n#EXTINF:1,\n#EXT-X-BYTERANGE:10@5\na\n#EXTINF:1,\n#EXT-X-BYTERANGE:20\na\n\
         #EXT-X-BYTERANGE:30\n#EXTINF:1,\nb\n#EXTINF:1,\n#EXT-X-BYTERANGE:40\na\n#EXTINF:1,\nc\n",
    );
    let ranges: Vec<_> = playlist.entries.iter().map(|entry| entry.range).collect();
    assert_eq!(ranges, [range(5, 10), range(15, 20), range(0, 30), range(35, 40), None]);
}

#[test]
fn low_latency_tags() {
    let playlist = media(
        "#EXTM3U\n#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.0,CAN-SKIP-UNTIL=12\n\
         #EXT-X-PART-INF:PART-TARGET=0.33334\n#EXT-X-SKIP:SKIPPED-SEGMENTS=3\n\
         #EXT-X-PART:DURATION=0.3,URI=\"p\",INDEPENDENT=YES,BYTERANGE=\"10@0\"\n\
         #EXT-X-PART:DURATION=0.3,URI=\"p\",BYTERANGE=\"20\",GAP=YES\n#EXTINF:1,\ns\n\
         #EXT-X-PART:DURATION=0.3,URI=\"q\"\n\
         #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"r\",BYTERANGE-START=7\n\
         #EXT-X-RENDITION-REPORT:URI=\"../x\",LAST-MSN=5,LAST-PART=2\n",
    );
    let control = playlist.server_control.unwrap();
    assert!(control.can_block_reload && !control.can_skip_dateranges);
    assert_eq!(control.part_hold_back, Some(Duration::from_secs(1)));
    assert_eq!(playlist.part_target, Some(Duration::from_micros(333_340)));
    assert_eq!(playlist.skipped, 3);
    let parts = &playlist.entries[0].parts;
    assert_eq!((parts[0].range, parts[1].range), (range(0, 10), range(10, 20)));
    assert!(parts[0].independent && !parts[1].independent && parts[1].gap && !parts[0].gap);
    assert_eq!((playlist.parts.len(), playlist.parts[0].uri.as_str()), (1, "q"));
    let hint = &playlist.hints[0];
    assert_eq!((hint.is_map, hint.uri.as_str(), hint.offset, hint.length), (false, "r", 7, None));
    let report = &playlist.reports[0];
    assert_eq!((report.uri.as_str(), report.last_msn, report.last_part), ("../x", 5, Some(2)));
}

#[test]
fn a_master_playlist_has_variants_and_alternatives() {
    let playlist = master(
        "\n#EXTM3U\n#EXT-X-VERSION:x\nstray.m3u8\n#EXT-X-DEFINE:NAME=\"d\",VALUE=\"x/y\"\n\
         #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"English, US\",URI=\"{$d}/a.m3u8\"\n\
         #EXT-X-MEDIA:TYPE=CLOSED-CAPTIONS,GROUP-ID=\"c\",NAME=\"c\",INSTREAM-ID=\"CC1\"\n\
         #EXT-X-STREAM-INF:BANDWIDTH=1280000,CODECS=\"a,b\",AUDIO=\"a\"\n\n{$d}/v.m3u8\n\
         #EXT-X-STREAM-INF:AUDIO=\"a\"\nw.m3u8\n\
         #EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1,URI=\"i.m3u8\"\n",
    );
    let named: Vec<_> = playlist.media_playlists().collect();
    assert_eq!(named, ["x/y/v.m3u8", "w.m3u8", "i.m3u8", "x/y/a.m3u8"]);
    let variant = &playlist.variants[0].attributes;
    assert_eq!(
        (variant.number("BANDWIDTH"), variant.text("CODECS")),
        (Some(1_280_000), Some("a,b"))
    );
    assert_eq!(playlist.alternatives[0].attributes.text("NAME"), Some("English, US"));
    assert_eq!(playlist.alternatives[1].uri, None);
    assert_eq!(playlist.variables.value("d"), Some("x/y"));
}

#[test]
fn variables_come_from_the_master_playlist_and_the_query() {
    let mut imports = Variables::default();
    imports.define("base", "b");
    let context = Context { imports: Some(&imports), query: Some("z=1&t=tok") };
    let text = "#EXTM3U\n#EXT-X-DEFINE:IMPORT=\"base\"\n#EXT-X-DEFINE:QUERYPARAM=\"t\"\n\
                #EXT-X-KEY:METHOD=AES-128,URI=\"{$base}/k\"\n#EXTINF:1,{$no}\n{$base}/a.ts?{$t}\n";
    let Playlist::Media(playlist) = Playlist::parse(text.as_bytes(), context).unwrap() else {
        panic!("a media playlist")
    };
    let entry = &playlist.entries[0];
    assert_eq!(entry.uri, "b/a.ts?tok");
    assert_eq!(entry.keys[0].tag, "#EXT-X-KEY:METHOD=AES-128,URI=\"b/k\"");
    assert_eq!(entry.tags, ["#EXTINF:1,{$no}"]);
    let missing = |line, name: &str| Err(PlaylistError::Variable { line, name: name.into() });
    assert_eq!(parse(text), missing(2, "base"));
    let unknown = Context { imports: Some(&imports), query: None };
    let Ok(Playlist::Media(playlist)) = Playlist::parse(text.as_bytes(), unknown) else {
        panic!("a media playlist")
    };
    assert_eq!(playlist.entries[0].uri, "b/a.ts?{$t}");
    assert_eq!(playlist.query_params, ["#EXT-X-DEFINE:QUERYPARAM=\"t\""]);
    let lacking = Context { imports: Some(&imports), query: Some("z=1") };
    assert_eq!(Playlist::parse(text.as_bytes(), lacking), missing(3, "t"));
    assert_eq!(parse("#EXTM3U\n#EXTINF:1,\n{$x}"), missing(3, "x"));
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    let value = |line, tag| PlaylistError::Value { line, tag };
    for (text, error) in [
        ("", PlaylistError::NoHeader),
        ("#EXTM3U8\n", PlaylistError::NoHeader),
        ("#EXTM3U\n\n#EXT-X-MEDIA-SEQUENCE:x", value(3, "-X-MEDIA-SEQUENCE")),
        ("#EXTM3U\n#EXTINF:-1,\na.ts", value(2, "INF")),
        ("#EXTM3U\n#EXTINF:nan,\na.ts", value(2, "INF")),
        ("#EXTM3U\na.ts", PlaylistError::NoDuration(2)),
        ("#EXTM3U\n#EXT-X-BYTERANGE:x", value(2, "-X-BYTERANGE")),
        ("#EXTM3U\n#EXT-X-MAP:X=1", value(2, "-X-MAP")),
        ("#EXTM3U\n#EXT-X-MAP:URI=\"a\",BYTERANGE=\"x\"", value(2, "-X-MAP")),
        (
            "#EXTM3U\n#EXTINF:1,\n#EXT-X-BYTERANGE:18446744073709551615@1\na",
            PlaylistError::Range(4),
        ),
    ] {
        assert_eq!(parse(text), Err(error), "{text}");
    }
    assert_eq!(Playlist::parse(b"\xff", Context::default()), Err(PlaylistError::Text));
}
