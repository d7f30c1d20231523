//! Each mode as its users run it, small: a real server, real sessions, real engines.
//!
//! Rule: it asserts what must hold on any machine, however slow; figures are for the program to tell.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The server, as `cargo xtask test` built it with the tests; built here for a test that is run by
/// itself.
fn server() -> PathBuf {
    let folder = std::env::var_os("SHOAL_TEST_PROGRAMS").map_or_else(
        || {
            let args = ["build", "--package", "shoal-server"];
            let built = Command::new(env!("CARGO")).args(args).output().unwrap();
            assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
            Path::new(env!("CARGO_BIN_EXE_shoal-loadtest")).parent().unwrap().to_owned()
        },
        PathBuf::from,
    );
    folder.join("shoal-server")
}

fn loadtest(folder: &Path, args: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shoal-loadtest"));
    command.current_dir(folder).args(args.split_whitespace()).output().unwrap()
}

/// What a run that must succeed wrote.
fn figures(args: &str) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let args = format!("{args} --json out.json --html out.html");
    let output = loadtest(folder.path(), &args);
    assert!(output.status.success(), "{args}: {}", said(&output));
    let page = std::fs::read_to_string(folder.path().join("out.html")).unwrap();
    for outside in ["http:", "https:", "<script", "src=", "NaN"] {
        assert!(!page.contains(outside), "{outside} in the page");
    }
    assert!(page.contains("<svg viewBox"), "the page has plots");
    serde_json::from_slice(&std::fs::read(folder.path().join("out.json")).unwrap()).unwrap()
}

