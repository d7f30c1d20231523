//! `cargo xtask fuzz`: random bytes into everything that strangers write to us.
//!
//! Rule: the targets are in `fuzz/`, a workspace of its own; a finding is kept there, and the run
//! fails.

use crate::shell;
use anyhow::{Context, Result};
use std::process::Command;

/// What to fuzz, and for how long.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Seconds for each target.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// A folder of playlists to begin with, such as a corpus from the wild.
    #[arg(long, value_name = "DIR")]
    playlists: Option<std::path::PathBuf>,
    /// The targets; all of them if none is named.
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(TARGETS))]
    targets: Vec<String>,
}

const TARGETS: [&str; 5] = ["playlist", "ingest_path", "range", "peer_message", "websocket"];

/// Longest input, bytes.
const INPUT_BYTES_MAX: u32 = 8192;

/// Runs the targets one after the other.
pub(crate) fn run(args: &Args) -> Result<()> {
    shell::capture(&mut shell::cargo(&["fuzz", "--version"]))
        .context("cargo-fuzz is missing; run first: cargo install --locked cargo-fuzz")?;
    let named = args.targets.iter().map(String::as_str);
    let targets: Vec<&str> = if args.targets.is_empty() { TARGETS.into() } else { named.collect() };
    for target in targets {
        let mut command = command(target);
        if let Some(playlists) = args.playlists.as_ref().filter(|_| target == "playlist") {
            // What is found goes to the first folder.
            let own = shell::workspace_root().join("fuzz/corpus/playlist");
            std::fs::create_dir_all(&own)?;
            command.arg(own).arg(std::path::absolute(playlists)?);
        }
        command.args(["--", &format!("-max_total_time={}", args.seconds)]);
        command.args([&format!("-max_len={INPUT_BYTES_MAX}"), "-timeout=10"]);
        shell::run(&mut command)?;
    }
    Ok(())
}

/// The fuzzer's instrumentation is not stable yet; no sanitizer, as there is no unsafe code of ours.
fn command(target: &str) -> Command {
    let mut command = shell::cargo(&["fuzz", "run", "--sanitizer", "none", target]);
    command.env("RUSTC_BOOTSTRAP", "1");
    command
}
