//! Low-latency HLS: segments that are pushed while they are made, and players that wait for parts.

use crate::harness::{Fixture, soon, until};
use shoal_playlist::{Context, MediaPlaylist, Playlist};
use shoal_wire::{ObjectId, OriginKey, SignedDigest};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// Segments of a second in parts of a quarter.
const CONFIG: &str = "origin.part_target_ms = 250\norigin.playlist_segments = 20";
const PLAYLIST: &str = "/live/cam/media_0.m3u8";

/// ffmpeg as it streams CMAF in real time.
fn encoder(fixture: &Fixture, seconds: u32) -> Child {
    encoder_of(fixture, "testsrc2", seconds)
}

fn encoder_of(fixture: &Fixture, source: &str, seconds: u32) -> Child {
    let url = fixture.url("/publish/key1/cam/manifest.mpd");
    let args = format!(
        "-nostdin -v error -re -f lavfi -i {source}=size=160x120:rate=20 -t {seconds} -c:v libx264 \
         -preset ultrafast -tune zerolatency -g 20 -sc_threshold 0 -f dash -streaming 1 -ldash 1 \
         -hls_playlist 1 -seg_duration 1 -frag_type duration -frag_duration 0.25 -window_size 5 \
         -method PUT -http_persistent 1 {url}"
    );
    Command::new("ffmpeg")
        .args(args.split_whitespace())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run ffmpeg ({error}): apt-get install -y ffmpeg"))
}

fn parsed(text: &str) -> MediaPlaylist {
    match Playlist::parse(text.as_bytes(), Context::default()) {
        Ok(Playlist::Media(media)) => media,
        other => panic!("{other:?} of {text}"),
    }
}

/// The playlist once it announces a part.
async fn hinted(fixture: &Fixture) -> MediaPlaylist {
    until(|| async {
        let response = fixture.get(PLAYLIST).await;
        let text = response.error_for_status().ok()?.text().await.ok()?;
        Some(parsed(&text)).filter(|media| !media.parts.is_empty())
    })
    .await
}

fn next_of(media: &MediaPlaylist) -> (u64, usize) {
    (media.media_sequence + media.skipped + media.entries.len() as u64, media.parts.len())
}

#[tokio::test]
async fn what_ffmpeg_streams_is_shown_part_by_part() {
    let fixture = Fixture::with(CONFIG).await;
    let mut encoder = encoder(&fixture, 12);
    let mut media = hinted(&fixture).await;
    let control = media.server_control.unwrap();
    let part_target = media.part_target.unwrap();
    assert!(control.can_block_reload);
    assert_eq!(control.part_hold_back.unwrap(), part_target * 3);
    assert_eq!(control.can_skip_until, Some(Duration::from_secs(6)));
    assert!((250..=300).contains(&part_target.as_millis()), "{part_target:?}");
    let mut delta = None;
    let mut waits = Vec::new();
    while !media.ended && waits.len() < 24 {
        // Each new part is waited for, and named as it was announced.
        let (msn, part) = next_of(&media);
        let hint = media.hints[0].uri.clone();
        let begin = Instant::now();
        let path = format!("{PLAYLIST}?_HLS_msn={msn}&_HLS_part={part}&_HLS_skip=YES");
        let hinted = format!("/live/cam/{hint}");
        let (text, early) = tokio::join!(fixture.text(&path), fixture.get(&hinted));
        waits.push(begin.elapsed());
        let next = parsed(&text);
        assert!(next_of(&next) > (msn, part) || next.ended, "{text}");
        for part in &next.parts {
            assert!(part.duration <= part_target, "{text}");
            assert_eq!(part.independent, part.uri.ends_with("-0.m4s"), "{text}");
        }
        if next_of(&next).0 == msn && early.status() == 200 {
            assert_eq!(next.parts[part].uri, hint, "{text}");
        }
        if next.skipped > 0 {
            delta = Some((next.media_sequence, next.skipped, next.entries.len()));
        }
        media = next;
    }
    waits.sort();
    let median = waits[waits.len() / 2];
    assert!(median < Duration::from_millis(600), "a part is waited for {waits:?}");
    let (_, skipped, shown) = delta.expect("a playlist of more than six seconds is not sent whole");
    assert!(skipped >= 1 && (6..=8).contains(&shown), "{skipped} {shown}");
    assert!(soon(encoder.wait()).await.unwrap().success());
    let last =
        until(|| async { Some(parsed(&fixture.text(PLAYLIST).await)).filter(|media| media.ended) })
            .await;
    assert!(!last.entries.iter().any(|entry| entry.discontinuities > 0));
    same_bytes(&fixture, &last).await;
}

