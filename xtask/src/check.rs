//! `cargo xtask check`: everything that can be said of the code without running it.
//!
//! Rule: every step runs, whatever the others said, so that one call shows all there is to fix.

use crate::shell;
use anyhow::{Result, bail};

/// Runs all checks and fails if one of them did.
pub(crate) fn run() -> Result<()> {
    let mut failed = Vec::new();
    for (name, step) in STEPS {
        eprintln!("== {name}");
        if let Err(error) = step() {
            eprintln!("{error:#}");
            failed.push(*name);
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    eprintln!("== all checks passed");
    Ok(())
}

type Step = (&'static str, fn() -> Result<()>);

const STEPS: &[Step] = &[
    ("formatting", || shell::run(&mut shell::cargo(&["fmt", "--all", "--check"]))),
    ("lints", lints),
    ("documentation", documentation),
    ("tidiness", tidiness),
    ("same bytes of the WASM", crate::web::check_same_bytes),
    ("licences, bans, sources", || deny(&["bans", "licenses", "sources"])),
    ("advisories", advisories),
];

fn lints() -> Result<()> {
    let args = ["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"];
    shell::run(&mut shell::cargo(&args))
}

fn documentation() -> Result<()> {
    let mut command = shell::cargo(&["doc", "--workspace", "--no-deps", "--quiet"]);
    // Two programs of one name in different packages would overwrite each other's pages; ours do
    // not, so every warning is ours.
    shell::run(command.env("RUSTDOCFLAGS", "-D warnings"))
}

fn tidiness() -> Result<()> {
    shell::run(&mut shell::cargo(&["test", "--quiet", "--package", "xtask", "--test", "tidy"]))
}

fn deny(what: &[&str]) -> Result<()> {
    if !has_deny() {
        eprintln!("skipped: cargo-deny is not installed (cargo install --locked cargo-deny)");
        return Ok(());
    }
    let mut command = shell::cargo(&["deny", "--log-level", "error", "check"]);
    shell::run(command.args(what))
}

/// The advisory database lives in a git repository that not every machine can reach. Being
/// offline is no finding; an advisory is.
fn advisories() -> Result<()> {
    if !has_deny() {
        return deny(&[]);
    }
    let mut command = shell::cargo(&["deny", "--log-level", "error", "check", "advisories"]);
    command.env("GIT_TERMINAL_PROMPT", "0");
    match shell::capture(&mut command) {
        Ok(_) => Ok(()),
        Err(error) if format!("{error:#}").contains("failed to fetch advisory database") => {
            eprintln!("skipped: the advisory database cannot be reached from here");
            Ok(())
        }
        Err(error) => Err(error),
    }
}

fn has_deny() -> bool {
    shell::capture(&mut shell::cargo(&["deny", "--version"])).is_ok()
}
