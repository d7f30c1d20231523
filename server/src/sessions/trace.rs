//! One segment's way from its publication to the last viewer, as the server hears of it.
//!
//! Rule: all instants are the server's own, so that no two clocks are compared; an arrival is known
//! half a round trip late. One trace at a time and stream.

use serde::Serialize;
use shoal_wire::tracker_message::Assignment;
use shoal_wire::{ObjectId, PeerId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// A trace is over when a segment is this old, whoever is missing.
const AGE_MAX: Duration = Duration::from_secs(15);
/// Who waits for a trace waits so long for a segment to be published.
pub(super) const PATIENCE: Duration = Duration::from_secs(40);

/// A segment on its way.
#[derive(Debug)]
pub(super) struct Trace {
    /// None until one is published.
    followed: Option<Followed>,
}

#[derive(Debug)]
struct Followed {
    object: ObjectId,
    bytes: u32,
    duration: Duration,
    published: Instant,
    missing: BTreeSet<PeerId>,
    arrivals: Vec<Arrival>,
}

/// A viewer has all of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Arrival {
    peer: String,
    /// From publication until the server heard of it, ms.
    after_ms: u64,
    /// How long the viewer had known of the segment, ms.
    known_ms: u32,
    /// The longest way from the origin over the substreams, in hops; 0 where a parent is unknown.
    hops: u32,
    /// Who fed each substream; null is the origin.
    parents: Vec<Option<String>>,
    /// Whether the origin had to step in, or was asked from the start.
    fell_back: bool,
    #[serde(skip)]
    from: Vec<Option<PeerId>>,
    #[serde(skip)]
    name: PeerId,
}

/// What a trace found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct TraceReport {
    object: String,
    bytes: u32,
    duration_ms: u64,
    /// Whether all who watched are accounted for.
    is_whole: bool,
    /// When half of them had it, ms after publication.
    p50_ms: Option<u64>,
    /// When 95 % of them had it.
    p95_ms: Option<u64>,
    /// When the last of them had it.
    last_ms: Option<u64>,
    /// In order.
    arrivals: Vec<Arrival>,
    /// Who watched and did not say that it has it.
    missing: Vec<String>,
}

impl Trace {
    pub(super) const fn new() -> Self {
        Self { followed: None }
    }

    /// Whether it still looks for a segment to follow.
    pub(super) const fn is_waiting(&self) -> bool {
        self.followed.is_none()
    }

    /// Follows what is published now to these viewers.
    pub(super) fn follow(
        &mut self,
        (object, bytes, duration): (ObjectId, u32, Duration),
        viewers: BTreeSet<PeerId>,
    ) {
        let (published, arrivals) = (Instant::now(), Vec::new());
        let followed = Followed { object, bytes, duration, published, missing: viewers, arrivals };
        self.followed = Some(followed);
    }

    /// A viewer has it.
    pub(super) fn arrived(
        &mut self,
        peer: PeerId,
        object: ObjectId,
        known_ms: u32,
        parents: &[Assignment],
        fell_back: bool,
    ) {
        let Some(followed) = self.followed.as_mut().filter(|it| it.object == object) else {
            return;
        };
        if !followed.missing.remove(&peer) {
            return;
        }
        let after = followed.published.elapsed().as_millis();
        let from: Vec<_> = parents.iter().map(|assignment| assignment.parent).collect();
        followed.arrivals.push(Arrival {
            peer: peer.to_string(),
            after_ms: u64::try_from(after).unwrap_or(u64::MAX),
            known_ms,
            hops: 0,
            parents: from.iter().map(|parent| parent.map(|it| it.to_string())).collect(),
            fell_back,
            from,
            name: peer,
        });
    }

    /// What was found, once everybody has it or nobody is waited for any more.
    pub(super) fn result(&self) -> Option<TraceReport> {
        let followed = self.followed.as_ref()?;
        let is_whole = followed.missing.is_empty();
        if !is_whole && followed.published.elapsed() < AGE_MAX {
            return None;
        }
        let arrivals = with_hops(&followed.arrivals);
        let at = |percent: usize| {
            let last = arrivals.len().checked_sub(1)?;
            arrivals.get(last * percent / 100).map(|arrival| arrival.after_ms)
        };
        Some(TraceReport {
            object: followed.object.file_stem(),
            bytes: followed.bytes,
            duration_ms: u64::try_from(followed.duration.as_millis()).unwrap_or(u64::MAX),
            is_whole,
            p50_ms: at(50),
            p95_ms: at(95),
            last_ms: at(100),
            missing: followed.missing.iter().map(ToString::to_string).collect(),
            arrivals,
        })
    }
}

/// Arrivals with the length of their longest way, found along the parents that they named.
fn with_hops(arrivals: &[Arrival]) -> Vec<Arrival> {
    let by_name: BTreeMap<_, _> = arrivals.iter().map(|it| (it.name, it)).collect();
    let hops = |arrival: &Arrival, substream: usize| {
        let (mut at, mut hops) = (arrival, 1);
        // No way is longer than there are viewers, unless it goes round.
        while let Some(Some(parent)) = at.from.get(substream)
            && hops <= arrivals.len()
        {
            at = by_name.get(parent)?;
            hops += 1;
        }
        u32::try_from(hops).ok()
    };
    let longest = |it: &Arrival| {
        (0..it.from.len()).map(|k| hops(it, k)).collect::<Option<Vec<_>>>()?.into_iter().max()
    };
    let with = |it: &Arrival| Arrival { hops: longest(it).unwrap_or(0), ..it.clone() };
    arrivals.iter().map(with).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_wire::{Epoch, RenditionId, Substream};

    fn fed_by(parents: &[Option<u64>]) -> Vec<Assignment> {
        let assignment = |(k, parent): (u8, &Option<u64>)| Assignment {
            substream: Substream(k),
            parent: parent.map(PeerId),
        };
        (0..).zip(parents).map(assignment).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn arrivals_are_timed_and_their_ways_counted() {
        let object = ObjectId::segment(RenditionId(0), Epoch(1), 7);
        let mut trace = Trace::new();
        assert!(trace.is_waiting());
        assert!(trace.result().is_none());
        let viewers = [1, 2, 3, 4].map(PeerId).into();
        trace.follow((object, 9, Duration::from_secs(2)), viewers);
        trace.arrived(PeerId(1), object, 5, &fed_by(&[None, Some(2)]), false);
        tokio::time::advance(Duration::from_millis(100)).await;
        trace.arrived(PeerId(2), object, 5, &fed_by(&[Some(1), None]), false);
        trace.arrived(PeerId(2), object, 5, &fed_by(&[None, None]), false);
        trace.arrived(PeerId(9), object, 5, &fed_by(&[None, None]), false);
        tokio::time::advance(Duration::from_millis(100)).await;
        trace.arrived(PeerId(3), object, 5, &fed_by(&[Some(2), Some(1)]), true);
        assert!(trace.result().is_none(), "one is missing");
        tokio::time::advance(AGE_MAX).await;
        let report = trace.result().unwrap();
        assert!(!report.is_whole);
        assert_eq!(report.missing, [PeerId(4).to_string()]);
        let found: Vec<_> = report.arrivals.iter().map(|it| (it.after_ms, it.hops)).collect();
        assert_eq!(found, [(0, 2), (100, 2), (200, 3)]);
        assert_eq!((report.p50_ms, report.last_ms), (Some(100), Some(200)));
    }
}
