//! Reports as JSON, and the comparison of one that was written with one that was made again.
//!
//! Rule: two runs of the same settings and seed give the same bytes, but for the figures that
//! depend on the machine.

use crate::figures::{Figure, Run};
use crate::report::number::Exact;
use crate::report::{Report, Sweep};
use anyhow::{Context, Result};
use serde::ser::{SerializeMap, SerializeStruct};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// A report as JSON text that ends with a line break.
pub fn json(report: &Report) -> String {
    text(report)
}

/// A sweep as JSON text that ends with a line break: one entry of the form of [`json`] per point.
pub fn sweep_json(sweep: &Sweep) -> String {
    text(sweep)
}

fn text(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("plain data has a form in JSON");
    text.push('\n');
    text
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let runs: Vec<_> = self.runs.iter().map(|run| Flat(Some(run.seed), &run.figures)).collect();
        let mut fields = serializer.serialize_struct("Report", 6)?;
        fields.serialize_field("scenario", &self.scenario)?;
        fields.serialize_field("settings", &self.settings)?;
        fields.serialize_field("twins", &self.twins)?;
        fields.serialize_field("runs", &runs)?;
        fields.serialize_field("median", &Flat(None, &self.median()))?;
        fields.serialize_field("worst", &Flat(None, &self.worst()))?;
        fields.end()
    }
}

impl Serialize for Sweep {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let points: Vec<_> = self.points.iter().map(|point| &point.report).collect();
        let mut fields = serializer.serialize_struct("Sweep", 3)?;
        fields.serialize_field("scenario", &self.scenario)?;
        fields.serialize_field("over", &self.keys)?;
        fields.serialize_field("points", &points)?;
        fields.end()
    }
}

/// Figures as one flat object in their own order, after the seed if there is one.
struct Flat<'a>(Option<u64>, &'a [Figure]);

impl Serialize for Flat<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(seed) = self.0 {
            map.serialize_entry("seed", &seed)?;
        }
        for figure in self.1 {
            map.serialize_entry(figure.name, &Exact(figure.value))?;
        }
        map.end()
    }
}

/// A report that was written before.
#[derive(Clone, Debug, Deserialize)]
pub struct Recorded {
    /// The scenario's name or path.
    pub scenario: String,
    /// What was changed in it.
    pub settings: Vec<String>,
    /// Whether each run had a twin.
    pub twins: bool,
    /// The runs.
    runs: Vec<Map<String, Value>>,
}

/// A file is one report, or a sweep's.
#[derive(Deserialize)]
#[serde(untagged)]
enum File {
    Sweep { points: Vec<Recorded> },
    Report(Recorded),
}

impl Recorded {
    /// The reports in the JSON text of a run or a sweep.
    ///
    /// # Errors
    /// If it is not such a text.
    pub fn read(text: &str) -> Result<Vec<Self>> {
        let value: Value = serde_json::from_str(text).context("this is not JSON")?;
        let file = serde_json::from_value(value)
            .context("this JSON was not written by `shoal-sim run` or `sweep`")?;
        Ok(match file {
            File::Sweep { points } => points,
            File::Report(report) => vec![report],
        })
    }

    /// The seeds of its runs, in their order.
    ///
    /// # Errors
    /// If a run has none.
    pub fn seeds(&self) -> Result<Vec<u64>> {
        let seed = |run: &Map<String, Value>| {
            run.get("seed").and_then(Value::as_u64).context("a run in this file has no seed")
        };
        self.runs.iter().map(seed).collect()
    }
}

/// What differs between the runs of a recorded report and those made again, one line per figure;
/// figures that depend on the machine are left out.
pub fn differences(recorded: &Recorded, again: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    if recorded.runs.len() != again.runs.len() {
        lines.push(format!("{} runs became {}", recorded.runs.len(), again.runs.len()));
    }
    for (before, run) in recorded.runs.iter().zip(&again.runs) {
        differences_of_run(before, run, &mut lines);
    }
    lines
}

