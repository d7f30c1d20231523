//! How pushed streams come to the server: files once, or a running ffmpeg.
//!
//! Rule: uploads go as encoders send them; the server gets nothing that an encoder would not give.

use super::crawl;
use super::stage::INGEST_KEY;
use super::streams::{Live, Upload};
use crate::demo::http;
use crate::demo::process::{Launch, Process};
use crate::shell;
use anyhow::Result;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tokio::task::JoinHandle;

const LIMIT: Duration = Duration::from_secs(10);
/// How long an encoder lives that is killed. Its next lives end while those play the plain stream
/// that had no luck with ours.
const FIRST_LIFE: Duration = Duration::from_secs(15);
const LIFE: Duration = Duration::from_secs(70);
/// How long it is away.
const AWAY: Duration = Duration::from_secs(3);
/// Seconds that are pushed at once at the start, so that nobody waits for a window to fill.
const HEAD_START_S: u32 = 12;

/// Segments of a live playlist. A DVR window is longer.
pub(crate) const WINDOW: u32 = 8;

/// URL of the folder that takes a stream's uploads.
fn push_url(address: &str, stream: &str) -> String {
    format!("http://{address}/publish/{INGEST_KEY}/{stream}/")
}

/// Pushes segments, then the playlist that names them.
pub(crate) async fn push_files(
    folder: &Path,
    address: &str,
    stream: &str,
    upload: Upload,
) -> Result<()> {
    let to = push_url(address, stream);
    let path = folder.join("index.m3u8");
    let mut text = std::fs::read_to_string(&path)?;
    let names: Vec<String> = crawl::uri_lines(&text).map(str::to_owned).collect();
    for name in &names {
        let bytes = std::fs::read(folder.join(name))?;
        http::request("PUT", &format!("{to}{name}"), &bytes, LIMIT).await?.into_body()?;
        if upload == Upload::AbsoluteUrls {
            text = text.replace(&format!("\n{name}\n"), &format!("\n{to}{name}\n"));
        }
    }
    let url = format!("{to}index.m3u8");
    let headers: &[_] = &[("Content-Encoding", "gzip")];
    let (headers, body) = match upload {
        Upload::AbsoluteUrls => (&[][..], text.into_bytes()),
        Upload::Gzip => (headers, gzip(&path)?),
    };
    http::request_with("PUT", &url, headers, &body, LIMIT).await?.into_body()?;
    Ok(())
}

fn gzip(path: &Path) -> Result<Vec<u8>> {
    let mut command = Command::new("gzip");
    let output = command.args(["--stdout", "--no-name"]).arg(path).output()?;
    anyhow::ensure!(output.status.success(), "gzip: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

/// A live encode; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Encoder {
    task: JoinHandle<()>,
}

impl Encoder {
    /// Starts it. It is killed again and again, if it is to be, from `begin` on.
    pub(crate) fn start(
        folder: &Path,
        address: &str,
        stream: &'static str,
        live: Live,
        begin: tokio::sync::oneshot::Receiver<()>,
    ) -> Result<Self> {
        let url = format!("{}index.m3u8", push_url(address, stream));
        let folder = folder.to_owned();
        // With a head start its dates are ahead of the clock, and would go back when it restarts.
        let head_start_s = if live == Live::Restart { 0 } else { HEAD_START_S };
        let process = launch(&folder, stream, &url, head_start_s)?;
        let task = tokio::spawn(async move {
            let mut process = process;
            // The sender is dropped where nobody plays any more.
            if live != Live::Restart || begin.await.is_err() {
                return std::future::pending().await;
            }
            let mut life = FIRST_LIFE;
            loop {
                tokio::time::sleep(life).await;
                life = LIFE;
                process.kill().await;
                tokio::time::sleep(AWAY).await;
                match launch(&folder, stream, &url, 0) {
                    Ok(again) => process = again,
                    Err(error) => eprintln!("{stream}: {error:#}"),
                }
            }
        });
        Ok(Self { task })
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn launch(folder: &Path, stream: &str, url: &str, head_start_s: u32) -> Result<Process> {
    anyhow::ensure!(shell::is_installed("ffmpeg"), "ffmpeg is not installed");
    let pace = format!("sendcmd=c='{head_start_s} realtime speed 1',realtime=speed=60:limit=10");
    let pace = if head_start_s > 0 { pace } else { "realtime".into() };
    let picture = format!("testsrc2=size=320x180:rate=25,{pace}");
    let words = format!(
        "-hide_banner -nostdin -loglevel warning -f lavfi -i {picture} -f lavfi -i \
         sine=frequency=440:sample_rate=48000 -c:v libx264 -preset ultrafast -profile:v baseline \
         -pix_fmt yuv420p -threads 1 -g 50 -sc_threshold 0 -b:v 200k -maxrate 200k -bufsize 200k \
         -c:a aac -b:a 48k -f hls -hls_time 2 -hls_list_size {WINDOW} -hls_flags \
         program_date_time -method PUT"
    );
    // The pace has a blank in its quotes.
    let words = words.replace(&picture, "PICTURE");
    let words = words.split_whitespace();
    let words = words.map(|word| if word == "PICTURE" { picture.clone() } else { word.to_owned() });
    Launch::new(&format!("{stream}-encoder"), "ffmpeg", folder).args(words).args([url]).spawn()
}
