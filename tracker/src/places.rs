//! Where a substream has room, best first.
//!
//! Rule: a member is in a queue exactly while its node's key for that queue is not zero, so the key
//! that is stored there finds the entry again. Entries are sorted by arrival to a sixteenth; among
//! equals a search starts anywhere, since a fixed order among equal peers makes a swarm collapse.

use crate::tree::{MemberIx, Tree};
use alloc::vec::Vec;

/// Queues that a node may be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// Free slots, for leaves.
    Free,
    /// Free slots, and slots held by leaves that can make room, for strong interior nodes.
    Upper,
    /// Places held by strong interior nodes, for stronger ones.
    Held,
}

/// Number of [`Queue`]s.
pub(crate) const QUEUES: usize = 3;

/// Place in the order of a queue; zero is not in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Key(u16);

impl Key {
    pub(crate) const NONE: Self = Self(0);

    /// A place with room at a time, within the even share of its uplink or beyond it.
    pub(crate) fn room(queue: Queue, beyond_even: bool, arrival_us: u32) -> Self {
        Self::new(room_row(queue, beyond_even), arrival_us)
    }

    /// A place at a time that a node of this class holds.
    pub(crate) fn held(class: u8, arrival_us: u32) -> Self {
        if (CLASS_STRONG..CLASS_MAX).contains(&class) {
            Self::new(held_row(class), arrival_us)
        } else {
            Self::NONE
        }
    }

    fn new(row: usize, arrival_us: u32) -> Self {
        let key = row * BUCKETS + bucket_of(arrival_us) + 1;
        Self(u16::try_from(key).expect("rows times buckets is small"))
    }

    /// Row and bucket.
    fn at(self) -> (usize, usize) {
        let key = usize::from(self.0) - 1;
        (key / BUCKETS, key % BUCKETS)
    }
}

/// The least class of nodes that are strong and interior; those below are leaves (0), or interior
/// and weak (1).
pub(crate) const CLASS_STRONG: u8 = 2;
/// The class that nobody is placed above.
pub(crate) const CLASS_MAX: u8 = 6;

/// The part of the free places that is left to strong nodes.
const SPARED_DIVISOR: usize = 2;

/// Buckets of a row: sixteen for each doubling from 64 ms on, of 4 ms before.
pub(crate) const BUCKETS: usize = 240;
/// Free and upper, within the even share and beyond it, then one row per class that can be held.
const ROWS: usize = 4 + (CLASS_MAX - CLASS_STRONG) as usize;

fn room_row(queue: Queue, beyond_even: bool) -> usize {
    usize::from(beyond_even) + if queue == Queue::Upper { 2 } else { 0 }
}

fn held_row(class: u8) -> usize {
    4 + usize::from(class - CLASS_STRONG)
}

fn bucket_of(arrival_us: u32) -> usize {
    let units = arrival_us >> 12;
    let octave = (32 - units.leading_zeros()).saturating_sub(5);
    let bucket = (octave << 4) + (units >> octave);
    (bucket as usize).min(BUCKETS - 1)
}

fn floor_us(bucket: usize) -> u32 {
    let bucket = u32::try_from(bucket).expect("a few hundred");
    let octave = (bucket >> 4).saturating_sub(1);
    (bucket - (octave << 4)) << (octave + 12)
}

/// Members by bucket; each knows its position in its bucket.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    buckets: Vec<Vec<MemberIx>>,
    /// One bit for each bucket that has entries.
    filled: [u64; BUCKETS.div_ceil(64)],
    count: usize,
}

impl Row {
    /// Adds an entry; says at which position.
    pub(crate) fn insert(&mut self, bucket: usize, member: MemberIx) -> u32 {
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, Vec::new());
        }
        self.count += 1;
        self.filled[bucket / 64] |= 1 << (bucket % 64);
        self.buckets[bucket].push(member);
        u32::try_from(self.buckets[bucket].len() - 1).expect("peers_max is 32 bits")
    }

    /// Removes an entry; names the one that took its position.
    pub(crate) fn remove(&mut self, bucket: usize, at: u32) -> Option<MemberIx> {
        let (entries, at) = (&mut self.buckets[bucket], at as usize);
        entries.swap_remove(at);
        self.count -= 1;
        if entries.is_empty() {
            self.filled[bucket / 64] &= !(1 << (bucket % 64));
        }
        self.buckets[bucket].get(at).copied()
    }

    /// Buckets with entries, earliest first.
    fn filled(&self) -> impl Iterator<Item = usize> + '_ {
        self.filled.iter().enumerate().flat_map(|(word, &bits)| {
            let mut left = bits;
            core::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros() as usize)?;
                left &= left - 1;
                Some(word * 64 + bit)
            })
        })
    }

    /// Entries with their buckets, lowest first, beginning anywhere within each. Buckets among the
    /// first `skip` entries are left out.
    pub(crate) fn entries(
        &self,
        salt: u32,
        skip: usize,
    ) -> impl Iterator<Item = (usize, MemberIx)> + '_ {
        let mut passed = 0;
        let skipped = move |bucket: &usize| {
            passed += self.buckets[*bucket].len();
            passed <= skip
        };
        self.filled().skip_while(skipped).flat_map(move |bucket| {
            let entries = &self.buckets[bucket];
            let (later, first) = entries.split_at(salt as usize % entries.len());
            first.iter().chain(later).map(move |&member| (bucket, member))
        })
    }

    /// Entries, highest bucket first.
    fn entries_back(&self) -> impl Iterator<Item = MemberIx> + '_ {
        let filled = |bucket: &usize| self.filled[bucket / 64] & (1 << (bucket % 64)) != 0;
        let buckets = (0..self.buckets.len()).rev().filter(filled);
        buckets.flat_map(|bucket| self.buckets[bucket].iter().rev().copied())
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let used = self.buckets.iter().map(|bucket| bucket.capacity() * size_of::<MemberIx>());
        used.sum::<usize>() + self.buckets.capacity() * size_of::<Vec<MemberIx>>()
    }
}

