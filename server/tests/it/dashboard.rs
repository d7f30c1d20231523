//! The operator's page behind its looks: the stream of samples, and the switch for peers.

use crate::harness::{Fixture, soon, until};
use crate::tracker::Viewer;
use reqwest::Response;
use serde_json::Value;
use shoal_wire::{ClientMessage, RenditionId, ServerMessage};

/// Server-sent events as they come.
struct Events {
    response: Response,
    text: String,
}

impl Events {
    async fn open(fixture: &Fixture) -> Self {
        let response = fixture.admin("/admin/events").await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// The next event: its name and what it says; none at the end.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (name, data) = event.split_once('\n').unwrap();
                let name = name.strip_prefix("event: ").unwrap().to_owned();
                let data = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
                self.text = rest.to_owned();
                return Some((name, data));
            }
            let more = soon(self.response.chunk()).await.ok()??;
            self.text.push_str(std::str::from_utf8(&more).unwrap());
        }
    }

    async fn until(&mut self, name: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        loop {
            let (found, data) = self.next().await.expect("the events go on");
            if found == name && is_it(&data) {
                return data;
            }
        }
    }
}

async fn switch(fixture: &Fixture, stream: &str, headers: &[(&str, &str)], body: &str) -> u16 {
    let admin = fixture.server.ports().admin_listen.unwrap();
    let url = format!("http://{admin}/api/v1/streams/{stream}/peers");
    let mut request = crate::harness::http().post(url).body(body.to_owned());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    soon(request.send()).await.unwrap().status().as_u16()
}

const JSON: (&str, &str) = ("content-type", "application/json");

fn peers(message: ServerMessage) -> Option<bool> {
    match message {
        ServerMessage::Peers { enabled } => Some(enabled),
        _ => None,
    }
}

#[tokio::test]
async fn the_past_comes_first_and_then_a_sample_a_second() {
    let fixture = Fixture::new().await;
    fixture.push_segment(0, &[1; 50_000]).await;
    let (mut viewer, id, _) = Viewer::join(&fixture).await;
    viewer.say(&ClientMessage::Watch { rendition: RenditionId(0), msn: 0 }).await;
    let mut events = Events::open(&fixture).await;
    let (name, history) = events.next().await.unwrap();
    assert_eq!(name, "history");
    assert_eq!(history["columns"][0], "unix_ms");
    let watched = |data: &Value| data["streams"][0]["row"][1] == 1;
    let sample = events.until("sample", watched).await;
    let stream = &sample["streams"][0];
    assert_eq!((&stream["stream"], &stream["peers_enabled"]), (&"cam".into(), &true.into()));
    assert_eq!(stream["renditions"][0]["playlist"], "index.m3u8");
    let figures = async || {
        let metric = async |name: &str| {
            let labels = "{rendition=\"0\",stream=\"cam\"}";
            fixture.metric(&format!("shoal_{name}_bits_per_second{labels}")).await
        };
        let (demand, supply) = (metric("demand").await, metric("supply").await);
        let index = fixture.metric("shoal_resource_index{stream=\"cam\"}").await;
        // 50,000 bytes for two seconds, and one who watches.
        ((demand - 200_000.0).abs() < 2_000.0 && (supply - demand * index).abs() < 1.0)
            .then_some(supply)
    };
    assert!(until(|| async { figures().await }).await > 0.0);
    let planted = |data: &Value| data["cam"]["visited"].as_u64() > Some(0);
    let forests = events.until("forests", planted).await;
    let tree = &forests["cam"]["trees"][0];
    assert_eq!((&tree["peers"][0], &tree["parents"][0]), (&id.to_string().into(), &(-1).into()));
    // Another page, opened later, sees what the first saw.
    let mut later = Events::open(&fixture).await;
    let (_, history) = later.next().await.unwrap();
    assert!(history["rows"]["cam"].as_array().unwrap().iter().any(|row| row[1] == 1));
}

