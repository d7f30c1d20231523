//! Links between peers: which are open or opening, how many plan edges use each, and which pairs
//! did not connect.
//!
//! Rule: both ends hold the same entry. Links are scarce, so no peer gets more than its limit; one
//! that no edge uses stays open as a backup until its room is needed.

use crate::input::Mapping;
use crate::output::Output;
use crate::peers::{Peer, PeerIx};
use crate::shared::Core;
use crate::stamp::Stamp;
use core::time::Duration;
use shoal_wire::PeerId;

/// One end's view of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) other: PeerIx,
    /// Since when no edge uses it, or it exists.
    since: Stamp,
    /// Half the round trip in units of 16 µs; 0 is not measured.
    half_trip: u16,
    /// Plan edges over it, both ways, over all renditions.
    uses: u8,
    open: bool,
}

impl Link {
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    pub(crate) fn is_used(&self) -> bool {
        self.uses > 0
    }

    /// Number of plan edges over it.
    pub(crate) fn edges(&self) -> u32 {
        u32::from(self.uses)
    }

    /// Half of the measured round trip, µs.
    pub(crate) fn half_trip_us(&self) -> Option<u32> {
        (self.half_trip > 0).then(|| u32::from(self.half_trip) * 16)
    }
}

/// A pair that did not connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    other: PeerId,
    until: Stamp,
}

/// Why a pair is left alone for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Down {
    /// It did not open.
    Failed,
    /// It was open, and closed.
    Closed,
    /// One end broke the rules.
    Separated,
    /// It was not waited for: their mappings let the two not meet.
    Barred,
}

/// Links that a peer keeps free of children, so that its own parents can be replaced.
pub(crate) const SPARE_FOR_PARENTS: usize = 2;

impl Peer {
    pub(crate) fn link(&self, other: PeerIx) -> Option<&Link> {
        let at = self.links.binary_search_by_key(&other, |link| link.other).ok()?;
        Some(&self.links[at])
    }

    fn link_mut(&mut self, other: PeerIx) -> Option<&mut Link> {
        let at = self.links.binary_search_by_key(&other, |link| link.other).ok()?;
        Some(&mut self.links[at])
    }

    fn has_failed_with(&self, other: PeerId, now: Stamp) -> bool {
        self.failed.iter().any(|failed| failed.other == other && failed.until > now)
    }

    /// Links that could still be added, counting those that may be closed for it.
    fn room(&self, idle_before: impl Fn(&Link) -> bool) -> usize {
        let limit = usize::from(self.links_max);
        let kept = self.links.len();
        let free = limit.saturating_sub(kept);
        if free > SPARE_FOR_PARENTS {
            return free;
        }
        free + self.links.iter().filter(|link| idle_before(link)).count()
    }

    fn remember_failure(&mut self, other: PeerId, until: Stamp, now: Stamp, kept_max: usize) {
        self.failed.retain(|failed| failed.other != other && failed.until > now);
        if self.failed.len() >= kept_max && !self.failed.is_empty() {
            self.failed.remove(0);
        }
        if self.failed.len() < kept_max {
            self.failed.push(Failed { other, until });
        }
    }

    fn count_outcome(&mut self, opened: bool) {
        let count = if opened { &mut self.links_opened } else { &mut self.links_failed };
        *count += 1;
        if *count >= 32 {
            // That one opened once is never forgotten.
            self.links_opened = self.links_opened.div_ceil(2);
            self.links_failed /= 2;
        }
    }
}

impl Core {
    /// Whether `child` may get data from `parent`: they have a link, or both have room for one and
    /// nothing speaks against it.
    pub(crate) fn can_link(&self, child: PeerIx, parent: PeerIx) -> bool {
        if child == parent {
            return false;
        }
        let (below, above) = (self.peers.peer(child), self.peers.peer(parent));
        if below.feud && above.feud && self.trust.separated(below.id, above.id) {
            return false;
        }
        if below.link(parent).is_some() {
            return true;
        }
        let barred = self.is_barred(child, parent);
        if barred || below.is_hopeless(self.now) || above.is_hopeless(self.now) {
            return false;
        }
        // Where nothing opened, one link at a time is tried: each holds a slot while it fails.
        let is_trying =
            |peer: &Peer| peer.opened_nothing() && peer.links.iter().any(|link| !link.is_open());
        if is_trying(below) || is_trying(above) {
            return false;
        }
        // Whoever hung below it would wait in vain: it is tried as a child.
        if above.seems_closed() {
            return false;
        }
        !below.has_failed_with(above.id, self.now)
            && !above.has_failed_with(below.id, self.now)
            && below.room(|link| self.is_idle(link)) >= 1
            && self.has_room_for_child(parent)
    }

