//! Uplinks that idle: what they could still give is offered, and taken by those who lack it.
//!
//! Rule: only an uplink that has next to nothing to send offers, only what its parents had a whole
//! segment's time for, and what is asked for goes after everything else. Whoever takes an offer
//! waits no longer for it than until the origin is asked.
//!
//! Slots are whole and uploads are not: some parents have a little more to send than they can, some
//! a little less. This evens it out; it plans nothing.

use crate::engine::Engine;
use crate::feed::Parent;
use crate::neighbour::Neighbour;
use crate::object::{Asked, Cell, Object, Run};
use alloc::vec::Vec;
use core::time::Duration;
use shoal_wire::{ChunkRange, Instant, ObjectId, PeerId, PeerMessage, SUBSTREAMS_MAX, Substream};

/// Time between two rounds of offers: gaps are as short as this.
const OFFER_INTERVAL: Duration = Duration::from_millis(50);
/// An uplink offers so long before it has nothing to send: what is taken arrives a round trip later.
const AHEAD: Duration = Duration::from_millis(100);
/// The same while nobody lacks anything.
const QUIET_INTERVAL: Duration = Duration::from_millis(250);
/// Neighbours that hear of an offer: if all did, most of their fetches would be refused.
const OFFERS_MAX: usize = 4;
/// Offers are of so many of the newest objects that are old enough: older ones are complete.
const OFFERED_OBJECTS: usize = 2;
/// What is promised must leave within this, if nothing comes between.
const PROMISE: Duration = Duration::from_millis(200);
/// Chunks that are promised at most.
const PROMISED_MAX: u32 = 8;
/// Chunks that are taken of one offer.
const TAKEN_MAX: u32 = 2;
/// A run of which the parent brought something this lately is still on its way.
const SILENCE_MIN: Duration = Duration::from_millis(400);
/// What is taken must come this long before the origin is asked.
const TAKE_MARGIN: Duration = Duration::from_millis(250);

impl Engine {
    /// Arms the timer of offers when the uplink begins to idle.
    pub(crate) fn arm_offers(&mut self, now: Instant) {
        let idles = self.timers.offers.is_none() && self.uplink.runs_dry_within(AHEAD);
        if idles && self.may_serve() && !self.neighbours.is_empty() {
            self.timers.offers = Some(now + OFFER_INTERVAL);
        }
    }

    /// Offers what neighbours lack, if it is time to and there is nothing else to send.
    pub(crate) fn offer_room(&mut self, now: Instant) {
        if self.timers.offers.is_none_or(|at| at > now) {
            return;
        }
        self.timers.offers = None;
        if !self.uplink.runs_dry_within(AHEAD) || !self.may_serve() || self.neighbours.is_empty() {
            return;
        }
        let mut lacking = Vec::new();
        for object in self.objects_to_offer(now) {
            let lacks = |n: &Neighbour| n.knows_digest(&object) && n.lacks(&object);
            let peers = self.neighbours.iter().filter(|(_, n)| lacks(n));
            lacking.extend(peers.map(|(peer, _)| (*peer, object)));
        }
        if lacking.is_empty() {
            self.timers.offers = Some(now + QUIET_INTERVAL);
        }
        // No more than there is room to promise for.
        let most = OFFERS_MAX.min(self.pull_room().div_ceil(TAKEN_MAX) as usize);
        for _ in 0..most.min(lacking.len()) {
            let pick = self.random(u32::try_from(lacking.len()).unwrap_or(1));
            let (peer, object) = lacking.swap_remove(pick as usize);
            let runs = self.store.object(&object).map_or(0, whole_runs);
            self.tell(peer, PeerMessage::Offer { object, runs });
        }
    }

    fn objects_to_offer(&self, now: Instant) -> Vec<ObjectId> {
        let mut offered = Vec::new();
        for (rendition, state) in self.renditions.iter().filter(|(_, r)| r.demand.is_none()) {
            let old = self.store.iter().rev().filter(|(id, object)| {
                let age = now - object.known_at;
                id.rendition == *rendition && object.digest.is_some() && age >= state.segment_len
            });
            offered.extend(old.take(OFFERED_OBJECTS).map(|(id, _)| *id));
        }
        offered
    }

    /// A neighbour's uplink idles: takes a little of what lacks here from it.
    pub(crate) fn on_offer(&mut self, peer: PeerId, id: ObjectId, runs: u8, now: Instant) {
        let pick = self.random(u32::MAX) as usize;
        let (Some(object), Some(neighbour)) = (self.store.object(&id), self.neighbours.get(&peer))
        else {
            return;
        };
        // One bad chunk ends a link, and with it whatever else went over it: who never brought
        // anything is not tried for so little.
        if neighbour.received == 0 {
            return;
        }
        let latest = now + neighbour.round_trip() + TAKE_MARGIN;
        let is_late = self.fallback_due(&id, object).is_some_and(|at| at <= latest);
        if object.is_complete() || is_late || !self.is_wanted(&id) {
            return;
        }
        let takable = self.takable(&id, object, runs, now);
        // What others wait for first.
        let inner = takable.iter().find(|(inner, _)| *inner);
        let any = takable.get(pick % takable.len().max(1));
        let Some((_, chunks)) = inner.or(any).copied() else { return };
        if let Some(object) = self.store.object_mut(&id) {
            object.mark_asked(chunks, Asked::Peer(peer));
        }
        self.tell(peer, PeerMessage::Fetch { object: id, chunks });
    }

    /// What could be taken of an offer, run by run, and whether others wait for it here. The last
    /// chunks: parents send the first ones first.
    fn takable(
        &self,
        id: &ObjectId,
        object: &Object,
        runs: u8,
        now: Instant,
    ) -> Vec<(bool, ChunkRange)> {
        let Some(rendition) = self.renditions.get(&id.rendition) else { return Vec::new() };
        let of = |(k, run): (u8, &Run)| {
            let parent = rendition.feed(Substream(k)).map(|feed| feed.current);
            let inner = self.descendants(id.rendition, Substream(k)) > 0;
            let silent = inner || now - run.heard_at >= SILENCE_MIN;
            let offered = runs & (1 << k) != 0 && silent;
            if !offered || !matches!(parent, Some(Parent::Peer(_))) {
                return None;
            }
            let missing = object.ranges(run.chunks, |_, cell| matches!(cell, Cell::Missing));
            let last = missing.last()?;
            let count = last.count.min(TAKEN_MAX);
            Some((inner, ChunkRange::new(last.end() - count, count)))
        };
        (0..SUBSTREAMS_MAX).zip(&object.runs).filter_map(of).collect()
    }

    /// Chunks that may still be promised.
    pub(crate) fn pull_room(&self) -> u32 {
        let most = self.uplink.chunks_within(PROMISE).clamp(1, PROMISED_MAX);
        most.saturating_sub(self.uplink.pulled_chunks())
    }
}

/// The runs that are whole, one bit for each substream.
fn whole_runs(object: &Object) -> u8 {
    let whole = (0..SUBSTREAMS_MAX).zip(&object.runs).filter(|(_, run)| run.complete);
    whole.fold(0, |runs, (k, _)| runs | 1 << k)
}

const _: () = assert!(SUBSTREAMS_MAX <= 8, "one bit for each substream in a byte");
