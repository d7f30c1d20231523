//! Who accused whom of a chunk that fails its hash.
//!
//! Rule: a report separates the two for good, and does no more. Only several unrelated reporters
//! ban a peer, and a reporter that accuses many does not count.

use crate::config::Config;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use shoal_wire::PeerId;

#[derive(Clone, Copy, Debug)]
struct Accuser {
    peer: PeerId,
    subnet: u32,
}

/// All accusations. They outlive the sessions of those concerned.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trust {
    accused: BTreeMap<PeerId, Vec<Accuser>>,
    accusations: BTreeMap<PeerId, u32>,
    banned: BTreeSet<PeerId>,
}

/// What an accusation led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Those two are kept apart.
    Separate,
    /// The accused is to feed nobody any more, unless somebody is content with it.
    Ban,
}

impl Trust {
    /// Whether one of the two accused the other.
    pub(crate) fn separated(&self, a: PeerId, b: PeerId) -> bool {
        let accuses = |accuser: PeerId, accused: PeerId| {
            self.accused
                .get(&accused)
                .is_some_and(|all| all.iter().any(|entry| entry.peer == accuser))
        };
        accuses(a, b) || accuses(b, a)
    }

    pub(crate) fn is_banned(&self, peer: PeerId) -> bool {
        self.banned.contains(&peer)
    }

    /// Whether it accused or was accused.
    pub(crate) fn is_involved(&self, peer: PeerId) -> bool {
        self.accused.contains_key(&peer) || self.accusations.contains_key(&peer)
    }

    /// Notes an accusation by a neighbour of the accused.
    pub(crate) fn accuse(
        &mut self,
        config: &Config,
        reporter: PeerId,
        subnet: u32,
        accused: PeerId,
    ) -> Verdict {
        self.make_room(config);
        let all = self.accused.entry(accused).or_default();
        if !all.iter().any(|entry| entry.peer == reporter) {
            if all.len() >= usize::from(config.reporters_max) {
                all.remove(0);
            }
            all.push(Accuser { peer: reporter, subnet });
            *self.accusations.entry(reporter).or_default() += 1;
        }
        if !self.banned.contains(&accused)
            && self.unrelated_accusers(config, accused) >= usize::from(config.accusers_min)
        {
            return Verdict::Ban;
        }
        Verdict::Separate
    }

    /// Whether more accuse a peer than slander would bring together soon after it came.
    pub(crate) fn is_certain(&self, config: &Config, accused: PeerId) -> bool {
        self.unrelated_accusers(config, accused) >= usize::from(config.reporters_max / 2)
    }

    /// Remembers that a peer is banned.
    pub(crate) fn ban(&mut self, peer: PeerId) {
        self.banned.insert(peer);
    }

    /// Reporters from different sites that do not accuse everybody.
    fn unrelated_accusers(&self, config: &Config, accused: PeerId) -> usize {
        let Some(all) = self.accused.get(&accused) else { return 0 };
        let credible = |accuser: &Accuser| {
            let made = self.accusations.get(&accuser.peer).copied().unwrap_or(0);
            made <= u32::from(config.accusations_max)
        };
        let mut subnets = BTreeSet::new();
        all.iter()
            .filter(|accuser| credible(accuser))
            .filter(|accuser| accuser.subnet == 0 || subnets.insert(accuser.subnet))
            .count()
    }

    /// Forgets one accused peer if there are too many. Which one does not matter: only a flood of
    /// invented reports gets here.
    fn make_room(&mut self, config: &Config) {
        let accused_max = usize::from(config.accused_max);
        while self.accused.len() >= accused_max {
            self.accused.pop_first();
        }
        while self.accusations.len() >= accused_max * usize::from(config.reporters_max) {
            self.accusations.pop_first();
        }
        while self.banned.len() >= accused_max {
            self.banned.pop_first();
        }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let lists: usize =
            self.accused.values().map(|all| all.capacity() * size_of::<Accuser>()).sum();
        lists + (self.accused.len() * 32 + self.accusations.len() * 12 + self.banned.len() * 8) * 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(reports: &[(u64, u32, u64)], bans: &[u64]) {
        let (config, mut trust) = (Config::default(), Trust::default());
        let mut banned = Vec::new();
        for &(reporter, subnet, accused) in reports {
            let verdict = trust.accuse(&config, PeerId(reporter), subnet, PeerId(accused));
            assert!(trust.separated(PeerId(reporter), PeerId(accused)));
            if verdict == Verdict::Ban {
                banned.push(accused);
            }
        }
        assert_eq!(banned, bans, "{reports:?}");
    }

    #[test]
    fn only_several_unrelated_reporters_ban() {
        check(&[(1, 7, 9)], &[]);
        check(&[(1, 7, 9), (1, 7, 9), (1, 7, 9)], &[]);
        check(&[(1, 7, 9), (2, 7, 9), (3, 7, 9), (4, 8, 9)], &[]);
        check(&[(1, 7, 9), (2, 8, 9), (3, 6, 9)], &[]);
        check(&[(1, 7, 9), (2, 8, 9), (3, 6, 9), (4, 5, 9)], &[9]);
        check(&[(1, 0, 9), (2, 0, 9), (3, 0, 9), (4, 0, 9)], &[9]);
    }

    #[test]
    fn a_slanderer_does_not_count() {
        let mut reports: Vec<_> = (100..120).map(|accused| (1, 7, accused)).collect();
        reports.extend([(2, 8, 119), (3, 6, 119), (4, 5, 119)]);
        check(&reports, &[]);
        reports.push((5, 4, 119));
        check(&reports, &[119]);
    }
}
