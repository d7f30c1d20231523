//! The operator's guide: every block of commands that can be run here is run, in order, as it stands.
//!
//! Rule: a block says whether it is tested; none is passed over in silence.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// All of the guide's commands together.
const LIMIT: Duration = Duration::from_secs(120);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The folder of the programs, as `cargo xtask test` built them with the tests; built here for a
/// test that is run by itself.
fn programs() -> PathBuf {
    if let Some(folder) = std::env::var_os("SHOAL_TEST_PROGRAMS") {
        return folder.into();
    }
    let args = ["build", "--package", "shoal-server"];
    assert!(Command::new(env!("CARGO")).args(args).status().unwrap().success());
    Path::new(env!("CARGO_BIN_EXE_xtask")).parent().unwrap().to_owned()
}

/// The tested blocks of a text, and how many are untested for a reason.
fn blocks(text: &str) -> (Vec<String>, usize) {
    let (mut tested, mut untested) = (Vec::new(), 0);
    let mut pieces = text.split("```sh\n");
    let mut before = pieces.next().unwrap();
    for piece in pieces {
        let (block, after) = piece.split_once("```").unwrap();
        let mark = before.trim_end().lines().next_back().unwrap_or_default();
        match mark.trim_start_matches("<!-- ").trim_end_matches(" -->") {
            "tested" => tested.push(block.to_owned()),
            reason if reason.starts_with("untested: ") && reason.len() > 20 => untested += 1,
            other => panic!("does a test run this block? `{other}`\n{block}"),
        }
        before = after;
    }
    (tested, untested)
}

#[test]
fn the_guide_leads_from_nothing_to_an_event() {
    let text = fs::read_to_string(root().join("deploy/README.md")).unwrap();
    let (tested, untested) = blocks(&text);
    assert!(tested.len() >= 6 && untested <= 3, "{} and {untested}", tested.len());
    let folder = std::env::temp_dir().join(format!("shoal-guide-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    // Ports of the guide may be taken here, and another test may use the same.
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (public, admin, stun) = (free(), free(), free());
    let script = tested.join("\n");
    let script = script
        .replace("0.0.0.0:8443", &format!("127.0.0.1:{public}"))
        .replace("localhost:8443", &format!("localhost:{public}"))
        .replace("127.0.0.1:9090", &format!("127.0.0.1:{admin}"))
        .replace("\"0.0.0.0:3478\", \"0.0.0.0:3479\"", &format!("\"127.0.0.1:{stun}\""));
    let path = format!("{}:{}", programs().display(), std::env::var("PATH").unwrap());
    let log = fs::File::create(folder.join("log")).unwrap();
    let mut child = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .current_dir(&folder)
        .env("PATH", path)
        .env("REPOSITORY", root())
        .env("SHOAL_SERVER_ADMIN_LISTEN", format!("127.0.0.1:{admin}"))
        .env("SHOAL_ADMIN", format!("http://127.0.0.1:{admin}"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .process_group(0)
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break Some(status),
            None if begun.elapsed() > LIMIT => break None,
            None => std::thread::sleep(Duration::from_millis(100)),
        }
    };
    // What it left running: its whole group.
    let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", child.id())]).status();
    let _ = child.wait();
    let mut said = String::new();
    for name in ["log", "shoal/shoal.log", "shoal/ctl.log"] {
        if let Ok(mut file) = fs::File::open(folder.join(name)) {
            said.push_str(&format!("== {name}\n"));
            file.read_to_string(&mut said).unwrap();
        }
    }
    fs::remove_dir_all(&folder).unwrap();
    assert!(status.is_some_and(|status| status.success()), "{status:?}\n{said}");
}
