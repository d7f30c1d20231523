//! Upstream mode before the real nginx, whose secure_link lets viewers in to what ffmpeg wrote.

use crate::harness::{SECRET, soon, until, uris};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use shoal_server::Server;
use shoal_server::config::Config;
use shoal_wire::SignedDigest;
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

/// Eleven seconds into segments of two; the playlist stays open.
const FFMPEG: &str = "-nostdin -v error -f lavfi -i testsrc2=size=160x120:rate=10 -t 11 -c:v libx264 \
    -preset ultrafast -g 20 -sc_threshold 0 -f hls -hls_time 2 -hls_list_size 0 \
    -hls_flags omit_endlist index.m3u8";

async fn encode(folder: &Path) {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.current_dir(folder).args(FFMPEG.split_whitespace()).kill_on_drop(true);
    let status = tokio::time::timeout(std::time::Duration::from_secs(120), ffmpeg.status()).await;
    let status = status.expect("ffmpeg hangs").unwrap_or_else(|error| {
        panic!("cannot run ffmpeg ({error}); install it with: apt-get install -y ffmpeg")
    });
    assert!(status.success());
}

/// nginx before the files in `folder`; where it listens.
async fn nginx(folder: &Path) -> (Child, String) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (address, at) = (format!("127.0.0.1:{port}"), folder.display());
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {at}/nginx-{kind};\n"))
        .concat();
    let config = format!(
        r#"daemon off; master_process off; pid {at}/nginx.pid;
events {{ }}
http {{ {temporary} access_log off; types {{ application/vnd.apple.mpegurl m3u8; video/mp2t ts; }}
  server {{ listen {address};
    location ~ "^/v/(?<sig>[\w-]+)/(?<until>[0-9]+)/(?<file>[^/]+)$" {{
      secure_link $sig,$until; secure_link_md5 "$until secret";
      if ($secure_link = "") {{ return 403; }}
      if ($secure_link = "0") {{ return 410; }}
      alias {at}/$file; }} }} }}"#
    );
    std::fs::write(folder.join("nginx.conf"), config).unwrap();
    let mut command = Command::new("nginx");
    command
        .arg("-p")
        .arg(folder)
        .arg("-c")
        .arg(folder.join("nginx.conf"))
        .args(["-e", "error.log"]);
    let child = command.kill_on_drop(true).spawn().unwrap_or_else(|error| {
        panic!("cannot run nginx ({error}); install it with: apt-get install -y nginx")
    });
    until(|| async { tokio::net::TcpStream::connect(&address).await.ok() }).await;
    (child, address)
}

/// The folder that a token until `until` opens.
async fn folder_of(until: u64) -> String {
    let mut md5 = Command::new("md5sum");
    let mut md5 = md5.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    md5.stdin.take().unwrap().write_all(format!("{until} secret").as_bytes()).await.unwrap();
    let said = String::from_utf8(soon(md5.wait_with_output()).await.unwrap().stdout).unwrap();
    let byte = |i: usize| u8::from_str_radix(&said[2 * i..2 * i + 2], 16).unwrap();
    let hash: [u8; 16] = std::array::from_fn(byte);
    format!("v/{}/{until}", BASE64_URL_SAFE_NO_PAD.encode(hash))
}

#[tokio::test]
async fn viewers_with_secure_links_share_what_ffmpeg_wrote() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path();
    encode(folder).await;
    let (_nginx, address) = nginx(folder).await;
    let config = Config::from_toml(&format!(
        "server.listen = '127.0.0.1:0'\nserver.admin_listen = ''\nserver.data_dir = '{}'\n\
         auth.secret = '{SECRET}'\nupstream.urls = ['tv=http://{address}']",
        folder.join("data").display()
    ));
    let server = Server::start(&config.unwrap()).await.unwrap();
    let stream = format!("http://{}/live/tv", server.ports().listen);
    let client = crate::harness::http();
    let get = |url: String| async { soon(client.get(url).send()).await.unwrap() };

    let good = [folder_of(4_000_000_000).await, folder_of(4_000_000_001).await];
    let mut seen = Vec::new();
    for folder in &good {
        let shared = until(|| async {
            let text = get(format!("{stream}/{folder}/index.m3u8")).await.text().await.unwrap();
            let lines: Vec<_> = uris(&text).into_iter().map(str::to_owned).collect();
            lines.last()?.starts_with("0-1-5.ts?u=index5.ts").then_some(lines)
        });
        seen.push(shared.await.split_off(2));
    }
    assert_eq!(seen[0].len(), 4);
    assert_eq!(seen[0], seen[1], "both have the same objects");
    let written = std::fs::read(folder.join("index5.ts")).unwrap();
    // To nginx and back, with the second viewer's own token.
    let answer = get(format!("{stream}/{}/{}", good[1], seen[1][3])).await;
    let own = format!("http://{address}/{}/index5.ts", good[1]);
    assert_eq!((answer.status().as_u16(), answer.url().as_str()), (200, own.as_str()));
    assert_eq!(answer.bytes().await.unwrap(), written);
    let digest = get(format!("{stream}/{}/0-1-5.ts.digest?u=x", good[0])).await;
    let (_, _, key) = crate::tracker::Viewer::join_at(server.ports().listen, "tv").await;
    let digest = SignedDigest::decode(digest.bytes().await.unwrap(), &[key]).unwrap();
    assert_eq!(digest.byte_len as usize, written.len());
    assert!(digest.chunk_matches(0, &written[..written.len().min(digest.chunk_size as usize)]));

    let old = folder_of(1_500_000_000).await;
    let wrong = good[0].replace("4000000000", "4000000009");
    for (folder, status) in [(&old, 410), (&wrong, 403)] {
        for file in ["index.m3u8", "0-1-5.ts?u=index5.ts"] {
            assert_eq!(get(format!("{stream}/{folder}/{file}")).await.status(), status, "{file}");
        }
    }
}
