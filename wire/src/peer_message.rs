//! What peers say to each other on a data channel: one binary message per channel message.
//!
//! Layout: a type byte, then fixed-width big-endian fields, then (chunk, digest) the bytes that
//! remain. An object is rendition u16, epoch u32, media sequence number u64, part u16.

use crate::codec::{DecodeError, Reader, Writer};
use crate::digest::{DIGEST_BYTES_MAX, read_object, write_object};
use crate::id::{ChunkRange, ObjectId, RenditionId, Substream};
use crate::payload::Payload;
use crate::{OBJECT_BYTES_MAX, SUBSTREAMS_MAX};
use bytes::Bytes;
use core::time::Duration;

/// Most bytes in one message: what every WebRTC stack accepts without negotiation (RFC 8841).
pub const MESSAGE_BYTES_MAX: usize = 65_535;
/// Bytes of a chunk message before its payload.
pub const CHUNK_HEADER_BYTES: usize = 1 + OBJECT_BYTES + 2 + 1 + 2;
const OBJECT_BYTES: usize = 16;
/// Most chunks in one message.
pub const CHUNKS_PER_MESSAGE_MAX: u32 = 3;
/// Most chunks one fetch, cancel or refuse may name.
pub const FETCH_CHUNKS_MAX: u32 = OBJECT_BYTES_MAX / crate::digest::CHUNK_SIZE_MIN;

/// How much of an object its holder has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    /// Its digest.
    Digest,
    /// All of its chunks, verified.
    Complete,
    /// All that it needs; it gives nobody any of it.
    Private,
}

/// A message between neighbours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerMessage {
    /// Push me substream `substream` of objects from `from` on. Repeated to change `weight`.
    Subscribe {
        /// The substream.
        substream: Substream,
        /// The first object wanted; it names the rendition.
        from: ObjectId,
        /// How many peers hang below the sender in this substream: who is served first.
        weight: u16,
        /// Grows with every subscribe and unsubscribe to this neighbour: they may overtake each other
        /// on the way, and the newest holds.
        turn: u32,
    },
    /// The subscription stands.
    Subscribed {
        /// The substream.
        substream: Substream,
        /// The first object that will come.
        from: ObjectId,
    },
    /// Push me nothing of this substream from `until` on.
    Unsubscribe {
        /// The substream.
        substream: Substream,
        /// The first object not wanted any more; it names the rendition.
        until: ObjectId,
        /// As in a subscribe.
        turn: u32,
    },
    /// Send me these chunks, or the digest alone if there are none of them.
    Fetch {
        /// Of this object.
        object: ObjectId,
        /// These.
        chunks: ChunkRange,
    },
    /// Do not send these chunks (any more), whether fetched or subscribed.
    Cancel {
        /// Of this object.
        object: ObjectId,
        /// These.
        chunks: ChunkRange,
    },
    /// These chunks will not come from me: I lack them or they would be too late.
    Refuse {
        /// Of this object.
        object: ObjectId,
        /// These.
        chunks: ChunkRange,
    },
    /// Consecutive chunks.
    Chunk {
        /// Of this object.
        object: ObjectId,
        /// Which.
        chunks: ChunkRange,
        /// How long the sender held the first of them before sending, to the millisecond.
        held: Duration,
        /// Their bytes, one after the other.
        payload: Payload,
    },
    /// An encoded, signed digest. Not yet checked: see `SignedDigest::decode`.
    Digest(Bytes),
    /// What the sender has of an object.
    Have {
        /// The object.
        object: ObjectId,
        /// How much of it.
        holding: Holding,
    },
    /// The sender has nothing to send: what lacks of these runs may be fetched from it. It is sent
    /// after everything else.
    Offer {
        /// The object.
        object: ObjectId,
        /// The runs that are whole at the sender, one bit for each substream.
        runs: u8,
    },
    /// The last chunk of a run was sent: a lost tail shows at once.
    End {
        /// The object.
        object: ObjectId,
        /// The substream whose run ends.
        substream: Substream,
        /// How many chunks the sender sent or refused of it.
        count: u16,
    },
    /// The sender itself misses these chunks: wait or repair, the next hop is not to blame.
    Late {
        /// Of this object.
        object: ObjectId,
        /// These.
        chunks: ChunkRange,
    },
    /// The rendition is not watched any more: every subscription to it ends.
    Forget {
        /// The rendition.
        rendition: RenditionId,
    },
    /// Asks for an echo: measures the round trip.
    Ping(u64),
    /// The echo.
    Pong(u64),
    /// The sender leaves.
    Bye,
}

