//! Any reachability between viewers: a bound by maximum flow.
//!
//! Each connected part C of the swarm needs at least one copy from the origin, and at least what
//! its own uploads cannot carry, so the origin sends at least Σ max(r, |C| r − T_C). T_C is the
//! largest flow source → i (capacity u_i) → j, if i reaches j, → sink (r). An edge i → j needs no
//! capacity of its own, for j takes r in all. A relaxation: it ignores that peers can only pass on
//! what they have, so the true minimum may be higher; in a complete graph it is exact.
//!
//! The flow is Dinic's, on bit rows: a receiver leaves a layer's row when it leads nowhere, so one
//! phase looks at each bit about once, and only edges that carry something are kept.

use super::{mbit, offload, rate_bps, upload_bps};

/// Which pairs of viewers can open a link; links work both ways.
#[derive(Clone, Debug)]
pub struct Reach {
    rows: Vec<Bits>,
}

impl Reach {
    /// Nobody reaches anybody.
    #[must_use]
    pub fn new(viewers: usize) -> Self {
        Self { rows: vec![Bits::none(viewers); viewers] }
    }

    /// These two can open a link. A viewer has no link to itself.
    pub fn connect(&mut self, one: usize, other: usize) {
        if one != other {
            self.rows[one].insert(other);
            self.rows[other].insert(one);
        }
    }

    /// Whether they can.
    #[must_use]
    pub fn connects(&self, one: usize, other: usize) -> bool {
        self.rows[one].contains(other)
    }

    /// The number of connected part that each viewer is in, and how many parts there are.
    fn parts(&self) -> (Vec<usize>, usize) {
        let viewers = self.rows.len();
        let mut fresh = Bits::all(viewers);
        let mut part_of = vec![0; viewers];
        let mut parts = 0;
        while let Some(first) = fresh.first() {
            fresh.remove(first);
            let mut open = vec![first];
            while let Some(one) = open.pop() {
                part_of[one] = parts;
                fresh.take_common(&self.rows[one], |other| open.push(other));
            }
            parts += 1;
        }
        (part_of, parts)
    }
}

/// Least origin egress that could give every viewer the rendition, Mbit/s.
///
/// # Panics
/// If `reach` was made for another number of viewers.
#[must_use]
pub fn origin_min_mbps(rate_mbps: f64, upload_mbps: &[f64], reach: &Reach) -> f64 {
    assert_eq!(upload_mbps.len(), reach.rows.len(), "one upload per viewer");
    let rate = rate_bps(rate_mbps);
    let supply: Vec<u64> = upload_mbps.iter().map(|upload| upload_bps(*upload)).collect();
    let unserved = Transport::new(&reach.rows, supply, vec![rate; reach.rows.len()]).unserved();
    let (part_of, parts) = reach.parts();
    let mut deficits = vec![0; parts];
    for (viewer, lack) in unserved.iter().enumerate() {
        deficits[part_of[viewer]] += lack;
    }
    mbit(deficits.iter().map(|deficit: &u64| rate.max(*deficit)).sum())
}

/// Largest part of what viewers get that peers could carry.
#[must_use]
pub fn offload_max(rate_mbps: f64, upload_mbps: &[f64], reach: &Reach) -> f64 {
    let demand = rate_mbps * upload_mbps.len() as f64;
    offload(origin_min_mbps(rate_mbps, upload_mbps, reach), demand)
}

/// A set of small numbers.
#[derive(Clone, Debug)]
struct Bits(Vec<u64>);

impl Bits {
    fn none(len: usize) -> Self {
        Self(vec![0; len.div_ceil(64)])
    }

    fn all(len: usize) -> Self {
        let mut all = Self::none(len);
        (0..len).for_each(|index| all.insert(index));
        all
    }

    fn insert(&mut self, index: usize) {
        self.0[index / 64] |= 1 << (index % 64);
    }

    fn remove(&mut self, index: usize) {
        self.0[index / 64] &= !(1 << (index % 64));
    }

    fn contains(&self, index: usize) -> bool {
        self.0[index / 64] >> (index % 64) & 1 == 1
    }

    fn first(&self) -> Option<usize> {
        let word = self.0.iter().position(|word| *word != 0)?;
        Some(word * 64 + self.0[word].trailing_zeros() as usize)
    }

    fn first_common(&self, other: &Self) -> Option<usize> {
        let word = self.0.iter().zip(&other.0).position(|(a, b)| a & b != 0)?;
        Some(word * 64 + (self.0[word] & other.0[word]).trailing_zeros() as usize)
    }

    /// Takes what it has in common with `other` out of it, one number after the other.
    fn take_common(&mut self, other: &Self, mut taken: impl FnMut(usize)) {
        for (word, (mine, theirs)) in self.0.iter_mut().zip(&other.0).enumerate() {
            let mut common = *mine & theirs;
            *mine &= !theirs;
            while common != 0 {
                taken(word * 64 + common.trailing_zeros() as usize);
                common &= common - 1;
            }
        }
    }
}

/// A layer that no phase has reached.
const UNREACHED: usize = usize::MAX;

/// What a receiver gets from one sender.
#[derive(Clone, Copy, Debug)]
struct Carried {
    sender: usize,
    bits: u64,
}

