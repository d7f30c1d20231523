//! The `shoal-sim` program: reads the command line and runs the simulator.
//!
//! Rule: exit code 0 if everything held, 1 if a run failed or differs, 2 if the command is wrong.

mod cli;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run(&cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shoal-sim: {error:#}");
            ExitCode::FAILURE
        }
    }
}
