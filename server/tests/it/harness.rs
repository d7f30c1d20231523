//! A server in this process, and clients that say exactly what they are told.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::{Method, Response};
use ring::hmac;
use serde_json::{Value, json};
use shoal_server::Server;
use shoal_server::config::Config;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// No test waits longer than this for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for `what`, not for ever.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it took too long")
}

/// What tokens in tests are signed with.
pub(crate) const SECRET: &str = "a secret of thirty-two characters";

/// The claims of `viewer`'s token for `stream`, which lasts a minute.
pub(crate) fn claims(stream: &str, viewer: &str) -> Value {
    json!({ "sub": viewer, "stream": stream, "exp": unix_s() + 60 })
}

pub(crate) fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A token (RFC 7519) with these claims.
pub(crate) fn sign(claims: &Value, secret: &str) -> String {
    let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
    let message = format!("{}.{}", part("{\"alg\":\"HS256\"}"), part(&claims.to_string()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = URL_SAFE_NO_PAD.encode(hmac::sign(&key, message.as_bytes()));
    format!("{message}.{tag}")
}

/// What a client is made of.
pub(crate) fn http_builder() -> reqwest::ClientBuilder {
    // With the server's feature `tls` the library asks for a provider, even where nothing is
    // encrypted; an error means that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
}

/// A client of its own.
pub(crate) fn http() -> reqwest::Client {
    http_builder().build().unwrap()
}

/// A server with the stream `cam`, whose key is `key1`.
pub(crate) struct Fixture {
    pub(crate) server: Server,
    pub(crate) directory: TempDir,
    client: reqwest::Client,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with("").await
    }

    /// With more configuration, as `section.key = value` lines.
    pub(crate) async fn with(more: &str) -> Self {
        Self::in_directory(tempfile::tempdir().unwrap(), more).await
    }

    pub(crate) async fn in_directory(directory: TempDir, more: &str) -> Self {
        let server = Server::start(&config(&directory, more)).await.unwrap();
        let client = http_builder().no_gzip().build().unwrap();
        Self { server, directory, client }
    }

    /// Stops it and starts it again on what it left.
    pub(crate) async fn restarted(self) -> Self {
        self.restarted_with("").await
    }

    pub(crate) async fn restarted_with(self, more: &str) -> Self {
        soon(self.server.stop()).await;
        Self::in_directory(self.directory, more).await
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.ports().listen
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Response {
        soon(request.send()).await.unwrap()
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, self.url(path))
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.send(self.request(Method::GET, path)).await
    }

    pub(crate) async fn text(&self, path: &str) -> String {
        self.get(path).await.text().await.unwrap()
    }

    /// Pushes into `cam` with its key; the status.
    pub(crate) async fn push(&self, name: &str, body: impl Into<reqwest::Body>) -> u16 {
        let request = self.request(Method::PUT, &format!("/publish/key1/cam/{name}"));
        self.send(request.body(body)).await.status().as_u16()
    }

    /// Pushes a segment and the playlist that names it and those before it in its window.
    pub(crate) async fn push_segment(&self, seq: u64, bytes: &[u8]) {
        let name = format!("index{seq}.ts");
        assert!(matches!(self.push(&name, bytes.to_vec()).await, 200 | 201));
        assert_eq!(self.push("index.m3u8", playlist(seq.saturating_sub(4)..=seq)).await, 201);
    }

    pub(crate) async fn playlist(&self) -> String {
        self.text("/live/cam/index.m3u8").await
    }

    pub(crate) async fn admin(&self, path: &str) -> Response {
        let admin = self.server.ports().admin_listen.unwrap();
        soon(self.client.get(format!("http://{admin}{path}")).send()).await.unwrap()
    }

    pub(crate) async fn status(&self) -> serde_json::Value {
        let text = self.admin("/status").await.text().await.unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// The value of a metric line, 0 where it is absent.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        value(&self.admin("/metrics").await.text().await.unwrap(), name)
    }
}

pub(crate) fn config(directory: &TempDir, more: &str) -> Config {
    let data = directory.path().join("data");
    let own = if more.contains("auth.secret = ''") { "" } else { SECRET };
    let more = more.replace("auth.secret = ''", "");
    let text = format!(
        "server.listen = '127.0.0.1:0'\nserver.admin_listen = '127.0.0.1:0'\n\
         server.data_dir = '{}'\nauth.secret = '{own}'\nstreams = [{{ name = 'cam', ingest_key = 'key1' }}]\n{more}",
        data.display()
    );
    Config::from_toml(&text).unwrap()
}

/// The program itself, with a data directory and a file of ports in `directory`.
pub(crate) async fn spawn(directory: &Path, args: &[&str]) -> (Child, Value) {
    let ports = directory.join("ports.json");
    let _ = std::fs::remove_file(&ports);
    let child = Command::new(env!("CARGO_BIN_EXE_shoal-server"))
        .args(["--listen", "127.0.0.1:0", "--stream", "cam=key1", "--data-dir"])
        .arg(directory.join("data"))
        .arg("--ports-file")
        .arg(&ports)
        .args(args)
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let text = until(|| async { std::fs::read_to_string(&ports).ok() }).await;
    (child, serde_json::from_str(&text).unwrap())
}

/// Pushes into `cam` of the server at `base`.
pub(crate) async fn put(base: &str, name: &str, body: impl Into<reqwest::Body>) {
    let request = http().put(format!("{base}/publish/key1/cam/{name}"));
    let response = soon(request.body(body).send()).await.unwrap();
    assert!(response.status().is_success(), "{name}: {}", response.status());
}

/// The value of a line of `/metrics`, 0 where it is absent.
pub(crate) fn value(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

/// An encoder's live playlist of these two-second segments.
pub(crate) fn playlist(segments: std::ops::RangeInclusive<u64>) -> String {
    let mut text = format!(
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:{}\n",
        segments.start()
    );
    for seq in segments {
        text.push_str(&format!("#EXTINF:2.000000,\nindex{seq}.ts\n"));
    }
    text
}

/// The URIs that a playlist names.
pub(crate) fn uris(playlist: &str) -> Vec<&str> {
    playlist.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

/// Sends `request` as it is and reads all that comes until the server closes.
pub(crate) async fn raw(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut socket = soon(TcpStream::connect(address)).await.unwrap();
    soon(socket.write_all(request)).await.unwrap();
    read_to_end(&mut socket).await
}

pub(crate) async fn read_to_end(socket: &mut TcpStream) -> Vec<u8> {
    let mut out = Vec::new();
    soon(socket.read_to_end(&mut out)).await.unwrap();
    out
}

/// Awaits that `check` gives something, looking again and again: for what only shows from outside.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(mut check: impl FnMut() -> F) -> T {
    soon(async {
        let mut looks = tokio::time::interval(Duration::from_millis(5));
        loop {
            looks.tick().await;
            if let Some(found) = check().await {
                return found;
            }
        }
    })
    .await
}
