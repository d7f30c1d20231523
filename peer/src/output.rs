//! All that a viewer's engine asks for.

use crate::input::{FetchId, OriginFailure, RequestId};
use alloc::sync::Arc;
use bytes::Bytes;
use shoal_wire::{ClientMessage, ObjectId, PeerId, PeerMessage, SignedDigest};

/// Why bytes that peers should have brought are fetched from the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FallbackReason {
    /// Waiting longer would have endangered the playout deadline.
    Deadline,
    /// No neighbour has it and the peer that feeds this run is gone.
    NoSource,
    /// There are no peers: switched off, or no tracker.
    NoPeers,
}

impl FallbackReason {
    /// As a metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::NoSource => "no-source",
            Self::NoPeers => "no-peers",
        }
    }
}

/// A request to the shell around an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// The length of the answer to a player's request is known.
    Started {
        /// Which request.
        id: RequestId,
        /// Length of the whole object, if known.
        total_len: Option<u32>,
    },
    /// The next bytes for a player. A slice of the store, not a copy.
    Deliver {
        /// Which request.
        id: RequestId,
        /// The bytes.
        bytes: Bytes,
    },
    /// The answer to a player is complete.
    Delivered {
        /// Which request.
        id: RequestId,
    },
    /// The origin would not give it to a player either.
    Failed {
        /// Which request.
        id: RequestId,
        /// What the origin said.
        failure: OriginFailure,
    },
    /// Fetch from the origin.
    OriginFetch {
        /// The engine's name for it.
        fetch: FetchId,
        /// The object.
        object: ObjectId,
        /// Offset and length; none is the whole object.
        range: Option<(u32, u32)>,
    },
    /// Fetch a digest from the origin, beside whose object it is.
    DigestFetch {
        /// The object.
        object: ObjectId,
    },
    /// The rest of a fetch is not needed any more.
    OriginCancel {
        /// Which.
        fetch: FetchId,
    },
    /// Send to the server.
    Server(ClientMessage),
    /// Open a link.
    OpenLink {
        /// To whom.
        peer: PeerId,
        /// Whether this side makes the offer.
        offer: bool,
    },
    /// Close a link, or give up opening it.
    CloseLink {
        /// To whom.
        peer: PeerId,
    },
    /// Send to a neighbour.
    Send {
        /// The neighbour.
        peer: PeerId,
        /// The message.
        message: PeerMessage,
    },
    /// A digest was checked: the playlist can show its object.
    Published(Arc<SignedDigest>),
    /// For the operator and the viewer: peers did not bring something in time.
    FellBack {
        /// What.
        object: ObjectId,
        /// Why.
        reason: FallbackReason,
    },
    /// For the operator and the viewer: a neighbour was cut off.
    CutOff {
        /// Which.
        peer: PeerId,
        /// What it did.
        offence: Offence,
    },
}

/// What a neighbour did to be cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offence {
    /// It sent a chunk whose hash does not match.
    BadChunk,
    /// It sent a digest that the origin did not sign.
    BadDigest,
    /// It sent bytes that are no message.
    BadMessage,
}
