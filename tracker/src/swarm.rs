//! The viewers of one rendition, and the trees over them.
//!
//! Rule: every change of a parent goes through [`Swarm::assign`], which keeps tree, slots, links,
//! places and the list of plans to send in step.
//!
//! It does not choose parents (see `attach`) and does not size slots (see `capacity`).

use crate::demand::Demand;
use crate::homes::Supply;
use crate::output::Output;
use crate::peers::{PeerIx, SwarmIx};
use crate::places::{BUCKETS, Key, QUEUES, Queue, Row, scatter};
use crate::shared::Core;
use crate::stamp::Stamp;
use crate::tree::{MemberIx, Parent, Tree};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;
use rand_core::Rng;
use shoal_wire::tracker_message::Assignment;
use shoal_wire::{ObjectId, PeerId, RenditionId, SUBSTREAMS_MAX, Substream};

/// A peer in a swarm.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) peer: PeerIx,
    /// Most children, over all substreams.
    pub(crate) slots: u16,
    /// Children that are an even share of its uplink.
    pub(crate) even: u16,
    /// Children that it has.
    pub(crate) used: u16,
    /// Substreams in which it is interior, one bit each.
    pub(crate) homes: u8,
    /// Substreams whose parent changed since the last plan.
    changed: u8,
    /// Substreams in which it is a root.
    pub(crate) roots: u8,
    /// Until when it may feed members that were moved away from it.
    pub(crate) acts_until: Stamp,
    /// Time that its uplink needs for a chunk, µs.
    pub(crate) chunk_time_us: u32,
    /// Upload for this rendition.
    pub(crate) upload_kbps: u32,
    /// Whether it has slots, but no room for links to new children.
    pub(crate) crowded: bool,
    /// Whether no link with it opens: the origin feeds it, and it feeds nobody.
    pub(crate) closed: bool,
    /// Bucket among those with a free slot, and position there.
    spare: Option<(u8, u32)>,
}

/// What the first object says of a rendition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// K.
    pub(crate) substreams: u8,
    pub(crate) chunk_bits: u32,
    /// Smoothed over the objects.
    pub(crate) rate_kbps: u32,
}

/// The viewers of one rendition.
#[derive(Clone, Debug)]
pub(crate) struct Swarm {
    pub(crate) ix: SwarmIx,
    pub(crate) rendition: RenditionId,
    /// Known from the first object on.
    pub(crate) shape: Option<Shape>,
    /// The newest objects, oldest first.
    pub(crate) recent: VecDeque<ObjectId>,
    /// Duration of the newest.
    pub(crate) segment_len: Duration,
    /// Whether it is complete.
    pub(crate) is_on_demand: bool,
    /// Those of its viewers that are not in the trees.
    pub(crate) demand: Demand,
    members: Vec<Option<Member>>,
    vacant: Vec<MemberIx>,
    count: u32,
    pub(crate) trees: Vec<Tree>,
    /// Members with a free slot, by how much they can still do.
    spare: Row,
    /// What the members interior in a substream can do for it.
    pub(crate) supply: [Supply; SUBSTREAMS_MAX as usize],
    pub(crate) upload_kbps: u64,
    /// Members with which no link opens.
    pub(crate) closed: u32,
    /// Members with slots.
    pub(crate) capable: u32,
    /// Members that are roots somewhere.
    roots: BTreeSet<MemberIx>,
    changed: Vec<MemberIx>,
    /// Nodes whose children's arrival is to be estimated anew.
    pub(crate) stale: VecDeque<(u8, MemberIx)>,
    /// Nodes that wait for a parent to come back.
    pub(crate) awaited: BTreeMap<PeerId, Vec<(u8, MemberIx)>>,
    /// Crowded members, and since when: they are looked at again.
    crowded: VecDeque<(Stamp, MemberIx)>,
    pub(crate) cursor: u32,
    /// Changes so far: searches begin elsewhere after each.
    turn: u32,
    /// The leaver whose children are placed: they search in the same place, one after another, so
    /// that what one has looked at is at hand for the next.
    pub(crate) leaver: Option<MemberIx>,
    pub(crate) scratch: Vec<MemberIx>,
    pub(crate) scratch_below: Vec<MemberIx>,
}

/// Time from publication until a root has the first chunk: one request to the origin.
pub(crate) const ROOT_ARRIVAL_US: u32 = 30_000;

