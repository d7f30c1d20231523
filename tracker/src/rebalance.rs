//! Small corrections, once a second: what joins and leaves have left uneven.
//!
//! Rule: a bounded number of moves per round, each a clear gain, and none that another round would
//! undo: surplus roots join the rest; a root in many substreams hands some to others; where roots are
//! many, those with children become roots first; members stop being interior where they need not be;
//! full uplinks are relieved; deep nodes move up. When nobody joins or leaves, the plan becomes quiet.

use crate::attach::Search;
use crate::places::{CLASS_STRONG, Queue};
use crate::shared::Core;
use crate::swarm::Swarm;
use crate::tree::{MemberIx, Parent};

/// Children of a root that are considered for its place.
const HEIRS_MAX: usize = 32;
/// A move must save a quarter of the way, and this.
const GAIN_MIN_US: u32 = 20_000;
/// Estimates brought up to date per round.
const ESTIMATES_MAX: usize = 4_096;
/// Roots that are looked at for one without children.
const LEAF_ROOTS_MAX: usize = 16;
/// Surplus roots of a substream that are tried per round.
const JOINS_MAX: usize = 4;

impl Swarm {
    /// One round.
    pub(crate) fn rebalance(&mut self, core: &mut Core) {
        self.settle_estimates(ESTIMATES_MAX);
        self.recheck_crowded(core, ESTIMATES_MAX);
        let (least, most) = (core.config.moves_min, core.config.moves_max);
        let mut budget = (self.len() / 100).clamp(u32::from(least), u32::from(most)) as usize;
        let before = budget;
        for k in 0..self.substreams() {
            budget = budget.saturating_sub(self.join_roots(core, k, JOINS_MAX.min(budget)));
        }
        if !core.frozen {
            self.share_roots(core, &mut budget);
            self.scan(core, &mut budget);
        }
        self.settle_estimates(ESTIMATES_MAX);
        core.counts.rebalanced += (before - budget) as u64;
    }

    /// Lets the roots of overloaded members pass to their children.
    fn share_roots(&mut self, core: &mut Core, budget: &mut usize) {
        for k in 0..self.substreams() {
            if *budget < 2 {
                return;
            }
            let Some(root) = self.trees[k].first_root() else { continue };
            if let Some(heir) = self.better_root(core, k, root) {
                self.pass_root(core, k, root, heir);
                *budget -= 2;
            }
        }
    }

    /// A child that should be the root: it has clearly fewer roots and is nearly as strong, or is
    /// clearly stronger. All that the substream is waits for a root that is weak.
    fn better_root(&self, core: &Core, k: usize, root: MemberIx) -> Option<MemberIx> {
        let current = self.member(root);
        let fit = |&child: &MemberIx| {
            let entry = self.member(child);
            let peer = core.peers.peer(entry.peer);
            let nearly = u32::from(entry.slots) * 4 >= u32::from(current.slots) * 3;
            let relieves = nearly && entry.roots + 1 < current.roots;
            let stronger = entry.slots / 2 >= current.slots && entry.roots <= current.roots.min(1);
            let stronger = stronger && entry.roots < current.roots.max(1);
            entry.used < entry.slots
                && (relieves || stronger)
                && core.now.is_past(peer.joined, core.config.root_age_min)
                && peer.link(current.peer).is_some_and(crate::links::Link::is_open)
        };
        let rank = |&child: &MemberIx| {
            let entry = self.member(child);
            let strong = self.trees[k].node(child).is_strong();
            (u8::MAX - entry.roots, strong, entry.slots.saturating_sub(entry.used))
        };
        self.trees[k]
            .children(root)
            .take(HEIRS_MAX)
            .filter(|child| fit(child))
            .max_by_key(|child| rank(child))
    }

    /// Makes a child of a root the root, and the root its child.
    fn pass_root(&mut self, core: &mut Core, k: usize, root: MemberIx, heir: MemberIx) {
        self.assign(core, k, heir, Parent::Origin);
        self.assign(core, k, root, Parent::Member(heir));
    }

    /// Looks at the next members in turn.
    fn scan(&mut self, core: &mut Core, budget: &mut usize) {
        let count = self.index_end().min(u32::from(core.config.scan_max));
        for _ in 0..count {
            self.cursor = if self.cursor + 1 >= self.index_end() { 0 } else { self.cursor + 1 };
            let member = MemberIx(self.cursor);
            if !self.has(member) {
                continue;
            }
            self.size_slots(core, member, false);
            for k in 0..self.substreams() {
                self.measure(core, k, member);
            }
            if *budget > 0 {
                *budget -= self.relieve(core, member).min(*budget);
            }
            if *budget > 0 {
                *budget -= self.shed_home(core, member).min(*budget);
            }
            if *budget > 1 {
                *budget -= self.raise(core, member).min(*budget);
            }
            if *budget > 0 {
                *budget -= self.move_up(core, member).min(*budget);
            }
        }
    }

    /// Moves one child away from a member that has clearly more than it can feed; where there is
    /// upload to spare, also from one that has somewhat more, if another takes it.
    fn relieve(&mut self, core: &mut Core, member: MemberIx) -> usize {
        let entry = self.member(member);
        let allowed = if entry.slots == 0 { 0 } else { entry.slots + (entry.slots / 4).max(1) };
        let must = entry.used > allowed;
        if !must && entry.used <= self.carries(member) {
            return 0;
        }
        let most = (0..self.substreams()).max_by_key(|&k| self.trees[k].node(member).children());
        let Some(k) = most else { return 0 };
        let Some(child) = self.trees[k].children_back(member).next() else { return 0 };
        let search = if must { Search::Recruit } else { Search::Free };
        match self.find_place(core, k, child, Some(member), search) {
            Some(choice) => self.take_place(core, k, child, choice),
            None if must => self.assign(core, k, child, Parent::Origin),
            None => return 0,
        }
        1
    }

