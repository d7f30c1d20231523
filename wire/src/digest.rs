//! The digest: the origin's signed list of one object's chunk hashes.
//!
//! Rule: a [`SignedDigest`] exists only if its signature was made or checked here, so whoever
//! holds one may trust its hashes and its layout. It says where each chunk and each run lies and
//! checks a chunk's bytes; it does not fetch, store or decide anything.

use crate::codec::{DecodeError, Reader, Writer};
use crate::id::{ChunkRange, Epoch, ObjectId, Part, RenditionId, StreamName, Substream};
use crate::{OBJECT_BYTES_MAX, SUBSTREAMS_MAX};
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

const VERSION: u8 = 2;
const SIGNING_CONTEXT: &[u8] = b"shoal digest 1\0";
const SIGNATURE_BYTES: usize = 64;
const FLAG_END_OF_STREAM: u8 = 1;
/// Chunks may be this small, one block of the hash: below it, hashes outweigh the media.
pub const CHUNK_SIZE_MIN: u32 = 64;
/// Chunks may be this large: one must fit a data channel message of 65,536 bytes with its header.
pub const CHUNK_SIZE_MAX: u32 = 60 * 1024;
/// Most chunks in an object: its digest then fits one data channel message. Larger objects get
/// larger chunks, see [`Digest::chunk_size_for`].
pub const CHUNKS_MAX: u32 = 1536;
/// Most bytes of playlist text in a digest: the tags of one segment, with room for its dateranges.
pub const PLAYLIST_LINES_BYTES_MAX: usize = 8 * 1024;
/// Most bytes of an encoded digest.
pub const DIGEST_BYTES_MAX: usize =
    512 + PLAYLIST_LINES_BYTES_MAX + CHUNKS_MAX as usize * HASH_BYTES;
/// As hard to forge as the signature: bytes that fit a given hash take 2¹²⁸ tries. That two chunks
/// of the publisher's own choice collide after 2⁶⁴ harms nobody else.
const HASH_BYTES: usize = 16;

/// The first half of the BLAKE3 hash of one chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkHash(pub [u8; HASH_BYTES]);

impl ChunkHash {
    /// The hash of `chunk`.
    pub fn of(chunk: &[u8]) -> Self {
        let mut half = [0; HASH_BYTES];
        half.copy_from_slice(&blake3::hash(chunk).as_bytes()[..HASH_BYTES]);
        Self(half)
    }
}

/// What the origin says of one published object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// The stream.
    pub stream: StreamName,
    /// Rendition, epoch, media sequence number and part.
    pub object: ObjectId,
    /// How many objects of this rendition were published before it: rotates the substreams.
    pub ordinal: u64,
    /// Length of the object in bytes; 0 for the end of the stream.
    pub byte_len: u32,
    /// Bytes per chunk; the last chunk may be shorter.
    pub chunk_size: u32,
    /// K: into how many runs the object is cut. The same for all objects of a rendition.
    pub substreams: u8,
    /// Media duration.
    pub duration: Duration,
    /// Wall clock at publication, milliseconds since the Unix epoch.
    pub published_unix_ms: u64,
    /// EXT-X-DISCONTINUITY-SEQUENCE of the playlist at this object (RFC 8216, 4.3.3.3).
    pub discontinuity_sequence: u64,
    /// Whether the stream ended; such a digest has no bytes and no chunks.
    pub end_of_stream: bool,
    /// What the playlist says of it: its tags and, last, its URI line.
    pub playlist_lines: String,
    /// One hash per chunk, in order.
    pub hashes: Vec<ChunkHash>,
}

impl Digest {
    /// Hashes of the chunks of `bytes`.
    pub fn hash_chunks(bytes: &[u8], chunk_size: u32) -> Vec<ChunkHash> {
        bytes.chunks(chunk_size.max(1) as usize).map(ChunkHash::of).collect()
    }

    /// The chunk size for an object of `byte_len` bytes: 16 KiB up to 24 MiB, then as much more as
    /// keeps it within [`CHUNKS_MAX`].
    pub fn chunk_size_for(byte_len: u32) -> u32 {
        byte_len.div_ceil(CHUNKS_MAX).next_multiple_of(1024).max(crate::CHUNK_SIZE)
    }

    /// K for an object of `byte_len` bytes: a run has at least three chunks, K is 1 to 8.
    pub fn substreams_for(byte_len: u32, chunk_size: u32) -> u8 {
        let runs = byte_len.div_ceil(chunk_size.max(1)) / 3;
        u8::try_from(runs.clamp(1, u32::from(SUBSTREAMS_MAX))).unwrap_or(SUBSTREAMS_MAX)
    }

    /// Number of chunks.
    pub fn chunk_count(&self) -> u32 {
        self.byte_len.div_ceil(self.chunk_size)
    }

