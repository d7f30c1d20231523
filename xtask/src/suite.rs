//! `cargo xtask test`: all tests of the workspace, on a machine that has only the toolchain.
//!
//! Rule: what is missing is installed if it may be, else named in one line; no test is skipped.

use crate::{shell, web};
use anyhow::Result;
use std::collections::BTreeSet;
use std::process::Command;

/// Which tests to run.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Install nothing, only say what is missing.
    #[arg(long)]
    no_install: bool,
    /// Passed on to the test runner (after `--`), e.g. a part of a test's name.
    #[arg(last = true)]
    runner_args: Vec<String>,
}

/// Programs that tests start, and the apt packages that hold them with what they need.
pub(crate) const PROGRAMS: &[(&str, &str)] = &[
    ("ffmpeg", "ffmpeg"),
    ("mpv", "mpv"),
    ("nft", "nftables"),
    ("ip", "iproute2"),
    ("tc", "iproute2"),
    ("chromium", "chromium"),
    ("setpriv", "util-linux"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("nginx", "nginx"),
    ("curl", "curl"),
    ("openssl", "openssl"),
    ("prometheus", "prometheus"),
    ("promtool", "prometheus"),
    ("systemd-analyze", "systemd"),
];

/// Sets up the machine and runs all tests: first the documentation tests and those of https, so
/// that the closing lines of the output are the main run's.
pub(crate) fn run(args: &Args) -> Result<()> {
    provide(PROGRAMS, args.no_install);
    // The server embeds the pages, so they come before it.
    web::run(web::Args::default())?;
    let docs = shell::run(&mut shell::cargo(&["test", "--workspace", "--doc", "--quiet"]));
    // Who passes something on to the runner has asked for some tests, not for all.
    let https = if args.runner_args.is_empty() { run_with_https() } else { Ok(()) };
    let runner = run_tests(args);
    docs.and(https).and(runner)
}

/// All tests of the server and of the agent as releases have them, with their feature `tls`: it
/// changes every HTTP client in a build, so the workspace's other tests are built without it.
fn run_with_https() -> Result<()> {
    let mut command = runner();
    command.args(["-p", "shoal-server", "-p", "shoal-agent", "--no-fail-fast", "--features"]);
    shell::run(command.arg("shoal-server/tls,shoal-agent/tls,shoal-agent/fault-injection"))
}

/// All but the documentation tests. Fault injection is compiled in: there are tests of it.
fn run_tests(args: &Args) -> Result<()> {
    let mut command = runner();
    command.args(["--workspace", "--features", "shoal-agent/fault-injection", "--no-fail-fast"]);
    shell::run(command.args(&args.runner_args))
}

/// The runner, still to be told which packages. It builds the programs with the tests, and the
/// end-to-end tests are told where, so that they need not build them once more.
fn runner() -> Command {
    let has_nextest = shell::capture(&mut shell::cargo(&["nextest", "--version"])).is_ok();
    let mut command = if has_nextest {
        shell::cargo(&["nextest", "run", "--config-file", "xtask/nextest.toml"])
    } else {
        eprintln!("cargo-nextest is not installed; running with cargo test");
        shell::cargo(&["test", "--lib", "--bins", "--tests"])
    };
    command.env("SHOAL_TEST_PROGRAMS", shell::build_folder("debug"));
    command
}

/// Installs the packages of the programs that are missing, or says which those are.
pub(crate) fn provide(programs: &[(&str, &'static str)], no_install: bool) {
    let missing: Vec<&str> = programs
        .iter()
        .filter(|(program, _)| !shell::is_installed(program))
        .flat_map(|(_, packages)| packages.split_whitespace())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    if missing.is_empty() {
        return;
    }
    let line = format!("apt-get install --no-install-recommends {}", missing.join(" "));
    if no_install || !shell::is_root() || !shell::is_installed("apt-get") {
        eprintln!("tests that need them will fail; to install what is missing: sudo {line}");
        return;
    }
    if let Err(error) = install(&missing) {
        eprintln!("{error:#}\ntests that need them will fail; to install by hand: {line}");
    }
}

fn install(packages: &[&str]) -> Result<()> {
    let apt = |args: &[&str]| {
        let mut command = Command::new("apt-get");
        // In runlevel 1, packages do not start the services that they bring.
        command.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1").args(args);
        shell::run(&mut command)
    };
    apt(&["update", "-qq"])?;
    apt(&[&["install", "-y", "-qq", "--no-install-recommends"], packages].concat())
}