/// A member that has room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) member: MemberIx,
    /// A copy arrives there no earlier.
    pub(crate) floor_us: u32,
    /// Whether the place is beyond the even share of its uplink: it is taken last.
    pub(crate) beyond_even: bool,
}

/// Places of one substream, sorted by when a copy would arrive there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    rows: [Row; ROWS],
    /// Different in every substream and with every seed.
    salt: u32,
}

impl Places {
    pub(crate) fn new(salt: u32) -> Self {
        Self { salt, ..Self::default() }
    }

    /// Members with room, within their even share first, then earliest arrival first. For leaves,
    /// some of the earliest are left out: strong nodes that come later take those, and a leaf that
    /// has to make room there costs a link at both ends.
    /// A search begins among equals where `start` says.
    pub(crate) fn rooms(&self, queue: Queue, start: u32) -> impl Iterator<Item = Room> + '_ {
        let salt = scatter(start ^ self.salt);
        [false, true].into_iter().flat_map(move |beyond_even| {
            let row = &self.rows[room_row(queue, beyond_even)];
            let spared = if queue == Queue::Free { row.count / SPARED_DIVISOR } else { 0 };
            row.entries(salt, salt as usize % (spared + 1)).map(move |(bucket, member)| {
                let floor_us = floor_us(bucket);
                Room { member, floor_us, beyond_even }
            })
        })
    }

    /// Members with a free slot within their even share, latest arrival first.
    pub(crate) fn latest(&self) -> impl Iterator<Item = MemberIx> + '_ {
        self.rows[room_row(Queue::Free, false)].entries_back()
    }

    /// Members of a class that hold places, earliest first.
    pub(crate) fn held(&self, class: u8, start: u32) -> impl Iterator<Item = (u32, MemberIx)> + '_ {
        let entries = self.rows[held_row(class)].entries(scatter(start ^ self.salt), 0);
        entries.map(|(bucket, member)| (floor_us(bucket), member))
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.rows.iter().map(Row::memory_bytes).sum()
    }
}

/// A number that looks random, from one that does not.
pub(crate) fn scatter(seed: u32) -> u32 {
    let mixed = seed.wrapping_mul(0x9e37_79b1);
    (mixed ^ (mixed >> 15)).wrapping_mul(0x85eb_ca77) >> 8
}

impl Tree {
    /// Sets the key under which a member is found in a queue.
    pub(crate) fn set_key(&mut self, queue: Queue, member: MemberIx, key: Key) {
        let slot = queue as usize;
        let node = self.node(member);
        let (old, at) = (node.keys[slot], node.positions[slot]);
        if old == key {
            return;
        }
        if old != Key::NONE {
            let (row, bucket) = old.at();
            let moved = self.places.rows[row].remove(bucket, at);
            if let Some(moved) = moved {
                self.node_mut(moved).positions[slot] = at;
            }
        }
        let mut position = 0;
        if key != Key::NONE {
            let (row, bucket) = key.at();
            position = self.places.rows[row].insert(bucket, member);
        }
        let node = self.node_mut(member);
        node.keys[slot] = key;
        node.positions[slot] = position;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_in_order_and_a_sixteenth_wide() {
        let mut last = 0;
        for arrival_us in (0..1 << 29).step_by(1_000) {
            let bucket = bucket_of(arrival_us);
            assert!(bucket == last || bucket == last + 1, "{arrival_us}");
            last = bucket;
            let floor = floor_us(bucket);
            assert!(floor <= arrival_us && arrival_us - floor < 4_096 + floor / 16, "{arrival_us}");
        }
    }

    #[test]
    fn entries_come_by_time_and_leave_no_trace() {
        let mut tree = Tree::new(1);
        for member in 0..100 {
            tree.reset(MemberIx(member), crate::stamp::Stamp::ZERO);
            let key = Key::room(Queue::Upper, member % 10 == 0, 5_000 * (100 - member));
            tree.set_key(Queue::Upper, MemberIx(member), key);
        }
        let rooms: Vec<_> = tree.places.rooms(Queue::Upper, 7).collect();
        assert_eq!(rooms.len(), 100);
        let order = |room: &Room| (room.beyond_even, room.floor_us);
        assert!(rooms.is_sorted_by_key(order), "{rooms:?}");
        for member in 0..100 {
            tree.set_key(Queue::Upper, MemberIx(member), Key::NONE);
        }
        assert_eq!(tree.places.rooms(Queue::Upper, 7).count(), 0);
    }
}
