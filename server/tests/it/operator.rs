//! Operators: errors at the start, health, metrics, status, the end.

use crate::harness::{Fixture, config, soon, until};
use shoal_server::Server;
use std::process::Stdio;
use tokio::process::Command;

async fn fails(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_shoal-server")).args(args).output();
    let output = soon(output).await.unwrap();
    assert!(!output.status.success(), "{args:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn what_is_wrong_is_said_in_a_sentence() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("shoal.toml");
    std::fs::write(&file, "[origin]\nkeep_segmens = 3\n").unwrap();
    let file = file.to_str().unwrap();
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = held.local_addr().unwrap().to_string();
    for (args, says) in [
        (&["--config", file][..], &["line 2", "keep_segmens"][..]),
        (&["--config", "/nowhere.toml"], &["/nowhere.toml"]),
        (&["--lisen", "x"], &["--lisen"]),
        (&["--listen", "here"], &["here", "IP:PORT"]),
        (&["--stream", "cam"], &["NAME=KEY"]),
        (&["--log", "a=b=c", "--listen", "127.0.0.1:0"], &["--log"]),
    ] {
        let text = fails(args).await;
        assert!(says.iter().all(|part| text.contains(part)), "{args:?}: {text}");
        assert!(!text.contains("panicked"), "{text}");
    }
    let text = fails(&["--listen", &taken]).await;
    assert!(text.contains("in use") && text.contains("--listen"), "{text}");
    let data = directory.path().join("data");
    let data = data.to_str().unwrap();
    let text =
        fails(&["--listen", "127.0.0.1:0", "--admin-listen", &taken, "--data-dir", data]).await;
    assert!(text.contains("in use") && text.contains("--admin-listen"), "{text}");
}

#[tokio::test]
async fn the_manual_is_printed_and_can_be_used() {
    let output = Command::new(env!("CARGO_BIN_EXE_shoal-server")).arg("--print-config").output();
    let text = String::from_utf8(soon(output).await.unwrap().stdout).unwrap();
    assert_eq!(text, shoal_server::config::DEFAULTS);
}

#[tokio::test]
async fn health_metrics_and_status() {
    let fixture = Fixture::new().await;
    fixture.push_segment(0, b"zero").await;
    assert_eq!(fixture.admin("/healthz").await.status(), 200);
    assert_eq!(fixture.admin("/readyz").await.status(), 200);
    until(|| async {
        let published = fixture.metric("shoal_published_total{stream=\"cam\"}").await;
        (published == 1.0).then_some(())
    })
    .await;
    assert_eq!(fixture.metric("shoal_build_info{version=\"0.1.0\"}").await, 1.0);
    let status = fixture.status().await;
    let stream = &status["streams"][0];
    assert_eq!(stream["stream"], "cam");
    assert_eq!(stream["epoch"], 1);
    assert_eq!(stream["viewers"], 0);
    assert_eq!(stream["renditions"][0]["playlist"], "index.m3u8");
    assert_eq!(stream["renditions"][0]["substreams"], 1);
    assert_eq!(stream["renditions"][0]["last_msn"], 0);
    assert!(status["rss_bytes"].as_u64().unwrap() > 0);
    // Nothing of this is on the public side.
    assert_eq!(fixture.get("/status").await.status(), 404);
    assert_eq!(fixture.get("/metrics").await.status(), 404);
}

#[tokio::test]
async fn dev_needs_nothing_and_the_demo_plays() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(&directory, "demo.channel = true");
    let server = Server::start(&config).await.unwrap();
    let base = format!("http://{}/live/demo", server.ports().listen);
    let text = until(|| async {
        let response =
            crate::harness::http().get(format!("{base}/index.m3u8")).send().await.unwrap();
        let text = response.text().await.unwrap();
        (crate::harness::uris(&text).len() >= 3).then_some(text)
    })
    .await;
    assert_eq!(
        text.matches("#EXT-X-PROGRAM-DATE-TIME:").count(),
        crate::harness::uris(&text).len()
    );
    let segment = crate::harness::http()
        .get(format!("{base}/0-1-0.ts"))
        .send()
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    assert_eq!((segment[0], segment.len() % 188), (0x47, 0));
    let put =
        crate::harness::http().put(format!("http://{}/publish/k/demo/a.ts", server.ports().listen));
    assert_eq!(put.body("x").send().await.unwrap().status(), 403);
    soon(server.stop()).await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_signal_ends_it_cleanly() {
    let directory = tempfile::tempdir().unwrap();
    let ports = directory.path().join("ports.json");
    let child = Command::new(env!("CARGO_BIN_EXE_shoal-server"))
        .args(["dev", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir"])
        .arg(directory.path().join("data"))
        .arg("--ports-file")
        .arg(&ports)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    until(|| async { std::fs::read(&ports).ok() }).await;
    let pid = child.id().unwrap().to_string();
    let signalled = Command::new("kill").args(["-TERM", &pid]).status();
    assert!(soon(signalled).await.unwrap().success());
    let output = soon(child.wait_with_output()).await.unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("/watch/live\n") && text.contains("shoal-agent play http://"), "{text}");
}

#[tokio::test]
async fn shells_and_man_are_served() {
    for (args, says) in [
        (&["completions", "bash"][..], "--upstream-fetch"),
        (&["man"], ".TH shoal-server 1"),
        (&["--version"], "shoal-server 0.1.0 ("),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_shoal-server")).args(args).output();
        let text = String::from_utf8(soon(output).await.unwrap().stdout).unwrap();
        assert!(text.contains(says), "{args:?}: {text}");
    }
}
