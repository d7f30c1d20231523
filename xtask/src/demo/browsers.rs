//! Viewers that are pages in a headless Chromium, and their twins without us.
//!
//! Rule: what is known of a page is what the player in it saw: bytes that hls.js was handed, frames,
//! waiting. One Chromium holds all pages; processor time and memory are of all its processes, from
//! the kernel.

use super::clock;
use super::figures::{PlayerFigures, median};
use super::lock;
use super::playback::{Stall, StallKind};
use super::process::{Launch, Process, Usage, usage_below};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::task::JoinHandle;

const START_LIMIT: Duration = Duration::from_secs(60);
const END_LIMIT: Duration = Duration::from_secs(15);

/// All pages.
#[derive(Debug)]
pub(crate) struct Browsers {
    driver: Process,
    input: Option<ChildStdin>,
    listener: JoinHandle<()>,
    seen: Arc<Mutex<BTreeMap<String, Seen>>>,
    version: String,
    usage: Option<Usage>,
}

/// What a page said.
#[derive(Clone, Debug, Default)]
struct Seen {
    last: Value,
    /// With the time of each, Unix seconds.
    latencies_s: Vec<(f64, f64)>,
}

/// Name of the page that is viewer `index`.
fn name(index: u8, is_twin: bool) -> String {
    format!("{}-{index}", if is_twin { "twin" } else { "page" })
}

impl Browsers {
    /// Starts Chromium without any page.
    pub(crate) async fn start(web: &Path, folder: &Path) -> Result<Self> {
        let script = web.join("drive/drive.mjs").display().to_string();
        let mut driver = Launch::new("browsers", "node", folder).args([script]).piped().spawn()?;
        let input = driver.take_stdin();
        let output = driver.take_stdout().context("the driver has no standard output")?;
        let mut lines = BufReader::new(output).lines();
        let ready = tokio::time::timeout(START_LIMIT, lines.next_line()).await;
        let ready = ready.context("Chromium does not start")??;
        let Some(ready) = ready.and_then(|line| serde_json::from_str::<Value>(&line).ok()) else {
            driver.check_running()?;
            bail!("Chromium did not start; see browsers.log (with --keep DIR)");
        };
        let seen = Arc::default();
        let listener = tokio::spawn(listen(lines, Arc::clone(&seen)));
        let version = ready["version"].as_str().unwrap_or("unknown").to_owned();
        Ok(Self { driver, input, listener, seen, version, usage: None })
    }

    /// Opens the page of viewer `index`; with a `clock` in its picture, latency is read from that.
    pub(crate) async fn open(
        &mut self,
        index: u8,
        is_twin: bool,
        url: &str,
        (screenshot, clock): (Option<&Path>, bool),
    ) -> Result<()> {
        let name = name(index, is_twin);
        let command = json!({ "name": name, "url": url, "screenshot": screenshot, "clock": clock });
        let input = self.input.as_mut().context("the browsers were ended")?;
        input.write_all(format!("{command}\n").as_bytes()).await.context("Chromium is gone")
    }

    /// An error if Chromium or its driver ended by itself.
    pub(crate) fn check_running(&mut self) -> Result<()> {
        self.driver.check_running()
    }

    /// Notes processor time and memory of all of Chromium.
    pub(crate) fn sample_usage(&mut self) {
        self.usage = self.driver.id().and_then(usage_below).or(self.usage);
    }

    /// Processor seconds since Chromium started, and its memory.
    pub(crate) const fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// Chromium's version.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// What the page of viewer `index` said last.
    pub(crate) fn page(&self, index: u8) -> PageSeen {
        PageSeen(self.last(index, false))
    }

