//! The server itself goes away and comes back.

use crate::harness::{Fixture, playlist, put, soon, spawn, uris};
use std::path::Path;
use tokio::process::Child;

#[tokio::test]
async fn after_a_restart_everything_goes_on() {
    let fixture = Fixture::new().await;
    for seq in 0..3_u8 {
        fixture.push_segment(seq.into(), &[seq; 10]).await;
    }
    let before = fixture.playlist().await;
    let fixture = fixture.restarted().await;
    assert_eq!(fixture.playlist().await, before);
    assert_eq!(fixture.get("/live/cam/0-1-1.ts").await.bytes().await.unwrap(), [1_u8; 10][..]);
    fixture.push_segment(3, b"three").await;
    let text = fixture.playlist().await;
    assert_eq!(uris(&text), ["0-1-0.ts", "0-1-1.ts", "0-1-2.ts", "0-1-3.ts"]);
    let fixture = fixture.restarted().await;
    fixture.push_segment(0, b"anew").await;
    assert_eq!(uris(&fixture.playlist().await).last(), Some(&"0-2-4.ts"));
}

/// The program itself, so that it can be killed.
async fn program(directory: &Path) -> (Child, String) {
    let (child, ports) = spawn(directory, &["--admin-listen", ""]).await;
    (child, format!("http://{}", ports["listen"].as_str().unwrap()))
}

#[tokio::test]
async fn a_killed_server_comes_back_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let (mut child, base) = program(directory.path()).await;
    for seq in 0..4_u64 {
        put(&base, &format!("index{seq}.ts"), format!("segment {seq}")).await;
        put(&base, "index.m3u8", playlist(0..=seq)).await;
    }
    let get = |base: String| async move {
        let response =
            soon(crate::harness::http().get(format!("{base}/live/cam/index.m3u8")).send())
                .await
                .unwrap();
        response.text().await.unwrap()
    };
    let before = get(base).await;
    // An upload that no playlist has named is lost with the process, and sent again.
    soon(child.kill()).await.unwrap();
    let (_child, base) = program(directory.path()).await;
    assert_eq!(get(base.clone()).await, before);
    put(&base, "index4.ts", "segment 4").await;
    put(&base, "index.m3u8", playlist(0..=4)).await;
    let after = get(base).await;
    assert_eq!(after, before + "#EXTINF:2.000000,\n0-1-4.ts\n");
}

#[tokio::test]
async fn a_data_directory_has_one_server() {
    let fixture = Fixture::new().await;
    let config = crate::harness::config(&fixture.directory, "");
    let error = shoal_server::Server::start(&config).await.unwrap_err().to_string();
    assert!(error.contains("--data-dir"), "{error}");
}
