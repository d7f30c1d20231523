//! The tracker of one stream, as the hub drives it.

use shoal_tracker::{Input, Output};
use shoal_wire::Instant;

/// temp
#[derive(Debug, Default)]
pub(super) struct Core;

impl Core {
    pub(super) fn new(_seed: u64) -> Self {
        Self
    }

    pub(super) fn handle(&mut self, _input: Input, _now: Instant) {}

    pub(super) fn poll_output(&mut self) -> Option<Output> {
        None
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}
