//! What all swarms of a stream share: peers, links, trust, randomness, the outputs.
//!
//! It decides nothing.

use crate::config::Config;
use crate::output::Output;
use crate::peers::Peers;
use crate::stamp::Stamp;
use crate::trust::Trust;
use alloc::collections::VecDeque;
use rand_core::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

/// Counts since the start, for the operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Plans sent.
    pub plans: u64,
    /// Substreams in them: each is one change of a parent.
    pub plan_changes: u64,
    /// Links that opened.
    pub links_up: u64,
    /// Links that did not open.
    pub links_failed: u64,
    /// Moves by rebalancing, of the plan changes.
    pub rebalanced: u64,
    /// Peers banned.
    pub banned: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) peers: Peers,
    pub(crate) trust: Trust,
    pub(crate) random: Xoshiro256PlusPlus,
    pub(crate) now: Stamp,
    /// Whether peers are used at all.
    pub(crate) enabled: bool,
    /// Whether a restarted tracker still moves nobody without need.
    pub(crate) frozen: bool,
    pub(crate) counts: Counts,
    outputs: VecDeque<Output>,
}

impl Core {
    pub(crate) fn new(config: Config, seed: u64) -> Self {
        Self {
            config,
            peers: Peers::default(),
            trust: Trust::default(),
            random: Xoshiro256PlusPlus::seed_from_u64(seed),
            now: Stamp::ZERO,
            enabled: true,
            frozen: false,
            counts: Counts::default(),
            outputs: VecDeque::new(),
        }
    }

    pub(crate) fn emit(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(crate) fn take_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The version of the next plan: one sequence for all peers, so that it grows for each, also
    /// for one that left and came back.
    pub(crate) fn next_version(&mut self, changes: usize) -> u64 {
        self.counts.plans += 1;
        self.counts.plan_changes += changes as u64;
        self.counts.plans
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.peers.memory_bytes()
            + self.trust.memory_bytes()
            + self.outputs.capacity() * size_of::<Output>()
    }
}
