//! What ffmpeg streams part by part, played so by two players behind agents.

use crate::harness::{Origin, Viewer, soon, until};
use reqwest::StatusCode;
use std::collections::BTreeMap;
use std::process::Stdio;
use tokio::process::{Child, Command};

const PLAYLIST: &str = "/live/cam/media_0.m3u8";
/// Parts of half a second that a player begins with, and that it plays.
const BEGINS_WITH: usize = 4;
const PLAYED: usize = 24;

fn encoder(origin: &Origin) -> Child {
    let args = format!(
        "-nostdin -v error -re -f lavfi -i testsrc2=size=320x180:rate=20 -t 60 -c:v libx264 \
         -preset ultrafast -tune zerolatency -g 20 -sc_threshold 0 -f dash -streaming 1 -ldash 1 \
         -hls_playlist 1 -seg_duration 1 -frag_type duration -frag_duration 0.5 -window_size 8 \
         -method PUT -http_persistent 1 {}/publish/key1/cam/manifest.mpd",
        origin.site()
    );
    let mut command = Command::new("ffmpeg");
    let command = command.args(args.split_whitespace()).stdout(Stdio::null()).stderr(Stdio::null());
    command.kill_on_drop(true).spawn().unwrap()
}

/// The names of a playlist's parts, in order, and where its next one is.
fn parts(text: &str) -> (Vec<String>, (u64, usize)) {
    let (mut names, mut msn, mut of_segment) = (Vec::new(), 0, 0);
    for line in text.lines() {
        if let Some(first) = line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:") {
            msn = first.parse().unwrap();
        } else if line.starts_with("#EXT-X-PART:") {
            let uri = line.split('"').nth(1).unwrap();
            names.push(uri.rsplit('/').next().unwrap().to_owned());
            of_segment += 1;
        } else if !line.starts_with('#') {
            (msn, of_segment) = (msn + 1, 0);
        }
    }
    (names, (msn, of_segment))
}

/// A name's numbers, by which parts follow each other.
fn order(name: &str) -> Vec<u64> {
    name.split(['-', '.']).filter_map(|number| number.parse().ok()).collect()
}

/// Plays part after part, each as soon as it is there; gives their bytes.
async fn play(viewer: &Viewer) -> BTreeMap<Vec<u64>, Vec<u8>> {
    let (names, mut next) = parts(&viewer.text(PLAYLIST).await);
    let mut wanted = names[names.len().saturating_sub(BEGINS_WITH)..].to_vec();
    let mut played = BTreeMap::new();
    loop {
        for name in wanted {
            let answer = viewer.get(&format!("/live/cam/{name}"), &[]).await;
            assert_eq!(answer.status(), StatusCode::OK, "{name}");
            played.insert(order(&name), soon(answer.bytes()).await.unwrap().to_vec());
        }
        if played.len() >= PLAYED {
            return played;
        }
        let poll = format!("{PLAYLIST}?_HLS_msn={}&_HLS_part={}", next.0, next.1);
        let (names, at) = parts(&viewer.text(&poll).await);
        assert!(at > next, "a poll is answered when there is more");
        next = at;
        let last = played.keys().next_back().cloned().unwrap();
        wanted = names.into_iter().filter(|name| order(name) > last).collect();
    }
}

#[tokio::test]
async fn parts_come_from_peers_in_time() {
    let origin = Origin::new().await;
    let _encoder = encoder(&origin);
    until(|| async {
        let (names, _) = parts(&origin.text(PLAYLIST).await);
        (names.len() >= BEGINS_WITH).then_some(())
    })
    .await;
    let (one, two) = (Viewer::new(&origin.site()).await, Viewer::new(&origin.site()).await);
    let (by_one, by_two) = tokio::join!(play(&one), play(&two));
    let both = by_one.iter().filter_map(|(part, bytes)| Some((bytes, by_two.get(part)?)));
    let both: Vec<_> = both.collect();
    assert!(both.len() >= PLAYED / 2, "{:?} {:?}", by_one.keys(), by_two.keys());
    assert!(both.iter().all(|(one, two)| one == two && !one.is_empty()));
    let from_peers = one.total("from_peers").await + two.total("from_peers").await;
    let delivered = one.total("delivered").await;
    assert!(from_peers * 2 > delivered, "{from_peers} of {delivered}");
}