/// The maximum flow from senders' supplies to receivers' demands.
struct Transport<'a> {
    rows: &'a [Bits],
    supply: Vec<u64>,
    demand: Vec<u64>,
    carried: Vec<Vec<Carried>>,
    /// Per sender, its layer in this phase. Receivers' layers are the rows of `live`.
    sender_layer: Vec<usize>,
    /// Per layer, the receivers that may still lead to room in this phase.
    live: Vec<Bits>,
    /// Per receiver, the first entry of `carried` that may still lead to room in this phase.
    next: Vec<usize>,
}

/// One step of a path with room: the sender gives to the receiver, which gives back what it gets
/// by an entry of `carried`.
#[derive(Clone, Copy, Debug)]
struct Step {
    sender: usize,
    receiver: usize,
    entry: usize,
}

impl<'a> Transport<'a> {
    fn new(rows: &'a [Bits], supply: Vec<u64>, demand: Vec<u64>) -> Self {
        let viewers = rows.len();
        Self {
            rows,
            supply,
            demand,
            carried: vec![Vec::new(); viewers],
            sender_layer: vec![UNREACHED; viewers],
            live: Vec::new(),
            next: vec![0; viewers],
        }
    }

    /// What each receiver lacks when all carry as much as they can, together. How a part's lack
    /// is spread over its viewers is arbitrary; its sum is not.
    fn unserved(mut self) -> Vec<u64> {
        while self.layer() {
            for sender in 0..self.supply.len() {
                while self.supply[sender] > 0 && self.augment(sender) {}
            }
            for entries in &mut self.carried {
                entries.retain(|entry| entry.bits > 0);
            }
        }
        self.demand
    }

    /// Begins a phase: layers by distance from spare supply. False when no room can be reached.
    fn layer(&mut self) -> bool {
        let viewers = self.supply.len();
        let mut fresh = Bits::all(viewers);
        self.live.clear();
        self.next.fill(0);
        self.sender_layer.fill(UNREACHED);
        let mut senders: Vec<usize> = (0..viewers).filter(|at| self.supply[*at] > 0).collect();
        while !senders.is_empty() {
            let layer = self.live.len();
            senders.iter().for_each(|sender| self.sender_layer[*sender] = layer);
            let mut receivers = Vec::new();
            for sender in senders.drain(..) {
                fresh.take_common(&self.rows[sender], |receiver| receivers.push(receiver));
            }
            let has_room = receivers.iter().any(|receiver| self.demand[*receiver] > 0);
            if has_room {
                receivers.retain(|receiver| self.demand[*receiver] > 0);
            }
            let mut live = Bits::none(viewers);
            receivers.iter().for_each(|receiver| live.insert(*receiver));
            self.live.push(live);
            if has_room {
                return true;
            }
            for entry in receivers.iter().flat_map(|receiver| &self.carried[*receiver]) {
                if self.sender_layer[entry.sender] == UNREACHED {
                    self.sender_layer[entry.sender] = layer + 1;
                    senders.push(entry.sender);
                }
            }
        }
        false
    }

    /// Finds one path from a sender with spare supply to a receiver with room and fills it. False
    /// when none is left in this phase.
    fn augment(&mut self, root: usize) -> bool {
        let last = self.live.len() - 1;
        let mut path: Vec<Step> = Vec::new();
        let mut sender = root;
        loop {
            let layer = path.len();
            let Some(receiver) = self.rows[sender].first_common(&self.live[layer]) else {
                let Some(step) = path.pop() else { return false };
                self.next[step.receiver] += 1;
                sender = step.sender;
                continue;
            };
            if layer == last {
                self.fill(&path, Step { sender, receiver, entry: 0 });
                return true;
            }
            let Some(entry) = self.next_entry(receiver, layer + 1) else {
                self.live[layer].remove(receiver);
                continue;
            };
            path.push(Step { sender, receiver, entry });
            sender = self.carried[receiver][entry].sender;
        }
    }

    /// The next entry of a receiver whose sender is in this layer.
    fn next_entry(&mut self, receiver: usize, layer: usize) -> Option<usize> {
        let entries = &self.carried[receiver];
        let found = (self.next[receiver]..entries.len())
            .find(|at| entries[*at].bits > 0 && self.sender_layer[entries[*at].sender] == layer);
        self.next[receiver] = found.unwrap_or(entries.len());
        found
    }

    /// Moves as much along a path as fits.
    fn fill(&mut self, path: &[Step], end: Step) {
        let root = path.first().map_or(end.sender, |step| step.sender);
        let room = path.iter().map(|step| self.carried[step.receiver][step.entry].bits);
        let bits = room
            .fold(self.supply[root].min(self.demand[end.receiver]), |least, bits| least.min(bits));
        for step in path {
            self.carried[step.receiver][step.entry].bits -= bits;
            self.carry(step.sender, step.receiver, bits);
        }
        self.carry(end.sender, end.receiver, bits);
        self.supply[root] -= bits;
        self.demand[end.receiver] -= bits;
        if self.demand[end.receiver] == 0 {
            self.live[path.len()].remove(end.receiver);
        }
    }

    /// A sender gives more to a receiver.
    fn carry(&mut self, sender: usize, receiver: usize, bits: u64) {
        let entries = &mut self.carried[receiver];
        match entries.iter_mut().find(|entry| entry.sender == sender) {
            Some(entry) => entry.bits += bits,
            None => entries.push(Carried { sender, bits }),
        }
    }
}
