//! Encoders: who may push, what, how much, and how rudely.

use crate::harness::{Fixture, playlist, raw, read_to_end, soon, until, uris};
use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn only_the_key_opens_the_stream() {
    let fixture = Fixture::new().await;
    let put = |path: &str| fixture.request(Method::PUT, path).body("x");
    let cases = [
        (put("/ingest/cam/a.ts"), 401),
        (put("/ingest/cam/a.ts").bearer_auth("wrong"), 401),
        (put("/ingest/cam/a.ts").basic_auth("key", Some("1")), 401),
        (put("/publish/wrong/cam/a.ts"), 401),
        (put("/ingest/cam/a.ts").bearer_auth("key1"), 201),
        (put("/ingest/cam/b.ts").basic_auth("user", Some("key1")), 201),
        (put("/ingest/cam/c.ts").basic_auth("key1", Some("")), 201),
        (put("/publish/key1/cam/d.ts"), 201),
        (put("/publish/key1/other/a.ts"), 404),
        (put("/publish/key1/cam/a.exe"), 415),
        (put("/publish/key1/cam/%2e%2e%2fa.ts"), 400),
        (put("/publish/key1/cam/..%5ca.ts"), 400),
        (fixture.request(Method::PATCH, "/publish/key1/cam/a.ts"), 405),
        (fixture.request(Method::PUT, "/publish/key1/cam/e.ts"), 400),
        (fixture.request(Method::POST, "/publish/key1/cam/f.ts").body("x"), 201),
        (put("/publish/key1/cam/index.m3u8"), 422),
    ];
    for (number, (request, status)) in cases.into_iter().enumerate() {
        let response = fixture.send(request).await;
        assert_eq!(response.status().as_u16(), status, "case {number}");
        let challenged = response.headers().contains_key("www-authenticate");
        assert_eq!(challenged, status == 401, "case {number}");
        let text = response.text().await.unwrap();
        assert!(status < 300 || text.len() > 10, "case {number} gives its reason: {text}");
    }
    assert!(fixture.metric("shoal_refused_total{reason=\"ingest_key\"}").await >= 4.0);
    assert_eq!(fixture.metric("shoal_ingest_uploads_total").await, 5.0);
}

#[tokio::test]
async fn a_key_is_asked_for_before_the_body_is() {
    let fixture = Fixture::new().await;
    let request = b"PUT /ingest/cam/a.ts HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\
        Transfer-Encoding: chunked\r\n\r\n";
    let answer = String::from_utf8(raw(fixture.address(), request).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(!answer.contains("100 Continue"), "{answer}");
}

#[tokio::test]
async fn what_is_pushed_is_served_byte_for_byte() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.get("/live/cam/index.m3u8").await.status(), 404);
    let bodies: Vec<Vec<u8>> = (0..3_u8).map(|i| vec![i; 100_000 + usize::from(i)]).collect();
    for (seq, body) in (0..).zip(&bodies) {
        fixture.push_segment(seq, body).await;
    }
    let playlist = fixture.playlist().await;
    assert_eq!(uris(&playlist), ["0-1-0.ts", "0-1-1.ts", "0-1-2.ts"]);
    for (uri, body) in uris(&playlist).into_iter().zip(&bodies) {
        let response = fixture.get(&format!("/live/cam/{uri}")).await;
        assert_eq!(response.headers()["content-type"], "video/mp2t");
        assert_eq!(response.bytes().await.unwrap(), body);
    }
}

#[tokio::test]
async fn a_segment_is_shown_only_when_it_is_named_and_complete() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.push("index0.ts", "zero").await, 201);
    assert_eq!(fixture.get("/live/cam/index.m3u8").await.status(), 404);
    assert_eq!(fixture.push("index.m3u8", playlist(0..=1)).await, 201);
    assert_eq!(uris(&fixture.playlist().await), ["0-1-0.ts"]);
    assert_eq!(fixture.push("index1.ts", "one").await, 201);
    assert_eq!(uris(&fixture.playlist().await), ["0-1-0.ts", "0-1-1.ts"]);
}

