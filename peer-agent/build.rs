//! Tells the program which commit it is built from.
//!
//! Rule: only where it matters: a build for development is not made anew for each commit.

use std::process::Command;

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=SHOAL_COMMIT");
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let told = std::env::var("SHOAL_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = told.or_else(|| {
        if !is_release {
            return None;
        }
        if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
            println!("cargo::rerun-if-changed={log}");
        }
        git(&["rev-parse", "--short=12", "HEAD"])
    });
    let commit = commit.unwrap_or_else(|| "no commit known".to_owned());
    println!("cargo::rustc-env=SHOAL_COMMIT={commit}");
}
