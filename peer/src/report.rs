//! What the viewer's engine says of itself: to the tracker every few seconds, to its shell at any
//! time.

use crate::engine::Engine;
use crate::feed::Parent;
use crate::output::FallbackReason;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;
use shoal_wire::tracker_message::{Assignment, NeighbourReport, Report, SubstreamReport, Totals};
use shoal_wire::{
    BitRate, ByteSize, ClientMessage, Instant, ObjectId, PeerId, RenditionId, ShareMode, Substream,
};

/// Bytes and events since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) delivered: u64,
    pub(crate) from_origin: u64,
    pub(crate) from_peers: u64,
    pub(crate) to_peers: u64,
    pub(crate) wasted: u64,
    pub(crate) hash_mismatches: u64,
    pub(crate) origin_mismatches: u64,
    pub(crate) origin_failures: u64,
    pub(crate) cut_off: u64,
    played: Duration,
    /// Time that the first answer of all took.
    startup: Option<Duration>,
    /// The newest object that a player was given.
    newest: Option<ObjectId>,
    lateness: Duration,
    fallbacks: BTreeMap<FallbackReason, u64>,
    last_fallback: Option<FallbackReason>,
}

impl Counters {
    pub(crate) fn note_fallback(&mut self, reason: FallbackReason) {
        *self.fallbacks.entry(reason).or_default() += 1;
        self.last_fallback = Some(reason);
    }

    pub(crate) fn note_lateness(&mut self, late: Duration) {
        self.lateness += late;
    }

    /// A player has all of `object`, which lasts `len`, `waited` after it asked.
    pub(crate) fn note_handed(&mut self, object: ObjectId, len: Duration, waited: Duration) {
        self.played += len;
        self.startup.get_or_insert(waited);
        self.newest = Some(object);
    }

    fn totals(&self) -> Totals {
        let fallbacks = |reason| self.fallbacks.get(&reason).copied().unwrap_or(0);
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Totals {
            delivered: ByteSize::from_bytes(self.delivered),
            from_origin: ByteSize::from_bytes(self.from_origin),
            from_peers: ByteSize::from_bytes(self.from_peers),
            wasted: ByteSize::from_bytes(self.wasted),
            to_peers: ByteSize::from_bytes(self.to_peers),
            hash_mismatches: self.hash_mismatches,
            fallbacks: self.fallbacks.values().sum(),
            fallbacks_deadline: fallbacks(FallbackReason::Deadline),
            fallbacks_no_source: fallbacks(FallbackReason::NoSource),
            stalled_ms: millis(self.lateness),
            played_ms: millis(self.played),
        }
    }
}

/// One neighbour, for a status page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighbourStatus {
    /// Which.
    pub peer: PeerId,
    /// Chunk bytes taken from it and used.
    pub received: ByteSize,
    /// Chunk bytes sent to it.
    pub sent: ByteSize,
    /// Smoothed round trip, once measured.
    pub rtt: Option<Duration>,
}

/// Where one substream comes from, for a status page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubstreamStatus {
    /// The rendition.
    pub rendition: RenditionId,
    /// The substream.
    pub substream: Substream,
    /// Who feeds it.
    pub parent: Parent,
}

/// A snapshot of the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The name that the server gave, if it did.
    pub peer: Option<PeerId>,
    /// What the viewer allows.
    pub share: ShareMode,
    /// Bytes and events since the start.
    pub totals: Totals,
    /// Open links.
    pub neighbours: Vec<NeighbourStatus>,
    /// Feeds.
    pub substreams: Vec<SubstreamStatus>,
    /// Media asked for and not yet played by the earliest player.
    pub buffered: Duration,
    /// Usable upload as far as it is known.
    pub upload: BitRate,
    /// How often the origin had to step in, by reason.
    pub fallbacks: Vec<(FallbackReason, u64)>,
    /// The last reason.
    pub last_fallback: Option<FallbackReason>,
    /// Chunks of the viewer's own origin that are not what the digest says.
    pub origin_mismatches: u64,
    /// Origin fetches that failed.
    pub origin_failures: u64,
    /// Neighbours cut off.
    pub cut_off: u64,
    /// Bytes held in the store.
    pub store_bytes: usize,
    /// Objects known.
    pub objects: usize,
}