    /// Playback in that page, or in its twin.
    pub(crate) fn figures(&self, index: u8, is_twin: bool) -> PlayerFigures {
        let seen = lock(&self.seen).get(&name(index, is_twin)).cloned().unwrap_or_default();
        let stalls = seen.last["stalls"].as_array().into_iter().flatten().map(|stall| Stall {
            at_s: stall["atUnixMs"].as_f64().unwrap_or(0.0) / 1000.0,
            seconds: stall["ms"].as_f64().unwrap_or(0.0) / 1000.0,
            kind: StallKind::Waited,
        });
        PlayerFigures {
            startup_s: seen.last["startupMs"].as_f64().map(|ms| ms / 1000.0),
            latency_s: median(seen.latencies_s.iter().map(|&(_, latency_s)| latency_s)),
            stalls: stalls.collect(),
            seeks: Vec::new(),
        }
    }

    /// How far that page, or its twin, was behind, once a second from `from_s` on.
    pub(crate) fn latencies_s(&self, index: u8, is_twin: bool, from_s: f64) -> Vec<f64> {
        let seen = lock(&self.seen);
        let all = seen.get(&name(index, is_twin)).into_iter().flat_map(|seen| &seen.latencies_s);
        all.filter(|(at_s, _)| *at_s >= from_s).map(|&(_, latency_s)| latency_s).collect()
    }

    fn last(&self, index: u8, is_twin: bool) -> Value {
        let seen = lock(&self.seen);
        seen.get(&name(index, is_twin)).map_or(Value::Null, |seen| seen.last.clone())
    }

    /// Lets the pages say their last words and ends Chromium. Says whether it ended by itself.
    pub(crate) async fn stop(&mut self) -> bool {
        // The driver ends with its input.
        self.input = None;
        let ended = tokio::time::timeout(END_LIMIT, &mut self.listener).await.is_ok();
        self.driver.stop(Duration::from_secs(3)).await && ended
    }
}

impl Drop for Browsers {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// What a page said last.
#[derive(Clone, Debug)]
pub(crate) struct PageSeen(Value);

impl PageSeen {
    /// Media bytes that hls.js was handed.
    pub(crate) fn delivered(&self) -> u64 {
        self.0["deliveredBytes"].as_u64().unwrap_or(0)
    }

    /// One of the engine's totals.
    pub(crate) fn total(&self, name: &str) -> u64 {
        self.0["stats"]["totals"][name].as_u64().unwrap_or(0)
    }

    /// Its name in the swarm.
    pub(crate) fn peer(&self) -> Option<&str> {
        self.0["stats"]["peer"].as_str()
    }

    /// Its open links.
    pub(crate) fn neighbours(&self) -> &[Value] {
        self.0["stats"]["neighbours"].as_array().map_or(&[], Vec::as_slice)
    }

    /// Media ahead of the playhead, ms.
    pub(crate) fn buffer_ms(&self) -> Option<u64> {
        self.0["bufferMs"].as_u64()
    }

    /// How long the WASM took to load and compile, ms.
    pub(crate) fn wasm_load_ms(&self) -> Option<f64> {
        self.0["stats"]["wasmLoadMs"].as_f64()
    }

    /// Fallbacks by reason.
    pub(crate) fn fallback_reasons(&self) -> Value {
        self.0["stats"]["fallbacks"].clone()
    }

    /// Heap of the page's scripts, bytes.
    pub(crate) fn heap_bytes(&self) -> Option<u64> {
        self.0["heapBytes"].as_u64()
    }

    /// What hls.js complained of.
    pub(crate) fn errors(&self) -> Value {
        self.0["errors"].clone()
    }
}

async fn listen(
    mut lines: Lines<BufReader<ChildStdout>>,
    seen: Arc<Mutex<BTreeMap<String, Seen>>>,
) {
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(line) = serde_json::from_str::<Value>(&line) else { continue };
        let Some(name) = line["name"].as_str().map(str::to_owned) else { continue };
        if line["type"] == "error" {
            eprintln!("{:.1} {name}: {}", clock::unix_s(), line["message"]);
            continue;
        }
        let mut seen = lock(&seen);
        let page = seen.entry(name).or_default();
        page.latencies_s.extend(line["latencyS"].as_f64().map(|it| (clock::unix_s(), it)));
        page.last = line;
    }
}
