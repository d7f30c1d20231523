//! Streams of a real server: playlists that grow by digests, objects from the engine, peers.

use crate::harness::{Origin, Viewer, options, segment, segment_path, soon, until};
use reqwest::{Method, StatusCode, header};
use shoal_wire::ShareMode;
use std::num::NonZeroU32;

const INDEX: &str = "/live/cam/index.m3u8";

/// Publishes `seq` and waits until `viewer`'s playlist shows it.
async fn publish_to(origin: &Origin, viewers: &[&Viewer], seq: u64) {
    origin.publish(seq).await;
    for viewer in viewers {
        until(|| async {
            let text = viewer.text(INDEX).await;
            text.contains(&format!("0-1-{seq}.ts")).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn the_playlist_grows_by_digests_as_the_origins_does() {
    let origin = Origin::new().await;
    for seq in 0..8 {
        origin.publish(seq).await;
    }
    let viewer = Viewer::new(&origin.site()).await;
    assert_eq!(viewer.text(INDEX).await, origin.text(INDEX).await);
    assert_eq!(viewer.bytes(&segment_path(5)).await, segment(5));
    viewer.connected().await;
    for seq in 8..14 {
        publish_to(&origin, &[&viewer], seq).await;
        assert_eq!(viewer.text(INDEX).await, origin.text(INDEX).await);
        assert_eq!(viewer.bytes(&segment_path(seq)).await, segment(seq));
    }
    let before = origin.playlist_bytes().await;
    for seq in 14..18 {
        publish_to(&origin, &[&viewer], seq).await;
    }
    assert_eq!(origin.playlist_bytes().await, before, "digests tell, and the origin is not asked");
    soon(viewer.agent.stop()).await;
    until(|| async { (origin.viewers().await == 0).then_some(()) }).await;
}

#[tokio::test]
async fn objects_are_answered_as_an_origin_would() {
    let origin = Origin::new().await;
    origin.publish(0).await;
    let viewer = Viewer::new(&origin.site()).await;
    viewer.text(INDEX).await;
    let path = segment_path(0);
    let expected = segment(0);
    for (range, status, content_range, bytes) in [
        (None, StatusCode::OK, None, &expected[..]),
        (
            Some("bytes=0-"),
            StatusCode::PARTIAL_CONTENT,
            Some("bytes 0-199999/200000"),
            &expected[..],
        ),
        (
            Some("bytes=20000-39999"),
            StatusCode::PARTIAL_CONTENT,
            Some("bytes 20000-39999/200000"),
            &expected[20_000..40_000],
        ),
        (
            Some("bytes=-10"),
            StatusCode::PARTIAL_CONTENT,
            Some("bytes 199990-199999/200000"),
            &expected[199_990..],
        ),
    ] {
        let headers: Vec<_> = range.iter().map(|range| ("range", *range)).collect();
        let answer = viewer.get(&path, &headers).await;
        assert_eq!(answer.status(), status, "{range:?}");
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "video/mp2t");
        assert_eq!(answer.content_length(), Some(bytes.len() as u64), "{range:?}");
        let told = answer.headers().get(header::CONTENT_RANGE).map(|value| value.to_str().unwrap());
        assert_eq!(told, content_range);
        assert_eq!(soon(answer.bytes()).await.unwrap(), bytes, "{range:?}");
    }
    let behind = viewer.get(&path, &[("range", "bytes=200000-")]).await;
    assert_eq!(behind.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(behind.headers()[header::CONTENT_RANGE], "bytes */200000");
    let head = viewer.ask(Method::HEAD, &viewer.url(&path), &[]).await;
    assert_eq!(head.headers()[header::CONTENT_LENGTH], "200000");
}

#[tokio::test]
async fn viewers_feed_each_other() {
    let origin = Origin::new().await;
    for seq in 0..6 {
        origin.publish(seq).await;
    }
    let (one, two) = (Viewer::new(&origin.site()).await, Viewer::new(&origin.site()).await);
    for viewer in [&one, &two] {
        viewer.text(INDEX).await;
        assert_eq!(viewer.bytes(&segment_path(3)).await, segment(3));
        viewer.connected().await;
    }
    for seq in 6..100 {
        publish_to(&origin, &[&one, &two], seq).await;
        for viewer in [&one, &two] {
            assert_eq!(viewer.bytes(&segment_path(seq)).await, segment(seq));
        }
        if one.total("from_peers").await > 0 && two.total("from_peers").await > 0 {
            break;
        }
    }
    assert!(one.total("from_peers").await > 0 && two.total("from_peers").await > 0);
    assert_eq!(one.total("hash_mismatches").await, 0);
    let status = one.status().await;
    assert_eq!(status["streams"][0]["neighbours"].as_array().unwrap().len(), 1);
    assert_eq!(status["streams"][0]["players"], 1);
}

#[tokio::test]
async fn bad_bytes_reach_no_player() {
    let origin = Origin::new().await;
    for seq in 0..6 {
        origin.publish(seq).await;
    }
    let corrupt_every = NonZeroU32::new(2);
    let bad = shoal_agent::Options { corrupt_every, ..options(&origin.site()) };
    let (bad, good) = (Viewer::with(bad).await, Viewer::new(&origin.site()).await);
    for viewer in [&bad, &good] {
        viewer.text(INDEX).await;
        viewer.bytes(&segment_path(3)).await;
        viewer.connected().await;
    }
    for seq in 6..100 {
        publish_to(&origin, &[&bad, &good], seq).await;
        for viewer in [&bad, &good] {
            assert_eq!(viewer.bytes(&segment_path(seq)).await, segment(seq));
        }
        if good.total("hash_mismatches").await > 0 {
            break;
        }
    }
    assert!(good.total("hash_mismatches").await > 0);
    assert_eq!(good.status().await["streams"][0]["neighbours_cut_off"], 1);
}

#[tokio::test]
async fn a_server_that_comes_back_is_found_again() {
    let origin = Origin::new().await;
    for seq in 0..4 {
        origin.publish(seq).await;
    }
    let viewer = Viewer::new(&origin.site()).await;
    viewer.text(INDEX).await;
    viewer.bytes(&segment_path(1)).await;
    viewer.connected().await;
    let peer = viewer.status().await["streams"][0]["peer"].clone();
    let origin = origin.restarted().await;
    until(|| async { (origin.viewers().await == 1).then_some(()) }).await;
    viewer.connected().await;
    assert_eq!(viewer.status().await["streams"][0]["peer"], peer);
    publish_to(&origin, &[&viewer], 4).await;
    assert_eq!(viewer.bytes(&segment_path(4)).await, segment(4));
}

#[tokio::test]
async fn without_sharing_it_is_plain_http() {
    let origin = Origin::new().await;
    origin.publish(0).await;
    let off = shoal_agent::Options { share: ShareMode::Off, ..options(&origin.site()) };
    let viewer = Viewer::with(off).await;
    viewer.text(INDEX).await;
    assert_eq!(viewer.bytes(&segment_path(0)).await, segment(0));
    publish_to(&origin, &[&viewer], 1).await;
    assert_eq!(viewer.bytes(&segment_path(1)).await, segment(1));
    assert_eq!(origin.viewers().await, 0);
    assert_eq!(viewer.status().await["streams"][0]["connected"], false);
    assert_eq!(viewer.total("delivered").await, 400_000);
}
