//! Where a substream has room, best first.
//!
//! Rule: a member is in a set exactly while its node's key for that set is not zero, so the key that
//! is stored there finds the entry again.

use crate::tree::{MemberIx, Tree};
use alloc::collections::BTreeSet;

/// Set in a key when the place is beyond the even share of its uplink: it is taken last.
pub(crate) const BEYOND_EVEN: u32 = 1 << 31;

/// Places of one substream, sorted by when a copy would arrive there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    salt: u32,
    /// Free slots, for leaves.
    free: BTreeSet<(u32, u32, MemberIx)>,
    /// Free slots, and slots held by leaves that can make room, for interior nodes.
    upper: BTreeSet<(u32, u32, MemberIx)>,
}

impl Places {
    pub(crate) fn new(salt: u32) -> Self {
        Self { salt, free: BTreeSet::new(), upper: BTreeSet::new() }
    }

    /// Members with a free slot and their keys, earliest arrival first.
    pub(crate) fn free(&self) -> impl Iterator<Item = (u32, MemberIx)> + '_ {
        self.free.iter().map(|&(key, _, member)| (key, member))
    }

    /// Members that have room for an interior node, earliest arrival first.
    pub(crate) fn upper(&self) -> impl Iterator<Item = (u32, MemberIx)> + '_ {
        self.upper.iter().map(|&(key, _, member)| (key, member))
    }

    /// The order among equals: different in every substream, and different with every seed.
    fn tie(&self, member: MemberIx) -> u32 {
        let mixed = (member.0 ^ self.salt).wrapping_mul(0x9e37_79b1);
        (mixed ^ (mixed >> 15)).wrapping_mul(0x85eb_ca77)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        // A B-tree keeps its nodes between half and wholly full.
        (self.free.len() + self.upper.len()) * size_of::<(u32, u32, MemberIx)>() * 3 / 2
    }
}

impl Tree {
    /// Sets the keys under which a member is found; zero is not at all.
    pub(crate) fn set_keys(&mut self, member: MemberIx, free_key: u32, upper_key: u32) {
        let tie = self.places.tie(member);
        let node = self.node(member);
        let (old_free, old_upper) = (node.free_key, node.upper_key);
        if old_free != free_key {
            replace(&mut self.places.free, (old_free, tie, member), free_key);
            self.node_mut(member).free_key = free_key;
        }
        if old_upper != upper_key {
            replace(&mut self.places.upper, (old_upper, tie, member), upper_key);
            self.node_mut(member).upper_key = upper_key;
        }
    }
}

fn replace(set: &mut BTreeSet<(u32, u32, MemberIx)>, old: (u32, u32, MemberIx), key: u32) {
    let (old_key, tie, member) = old;
    if old_key != 0 {
        set.remove(&old);
    }
    if key != 0 {
        set.insert((key, tie, member));
    }
}