    /// Length of a chunk in bytes: `chunk_size`, less for the last, 0 past the end.
    pub fn chunk_len(&self, chunk: u32) -> u32 {
        let start = u64::from(chunk) * u64::from(self.chunk_size);
        let left = u64::from(self.byte_len).saturating_sub(start);
        u32::try_from(left).map_or(self.chunk_size, |left| left.min(self.chunk_size))
    }

    /// Where a run of chunks lies in the object: offset and length in bytes.
    pub fn byte_range(&self, chunks: ChunkRange) -> (u32, u32) {
        let start = chunks.first.saturating_mul(self.chunk_size).min(self.byte_len);
        let end = chunks.end().saturating_mul(self.chunk_size).min(self.byte_len);
        (start, end - start)
    }

    /// The chunks that substream `k` carries of this object. Runs of one object do not overlap and
    /// cover it; the numbering rotates with the ordinal, so short runs spread evenly.
    pub fn run(&self, k: Substream) -> ChunkRange {
        let count = u64::from(self.substreams);
        let place = (u64::from(k.0) + self.ordinal) % count;
        let chunks = u64::from(self.chunk_count());
        let cut = |i: u64| u32::try_from(i * chunks / count).unwrap_or(u32::MAX);
        let first = cut(place);
        ChunkRange::new(first, cut(place + 1) - first)
    }

    /// The substream whose run holds `chunk`.
    pub fn substream_of(&self, chunk: u32) -> Substream {
        let count = u64::from(self.substreams);
        let chunks = u64::from(self.chunk_count()).max(1);
        // The largest place whose run starts at or before the chunk.
        let place = ((u64::from(chunk) + 1) * count - 1) / chunks;
        let k = (place + count - self.ordinal % count) % count;
        Substream(u8::try_from(k).unwrap_or(0))
    }

    /// Whether `bytes` are chunk `chunk` of this object.
    pub fn chunk_matches(&self, chunk: u32, bytes: &[u8]) -> bool {
        self.hashes.get(chunk as usize).is_some_and(|hash| *hash == ChunkHash::of(bytes))
    }

    /// The URI line of the object, as the playlist gives it.
    pub fn uri(&self) -> Option<&str> {
        self.playlist_lines.lines().rev().find(|line| !line.is_empty() && !line.starts_with('#'))
    }

    fn encode_body(&self) -> Writer {
        let size = 128 + self.playlist_lines.len() + self.hashes.len() * HASH_BYTES;
        let mut out = Writer::with_capacity(size + SIGNATURE_BYTES);
        out.u8(VERSION);
        let stream = self.stream.as_str();
        out.u8(u8::try_from(stream.len()).unwrap_or(u8::MAX)).bytes(stream.as_bytes());
        write_object(&mut out, self.object);
        out.u64(self.ordinal).u32(self.byte_len).u32(self.chunk_size).u8(self.substreams);
        out.u64(u64::try_from(self.duration.as_micros()).unwrap_or(u64::MAX));
        out.u64(self.published_unix_ms).u64(self.discontinuity_sequence);
        out.u8(if self.end_of_stream { FLAG_END_OF_STREAM } else { 0 });
        out.u16(u16::try_from(self.playlist_lines.len()).unwrap_or(u16::MAX));
        out.bytes(self.playlist_lines.as_bytes());
        for hash in &self.hashes {
            out.bytes(&hash.0);
        }
        out
    }

    fn decode_body(reader: &mut Reader) -> Result<Self, DecodeError> {
        let version = reader.u8()?;
        if version != VERSION {
            return Err(DecodeError::Unknown { what: "digest version", value: version.into() });
        }
        let name_len = reader.u8()?;
        let stream = text(reader, name_len.into(), "stream name")?
            .parse()
            .map_err(|_| DecodeError::Text("stream name"))?;
        let object = read_object(reader)?;
        let (ordinal, byte_len, chunk_size) = (reader.u64()?, reader.u32()?, reader.u32()?);
        let substreams = reader.u8()?;
        let duration = Duration::from_micros(reader.u64()?);
        let (published_unix_ms, discontinuity_sequence) = (reader.u64()?, reader.u64()?);
        let flags = reader.u8()?;
        let lines_len = reader.u16()?;
        let playlist_lines = text(reader, lines_len.into(), "playlist lines")?;
        let mut digest = Self {
            stream,
            object,
            ordinal,
            byte_len,
            chunk_size,
            substreams,
            duration,
            published_unix_ms,
            discontinuity_sequence,
            end_of_stream: flags & FLAG_END_OF_STREAM != 0,
            playlist_lines,
            hashes: Vec::new(),
        };
        digest.check_ranges()?;
        let chunks = digest.chunk_count() as usize;
        if reader.remaining() < chunks * HASH_BYTES {
            return Err(DecodeError::Truncated);
        }
        digest.hashes.reserve_exact(chunks);
        for _ in 0..chunks {
            digest.hashes.push(ChunkHash(reader.array()?));
        }
        Ok(digest)
    }

