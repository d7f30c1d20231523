//! What encoders push beside plain segments: ranges, keys, gaps, variables, subtitles, gzip, and a
//! second encoder.

use crate::harness::{Fixture, playlist, until, uris};
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::Method;
use std::io::Write;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

async fn push_all(fixture: &Fixture, bodies: &[(&str, &str)]) {
    for (name, body) in bodies {
        let status = fixture.push(name, (*body).to_owned()).await;
        assert_eq!(status, 201, "{name}");
    }
}

#[tokio::test]
async fn byte_ranges_become_files_of_their_own() {
    let fixture = Fixture::new().await;
    let text = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:2\n\
        #EXT-X-MAP:URI=\"all.mp4\",BYTERANGE=\"4@0\"\n#EXTINF:2,\n#EXT-X-BYTERANGE:3@4\nall.mp4\n\
        #EXTINF:2,\n#EXT-X-BYTERANGE:5\nall.mp4\n#EXTINF:2,\n#EXT-X-BYTERANGE:6\nall.mp4\n";
    push_all(&fixture, &[("all.mp4", "moovaaabbbbb"), ("index.m3u8", text)]).await;
    let shown = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:0\n\
        #EXT-X-DISCONTINUITY-SEQUENCE:0\n#EXT-X-MAP:URI=\"0-1-init0.mp4\"\n#EXTINF:2,\n0-1-0.mp4\n\
        #EXTINF:2,\n0-1-1.mp4\n";
    assert_eq!(fixture.playlist().await, shown, "the third range is not there yet");
    assert_eq!(fixture.text("/live/cam/0-1-init0.mp4").await, "moov");
    assert_eq!(fixture.text("/live/cam/0-1-0.mp4").await, "aaa");
    assert_eq!(fixture.text("/live/cam/0-1-1.mp4").await, "bbbbb");
    // The file grows, as one that is written while it is live.
    push_all(&fixture, &[("all.mp4", "moovaaabbbbbcccccc")]).await;
    assert_eq!(uris(&fixture.playlist().await).len(), 3);
    assert_eq!(fixture.text("/live/cam/0-1-2.mp4").await, "cccccc");
    assert_eq!(fixture.get("/live/cam/0-1-2.mp4.digest").await.status(), 200);
}

#[tokio::test]
async fn keys_are_kept_and_no_objects() {
    let fixture = Fixture::new().await;
    let line = "#EXT-X-KEY:METHOD=AES-128,URI=\"secret.key\",IV=0x1";
    let text = format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n{line}\n#EXTINF:2,\na.ts\n");
    let key: Vec<u8> = (0..16).collect();
    assert_eq!(fixture.push("v/secret.key", key.clone()).await, 201);
    push_all(&fixture, &[("v/a.ts", "cipher"), ("v/index.m3u8", &text)]).await;
    assert_eq!(fixture.push("v/other.key", vec![0; 1025]).await, 413);
    let fixture = fixture.restarted().await;
    assert!(fixture.text("/live/cam/v/index.m3u8").await.contains(&format!("{line}\n#EXTINF")));
    let served = fixture.get("/live/cam/v/secret.key").await;
    assert_eq!(served.headers()["cache-control"], "no-cache");
    assert_eq!(served.bytes().await.unwrap(), key);
    assert_eq!(fixture.get("/live/cam/v/secret.key.digest").await.status(), 404);
    assert_eq!(fixture.get("/live/cam/secret.key").await.status(), 404, "elsewhere");
    assert_eq!(fixture.get("/live/cam/v/0-1-0.ts.digest").await.status(), 200);
}

#[tokio::test]
async fn a_gap_is_shown_and_never_there() {
    let fixture = Fixture::new().await;
    let text = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nindex0.ts\n#EXT-X-GAP\n#EXTINF:2,\n\
        index1.ts\n#EXTINF:2,\nindex2.ts\n";
    push_all(&fixture, &[("index0.ts", "zero"), ("index2.ts", "two"), ("index.m3u8", text)]).await;
    let shown = fixture.playlist().await;
    let segments = "#EXTINF:2,\n0-1-0.ts\n#EXTINF:2,\n#EXT-X-GAP\n0-1-1.ts\n#EXTINF:2,\n0-1-2.ts\n";
    assert!(shown.ends_with(segments), "{shown}");
    assert_eq!(fixture.get("/live/cam/0-1-1.ts").await.status(), 404);
    assert_eq!(fixture.get("/live/cam/0-1-1.ts.digest").await.status(), 404);
    assert_eq!(fixture.text("/live/cam/0-1-2.ts").await, "two");
    let fixture = fixture.restarted().await;
    assert_eq!(fixture.playlist().await, shown);
}