fn differences_of_run(before: &Map<String, Value>, run: &Run, lines: &mut Vec<String>) {
    // Through text and back, so that both sides were read by the same parser.
    let written = text(&Flat(Some(run.seed), &run.figures));
    let after: Map<String, Value> = serde_json::from_str(&written).expect("just written");
    let host: BTreeSet<_> =
        run.figures.iter().filter(|figure| figure.is_host).map(|figure| figure.name).collect();
    let own = run.figures.iter().map(|figure| figure.name);
    let gone = before.keys().map(String::as_str).filter(|name| !after.contains_key(*name));
    for name in ["seed"].into_iter().chain(own).chain(gone) {
        if host.contains(name) || before.get(name) == after.get(name) {
            continue;
        }
        let said = |value: Option<&Value>| value.map_or("absent".into(), Value::to_string);
        let (was, is) = (said(before.get(name)), said(after.get(name)));
        lines.push(format!("seed {}: {name} was {was}, is {is}", run.seed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Point;
    use crate::report::tests::{report, run};

    #[test]
    fn the_form_is_fixed() {
        let mut one = run(3, 0.5, f64::NAN);
        one.figures.truncate(2);
        let written = json(&report(vec![one]));
        let expected = r#"{
  "scenario": "steady",
  "settings": [
    "viewers=20",
    "link_setup_s=[0.3, 1.5]"
  ],
  "twins": true,
  "runs": [
    {
      "seed": 3,
      "achieved_over_bound": 0.5,
      "delay_p99_s": null
    }
  ],
  "median": {
    "achieved_over_bound": 0.5,
    "delay_p99_s": null
  },
  "worst": {
    "achieved_over_bound": 0.5,
    "delay_p99_s": null
  }
}
"#;
        assert_eq!(written, expected);
    }

    #[test]
    fn what_is_written_reads_back_without_a_difference() {
        let report = report(vec![run(1, 0.1 + 0.2, f64::NAN), run(u64::MAX, 1e-7, 2.0)]);
        let recorded = Recorded::read(&json(&report)).expect("just written");
        assert_eq!(recorded.len(), 1);
        assert_eq!(recorded[0].seeds().expect("seeds"), [1, u64::MAX]);
        assert_eq!(differences(&recorded[0], &report), Vec::<String>::new());
    }

    #[test]
    fn one_bit_is_a_difference_and_the_machine_is_none() {
        let before = report(vec![run(1, 0.3, 2.0)]);
        let recorded = Recorded::read(&json(&before)).expect("just written");
        let mut after = before;
        after.runs[0].figures[0].value = 0.3_f64.next_up();
        after.runs[0].figures[3].value = 99.0;
        let lines = differences(&recorded[0], &after);
        assert_eq!(lines, ["seed 1: achieved_over_bound was 0.3, is 0.30000000000000004"]);
    }

    #[test]
    fn figures_that_came_or_went_are_named() {
        let before = report(vec![run(1, 0.3, 2.0)]);
        let recorded = Recorded::read(&json(&before)).expect("just written");
        let mut after = before;
        after.runs[0].figures[1].name = "delay_p95_s";
        after.runs[0].curves = crate::figures::Curves::default();
        let lines = differences(&recorded[0], &after);
        assert_eq!(
            lines,
            ["seed 1: delay_p95_s was absent, is 2", "seed 1: delay_p99_s was 2, is absent"]
        );
    }

    #[test]
    fn a_sweep_holds_a_report_per_point() {
        let point = |value: &str| Point {
            values: vec![value.into()],
            report: report(vec![run(1, 0.5, 1.0)]),
        };
        let sweep = Sweep {
            scenario: "steady".into(),
            keys: vec!["viewers".into()],
            points: vec![point("10"), point("20")],
        };
        assert_eq!(Recorded::read(&sweep_json(&sweep)).expect("just written").len(), 2);
        assert!(Recorded::read("{}").is_err());
        assert!(Recorded::read("?").is_err());
    }
}
