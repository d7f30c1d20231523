//! An HTTP forwarder between a player and what serves it: bytes pass the moment they come, requests
//! one to one, and a [`Watch`] sees what the player receives.
//!
//! Rule: it shares no code with what it watches, and changes nothing but the `Host` header.

use super::http::{self, Framing, Head};
use std::io;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Who wants to know what passes.
pub(crate) trait Watch {
    /// So many bytes of a body have passed; `is_media` if they are counted as a body of one.
    fn passed(&self, is_media: bool, bytes: u64);

    /// The body of an answer to a GET has passed, or as much of it as the player took.
    fn body(&self, body: Body);
}

/// A body that passed.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    /// The request's target.
    pub(crate) target: String,
    /// Its `Range` header.
    pub(crate) range: Option<String>,
    /// Status of the answer.
    pub(crate) status: u16,
    /// First byte's place in the object: from `Content-Range`, or 0.
    pub(crate) offset: u64,
    /// Bytes that passed.
    pub(crate) bytes: u64,
    /// How it ended.
    pub(crate) end: End,
    /// Hash of what passed.
    pub(crate) hash: blake3::Hash,
}

/// How a body ended. An upstream that ends early is its own fault, a player that leaves its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// As its head said.
    Complete,
    /// Upstream ended too early.
    Cut,
    /// The player left.
    Left,
}

type Connection = BufReader<TcpStream>;

fn buffered(stream: TcpStream) -> io::Result<Connection> {
    stream.set_nodelay(true)?;
    Ok(BufReader::with_capacity(64 * 1024, stream))
}

/// Serves the requests of one connection of the player, one connection to `upstream` behind it.
pub(crate) async fn serve_client<W: Watch>(
    client: TcpStream,
    upstream: &str,
    watch: &W,
) -> io::Result<()> {
    let mut client = buffered(client)?;
    let mut kept: Option<Connection> = None;
    while let Some(mut request) = http::read_head(&mut client).await? {
        for (name, value) in &mut request.headers {
            if name.eq_ignore_ascii_case("host") {
                upstream.clone_into(value);
            }
        }
        let Some((mut connection, response)) =
            ask(&mut client, &request, kept.take(), upstream).await?
        else {
            return Ok(());
        };
        let complete = answer(&mut client, &mut connection, &request, &response, watch).await?;
        if !complete || request.closes() || response.closes() {
            return Ok(());
        }
        kept = Some(connection);
    }
    Ok(())
}

/// Sends the request upstream and waits for the response's head; none if the player went away
/// meanwhile (the upstream connection is dropped then, as the player's was).
async fn ask(
    client: &mut Connection,
    request: &Head,
    reused: Option<Connection>,
    upstream: &str,
) -> io::Result<Option<(Connection, Head)>> {
    let framing = request.request_framing(Framing::Length(0));
    // A kept connection may have been closed by the other end just now: then a new one is due,
    // which is safe as long as the request has no body.
    let mut attempts = usize::from(reused.is_some() && framing == Framing::Length(0));
    let mut reused = reused;
    loop {
        let mut connection = match reused.take() {
            Some(connection) => connection,
            None => buffered(TcpStream::connect(upstream).await?)?,
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
async fn answer<W: Watch>(
    client: &mut Connection,
    upstream: &mut Connection,
    request: &Head,
    response: &Head,
    watch: &W,
) -> io::Result<bool> {
    let method = request.word(0).unwrap_or_default();
    let target = request.word(1).unwrap_or_default();
    let framing = response.response_framing(method);
    let is_media = media_name(target).is_some() && matches!(response.status(), 200 | 206);
    let mut hasher = blake3::Hasher::new();
    let mut bytes = 0u64;
    client.write_all(&response.encode()).await?;
    let result = http::relay_body(upstream, client, framing, |piece| {
        hasher.update(piece);
        bytes += piece.len() as u64;
        watch.passed(is_media, piece.len() as u64);
    })
    .await;
    if method == "GET" && framing != Framing::Length(0) {
        watch.body(Body {
            target: target.to_owned(),
            range: request.header("range").map(str::to_owned),
            status: response.status(),
            offset: offset(response),
            bytes,
            end: match &result {
                Ok(true) => End::Complete,
                Ok(false) => End::Cut,
                Err(_) => End::Left,
            },
            hash: hasher.finalize(),
        });
    }
    result
}

/// First byte's place in the object: from Content-Range, or 0.
pub(crate) fn offset(response: &Head) -> u64 {
    let range = response.header("content-range").and_then(|range| range.strip_prefix("bytes "));
    range.and_then(|range| range.split('-').next()?.parse().ok()).unwrap_or(0)
}

/// The file name that a URL ends in, if it is not a playlist's.
pub(crate) fn media_name(target: &str) -> Option<&str> {
    let path = target.split(['?', '#']).next()?;
    let name = path.rsplit('/').next()?;
    let (stem, extension) = name.split_once('.')?;
    (!stem.is_empty() && extension != "m3u8").then_some(name)
}