#[tokio::test]
async fn an_encoder_that_hangs_up_without_waiting_loses_nothing() {
    let fixture = Fixture::new().await;
    for seq in 0..10_u64 {
        let body = format!("segment {seq}");
        for (name, body) in
            [(format!("index{seq}.ts"), body), ("index.m3u8".into(), playlist(0..=seq))]
        {
            let mut socket = soon(TcpStream::connect(fixture.address())).await.unwrap();
            let request = format!(
                "PUT /publish/key1/cam/{name} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\
                 \r\n{:x}\r\n{body}\r\n0\r\n\r\n",
                body.len()
            );
            soon(socket.write_all(request.as_bytes())).await.unwrap();
            socket.shutdown().await.unwrap();
        }
    }
    until(|| async { (uris(&fixture.playlist().await).len() == 10).then_some(()) }).await;
}

/// The second of two bodies is still to be read when the answer to the first cannot be written.
#[tokio::test]
async fn an_encoder_that_exits_without_reading_its_answers_loses_nothing() {
    let fixture = Fixture::new().await;
    let put = |name: &str, body: String| {
        let len = body.len();
        let head = format!("PUT /publish/key1/cam/{name} HTTP/1.1\r\nHost: x\r\n");
        format!("{head}Content-Length: {len}\r\n\r\n{body}")
    };
    let mut socket = soon(TcpStream::connect(fixture.address())).await.unwrap();
    soon(socket.write_all(put("index0.ts", "zero".into()).as_bytes())).await.unwrap();
    soon(socket.write_all(put("index.m3u8", playlist(0..=0)).as_bytes())).await.unwrap();
    until(|| async { (!uris(&fixture.playlist().await).is_empty()).then_some(()) }).await;
    // The server runs in this thread: it sees nothing of these before the reset.
    let tail = ["1".repeat(20_000), "2".repeat(20_000)].map(|body| {
        let name = format!("index{}.ts", &body[..1]);
        put(&name, body)
    });
    let tail = tail.concat() + &put("index.m3u8", playlist(0..=2));
    assert_eq!(socket.try_write(tail.as_bytes()).unwrap(), tail.len());
    drop(socket);
    until(|| async { (uris(&fixture.playlist().await).len() == 3).then_some(()) }).await;
}

#[tokio::test]
async fn a_playlist_that_names_nothing_yet_makes_no_rendition() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.push("master.m3u8", "#EXTM3U\n#EXT-X-VERSION:7\n").await, 201);
    assert_eq!(fixture.push("manifest.mpd", "<MPD/>").await, 204);
    fixture.push_segment(0, b"zero").await;
    assert_eq!(uris(&fixture.playlist().await), ["0-1-0.ts"]);
}

#[tokio::test]
async fn an_upload_that_breaks_off_is_no_segment() {
    let fixture = Fixture::new().await;
    fixture.push_segment(0, b"zero").await;
    let mut socket = soon(TcpStream::connect(fixture.address())).await.unwrap();
    let head =
        "PUT /publish/key1/cam/index1.ts HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf";
    soon(socket.write_all(head.as_bytes())).await.unwrap();
    socket.shutdown().await.unwrap();
    let answer = String::from_utf8(read_to_end(&mut socket).await).unwrap();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(fixture.push("index.m3u8", playlist(0..=1)).await, 201);
    assert_eq!(uris(&fixture.playlist().await), ["0-1-0.ts"]);
    // The next one is there: the lost one is given up, and said to be missing.
    fixture.push_segment(2, b"two").await;
    let playlist =
        until(|| async { Some(fixture.playlist().await).filter(|text| uris(text).len() == 2) })
            .await;
    assert!(playlist.contains("#EXT-X-DISCONTINUITY\n#EXTINF:2.000000,\n0-1-1.ts"), "{playlist}");
}

