//! The words that Shoal's tracker and peers exchange: ids, units, time, digests, messages, codecs.
//!
//! Rule: past this crate an invalid value cannot exist. Every length and index is checked here,
//! where bytes become values; the cores trust what they are given.
//!
//! It holds no behaviour: nothing here decides, waits, or knows a socket or a clock.
#![no_std]

extern crate alloc;

mod codec;
pub mod digest;
mod id;
mod payload;
pub mod peer_message;
mod time;
pub mod tracker_message;
mod unit;

pub use codec::DecodeError;
pub use digest::{ChunkHash, Digest, OriginKey, OriginSigner, SignedDigest};
pub use id::{ChunkIndex, ChunkRange, Epoch, ObjectId, Part, PeerId, RenditionId, StreamName};
pub use id::{InvalidStreamName, Substream};
pub use payload::Payload;
pub use peer_message::PeerMessage;
pub use time::Instant;
pub use tracker_message::{ClientMessage, ServerFrame, ServerMessage, ShareMode};
pub use unit::{BitRate, ByteSize};

/// The protocol that this build speaks. A hello with another one is refused.
pub const PROTOCOL: u32 = 1;

/// Bytes in a chunk unless a digest says otherwise: the unit of hashing, transfer and relay.
pub const CHUNK_SIZE: u32 = 16 * 1024;

/// Most bytes in one object (segment or part): 64 MiB, a 4K segment of ten seconds at 50 Mbit/s.
pub const OBJECT_BYTES_MAX: u32 = 64 * 1024 * 1024;

/// Most substreams that a rendition is cut into.
///
/// Eight costs about 12 links per peer and comes within 1.15 of the burst bound; sixteen costs 23
/// links for 1.08 of it.
pub const SUBSTREAMS_MAX: u8 = 8;
