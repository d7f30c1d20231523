//! Viewers of a server in upstream mode: each with a token of its own, in every segment's URL.
//!
//! All that the agents send to the server passes a tap, which tells what went to the tracker.

use crate::harness::{Viewer, segment, soon, until};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use shoal_server::Server;
use shoal_server::config::Config;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// An upstream that denies what has no token, in a playlist as in a segment.
#[derive(Clone, Default)]
struct Upstream {
    count: Arc<AtomicU64>,
    /// Path, query and user agent of each request.
    asked: Arc<Mutex<Vec<(String, String, String)>>>,
}

impl Upstream {
    fn answer(&self, path: &str, query: &str) -> (u16, Vec<u8>) {
        if !query.starts_with("token=good") {
            return (403, Vec::new());
        }
        if let Some(msn) = path.strip_prefix("/s").and_then(|it| it.strip_suffix(".ts")) {
            return (200, segment(msn.parse().unwrap()));
        }
        let count = self.count.load(Ordering::Relaxed);
        let first = count.saturating_sub(6);
        let mut text = format!(
            "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:{first}\n"
        );
        for msn in first..count {
            text += &format!("#EXTINF:2.0,\ns{msn}.ts?{query}\n");
        }
        (200, text.into_bytes())
    }
}

async fn answer(State(upstream): State<Upstream>, request: Request) -> Response {
    let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
    let agent = request.headers()["user-agent"].to_str().unwrap().to_owned();
    upstream.asked.lock().unwrap().push((path.to_owned(), query.to_owned(), agent));
    let (status, body) = upstream.answer(path, query);
    let range = request.headers().get("range").and_then(|range| range.to_str().ok());
    let range = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let Some((first, last)) = range.filter(|_| status == 200) else {
        return Response::builder().status(status).body(Body::from(body)).unwrap();
    };
    let first: usize = first.parse().unwrap();
    let last = last.parse().map_or(body.len() - 1, |last: usize| last.min(body.len() - 1));
    let said = format!("bytes {first}-{last}/{}", body.len());
    let part = Body::from(body[first..=last].to_vec());
    Response::builder().status(206).header("content-range", said).body(part).unwrap()
}

/// What clients sent, connection by connection.
type Sent = Arc<Mutex<Vec<Vec<u8>>>>;

/// Passes connections on to `server` and keeps what clients send.
async fn tap(server: SocketAddr) -> (SocketAddr, Sent) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, sent) = (listener.local_addr().unwrap(), Sent::default());
    let record = Arc::clone(&sent);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let index = {
                let mut record = record.lock().unwrap();
                record.push(Vec::new());
                record.len() - 1
            };
            let record = Arc::clone(&record);
            tokio::spawn(async move {
                let server = TcpStream::connect(server).await.unwrap();
                let (mut from, mut to) = client.into_split();
                let (mut back, mut forth) = server.into_split();
                tokio::spawn(async move { tokio::io::copy(&mut back, &mut to).await });
                let mut piece = vec![0; 16 * 1024];
                while let Ok(count) = from.read(&mut piece).await {
                    record.lock().unwrap()[index].extend_from_slice(&piece[..count]);
                    if count == 0 || forth.write_all(&piece[..count]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, sent)
}

/// The payloads of a client's WebSocket frames, put together (RFC 6455, 5.2).
fn unmasked(bytes: &[u8]) -> Vec<u8> {
    let head = bytes.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
    let mut rest = &bytes[head..];
    let mut out = Vec::new();
    while rest.len() > 6 {
        let (len, at) = match usize::from(rest[1] & 127) {
            126 => (usize::from(u16::from_be_bytes([rest[2], rest[3]])), 4),
            127 => {
                (usize::try_from(u64::from_be_bytes(rest[2..10].try_into().unwrap())).unwrap(), 10)
            }
            len => (len, 2),
        };
        let mask = &rest[at..at + 4];
        let payload = &rest[at + 4..rest.len().min(at + 4 + len)];
        out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        rest = &rest[rest.len().min(at + 4 + len)..];
    }
    out
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

/// The viewer's URL of segment `msn`, once its playlist names it.
async fn url(viewer: &Viewer, token: &str, msn: u64) -> String {
    let playlist = format!("/live/tv/i.m3u8?token={token}");
    let uri = until(|| async {
        let text = viewer.text(&playlist).await;
        let name = format!("0-1-{msn}.ts?");
        text.lines().find(|line| line.starts_with(&name)).map(str::to_owned)
    });
    format!("/live/tv/{}", uri.await)
}

#[tokio::test]
async fn viewers_with_tokens_share_and_no_token_leaves_its_viewer() {
    let upstream = Upstream::default();
    upstream.count.store(6, Ordering::Relaxed);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let router = Router::new().fallback(answer).with_state(upstream.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let directory = tempfile::tempdir().unwrap();
    let config = Config::from_toml(&format!(
        "server.listen = '127.0.0.1:0'\nserver.admin_listen = ''\nserver.data_dir = '{}'\n\
         upstream.urls = ['tv=http://{at}']",
        directory.path().join("data").display()
    ));
    let server = Server::start(&config.unwrap()).await.unwrap();
    let (address, sent) = tap(server.ports().listen).await;
    let origin = format!("http://{address}");
    let (a, b) = (Viewer::new(&origin).await, Viewer::new(&origin).await);
    let tokens = ["good-secret-a", "good-secret-b"];
    for msn in 5..14 {
        upstream.count.store(msn + 1, Ordering::Relaxed);
        for (viewer, token) in [(&a, tokens[0]), (&b, tokens[1])] {
            let url = url(viewer, token, msn).await;
            assert!(url.ends_with(&format!("s{msn}.ts%3Ftoken%3D{token}")), "{url}");
            assert_eq!(viewer.bytes(&url).await, segment(msn), "{msn}");
            viewer.connected().await;
        }
    }
    let from_peers = a.total("from_peers").await + b.total("from_peers").await;
    assert!(from_peers > 0, "they share");
    for viewer in [a, b] {
        soon(viewer.agent.stop()).await;
    }
    let asked = upstream.asked.lock().unwrap().clone();
    let by = |agent: &str, token: &str| {
        let is = |(path, query, who): &&(String, String, String)| {
            path.ends_with(".ts") && who.starts_with(agent) && query.contains(token)
        };
        asked.iter().filter(is).count()
    };
    assert!(by("shoal-agent", tokens[0]) > 0 && by("shoal-agent", "") > 0);
    assert_eq!(by("shoal-agent", ""), by("shoal-agent", tokens[0]) + by("shoal-agent", tokens[1]));
    assert!(by("shoal-server", "") <= 13, "each segment's digest takes one fetch");
    let sent = sent.lock().unwrap();
    let trackers: Vec<_> =
        sent.iter().filter(|it| it.starts_with(b"GET /live/tv/tracker")).collect();
    assert_eq!(trackers.len(), 2);
    for bytes in trackers {
        let said = unmasked(bytes);
        assert!(
            holds(&said, "\"hello\"") && holds(&said, "\"report\"") || holds(&said, "\"signal\"")
        );
        assert!(!holds(&said, "secret") && !holds(bytes, "secret"), "the tracker sees no token");
    }
}
