//! How far the runs are: a bar on a terminal, a line per finished run elsewhere.
//!
//! Rule: it writes to standard error only, so that standard output can be piped.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Steps of the bar per run.
const STEPS: u64 = 1000;

/// The progress of a number of runs that may go on at once.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    reached: Vec<AtomicU64>,
    finished: AtomicUsize,
}

impl Progress {
    /// For this many runs.
    pub fn new(runs: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(runs as u64 * STEPS);
            let style = "{bar:40} {percent:>3} %  {elapsed_precise}, {eta} to go  {msg}";
            bar.set_style(ProgressStyle::with_template(style).expect("the template is constant"));
            bar
        });
        let reached = (0..runs).map(|_| AtomicU64::new(0)).collect();
        Self { bar, reached, finished: AtomicUsize::new(0) }
    }

    /// A run has come this far, 0 to 1.
    pub fn reached(&self, run: usize, part: f64) {
        let Some(bar) = &self.bar else { return };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0..1")]
        let steps = (part.clamp(0.0, 1.0) * STEPS as f64) as u64;
        let before = self.reached[run].fetch_max(steps, Ordering::Relaxed);
        if steps > before {
            bar.inc(steps - before);
        }
    }

    /// What is going on, said beside the bar or as a line.
    pub fn say(&self, what: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(what.to_owned()),
            None => eprintln!("{what}"),
        }
    }

    /// A run is done.
    pub fn finished(&self, run: usize, name: &str) {
        self.reached(run, 1.0);
        let count = self.finished.fetch_add(1, Ordering::Relaxed) + 1;
        let said = format!("{name}: done, {count} of {}", self.reached.len());
        self.say(&said);
    }

    /// No more will come.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
