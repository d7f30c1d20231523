//! The command line: reads it, runs what it asks for, writes what was asked for.
//!
//! Rule: what is wrong with a command is said before anything runs. It measures nothing.

mod args;
mod batch;

use anyhow::{Context, Result, anyhow, bail};
pub(crate) use args::Cli;
use args::{Command, Common, Replay, Sweep};
use batch::Batch;
use shoal_sim::report::{self, Point, Recorded, Report};
use shoal_sim::scenario::Scenario;
use shoal_sim::{Options, export};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Points that a sweep may have: more is a slip of the keyboard.
const POINTS_MAX: usize = 10_000;

/// Does what the command line asks for.
///
/// # Errors
/// If the command is wrong, an invariant did not hold, or a replay gave something else.
pub(crate) fn run(cli: &Cli) -> Result<()> {
    match &cli.command {
        Command::Run(common) => run_scenario(common),
        Command::Sweep(sweep) => run_sweep(sweep),
        Command::Replay(replay) => run_replay(replay),
        Command::List => list(),
    }
}

fn run_scenario(common: &Common) -> Result<()> {
    let changed = changed(&common.scenario, &common.set)?;
    common.check_outputs()?;
    if let Some(path) = &common.export {
        let instance = export(&changed.scenario, common.seed);
        let text = serde_json::to_string_pretty(&instance).context("the world has no JSON form")?;
        write(path, &(text + "\n"))?;
    }
    let reports = batch(common).run(&[changed])?;
    let report = reports.first().context("one scenario gives one report")?;
    if let Some(path) = &common.json {
        write(path, &report::json(report))?;
    }
    if let Some(path) = &common.html {
        write(path, &report::page(report))?;
    }
    say(&report::table(report))
}

fn run_sweep(args: &Sweep) -> Result<()> {
    let common = &args.common;
    let axes = args.over.iter().map(|over| axis(over)).collect::<Result<Vec<_>>>()?;
    let mut grid: Vec<Vec<String>> = vec![Vec::new()];
    for (_, values) in &axes {
        if grid.len() * values.len() > POINTS_MAX {
            bail!("this sweep has more than {POINTS_MAX} points");
        }
        let longer = |point: &Vec<String>| {
            let with = |value: &String| [point.as_slice(), std::slice::from_ref(value)].concat();
            values.iter().map(with).collect::<Vec<_>>()
        };
        grid = grid.iter().flat_map(longer).collect();
    }
    let at = |values: &Vec<String>| {
        let own = axes.iter().zip(values).map(|((key, _), value)| format!("{key}={value}"));
        let settings: Vec<_> = common.set.iter().cloned().chain(own).collect();
        changed(&common.scenario, &settings)
    };
    let scenarios = grid.iter().map(at).collect::<Result<Vec<_>>>()?;
    common.check_outputs()?;
    if let Some(path) = &common.export {
        let instances: Vec<_> =
            scenarios.iter().map(|changed| export(&changed.scenario, common.seed)).collect();
        let text = serde_json::to_string_pretty(&instances).context("a world has no JSON form")?;
        write(path, &(text + "\n"))?;
    }
    let reports = batch(common).run(&scenarios)?;
    let points = grid.into_iter().zip(reports).map(|(values, report)| Point { values, report });
    let sweep = report::Sweep {
        scenario: common.scenario.clone(),
        keys: axes.into_iter().map(|(key, _)| key).collect(),
        points: points.collect(),
    };
    if let Some(path) = &common.json {
        write(path, &report::sweep_json(&sweep))?;
    }
    if let Some(path) = &common.html {
        write(path, &report::sweep_page(&sweep))?;
    }
    say(&report::sweep_table(&sweep, &args.figures)?)
}

fn run_replay(args: &Replay) -> Result<()> {
    let name = args.file.display();
    let text =
        std::fs::read_to_string(&args.file).with_context(|| format!("cannot read {name}"))?;
    let reports = Recorded::read(&text).with_context(|| format!("in {name}"))?;
    let (mut runs, mut different) = (0, 0);
    for recorded in &reports {
        let changed = changed(&recorded.scenario, &recorded.settings)?;
        let batch = Batch {
            seeds: recorded.seeds().with_context(|| format!("in {name}"))?,
            options: Options { twins: recorded.twins },
            jobs: args.jobs,
            keeps_curves: false,
        };
        let again = batch.run(&[changed])?;
        let again: &Report = again.first().context("one scenario gives one report")?;
        let lines = report::differences(recorded, again);
        if !lines.is_empty() {
            say(&format!("{} {}", recorded.scenario, recorded.settings.join(" ")))?;
            say(&lines.join("\n"))?;
        }
        runs += again.runs.len();
        different += lines.len();
    }
    match different {
        0 => say(&format!("{runs} runs gave the same figures again")),
        1 => Err(anyhow!("a figure differs in {runs} runs")),
        _ => Err(anyhow!("{different} figures differ in {runs} runs")),
    }
}