    fn check_ranges(&self) -> Result<(), DecodeError> {
        if !(CHUNK_SIZE_MIN..=CHUNK_SIZE_MAX).contains(&self.chunk_size) {
            return Err(DecodeError::OutOfRange("chunk size"));
        }
        if self.byte_len > OBJECT_BYTES_MAX || self.chunk_count() > CHUNKS_MAX {
            return Err(DecodeError::OutOfRange("object length"));
        }
        if self.end_of_stream != (self.byte_len == 0) {
            return Err(DecodeError::OutOfRange("object length"));
        }
        if !(1..=SUBSTREAMS_MAX).contains(&self.substreams) {
            return Err(DecodeError::OutOfRange("number of substreams"));
        }
        if self.playlist_lines.len() > PLAYLIST_LINES_BYTES_MAX {
            return Err(DecodeError::OutOfRange("playlist lines"));
        }
        Ok(())
    }
}

/// A digest whose signature holds, with the bytes that carry it from peer to peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedDigest {
    digest: Digest,
    encoded: Bytes,
}

impl SignedDigest {
    /// Reads a digest and checks its signature against `keys` (the current and the next one).
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are no digest, or [`DecodeError::Signature`] if no key fits.
    pub fn decode(encoded: Bytes, keys: &[OriginKey]) -> Result<Self, DecodeError> {
        if encoded.len() > DIGEST_BYTES_MAX {
            return Err(DecodeError::TooLong { bytes: encoded.len(), bytes_max: DIGEST_BYTES_MAX });
        }
        let mut reader = Reader::new(encoded.clone());
        let digest = Digest::decode_body(&mut reader)?;
        let signature = Signature::from_bytes(&reader.array()?);
        reader.finish()?;
        let body = &encoded[..encoded.len() - SIGNATURE_BYTES];
        let message = signed_message(body);
        if keys.iter().any(|key| key.0.verify_strict(&message, &signature).is_ok()) {
            Ok(Self { digest, encoded })
        } else {
            Err(DecodeError::Signature)
        }
    }

    /// The bytes to pass on.
    pub const fn encoded(&self) -> &Bytes {
        &self.encoded
    }
}

impl core::ops::Deref for SignedDigest {
    type Target = Digest;
    fn deref(&self) -> &Digest {
        &self.digest
    }
}

/// An origin's public key: viewers check digests with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginKey(VerifyingKey);

impl OriginKey {
    /// From 32 bytes.
    ///
    /// # Errors
    /// [`DecodeError::OutOfRange`] if they are no Ed25519 public key.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, DecodeError> {
        VerifyingKey::from_bytes(bytes).map(Self).map_err(|_| DecodeError::OutOfRange("public key"))
    }

    /// As 32 bytes.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }
}

/// The origin's signing key.
pub struct OriginSigner(SigningKey);

impl OriginSigner {
    /// From its 32 secret bytes, which the caller draws at random and keeps.
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(secret))
    }

    /// The key that viewers check with.
    pub fn key(&self) -> OriginKey {
        OriginKey(self.0.verifying_key())
    }

    /// Signs a digest.
    ///
    /// # Errors
    /// [`DecodeError::OutOfRange`] if a field is outside the range that a reader accepts, or the
    /// number of hashes is not the number of chunks.
    pub fn sign(&self, digest: Digest) -> Result<SignedDigest, DecodeError> {
        digest.check_ranges()?;
        if digest.hashes.len() != digest.chunk_count() as usize {
            return Err(DecodeError::OutOfRange("number of hashes"));
        }
        let mut encoded = digest.encode_body().into_vec();
        let signature = self.0.sign(&signed_message(&encoded));
        encoded.extend_from_slice(&signature.to_bytes());
        Ok(SignedDigest { digest, encoded: encoded.into() })
    }
}

/// What is signed: a context, so that the key's signatures mean nothing elsewhere, and a hash of
/// the body.
fn signed_message(body: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(SIGNING_CONTEXT.len() + HASH_BYTES);
    message.extend_from_slice(SIGNING_CONTEXT);
    message.extend_from_slice(&ChunkHash::of(body).0);
    message
}

fn text(reader: &mut Reader, len: usize, what: &'static str) -> Result<String, DecodeError> {
    let bytes = reader.take(len)?;
    core::str::from_utf8(&bytes).map(String::from).map_err(|_| DecodeError::Text(what))
}

pub(crate) fn write_object(out: &mut Writer, object: ObjectId) {
    out.u16(object.rendition.0).u32(object.epoch.0).u64(object.msn).u16(object.part.0);
}

pub(crate) fn read_object(reader: &mut Reader) -> Result<ObjectId, DecodeError> {
    Ok(ObjectId {
        rendition: RenditionId(reader.u16()?),
        epoch: Epoch(reader.u32()?),
        msn: reader.u64()?,
        part: Part(reader.u16()?),
    })
}
