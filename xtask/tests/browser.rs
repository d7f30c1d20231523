//! The browser's part in a real Chromium, against the real server and agents: one test for each
//! scenario of `web-demo/tests`.
//!
//! Rule: a scenario runs alone, ends in time, and leaves no process behind. What it asserts is in
//! its own file; here is only that it passes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Scenarios end by themselves sooner.
const LIMIT: Duration = Duration::from_secs(140);
/// Time in which one that was told to end does.
const GRACE: Duration = Duration::from_secs(20);

/// Under `cargo test` tests are threads; two browsers at once would measure each other.
static ALONE: Mutex<()> = Mutex::new(());

/// The folder of the programs. `cargo xtask test` has made them and the browser's part; a test that
/// is run by itself has them made here.
fn programs() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    if let Some(folder) = std::env::var_os("SHOAL_TEST_PROGRAMS") {
        return folder.into();
    }
    let build = || {
        let args = "build --package shoal-server --package shoal-agent \
                    --features shoal-agent/fault-injection";
        succeed(Command::new(env!("CARGO")).args(args.split_whitespace()));
        succeed(Command::new(env!("CARGO_BIN_EXE_xtask")).arg("web"));
        Path::new(env!("CARGO_BIN_EXE_xtask")).parent().unwrap().to_owned()
    };
    BUILT.get_or_init(build).clone()
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Runs a scenario and fails with all that it said.
fn scenario(name: &str) {
    let programs = programs();
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut command = Command::new("node");
    command.args(["web-demo/tests/run.mjs", name]).current_dir(root());
    command.env("SHOAL_TEST_PROGRAMS", programs);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let output = wait(child.expect("node is installed (apt-get install nodejs)"));
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{name} failed:\n{}", String::from_utf8_lossy(&said));
}

/// Waits for its end; one that takes too long is told to end, and is killed if it does not.
fn wait(mut child: Child) -> Output {
    let (stdout, stderr) = (reader(child.stdout.take()), reader(child.stderr.take()));
    let started = Instant::now();
    let mut told = false;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if started.elapsed() > LIMIT && !told {
            told = true;
            let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
            nix::sys::signal::kill(pid, nix::sys::signal::SIGTERM).unwrap();
        }
        if started.elapsed() > LIMIT + GRACE {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    Output { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

/// Reads a pipe to its end, so that it never fills.
fn reader(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    let mut pipe = pipe.unwrap();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

macro_rules! scenarios {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            scenario(stringify!($name));
        })*

        /// Each scenario's file has its test.
        #[test]
        fn none_is_left_out() {
            let mut tested = vec![$(stringify!($name)),*];
            tested.sort_unstable();
            let folder = std::fs::read_dir(root().join("web-demo/tests/scenarios")).unwrap();
            let names = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut there: Vec<String> =
                names.map(|name| name.trim_end_matches(".mjs").to_owned()).collect();
            there.sort_unstable();
            assert_eq!(there, tested);
        }
    };
}

scenarios! {
    abr
    corrupt_peer
    hls_1_6
    level_switch
    low_latency
    mixed
    mobile
    nat
    options
    peers_off
    playback
    seek
    sharing
    tab_closed
    token
    tracker_cut
    tracker_gone
    units
    unreachable
    unsupported
}
