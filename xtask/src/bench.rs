//! `cargo xtask bench`: the criterion benchmarks of all crates.

use crate::shell;
use anyhow::Result;

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only benchmarks whose name contains this.
    filter: Option<String>,
    /// Only this package's benchmarks, e.g. shoal-tracker.
    #[arg(long, short)]
    package: Option<String>,
}

/// Runs the benchmarks; criterion prints the figures.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut command = shell::cargo(&["bench", "--benches"]);
    match &args.package {
        Some(package) => command.args(["--package", package]),
        None => command.args(["--workspace", "--exclude", "xtask"]),
    };
    if let Some(filter) = &args.filter {
        command.args(["--", filter]);
    }
    shell::run(&mut command)
}
