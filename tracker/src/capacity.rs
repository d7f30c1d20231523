//! How many children each member may have.
//!
//! Rule: an uplink is one budget over all renditions that its peer watches, and is planned full
//! only where there is no more upload than demand. Small changes of what is known change nothing, so
//! that the plan stays quiet.

use crate::links::SPARE_FOR_PARENTS;
use crate::places::scatter;
use crate::shared::Core;
use crate::swarm::{Member, Swarm};
use crate::tree::MemberIx;

/// What a member can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Capacity {
    /// Most children.
    pub(crate) slots: u16,
    /// Children that are an even share.
    pub(crate) even: u16,
}

/// What capacity depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Uplink {
    /// Upload for this rendition.
    pub(crate) upload_kbps: u32,
    /// Rate of the rendition.
    pub(crate) rate_kbps: u32,
    /// K.
    pub(crate) substreams: u32,
    /// Members of the swarm that others can feed.
    pub(crate) members: u32,
    /// Upload of all members.
    pub(crate) swarm_kbps: u64,
    /// Part of an uplink that is given away at most, ‰.
    pub(crate) headroom: u32,
    /// Supply aimed at, relative to demand, ‰.
    pub(crate) even_use: u32,
    /// Most children that its links allow.
    pub(crate) children_max: u32,
    /// Added before rounding down, ‰ of a slot: different for each member, so that the swarm as a
    /// whole loses nothing by rounding.
    pub(crate) dither: u32,
    /// Whether it left most of its children without, and has no slots for now.
    pub(crate) late: bool,
}

/// Most children of a peer that is interior in so many substreams, each with a link of its own,
/// beside those to its parents.
fn children_max(links_max: u8, substreams: u32, homes: u32) -> u32 {
    let links = u32::from(links_max);
    let parents = substreams + SPARE_FOR_PARENTS as u32;
    links.saturating_sub(parents).max(links / 2) * homes
}

impl Uplink {
    /// `⌊headroom · upload · K / rate + dither⌋` children at most, and as an even share
    /// `⌈1.1/ρ · upload · K / rate⌉` of them, ρ being the swarm's upload over its demand.
    pub(crate) fn capacity(&self) -> Capacity {
        if self.rate_kbps == 0 || self.upload_kbps == 0 {
            return Capacity::default();
        }
        let room = u64::from(self.upload_kbps) * u64::from(self.substreams);
        let rate = u64::from(self.rate_kbps);
        let slots = room * u64::from(self.headroom) + rate * u64::from(self.dither);
        let slots = slots / (rate * 1_000);
        let slots = if self.late { 0 } else { slots.min(u64::from(self.children_max)) };
        let even = room * u64::from(self.even_use) * u64::from(self.members);
        let even = even.div_ceil(self.swarm_kbps.max(1) * 1_000).min(slots);
        let narrow = |count: u64| u16::try_from(count).unwrap_or(u16::MAX);
        Capacity { slots: narrow(slots), even: narrow(even) }
    }
}

/// Below this resource index, ‰, the origin has to feed some in any case.
const SHORT_INDEX: u64 = 950;
/// What is added to all slots then, ‰ of one.
const SHORT_DITHER: u32 = 300;

/// Up to this resource index, ‰, uplinks are planned full.
const AMPLE_INDEX: u64 = 1_100;
/// Of what upload there is beyond that, so much is kept free on every uplink, ‰.
const SPARE_KEPT: u64 = 500;
/// And no more than this, ‰ of the uplink: from a resource index of 1.5 on.
const SPARE_KEPT_MAX: u64 = 200;

/// The part of an uplink that is given away at most, ‰. What a full uplink has not sent of a
/// segment when the next one comes waits until that has been sent: a last child that is late by a
/// whole segment. Where there is more than is needed, none need be full.
fn headroom(most: u32, resource_index: u64) -> u32 {
    let spare = resource_index.saturating_sub(AMPLE_INDEX) * SPARE_KEPT / 1_000;
    most.saturating_sub(u32::try_from(spare.min(SPARE_KEPT_MAX)).unwrap_or(0))
}