impl Swarm {
    pub(crate) fn new(ix: SwarmIx, rendition: RenditionId) -> Self {
        Self {
            ix,
            rendition,
            shape: None,
            recent: VecDeque::new(),
            segment_len: Duration::ZERO,
            is_on_demand: false,
            demand: Demand::default(),
            members: Vec::new(),
            vacant: Vec::new(),
            count: 0,
            trees: Vec::new(),
            spare: Row::default(),
            supply: [Supply::default(); SUBSTREAMS_MAX as usize],
            upload_kbps: 0,
            closed: 0,
            capable: 0,
            roots: BTreeSet::new(),
            changed: Vec::new(),
            stale: VecDeque::new(),
            awaited: BTreeMap::new(),
            crowded: VecDeque::new(),
            cursor: 0,
            turn: 0,
            leaver: None,
            scratch: Vec::new(),
            scratch_below: Vec::new(),
        }
    }

    /// Number of members.
    pub(crate) fn len(&self) -> u32 {
        self.count
    }

    /// Number of members that others can feed.
    pub(crate) fn reachable(&self) -> u32 {
        self.count - self.closed
    }

    /// One past the highest member index.
    pub(crate) fn index_end(&self) -> u32 {
        u32::try_from(self.members.len()).expect("peers_max is 32 bits")
    }

    pub(crate) fn substreams(&self) -> usize {
        self.trees.len()
    }

    pub(crate) fn member(&self, member: MemberIx) -> &Member {
        self.members[member.at()].as_ref().expect("an index is held only while its member is there")
    }

    pub(crate) fn member_mut(&mut self, member: MemberIx) -> &mut Member {
        self.members[member.at()].as_mut().expect("an index is held only while its member is there")
    }

