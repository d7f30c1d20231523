//! The connected peers: what is known of each.
//!
//! Rule: an index is used again only after every link and membership of its former holder is gone.

use crate::input::{Mapping, Place, Profile};
use crate::links::{Failed, Link};
use crate::stamp::Stamp;
use crate::tree::MemberIx;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;
use shoal_wire::tracker_message::Edge;
use shoal_wire::{BitRate, PeerId, ShareMode};

/// Index of a connected peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PeerIx(pub(crate) u32);

impl PeerIx {
    pub(crate) const fn at(self) -> usize {
        self.0 as usize
    }
}

/// Index of a swarm in the tracker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SwarmIx(pub(crate) u16);

impl SwarmIx {
    pub(crate) const fn at(self) -> usize {
        self.0 as usize
    }
}

/// One rendition that a peer watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Watch {
    pub(crate) swarm: SwarmIx,
    /// Its index there; nobody while it is not planned (peers off).
    pub(crate) member: MemberIx,
    /// Whether it gets sources there instead of a place in trees.
    pub(crate) on_demand: bool,
}

/// Links that fail before it is given up to open any: a peer behind a firewall, not bad luck.
const HOPELESS_FAILED_MIN: u8 = 8;
/// Time until it is tried again, doubled each time.
const HOPELESS_TIME: Duration = Duration::from_secs(60);
/// Times after which it is no longer doubled: half an hour.
const GIVEN_UP_MAX: u8 = 6;

/// Children that are compared before a parent is called late.
pub(crate) const REPORTERS_MAX: u8 = 8;

/// Complaints that a parent is late.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lateness {
    /// Different children that complained in this window; eight are enough to compare.
    pub(crate) reporters: [u32; REPORTERS_MAX as usize],
    pub(crate) count: u8,
    pub(crate) since: Stamp,
    /// Until when it has no slots.
    pub(crate) penalty_until: Stamp,
}

/// A connected peer.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) id: PeerId,
    pub(crate) place: Place,
    pub(crate) share: ShareMode,
    pub(crate) banned: bool,
    /// Whether it accused, or was accused by, another: pairs are then checked.
    pub(crate) feud: bool,
    pub(crate) links_max: u8,
    /// Links with others that opened, and that did not; both are halved together when large.
    pub(crate) links_opened: u8,
    pub(crate) links_failed: u8,
    pub(crate) mapping: Mapping,
    /// Whether a peer with a symmetric mapping has connected to it, if one has tried.
    pub(crate) takes_symmetric: Option<bool>,
    /// Nothing opened for so long that nothing is tried until then.
    hopeless_until: Stamp,
    /// How often it was given up.
    given_up: u8,
    cap_kbps: u32,
    learned_kbps: u32,
    /// Upload that is planned for on-demand viewers, over all renditions.
    pub(crate) given_kbps: u32,
    pub(crate) joined: Stamp,
    /// Few are ever complained of: the others need no room for it.
    pub(crate) lateness: Option<Box<Lateness>>,
    pub(crate) links: Vec<Link>,
    pub(crate) failed: Vec<Failed>,
    pub(crate) watches: Vec<Watch>,
    /// Parents that it brought along and that are not adopted yet.
    pub(crate) resume: Vec<Edge>,
}

impl Peer {
    pub(crate) fn new(id: PeerId, profile: &Profile, links_max: u8, now: Stamp) -> Self {
        Self {
            id,
            place: profile.place,
            share: profile.share,
            banned: false,
            feud: false,
            links_max: u8::try_from(profile.links_max).unwrap_or(u8::MAX).min(links_max),
            links_opened: 0,
            links_failed: 0,
            mapping: profile.mapping,
            takes_symmetric: None,
            hopeless_until: Stamp::ZERO,
            given_up: 0,
            cap_kbps: profile.upload_cap.map_or(u32::MAX, kbps),
            learned_kbps: 0,
            given_kbps: 0,
            joined: now,
            lateness: None,
            links: Vec::new(),
            failed: Vec::new(),
            watches: Vec::new(),
            resume: Vec::new(),
        }
    }

    /// Whether it left most of its children without, and has no slots for now.
    pub(crate) fn is_late(&self, now: Stamp) -> bool {
        self.lateness.as_ref().is_some_and(|lateness| lateness.penalty_until > now)
    }

    /// Whether links with it are not worth trying for now.
    pub(crate) fn is_hopeless(&self, now: Stamp) -> bool {
        self.hopeless_until > now
    }

    /// Whether nothing ever opened, often enough to be no accident.
    pub(crate) fn opened_nothing(&self) -> bool {
        self.links_opened == 0 && self.links_failed >= HOPELESS_FAILED_MIN
    }

    /// Whether it seems to be behind a firewall; a symmetric mapping explains as much.
    pub(crate) fn seems_closed(&self) -> bool {
        self.opened_nothing() && self.mapping != Mapping::Symmetric
    }

    /// Gives up for a while on one with which no link ever opened; each time for longer if it seems
    /// to be closed.
    pub(crate) fn lose_hope(&mut self, now: Stamp) {
        if !self.opened_nothing() {
            return;
        }
        if self.seems_closed() && !self.is_hopeless(now) {
            self.given_up = (self.given_up + 1).min(GIVEN_UP_MAX);
        }
        let doublings = u32::from(self.given_up.saturating_sub(1));
        self.hopeless_until = now.after(HOPELESS_TIME * (1 << doublings));
    }

