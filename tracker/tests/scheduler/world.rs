//! A small world around a tracker: it opens the links that are asked for, and keeps what each peer
//! was told. It checks the tracker's own tables and the peers' view after every event.

use shoal_tracker::{Config, Input, Mapping, Output, Place, Profile, Published, Tracker};
use shoal_wire::tracker_message::{LinkState, Source};
use shoal_wire::{
    BitRate, ByteSize, Epoch, Instant, ObjectId, PeerId, RenditionId, ShareMode, Substream,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The rendition that tests use.
pub(crate) const VIDEO: RenditionId = RenditionId(0);
/// Its K.
pub(crate) const K: u8 = 8;

/// A tracker and the peers around it.
pub(crate) struct World {
    pub(crate) tracker: Tracker,
    pub(crate) now: Instant,
    /// What each peer was told.
    pub(crate) parents: BTreeMap<(PeerId, RenditionId, u8), Option<PeerId>>,
    /// Whom each on-demand viewer was told to ask.
    pub(crate) sources: BTreeMap<(PeerId, RenditionId), Vec<Source>>,
    /// Everything that the tracker asked for.
    pub(crate) log: Vec<Output>,
    pub(crate) banned: BTreeSet<PeerId>,
    pub(crate) plans: usize,
    pub(crate) digests: usize,
    /// Links that open: time until the ends say so.
    pub(crate) opening: Vec<(Instant, PeerId, PeerId)>,
    link_delay: Duration,
    versions: BTreeMap<PeerId, u64>,
    msn: u64,
    /// Pairs whose links do not open.
    pub(crate) cannot_link: Option<fn(PeerId, PeerId) -> bool>,
    /// Whether every event is followed by an audit.
    pub(crate) audits: bool,
}

/// A peer that shares, somewhere unknown.
pub(crate) fn profile() -> Profile {
    Profile {
        share: ShareMode::Share,
        upload_cap: None,
        links_max: 32,
        place: Place::default(),
        mapping: Mapping::Unknown,
    }
}

/// A peer with a cap on its upload.
pub(crate) fn capped(bps: u64) -> Profile {
    Profile { upload_cap: Some(BitRate::from_bps(bps)), ..profile() }
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self::with(Config::default(), seed)
    }

    pub(crate) fn with(config: Config, seed: u64) -> Self {
        Self {
            tracker: Tracker::new(config, seed),
            now: Instant::from_micros(1_000_000),
            parents: BTreeMap::new(),
            sources: BTreeMap::new(),
            log: Vec::new(),
            banned: BTreeSet::new(),
            plans: 0,
            digests: 0,
            opening: Vec::new(),
            link_delay: Duration::from_millis(500),
            versions: BTreeMap::new(),
            msn: 0,
            cannot_link: None,
            audits: true,
        }
    }

    /// Gives an input and takes what comes of it.
    pub(crate) fn handle(&mut self, input: Input) {
        let context = format!("{input:?}");
        self.tracker.handle(input, self.now);
        while let Some(output) = self.tracker.poll_output() {
            self.take(output);
        }
        if self.audits {
            self.tracker.audit().unwrap_or_else(|fault| panic!("after {context}: {fault}"));
        }
    }

    fn take(&mut self, output: Output) {
        match &output {
            Output::Introduce { offerer, answerer } => {
                assert_ne!(offerer, answerer);
                self.opening.push((self.now + self.link_delay, *offerer, *answerer));
            }
            Output::Plan { peer, version, rendition, assignments, .. } => {
                assert!(!assignments.is_empty());
                let last = self.versions.insert(*peer, *version).unwrap_or(0);
                assert!(*version > last, "versions grow");
                self.plans += 1;
                for assignment in assignments {
                    let key = (*peer, *rendition, assignment.substream.0);
                    self.parents.insert(key, assignment.parent);
                }
            }
            Output::Digest { .. } => self.digests += 1,
            Output::Banned { peer } => {
                self.banned.insert(*peer);
            }
            Output::Sources { peer, rendition, sources, .. } => {
                self.sources.insert((*peer, *rendition), sources.clone());
            }
            Output::Disconnect { .. } | Output::Peers { .. } => {}
        }
        self.log.push(output);
    }

    pub(crate) fn join(&mut self, id: u64, profile: Profile) {
        let peer = PeerId(id);
        self.handle(Input::Join { peer, profile, edges: Vec::new(), neighbours: Vec::new() });
        self.handle(Input::Watch { peer, rendition: VIDEO, msn: u64::MAX });
    }

    pub(crate) fn leave(&mut self, id: u64) {
        self.parents.retain(|key, _| key.0 != PeerId(id));
        self.handle(Input::Leave { peer: PeerId(id) });
    }

    /// Publishes the next segment: 2 s of 2 Mbit/s.
    pub(crate) fn publish(&mut self) {
        self.msn += 1;
        self.handle(Input::Published(Published {
            object: ObjectId::segment(VIDEO, Epoch(1), self.msn),
            size: ByteSize::from_bytes(500_000),
            duration: Duration::from_secs(2),
            chunk_size: 16 * 1024,
            substreams: K,
        }));
    }

    /// Lets time pass, with ticks, links that open and segments every two seconds.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += Duration::from_millis(100);
            let (due, later) = self.opening.iter().partition(|(at, ..)| *at <= self.now);
            self.opening = later;
            let due: Vec<(Instant, PeerId, PeerId)> = due;
            for (_, a, b) in due {
                if self.cannot_link.is_some_and(|cannot| cannot(a, b)) {
                    let state = LinkState::Failed;
                    self.handle(Input::Link { peer: a, other: b, state, rtt: None });
                    continue;
                }
                for (peer, other) in [(a, b), (b, a)] {
                    let rtt = Some(Duration::from_millis(40));
                    self.handle(Input::Link { peer, other, state: LinkState::Up, rtt });
                }
            }
            if self.tracker.poll_timeout().is_some_and(|at| at <= self.now) {
                self.handle(Input::Tick);
            }
            if self.now.as_micros().is_multiple_of(2_000_000) {
                self.publish();
            }
        }
    }

    /// Checks that every peer was told what the tracker holds.
    pub(crate) fn check_told(&self) {
        self.check_told_except(RenditionId(u16::MAX));
    }

    /// The same, but for one rendition that some left.
    pub(crate) fn check_told_except(&self, except: RenditionId) {
        for (&(peer, rendition, k), told) in &self.parents {
            if rendition != except {
                let held = self.tracker.parent(peer, rendition, Substream(k));
                assert_eq!(held, Some(*told), "{peer} in substream {k}");
            }
        }
    }

    /// Children of every peer over all substreams.
    pub(crate) fn children(&self) -> BTreeMap<PeerId, usize> {
        let mut children = BTreeMap::new();
        for ((peer, ..), parent) in &self.parents {
            children.entry(*peer).or_insert(0);
            if let Some(parent) = parent {
                *children.entry(*parent).or_insert(0) += 1;
            }
        }
        children
    }

    /// Substreams of every peer that it is root of.
    pub(crate) fn roots(&self) -> BTreeMap<PeerId, usize> {
        let mut roots = BTreeMap::new();
        for ((peer, ..), parent) in &self.parents {
            *roots.entry(*peer).or_insert(0) += usize::from(parent.is_none());
        }
        roots
    }
}
