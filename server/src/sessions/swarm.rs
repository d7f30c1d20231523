//! The viewers of one stream: their sessions, who was introduced to whom, and what they report.
//!
//! Rule: a signal passes only between peers that the tracker introduced. Totals are sums of
//! differences, so that they outlive the viewers and count nothing twice.

use super::links::{Kind, Links};
use crate::metrics::Metrics;
use axum::extract::ws::Utf8Bytes;
use shoal_tracker::forest::Supply;
use shoal_wire::tracker_message::Totals;
use shoal_wire::{ByteSize, PeerId, ServerMessage, StreamName};
use std::collections::{HashMap, VecDeque};
use tokio::sync::mpsc;

/// Viewers that left whose totals are remembered, in case they come back under their name.
const DEPARTED_MAX: usize = 10_000;

/// How a stream's swarm does.
#[derive(Clone, Debug)]
pub(crate) struct SwarmStatus {
    pub(crate) stream: StreamName,
    pub(crate) viewers: usize,
    pub(crate) totals: Totals,
    pub(crate) links: Links,
    pub(crate) plan_changes: u64,
    pub(crate) bans: u64,
    /// The operator's switch.
    pub(crate) peers_enabled: bool,
    /// What each rendition needs and has; filled in when asked for.
    pub(crate) supplies: Vec<Supply>,
}

impl Default for SwarmStatus {
    fn default() -> Self {
        Self::new("none".parse().expect("none is a stream name"))
    }
}

impl SwarmStatus {
    pub(super) fn new(stream: StreamName) -> Self {
        Self {
            stream,
            viewers: 0,
            totals: Totals::default(),
            links: Links::default(),
            plan_changes: 0,
            bans: 0,
            peers_enabled: true,
            supplies: Vec::new(),
        }
    }
}

/// One viewer.
pub(super) struct Member {
    outbox: mpsc::Sender<Utf8Bytes>,
    /// It had better make the offers of its links.
    offers: bool,
    kind: Kind,
    totals: Totals,
    /// Peers that it was introduced to, and whether it is the one that offers.
    introduced: HashMap<PeerId, bool>,
}

/// All viewers of a stream.
pub(super) struct Members {
    by_peer: HashMap<PeerId, Member>,
    departed: HashMap<PeerId, Totals>,
    departed_order: VecDeque<PeerId>,
    /// Viewers whose queue is full: they are to be sent away.
    overrun: Vec<PeerId>,
}

