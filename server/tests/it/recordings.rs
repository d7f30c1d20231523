//! What stays: live streams that viewers may go back in, and recordings of the operator's.

use crate::harness::{Fixture, playlist, until, uris};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

async fn push_alone(fixture: &Fixture, seq: u64, bytes: &[u8]) {
    assert_eq!(fixture.push(&format!("index{seq}.ts"), bytes.to_vec()).await, 201);
    assert_eq!(fixture.push("index.m3u8", playlist(seq..=seq)).await, 201);
}

#[tokio::test]
async fn viewers_may_go_back_as_far_as_the_window() {
    let more = "origin.keep_segments = 4\norigin.dvr_window = '20s'";
    let fixture = Fixture::with(more).await;
    for seq in 0..50_u8 {
        push_alone(&fixture, seq.into(), &[seq; 100]).await;
    }
    let shown = fixture.playlist().await;
    assert_eq!(uris(&shown).len(), 10, "twenty seconds: {shown}");
    assert!(shown.contains("#EXT-X-SHOAL-WINDOW:20\n"), "{shown}");
    assert!(shown.contains("#EXT-X-MEDIA-SEQUENCE:40\n"), "{shown}");
    // A minute longer than it is shown.
    for (name, status) in [("0-1-9.ts", 404), ("0-1-10.ts", 200), ("0-1-10.ts.digest", 200)] {
        assert_eq!(fixture.get(&format!("/live/cam/{name}")).await.status(), status, "{name}");
    }
    let fixture = fixture.restarted_with(more).await;
    assert_eq!(fixture.playlist().await, shown);
    assert_eq!(fixture.get("/live/cam/0-1-12.ts").await.bytes().await.unwrap(), [12_u8; 100][..]);
    assert_eq!(fixture.get("/live/cam/0-1-12.ts.digest").await.status(), 200);
    assert_eq!(fixture.get("/live/cam/0-1-9.ts.digest").await.status(), 404);
    push_alone(&fixture, 50, b"fifty").await;
    let text = fixture.playlist().await;
    assert_eq!((uris(&text).len(), uris(&text).last()), (10, Some(&"0-1-50.ts")));
}

#[tokio::test]
async fn an_event_stays_as_a_recording() {
    let fixture = Fixture::with("origin.dvr_window = 'unlimited'").await;
    for seq in 0..8_u8 {
        push_alone(&fixture, seq.into(), &[seq]).await;
    }
    let shown = fixture.playlist().await;
    assert!(shown.contains("#EXT-X-PLAYLIST-TYPE:EVENT\n"), "{shown}");
    assert_eq!(uris(&shown).len(), 8);
    assert_eq!(fixture.status().await["streams"][0]["renditions"][0]["ended"], false);
    let end = format!("{}#EXT-X-ENDLIST\n", playlist(7..=7));
    assert_eq!(fixture.push("index.m3u8", end).await, 201);
    let shown = fixture.playlist().await;
    assert!(shown.contains("#EXT-X-PLAYLIST-TYPE:VOD\n"), "{shown}");
    assert!(shown.ends_with("0-1-7.ts\n#EXT-X-ENDLIST\n"), "{shown}");
    let fixture = fixture.restarted_with("origin.dvr_window = 'unlimited'").await;
    assert_eq!(fixture.playlist().await, shown);
    assert_eq!(fixture.status().await["streams"][0]["renditions"][0]["ended"], true);
    assert_eq!(fixture.get("/live/cam/0-1-0.ts").await.bytes().await.unwrap(), [0_u8][..]);
}

