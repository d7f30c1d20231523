//! What the command line can say.
//!
//! Rule: the help teaches by examples; a wrong command ends with code 2, a failed run with 1.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  shoal-sim list                                     the built-in scenarios
  shoal-sim run steady                               one run, seed 1
  shoal-sim run churn --seeds 10 --jobs 2 --html churn.html
                                                     ten seeds on two cores, and a page of plots
  shoal-sim run steady --set viewers=200 --set rho=1.1 --twins --json run.json
                                                     other settings, compared with no peers at all
  shoal-sim sweep steady --over rho=1.0,1.2,1.5 --over nat=open,web
                                                     a grid of settings, one line per point
  shoal-sim replay run.json                          the same again: exit code 1 if a figure differs

The same scenario, settings and seed give the same run, byte for byte. A failed run prints the
command that repeats it.";

/// Simulates a swarm: the real tracker and the real peers in a world of virtual time, measured
/// against what no system could beat.
#[derive(Debug, Parser)]
#[command(name = "shoal-sim", version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a scenario with one or several seeds
    Run(Common),
    /// Run a scenario at every point of a grid of settings
    Sweep(Sweep),
    /// Run again what a JSON file of `run` or `sweep` holds, and compare
    Replay(Replay),
    /// List the built-in scenarios
    List,
}

/// What `run` and `sweep` have in common.
#[derive(Args, Debug)]
pub(crate) struct Common {
    /// A built-in scenario (see `shoal-sim list`), or the path of a TOML file
    pub(crate) scenario: String,
    /// The first seed
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub(crate) seed: u64,
    /// How many seeds, from the first on
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub(crate) seeds: u64,
    /// Also run the same viewers without peers, to compare start-up and stalls
    #[arg(long)]
    pub(crate) twins: bool,
    /// Change a setting of the scenario; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Seeds that run at once, each on a thread of its own
    #[arg(long, value_name = "J", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) jobs: u16,
    /// Write every figure of every seed, the medians and the worst
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write a page of plots that needs no other file
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Write the viewers of the first seed as drawn: the bounds are computed from them alone
    #[arg(long, value_name = "FILE")]
    pub(crate) export: Option<PathBuf>,
}

/// What `sweep` needs.
#[derive(Args, Debug)]
pub(crate) struct Sweep {
    /// What `run` needs, too.
    #[command(flatten)]
    pub(crate) common: Common,
    /// Values of a setting; may be repeated, for every combination
    #[arg(long, value_name = "KEY=V1,V2,…", required = true)]
    pub(crate) over: Vec<String>,
    /// Figures that the table shows, instead of those that say most
    #[arg(long, value_name = "NAME,NAME,…", value_delimiter = ',')]
    pub(crate) figures: Vec<String>,
}

/// What `replay` needs.
#[derive(Args, Debug)]
pub(crate) struct Replay {
    /// The JSON that `run` or `sweep` wrote
    pub(crate) file: PathBuf,
    /// Seeds that run at once, each on a thread of its own
    #[arg(long, value_name = "J", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) jobs: u16,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }
}
