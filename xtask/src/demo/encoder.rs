//! The live encode that `--ffmpeg` pushes, and its copy on disk that deliveries are compared with.
//!
//! Rule: the same packets go to both. ffmpeg's tee feeds two HLS writers, one that PUTs to the
//! server and one that writes files. Where the server is to be killed (`PushedByUs`), ffmpeg would
//! lose the segment in flight with its socket, so it writes files only and this pushes them,
//! repeating until the server has taken each.

use super::http;
use super::low_latency;
use super::playlist;
use super::process::{Launch, Process};
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Sound's share of the rate, and what MPEG-TS adds to picture and sound in 1/1000.
const AUDIO_BPS: u64 = 96_000;
const TS_OVERHEAD_PERMILLE: u64 = 70;

/// Segments that the playlist lists.
pub(crate) const WINDOW: u32 = 10;

/// What to encode and where to push it.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Rate of the whole stream.
    pub(crate) rate_bps: u64,
    /// Seconds per segment.
    pub(crate) segment_s: u8,
    /// URL of the folder that takes segments and playlist, ending in a slash.
    pub(crate) push_url: String,
    /// Who pushes.
    pub(crate) push: Push,
    /// Duration of a part, if parts are pushed as they are made; nothing is written to disk then.
    pub(crate) part_ms: Option<u16>,
}

/// Who pushes to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Push {
    /// ffmpeg, as an operator would.
    ByFfmpeg,
    /// This process, with retries.
    ByUs,
    /// Nobody: the files are served from disk.
    Nobody,
}

/// A running encode; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Encoder {
    process: Process,
    pusher: Option<JoinHandle<()>>,
}

impl Encoder {
    /// Starts the encode with its files in `folder`/encoder.
    pub(crate) fn start(plan: &Plan, folder: &Path) -> Result<Self> {
        let files = files_folder(folder);
        std::fs::create_dir_all(&files)?;
        let process =
            Launch::new("encoder", "ffmpeg", folder).args(arguments(plan, &files)).spawn()?;
        let pusher = (plan.push == Push::ByUs)
            .then(|| tokio::spawn(push_files(files, plan.push_url.clone())));
        Ok(Self { process, pusher })
    }

    /// An error if it ended.
    pub(crate) fn check_running(&mut self) -> Result<()> {
        self.process.check_running()
    }

    /// Ends it.
    pub(crate) async fn stop(&mut self) {
        self.process.kill().await;
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        if let Some(pusher) = &self.pusher {
            pusher.abort();
        }
    }
}

/// Where the encoder's copy on disk is.
pub(crate) fn files_folder(folder: &Path) -> PathBuf {
    folder.join("encoder")
}

fn arguments(plan: &Plan, files: &Path) -> Vec<String> {
    if let Some(part_ms) = plan.part_ms {
        return low_latency::arguments(plan, part_ms);
    }
    let sources = "-hide_banner -loglevel warning -nostdin -re -f lavfi \
                   -i testsrc2=size=640x360:rate=25 -re -f lavfi \
                   -i sine=frequency=440:sample_rate=48000 -map 0:v -map 1:a";
    let video = codecs(plan.rate_bps, plan.segment_s);
    let hls = format!("f=hls:hls_time={}:hls_list_size={WINDOW}", plan.segment_s);
    let disk = format!(
        "[{hls}:hls_flags=program_date_time+delete_segments+temp_file]{}/index.m3u8",
        files.display()
    );
    let outputs = match plan.push {
        Push::ByUs | Push::Nobody => disk,
        Push::ByFfmpeg => format!(
            "[{hls}:hls_flags=program_date_time+delete_segments:method=PUT]{}index.m3u8|{disk}",
            plan.push_url
        ),
    };
    let words = sources.split_whitespace().chain(video.split_whitespace());
    words.chain(["-f", "tee"]).map(str::to_owned).chain([outputs]).collect()
}

/// What ffmpeg makes of picture and sound: a constant rate, filled up where the picture is too
/// simple for it.
pub(crate) fn codecs(rate_bps: u64, segment_s: u8) -> String {
    let video_bps = (rate_bps * (1000 - TS_OVERHEAD_PERMILLE) / 1000).saturating_sub(AUDIO_BPS);
    let video_bps = video_bps.max(50_000);
    let frames = u32::from(segment_s) * 25;
    format!(
        "-c:v libx264 -preset ultrafast -threads 1 -pix_fmt yuv420p -g {frames} \
         -keyint_min {frames} -sc_threshold 0 -b:v {video_bps} -minrate {video_bps} \
         -maxrate {video_bps} -bufsize {} -x264-params nal-hrd=cbr:force-cfr=1 \
         -c:a aac -b:a {AUDIO_BPS}",
        video_bps / 2
    )
}

/// Pushes segments in order, each until it is taken, then the playlist that lists it.
async fn push_files(folder: PathBuf, push_url: String) {
    let mut next_msn = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let Ok(text) = tokio::fs::read_to_string(folder.join("index.m3u8")).await else { continue };
        let entries = playlist::parse(&text);
        let fresh: Vec<_> = entries.iter().filter(|entry| entry.msn >= next_msn).collect();
        let Some(newest) = fresh.last() else { continue };
        for entry in &fresh {
            if let Ok(bytes) = tokio::fs::read(folder.join(&entry.uri)).await {
                put_until_taken(&format!("{push_url}{}", entry.uri), &bytes).await;
            }
        }
        put_until_taken(&format!("{push_url}index.m3u8"), text.as_bytes()).await;
        next_msn = newest.msn + 1;
    }
}

/// Ends with the demo at the latest, which aborts the task.
async fn put_until_taken(url: &str, body: &[u8]) {
    let limit = Duration::from_secs(5);
    while http::request("PUT", url, body, limit).await.and_then(http::Response::into_body).is_err()
    {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
