//! Whose child a member becomes: there where its copy would arrive first.
//!
//! Rule: arrival there is the parent's own arrival, plus the children before it times the time of a
//! chunk on the parent's uplink, plus the way. Among the parents with a free slot and a link, or
//! room for one on both sides; near ones have the shorter way, open links cost nothing, ties are
//! random. The search is bounded; nobody becomes a descendant of itself.
//!
//! Interior nodes may take the place of a leaf, which moves down: so strong peers end up high and
//! the trees stay flat.

use crate::input::Place;
use crate::peers::PeerIx;
use crate::places::BEYOND_EVEN;
use crate::shared::Core;
use crate::swarm::Swarm;
use crate::tree::{MemberIx, Parent};

/// A place that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) parent: MemberIx,
    /// When a copy would arrive there, with what the place costs besides, µs.
    pub(crate) cost_us: u32,
    /// Whether a leaf has to make room.
    displace: bool,
}

/// What the search may consider besides free slots of members that are interior in the substream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Search {
    /// Nothing.
    Free,
    /// Slots held by leaves there, if the member is interior.
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
const NEW_LINK_US: u32 = 30_000;
/// The same between two peers of which every link failed so far.
const HARD_LINK_US: u32 = 2_000_000;
/// What displacing a leaf costs: one more change of a parent.
const DISPLACE_US: u32 = 20_000;
/// What a place beyond the even share of an uplink costs.
const BEYOND_EVEN_US: u32 = 250_000;
/// What making a member interior in one more substream costs.
const RECRUIT_US: u32 = 300_000;
/// Leaves of one parent that are asked to make room.
const LEAVES_MAX: usize = 4;

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
    fn way_us(&self, child: PeerIx, parent: PeerIx) -> u32 {
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
                let hard = u32::try_from(hard).unwrap_or(HARD_LINK_US);
                distance_us(below.place, above.place) + NEW_LINK_US + hard
            }
        }
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

/// The best place so far and how many were compared.
struct Best {
    choice: Option<Choice>,
    compared: u8,
}

impl Best {
    fn offer(&mut self, choice: Choice) {
        self.compared += 1;
        if self.choice.is_none_or(|best| choice.cost_us < best.cost_us) {
            self.choice = Some(choice);
        }
    }

    /// Whether a place whose cost is at least this cannot be better.
    fn beats(&self, cost_us: u32) -> bool {
        self.choice.is_some_and(|best| best.cost_us <= cost_us)
    }
}

impl Swarm {
    /// The best place for a member in substream `k`, other than below `avoid`.
    pub(crate) fn find_place(
        &self,
        core: &Core,
        k: usize,
        member: MemberIx,
        avoid: Option<MemberIx>,
        search: Search,
    ) -> Option<Choice> {
        let mut best = Best { choice: None, compared: 0 };
        let may_displace = search.displaces() && !core.frozen;
        let displaces = may_displace && self.trees[k].node(member).is_inner();
        let fits =
            |parent: MemberIx| Some(parent) != avoid && self.can_be_child(core, k, member, parent);
        self.probe_places(core, k, member, displaces, &fits, &mut best);
        if search.recruits() {
            self.probe_links(core, k, member, &fits, &mut best);
            if best.choice.is_none() {
                self.probe_spare(core, k, member, &fits, &mut best);
            }
        }
        best.choice
    }

    /// Looks at the members that are interior in the substream.
    fn probe_places(
        &self,
        core: &Core,
        k: usize,
        member: MemberIx,
        displaces: bool,
        fits: &impl Fn(MemberIx) -> bool,
        best: &mut Best,
    ) {
        let places = &self.trees[k].places;
        let (mut free, mut upper) = (None, None);
        let entries: &mut dyn Iterator<Item = (u32, MemberIx)> =
            if displaces { upper.insert(places.upper()) } else { free.insert(places.free()) };
        let peer = self.member(member).peer;
        for (key, parent) in entries.take(usize::from(core.config.probes_max)) {
            let base = key & !BEYOND_EVEN;
            let beyond = if key & BEYOND_EVEN == 0 { 0 } else { BEYOND_EVEN_US };
            if best.beats(base + beyond + TRIP_SUBNET_US)
                || best.compared >= core.config.choices_max
            {
                break;
            }
            if !fits(parent) {
                continue;
            }
            let entry = self.member(parent);
            let displace = displaces && entry.used >= entry.even && {
                let node = self.trees[k].node(parent);
                node.children() > node.inner_children()
            };
            let cost_us = base
                + beyond
                + core.way_us(peer, entry.peer)
                + if displace { DISPLACE_US } else { 0 };
            best.offer(Choice { parent, cost_us, displace });
        }
    }

