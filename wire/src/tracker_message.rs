//! What a viewer and its server say to each other over the WebSocket, one message a frame: JSON in a
//! text frame, but a digest, most of whose bytes are hashes, as it is in a binary one.
//!
//! The others are few, so they may be readable. Times are whole milliseconds or microseconds and
//! say so in their names; nothing is a floating-point number.

use crate::codec::DecodeError;
use crate::id::{Epoch, ObjectId, PeerId, RenditionId, StreamName, Substream};
use crate::unit::{BitRate, ByteSize};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Most bytes of a message from a viewer: an SDP with its candidates, with room.
pub const CLIENT_MESSAGE_BYTES_MAX: usize = 32 * 1024;
/// Most bytes of a message from the server: a digest's limit, with room.
pub const SERVER_MESSAGE_BYTES_MAX: usize = 128 * 1024;

/// What a viewer lets Shoal do with its uplink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShareMode {
    /// Fetch from peers and serve them.
    #[default]
    Share,
    /// Fetch from peers, serve nobody: the default on metered links.
    ReceiveOnly,
    /// No peers at all: plain HTTP.
    Off,
}

/// Whether a peer has one public address for all others (RFC 4787, 4.1), as two STUN servers show
/// (RFC 5780). Whom it lets in shows only when links open, or do not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mapping {
    /// Nobody has looked, or nobody could tell.
    #[default]
    Unknown,
    /// One for all.
    Stable,
    /// Another for each: two such peers connect only within one network, and one such with some of
    /// the others only.
    Symmetric,
}

/// One standing subscription, as a peer that comes back reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    /// The rendition.
    pub rendition: RenditionId,
    /// The substream.
    pub substream: Substream,
    /// Who sends it; none is the origin.
    pub parent: Option<PeerId>,
}

/// What a peer that was connected before brings along.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// The name that it had.
    pub peer: PeerId,
    /// Its parents.
    pub edges: Vec<Edge>,
    /// Its open links.
    pub neighbours: Vec<PeerId>,
}

/// How an attempt to link two peers ended, or that a link did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// The data channel opened.
    Up,
    /// It did not open in time.
    Failed,
    /// It was open and is not any more.
    Closed,
}

/// Why a child wants another parent in a substream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LostReason {
    /// The link is closed or did not open.
    Link,
    /// The parent is there but delivers late again and again.
    Late,
    /// The parent sent a chunk or a message that it should not have.
    Misbehaved,
}

/// SDP of one side of a link (RFC 8829), passed on unread by the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Signal {
    /// The offer, with its candidates.
    Offer {
        /// The session description.
        sdp: String,
    },
    /// The answer, with its candidates.
    Answer {
        /// The session description.
        sdp: String,
    },
    /// One more candidate.
    Candidate {
        /// The candidate line.
        candidate: String,
        /// Its media section.
        mid: Option<String>,
    },
}

/// Bytes since the join, by where they came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// Media bytes handed to players.
    pub delivered: ByteSize,
    /// Media bytes taken from the origin.
    pub from_origin: ByteSize,
    /// Media bytes taken from peers, verified and used.
    pub from_peers: ByteSize,
    /// Bytes from peers that were of no use: duplicates, too late, or wrong.
    pub wasted: ByteSize,
    /// Chunk bytes sent to peers.
    pub to_peers: ByteSize,
    /// Chunks whose hash did not match.
    pub hash_mismatches: u64,
    /// Fetches from the origin of what peers should have brought.
    pub fallbacks: u64,
    /// Of those: because waiting longer would have endangered the playout deadline.
    pub fallbacks_deadline: u64,
    /// Of those: because the peer that fed this part was gone and no other had it.
    pub fallbacks_no_source: u64,
    /// Milliseconds that players waited after start-up, as far as the viewer can tell.
    pub stalled_ms: u64,
    /// Milliseconds of media handed to players.
    pub played_ms: u64,
}