fn said(output: &Output) -> String {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

fn number(json: &Value, figure: &str) -> f64 {
    json["figures"][figure].as_f64().unwrap_or_else(|| panic!("no {figure} in {json:#}"))
}

/// A server that runs already, with the stream `cam`; it guards its playlists and ends with the test.
struct Running {
    child: Child,
    folder: TempDir,
}

impl Running {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), "0123456789abcdef0123456789abcdef\n").unwrap();
        let args = "--listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --data-dir data --log warn \
                    --ports-file ports.json --stream cam=key1 --auth-secret-file secret \
                    --auth-play token";
        let mut command = Command::new(server());
        command.current_dir(folder.path()).args(args.split_whitespace());
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        Self { child, folder }
    }

    /// The flags with which a run finds it.
    fn flags(&self) -> String {
        let until = Instant::now() + Duration::from_secs(20);
        let ports = loop {
            if let Ok(text) = std::fs::read_to_string(self.folder.path().join("ports.json")) {
                break serde_json::from_str::<Value>(&text).unwrap();
            }
            assert!(Instant::now() < until, "the server does not listen");
            std::thread::sleep(Duration::from_millis(20));
        };
        let address = |name: &str| ports[name].as_str().unwrap().to_owned();
        let (listen, admin) = (address("listen"), address("admin_listen"));
        format!("--server http://{listen} --admin http://{admin} --stream cam --key key1")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const CROWD: &str = "tracker --viewers 60 --joins 60 --levels 3 --settle 1 --replaced 20 \
                     --replacing 1 --set rate=1";

#[test]
fn sessions_are_planned_counted_and_replaced() {
    let json = figures(&format!("{CROWD} --server-bin {}", server().display()));
    assert_eq!((number(&json, "viewers"), number(&json, "failed_viewers")), (60.0, 0.0));
    for figure in ["joins_per_second", "first_plan_p99_ms", "replans_per_second"] {
        assert!(number(&json, figure) > 0.0, "{figure}: {json:#}");
    }
    assert!(json["figures"]["server_bytes_per_viewer"].is_number(), "{json:#}");
    assert_eq!(json["tables"]["levels"].as_array().unwrap().len(), 3);
}

#[test]
fn a_server_that_runs_is_loaded_by_viewers_with_tokens() {
    let server = Running::start();
    let (flags, folder) = (server.flags(), server.folder.path());
    let tokens = format!("{flags} --auth-secret-file {}", folder.join("secret").display());
    let without = loadtest(folder, &format!("{CROWD} {flags}"));
    assert!(!without.status.success());
    assert!(said(&without).contains("401"), "{}", said(&without));
    let json = figures(&format!("{CROWD} {tokens}"));
    assert_eq!((number(&json, "viewers"), number(&json, "failed_viewers")), (60.0, 0.0));
    let requests = "origin --from 20 --to 20 --step 1 --late 5000 --set rate=0.5";
    assert_eq!(number(&figures(&format!("{requests} {tokens}")), "failed_requests"), 0.0);
    let live = "live steady --set viewers=3 --set rate=0.2 --set segment_s=1 --set ramp_s=1 \
                --set duration_s=12 --set warmup_s=6";
    let json = figures(&format!("{live} {tokens}"));
    let links = number(&json, "links_up");
    assert!((1.0..=9.0).contains(&links), "those of this run alone: {json:#}");
    assert_eq!(number(&json, "never_started"), 0.0);
    assert!(number(&json, "offload_ratio") > 0.0, "{json:#}");
    // What the server has to say it says on its admin listener.
    let (public, _) = tokens.split_once(" --admin ").unwrap();
    let (_, rest) = tokens.split_once(" --stream ").unwrap();
    let wanted = "--ffmpeg --require offload_ratio>=0";
    let blind = loadtest(folder, &format!("{live} {wanted} {public} --stream {rest}"));
    assert_eq!(blind.status.code(), Some(1), "{}", said(&blind));
    assert!(said(&blind).contains("FAILED: offload_ratio is –"), "{}", said(&blind));
}

#[test]
fn sessions_in_memory_are_marked_so() {
    let json = figures(&format!("{CROWD} --in-memory"));
    assert_eq!((number(&json, "viewers"), number(&json, "failed_viewers")), (60.0, 0.0));
    assert!(json["conditions"].to_string().contains("In memory"), "{json:#}");
}

#[test]
fn an_event_is_played_by_engines_and_by_the_simulator() {
    let json = figures(&format!(
        "live steady --set viewers=6 --set rate=0.2 --set segment_s=1 --set ramp_s=1 \
         --set duration_s=16 --set warmup_s=8 --require links_up>=3 --server-bin {}",
        server().display()
    ));
    let bound = number(&json, "offload_bound");
    let (real, simulated) = (number(&json, "offload_ratio"), number(&json, "sim_offload_ratio"));
    assert!(real > 0.2 && real <= bound + 0.05, "{json:#}");
    assert!((number(&json, "offload_difference") - (real - simulated)).abs() < 1e-9);
    assert_eq!(number(&json, "never_started"), 0.0);
    assert!(number(&json, "startup_p50_s") > 0.0 && number(&json, "origin_peak_mbps") > 0.0);
}

#[test]
fn requests_have_rates_and_times() {
    let json = figures(&format!(
        "origin --from 20 --to 40 --growth 2 --step 1 --late 5000 --set rate=0.5 --server-bin {}",
        server().display()
    ));
    assert_eq!(json["tables"]["steps"].as_array().unwrap().len(), 2);
    assert!(number(&json, "knee_requests_per_second") > 15.0, "{json:#}");
    assert!(number(&json, "knee_p99_ms") >= number(&json, "knee_p50_ms"));
}

#[test]
fn what_is_required_and_not_reached_is_said_with_the_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let unknown = loadtest(folder.path(), "origin --require speed>=1");
    assert_eq!(unknown.status.code(), Some(1));
    assert!(said(&unknown).contains("no figure `speed`; there are knee_"), "{}", said(&unknown));
    let run = format!("{CROWD} --in-memory --require viewers<=59 --require failed_viewers<=0");
    let missed = loadtest(folder.path(), &run);
    assert_eq!(missed.status.code(), Some(1), "{}", said(&missed));
    assert!(said(&missed).contains("FAILED: viewers is 60, not <= 59\n"), "{}", said(&missed));
    let wrong = loadtest(folder.path(), "tracker --viewers none");
    assert_eq!(wrong.status.code(), Some(2));
    let absent = loadtest(folder.path(), "live vod");
    assert!(said(&absent).contains("for shoal-sim"), "{}", said(&absent));
}
