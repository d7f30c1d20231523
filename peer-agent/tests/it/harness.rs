//! Agents and origins in this process, and a client that says exactly what it is told.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Response, StatusCode};
use shoal_agent::{Options, Running};
use shoal_server::Server;
use shoal_server::config::Config;
use shoal_wire::ShareMode;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use url::Url;

/// No test waits longer than this for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for `what`, not for ever.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it took too long")
}

/// Awaits that `check` gives something, looking again and again: for what only shows from outside.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(mut check: impl FnMut() -> F) -> T {
    soon(async {
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        loop {
            looks.tick().await;
            if let Some(found) = check().await {
                return found;
            }
        }
    })
    .await
}

/// What an agent is started with to serve `origin`.
pub(crate) fn options(origin: &str) -> Options {
    Options {
        listen: "127.0.0.1:0".parse().unwrap(),
        sites: vec![origin.parse().unwrap()],
        share: ShareMode::Share,
        upload_cap: None,
        token: None,
        corrupt_every: None,
    }
}

/// A client that does nothing by itself.
fn client() -> reqwest::Client {
    // The library asks for a provider even where nothing is encrypted.
    #[cfg(feature = "tls")]
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

/// An agent and a player's HTTP client.
pub(crate) struct Viewer {
    pub(crate) agent: Running,
    client: reqwest::Client,
    origin: String,
}

impl Viewer {
    pub(crate) async fn new(origin: &str) -> Self {
        Self::with(options(origin)).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let origin = options.sites[0].to_string();
        let agent = Running::start(options).await.unwrap();
        Self { agent, client: client(), origin }
    }

    /// The local URL of a path at the origin.
    pub(crate) fn url(&self, path: &str) -> String {
        self.agent.local_url(&Url::parse(&format!("{}{path}", self.origin)).unwrap())
    }

    pub(crate) async fn ask(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
    ) -> Response {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        soon(self.client.request(method, url).headers(map).send()).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        self.ask(Method::GET, &self.url(path), headers).await
    }

    pub(crate) async fn text(&self, path: &str) -> String {
        let answer = self.get(path, &[]).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        soon(answer.text()).await.unwrap()
    }

    pub(crate) async fn bytes(&self, path: &str) -> Vec<u8> {
        let answer = self.get(path, &[("range", "bytes=0-")]).await;
        assert_eq!(answer.status(), StatusCode::PARTIAL_CONTENT, "{path}");
        soon(answer.bytes()).await.unwrap().to_vec()
    }

    /// The agent's own status.
    pub(crate) async fn status(&self) -> serde_json::Value {
        let url = format!("http://{}/status", self.agent.address());
        let text = soon(self.ask(Method::GET, &url, &[]).await.text()).await.unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// A figure of its first stream.
    pub(crate) async fn total(&self, name: &str) -> u64 {
        self.status().await["streams"][0]["totals"][name].as_u64().unwrap_or(0)
    }

    /// Awaits that the tracker has welcomed it.
    pub(crate) async fn connected(&self) {
        until(|| async { self.status().await["streams"][0]["connected"].as_bool()?.then_some(()) })
            .await;
    }
}

/// A server with the stream `cam`, whose key is `key1`.
pub(crate) struct Origin {
    pub(crate) server: Server,
    pub(crate) directory: TempDir,
    client: reqwest::Client,
}

impl Origin {
    pub(crate) async fn new() -> Self {
        Self::with("").await
    }

    /// With more configuration, as `section.key = value` lines.
    pub(crate) async fn with(more: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let server = Server::start(&config(directory.path(), any, more)).await.unwrap();
        Self { server, directory, client: client() }
    }

    pub(crate) fn site(&self) -> String {
        format!("http://{}", self.server.ports().listen)
    }

    /// Stops it and starts it again on what it left, at the same address.
    pub(crate) async fn restarted(self) -> Self {
        let listen = self.server.ports().listen;
        soon(self.server.stop()).await;
        let server = Server::start(&config(self.directory.path(), listen, "")).await.unwrap();
        Self { server, ..self }
    }

    /// The same, and no token that it signed before is worth anything.
    pub(crate) async fn restarted_with_new_keys(self) -> Self {
        let listen = self.server.ports().listen;
        soon(self.server.stop()).await;
        std::fs::remove_file(self.directory.path().join("data/join.key")).unwrap();
        let server = Server::start(&config(self.directory.path(), listen, "")).await.unwrap();
        Self { server, ..self }
    }

    /// How often somebody was refused for that reason.
    pub(crate) async fn refused(&self, reason: &str) -> u64 {
        let admin = self.server.ports().admin_listen.unwrap();
        let url = format!("http://{admin}/metrics");
        let text = soon(soon(self.client.get(url).send()).await.unwrap().text()).await.unwrap();
        let name = format!("shoal_refused_total{{reason=\"{reason}\"}} ");
        let count = text.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok());
        count.unwrap_or(0)
    }

    /// The origin's own answer.
    pub(crate) async fn text(&self, path: &str) -> String {
        let url = format!("{}{path}", self.site());
        soon(soon(self.client.get(url).send()).await.unwrap().text()).await.unwrap()
    }

    /// Pushes a segment of two seconds, and the playlist that names it and the five before.
    pub(crate) async fn publish(&self, seq: u64) -> Vec<u8> {
        let bytes = segment(seq);
        self.push(&format!("index{seq}.ts"), bytes.clone()).await;
        let first = seq.saturating_sub(5);
        let mut playlist = format!(
            "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:{first}\n"
        );
        for seq in first..=seq {
            playlist.push_str(&format!("#EXTINF:2.000000,\nindex{seq}.ts\n"));
        }
        self.push("index.m3u8", playlist.into_bytes()).await;
        bytes
    }

    async fn push(&self, name: &str, body: Vec<u8>) {
        let url = format!("{}/publish/key1/cam/{name}", self.site());
        let answer = soon(self.client.put(url).body(body).send()).await.unwrap();
        assert!(answer.status().is_success(), "{name}: {}", answer.status());
    }

    /// Viewers that the tracker knows.
    pub(crate) async fn viewers(&self) -> u64 {
        self.status().await["streams"][0]["viewers"].as_u64().unwrap()
    }

    /// Bytes of playlists that were sent.
    pub(crate) async fn playlist_bytes(&self) -> u64 {
        self.status().await["egress"]["playlist_bytes"].as_u64().unwrap()
    }

    async fn status(&self) -> serde_json::Value {
        let admin = self.server.ports().admin_listen.unwrap();
        let url = format!("http://{admin}/status");
        let text = soon(soon(self.client.get(url).send()).await.unwrap().text()).await.unwrap();
        serde_json::from_str(&text).unwrap()
    }
}

fn config(directory: &Path, listen: SocketAddr, more: &str) -> Config {
    let text = format!(
        "server.listen = '{listen}'\nserver.admin_listen = '127.0.0.1:0'\n\
         server.data_dir = '{}'\nstreams = [{{ name = 'cam', ingest_key = 'key1' }}]\n{more}",
        directory.join("data").display()
    );
    Config::from_toml(&text).unwrap()
}

/// The bytes of a segment: 12 chunks and a bit, no two alike.
pub(crate) fn segment(seq: u64) -> Vec<u8> {
    let mut state = seq + 1;
    let next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    std::iter::repeat_with(next).take(200_000).collect()
}

/// The name of a segment of `cam`.
pub(crate) fn segment_path(msn: u64) -> String {
    format!("/live/cam/0-1-{msn}.ts")
}