fn list() -> Result<()> {
    let all = Scenario::all();
    let width = all.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines: Vec<_> =
        all.iter().map(|(name, description)| format!("{name:width$}  {description}")).collect();
    say(&lines.join("\n"))
}

/// A scenario, and what was changed in it.
struct Changed {
    scenario: Scenario,
    settings: Vec<String>,
}

impl Changed {
    /// What one of its runs is called in messages.
    fn run_name(&self, seed: u64) -> String {
        let settings = self.settings.iter().map(|setting| format!(" {setting}"));
        format!("{}{}, seed {seed}", self.scenario.name, settings.collect::<String>())
    }
}

fn changed(name: &str, settings: &[String]) -> Result<Changed> {
    let scenario = Scenario::changed(name, settings)?;
    Ok(Changed { scenario, settings: settings.to_vec() })
}

fn batch(common: &Common) -> Batch {
    Batch {
        seeds: (0..common.seeds).map(|i| common.seed.wrapping_add(i)).collect(),
        options: Options { twins: common.twins },
        jobs: common.jobs,
        keeps_curves: common.html.is_some(),
    }
}

/// `key=a,b,c`; commas inside brackets or quotes do not part values.
fn axis(over: &str) -> Result<(String, Vec<String>)> {
    let (key, rest) = over
        .split_once('=')
        .with_context(|| format!("--over `{over}` is not of the form key=value,value"))?;
    let (mut values, mut depth, mut is_quoted) = (vec![String::new()], 0, false);
    for c in rest.chars() {
        match c {
            '"' => is_quoted = !is_quoted,
            '[' if !is_quoted => depth += 1,
            ']' if !is_quoted => depth -= 1,
            _ => {}
        }
        match values.last_mut() {
            Some(last) if c != ',' || depth > 0 || is_quoted => last.push(c),
            _ => values.push(String::new()),
        }
    }
    let values: Vec<_> = values.into_iter().map(|value| value.trim().to_owned()).collect();
    if values.iter().any(String::is_empty) {
        bail!("--over `{over}` has an empty value");
    }
    Ok((key.trim().to_owned(), values))
}

impl Common {
    /// A long run must not end in a path that cannot be written.
    fn check_outputs(&self) -> Result<()> {
        for path in [&self.json, &self.html, &self.export].into_iter().flatten() {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            if path.is_dir() || parent.is_some_and(|parent| !parent.is_dir()) {
                bail!("cannot write {}: no such folder, or it is one", path.display());
            }
        }
        Ok(())
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    let name: PathBuf = path.to_owned();
    std::fs::write(path, text).with_context(|| format!("cannot write {}", name.display()))
}

/// Prints to standard output. A reader that has gone away has seen enough: that is no error.
fn say(text: &str) -> Result<()> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_parted_by_commas_outside_brackets() {
        let (key, values) = axis("rho=1,1.5, 2").expect("well formed");
        assert_eq!((key.as_str(), values.len()), ("rho", 3));
        assert_eq!(values[2], "2");
        let (_, values) = axis("link_setup_s=[0.3,1.5],[1,2]").expect("well formed");
        assert_eq!(values, ["[0.3,1.5]", "[1,2]"]);
        assert!(axis("rho").is_err());
        assert!(axis("rho=1,,2").is_err());
    }

    #[test]
    fn the_order_of_settings_does_not_matter() {
        let set = |settings: &[&str]| {
            let settings: Vec<_> = settings.iter().map(|&setting| setting.to_owned()).collect();
            changed("steady", &settings).map(|changed| changed.scenario.settings)
        };
        let one = set(&["duration_s=20", "warmup_s=5"]).expect("fits together");
        assert_eq!(one, set(&["warmup_s=5", "duration_s=20"]).expect("fits together"));
        let error = set(&["warmup_s=5", "vewers=20"]).expect_err("no such key");
        assert!(error.to_string().contains("no setting `vewers`"), "{error:#}");
        let error = set(&["rho=1", "rho=2"]).expect_err("which one?");
        assert_eq!(error.to_string(), "`rho` is set twice");
    }
}
