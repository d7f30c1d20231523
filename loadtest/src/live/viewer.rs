//! One viewer: a real agent, and a player that asks its proxy over HTTP as any player does.
//!
//! Rule: the player is the simulator's own; here it is only given real bytes at real times.

use super::event::Gauges;
use crate::playlist::{Segment, segments};
use anyhow::{Context, Result};
use shoal_agent::{Options, Running, Site, Token};
use shoal_sim::player::Player;
use shoal_wire::{BitRate, ShareMode};
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use url::Url;

/// Live players start this many segments before the end (RFC 8216, 6.3.3).
const START_SEGMENTS: usize = 3;
/// A player asks again for what failed after this long.
const RETRY: Duration = Duration::from_millis(500);

/// What every viewer of an event has in common.
#[derive(Debug)]
pub(crate) struct Stage {
    /// The playlist at the server.
    pub(crate) playlist: Url,
    pub(crate) client: reqwest::Client,
    pub(crate) segment: Duration,
    /// Media that a player wants before it starts.
    pub(crate) startup: Duration,
    pub(crate) started: Instant,
    pub(crate) gauges: Gauges,
}

/// One viewer, before it comes.
#[derive(Clone, Debug)]
pub(crate) struct Viewer {
    pub(crate) join: Duration,
    pub(crate) leave: Duration,
    pub(crate) upload: BitRate,
    pub(crate) token: Option<String>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Watched {
    pub(crate) startup_s: Option<f64>,
    pub(crate) stalled_s: f64,
    pub(crate) stayed_s: f64,
}

struct Playing {
    stage: Arc<Stage>,
    player: Player,
    playlist: Url,
    known: VecDeque<Segment>,
}

impl Viewer {
    /// Comes when it is due, watches, and leaves.
    ///
    /// # Errors
    /// If the agent does not start.
    pub(crate) async fn watch(self, stage: Arc<Stage>) -> Result<Watched> {
        sleep_until(stage.started + self.join).await;
        let shares = self.upload > BitRate::ZERO;
        let agent = Running::start(Options {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            sites: vec![Site::of(&stage.playlist)?],
            share: if shares { ShareMode::Share } else { ShareMode::ReceiveOnly },
            upload_cap: shares.then_some(self.upload),
            token: self.token.map(Token::Given),
            corrupt_every: None,
        })
        .await
        .context("an agent")?;
        stage.gauges.viewers.fetch_add(1, Ordering::Relaxed);
        let joined = micros(stage.started.elapsed());
        let mut playing = Playing {
            player: Player::new(joined, micros(stage.startup)),
            playlist: agent.local_url(&stage.playlist).parse().context("the agent's URL")?,
            known: VecDeque::new(),
            stage: Arc::clone(&stage),
        };
        let end = stage.started + self.leave;
        // Ends by the clock alone: a request that is under way then is given up.
        let _ = timeout_at(end, playing.play()).await;
        let now = playing.now();
        playing.player.end(now);
        stage.gauges.viewers.fetch_sub(1, Ordering::Relaxed);
        agent.stop().await;
        let seconds = |us: u64| us as f64 / 1e6;
        Ok(Watched {
            startup_s: playing.player.startup().map(seconds),
            stalled_s: seconds(playing.player.stalled()),
            stayed_s: seconds(now - joined),
        })
    }
}

impl Playing {
    fn now(&self) -> u64 {
        micros(self.stage.started.elapsed())
    }

    /// One segment after the other, until it is dropped.
    async fn play(&mut self) {
        loop {
            if let Some(until) = self.player.full_until(self.now()) {
                sleep_until(self.stage.started + Duration::from_micros(until)).await;
            }
            let Some(segment) = self.next_segment() else {
                if !self.poll().await {
                    // As players wait where a playlist has not changed (RFC 8216, 6.3.4).
                    sleep(self.stage.segment / 2).await;
                }
                continue;
            };
            if self.fetch(&segment.uri).await.is_some() {
                let now = self.now();
                self.player.receive(micros(self.stage.segment), now);
                self.player.next = Some(segment.number + 1);
            } else {
                self.stage.gauges.failed_requests.fetch_add(1, Ordering::Relaxed);
                sleep(RETRY).await;
            }
        }
    }

    /// The segment to ask for, if the playlist has shown it.
    fn next_segment(&mut self) -> Option<Segment> {
        let next = self.player.next?;
        self.known.iter().find(|segment| segment.number >= next).cloned()
    }

    /// Reads the playlist; whether it shows something new to ask for.
    async fn poll(&mut self) -> bool {
        let request = self.stage.client.get(self.playlist.clone()).send();
        let text = match request.await.and_then(reqwest::Response::error_for_status) {
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        };
        let segments = segments(&text);
        if let Some(first) = segments.len().checked_sub(START_SEGMENTS) {
            self.player.next.get_or_insert(segments[first].number);
        }
        self.known = segments.into();
        self.next_segment().is_some()
    }

    /// The whole of a segment; none if it failed.
    async fn fetch(&self, uri: &str) -> Option<()> {
        let url = self.playlist.join(uri).ok()?;
        let answer = self.stage.client.get(url).send().await.ok()?;
        let mut answer = answer.error_for_status().ok()?;
        while let Some(piece) = answer.chunk().await.ok()? {
            let bytes = piece.len() as u64;
            self.stage.gauges.delivered_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        Some(())
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
