//! The WebSocket to the tracker: connects, reconnects, and carries messages.
//!
//! Rule: a session begins with [`SocketEvent::Connected`] and ends with [`SocketEvent::Lost`], and
//! what was meant for one session never goes out in the next. It reads messages only to know when
//! it is asked to come back later.

use crate::random;
use crate::tls::Tls;
use crate::token::Tokens;
use futures_util::{SinkExt, StreamExt};
use shoal_wire::tracker_message::{RefuseCode, SERVER_MESSAGE_BYTES_MAX};
use shoal_wire::{ClientMessage, ServerMessage};
use std::net::IpAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use url::Url;

/// TCP, TLS and the upgrade together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// First wait before a new attempt; it doubles.
const BACK_OFF_MIN: Duration = Duration::from_millis(200);
/// Longest wait: a server that restarts is found again within it.
const BACK_OFF_MAX: Duration = Duration::from_secs(5);
/// Wait after an answer that will not change soon: another protocol, an unknown stream.
const REFUSED_WAIT: Duration = Duration::from_secs(60);
/// Whether there is another token is looked at this often.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// Silence after which the server is asked for a sign of life; half of what proxies allow.
const PING_AFTER: Duration = Duration::from_secs(15);
/// Our messages are a few hundred bytes; the library's default is 128 KiB per socket.
const BUFFER_BYTES: usize = 4 * 1024;
/// Most bytes that wait for a socket that does not drain.
const WRITE_BYTES_MAX: usize = 256 * 1024;
/// Messages on their way out; a report every few seconds and a few signals.
const OUT_MAX: usize = 128;

/// TCP, with TLS or without.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

type Socket = WebSocketStream<Box<dyn Stream>>;

/// News of the session.
#[derive(Debug)]
pub(crate) enum SocketEvent {
    /// A session stands; a hello is due.
    Connected {
        /// What is to be sent; dropping it ends the session after what was queued.
        out: mpsc::Sender<ClientMessage>,
        /// This machine's address on the way to the server.
        local: IpAddr,
    },
    /// The server says something.
    Message(Box<ServerMessage>),
    /// The session ended, or could not be made.
    Lost,
}

/// Why a session ended.
enum End {
    /// Nobody listens any more.
    Left,
    /// One side hung up, or the network failed.
    Lost,
    /// Come back after this time.
    Told(Duration),
    /// The token is not good enough.
    Refused,
}

/// The way to the tracker, as it is now.
pub(crate) struct Way {
    /// Its URL; a newer one brings a newer token.
    pub(crate) tracker: watch::Receiver<Url>,
    /// The viewer's own, for a URL that brings none.
    pub(crate) tokens: Tokens,
    pub(crate) tls: Tls,
}

impl Way {
    fn url(&self) -> Url {
        self.tokens.shown_at(&self.tracker.borrow())
    }

    /// Waits until there is a URL other than the one that was refused, which may be let in, but not
    /// for ever.
    async fn another_than(&self, refused: &Url) {
        let end = Instant::now() + random::jittered(REFUSED_WAIT);
        while Instant::now() < end && self.url() == *refused {
            sleep(LOOK_AGAIN).await;
        }
    }
}

/// Keeps a session with the tracker until nobody listens to `events` any more.
pub(crate) async fn run(way: Way, events: mpsc::Sender<SocketEvent>) {
    let mut back_off = BACK_OFF_MIN;
    let mut told = String::new();
    loop {
        let url = way.url();
        let end = match timeout(CONNECT_TIMEOUT, connect(&url, &way.tls)).await {
            Ok(Ok((socket, local))) => {
                back_off = BACK_OFF_MIN;
                told.clear();
                session(socket, local, &events).await
            }
            Ok(Err(tungstenite::Error::Http(answer))) if is_final(answer.status().as_u16()) => {
                let body = answer.into_body().unwrap_or_default();
                let reason = String::from_utf8_lossy(&body).trim().to_owned();
                if told != reason {
                    tracing::warn!(
                        reason,
                        "the tracker does not let this viewer in; all comes from the origin until \
                         there is a token that holds"
                    );
                    told = reason;
                }
                End::Refused
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "no session with the tracker");
                End::Lost
            }
            Err(_) => End::Lost,
        };
        if matches!(end, End::Left) || events.send(SocketEvent::Lost).await.is_err() {
            return;
        }
        match end {
            End::Told(after) => sleep(random::jittered(after)).await,
            End::Lost | End::Refused | End::Left => {
                sleep(random::jittered(back_off)).await;
                let most = if matches!(end, End::Refused) { REFUSED_WAIT } else { BACK_OFF_MAX };
                back_off = (back_off * 2).min(most);
            }
        }
        if matches!(end, End::Refused) {
            way.another_than(&url).await;
        }
    }
}