#[tokio::test]
async fn too_large_a_body_is_refused_with_a_sentence() {
    let fixture = Fixture::with("ingest.body_mib_max = 1").await;
    let large = vec![0_u8; (1 << 20) + 1];
    let request = fixture.request(Method::PUT, "/publish/key1/cam/a.ts").body(large.clone());
    let response = fixture.send(request).await;
    assert_eq!(response.status(), 413);
    assert!(response.text().await.unwrap().contains("1048576 bytes"));
    // Without a length it is noticed on the way, and the answer gets through all the same.
    let mut socket = soon(TcpStream::connect(fixture.address())).await.unwrap();
    let head =
        "PUT /publish/key1/cam/a.ts HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    soon(socket.write_all(head.as_bytes())).await.unwrap();
    for _ in 0..8 {
        let chunk = [format!("{:x}\r\n", large.len()).as_bytes(), &large, b"\r\n"].concat();
        soon(socket.write_all(&chunk)).await.unwrap();
    }
    soon(socket.write_all(b"0\r\n\r\n")).await.unwrap();
    let mut answer = [0; 12];
    soon(socket.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    assert_eq!(fixture.metric("shoal_refused_total{reason=\"ingest_too_large\"}").await, 2.0);
    assert_eq!(fixture.push("a.ts", vec![0_u8; 1 << 20]).await, 201, "the limit itself is allowed");
}

#[tokio::test]
async fn a_body_that_stands_still_is_dropped() {
    let fixture = Fixture::with("ingest.idle_timeout_ms = 50").await;
    let mut socket = soon(TcpStream::connect(fixture.address())).await.unwrap();
    let head = "PUT /publish/key1/cam/a.ts HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf";
    soon(socket.write_all(head.as_bytes())).await.unwrap();
    let mut answer = [0; 12];
    soon(socket.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
}

#[tokio::test]
async fn a_delete_is_heard_and_retention_stays_ours() {
    let fixture = Fixture::with("origin.keep_segments = 4").await;
    fixture.push_segment(0, b"zero").await;
    let delete = fixture.request(Method::DELETE, "/publish/key1/cam/index0.ts");
    assert_eq!(fixture.send(delete).await.status(), 204);
    assert_eq!(fixture.text("/live/cam/0-1-0.ts").await, "zero");
    for seq in 1..6_u8 {
        fixture.push_segment(seq.into(), &[seq]).await;
    }
    assert_eq!(fixture.get("/live/cam/0-1-1.ts").await.status(), 404);
    assert_eq!(fixture.get("/live/cam/0-1-2.ts").await.status(), 200);
    assert_eq!(uris(&fixture.playlist().await), ["0-1-4.ts", "0-1-5.ts"]);
}

#[tokio::test]
async fn tags_and_init_sections_are_carried_through() {
    let fixture = Fixture::new().await;
    let text = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:0\n\
        #EXT-X-MAP:URI=\"init.mp4\"\n#EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"skd://k\"\n\
        #EXTINF:2.000000,\n#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:00.000+0000\na.m4s\n\
        #EXT-X-CUE-OUT:30\n#EXTINF:1.5,\nb.m4s\n";
    for (name, body) in [("v/init.mp4", "moov"), ("v/a.m4s", "aaaa"), ("v/b.m4s", "bbbb")] {
        assert_eq!(fixture.push(name, body).await, 201);
    }
    assert_eq!(fixture.push("v/index.m3u8", text).await, 201);
    let master = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1000\nv/index.m3u8\n";
    assert_eq!(fixture.push("master.m3u8", master).await, 201);
    assert_eq!(fixture.text("/live/cam/master.m3u8").await, master);
    let expected = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:0\n\
        #EXT-X-DISCONTINUITY-SEQUENCE:0\n\
        #EXT-X-MAP:URI=\"0-1-init0.mp4\"\n#EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"skd://k\"\n\
        #EXTINF:2.000000,\n#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:00.000+0000\n0-1-0.m4s\n\
        #EXT-X-CUE-OUT:30\n#EXTINF:1.5,\n0-1-1.m4s\n";
    assert_eq!(fixture.text("/live/cam/v/index.m3u8").await, expected);
    assert_eq!(fixture.text("/live/cam/v/0-1-init0.mp4").await, "moov");
    assert_eq!(fixture.text("/live/cam/v/0-1-1.m4s").await, "bbbb");
}
