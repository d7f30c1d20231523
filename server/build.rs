//! Puts the built pages into the binary: all of `web-demo/dist`, as a table of paths and bytes; and
//! the commit that it is built from.
//!
//! Rule: it builds nothing itself, and is not run anew for each commit where nothing is released. Without the folder the table is empty, and the server says how
//! to make it. The table is sorted, so that the same pages give the same binary.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

/// Most files: a folder that holds more is not what was meant.
const FILES_MAX: usize = 200;

fn main() -> io::Result<()> {
    tell_commit();
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let dist = here.join("../web-demo/dist");
    println!("cargo::rerun-if-changed=build.rs");
    // A path that does not exist would make every build run this again.
    let watched = if dist.is_dir() { dist.as_path() } else { here.as_path() };
    println!("cargo::rerun-if-changed={}", watched.display());
    let mut files = Vec::new();
    if dist.is_dir() {
        collect(&dist, &mut files)?;
    }
    files.sort();
    assert!(files.len() <= FILES_MAX, "{} holds over {FILES_MAX} files", dist.display());
    let mut table = String::from("&[\n");
    for file in &files {
        let name = file.strip_prefix(&dist).expect("it was found there");
        let name = name.to_str().expect("our build names files in ASCII").replace('\\', "/");
        let path = file.canonicalize()?;
        let path = path.to_str().expect("the checkout's path is UTF-8");
        writeln!(table, "    ({name:?}, include_bytes!({path:?})),").expect("it is a string");
    }
    table.push_str("]\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("pages.rs"), table)
}

/// All files below `folder`, hidden ones and source maps left out.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        if name.starts_with('.') || name.ends_with(".map") {
            continue;
        }
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// The commit: as it is told, or in a release as git has it.
fn tell_commit() {
    println!("cargo::rerun-if-env-changed=SHOAL_COMMIT");
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let told = env::var("SHOAL_COMMIT").ok().filter(|commit| !commit.is_empty());
    let found = || {
        let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
        println!("cargo::rerun-if-changed={log}");
        git(&["rev-parse", "--short=12", "HEAD"])
    };
    let commit = told.or_else(|| if is_release { found() } else { None });
    let commit = commit.unwrap_or_else(|| "no commit known".to_owned());
    println!("cargo::rustc-env=SHOAL_COMMIT={commit}");
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}
