//! Ten thousand sockets that say nothing, and a viewer who does no wrong.
//!
//! Rule: they are real, and the server is a process of its own: it has files for all of them, or
//! the test fails and says which limit is too low.

use crate::harness::{
    SECRET, claims, http, http_builder, playlist, put, read_to_end, sign, soon, spawn, unix_s,
    until, uris, value,
};
use crate::tracker::Viewer;
use futures_util::{StreamExt, stream};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Sockets over which nothing is ever sent.
const SILENT: usize = 9_000;
/// WebSockets over which no hello is sent; the server lets fewer of them wait.
const UNJOINED: usize = 1_000;
const UNJOINED_MAX: usize = 600;
/// Connections that are begun at once, and not more before the server has taken them: where its queue
/// is full, the next ones wait for a second or more, and so would a viewer.
const AT_ONCE: usize = 1_000;
/// Files of either process: the sockets, and room.
const FILES: u64 = (SILENT + UNJOINED) as u64 + 1_000;
/// Until then nothing may be sent; all of them are there before.
const PATIENCE_MS: u64 = 12_000;
/// A viewer among ten thousand others gets each answer within this time.
const DELAY: Duration = Duration::from_secs(2);

/// Lets this process, and the one that it will start, have so many files.
fn allow_files() {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert!(
        hard >= FILES,
        "this test needs {FILES} open files, and the hard limit is {hard}: raise it (`ulimit -Hn`)"
    );
    if soft < FILES {
        setrlimit(Resource::RLIMIT_NOFILE, FILES, hard).unwrap();
    }
}

/// Connects, and sends `head`.
async fn socket(to: SocketAddr, head: &str) -> TcpStream {
    let connected = soon(TcpStream::connect(to)).await;
    let mut socket = connected.unwrap_or_else(|error| {
        panic!("one of {} connections: {error} (ip_local_port_range?)", SILENT + UNJOINED)
    });
    soon(socket.write_all(head.as_bytes())).await.unwrap();
    socket
}

async fn sockets(count: usize, to: SocketAddr, head: &str) -> Vec<TcpStream> {
    let each = (0..count).map(|_| socket(to, head));
    stream::iter(each).buffered(AT_ONCE).collect().await
}

/// What `what` gives, and that it took no longer than it may.
async fn at_once<T>(name: &str, what: impl Future<Output = T>) -> T {
    let started = Instant::now();
    let found = soon(what).await;
    assert!(started.elapsed() < DELAY, "{name} took {:?}", started.elapsed());
    found
}

fn refused(reason: &str) -> String {
    format!("shoal_refused_total{{reason=\"{reason}\"}}")
}

/// The program with few places for who says nothing: where it serves, and how to ask for a figure.
async fn server(
    directory: &std::path::Path,
) -> (tokio::process::Child, SocketAddr, impl AsyncFn(&str) -> f64) {
    let [patience, unjoined] = [PATIENCE_MS.to_string(), UNJOINED_MAX.to_string()];
    let (child, ports) = spawn(
        directory,
        &[
            ["--admin-listen", "127.0.0.1:0"],
            ["--auth-secret", SECRET],
            ["--head-timeout-ms", &patience],
            ["--hello-timeout-ms", &patience],
            ["--unjoined-max", &unjoined],
            ["--joins-per-minute-max", "1000000"],
            ["--joins-per-address-max", "1000000"],
        ]
        .concat(),
    )
    .await;
    let address = |name: &str| ports[name].as_str().unwrap().to_owned();
    let url = format!("http://{}/metrics", address("admin_listen"));
    // A client that keeps connections may begin one that it then has no use for: one more that is
    // silent.
    let client = http_builder().pool_max_idle_per_host(0).build().unwrap();
    let metric = async move |name: &str| {
        let answer = soon(client.get(&url).send()).await.unwrap();
        value(&soon(answer.text()).await.unwrap(), name)
    };
    (child, address("listen").parse().unwrap(), metric)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_sockets_harm_nobody() {
    allow_files();
    let directory = tempfile::tempdir().unwrap();
    let (mut child, listen, metric) = server(directory.path()).await;
    let base = format!("http://{listen}");
    put(&base, "index0.ts", vec![7; 100_000]).await;
    put(&base, "index.m3u8", playlist(0..=0)).await;
    let (mut here, ..) = Viewer::join_at(listen, "cam").await;

    let begun = unix_s();
    let open = "shoal_connections{listener=\"public\"}";
    let mut silent = Vec::new();
    while silent.len() < SILENT {
        silent.extend(sockets(AT_ONCE, listen, "").await);
        let all = silent.len() as f64;
        until(|| async { (metric(open).await >= all).then_some(()) }).await;
    }
    let token = sign(&claims("cam", "idle"), SECRET);
    let head = format!(
        "GET /live/cam/tracker?token={token} HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\n\
         upgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let mut unjoined = sockets(UNJOINED, listen, &head).await;
    let sent_away = refused("session_unjoined");
    let too_many = (UNJOINED - UNJOINED_MAX) as f64;
    until(|| async { (metric(&sent_away).await >= too_many).then_some(()) }).await;

    let (mut viewer, ..) = at_once("a join", Viewer::join_at(listen, "cam")).await;
    let get = async |path: &str| {
        let answer = http().get(format!("{base}/live/cam/{path}")).send().await.unwrap();
        answer.bytes().await.unwrap()
    };
    let text = at_once("a playlist", get("index.m3u8")).await;
    let segment = uris(std::str::from_utf8(&text).unwrap())[0].to_owned();
    assert_eq!(at_once("a segment", get(&segment)).await.len(), 100_000);
    // All of that was among them.
    let there = metric(open).await;
    assert!(there >= (SILENT + UNJOINED_MAX) as f64, "{there} after {} s", unix_s() - begun);

    // Some gave way; the others, and who sent nothing, are ended in time. Each is told why.
    let mut told = [0_usize; 2];
    for socket in &mut unjoined {
        let text = String::from_utf8_lossy(&read_to_end(socket).await).into_owned();
        told[0] += usize::from(text.contains("unjoined_max"));
        told[1] += usize::from(text.contains("no hello came in time"));
    }
    assert_eq!(told.iter().sum::<usize>(), UNJOINED, "{told:?}");
    assert!(told[0] >= UNJOINED - UNJOINED_MAX, "{told:?}");
    let (slow_head, late) = (refused("slow_head"), refused("session_message"));
    until(|| async { (metric(&slow_head).await >= SILENT as f64).then_some(()) }).await;
    let unjoined_ended = async || metric(&late).await + metric(&sent_away).await;
    until(|| async { (unjoined_ended().await >= UNJOINED as f64).then_some(()) }).await;
    until(|| async { (metric(open).await < 10.0).then_some(()) }).await;
    assert_eq!(metric(&slow_head).await, SILENT as f64, "each is counted once");
    assert_eq!(unjoined_ended().await, UNJOINED as f64, "each is counted once");

    // The viewers of before and of then are still there, and so is the server.
    here.greet("cam").await;
    viewer.greet("cam").await;
    for mut joined in [here, viewer] {
        let code = shoal_wire::tracker_message::RefuseCode::BadMessage;
        joined.is_refused(code, "once").await;
    }
    assert!(child.try_wait().unwrap().is_none());
    drop((silent, unjoined));
}
