//! One substream's forest: who feeds whom, with the origin above its roots.
//!
//! Rule: siblings are kept by class, the strongest interior nodes first and leaves last, so that one
//! that can make room is always the last child; among equals the oldest is first, so that a newcomer
//! delays few. Nothing here allocates except when a member is added.
//!
//! It does not decide anything, and does not know peers, links or slots.

use crate::places::{CLASS_STRONG, Key, Places, QUEUES};
use crate::stamp::Stamp;
use alloc::vec::Vec;

/// Index of a member of a swarm, the same in all its trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MemberIx(pub(crate) u32);

impl MemberIx {
    /// Nobody.
    pub(crate) const NONE: Self = Self(u32::MAX);

    pub(crate) const fn at(self) -> usize {
        self.0 as usize
    }

    fn some(self) -> Option<Self> {
        (self != Self::NONE).then_some(self)
    }
}

/// What is above a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parent {
    /// Nothing: it is not in the forest (yet).
    Out,
    /// The origin: it is a root.
    Origin,
    /// A parent that has not come back yet after a restart of the tracker.
    Awaited,
    /// Another member.
    Member(MemberIx),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Above {
    Out,
    Origin,
    Awaited,
    Member,
}

/// A member's place in one substream. 800,000 of them exist at 100,000 peers: keep it small.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    parent: MemberIx,
    previous: MemberIx,
    next: MemberIx,
    first: MemberIx,
    last: MemberIx,
    /// Estimated time from publication to the first chunk here, µs; kept for interior nodes only.
    pub(crate) arrival_us: u32,
    /// Positions in the queues that it has keys for.
    pub(crate) positions: [u32; QUEUES],
    pub(crate) keys: [Key; QUEUES],
    /// One way from the parent, in units of 16 µs.
    trip: u16,
    /// Siblings before it; kept for interior nodes only.
    rank: u16,
    /// When it was last moved.
    pub(crate) moved: Stamp,
    /// Who goes on feeding it until the link to its parent is open.
    pub(crate) acting: MemberIx,
    children: u16,
    strong_children: u16,
    above: Above,
    class: u8,
    /// Whether its children's arrival is to be estimated anew.
    pub(crate) stale: bool,
    /// Moves for a better place, which make the next one wait longer.
    pub(crate) moves: u8,
}

impl Node {
    fn new(now: Stamp) -> Self {
        Self {
            parent: MemberIx::NONE,
            previous: MemberIx::NONE,
            next: MemberIx::NONE,
            first: MemberIx::NONE,
            last: MemberIx::NONE,
            arrival_us: 0,
            positions: [0; QUEUES],
            keys: [Key::NONE; QUEUES],
            trip: 0,
            rank: 0,
            moved: now,
            acting: MemberIx::NONE,
            children: 0,
            strong_children: 0,
            above: Above::Out,
            class: 0,
            stale: false,
            moves: 0,
        }
    }

    /// Number of children.
    pub(crate) fn children(&self) -> u16 {
        self.children
    }

    /// Number of children that are strong and interior themselves.
    pub(crate) fn strong_children(&self) -> u16 {
        self.strong_children
    }

    /// Children that are leaves, or nearly: a weak one may have a child or two.
    pub(crate) fn has_weak_child(&self) -> bool {
        self.children > self.strong_children
    }

    /// 0 for a leaf, 1 for a weak interior node, more the stronger it is.
    pub(crate) fn class(&self) -> u8 {
        self.class
    }

    pub(crate) fn is_interior(&self) -> bool {
        self.class > 0
    }

    /// Whether it is interior, and strong: it then goes before leaves.
    pub(crate) fn is_strong(&self) -> bool {
        self.class >= CLASS_STRONG
    }

    /// Siblings before an interior node.
    pub(crate) fn rank(&self) -> u16 {
        self.rank
    }

    /// One way from its parent, µs.
    pub(crate) fn trip_us(&self) -> u32 {
        u32::from(self.trip) * 16
    }

    pub(crate) fn set_trip_us(&mut self, trip_us: u32) {
        self.trip = u16::try_from(trip_us / 16).unwrap_or(u16::MAX);
    }
}

/// The forest of one substream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
    first_root: Option<MemberIx>,
    last_root: Option<MemberIx>,
    roots: u32,
    pub(crate) places: Places,
}

