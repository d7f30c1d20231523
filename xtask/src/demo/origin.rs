//! The demo's server process: start, restart, and what it says of itself.
//!
//! Rule: its counters start anew with each life of the process; here they go on, so that a figure
//! over a restart is the sum of both lives.

use super::http;
use super::process::{Launch, Process, Usage};
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Listening takes milliseconds; a machine busy with eight agents may take longer.
const START_LIMIT: Duration = Duration::from_secs(30);

const STATUS_LIMIT: Duration = Duration::from_secs(3);

/// Key that the demo's own encoder pushes with.
const INGEST_KEY: &str = "demo-ingest-key";

/// What the server publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// The server's bundled clip as stream `demo`.
    DemoChannel,
    /// What is pushed as stream `cam`.
    Pushed,
    /// What the upstream at this URL has, as stream `cam`.
    Upstream(String),
    /// The titles in this folder, among them `film`.
    Titles(PathBuf),
}

impl Content {
    /// Name of the stream.
    pub(crate) fn stream(&self) -> &'static str {
        match self {
            Self::DemoChannel => "demo",
            Self::Pushed | Self::Upstream(_) => "cam",
            Self::Titles(_) => super::title::NAME,
        }
    }
}

/// Addresses that the server listens on, `HOST:PORT` each.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    /// Viewers: media and tracker.
    pub(crate) public: String,
    /// The encoder.
    pub(crate) ingest: String,
    /// Twins and the reference download.
    pub(crate) mirror: String,
    /// Status.
    pub(crate) admin: String,
}

/// Bytes that the origin sent to viewers since the demo began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Egress {
    /// Everything that was written to sockets of the public listener.
    pub(crate) socket: u64,
    /// Of that, bodies of segments and init sections.
    pub(crate) media: u64,
    /// Playlists.
    pub(crate) playlist: u64,
    /// Tracker WebSockets.
    pub(crate) control: u64,
    /// Pages and their scripts: what a site serves beside any player. No part of offload.
    pub(crate) page: u64,
    /// Heads and the rest.
    pub(crate) other: u64,
    /// What the CDN behind it sent to viewers.
    pub(crate) cdn: u64,
}

impl Egress {
    fn read(status: &Value) -> Self {
        let count = |name: &str| status["egress"][name].as_u64().unwrap_or(0);
        Self {
            socket: count("socket_bytes"),
            media: count("media_bytes"),
            playlist: count("playlist_bytes"),
            control: count("control_bytes"),
            page: count("page_bytes"),
            other: count("other_bytes"),
            cdn: 0,
        }
    }

    fn combine(self, other: Self, each: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            socket: each(self.socket, other.socket),
            media: each(self.media, other.media),
            playlist: each(self.playlist, other.playlist),
            control: each(self.control, other.control),
            page: each(self.page, other.page),
            other: each(self.other, other.other),
            cdn: each(self.cdn, other.cdn),
        }
    }

    /// What was sent for viewing: all but the pages themselves, and what the CDN sent.
    pub(crate) const fn for_viewing(self) -> u64 {
        self.socket.saturating_sub(self.page) + self.cdn
    }

    /// What was sent between `earlier` and this.
    pub(crate) fn since(self, earlier: Self) -> Self {
        self.combine(earlier, u64::saturating_sub)
    }
}

/// One object's copies from the origin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copies {
    /// Size of the object.
    pub(crate) bytes: u64,
    /// Bytes of it that the origin sent.
    pub(crate) sent: u64,
    /// When it was published, Unix seconds.
    pub(crate) published_s: f64,
    /// Whether it is a part.
    pub(crate) is_part: bool,
}

impl Copies {
    fn read(object: &Value) -> Option<(String, Self)> {
        let number = |field: &str| object[field].as_u64();
        let name = object["object"].as_str()?;
        let copies = Self {
            bytes: number("bytes")?,
            sent: number("origin_bytes_sent")?,
            published_s: number("published_unix_ms")? as f64 / 1000.0,
            // RENDITION-EPOCH-MSN-PART.
            is_part: name.matches('-').count() == 3,
        };
        Some((name.to_owned(), copies))
    }
}

/// The running server.
#[derive(Debug)]
pub(crate) struct Origin {
    process: Process,
    program: PathBuf,
    folder: PathBuf,
    content: Content,
    addresses: Addresses,
    earlier_lives: Egress,
    egress: Egress,
    objects: BTreeMap<String, Copies>,
    status: Value,
}

impl Origin {
    /// Starts it on ports of the system's choice, viewers' listeners on `host`.
    pub(crate) async fn start(
        program: &Path,
        folder: &Path,
        content: Content,
        host: &str,
    ) -> Result<Self> {
        let anywhere = Addresses {
            public: format!("{host}:0"),
            ingest: "127.0.0.1:0".to_owned(),
            mirror: format!("{host}:0"),
            admin: "127.0.0.1:0".to_owned(),
        };
        let (process, addresses) = launch(program, folder, &content, &anywhere).await?;
        Ok(Self {
            process,
            program: program.to_owned(),
            folder: folder.to_owned(),
            content,
            addresses,
            earlier_lives: Egress::default(),
            egress: Egress::default(),
            objects: BTreeMap::new(),
            status: Value::Null,
        })
    }

