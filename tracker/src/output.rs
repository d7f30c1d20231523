//! All that a tracker asks for.

use alloc::vec::Vec;
use shoal_wire::tracker_message::{Assignment, Source};
use shoal_wire::{Epoch, ObjectId, PeerId, RenditionId};

/// A request to the shell around a tracker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Tell two peers to open a link. The shell passes signals between them from now on.
    Introduce {
        /// Who makes the offer.
        offerer: PeerId,
        /// Who answers.
        answerer: PeerId,
    },
    /// Tell a peer that its plan changed in these substreams.
    Plan {
        /// Which peer.
        peer: PeerId,
        /// Grows with every plan for this peer.
        version: u64,
        /// The rendition.
        rendition: RenditionId,
        /// K.
        substreams: u8,
        /// What changed.
        assignments: Vec<Assignment>,
    },
    /// Tell a viewer on demand, or behind the live edge, who has what it will need.
    Sources {
        /// Which viewer.
        peer: PeerId,
        /// The rendition.
        rendition: RenditionId,
        /// The epoch of all these segments.
        epoch: Epoch,
        /// Its sources, the best first.
        sources: Vec<Source>,
    },
    /// Send the digest of an object to these peers: its roots, or a newcomer.
    Digest {
        /// The object.
        object: ObjectId,
        /// Who gets it.
        peers: Vec<PeerId>,
    },
    /// Tell a peer to close its link to another and take nothing from it.
    Disconnect {
        /// Which peer.
        peer: PeerId,
        /// The other.
        other: PeerId,
    },
    /// Tell every peer that peers are off, or on again.
    Peers {
        /// Whether peers are used.
        enabled: bool,
    },
    /// For the operator: a peer was found guilty of bad chunks by several reporters.
    Banned {
        /// Which.
        peer: PeerId,
    },
}
