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

/// Sets up the machine and runs all tests, documentation tests first: so the closing lines of the
/// output are the runner's own.
pub(crate) fn run(args: &Args) -> Result<()> {
    provide(PROGRAMS, args.no_install);
    // The server embeds the pages, so they come before it.
    web::run(web::Args::default())?;
    let docs = shell::run(&mut shell::cargo(&["test", "--workspace", "--doc", "--quiet"]));
    let runner = run_tests(args);
    docs.and(runner)
}

/// All but the documentation tests.
///
/// Fault injection is compiled in: there are tests of it. The programs are built with the tests,
/// and the end-to-end tests are told where, so that they need not build them once more.
fn run_tests(args: &Args) -> Result<()> {
    let has_nextest = shell::capture(&mut shell::cargo(&["nextest", "--version"])).is_ok();
    let mut command = if has_nextest {
        shell::cargo(&["nextest", "run", "--config-file", "xtask/nextest.toml"])
    } else {
        eprintln!("cargo-nextest is not installed; running with cargo test");
        shell::cargo(&["test", "--lib", "--bins", "--tests"])
    };
    command.env("SHOAL_TEST_PROGRAMS", shell::build_folder("debug"));
    command.args(["--workspace", "--features", "shoal-agent/fault-injection", "--no-fail-fast"]);
    shell::run(command.args(&args.runner_args))
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
