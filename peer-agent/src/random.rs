//! Randomness from the system: seeds, secrets, jitter.
//!
//! Rule: the engine draws none itself; it is given a seed from here.

use std::time::Duration;

/// A random number.
pub(crate) fn number() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the system has randomness");
    u64::from_be_bytes(bytes)
}

/// 128 random bits as hex digits.
pub(crate) fn secret() -> String {
    format!("{:016x}{:016x}", number(), number())
}

/// Between half of `longest` and all of it.
pub(crate) fn jittered(longest: Duration) -> Duration {
    let half = longest / 2;
    let micros = u64::try_from(half.as_micros()).unwrap_or(u64::MAX);
    half + Duration::from_micros(number() % micros.saturating_add(1).max(1))
}
