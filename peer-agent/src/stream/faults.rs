//! Faults on purpose, for tests of those who must survive them.
//!
//! Rule: it exists only with the feature `fault-injection`, which releases lack.

use bytes::Bytes;
use shoal_wire::peer_message::CHUNK_HEADER_BYTES;
use std::num::NonZeroU32;

/// First byte of a chunk message.
const CHUNK: u8 = 7;

/// Flips bytes in every N-th chunk message that leaves.
#[derive(Debug)]
pub(crate) struct Corruptor {
    every: Option<NonZeroU32>,
    seen: u32,
}

impl Corruptor {
    pub(crate) const fn new(every: Option<NonZeroU32>) -> Self {
        Self { every, seen: 0 }
    }

    /// The message as it is to leave.
    pub(crate) fn pass(&mut self, message: Bytes) -> Bytes {
        let Some(every) = self.every else { return message };
        if message.first() != Some(&CHUNK) || message.len() <= CHUNK_HEADER_BYTES {
            return message;
        }
        self.seen = (self.seen + 1) % every;
        if self.seen != 0 {
            return message;
        }
        let mut bytes = message.to_vec();
        for byte in bytes[CHUNK_HEADER_BYTES..].iter_mut().take(16) {
            *byte ^= 0xa5;
        }
        bytes.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_wire::{ChunkRange, Epoch, ObjectId, PeerMessage, RenditionId};

    #[test]
    fn every_third_chunk_is_bad_and_nothing_else() {
        let mut corruptor = Corruptor::new(NonZeroU32::new(3));
        let chunk = PeerMessage::Chunk {
            object: ObjectId::segment(RenditionId(0), Epoch(1), 2),
            chunks: ChunkRange::new(0, 1),
            held: std::time::Duration::ZERO,
            payload: Bytes::from_static(b"payload").into(),
        }
        .encode();
        let ping = PeerMessage::Ping(7).encode();
        let mut changed = Vec::new();
        for index in 0..9 {
            assert_eq!(corruptor.pass(ping.clone()), ping);
            let passed = corruptor.pass(chunk.clone());
            assert_eq!(passed[..CHUNK_HEADER_BYTES], chunk[..CHUNK_HEADER_BYTES]);
            assert_eq!(passed.len(), chunk.len());
            if passed != chunk {
                changed.push(index);
            }
        }
        assert_eq!(changed, [2, 5, 8]);
        assert_eq!(Corruptor::new(None).pass(chunk.clone()), chunk);
    }
}