#[tokio::test]
async fn variables_and_absolute_uris() {
    let fixture = Fixture::new().await;
    let base = fixture.url("/publish/key1/cam");
    let master = format!(
        "#EXTM3U\n#EXT-X-DEFINE:NAME=\"dir\",VALUE=\"v\"\n#EXT-X-STREAM-INF:BANDWIDTH=1\n\
         {base}/v/index.m3u8\n#EXT-X-STREAM-INF:BANDWIDTH=2\n{{$dir}}/index.m3u8\n"
    );
    let media = format!(
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-DEFINE:IMPORT=\"dir\"\n\
         #EXT-X-DEFINE:QUERYPARAM=\"token\"\n\
         #EXT-X-KEY:METHOD=AES-128,IV=0x1,URI=\"https://drm/{{$dir}}?{{$token}}\"\n\
         #EXTINF:2,\n{base}/{{$dir}}/index0.ts?{{$token}}\n"
    );
    assert_eq!(fixture.push("v/index.m3u8", media.clone()).await, 422, "no master defines it yet");
    push_all(&fixture, &[("master.m3u8", &master), ("v/index0.ts", "a"), ("v/index.m3u8", &media)])
        .await;
    let shown = master.replace(&format!("{base}/"), "").replace("{$dir}", "v");
    assert_eq!(fixture.text("/live/cam/master.m3u8").await, shown);
    let shown = fixture.text("/live/cam/v/index.m3u8").await;
    assert!(shown.contains("#EXT-X-DEFINE:QUERYPARAM=\"token\"\n"), "{shown}");
    let key = "#EXT-X-KEY:METHOD=AES-128,IV=0x1,URI=\"https://drm/v?{$token}\"\n";
    assert!(shown.ends_with(&format!("{key}#EXTINF:2,\n0-1-0.ts\n")), "{shown}");
    assert!(!shown.contains("key1"), "{shown}");
}

#[tokio::test]
async fn subtitles_are_served_and_not_shared() {
    let fixture = Fixture::new().await;
    let master = "#EXTM3U\n#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"s\",NAME=\"fr\",URI=\"s/i.m3u8\"\n\
        #EXT-X-STREAM-INF:BANDWIDTH=1,SUBTITLES=\"s\"\nv.m3u8\n";
    let list = |name: &str| format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{name}\n");
    push_all(
        &fixture,
        &[
            ("master.m3u8", master),
            ("s/0.m4s", "wvtt"),
            ("s/i.m3u8", &list("0.m4s")),
            ("t/0.vtt", "WEBVTT"),
            ("t/i.m3u8", &list("0.vtt")),
            ("v0.m4s", "video"),
            ("v.m3u8", &list("v0.m4s")),
        ],
    )
    .await;
    for (uri, digest) in [("s/0-1-0.m4s", 404), ("t/1-1-0.vtt", 404), ("2-1-0.m4s", 200)] {
        assert_eq!(fixture.get(&format!("/live/cam/{uri}")).await.status(), 200, "{uri}");
        let status = fixture.get(&format!("/live/cam/{uri}.digest")).await.status();
        assert_eq!(status, digest, "{uri}");
    }
    assert_eq!(fixture.get("/live/cam/t/1-1-0.vtt").await.headers()["content-type"], "text/vtt");
}

