//! What a stream is played from: servers, agents, and a viewer that has it already.
//!
//! Rule: everything runs on loopback, on ports of the system's choice, and ends with its handle.

use super::crawl;
use crate::demo::http;
use crate::demo::origin::wait_for_ports;
use crate::demo::process::{Launch, Process};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

const START_LIMIT: Duration = Duration::from_secs(30);
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// A link opens in half a second; a busy machine takes longer.
const LINK_LIMIT: Duration = Duration::from_secs(5);
/// All recordings together are a few MiB.
const READY_LIMIT: Duration = Duration::from_secs(30);
const END_LIMIT: Duration = Duration::from_secs(5);

/// Key that everything is pushed with.
pub(crate) const INGEST_KEY: &str = "conformance";

/// Paths of the programs.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    /// `shoal-server`.
    pub(crate) server: PathBuf,
    /// `shoal-agent`.
    pub(crate) agent: PathBuf,
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    process: Process,
    /// `HOST:PORT` of viewers and encoders.
    pub(crate) address: String,
}

impl Server {
    /// Starts one called `name`, with flags of its own.
    pub(crate) async fn start(
        programs: &Programs,
        folder: &Path,
        name: &str,
        flags: &[String],
    ) -> Result<Self> {
        let ports = folder.join(format!("{name}.json"));
        let data = folder.join(format!("{name}-data"));
        let any = "127.0.0.1:0";
        let mut process = Launch::new(name, &programs.server, folder)
            .args(["--listen", any, "--admin-listen", any])
            .args(["--data-dir", &data.display().to_string()])
            .args(["--ports-file", &ports.display().to_string()])
            .args(flags.iter().cloned())
            .spawn()?;
        let listens = wait_for_ports(&mut process, &ports, START_LIMIT).await?;
        let address = listens["listen"].as_str().context("the server does not say its address")?;
        Ok(Self { address: address.to_owned(), process })
    }

    /// Waits until it serves this playlist with so many segments, or variants.
    pub(crate) async fn wait_for(&self, url: &str, entries: usize) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < READY_LIMIT {
            let answer = http::fetch(url, ANSWER_LIMIT).await.and_then(http::Response::into_text);
            let count = |text: String| crawl::uri_lines(&text).count();
            if answer.is_ok_and(|text| count(text) >= entries) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("the server does not serve {url}; see its log (with --keep DIR)")
    }

    /// Ends it; says whether it did by itself.
    pub(crate) async fn stop(&mut self) -> bool {
        self.process.stop(END_LIMIT).await
    }
}

/// A running agent.
#[derive(Debug)]
pub(crate) struct Agent {
    process: Process,
    /// `HOST:PORT` of its proxy.
    pub(crate) address: String,
    origin: String,
    log: PathBuf,
}

impl Agent {
    /// Starts one for the origin at `origin` (`HOST:PORT`).
    pub(crate) async fn start(
        programs: &Programs,
        folder: &Path,
        name: &str,
        origin: &str,
    ) -> Result<Self> {
        let ports = folder.join(format!("{name}.json"));
        let mut process = Launch::new(name, &programs.agent, folder)
            .args(["run", "--origin", &format!("http://{origin}"), "--listen", "127.0.0.1:0"])
            .args(["--ports-file", &ports.display().to_string()])
            .spawn()?;
        let listens = wait_for_ports(&mut process, &ports, START_LIMIT).await?;
        let address = listens["listen"].as_str().context("the agent does not say its address")?;
        let log = folder.join(format!("{name}.log"));
        Ok(Self { address: address.to_owned(), origin: origin.to_owned(), log, process })
    }

    /// Where a player finds `path` of the origin, at `address` in place of the agent's own.
    pub(crate) fn url(&self, address: &str, path: &str) -> String {
        format!("http://{address}/http/{}{path}", self.origin)
    }

    /// What stands before `/http/…` in the URLs of a page: it says so when it starts.
    pub(crate) async fn page_prefix(&self) -> Result<String> {
        let begun = Instant::now();
        while begun.elapsed() < START_LIMIT {
            let log = std::fs::read_to_string(&self.log)?;
            let found = log.split_ascii_whitespace().find_map(|word| {
                let path = &word[word.find("/s/")?..];
                Some(path[..path.find("/http/")?].to_owned())
            });
            if let Some(prefix) = found {
                return Ok(prefix);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("the agent does not say the secret for pages")
    }

    async fn status(&self) -> Result<Value> {
        let url = format!("http://{}/status", self.address);
        Ok(serde_json::from_str(&http::fetch(&url, ANSWER_LIMIT).await?.into_text()?)?)
    }

    /// Joins the stream at `path` and waits for a link to another viewer, for a while.
    pub(crate) async fn join(&self, path: &str) -> Result<()> {
        let url = self.url(&self.address, path);
        let begun = Instant::now();
        crawl::playlists(&url).await?;
        while begun.elapsed() < LINK_LIMIT {
            let status = self.status().await?;
            let links = status["streams"][0]["neighbours"].as_array().map_or(0, Vec::len);
            if links > 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Media bytes that came from other viewers and from the origin.
    pub(crate) async fn sources(&self) -> Sources {
        let status = self.status().await.unwrap_or_default();
        let total = |name: &str| {
            let streams = status["streams"].as_array().into_iter().flatten();
            streams.filter_map(|stream| stream["totals"][name].as_u64()).sum()
        };
        Sources { peers: total("from_peers"), origin: total("from_origin") }
    }

    /// Ends it; says whether it did by itself.
    pub(crate) async fn stop(&mut self) -> bool {
        self.process.stop(END_LIMIT).await
    }
}

/// Where a player's media bytes came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sources {
    /// From other viewers.
    pub(crate) peers: u64,
    /// From the origin.
    pub(crate) origin: u64,
}

/// A viewer that has all of a stream, and gets what is added to it.
#[derive(Debug)]
pub(crate) struct Seed {
    agent: Agent,
    reader: JoinHandle<()>,
}

impl Seed {
    /// Starts it, and waits until it has what there is.
    pub(crate) async fn start(agent: Agent, path: &str) -> Result<Self> {
        let url = agent.url(&agent.address, path);
        let mut crawler = crawl::Crawler::default();
        crawler.round(&url).await?;
        let reader = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(500)).await;
                // What is not there now is there in the next round, or was never needed.
                let _ = crawler.round(&url).await;
            }
        });
        Ok(Self { agent, reader })
    }

    /// Ends it; says whether it did by itself.
    pub(crate) async fn stop(&mut self) -> bool {
        self.reader.abort();
        self.agent.stop().await
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        self.reader.abort();
    }
}
