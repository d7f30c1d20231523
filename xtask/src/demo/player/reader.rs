//! A small HLS reader of our own, for machines without mpv and ffmpeg.
//!
//! Rule: it behaves like a plain player: starts three segments from the live edge, fetches ahead,
//! plays at normal speed, waits when it has nothing. It decodes nothing: its first frame is the
//! first whole segment. It runs as a process of its own (`xtask reader`), like the other players.

use super::super::process::Process;
use super::super::{http, playlist};
use super::{Position, Record, Setup, launch};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::task::JoinHandle;

/// Segments from the live edge to start at, as RFC 8216, 6.3.3 asks.
const SEGMENTS_BEHIND: usize = 3;

/// How often the position is said.
const REPORT_EVERY: Duration = Duration::from_millis(40);

/// A segment that takes longer than this is given up and asked for again.
const FETCH_LIMIT: Duration = Duration::from_secs(30);

pub(super) fn start(setup: &Setup<'_>, record: Record) -> Result<(Process, JoinHandle<()>)> {
    let program = std::env::current_exe().context("where is this program?")?;
    let mut process = launch(setup, &program.to_string_lossy())
        .args(["reader", "--url", setup.url.as_str()])
        .piped()
        .spawn()?;
    let output = process.take_stdout().context("the reader has no standard output")?;
    let listener = tokio::spawn(async move {
        let mut lines = BufReader::new(output).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let Ok(message) = serde_json::from_str::<Value>(&line) else { break };
            heed(&message, &record);
        }
        record.ended();
    });
    Ok((process, listener))
}

fn heed(message: &Value, record: &Record) {
    record.waiting(message["waiting"].as_bool().unwrap_or(false));
    let (msn, seconds) = (message["msn"].as_u64(), message["seconds"].as_f64());
    if let (Some(msn), Some(seconds)) = (msn, seconds) {
        record.first_frame();
        record.position(Position::After { msn, seconds });
    }
}

/// What to read.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The media playlist.
    #[arg(long)]
    url: String,
}

/// Reads and "plays" until it is killed or nobody listens any more.
pub(crate) fn run(args: &Args) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let buffer = Arc::new(Mutex::new(Buffer::default()));
    runtime.block_on(async {
        tokio::select! {
            () = fetch(args.url.clone(), Arc::clone(&buffer)) => Ok(()),
            result = play(&buffer) => result,
        }
    })
}

/// Whole segments that are not played yet.
#[derive(Debug, Default)]
struct Buffer {
    segments: VecDeque<(u64, f64)>,
    played_s: f64,
}

impl Buffer {
    /// Plays for `elapsed_s`; says where it is then, or nothing if the buffer ran dry.
    fn advance(&mut self, elapsed_s: f64) -> Option<(u64, f64)> {
        if self.segments.is_empty() {
            return None;
        }
        self.played_s += elapsed_s;
        while let Some((_, duration_s)) = self.segments.front()
            && self.played_s >= *duration_s
            && self.segments.len() > 1
        {
            self.played_s -= duration_s;
            self.segments.pop_front();
        }
        let (msn, duration_s) = *self.segments.front()?;
        let is_dry = self.played_s >= duration_s;
        self.played_s = self.played_s.min(duration_s);
        (!is_dry).then_some((msn, self.played_s))
    }
}

async fn fetch(url: String, buffer: Arc<Mutex<Buffer>>) {
    let mut next_msn = None;
    loop {
        let listed = http::fetch(&url, FETCH_LIMIT).await.and_then(http::Response::into_text);
        let entries = playlist::parse(&listed.unwrap_or_default());
        let start = entries.len().saturating_sub(SEGMENTS_BEHIND);
        let first_msn = entries.get(start).map(|entry| entry.msn);
        let from_msn = next_msn.or(first_msn).unwrap_or(u64::MAX);
        for entry in entries.iter().filter(|entry| entry.msn >= from_msn) {
            let body = http::fetch(&playlist::resolve(&url, &entry.uri), FETCH_LIMIT).await;
            if body.and_then(http::Response::into_body).is_err() {
                break;
            }
            super::lock(&buffer).segments.push_back((entry.msn, entry.duration_s));
            next_msn = Some(entry.msn + 1);
        }
        let pause_s = entries.last().map_or(0.5, |entry| entry.duration_s / 4.0);
        tokio::time::sleep(Duration::from_secs_f64(pause_s.clamp(0.1, 2.0))).await;
    }
}

async fn play(buffer: &Mutex<Buffer>) -> Result<()> {
    use std::io::Write;
    let mut ticks = tokio::time::interval(REPORT_EVERY);
    let mut last = Instant::now();
    loop {
        ticks.tick().await;
        let now = Instant::now();
        let position = super::lock(buffer).advance((now - last).as_secs_f64());
        last = now;
        let line = match position {
            Some((msn, seconds)) => json!({"waiting": false, "msn": msn, "seconds": seconds}),
            None => json!({"waiting": true}),
        };
        writeln!(std::io::stdout(), "{line}")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plays_on_and_runs_dry() {
        let mut buffer = Buffer::default();
        assert_eq!(buffer.advance(1.0), None);
        buffer = Buffer::default();
        buffer.segments.extend([(7, 2.0), (8, 2.0)]);
        assert_eq!(buffer.advance(1.5), Some((7, 1.5)));
        assert_eq!(buffer.advance(1.0), Some((8, 0.5)));
        assert_eq!(buffer.advance(5.0), None);
        buffer.segments.push_back((9, 2.0));
        assert_eq!(buffer.advance(0.25), Some((9, 0.25)));
    }
}