impl Engine {
    /// A snapshot for people and metrics.
    pub fn status(&self, now: Instant) -> Status {
        let neighbours = self.neighbours.iter().map(|(peer, n)| NeighbourStatus {
            peer: *peer,
            received: ByteSize::from_bytes(n.received),
            sent: ByteSize::from_bytes(n.sent),
            rtt: n.rtt,
        });
        let mut substreams = Vec::new();
        for (rendition, state) in self.renditions.iter() {
            for (k, feed) in (0u8..).zip(&state.feeds) {
                let (rendition, substream, parent) = (*rendition, Substream(k), feed.current);
                substreams.push(SubstreamStatus { rendition, substream, parent });
            }
        }
        Status {
            peer: self.session.me(),
            share: self.share,
            totals: self.counters.totals(),
            neighbours: neighbours.collect(),
            substreams,
            buffered: self.buffered(now),
            upload: self.uplink.usable(),
            fallbacks: self.counters.fallbacks.iter().map(|(r, n)| (*r, *n)).collect(),
            last_fallback: self.counters.last_fallback,
            origin_mismatches: self.counters.origin_mismatches,
            origin_failures: self.counters.origin_failures,
            cut_off: self.counters.cut_off,
            store_bytes: self.store.bytes(),
            objects: self.store.len(),
        }
    }

    fn buffered(&self, now: Instant) -> Duration {
        let watched = self.renditions.values().filter(|r| r.first.is_some());
        watched.map(|r| r.clocks.buffered(now)).min().unwrap_or_default()
    }

    /// Reports to the tracker, if it is time to.
    pub(crate) fn report(&mut self, now: Instant) {
        if self.session.report_at().is_some_and(|at| at <= now) {
            self.report_now(now);
        }
    }

    pub(crate) fn report_now(&mut self, now: Instant) {
        self.session.schedule_report(now);
        let millis = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        let mut substreams = Vec::new();
        for (rendition, state) in self.renditions.iter_mut() {
            for (k, feed) in (0u8..).zip(&mut state.feeds) {
                substreams.push(SubstreamReport {
                    rendition: *rendition,
                    substream: Substream(k),
                    parent: feed.current.peer(),
                    lag_ms: millis(feed.lag),
                    runs_good: core::mem::take(&mut feed.good),
                    runs_repaired: core::mem::take(&mut feed.repaired),
                });
            }
        }
        let neighbours = self.neighbours.iter().map(|(peer, n)| NeighbourReport {
            peer: *peer,
            received: ByteSize::from_bytes(n.received),
            sent: ByteSize::from_bytes(n.sent),
            rtt_us: n.rtt_min.map_or(0, |rtt| u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX)),
        });
        let report = Report {
            totals: self.counters.totals(),
            upload: self.uplink.usable(),
            buffer_ms: millis(self.buffered(now)),
            startup_ms: self.counters.startup.map(millis),
            newest: self.counters.newest,
            substreams,
            neighbours: neighbours.collect(),
        };
        self.tell_server(ClientMessage::Report(report));
    }

    /// The operator follows `object`.
    pub(crate) fn on_trace(&mut self, object: ObjectId, now: Instant) {
        self.traced = Some(object);
        if self.store.object(&object).is_some_and(crate::object::Object::is_complete) {
            self.tell_traced(object, now);
        }
    }

    /// All of `object` is here: says so if it is followed.
    pub(crate) fn tell_traced(&mut self, object: ObjectId, now: Instant) {
        if self.traced != Some(object) {
            return;
        }
        self.traced = None;
        let Some(entry) = self.store.object(&object) else { return };
        let known_ms = u32::try_from((now - entry.known_at).as_millis()).unwrap_or(u32::MAX);
        let fell_back = entry.fell_back || entry.direct;
        let feeds = self.renditions.get(&object.rendition).map(|state| &state.feeds);
        let parents = (0u8..)
            .zip(feeds.into_iter().flatten())
            .map(|(k, feed)| Assignment { substream: Substream(k), parent: feed.current.peer() });
        let parents = parents.collect();
        self.tell_server(ClientMessage::Traced { object, known_ms, parents, fell_back });
    }
}
