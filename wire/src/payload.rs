//! The bytes of a chunk message: up to three chunks, each where its sender holds it.
//!
//! Rule: it is never empty once read from a message. Sending several chunks copies nothing until
//! the message is written out.

use crate::peer_message::CHUNKS_PER_MESSAGE_MAX;
use alloc::vec::Vec;
use bytes::Bytes;

const PIECES_MAX: usize = CHUNKS_PER_MESSAGE_MAX as usize;

/// Consecutive chunks' bytes, in one piece or several.
#[derive(Clone, Debug, Default)]
pub struct Payload {
    /// Empty ones come last.
    pieces: [Bytes; PIECES_MAX],
}

impl Payload {
    /// Appends a piece.
    ///
    /// # Panics
    /// If there are three already: a message carries no more chunks.
    pub fn push(&mut self, piece: Bytes) {
        let free = self.pieces.iter_mut().find(|p| p.is_empty());
        *free.expect("a message carries three chunks at most") = piece;
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.pieces[0].is_empty()
    }

    /// The pieces that have bytes, in order.
    pub fn pieces(&self) -> impl Iterator<Item = &Bytes> {
        self.pieces.iter().filter(|p| !p.is_empty())
    }

    /// Takes the first `len` bytes, or all if there are fewer: a slice where one piece holds them,
    /// else a copy.
    pub fn split_to(&mut self, len: usize) -> Bytes {
        let first = &mut self.pieces[0];
        if first.len() > len {
            return first.split_to(len);
        }
        let first = core::mem::take(first);
        self.pieces.rotate_left(1);
        if first.len() == len || self.is_empty() {
            return first;
        }
        let mut joined = Vec::with_capacity(len);
        joined.extend_from_slice(&first);
        while joined.len() < len && !self.is_empty() {
            let rest = self.split_to((len - joined.len()).min(self.pieces[0].len()));
            joined.extend_from_slice(&rest);
        }
        joined.into()
    }

    /// All of it in one piece.
    pub fn to_bytes(&self) -> Bytes {
        self.clone().split_to(self.len())
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        let mut payload = Self::default();
        payload.push(bytes);
        payload
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.pieces().flatten().eq(other.pieces().flatten())
    }
}

impl Eq for Payload {}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(pieces: &[&'static [u8]]) -> Payload {
        let mut payload = Payload::default();
        for piece in pieces {
            payload.push(Bytes::from_static(piece));
        }
        payload
    }

    #[test]
    fn bytes_come_out_in_order_whatever_the_pieces() {
        for pieces in [&[&b"abcdefgh"[..]][..], &[b"abc", b"defgh"], &[b"ab", b"cde", b"fgh"]] {
            let mut it = payload(pieces);
            assert_eq!((it.len(), it.is_empty()), (8, false));
            assert_eq!(it.to_bytes(), &b"abcdefgh"[..]);
            assert_eq!(it, payload(&[b"abcdefgh"]));
            assert_eq!(it.split_to(4), &b"abcd"[..]);
            assert_eq!(it.split_to(3), &b"efg"[..]);
            assert_eq!(it.split_to(9), &b"h"[..]);
            assert!(it.is_empty());
        }
        assert_ne!(payload(&[b"ab"]), payload(&[b"ac"]));
    }
}
