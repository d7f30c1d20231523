//! One step: requests at one rate for a while.

use crate::host::{Usage, own_usage};
use crate::playlist::segments;
use crate::samples::Samples;
use crate::server::UnderTest;
use anyhow::{Result, bail};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use url::Url;

/// A step that serves less than this part of what is asked for is lost.
const KEPT_UP: f64 = 0.95;

/// Who asks.
#[derive(Debug)]
pub(super) struct Client {
    client: reqwest::Client,
    playlist: Url,
    playlists: f64,
    connections: Arc<Semaphore>,
}

/// What a step came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Step {
    /// Requests per second that were due.
    pub(super) offered: f64,
    /// Requests per second that were answered whole, until the last of them was.
    pub(super) served: f64,
    /// From when a request was due to its last byte, ms.
    pub(super) times: Samples,
    pub(super) mbps: f64,
    pub(super) failed: f64,
    pub(super) server_cores: f64,
    pub(super) client_cores: f64,
}

impl Client {
    /// One that asks the server's public listener.
    ///
    /// # Errors
    /// If no HTTP client can be made.
    pub(super) fn new(server: &UnderTest, playlists: f64, connections_max: u32) -> Result<Self> {
        Ok(Self {
            client: server.client()?,
            playlist: server.playlist()?,
            playlists,
            connections: Arc::new(Semaphore::new(connections_max as usize)),
        })
    }

    /// Asks `offered` times a second for so long.
    ///
    /// # Errors
    /// If the stream has no segments.
    pub(super) async fn step(
        &self,
        server: &UnderTest,
        offered: f64,
        length: Duration,
    ) -> Result<Step> {
        let text = self.client.get(self.playlist.clone()).send().await?.text().await?;
        let shown = segments(&text);
        // Those at the end, as players ask for; they stay in the playlist during the step.
        let newest = shown.iter().rev().take(3).map(|it| self.playlist.join(&it.uri));
        let newest = newest.collect::<Result<Vec<_>, _>>()?;
        if newest.is_empty() {
            bail!("the stream has no segments");
        }
        let before = (Instant::now(), server.usage().await, own_usage());
        let mut requests = JoinSet::new();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        let count = (offered * length.as_secs_f64()).ceil() as u32;
        for i in 0..count {
            let due = before.0 + Duration::from_secs_f64(f64::from(i) / offered);
            sleep_until(due).await;
            let playlists = |count: u32| (f64::from(count) * self.playlists).floor();
            let is_playlist = playlists(i + 1) > playlists(i);
            let url = if is_playlist { &self.playlist } else { &newest[i as usize % newest.len()] };
            let (client, url) = (self.client.clone(), url.clone());
            let connections = Arc::clone(&self.connections);
            requests.spawn(async move {
                let _permit = connections.acquire_owned().await.ok()?;
                let bytes = fetch(&client, url).await?;
                Some((due.elapsed(), bytes))
            });
        }
        let mut step = Step { offered, ..Step::default() };
        let mut bytes = 0_u64;
        while let Some(request) = requests.join_next().await {
            match request.ok().flatten() {
                Some((time, length)) => {
                    step.times.push(time.as_secs_f64() * 1e3);
                    bytes += length;
                }
                None => step.failed += 1.0,
            }
        }
        let took_s = before.0.elapsed().as_secs_f64();
        let cores = |before: Usage, now: Usage| (now.cpu_s - before.cpu_s) / took_s;
        step.served = step.times.len() as f64 / took_s;
        step.mbps = bytes as f64 * 8.0 / 1e6 / took_s;
        step.client_cores = cores(before.2, own_usage());
        let server = before.1.zip(server.usage().await);
        step.server_cores = server.map_or(f64::NAN, |(before, now)| cores(before, now));
        Ok(step)
    }
}

impl Step {
    /// Whether the server did not keep up.
    pub(super) fn is_lost(&self, late_ms: f64) -> bool {
        let kept_up = self.served >= self.offered * KEPT_UP;
        !kept_up || self.failed > 0.0 || self.times.quantile(0.99) > late_ms
    }
}

/// The length of the whole answer; none if it failed.
async fn fetch(client: &reqwest::Client, url: Url) -> Option<u64> {
    let answer = client.get(url).send().await.ok()?.error_for_status().ok()?;
    Some(answer.bytes().await.ok()?.len() as u64)
}
