//! The real ffmpeg pushes fifty segments, in every way that it shows its key.
//!
//! The same run writes the segments to disk too; what the server has must be what is there.

use crate::harness::{Fixture, until};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

const SEGMENTS: usize = 50;
/// Most that one run may take on a busy machine; it takes about a second.
const RUN_MAX: Duration = Duration::from_secs(120);

async fn ffmpeg(directory: &Path, args: &[&str]) {
    let run = Command::new("ffmpeg")
        .current_dir(directory)
        .args(["-nostdin", "-v", "error"])
        .args(args)
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .status();
    let status = tokio::time::timeout(RUN_MAX, run).await.expect("ffmpeg hangs");
    let status = status.unwrap_or_else(|error| {
        panic!("cannot run ffmpeg ({error}); install it with: apt-get install -y ffmpeg")
    });
    assert!(status.success(), "ffmpeg failed: {status}");
}

/// Pushes to `url` with `options`, a copy to disk; all segments must have arrived.
async fn push(url: impl Fn(&str) -> String, options: &str) {
    let more = "origin.playlist_segments = 60\norigin.keep_segments = 120";
    let fixture = Fixture::with(more).await;
    let directory = fixture.directory.path();
    let url = url(&fixture.address().to_string()).replace(':', "\\:");
    let tee = format!(
        "[f=hls:hls_time=2:hls_list_size=0:hls_segment_filename=local%d.ts]local.m3u8|\
         [f=hls:hls_time=2{options}]{url}"
    );
    let input = "testsrc2=size=160x120:rate=10";
    let encode = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "20", "-sc_threshold", "0"];
    let args = [
        &["-f", "lavfi", "-i", input, "-t", "100"],
        &encode[..],
        &["-map", "0:v", "-f", "tee", &tee],
    ];
    ffmpeg(directory, &args.concat()).await;
    let text = until(|| async {
        let text = fixture.playlist().await;
        text.ends_with("#EXT-X-ENDLIST\n").then_some(text)
    })
    .await;
    let uris = crate::harness::uris(&text);
    assert_eq!(uris.len(), SEGMENTS);
    for (number, uri) in uris.into_iter().enumerate() {
        let local = std::fs::read(directory.join(format!("local{number}.ts"))).unwrap();
        let served = fixture.get(&format!("/live/cam/{uri}")).await.bytes().await.unwrap();
        assert_eq!(blake3::hash(&served), blake3::hash(&local), "{uri}");
    }
    assert!(!text.contains("#EXT-X-DISCONTINUITY\n"), "{text}");
}

#[tokio::test]
async fn fifty_of_fifty_by_default() {
    push(|address| format!("http://{address}/publish/key1/cam/index.m3u8"), "").await;
}

#[tokio::test]
async fn fifty_of_fifty_with_put_and_deletes() {
    let options = ":method=PUT:hls_flags=delete_segments";
    push(|address| format!("http://{address}/publish/key1/cam/index.m3u8"), options).await;
}

#[tokio::test]
async fn fifty_of_fifty_over_one_connection() {
    let options = ":method=PUT:http_persistent=1";
    push(|address| format!("http://{address}/publish/key1/cam/index.m3u8"), options).await;
}

#[tokio::test]
async fn fifty_of_fifty_with_user_and_password() {
    push(|address| format!("http://user:key1@{address}/ingest/cam/index.m3u8"), ":method=PUT")
        .await;
}

#[tokio::test]
async fn fifty_of_fifty_with_a_bearer_token() {
    let options = ":method=PUT:headers='Authorization\\: Bearer key1'";
    push(|address| format!("http://{address}/ingest/cam/index.m3u8"), options).await;
}

#[tokio::test]
async fn fragmented_mp4_plays_as_it_was_pushed() {
    let fixture = Fixture::with("origin.playlist_segments = 10").await;
    let url = fixture.url("/publish/key1/cam/index.m3u8");
    let args = [
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=160x120:rate=10",
        "-t",
        "8",
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-g",
        "20",
        "-f",
        "hls",
        "-hls_time",
        "2",
        "-hls_segment_type",
        "fmp4",
        "-method",
        "PUT",
        &url,
    ];
    ffmpeg(fixture.directory.path(), &args).await;
    until(|| async { fixture.playlist().await.ends_with("#EXT-X-ENDLIST\n").then_some(()) }).await;
    assert!(fixture.playlist().await.contains("#EXT-X-MAP:URI=\"0-1-init0.mp4\""));
    let out = fixture.directory.path().join("frames.txt");
    let play = fixture.url("/live/cam/index.m3u8");
    ffmpeg(fixture.directory.path(), &["-i", &play, "-f", "framecrc", out.to_str().unwrap()]).await;
    let frames = std::fs::read_to_string(&out).unwrap();
    assert_eq!(frames.lines().filter(|line| !line.starts_with('#')).count(), 80);
}
