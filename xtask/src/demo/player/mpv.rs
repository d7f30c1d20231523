//! mpv without picture and sound, observed over its JSON IPC.
//!
//! Rule: the first `playback-restart` is the first frame (later ones are seeks or discontinuities),
//! `paused-for-cache` is waiting, `time-pos` the position as the stream's own timestamp
//! (`--rebase-start-time=no`).

use super::super::process::Process;
use super::{Position, Record, Setup, launch};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

/// mpv makes its socket some 50 ms after its start, long before the first frame.
const SOCKET_WAIT: Duration = Duration::from_secs(20);

/// A title is read ahead for so long, as hls.js does; by default mpv would read all of it at once.
const TITLE_AHEAD_S: u32 = 30;

const PROPERTIES: [&str; 2] = ["time-pos", "paused-for-cache"];

pub(super) fn start(setup: &Setup<'_>, record: Record) -> Result<(Process, JoinHandle<()>)> {
    let socket = socket(setup);
    let options = "--no-config --vo=null --ao=null --rebase-start-time=no --really-quiet \
                   --ytdl=no --osc=no --load-scripts=no --idle=no";
    let process = launch(setup, "mpv")
        .args(options.split_whitespace())
        .args((!setup.shows_video).then_some("--vid=no"))
        .args(setup.is_title.then(|| format!("--cache-secs={TITLE_AHEAD_S}")))
        .args([format!("--input-ipc-server={}", socket.display()), setup.url.clone()])
        .spawn()?;
    let is_title = setup.is_title;
    let listener = tokio::spawn(async move {
        // However its signals end, the player has ended with them.
        let _ = listen(socket, &record, is_title).await;
        record.ended();
    });
    Ok((process, listener))
}

/// Where the player listens for commands.
pub(super) fn socket(setup: &Setup<'_>) -> PathBuf {
    setup.folder.join(format!("{}.sock", setup.name))
}

/// Lets it go on at that second of the stream.
pub(super) async fn seek(socket: &Path, second: f64) -> Result<()> {
    let mut stream = UnixStream::connect(socket).await?;
    let line = json!({"command": ["seek", second, "absolute"]}).to_string() + "\n";
    Ok(stream.write_all(line.as_bytes()).await?)
}

async fn listen(socket: PathBuf, record: &Record, is_title: bool) -> Result<()> {
    let connected = tokio::time::timeout(SOCKET_WAIT, connect(&socket)).await;
    let mut stream = connected.context("mpv opened no IPC socket")?;
    for (id, property) in (1..).zip(PROPERTIES) {
        let line = json!({"command": ["observe_property", id, property]}).to_string() + "\n";
        stream.write_all(line.as_bytes()).await?;
    }
    let mut lines = BufReader::new(stream).lines();
    let mut has_started = false;
    while let Some(line) = lines.next_line().await? {
        let message: Value = serde_json::from_str(&line)?;
        if is_title && message["reason"] == "eof" {
            record.finished();
        }
        heed(&message, record, &mut has_started);
    }
    Ok(())
}

async fn connect(socket: &PathBuf) -> UnixStream {
    loop {
        if let Ok(stream) = UnixStream::connect(socket).await {
            return stream;
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

fn heed(message: &Value, record: &Record, has_started: &mut bool) {
    match (message["event"].as_str(), message["name"].as_str()) {
        (Some("playback-restart"), _) if *has_started => record.clocks_restarted(),
        (Some("playback-restart"), _) => {
            *has_started = true;
            record.first_frame();
        }
        (Some("property-change"), Some("paused-for-cache")) => {
            record.waiting(message["data"].as_bool().unwrap_or(false));
        }
        (Some("property-change"), Some("time-pos")) => {
            if let Some(pts_s) = message["data"].as_f64() {
                record.position(Position::Pts(pts_s));
            }
        }
        // End of the file: a live stream has none, so this is the player giving up.
        (Some("end-file"), _) => record.ended(),
        _ => {}
    }
}