/// Steps upward after which a chain counts as endless: far deeper than any tree should be.
const DEPTH_MAX: usize = 512;
/// Ways that are still to be followed upward at once.
const BRANCHES_MAX: usize = 16;

impl Tree {
    pub(crate) fn new(salt: u32) -> Self {
        Self { places: Places::new(salt), ..Self::default() }
    }

    /// Makes (or resets) the node of a member, outside of the forest.
    pub(crate) fn reset(&mut self, member: MemberIx, now: Stamp) {
        while self.nodes.len() <= member.at() {
            if self.nodes.len() == self.nodes.capacity() {
                self.nodes.reserve_exact(self.nodes.len() / 8 + 16);
            }
            self.nodes.push(Node::new(now));
        }
        self.nodes[member.at()] = Node::new(now);
    }

    pub(crate) fn node(&self, member: MemberIx) -> &Node {
        &self.nodes[member.at()]
    }

    pub(crate) fn node_mut(&mut self, member: MemberIx) -> &mut Node {
        &mut self.nodes[member.at()]
    }

    pub(crate) fn parent(&self, member: MemberIx) -> Parent {
        let node = self.node(member);
        match node.above {
            Above::Out => Parent::Out,
            Above::Origin => Parent::Origin,
            Above::Awaited => Parent::Awaited,
            Above::Member => Parent::Member(node.parent),
        }
    }

    /// Number of roots.
    pub(crate) fn root_count(&self) -> u32 {
        self.roots
    }

    /// The oldest root.
    pub(crate) fn first_root(&self) -> Option<MemberIx> {
        self.first_root
    }

    /// The newest root.
    pub(crate) fn last_root(&self) -> Option<MemberIx> {
        self.last_root
    }