const SUBSCRIBE: u8 = 1;
const SUBSCRIBED: u8 = 2;
const UNSUBSCRIBE: u8 = 3;
const FETCH: u8 = 4;
const CANCEL: u8 = 5;
const REFUSE: u8 = 6;
const CHUNK: u8 = 7;
const DIGEST: u8 = 8;
const HAVE: u8 = 9;
const END: u8 = 10;
const LATE: u8 = 11;
const FORGET: u8 = 12;
const PING: u8 = 13;
const PONG: u8 = 14;
const BYE: u8 = 15;
const OFFER: u8 = 16;

impl PeerMessage {
    /// The bytes of a data channel message.
    pub fn encode(&self) -> Bytes {
        let mut out = Writer::with_capacity(self.encoded_len());
        self.write(&mut out);
        out.into_vec().into()
    }

    /// Number of bytes that [`Self::encode`] gives.
    pub fn encoded_len(&self) -> usize {
        match self {
            Self::Subscribe { .. } => 1 + 1 + OBJECT_BYTES + 2 + 4,
            Self::End { .. } => 1 + 1 + OBJECT_BYTES + 2,
            Self::Subscribed { .. } => 1 + 1 + OBJECT_BYTES,
            Self::Unsubscribe { .. } => 1 + 1 + OBJECT_BYTES + 4,
            Self::Fetch { .. } | Self::Cancel { .. } | Self::Refuse { .. } | Self::Late { .. } => {
                1 + OBJECT_BYTES + 4
            }
            Self::Chunk { payload, .. } => CHUNK_HEADER_BYTES + payload.len(),
            Self::Digest(encoded) => 1 + encoded.len(),
            Self::Have { .. } | Self::Offer { .. } => 1 + OBJECT_BYTES + 1,
            Self::Forget { .. } => 1 + 2,
            Self::Ping(_) | Self::Pong(_) => 1 + 8,
            Self::Bye => 1,
        }
    }

    fn write(&self, out: &mut Writer) {
        match self {
            Self::Subscribe { substream, from, weight, turn } => {
                write_substream(out, SUBSCRIBE, *substream, *from).u16(*weight).u32(*turn);
            }
            Self::Subscribed { substream, from } => {
                write_substream(out, SUBSCRIBED, *substream, *from);
            }
            Self::Unsubscribe { substream, until, turn } => {
                write_substream(out, UNSUBSCRIBE, *substream, *until).u32(*turn);
            }
            Self::Fetch { object, chunks } => write_range(out, FETCH, *object, *chunks),
            Self::Cancel { object, chunks } => write_range(out, CANCEL, *object, *chunks),
            Self::Refuse { object, chunks } => write_range(out, REFUSE, *object, *chunks),
            Self::Late { object, chunks } => write_range(out, LATE, *object, *chunks),
            Self::Chunk { object, chunks, held, payload } => {
                write_object(out.u8(CHUNK), *object);
                out.u16(short(chunks.first)).u8(u8::try_from(chunks.count).unwrap_or(u8::MAX));
                out.u16(u16::try_from(held.as_millis()).unwrap_or(u16::MAX));
                for piece in payload.pieces() {
                    out.bytes(piece);
                }
            }
            Self::Digest(encoded) => {
                out.u8(DIGEST).bytes(encoded);
            }
            Self::Have { object, holding } => {
                write_object(out.u8(HAVE), *object);
                out.u8(match holding {
                    Holding::Digest => 0,
                    Holding::Complete => 1,
                    Holding::Private => 2,
                });
            }
            Self::Offer { object, runs } => {
                write_object(out.u8(OFFER), *object);
                out.u8(*runs);
            }
            Self::End { object, substream, count } => {
                write_substream(out, END, *substream, *object).u16(*count);
            }
            Self::Forget { rendition } => {
                out.u8(FORGET).u16(rendition.0);
            }
            Self::Ping(nonce) => {
                out.u8(PING).u64(*nonce);
            }
            Self::Pong(nonce) => {
                out.u8(PONG).u64(*nonce);
            }
            Self::Bye => {
                out.u8(BYE);
            }
        }
    }