/// Parts put together are their segment, and each has a digest of its own.
async fn same_bytes(fixture: &Fixture, media: &MediaPlaylist) {
    let welcome = std::fs::read(fixture.directory.path().join("data/signing.key")).unwrap();
    let secret: [u8; 32] = welcome[..32].try_into().unwrap();
    let key: OriginKey = shoal_wire::OriginSigner::from_secret(&secret).key();
    let with_parts: Vec<_> = media.entries.iter().filter(|entry| !entry.parts.is_empty()).collect();
    assert!((2..=4).contains(&with_parts.len()), "three target durations: {}", with_parts.len());
    for entry in with_parts {
        let mut joined = Vec::new();
        for part in &entry.parts {
            let path = format!("/live/cam/{}", part.uri);
            let bytes = fixture.get(&path).await.bytes().await.unwrap();
            let digest = fixture.get(&format!("{path}.digest")).await.bytes().await.unwrap();
            let digest = SignedDigest::decode(digest, std::slice::from_ref(&key)).unwrap();
            assert_eq!(Some(digest.object), ObjectId::from_url_path(&part.uri));
            assert_eq!(digest.byte_len as usize, bytes.len());
            assert!(digest.chunk_matches(0, &bytes[..digest.chunk_len(0) as usize]));
            assert_eq!(digest.uri(), Some(part.uri.as_str()));
            joined.extend_from_slice(&bytes);
        }
        let whole = fixture.get(&format!("/live/cam/{}", entry.uri)).await.bytes().await.unwrap();
        assert!(joined == whole, "{}: {} bytes, not {}", entry.uri, joined.len(), whole.len());
        let lasts: Duration = entry.parts.iter().map(|part| part.duration).sum();
        assert!(lasts.abs_diff(entry.duration) < Duration::from_millis(20), "{lasts:?}");
    }
}

#[tokio::test]
async fn who_asks_too_much_is_not_kept_waiting() {
    let fixture = Fixture::with(CONFIG).await;
    fixture.push_segment(0, b"zero").await;
    let plain = fixture.get("/live/cam/index.m3u8?_HLS_msn=7").await;
    assert_eq!(plain.status(), 200, "without parts nobody waits");
    assert_eq!(fixture.get("/live/cam/0-1-1-0.ts").await.status(), 404);
    let _encoder = encoder(&fixture, 60);
    let (msn, _) = next_of(&hinted(&fixture).await);
    for (query, status) in
        [(format!("_HLS_msn={}", msn + 30), 400), ("_HLS_part=1".into(), 400), ("x=1".into(), 200)]
    {
        let begin = Instant::now();
        let response = fixture.get(&format!("{PLAYLIST}?{query}")).await;
        assert_eq!(response.status(), status, "{query}");
        assert!(begin.elapsed() < Duration::from_millis(900), "{query}");
        if status == 200 {
            assert_eq!(response.headers()["cache-control"], "max-age=1");
        }
    }
}

#[tokio::test]
async fn an_encoder_that_dies_leaves_what_was_shown_and_nobody_waiting() {
    let fixture = Fixture::with(CONFIG).await;
    let mut first = encoder(&fixture, 60);
    let media = hinted(&fixture).await;
    let (msn, part) = next_of(&media);
    first.kill().await.unwrap();
    // What was shown of the segment becomes one, and then nothing comes.
    let media = until(|| async {
        Some(parsed(&fixture.text(PLAYLIST).await)).filter(|media| next_of(media).0 > msn)
    })
    .await;
    let sealed = &media.entries[usize::try_from(msn - media.media_sequence).unwrap()];
    assert!(sealed.parts.len() >= part && sealed.duration < Duration::from_millis(1100));
    same_bytes_of(&fixture, sealed).await;
    let begin = Instant::now();
    let next = next_of(&media).0;
    let late = fixture.get(&format!("{PLAYLIST}?_HLS_msn={next}&_HLS_part=0")).await;
    assert_eq!(late.status(), 503);
    assert!(begin.elapsed() >= Duration::from_millis(2900), "three target durations");
    // Another life of the encoder is another epoch, behind a discontinuity.
    let _second = encoder_of(&fixture, "mandelbrot", 60);
    let media = until(|| async {
        let media = parsed(&fixture.text(PLAYLIST).await);
        let begun = media.entries.iter().any(|entry| entry.discontinuities > 0);
        Some(media).filter(|media| begun && !media.parts.is_empty())
    })
    .await;
    assert!(media.parts[0].uri.starts_with("0-2-"), "{media:?}");
}

async fn same_bytes_of(fixture: &Fixture, entry: &shoal_playlist::Entry) {
    let mut joined = Vec::new();
    for part in &entry.parts {
        let path = format!("/live/cam/{}", part.uri);
        joined.extend_from_slice(&fixture.get(&path).await.bytes().await.unwrap());
    }
    let whole = fixture.get(&format!("/live/cam/{}", entry.uri)).await.bytes().await.unwrap();
    assert!(joined == whole);
}

