//! What lies outside of the server: web origins, reverse proxies, the operator's own service, STUN.

use crate::harness::{Fixture, SECRET, claims, sign, soon, uris};
use crate::tracker::Viewer;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use reqwest::Method;
use serde_json::{Value, json};
use shoal_wire::ServerMessage;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, UdpSocket};

async fn refused(fixture: &Fixture, reason: &str) -> f64 {
    fixture.metric(&format!("shoal_refused_total{{reason=\"{reason}\"}}")).await
}

fn tracker(fixture: &Fixture) -> String {
    let token = sign(&claims("cam", "viewer"), SECRET);
    format!("ws://{}/live/cam/tracker?token={token}", fixture.address())
}

#[tokio::test]
async fn pages_of_other_sites_neither_read_nor_join() {
    let fixture = Fixture::with("auth.web_origins = ['https://*.example.com']").await;
    fixture.push_segment(0, b"zero").await;
    let own = format!("http://{}", fixture.address());
    for (origin, reads, joins) in [
        ("https://tv.example.com", true, true),
        ("https://example.com.evil", false, false),
        ("null", false, false),
        (own.as_str(), false, true),
    ] {
        let request = fixture.request(Method::GET, "/live/cam/index.m3u8").header("origin", origin);
        let answer = fixture.send(request).await;
        assert_eq!(answer.status(), 200);
        let allowed = answer.headers().get("access-control-allow-origin");
        assert_eq!(allowed.is_some(), reads, "{origin}");
        let joined = Viewer::connect_with(&tracker(&fixture), ("origin", origin)).await;
        assert_eq!(joined.map(|_| ()).map_err(|(status, _)| status).is_ok(), joins, "{origin}");
    }
    assert_eq!(refused(&fixture, "web_origin").await, 2.0);
    Viewer::connect_to(&tracker(&fixture)).await.unwrap();
}

#[tokio::test]
async fn behind_a_proxy_with_a_path_of_its_own_everything_is_found() {
    let settings = "server.base_path = '/shoal'\nserver.trusted_proxies = ['127.0.0.1']\n\
                    auth.play = 'token'";
    let fixture = Fixture::with(settings).await;
    fixture.push_segment(0, b"zero").await;
    let mut claims = claims("cam", "viewer");
    claims["ip"] = json!("192.0.2.7");
    let token = sign(&claims, SECRET);
    let ask = |path: String, client: &'static str| {
        let request = fixture.request(Method::GET, &path);
        fixture.send(request.header("x-forwarded-for", client))
    };
    let playlist = ask(format!("/shoal/live/cam/index.m3u8?token={token}"), "192.0.2.7").await;
    assert_eq!(playlist.status(), 200);
    let found = playlist.url().clone();
    assert_eq!(found.path(), format!("/shoal/t/{token}/live/cam/index.m3u8"));
    let tracker = found.join(playlist.headers()["shoal-tracker"].to_str().unwrap()).unwrap();
    assert_eq!(tracker.path(), format!("/shoal/t/{token}/live/cam/tracker"));
    let segment = found.join(uris(&playlist.text().await.unwrap())[0]).unwrap();
    assert_eq!(ask(segment.path().to_owned(), "192.0.2.7").await.status(), 200);
    assert_eq!(ask(segment.path().to_owned(), "192.0.2.8").await.status(), 403);
    // The client may say anything before what the proxy adds.
    let lie = ask(segment.path().to_owned(), "192.0.2.7, 192.0.2.8").await;
    assert_eq!(lie.status(), 403);
    assert_eq!(refused(&fixture, "token_viewer").await, 2.0);
    let mut socket = tracker.clone();
    socket.set_scheme("ws").unwrap();
    Viewer::connect_with(socket.as_str(), ("x-forwarded-for", "192.0.2.7")).await.unwrap();
    let page = ask(format!("/shoal/watch/cam?token={token}"), "192.0.2.7").await;
    assert_eq!(page.url().path(), format!("/shoal/t/{token}/watch/cam/"));
}

/// An operator's service that lets `ann` play and `enc` publish, and what it was asked.
#[derive(Clone, Default)]
struct Service(Arc<Mutex<Vec<Value>>>);

