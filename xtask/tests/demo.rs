//! The whole of it: server, agents and players as processes, run by `cargo xtask demo` itself.
//!
//! Rule: it asserts what must hold on any machine, however slow: the run completes, every byte is
//! right, viewers feed each other, nothing is left behind. The figures are the demo's to report.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use serde_json::Value;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A run of 30 s that has not ended by then hangs.
const LIMIT: Duration = Duration::from_secs(150);

/// The folder of the programs, as `cargo xtask test` built them with the tests; built here for a
/// test that is run by itself. Fault injection is compiled in.
fn programs() -> PathBuf {
    if let Some(folder) = std::env::var_os("SHOAL_TEST_PROGRAMS") {
        return folder.into();
    }
    let args = "build --package shoal-server --package shoal-agent \
                --features shoal-agent/fault-injection";
    let built = Command::new(env!("CARGO")).args(args.split_whitespace()).output().unwrap();
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

/// A completed run: its figures, and what it said for the message of a failed assertion.
struct Run {
    figures: Value,
    said: String,
}

impl Run {
    /// Runs the demo to its end and checks that nothing of it is left.
    fn new(name: &str, args: &[&str]) -> Self {
        let folder = Folder::new(name);
        let (json, keep) = (folder.0.join("figures.json"), folder.0.join("run"));
        let programs = programs();
        let paths = [&programs, &json, &keep].map(|path| path.to_str().unwrap());
        let common = ["--bin-dir", paths[0], "--json", paths[1], "--keep", paths[2]];
        let output = demo(&[args, &common].concat());
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(output.status.success(), "{said}");
        assert_eq!(left_behind(paths[2]), Vec::<String>::new());
        let figures = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
        Self { figures, said }
    }

    fn number(&self, name: &str) -> f64 {
        self.figures[name].as_f64().unwrap_or_else(|| panic!("{name}: {}", self.said))
    }

    #[track_caller]
    fn check_bytes(&self, segments_min: f64) {
        let Self { said, .. } = self;
        assert_eq!(self.number("players_without_a_frame"), 0.0, "{said}");
        assert!(self.number("segments") >= segments_min, "{said}");
        assert_eq!(self.number("mismatched_segments"), 0.0, "{said}");
        assert_eq!(self.number("cut_segments"), 0.0, "{said}");
    }
}

#[test]
fn viewers_feed_each_other() {
    let run = Run::new("demo-test", &["--viewers", "3", "--seconds", "30"]);
    let said = &run.said;
    assert_eq!((run.number("viewers"), run.number("seconds")), (3.0, 30.0));
    // Thirty seconds of 2 s segments at three players, the joins and the buffers taken off.
    run.check_bytes(30.0);
    assert_eq!(run.number("hash_mismatches"), 0.0, "{said}");
    // 0.667 is possible in the long run; a run this short is half start-up.
    assert!(run.number("offload_ratio") > 0.3, "{said}");
    assert!(run.number("offload_ratio") < run.number("offload_bound"), "no better than possible");
}

#[test]
fn viewers_of_a_cdn_with_tokens_of_their_own_share() {
    let run = Run::new("demo-upstream", &["--viewers", "3", "--seconds", "30", "--upstream=query"]);
    let said = &run.said;
    run.check_bytes(30.0);
    assert!(run.number("offload_ratio") > 0.3, "{said}");
    assert!(run.number("offload_ratio") < run.number("offload_bound"), "no better than possible");
    // The CDN's own log: what it sent to viewers is in the ratio, and each digest took one fetch.
    assert!(run.number("cdn_viewer_bytes") > 0.0, "{said}");
    assert_eq!(run.number("cdn_digest_fetches_per_segment"), 1.0, "{said}");
}

#[test]
fn viewers_of_a_title_share_it_and_seek_in_it_and_it_stays_when_they_leave() {
    let args = ["--vod", "30", "--viewers", "3", "--stagger", "3", "--seeks", "1"];
    let run = Run::new("demo-vod", &args);
    let said = &run.said;
    // Fifteen segments of 2 s at three players, one of whom jumps about, and some at the fourth.
    run.check_bytes(35.0);
    assert!(run.number("offload_ratio") > 0.3, "{said}");
    assert!(run.number("offload_ratio") < run.number("offload_bound"), "no better than possible");
    assert!(run.number("seeks") >= 2.0, "{said}");
    assert_eq!(run.number("seeks_unanswered"), 0.0, "{said}");
    let delivered = run.number("second_showing_delivered_bytes");
    assert!(delivered > 0.0, "{said}");
    assert!(run.number("second_showing_from_origin_bytes") >= delivered, "{said}");
}

#[test]
fn a_viewer_that_corrupts_what_it_relays_is_cut_off() {
    let args = ["--viewers", "4", "--seconds", "30", "--corrupt", "1", "--ffmpeg"];
    let run = Run::new("demo-corrupt", &args);
    let said = &run.said;
    run.check_bytes(40.0);
    assert!(run.number("hash_mismatches") > 0.0, "the fault was injected: {said}");
    // The others go on without it: 0.5 is possible with two copies, for it and for them.
    assert!(run.number("offload_ratio") > 0.2, "{said}");
    let viewers = run.figures["per_viewer"].as_array().unwrap();
    assert_eq!(viewers[0]["neighbours"], 0, "{said}");
}

#[test]
fn pages_that_play_part_by_part_are_little_behind() {
    let args = ["--low-latency", "--viewers", "2", "--seconds", "40"];
    let run = Run::new("demo-low-latency", &args);
    let said = &run.said;
    assert_eq!(run.number("players_without_a_frame"), 0.0, "{said}");
    // Parts of half a second: with whole segments of two it would be six and more.
    assert!(run.number("behind_clock_s_p50_worst") < 4.0, "{said}");
    assert!(run.number("behind_clock_s_p50") > 0.5, "no earlier than it was made: {said}");
    assert!(run.number("parts_steady") > 10.0, "{said}");
    assert!(run.number("part_offload_steady") > 0.3, "{said}");
}

#[test]
fn what_cannot_be_run_is_refused_in_a_sentence() {
    for (args, expected) in [
        (&["--kill", "6@30"][..], "leaves a viewer"),
        (&["--viewers", "0"], "nobody to watch"),
        (&["--browsers", "2", "--shape", "up=5mbit"], "leave --browsers out"),
        (&["--kill", "2@3"], "before the last of the joins"),
        (&["--browsers", "2", "--upstream"], "leave --browsers out"),
        (&["--seconds", "20", "--restart-server", "20"], "after the end"),
        (&["--low-latency", "--restart-server", "40"], "--restart-server out"),
        (&["--corrupt", "6"], "no honest viewer"),
        (&["--vod", "60", "--ffmpeg"], "no live event"),
        (&["--vod", "--viewers", "4", "--seeks", "3"], "every other"),
        (&["--shape", "5mbit"], "up=RATE"),
        (&["--rate", "fast"], "no rate"),
        (&["--bin-dir", "/nonexistent"], "does not exist"),
    ] {
        let output = demo(args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(expected), "{args:?}: {said}");
    }
}
