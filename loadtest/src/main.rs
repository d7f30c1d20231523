//! The `shoal-loadtest` program: puts load on a real server and says what came of it.
//!
//! Rule: exit code 0 if it ran and every `--require` held, 1 if not, 2 if the command is wrong.

mod cli;
mod curve;
mod encoder;
mod host;
mod live;
mod origin;
mod outcome;
mod playlist;
mod require;
mod samples;
mod server;
mod token;
mod tracker;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run(cli::Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("shoal-loadtest: {error:#}");
            ExitCode::FAILURE
        }
    }
}