/// How one substream does at one peer, since its last report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubstreamReport {
    /// The rendition.
    pub rendition: RenditionId,
    /// The substream.
    pub substream: Substream,
    /// The parent that it comes from; none is the origin.
    pub parent: Option<PeerId>,
    /// Median time from publication at the first hop seen to the run's last chunk here, ms.
    pub lag_ms: u32,
    /// Runs that came whole and in time from the parent.
    pub runs_good: u32,
    /// Runs that had to be repaired.
    pub runs_repaired: u32,
}

/// Confirmed bytes over one link, since the join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighbourReport {
    /// The neighbour.
    pub peer: PeerId,
    /// Chunk bytes taken from it and used.
    pub received: ByteSize,
    /// Chunk bytes sent to it.
    pub sent: ByteSize,
    /// Smallest round trip seen, µs.
    pub rtt_us: u32,
}

/// What a peer says of itself every few seconds: the tracker plans from it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Bytes by source.
    pub totals: Totals,
    /// Usable upload as learned from the pacer, never above the viewer's cap.
    pub upload: BitRate,
    /// Media buffered ahead of the player, ms.
    pub buffer_ms: u32,
    /// Time from the first player's first request to the end of its answer, ms.
    pub startup_ms: Option<u32>,
    /// The newest segment or part that a player was given.
    pub newest: Option<ObjectId>,
    /// Per substream.
    pub substreams: Vec<SubstreamReport>,
    /// Per neighbour.
    pub neighbours: Vec<NeighbourReport>,
}

/// Consecutive segments, whole and of one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MsnRun {
    /// The media sequence number of the first.
    pub first: u64,
    /// How many.
    pub count: u32,
}

impl MsnRun {
    /// One past the last media sequence number.
    pub const fn end(self) -> u64 {
        self.first.saturating_add(self.count as u64)
    }

    /// What it has in common with the segments from `first` to before `end`, if anything.
    pub fn within(self, first: u64, end: u64) -> Option<Self> {
        let (first, end) = (self.first.max(first), self.end().min(end));
        let count = u32::try_from(end.checked_sub(first)?).ok()?;
        (count > 0).then_some(Self { first, count })
    }
}

/// Most runs that one [`ClientMessage::Position`] may name; one that holds more names the longest.
pub const HELD_RUNS_MAX: usize = 32;
/// Most segments that those runs may have together: more than any peer knows.
pub const HELD_SEGMENTS_MAX: u32 = 4_096;
/// Most segments ahead that sources are given for.
pub const AHEAD_MAX: u8 = 16;

/// A peer that has segments which another will need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Which peer.
    pub peer: PeerId,
    /// What it has of what was asked for, in order.
    pub runs: Vec<MsnRun>,
    /// The first segment that it lacks from its playhead on: it will have that and what follows.
    pub next: u64,
}

