//! Viewers: a session from hello to goodbye, and sessions that go wrong.

use crate::harness::{Fixture, SECRET, claims, sign, soon};
use futures_util::{SinkExt, StreamExt};
use shoal_wire::tracker_message::{Mapping, RefuseCode, Report, Resume, Signal, Totals};
use shoal_wire::{
    BitRate, ByteSize, ClientMessage, Epoch, ObjectId, OriginKey, PROTOCOL, PeerId, RenditionId,
    ServerMessage, ShareMode, SignedDigest,
};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

pub(crate) struct Viewer(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Viewer {
    async fn connect(fixture: &Fixture, stream: &str) -> Self {
        Self::connect_at(fixture.address(), stream).await
    }

    async fn connect_at(address: SocketAddr, stream: &str) -> Self {
        static VIEWERS: AtomicUsize = AtomicUsize::new(0);
        let viewer = VIEWERS.fetch_add(1, Ordering::Relaxed).to_string();
        let token = sign(&claims(stream, &viewer), SECRET);
        let url = format!("ws://{address}/live/{stream}/tracker?token={token}");
        Self::connect_to(&url).await.unwrap()
    }

    /// Connects, or is told by HTTP why not.
    pub(crate) async fn connect_to(url: &str) -> Result<Self, (u16, String)> {
        Self::connect_by(url.into_client_request().unwrap()).await
    }

    /// The same with a header.
    pub(crate) async fn connect_with(
        url: &str,
        (name, value): (&'static str, &str),
    ) -> Result<Self, (u16, String)> {
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert(name, value.parse().unwrap());
        Self::connect_by(request).await
    }

    async fn connect_by(request: Request) -> Result<Self, (u16, String)> {
        match soon(connect_async(request)).await {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(tungstenite::Error::Http(response)) => {
                let body = response.body().clone().unwrap_or_default();
                Err((response.status().as_u16(), String::from_utf8(body).unwrap()))
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Connects and is welcomed.
    pub(crate) async fn join(fixture: &Fixture) -> (Self, PeerId, OriginKey) {
        Self::join_at(fixture.address(), "cam").await
    }

    /// The same on any server.
    pub(crate) async fn join_at(address: SocketAddr, stream: &str) -> (Self, PeerId, OriginKey) {
        let mut viewer = Self::connect_at(address, stream).await;
        let (peer, keys) = viewer.says_hello(stream, PROTOCOL).await;
        let byte = |i: usize| u8::from_str_radix(&keys[0][2 * i..2 * i + 2], 16).unwrap();
        let key = OriginKey::from_bytes(&std::array::from_fn(byte)).unwrap();
        (viewer, peer, key)
    }

    /// Says hello and is welcomed.
    pub(crate) async fn says_hello(
        &mut self,
        stream: &str,
        protocol: u32,
    ) -> (PeerId, Vec<String>) {
        self.say(&hello(stream, protocol)).await;
        self.welcome().await
    }

    /// Connects and says hello.
    pub(crate) async fn hello(fixture: &Fixture, stream: &str) -> Self {
        let mut viewer = Self::connect(fixture, stream).await;
        viewer.greet(stream).await;
        viewer
    }

    /// Only says hello.
    pub(crate) async fn greet(&mut self, stream: &str) {
        self.say(&hello(stream, PROTOCOL)).await;
    }

    /// Whether the server closes, without a word more.
    pub(crate) async fn ended(&mut self) -> bool {
        self.next().await.is_none()
    }

    async fn welcome(&mut self) -> (PeerId, Vec<String>) {
        let ServerMessage::Welcome { peer, keys, .. } = self.hear().await else {
            panic!("a hello is answered with a welcome")
        };
        (peer, keys)
    }

    pub(crate) async fn say(&mut self, message: &ClientMessage) {
        self.send(Message::text(message.to_json())).await;
    }

    async fn send(&mut self, message: Message) {
        soon(self.0.send(message)).await.unwrap();
    }

    /// The next message; none when the server has closed.
    pub(crate) async fn next(&mut self) -> Option<ServerMessage> {
        loop {
            match soon(self.0.next()).await? {
                Ok(Message::Text(text)) => return Some(ServerMessage::from_text(&text).unwrap()),
                Ok(Message::Binary(digest)) => {
                    return Some(ServerMessage::from_binary(digest).unwrap());
                }
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    async fn hear(&mut self) -> ServerMessage {
        self.next().await.expect("the server has something to say")
    }

    /// Hears messages until one is what is looked for.
    pub(crate) async fn hear_until<T>(&mut self, look: impl Fn(ServerMessage) -> Option<T>) -> T {
        loop {
            if let Some(found) = look(self.hear().await) {
                return found;
            }
        }
    }

    /// The session must end with this.
    pub(crate) async fn is_refused(&mut self, code: RefuseCode, says: &str) {
        let (given, message) = self
            .hear_until(|message| match message {
                ServerMessage::Refuse { code, message } => Some((code, message)),
                _ => None,
            })
            .await;
        assert_eq!(given, code, "{message}");
        assert!(message.contains(says), "{message}");
        assert_eq!(self.next().await, None);
    }
}

fn hello(stream: &str, protocol: u32) -> ClientMessage {
    ClientMessage::Hello {
        protocol,
        stream: stream.parse().unwrap(),
        agent: "test".into(),
        share: ShareMode::Share,
        upload_cap: None,
        links_max: 8,
        offers: false,
        resume: None,
    }
}

#[tokio::test]
async fn nonsense_is_refused_with_a_reason_and_counted() {
    let fixture = Fixture::with("tracker.hello_timeout_ms = 300").await;
    let text = |text: &str| Message::text(text.to_owned());
    let say = |message: &ClientMessage| Message::text(message.to_json());
    for (stream, message, code, says) in [
        ("cam", text("garbage"), RefuseCode::BadMessage, "not a message"),
        ("cam", text("{\"type\":\"hello\"}"), RefuseCode::BadMessage, "missing field"),
        ("cam", say(&ClientMessage::Bye), RefuseCode::BadMessage, "first message"),
        ("cam", say(&hello("cam", 99)), RefuseCode::Protocol, "protocol 1, not 99"),
        ("none", say(&hello("none", PROTOCOL)), RefuseCode::UnknownStream, "no stream `none`"),
        ("cam", say(&hello("other", PROTOCOL)), RefuseCode::UnknownStream, "`other`"),
        ("cam", Message::binary(vec![0, 159, 146]), RefuseCode::BadMessage, "text"),
        ("cam", text(&"x".repeat(40_000)), RefuseCode::BadMessage, "limit"),
        ("cam", Message::Pong(vec![].into()), RefuseCode::BadMessage, "in time"),
    ] {
        let mut viewer = Viewer::connect(&fixture, stream).await;
        viewer.send(message).await;
        viewer.is_refused(code, says).await;
    }
    assert_eq!(fixture.metric("shoal_refused_total{reason=\"session_message\"}").await, 6.0);
    assert_eq!(fixture.metric("shoal_refused_total{reason=\"session_protocol\"}").await, 1.0);
    assert_eq!(fixture.metric("shoal_refused_total{reason=\"session_stream\"}").await, 2.0);
    let _ = Viewer::join(&fixture).await;
}

#[tokio::test]
async fn a_joined_viewer_is_held_to_the_rules_too() {
    let fixture = Fixture::with("tracker.messages_per_second_max = 1").await;
    let (mut viewer, ..) = Viewer::join(&fixture).await;
    viewer.say(&hello("cam", PROTOCOL)).await;
    viewer.is_refused(RefuseCode::BadMessage, "once").await;
    let (mut viewer, ..) = Viewer::join(&fixture).await;
    let object = ObjectId::segment(RenditionId(0), Epoch(1), 0);
    viewer.say(&ClientMessage::WantDigests { objects: vec![object; 33] }).await;
    viewer.is_refused(RefuseCode::Limit, "32").await;
    let (mut viewer, ..) = Viewer::join(&fixture).await;
    for _ in 0..12 {
        viewer.say(&ClientMessage::Unwatch { rendition: RenditionId(0) }).await;
    }
    viewer.is_refused(RefuseCode::Limit, "per second").await;
}

#[tokio::test]
async fn digests_are_signed_and_match_what_is_served() {
    let fixture = Fixture::new().await;
    let body: Vec<u8> = (0..200_000_u32).map(|i| (i % 253) as u8).collect();
    fixture.push_segment(0, &body).await;
    let fixture = fixture.restarted().await;
    let (mut viewer, _, key) = Viewer::join(&fixture).await;
    let object = ObjectId::segment(RenditionId(0), Epoch(1), 0);
    let absent = ObjectId { msn: 9, ..object };
    viewer.say(&ClientMessage::WantDigests { objects: vec![absent, object] }).await;
    let ServerMessage::Digest { digest } = viewer.hear().await else { panic!("a digest") };
    let digest = SignedDigest::decode(digest, &[key]).unwrap();
    assert_eq!((digest.object, digest.byte_len), (object, 200_000));
    assert_eq!((digest.stream.as_str(), digest.substreams), ("cam", 4));
    assert_eq!(digest.playlist_lines, "#EXTINF:2.000000,\n0-1-0.ts\n");
    let served = fixture.get("/live/cam/0-1-0.ts").await.bytes().await.unwrap();
    for (chunk, bytes) in (0..).zip(served.chunks(digest.chunk_size as usize)) {
        assert!(digest.chunk_matches(chunk, bytes), "{chunk}");
    }
}

#[tokio::test]
async fn renditions_and_the_end_are_told_to_everybody() {
    let fixture = Fixture::new().await;
    let (mut viewer, _, key) = Viewer::join(&fixture).await;
    fixture.push_segment(0, b"zero").await;
    let ServerMessage::Renditions { renditions } = viewer.hear().await else {
        panic!("renditions")
    };
    assert_eq!(renditions[0].playlist, "index.m3u8");
    let ended = crate::harness::playlist(0..=0) + "#EXT-X-ENDLIST\n";
    assert_eq!(fixture.push("index.m3u8", ended).await, 201);
    let ServerMessage::Digest { digest } = viewer.hear().await else { panic!("the end") };
    let digest = SignedDigest::decode(digest, &[key]).unwrap();
    assert!(digest.end_of_stream);
    assert_eq!(digest.object, ObjectId::segment(RenditionId(0), Epoch(1), 1));
}

#[tokio::test]
async fn reports_are_summed_and_outlive_their_viewer() {
    let fixture = Fixture::new().await;
    let bytes = ByteSize::from_bytes;
    for _ in 0..2 {
        let (mut viewer, ..) = Viewer::join(&fixture).await;
        let totals = Totals {
            delivered: bytes(100),
            from_origin: bytes(40),
            from_peers: bytes(60),
            fallbacks: 3,
            fallbacks_deadline: 2,
            ..Totals::default()
        };
        viewer.say(&ClientMessage::Report(Report { totals, ..Report::default() })).await;
        viewer.say(&ClientMessage::Bye).await;
        assert_eq!(viewer.next().await, None);
    }
    crate::harness::until(|| async {
        let status = fixture.status().await;
        let stream = &status["streams"][0];
        (stream["viewers"] == 0 && stream["totals"]["from_peers"] == 120).then_some(())
    })
    .await;
    assert_eq!(fixture.metric("shoal_delivered_bytes_total{source=\"origin\"}").await, 80.0);
    assert_eq!(fixture.metric("shoal_fallback_total{reason=\"deadline\"}").await, 4.0);
    assert_eq!(fixture.metric("shoal_fallback_total{reason=\"no-peers\"}").await, 2.0);
    assert_eq!(fixture.metric("shoal_peers{stream=\"cam\"}").await, 0.0);
    assert!(fixture.status().await["egress"]["control_bytes"].as_u64().unwrap() > 100);
}

/// Watches and reports a good uplink, so that it may be given children.
pub(crate) async fn watch(viewer: &mut Viewer) {
    let upload = BitRate::from_bps(50_000_000);
    viewer.say(&ClientMessage::Report(Report { upload, ..Report::default() })).await;
    viewer.say(&ClientMessage::Watch { rendition: RenditionId(0), msn: 0 }).await;
}

pub(crate) fn passed_on(message: ServerMessage) -> Option<(PeerId, Signal)> {
    match message {
        ServerMessage::Signal { peer, signal } => Some((peer, signal)),
        _ => None,
    }
}

pub(crate) fn introduction(message: ServerMessage) -> Option<(PeerId, bool)> {
    match message {
        ServerMessage::Introduce { peer, offer } => Some((peer, offer)),
        _ => None,
    }
}

#[tokio::test]
async fn viewers_are_planned_introduced_and_may_then_signal() {
    let fixture = Fixture::new().await;
    fixture.push_segment(0, &[1; 500_000]).await;
    let (mut a, a_id, key) = Viewer::join(&fixture).await;
    watch(&mut a).await;
    // The first viewer is fed by the origin, and gets the digest of what is there.
    let origin = a
        .hear_until(|message| match message {
            ServerMessage::Plan { assignments, .. } => Some(assignments),
            _ => None,
        })
        .await;
    assert_eq!(origin.len(), 8);
    assert!(origin.iter().all(|assignment| assignment.parent.is_none()));
    let (mut b, b_id, _) = Viewer::join(&fixture).await;
    let (mut stranger, ..) = Viewer::join(&fixture).await;
    watch(&mut b).await;
    let (to_a, a_offers) = a.hear_until(introduction).await;
    let (to_b, b_offers) = b.hear_until(introduction).await;
    assert_eq!((to_a, to_b), (b_id, a_id));
    assert_ne!(a_offers, b_offers);
    let signal = Signal::Offer { sdp: "v=0".into() };
    stranger.say(&ClientMessage::Signal { peer: b_id, signal: signal.clone() }).await;
    crate::harness::until(|| async {
        let refused = fixture.metric("shoal_refused_total{reason=\"signal\"}").await;
        (refused == 1.0).then_some(())
    })
    .await;
    let (from, taker) =
        if a_offers { ((&mut a, a_id), (&mut b, b_id)) } else { ((&mut b, b_id), (&mut a, a_id)) };
    from.0.say(&ClientMessage::Signal { peer: taker.1, signal: signal.clone() }).await;
    let heard = taker.0.hear_until(passed_on).await;
    assert_eq!(heard, (from.1, signal), "and nothing of the stranger's before it");
    fixture.push_segment(1, &[2; 500_000]).await;
    let digest = a
        .hear_until(|message| match message {
            ServerMessage::Digest { digest } => {
                SignedDigest::decode(digest, std::slice::from_ref(&key)).ok()
            }
            _ => None,
        })
        .await;
    assert_eq!(digest.playlist_lines.lines().last(), digest.uri());
    let status = fixture.status().await;
    assert_eq!(status["streams"][0]["viewers"], 3);
    assert!(status["streams"][0]["plan_changes"].as_u64().unwrap() >= 8);
}

#[tokio::test]
async fn a_viewer_keeps_its_name_when_it_comes_back() {
    let fixture = Fixture::new().await;
    let (first, id, _) = Viewer::join(&fixture).await;
    let again = |mut viewer: Viewer| async move {
        let mut message = hello("cam", PROTOCOL);
        if let ClientMessage::Hello { resume, .. } = &mut message {
            *resume = Some(Resume { peer: id, edges: Vec::new(), neighbours: Vec::new() });
        }
        viewer.say(&message).await;
        let named = |message| match message {
            ServerMessage::Welcome { peer, .. } => Some(peer),
            _ => None,
        };
        (viewer.hear_until(named).await, viewer)
    };
    let (other, _open) = again(Viewer::connect(&fixture, "cam").await).await;
    assert_ne!(other, id, "the name is taken while its session is open");
    drop(first);
    crate::harness::until(|| async {
        (fixture.metric("shoal_peers{stream=\"cam\"}").await == 1.0).then_some(())
    })
    .await;
    let (same, _open) = again(Viewer::connect(&fixture, "cam").await).await;
    assert_eq!(same, id);
}

#[tokio::test]
async fn turn_passwords_are_renewed_while_they_hold() {
    let turn = "turn.urls = ['turn:t.example']\nturn.secret = 'north'\nturn.lifetime_ms = 2000";
    let fixture = Fixture::with(turn).await;
    let mut viewer = Viewer::hello(&fixture, "cam").await;
    let first = viewer.hear().await;
    let ServerMessage::Welcome { ice_servers: mut before, .. } = first else { panic!("{first:?}") };
    for _ in 0..2 {
        let next = viewer.hear().await;
        let ServerMessage::IceServers { ice_servers } = next else { panic!("{next:?}") };
        // Names begin with the time at which they end.
        assert!(ice_servers[0].username > before[0].username, "{ice_servers:?}");
        assert_ne!(ice_servers[0].credential, before[0].credential);
        before = ice_servers;
    }
}

#[tokio::test]
async fn viewers_are_counted_by_what_translates_their_addresses() {
    let fixture = &Fixture::new().await;
    // Asked for one after the other, so both are what is expected only once nothing changes.
    let are = |expected: [u64; 3]| async move {
        let shown = fixture.status().await["streams"][0]["mappings"].clone();
        let mut same = shown.as_object().unwrap().len() == expected.len();
        for (mapping, count) in ["unknown", "stable", "symmetric"].into_iter().zip(expected) {
            let metric = format!("shoal_peer_mappings{{mapping=\"{mapping}\",stream=\"cam\"}}");
            same &= shown[mapping].as_u64() == Some(count);
            same &= fixture.metric(&metric).await == count as f64;
        }
        same.then_some(())
    };
    let (mut one, peer, _) = Viewer::join(fixture).await;
    let (_two, ..) = Viewer::join(fixture).await;
    assert!(are([2, 0, 0]).await.is_some());
    one.say(&ClientMessage::Mapping { mapping: Mapping::Stable }).await;
    one.say(&ClientMessage::Mapping { mapping: Mapping::Symmetric }).await;
    let becomes = |expected| crate::harness::until(move || are(expected));
    becomes([1, 0, 1]).await;
    let viewer = fixture.admin(&format!("/api/v1/streams/cam/viewers/{peer}")).await;
    let viewer = viewer.text().await.unwrap();
    assert!(viewer.contains("\"mapping\":\"symmetric\""), "{viewer}");
    drop(one);
    becomes([1, 0, 0]).await;
}

#[tokio::test]
async fn a_viewer_that_vanishes_is_no_misbehaviour() {
    let fixture = Fixture::new().await;
    let (viewer, ..) = Viewer::join(&fixture).await;
    drop(viewer);
    crate::harness::until(|| async {
        let gone = fixture.metric("shoal_peers{stream=\"cam\"}").await == 0.0
            && fixture.metric("shoal_connections{listener=\"public\"}").await == 0.0;
        gone.then_some(())
    })
    .await;
    assert_eq!(fixture.metric("shoal_refused_total{reason=\"session_message\"}").await, 0.0);
}

#[tokio::test]
async fn a_server_that_stops_sends_viewers_away() {
    let fixture = Fixture::new().await;
    let (mut viewer, ..) = Viewer::join(&fixture).await;
    let Fixture { server, directory, .. } = fixture;
    let stopping = tokio::spawn(server.stop());
    assert!(matches!(viewer.hear().await, ServerMessage::Reconnect { .. }));
    assert_eq!(viewer.next().await, None);
    soon(stopping).await.unwrap();
    drop(directory);
}