impl Members {
    pub(super) fn new() -> Self {
        Self {
            by_peer: HashMap::new(),
            departed: HashMap::new(),
            departed_order: VecDeque::new(),
            overrun: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_peer.len()
    }

    pub(super) fn contains(&self, peer: PeerId) -> bool {
        self.by_peer.contains_key(&peer)
    }

    pub(super) fn insert(
        &mut self,
        peer: PeerId,
        (offers, kind): (bool, Kind),
        outbox: mpsc::Sender<Utf8Bytes>,
    ) {
        let totals = self.departed.remove(&peer).unwrap_or_default();
        let member = Member { outbox, offers, kind, totals, introduced: HashMap::new() };
        self.by_peer.insert(peer, member);
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, peer: PeerId) -> bool {
        let Some(member) = self.by_peer.remove(&peer) else { return false };
        for other in member.introduced.keys() {
            if let Some(other) = self.by_peer.get_mut(other) {
                other.introduced.remove(&peer);
            }
        }
        self.departed.insert(peer, member.totals);
        self.departed_order.push_back(peer);
        if self.departed_order.len() > DEPARTED_MAX
            && let Some(oldest) = self.departed_order.pop_front()
        {
            self.departed.remove(&oldest);
        }
        true
    }

    /// Peers that are to be sent away, each once.
    pub(super) fn take_overrun(&mut self) -> Vec<PeerId> {
        std::mem::take(&mut self.overrun)
    }

    pub(super) fn send(&mut self, peer: PeerId, message: &ServerMessage) {
        self.send_text(peer, message.to_json().into());
    }

    pub(super) fn send_text(&mut self, peer: PeerId, text: Utf8Bytes) {
        if let Some(member) = self.by_peer.get(&peer)
            && member.outbox.try_send(text).is_err()
        {
            self.overrun.push(peer);
        }
    }

    /// Sends to all; serialised once.
    pub(super) fn broadcast(&mut self, message: &ServerMessage) {
        let text = Utf8Bytes::from(message.to_json());
        for (peer, member) in &self.by_peer {
            if member.outbox.try_send(text.clone()).is_err() {
                self.overrun.push(*peer);
            }
        }
    }

    /// Sends to each what `message` makes for it. Who does not read misses it.
    pub(super) fn send_each(&self, mut message: impl FnMut() -> ServerMessage) {
        for member in self.by_peer.values() {
            let _ = member.outbox.try_send(message().to_json().into());
        }
    }

    /// From now on these two may signal to each other.
    ///
    /// `first` makes the offer unless the other had better.
    pub(super) fn introduce(&mut self, first: PeerId, second: PeerId) {
        let member = |peer| self.by_peer.get(&peer);
        let (Some(one), Some(two)) = (member(first), member(second)) else { return };
        let is_first = one.offers || !two.offers;
        for (peer, other, offer) in [(first, second, is_first), (second, first, !is_first)] {
            if let Some(member) = self.by_peer.get_mut(&peer) {
                member.introduced.insert(other, offer);
            }
            self.send(peer, &ServerMessage::Introduce { peer: other, offer });
        }
    }

    /// From now on these two may not.
    pub(super) fn part(&mut self, peer: PeerId, other: PeerId) {
        for (peer, other) in [(peer, other), (other, peer)] {
            if let Some(member) = self.by_peer.get_mut(&peer) {
                member.introduced.remove(&other);
            }
        }
    }

    /// Whether `peer` was introduced to `other`, and then whether it offers.
    pub(super) fn introduced(&self, peer: PeerId, other: PeerId) -> Option<bool> {
        self.by_peer.get(&peer)?.introduced.get(&other).copied()
    }

    /// What the programs at the two ends are, if both are there.
    pub(super) fn kinds(&self, peer: PeerId, other: PeerId) -> Option<(Kind, Kind)> {
        Some((self.by_peer.get(&peer)?.kind, self.by_peer.get(&other)?.kind))
    }

    /// Takes a viewer's totals in: what is new of them goes to `sum` and to the metrics.
    pub(super) fn report(&mut self, peer: PeerId, now: &Totals, sum: &mut Totals, m: &Metrics) {
        let Some(member) = self.by_peer.get_mut(&peer) else { return };
        let new = difference(now, &member.totals);
        member.totals = *now;
        add(sum, &new);
        let delivered = |source| m.delivered_bytes.with_label_values(&[source]);
        delivered("origin").inc_by(new.from_origin.as_bytes());
        delivered("peer").inc_by(new.from_peers.as_bytes());
        m.wasted_bytes.inc_by(new.wasted.as_bytes());
        m.rebuffer_seconds.inc_by(new.stalled_ms as f64 / 1000.0);
        m.fallbacks.inc_by(new.fallbacks);
        m.hash_mismatches.inc_by(new.hash_mismatches);
    }
}

/// What `now` has beyond `before`; all of it where it counts less, for then it began anew.
fn difference(now: &Totals, before: &Totals) -> Totals {
    let count = |now: u64, before: u64| now.checked_sub(before).unwrap_or(now);
    let bytes = |now: ByteSize, before: ByteSize| {
        ByteSize::from_bytes(count(now.as_bytes(), before.as_bytes()))
    };
    Totals {
        delivered: bytes(now.delivered, before.delivered),
        from_origin: bytes(now.from_origin, before.from_origin),
        from_peers: bytes(now.from_peers, before.from_peers),
        wasted: bytes(now.wasted, before.wasted),
        to_peers: bytes(now.to_peers, before.to_peers),
        hash_mismatches: count(now.hash_mismatches, before.hash_mismatches),
        fallbacks: count(now.fallbacks, before.fallbacks),
        stalled_ms: count(now.stalled_ms, before.stalled_ms),
    }
}

fn add(sum: &mut Totals, new: &Totals) {
    // A viewer may report anything; sums saturate.
    let bytes = |sum: ByteSize, new: ByteSize| {
        ByteSize::from_bytes(sum.as_bytes().saturating_add(new.as_bytes()))
    };
    *sum = Totals {
        delivered: bytes(sum.delivered, new.delivered),
        from_origin: bytes(sum.from_origin, new.from_origin),
        from_peers: bytes(sum.from_peers, new.from_peers),
        wasted: bytes(sum.wasted, new.wasted),
        to_peers: bytes(sum.to_peers, new.to_peers),
        hash_mismatches: sum.hash_mismatches.saturating_add(new.hash_mismatches),
        fallbacks: sum.fallbacks.saturating_add(new.fallbacks),
        stalled_ms: sum.stalled_ms.saturating_add(new.stalled_ms),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    const NATIVE: (bool, Kind) = (false, Kind::Native);

    fn totals(delivered: u64, fallbacks: u64) -> Totals {
        Totals { delivered: ByteSize::from_bytes(delivered), fallbacks, ..Totals::default() }
    }

    #[test]
    fn totals_outlive_their_viewer_and_are_counted_once() {
        let metrics = Metrics::new();
        let (outbox, _inbox) = mpsc::channel(4);
        let mut members = Members::new();
        let mut sum = Totals::default();
        members.insert(PeerId(1), NATIVE, outbox.clone());
        members.report(PeerId(1), &totals(100, 2), &mut sum, &metrics);
        members.report(PeerId(1), &totals(150, 2), &mut sum, &metrics);
        assert!(members.remove(PeerId(1)));
        members.insert(PeerId(1), NATIVE, outbox);
        members.report(PeerId(1), &totals(170, 3), &mut sum, &metrics);
        assert_eq!(sum, totals(170, 3));
        members.report(PeerId(1), &totals(10, 0), &mut sum, &metrics);
        assert_eq!(sum, totals(180, 3));
        assert_eq!(metrics.fallbacks.get(), 3);
    }

    #[test]
    fn introductions_are_mutual_and_end_with_the_session() {
        let (outbox, mut inbox) = mpsc::channel(2);
        let mut members = Members::new();
        for peer in [1, 2, 3] {
            members.insert(PeerId(peer), NATIVE, outbox.clone());
        }
        members.introduce(PeerId(1), PeerId(2));
        assert_eq!(members.introduced(PeerId(1), PeerId(2)), Some(true));
        assert_eq!(members.introduced(PeerId(2), PeerId(1)), Some(false));
        assert_eq!(members.introduced(PeerId(1), PeerId(3)), None);
        assert!(inbox.try_recv().unwrap().contains("\"offer\":true"));
        members.remove(PeerId(1));
        assert_eq!(members.introduced(PeerId(2), PeerId(1)), None);
        members.introduce(PeerId(2), PeerId(3));
        assert_eq!(members.take_overrun(), [PeerId(3)]);
    }
    #[test]
    fn a_browser_makes_the_offer() {
        let (outbox, _inbox) = mpsc::channel(8);
        let mut members = Members::new();
        for (peer, offers) in [(1, false), (2, true), (3, true)] {
            members.insert(PeerId(peer), (offers, Kind::Other), outbox.clone());
        }
        for (first, second, is_first) in [(1, 2, false), (2, 1, true), (2, 3, true)] {
            members.introduce(PeerId(first), PeerId(second));
            assert_eq!(members.introduced(PeerId(first), PeerId(second)), Some(is_first));
            assert_eq!(members.introduced(PeerId(second), PeerId(first)), Some(!is_first));
        }
    }
}
