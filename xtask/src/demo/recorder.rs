//! One viewer's recorder: an HTTP forwarder between agent and player that hashes what the player
//! receives.
//!
//! Rule: it is a process of its own and shares no code with the agent. Bytes pass the moment they
//! come, requests one to one. What it saw goes to its standard output, one JSON object per line;
//! it ends when its standard input does. It also fetches the agent's status, because it lives in
//! the viewer's network namespace and the demo does not.

use super::http::{self, Framing, Head};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Where to forward to.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The agent's address.
    #[arg(long)]
    upstream: String,
}

/// How often the running totals are said if they have changed: often enough that a sample of them
/// misses no more than a few packets.
const TALLY_EVERY: Duration = Duration::from_millis(20);

/// How often the agent is asked for its status.
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// Runs one recorder until its standard input ends.
pub(crate) fn run(args: &Args) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(args))?;
    // A read of standard input cannot be cancelled; do not wait for it.
    runtime.shutdown_background();
    Ok(())
}

async fn serve(args: &Args) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("recorder cannot listen")?;
    say(&json!({"type": "ready", "listen": listener.local_addr()?.to_string()}));
    let shared = Arc::new(Shared { upstream: args.upstream.clone(), ..Shared::default() });
    tokio::select! {
        result = accept(listener, &shared) => result,
        () = tally(&shared) => Ok(()),
        () = ask_agent(&shared) => Ok(()),
        () = end_of_input() => Ok(()),
    }
}

async fn end_of_input() {
    let mut buffer = [0; 64];
    let mut input = tokio::io::stdin();
    while input.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
}

#[derive(Default)]
struct Shared {
    upstream: String,
    media_bytes: AtomicU64,
    other_bytes: AtomicU64,
}

async fn accept(listener: TcpListener, shared: &Arc<Shared>) -> Result<()> {
    loop {
        let (client, _) = listener.accept().await?;
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            // A player may drop its connection at any time; that is no fault to report.
            let _ = serve_client(client, &shared).await;
        });
    }
}

async fn tally(shared: &Shared) {
    let mut ticks = tokio::time::interval(TALLY_EVERY);
    let mut said = (u64::MAX, u64::MAX);
    loop {
        ticks.tick().await;
        let media_bytes = shared.media_bytes.load(Ordering::Relaxed);
        let other_bytes = shared.other_bytes.load(Ordering::Relaxed);
        if said != (media_bytes, other_bytes) {
            said = (media_bytes, other_bytes);
            say(&json!({"type": "tally", "media_bytes": media_bytes, "other_bytes": other_bytes}));
        }
    }
}

async fn ask_agent(shared: &Shared) {
    let mut ticks = tokio::time::interval(STATUS_EVERY);
    let url = format!("http://{}/status", shared.upstream);
    loop {
        ticks.tick().await;
        if let Ok(status) = agent_status(&url).await {
            say(&json!({"type": "agent", "status": status}));
        }
    }
}

async fn agent_status(url: &str) -> Result<Value> {
    let text = http::fetch(url, Duration::from_secs(2)).await?.into_text()?;
    Ok(serde_json::from_str(&text)?)
}

type Connection = BufReader<TcpStream>;

fn buffered(stream: TcpStream) -> io::Result<Connection> {
    stream.set_nodelay(true)?;
    Ok(BufReader::with_capacity(64 * 1024, stream))
}

/// Serves the requests of one connection of the player, one upstream connection behind it.
async fn serve_client(client: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut client = buffered(client)?;
    let mut upstream: Option<Connection> = None;
    while let Some(mut request) = http::read_head(&mut client).await? {
        for (name, value) in &mut request.headers {
            if name.eq_ignore_ascii_case("host") {
                value.clone_from(&shared.upstream);
            }
        }
        let Some((mut connection, response)) =
            ask(&mut client, &request, upstream.take(), shared).await?
        else {
            return Ok(());
        };
        let complete = answer(&mut client, &mut connection, &request, &response, shared).await?;
        if !complete || request.closes() || response.closes() {
            return Ok(());
        }
        upstream = Some(connection);
    }
    Ok(())
}

