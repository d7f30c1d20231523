//! Many runs: scenarios by seeds, on as many threads as were asked for.
//!
//! Rule: what comes out does not depend on the number of threads. A failure names the command that
//! repeats it.

use crate::cli::Changed;
use anyhow::{Context, Result, anyhow};
use shoal_sim::Options;
use shoal_sim::figures::{Curves, Run};
use shoal_sim::progress::Progress;
use shoal_sim::report::{Report, replay_command};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// How each scenario is run.
pub(crate) struct Batch {
    /// The seeds, in the order of the results.
    pub(crate) seeds: Vec<u64>,
    /// What each run does.
    pub(crate) options: Options,
    /// Threads.
    pub(crate) jobs: u16,
    /// Whether curves are wanted: they are most of what a run leaves in memory.
    pub(crate) keeps_curves: bool,
}

impl Batch {
    /// Runs every scenario with every seed: one report per scenario.
    ///
    /// # Errors
    /// The failure of the first run, by scenario and seed, that failed; later ones are not begun.
    pub(crate) fn run(&self, scenarios: &[Changed]) -> Result<Vec<Report>> {
        let tasks: Vec<_> = scenarios
            .iter()
            .flat_map(|changed| self.seeds.iter().map(move |seed| (changed, *seed)))
            .collect();
        let progress = Progress::new(tasks.len());
        let one = |index: usize| {
            let (changed, seed) = tasks[index];
            self.one(changed, seed, &mut |part| progress.reached(index, part))
        };
        let named = |index: usize| {
            let (changed, seed) = tasks[index];
            progress.finished(index, &changed.run_name(seed));
        };
        let runs = in_order(tasks.len(), usize::from(self.jobs), &one, &named);
        progress.end();
        let mut runs = runs?.into_iter();
        let report = |changed: &Changed| Report {
            scenario: changed.scenario.name.clone(),
            description: changed.scenario.description.clone(),
            settings: changed.settings.clone(),
            twins: self.options.twins,
            runs: runs.by_ref().take(self.seeds.len()).collect(),
        };
        Ok(scenarios.iter().map(report).collect())
    }

    fn one(&self, changed: &Changed, seed: u64, progress: &mut dyn FnMut(f64)) -> Result<Run> {
        let Changed { scenario, settings } = changed;
        // An assertion inside a core is a failed invariant, too, and must say how to repeat it.
        let call = || shoal_sim::run(scenario, seed, &self.options, progress);
        let run = catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|payload| {
            let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
            Err(anyhow!("panicked: {}", text.unwrap_or_else(|| "without a message".into())))
        });
        let command = replay_command(&scenario.name, seed, settings, self.options.twins);
        let mut run =
            run.map_err(|error| anyhow!("{}: {error:#}\n{command}", changed.run_name(seed)))?;
        if !self.keeps_curves {
            run.curves = Curves::default();
        }
        Ok(run)
    }
}

/// The results of `one` for 0 up to `count`, in that order, computed by `jobs` threads.
///
/// # Errors
/// The failure of the lowest index that failed: indices are handed out in order, so those before
/// it have run.
fn in_order<T: Send>(
    count: usize,
    jobs: usize,
    one: &(dyn Fn(usize) -> Result<T> + Sync),
    finished: &(dyn Fn(usize) + Sync),
) -> Result<Vec<T>> {
    let results: Vec<Mutex<Option<Result<T>>>> = (0..count).map(|_| Mutex::new(None)).collect();
    let (next, has_failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = || {
        while !has_failed.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(slot) = results.get(index) else { break };
            let result = one(index);
            match &result {
                Ok(_) => finished(index),
                Err(_) => has_failed.store(true, Ordering::Relaxed),
            }
            *slot.lock().expect("nothing panics while it holds a result") = Some(result);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(count) {
            scope.spawn(work);
        }
    });
    let taken = results.into_iter().map_while(|slot| slot.into_inner().ok().flatten());
    let runs = taken.collect::<Result<Vec<_>>>()?;
    (runs.len() == count).then_some(runs).context("a run was not begun")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_from_any_number_of_threads() {
        for jobs in [1, 3, 64] {
            let done = AtomicUsize::new(0);
            let one = |index| {
                // The first ends last where there is more than one thread.
                while jobs > 1 && index == 0 && done.load(Ordering::Relaxed) < 19 {
                    std::thread::yield_now();
                }
                Ok(index)
            };
            let finished = |_| {
                done.fetch_add(1, Ordering::Relaxed);
            };
            let results = in_order(20, jobs, &one, &finished).expect("none fails");
            assert_eq!(results, (0..20).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_lowest_failure_is_told_and_later_runs_are_not_begun() {
        for jobs in [1, 4] {
            let begun = AtomicUsize::new(0);
            let one = |index: usize| {
                begun.fetch_add(1, Ordering::Relaxed);
                if index % 10 == 7 { Err(anyhow!("{index} failed")) } else { Ok(()) }
            };
            let error = in_order(10_000, jobs, &one, &|_| {}).expect_err("some fail");
            assert_eq!(error.to_string(), "7 failed");
            assert!(begun.load(Ordering::Relaxed) < 10_000);
        }
    }
}