#[tokio::test]
async fn pages_are_limited_and_end_with_the_server() {
    let fixture = Fixture::new().await;
    let mut open = Vec::new();
    for _ in 0..64 {
        open.push(Events::open(&fixture).await);
    }
    assert_eq!(fixture.admin("/admin/events").await.status(), 503);
    let Fixture { server, directory, .. } = fixture;
    let stopping = tokio::spawn(server.stop());
    for events in &mut open {
        while events.next().await.is_some() {}
    }
    soon(stopping).await.unwrap();
    drop(directory);
}

#[tokio::test]
async fn peers_off_reaches_those_who_watch_and_those_to_come() {
    let fixture = Fixture::new().await;
    fixture.push_segment(0, &[1; 50_000]).await;
    let (mut here, ..) = Viewer::join(&fixture).await;
    assert_eq!(switch(&fixture, "cam", &[JSON], "{\"enabled\": false}").await, 200);
    assert!(!here.hear_until(peers).await);
    let (mut later, ..) = Viewer::join(&fixture).await;
    assert!(!later.hear_until(peers).await);
    assert_eq!(fixture.metric("shoal_peers_enabled{stream=\"cam\"}").await, 0.0);
    assert_eq!(fixture.status().await["streams"][0]["peers_enabled"], false);
    let admin = fixture.server.ports().admin_listen.unwrap();
    let origin = format!("http://{admin}");
    let ours = [JSON, ("origin", origin.as_str())];
    assert_eq!(switch(&fixture, "cam", &ours, "{\"enabled\": true}").await, 200);
    assert!(here.hear_until(peers).await && later.hear_until(peers).await);
    later.say(&ClientMessage::Watch { rendition: RenditionId(0), msn: 0 }).await;
    let planned = |message| match message {
        ServerMessage::Plan { assignments, .. } => Some(assignments.len()),
        _ => None,
    };
    assert!(later.hear_until(planned).await > 0, "plans are made again");
    assert_eq!(fixture.metric("shoal_peers_enabled{stream=\"cam\"}").await, 1.0);
}

#[tokio::test]
async fn the_page_is_told_which_of_the_two_switches_is_off() {
    let fixture = Fixture::new().await;
    let mut events = Events::open(&fixture).await;
    let admin = fixture.server.ports().admin_listen.unwrap();
    for enabled in [false, true] {
        let all = crate::harness::http().post(format!("http://{admin}/api/v1/peers"));
        let all = all.header(JSON.0, JSON.1).body(format!("{{\"enabled\": {enabled}}}"));
        assert_eq!(fixture.send(all).await.status(), 200);
        let is_told = |sample: &Value| sample["peers_enabled"] == enabled;
        let sample = soon(events.until("sample", is_told)).await;
        for told in [sample, fixture.status().await] {
            assert_eq!(told["peers_enabled"], enabled);
            assert_eq!(told["streams"][0]["peers_enabled"], enabled);
            assert_eq!(told["streams"][0]["peers_switched_on"], true);
        }
    }
    assert_eq!(switch(&fixture, "cam", &[JSON], "{\"enabled\": false}").await, 200);
    let status = fixture.status().await;
    assert_eq!(status["peers_enabled"], true);
    assert_eq!(status["streams"][0]["peers_switched_on"], false);
}

#[tokio::test]
async fn the_switch_is_not_for_other_sites() {
    let fixture = Fixture::new().await;
    let off = "{\"enabled\": false}";
    for (stream, headers, body, status) in [
        ("cam", &[][..], off, 415),
        ("cam", &[("content-type", "text/plain")], off, 415),
        ("cam", &[JSON, ("origin", "http://evil.example")], off, 403),
        ("cam", &[JSON, ("origin", "null")], off, 403),
        ("cam", &[JSON], "{\"enabled\": 1}", 400),
        ("cam", &[JSON], "{\"enabled\": false, \"more\": 1}", 400),
        ("none", &[JSON], off, 404),
    ] {
        assert_eq!(switch(&fixture, stream, headers, body).await, status, "{headers:?} {body}");
    }
    assert_eq!(switch(&fixture, "cam", &[JSON], &" ".repeat(2000)).await, 413);
    // What is asked with GET changes nothing.
    assert_eq!(fixture.admin("/api/v1/streams/cam/peers").await.status(), 405);
    assert_eq!(fixture.status().await["streams"][0]["peers_enabled"], true);
}