    /// Where it listens.
    pub(crate) fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// URL of the stream's folder on one of its addresses.
    pub(crate) fn stream_url(&self, address: &str) -> String {
        let face = if matches!(self.content, Content::Titles(_)) { "vod" } else { "live" };
        format!("http://{address}/{face}/{}/", self.content.stream())
    }

    /// The viewer's page.
    pub(crate) fn page_url(&self) -> String {
        format!("http://{}/watch/{}/", self.addresses.public, self.content.stream())
    }

    /// The operator's page.
    pub(crate) fn operator_url(&self) -> String {
        format!("http://{}/admin/", self.addresses.admin)
    }

    /// URL of the folder that an encoder pushes to.
    pub(crate) fn push_url(&self) -> String {
        let stream = self.content.stream();
        format!("http://{}/publish/{INGEST_KEY}/{stream}/", self.addresses.ingest)
    }

    /// Reads its status; an unanswered one leaves the counts as they were.
    pub(crate) async fn refresh(&mut self) -> Result<()> {
        let url = format!("http://{}/status", self.addresses.admin);
        let text = http::fetch(&url, STATUS_LIMIT).await?.into_text()?;
        self.status = serde_json::from_str(&text).context("the server's status is no JSON")?;
        self.egress = Egress::read(&self.status);
        for object in objects(&self.status) {
            let Some((name, seen)) = Copies::read(object) else { continue };
            let kept = self.objects.entry(name).or_insert(seen);
            kept.sent = kept.sent.max(seen.sent);
        }
        Ok(())
    }

    /// Bytes sent to viewers so far, over all lives of the server.
    pub(crate) fn egress(&self) -> Egress {
        self.earlier_lives.combine(self.egress, |earlier, now| earlier + now)
    }

    /// Copies of every object seen in the status.
    pub(crate) fn objects(&self) -> impl Iterator<Item = &Copies> {
        self.objects.values()
    }

    /// One of the tracker's counters, as the last status had it.
    pub(crate) fn tracker_count(&self, name: &str) -> Option<u64> {
        self.status["streams"][0][name].as_u64()
    }

    /// Processor time and memory.
    pub(crate) fn usage(&self) -> Option<Usage> {
        self.process.usage()
    }

    /// kill -9, then a new life on the same ports and data.
    pub(crate) async fn crash_and_restart(&mut self) -> Result<()> {
        // What it sent after this reading is known to the kernel's counter only.
        let _ = self.refresh().await;
        self.process.kill().await;
        self.earlier_lives = self.egress();
        self.egress = Egress::default();
        let (process, addresses) =
            launch(&self.program, &self.folder, &self.content, &self.addresses).await?;
        (self.process, self.addresses) = (process, addresses);
        Ok(())
    }

    /// An error if it ended.
    pub(crate) fn check_running(&mut self) -> Result<()> {
        self.process.check_running()
    }

    /// Asks it to end; says whether it did by itself.
    pub(crate) async fn stop(&mut self) -> bool {
        self.process.stop(Duration::from_secs(5)).await
    }
}

fn objects(status: &Value) -> impl Iterator<Item = &Value> {
    let streams = status["streams"].as_array().into_iter().flatten();
    streams.filter_map(|stream| stream["objects"].as_array()).flatten()
}

async fn launch(
    program: &Path,
    folder: &Path,
    content: &Content,
    addresses: &Addresses,
) -> Result<(Process, Addresses)> {
    let ports_file = folder.join("server-ports.json");
    let data = folder.join("server-data").display().to_string();
    // The file of an earlier life would be taken for this one's.
    let _ = std::fs::remove_file(&ports_file);
    let mut launch = Launch::new("server", program, folder)
        .args(["--data-dir", &data, "--ports-file", &ports_file.display().to_string()])
        .args(["--listen", &addresses.public, "--ingest-listen", &addresses.ingest])
        .args(["--mirror-listen", &addresses.mirror, "--admin-listen", &addresses.admin]);
    launch = match content {
        Content::DemoChannel => launch.args(["--demo-channel"]),
        Content::Pushed => launch.args(["--stream", &format!("cam={INGEST_KEY}")]),
        Content::Upstream(url) => launch.args(["--upstream", &format!("cam={url}")]),
        Content::Titles(folder) => launch.args(["--vod", &folder.display().to_string()]),
    };
    let mut process = launch.spawn()?;
    let ports = wait_for_ports(&mut process, &ports_file, START_LIMIT).await?;
    let address = |name: &str| {
        let text = ports[name].as_str().map(str::to_owned);
        text.with_context(|| format!("the server's ports file lacks `{name}`"))
    };
    let addresses = Addresses {
        public: address("listen")?,
        ingest: address("ingest_listen")?,
        mirror: address("mirror_listen")?,
        admin: address("admin_listen")?,
    };
    Ok((process, addresses))
}

/// Waits for the file in which a process says where it listens.
pub(crate) async fn wait_for_ports(
    process: &mut Process,
    file: &Path,
    limit: Duration,
) -> Result<Value> {
    let wait = async {
        loop {
            process.check_running()?;
            if let Ok(text) = tokio::fs::read_to_string(file).await {
                return Ok(serde_json::from_str(&text)?);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(limit, wait).await;
    waited.with_context(|| format!("{} was not written within {limit:?}", file.display()))?
}
