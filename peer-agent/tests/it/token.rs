//! Tokens: shown where they are asked for, and renewed while an agent runs.

use crate::harness::{Origin, Viewer, options, segment, segment_path, soon, until};
use shoal_agent::{Options, Token};
use std::time::Duration;

const INDEX: &str = "/live/cam/index.m3u8";

/// A viewer's token for `cam` until the year 2100, and the secret that it is signed with.
const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ2IiwiZXhwIjo0MTAyNDQ0ODAwLCJzdHJlYW0iOiJjYW0ifQ.6de0PYJpuu8mhM_njhyQMdyatK_byKEqz8jH1u8lKiE";
/// The same, expired long ago.
const EXPIRED: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ2IiwiZXhwIjoxMDAwMDAwMDAwLCJzdHJlYW0iOiJjYW0ifQ.6_HOiv6PLEl10sSNow-_Tx-wW1d0XYz9h625kMy5bVU";
const SECRET: &str = "0123456789abcdef0123456789abcdef";

#[tokio::test]
async fn a_token_is_shown_to_the_origin_and_its_tracker() {
    let origin = Origin::with(&format!("auth.secret = '{SECRET}'\nauth.play = 'token'")).await;
    for seq in 0..4 {
        origin.publish(seq).await;
    }
    let stranger = Viewer::new(&origin.site()).await;
    assert_eq!(stranger.get(INDEX, &[]).await.status(), 401);
    let token = Some(Token::Given(TOKEN.to_owned()));
    let guest = Viewer::with(shoal_agent::Options { token, ..options(&origin.site()) }).await;
    guest.text(INDEX).await;
    assert_eq!(guest.bytes(&segment_path(1)).await, segment(1));
    guest.connected().await;
    // Another has it in the URL: what the playlist names has it too.
    let other = Viewer::new(&origin.site()).await;
    let playlist = other.text(&format!("{INDEX}?token={TOKEN}")).await;
    let last = playlist.lines().last().unwrap();
    assert!(last.contains(&format!("/t/{TOKEN}/live/cam/0-1-3.ts")), "{last}");
    other.connected().await;
    assert_eq!(origin.viewers().await, 2);
}

/// An origin that anybody may play, and that lets in whom the operator has signed a token.
async fn origin() -> Origin {
    let origin = Origin::with(&format!("auth.secret = '{SECRET}'")).await;
    for seq in 0..4 {
        origin.publish(seq).await;
    }
    origin
}

/// Plays on, and awaits that the tracker lets the viewer in.
async fn plays_until_connected(viewer: &Viewer, index: &str) {
    until(|| async {
        viewer.text(index).await;
        viewer.status().await["streams"][0]["connected"].as_bool()?.then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_file_brings_the_next_token() {
    let origin = origin().await;
    let path = origin.directory.path().join("token");
    std::fs::write(&path, EXPIRED).unwrap();
    let token = Some(Token::File(path.clone()));
    let viewer = Viewer::with(Options { token, ..options(&origin.site()) }).await;
    viewer.text(INDEX).await;
    until(|| async { (origin.refused("token_expired").await > 0).then_some(()) }).await;
    assert_eq!(viewer.bytes(&segment_path(3)).await, segment(3), "plain HTTP goes on");
    // Several of the shortest pauses: with the same token it is not tried again and again.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(origin.refused("token_expired").await, 1);
    assert_eq!(origin.viewers().await, 0);
    std::fs::write(&path, format!("{TOKEN}\n")).unwrap();
    plays_until_connected(&viewer, INDEX).await;
}

#[tokio::test]
async fn a_players_newer_url_brings_the_next_token() {
    let origin = origin().await;
    let viewer = Viewer::new(&origin.site()).await;
    viewer.text(&format!("{INDEX}?token={EXPIRED}")).await;
    until(|| async { (origin.refused("token_missing").await > 0).then_some(()) }).await;
    plays_until_connected(&viewer, &format!("{INDEX}?token={TOKEN}")).await;
}

#[tokio::test]
async fn a_token_that_the_server_signed_is_renewed_from_the_playlist() {
    let origin = Origin::new().await;
    origin.publish(0).await;
    let viewer = Viewer::new(&origin.site()).await;
    viewer.text(INDEX).await;
    viewer.connected().await;
    // With another key all tokens are void, as they are when they have expired.
    let origin = origin.restarted_with_new_keys().await;
    until(|| async { (origin.refused("token_invalid").await > 0).then_some(()) }).await;
    plays_until_connected(&viewer, INDEX).await;
    soon(viewer.agent.stop()).await;
}
