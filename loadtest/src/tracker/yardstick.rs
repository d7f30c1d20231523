//! Beside it: idle peers on bittorrent-tracker, whose WebSocket tracker WebTorrent and its like use.
//!
//! Rule: the same machine, the same run, the same way to read memory and processor time. It plans
//! nothing, so what a peer costs there is what any WebSocket with a few fields costs in Node.js.

use crate::host::{cores, usage_of};
use crate::outcome::{Outcome, Table};
use crate::samples::slope;
use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt, stream};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

const LEVELS: usize = 4;
/// Time without work at each level, so that what was collected is given back.
const SETTLE: Duration = Duration::from_secs(5);
/// Requests under way at once.
const AT_ONCE: usize = 64;
/// Announces of each peer while processor time is counted.
const ROUNDS: usize = 3;
const ANSWER_MAX: Duration = Duration::from_secs(20);
const INSTALL_MAX: Duration = Duration::from_secs(180);
const BUFFER_BYTES: usize = 4096;

type Peer = WebSocketStream<TcpStream>;

/// Runs it and adds its figures.
///
/// # Errors
/// If Node.js or the package is not to be had.
pub(super) async fn add(peers: u32, outcome: &mut Outcome) -> Result<()> {
    let (mut child, address) = start().await.context("the yardstick")?;
    let measured = measure(peers as usize, &child, address).await;
    // It may have ended by itself.
    let _ = child.kill().await;
    let (levels, announces_per_cpu_s) = measured.context("the yardstick")?;
    outcome.add("yardstick_bytes_per_peer", slope(&levels));
    outcome.add("yardstick_announces_per_cpu_s", announces_per_cpu_s);
    outcome.conditions.push(format!(
        "Yardstick: bittorrent-tracker on Node.js, {peers} idle peers of one swarm over WebSockets, \
         after the server had ended; {} cores.",
        cores()
    ));
    outcome.tables.push(Table {
        title: "yardstick",
        header: vec!["peers".to_owned(), "rss_mib".to_owned()],
        names: Vec::new(),
        rows: levels.iter().map(|(peers, rss)| vec![*peers, rss / 1024.0 / 1024.0]).collect(),
    });
    Ok(())
}

async fn start() -> Result<(Child, SocketAddr)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("yardstick");
    install(&folder).await?;
    let mut child = Command::new("node")
        .arg("tracker.mjs")
        .current_dir(&folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .context("cannot start node")?;
    let output = child.stdout.take().context("node has no output")?;
    let mut lines = BufReader::new(output).lines();
    let line = timeout(ANSWER_MAX, lines.next_line()).await.context("node says nothing")??;
    let port = line.context("node ended")?.trim().parse::<u16>().context("no port")?;
    Ok((child, SocketAddr::from((Ipv4Addr::LOCALHOST, port))))
}

/// The package as the lock file has it, if it is not there yet.
async fn install(folder: &Path) -> Result<()> {
    if folder.join("node_modules/bittorrent-tracker").is_dir() {
        return Ok(());
    }
    eprintln!("installing bittorrent-tracker from {}", folder.join("package-lock.json").display());
    let npm = Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"])
        .current_dir(folder)
        .kill_on_drop(true)
        .status();
    let status = timeout(INSTALL_MAX, npm).await.context("npm takes too long")?;
    if !status.context("cannot start npm")?.success() {
        bail!("npm ci failed in {}", folder.display());
    }
    Ok(())
}

/// Resident bytes by peers, and announces per second of processor time.
async fn measure(
    count: usize,
    child: &Child,
    address: SocketAddr,
) -> Result<(Vec<(f64, f64)>, f64)> {
    let usage = || {
        let usage = child.id().and_then(usage_of);
        usage.context("node's memory and processor time cannot be read")
    };
    let (mut peers, mut levels) = (Vec::with_capacity(count), Vec::new());
    for level in 1..=LEVELS {
        let target = count * level / LEVELS;
        eprintln!("yardstick: {target} peers");
        let new: Vec<_> = stream::iter(peers.len()..target)
            .map(|number| join(address, number))
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        for peer in new {
            peers.push(peer?);
        }
        sleep(SETTLE).await;
        levels.push((target as f64, usage()?.rss_bytes));
    }
    let before = usage()?.cpu_s;
    for _ in 0..ROUNDS {
        let answers = peers.iter_mut().enumerate().map(|(number, peer)| announce(peer, number, ""));
        let answers: Vec<_> = stream::iter(answers).buffer_unordered(AT_ONCE).collect().await;
        answers.into_iter().collect::<Result<Vec<()>>>()?;
    }
    Ok((levels, (count * ROUNDS) as f64 / (usage()?.cpu_s - before)))
}

async fn join(address: SocketAddr, number: usize) -> Result<Peer> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut config = WebSocketConfig::default();
    config.read_buffer_size = BUFFER_BYTES;
    let url = format!("ws://{address}/");
    let (mut peer, _) = client_async_with_config(url, stream, Some(config)).await?;
    announce(&mut peer, number, "\"event\":\"started\",").await?;
    Ok(peer)
}

/// One announce without offers, and its answer.
async fn announce(peer: &mut Peer, number: usize, event: &str) -> Result<()> {
    let text = format!(
        "{{\"action\":\"announce\",\"info_hash\":\"shoal-loadtest-swarm\",\
         \"peer_id\":\"-SH0001-{number:012}\",{event}\"numwant\":0,\"uploaded\":0,\
         \"downloaded\":0,\"left\":1,\"offers\":[]}}"
    );
    peer.send(Message::text(text)).await?;
    let answer = timeout(ANSWER_MAX, peer.next()).await.context("no answer to an announce")?;
    let answer = answer.context("the tracker hung up")??;
    if !answer.to_text().is_ok_and(|text| text.contains("interval")) {
        bail!("the tracker answered {answer}");
    }
    Ok(())
}
