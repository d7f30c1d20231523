//! Time as the scheduler keeps it: tenths of a second since the tracker's first event, in 32 bits.
//!
//! Half a million tree nodes each remember when they last moved; a full instant would double that.
//! 32 bits last 13 years.

use core::time::Duration;
use shoal_wire::Instant;

/// Tenths of a second since the tracker's first event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp(u32);

impl Stamp {
    pub(crate) const ZERO: Self = Self(0);

    /// `now` as seen from the tracker's `first` event.
    pub(crate) fn new(first: Instant, now: Instant) -> Self {
        Self(tenths(now.saturating_since(first)))
    }

    /// This much later.
    pub(crate) fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(tenths(by)))
    }

    /// Whether at least `time` passed since `earlier`.
    pub(crate) fn is_past(self, earlier: Self, time: Duration) -> bool {
        self >= earlier.after(time)
    }
}

fn tenths(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis() / 100).unwrap_or(u32::MAX)
}