    /// Whether the mappings of two peers let them not meet, as far as is known.
    pub(crate) fn is_barred(&self, a: PeerIx, b: PeerIx) -> bool {
        let (a, b) = (self.peers.peer(a), self.peers.peer(b));
        a.is_barred_from(b) || b.is_barred_from(a)
    }

    /// Whether two peers have a link, open or opening.
    pub(crate) fn know_each_other(&self, a: PeerIx, b: PeerIx) -> bool {
        self.peers.peer(a).link(b).is_some()
    }

    /// Whether two peers have an open link.
    pub(crate) fn are_linked(&self, a: PeerIx, b: PeerIx) -> bool {
        self.peers.peer(a).link(b).is_some_and(Link::is_open)
    }

    /// Links that a peer could still add or have in place of idle ones.
    pub(crate) fn link_room(&self, peer: PeerIx) -> usize {
        let peer = self.peers.peer(peer);
        let idle = peer.links.iter().filter(|link| self.is_idle(link)).count();
        usize::from(peer.links_max).saturating_sub(peer.links.len()) + idle
    }

    /// Whether a peer has room for a link to a child that is not a neighbour yet.
    pub(crate) fn has_room_for_child(&self, parent: PeerIx) -> bool {
        let above = self.peers.peer(parent);
        let spare = SPARE_FOR_PARENTS.min(usize::from(above.links_max) / 4);
        above.room(|link| self.is_idle(link)) > spare
    }

    fn is_idle(&self, link: &Link) -> bool {
        !link.is_used() && self.now.is_past(link.since, self.config.link_idle)
    }

    /// Counts one more edge over the link of a pair, and asks for the link if there is none.
    pub(crate) fn use_link(&mut self, child: PeerIx, parent: PeerIx) {
        if self.peers.peer(child).link(parent).is_none() {
            self.make_room(child);
            self.make_room(parent);
            self.add_link(child, parent, false);
            let offerer = self.peers.peer(child).id;
            let answerer = self.peers.peer(parent).id;
            self.emit(Output::Introduce { offerer, answerer });
        }
        for (peer, other) in [(child, parent), (parent, child)] {
            let link = self.peers.peer_mut(peer).link_mut(other).expect("it was just made");
            link.uses = link.uses.saturating_add(1);
        }
    }

    /// Counts one edge less. The link stays, as a backup.
    pub(crate) fn release_link(&mut self, a: PeerIx, b: PeerIx) {
        let now = self.now;
        for (peer, other) in [(a, b), (b, a)] {
            if let Some(link) = self.peers.peer_mut(peer).link_mut(other) {
                link.uses = link.uses.saturating_sub(1);
                link.since = now;
            }
        }
    }

    /// Makes the entries of a link at both ends, if there are none.
    pub(crate) fn add_link(&mut self, a: PeerIx, b: PeerIx, open: bool) {
        let since = self.now;
        for (peer, other) in [(a, b), (b, a)] {
            let links = &mut self.peers.peer_mut(peer).links;
            if let Err(at) = links.binary_search_by_key(&other, |link| link.other) {
                if links.len() == links.capacity() {
                    links.reserve_exact(4);
                }
                links.insert(at, Link { other, since, half_trip: 0, uses: 0, open });
            }
        }
    }

    /// Forgets a link at both ends. Edges over it are the caller's to move.
    pub(crate) fn remove_link(&mut self, a: PeerIx, b: PeerIx) -> bool {
        let mut existed = false;
        for (peer, other) in [(a, b), (b, a)] {
            let links = &mut self.peers.peer_mut(peer).links;
            if let Ok(at) = links.binary_search_by_key(&other, |link| link.other) {
                links.remove(at);
                existed = true;
            }
        }
        existed
    }

