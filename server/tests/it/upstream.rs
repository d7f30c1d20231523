//! Upstream mode before a small origin that signs per viewer: in the query, in the path, per
//! segment.
//!
//! What the origin was asked is on record, so that what was never asked can be told too.

use crate::harness::{PATIENCE, SECRET, until};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use reqwest::Client;
use shoal_server::Server;
use shoal_server::config::Config;
use shoal_wire::SignedDigest;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// What the origin has, and what it was asked.
#[derive(Default)]
struct Has {
    /// Number of the first segment in the playlist, and how many there are.
    first: u64,
    count: u64,
    /// Names of segments begin so.
    life: String,
    /// Segments are ranges of one file.
    ranges: bool,
    /// Segment lines carry the viewer's token.
    signs_segments: bool,
    /// Lines that stand before the first segment.
    header: String,
    /// It is broken.
    down: bool,
    /// Where it sends whoever asks for `moved.m3u8`.
    moved_to: String,
    asked: Vec<(String, String)>,
}

#[derive(Clone, Default)]
struct Origin(Arc<Mutex<Has>>);

impl Origin {
    fn change(&self, change: impl FnOnce(&mut Has)) {
        change(&mut self.0.lock().unwrap());
    }

    /// How often something ending so was asked for by an asker of this kind.
    fn asked(&self, path_end: &str, agent: &str) -> usize {
        let has = self.0.lock().unwrap();
        let is = |(path, asker): &&(String, String)| {
            path.split('?').next().unwrap().ends_with(path_end) && asker.starts_with(agent)
        };
        has.asked.iter().filter(is).count()
    }
}

/// The bytes of a segment: different for each name, and longer than a chunk.
fn segment(name: &str) -> Vec<u8> {
    name.bytes().cycle().take(20_000).collect()
}

impl Has {
    fn playlist(&self, token: &str) -> String {
        let mut text = format!(
            "#EXTM3U\n#EXT-X-VERSION:4\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:{}\n{}",
            self.first, self.header
        );
        for msn in self.first..self.first + self.count {
            let query = if self.signs_segments { format!("?token={token}") } else { String::new() };
            let (range, name) = if self.ranges {
                (format!("#EXT-X-BYTERANGE:{}@{}\n", 1000, msn * 1000), "all.ts".to_owned())
            } else {
                (String::new(), format!("{}{msn}.ts", self.life))
            };
            text += &format!("{range}#EXTINF:2.0,\n{name}{query}\n");
        }
        text
    }

    fn answer(&self, path: &str, query: &str, range: Option<&str>) -> (u16, Vec<u8>, String) {
        let name = path.rsplit('/').next().unwrap();
        if self.down {
            return (500, Vec::new(), String::new());
        }
        // A good token is in the query or is the first piece of the path.
        let good = |text: &str| text.starts_with("good");
        let in_path = path.split('/').nth(2).is_some_and(good);
        let token = query.split('&').find_map(|pair| pair.strip_prefix("token=")).unwrap_or("");
        if !in_path && !good(token) && (self.signs_segments || name.ends_with("m3u8")) {
            return (403, Vec::new(), String::new());
        }
        if name == "moved.m3u8" {
            return (302, Vec::new(), self.moved_to.clone());
        }
        if name.ends_with("m3u8") {
            return (200, self.playlist(token).into_bytes(), String::new());
        }
        let mut body = segment(name);
        if let Some((first, last)) = range.and_then(|it| it.strip_prefix("bytes=")?.split_once('-'))
        {
            let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
            body = body[first..=last].to_vec();
            return (206, body, String::new());
        }
        (200, body, String::new())
    }
}

