//! Whose child a member becomes: there where its copy would arrive first.
//!
//! Rule: arrival there is the parent's own arrival, plus the children before it times the time of a
//! chunk on the parent's uplink, plus the way. Among the parents with a free slot and a link, or
//! room for one on both sides; near ones have the shorter way, open links cost nothing, ties are
//! random. The search is bounded; nobody becomes a descendant of itself.
//!
//! Strong interior nodes may take the place of a leaf, or of a clearly weaker interior node, which
//! moves down: so strong peers end up high and the trees stay flat.

use crate::input::{Mapping, Place};
use crate::peers::{Peer, PeerIx};
use crate::places::{CLASS_STRONG, Queue, scatter};
use crate::shared::Core;
use crate::swarm::Swarm;
use crate::tree::{MemberIx, Parent};

/// A place that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) parent: MemberIx,
    /// When a copy would arrive there, with what the place costs besides, µs.
    pub(crate) cost_us: u32,
    making: Making,
}

/// How room is made at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Making {
    /// A slot is free.
    Free,
    /// A leaf has to go elsewhere.
    Displace,
    /// This node becomes a child of the one that takes its place.
    Oust(MemberIx),
}

/// What the search may consider besides free slots of members that are interior in the substream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Search {
    /// Nothing.
    Free,
    /// Slots held by leaves or weaker nodes there, if the member is strong.
    Displace,
    /// Members that are not interior there yet.
    Recruit,
    /// Both.
    Any,
}

impl Search {
    fn displaces(self) -> bool {
        matches!(self, Self::Displace | Self::Any)
    }

    fn recruits(self) -> bool {
        matches!(self, Self::Recruit | Self::Any)
    }
}

/// One way to a neighbour nothing is known of: half of a European round trip with two access
/// networks.
const TRIP_UNKNOWN_US: u32 = 25_000;
const TRIP_COUNTRY_US: u32 = 15_000;
const TRIP_ASN_US: u32 = 10_000;
const TRIP_SUBNET_US: u32 = 2_000;
/// What a link that is still to be opened costs: it takes about a second, once, and may fail.
pub(crate) const NEW_LINK_US: u32 = 30_000;
/// The same between two peers of which every link failed so far.
const HARD_LINK_US: u32 = 2_000_000;
/// What a doubtful way through address translation costs.
const NAT_US: u32 = 60_000;
/// What displacing a leaf costs: one more change of a parent.
const DISPLACE_US: u32 = 20_000;
/// What pushing a weaker interior node down costs: it delays all that is below it.
const OUST_US: u32 = 40_000;
/// What a place beyond the even share of an uplink costs.
const BEYOND_EVEN_US: u32 = 250_000;
/// What making a member interior in one more substream costs.
const RECRUIT_US: u32 = 300_000;
/// Leaves of one parent that are asked to make room.
const LEAVES_MAX: usize = 4;
/// Members found to have no room for links in one search, so that the next passes them by.
const CROWDED_MAX: usize = 8;
/// Weaker nodes of each class that are compared.
const WEAKER_MAX: usize = 2;
/// Links of a member that are looked at for a parent.
const LINKS_PROBED_MAX: usize = 4;

impl Core {
    /// Estimate of the time one way between two peers, µs.
    pub(crate) fn trip_us(&self, a: PeerIx, b: PeerIx) -> u32 {
        let (first, second) = (self.peers.peer(a), self.peers.peer(b));
        let link =
            if first.links.len() <= second.links.len() { first.link(b) } else { second.link(a) };
        let measured = link.and_then(crate::links::Link::half_trip_us);
        measured.unwrap_or_else(|| distance_us(first.place, second.place))
    }

    /// The way to a parent and what the link to it costs, µs.
    pub(crate) fn way_us(&self, child: PeerIx, parent: PeerIx) -> u32 {
        let (below, above) = (self.peers.peer(child), self.peers.peer(parent));
        match below.link(parent) {
            Some(link) if link.is_open() => {
                link.half_trip_us().unwrap_or_else(|| distance_us(below.place, above.place))
            }
            Some(_) => distance_us(below.place, above.place) + NEW_LINK_US / 2,
            None => {
                let hard = u64::from(HARD_LINK_US)
                    * u64::from(below.unreachability())
                    * u64::from(above.unreachability())
                    / 1_000_000;
                let hard = u32::try_from(hard).unwrap_or(HARD_LINK_US) + nat_us(below, above);
                distance_us(below.place, above.place) + NEW_LINK_US + hard
            }
        }
    }
}

