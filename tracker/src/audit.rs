//! Checks that the tables agree with each other and with the rules of the plan.
//!
//! It costs O(n · K · depth): for tests and the simulator.

use crate::config::Config;
use crate::engine::Tracker;
use crate::homes::Supply;
use crate::peers::PeerIx;
use crate::swarm::Swarm;
use crate::tree::{MemberIx, Parent};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use core::fmt;

/// A rule that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(String);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for Fault {}

fn ensure(holds: bool, fault: impl FnOnce() -> String) -> Result<(), Fault> {
    if holds { Ok(()) } else { Err(Fault(fault())) }
}

impl Tracker {
    /// Checks every rule.
    ///
    /// # Errors
    /// [`Fault`] names the first that does not hold.
    pub fn audit(&self) -> Result<(), Fault> {
        let mut uses: BTreeMap<(PeerIx, PeerIx), u32> = BTreeMap::new();
        let mut given: BTreeMap<PeerIx, u32> = BTreeMap::new();
        for swarm in &self.swarms {
            swarm.audit_counts()?;
            swarm.audit_demand(&self.core.config)?;
            for (peer, viewer) in swarm.demand.viewers() {
                for &source in &viewer.sources {
                    *uses.entry((peer.min(source), peer.max(source))).or_default() += 1;
                    *given.entry(source).or_default() += viewer.share_kbps;
                }
            }
            for k in 0..swarm.substreams() {
                for member in swarm.indices() {
                    self.audit_node(swarm, k, member)?;
                    if let Parent::Member(parent) = swarm.trees[k].parent(member) {
                        let (a, b) = (swarm.member(member).peer, swarm.member(parent).peer);
                        *uses.entry((a.min(b), a.max(b))).or_default() += 1;
                    }
                }
            }
        }
        for (ix, peer) in self.core.peers.iter() {
            let promised = given.get(&ix).copied().unwrap_or(0);
            ensure(peer.given_kbps == promised, || format!("{} promised {promised}", peer.id))?;
        }
        self.audit_links(&uses)
    }

    fn audit_node(&self, swarm: &Swarm, k: usize, member: MemberIx) -> Result<(), Fault> {
        let tree = &swarm.trees[k];
        let parent = tree.parent(member);
        let planned = swarm.is_active(&self.core);
        ensure(planned == (parent != Parent::Out), || {
            format!("{member:?} has no parent in substream {k}")
        })?;
        let waits = parent == Parent::Awaited;
        ensure(!waits || self.core.frozen, || format!("{member:?} still waits in {k}"))?;
        if !planned {
            return Ok(());
        }
        let mut top = member;
        for _ in 0..=swarm.index_end() {
            let Parent::Member(above) = tree.parent(top) else { break };
            top = above;
        }
        ensure(!matches!(tree.parent(top), Parent::Member(_)), || {
            format!("{member:?} is in a cycle in substream {k}")
        })?;
        let acting = swarm.acting_parent(&self.core, k, member);
        let comes_back =
            acting.filter(|&acting| swarm.is_fed_through(&self.core, k, acting, member));
        ensure(comes_back.is_none(), || {
            format!("{member:?} is fed through itself in substream {k} while a link opens")
        })?;
        let children = tree.children(member).count();
        ensure(children == usize::from(tree.node(member).children()), || {
            format!("{member:?} counts its children wrongly in substream {k}")
        })?;
        ensure(tree.node(member).keys == swarm.keys(k, member), || {
            format!("{member:?} is queued under keys of the past in substream {k}")
        })?;
        let entry = swarm.member(member);
        let is_home = entry.homes & (1 << k) != 0;
        ensure(is_home == tree.node(member).is_interior() && (is_home || children == 0), || {
            format!("{member:?} is interior in {k} without a home there")
        })
    }

    fn audit_links(&self, uses: &BTreeMap<(PeerIx, PeerIx), u32>) -> Result<(), Fault> {
        for (ix, peer) in self.core.peers.iter() {
            ensure(peer.links.len() <= usize::from(peer.links_max), || {
                format!("{} has too many links", peer.id)
            })?;
            for link in &peer.links {
                let other = self.core.peers.peer(link.other);
                let back = other.link(ix);
                ensure(back.is_some(), || format!("{} knows a link alone", peer.id))?;
                let edges = uses.get(&(ix.min(link.other), ix.max(link.other)));
                let edges = edges.copied().unwrap_or(0);
                ensure(link.edges() == edges, || format!("{} counts edges wrongly", peer.id))?;
            }
            let feeds = |watch: &crate::peers::Watch| {
                let swarm = &self.swarms[watch.swarm.at()];
                watch.member != MemberIx::NONE && swarm.member(watch.member).used > 0
            };
            let feeds = peer.watches.iter().any(feeds);
            ensure(!peer.banned || !feeds, || format!("{} is banned and feeds", peer.id))?;
        }
        for &(a, b) in uses.keys() {
            let (first, second) = (self.core.peers.peer(a), self.core.peers.peer(b));
            ensure(first.link(b).is_some(), || format!("{} lacks a link", first.id))?;
            ensure(!self.core.trust.separated(first.id, second.id), || {
                format!("{} and {} are separated", first.id, second.id)
            })?;
        }
        Ok(())
    }
}

impl Swarm {
    fn audit_demand(&self, config: &Config) -> Result<(), Fault> {
        ensure(self.demand.is_indexed(), || String::from("holders are indexed wrongly"))?;
        for (peer, viewer) in self.demand.viewers() {
            let count = viewer.sources.len();
            ensure(count <= usize::from(config.sources_max), || {
                format!("{peer:?} has {count} sources")
            })?;
            let known = |source: &PeerIx| *source != peer && self.demand.viewer(*source).is_some();
            ensure(viewer.sources.iter().all(known), || {
                format!("a source of {peer:?} holds nothing")
            })?;
        }
        Ok(())
    }

    fn audit_counts(&self) -> Result<(), Fault> {
        for member in self.indices() {
            let entry = self.member(member);
            let children: usize =
                self.trees.iter().map(|tree| usize::from(tree.node(member).children())).sum();
            ensure(children == usize::from(entry.used), || format!("{member:?} counts slots"))?;
            let is_root = |k: &usize| self.trees[*k].parent(member) == Parent::Origin;
            let roots = (0..self.substreams()).filter(is_root).count();
            ensure(roots == usize::from(entry.roots), || format!("{member:?} counts roots"))?;
        }
        for (k, supply) in self.supply.iter().enumerate() {
            let homes = self.indices().map(|member| self.member(member));
            let own = homes
                .filter(|member| member.homes & (1 << k) != 0)
                .map(crate::swarm::Member::supply_per_home);
            let sum = own.fold(Supply::default(), |sum, own| Supply {
                slots: sum.slots + own.slots,
                even: sum.even + own.even,
            });
            ensure(sum == *supply, || format!("supply of {k} is {supply:?}, not {sum:?}"))?;
        }
        let upload: u64 =
            self.indices().map(|member| u64::from(self.member(member).upload_kbps)).sum();
        ensure(upload == self.upload_kbps, || String::from("the sum of uploads is wrong"))?;
        let capable = self.indices().filter(|&member| self.member(member).slots > 0).count();
        ensure(capable == self.capable as usize, || String::from("capable members miscounted"))?;
        let closed = self.indices().filter(|&member| self.member(member).closed).count();
        ensure(closed == self.closed as usize, || String::from("closed members miscounted"))
    }
}
