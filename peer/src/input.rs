//! All that can happen to a viewer's engine.

use bytes::Bytes;
use core::time::Duration;
use shoal_wire::{BitRate, ObjectId, PeerId, PeerMessage, RenditionId, ServerMessage, ShareMode};

/// A player's request for an object, named by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// A fetch from the origin, named by the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FetchId(pub u64);

/// Bytes `start..end` of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// The first byte.
    pub start: u32,
    /// One past the last byte; none is the end of the object.
    pub end: Option<u32>,
}

impl ByteRange {
    /// The whole object.
    pub const WHOLE: Self = Self { start: 0, end: None };
}

/// Why an origin fetch brought nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginFailure {
    /// The origin answered with this status.
    Status(u16),
    /// It could not be reached, or the connection broke.
    Unreachable,
}

/// An event for the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A player wants an object.
    Request {
        /// The shell's name for the request.
        id: RequestId,
        /// The object.
        object: ObjectId,
        /// Which bytes of it.
        range: ByteRange,
        /// How long it plays, as the playlist says, if the shell knows.
        duration: Option<Duration>,
    },
    /// The player gave up on a request.
    CancelRequest {
        /// Which.
        id: RequestId,
    },
    /// Where the player really is, from a shell that can see it: the engine's own guess errs
    /// early. Said before a request and whenever playback paused or jumped.
    Playhead {
        /// A segment or part that it has asked for, or the one after the newest of those.
        object: ObjectId,
        /// It needs that one's first byte after this time.
        needed_in: Duration,
    },
    /// The last player of a rendition has gone.
    StopWatching {
        /// Which.
        rendition: RenditionId,
    },
    /// The viewer changed what it allows.
    Share {
        /// What it allows now.
        share: ShareMode,
        /// Its cap on upload.
        upload_cap: Option<BitRate>,
    },
    /// The session with the server stands; a welcome follows.
    ServerConnected,
    /// It does not stand, or could not be made.
    ServerLost,
    /// A message from the server. Signals are the shell's own matter.
    Server(ServerMessage),
    /// A link opened.
    LinkUp {
        /// The other end.
        peer: PeerId,
    },
    /// A link closed, or did not open.
    LinkDown {
        /// The other end.
        peer: PeerId,
    },
    /// A message from a neighbour, read by the shell.
    LinkMessage {
        /// The neighbour.
        peer: PeerId,
        /// The message.
        message: PeerMessage,
    },
    /// A neighbour sent bytes that are no message.
    LinkInvalid {
        /// The neighbour.
        peer: PeerId,
    },
    /// How much of what was sent to a neighbour still waits in the transport.
    LinkBuffered {
        /// The neighbour.
        peer: PeerId,
        /// Bytes that wait.
        bytes: u32,
    },
    /// The origin has begun to answer.
    OriginStarted {
        /// Which fetch.
        fetch: FetchId,
        /// Length of the whole object, if the answer tells.
        total_len: Option<u32>,
        /// Where the bytes that follow begin: an origin may ignore a range and send the whole.
        offset: u32,
    },
    /// More bytes, in order.
    OriginData {
        /// Of which fetch.
        fetch: FetchId,
        /// The bytes.
        bytes: Bytes,
    },
    /// The answer is complete.
    OriginDone {
        /// Which fetch.
        fetch: FetchId,
    },
    /// The fetch failed.
    OriginFailed {
        /// Which fetch.
        fetch: FetchId,
        /// How.
        failure: OriginFailure,
    },
    /// The fetch of a digest is over.
    DigestFetched {
        /// Of which object.
        object: ObjectId,
        /// The digest as the origin signed it, or why there is none.
        digest: Result<Bytes, OriginFailure>,
    },
    /// The time that `poll_timeout` named has come.
    Tick,
}
