//! The viewers of one stream: their sessions, who was introduced to whom, and what they report.
//!
//! Rule: a signal passes only between peers that the tracker introduced. Totals are sums of
//! differences, so that they outlive the viewers and count nothing twice.

use super::links::{Kind, Links};
use super::mappings::Mappings;
use super::outbox::{Outbox, frame};
use super::quality::{Group, Quality, Viewing};
use crate::admission::Bearer;
use crate::metrics::Metrics;
use axum::extract::ws::Message;
use shoal_tracker::forest::Supply;
use shoal_wire::tracker_message::{Mapping, Report, Signal, Totals};
use shoal_wire::{ByteSize, PeerId, RenditionId, ServerMessage, StreamName};
use std::collections::{BTreeSet, HashMap, VecDeque};

/// Viewers that left whose totals are remembered, in case they come back under their name.
const DEPARTED_MAX: usize = 10_000;
/// Renditions that one viewer plays at once: video, audio, subtitles, and those it leaves.
const WATCHES_MAX: usize = 8;

/// How a stream's swarm does.
#[derive(Clone, Debug)]
pub(crate) struct SwarmStatus {
    pub(crate) stream: StreamName,
    pub(crate) viewers: usize,
    pub(crate) mappings: Mappings,
    pub(crate) totals: Totals,
    pub(crate) links: Links,
    pub(crate) plan_changes: u64,
    pub(crate) bans: u64,
    /// Whether its viewers may use peers.
    pub(crate) peers_enabled: bool,
    /// Its own switch: that of all streams may be off.
    pub(crate) switched_on: bool,
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
            mappings: Mappings::default(),
            totals: Totals::default(),
            links: Links::default(),
            plan_changes: 0,
            bans: 0,
            peers_enabled: true,
            switched_on: true,
            supplies: Vec::new(),
        }
    }
}

/// A viewer that says hello.
pub(super) struct Newcomer {
    pub(super) outbox: Outbox,
    /// It had better make the offers of its links.
    pub(super) offers: bool,
    pub(super) kind: Kind,
    pub(super) bearer: Bearer,
    pub(super) group: Group,
    /// Where it is from, for bans; leads to no address.
    pub(super) origin: u64,
}

/// One viewer.
pub(super) struct Member {
    newcomer: Newcomer,
    totals: Totals,
    viewing: Viewing,
    watches: Vec<RenditionId>,
    mapping: Mapping,
    /// Peers that it was introduced to.
    introduced: HashMap<PeerId, Introduction>,
}

/// What one of two has said since they were introduced.
#[derive(Debug)]
struct Introduction {
    /// It is the one that offers.
    offers: bool,
    described: bool,
    candidates: u8,
}

/// Most candidates that one side names: its networks, each with an address from two STUN servers
/// and from TURN, over UDP and TCP.
const CANDIDATES_MAX: u8 = 64;

/// Why a signal does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadSignal {
    /// The two were not introduced.
    Stranger,
    /// It was said before, or is the other's to say.
    Replayed,
    /// Too many candidates.
    Flood,
}

impl BadSignal {
    /// The label under which it is counted.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Stranger => "signal",
            Self::Replayed => "signal_replayed",
            Self::Flood => "signal_flood",
        }
    }
}

/// All viewers of a stream.
pub(super) struct Members {
    by_peer: HashMap<PeerId, Member>,
    mappings: Mappings,
    departed: HashMap<PeerId, Totals>,
    departed_order: VecDeque<PeerId>,
    /// Viewers whose queue is full: they are to be sent away.
    overrun: Vec<PeerId>,
    /// How those that left fared.
    quality: Quality,
}

/// One viewer, as it is shown to the operator.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct ViewerStatus {
    peer: String,
    group: &'static str,
    kind: &'static str,
    mapping: Mapping,
    watches: Vec<u16>,
    /// Viewers that it may have links with.
    introduced: usize,
    totals: Totals,
}

