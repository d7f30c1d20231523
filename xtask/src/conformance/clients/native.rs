//! ffmpeg, mpv, VLC and GStreamer: started without picture and sound, watched by what they say.
//!
//! Rule: a live stream is played at its own pace; a recording as fast as the player goes without
//! losing its end (VLC does when it is hurried). No player outlives its cell.

use super::{Client, Goal, Outcome, Progress};
use crate::demo::process::{Launch, Process};
use crate::shell;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::ChildStdout;
use tokio::task::JoinHandle;

/// How often it is looked how far a player is.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A player opens its socket within a second; a busy machine takes longer.
const SOCKET_LIMIT: Duration = Duration::from_secs(20);

/// A player and the task that listens to it; both end when dropped.
struct Playing {
    process: Process,
    listener: JoinHandle<()>,
    progress: Progress,
}

impl Drop for Playing {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// Plays `url` until the goal is reached, the player ends, or the time is up. Logs are `NAME.log` in
/// `folder`.
pub(crate) async fn play(
    client: Client,
    url: &str,
    goal: &Goal,
    folder: &Path,
    name: &str,
) -> Result<Outcome> {
    let mut playing = match client {
        Client::Ffmpeg => ffmpeg(url, folder, name)?,
        Client::Mpv => mpv(url, goal, folder, name)?,
        Client::Vlc => vlc(url, folder, name)?,
        Client::Gstreamer => gstreamer(url, goal, folder, name)?,
        Client::HlsJs | Client::Shaka => anyhow::bail!("pages play in Chromium"),
    };
    let begun = Instant::now();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let outcome = playing.progress.outcome();
        if goal.is_live && outcome.played_s >= goal.media_s {
            break;
        }
        if let Some(status) = playing.process.ended()? {
            // What it said last is still on its way.
            let _ = tokio::time::timeout(Duration::from_secs(1), &mut playing.listener).await;
            if !status.success() {
                let said = playing.process.said(&["ERROR", "error"]).unwrap_or_default();
                playing.progress.failed(format!("{} ended: {status} {said}", client.title()));
            }
            break;
        }
        if begun.elapsed().as_secs_f64() > goal.limit_s {
            playing.progress.failed(format!("stopped after {:.0} s", goal.limit_s));
            break;
        }
    }
    playing.process.kill().await;
    Ok(playing.progress.outcome())
}

/// Reads lines to their end, `heed` each.
fn listen(
    output: ChildStdout,
    progress: &Progress,
    heed: impl Fn(&str, &Progress) + Send + 'static,
) -> JoinHandle<()> {
    let progress = progress.clone();
    tokio::spawn(async move {
        let mut lines = BufReader::new(output).split(b'\n');
        while let Ok(Some(line)) = lines.next_segment().await {
            heed(String::from_utf8_lossy(&line).trim_end(), &progress);
        }
    })
}

fn ffmpeg(url: &str, folder: &Path, name: &str) -> Result<Playing> {
    let before = "-nostdin -hide_banner -loglevel warning -progress pipe:1 -stats_period 0.1 -i";
    let mut process = Launch::new(name, "ffmpeg", folder)
        .args(before.split_whitespace())
        .args([url, "-f", "null", "-"])
        .piped()
        .spawn()?;
    let progress = Progress::default();
    progress.begins_at(0.0);
    let output = process.take_stdout().context("ffmpeg has no standard output")?;
    let listener = listen(output, &progress, |line, progress| {
        if let Some(us) = line.strip_prefix("out_time_us=").and_then(|us| us.parse::<f64>().ok()) {
            progress.reaches(us / 1e6);
        }
        if line == "progress=end" {
            progress.ended();
        }
    });
    Ok(Playing { process, listener, progress })
}

fn mpv(url: &str, goal: &Goal, folder: &Path, name: &str) -> Result<Playing> {
    let socket = folder.join(format!("{name}.sock"));
    let options = "--no-config --vo=null --ao=null --really-quiet --ytdl=no --osc=no \
                   --load-scripts=no --idle=no";
    let process = Launch::new(name, "mpv", folder)
        .args(options.split_whitespace())
        .args((!goal.is_live).then_some("--untimed"))
        .args([format!("--input-ipc-server={}", socket.display()), url.to_owned()])
        .spawn()?;
    let progress = Progress::default();
    let heard = progress.clone();
    let listener = tokio::spawn(async move {
        // Its socket ends with it.
        let _ = listen_to_mpv(&socket, &heard).await;
    });
    Ok(Playing { process, listener, progress })
}

async fn connect(socket: &Path) -> Result<UnixStream> {
    let begun = Instant::now();
    loop {
        match UnixStream::connect(socket).await {
            Ok(stream) => return Ok(stream),
            Err(error) if begun.elapsed() > SOCKET_LIMIT => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(3)).await,
        }
    }
}

