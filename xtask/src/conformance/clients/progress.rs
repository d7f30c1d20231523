//! A player's position over time, as its own words have it.
//!
//! Rule: pure. Time lines may begin anew, so what counts is the way that was gone, not the last
//! position.

use std::sync::{Arc, Mutex, PoisonError};

/// A step that is longer than this is a jump to another time line.
const STEP_S_MAX: f64 = 12.0;

/// Shared by the player's watcher and who waits for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    last_s: Option<f64>,
    played_s: f64,
    has_ended: bool,
    fault: Option<String>,
}

impl Progress {
    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// It began at `start_s`, if that is known.
    pub(crate) fn begins_at(&self, start_s: f64) {
        self.with(|state| state.last_s = Some(start_s));
    }

    /// It is at this position.
    pub(crate) fn is_at(&self, position_s: f64) {
        self.with(|state| {
            let step = position_s - state.last_s.unwrap_or(position_s);
            if (0.0..STEP_S_MAX).contains(&step) {
                state.played_s += step;
            }
            state.last_s = Some(position_s);
        });
    }

    /// It has come as far as this since it began, by a clock that only goes forward.
    pub(crate) fn reaches(&self, played_s: f64) {
        self.with(|state| state.played_s = state.played_s.max(played_s));
    }

    /// It says that it has reached the end.
    pub(crate) fn ended(&self) {
        self.with(|state| state.has_ended = true);
    }

    /// It complains; the first complaint is kept.
    pub(crate) fn failed(&self, fault: impl Into<String>) {
        self.with(|state| state.fault.get_or_insert_with(|| fault.into()).len());
    }

    /// Seconds that it played, whether it reached the end, what it complained of.
    pub(crate) fn outcome(&self) -> super::Outcome {
        self.with(|state| super::Outcome {
            played_s: state.played_s,
            has_ended: state.has_ended,
            fault: state.fault.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_do_not_count() {
        let progress = Progress::default();
        for position_s in [100.0, 101.0, 104.0, 0.5, 2.5, 2000.0, 2001.0] {
            progress.is_at(position_s);
        }
        assert!((progress.outcome().played_s - 7.0).abs() < 1e-9);
    }
}