    /// Closes the link that has been idle for longest if there is no room for another.
    fn make_room(&mut self, peer: PeerIx) {
        let owner = self.peers.peer(peer);
        if owner.links.len() < usize::from(owner.links_max) {
            return;
        }
        let idle = owner.links.iter().filter(|link| self.is_idle(link));
        let Some(other) = idle.min_by_key(|link| link.since).map(|link| link.other) else {
            return;
        };
        self.remove_link(peer, other);
        self.disconnect(peer, other);
        self.remember_pair(peer, other, self.config.closed_pair_memory);
    }

    /// Tells both ends to close their link.
    pub(crate) fn disconnect(&mut self, a: PeerIx, b: PeerIx) {
        let (first, second) = (self.peers.peer(a).id, self.peers.peer(b).id);
        self.emit(Output::Disconnect { peer: first, other: second });
        self.emit(Output::Disconnect { peer: second, other: first });
    }

    /// A link is open.
    pub(crate) fn link_opened(&mut self, a: PeerIx, b: PeerIx, round_trip: Option<Duration>) {
        let Some(link) = self.peers.peer(a).link(b) else { return };
        if !link.open {
            self.counts.links_up += 1;
            self.count_outcome(a, b, true);
        }
        for (peer, other) in [(a, b), (b, a)] {
            let link = self.peers.peer_mut(peer).link_mut(other).expect("both ends have it");
            link.open = true;
        }
        if let Some(round_trip) = round_trip {
            self.measure_link(a, b, round_trip);
        }
    }

    /// Notes the round trip of a link.
    pub(crate) fn measure_link(&mut self, a: PeerIx, b: PeerIx, round_trip: Duration) {
        let units = round_trip.as_micros() / 32;
        let half_trip = u16::try_from(units).unwrap_or(u16::MAX).max(1);
        for (peer, other) in [(a, b), (b, a)] {
            if let Some(link) = self.peers.peer_mut(peer).link_mut(other) {
                link.half_trip = half_trip;
            }
        }
    }

    /// Notes that a link is gone and will not be tried again soon.
    pub(crate) fn note_down(&mut self, a: PeerIx, b: PeerIx, down: Down) {
        let memory = match down {
            Down::Closed => self.config.closed_pair_memory,
            Down::Failed | Down::Separated | Down::Barred => self.config.failed_pair_memory,
        };
        if down == Down::Failed {
            self.counts.links_failed += 1;
            self.count_outcome(a, b, false);
        }
        self.remember_pair(a, b, memory);
    }

    /// Learns from a link that opened, or did not. What lets one symmetric peer in lets all in,
    /// unless the two may have met within their network.
    fn count_outcome(&mut self, a: PeerIx, b: PeerIx, opened: bool) {
        let now = self.now;
        for (peer, other) in [(a, b), (b, a)] {
            let other = self.peers.peer(other);
            let tells = other.mapping == Mapping::Symmetric
                && !other.is_hopeless(now)
                && !other.may_be_at_home_with(self.peers.peer(peer));
            let peer = self.peers.peer_mut(peer);
            peer.count_outcome(opened);
            if tells && (opened || peer.takes_symmetric.is_none()) {
                peer.takes_symmetric = Some(opened);
            }
            peer.lose_hope(now);
        }
    }

    /// Leaves a pair alone for a while.
    pub(crate) fn remember_pair(&mut self, a: PeerIx, b: PeerIx, memory: Duration) {
        let kept_max = usize::from(self.config.failed_pairs_max);
        let (now, until) = (self.now, self.now.after(memory));
        for (peer, other) in [(a, b), (b, a)] {
            let other = self.peers.peer(other).id;
            self.peers.peer_mut(peer).remember_failure(other, until, now, kept_max);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::{Place, Profile};
    use shoal_wire::ShareMode;

    #[test]
    fn a_link_that_opened_is_never_forgotten() {
        let profile = Profile {
            share: ShareMode::Share,
            upload_cap: None,
            links_max: 32,
            place: Place::default(),
            mapping: Mapping::Stable,
        };
        let mut peer = Peer::new(PeerId(1), &profile, 32, Stamp::ZERO);
        for _ in 0..200 {
            peer.count_outcome(false);
        }
        assert!(peer.opened_nothing());
        peer.count_outcome(true);
        for _ in 0..200 {
            peer.count_outcome(false);
        }
        assert!(!peer.opened_nothing());
    }
}