/// Whether an answer to an upgrade will be the same soon: the token or the viewer is not wanted.
fn is_final(status: u16) -> bool {
    matches!(status, 401 | 403)
}

/// A session's socket, and this machine's address on the way.
async fn connect(url: &Url, tls: &Tls) -> Result<(Socket, IpAddr), tungstenite::Error> {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let port = url.port_or_known_default().unwrap_or(80);
    let tcp = TcpStream::connect((host, port)).await?;
    tcp.set_nodelay(true)?;
    let local = tcp.local_addr()?.ip();
    let stream: Box<dyn Stream> =
        if url.scheme() == "wss" { Box::new(tls.connect(host, tcp).await?) } else { Box::new(tcp) };
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BYTES_MAX)
        .max_message_size(Some(SERVER_MESSAGE_BYTES_MAX))
        .max_frame_size(Some(SERVER_MESSAGE_BYTES_MAX));
    let (socket, _) = client_async_with_config(url.as_str(), stream, Some(config)).await?;
    Ok((socket, local))
}

async fn session(mut socket: Socket, local: IpAddr, events: &mpsc::Sender<SocketEvent>) -> End {
    let (out, mut outgoing) = mpsc::channel(OUT_MAX);
    if events.send(SocketEvent::Connected { out, local }).await.is_err() {
        return End::Left;
    }
    let mut heard_at = Instant::now();
    let mut pinged = false;
    loop {
        let silent_at = heard_at + if pinged { PING_AFTER * 2 } else { PING_AFTER };
        tokio::select! {
            message = outgoing.recv() => {
                let Some(message) = message else {
                    // The server may be gone already.
                    let _ = timeout(CONNECT_TIMEOUT, socket.close(None)).await;
                    return End::Lost;
                };
                if socket.send(Message::text(message.to_json())).await.is_err() {
                    return End::Lost;
                }
            }
            frame = socket.next() => {
                let Some(Ok(frame)) = frame else { return End::Lost };
                (heard_at, pinged) = (Instant::now(), false);
                if let Some(end) = take_frame(frame, events).await {
                    return end;
                }
            }
            () = sleep_until(silent_at) => {
                if pinged || socket.send(Message::Ping(bytes::Bytes::new())).await.is_err() {
                    return End::Lost;
                }
                pinged = true;
            }
        }
    }
}

/// Passes a frame on; some end if it ends the session.
async fn take_frame(frame: Message, events: &mpsc::Sender<SocketEvent>) -> Option<End> {
    let message = match frame {
        Message::Text(text) => ServerMessage::from_text(&text),
        Message::Binary(digest) => ServerMessage::from_binary(digest),
        Message::Close(_) => return Some(End::Lost),
        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => return None,
    };
    let message = match message {
        Ok(message) => message,
        Err(error) => {
            tracing::warn!(%error, "the tracker's message is not understood");
            return None;
        }
    };
    let end = match &message {
        ServerMessage::Reconnect { after_ms } => {
            Some(End::Told(Duration::from_millis((*after_ms).into())))
        }
        ServerMessage::Refuse { code, message } => {
            tracing::warn!(?code, reason = message, "the tracker ended the session");
            Some(match code {
                RefuseCode::Protocol | RefuseCode::UnknownStream | RefuseCode::Removed => {
                    End::Told(REFUSED_WAIT)
                }
                RefuseCode::BadMessage | RefuseCode::Limit | RefuseCode::Shutdown => End::Lost,
            })
        }
        ServerMessage::Welcome { .. }
        | ServerMessage::IceServers { .. }
        | ServerMessage::Renditions { .. }
        | ServerMessage::Introduce { .. }
        | ServerMessage::Signal { .. }
        | ServerMessage::Plan { .. }
        | ServerMessage::Digest { .. }
        | ServerMessage::Disconnect { .. }
        | ServerMessage::Peers { .. }
        | ServerMessage::Trace { .. }
        | ServerMessage::Sources { .. }
        | ServerMessage::OriginTiming { .. } => None,
    };
    if events.send(SocketEvent::Message(Box::new(message))).await.is_err() {
        return Some(End::Left);
    }
    end
}
