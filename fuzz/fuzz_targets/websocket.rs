//! Any bytes in any pieces as a WebSocket's: whole messages or a broken rule, the same however they
//! are cut, and never more kept than is allowed. What another library takes for a message is the same
//! message here.

#![no_main]

use libfuzzer_sys::fuzz_target;
use shoal_server::fuzzing::{Heard, websocket};
use std::io::{self, Read, Write};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Message, WebSocket};

/// So few that random bytes reach it.
const MESSAGE_BYTES_MAX: usize = 30;
const PIECE_BYTES_MAX: usize = 8 * 1024;

/// Only comes; what is answered is lost.
struct Incoming<'a>(&'a [u8]);

impl Read for Incoming<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for Incoming<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the other library hears until a rule is broken, or the other side closes. It is the stricter
/// one: it looks at what a close says, and at a text before all of it has come.
fn reference(bytes: &[u8]) -> Vec<Heard> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let mut socket = WebSocket::from_raw_socket(Incoming(bytes), Role::Server, Some(config));
    let mut heard = Vec::new();
    while let Ok(message) = socket.read() {
        heard.push(match message {
            Message::Text(text) => Heard::Text(text.to_string()),
            Message::Binary(bytes) => Heard::Binary(bytes.to_vec()),
            Message::Ping(_) => Heard::Ping,
            Message::Pong(_) => Heard::Pong,
            Message::Close(_) => Heard::Close,
            Message::Frame(_) => unreachable!("messages are read whole"),
        });
    }
    heard
}

fuzz_target!(|input: (Vec<u8>, Vec<u8>)| {
    // Where to cut, and what comes.
    let (cuts, bytes) = input;
    let mut pieces = Vec::new();
    let mut rest = bytes.as_slice();
    for cut in cuts {
        let (piece, more) = rest.split_at(rest.len().min(usize::from(cut) + 1));
        pieces.extend(Some(piece).filter(|piece| !piece.is_empty()));
        rest = more;
    }
    pieces.extend(rest.chunks(PIECE_BYTES_MAX));
    let heard = websocket(&pieces, MESSAGE_BYTES_MAX);
    let whole: Vec<&[u8]> = bytes.chunks(PIECE_BYTES_MAX).collect();
    assert_eq!(heard, websocket(&whole, MESSAGE_BYTES_MAX));
    let reference = reference(&bytes);
    assert!(heard.starts_with(&reference), "{heard:?} for {reference:?}");
});