#[tokio::test]
async fn the_oldest_goes_when_the_disk_is_full() {
    let more = "origin.dvr_window = 'unlimited'\norigin.dvr_bytes_max = 1000";
    let fixture = Fixture::with(more).await;
    for seq in 0..5_u8 {
        push_alone(&fixture, seq.into(), &[seq; 300]).await;
    }
    let shown = fixture.playlist().await;
    assert_eq!(uris(&shown), ["0-1-2.ts", "0-1-3.ts", "0-1-4.ts"]);
    assert!(!shown.contains("EVENT"), "it is none any more: {shown}");
    assert_eq!(fixture.get("/live/cam/0-1-1.ts").await.status(), 404);
    let objects = fixture.directory.path().join("data/streams/cam/objects");
    let media = std::fs::read_dir(objects)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|end| end == "ts"));
    assert_eq!(media.count(), 3);
}

fn write_all(folder: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

fn stamps(folder: &Path) -> BTreeMap<std::path::PathBuf, SystemTime> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.map(|it| (it.path(), it.metadata().unwrap().modified().unwrap())).collect()
}

const FILM: &[(&str, &str)] = &[
    (
        "film/master.m3u8",
        "#EXTM3U\n#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"s\",NAME=\"fr\",URI=\"s/fr.m3u8\"\n\
         #EXT-X-STREAM-INF:BANDWIDTH=1,SUBTITLES=\"s\"\nv/hd.m3u8\n",
    ),
    (
        "film/v/hd.m3u8",
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:7\n\
         #EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-MAP:URI=\"all.mp4\",BYTERANGE=\"4@0\"\n\
         #EXT-X-KEY:METHOD=AES-128,URI=\"../k.key\"\n\
         #EXTINF:4,\n#EXT-X-BYTERANGE:3@4\nall.mp4\n#EXTINF:4,\n#EXT-X-BYTERANGE:5\nall.mp4\n\
         #EXT-X-DISCONTINUITY\n#EXT-X-KEY:METHOD=NONE\n#EXTINF:2,\nlast.m4s\n#EXT-X-ENDLIST\n",
    ),
    ("film/v/all.mp4", "moovaaabbbbb"),
    ("film/v/last.m4s", "last"),
    ("film/k.key", "0123456789abcdef"),
    ("film/s/fr.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfr.vtt\n#EXT-X-ENDLIST\n"),
    ("film/s/fr.vtt", "WEBVTT"),
];

