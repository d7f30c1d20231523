//! Encoders that repeat themselves, begin anew, or end.

use crate::harness::{Fixture, playlist, uris};

#[tokio::test]
async fn the_same_bytes_again_are_a_retry() {
    let fixture = Fixture::new().await;
    fixture.push_segment(0, b"zero").await;
    assert_eq!(fixture.push("index0.ts", "zero").await, 200);
    assert_eq!(fixture.push("index.m3u8", playlist(0..=0)).await, 201);
    fixture.push_segment(1, b"one").await;
    let text = fixture.playlist().await;
    assert_eq!(uris(&text), ["0-1-0.ts", "0-1-1.ts"]);
    assert!(!text.contains("DISCONTINUITY\n"), "{text}");
}

#[tokio::test]
async fn other_bytes_under_the_same_name_are_a_new_epoch() {
    let fixture = Fixture::new().await;
    for seq in 0..3_u8 {
        fixture.push_segment(seq.into(), &[seq; 10]).await;
    }
    fixture.push_segment(0, b"another life").await;
    fixture.push_segment(1, b"goes on").await;
    let text = fixture.playlist().await;
    assert_eq!(uris(&text), ["0-1-1.ts", "0-1-2.ts", "0-2-3.ts", "0-2-4.ts"][2..], "{text}");
    assert!(text.contains("#EXT-X-MEDIA-SEQUENCE:3\n"), "{text}");
    assert!(text.contains("#EXT-X-DISCONTINUITY\n#EXTINF:2.000000,\n0-2-3.ts"), "{text}");
    assert_eq!(fixture.text("/live/cam/0-2-3.ts").await, "another life");
    assert_eq!(fixture.get("/live/cam/0-1-0.ts").await.bytes().await.unwrap(), [0_u8; 10][..]);
}

#[tokio::test]
async fn numbers_that_start_again_are_a_new_epoch() {
    let fixture = Fixture::new().await;
    for seq in 0..30 {
        fixture.push_segment(seq, b"always the same").await;
    }
    fixture.push_segment(0, b"always the same").await;
    let text = fixture.playlist().await;
    assert_eq!(uris(&text).last(), Some(&"0-2-30.ts"), "{text}");
}

#[tokio::test]
async fn the_end_is_said_and_a_new_life_takes_it_back() {
    let fixture = Fixture::new().await;
    fixture.push_segment(0, b"zero").await;
    let ended = playlist(0..=0) + "#EXT-X-ENDLIST\n";
    assert_eq!(fixture.push("index.m3u8", ended).await, 201);
    assert!(fixture.playlist().await.ends_with("0-1-0.ts\n#EXT-X-ENDLIST\n"));
    fixture.push_segment(1, b"one").await;
    let text = fixture.playlist().await;
    assert!(text.ends_with("#EXT-X-DISCONTINUITY\n#EXTINF:2.000000,\n0-2-1.ts\n"), "{text}");
}