/// What address translation makes of a new link: a symmetric peer should go where it will be let
/// in, and others leave room there.
fn nat_us(below: &Peer, above: &Peer) -> u32 {
    match (below.mapping, above.takes_symmetric) {
        (Mapping::Symmetric, None) | (Mapping::Stable, Some(true)) => NAT_US,
        (Mapping::Symmetric | Mapping::Stable | Mapping::Unknown, _) => 0,
    }
}

fn distance_us(a: Place, b: Place) -> u32 {
    let same = |a: u32, b: u32| a != 0 && a == b;
    if same(a.subnet, b.subnet) {
        TRIP_SUBNET_US
    } else if same(a.asn, b.asn) {
        TRIP_ASN_US
    } else if same(u32::from(a.country), u32::from(b.country)) {
        TRIP_COUNTRY_US
    } else {
        TRIP_UNKNOWN_US
    }
}

/// A search for the parent of a member in one substream.
struct Probe<'a> {
    swarm: &'a Swarm,
    core: &'a Core,
    k: usize,
    member: MemberIx,
    peer: PeerIx,
    avoid: Option<MemberIx>,
    start: u32,
    best: Option<Choice>,
    /// Acceptable places that were compared.
    compared: u8,
    /// Members that turned out to have no room for links.
    crowded: [MemberIx; CROWDED_MAX],
    crowded_count: usize,
}

impl Probe<'_> {
    /// Compares a place with the best so far.
    fn offer(&mut self, parent: MemberIx, making: Making, base_us: u32) {
        if Some(parent) == self.avoid || parent == self.member {
            return;
        }
        if !self.can_link(parent) {
            self.note_crowded(parent);
            return;
        }
        let way_us = self.core.way_us(self.peer, self.swarm.member(parent).peer);
        let cost_us = base_us.saturating_add(way_us);
        let better = self.best.is_none_or(|best| cost_us < best.cost_us);
        if better && self.swarm.is_above_ground(self.core, self.k, self.member, parent) {
            self.best = Some(Choice { parent, cost_us, making });
        }
        self.compared += 1;
    }

    fn note_crowded(&mut self, parent: MemberIx) {
        let is_crowded = !self.core.has_room_for_child(self.swarm.member(parent).peer);
        if is_crowded && self.crowded_count < CROWDED_MAX {
            self.crowded[self.crowded_count] = parent;
            self.crowded_count += 1;
        }
    }

    fn can_link(&self, parent: MemberIx) -> bool {
        self.core.can_link(self.peer, self.swarm.member(parent).peer)
    }

    /// Whether a place of at least this cost cannot be better, or enough were compared.
    fn is_done(&self, cost_us: u32) -> bool {
        self.compared >= self.core.config.choices_max
            || self.best.is_some_and(|best| best.cost_us <= cost_us)
    }

    /// Looks at the members that are interior in the substream.
    fn places(&mut self, displaces: bool) {
        let (swarm, k) = (self.swarm, self.k);
        let queue = if displaces { Queue::Upper } else { Queue::Free };
        let rooms = swarm.trees[k].places.rooms(queue, self.start);
        for room in rooms.take(usize::from(self.core.config.probes_max)) {
            let beyond = if room.beyond_even { BEYOND_EVEN_US } else { 0 };
            if self.is_done(room.floor_us + beyond + TRIP_SUBNET_US) {
                return;
            }
            let (entry, node) = (swarm.member(room.member), swarm.trees[k].node(room.member));
            let displace = displaces && entry.used >= entry.even && node.has_weak_child();
            let before = if displaces { node.strong_children() } else { node.children() };
            let sending = entry.chunk_time_us.saturating_mul(u32::from(before) + 1);
            let (making, extra) =
                if displace { (Making::Displace, DISPLACE_US) } else { (Making::Free, 0) };
            let base_us = node.arrival_us.saturating_add(sending).saturating_add(beyond + extra);
            self.offer(room.member, making, base_us);
        }
    }

    /// Looks at the places of weaker interior nodes.
    fn weaker(&mut self) {
        let (swarm, k) = (self.swarm, self.k);
        let tree = &swarm.trees[k];
        for class in CLASS_STRONG..tree.node(self.member).class() {
            self.compared = 0;
            for (floor_us, held) in tree.places.held(class, self.start).take(WEAKER_MAX) {
                if self.is_done(floor_us + OUST_US) {
                    break;
                }
                let Parent::Member(parent) = tree.parent(held) else { continue };
                if held == self.member
                    || !self.core.can_link(swarm.member(held).peer, self.peer)
                    || Some(parent) == self.avoid
                {
                    continue;
                }
                let node = tree.node(held);
                let base_us = node.arrival_us.saturating_sub(node.trip_us()) + OUST_US;
                self.offer(parent, Making::Oust(held), base_us);
            }
        }
    }

    /// Looks at the members to which there is a link already: at a few that are interior in the
    /// substream, or at all if there is no place yet. Not at those few for the children of a leaver:
    /// they may be many, and each look is at memory that was not used lately.
    fn links(&mut self) {
        let (core, swarm) = (self.core, self.swarm);
        let links = &core.peers.peer(self.peer).links;
        let recruits = self.best.is_none();
        let few = if swarm.leaver.is_some() { 0 } else { LINKS_PROBED_MAX };
        let count = if recruits { links.len() } else { few.min(links.len()) };
        let start = scatter(self.start) as usize % links.len().max(1);
        for link in links.iter().cycle().skip(start).take(count) {
            let Some(parent) = core.peers.peer(link.other).member_of(swarm.ix) else { continue };
            let is_home = swarm.trees[self.k].node(parent).is_interior();
            let entry = swarm.member(parent);
            if (is_home || recruits) && entry.used < entry.slots {
                self.direct(parent);
            }
        }
    }

    /// Looks at the members that could be made interior in the substream.
    fn spare(&mut self) {
        let swarm = self.swarm;
        for parent in swarm.spare(self.start).take(usize::from(self.core.config.probes_max)) {
            if self.compared >= self.core.config.choices_max {
                return;
            }
            if parent != self.member {
                self.direct(parent);
            }
        }
    }

    /// Looks at a free slot of any member.
    fn direct(&mut self, parent: MemberIx) {
        let (entry, tree) = (self.swarm.member(parent), &self.swarm.trees[self.k]);
        if tree.parent(parent) == Parent::Out {
            return;
        }
        let node = tree.node(parent);
        if !node.is_interior() && !self.swarm.can_spare(parent) {
            return;
        }
        let sending = entry.chunk_time_us.saturating_mul(u32::from(node.children()) + 1);
        let recruit = if node.is_interior() { 0 } else { RECRUIT_US };
        let beyond = if entry.used >= entry.even { BEYOND_EVEN_US } else { 0 };
        let arrival_us = self.swarm.arrival_us(self.k, parent);
        let base_us = arrival_us.saturating_add(sending).saturating_add(recruit + beyond);
        self.offer(parent, Making::Free, base_us);
    }
}