async fn answer(State(origin): State<Origin>, request: Request) -> Response {
    let header = |name: &str| {
        let value = request.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let (uri, agent, range) = (request.uri().clone(), header("user-agent"), header("range"));
    let mut has = origin.0.lock().unwrap();
    has.asked.push((uri.to_string(), agent));
    let range = (!range.is_empty()).then_some(range.as_str());
    let (status, body, location) = has.answer(uri.path(), uri.query().unwrap_or(""), range);
    let mut response = Response::builder().status(status);
    if !location.is_empty() {
        response = response.header("location", location);
    }
    response.body(Body::from(body)).unwrap()
}

struct Fixture {
    server: Server,
    origin: Origin,
    origin_address: SocketAddr,
    client: Client,
    _directory: TempDir,
}

impl Fixture {
    async fn new(more: &str) -> Self {
        let origin = Origin::default();
        origin.change(|has| (has.first, has.count, has.life) = (10, 5, "a".into()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin_address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(origin.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let directory = tempfile::tempdir().unwrap();
        let text = format!(
            "server.listen = '127.0.0.1:0'\nserver.admin_listen = '127.0.0.1:0'\n\
             server.data_dir = '{}'\nauth.secret = '{SECRET}'\n\
             upstream.urls = ['tv=http://{origin_address}/hls']\n{more}",
            directory.path().join("data").display()
        );
        let server = Server::start(&Config::from_toml(&text).unwrap()).await.unwrap();
        let client = crate::harness::http_builder().redirect(reqwest::redirect::Policy::none());
        let client = client.user_agent("viewer").build().unwrap();
        Self { server, origin, origin_address, client, _directory: directory }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/live/tv/{path}", self.server.ports().listen)
    }

    async fn get(&self, path: &str) -> reqwest::Response {
        tokio::time::timeout(PATIENCE, self.client.get(self.url(path)).send())
            .await
            .unwrap()
            .unwrap()
    }

    async fn text(&self, path: &str) -> String {
        let answer = self.get(path).await;
        assert_eq!(answer.status(), 200, "{path}");
        answer.text().await.unwrap()
    }

    /// The URIs of a playlist, once the last of them is shared.
    async fn shared(&self, path: &str, last: &str) -> Vec<String> {
        until(|| async {
            let text = self.text(path).await;
            let uris: Vec<_> =
                crate::harness::uris(&text).iter().map(|&it| it.to_owned()).collect();
            uris.last().is_some_and(|uri| uri.starts_with(last)).then_some(uris)
        })
        .await
    }

    async fn metric(&self, name: &str) -> f64 {
        let url = format!("http://{}/metrics", self.server.ports().admin_listen.unwrap());
        let text = self.client.get(url).send().await.unwrap().text().await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    async fn digest(&self, file: &str) -> SignedDigest {
        let encoded = self.get(&format!("{file}.digest?u=x")).await.bytes().await.unwrap();
        let (_, _, key) = crate::tracker::Viewer::join_at(self.server.ports().listen, "tv").await;
        SignedDigest::decode(encoded, &[key]).unwrap()
    }
}

#[tokio::test]
async fn viewers_with_tokens_of_their_own_share_and_each_is_sent_to_its_own_copy() {
    let fixture = Fixture::new("").await;
    let one = fixture.shared("i.m3u8?token=good1", "0-1-14.ts").await;
    let two = fixture.shared("i.m3u8?token=good2", "0-1-14.ts").await;
    assert_eq!(
        one[1..],
        ["0-1-11.ts?u=a11.ts", "0-1-12.ts?u=a12.ts", "0-1-13.ts?u=a13.ts", "0-1-14.ts?u=a14.ts"]
    );
    assert_eq!(one[1..], two[1..]);
    // What was there before the first viewer is not fetched for a digest.
    assert_eq!(one[0], format!("http://{}/hls/a10.ts", fixture.origin_address));
    assert_eq!(fixture.origin.asked("a10.ts", ""), 0);
    for msn in 11..15 {
        assert_eq!(fixture.origin.asked(&format!("a{msn}.ts"), "shoal-server"), 1, "{msn}");
    }
    let answer = fixture.get(&one[4]).await;
    assert_eq!(answer.status(), 302);
    let own = format!("http://{}/hls/a14.ts", fixture.origin_address);
    assert_eq!(answer.headers()["location"], own.as_str());
    let playlist = fixture.get("i.m3u8?token=good1").await;
    let tracker = playlist.headers()["shoal-tracker"].to_str().unwrap();
    assert!(tracker.starts_with("tracker?token="), "who may play may join: {tracker}");
    assert_eq!(playlist.headers()["shoal-stream"], "tv");
    let digest = fixture.digest("0-1-14.ts").await;
    assert!(digest.chunk_matches(0, &segment("a14.ts")[..16384]));
    assert_eq!(digest.playlist_lines, "#EXTINF:2.0,\n0-1-14.ts?u=a14.ts\n");
    assert_eq!(fixture.metric("shoal_upstream_fetch_bytes_total{kind=\"media\"}").await, 80_000.0);
    assert!(fixture.metric("shoal_upstream_fetch_bytes_total{kind=\"playlist\"}").await > 0.0);
    assert_eq!(fixture.metric("shoal_upstream_redirects_total{stream=\"tv\"}").await, 1.0);
}

#[tokio::test]
async fn a_bad_token_is_denied_whoever_else_is_let_in() {
    let fixture = Fixture::new("").await;
    fixture.shared("i.m3u8?token=good1", "0-1-14.ts").await;
    for (path, status) in
        [("i.m3u8?token=bad", 403), ("i.m3u8", 403), ("bad/i.m3u8", 403), ("good/x/i.m3u8", 200)]
    {
        let answer = fixture.get(path).await;
        assert_eq!(answer.status(), status, "{path}");
        assert_eq!(answer.text().await.unwrap().contains("#EXTM3U"), status == 200, "{path}");
    }
}

#[tokio::test]
async fn what_one_poll_asks_is_not_asked_again_for_digests() {
    let fixture = Fixture::new("").await;
    fixture.shared("i.m3u8?token=good1&_HLS_msn=14&_HLS_skip=YES", "0-1-14.ts").await;
    let has = fixture.origin.0.lock().unwrap();
    let mut asked = has.asked.iter();
    assert!(asked.any(|(path, _)| path.ends_with("i.m3u8?token=good1")), "{:?}", has.asked);
}

#[tokio::test]
async fn tokens_in_the_path_are_the_folder_of_each_viewer() {
    let fixture = Fixture::new("upstream.ignore_path = ['/hls/{}/**']").await;
    let one = fixture.shared("good1/i.m3u8", "0-1-14.ts").await;
    assert_eq!(one[1..], fixture.shared("good2/i.m3u8", "0-1-14.ts").await[1..]);
    assert_eq!(fixture.origin.asked("a14.ts", ""), 1);
    let answer = fixture.get(&format!("good2/{}", one[4])).await;
    let own = format!("http://{}/hls/good2/a14.ts", fixture.origin_address);
    assert_eq!(answer.headers()["location"], own.as_str());
    // The same for all, so the digest may say it.
    assert_eq!(fixture.digest("0-1-14.ts").await.uri(), Some("0-1-14.ts?u=a14.ts"));
}

#[tokio::test]
async fn tokens_of_segments_are_in_no_digest() {
    let fixture = Fixture::new("").await;
    fixture.origin.change(|has| has.signs_segments = true);
    let one = fixture.shared("i.m3u8?token=good1", "0-1-14.ts").await;
    let two = fixture.shared("i.m3u8?token=good2", "0-1-14.ts").await;
    assert_eq!(one[4], "0-1-14.ts?u=a14.ts%3Ftoken%3Dgood1");
    assert_eq!(two[4], "0-1-14.ts?u=a14.ts%3Ftoken%3Dgood2");
    assert_eq!(fixture.origin.asked("a14.ts", "shoal-server"), 1);
    let digest = fixture.digest("0-1-14.ts").await;
    assert_eq!(digest.playlist_lines, "");
    assert!(!digest.encoded().windows(4).any(|bytes| bytes == b"good"));
}

#[tokio::test]
async fn a_key_that_no_rule_names_keeps_viewers_apart() {
    let fixture = Fixture::new("upstream.presets = []").await;
    fixture.origin.change(|has| has.signs_segments = true);
    let one = fixture.shared("i.m3u8?token=good1", "0-1-14.ts").await;
    let two = fixture.shared("i.m3u8?token=good2", "1-").await;
    assert_ne!(one[4].split('?').next(), two[4].split('?').next());
}

#[tokio::test]
async fn a_new_segment_is_shown_when_its_digest_is_there() {
    let fixture = Fixture::new("").await;
    fixture.shared("i.m3u8?token=good1", "0-1-14.ts").await;
    fixture.origin.change(|has| has.count = 6);
    // Every look sees shared segments only, and in the end the new one.
    until(|| async {
        let text = fixture.text("i.m3u8?token=good1").await;
        let uris = crate::harness::uris(&text);
        let named = |uri: &&str| uri.starts_with("0-1-");
        assert!(uris[1..].iter().all(named), "{text}");
        (uris.len() == 6).then_some(())
    })
    .await;
    assert_eq!(fixture.get("0-1-15.ts.digest").await.status(), 200);
}

#[tokio::test]
async fn numbers_that_begin_anew_are_another_epoch() {
    let fixture = Fixture::new("").await;
    fixture.shared("i.m3u8?token=good1", "0-1-14.ts").await;
    fixture.origin.change(|has| (has.first, has.count, has.life) = (0, 3, "b".into()));
    let uris = fixture.shared("i.m3u8?token=good1", "0-2-2.ts").await;
    assert_eq!(uris, ["0-2-0.ts?u=b0.ts", "0-2-1.ts?u=b1.ts", "0-2-2.ts?u=b2.ts"]);
}

#[tokio::test]
async fn ranges_are_objects_that_the_server_hands_out_to_whom_the_upstream_lets_in() {
    let fixture = Fixture::new("").await;
    fixture.origin.change(|has| (has.ranges, has.signs_segments) = (true, true));
    let uris = fixture.shared("i.m3u8?token=good1", "0-1-14.ts").await;
    let text = fixture.text("i.m3u8?token=good1").await;
    assert_eq!(text.matches("#EXT-X-BYTERANGE").count(), 1, "that of the first: {text}");
    let answer = fixture.get(&uris[4]).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.bytes().await.unwrap(), segment("all.ts")[14_000..15_000]);
    for (query, status) in [
        ("u=all.ts%3Ftoken%3Dbad", 403),
        ("u=a14.ts%3Ftoken%3Dgood1", 403),
        ("u=all.ts%3Ftoken%3Dgood9", 200),
        ("", 403),
    ] {
        assert_eq!(fixture.get(&format!("0-1-14.ts?{query}")).await.status(), status, "{query}");
    }
}

#[tokio::test]
async fn the_server_can_hand_out_its_own_copy() {
    let fixture = Fixture::new("upstream.fetch = 'server'").await;
    fixture.origin.change(|has| has.signs_segments = true);
    let uris = fixture.shared("i.m3u8?token=good1", "0-1-14.ts").await;
    let request = fixture.client.get(fixture.url(&uris[4])).header("range", "bytes=5-9");
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 206);
    assert_eq!(answer.bytes().await.unwrap(), segment("a14.ts")[5..10]);
    let bad = fixture.get("0-1-14.ts?u=a14.ts%3Ftoken%3Dbad").await;
    assert_eq!(bad.status(), 403);
}

#[tokio::test]
async fn nobody_is_sent_or_goes_to_a_host_that_was_not_named() {
    let fixture = Fixture::new("").await;
    fixture.origin.change(|has| {
        has.header = "#EXT-X-MAP:URI=\"https://ads.example/i.mp4\"\n".into();
        has.moved_to = "http://127.0.0.1:9/x.m3u8".into();
    });
    let text = fixture.text("i.m3u8?token=good1").await;
    assert!(text.contains("URI=\"https://ads.example/i.mp4\""), "{text}");
    for path in [
        "0-1-14.ts?u=https://evil.example/x.ts",
        "0-1-14.ts?u=//evil.example/x.ts",
        "0-1-14.ts?u=http://169.254.169.254/latest",
        "0-1-14.ts?u=file:///etc/passwd",
        "~http/169.254.169.254/x.m3u8",
        "~https/evil.example/key",
        "../../secret.m3u8?token=good",
    ] {
        let answer = fixture.get(path).await;
        assert!(matches!(answer.status().as_u16(), 403 | 404), "{path}: {}", answer.status());
    }
    let answer = fixture.get("moved.m3u8?token=good1").await;
    assert_eq!(answer.status(), 502);
    let why = answer.text().await.unwrap();
    assert!(why.contains("redirects") && why.contains("127.0.0.1:9"), "{why}");
    assert!(!why.contains("good1"), "no token: {why}");
}

#[tokio::test]
async fn equal_polls_are_one_question() {
    let fixture = Fixture::new("upstream.operator_query = 'token=good-operator'").await;
    fixture.shared("i.m3u8?token=good1", "0-1-14.ts").await;
    let of_viewers = || {
        let has = fixture.origin.0.lock().unwrap();
        has.asked.iter().filter(|(path, _)| path.contains("token=good2")).count()
    };
    let polls = (0..20).map(|_| fixture.text("i.m3u8?token=good2"));
    let texts = futures_util::future::join_all(polls).await;
    assert!(texts.iter().all(|text| *text == texts[0]));
    assert_eq!(of_viewers(), 1);
}

#[tokio::test]
async fn an_upstream_that_is_down_leaves_its_last_word_for_a_while() {
    let fixture = Fixture::new("").await;
    fixture.shared("i.m3u8?token=good1", "0-1-14.ts").await;
    fixture.origin.change(|has| has.down = true);
    let uris = fixture.shared("i.m3u8?token=good1", "0-1-14.ts").await;
    assert_eq!(uris.len(), 5);
    let answer = fixture.get("i.m3u8?token=good2").await;
    assert_eq!(answer.status(), 502);
    assert!(answer.text().await.unwrap().contains("the upstream answered 500"));
    let answer = until(|| async {
        let answer = fixture.get("i.m3u8?token=good1").await;
        (answer.status() != 200).then_some(answer)
    })
    .await;
    assert_eq!(answer.status(), 502);
}
