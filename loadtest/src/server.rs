//! The server under test: started here, or one that runs already.
//!
//! Rule: what was started here ends with it, and nothing else is ever ended.

use crate::host::{Usage, usage_of};
use crate::token::Signer;
use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};
use url::Url;

/// Time for a server to listen.
const START_MAX: Duration = Duration::from_secs(20);
/// Time for it to end by itself.
const STOP_MAX: Duration = Duration::from_secs(10);
/// Time for one of its answers; a request that takes longer has failed.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Key of the stream on a server of our own.
const OWN_KEY: &str = "load";

/// Which server.
#[derive(Args, Clone, Debug)]
pub(crate) struct ServerArgs {
    /// A server that runs, as http://HOST:PORT, instead of one that is started for this run
    #[arg(long, value_name = "URL", requires = "key")]
    server: Option<Url>,
    /// Its admin listener, for its memory, its processor time and what it sends
    #[arg(long, value_name = "URL", requires = "server")]
    admin: Option<Url>,
    /// The stream that is pushed there
    #[arg(long, value_name = "NAME", default_value = "load")]
    stream: String,
    /// The key of that stream
    #[arg(long, value_name = "KEY", requires = "server")]
    key: Option<String>,
    /// A file with the secret (HS256) that viewers' tokens are signed with, where the server asks for
    /// some: each viewer then has one of its own. A server that is started is given it
    #[arg(long, value_name = "FILE")]
    auth_secret_file: Option<PathBuf>,
    /// The program to start [default: shoal-server beside this program]
    #[arg(long, value_name = "PATH", conflicts_with = "server")]
    server_bin: Option<PathBuf>,
    /// One more argument for the server that is started; may be repeated
    #[arg(long, value_name = "ARG", allow_hyphen_values = true, conflicts_with = "server")]
    server_arg: Vec<String>,
}

/// A server to put load on.
#[derive(Debug)]
pub(crate) struct UnderTest {
    /// Where viewers connect.
    pub(crate) base: Url,
    /// Where the stream is pushed, with a slash at the end.
    pub(crate) publish: Url,
    /// Its name.
    pub(crate) stream: String,
    /// Who signs viewers' tokens, if they need some.
    pub(crate) signer: Option<Signer>,
    /// What it said before this run.
    before: Said,
    admin: Option<Url>,
    client: reqwest::Client,
    child: Option<Child>,
    folder: Option<TempDir>,
}

/// What a server says of itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Said {
    /// Bytes that it wrote to viewers' sockets for the stream: media, playlists, tracker, heads.
    pub(crate) egress_bytes: f64,
    /// What viewers reported as useful from peers.
    pub(crate) from_peers_bytes: f64,
    /// What was not.
    pub(crate) wasted_bytes: f64,
    pub(crate) links_up: f64,
    pub(crate) links_failed: f64,
}

impl Said {
    const UNKNOWN: Self = Self {
        egress_bytes: f64::NAN,
        from_peers_bytes: f64::NAN,
        wasted_bytes: f64::NAN,
        links_up: f64::NAN,
        links_failed: f64::NAN,
    };
}

impl ServerArgs {
    /// The server, ready.
    ///
    /// # Errors
    /// If it does not start, or is not there.
    pub(crate) async fn open(&self, settings: &[String]) -> Result<UnderTest> {
        match &self.server {
            Some(base) => self.foreign(base).await,
            None => self.start(settings).await,
        }
    }

    async fn foreign(&self, base: &Url) -> Result<UnderTest> {
        let key = self.key.as_deref().unwrap_or_default();
        let mut server = UnderTest {
            base: base.clone(),
            publish: base.join(&format!("/publish/{key}/{}/", self.stream))?,
            stream: self.stream.clone(),
            signer: self.signer()?,
            before: Said::default(),
            admin: self.admin.clone(),
            client: client()?,
            child: None,
            folder: None,
        };
        if self.admin.is_some() {
            server.before = server.said().await.context("--admin does not answer")?;
        }
        Ok(server)
    }

    async fn start(&self, settings: &[String]) -> Result<UnderTest> {
        let program = self.program()?;
        let folder = tempfile::tempdir().context("no folder for the server")?;
        let (ports, log) = (folder.path().join("ports.json"), folder.path().join("log"));
        let log_file = std::fs::File::create(&log).context("cannot write the server's log")?;
        let stream = &self.stream;
        let mut command = Command::new(&program);
        command
            .args(["--listen", "127.0.0.1:0", "--ingest-listen", "127.0.0.1:0"])
            .args(["--admin-listen", "127.0.0.1:0", "--log", "warn"])
            .arg("--stream")
            .arg(format!("{stream}={OWN_KEY}"))
            .arg("--ports-file")
            .arg(&ports)
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .args(settings)
            .args(
                self.auth_secret_file
                    .iter()
                    .flat_map(|file| ["--auth-secret-file".as_ref(), file.as_os_str()]),
            )
            .args(&self.server_arg)
            .stdin(Stdio::null())
            .stdout(log_file.try_clone()?)
            .stderr(log_file)
            // Ctrl-C is for us; what we started ends with us.
            .process_group(0)
            .kill_on_drop(true);
        let mut child =
            command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let ports = listening(&mut child, &ports, &log).await?;
        let url = |key: &str| {
            let address = ports[key].as_str().ok_or_else(|| anyhow!("no {key} in the ports"))?;
            Url::parse(&format!("http://{address}/")).context("the server's address")
        };
        Ok(UnderTest {
            base: url("listen")?,
            publish: url("ingest_listen")?.join(&format!("publish/{OWN_KEY}/{stream}/"))?,
            stream: stream.clone(),
            signer: self.signer()?,
            before: Said::default(),
            admin: Some(url("admin_listen")?),
            client: client()?,
            child: Some(child),
            folder: Some(folder),
        })
    }

