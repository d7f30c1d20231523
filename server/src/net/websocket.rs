//! The server's end of a WebSocket (RFC 6455): for many sessions with few messages.
//!
//! Rule: an idle one holds no buffer. What comes is read into a buffer that the thread has, and kept
//! only while it is no whole message; what goes is put together, written and let go. It knows no
//! extension and asks for none.

use axum::extract::FromRequestParts;
use axum::extract::ws::{Message, Utf8Bytes};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use sha1::{Digest, Sha1};
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most bytes that are read at once: a report of a viewer with 32 neighbours, and room.
const READ_BYTES: usize = 8 * 1024;
/// What waits to be written is written once it is so much.
const WRITE_BYTES: usize = 16 * 1024;
/// Longest payload of a control frame (RFC 6455, 5.5).
const CONTROL_BYTES_MAX: usize = 125;

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// Why a WebSocket cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// The connection failed: there is nobody to tell.
    #[error("{0}")]
    Lost(#[from] io::Error),
    /// The other end broke a rule, and may be told which.
    #[error("{0}")]
    Rule(&'static str),
}

/// A request that asks for a WebSocket.
#[derive(Debug)]
pub(crate) struct Upgrade {
    on: OnUpgrade,
    accept: HeaderValue,
}

impl<S: Sync> FromRequestParts<S> for Upgrade {
    type Rejection = (StatusCode, [(HeaderName, &'static str); 2], &'static str);

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let refuse = |status, sentence| {
            let said = [(header::SEC_WEBSOCKET_VERSION, "13"), (header::UPGRADE, "websocket")];
            (status, said, sentence)
        };
        let headers = &parts.headers;
        let asks = names(headers, &header::CONNECTION, "upgrade")
            && names(headers, &header::UPGRADE, "websocket");
        if !asks || parts.method != axum::http::Method::GET {
            return Err(refuse(StatusCode::UPGRADE_REQUIRED, "a WebSocket is wanted here\n"));
        }
        if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|it| it != "13") {
            return Err(refuse(StatusCode::BAD_REQUEST, "WebSockets are spoken in version 13\n"));
        }
        let key = headers.get(header::SEC_WEBSOCKET_KEY);
        let key = key.ok_or_else(|| refuse(StatusCode::BAD_REQUEST, "no Sec-WebSocket-Key\n"))?;
        let accept = accept(key.as_bytes());
        let on = parts.extensions.remove::<OnUpgrade>();
        let on = on.ok_or_else(|| {
            refuse(StatusCode::UPGRADE_REQUIRED, "this connection cannot become a WebSocket\n")
        })?;
        Ok(Self { on, accept })
    }
}

impl Upgrade {
    /// The answer; once it is sent, `serve` gets the WebSocket, on a task of its own. Messages of
    /// more than `message_bytes_max` break it.
    pub(crate) fn then<F, Fut>(self, message_bytes_max: usize, serve: F) -> Response
    where
        F: FnOnce(WebSocket) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let Self { on, accept } = self;
        tokio::spawn(async move {
            match on.await {
                Ok(upgraded) => {
                    serve(WebSocket::new(TokioIo::new(upgraded), message_bytes_max)).await;
                }
                Err(error) => tracing::trace!(%error, "no WebSocket came of a connection"),
            }
        });
        let headers = [
            (header::CONNECTION, HeaderValue::from_static("upgrade")),
            (header::UPGRADE, HeaderValue::from_static("websocket")),
            (header::SEC_WEBSOCKET_ACCEPT, accept),
        ];
        (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
    }
}

/// Whether a header that is a list has this word in it.
fn names(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let lists = headers.get_all(name).iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|one| one.trim().eq_ignore_ascii_case(word))
}

/// The answer to a key (RFC 6455, 4.2.2).
fn accept(key: &[u8]) -> HeaderValue {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let text = STANDARD.encode(hash.finalize());
    HeaderValue::try_from(text).expect("base64 is a header value")
}

