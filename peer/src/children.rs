//! Who subscribed to what: the children of each substream.

use crate::table::Table;
use shoal_wire::{BitRate, ByteSize, Digest, ObjectId, PeerId, RenditionId, Substream};

/// Subscriptions of one neighbour: eight substreams of eight renditions.
const PER_NEIGHBOUR_MAX: usize = 64;

/// What a neighbour subscribed to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Child {
    pub(crate) from: ObjectId,
    pub(crate) until: Option<ObjectId>,
    pub(crate) weight: u16,
    /// Of the newest message that says so.
    pub(crate) turn: u32,
}

impl Child {
    /// Whether the subscription covers an object.
    pub(crate) fn covers(&self, object: &ObjectId) -> bool {
        *object >= self.from && self.until.is_none_or(|until| *object < until)
    }
}

/// All subscriptions, those of one substream side by side.
#[derive(Debug, Default)]
pub(crate) struct Children {
    table: Table<(RenditionId, Substream, PeerId), Child>,
}

impl Children {
    pub(crate) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// What all subscriptions take, if every rendition is like the one of this object.
    pub(crate) fn load(&self, newest: &Digest) -> BitRate {
        let lasting = self.table.values().filter(|child| child.until.is_none());
        let run = u64::from(newest.byte_len) / u64::from(newest.substreams);
        ByteSize::from_bytes(run * lasting.count() as u64).per(newest.duration)
    }

    /// The children of a substream, by name.
    pub(crate) fn of(
        &self,
        rendition: RenditionId,
        k: Substream,
    ) -> impl Iterator<Item = (PeerId, &Child)> {
        let mine = move |of: &(RenditionId, Substream, PeerId)| (of.0, of.1) == (rendition, k);
        let from = self.table.from(&(rendition, k, PeerId(0)));
        from.take_while(move |(key, _)| mine(key)).map(|(key, child)| (key.2, child))
    }

    pub(crate) fn get_mut(
        &mut self,
        rendition: RenditionId,
        k: Substream,
        peer: PeerId,
    ) -> Option<&mut Child> {
        self.table.get_mut(&(rendition, k, peer))
    }

    /// Notes a subscription; false if the neighbour has too many.
    pub(crate) fn insert(&mut self, k: Substream, peer: PeerId, child: Child) -> bool {
        let key = (child.from.rendition, k, peer);
        let own = self.table.keys().filter(|(_, _, of)| *of == peer).count();
        if own >= PER_NEIGHBOUR_MAX && !self.table.contains_key(&key) {
            return false;
        }
        self.table.insert(key, child);
        true
    }

    /// A neighbour is gone.
    pub(crate) fn forget_peer(&mut self, peer: PeerId) {
        self.table.retain(|(_, _, of), _| *of != peer);
    }

    /// A neighbour takes nothing of a rendition any more.
    pub(crate) fn forget(&mut self, peer: PeerId, rendition: RenditionId) {
        self.table.retain(|(from, _, of), _| (*from, *of) != (rendition, peer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use shoal_wire::Epoch;

    fn object(msn: u64) -> ObjectId {
        ObjectId::segment(RenditionId(0), Epoch(1), msn)
    }

    #[test]
    fn a_subscription_covers_what_lies_between_from_and_until() {
        let child = Child { from: object(5), until: Some(object(8)), weight: 0, turn: 1 };
        let covered: Vec<u64> = (0..10).filter(|msn| child.covers(&object(*msn))).collect();
        assert_eq!(covered, [5, 6, 7]);
    }

    #[test]
    fn children_are_listed_by_substream_until_they_go() {
        let mut children = Children::default();
        let child = Child { from: object(5), until: None, weight: 0, turn: 1 };
        for (k, peer) in [(2, 9), (1, 9), (2, 3), (3, 3)] {
            assert!(children.insert(Substream(k), PeerId(peer), child));
        }
        let of = |children: &Children, k| -> Vec<u64> {
            children.of(RenditionId(0), Substream(k)).map(|(peer, _)| peer.0).collect()
        };
        assert_eq!(of(&children, 2), [3, 9]);
        children.forget(PeerId(9), RenditionId(1));
        children.forget_peer(PeerId(3));
        assert_eq!(of(&children, 2), [9]);
        children.forget(PeerId(9), RenditionId(0));
        assert!((0..8).all(|k| of(&children, k).is_empty()));
    }

    #[test]
    fn subscriptions_are_bounded() {
        let mut children = Children::default();
        let child = |n| {
            let from = ObjectId { rendition: RenditionId(n), ..object(5) };
            Child { from, until: None, weight: 0, turn: 1 }
        };
        let noted = (0..1000).filter(|n| children.insert(Substream(0), PeerId(1), child(*n)));
        assert_eq!(noted.count(), PER_NEIGHBOUR_MAX);
        assert!(children.insert(Substream(0), PeerId(1), child(3)), "a new start");
        assert!(children.insert(Substream(0), PeerId(2), child(2000)), "another neighbour");
    }
}