    /// Makes a member a leaf in a substream that it need not be interior in, or moves one of its
    /// children there on the way to it. The root, or else a member that stays interior, takes the
    /// child, so that it is not passed around.
    fn shed_home(&mut self, core: &mut Core, member: MemberIx) -> usize {
        let Some((k, instead)) = self.home_to_leave(member) else { return 0 };
        let Some(child) = self.trees[k].children_back(member).next() else {
            self.drop_home(member, k);
            if let Some(instead) = instead {
                self.add_home(member, instead);
            }
            return 0;
        };
        if self.trees[k].node(child).is_strong() {
            // Much hangs on those that are left: somebody has to take its place.
            if self.carries_much(k, member) && self.find_stand_in(core, k, member).is_none() {
                return 0;
            }
            let moves = usize::from(self.trees[k].node(member).children()) + 1;
            self.vacate(core, k, member);
            self.place(core, k, member);
            return moves;
        }
        let root = self.trees[k].first_root();
        let root = root.filter(|&root| root != member && self.can_be_child(core, k, child, root));
        let found = self.find_place(core, k, child, Some(member), Search::Free);
        let stays = |taker: &MemberIx| !self.has_surplus_homes(*taker);
        let other = found.map(|choice| choice.parent).filter(stays);
        let takers = [(root, 0), (other, 0), (root, 1)];
        let taker = takers
            .into_iter()
            .find_map(|(taker, beyond)| taker.filter(|&taker| self.may_take_over(taker, beyond)));
        let Some(taker) = taker else { return 0 };
        self.assign(core, k, child, Parent::Member(taker));
        1
    }

    /// Whether a member can take a child from one that need not have it: within its even share, or
    /// a quarter beyond it.
    fn may_take_over(&self, member: MemberIx, beyond_quarters: u32) -> bool {
        let entry = self.member(member);
        let (used, even) = (u32::from(entry.used), u32::from(entry.even));
        used < even + (even / 4 + 1) * beyond_quarters && entry.used < entry.slots
    }

    /// Where the origin serves leaves, it had better serve those that pass it on: a member that has
    /// children and a root that has none change places.
    fn raise(&mut self, core: &mut Core, member: MemberIx) -> usize {
        for k in 0..self.substreams() {
            let tree = &self.trees[k];
            let Parent::Member(parent) = tree.parent(member) else { continue };
            let node = tree.node(member);
            let settled = core.now.is_past(node.moved, core.config.move_cooldown);
            if node.children() == 0 || tree.root_count() <= 1 || !settled {
                continue;
            }
            let Some(leaf) = self.leaf_root(core, k, parent) else { continue };
            self.assign(core, k, member, Parent::Origin);
            self.assign(core, k, leaf, Parent::Member(parent));
            return 2;
        }
        0
    }

    /// A root without children that `parent` can feed; one that it has a link to, if there is one.
    fn leaf_root(&self, core: &Core, k: usize, parent: MemberIx) -> Option<MemberIx> {
        let tree = &self.trees[k];
        // Where there are slots, it may still find one.
        let waited = core.config.move_cooldown;
        let fit = |root: &MemberIx| {
            *root != parent
                && tree.parent(*root) == Parent::Origin
                && tree.node(*root).children() == 0
                && (self.is_short(k) || core.now.is_past(tree.node(*root).moved, waited))
                && !core.peers.peer(self.member(*root).peer).is_hopeless(core.now)
                && self.can_be_child(core, k, *root, parent)
        };
        let links = &core.peers.peer(self.member(parent).peer).links;
        let linked = links.iter().filter(|link| link.is_open());
        let linked = linked.filter_map(|link| core.peers.peer(link.other).member_of(self.ix));
        linked.chain(self.roots_in_turn(k, parent).take(LEAF_ROOTS_MAX)).find(fit)
    }

    /// Moves a member up in a substream where that saves much of the way.
    fn move_up(&mut self, core: &mut Core, member: MemberIx) -> usize {
        let mut moves = 0;
        for k in 0..self.substreams() {
            let Parent::Member(parent) = self.trees[k].parent(member) else { continue };
            let node = self.trees[k].node(member);
            let cooldown = core.config.move_cooldown * (1 << u32::from(node.moves.min(6)));
            let target = (self.arrival_us(k, member) / 4 * 3).saturating_sub(GAIN_MIN_US);
            if !core.now.is_past(node.moved, cooldown) || !self.may_gain(k, member, target) {
                continue;
            }
            let found = self.find_place(core, k, member, Some(parent), Search::Displace);
            let Some(choice) = found.filter(|choice| choice.cost_us < target) else { continue };
            if !self.makes_way(core, k, member, choice) {
                continue;
            }
            self.take_place(core, k, member, choice);
            let node = self.trees[k].node_mut(member);
            node.moves = node.moves.saturating_add(1);
            moves += 1;
        }
        moves
    }

    /// Whether the first free place is early enough: cheap to ask, and mostly it is not.
    fn may_gain(&self, k: usize, member: MemberIx, target_us: u32) -> bool {
        let tree = &self.trees[k];
        let is_strong = tree.node(member).is_strong();
        let queue = if is_strong { Queue::Upper } else { Queue::Free };
        let room = tree.places.rooms(queue, 0).next();
        let weaker = (CLASS_STRONG..tree.node(member).class())
            .filter_map(|class| tree.places.held(class, 0).next());
        let mut first = room.map(|room| room.floor_us).into_iter().chain(weaker.map(|held| held.0));
        first.any(|floor_us| floor_us < target_us)
    }
}
