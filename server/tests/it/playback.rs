//! Players: ranges, tags, caches, other pages.

use crate::harness::{Fixture, raw};
use reqwest::Method;
use shoal_wire::SignedDigest;

const SEGMENT: &[u8] = b"0123456789";

async fn fixture() -> Fixture {
    let fixture = Fixture::new().await;
    fixture.push_segment(0, SEGMENT).await;
    fixture
}

#[tokio::test]
async fn ranges() {
    let fixture = fixture().await;
    for (range, status, content_range, body) in [
        ("bytes=0-", 200, None, "0123456789"),
        ("bytes=2-4", 206, Some("bytes 2-4/10"), "234"),
        ("bytes=7-", 206, Some("bytes 7-9/10"), "789"),
        ("bytes=-2", 206, Some("bytes 8-9/10"), "89"),
        ("bytes=9-99", 206, Some("bytes 9-9/10"), "9"),
        ("bytes=10-", 416, Some("bytes */10"), ""),
        ("bytes=1-2,4-5", 200, None, "0123456789"),
    ] {
        let request = fixture.request(Method::GET, "/live/cam/0-1-0.ts").header("range", range);
        let response = fixture.send(request).await;
        assert_eq!(response.status(), status, "{range}");
        let headers = response.headers();
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(text("content-range").as_deref(), content_range, "{range}");
        assert_eq!(text("content-length"), Some(body.len().to_string()), "{range}");
        assert_eq!(response.text().await.unwrap(), body, "{range}");
    }
}

#[tokio::test]
async fn a_segments_digest_is_beside_it() {
    let fixture = fixture().await;
    let response = fixture.get("/live/cam/0-1-0.ts.digest").await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["cache-control"], "public, max-age=31536000, immutable");
    let encoded = response.bytes().await.unwrap();
    let (_, _, key) = crate::tracker::Viewer::join(&fixture).await;
    let digest = SignedDigest::decode(encoded, &[key]).unwrap();
    assert_eq!(digest.object.file_stem(), "0-1-0");
    assert!(digest.chunk_matches(0, SEGMENT));
    for path in ["/live/cam/0-1-1.ts.digest", "/live/cam/index.m3u8.digest"] {
        assert_eq!(fixture.get(path).await.status(), 404, "{path}");
    }
}

#[tokio::test]
async fn what_a_client_has_is_not_sent_again() {
    let fixture = fixture().await;
    for path in ["/live/cam/0-1-0.ts", "/live/cam/index.m3u8"] {
        let etag = fixture.get(path).await.headers()["etag"].to_str().unwrap().to_owned();
        for (known, status) in
            [(etag.as_str(), 304), ("*", 304), ("\"x\"", 200), (&format!("\"x\", W/{etag}"), 304)]
        {
            let request = fixture.request(Method::GET, path).header("if-none-match", known);
            let response = fixture.send(request).await;
            assert_eq!(response.status(), status, "{path} {known}");
            assert_eq!(response.headers()["etag"], etag);
        }
    }
}