#[tokio::test]
async fn a_folder_is_a_recording() {
    let directory = tempfile::tempdir().unwrap();
    let vod = directory.path().join("vod");
    write_all(&vod, FILM);
    let before = (stamps(&vod.join("film")), stamps(&vod.join("film/v")));
    let more = format!("origin.vod_dir = '{}'", vod.display());
    let fixture = Fixture::in_directory(directory, &more).await;
    let get = |path: &'static str| fixture.get(path);
    until(|| async { (get("/vod/film/v/hd.m3u8").await.status() == 200).then_some(()) }).await;
    let shown = fixture.text("/vod/film/v/hd.m3u8").await;
    let key = "#EXT-X-KEY:METHOD=AES-128,URI=\"../k.key\",IV=0x0000000000000000000000000000000";
    let expected = format!(
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:0\n\
         #EXT-X-DISCONTINUITY-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:VOD\n\
         #EXT-X-MAP:URI=\"1-1-init0.mp4\"\n{key}7\n#EXTINF:4,\n1-1-0.mp4\n{key}8\n#EXTINF:4,\n1-1-1.mp4\n\
         #EXT-X-DISCONTINUITY\n#EXT-X-KEY:METHOD=NONE\n#EXTINF:2,\n1-1-2.m4s\n#EXT-X-ENDLIST\n"
    );
    assert_eq!(shown, expected);
    assert_eq!(fixture.text("/vod/film/master.m3u8").await, FILM[0].1);
    for (path, body) in [
        ("v/1-1-init0.mp4", "moov"),
        ("v/1-1-0.mp4", "aaa"),
        ("v/1-1-1.mp4", "bbbbb"),
        ("v/1-1-2.m4s", "last"),
        ("k.key", "0123456789abcdef"),
        ("s/0-1-0.vtt", "WEBVTT"),
    ] {
        assert_eq!(fixture.text(&format!("/vod/film/{path}")).await, body, "{path}");
    }
    let part = fixture.request(reqwest::Method::GET, "/vod/film/v/1-1-1.mp4");
    let part = fixture.send(part.header("range", "bytes=1-2")).await;
    assert_eq!(
        (part.status().as_u16(), part.headers()["content-range"].to_str().unwrap()),
        (206, "bytes 1-2/5")
    );
    let digest = fixture.get("/vod/film/v/1-1-1.mp4.digest").await.bytes().await.unwrap();
    let secret = std::fs::read(fixture.directory.path().join("data/signing.key")).unwrap();
    let key = shoal_wire::OriginSigner::from_secret(&secret.try_into().unwrap()).key();
    let digest = shoal_wire::SignedDigest::decode(digest, &[key]).unwrap();
    assert_eq!((digest.byte_len, digest.chunk_matches(0, b"bbbbb")), (5, true));
    assert_eq!(fixture.get("/vod/film/s/0-1-0.vtt.digest").await.status(), 404);
    assert_eq!(fixture.push("../film/x.ts", "x").await, 403, "not with any key");
    assert_eq!((stamps(&vod.join("film")), stamps(&vod.join("film/v"))), before, "untouched");

    // Digests are made once …
    let objects = fixture.directory.path().join("data/streams/film/objects");
    let made = stamps(&objects);
    assert_eq!(made.len(), 5, "three segments and two ends: {made:?}");
    let fixture = fixture.restarted_with(&more).await;
    until(|| async { (fixture.get("/vod/film/v/hd.m3u8").await.status() == 200).then_some(()) })
        .await;
    assert_eq!(fixture.text("/vod/film/v/hd.m3u8").await, expected);
    assert_eq!(stamps(&objects), made);
    // … and anew when something is another file now.
    write_all(&vod, &[("film/v/last.m4s", "other")]);
    let fixture = fixture.restarted_with(&more).await;
    let shown = until(|| async {
        Some(fixture.text("/vod/film/v/hd.m3u8").await).filter(|text| text.contains("#EXTINF"))
    })
    .await;
    assert!(shown.contains("1-2-2.m4s\n"), "{shown}");
    assert_eq!(fixture.text("/vod/film/v/1-2-2.m4s").await, "other");
}

#[tokio::test]
async fn nothing_outside_of_a_recordings_folder_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let vod = directory.path().join("vod");
    let list = |name: &str| format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{name}\n");
    write_all(
        &vod,
        &[
            ("secret.ts", "secret"),
            ("above/index.m3u8", &list("../secret.ts")),
            ("above/a.ts", "a"),
            ("linked/index.m3u8", &list("link.ts")),
            ("short/index.m3u8", "#EXTM3U\n#EXTINF:2,\n#EXT-X-BYTERANGE:9@0\na.ts\n"),
            ("short/a.ts", "a"),
            ("cam/index.m3u8", &list("a.ts")),
            ("cam/a.ts", "a"),
            ("z/index.m3u8", &list("a.ts")),
            ("z/a.ts", "fine"),
        ],
    );
    std::os::unix::fs::symlink(vod.join("secret.ts"), vod.join("linked/link.ts")).unwrap();
    let more = format!("origin.vod_dir = '{}'", vod.display());
    let fixture = Fixture::in_directory(directory, &more).await;
    // They are read in the order of their names.
    until(|| async { (fixture.get("/vod/z/index.m3u8").await.status() == 200).then_some(()) })
        .await;
    assert_eq!(fixture.text("/vod/z/0-1-0.ts").await, "fine");
    for path in ["above/index.m3u8", "above/secret.ts", "linked/index.m3u8", "short/index.m3u8"] {
        assert_eq!(fixture.get(&format!("/vod/{path}")).await.status(), 404, "{path}");
    }
    assert_eq!(fixture.get("/live/cam/index.m3u8").await.status(), 404, "the name is taken");
}