/// From a viewer to the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ClientMessage {
    /// First, once.
    Hello {
        /// See [`crate::PROTOCOL`].
        protocol: u32,
        /// The stream.
        stream: StreamName,
        /// Software and version, for the operator.
        agent: String,
        /// What the viewer allows.
        share: ShareMode,
        /// The viewer's own upload cap.
        upload_cap: Option<BitRate>,
        /// Most links that this peer keeps open.
        links_max: u16,
        /// Whether it had better make the offers of its links: a browser's open sooner that way.
        #[serde(default)]
        offers: bool,
        /// Set when it was connected before.
        resume: Option<Resume>,
    },
    /// The viewer plays this rendition, from this media sequence number on.
    Watch {
        /// The rendition.
        rendition: RenditionId,
        /// The first segment that its player asked for.
        msn: u64,
    },
    /// It does not play it any more.
    Unwatch {
        /// The rendition.
        rendition: RenditionId,
    },
    /// Where the viewer is in a rendition that it plays on demand or far behind the live edge, and
    /// what it has of it: said at once after a start or a seek, else at most every few seconds and
    /// only if it has changed. The answer is [`ServerMessage::Sources`], or a plan.
    Position {
        /// The rendition.
        rendition: RenditionId,
        /// The epoch of all these segments.
        epoch: Epoch,
        /// The first segment that it lacks from its playhead on.
        msn: u64,
        /// How many segments from there on it looks for sources of, [`AHEAD_MAX`] at most.
        ahead: u8,
        /// What it has and gives, in order, [`HELD_RUNS_MAX`] runs at most.
        held: Vec<MsnRun>,
    },
    /// The viewer changed what it allows.
    Share {
        /// What it allows now.
        share: ShareMode,
        /// Its upload cap.
        upload_cap: Option<BitRate>,
    },
    /// How the viewer's address is translated: said in each session as soon as it is known, or not
    /// at all.
    Mapping {
        /// What the STUN servers of the welcome showed.
        mapping: Mapping,
    },
    /// For another peer, to which the server introduced this one.
    Signal {
        /// That peer.
        peer: PeerId,
        /// What it is to read.
        signal: Signal,
    },
    /// News of a link.
    Link {
        /// The other end.
        peer: PeerId,
        /// What happened.
        state: LinkState,
        /// Round trip, µs, when it opened.
        rtt_us: Option<u32>,
    },
    /// A substream lacks a working parent.
    Lost {
        /// The rendition.
        rendition: RenditionId,
        /// The substream.
        substream: Substream,
        /// Who it was.
        parent: Option<PeerId>,
        /// Why.
        reason: LostReason,
    },
    /// A neighbour sent bytes that fail their hash.
    BadChunk {
        /// The neighbour.
        peer: PeerId,
        /// The object.
        object: ObjectId,
    },
    /// Asks for the digests of published objects.
    WantDigests {
        /// The objects, 32 at most.
        objects: Vec<ObjectId>,
    },
    /// Every few seconds.
    Report(Report),
    /// The answer to [`ServerMessage::Trace`], said as soon as all of the object is here; a viewer
    /// that does not look for it says nothing.
    Traced {
        /// The object.
        object: ObjectId,
        /// Time since this viewer learned of it, ms.
        known_ms: u32,
        /// Who feeds each substream now.
        parents: Vec<Assignment>,
        /// Whether the origin had to step in for peers, or was asked from the start.
        fell_back: bool,
    },
    /// The viewer leaves.
    Bye,
}

/// Most objects that one [`ClientMessage::WantDigests`] may name.
pub const WANT_DIGESTS_MAX: usize = 32;

/// A rendition and the media playlist that shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenditionInfo {
    /// Its number in object ids.
    pub rendition: RenditionId,
    /// Path of its media playlist, relative to the stream's base URL.
    pub playlist: String,
    /// Whether it is complete, so that nobody waits for more of it: its viewers get sources for
    /// where they are, and no place in trees. A viewer of a live rendition does as well while it
    /// plays far behind the live edge.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub on_demand: bool,
}

/// A STUN or TURN server (RFC 8489, RFC 8656).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IceServer {
    /// URLs.
    pub urls: Vec<String>,
    /// For TURN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// For TURN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

/// Who feeds a peer in one substream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The substream.
    pub substream: Substream,
    /// The parent; none is the origin: then the peer is a root of this substream.
    pub parent: Option<PeerId>,
}

/// Why the server ends a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefuseCode {
    /// Another protocol version.
    Protocol,
    /// No such stream.
    UnknownStream,
    /// A message that does not parse, or out of turn.
    BadMessage,
    /// A limit was passed, or the time of the token.
    Limit,
    /// An operator sent the viewer away.
    Removed,
    /// The server stops.
    Shutdown,
}

