//! What is counted while an event goes on, second by second.

use super::stage::Measure;
use crate::host::{Usage, own_usage};
use crate::server::{Said, UnderTest};
use anyhow::Result;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// What all viewers count together.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    pub(crate) viewers: AtomicU64,
    /// Media bytes that players got.
    pub(crate) delivered_bytes: AtomicU64,
    pub(crate) failed_requests: AtomicU64,
}

/// Everything at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Second {
    pub(crate) at_s: f64,
    pub(crate) viewers: f64,
    pub(crate) delivered_bytes: f64,
    pub(crate) said: Said,
    pub(crate) server: Usage,
    pub(crate) own: Usage,
}

/// Reads all gauges every second until the event ends.
///
/// # Errors
/// If the server does not answer.
pub(crate) async fn watch(
    server: &UnderTest,
    measure: &Measure<'_>,
    end: Instant,
) -> Result<Vec<Second>> {
    let started = measure.stage.started;
    let mut timer = interval_at(started, Duration::from_secs(1));
    timer.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut seconds = Vec::new();
    let whole_s = (end - started).as_secs_f64();
    while Instant::now() < end {
        timer.tick().await;
        let said = server.said().await?;
        let gauges = &measure.stage.gauges;
        let read = |gauge: &AtomicU64| gauge.load(Ordering::Relaxed) as f64;
        let second = Second {
            at_s: started.elapsed().as_secs_f64(),
            viewers: read(&gauges.viewers),
            delivered_bytes: read(&gauges.delivered_bytes),
            said,
            server: server.usage().await.unwrap_or(Usage::UNKNOWN),
            own: own_usage(),
        };
        (measure.progress)(second.at_s / whole_s, &second);
        seconds.push(second);
    }
    Ok(seconds)
}