#[tokio::test]
async fn gzip_both_ways() {
    let fixture = Fixture::with("ingest.body_mib_max = 1\norigin.playlist_segments = 30").await;
    let push = |name: &str, encoding: &str, body: Vec<u8>| {
        let request = fixture.request(Method::PUT, &format!("/publish/key1/cam/{name}"));
        fixture.send(request.header("content-encoding", encoding.to_owned()).body(body))
    };
    for seq in 0..30_u64 {
        assert_eq!(fixture.push(&format!("index{seq}.ts"), format!("{seq}")).await, 201);
    }
    let text = playlist(0..=29);
    assert_eq!(push("index.m3u8", "gzip", gzip(text.as_bytes())).await.status(), 201);
    assert_eq!(push("index.m3u8", "gzip", text.into_bytes()).await.status(), 400);
    assert_eq!(push("index.m3u8", "br", vec![0]).await.status(), 415);
    let bomb = gzip(&vec![0; (1 << 20) + 1]);
    assert!(bomb.len() < 10_000);
    assert_eq!(push("index30.ts", "gzip", bomb).await.status(), 413);
    let plain = fixture.get("/live/cam/index.m3u8").await;
    assert!(!plain.headers().contains_key("content-encoding"));
    let etag = plain.headers()["etag"].clone();
    let plain = plain.bytes().await.unwrap();
    let ask = |accepted: &str| {
        fixture.request(Method::GET, "/live/cam/index.m3u8").header("accept-encoding", accepted)
    };
    let small = fixture.send(ask("br, gzip;q=0.5")).await;
    assert_eq!(small.headers()["content-encoding"], "gzip");
    assert_eq!(small.headers()["vary"], "accept-encoding");
    assert_ne!(small.headers()["etag"], etag);
    let small_etag = small.headers()["etag"].clone();
    let small = small.bytes().await.unwrap();
    assert!(small.len() * 3 < plain.len());
    let mut unzipped = Vec::new();
    let mut decoder = flate2::read::GzDecoder::new(&small[..]);
    std::io::Read::read_to_end(&mut decoder, &mut unzipped).unwrap();
    assert_eq!(unzipped, plain);
    for (accepted, etag, status) in [("gzip", &small_etag, 304), ("gzip;q=0", &etag, 304)] {
        let response = fixture.send(ask(accepted).header("if-none-match", etag)).await;
        assert_eq!(response.status(), status, "{accepted}");
    }
    let response = fixture.send(ask("gzip").header("if-none-match", &etag)).await;
    assert_eq!(response.status(), 200, "another representation");
}

#[tokio::test]
async fn an_upload_by_query_as_youtube_has_it() {
    let fixture = Fixture::new().await;
    let put = |query: &str, body: String| {
        let request = fixture.request(Method::PUT, &format!("/http_upload_hls?{query}"));
        fixture.send(request.body(body))
    };
    let list = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nhttp_upload_hls?cid=key1&copy=0&file=\
        index0.ts\n";
    assert_eq!(put("cid=wrong&copy=0&file=index0.ts", "x".into()).await.status(), 401);
    assert_eq!(put("cid=key1&copy=0&file=index0.ts", "x".into()).await.status(), 201);
    assert_eq!(put("cid=key1&copy=0&file=index.m3u8", list.into()).await.status(), 201);
    assert_eq!(uris(&fixture.playlist().await), ["0-1-0.ts"]);
    assert_eq!(fixture.text("/live/cam/0-1-0.ts").await, "x");
}

#[tokio::test]
async fn a_second_encoder_takes_over_from_a_silent_one() {
    let fixture = Fixture::new().await;
    let list =
        |segments| playlist(segments).replace("DURATION:2", "DURATION:1").replace("2.0", "1.0");
    for seq in 0..3_u64 {
        assert_eq!(fixture.push(&format!("index{seq}.ts"), format!("main {seq}")).await, 201);
        assert_eq!(fixture.push(&format!("backup/index{seq}.ts"), format!("b {seq}")).await, 201);
        assert_eq!(fixture.push("index.m3u8", list(0..=seq)).await, 201);
        assert_eq!(fixture.push("backup/index.m3u8", list(0..=seq)).await, 201);
    }
    assert_eq!(uris(&fixture.playlist().await), ["0-1-0.ts", "0-1-1.ts", "0-1-2.ts"]);
    assert_eq!(fixture.get("/live/cam/backup/index.m3u8").await.status(), 404);
    for seq in 3..10_u64 {
        assert_eq!(fixture.push(&format!("backup/index{seq}.ts"), format!("b {seq}")).await, 201);
    }
    // The first one is silent from here on.
    let shown = until(|| async {
        assert_eq!(fixture.push("backup/index.m3u8", list(2..=9)).await, 201);
        let shown = fixture.playlist().await;
        shown.contains("0-2-").then_some(shown)
    })
    .await;
    let shown = uris(&shown);
    let taken: Vec<&&str> = shown.iter().filter(|uri| uri.starts_with("0-2-")).collect();
    assert!((4..=5).contains(&taken.len()), "as much as was missed: {shown:?}");
    assert_eq!(fixture.text(&format!("/live/cam/{}", shown.last().unwrap())).await, "b 9");
    // It stays, though the first one comes back.
    assert_eq!(fixture.push("index3.ts", "main 3").await, 201);
    assert_eq!(fixture.push("index.m3u8", list(1..=3)).await, 201);
    let again = fixture.playlist().await;
    assert_eq!(uris(&again), shown);
    assert_eq!(fixture.metric("shoal_refused_total{reason=\"ingest_playlist\"}").await, 0.0);
}
