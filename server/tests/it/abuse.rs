//! Abuse: each kind is refused with a reason that is counted, and viewers who do no wrong go on.

use crate::harness::{Fixture, SECRET, claims, raw, sign, soon, until};
use crate::tracker::{Viewer, introduction, passed_on, watch};
use shoal_wire::tracker_message::{RefuseCode, Report, Signal};
use shoal_wire::{ClientMessage, PROTOCOL, PeerId, ServerMessage};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn refused(fixture: &Fixture, reason: &str) -> f64 {
    fixture.metric(&format!("shoal_refused_total{{reason=\"{reason}\"}}")).await
}

/// Connects with a viewer's own token.
async fn connect(fixture: &Fixture, viewer: &str) -> Result<Viewer, (u16, String)> {
    let token = sign(&claims("cam", viewer), SECRET);
    Viewer::connect_to(&format!("ws://{}/live/cam/tracker?token={token}", fixture.address())).await
}

async fn join(fixture: &Fixture, viewer: &str) -> (Viewer, PeerId) {
    let mut joined = connect(fixture, viewer).await.unwrap();
    let (peer, _) = joined.says_hello("cam", PROTOCOL).await;
    (joined, peer)
}

#[tokio::test]
async fn a_flood_of_joins_with_one_token_leaves_others_alone() {
    let fixture = Fixture::with("tracker.joins_per_minute_max = 5").await;
    for _ in 0..5 {
        connect(&fixture, "flood").await.unwrap();
    }
    let (status, why) = connect(&fixture, "flood").await.err().unwrap();
    assert_eq!(status, 429);
    assert!(why.contains("joins_per_minute_max"), "{why}");
    assert_eq!(refused(&fixture, "join_rate").await, 1.0);
    join(&fixture, "honest").await;
}

#[tokio::test]
async fn one_address_tries_so_often_with_whatever_tokens() {
    let fixture = Fixture::with("tracker.joins_per_address_max = 5").await;
    for number in 0..5 {
        connect(&fixture, &number.to_string()).await.unwrap();
    }
    let (status, why) = connect(&fixture, "another").await.err().unwrap();
    assert_eq!(status, 429);
    assert!(why.contains("joins_per_address_max"), "{why}");
    assert_eq!(refused(&fixture, "join_address").await, 1.0);
    assert_eq!(fixture.get("/live/cam/none.m3u8").await.status(), 404, "plain HTTP goes on");
}

#[tokio::test]
async fn a_token_has_so_many_sessions() {
    let fixture = Fixture::with("tracker.sessions_per_token_max = 2").await;
    let (_one, _) = join(&fixture, "shared").await;
    let (two, _) = join(&fixture, "shared").await;
    let mut three = connect(&fixture, "shared").await.unwrap();
    three.greet("cam").await;
    three.is_refused(RefuseCode::Limit, "sessions_per_token_max").await;
    assert_eq!(refused(&fixture, "session_token").await, 1.0);
    let (_honest, _) = join(&fixture, "honest").await;
    drop(two);
    until(|| async { (fixture.metric("shoal_peers{stream=\"cam\"}").await == 2.0).then_some(()) })
        .await;
    join(&fixture, "shared").await;
}

