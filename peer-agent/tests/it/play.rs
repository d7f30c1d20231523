//! The program itself: its exit codes, its errors, and the player that it starts.

use crate::harness::{Origin, soon};
use std::process::{Output, Stdio};
use tokio::process::Command;

async fn agent(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shoal-agent"));
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    soon(command.output()).await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn it_ends_with_its_player() {
    let origin = Origin::new().await;
    let url = format!("{}/live/cam/index.m3u8", origin.site());
    // A player that prints what it was given and fails.
    let output = agent(&["play", &url, "--player", "sh", "--", "-c", "echo got $0; exit 3"]).await;
    assert_eq!(output.status.code(), Some(3));
    let said = text(&output.stdout);
    let tail = format!("/http/{}/live/cam/index.m3u8\n", origin.server.ports().listen);
    assert!(said.starts_with("got http://127.0.0.1:") && said.ends_with(&tail), "{said}");
}

#[tokio::test]
async fn errors_say_what_to_change() {
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = held.local_addr().unwrap().to_string();
    for (args, code, part) in [
        (&["play", "http://h/x.m3u8", "--player", "no-such-player"][..], 1, "--player"),
        (&["play", "ftp://h/x.m3u8"], 2, "neither http nor https"),
        (&["run", "--origin", "http://h", "--listen", &taken], 1, "--listen"),
        (&["run", "--origin", "http://h", "--listen", "0.0.0.0:0"], 1, "loopback"),
        (&["run", "--origin", "http://h", "--upload-max", "fast"], 2, "5mbit"),
    ] {
        let output = agent(args).await;
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(part), "{said}");
    }
}

#[tokio::test]
async fn help_teaches() {
    let output = agent(&["--help"]).await;
    let said = text(&output.stdout);
    for part in ["shoal-agent play http://", "--upload-max 5mbit", "receive-only", "--origin"] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
}
