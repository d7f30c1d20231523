//! `cargo xtask`: what a developer of Shoal runs: `check`, `test`, `bench`, `fuzz`, `web`, `demo` and
//! `conformance`.
//!
//! Rule: whatever the continuous integration runs is one of these commands, so that it runs the
//! same on any machine. It builds and starts the product; it is no part of it.

mod bench;
mod check;
mod conformance;
mod demo;
mod dist;
mod folder;
mod fuzz;
mod shell;
mod suite;
mod web;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Tasks of the Shoal workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Static checks: formatting, lints, docs, tidiness, licences, advisories.
    Check,
    /// All tests of the workspace, documentation tests included. Installs what they need first.
    Test(suite::Args),
    /// The criterion benchmarks of all crates.
    Bench(bench::Args),
    /// Random bytes into whatever strangers send: playlists, paths, ranges, messages, frames.
    Fuzz(fuzz::Args),
    /// The browser's part: the engine as WASM, the SDK and the pages, into `web-demo/dist`.
    Web(web::Args),
    /// A release: static programs, manual pages, completions, bill of materials, one archive.
    Dist,
    /// A live event on this machine: server, agents and real players, with the figures measured.
    Demo(Box<demo::args::Args>),
    /// Streams of many kinds in many players, through Shoal: what plays, and whether every byte is
    /// right. Makes the table in README.md.
    Conformance(conformance::Args),
    /// One viewer's recorder (the demo starts these itself).
    #[command(hide = true)]
    Recorder(demo::recorder::Args),
    /// A small HLS reader (the demo starts these itself where there is no player).
    #[command(hide = true)]
    Reader(demo::player::reader::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Check => check::run(),
        Task::Test(args) => suite::run(&args),
        Task::Bench(args) => bench::run(&args),
        Task::Fuzz(args) => fuzz::run(&args),
        Task::Web(args) => web::run(args),
        Task::Dist => dist::run(),
        Task::Demo(args) => demo::run(&args),
        Task::Conformance(args) => conformance::run(&args),
        Task::Recorder(args) => demo::recorder::run(&args),
        Task::Reader(args) => demo::player::reader::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
