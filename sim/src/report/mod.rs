//! What is made of runs: medians and worst cases, as a table, as JSON, as a page.
//!
//! Rule: it shows figures and measures none; the same runs give the same bytes.

mod charts;
mod html;
mod json;
mod number;
pub mod parts;
pub mod plot;
mod style;
mod table;

pub use html::{page, sweep_page};
pub use json::{Recorded, differences, json, sweep_json};
pub use number::{Exact, human, spoken};
pub use style::escaped;
pub use table::{drawn, sweep_table, table};

use crate::figures::{Figure, Run, Worse};

/// The figure that seeds are ranked by.
const RANKED_BY: &str = "achieved_over_bound";
/// The figures that say most, first; where they were measured.
const HEADLINES: &[&str] = &[
    RANKED_BY,
    "offload_ratio",
    "offload_bound",
    "segment_p99_s",
    "startup_p50_s",
    "stall_seconds",
    "waste_ratio",
];
/// Up to this many seeds are shown one by one.
const SEEDS_SHOWN_MAX: usize = 5;

/// The runs of one scenario with the same settings and different seeds.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The scenario's name or path.
    pub scenario: String,
    /// What it is, in a line.
    pub description: String,
    /// What was changed in it, as `key=value`.
    pub settings: Vec<String>,
    /// Whether each run had a twin without peers.
    pub twins: bool,
    /// The runs, in the order of their seeds.
    pub runs: Vec<Run>,
}

/// The runs of one scenario over a grid of settings.
#[derive(Clone, Debug, Default)]
pub struct Sweep {
    /// The scenario's name or path.
    pub scenario: String,
    /// The keys that were varied.
    pub keys: Vec<String>,
    /// The points of the grid, the last key varied fastest.
    pub points: Vec<Point>,
}

/// One point of a sweep.
#[derive(Clone, Debug, Default)]
pub struct Point {
    /// The values of the sweep's keys, in their order.
    pub values: Vec<String>,
    /// The runs there.
    pub report: Report,
}

impl Report {
    /// Each figure's median over the seeds that measured it, in the order of the figures.
    pub fn median(&self) -> Vec<Figure> {
        self.over_seeds(|values, _| median(values))
    }

    /// Each figure's worst value over the seeds that measured it, in the order of the figures.
    pub fn worst(&self) -> Vec<Figure> {
        self.over_seeds(|values, worse| match worse {
            Worse::Less => values.iter().copied().fold(f64::NAN, f64::min),
            Worse::More => values.iter().copied().fold(f64::NAN, f64::max),
        })
    }

    /// The command that makes this report again.
    pub fn command(&self) -> String {
        let first = self.runs.first().map_or(1, |run| run.seed);
        let mut command = replay_command(&self.scenario, first, &self.settings, self.twins);
        if self.runs.len() > 1 {
            command.push_str(&format!(" --seeds {}", self.runs.len()));
        }
        command
    }

    /// The runs from the worst to the best by the ranking figure; those without it come first.
    fn ranked(&self) -> Vec<&Run> {
        let mut ranked: Vec<_> = self.runs.iter().collect();
        let rank = |run: &Run| finite(run, RANKED_BY).unwrap_or(f64::NEG_INFINITY);
        ranked.sort_by(|a, b| rank(a).total_cmp(&rank(b)));
        ranked
    }

    fn over_seeds(&self, fold: impl Fn(&[f64], Worse) -> f64) -> Vec<Figure> {
        let Some(first) = self.runs.first() else { return Vec::new() };
        let over = |figure: &Figure| {
            let values: Vec<_> =
                self.runs.iter().filter_map(|run| finite(run, figure.name)).collect();
            Figure { value: fold(&values, figure.worse), ..*figure }
        };
        first.figures.iter().map(over).collect()
    }
}

/// The command that runs one seed of a scenario again.
pub fn replay_command(scenario: &str, seed: u64, settings: &[String], twins: bool) -> String {
    let mut command =
        format!("cargo run --release -p shoal-sim -- run {} --seed {seed}", quoted(scenario));
    if twins {
        command.push_str(" --twins");
    }
    for setting in settings {
        command.push_str(&format!(" --set {}", quoted(setting)));
    }
    command
}