#[tokio::test]
async fn parts_that_were_shown_are_not_made_again_after_a_restart() {
    let fixture = Fixture::with(CONFIG).await;
    let encoder = encoder(&fixture, 60);
    let before = hinted(&fixture).await;
    assert!(before.parts[0].uri.starts_with("0-1-"));
    drop(encoder);
    // It is stopped in the middle of a segment, before that could be sealed.
    let fixture = fixture.restarted_with(CONFIG).await;
    let text = fixture.text(PLAYLIST).await;
    let after = parsed(&text);
    let (msn, shown) = (next_of(&before).0, next_of(&after).0);
    let sealed = shown > msn;
    assert!(sealed || after.hints[0].uri.starts_with("0-2-"), "{text}");
}

/// Before an origin that has parts, polls wait there, and parts come from there.
#[tokio::test]
async fn an_upstream_that_has_parts_is_waited_for_through_us() {
    let upstream = Fixture::with(CONFIG).await;
    let _encoder = encoder(&upstream, 60);
    hinted(&upstream).await;
    let before = format!("upstream.urls = ['tv={}']", upstream.url("/live/cam"));
    let fixture = Fixture::with(&before).await;
    let path = "/live/tv/media_0.m3u8";
    let mut media = parsed(&fixture.text(path).await);
    let own = parsed(&upstream.text(PLAYLIST).await);
    assert_eq!((&media.server_control, media.part_target), (&own.server_control, own.part_target));
    let mut waits = Vec::new();
    let mut delta = None;
    while waits.len() < 24 {
        let (msn, part) = next_of(&media);
        let hint = media.hints[0].uri.clone();
        assert!(hint.starts_with(&upstream.url("/live/cam/0-1-")), "{hint}");
        let begin = Instant::now();
        let poll = format!("{path}?_HLS_msn={msn}&_HLS_part={part}&_HLS_skip=YES");
        let (text, early) =
            tokio::join!(fixture.text(&poll), soon(crate::harness::http().get(&hint).send()));
        waits.push(begin.elapsed());
        let next = parsed(&text);
        assert!(next_of(&next) > (msn, part), "{text}");
        if next_of(&next).0 == msn && early.unwrap().status() == 200 {
            assert_eq!(next.parts[part].uri, hint, "{text}");
        }
        if next.skipped > 0 {
            delta = Some(text);
        }
        media = next;
    }
    waits.sort();
    let median = waits[waits.len() / 2];
    assert!(median < Duration::from_millis(600), "a part is waited for {waits:?}");
    let delta = delta.expect("delta updates pass");
    assert!(delta.contains("\n0-1-"), "whole segments are shared: {delta}");
    let shared = parsed(&delta).entries.into_iter().find(|entry| entry.uri.starts_with("0-1-"));
    let name = shared.unwrap().uri.split('?').next().unwrap().to_owned();
    assert_eq!(fixture.get(&format!("/live/tv/{name}.digest?u=x")).await.status(), 200);
}

/// With `parts = "origin"` a part has no digest, and its segment has.
#[tokio::test]
async fn parts_stay_with_the_origin_where_the_operator_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "server.listen = '127.0.0.1:0'\nserver.data_dir = '{}'\norigin.part_target_ms = 250\n\
         streams = [{{ name = 'cam', ingest_key = 'key1', parts = 'origin' }}]",
        directory.path().join("data").display()
    );
    let config = shoal_server::config::Config::from_toml(&text).unwrap();
    let server = shoal_server::Server::start(&config).await.unwrap();
    let address = server.ports().listen;
    let get = |path: String| async move {
        let mut socket = soon(TcpStream::connect(address)).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        soon(socket.write_all(request.as_bytes())).await.unwrap();
        let mut answer = Vec::new();
        soon(socket.read_to_end(&mut answer)).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    };
    let url = format!("http://{address}/publish/key1/cam/manifest.mpd");
    let mut command = Command::new("ffmpeg");
    let args = "-nostdin -v error -re -f lavfi -i testsrc2=size=160x120:rate=20 -t 60 -c:v libx264 \
        -preset ultrafast -tune zerolatency -g 20 -f dash -streaming 1 -hls_playlist 1 \
        -seg_duration 1 -frag_type duration -frag_duration 0.25 -method PUT";
    let command = command.args(args.split_whitespace()).arg(&url).kill_on_drop(true);
    let _encoder = command.stderr(Stdio::null()).spawn().unwrap();
    let file = until(|| async {
        let text = get(PLAYLIST.to_owned()).await;
        let part = text.lines().find(|line| line.starts_with("#EXT-X-PART:"))?;
        Some(part.split('"').nth(1)?.to_owned())
    })
    .await;
    assert!(get(format!("/live/cam/{file}")).await.starts_with("HTTP/1.1 200"));
    assert!(get(format!("/live/cam/{file}.digest")).await.starts_with("HTTP/1.1 404"));
    assert!(get("/live/cam/0-1-0.m4s.digest".into()).await.starts_with("HTTP/1.1 200"));
}
