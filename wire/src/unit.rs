//! Units as types, so that bits and bytes cannot be mixed up.

use core::time::Duration;
use serde::{Deserialize, Serialize};

/// A number of bytes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ByteSize(u64);

impl ByteSize {
    /// No bytes.
    pub const ZERO: Self = Self(0);

    /// `bytes` bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The number of bytes.
    pub const fn as_bytes(self) -> u64 {
        self.0
    }

    /// The rate at which this many bytes pass in `time`; zero if `time` is zero.
    pub fn per(self, time: Duration) -> BitRate {
        let micros = time.as_micros();
        if micros == 0 {
            return BitRate::ZERO;
        }
        let bits = u128::from(self.0) * 8 * 1_000_000 / micros;
        BitRate(u64::try_from(bits).unwrap_or(u64::MAX))
    }
}

/// Bits per second.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct BitRate(u64);

impl BitRate {
    /// Nothing passes.
    pub const ZERO: Self = Self(0);

    /// `bits` bit/s.
    pub const fn from_bps(bits: u64) -> Self {
        Self(bits)
    }

    /// Bit/s.
    pub const fn as_bps(self) -> u64 {
        self.0
    }

    /// Time that `size` takes at this rate; the longest duration if the rate is zero.
    pub fn time_for(self, size: ByteSize) -> Duration {
        if self.0 == 0 {
            return Duration::MAX;
        }
        if let Some(bits) = size.as_bytes().checked_mul(8_000_000) {
            return Duration::from_micros(bits / self.0);
        }
        let micros = u128::from(size.as_bytes()) * 8 * 1_000_000 / u128::from(self.0);
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// Bytes that pass in `time` at this rate.
    pub fn in_time(self, time: Duration) -> ByteSize {
        let micros = time.as_micros();
        // Division of 128 bits is slow, and seldom needed.
        let small = u64::try_from(micros).ok().and_then(|micros| self.0.checked_mul(micros));
        if let Some(bits) = small {
            return ByteSize(bits / 8_000_000);
        }
        let bytes = u128::from(self.0) * micros / 8_000_000;
        ByteSize(u64::try_from(bytes).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_time_are_inverse() {
        let rate = BitRate::from_bps(2_000_000);
        let size = ByteSize::from_bytes(500_000);
        assert_eq!(rate.time_for(size), Duration::from_secs(2));
        assert_eq!(rate.in_time(Duration::from_secs(2)), size);
        assert_eq!(size.per(Duration::from_secs(2)), rate);
        assert_eq!(BitRate::ZERO.time_for(size), Duration::MAX);
        assert_eq!(size.per(Duration::ZERO), BitRate::ZERO);
    }
}