    /// Whether the two may be in one network, where no address is translated.
    pub(crate) fn may_be_at_home_with(&self, other: &Self) -> bool {
        self.place.subnet != 0 && self.place.subnet == other.place.subnet
    }

    /// Whether it cannot connect to the other, as far as is known.
    pub(crate) fn is_barred_from(&self, other: &Self) -> bool {
        self.mapping == Mapping::Symmetric
            && !self.may_be_at_home_with(other)
            && (other.mapping == Mapping::Symmetric || other.takes_symmetric == Some(false))
    }

    /// Whether it takes part in swarms.
    pub(crate) fn is_planned(&self) -> bool {
        self.share != ShareMode::Off
    }

    pub(crate) fn set_cap(&mut self, cap: Option<BitRate>) {
        self.cap_kbps = cap.map_or(u32::MAX, kbps);
    }

    /// Takes what the peer learned. Zero says that it has not learned anything yet.
    pub(crate) fn learn(&mut self, upload: BitRate) {
        if upload != BitRate::ZERO {
            self.learned_kbps = kbps(upload).max(1);
        }
    }

    /// Upload that may be planned with, over all renditions.
    pub(crate) fn usable_kbps(&self, prior: BitRate, max: BitRate) -> u32 {
        match self.share {
            _ if self.banned => 0,
            ShareMode::Off | ShareMode::ReceiveOnly => 0,
            ShareMode::Share => {
                let known = if self.learned_kbps == 0 { kbps(prior) } else { self.learned_kbps };
                known.min(self.cap_kbps).min(kbps(max))
            }
        }
    }

    /// How often links with it do not open, ‰, starting from little.
    pub(crate) fn unreachability(&self) -> u32 {
        let failed = u32::from(self.links_failed);
        failed * 1_000 / (failed + u32::from(self.links_opened) + 2)
    }

    /// Its index in a swarm.
    pub(crate) fn member_of(&self, swarm: SwarmIx) -> Option<MemberIx> {
        self.watches
            .iter()
            .find(|watch| watch.swarm == swarm && watch.member != MemberIx::NONE)
            .map(|watch| watch.member)
    }
}

/// Kilobits per second, saturating at 4 Tbit/s.
pub(crate) fn kbps(rate: BitRate) -> u32 {
    u32::try_from(rate.as_bps() / 1_000).unwrap_or(u32::MAX)
}

/// All connected peers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peers {
    slots: Vec<Option<Peer>>,
    vacant: Vec<PeerIx>,
    index: BTreeMap<PeerId, PeerIx>,
}

impl Peers {
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    pub(crate) fn find(&self, id: PeerId) -> Option<PeerIx> {
        self.index.get(&id).copied()
    }

    pub(crate) fn peer(&self, peer: PeerIx) -> &Peer {
        self.slots[peer.at()].as_ref().expect("an index is held only while its peer is connected")
    }

    pub(crate) fn peer_mut(&mut self, peer: PeerIx) -> &mut Peer {
        self.slots[peer.at()].as_mut().expect("an index is held only while its peer is connected")
    }

    /// Reads a little of many peers and changes nothing. A leaver's neighbours are all over the
    /// memory: read at once, they come side by side, and not one after another when each is changed.
    pub(crate) fn warm(&self, peers: impl Iterator<Item = PeerIx>) {
        let edges = |peer| self.peer(peer).links.first().map_or(0, Link::edges);
        core::hint::black_box(peers.map(edges).fold(0, u32::wrapping_add));
    }

    pub(crate) fn insert(&mut self, peer: Peer) -> PeerIx {
        let id = peer.id;
        let ix = if let Some(ix) = self.vacant.pop() {
            self.slots[ix.at()] = Some(peer);
            ix
        } else {
            if self.slots.len() == self.slots.capacity() {
                self.slots.reserve_exact(self.slots.len() / 8 + 16);
            }
            self.slots.push(Some(peer));
            PeerIx(u32::try_from(self.slots.len() - 1).expect("peers_max is 32 bits"))
        };
        self.index.insert(id, ix);
        ix
    }

    pub(crate) fn remove(&mut self, ix: PeerIx) {
        if let Some(peer) = self.slots[ix.at()].take() {
            self.index.remove(&peer.id);
            self.vacant.push(ix);
        }
    }

    /// All, in the order of their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (PeerIx, &Peer)> + '_ {
        self.index.values().map(|&ix| (ix, self.peer(ix)))
    }

    /// Every index in use, in the order of names.
    pub(crate) fn indices(&self) -> Vec<PeerIx> {
        self.index.values().copied().collect()
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let own = self.slots.capacity() * size_of::<Option<Peer>>()
            + self.index.len() * size_of::<(PeerId, PeerIx)>() * 3 / 2
            + self.vacant.capacity() * size_of::<PeerIx>();
        let lists = |peer: &Peer| {
            peer.links.capacity() * size_of::<Link>()
                + peer.failed.capacity() * size_of::<Failed>()
                + peer.watches.capacity() * size_of::<Watch>()
                + peer.resume.capacity() * size_of::<Edge>()
                + peer.lateness.as_ref().map_or(0, |_| size_of::<Lateness>())
        };
        own + self.iter().map(|(_, peer)| lists(peer)).sum::<usize>()
    }
}
