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

pub(crate) async fn ffmpeg(directory: &Path, args: &[&str]) {
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
    push_both(url, options, "").await;
}

/// With `both` in the copy's options too.
async fn push_both(url: impl Fn(&str) -> String, options: &str, both: &str) {
    let more = "origin.playlist_segments = 60\norigin.keep_segments = 120";
    let fixture = Fixture::with(more).await;
    let directory = fixture.directory.path();
    let key: Vec<u8> = (0..16).collect();
    std::fs::write(directory.join("secret.key"), &key).unwrap();
    std::fs::write(directory.join("key.info"), "secret.key\nsecret.key\n").unwrap();
    let url = url(&fixture.address().to_string()).replace(':', "\\:");
    let tee = format!(
        "[f=hls:hls_time=2:hls_list_size=0:hls_segment_filename=local%d.ts{both}]local.m3u8|\
         [f=hls:hls_time=2{options}{both}]{url}"
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
async fn fifty_of_fifty_encrypted() {
    let url = |address: &str| format!("http://{address}/publish/key1/cam/index.m3u8");
    push_both(url, ":method=PUT", ":hls_key_info_file=key.info").await;
}

#[tokio::test]
async fn fifty_of_fifty_by_query() {
    let url = |address: &str| format!("http://{address}/http_upload_hls?cid=key1&file=index.m3u8");
    push(url, ":method=PUT").await;
}

/// Eight seconds of video and two of its sounds, the same bytes in each run.
const EIGHT_SECONDS: &str = "-f lavfi -i testsrc2=size=160x120:rate=10 -f lavfi -i sine -t 8 \
    -threads 1 -c:v libx264 -preset ultrafast -g 20 -c:a aac -b:a 32k -flags +bitexact \
    -fflags +bitexact -f hls -hls_time 2 -hls_list_size 0";

async fn eight_seconds(directory: &Path, more: &str) {
    let args = format!("{EIGHT_SECONDS} {more}");
    ffmpeg(directory, &args.split_whitespace().collect::<Vec<_>>()).await;
}

/// The frames that ffmpeg as a player gets of `input`, each with its checksum.
async fn frames(directory: &Path, input: &str) -> Vec<String> {
    let out = directory.join("frames.txt");
    let args = ["-y", "-allowed_extensions", "ALL", "-i", input, "-map", "0:v"];
    ffmpeg(directory, &[&args[..], &["-f", "framecrc", out.to_str().unwrap()]].concat()).await;
    let frames = std::fs::read_to_string(&out).unwrap();
    let sum = |line: &str| line.rsplit(',').next().unwrap_or_default().trim().to_owned();
    frames.lines().filter(|line| !line.starts_with('#')).map(sum).collect()
}

/// The playlist at `path`, once it has ended.
async fn ended(fixture: &Fixture, path: &str) -> String {
    until(|| async {
        let text = fixture.text(path).await;
        text.ends_with("#EXT-X-ENDLIST\n").then_some(text)
    })
    .await
}

/// What the playlist at `path` below `base` names must be the files that the one on disk names.
async fn same_bytes(fixture: &Fixture, base: &str, path: &str, local: &Path) {
    let shown = ended(fixture, &format!("{base}/{path}")).await;
    let ours = std::fs::read_to_string(local.join(path)).unwrap();
    let names = |text: &str| -> Vec<String> {
        let uris =
            shoal_playlist::uris(text).filter(|uri| uri.kind != shoal_playlist::UriKind::Key);
        uris.map(|uri| uri.text.to_owned()).collect()
    };
    let (shown, ours) = (names(&shown), names(&ours));
    assert!(shown.len() == ours.len() && shown.len() >= 4, "{shown:?} {ours:?}");
    let directory = Path::new(path).parent().unwrap();
    for (uri, file) in shown.iter().zip(&ours) {
        let url = format!("{base}/{}", directory.join(uri).display());
        let served = fixture.get(&url).await.bytes().await.unwrap();
        let file = std::fs::read(local.join(directory).join(file)).unwrap();
        assert!(served == file, "{url}: {} bytes, not {}", served.len(), file.len());
    }
}

#[tokio::test]
async fn audio_in_renditions_of_its_own() {
    let fixture = Fixture::with("origin.playlist_segments = 10").await;
    let directory = fixture.directory.path();
    let map = "-map 0:v -map 1:a -map 1:a -hls_segment_type fmp4 -master_pl_name master.m3u8 \
        -hls_fmp4_init_filename init%v.mp4 -var_stream_map v:0,agroup:a\u{a0}a:0,agroup:a,\
        language:en,default:yes\u{a0}a:1,agroup:a,language:fr";
    let to = |base: &str, more: &str| {
        format!("{map} {more} -hls_segment_filename {base}/s%v_%d.m4s {base}/v%v.m3u8")
    };
    let push = fixture.url("/publish/key1/cam");
    for (base, more) in [("local", ""), (push.as_str(), "-method PUT")] {
        std::fs::create_dir_all(directory.join("local")).unwrap();
        let args = format!("{EIGHT_SECONDS} {}", to(base, more));
        let args: Vec<String> =
            args.split_ascii_whitespace().map(|arg| arg.replace('\u{a0}', " ")).collect();
        ffmpeg(directory, &args.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }
    let local = directory.join("local");
    for rendition in ["v0.m3u8", "v1.m3u8", "v2.m3u8"] {
        same_bytes(&fixture, "/live/cam", rendition, &local).await;
    }
    let master = fixture.text("/live/cam/master.m3u8").await;
    assert_eq!(master, std::fs::read_to_string(local.join("master.m3u8")).unwrap());
    assert_eq!(master.matches("TYPE=AUDIO").count(), 2, "{master}");
    let played = frames(directory, &fixture.url("/live/cam/master.m3u8")).await;
    assert_eq!(played.len(), 80);
    assert_eq!(played, frames(directory, "local/master.m3u8").await);
}

#[tokio::test]
async fn what_is_encrypted_plays_with_the_key_that_was_pushed() {
    let fixture = Fixture::with("origin.playlist_segments = 10").await;
    let directory = fixture.directory.path();
    std::fs::write(directory.join("secret.key"), [7; 16]).unwrap();
    std::fs::write(directory.join("key.info"), "secret.key\nsecret.key\n").unwrap();
    assert_eq!(fixture.push("secret.key", vec![7; 16]).await, 201);
    let key = "-map 0:v -hls_key_info_file key.info";
    // The server counts from 0: what the encoder counts from must not matter.
    let push = fixture.url("/publish/key1/cam/index.m3u8");
    eight_seconds(directory, &format!("{key} -start_number 5 -method PUT {push}")).await;
    eight_seconds(directory, "-map 0:v local.m3u8").await;
    ended(&fixture, "/live/cam/index.m3u8").await;
    let played = frames(directory, &fixture.url("/live/cam/index.m3u8")).await;
    assert_eq!(played.len(), 80);
    assert_eq!(played, frames(directory, "local.m3u8").await);
}

#[tokio::test]
async fn one_file_of_byte_ranges_is_a_recording() {
    let directory = tempfile::tempdir().unwrap();
    let vod = directory.path().join("vod");
    let film = vod.join("film");
    std::fs::create_dir_all(&film).unwrap();
    let segments = "-map 0:v -hls_segment_type fmp4 -hls_flags single_file";
    eight_seconds(&film, &format!("{segments} index.m3u8")).await;
    let more = format!("origin.vod_dir = '{}'", vod.display());
    let fixture = Fixture::in_directory(directory, &more).await;
    let shown = ended(&fixture, "/vod/film/index.m3u8").await;
    assert!(!shown.contains("BYTERANGE"), "{shown}");
    let text = std::fs::read_to_string(film.join("index.m3u8")).unwrap();
    let ranges = text.lines().filter_map(|line| line.strip_prefix("#EXT-X-BYTERANGE:"));
    let uris = crate::harness::uris(&shown);
    assert_eq!((ranges.clone().count(), uris.len()), (4, 4), "{text}");
    let file = std::fs::read_dir(&film).unwrap().map(|entry| entry.unwrap().path());
    let file = file.filter(|path| path.extension().is_some_and(|end| end != "m3u8"));
    let file =
        std::fs::read(file.max_by_key(|path| path.metadata().unwrap().len()).unwrap()).unwrap();
    for (uri, range) in uris.into_iter().zip(ranges) {
        let (length, offset) = range.split_once('@').unwrap();
        let (length, offset): (usize, usize) = (length.parse().unwrap(), offset.parse().unwrap());
        let served = fixture.get(&format!("/vod/film/{uri}")).await.bytes().await.unwrap();
        assert!(served == file[offset..offset + length], "{uri}");
    }
    let played = frames(directory_of(&fixture), &fixture.url("/vod/film/index.m3u8")).await;
    assert_eq!(played.len(), 80);
    assert_eq!(played, frames(&film, "index.m3u8").await);
}

fn directory_of(fixture: &Fixture) -> &Path {
    fixture.directory.path()
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