impl Service {
    async fn start() -> (Self, SocketAddr) {
        async fn answer(State(service): State<Service>, body: String) -> StatusCode {
            let asked: Value = serde_json::from_str(&body).unwrap();
            let allowed = match asked["action"].as_str().unwrap() {
                "read" => asked["user"] == "ann" || asked["query"] == "ticket=7",
                "publish" => asked["token"] == "enc" && asked["path"] == "cam",
                _ => false,
            };
            let nobody = asked["user"] == "" && asked["token"] == "";
            service.0.lock().unwrap().push(asked);
            match (allowed, nobody) {
                (true, _) => StatusCode::OK,
                (false, true) => StatusCode::UNAUTHORIZED,
                (false, false) => StatusCode::FORBIDDEN,
            }
        }
        let service = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(service.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (service, address)
    }

    fn asked(&self) -> Vec<Value> {
        self.0.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn the_operators_service_says_who_publishes_and_who_plays() {
    let (service, address) = Service::start().await;
    let fixture = Fixture::with(&format!("auth.hook = 'http://{address}/auth'")).await;
    let push = |key: &str, file: &str, body: String| {
        let request = fixture.request(Method::PUT, &format!("/publish/{key}/cam/{file}"));
        fixture.send(request.body(body))
    };
    assert_eq!(push("enc", "index0.ts", "zero".into()).await.status(), 201);
    let playlist = crate::harness::playlist(0..=0);
    assert_eq!(push("enc", "index.m3u8", playlist.clone()).await.status(), 201);
    assert_eq!(service.asked().len(), 1, "the second answer is the first's");
    let asked = &service.asked()[0];
    for (key, value) in [
        ("action", "publish"),
        ("path", "cam"),
        ("protocol", "hls"),
        ("token", "enc"),
        ("user", ""),
        ("password", ""),
        ("query", ""),
        ("ip", "127.0.0.1"),
    ] {
        assert_eq!(asked[key], value, "{key}");
    }
    assert_eq!(asked["id"].as_str().unwrap().len(), 32);
    assert_eq!(push("key1", "index.m3u8", playlist).await.status(), 403);

    let ann = fixture.request(Method::GET, "/live/cam/index.m3u8").basic_auth("ann", Some("pw"));
    let shown = fixture.send(ann).await;
    assert_eq!(shown.status(), 200);
    assert_eq!(service.asked().last().unwrap()["password"], "pw");
    let count = service.asked().len();
    let found = shown.url().clone();
    let segment = found.join(uris(&shown.text().await.unwrap())[0]).unwrap();
    assert!(segment.path().starts_with("/t/"), "{segment}");
    assert_eq!(fixture.get(segment.path()).await.status(), 200);
    assert_eq!(service.asked().len(), count, "a segment has its token");
    assert_eq!(fixture.get("/live/cam/index.m3u8?ticket=7").await.status(), 200);
    assert_eq!(fixture.get("/live/cam/index.m3u8?ticket=8").await.status(), 401);
    assert_eq!(fixture.get("/live/cam/0-1-0.ts").await.status(), 401);
    assert_eq!(refused(&fixture, "hook_denied").await, 3.0);
}

#[tokio::test]
async fn a_service_that_does_not_answer_lets_nobody_in() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let settings = format!("auth.hook = '{url}'\nauth.hook_timeout_ms = 100");
    let fixture = Fixture::with(&settings).await;
    let answer = fixture.get("/live/cam/index.m3u8?ticket=7").await;
    assert_eq!(answer.status(), 503);
    assert!(answer.text().await.unwrap().contains("auth.hook"));
    assert_eq!(fixture.push("index0.ts", "zero").await, 503);
    assert_eq!(refused(&fixture, "hook_failed").await, 2.0);
}

#[tokio::test]
async fn viewers_are_given_stun_that_answers_and_turn_that_ends() {
    let settings = "stun.listen = ['127.0.0.1:0', '127.0.0.1:0']\nturn.urls = ['turn:t.example']\n\
                    turn.secret = 'north'\nstun.requests_per_second_max = 10";
    let fixture = Fixture::with(settings).await;
    let mut viewer = Viewer::connect_to(&tracker(&fixture)).await.unwrap();
    viewer.greet("cam").await;
    let servers = viewer
        .hear_until(|message| match message {
            ServerMessage::Welcome { ice_servers, .. } => Some(ice_servers),
            _ => None,
        })
        .await;
    assert_eq!(servers.len(), 3);
    assert!(servers[2].username.is_some() && servers[2].credential.is_some());
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = client.local_addr().unwrap().port();
    // A Binding request of nothing but its header (RFC 8489, 5).
    let request = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[9; 12]].concat();
    for server in &servers[..2] {
        let address = server.urls[0].strip_prefix("stun:").unwrap();
        client.send_to(&request, address).await.unwrap();
        let mut answer = [0; 128];
        let len = soon(client.recv(&mut answer)).await.unwrap();
        assert_eq!((&answer[..2], &answer[8..20]), (&[1, 1][..], &[9; 12][..]));
        // XOR-MAPPED-ADDRESS comes first: type, length, family, then the port.
        assert_eq!(answer[20..22], [0, 0x20]);
        let seen = u16::from_be_bytes([answer[26], answer[27]]) ^ 0x2112;
        assert_eq!(seen, port, "{len} bytes");
    }
    for _ in 0..30 {
        let address = servers[0].urls[0].strip_prefix("stun:").unwrap();
        client.send_to(&request, address).await.unwrap();
    }
    crate::harness::until(|| async {
        (refused(&fixture, "stun_rate").await >= 15.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn where_nothing_is_configured_no_ice_servers_are_given() {
    let fixture = Fixture::new().await;
    let mut viewer = Viewer::connect_to(&tracker(&fixture)).await.unwrap();
    viewer.greet("cam").await;
    let none = |message| match message {
        ServerMessage::Welcome { ice_servers, .. } => Some(ice_servers.is_empty()),
        _ => None,
    };
    assert!(viewer.hear_until(none).await);
}
