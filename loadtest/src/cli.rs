//! The command line: what can be asked for, and what is made of the answer.
//!
//! Rule: what is wrong with a command is said before anything runs.

use crate::outcome::{Known, Outcome};
use crate::require::Requirement;
use crate::{host, live, origin, tracker};
use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use std::io::Write;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  shoal-loadtest live steady --set viewers=100 --set rate=0.2
                              an event of 100 real viewers, and what the simulator says of it
  shoal-loadtest live flash-crowd --set viewers=10 --set crowd_s=30 --html crowd.html
                              ten viewers become a hundred within 30 s; a page of plots
  shoal-loadtest tracker --viewers 18000 --joins 500 --require 'server_bytes_per_viewer<=8192'
                              sessions without media; exit code 1 if one costs more than 8 KiB
  shoal-loadtest tracker --viewers 50000 --in-memory
                              the same sessions without sockets, for more than a process may have
  shoal-loadtest origin       segments and playlists at rising rates, until the server is full

Each mode starts a server of its own, feeds it a stream, and ends it. With --server it takes one that
runs: give its stream and key, and its admin address, or there will be no figures of the server's.
Where its viewers need tokens, give the secret: --auth-secret-file.
SHOAL_SERVER_… variables reach the server. `--help` after a mode's name lists its figures.";

/// Puts load on a real Shoal server: whole live events, tracker sessions by the thousand, or plain
/// HTTP. Says what it took, and fails where that is more than it may be.
#[derive(Debug, Parser)]
#[command(name = "shoal-loadtest", version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Debug, Subcommand)]
enum Mode {
    /// A live event of real viewers, and what the simulator says of it
    #[command(after_help = live::KNOWN.help())]
    Live(live::Arguments),
    /// Sessions with the tracker, by the thousand and without media
    #[command(after_help = tracker::KNOWN.help())]
    Tracker(tracker::Arguments),
    /// Plain requests for segments and playlists, at rising rates
    #[command(after_help = origin::KNOWN.help())]
    Origin(origin::Arguments),
}

/// What every mode has.
#[derive(Args, Debug)]
pub(crate) struct Common {
    /// Fail unless a figure is as wanted; may be repeated: offload_ratio>=0.9
    #[arg(long, value_name = "FIGURE>=VALUE")]
    require: Vec<Requirement>,
    /// Write every figure
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page of plots that needs no other file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Does what the command line asks for; whether all that was required holds.
///
/// # Errors
/// If the command is wrong or the run could not be made.
pub(crate) fn run(cli: Cli) -> Result<bool> {
    host::raise_file_limit()?;
    match cli.mode {
        Mode::Live(arguments) => {
            arguments.common.check(&live::KNOWN)?;
            let outcome = live::run(&arguments)?;
            arguments.common.finish(&outcome)
        }
        Mode::Origin(arguments) => {
            arguments.common.check(&origin::KNOWN)?;
            let outcome = origin::run(&arguments)?;
            arguments.common.finish(&outcome)
        }
        Mode::Tracker(arguments) => {
            arguments.common.check(&tracker::KNOWN)?;
            let outcome = tracker::run(&arguments)?;
            arguments.common.finish(&outcome)
        }
    }
}

impl Common {
    /// A long run must not end in a figure that is none or a path that cannot be written.
    fn check(&self, known: &Known) -> Result<()> {
        for requirement in &self.require {
            if !known.0.iter().any(|(name, _)| *name == requirement.figure) {
                bail!("--require: no figure `{}`; {}", requirement.figure, known.names());
            }
        }
        for path in [&self.json, &self.html].into_iter().flatten() {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            if path.is_dir() || parent.is_some_and(|parent| !parent.is_dir()) {
                bail!("cannot write {}: no such folder, or it is one", path.display());
            }
        }
        Ok(())
    }

    fn finish(&self, outcome: &Outcome) -> Result<bool> {
        for (path, text) in [(&self.json, outcome.json()), (&self.html, outcome.page())] {
            if let Some(path) = path {
                let written = std::fs::write(path, text);
                written.with_context(|| format!("cannot write {}", path.display()))?;
            }
        }
        let mut text = outcome.table();
        let failed: Vec<_> = self.require.iter().filter_map(|it| it.failure(outcome)).collect();
        for failure in &failed {
            text.push_str(&format!("\nFAILED: {failure}"));
        }
        if !self.require.is_empty() && failed.is_empty() {
            text.push_str("\nAll that was required holds.");
        }
        match writeln!(std::io::stdout(), "{text}") {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(failed.is_empty()),
        }
    }
}

/// A number above 0, as flags take it.
pub(crate) fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value.is_finite() => Ok(value),
        _ => Err("a number above 0".to_owned()),
    }
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
