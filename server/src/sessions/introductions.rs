//! How many viewers' addresses a token has been given.
//!
//! Rule: an address passes with an offer, in both directions, and counts once an hour for each of
//! the two tokens. Leaving and coming back changes nothing; what is an hour old is forgotten.

use crate::admission::Bearer;
use shoal_wire::PeerId;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;
use tokio::time::Instant;

/// How long an address counts.
const WINDOW: Duration = Duration::from_secs(3600);

/// Most tokens that are remembered: ten hours' worth of a full server. More are given nothing.
const BEARERS_MAX: usize = 200_000;

/// What each token has been given.
#[derive(Debug)]
pub(super) struct Introductions {
    per_hour_max: usize,
    given: HashMap<Bearer, Given>,
}

/// The peers whose addresses one token was given within the last hour.
#[derive(Debug, Default)]
struct Given {
    peers: HashSet<PeerId>,
    in_order: VecDeque<(Instant, PeerId)>,
}

impl Given {
    fn forget(&mut self, now: Instant) {
        while let Some((at, peer)) = self.in_order.front()
            && now.saturating_duration_since(*at) >= WINDOW
        {
            self.peers.remove(peer);
            self.in_order.pop_front();
        }
    }

    fn has_room(&self, peer: PeerId, max: usize) -> bool {
        self.peers.contains(&peer) || self.peers.len() < max
    }

    fn give(&mut self, peer: PeerId, now: Instant) {
        if self.peers.insert(peer) {
            self.in_order.push_back((now, peer));
        }
    }
}

impl Introductions {
    pub(super) fn new(per_hour_max: usize) -> Self {
        Self { per_hour_max, given: HashMap::new() }
    }

    /// Whether these two may know each other's address, each shown with its token; it counts.
    pub(super) fn allow(&mut self, pair: [(PeerId, Bearer); 2], now: Instant) -> bool {
        let [(one, of_one), (two, of_two)] = pair;
        let max = self.per_hour_max;
        if self.given.len() >= BEARERS_MAX {
            self.tidy(now);
            if self.given.len() >= BEARERS_MAX {
                return false;
            }
        }
        let mut room = |bearer, other| {
            let given = self.given.entry(bearer).or_default();
            given.forget(now);
            given.has_room(other, max)
        };
        if !(room(of_one, two) && room(of_two, one)) {
            return false;
        }
        for (bearer, other) in [(of_one, two), (of_two, one)] {
            self.given.entry(bearer).or_default().give(other, now);
        }
        true
    }

    /// Forgets tokens that were given nothing within the hour.
    pub(super) fn tidy(&mut self, now: Instant) {
        self.given.retain(|_, given| {
            given.forget(now);
            !given.peers.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_given_so_many_addresses_an_hour_however_often_it_comes_back() {
        let bearer = |name: &str| Bearer::new("test", name);
        let start = Instant::now();
        let mut introductions = Introductions::new(3);
        let mut meet = |greedy: u64, other: u64, at: Instant| {
            let other = (PeerId(other), bearer(&format!("viewer {other}")));
            introductions.allow([(PeerId(greedy), bearer("greedy")), other], at)
        };
        assert!((1..=3).all(|other| meet(100, other, start)));
        assert!(!meet(100, 4, start), "the fourth is one too many");
        assert!(!meet(101, 4, start), "under another name too");
        assert!(meet(101, 3, start), "what it knows it knows");
        let almost = start + WINDOW - Duration::from_millis(1);
        assert!(!meet(100, 4, almost));
        assert!(meet(100, 4, start + WINDOW));
        introductions.tidy(start + WINDOW * 2);
        assert!(introductions.given.is_empty());
    }
}