    fn signer(&self) -> Result<Option<Signer>> {
        let file = self.auth_secret_file.as_deref();
        file.map(|file| Signer::read(file, &self.stream)).transpose()
    }

    fn program(&self) -> Result<PathBuf> {
        if let Some(program) = &self.server_bin {
            return Ok(program.clone());
        }
        let own = std::env::current_exe().context("where is this program?")?;
        let beside = own.with_file_name("shoal-server");
        if !beside.is_file() {
            bail!(
                "no {}: build it (cargo build --release -p shoal-server) or give --server-bin PATH",
                beside.display()
            );
        }
        Ok(beside)
    }
}

fn client() -> Result<reqwest::Client> {
    let client = reqwest::Client::builder().timeout(ANSWER_MAX).no_proxy().build();
    client.context("no HTTP client")
}

/// The addresses, once the server has written them.
async fn listening(child: &mut Child, ports: &Path, log: &Path) -> Result<Value> {
    let until = Instant::now() + START_MAX;
    while Instant::now() < until {
        if let Ok(text) = std::fs::read_to_string(ports) {
            return serde_json::from_str(&text).context("the server's ports");
        }
        if let Some(status) = child.try_wait()? {
            let log = std::fs::read_to_string(log).unwrap_or_default();
            bail!("the server ended ({status}): {}", log.trim());
        }
        sleep(Duration::from_millis(20)).await;
    }
    bail!("the server does not listen after {} s", START_MAX.as_secs())
}

impl UnderTest {
    /// The stream's media playlist.
    pub(crate) fn playlist(&self) -> Result<Url> {
        Ok(self.base.join(&format!("/live/{}/index.m3u8", self.stream))?)
    }

    /// What the server's process has used, if it can be known.
    pub(crate) async fn usage(&self) -> Option<Usage> {
        if let Some(child) = &self.child {
            return usage_of(child.id()?);
        }
        let status = self.status().await.ok()?;
        let rss_bytes = status["rss_bytes"].as_f64()?;
        Some(Usage { cpu_s: status["cpu_seconds"].as_f64()?, rss_bytes })
    }

    /// The token of a viewer, if viewers need some.
    pub(crate) fn token(&self, viewer: u64) -> Option<String> {
        Some(self.signer.as_ref()?.sign(viewer))
    }

    /// A client of viewer 0's.
    ///
    /// # Errors
    /// If no HTTP client can be made.
    pub(crate) fn client(&self) -> Result<reqwest::Client> {
        let bearer = self.token(0).map(|token| HeaderValue::from_str(&format!("Bearer {token}")));
        let bearer = bearer.transpose()?.map(|value| (AUTHORIZATION, value));
        let client = reqwest::Client::builder().default_headers(bearer.into_iter().collect());
        client.timeout(ANSWER_MAX).no_proxy().build().context("no HTTP client")
    }

    /// What the server says of itself since this run began; not numbers if it has no admin listener.
    ///
    /// # Errors
    /// If it does not answer.
    pub(crate) async fn said(&self) -> Result<Said> {
        if self.admin.is_none() {
            return Ok(Said::UNKNOWN);
        }
        let status = self.status().await?;
        let streams = status["streams"].as_array();
        let own = streams.and_then(|all| all.iter().find(|it| it["stream"] == *self.stream));
        let own = own.with_context(|| format!("the server has no stream `{}`", self.stream))?;
        let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
        let since = |figure: fn(&Said) -> f64, now: &Value| number(now) - figure(&self.before);
        Ok(Said {
            egress_bytes: since(|it| it.egress_bytes, &own["egress_bytes"]),
            from_peers_bytes: since(|it| it.from_peers_bytes, &own["totals"]["from_peers"]),
            wasted_bytes: since(|it| it.wasted_bytes, &own["totals"]["wasted"]),
            links_up: since(|it| it.links_up, &own["links_up"]),
            links_failed: since(|it| it.links_failed, &own["links_failed"]),
        })
    }

    async fn status(&self) -> Result<Value> {
        let admin = self.admin.as_ref().context("the server's --admin address is not known")?;
        let answer = self.client.get(admin.join("/status")?).send().await?.error_for_status()?;
        serde_json::from_str(&answer.text().await?).context("the server's status")
    }

    /// Ends a server that was started here.
    pub(crate) async fn stop(mut self) {
        let Some(mut child) = self.child.take() else { return };
        if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
            // It may have ended between these two lines.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        if timeout(STOP_MAX, child.wait()).await.is_err() {
            // It may have ended by itself.
            let _ = child.kill().await;
        }
        drop(self.folder.take());
    }
}