/// What an uplink carries for certain, ‰: what is known of it is a little too much or too little.
const FULL: u64 = 950;

/// How many children an uplink carries of a rendition in so many substreams.
fn carried(upload_kbps: u64, substreams: u64, rate_kbps: u64) -> u16 {
    let room = upload_kbps * substreams * FULL;
    let children = room.checked_div(rate_kbps * 1_000).unwrap_or(u64::MAX);
    u16::try_from(children).unwrap_or(u16::MAX)
}

/// Whether a count of slots differs enough from the one in use to be taken.
fn differs(old: u16, new: u16) -> bool {
    (old == 0) != (new == 0) || old.abs_diff(new) > (old / 8).max(1)
}

impl Swarm {
    /// Demand that the usable upload covers, ‰; zero while nothing is known.
    pub(crate) fn resource_index(&self) -> u64 {
        self.index_over(self.len())
    }

    /// The same of those that others can feed: what is planned with.
    fn reachable_index(&self) -> u64 {
        self.index_over(self.reachable())
    }

    fn index_over(&self, members: u32) -> u64 {
        let rate = self.shape.map_or(0, |shape| u64::from(shape.rate_kbps));
        (self.upload_kbps * 1_000).checked_div(rate * u64::from(members)).unwrap_or(0)
    }

    /// What is added to a member's slots before rounding, ‰ of one. Where uploads cannot cover the
    /// demand, somewhat more is planned than uplinks can carry: what is then left over at the full
    /// ones, those that idle give (`peer`'s offers).
    fn dither(&self, member: MemberIx) -> u32 {
        let even = scatter(member.0) % 1_000;
        let short = (1..SHORT_INDEX).contains(&self.reachable_index());
        if short { (even + SHORT_DITHER).min(999) } else { even }
    }

    /// How many children a member keeps that has more than its slots: as many as its uplink
    /// carries for certain. Where upload is not ample, any number.
    pub(crate) fn carries(&self, member: MemberIx) -> u16 {
        if self.reachable_index() <= AMPLE_INDEX {
            return u16::MAX;
        }
        let rate = self.shape.map_or(0, |shape| u64::from(shape.rate_kbps));
        carried(self.member(member).upload_kbps.into(), self.substreams() as u64, rate)
    }

    /// Takes what is known of a member's uplink. `share` is this rendition's part of it.
    pub(crate) fn set_upload(&mut self, member: MemberIx, upload_kbps: u32) {
        let entry = self.member_mut(member);
        let before = core::mem::replace(&mut entry.upload_kbps, upload_kbps);
        self.upload_kbps = self.upload_kbps + u64::from(upload_kbps) - u64::from(before);
    }

    /// Sizes a member's slots anew; small differences are ignored unless `exact`.
    pub(crate) fn size_slots(&mut self, core: &Core, member: MemberIx, exact: bool) {
        let is_closed = core.peers.peer(self.member(member).peer).opened_nothing();
        self.note_closed(member, is_closed);
        let Some(shape) = self.shape else { return };
        let entry = self.member(member);
        let peer = core.peers.peer(entry.peer);
        let substreams = u32::from(shape.substreams);
        let uplink = Uplink {
            upload_kbps: entry.upload_kbps,
            rate_kbps: shape.rate_kbps,
            substreams,
            members: self.reachable(),
            swarm_kbps: self.upload_kbps,
            headroom: headroom(core.config.headroom, self.reachable_index()),
            even_use: core.config.even_use,
            children_max: children_max(peer.links_max, substreams, self.homes_per_member()),
            dither: self.dither(member),
            late: peer.is_late(core.now),
        };
        let capacity = uplink.capacity();
        let usable = peer.usable_kbps(core.config.upload_prior, core.config.upload_max);
        let chunk_time = chunk_time_us(shape.chunk_bits, usable);
        let slower = chunk_time.abs_diff(entry.chunk_time_us) > entry.chunk_time_us / 8;
        let resize = exact
            || differs(entry.slots, capacity.slots)
            || differs(entry.even, capacity.even)
            || slower;
        if resize {
            self.set_capacity(member, capacity, chunk_time);
        }
    }