    /// Roots, the oldest first.
    pub(crate) fn roots(&self) -> impl Iterator<Item = MemberIx> + '_ {
        let mut next = self.first_root;
        core::iter::from_fn(move || {
            let root = next?;
            next = self.node(root).next.some();
            Some(root)
        })
    }

    /// Children, the strongest first.
    pub(crate) fn children(&self, member: MemberIx) -> impl Iterator<Item = MemberIx> + '_ {
        let mut next = self.node(member).first;
        core::iter::from_fn(move || {
            let child = next.some()?;
            next = self.node(child).next;
            Some(child)
        })
    }

    /// Children that are interior themselves, the strongest first.
    pub(crate) fn interior_children(
        &self,
        member: MemberIx,
    ) -> impl Iterator<Item = MemberIx> + '_ {
        self.children(member).take_while(|&child| self.node(child).is_interior())
    }

    /// Children, leaves first.
    pub(crate) fn children_back(&self, member: MemberIx) -> impl Iterator<Item = MemberIx> + '_ {
        let mut next = self.node(member).last;
        core::iter::from_fn(move || {
            let child = next.some()?;
            next = self.node(child).previous;
            Some(child)
        })
    }

    /// Whether `member` is `top` or below it, by the plan or by way of those who still feed in place
    /// of a planned parent, as `acting` says. What is too long to follow counts as below.
    pub(crate) fn is_below(
        &self,
        member: MemberIx,
        top: MemberIx,
        acting: impl Fn(MemberIx) -> Option<MemberIx>,
    ) -> bool {
        let (mut branches, mut count) = ([MemberIx::NONE; BRANCHES_MAX], 0);
        let mut at = member;
        for _ in 0..DEPTH_MAX {
            if at == top {
                return true;
            }
            if let Some(acting) = acting(at) {
                let Some(branch) = branches.get_mut(count) else { return true };
                *branch = acting;
                count += 1;
            }
            at = match self.parent(at) {
                Parent::Member(parent) => parent,
                Parent::Origin | Parent::Awaited | Parent::Out if count == 0 => return false,
                Parent::Origin | Parent::Awaited | Parent::Out => {
                    count -= 1;
                    branches[count]
                }
            };
        }
        true
    }

    /// Hops from the origin, if it can be reached: 1 for a root.
    pub(crate) fn depth(&self, member: MemberIx) -> Option<u32> {
        let mut at = member;
        for depth in 1..=self.nodes.len() {
            match self.parent(at) {
                Parent::Member(parent) => at = parent,
                Parent::Origin => return u32::try_from(depth).ok(),
                Parent::Awaited | Parent::Out => return None,
            }
        }
        None
    }

    /// Puts a node that is out of the forest into it.
    pub(crate) fn attach(&mut self, member: MemberIx, to: Parent) {
        debug_assert!(self.parent(member) == Parent::Out, "detach comes first");
        let (above, parent) = match to {
            Parent::Out => (Above::Out, MemberIx::NONE),
            Parent::Awaited => (Above::Awaited, MemberIx::NONE),
            Parent::Origin => (Above::Origin, MemberIx::NONE),
            Parent::Member(parent) => (Above::Member, parent),
        };
        let node = self.node_mut(member);
        (node.above, node.parent) = (above, parent);
        match to {
            Parent::Out | Parent::Awaited => {}
            Parent::Origin => self.push_root(member),
            Parent::Member(parent) => self.push_child(member, parent),
        }
    }

    /// Takes a node out of the forest; its own children stay below it.
    pub(crate) fn detach(&mut self, member: MemberIx) {
        let node = self.node(member);
        let (previous, next) = (node.previous, node.next);
        let (interior, strong) = (node.is_interior(), node.is_strong());
        let parent = self.parent(member);
        if let Some(previous) = previous.some() {
            self.node_mut(previous).next = next;
        }
        if let Some(next) = next.some() {
            self.node_mut(next).previous = previous;
        }
        match parent {
            Parent::Out | Parent::Awaited => {}
            Parent::Origin => {
                self.roots -= 1;
                if self.first_root == Some(member) {
                    self.first_root = next.some();
                }
                if self.last_root == Some(member) {
                    self.last_root = previous.some();
                }
            }
            Parent::Member(parent) => {
                let above = self.node_mut(parent);
                above.children -= 1;
                above.strong_children -= u16::from(strong);
                if above.first == member {
                    above.first = next;
                }
                if above.last == member {
                    above.last = previous;
                }
                if interior {
                    self.shift_ranks(next, |rank| rank - 1);
                }
            }
        }
        let node = self.node_mut(member);
        (node.previous, node.next) = (MemberIx::NONE, MemberIx::NONE);
        (node.above, node.parent) = (Above::Out, MemberIx::NONE);
    }

    /// Says how strong a node is, and keeps its siblings in order.
    pub(crate) fn set_class(&mut self, member: MemberIx, class: u8) {
        match self.parent(member) {
            Parent::Out | Parent::Origin | Parent::Awaited => self.node_mut(member).class = class,
            parent @ Parent::Member(_) => {
                self.detach(member);
                self.node_mut(member).class = class;
                self.attach(member, parent);
            }
        }
    }

    fn push_root(&mut self, member: MemberIx) {
        self.roots += 1;
        match self.last_root.replace(member) {
            Some(last) => {
                self.node_mut(last).next = member;
                self.node_mut(member).previous = last;
            }
            None => self.first_root = Some(member),
        }
    }

    fn push_child(&mut self, member: MemberIx, parent: MemberIx) {
        let (class, strong) = (self.node(member).class, self.node(member).is_strong());
        let above = self.node(parent);
        let (mut previous, mut next, mut rank) = (above.last, MemberIx::NONE, 0);
        if class > 0 {
            (previous, next) = (MemberIx::NONE, above.first);
            while next != MemberIx::NONE && self.node(next).class >= class {
                (previous, next) = (next, self.node(next).next);
                rank += 1;
            }
            self.shift_ranks(next, |rank| rank + 1);
        }
        let node = self.node_mut(member);
        (node.previous, node.next, node.rank) = (previous, next, rank);
        match previous.some() {
            Some(previous) => self.node_mut(previous).next = member,
            None => self.node_mut(parent).first = member,
        }
        match next.some() {
            Some(next) => self.node_mut(next).previous = member,
            None => self.node_mut(parent).last = member,
        }
        let above = self.node_mut(parent);
        above.children += 1;
        above.strong_children += u16::from(strong);
    }

    /// Changes the ranks of a node and the interior siblings after it.
    fn shift_ranks(&mut self, from: MemberIx, shift: impl Fn(u16) -> u16) {
        let mut at = from;
        while at != MemberIx::NONE && self.node(at).is_interior() {
            let node = self.node_mut(at);
            node.rank = shift(node.rank);
            at = node.next;
        }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.nodes.capacity() * size_of::<Node>() + self.places.memory_bytes()
    }
}