    /// Every member's index.
    pub(crate) fn indices(&self) -> impl Iterator<Item = MemberIx> + '_ {
        (0..self.index_end()).map(MemberIx).filter(|&member| self.has(member))
    }

    pub(crate) fn has(&self, member: MemberIx) -> bool {
        self.members.get(member.at()).is_some_and(Option::is_some)
    }

    /// Members with a free slot, those that can do most first.
    pub(crate) fn spare(&self, start: u32) -> impl Iterator<Item = MemberIx> + '_ {
        self.spare.entries(scatter(start), 0).map(|(_, member)| member)
    }

    /// Members that are roots in any substream.
    pub(crate) fn roots(&self) -> impl Iterator<Item = MemberIx> + '_ {
        self.roots.iter().copied()
    }

    /// Where among equals a search for a member begins: anywhere.
    pub(crate) fn search_start(&self, member: MemberIx) -> u32 {
        scatter(scatter(self.turn) ^ self.leaver.unwrap_or(member).0)
    }

    /// Takes the shape that the first object has. Members that wait for it are planned by the
    /// caller.
    pub(crate) fn set_shape(&mut self, core: &mut Core, shape: Shape) {
        self.shape = Some(shape);
        self.trees = (0..shape.substreams).map(|_| Tree::new(core.random.next_u32())).collect();
        for member in 0..self.index_end() {
            for tree in &mut self.trees {
                tree.reset(MemberIx(member), core.now);
            }
        }
    }

    /// Adds a member, outside of the trees and without slots.
    pub(crate) fn insert(&mut self, peer: PeerIx, now: Stamp) -> MemberIx {
        let member = Member {
            peer,
            slots: 0,
            even: 0,
            used: 0,
            homes: 0,
            changed: 0,
            roots: 0,
            acts_until: Stamp::ZERO,
            chunk_time_us: 0,
            upload_kbps: 0,
            crowded: false,
            closed: false,
            spare: None,
        };
        let ix = self.vacant.pop().unwrap_or_else(|| {
            if self.members.len() == self.members.capacity() {
                self.members.reserve_exact(self.members.len() / 8 + 16);
            }
            self.members.push(None);
            MemberIx(self.index_end() - 1)
        });
        self.members[ix.at()] = Some(member);
        self.count += 1;
        for tree in &mut self.trees {
            tree.reset(ix, now);
        }
        ix
    }

    /// Removes a member that is out of all trees and has no slots.
    pub(crate) fn remove(&mut self, member: MemberIx) {
        self.members[member.at()] = None;
        self.vacant.push(member);
        self.count -= 1;
    }

    /// Gives a member another parent in substream `k`, and notes that it is to be told. A parent
    /// that has lost slots may be beyond what it has; rebalancing relieves it.
    pub(crate) fn assign(&mut self, core: &mut Core, k: usize, member: MemberIx, to: Parent) {
        if self.trees[k].parent(member) == to {
            return;
        }
        if self.leaver.is_none() {
            self.turn = self.turn.wrapping_add(1);
        }
        self.unhook(core, k, member);
        self.hook(core, k, member, to);
        self.trees[k].node_mut(member).moved = core.now;
        if to != Parent::Out {
            self.mark(member, 1 << k);
        }
    }

    /// Notes that a member is to be told its parents in these substreams.
    pub(crate) fn mark(&mut self, member: MemberIx, substreams: u8) {
        let entry = self.member_mut(member);
        let was_clean = entry.changed == 0;
        entry.changed |= substreams;
        if was_clean && substreams != 0 {
            self.changed.push(member);
        }
    }

    fn unhook(&mut self, core: &mut Core, k: usize, member: MemberIx) {
        let from = self.trees[k].parent(member);
        self.trees[k].detach(member);
        let interior = self.trees[k].node(member).is_interior();
        match from {
            Parent::Out | Parent::Awaited => {}
            Parent::Origin => {
                let entry = self.member_mut(member);
                entry.roots -= 1;
                if entry.roots == 0 {
                    self.roots.remove(&member);
                }
            }
            Parent::Member(parent) => {
                self.begin_acting(core, k, member, parent);
                self.member_mut(parent).used -= 1;
                core.release_link(self.member(member).peer, self.member(parent).peer);
                self.refresh(parent);
                if interior {
                    self.mark_stale(k, parent);
                }
            }
        }
    }

    /// Puts a node into the forest without telling the peer: it knows already.
    pub(crate) fn hook(&mut self, core: &mut Core, k: usize, member: MemberIx, to: Parent) {
        self.trees[k].attach(member, to);
        match to {
            Parent::Out | Parent::Awaited => {}
            Parent::Origin => {
                self.trees[k].node_mut(member).acting = MemberIx::NONE;
                self.member_mut(member).roots += 1;
                self.roots.insert(member);
            }
            Parent::Member(parent) => {
                self.member_mut(parent).used += 1;
                if !core.know_each_other(self.member(member).peer, self.member(parent).peer) {
                    self.forget_acting_pair(member, parent);
                }
                core.use_link(self.member(member).peer, self.member(parent).peer);
                self.end_acting(core, k, member, parent);
                self.add_home(parent, k);
                self.refresh(parent);
                if self.trees[k].node(member).is_interior() {
                    self.mark_stale(k, parent);
                }
            }
        }
        self.measure(core, k, member);
        self.refresh_keys(k, member);
    }

    /// Notes how far a node is from its parent, and when copies arrive.
    pub(crate) fn measure(&mut self, core: &Core, k: usize, member: MemberIx) {
        if let Parent::Member(parent) = self.trees[k].parent(member) {
            let trip_us = core.trip_us(self.member(member).peer, self.member(parent).peer);
            self.trees[k].node_mut(member).set_trip_us(trip_us);
        }
        self.estimate(k, member);
    }

    /// Takes a new round trip between two members into account.
    pub(crate) fn measure_pair(&mut self, core: &Core, a: MemberIx, b: MemberIx) {
        for k in 0..self.trees.len() {
            for (child, parent) in [(a, b), (b, a)] {
                if self.trees[k].parent(child) == Parent::Member(parent) {
                    self.end_acting(core, k, child, parent);
                    self.measure(core, k, child);
                }
            }
        }
    }

    /// Estimates when copies arrive at an interior node, and has its children's estimates follow.
    pub(crate) fn estimate(&mut self, k: usize, member: MemberIx) {
        let node = self.trees[k].node(member);
        if !node.is_interior() {
            return;
        }
        let (before, arrival) = (node.arrival_us, self.compute_arrival_us(k, member));
        if before.abs_diff(arrival) <= before / 128 + 500 {
            return;
        }
        self.trees[k].node_mut(member).arrival_us = arrival;
        self.refresh_keys(k, member);
        self.mark_stale(k, member);
    }

    /// Has the estimates of a node's children follow a change.
    pub(crate) fn mark_stale(&mut self, k: usize, member: MemberIx) {
        let node = self.trees[k].node_mut(member);
        if !node.stale && node.children() > 0 {
            node.stale = true;
            self.stale.push_back((u8::try_from(k).expect("substreams fit in a byte"), member));
        }
    }

    /// Estimated time from publication to the first chunk at a node, µs.
    pub(crate) fn arrival_us(&self, k: usize, member: MemberIx) -> u32 {
        let node = self.trees[k].node(member);
        if node.is_interior() { node.arrival_us } else { self.compute_arrival_us(k, member) }
    }

    fn compute_arrival_us(&self, k: usize, member: MemberIx) -> u32 {
        match self.trees[k].parent(member) {
            Parent::Out | Parent::Origin | Parent::Awaited => ROOT_ARRIVAL_US,
            Parent::Member(parent) => {
                let (node, above) = (self.trees[k].node(member), self.trees[k].node(parent));
                // Leaves do not know who is before them: any of their siblings may be.
                let before = if node.is_interior() { node.rank() + 1 } else { above.children() };
                let hop = self.hop_us(k, member, parent, before);
                above.arrival_us.saturating_add(hop).min(ARRIVAL_MAX_US)
            }
        }
    }

    /// Time from a chunk's arrival at a parent to its arrival at its `place`th child, counted from
    /// one: those before it, itself, and the way.
    pub(crate) fn hop_us(&self, k: usize, member: MemberIx, parent: MemberIx, place: u16) -> u32 {
        let sending = self.member(parent).chunk_time_us.saturating_mul(u32::from(place));
        sending.saturating_add(self.trees[k].node(member).trip_us())
    }

    /// Estimates anew what depends on nodes that changed, at most `count` of them.
    pub(crate) fn settle_estimates(&mut self, count: usize) {
        for _ in 0..count {
            let Some((k, member)) = self.stale.pop_front() else { return };
            let k = usize::from(k);
            self.trees[k].node_mut(member).stale = false;
            if !self.has(member) {
                continue;
            }
            let mut children = core::mem::take(&mut self.scratch);
            children.extend(self.trees[k].interior_children(member));
            for child in children.drain(..) {
                self.estimate(k, child);
            }
            self.scratch = children;
        }
    }

    /// Brings all places that a member offers up to date.
    pub(crate) fn refresh(&mut self, member: MemberIx) {
        for k in 0..self.trees.len() {
            if self.member(member).homes & (1 << k) != 0 {
                self.refresh_keys(k, member);
            }
        }
        self.refresh_spare(member);
    }

    /// Brings the places that a member offers in one substream up to date.
    pub(crate) fn refresh_keys(&mut self, k: usize, member: MemberIx) {
        let [free, upper, held] = self.keys(k, member);
        let tree = &mut self.trees[k];
        tree.set_key(Queue::Free, member, free);
        tree.set_key(Queue::Upper, member, upper);
        tree.set_key(Queue::Held, member, held);
    }

    /// Under which keys the places that a member offers in one substream are found.
    pub(crate) fn keys(&self, k: usize, member: MemberIx) -> [Key; QUEUES] {
        let (entry, tree) = (self.member(member), &self.trees[k]);
        let (node, parent) = (tree.node(member), tree.parent(member));
        let (mut free, mut upper, mut held) = (Key::NONE, Key::NONE, Key::NONE);
        if node.is_interior() && parent != Parent::Out {
            let after = |before: u16| {
                let sending = entry.chunk_time_us.saturating_mul(u32::from(before) + 1);
                node.arrival_us.saturating_add(sending).min(ARRIVAL_MAX_US)
            };
            let beyond_even = entry.used >= entry.even;
            let has_weak_child = node.has_weak_child();
            if entry.used < entry.slots && !entry.crowded {
                free = Key::room(Queue::Free, beyond_even, after(node.children()));
            }
            let has_place = entry.used < entry.slots || has_weak_child;
            if has_place && entry.used <= entry.slots && !entry.crowded {
                let beyond_even = beyond_even && !has_weak_child;
                upper = Key::room(Queue::Upper, beyond_even, after(node.strong_children()));
            }
            if matches!(parent, Parent::Member(_)) {
                held = Key::held(node.class(), node.arrival_us);
            }
        }
        [free, upper, held]
    }

    /// Notes that a member has no room for links to new children.
    pub(crate) fn set_crowded(&mut self, now: Stamp, member: MemberIx) {
        if !self.member(member).crowded {
            self.member_mut(member).crowded = true;
            self.crowded.push_back((now, member));
            self.refresh(member);
        }
    }

    /// Looks again at members that were found crowded a while ago, at most `count` of them.
    pub(crate) fn recheck_crowded(&mut self, core: &Core, count: usize) {
        for _ in 0..count {
            let Some(&(since, member)) = self.crowded.front() else { return };
            if !core.now.is_past(since, core.config.link_idle / 4) {
                return;
            }
            self.crowded.pop_front();
            if self.has(member) && self.member(member).crowded {
                self.member_mut(member).crowded = false;
                if core.has_room_for_child(self.member(member).peer) {
                    self.refresh(member);
                } else {
                    self.set_crowded(core.now, member);
                }
            }
        }
    }

    fn refresh_spare(&mut self, member: MemberIx) {
        let entry = self.member(member);
        let (old, free) = (entry.spare, entry.slots.saturating_sub(entry.used));
        let bucket = (free > 0 && !entry.crowded).then(|| {
            let beyond = u32::from(entry.used >= entry.even);
            let homes = entry.homes.count_ones().min(SPARE_HOMES_MAX);
            // Free slots to a power of two, so that it changes seldom.
            let bucket = (beyond * (SPARE_HOMES_MAX + 1) + homes) * 16 + free.leading_zeros();
            u8::try_from(bucket).expect("fewer than BUCKETS")
        });
        if bucket == old.map(|(bucket, _)| bucket) {
            return;
        }
        if let Some((bucket, at)) = old
            && let Some(moved) = self.spare.remove(usize::from(bucket), at)
        {
            self.member_mut(moved).spare = Some((bucket, at));
        }
        let spare = bucket.map(|bucket| (bucket, self.spare.insert(usize::from(bucket), member)));
        self.member_mut(member).spare = spare;
    }

    /// Sends the plans that changed.
    pub(crate) fn flush(&mut self, core: &mut Core) {
        let mut changed = core::mem::take(&mut self.changed);
        for member in changed.drain(..) {
            if !self.has(member) {
                continue;
            }
            let substreams = core::mem::take(&mut self.member_mut(member).changed);
            self.send_plan(core, member, substreams);
        }
        self.changed = changed;
    }

    fn send_plan(&self, core: &mut Core, member: MemberIx, substreams: u8) {
        let mut assignments = Vec::with_capacity(substreams.count_ones() as usize);
        for k in 0..SUBSTREAMS_MAX {
            let tree = self.trees.get(usize::from(k)).filter(|_| substreams & (1 << k) != 0);
            let Some(tree) = tree else { continue };
            let parent = match tree.parent(member) {
                Parent::Out | Parent::Awaited => continue,
                Parent::Origin => None,
                Parent::Member(parent) => Some(core.peers.peer(self.member(parent).peer).id),
            };
            assignments.push(Assignment { substream: Substream(k), parent });
        }
        if assignments.is_empty() {
            return;
        }
        let version = core.next_version(assignments.len());
        let peer = core.peers.peer(self.member(member).peer).id;
        let substreams = u8::try_from(self.trees.len()).expect("substreams fit in a byte");
        let rendition = self.rendition;
        core.emit(Output::Plan { peer, version, rendition, substreams, assignments });
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.members.capacity() * size_of::<Option<Member>>()
            + self.spare.memory_bytes()
            + self.vacant.capacity() * size_of::<MemberIx>()
            + self.stale.capacity() * size_of::<(u8, MemberIx)>()
            + self.crowded.capacity() * size_of::<(Stamp, MemberIx)>()
            + self.demand.memory_bytes()
            + self.trees.iter().map(Tree::memory_bytes).sum::<usize>()
    }
}

/// Estimates stop here: eleven minutes late is late enough, and the tier bit stays clear.
const ARRIVAL_MAX_US: u32 = 1 << 29;
/// Members that are interior in more substreams than this are alike as candidates.
const SPARE_HOMES_MAX: u32 = 6;
const _: () = assert!(2 * (SPARE_HOMES_MAX as usize + 1) * 16 <= BUCKETS);