impl Members {
    pub(super) fn new() -> Self {
        Self {
            by_peer: HashMap::new(),
            mappings: Mappings::default(),
            departed: HashMap::new(),
            departed_order: VecDeque::new(),
            overrun: Vec::new(),
            quality: Quality::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_peer.len()
    }

    pub(super) fn contains(&self, peer: PeerId) -> bool {
        self.by_peer.contains_key(&peer)
    }

    pub(super) fn insert(&mut self, peer: PeerId, newcomer: Newcomer) {
        let before = self.departed.remove(&peer);
        let (group, is_resumed) = (newcomer.group, before.is_some());
        let member = Member {
            newcomer,
            totals: before.unwrap_or_default(),
            viewing: Viewing::new(group, is_resumed),
            watches: Vec::new(),
            mapping: Mapping::Unknown,
            introduced: HashMap::new(),
        };
        *self.mappings.count(member.mapping) += 1;
        self.by_peer.insert(peer, member);
    }

    /// Whose token it had, if it was there.
    pub(super) fn remove(&mut self, peer: PeerId) -> Option<Bearer> {
        let member = self.by_peer.remove(&peer)?;
        *self.mappings.count(member.mapping) -= 1;
        for other in member.introduced.keys() {
            if let Some(other) = self.by_peer.get_mut(other) {
                other.introduced.remove(&peer);
            }
        }
        self.quality.add(&member.viewing);
        self.departed.insert(peer, member.totals);
        self.departed_order.push_back(peer);
        if self.departed_order.len() > DEPARTED_MAX
            && let Some(oldest) = self.departed_order.pop_front()
        {
            self.departed.remove(&oldest);
        }
        Some(member.newcomer.bearer)
    }

    /// Peers that are to be sent away, each once.
    pub(super) fn take_overrun(&mut self) -> Vec<PeerId> {
        std::mem::take(&mut self.overrun)
    }

    pub(super) fn send(&mut self, peer: PeerId, message: &ServerMessage) {
        self.send_frame(peer, frame(message));
    }

    pub(super) fn send_frame(&mut self, peer: PeerId, frame: Message) {
        if let Some(member) = self.by_peer.get(&peer)
            && member.newcomer.outbox.try_send(frame).is_err()
        {
            self.overrun.push(peer);
        }
    }

    /// Sends to all; serialised once.
    pub(super) fn broadcast(&mut self, message: &ServerMessage) {
        let frame = frame(message);
        for (peer, member) in &self.by_peer {
            if member.newcomer.outbox.try_send(frame.clone()).is_err() {
                self.overrun.push(*peer);
            }
        }
    }

    /// Tells all who may use peers whether they are on.
    pub(super) fn switch_peers(&mut self, enabled: bool) {
        let frame = frame(&ServerMessage::Peers { enabled });
        let with_peers = self.by_peer.iter().filter(|(_, it)| it.newcomer.group == Group::Peers);
        for (peer, member) in with_peers {
            if member.newcomer.outbox.try_send(frame.clone()).is_err() {
                self.overrun.push(*peer);
            }
        }
    }

    pub(super) fn group(&self, peer: PeerId) -> Option<Group> {
        Some(self.by_peer.get(&peer)?.newcomer.group)
    }

    /// Where a viewer is from, for bans.
    pub(super) fn origin(&self, peer: PeerId) -> Option<u64> {
        Some(self.by_peer.get(&peer)?.newcomer.origin)
    }

    /// A viewer plays a rendition, or does not any more.
    pub(super) fn note_watch(&mut self, peer: PeerId, rendition: RenditionId, watches: bool) {
        if let Some(member) = self.by_peer.get_mut(&peer) {
            member.watches.retain(|it| *it != rendition);
            if watches && member.watches.len() < WATCHES_MAX {
                member.watches.push(rendition);
            }
        }
    }

    /// A viewer found out how its address is translated.
    pub(super) fn note_mapping(&mut self, peer: PeerId, mapping: Mapping) {
        if let Some(member) = self.by_peer.get_mut(&peer) {
            *self.mappings.count(member.mapping) -= 1;
            *self.mappings.count(mapping) += 1;
            member.mapping = mapping;
        }
    }

    /// How the addresses of those are translated who are here.
    pub(super) const fn mappings(&self) -> Mappings {
        self.mappings
    }

    /// Who plays a rendition.
    pub(super) fn watching(&self, rendition: RenditionId) -> BTreeSet<PeerId> {
        let watching = self.by_peer.iter().filter(|(_, it)| it.watches.contains(&rendition));
        watching.map(|(peer, _)| *peer).collect()
    }

    /// How all fared who were here.
    pub(super) fn quality(&self) -> Quality {
        let mut quality = self.quality.clone();
        for member in self.by_peer.values() {
            quality.add(&member.viewing);
        }
        quality
    }

    /// One viewer.
    pub(super) fn viewer(&self, peer: PeerId) -> Option<ViewerStatus> {
        let member = self.by_peer.get(&peer)?;
        Some(ViewerStatus {
            peer: peer.to_string(),
            group: member.newcomer.group.as_str(),
            kind: member.newcomer.kind.as_str(),
            mapping: member.mapping,
            watches: member.watches.iter().map(|it| it.0).collect(),
            introduced: member.introduced.len(),
            totals: member.totals,
        })
    }

    /// Sends to each what `message` makes for it. Who does not read misses it.
    pub(super) fn send_each(&self, mut message: impl FnMut() -> ServerMessage) {
        for member in self.by_peer.values() {
            let _ = member.newcomer.outbox.try_send(frame(&message()));
        }
    }

    /// From now on these two may signal to each other.
    ///
    /// `first` makes the offer unless the other had better.
    pub(super) fn introduce(&mut self, first: PeerId, second: PeerId) {
        let member = |peer| self.by_peer.get(&peer);
        let (Some(one), Some(two)) = (member(first), member(second)) else { return };
        let is_first = one.newcomer.offers || !two.newcomer.offers;
        for (peer, other, offer) in [(first, second, is_first), (second, first, !is_first)] {
            if let Some(member) = self.by_peer.get_mut(&peer) {
                let new = Introduction { offers: offer, described: false, candidates: 0 };
                member.introduced.insert(other, new);
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
        Some(self.by_peer.get(&peer)?.introduced.get(&other)?.offers)
    }

    /// Notes what `peer` says to `other`. Each side describes itself once in an introduction: an
    /// offer that comes again would make the other begin again.
    pub(super) fn note(
        &mut self,
        peer: PeerId,
        other: PeerId,
        signal: &Signal,
    ) -> Result<(), BadSignal> {
        let member = self.by_peer.get_mut(&peer).ok_or(BadSignal::Stranger)?;
        let said = member.introduced.get_mut(&other).ok_or(BadSignal::Stranger)?;
        let is_its = match signal {
            Signal::Offer { .. } => said.offers,
            Signal::Answer { .. } => !said.offers,
            Signal::Candidate { .. } if said.candidates >= CANDIDATES_MAX => {
                return Err(BadSignal::Flood);
            }
            Signal::Candidate { .. } => {
                said.candidates += 1;
                return Ok(());
            }
        };
        if said.described || !is_its {
            return Err(BadSignal::Replayed);
        }
        said.described = true;
        Ok(())
    }

    /// Whose tokens these two have.
    pub(super) fn bearers(&self, peer: PeerId, other: PeerId) -> Option<[(PeerId, Bearer); 2]> {
        let bearer = |peer| Some((peer, self.by_peer.get(&peer)?.newcomer.bearer));
        Some([bearer(peer)?, bearer(other)?])
    }

    /// What the programs at the two ends are, if both are there.
    pub(super) fn kinds(&self, peer: PeerId, other: PeerId) -> Option<(Kind, Kind)> {
        let kind = |peer| Some(self.by_peer.get(&peer)?.newcomer.kind);
        Some((kind(peer)?, kind(other)?))
    }

    /// Takes a viewer's report in: what is new of its totals goes to `sum` and to the metrics.
    /// `latency_s` is how far behind publication it plays, if that is known.
    pub(super) fn report(
        &mut self,
        peer: PeerId,
        (report, latency_s): (&Report, Option<f64>),
        sum: &mut Totals,
        m: &Metrics,
    ) {
        let Some(member) = self.by_peer.get_mut(&peer) else { return };
        let new = difference(&report.totals, &member.totals);
        member.totals = report.totals;
        add(sum, &new);
        let group = member.newcomer.group.as_str();
        if let Some(startup_s) = member.viewing.note(&new, report.startup_ms) {
            m.quality.startup_seconds.with_label_values(&[group]).observe(startup_s);
        }
        if let Some(latency_s) = latency_s {
            member.viewing.note_latency(latency_s);
            m.quality.latency_seconds.with_label_values(&[group]).observe(latency_s);
        }
        let delivered = |source| m.delivered_bytes.with_label_values(&[source]);
        delivered("origin").inc_by(new.from_origin.as_bytes());
        delivered("peer").inc_by(new.from_peers.as_bytes());
        m.wasted_bytes.inc_by(new.wasted.as_bytes());
        m.rebuffer_seconds.inc_by(new.stalled_ms as f64 / 1000.0);
        m.played_seconds.inc_by(new.played_ms as f64 / 1000.0);
        let named = [("deadline", new.fallbacks_deadline), ("no-source", new.fallbacks_no_source)];
        let rest = new.fallbacks.saturating_sub(named.iter().map(|(_, count)| count).sum());
        for (reason, count) in named.into_iter().chain([("no-peers", rest)]) {
            m.fallbacks.with_label_values(&[reason]).inc_by(count);
        }
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
        fallbacks_deadline: count(now.fallbacks_deadline, before.fallbacks_deadline),
        fallbacks_no_source: count(now.fallbacks_no_source, before.fallbacks_no_source),
        stalled_ms: count(now.stalled_ms, before.stalled_ms),
        played_ms: count(now.played_ms, before.played_ms),
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
        fallbacks_deadline: sum.fallbacks_deadline.saturating_add(new.fallbacks_deadline),
        fallbacks_no_source: sum.fallbacks_no_source.saturating_add(new.fallbacks_no_source),
        stalled_ms: sum.stalled_ms.saturating_add(new.stalled_ms),
        played_ms: sum.played_ms.saturating_add(new.played_ms),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newcomer(offers: bool, outbox: &Outbox) -> Newcomer {
        let (outbox, kind, group) = (outbox.clone(), Kind::Native, Group::Peers);
        let bearer = Bearer::new("test", "viewer");
        Newcomer { outbox, offers, kind, bearer, group, origin: 0 }
    }

    fn report(totals: Totals) -> Report {
        Report { totals, ..Report::default() }
    }

    fn totals(delivered: u64, fallbacks: u64) -> Totals {
        Totals { delivered: ByteSize::from_bytes(delivered), fallbacks, ..Totals::default() }
    }

    #[test]
    fn totals_outlive_their_viewer_and_are_counted_once() {
        let metrics = Metrics::new();
        let (outbox, _inbox) = Outbox::new(4);
        let mut members = Members::new();
        let mut sum = Totals::default();
        members.insert(PeerId(1), newcomer(false, &outbox));
        members.report(PeerId(1), (&report(totals(100, 2)), None), &mut sum, &metrics);
        members.report(PeerId(1), (&report(totals(150, 2)), None), &mut sum, &metrics);
        assert!(members.remove(PeerId(1)).is_some());
        members.insert(PeerId(1), newcomer(false, &outbox));
        members.report(PeerId(1), (&report(totals(170, 3)), None), &mut sum, &metrics);
        assert_eq!(sum, totals(170, 3));
        members.report(PeerId(1), (&report(totals(10, 0)), None), &mut sum, &metrics);
        assert_eq!(sum, totals(180, 3));
        assert_eq!(metrics.fallbacks.with_label_values(&["no-peers"]).get(), 3);
    }

    #[tokio::test]
    async fn introductions_are_mutual_and_end_with_the_session() {
        let (outbox, mut inbox) = Outbox::new(2);
        let mut members = Members::new();
        for peer in [1, 2, 3] {
            members.insert(PeerId(peer), newcomer(false, &outbox));
        }
        members.introduce(PeerId(1), PeerId(2));
        assert_eq!(members.introduced(PeerId(1), PeerId(2)), Some(true));
        assert_eq!(members.introduced(PeerId(2), PeerId(1)), Some(false));
        assert_eq!(members.introduced(PeerId(1), PeerId(3)), None);
        assert!(inbox.take().await.unwrap()[0].to_text().unwrap().contains("\"offer\":true"));
        members.remove(PeerId(1));
        assert_eq!(members.introduced(PeerId(2), PeerId(1)), None);
        members.introduce(PeerId(2), PeerId(3));
        members.send_frame(PeerId(3), "one too many".into());
        assert_eq!(members.take_overrun(), [PeerId(3)]);
    }

    #[test]
    fn each_side_describes_itself_once_in_an_introduction() {
        let (outbox, _inbox) = Outbox::new(8);
        let mut members = Members::new();
        for peer in [1, 2] {
            members.insert(PeerId(peer), newcomer(false, &outbox));
        }
        let (one, two) = (PeerId(1), PeerId(2));
        let (offer, answer) =
            (Signal::Offer { sdp: String::new() }, Signal::Answer { sdp: String::new() });
        let candidate = Signal::Candidate { candidate: String::new(), mid: None };
        assert_eq!(members.note(one, two, &offer), Err(BadSignal::Stranger));
        members.introduce(one, two);
        assert_eq!(members.note(two, one, &offer), Err(BadSignal::Replayed), "one offers");
        assert_eq!(members.note(one, two, &offer), Ok(()));
        assert_eq!(members.note(one, two, &offer), Err(BadSignal::Replayed));
        assert_eq!(members.note(two, one, &answer), Ok(()));
        assert_eq!(members.note(two, one, &answer), Err(BadSignal::Replayed));
        for _ in 0..CANDIDATES_MAX {
            assert_eq!(members.note(one, two, &candidate), Ok(()));
        }
        assert_eq!(members.note(one, two, &candidate), Err(BadSignal::Flood));
        members.introduce(one, two);
        assert_eq!(members.note(one, two, &offer), Ok(()), "a new introduction begins anew");
        members.part(one, two);
        assert_eq!(members.note(two, one, &answer), Err(BadSignal::Stranger));
    }

    #[test]
    fn a_browser_makes_the_offer() {
        let (outbox, _inbox) = Outbox::new(8);
        let mut members = Members::new();
        for (peer, offers) in [(1, false), (2, true), (3, true)] {
            members.insert(PeerId(peer), newcomer(offers, &outbox));
        }
        for (first, second, is_first) in [(1, 2, false), (2, 1, true), (2, 3, true)] {
            members.introduce(PeerId(first), PeerId(second));
            assert_eq!(members.introduced(PeerId(first), PeerId(second)), Some(is_first));
            assert_eq!(members.introduced(PeerId(second), PeerId(first)), Some(!is_first));
        }
    }
}