    /// Looks at the members to which there is a link already.
    fn probe_links(
        &self,
        core: &Core,
        k: usize,
        member: MemberIx,
        fits: &impl Fn(MemberIx) -> bool,
        best: &mut Best,
    ) {
        let peer = self.member(member).peer;
        for link in &core.peers.peer(peer).links {
            let Some(parent) = core.peers.peer(link.other).member_of(self.ix) else { continue };
            let entry = self.member(parent);
            if entry.used < entry.slots && fits(parent) {
                let cost_us = self.direct_cost_us(core, k, member, parent);
                best.offer(Choice { parent, cost_us, displace: false });
            }
        }
    }

    /// Looks at the members that could be made interior in the substream.
    fn probe_spare(
        &self,
        core: &Core,
        k: usize,
        member: MemberIx,
        fits: &impl Fn(MemberIx) -> bool,
        best: &mut Best,
    ) {
        for parent in self.spare().take(usize::from(core.config.probes_max)) {
            if best.compared >= core.config.choices_max {
                break;
            }
            if fits(parent) {
                let cost_us = self.direct_cost_us(core, k, member, parent);
                best.offer(Choice { parent, cost_us, displace: false });
            }
        }
    }

    fn direct_cost_us(&self, core: &Core, k: usize, member: MemberIx, parent: MemberIx) -> u32 {
        let (entry, node) = (self.member(parent), self.trees[k].node(parent));
        let sending = entry.chunk_time_us.saturating_mul(u32::from(node.children()) + 1);
        let is_home = entry.homes & (1 << k) != 0;
        let recruit = if is_home { 0 } else { RECRUIT_US };
        let beyond = if entry.used >= entry.even { BEYOND_EVEN_US } else { 0 };
        node.arrival_us
            .saturating_add(sending)
            .saturating_add(core.way_us(self.member(member).peer, entry.peer))
            .saturating_add(recruit + beyond)
    }

    /// Whether a member may become the child of another, slots apart.
    pub(crate) fn can_be_child(
        &self,
        core: &Core,
        k: usize,
        member: MemberIx,
        parent: MemberIx,
    ) -> bool {
        let tree = &self.trees[k];
        member != parent
            && tree.parent(parent) != Parent::Out
            && core.can_link(self.member(member).peer, self.member(parent).peer)
            && (tree.node(member).children() == 0 || !tree.is_below(parent, member))
    }

    /// Puts a member that is out of the forest of substream `k` into it: below the best parent, or
    /// below the origin if there is none.
    pub(crate) fn place(&mut self, core: &mut Core, k: usize, member: MemberIx) {
        match self.find_place(core, k, member, None, Search::Any) {
            Some(choice) => self.take_place(core, k, member, choice),
            None => self.assign(core, k, member, Parent::Origin),
        }
    }

    /// Moves a member to a place that was found for it.
    pub(crate) fn take_place(&mut self, core: &mut Core, k: usize, member: MemberIx, to: Choice) {
        let leaf =
            if to.displace { self.leaf_to_displace(core, k, member, to.parent) } else { None };
        if let Some(leaf) = leaf {
            self.assign(core, k, leaf, Parent::Out);
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
        if let Some(leaf) = leaf {
            self.place(core, k, leaf);
        }
    }

    /// A leaf of `parent` that can become a child of `member` instead.
    fn leaf_to_displace(
        &self,
        core: &Core,
        k: usize,
        member: MemberIx,
        parent: MemberIx,
    ) -> Option<MemberIx> {
        let tree = &self.trees[k];
        let leaf_like = |leaf: &MemberIx| !tree.node(*leaf).is_inner() && *leaf != member;
        tree.children_back(parent)
            .take_while(leaf_like)
            .take(LEAVES_MAX)
            .find(|&leaf| core.can_link(self.member(leaf).peer, self.member(member).peer))
    }

    /// Joins surplus roots of a substream to the rest, as far as there is room.
    pub(crate) fn join_roots(&mut self, core: &mut Core, k: usize, tries: usize) -> usize {
        let mut joined = 0;
        for _ in 0..tries {
            let tree = &self.trees[k];
            if tree.root_count() <= 1 {
                break;
            }
            let ends = [tree.last_root(), tree.first_root()];
            let found = ends.into_iter().flatten().find_map(|root| {
                let choice = self.find_place(core, k, root, None, Search::Any)?;
                Some((root, choice))
            });
            let Some((root, choice)) = found else { break };
            self.take_place(core, k, root, choice);
            joined += 1;
        }
        joined
    }
}
