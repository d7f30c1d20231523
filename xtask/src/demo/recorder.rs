//! One viewer's recorder: an HTTP forwarder between agent and player that hashes what the player
//! receives.
//!
//! Rule: it is a process of its own and shares no code with the agent. What it saw goes to its
//! standard output, one JSON object per line; it ends when its standard input does. It also fetches
//! the agent's status, because it lives in the viewer's network namespace and the demo does not.

use super::forward::{self, Body, End, Watch};
use super::http;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

/// Where to forward to.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The agent's address.
    #[arg(long)]
    upstream: String,
}

/// How often the running totals are said if they have changed: often enough that a sample of them
/// misses no more than a few packets.
const TALLY_EVERY: Duration = Duration::from_millis(20);

/// How often the agent is asked for its status.
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// Runs one recorder until its standard input ends.
pub(crate) fn run(args: &Args) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(args))?;
    // A read of standard input cannot be cancelled; do not wait for it.
    runtime.shutdown_background();
    Ok(())
}

async fn serve(args: &Args) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("recorder cannot listen")?;
    say(&json!({"type": "ready", "listen": listener.local_addr()?.to_string()}));
    let shared = Arc::new(Shared { upstream: args.upstream.clone(), ..Shared::default() });
    tokio::select! {
        result = accept(listener, &shared) => result,
        () = tally(&shared) => Ok(()),
        () = ask_agent(&shared) => Ok(()),
        () = end_of_input() => Ok(()),
    }
}

async fn end_of_input() {
    let mut buffer = [0; 64];
    let mut input = tokio::io::stdin();
    while input.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
}

#[derive(Default)]
struct Shared {
    upstream: String,
    media_bytes: AtomicU64,
    other_bytes: AtomicU64,
}

impl Watch for Shared {
    fn passed(&self, is_media: bool, bytes: u64) {
        let total = if is_media { &self.media_bytes } else { &self.other_bytes };
        total.fetch_add(bytes, Ordering::Relaxed);
    }

    fn body(&self, body: Body) {
        let Some(name) = forward::media_name(&body.target) else { return };
        say(&json!({
            "type": "body",
            "name": name,
            "status": body.status,
            "offset": body.offset,
            "bytes": body.bytes,
            "end": match body.end { End::Complete => "complete", End::Cut => "cut", End::Left => "left" },
            "hash": body.hash.to_hex().to_string(),
        }));
    }
}

async fn accept(listener: TcpListener, shared: &Arc<Shared>) -> Result<()> {
    loop {
        let (client, _) = listener.accept().await?;
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            // A player may drop its connection at any time; that is no fault to report.
            let _ = forward::serve_client(client, &shared.upstream, &*shared).await;
        });
    }
}

async fn tally(shared: &Shared) {
    let mut ticks = tokio::time::interval(TALLY_EVERY);
    let mut said = (u64::MAX, u64::MAX);
    loop {
        ticks.tick().await;
        let media_bytes = shared.media_bytes.load(Ordering::Relaxed);
        let other_bytes = shared.other_bytes.load(Ordering::Relaxed);
        if said != (media_bytes, other_bytes) {
            said = (media_bytes, other_bytes);
            say(&json!({"type": "tally", "media_bytes": media_bytes, "other_bytes": other_bytes}));
        }
    }
}

async fn ask_agent(shared: &Shared) {
    let mut ticks = tokio::time::interval(STATUS_EVERY);
    let url = format!("http://{}/status", shared.upstream);
    loop {
        ticks.tick().await;
        if let Ok(status) = agent_status(&url).await {
            say(&json!({"type": "agent", "status": status}));
        }
    }
}

async fn agent_status(url: &str) -> Result<Value> {
    let text = http::fetch(url, Duration::from_secs(2)).await?.into_text()?;
    Ok(serde_json::from_str(&text)?)
}

/// One line on standard output; standard output's lock keeps lines whole.
fn say(line: &Value) {
    use std::io::Write;
    let mut out = io::stdout().lock();
    // If nobody reads any more, standard input ends as well.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
