//! What the fuzzer calls: it sees public items only. Compiled for it alone.

use super::{Broken, WRITE_BYTES, WebSocket};
use axum::extract::ws::Message;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The head of a frame has no more bytes (RFC 6455, 5.2).
const HEAD_BYTES_MAX: usize = 14;

/// What was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A text.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
    /// A ping.
    Ping,
    /// A pong.
    Pong,
    /// The end of the conversation.
    Close,
    /// A rule is broken.
    Broken,
}

/// Bytes that come in pieces, one for each time that is asked for; nobody reads what is answered.
struct Pieces<'a>(&'a [&'a [u8]]);

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some((first, rest)) = self.0.split_first() {
            into.put_slice(first);
            self.0 = rest;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

/// All that is heard of `pieces`, each of one byte to 8 KiB, until a rule is broken.
///
/// # Panics
/// If more is kept than a message, and what came last, may have; or if it waits for ever.
pub fn websocket(pieces: &[&[u8]], message_bytes_max: usize) -> Vec<Heard> {
    let longest = pieces.iter().map(|piece| piece.len()).max().unwrap_or(0);
    let mut socket = WebSocket::new(Pieces(pieces), message_bytes_max);
    let mut heard = Vec::new();
    loop {
        let next = pin!(socket.recv()).poll(&mut Context::from_waker(Waker::noop()));
        assert!(socket.partial.len() <= HEAD_BYTES_MAX + message_bytes_max + longest);
        assert!(socket.fragments.iter().all(|(_, bytes)| bytes.len() <= message_bytes_max));
        assert!(socket.out.len() <= WRITE_BYTES + HEAD_BYTES_MAX + super::CONTROL_BYTES_MAX);
        let one = match next {
            Poll::Pending => panic!("there is more, or the end"),
            Poll::Ready(None) => return heard,
            Poll::Ready(Some(Err(Broken::Lost(error)))) => panic!("{error}"),
            Poll::Ready(Some(Err(Broken::Rule(_)))) => {
                heard.push(Heard::Broken);
                return heard;
            }
            Poll::Ready(Some(Ok(Message::Text(text)))) => Heard::Text(text.to_string()),
            Poll::Ready(Some(Ok(Message::Binary(bytes)))) => Heard::Binary(bytes.to_vec()),
            Poll::Ready(Some(Ok(Message::Ping(_)))) => Heard::Ping,
            Poll::Ready(Some(Ok(Message::Pong(_)))) => Heard::Pong,
            Poll::Ready(Some(Ok(Message::Close(_)))) => Heard::Close,
        };
        heard.push(one);
    }
}
