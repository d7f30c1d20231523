//! A deterministic world in which the real tracker and real peers run, on one thread of virtual
//! time, and the bounds that no system can beat.
//!
//! Rule: same scenario and seed, same run, byte for byte.

pub mod figures;
pub mod instance;
mod measure;
mod memo;
pub mod oracle;
pub mod progress;
mod random;
pub mod report;
pub mod scenario;
mod world;

use anyhow::Result;
use figures::{Figure, Run, Worse};
use instance::Instance;
use measure::Measured;
use scenario::Scenario;
use std::time::Instant;
use world::World;

pub use measure::{Bounds, PEAK_S, bounds};
pub use world::player;

/// How a scenario is run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Whether the same viewers are also run without peers, to compare.
    pub twins: bool,
}

/// Runs a scenario with one seed. `progress` hears of the part that is done, 0 to 1.
///
/// # Errors
/// If an invariant does not hold; the message says which and when.
pub fn run(
    scenario: &Scenario,
    seed: u64,
    options: &Options,
    progress: &mut dyn FnMut(f64),
) -> Result<Run> {
    let begun = Instant::now();
    let settings = &scenario.settings;
    let instance = Instance::draw(settings, seed);
    let share = if options.twins { 0.5 } else { 1.0 };
    let outcome = World::new(settings, &instance, true).run(&mut |part| progress(part * share))?;
    let wall_s = begun.elapsed().as_secs_f64();
    let twin = if options.twins {
        let world = World::new(settings, &instance, false);
        Some(world.run(&mut |part| progress(share + part * share))?)
    } else {
        None
    };
    let mut run =
        Measured { settings, instance: &instance, outcome: &outcome, twin: twin.as_ref() }.run();
    let drawn = |name, value| Figure { name, value, worse: Worse::Less, is_host: false };
    let middle = (settings.warmup_s + settings.duration_s) / 2.0;
    let host = |name, value| Figure { name, value, worse: Worse::More, is_host: true };
    run.figures.insert(0, drawn("viewers", instance.viewers.len() as f64));
    run.figures.insert(1, drawn("rho", instance.resource_index(middle)));
    run.figures.push(host("wall_seconds", wall_s));
    let deliveries = run.figures.iter().find(|figure| figure.name == "chunk_deliveries");
    let rate = deliveries.map_or(0.0, |figure| figure.value) / wall_s;
    run.figures.push(Figure { worse: Worse::Less, ..host("deliveries_per_second", rate) });
    run.figures.push(host("peak_rss_mib", peak_rss_mib()));
    Ok(run)
}

/// The viewers of a run as drawn: the bounds are computed from them alone.
pub fn export(scenario: &Scenario, seed: u64) -> Instance {
    Instance::draw(&scenario.settings, seed)
}

/// Most memory that the process had resident so far; 0 where the system does not tell.
fn peak_rss_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|text| text.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.map_or(0.0, |kib| (kib / 1024.0).round())
}
