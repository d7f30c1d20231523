//! The engine's time: microseconds since the agent began.
//!
//! Rule: one clock per process, monotone; nothing here is the time of day.

use shoal_wire::Instant;
use std::time::Duration;

/// The process's clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: tokio::time::Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { start: tokio::time::Instant::now() }
    }

    /// Now, as the engine counts.
    pub(crate) fn now(self) -> Instant {
        let micros = self.start.elapsed().as_micros();
        Instant::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// When `at` is, for a timer; a century ahead if it never comes.
    pub(crate) fn timer(self, at: Instant) -> tokio::time::Instant {
        const NEVER: Duration = Duration::from_secs(3_000_000_000);
        self.start + Duration::from_micros(at.as_micros()).min(NEVER)
    }
}
