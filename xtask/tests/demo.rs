//! The whole of it: server, agents and players as processes, run by `cargo xtask demo` itself.
//!
//! Rule: it asserts what must hold on any machine, however slow: the run completes, every byte is
//! right, viewers feed each other, nothing is left behind. The figures are the demo's to report.

use serde_json::Value;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A run of 30 s that has not ended by then hangs.
const LIMIT: Duration = Duration::from_secs(150);

/// Builds the programs as they are for tests and gives their folder.
fn programs() -> PathBuf {
    let packages = ["build", "--package", "shoal-server", "--package", "shoal-agent"];
    let built = Command::new(env!("CARGO")).args(packages).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let this = PathBuf::from(env!("CARGO_BIN_EXE_xtask"));
    this.parent().unwrap().to_owned()
}

/// A folder that is removed at the end of the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("shoal-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn wait(mut child: Child) -> Output {
    let deadline = Instant::now() + LIMIT;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("the demo hangs: {:?}", child.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    child.wait_with_output().unwrap()
}

fn demo(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("demo").args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    wait(command.spawn().unwrap())
}

/// Processes that still name this folder in their command line.
fn left_behind(folder: &str) -> Vec<String> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let lines =
        processes.filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(folder) && !line.contains("xtask demo")).collect()
}

#[test]
fn viewers_feed_each_other() {
    let folder = Folder::new("demo-test");
    let (json, keep) = (folder.0.join("figures.json"), folder.0.join("run"));
    let programs = programs();
    let output = demo(&[
        "--viewers",
        "3",
        "--seconds",
        "30",
        "--bin-dir",
        programs.to_str().unwrap(),
        "--json",
        json.to_str().unwrap(),
        "--keep",
        keep.to_str().unwrap(),
    ]);
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{said}");
    let figures: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let number = |name: &str| figures[name].as_f64().unwrap_or_else(|| panic!("{name}: {said}"));
    assert_eq!(number("viewers"), 3.0);
    assert_eq!(number("seconds"), 30.0);
    assert_eq!(number("players_without_a_frame"), 0.0, "{said}");
    // Thirty seconds of 2 s segments at three players, the joins and the buffers taken off.
    assert!(number("segments") >= 30.0, "{said}");
    assert_eq!(number("mismatched_segments"), 0.0, "{said}");
    assert_eq!(number("hash_mismatches"), 0.0, "{said}");
    // 0.667 is possible in the long run; a run this short is half start-up.
    assert!(number("offload_ratio") > 0.3, "{said}");
    assert!(number("offload_ratio") < number("offload_bound"), "no better than possible");
    assert_eq!(left_behind(keep.to_str().unwrap()), Vec::<String>::new());
}

#[test]
fn what_cannot_be_run_is_refused_in_a_sentence() {
    for (args, expected) in [
        (&["--kill", "6@30"][..], "leaves one"),
        (&["--kill", "2@3"], "before the last of the joins"),
        (&["--seconds", "20", "--restart-server", "20"], "after the end"),
        (&["--corrupt", "6"], "no honest viewer"),
        (&["--shape", "5mbit"], "up=RATE"),
        (&["--rate", "fast"], "no rate"),
        (&["--bin-dir", "/nonexistent"], "does not exist"),
    ] {
        let output = demo(args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(expected), "{args:?}: {said}");
    }
}