/// Sends the request upstream and waits for the response's head; none if the player went away
/// meanwhile (the upstream connection is dropped then, as the player's was).
async fn ask(
    client: &mut Connection,
    request: &Head,
    reused: Option<Connection>,
    shared: &Shared,
) -> io::Result<Option<(Connection, Head)>> {
    let framing = request.request_framing(Framing::Length(0));
    // A kept connection may have been closed by the other end just now: then a new one is due,
    // which is safe as long as the request has no body.
    let mut attempts = usize::from(reused.is_some() && framing == Framing::Length(0));
    let mut reused = reused;
    loop {
        let mut connection = match reused.take() {
            Some(connection) => connection,
            None => buffered(TcpStream::connect(&shared.upstream).await?)?,
        };
        let sent = connection.write_all(&request.encode()).await;
        if sent.is_ok() {
            http::relay_body(client, &mut connection, framing, |_| {}).await?;
        }
        let response = tokio::select! {
            response = http::read_head(&mut connection) => response,
            () = gone(client) => return Ok(None),
        };
        match response {
            Ok(Some(head)) => return Ok(Some((connection, head))),
            Ok(None) | Err(_) if attempts > 0 => attempts -= 1,
            Ok(None) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) => return Err(error),
        }
    }
}

/// Ends when the player has closed its connection; never if it has sent its next request already.
async fn gone(client: &mut Connection) {
    match client.fill_buf().await {
        Ok(bytes) if !bytes.is_empty() => std::future::pending().await,
        Ok(_) | Err(_) => {}
    }
}

/// Passes the response on and reports what the player got of it.
async fn answer(
    client: &mut Connection,
    upstream: &mut Connection,
    request: &Head,
    response: &Head,
    shared: &Shared,
) -> io::Result<bool> {
    let method = request.word(0).unwrap_or_default();
    let name = media_name(request.word(1).unwrap_or_default());
    let framing = response.response_framing(method);
    let is_media = name.is_some() && matches!(response.status(), 200 | 206);
    let total = if is_media { &shared.media_bytes } else { &shared.other_bytes };
    let mut hasher = blake3::Hasher::new();
    let mut bytes = 0u64;
    client.write_all(&response.encode()).await?;
    let result = http::relay_body(upstream, client, framing, |piece| {
        if is_media {
            hasher.update(piece);
        }
        bytes += piece.len() as u64;
        total.fetch_add(piece.len() as u64, Ordering::Relaxed);
    })
    .await;
    let is_body = method == "GET" && framing != Framing::Length(0);
    if let (Some(name), true) = (name, is_body) {
        say(&json!({
            "type": "body",
            "name": name,
            "status": response.status(),
            "offset": offset(response),
            "bytes": bytes,
            // An upstream that ends early is the agent's fault, a player that leaves its own.
            "end": match &result { Ok(true) => "complete", Ok(false) => "cut", Err(_) => "left" },
            "hash": hasher.finalize().to_hex().to_string(),
        }));
    }
    result
}

/// First byte's place in the object: from Content-Range, or 0.
fn offset(response: &Head) -> u64 {
    let range = response.header("content-range").and_then(|range| range.strip_prefix("bytes "));
    range.and_then(|range| range.split('-').next()?.parse().ok()).unwrap_or(0)
}

/// The file name that a URL ends in, if it is not a playlist's.
fn media_name(target: &str) -> Option<&str> {
    let path = target.split(['?', '#']).next()?;
    let name = path.rsplit('/').next()?;
    let (stem, extension) = name.split_once('.')?;
    (!stem.is_empty() && extension != "m3u8").then_some(name)
}

/// One line on standard output; standard output's lock keeps lines whole.
fn say(line: &Value) {
    use std::io::Write;
    let mut out = io::stdout().lock();
    // If nobody reads any more, standard input ends as well.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