    /// Notes whether no link with a member opens. Its upload counts again with its next report.
    fn note_closed(&mut self, member: MemberIx, closed: bool) {
        let was_closed = core::mem::replace(&mut self.member_mut(member).closed, closed);
        self.closed = self.closed + u32::from(closed) - u32::from(was_closed);
        if closed {
            self.set_upload(member, 0);
        }
    }

    /// Takes all slots from a member that is about to leave the trees.
    pub(crate) fn clear_slots(&mut self, member: MemberIx) {
        self.note_closed(member, false);
        self.set_upload(member, 0);
        self.set_capacity(member, Capacity::default(), 0);
        for k in 0..self.substreams() {
            self.drop_home(member, k);
        }
    }

    fn set_capacity(&mut self, member: MemberIx, capacity: Capacity, chunk_time_us: u32) {
        self.count_supply(member, false);
        let was_capable = self.member(member).slots > 0;
        let entry: &mut Member = self.member_mut(member);
        entry.slots = capacity.slots;
        entry.even = capacity.even;
        let slowed = core::mem::replace(&mut entry.chunk_time_us, chunk_time_us) != chunk_time_us;
        self.count_supply(member, true);
        self.capable += u32::from(capacity.slots > 0);
        self.capable -= u32::from(was_capable);
        self.rank_nodes(member, u8::MAX);
        self.refresh(member);
        for k in (0..self.substreams()).filter(|_| slowed) {
            self.mark_stale(k, member);
        }
    }
}

fn chunk_time_us(chunk_bits: u32, upload_kbps: u32) -> u32 {
    let micros = u64::from(chunk_bits) * 1_000 / u64::from(upload_kbps.max(1));
    u32::try_from(micros).unwrap_or(u32::MAX).min(2_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(upload_kbps: u32, swarm_kbps: u64, members: u32, slots: u16, even: u16) {
        let uplink = Uplink {
            upload_kbps,
            rate_kbps: 2_000,
            substreams: 8,
            members,
            swarm_kbps,
            headroom: 850,
            even_use: 1_100,
            children_max: 256,
            dither: 0,
            late: false,
        };
        assert_eq!(uplink.capacity(), Capacity { slots, even }, "{uplink:?}");
        let late = Uplink { late: true, ..uplink }.capacity();
        assert_eq!(late.slots, 0);
    }

    #[test]
    fn slots_follow_upload_and_index() {
        // Alone with 10 Mbit/s: 34 children at most; an even share is all of the demand.
        check(10_000, 10_000, 1, 34, 9);
        // Equal peers and an index of 5: each gives 1.1 times what it takes.
        check(10_000, 1_000_000, 100, 34, 9);
        // An index of 1: everybody gives all that it may.
        check(2_000, 200_000, 100, 6, 6);
        // A strong peer among weak ones carries more.
        check(20_000, 400_000, 100, 68, 44);
        check(0, 400_000, 100, 0, 0);
        // Less than one substream.
        check(200, 400_000, 100, 0, 0);
    }

    #[test]
    fn no_uplink_is_full_where_there_is_more_than_enough() {
        let kept = [500, 1_000, 1_100, 1_200, 1_300, 3_000].map(|index| headroom(1_000, index));
        assert_eq!(kept, [1_000, 1_000, 1_000, 950, 900, 800]);
    }

    #[test]
    fn a_twentieth_of_an_uplink_is_no_room() {
        // Eight substreams of 0.25 Mbit/s.
        let children = [2_500, 2_640, 3_000].map(|kbps| carried(kbps, 8, 2_000));
        assert_eq!(children, [9, 10, 11]);
        assert_eq!(carried(1_000, 8, 0), u16::MAX, "of what has no rate yet");
    }

    #[test]
    fn small_changes_are_ignored() {
        assert!(differs(0, 1) && differs(1, 0) && differs(9, 12) && differs(34, 29));
        assert!(!differs(9, 10) && !differs(34, 31) && !differs(0, 0));
    }
}
