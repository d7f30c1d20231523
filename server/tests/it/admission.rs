//! Who is let in: tokens where viewers show them, and what happens to those of others.

use crate::harness::{Fixture, SECRET, claims, sign, unix_s, until, uris};
use crate::tracker::Viewer;
use reqwest::{Method, StatusCode};
use serde_json::json;
use shoal_wire::PROTOCOL;
use shoal_wire::tracker_message::RefuseCode;

const GUARDED: &str = "auth.play = 'token'";

fn token(stream: &str) -> String {
    sign(&claims(stream, "viewer"), SECRET)
}

/// Joins at the tracker's URL; the status if that is refused.
async fn join(fixture: &Fixture, path: &str) -> Result<(), (u16, String)> {
    let url = format!("ws://{}{path}", fixture.address());
    let mut viewer = Viewer::connect_to(&url).await?;
    viewer.says_hello("cam", PROTOCOL).await;
    Ok(())
}

async fn refused(fixture: &Fixture, reason: &str) -> f64 {
    fixture.metric(&format!("shoal_refused_total{{reason=\"{reason}\"}}")).await
}

#[tokio::test]
async fn a_token_is_shown_in_any_of_three_places() {
    let fixture = Fixture::new().await;
    let token = token("cam");
    join(&fixture, &format!("/live/cam/tracker?token={token}")).await.unwrap();
    join(&fixture, &format!("/t/{token}/live/cam/tracker")).await.unwrap();
    let url = format!("ws://{}/live/cam/tracker", fixture.address());
    let mut viewer =
        Viewer::connect_with(&url, ("authorization", &format!("Bearer {token}"))).await.unwrap();
    viewer.says_hello("cam", PROTOCOL).await;
}

#[tokio::test]
async fn no_stolen_expired_or_foreign_token_joins() {
    let fixture = Fixture::new().await;
    let with = |change: fn(&mut serde_json::Value)| {
        let mut claims = claims("cam", "viewer");
        change(&mut claims);
        sign(&claims, SECRET)
    };
    let expired = with(|claims| claims["exp"] = json!(unix_s() - 3600));
    let stolen = with(|claims| claims["ip"] = json!("192.0.2.7"));
    let forged = sign(&claims("cam", "viewer"), &"x".repeat(32));
    for (query, status, reason, says) in [
        (String::new(), 401, "token_missing", "?token="),
        ("?token=abc".into(), 401, "token_invalid", "no JWT"),
        (format!("?token={forged}"), 401, "token_invalid", "signed"),
        (format!("?token={expired}"), 401, "token_expired", "expired"),
        (format!("?token={}", token("dog")), 403, "token_stream", "`cam`"),
        (format!("?token={stolen}"), 403, "token_viewer", "another viewer"),
    ] {
        let before = refused(&fixture, reason).await;
        let (given, why) = join(&fixture, &format!("/live/cam/tracker{query}")).await.unwrap_err();
        assert_eq!(given, status, "{why}");
        assert!(why.contains(says), "{why}");
        assert_eq!(refused(&fixture, reason).await, before + 1.0, "{reason}");
    }
    join(&fixture, &format!("/live/cam/tracker?token={}", token("cam"))).await.unwrap();
}

#[tokio::test]
async fn a_session_ends_with_its_token() {
    let fixture = Fixture::new().await;
    // It holds for half a minute more, as clocks may be apart.
    let mut ending = claims("cam", "viewer");
    ending["exp"] = json!(unix_s() - 28);
    let path = |claims| format!("/live/cam/tracker?token={}", sign(claims, SECRET));
    let url = format!("ws://{}{}", fixture.address(), path(&ending));
    let mut viewer = Viewer::connect_to(&url).await.unwrap();
    viewer.says_hello("cam", PROTOCOL).await;
    let viewers = async |count: f64| {
        let there = || async { fixture.metric("shoal_peers{stream=\"cam\"}").await };
        until(|| async { (there().await == count).then_some(()) }).await;
    };
    viewers(1.0).await;
    viewer.is_refused(RefuseCode::Limit, "expired").await;
    assert_eq!(refused(&fixture, "token_expired").await, 1.0);
    viewers(0.0).await;
    let (status, _) = join(&fixture, &path(&ending)).await.unwrap_err();
    assert_eq!(status, 401);
    join(&fixture, &path(&claims("cam", "viewer"))).await.unwrap();
}