#[tokio::test]
async fn a_head_is_the_get_without_its_body() {
    let fixture = fixture().await;
    for path in ["/live/cam/0-1-0.ts", "/live/cam/index.m3u8"] {
        let get = fixture.get(path).await;
        let head = fixture.send(fixture.request(Method::HEAD, path)).await;
        for name in ["content-length", "content-type", "etag", "cache-control"] {
            assert_eq!(get.headers()[name], head.headers()[name], "{path} {name}");
        }
        assert!(head.bytes().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn caches_and_other_pages_are_told_what_they_may() {
    let fixture = fixture().await;
    for (path, status, cache) in [
        ("/live/cam/0-1-0.ts", 200, "public, max-age=31536000, immutable"),
        ("/live/cam/index.m3u8", 200, "max-age=1"),
        ("/live/cam/0-1-7.ts", 404, "max-age=1"),
        ("/live/none/index.m3u8", 404, "max-age=1"),
    ] {
        let response = fixture.get(path).await;
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(response.headers()["cache-control"], cache, "{path}");
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
        let exposed = response.headers()["access-control-expose-headers"].to_str().unwrap();
        for name in ["age", "date", "etag", "content-length", "content-range", "shoal-tracker"] {
            assert!(exposed.contains(name), "{path} exposes {name}");
        }
    }
    let preflight = fixture
        .request(Method::OPTIONS, "/live/cam/0-1-0.ts")
        .header("origin", "https://example.org")
        .header("access-control-request-method", "GET")
        .header("access-control-request-headers", "range");
    let response = fixture.send(preflight).await;
    assert!(response.headers()["access-control-allow-headers"].to_str().unwrap().contains("range"));
    let playlist = fixture.get("/live/cam/index.m3u8").await;
    assert_eq!(playlist.headers()["shoal-tracker"], "tracker");
    assert_eq!(playlist.headers()["shoal-stream"], "cam");
    assert_eq!(playlist.headers()["content-type"], "application/vnd.apple.mpegurl");
}

#[tokio::test]
async fn every_byte_written_is_counted_and_by_what_it_was() {
    let fixture = Fixture::with(
        "server.ingest_listen = '127.0.0.1:0'\n\
                                 server.mirror_listen = '127.0.0.1:0'",
    )
    .await;
    let ports = fixture.server.ports();
    let ingest = ports.ingest_listen.unwrap();
    let client = crate::harness::http();
    let body = vec![7_u8; 300_000];
    for (name, body) in
        [("index0.ts", body.clone()), ("index.m3u8", crate::harness::playlist(0..=0).into())]
    {
        let url = format!("http://{ingest}/publish/key1/cam/{name}");
        assert_eq!(client.put(url).body(body).send().await.unwrap().status(), 201);
    }
    assert_eq!(fixture.push("index1.ts", "x").await, 404, "ingest is elsewhere");
    let before = fixture.status().await;
    let ask = |path: &str, range: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nRange: {range}\r\n\r\n")
    };
    let mut received = 0;
    for (path, range) in [
        ("/live/cam/0-1-0.ts", "bytes=0-"),
        ("/live/cam/0-1-0.ts", "bytes=100000-199999"),
        ("/live/cam/index.m3u8", "bytes=0-"),
        ("/nothing", "bytes=0-"),
    ] {
        received += raw(ports.listen, ask(path, range).as_bytes()).await.len() as u64;
    }
    let mirrored =
        raw(ports.mirror_listen.unwrap(), ask("/live/cam/0-1-0.ts", "bytes=0-").as_bytes()).await;
    let after = fixture.status().await;
    let count = |key: &str| {
        let of = |status: &serde_json::Value| status["egress"][key].as_u64().unwrap();
        of(&after) - of(&before)
    };
    assert_eq!(count("socket_bytes"), received);
    assert_eq!(count("media_bytes"), 400_000);
    assert!(count("playlist_bytes") > 50);
    assert_eq!(after["streams"][0]["objects"][0]["object"], "0-1-0");
    assert_eq!(after["streams"][0]["objects"][0]["bytes"], 300_000);
    assert_eq!(after["streams"][0]["objects"][0]["origin_bytes_sent"], 400_000);
    assert_eq!(after["mirror_bytes"].as_u64().unwrap(), mirrored.len() as u64);
    let metric = fixture.metric("shoal_origin_egress_bytes_total{kind=\"media\"}").await;
    assert_eq!(metric, 400_000.0);
}

#[tokio::test]
async fn bytes_that_left_memory_come_from_disk() {
    let fixture = Fixture::with("origin.cache_mib_max = 1").await;
    let body = |seed: u8| -> Vec<u8> { (0..700_000_u32).map(|i| (i % 251) as u8 ^ seed).collect() };
    for seq in 0..3_u8 {
        fixture.push_segment(seq.into(), &body(seq)).await;
    }
    for seq in 0..3_u8 {
        let path = format!("/live/cam/0-1-{seq}.ts");
        assert_eq!(fixture.get(&path).await.bytes().await.unwrap(), body(seq));
        let request = fixture.request(Method::GET, &path).header("range", "bytes=65000-400000");
        let part = fixture.send(request).await.bytes().await.unwrap();
        assert_eq!(part, body(seq)[65_000..=400_000]);
    }
}