/// An open WebSocket. What it is asked for can be given up at any time without harm.
#[derive(Debug)]
pub(crate) struct WebSocket<S = TokioIo<Upgraded>> {
    io: S,
    message_bytes_max: usize,
    /// What came and is no whole frame.
    partial: Vec<u8>,
    /// A message that comes in fragments: its opcode, and what came of it.
    fragments: Option<(u8, Vec<u8>)>,
    /// What is to be written, from `written` on.
    out: Vec<u8>,
    written: usize,
}

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    const fn new(io: S, message_bytes_max: usize) -> Self {
        Self {
            io,
            message_bytes_max,
            partial: Vec::new(),
            fragments: None,
            out: Vec::new(),
            written: 0,
        }
    }

    /// What comes next; none once the connection has ended. Pings are answered here.
    pub(crate) async fn recv(&mut self) -> Option<Result<Message, Broken>> {
        loop {
            match self.take() {
                Ok(None) => {}
                Ok(Some(message)) => return Some(Ok(message)),
                Err(broken) => return Some(Err(broken)),
            }
            match poll_fn(|cx| self.poll_fill(cx)).await {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => return Some(Err(error.into())),
            }
        }
    }

    /// Puts a message behind those that wait to be written; writes them if they are many.
    ///
    /// # Errors
    /// If the connection is lost.
    pub(crate) async fn feed(&mut self, message: Message) -> io::Result<()> {
        let (opcode, payload) = match &message {
            Message::Text(text) => (TEXT, text.as_bytes()),
            Message::Binary(bytes) => (BINARY, bytes.as_ref()),
            Message::Ping(bytes) => (PING, bytes.as_ref()),
            Message::Pong(bytes) => (PONG, bytes.as_ref()),
            Message::Close(_) => (CLOSE, &[][..]),
        };
        self.put(opcode, payload);
        if self.out.len() >= WRITE_BYTES { self.flush().await } else { Ok(()) }
    }

    /// Writes all that waits.
    ///
    /// # Errors
    /// If the connection is lost.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_drain(cx)).await?;
        poll_fn(|cx| Pin::new(&mut self.io).poll_flush(cx)).await
    }

    /// Puts a message behind those that wait, and writes them all.
    ///
    /// # Errors
    /// If the connection is lost.
    pub(crate) async fn send(&mut self, message: Message) -> io::Result<()> {
        self.feed(message).await?;
        self.flush().await
    }

    /// A frame of the server's: whole and not masked.
    fn put(&mut self, opcode: u8, payload: &[u8]) {
        self.out.reserve(payload.len() + 10);
        self.out.push(0x80 | opcode);
        match u16::try_from(payload.len()) {
            Ok(short @ 0..126) => self.out.push(short.to_be_bytes()[1]),
            Ok(len) => {
                self.out.push(126);
                self.out.extend(len.to_be_bytes());
            }
            Err(_) => {
                self.out.push(127);
                self.out.extend((payload.len() as u64).to_be_bytes());
            }
        }
        self.out.extend_from_slice(payload);
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.out.len() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.out[self.written..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += written;
        }
        (self.out, self.written) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }

    /// Reads more, and writes what waits (the answer to a ping) as far as it can be.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Err(error)) = self.poll_drain(cx) {
            return Poll::Ready(Err(error));
        }
        READ.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
            self.partial.extend_from_slice(buffer.filled());
            Poll::Ready(Ok(buffer.filled().len()))
        })
    }

    /// The next message of what has come, if it is whole.
    fn take(&mut self) -> Result<Option<Message>, Broken> {
        while let Some(frame) = Frame::parse(&self.partial, self.message_bytes_max)? {
            let mut payload = self.partial[frame.head..frame.end].to_vec();
            let masked = payload.iter_mut().zip(frame.mask.iter().cycle());
            masked.for_each(|(byte, mask)| *byte ^= mask);
            if frame.end == self.partial.len() {
                self.partial = Vec::new();
            } else {
                self.partial.drain(..frame.end);
            }
            if let Some(message) = self.message(frame.opcode, frame.is_last, payload)? {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// The message that a frame makes whole, if it does.
    fn message(
        &mut self,
        opcode: u8,
        is_last: bool,
        payload: Vec<u8>,
    ) -> Result<Option<Message>, Broken> {
        let (opcode, payload) = match (opcode, self.fragments.take()) {
            (CLOSE.., open) => {
                self.fragments = open;
                return self.control(opcode, payload).map(Some);
            }
            (CONTINUATION, Some((opcode, mut before))) => {
                if before.len() + payload.len() > self.message_bytes_max {
                    return Err(TOO_LONG);
                }
                before.extend(payload);
                (opcode, before)
            }
            (CONTINUATION, None) => return Err(Broken::Rule("a message begins in its middle")),
            (_, Some(_)) => return Err(Broken::Rule("a message begins inside of another")),
            (opcode, None) => (opcode, payload),
        };
        if !is_last {
            self.fragments = Some((opcode, payload));
            return Ok(None);
        }
        if opcode == BINARY {
            return Ok(Some(Message::Binary(payload.into())));
        }
        let text = String::from_utf8(payload).map_err(|_| Broken::Rule("a text is not UTF-8"))?;
        Ok(Some(Message::Text(Utf8Bytes::from(text))))
    }

    fn control(&mut self, opcode: u8, payload: Vec<u8>) -> Result<Message, Broken> {
        match opcode {
            CLOSE => Ok(Message::Close(None)),
            PING => {
                // One that does not read its pongs needs no more of them.
                if self.out.len() < WRITE_BYTES {
                    self.put(PONG, &payload);
                }
                Ok(Message::Ping(Bytes::new()))
            }
            PONG => Ok(Message::Pong(Bytes::new())),
            _ => Err(Broken::Rule("a frame has an unknown opcode")),
        }
    }
}

const TOO_LONG: Broken = Broken::Rule("a message is longer than the limit");

/// Where a whole frame is in what has come.
struct Frame {
    opcode: u8,
    is_last: bool,
    mask: [u8; 4],
    /// Where the payload begins.
    head: usize,
    /// One past its end.
    end: usize,
}

impl Frame {
    /// The first frame in `bytes`, if it is whole (RFC 6455, 5.2).
    fn parse(bytes: &[u8], bytes_max: usize) -> Result<Option<Self>, Broken> {
        let &[first, second, ..] = bytes else { return Ok(None) };
        let (opcode, is_last) = (first & 0x0f, first & 0x80 != 0);
        if first & 0x70 != 0 || matches!(opcode, 3..CLOSE | 11..) {
            return Err(Broken::Rule("a frame is of no known kind"));
        }
        if second & 0x80 == 0 {
            return Err(Broken::Rule("a frame is not masked"));
        }
        let (len, head) = match second & 0x7f {
            126 => {
                let Some(&[a, b]) = bytes.get(2..4) else { return Ok(None) };
                (u64::from(u16::from_be_bytes([a, b])), 8)
            }
            127 => {
                let Some(len) = bytes.get(2..10).and_then(|it| it.try_into().ok()) else {
                    return Ok(None);
                };
                (u64::from_be_bytes(len), 14)
            }
            len => (u64::from(len), 6),
        };
        let len = usize::try_from(len).ok().filter(|len| *len <= bytes_max).ok_or(TOO_LONG)?;
        if opcode >= CLOSE && (len > CONTROL_BYTES_MAX || !is_last) {
            return Err(Broken::Rule("a control frame is long or in parts"));
        }
        let end = head + len;
        let mask = bytes.get(head - 4..head).and_then(|mask| mask.try_into().ok());
        let Some(mask) = mask.filter(|_| bytes.len() >= end) else { return Ok(None) };
        Ok(Some(Self { opcode, is_last, mask, head, end }))
    }
}

#[cfg(fuzzing)]
#[path = "websocket_fuzzing.rs"]
pub(crate) mod fuzzing;

#[cfg(test)]
#[path = "websocket_tests.rs"]
mod tests;