/// From the server to a viewer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage {
    /// The answer to a hello.
    Welcome {
        /// See [`crate::PROTOCOL`].
        protocol: u32,
        /// The viewer's name from now on.
        peer: PeerId,
        /// Public keys that sign digests, the current and perhaps the next: 64 hex digits each.
        keys: Vec<String>,
        /// The stream's renditions.
        renditions: Vec<RenditionInfo>,
        /// For ICE; may be empty.
        ice_servers: Vec<IceServer>,
        /// Time between reports, ms.
        report_interval_ms: u32,
    },
    /// ICE servers for all links from now on: those of the welcome soon hold no longer.
    IceServers {
        /// All of them.
        ice_servers: Vec<IceServer>,
    },
    /// The stream's renditions changed.
    Renditions {
        /// All of them.
        renditions: Vec<RenditionInfo>,
    },
    /// Open a link to this peer.
    Introduce {
        /// The other end.
        peer: PeerId,
        /// Whether this side makes the offer.
        offer: bool,
    },
    /// From another peer.
    Signal {
        /// That peer.
        peer: PeerId,
        /// What it says.
        signal: Signal,
    },
    /// The plan for this peer changed in these substreams; others stay as they were.
    Plan {
        /// Grows with every plan; an older one is ignored.
        version: u64,
        /// The rendition.
        rendition: RenditionId,
        /// K: how many substreams there are.
        substreams: u8,
        /// What changed.
        assignments: Vec<Assignment>,
    },
    /// The answer to a position: who has what this viewer will need, all that it is to ask. The
    /// links to them are introduced. Until the next plan, nobody feeds it in this rendition.
    Sources {
        /// The rendition.
        rendition: RenditionId,
        /// The epoch of all these segments.
        epoch: Epoch,
        /// The peers, the best first.
        sources: Vec<Source>,
    },
    /// A digest: never JSON, see [`ServerFrame::Binary`].
    #[serde(skip)]
    Digest {
        /// The bytes, see `SignedDigest::decode`.
        digest: Bytes,
    },
    /// Close the link to this peer and take nothing from it.
    Disconnect {
        /// The other end.
        peer: PeerId,
    },
    /// Peers off or on again, for everybody.
    Peers {
        /// Whether peers may be used.
        enabled: bool,
    },
    /// The operator follows this object: say when it is here.
    Trace {
        /// The object, usually one that is just published.
        object: ObjectId,
    },
    /// How long the origin takes, pooled over this network's viewers.
    OriginTiming {
        /// High quantile of the time to the first byte, ms.
        ttfb_ms: u32,
        /// Low quantile of the rate after it.
        rate: BitRate,
    },
    /// Come back after this time: the server is about to stop.
    Reconnect {
        /// ms.
        after_ms: u32,
    },
    /// The session ends, and why.
    Refuse {
        /// The kind.
        code: RefuseCode,
        /// A sentence for a person.
        message: String,
    },
}

/// A server's message as a WebSocket carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerFrame {
    /// JSON.
    Text(String),
    /// A digest's encoding.
    Binary(Bytes),
}

impl ClientMessage {
    /// As JSON.
    pub fn to_json(&self) -> String {
        to_json(self)
    }

    /// From JSON.
    ///
    /// # Errors
    /// [`DecodeError`] if the text is too long or is no message.
    pub fn from_json(text: &str) -> Result<Self, DecodeError> {
        check_len(text.len(), CLIENT_MESSAGE_BYTES_MAX)?;
        from_json(text)
    }
}

impl ServerMessage {
    /// The frame that carries it.
    pub fn to_frame(&self) -> ServerFrame {
        if let Self::Digest { digest } = self {
            ServerFrame::Binary(digest.clone())
        } else {
            ServerFrame::Text(to_json(self))
        }
    }

    /// What a text frame says.
    ///
    /// # Errors
    /// [`DecodeError`] if the text is too long or is no message.
    pub fn from_text(text: &str) -> Result<Self, DecodeError> {
        check_len(text.len(), SERVER_MESSAGE_BYTES_MAX)?;
        from_json(text)
    }

    /// What a binary frame says: a digest, whose bytes are not looked at.
    ///
    /// # Errors
    /// [`DecodeError`] if it is too long.
    pub fn from_binary(digest: Bytes) -> Result<Self, DecodeError> {
        check_len(digest.len(), SERVER_MESSAGE_BYTES_MAX)?;
        Ok(Self::Digest { digest })
    }
}

fn to_json(message: &impl Serialize) -> String {
    serde_json::to_string(message).expect("messages have string keys only")
}

fn from_json<'a, M: Deserialize<'a>>(text: &'a str) -> Result<M, DecodeError> {
    serde_json::from_str(text).map_err(|error| DecodeError::Json(error.to_string()))
}

const fn check_len(bytes: usize, bytes_max: usize) -> Result<(), DecodeError> {
    if bytes > bytes_max { Err(DecodeError::TooLong { bytes, bytes_max }) } else { Ok(()) }
}