async fn listen_to_mpv(socket: &Path, progress: &Progress) -> Result<()> {
    let mut stream = connect(socket).await?;
    let line = json!({"command": ["observe_property", 1, "time-pos"]}).to_string() + "\n";
    stream.write_all(line.as_bytes()).await?;
    let mut lines = BufReader::new(stream).lines();
    while let Some(line) = lines.next_line().await? {
        let message: Value = serde_json::from_str(&line)?;
        if let (Some("time-pos"), Some(at_s)) = (message["name"].as_str(), message["data"].as_f64())
        {
            progress.is_at(at_s);
        }
        match (message["event"].as_str(), message["reason"].as_str()) {
            (Some("end-file"), Some("eof")) => progress.ended(),
            (Some("end-file"), Some(reason)) => progress.failed(format!("mpv ended: {reason}")),
            _ => {}
        }
    }
    Ok(())
}

/// VLC refuses to run as root.
const VLC_AS_NOBODY: &str = "setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/tmp vlc";

/// The words that start VLC.
fn vlc_words() -> impl Iterator<Item = &'static str> {
    let words = if shell::is_root() { VLC_AS_NOBODY } else { "vlc" };
    words.split_whitespace()
}

/// What VLC says of its version.
pub(crate) fn vlc_version() -> String {
    let words: Vec<&str> = vlc_words().chain(["--version"]).collect();
    let said = shell::capture(std::process::Command::new(words[0]).args(&words[1..]));
    let said = said.unwrap_or_default();
    said.split_ascii_whitespace().nth(2).unwrap_or("unknown").to_owned()
}

/// Its socket is in a place that everybody may write to.
fn vlc(url: &str, folder: &Path, name: &str) -> Result<Playing> {
    let unique = format!("shoal-vlc-{}-{name}.sock", std::process::id());
    let socket = std::env::temp_dir().join(unique);
    let mut words = vlc_words();
    let options = "-I oldrc --rc-fake-tty --vout dummy --aout dummy --no-video-title-show \
                   --no-interact --play-and-exit";
    let process = Launch::new(name, words.next().context("a program")?, folder)
        .args(words)
        .args(options.split_whitespace())
        .args(["--rc-unix".to_owned(), socket.display().to_string()])
        .args([url])
        .spawn()?;
    let progress = Progress::default();
    progress.begins_at(0.0);
    let heard = progress.clone();
    let listener = tokio::spawn(async move {
        let socket = Socket(socket);
        // Its socket ends with it.
        let _ = ask_vlc(&socket.0, &heard).await;
        heard.ended();
    });
    Ok(Playing { process, listener, progress })
}

/// A socket's file, removed when dropped.
struct Socket(PathBuf);

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn ask_vlc(socket: &Path, progress: &Progress) -> Result<()> {
    let stream = connect(socket).await?;
    let (mut answers, mut questions) = stream.into_split();
    let mut buffer = [0; 512];
    let mut line = Vec::new();
    loop {
        questions.write_all(b"get_time\n").await?;
        // It answers with a number in a line, and says other things now and then.
        let count = tokio::time::timeout(Duration::from_secs(2), answers.read(&mut buffer)).await;
        match count {
            Ok(Ok(0) | Err(_)) => return Ok(()),
            Ok(Ok(count)) => line.extend_from_slice(&buffer[..count]),
            Err(_) => {}
        }
        while let Some(end) = line.iter().position(|&byte| byte == b'\n') {
            let text = String::from_utf8_lossy(&line[..end]).into_owned();
            line.drain(..=end);
            if let Ok(at_s) = text.trim_start_matches(['>', ' ']).trim().parse::<f64>() {
                progress.is_at(at_s);
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn gstreamer(url: &str, goal: &Goal, folder: &Path, name: &str) -> Result<Playing> {
    let sync = if goal.is_live { "sync=true" } else { "sync=false" };
    let sink = |name: &str| format!("progressreport name={name} update-freq=1 ! fakesink {sync}");
    let mut process = Launch::new(name, "gst-launch-1.0", folder)
        .args(["playbin3".to_owned(), format!("uri={url}")])
        .args([format!("video-sink={}", sink("video")), format!("audio-sink={}", sink("audio"))])
        .args(["text-sink=fakesink"])
        .piped()
        .spawn()?;
    let progress = Progress::default();
    progress.begins_at(0.0);
    let output = process.take_stdout().context("gst-launch has no standard output")?;
    let listener = listen(output, &progress, |line, progress| {
        if let Some(at_s) = reported(line) {
            progress.reaches(at_s);
        }
        if line.starts_with("Got EOS") {
            progress.ended();
        }
        if line.starts_with("ERROR") {
            progress.failed(line);
        }
    });
    Ok(Playing { process, listener, progress })
}

/// The position in `video (00:00:05): 5 / 16 seconds (31.2 %)`.
fn reported(line: &str) -> Option<f64> {
    let (head, rest) = line.split_once("): ")?;
    let ours = head.starts_with("video (") || head.starts_with("audio (");
    rest.split_ascii_whitespace().next().filter(|_| ours)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gstreamer_reports() {
        assert_eq!(reported("video (00:00:05): 5 / 16 seconds (31.2 %)"), Some(5.0));
        assert_eq!(reported("audio (00:00:00): 16 / 16 seconds (100.0 %)"), Some(16.0));
        assert_eq!(reported("Got context from element 'x': y"), None);
    }
}