    /// Reads one data channel message. A payload is a slice of `message`, not a copy.
    ///
    /// # Errors
    /// [`DecodeError`] if it is none. The neighbour that sent it broke the protocol.
    pub fn decode(message: Bytes) -> Result<Self, DecodeError> {
        if message.len() > MESSAGE_BYTES_MAX {
            let bytes = message.len();
            return Err(DecodeError::TooLong { bytes, bytes_max: MESSAGE_BYTES_MAX });
        }
        let mut reader = Reader::new(message);
        let kind = reader.u8()?;
        let decoded = match kind {
            SUBSCRIBE => {
                let (substream, from) = read_substream(&mut reader)?;
                let (weight, turn) = (reader.u16()?, reader.u32()?);
                Self::Subscribe { substream, from, weight, turn }
            }
            SUBSCRIBED => {
                let (substream, from) = read_substream(&mut reader)?;
                Self::Subscribed { substream, from }
            }
            UNSUBSCRIBE => {
                let (substream, until) = read_substream(&mut reader)?;
                Self::Unsubscribe { substream, until, turn: reader.u32()? }
            }
            FETCH | CANCEL | REFUSE | LATE => read_range(&mut reader, kind)?,
            CHUNK => return read_chunk(reader),
            DIGEST => return read_digest(reader),
            HAVE => {
                let object = read_object(&mut reader)?;
                Self::Have { object, holding: read_holding(reader.u8()?)? }
            }
            OFFER => Self::Offer { object: read_object(&mut reader)?, runs: reader.u8()? },
            END => {
                let (substream, object) = read_substream(&mut reader)?;
                Self::End { object, substream, count: reader.u16()? }
            }
            FORGET => Self::Forget { rendition: RenditionId(reader.u16()?) },
            PING => Self::Ping(reader.u64()?),
            PONG => Self::Pong(reader.u64()?),
            BYE => Self::Bye,
            other => {
                return Err(DecodeError::Unknown { what: "message type", value: other.into() });
            }
        };
        reader.finish()?;
        Ok(decoded)
    }
}

fn short(value: u32) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}

fn write_substream(out: &mut Writer, kind: u8, k: Substream, object: ObjectId) -> &mut Writer {
    write_object(out.u8(kind).u8(k.0), object);
    out
}

fn write_range(out: &mut Writer, kind: u8, object: ObjectId, chunks: ChunkRange) {
    write_object(out.u8(kind), object);
    out.u16(short(chunks.first)).u16(short(chunks.count));
}

fn read_substream(reader: &mut Reader) -> Result<(Substream, ObjectId), DecodeError> {
    let substream = reader.u8()?;
    if substream >= SUBSTREAMS_MAX {
        return Err(DecodeError::OutOfRange("substream"));
    }
    Ok((Substream(substream), read_object(reader)?))
}

fn read_range(reader: &mut Reader, kind: u8) -> Result<PeerMessage, DecodeError> {
    let object = read_object(reader)?;
    let chunks = ChunkRange::new(reader.u16()?.into(), reader.u16()?.into());
    let is_named = !chunks.is_empty() || kind == FETCH;
    if !is_named || chunks.end() > FETCH_CHUNKS_MAX.min(u16::MAX.into()) {
        return Err(DecodeError::OutOfRange("chunk range"));
    }
    Ok(match kind {
        FETCH => PeerMessage::Fetch { object, chunks },
        CANCEL => PeerMessage::Cancel { object, chunks },
        REFUSE => PeerMessage::Refuse { object, chunks },
        _ => PeerMessage::Late { object, chunks },
    })
}

fn read_holding(value: u8) -> Result<Holding, DecodeError> {
    match value {
        0 => Ok(Holding::Digest),
        1 => Ok(Holding::Complete),
        2 => Ok(Holding::Private),
        other => Err(DecodeError::Unknown { what: "holding", value: other.into() }),
    }
}

fn read_chunk(mut reader: Reader) -> Result<PeerMessage, DecodeError> {
    let object = read_object(&mut reader)?;
    let chunks = ChunkRange::new(reader.u16()?.into(), reader.u8()?.into());
    let held = Duration::from_millis(reader.u16()?.into());
    let payload = Payload::from(reader.rest());
    if chunks.is_empty() || chunks.count > CHUNKS_PER_MESSAGE_MAX {
        return Err(DecodeError::OutOfRange("number of chunks"));
    }
    if payload.is_empty() {
        return Err(DecodeError::Truncated);
    }
    Ok(PeerMessage::Chunk { object, chunks, held, payload })
}

fn read_digest(reader: Reader) -> Result<PeerMessage, DecodeError> {
    let encoded = reader.rest();
    if encoded.is_empty() || encoded.len() > DIGEST_BYTES_MAX {
        return Err(DecodeError::OutOfRange("digest length"));
    }
    Ok(PeerMessage::Digest(encoded))
}
