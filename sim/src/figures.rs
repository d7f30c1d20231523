//! What a run is judged by: named figures, and the curves behind them.
//!
//! Rule: names and order are the same in every run, so that runs can be compared line by line.

use serde::Serialize;

/// Which way a figure gets worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worse {
    /// Less is worse: offload.
    Less,
    /// More is worse: delay, stalls.
    More,
}

/// One figure of one run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// Its name in the JSON; the unit is its suffix.
    pub name: &'static str,
    /// Its value; not finite where it was not measured.
    pub value: f64,
    /// Which way it gets worse.
    pub worse: Worse,
    /// Whether it depends on the machine, and is masked where runs are compared.
    pub is_host: bool,
}

/// What one run gave.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// The seed.
    pub seed: u64,
    /// The figures, in a fixed order.
    pub figures: Vec<Figure>,
    /// The curves of the report.
    pub curves: Curves,
}

/// Curves of one run, for the report. Times are seconds from the start of the run, rates Mbit/s.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Curves {
    /// Viewers over time.
    pub viewers: Vec<(f64, f64)>,
    /// Offload ratio over time.
    pub offload: Vec<(f64, f64)>,
    /// Its bound over time.
    pub offload_bound: Vec<(f64, f64)>,
    /// What the origin sent over time.
    pub origin: Vec<(f64, f64)>,
    /// What it would send without peers.
    pub without_peers: Vec<(f64, f64)>,
    /// The least it could send.
    pub origin_bound: Vec<(f64, f64)>,
    /// Time from publication until a viewer had the whole segment: sorted samples, s.
    pub segment_delay: Vec<f64>,
    /// Time from joining until playback, sorted, s.
    pub startup: Vec<f64>,
    /// The same without peers, where twins were run.
    pub startup_twin: Vec<f64>,
    /// Per viewer: usable upload, and mean upload while it was there.
    pub upload: Vec<(f64, f64)>,
    /// Per viewer that stalled in either: stall time without peers, and with, s.
    pub stalls: Vec<(f64, f64)>,
}