/// A word as a POSIX shell reads it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-=.,:/+%@".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The figures that say most, then the others that do not depend on the machine.
fn headlines(figures: &[Figure]) -> impl Iterator<Item = &Figure> {
    let first = HEADLINES.iter().filter_map(|name| figures.iter().find(|it| it.name == *name));
    let rest = figures.iter().filter(|it| !HEADLINES.contains(&it.name) && !it.is_host);
    first.chain(rest)
}

fn finite(run: &Run, name: &str) -> Option<f64> {
    let figure = run.figures.iter().find(|figure| figure.name == name)?;
    figure.value.is_finite().then_some(figure.value)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.len(), sorted.get(middle)) {
        (_, None) => f64::NAN,
        (count, Some(upper)) if count % 2 == 1 => *upper,
        (_, Some(upper)) => f64::midpoint(sorted[middle - 1], *upper),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::figures::Curves;

    /// A run whose curves all have something to show.
    pub(crate) fn run(seed: u64, achieved: f64, delay_s: f64) -> Run {
        let time = |scale: f64| (0..60).map(|t| (f64::from(t) * 2.0, scale)).collect();
        Run {
            seed,
            figures: vec![
                figure("achieved_over_bound", achieved, Worse::Less),
                figure("delay_p99_s", delay_s, Worse::More),
                figure("stalls", 2.0, Worse::More),
                Figure { is_host: true, ..figure("wall_seconds", 1.25, Worse::More) },
            ],
            curves: Curves {
                viewers: time(100.0),
                offload: time(achieved * 0.9),
                offload_bound: time(0.9),
                origin: time(35.0),
                without_peers: time(300.0),
                origin_bound: time(30.0),
                segment_delay: (0..1000).map(|i| f64::from(i) / 500.0).collect(),
                startup: (0..100).map(|i| f64::from(i) / 50.0).collect(),
                startup_twin: (0..100).map(|i| f64::from(i) / 60.0).collect(),
                upload: (0..500).map(|i| (f64::from(i % 100), f64::from(i % 50))).collect(),
                stalls: vec![(1.0, 0.5), (0.0, 0.25)],
            },
        }
    }

    pub(crate) fn figure(name: &'static str, value: f64, worse: Worse) -> Figure {
        Figure { name, value, worse, is_host: false }
    }

    pub(crate) fn report(runs: Vec<Run>) -> Report {
        Report {
            scenario: "steady".into(),
            description: "nobody comes or goes".into(),
            settings: vec!["viewers=20".into(), "link_setup_s=[0.3, 1.5]".into()],
            twins: true,
            runs,
        }
    }

    fn values(figures: &[Figure]) -> Vec<f64> {
        figures.iter().map(|figure| figure.value).collect()
    }

    #[test]
    fn median_and_worst_go_by_direction() {
        let report = report(vec![run(1, 0.9, 3.0), run(2, 0.7, 1.0), run(3, 0.8, 2.0)]);
        assert_eq!(values(&report.median()), [0.8, 2.0, 2.0, 1.25]);
        assert_eq!(values(&report.worst()), [0.7, 3.0, 2.0, 1.25]);
        let order: Vec<_> = report.ranked().iter().map(|run| run.seed).collect();
        assert_eq!(order, [2, 3, 1]);
    }

    #[test]
    fn what_was_not_measured_does_not_count() {
        let report = report(vec![run(1, f64::NAN, 3.0), run(2, 0.75, f64::INFINITY)]);
        assert_eq!(values(&report.median())[..2], [0.75, 3.0]);
        assert_eq!(values(&report.worst())[..2], [0.75, 3.0]);
        assert!(median(&[]).is_nan());
        assert_eq!(median(&[1.0, 4.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn the_command_survives_a_shell() {
        let mut report = report(vec![run(7, 0.9, 1.0), run(8, 0.9, 1.0)]);
        assert_eq!(
            report.command(),
            "cargo run --release -p shoal-sim -- run steady --seed 7 --twins \
             --set viewers=20 --set 'link_setup_s=[0.3, 1.5]' --seeds 2"
        );
        report.scenario = "it's.toml".into();
        assert!(report.command().contains(r"run 'it'\''s.toml' --seed"));
    }
}