#[tokio::test]
async fn heads_that_do_not_come_hold_no_connection() {
    let fixture = Fixture::with("server.head_timeout_ms = 300").await;
    let mut slow = Vec::new();
    for part in ["", "GET", "GET /live/cam/index.m3u8 HTTP/1.1\r\nhost: "].repeat(30) {
        let mut socket = soon(TcpStream::connect(fixture.address())).await.unwrap();
        socket.write_all(part.as_bytes()).await.unwrap();
        slow.push(socket);
    }
    // Its first request came: it may be idle for longer.
    let mut idle = soon(TcpStream::connect(fixture.address())).await.unwrap();
    let ask = b"GET /live/cam/none.m3u8 HTTP/1.1\r\nhost: h\r\n\r\n";
    idle.write_all(ask).await.unwrap();
    for socket in &mut slow {
        assert!(matches!(soon(socket.read(&mut [0; 16])).await, Ok(0) | Err(_)));
    }
    assert!(refused(&fixture, "slow_head").await >= 90.0);
    idle.write_all(ask).await.unwrap();
    let mut answers = String::new();
    while answers.matches("404 Not Found").count() < 2 {
        let mut bytes = [0; 1024];
        let count = soon(idle.read(&mut bytes)).await.unwrap();
        assert!(count > 0, "{answers}");
        answers.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
}

#[tokio::test]
async fn an_upload_that_drips_is_dropped() {
    let limits = "ingest.idle_timeout_ms = 300\ningest.bytes_per_second_min = 2000";
    let fixture = Fixture::with(limits).await;
    let socket = soon(TcpStream::connect(fixture.address())).await.unwrap();
    let (mut answers, mut sender) = socket.into_split();
    let head = "PUT /publish/key1/cam/a.ts HTTP/1.1\r\nhost: h\r\ncontent-length: 100000\r\n\r\n";
    sender.write_all(head.as_bytes()).await.unwrap();
    let drip = async {
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        while sender.write_all(b"0123456789").await.is_ok() {
            pace.tick().await;
        }
    };
    let mut answer = [0; 256];
    let count = tokio::select! {
        count = soon(answers.read(&mut answer)) => count.unwrap(),
        () = drip => panic!("the answer comes before the end"),
    };
    let answer = String::from_utf8_lossy(&answer[..count]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert_eq!(refused(&fixture, "ingest_slow").await, 1.0);
    fixture.push_segment(0, &[1; 5_000]).await;
}

#[tokio::test]
async fn a_frame_of_a_gibibyte_ends_the_session_at_its_head() {
    let fixture = Fixture::new().await;
    let (mut here, _) = join(&fixture, "here").await;
    let token = sign(&claims("cam", "huge"), SECRET);
    let mut request = format!(
        "GET /live/cam/tracker?token={token} HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\n\
         upgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .into_bytes();
    // Text, masked, of 2^30 bytes (RFC 6455, 5.2).
    request.extend([0x81, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0, 1, 2, 3, 4, b'x']);
    let told = String::from_utf8_lossy(&raw(fixture.address(), &request).await).into_owned();
    assert!(told.contains("bad_message") && told.contains("limit"), "{told}");
    assert_eq!(refused(&fixture, "session_message").await, 1.0);
    here.say(&ClientMessage::Bye).await;
    assert!(here.ended().await);
}

#[tokio::test]
async fn no_path_climbs_on_any_route() {
    let fixture = Fixture::with("origin.keep_segments = 4").await;
    std::fs::write(fixture.directory.path().join("secret.ts"), "hidden").unwrap();
    let admin = fixture.server.ports().admin_listen.unwrap();
    let token = sign(&claims("cam", "climber"), SECRET);
    let mut asked = 0;
    for climb in
        ["../../secret.ts", "%2e%2e/%2E%2E/secret.ts", "..%2f..%2Fsecret.ts", "..%5csecret.ts"]
    {
        for (address, method, base) in [
            (fixture.address(), "GET", "/live/cam/"),
            (fixture.address(), "GET", "/vod/cam/"),
            (fixture.address(), "GET", "/live/"),
            (fixture.address(), "GET", "/web/"),
            (fixture.address(), "GET", "/watch/cam/"),
            (fixture.address(), "GET", &format!("/t/{token}/live/cam/")),
            (fixture.address(), "PUT", "/publish/key1/cam/"),
            (fixture.address(), "PUT", "/ingest/cam/"),
            (admin, "GET", "/admin/"),
            (admin, "POST", "/api/v1/streams/"),
        ] {
            let request = format!(
                "{method} {base}{climb} HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\
                 connection: close\r\n\r\n"
            );
            let answer = raw(address, request.as_bytes()).await;
            let answer = String::from_utf8_lossy(&answer).into_owned();
            assert!(answer.starts_with("HTTP/1.1 400"), "{base}{climb}: {answer}");
            assert!(answer.contains("leads out"), "{base}{climb}: {answer}");
            asked += 1;
        }
    }
    assert_eq!(refused(&fixture, "path").await, f64::from(asked));
    let upload = fixture
        .request(reqwest::Method::PUT, "/http_upload_hls?cid=key1&copy=0&file=../../secret.ts");
    assert_eq!(fixture.send(upload.body("x")).await.status(), 400);
    assert_eq!(std::fs::read(fixture.directory.path().join("secret.ts")).unwrap(), b"hidden");
    fixture.push_segment(0, b"zero").await;
    assert_eq!(fixture.get("/live/cam/0-1-0.ts").await.status(), 200);
}

/// Two that watch, introduced to each other: who offers, and who answers.
async fn pair(fixture: &Fixture) -> [(Viewer, PeerId); 2] {
    fixture.push_segment(0, &[1; 500_000]).await;
    let (mut a, a_id) = join(fixture, "a").await;
    watch(&mut a).await;
    let (mut b, b_id) = join(fixture, "b").await;
    watch(&mut b).await;
    let (_, a_offers) = a.hear_until(introduction).await;
    b.hear_until(introduction).await;
    if a_offers { [(a, a_id), (b, b_id)] } else { [(b, b_id), (a, a_id)] }
}

fn offer() -> Signal {
    Signal::Offer { sdp: "v=0".into() }
}

#[tokio::test]
async fn an_offer_passes_once() {
    let fixture = Fixture::new().await;
    let [(mut one, one_id), (mut two, two_id)] = pair(&fixture).await;
    for _ in 0..3 {
        one.say(&ClientMessage::Signal { peer: two_id, signal: offer() }).await;
    }
    let candidate = Signal::Candidate { candidate: "c".into(), mid: None };
    one.say(&ClientMessage::Signal { peer: two_id, signal: candidate.clone() }).await;
    assert_eq!(two.hear_until(passed_on).await, (one_id, offer()));
    assert_eq!(two.hear_until(passed_on).await, (one_id, candidate), "and no offer again");
    assert_eq!(refused(&fixture, "signal_replayed").await, 2.0);
    let answer = Signal::Answer { sdp: "v=0".into() };
    two.say(&ClientMessage::Signal { peer: one_id, signal: answer.clone() }).await;
    assert_eq!(one.hear_until(passed_on).await, (two_id, answer));
}

#[tokio::test]
async fn a_token_is_not_given_more_addresses_than_its_budget() {
    let fixture = Fixture::with("tracker.introductions_per_hour_max = 1").await;
    let [(mut one, one_id), (mut two, two_id)] = pair(&fixture).await;
    one.say(&ClientMessage::Signal { peer: two_id, signal: offer() }).await;
    assert_eq!(two.hear_until(passed_on).await, (one_id, offer()));
    let (mut three, three_id) = join(&fixture, "c").await;
    watch(&mut three).await;
    let (other, offers) = three.hear_until(introduction).await;
    let known = if other == one_id { &mut one } else { &mut two };
    let (from, to) = if offers { (&mut three, other) } else { (known, three_id) };
    from.say(&ClientMessage::Signal { peer: to, signal: offer() }).await;
    until(|| async { (refused(&fixture, "introductions").await == 1.0).then_some(()) }).await;
    // What was allowed before goes on.
    let answer = Signal::Answer { sdp: "v=0".into() };
    two.say(&ClientMessage::Signal { peer: one_id, signal: answer.clone() }).await;
    assert_eq!(one.hear_until(passed_on).await, (two_id, answer));
}

#[tokio::test]
async fn reports_come_no_faster_than_is_of_use() {
    let fixture = Fixture::new().await;
    let (mut viewer, _) = join(&fixture, "eager").await;
    for _ in 0..40 {
        viewer.say(&ClientMessage::Report(Report::default())).await;
    }
    viewer.is_refused(RefuseCode::Limit, "reports").await;
    assert_eq!(refused(&fixture, "session_reports").await, 1.0);
}

#[tokio::test]
async fn all_peers_off_outranks_each_streams_switch() {
    let fixture = Fixture::new().await;
    let (mut viewer, _) = join(&fixture, "here").await;
    let admin = fixture.server.ports().admin_listen.unwrap();
    let switch = |path: &'static str, enabled: bool| async move {
        let client = crate::harness::http();
        let request = client
            .post(format!("http://{admin}{path}"))
            .header("content-type", "application/json")
            .body(format!("{{\"enabled\": {enabled}}}"));
        assert_eq!(soon(request.send()).await.unwrap().status(), 200);
    };
    let told = |message| match message {
        ServerMessage::Peers { enabled } => Some(enabled),
        _ => None,
    };
    switch("/api/v1/peers", false).await;
    assert!(!viewer.hear_until(told).await);
    switch("/api/v1/streams/cam/peers", true).await;
    assert_eq!(fixture.metric("shoal_peers_enabled{stream=\"cam\"}").await, 0.0);
    switch("/api/v1/peers", true).await;
    assert!(viewer.hear_until(told).await);
    assert_eq!(fixture.metric("shoal_peers_enabled{stream=\"cam\"}").await, 1.0);
}
