//! The control interface: looking, sending away, following a segment, holding out, draining.

use crate::harness::{Fixture, soon, until};
use crate::tracker::Viewer;
use serde_json::{Value, json};
use shoal_wire::tracker_message::{Assignment, RefuseCode, Report, Totals};
use shoal_wire::{ClientMessage, PeerId, RenditionId, ServerMessage, Substream};
use std::process::Output;
use tokio::process::Command;

async fn ctl(fixture: &Fixture, args: &[&str]) -> Output {
    let admin = format!("http://{}", fixture.server.ports().admin_listen.unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_shoal-server"));
    soon(command.args(["ctl", "--admin", &admin]).args(args).output()).await.unwrap()
}

/// What it prints; it must succeed.
async fn told(fixture: &Fixture, args: &[&str]) -> String {
    let output = ctl(fixture, args).await;
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

async fn refused(fixture: &Fixture, args: &[&str]) -> String {
    let output = ctl(fixture, args).await;
    assert!(!output.status.success(), "{args:?}");
    String::from_utf8(output.stderr).unwrap()
}

async fn post(fixture: &Fixture, path: &str, body: Value) -> (u16, Value) {
    let admin = fixture.server.ports().admin_listen.unwrap();
    let request = crate::harness::http()
        .post(format!("http://{admin}/api/v1/{path}"))
        .header("content-type", "application/json")
        .body(body.to_string());
    let response = soon(request.send()).await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_str(&response.text().await.unwrap()).unwrap())
}

#[tokio::test]
async fn streams_are_listed_and_mistakes_explained() {
    let fixture = Fixture::new().await;
    fixture.push_segment(0, b"zero").await;
    let text = told(&fixture, &["streams"]).await;
    assert!(text.lines().any(|line| line.starts_with("cam ") && line.contains(" on ")), "{text}");
    let stream: Value = serde_json::from_str(&told(&fixture, &["stream", "cam"]).await).unwrap();
    assert_eq!((&stream["epoch"], &stream["objects"][0]["object"]), (&json!(1), &json!("0-1-0")));
    assert!(refused(&fixture, &["stream", "none"]).await.contains("no such stream"));
    assert!(refused(&fixture, &["viewer", "cam", "12"]).await.contains("no such viewer"));
    let nowhere = ["--admin", "http://127.0.0.1:1", "streams"];
    assert!(refused(&fixture, &nowhere).await.contains("--admin"));
    let (status, answer) = post(&fixture, "streams/cam/peers", json!({ "enabled": "no" })).await;
    assert_eq!(status, 400);
    assert!(answer["error"].as_str().unwrap().contains("the body"), "{answer}");
    let (status, _) = post(&fixture, "streams/cam/viewers/1/ban", json!({ "seconds": 0 })).await;
    assert_eq!(status, 400);
    let described: Value =
        fixture.admin("/api/v1/openapi.json").await.text().await.unwrap().parse().unwrap();
    assert_eq!(described["openapi"], "3.1.0");
}

#[tokio::test]
async fn peers_are_switched_for_one_stream_and_for_all() {
    let fixture = Fixture::new().await;
    let enabled = "shoal_peers_enabled{stream=\"cam\"}";
    for (args, then) in [
        (["peers", "off", "cam"], 0.0),
        // The stream's own switch stays as it is.
        (["peers", "on", "--all"], 0.0),
        (["peers", "on", "cam"], 1.0),
        (["peers", "off", "--all"], 0.0),
        (["peers", "on", "cam"], 0.0),
        (["peers", "on", "--all"], 1.0),
    ] {
        told(&fixture, &args).await;
        assert_eq!(fixture.metric(enabled).await, then, "{args:?}");
    }
    assert!(refused(&fixture, &["peers", "off"]).await.contains("--all"));
    assert!(refused(&fixture, &["peers", "off", "none"]).await.contains("no such stream"));
}

#[tokio::test]
async fn an_operator_begins_an_epoch() {
    let fixture = Fixture::new().await;
    fixture.push_segment(0, b"zero").await;
    let text = told(&fixture, &["epoch", "cam"]).await;
    assert!(text.contains("\"epoch\": 2"), "{text}");
    fixture.push_segment(1, b"one").await;
    let playlist = fixture.playlist().await;
    assert!(playlist.contains("0-1-0.ts") && playlist.contains("0-2-"), "{playlist}");
    assert!(playlist.contains("#EXT-X-DISCONTINUITY\n"), "{playlist}");
}

#[tokio::test]
async fn who_is_kicked_may_come_back_and_who_is_banned_may_not() {
    let fixture = Fixture::new().await;
    let (mut viewer, peer, _) = Viewer::join(&fixture).await;
    let shown: Value =
        serde_json::from_str(&told(&fixture, &["viewer", "cam", &peer.to_string()]).await).unwrap();
    assert_eq!((&shown["group"], &shown["kind"]), (&json!("peers"), &json!("other")));
    told(&fixture, &["kick", "cam", &peer.to_string()]).await;
    viewer.is_refused(RefuseCode::Removed, "sent this viewer away").await;
    let (mut viewer, peer, _) = Viewer::join(&fixture).await;
    told(&fixture, &["ban", "cam", &peer.to_string(), "--seconds", "60"]).await;
    viewer.is_refused(RefuseCode::Removed, "for 60 s").await;
    let mut again = Viewer::hello(&fixture, "cam").await;
    again.is_refused(RefuseCode::Removed, "nobody in").await;
    assert_eq!(fixture.metric("shoal_refused_total{reason=\"session_removed\"}").await, 1.0);
}

#[tokio::test]
async fn a_segment_is_followed_to_its_last_viewer() {
    let fixture = Fixture::new().await;
    fixture.push_segment(0, b"zero").await;
    let (mut one, first, _) = Viewer::join(&fixture).await;
    let (mut two, second, _) = Viewer::join(&fixture).await;
    for viewer in [&mut one, &mut two] {
        viewer.say(&ClientMessage::Watch { rendition: RenditionId(0), msn: 0 }).await;
    }
    let tracing = ctl(&fixture, &["trace", "cam"]);
    let viewing = async {
        // Asked for before or after the next segment: one of these is followed.
        let asked = |message| match message {
            ServerMessage::Trace { object } => Some(object),
            _ => None,
        };
        let publishing = async {
            for seq in 1..100 {
                fixture.push_segment(seq, b"more").await;
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        };
        let object = tokio::select! {
            object = one.hear_until(asked) => object,
            () = publishing => panic!("nobody is asked for a segment"),
        };
        let traced = |parent: Option<PeerId>| ClientMessage::Traced {
            object,
            known_ms: 3,
            parents: vec![Assignment { substream: Substream(0), parent }],
            fell_back: false,
        };
        one.say(&traced(None)).await;
        assert_eq!(two.hear_until(asked).await, object);
        two.say(&traced(Some(first))).await;
        object
    };
    let (output, object) = tokio::join!(tracing, viewing);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(&format!("segment {}", object.file_stem())), "{text}");
    assert!(text.contains("2 have it") && text.contains("0 did not"), "{text}");
    let line = |peer: PeerId| -> Vec<&str> {
        let name = peer.to_string();
        let line = text.lines().find(|line| line.split_whitespace().nth(2) == Some(&name));
        line.unwrap_or_else(|| panic!("{text}")).split_whitespace().skip(3).collect()
    };
    assert_eq!(line(first), ["1", "origin"]);
    assert_eq!(line(second), ["2", first.to_string().as_str()]);
}

/// A viewer that reports once, in whichever group it is.
async fn report_once(fixture: &Fixture, startup_ms: [u32; 2]) -> (Viewer, bool) {
    let (mut viewer, peer, _) = Viewer::join(fixture).await;
    let held_out = peer.0 % 1000 < 500;
    let startup_ms = Some(startup_ms[usize::from(held_out)] + (peer.0 % 7) as u32);
    let totals = Totals { played_ms: 20_000, ..Totals::default() };
    viewer.say(&ClientMessage::Report(Report { startup_ms, totals, ..Report::default() })).await;
    (viewer, held_out)
}

const HALF: &str = "holdout.percent = 50\nholdout.viewers_min = 6\n";

#[tokio::test]
async fn peers_that_harm_are_switched_off() {
    let fixture = Fixture::with(HALF).await;
    let mut viewers = Vec::new();
    // Peers cost these viewers a second.
    for _ in 0..60 {
        viewers.push(report_once(&fixture, [1500, 500]).await);
    }
    let name = "shoal_peers_switched_off_total{stream=\"cam\"}";
    // Nothing is concluded more often than every two seconds, and only from a report.
    let off = async {
        while fixture.metric(name).await == 0.0 {
            viewers[0].0.say(&ClientMessage::Report(Report::default())).await;
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
    };
    soon(off).await;
    assert_eq!(fixture.metric(name).await, 1.0);
    assert_eq!(fixture.metric("shoal_peers_enabled{stream=\"cam\"}").await, 0.0);
    let low = "shoal_quality_difference{bound=\"low\",measure=\"startup_seconds\",stream=\"cam\"}";
    assert!((0.9..1.01).contains(&fixture.metric(low).await));
    let status = fixture.status().await;
    assert_eq!(status["streams"][0]["peers_enabled"], false);
}

#[tokio::test]
async fn who_is_held_out_gets_no_peers_and_is_not_planned() {
    let fixture = Fixture::with("holdout.percent = 100\n").await;
    fixture.push_segment(0, b"zero").await;
    let (mut viewer, _, _) = Viewer::join(&fixture).await;
    let told_off = viewer.hear_until(|message| match message {
        ServerMessage::Peers { enabled } => Some(enabled),
        _ => None,
    });
    assert!(!told_off.await);
    viewer.say(&ClientMessage::Watch { rendition: RenditionId(0), msn: 0 }).await;
    post(&fixture, "streams/cam/peers", json!({ "enabled": false })).await;
    post(&fixture, "streams/cam/peers", json!({ "enabled": true })).await;
    fixture.push_segment(1, b"one").await;
    viewer.say(&ClientMessage::WantDigests { objects: Vec::new() }).await;
    viewer.say(&ClientMessage::Bye).await;
    // Nothing came in between: no plan, no digest, and peers were not switched on for it.
    assert_eq!(viewer.next().await, None);
}

#[tokio::test]
async fn draining_says_not_ready_first() {
    let fixture = Fixture::with("server.drain_ms = 700\n").await;
    assert_eq!(fixture.admin("/readyz").await.status(), 200);
    told(&fixture, &["drain"]).await;
    soon(fixture.server.drained()).await;
    let admin = fixture.server.ports().admin_listen.unwrap();
    let (mut viewer, _, _) = Viewer::join(&fixture).await;
    let stopping = tokio::spawn(fixture.server.stop());
    let ready = || async {
        let response =
            crate::harness::http().get(format!("http://{admin}/readyz")).send().await.unwrap();
        (response.status() == 503).then_some(())
    };
    until(ready).await;
    let away = viewer.hear_until(|message| match message {
        ServerMessage::Reconnect { after_ms } => Some(after_ms),
        _ => None,
    });
    assert!(away.await < 3000);
    soon(stopping).await.unwrap();
}