impl Swarm {
    /// The best place for a member in substream `k`, other than below `avoid`.
    pub(crate) fn find_place(
        &mut self,
        core: &Core,
        k: usize,
        member: MemberIx,
        avoid: Option<MemberIx>,
        search: Search,
    ) -> Option<Choice> {
        let peer = self.member(member).peer;
        let crowded = [MemberIx::NONE; CROWDED_MAX];
        let mut probe = Probe {
            swarm: self,
            core,
            k,
            member,
            peer,
            avoid,
            start: self.search_start(member),
            best: None,
            compared: 0,
            crowded,
            crowded_count: 0,
        };
        let may_displace = search.displaces() && !core.frozen;
        let displaces = may_displace && self.trees[k].node(member).is_strong();
        probe.places(displaces);
        // A leaver's children may be many; rebalancing moves them up later where that is worth it.
        if displaces && self.leaver.is_none() {
            probe.weaker();
        }
        if search.recruits() {
            probe.links();
            if probe.best.is_none() {
                probe.spare();
            }
        }
        let Probe { best, crowded, crowded_count, .. } = probe;
        for &member in &crowded[..crowded_count] {
            self.set_crowded(core.now, member);
        }
        best
    }

    /// Whether `parent` is in the forest and nothing comes to it through `member`.
    fn is_above_ground(&self, core: &Core, k: usize, member: MemberIx, parent: MemberIx) -> bool {
        let tree = &self.trees[k];
        let feeds = tree.node(member).children() > 0 || self.member(member).acts_until > core.now;
        member != parent
            && tree.parent(parent) != Parent::Out
            && (!feeds || !self.is_fed_through(core, k, parent, member))
    }

    /// Whether a member may become the child of another, slots apart.
    pub(crate) fn can_be_child(
        &self,
        core: &Core,
        k: usize,
        member: MemberIx,
        parent: MemberIx,
    ) -> bool {
        self.is_above_ground(core, k, member, parent)
            && core.can_link(self.member(member).peer, self.member(parent).peer)
    }

