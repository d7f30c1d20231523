//! A few streams in a few players, through Shoal: the short form of `cargo xtask conformance`.
//!
//! Rule: every cell passes, bytes come from other viewers where they can, and nothing is left
//! behind. What the cells assert is the task's own; here is that it says so.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// It takes two minutes; a busy machine takes longer.
const LIMIT: Duration = Duration::from_secs(270);
/// Time in which one that was told to end does.
const GRACE: Duration = Duration::from_secs(20);

/// The folder of the programs, as `cargo xtask test` built them with the tests; built here for a
/// test that is run by itself.
fn programs() -> PathBuf {
    if let Some(folder) = std::env::var_os("SHOAL_TEST_PROGRAMS") {
        return folder.into();
    }
    let args = "build --package shoal-server --package shoal-agent \
                --features shoal-agent/fault-injection";
    succeed(Command::new(env!("CARGO")).args(args.split_whitespace()));
    succeed(Command::new(env!("CARGO_BIN_EXE_xtask")).arg("web"));
    Path::new(env!("CARGO_BIN_EXE_xtask")).parent().unwrap().to_owned()
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn conformance(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("conformance").args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    wait(command.spawn().unwrap())
}

/// One that takes too long is told to end, so that it ends what it started.
fn wait(mut child: Child) -> Output {
    let deadline = Instant::now() + LIMIT;
    let mut told = false;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline && !told {
            told = true;
            let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
            nix::sys::signal::kill(pid, nix::sys::signal::SIGTERM).unwrap();
        }
        if Instant::now() > deadline + GRACE {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    child.wait_with_output().unwrap()
}

/// Processes that still name this folder in their command line.
fn left_behind(folder: &str) -> Vec<String> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let lines =
        processes.filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(folder) && !line.contains("xtask conformance")).collect()
}

#[test]
fn common_streams_play_in_common_players() {
    let folder =
        std::env::temp_dir().join(format!("shoal-conformance-test-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (json, keep, programs) = (folder.join("cells.json"), folder.join("run"), programs());
    let paths = [&programs, &json, &keep].map(|path| path.to_str().unwrap());
    let args = ["--quick", "--bin-dir", paths[0], "--json", paths[1], "--keep", paths[2]];
    let output = conformance(&args);
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    assert_eq!(left_behind(paths[2]), Vec::<String>::new());
    let report: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let cells = report["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 18, "six streams, three players: {said}");
    for cell in cells {
        assert_eq!(cell["passes"], true, "{cell:#}\n{said}");
        assert!(cell["bodies_same"].as_u64().unwrap() >= 2, "{cell:#}");
    }
    let live = cells.iter().filter(|cell| cell["stream"] == "live");
    let from_peers: u64 = live.map(|cell| cell["from_peers"].as_u64().unwrap()).sum();
    assert!(from_peers > 0, "viewers feed each other: {said}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_is_not_there_is_refused_in_a_sentence() {
    let output = conformance(&["--only", "betamax"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("betamax is none of the streams"), "{said}");
}
