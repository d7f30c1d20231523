//! An encoder without pictures: pushes segments of random bytes and the playlist that names them,
//! in real time.
//!
//! Rule: the sizes and times are those of a stream of that rate; no player can show it.

use anyhow::{Context, Result, bail};
use std::collections::VecDeque;
use std::fmt::Write;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use url::Url;

/// Segments in the playlist.
const WINDOW: usize = 10;
/// Segments that are there when the first viewers come, as in the simulator.
const HEAD_START: u64 = 4;
/// A day of segments of a tenth of a second.
const SEGMENTS_MAX: u32 = 864_000;
/// A push that takes longer has failed.
const PUSH_MAX: Duration = Duration::from_secs(10);

/// What is pushed, and how far it is.
#[derive(Debug)]
pub(crate) struct Encoder {
    publish: Url,
    segment_bytes: usize,
    segment: Duration,
    client: reqwest::Client,
    window: VecDeque<u64>,
    next: u64,
}

impl Encoder {
    /// For a stream of `rate_mbps` in segments of `segment_s`, to be pushed under `publish`. The
    /// segments that are there at the start are pushed when this returns.
    ///
    /// # Errors
    /// If the server refuses one.
    pub(crate) async fn begin(publish: &Url, rate_mbps: f64, segment_s: f64) -> Result<Self> {
        let client = reqwest::Client::builder().timeout(PUSH_MAX).no_proxy().build();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "in its limits"
        )]
        let segment_bytes = (rate_mbps * segment_s * 1e6 / 8.0).round() as usize;
        let mut encoder = Self {
            publish: publish.clone(),
            segment_bytes,
            segment: Duration::from_secs_f64(segment_s),
            client: client.context("no HTTP client")?,
            window: VecDeque::new(),
            next: 0,
        };
        for _ in 0..HEAD_START {
            encoder.push().await?;
        }
        Ok(encoder)
    }

    /// Pushes a segment after the other, in real time from now on.
    ///
    /// # Errors
    /// If the server refuses one.
    pub(crate) async fn run(mut self) -> Result<()> {
        let started = Instant::now();
        for count in 1..SEGMENTS_MAX {
            sleep_until(started + self.segment * count).await;
            self.push().await?;
        }
        Ok(())
    }

    async fn push(&mut self) -> Result<()> {
        let mut bytes = vec![0; self.segment_bytes];
        getrandom::fill(&mut bytes).context("the system has no randomness")?;
        self.put(&format!("index{}.ts", self.next), bytes).await?;
        self.window.push_back(self.next);
        self.next += 1;
        if self.window.len() > WINDOW {
            self.window.pop_front();
        }
        let seconds = self.segment.as_secs_f64();
        let mut text = format!(
            "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:{:.0}\n#EXT-X-MEDIA-SEQUENCE:{}\n",
            seconds.ceil(),
            self.window.front().copied().unwrap_or_default()
        );
        for number in &self.window {
            let _ = write!(text, "#EXTINF:{seconds:.6},\nindex{number}.ts\n");
        }
        self.put("index.m3u8", text.into_bytes()).await
    }

    async fn put(&self, name: &str, body: Vec<u8>) -> Result<()> {
        let url = self.publish.join(name)?;
        let answer = self.client.put(url).body(body).send().await;
        let status = answer.with_context(|| format!("cannot push {name}"))?.status();
        if !status.is_success() {
            bail!("the server answered {status} to {name}: is the key of the stream right?");
        }
        Ok(())
    }
}