    /// Puts a member that is out of the forest of substream `k` into it: below the best parent, or
    /// below the origin if there is none.
    pub(crate) fn place(&mut self, core: &mut Core, k: usize, member: MemberIx) {
        let is_short = self.is_short(k);
        if is_short
            && self.has_home(member, k)
            && self.trees[k].root_count() < self.lacking(k) + self.closed
        {
            self.assign(core, k, member, Parent::Origin);
            return;
        }
        let search = if is_short { Search::Recruit } else { Search::Any };
        match self.find_place(core, k, member, None, search) {
            Some(choice) => self.take_place(core, k, member, choice),
            None => self.assign(core, k, member, Parent::Origin),
        }
    }

    /// Members of a substream, of those that others can feed, for which there are no slots; the first
    /// root among them.
    pub(crate) fn lacking(&self, k: usize) -> u32 {
        self.reachable().saturating_sub(self.supply[k].slots)
    }

    /// Whether the origin has to feed some members of a substream for want of slots.
    pub(crate) fn is_short(&self, k: usize) -> bool {
        self.lacking(k) > 1
    }

    fn has_home(&self, member: MemberIx, k: usize) -> bool {
        let entry = self.member(member);
        entry.slots > 0 && entry.homes & (1 << k) != 0
    }

    /// Where whoever makes room for a member can go: below it, or into its place.
    fn refuges(&self, k: usize, member: MemberIx) -> [Option<MemberIx>; 2] {
        let entry = self.member(member);
        let below = (entry.used < entry.even.min(entry.slots)).then_some(member);
        let Parent::Member(left) = self.trees[k].parent(member) else { return [below, None] };
        [below, Some(left)]
    }

    /// Whether whoever has to make room for a member finds a place: else it would become a root.
    pub(crate) fn makes_way(&self, core: &Core, k: usize, member: MemberIx, to: Choice) -> bool {
        let moved = match to.making {
            Making::Free => return true,
            Making::Displace => self.leaf_to_displace(core, k, member, to.parent),
            Making::Oust(weaker) => Some(weaker),
        };
        let has_room = |refuge: MemberIx| self.member(refuge).used <= self.member(refuge).slots;
        let takes = |moved: MemberIx, refuge: MemberIx| {
            has_room(refuge) && self.can_be_child(core, k, moved, refuge)
        };
        let mut refuges = self.refuges(k, member).into_iter().flatten();
        moved.is_some_and(|moved| refuges.any(|refuge| takes(moved, refuge)))
    }

    /// Moves a member to a place that was found for it.
    pub(crate) fn take_place(&mut self, core: &mut Core, k: usize, member: MemberIx, to: Choice) {
        let refuges = self.refuges(k, member);
        let moved = match to.making {
            Making::Free => None,
            Making::Displace => self.leaf_to_displace(core, k, member, to.parent),
            Making::Oust(weaker) => Some(weaker),
        };
        if let Some(moved) = moved {
            self.assign(core, k, moved, Parent::Out);
        }
        let entry = self.member(to.parent);
        if entry.used >= entry.slots {
            // No leaf of it can move: there is room elsewhere, or at the origin.
            match self.find_place(core, k, member, None, Search::Recruit) {
                Some(other) => self.assign(core, k, member, Parent::Member(other.parent)),
                None => self.assign(core, k, member, Parent::Origin),
            }
        } else {
            self.assign(core, k, member, Parent::Member(to.parent));
        }
        let Some(moved) = moved else { return };
        let takes = |refuge: &MemberIx| {
            let entry = self.member(*refuge);
            entry.used < entry.slots && self.can_be_child(core, k, moved, *refuge)
        };
        match refuges.into_iter().flatten().find(takes) {
            Some(refuge) => self.assign(core, k, moved, Parent::Member(refuge)),
            None => self.place(core, k, moved),
        }
    }

    /// A leaf of `parent` that can make room for `member`, and go where it would have to if that is
    /// known.
    fn leaf_to_displace(
        &self,
        core: &Core,
        k: usize,
        member: MemberIx,
        parent: MemberIx,
    ) -> Option<MemberIx> {
        let tree = &self.trees[k];
        let leaf_like = |leaf: &MemberIx| !tree.node(*leaf).is_strong() && *leaf != member;
        let leaves = tree.children_back(parent).take_while(leaf_like);
        let refuges = self.refuges(k, member);
        let goes = |leaf: &MemberIx| {
            let own = self.member(*leaf).peer;
            let mut refuges = refuges.into_iter().flatten().peekable();
            refuges.peek().is_none()
                || refuges.any(|refuge| core.can_link(own, self.member(refuge).peer))
        };
        leaves.take(LEAVES_MAX).find(goes)
    }
}