#[tokio::test]
async fn without_a_key_the_playlist_hands_out_a_token() {
    let fixture = Fixture::with("auth.secret = ''").await;
    fixture.push_segment(0, b"zero").await;
    let tracker = |path: &'static str| {
        let fixture = &fixture;
        async move {
            let playlist = fixture.get(path).await;
            assert!(playlist.headers()["cache-control"].to_str().unwrap().starts_with("private"));
            playlist.headers()["shoal-tracker"].to_str().unwrap().to_owned()
        }
    };
    let (one, two) = (tracker("/live/cam/index.m3u8").await, tracker("/live/cam/index.m3u8").await);
    assert!(one.starts_with("tracker?token=") && one != two, "each is a viewer's own");
    join(&fixture, &format!("/live/cam/{one}")).await.unwrap();
    let fixture = fixture.restarted_with("auth.secret = ''").await;
    join(&fixture, &format!("/live/cam/{two}")).await.unwrap();
    let (status, _) = join(&fixture, "/live/cam/tracker").await.unwrap_err();
    assert_eq!(status, 401);
}

#[tokio::test]
async fn with_a_key_the_viewers_own_token_is_passed_on() {
    let fixture = Fixture::new().await;
    fixture.push_segment(0, b"zero").await;
    let token = token("cam");
    for (path, tracker) in [
        ("/live/cam/index.m3u8".to_owned(), "tracker".to_owned()),
        ("/live/cam/index.m3u8?token=somebody-elses".to_owned(), "tracker".to_owned()),
        (format!("/live/cam/index.m3u8?token={token}"), format!("tracker?token={token}")),
        (format!("/t/{token}/live/cam/index.m3u8"), "tracker".to_owned()),
    ] {
        let playlist = fixture.get(&path).await;
        assert_eq!(playlist.status(), 200);
        assert_eq!(playlist.headers()["shoal-tracker"], tracker.as_str(), "{path}");
    }
}

#[tokio::test]
async fn who_got_the_playlist_with_a_token_gets_all_that_it_names() {
    let fixture = Fixture::with(GUARDED).await;
    fixture.push_segment(0, b"zero").await;
    let token = token("cam");
    let playlist = fixture.get(&format!("/live/cam/index.m3u8?token={token}")).await;
    assert_eq!(playlist.status(), 200);
    let found = playlist.url().clone();
    assert_eq!(found.path(), format!("/t/{token}/live/cam/index.m3u8"));
    let text = playlist.text().await.unwrap();
    for file in [uris(&text)[0], "0-1-0.ts.digest"] {
        let at = found.join(file).unwrap();
        let answer = fixture.get(at.path()).await;
        assert_eq!(answer.status(), 200, "{at}");
        assert!(answer.headers()["cache-control"].to_str().unwrap().starts_with("private"));
    }
    let other = self::token("dog");
    for (path, status) in [
        ("/live/cam/0-1-0.ts".to_owned(), 401),
        ("/live/cam/0-1-0.ts.digest".to_owned(), 401),
        ("/live/cam/index.m3u8".to_owned(), 401),
        (format!("/live/cam/index.m3u8?token={other}"), 403),
        (format!("/t/{other}/live/cam/0-1-0.ts"), 403),
        (format!("/live/cam/0-1-0.ts?token={token}"), 200),
    ] {
        assert_eq!(fixture.get(&path).await.status(), status, "{path}");
    }
    let bearer = fixture.request(Method::GET, "/live/cam/0-1-0.ts").bearer_auth(&token);
    assert_eq!(fixture.send(bearer).await.status(), StatusCode::OK);
    assert_eq!(refused(&fixture, "token_missing").await, 3.0);
    assert_eq!(refused(&fixture, "token_stream").await, 2.0);
}

#[tokio::test]
async fn a_page_with_a_token_hands_it_to_all_that_it_loads() {
    let fixture = Fixture::with(GUARDED).await;
    fixture.push_segment(0, b"zero").await;
    let token = token("cam");
    let page = fixture.get(&format!("/watch/cam?token={token}&share=off")).await;
    assert_eq!(page.url().path(), format!("/t/{token}/watch/cam/"));
    assert_eq!(page.url().query(), Some("share=off"));
    let source = page.url().join("source").unwrap();
    let source: serde_json::Value =
        serde_json::from_str(&fixture.text(source.path()).await).unwrap();
    let playlist = page.url().join("source").unwrap();
    let playlist = playlist.join(source["playlist"].as_str().unwrap()).unwrap();
    assert_eq!(fixture.get(playlist.path()).await.status(), 200);
}
