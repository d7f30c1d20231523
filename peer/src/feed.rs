//! Where each substream of a rendition comes from.
//!
//! Rule: make before break. The old parent serves up to an object, the new one from it on, and the
//! border is fixed when the new one has confirmed.

use crate::clock::{Clocks, Place};
use crate::config::Config;
use crate::demand::Demand;
use crate::news::News;
use alloc::vec::Vec;
use core::time::Duration;
use shoal_wire::{Instant, ObjectId, Part, PeerId, Substream};

/// Who feeds a substream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parent {
    /// Nobody: no plan yet, or the parent is gone.
    Nobody,
    /// The origin: this peer is a root.
    Origin,
    /// A neighbour.
    Peer(PeerId),
}

impl Parent {
    /// The neighbour, if it is one.
    pub const fn peer(self) -> Option<PeerId> {
        match self {
            Self::Peer(peer) => Some(peer),
            Self::Nobody | Self::Origin => None,
        }
    }
}

/// A parent that is to take over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Next {
    pub(crate) peer: PeerId,
    pub(crate) asked: bool,
}

/// One substream's feed.
#[derive(Clone, Debug)]
pub(crate) struct Feed {
    pub(crate) current: Parent,
    pub(crate) next: Option<Next>,
    /// As a root: objects from here on are fetched as soon as they are known.
    pub(crate) root_from: Option<ObjectId>,
    /// How long after the digest the run is usually whole.
    pub(crate) lag: Duration,
    /// How many peers hang below this one, as the parent was told.
    pub(crate) weight_told: u16,
    pub(crate) good: u32,
    pub(crate) repaired: u32,
    /// Runs in a row of which the parent brought next to nothing, without saying that it lacks it.
    pub(crate) silent_in_row: u32,
    /// When the parent last brought a chunk.
    pub(crate) heard_at: Instant,
    /// The newest such run, while the parent may still say so.
    pub(crate) suspect: Option<ObjectId>,
}

impl Feed {
    const fn new() -> Self {
        Self {
            current: Parent::Nobody,
            next: None,
            root_from: None,
            lag: Duration::from_millis(300),
            weight_told: 0,
            good: 0,
            repaired: 0,
            silent_in_row: 0,
            heard_at: Instant::ZERO,
            suspect: None,
        }
    }

    /// A run came whole from the parent, `lag` after its digest.
    pub(crate) fn note_good(&mut self, lag: Duration) {
        self.lag = (self.lag * 7 + lag) / 8;
        self.good += 1;
        self.silent_in_row = 0;
        self.suspect = None;
    }

    /// A run needed repair.
    pub(crate) const fn note_repaired(&mut self) {
        self.repaired += 1;
    }
}

/// A rendition as this viewer plays it.
#[derive(Debug)]
pub(crate) struct Rendition {
    /// The first object its player asked for; what is published from it on is fetched unasked.
    /// None while nobody plays it.
    pub(crate) first: Option<ObjectId>,
    /// The newest object with a digest.
    pub(crate) newest: Option<ObjectId>,
    /// So many segments before the newest one its player began, once a parent was asked.
    pub(crate) begun_behind: Option<u64>,
    pub(crate) feeds: Vec<Feed>,
    pub(crate) plan_version: u64,
    /// Set while it is played on demand: nobody feeds it then.
    pub(crate) demand: Option<Demand>,
    /// What a player asked for last.
    pub(crate) asked_last: Option<ObjectId>,
    /// When the server was told of a seek away from the live edge.
    pub(crate) shift_told_at: Option<Instant>,
    pub(crate) clocks: Clocks,
    pub(crate) news: News,
    /// Duration of the newest segment.
    pub(crate) segment_len: Duration,
    /// Length of the newest segment in bytes: an estimate where no digest is known.
    pub(crate) segment_bytes: u32,
}

impl Rendition {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            first: None,
            newest: None,
            begun_behind: None,
            feeds: Vec::new(),
            plan_version: 0,
            demand: None,
            asked_last: None,
            shift_told_at: None,
            clocks: Clocks::default(),
            news: News::default(),
            // Until a digest tells: short, so that deadlines err early, and of a usual size.
            segment_len: Duration::from_secs(1),
            segment_bytes: config.segment_bytes_prior,
        }
    }

    /// Whether `object` is fetched without being asked for.
    pub(crate) fn wants(&self, object: &ObjectId) -> bool {
        match &self.demand {
            Some(demand) => demand.wants(object),
            None => self.first.is_some_and(|first| *object >= first),
        }
    }

    pub(crate) fn resize(&mut self, substreams: u8) {
        self.feeds.resize_with(usize::from(substreams), Feed::new);
    }

    pub(crate) fn feed(&self, k: Substream) -> Option<&Feed> {
        self.feeds.get(usize::from(k.0))
    }

    pub(crate) fn feed_mut(&mut self, k: Substream) -> Option<&mut Feed> {
        self.feeds.get_mut(usize::from(k.0))
    }

    /// Whether all that is to come will come from peers or is still open: false if the plan makes
    /// this viewer a root of everything.
    pub(crate) fn is_fed_by_peers(&self) -> bool {
        self.feeds.is_empty()
            || self.feeds.iter().any(|f| f.next.is_some() || f.current != Parent::Origin)
    }

    /// The first object that is not known yet.
    pub(crate) fn frontier(&self) -> Option<ObjectId> {
        self.newest.map(successor).or(self.first)
    }

    /// The substreams that `peer` feeds or is to feed.
    pub(crate) fn fed_by(&self, peer: PeerId) -> Vec<Substream> {
        let by = |feed: &Feed| {
            feed.current == Parent::Peer(peer) || feed.next.is_some_and(|n| n.peer == peer)
        };
        let indexed = (0u8..).zip(&self.feeds);
        indexed.filter(|(_, feed)| by(feed)).map(|(k, _)| Substream(k)).collect()
    }

    /// When the earliest player will need `object`.
    pub(crate) fn expected_need(&self, object: &ObjectId, now: Instant) -> Option<Instant> {
        self.clocks.expected(Place::of(object), self.segment_len, now)
    }
}

/// The first object that may come after `object`.
pub(crate) const fn successor(object: ObjectId) -> ObjectId {
    match object.part {
        Part::WHOLE => ObjectId { msn: object.msn + 1, part: Part(0), ..object },
        Part(part) => ObjectId { part: Part(part + 1), ..object },
    }
}
