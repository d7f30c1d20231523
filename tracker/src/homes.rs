//! In which substreams a member is interior.
//!
//! Rule: in as few as its slots allow, so that its departure hurts few; and every substream's supply
//! of slots covers its demand, least supplied first.

use crate::places::{CLASS_MAX, CLASS_STRONG};
use crate::shared::Core;
use crate::swarm::Swarm;
use crate::tree::{MemberIx, Parent};
use rand_core::Rng;

/// A member is strong if its even share is at least half of what it takes: K children are as much
/// as it receives.
const STRONG_EVEN_DIVISOR: u32 = 2;

/// Slots that members have for a substream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Supply {
    /// At most.
    pub(crate) slots: u32,
    /// As an even share of every uplink.
    pub(crate) even: u32,
}

impl Swarm {
    /// Substreams that a member should be interior in: one, unless there are fewer members that
    /// can relay than substreams.
    pub(crate) fn homes_per_member(&self) -> u32 {
        let substreams = u32::try_from(self.substreams()).unwrap_or(0);
        substreams.div_ceil(self.capable.max(1)).max(1)
    }

    /// Gives a newcomer its substreams: the least supplied, then those whose root carries most
    /// roots, then any.
    pub(crate) fn choose_homes(&mut self, core: &mut Core, member: MemberIx) {
        if self.member(member).slots == 0 {
            return;
        }
        for _ in 0..self.homes_per_member() {
            let homes = self.member(member).homes;
            let rank = |k: &usize| {
                let root = self.trees[*k].first_root();
                let roots = root.map_or(u8::MAX, |root| self.member(root).roots);
                (self.supply[*k].even, u8::MAX - roots)
            };
            let open = (0..self.substreams()).filter(|k| homes & (1 << k) == 0);
            let Some(least) = open.clone().map(|k| rank(&k)).min() else { return };
            let equals = open.filter(|k| rank(k) == least);
            let count = u32::try_from(equals.clone().count()).unwrap_or(1).max(1);
            let pick = core.random.next_u32() % count;
            let Some(k) = equals.clone().nth(pick as usize) else { return };
            self.add_home(member, k);
        }
    }

    /// Whether the substreams that a member is interior in have more slots than they need: only
    /// then may it become interior in another. Else one substream would take what the next lacks.
    pub(crate) fn can_spare(&self, member: MemberIx) -> bool {
        let (homes, demand) = (self.member(member).homes, self.reachable().saturating_sub(1));
        let rich = |k: &usize| homes & (1 << k) == 0 || self.supply[*k].slots > demand;
        (0..self.substreams()).all(|k| rich(&k))
    }

    /// Makes a member interior in a substream.
    pub(crate) fn add_home(&mut self, member: MemberIx, k: usize) {
        let homes = self.member(member).homes;
        if homes & (1 << k) == 0 {
            self.set_homes(member, homes | (1 << k));
        }
    }

    /// Makes a member a leaf in a substream, where it must not have children.
    pub(crate) fn drop_home(&mut self, member: MemberIx, k: usize) {
        let homes = self.member(member).homes;
        self.set_homes(member, homes & !(1 << k));
    }

    fn set_homes(&mut self, member: MemberIx, homes: u8) {
        self.count_supply(member, false);
        let changed = self.member(member).homes ^ homes;
        self.member_mut(member).homes = homes;
        self.count_supply(member, true);
        self.rank_nodes(member, changed | homes);
        for k in 0..self.substreams() {
            if changed & (1 << k) != 0 {
                self.refresh_keys(k, member);
            }
        }
        self.refresh(member);
    }

    /// Says in these substreams how strong a member is: strong interior nodes go before weak ones,
    /// and both before leaves. Weak ones near the root would make the tree deep.
    pub(crate) fn rank_nodes(&mut self, member: MemberIx, substreams: u8) {
        let class = strength_class(u32::from(self.member(member).even), self.substreams());
        for k in 0..self.substreams() {
            let is_home = self.member(member).homes & (1 << k) != 0;
            let class = if is_home { class } else { 0 };
            if substreams & (1 << k) == 0 || self.trees[k].node(member).class() == class {
                continue;
            }
            self.trees[k].set_class(member, class);
            self.estimate(k, member);
            self.refresh_keys(k, member);
            if let Parent::Member(parent) = self.trees[k].parent(member) {
                self.refresh_keys(k, parent);
                self.mark_stale(k, parent);
            }
        }
    }

    /// Adds what a member supplies to the sums, or takes it off.
    pub(crate) fn count_supply(&mut self, member: MemberIx, add: bool) {
        let entry = self.member(member);
        let (homes, each) = (entry.homes, entry.supply_per_home());
        for (k, supply) in self.supply.iter_mut().enumerate() {
            if homes & (1 << k) != 0 {
                let change = |sum: u32, own: u32| if add { sum + own } else { sum - own };
                supply.slots = change(supply.slots, each.slots);
                supply.even = change(supply.even, each.even);
            }
        }
    }

    /// Whether a member is interior in more substreams than it should be.
    pub(crate) fn has_surplus_homes(&self, member: MemberIx) -> bool {
        let entry = self.member(member);
        let wanted = self.homes_per_member().max(u32::from(entry.roots));
        entry.homes.count_ones() > wanted
    }

    /// A substream that a member should be interior in no longer: it is interior in too many, or
    /// another substream lacks supply that this one has too much of (then that one is named too).
    pub(crate) fn home_to_leave(&self, member: MemberIx) -> Option<(usize, Option<usize>)> {
        let entry = self.member(member);
        let (homes, own) = (entry.homes, entry.supply_per_home());
        let demand = self.reachable().saturating_sub(1);
        let may_leave = |k: &usize| {
            homes & (1 << k) != 0
                && self.trees[*k].parent(member) != Parent::Origin
                && self.supply[*k].slots >= demand + own.slots
        };
        let fewest = |k: &usize| self.trees[*k].node(member).children();
        let k = (0..self.substreams()).filter(may_leave).min_by_key(fewest)?;
        if self.has_surplus_homes(member) {
            return Some((k, None));
        }
        let poorest = (0..self.substreams())
            .filter(|other| homes & (1 << other) == 0)
            .min_by_key(|&other| self.supply[other].even)?;
        let (rich, poor) = (self.supply[k].even, self.supply[poorest].even);
        let helps = poor < demand && rich >= demand + own.even && rich >= poor + 2 * own.even;
        (helps && own.even > 0).then_some((k, Some(poorest)))
    }
}

/// 1 for a weak interior node; strong ones begin at half of what they take, and each class gives
/// twice as much.
fn strength_class(even: u32, substreams: usize) -> u8 {
    let halves = even * STRONG_EVEN_DIVISOR / u32::try_from(substreams).unwrap_or(1).max(1);
    halves.checked_ilog2().map_or(1, |doublings| {
        let doublings = u8::try_from(doublings).unwrap_or(CLASS_MAX);
        (CLASS_STRONG + doublings).min(CLASS_MAX)
    })
}

impl crate::swarm::Member {
    /// What it can do for each substream that it is interior in.
    pub(crate) fn supply_per_home(&self) -> Supply {
        let homes = self.homes.count_ones().max(1);
        Supply { slots: u32::from(self.slots) / homes, even: u32::from(self.even) / homes }
    }
}
