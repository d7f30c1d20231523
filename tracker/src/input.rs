//! All that can happen to a tracker.

use alloc::vec::Vec;
use core::time::Duration;
pub use shoal_wire::tracker_message::Mapping;
use shoal_wire::tracker_message::{Edge, LinkState, LostReason, MsnRun, Report};
use shoal_wire::{BitRate, ByteSize, Epoch, ObjectId, PeerId, RenditionId, ShareMode, Substream};

/// What the tracker knows of a peer when it joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// What its viewer allows.
    pub share: ShareMode,
    /// The viewer's own cap on upload.
    pub upload_cap: Option<BitRate>,
    /// Most links that it keeps open; the tracker's own limit holds as well.
    pub links_max: u16,
    /// Where it is, as far as the server can see.
    pub place: Place,
    /// How its address is translated, if that is known before [`Input::Mapping`] says so.
    pub mapping: Mapping,
}

/// Where a peer is. Equal values mean near; zero means unknown and is near to nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Same site: public address, or its /24 or /48, hashed.
    pub subnet: u32,
    /// Autonomous system number.
    pub asn: u32,
    /// Country, as two letters in a number.
    pub country: u16,
}

/// An object that the origin has published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Which.
    pub object: ObjectId,
    /// Its length.
    pub size: ByteSize,
    /// Its media duration: size over duration is the rendition's rate.
    pub duration: Duration,
    /// Bytes per chunk.
    pub chunk_size: u32,
    /// K, the same for all objects of a rendition.
    pub substreams: u8,
}

/// An event for the tracker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A peer has connected.
    Join {
        /// Its name, unique among the connected.
        peer: PeerId,
        /// What is known of it.
        profile: Profile,
        /// Its parents, if it was connected before: they are adopted.
        edges: Vec<Edge>,
        /// Its open links, if it was connected before.
        neighbours: Vec<PeerId>,
    },
    /// A peer is gone: it said so, or its session ended.
    Leave {
        /// Which.
        peer: PeerId,
    },
    /// A peer plays a rendition.
    Watch {
        /// Which peer.
        peer: PeerId,
        /// Which rendition.
        rendition: RenditionId,
        /// The first segment that its player asked for: far behind the live edge, it gets sources
        /// instead of a place in trees.
        msn: u64,
    },
    /// A viewer on demand, or behind the live edge, says where it is and what it holds.
    Position {
        /// Which peer.
        peer: PeerId,
        /// The rendition.
        rendition: RenditionId,
        /// The epoch of all these segments.
        epoch: Epoch,
        /// The first segment that it lacks.
        msn: u64,
        /// How many segments from there on it looks for sources of.
        ahead: u8,
        /// What it holds and gives.
        held: Vec<MsnRun>,
    },
    /// It plays it no more.
    Unwatch {
        /// Which peer.
        peer: PeerId,
        /// Which rendition.
        rendition: RenditionId,
    },
    /// The viewer changed what it allows.
    Share {
        /// Which peer.
        peer: PeerId,
        /// What it allows now.
        share: ShareMode,
        /// Its cap on upload.
        upload_cap: Option<BitRate>,
    },
    /// A viewer has found out how its address is translated.
    Mapping {
        /// Which peer.
        peer: PeerId,
        /// How.
        mapping: Mapping,
    },
    /// News of a link, told by one of its ends.
    Link {
        /// Who tells.
        peer: PeerId,
        /// The other end.
        other: PeerId,
        /// What happened.
        state: LinkState,
        /// Round trip, when it opened.
        rtt: Option<Duration>,
    },
    /// A substream lacks a working parent at this peer.
    Lost {
        /// Which peer.
        peer: PeerId,
        /// The rendition.
        rendition: RenditionId,
        /// The substream.
        substream: Substream,
        /// Who the parent was; none is the origin.
        parent: Option<PeerId>,
        /// Why.
        reason: LostReason,
    },
    /// A peer says that another sent it a chunk that fails its hash.
    BadChunk {
        /// Who says so.
        reporter: PeerId,
        /// Of whom.
        accused: PeerId,
    },
    /// A peer's regular report.
    Report {
        /// Which peer.
        peer: PeerId,
        /// What it says.
        report: Report,
    },
    /// The origin has published an object.
    Published(Published),
    /// A rendition is complete: nothing of it will be published, and whoever begins to watch it gets
    /// sources instead of a place in trees.
    OnDemand {
        /// Which.
        rendition: RenditionId,
    },
    /// The operator switched peers off, or on again.
    Peers {
        /// Whether peers are used.
        enabled: bool,
    },
    /// The time that `poll_timeout` named has come.
    Tick,
}
