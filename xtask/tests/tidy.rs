//! What the compiler cannot hold: file openings and lengths, the arrows between crates, purity of
//! the cores, no loose ends.
//!
//! Rule: it only ever becomes stricter.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Longest source file; tests may be longer.
const LINES_MAX: usize = 600;

/// Crates without clock, socket, task, or metrics, and what they must not mention.
const PURE: [&str; 3] = ["wire", "tracker", "peer"];
const IMPURE_CRATES: [&str; 6] = ["tokio", "prometheus", "tracing", "log", "socket2", "getrandom"];
const IMPURE_PATHS: [&str; 6] =
    ["std::time", "std::net", "std::thread", "std::sync", "tokio::", "extern crate std"];

/// Which crates of the workspace each may use in what it ships: the arrows of the design.
const ARROWS: [(&str, &[&str]); 10] = [
    ("wire", &[]),
    ("playlist", &[]),
    ("tracker", &["shoal-wire"]),
    ("peer", &["shoal-wire"]),
    ("sim", &["shoal-wire", "shoal-tracker", "shoal-peer"]),
    ("server", &["shoal-wire", "shoal-playlist", "shoal-tracker"]),
    ("peer-agent", &["shoal-wire", "shoal-playlist", "shoal-peer"]),
    ("web-demo/wasm", &["shoal-wire", "shoal-peer"]),
    ("loadtest", &["shoal-wire", "shoal-sim", "shoal-server", "shoal-agent"]),
    ("xtask", &[]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All Rust sources of the workspace, relative to its root.
fn sources() -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let is_ours = !name.starts_with('.') && name != "target" && name != "node_modules";
            if path.is_dir() && is_ours {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root(), &mut found);
    assert!(found.len() > 20, "the walk finds the sources");
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/")
}

/// Fails with every finding, so that one run shows all there is to fix.
fn report(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}

fn check_sources(check: impl Fn(&str, &str) -> Vec<String>) {
    let mut findings = Vec::new();
    for path in sources() {
        let name = relative(&path);
        let text = fs::read_to_string(&path).unwrap();
        findings.extend(check(&name, &text).into_iter().map(|what| format!("{name}: {what}")));
    }
    report(&findings);
}

fn is_test(name: &str) -> bool {
    name.contains("/tests/") || name.contains("/benches/") || name.ends_with("/tests.rs")
}

#[test]
fn every_file_says_what_it_is() {
    check_sources(|_, text| {
        let opens = text.starts_with("//! ");
        if opens { vec![] } else { vec!["does not open with `//! `".to_owned()] }
    });
}

#[test]
fn no_file_is_too_long() {
    check_sources(|name, text| {
        let lines = text.lines().count();
        if is_test(name) || lines <= LINES_MAX {
            return vec![];
        }
        vec![format!("{lines} lines, {LINES_MAX} at most")]
    });
}

#[test]
fn no_loose_ends() {
    // Spelled in two halves, or this file would find itself.
    let markers = [["TO", "DO"], ["FIX", "ME"], ["XX", "X"]].map(|halves| halves.concat());
    let macros = [["todo", "!("], ["unimplemented", "!("], ["#[ig", "nore"]];
    let macros = macros.map(|halves| halves.concat());
    check_sources(|_, text| {
        let is_bare = |line: &str| {
            let mut words = line.split(|c: char| !c.is_ascii_alphanumeric());
            words.any(|word| markers.iter().any(|marker| marker == word))
                || macros.iter().any(|name| line.contains(name.as_str()))
        };
        let lines = text.lines().zip(1..).filter(|(line, _)| is_bare(line));
        lines.map(|(line, number)| format!("line {number}: {}", line.trim())).collect()
    });
}

#[test]
fn pure_crates_know_no_machine() {
    check_sources(|name, text| {
        let is_pure = PURE.iter().any(|folder| name.starts_with(&format!("{folder}/src/")));
        if !is_pure {
            return vec![];
        }
        let mut findings: Vec<String> = IMPURE_PATHS
            .iter()
            .filter(|path| text.contains(*path))
            .map(|path| format!("mentions `{path}`"))
            .collect();
        if name.ends_with("src/lib.rs") && !text.contains("#![no_std]") {
            findings.push("is not no_std".to_owned());
        }
        findings
    });
    let impure: BTreeSet<&str> = IMPURE_CRATES.into();
    for folder in PURE {
        let used = dependencies(folder, &["dependencies"]);
        let found: Vec<_> = used.iter().filter(|name| impure.contains(name.as_str())).collect();
        assert!(found.is_empty(), "{folder} depends on {found:?}");
    }
}

/// Names of the packages that a crate depends on, in these tables of its manifest.
fn dependencies(folder: &str, tables: &[&str]) -> BTreeSet<String> {
    let path = root().join(folder).join("Cargo.toml");
    let text = fs::read_to_string(&path).unwrap();
    let manifest: toml::Table = text.parse().unwrap();
    let mut names = BTreeSet::new();
    for table in tables {
        let Some(table) = manifest.get(*table).and_then(toml::Value::as_table) else { continue };
        for (key, value) in table {
            let package = value.get("package").and_then(toml::Value::as_str);
            names.insert(package.unwrap_or(key).to_owned());
        }
    }
    names
}

#[test]
fn crates_depend_as_designed() {
    for (folder, allowed) in ARROWS {
        let used = dependencies(folder, &["dependencies", "build-dependencies"]);
        let ours: Vec<_> = used.iter().filter(|name| name.starts_with("shoal-")).collect();
        for name in ours {
            assert!(allowed.contains(&name.as_str()), "{folder} must not depend on {name}");
        }
    }
}

#[test]
fn the_two_cores_do_not_know_each_other() {
    let all = ["dependencies", "dev-dependencies", "build-dependencies"];
    assert!(!dependencies("tracker", &all).contains("shoal-peer"));
    assert!(!dependencies("peer", &all).contains("shoal-tracker"));
}

#[test]
fn only_the_load_test_knows_the_simulator() {
    let all = ["dependencies", "dev-dependencies", "build-dependencies"];
    for (folder, _) in ARROWS {
        let knows = dependencies(folder, &all).contains("shoal-sim");
        assert!(folder == "loadtest" || !knows, "{folder} depends on sim");
    }
}

#[test]
fn only_the_agent_knows_webrtc() {
    let all = ["dependencies", "dev-dependencies", "build-dependencies"];
    for (folder, _) in ARROWS {
        let used = dependencies(folder, &all);
        let knows = used.contains("webrtc") || used.contains("rtc");
        assert!(folder == "peer-agent" || !knows, "{folder} depends on webrtc");
    }
    assert!(dependencies("peer-agent", &all).contains("webrtc"), "the test reads manifests");
}

#[test]
fn every_member_has_its_arrows() {
    let text = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let manifest: toml::Table = text.parse().unwrap();
    let members = manifest["workspace"]["members"].as_array().unwrap();
    let members: BTreeSet<&str> = members.iter().filter_map(toml::Value::as_str).collect();
    let known: BTreeSet<&str> = ARROWS.iter().map(|(folder, _)| *folder).collect();
    assert_eq!(members, known, "ARROWS names the workspace's members");
}
