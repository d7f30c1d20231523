//! What all viewers of a run count together.

use crate::samples::Samples;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Counters. Times are from the moment at which a viewer was due.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) welcomes: AtomicU64,
    pub(crate) first_plans: AtomicU64,
    pub(crate) plans: AtomicU64,
    pub(crate) said: AtomicU64,
    pub(crate) heard: AtomicU64,
    pub(crate) failed: AtomicU64,
    times: Mutex<Times>,
    /// Why the first one failed.
    reason: Mutex<Option<String>>,
}

/// Times since they were last taken, ms.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times {
    pub(crate) welcome: Samples,
    pub(crate) first_plan: Samples,
}

/// Counters at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) first_plans: u64,
    pub(crate) plans: u64,
    pub(crate) said: u64,
    pub(crate) heard: u64,
    pub(crate) failed: u64,
}

impl Counts {
    /// What was counted after `before`.
    pub(crate) const fn since(self, before: Self) -> Self {
        Self {
            first_plans: self.first_plans - before.first_plans,
            plans: self.plans - before.plans,
            said: self.said - before.said,
            heard: self.heard - before.heard,
            failed: self.failed - before.failed,
        }
    }
}

impl Tally {
    pub(crate) fn welcomed(&self, after: Duration) {
        self.welcomes.fetch_add(1, Ordering::Relaxed);
        lock(&self.times).welcome.push(after.as_secs_f64() * 1e3);
    }

    pub(crate) fn planned(&self, after: Duration) {
        self.first_plans.fetch_add(1, Ordering::Relaxed);
        lock(&self.times).first_plan.push(after.as_secs_f64() * 1e3);
    }

    pub(crate) fn fail(&self, reason: impl FnOnce() -> String) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        lock(&self.reason).get_or_insert_with(reason);
    }

    pub(crate) fn take_times(&self) -> Times {
        std::mem::take(&mut *lock(&self.times))
    }

    pub(crate) fn reason(&self) -> Option<String> {
        lock(&self.reason).clone()
    }

    pub(crate) fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            first_plans: read(&self.first_plans),
            plans: read(&self.plans),
            said: read(&self.said),
            heard: read(&self.heard),
            failed: read(&self.failed),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
