//! hls.js and Shaka Player in one headless Chromium, driven by `web-demo/conformance/drive.mjs`.
//!
//! Rule: a page per cell, in a context of its own. What the pages say is what their players saw.

use super::super::forwarder::Comparison;
use super::super::stage::Sources;
use super::{Client, Goal, Outcome};
use crate::demo::process::{Launch, Process};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const START_LIMIT: Duration = Duration::from_secs(60);
const END_LIMIT: Duration = Duration::from_secs(10);
/// What opening and closing a page takes beside playing, at most.
const PAGE_LIMIT: Duration = Duration::from_secs(40);

type Waiting = Arc<Mutex<BTreeMap<u64, oneshot::Sender<Value>>>>;

/// A running Chromium.
#[derive(Debug)]
pub(crate) struct Browser {
    driver: Process,
    input: tokio::sync::Mutex<Option<ChildStdin>>,
    next: Mutex<u64>,
    waiting: Waiting,
    listener: JoinHandle<()>,
    /// Versions of Chromium, hls.js and Shaka Player.
    pub(crate) versions: Value,
}

/// What a page did.
#[derive(Clone, Debug, Default)]
pub(crate) struct PageOutcome {
    /// How its player did.
    pub(crate) outcome: Outcome,
    /// What hls.js was handed, compared with the origin; nothing for Shaka Player.
    pub(crate) comparison: Comparison,
    /// Where its bytes came from; nothing for Shaka Player.
    pub(crate) sources: Sources,
}

impl Browser {
    /// Starts it.
    pub(crate) async fn start(web: &Path, folder: &Path) -> Result<Self> {
        let script = web.join("conformance/drive.mjs").display().to_string();
        let mut driver = Launch::new("browser", "node", folder).args([script]).piped().spawn()?;
        let input = driver.take_stdin();
        let output = driver.take_stdout().context("the driver has no standard output")?;
        let mut lines = BufReader::new(output).lines();
        let ready = tokio::time::timeout(START_LIMIT, lines.next_line()).await;
        let ready = ready.context("Chromium does not start")??;
        let Some(versions) = ready.and_then(|line| serde_json::from_str(&line).ok()) else {
            driver.check_running()?;
            bail!("Chromium did not start; see browser.log (with --keep DIR)");
        };
        let waiting = Waiting::default();
        let listener = tokio::spawn(listen(lines, Arc::clone(&waiting)));
        let (input, next) = (tokio::sync::Mutex::new(input), Mutex::new(0));
        Ok(Self { driver, input, next, waiting, listener, versions })
    }

    /// Plays `url` in a page, with Shoal or plain.
    pub(crate) async fn play(
        &self,
        client: Client,
        url: &str,
        goal: &Goal,
        is_plain: bool,
    ) -> Result<PageOutcome> {
        let (sender, answer) = oneshot::channel();
        let id = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            *next += 1;
            *next
        };
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id, sender);
        let command = json!({
            "id": id,
            "client": client.name(),
            "url": url,
            "live": goal.is_live,
            "mediaS": goal.media_s,
            "limitMs": goal.limit_s * 1000.0,
            "plain": is_plain,
        });
        let line = format!("{command}\n");
        let mut input = self.input.lock().await;
        let pipe = input.as_mut().context("the browser was ended")?;
        pipe.write_all(line.as_bytes()).await.context("Chromium is gone")?;
        drop(input);
        let limit = PAGE_LIMIT + Duration::from_secs_f64(goal.limit_s);
        let answer = tokio::time::timeout(limit, answer).await.context("the page hangs")?;
        Ok(read(&answer.context("Chromium is gone")?))
    }

    /// Ends it; says whether it ended by itself.
    pub(crate) async fn stop(&mut self) -> bool {
        // The driver ends with its input.
        *self.input.lock().await = None;
        let _ = tokio::time::timeout(END_LIMIT, &mut self.listener).await;
        self.driver.stop(Duration::from_secs(3)).await
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn listen(mut lines: Lines<BufReader<ChildStdout>>, waiting: Waiting) {
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(line) = serde_json::from_str::<Value>(&line) else { continue };
        let id = line["id"].as_u64().unwrap_or(0);
        let sender = waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        // Who waited may have given up.
        let _ = sender.map(|sender| sender.send(line));
    }
}

fn read(answer: &Value) -> PageOutcome {
    let texts = |name: &str| {
        let texts = answer[name].as_array().into_iter().flatten();
        texts.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let number = |name: &str| answer[name].as_u64().unwrap_or(0);
    PageOutcome {
        outcome: Outcome {
            played_s: answer["playedS"].as_f64().unwrap_or(0.0),
            has_ended: answer["ended"].as_bool().unwrap_or(false),
            fault: answer["fault"].as_str().map(str::to_owned),
        },
        comparison: Comparison {
            same: usize::try_from(number("same")).unwrap_or(0),
            different: texts("different"),
            refused: texts("refused"),
        },
        sources: Sources { peers: number("fromPeers"), origin: number("fromOrigin") },
    }
}
