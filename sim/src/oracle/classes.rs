//! Viewers in classes, where the class decides who can reach whom: a bound from sums alone.
//!
//! The bound of [`super::flow`], with the viewers of a class lumped together. By the theorem of
//! maximum flow and minimum cut, the least that a connected part C lacks is the largest, over sets
//! J of its classes, of n_J r − (upload of all classes that reach J): few sets, so the value is
//! cheap enough to be asked at any moment. Lumping only ever lowers the origin's part, so this is
//! never stricter than the flow over the single viewers. Viewers that reach no one who is present
//! take a copy each.
//!
//! Does not know of links that fail by chance: a pair of classes that may connect, connects.

use super::{Nat, mbit, offload, rate_bps, upload_bps};

/// Most classes, for their sets are enumerated.
pub const CLASSES_MAX: usize = 12;

/// The viewers of one rendition by class, as they come and go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classes {
    rate_bps: u64,
    /// Per class, the set of classes that it can reach, as bits.
    reached: Vec<u32>,
    viewers: Vec<u64>,
    upload_bps: Vec<u64>,
}

impl Classes {
    /// Nobody watches a rendition of this rate yet; `reach[a][b]` says whether a viewer of class a
    /// and another of class b can open a link.
    ///
    /// # Panics
    /// If there are more than [`CLASSES_MAX`] classes, or `reach` is not symmetric.
    #[must_use]
    pub fn new(rate_mbps: f64, reach: &[Vec<bool>]) -> Self {
        let classes = reach.len();
        assert!(classes <= CLASSES_MAX, "at most {CLASSES_MAX} classes");
        let mut reached = vec![0; classes];
        for (a, row) in reach.iter().enumerate() {
            assert_eq!(row.len(), classes, "the matrix is square");
            for (b, can) in row.iter().enumerate() {
                assert_eq!(*can, reach[b][a], "links work both ways");
                reached[a] |= u32::from(*can) << b;
            }
        }
        let none = vec![0; classes];
        Self { rate_bps: rate_bps(rate_mbps), reached, viewers: none.clone(), upload_bps: none }
    }

    /// As [`Self::new`], with the classes of address translation.
    #[must_use]
    pub fn of_nat(rate_mbps: f64) -> Self {
        Self::new(rate_mbps, &Nat::matrix())
    }

    /// A viewer comes.
    pub fn join(&mut self, class: usize, upload_mbps: f64) {
        self.join_many(class, 1, upload_mbps);
    }

    /// So many viewers come, with this upload together.
    pub fn join_many(&mut self, class: usize, viewers: u64, upload_mbps: f64) {
        self.viewers[class] += viewers;
        self.upload_bps[class] += upload_bps(upload_mbps);
    }

    /// A viewer goes: one that came in this class with exactly this upload. Panics if there was
    /// none.
    pub fn leave(&mut self, class: usize, upload_mbps: f64) {
        self.viewers[class] =
            self.viewers[class].checked_sub(1).expect("a viewer leaves only after it came");
        self.upload_bps[class] = self.upload_bps[class]
            .checked_sub(upload_bps(upload_mbps))
            .expect("a viewer leaves with the upload that it came with");
    }

    /// How many are there.
    #[must_use]
    pub fn viewers(&self) -> u64 {
        self.viewers.iter().sum()
    }

    /// What those of one class can upload, Mbit/s.
    #[must_use]
    pub fn upload_mbps(&self, class: usize) -> f64 {
        mbit(self.upload_bps[class])
    }

    /// What they consume, Mbit/s.
    #[must_use]
    pub fn demand_mbps(&self) -> f64 {
        mbit(self.viewers() * self.rate_bps)
    }

    /// Least origin egress that could give every viewer the rendition now, Mbit/s.
    #[must_use]
    pub fn origin_min_mbps(&self) -> f64 {
        mbit(self.parts().map(|part| self.part_origin_bps(part)).sum())
    }

    /// How many connected parts there are: the copies that the origin must send in any case.
    #[must_use]
    pub fn copies_min(&self) -> u64 {
        self.parts()
            .map(|part| if self.is_apart(part) { self.sum(part, &self.viewers) } else { 1 })
            .sum()
    }

    /// Largest offload ratio now; zero for no viewers.
    #[must_use]
    pub fn offload_max(&self) -> f64 {
        offload(self.origin_min_mbps(), self.demand_mbps())
    }

    /// The sets of classes that are connected, of those that are present.
    fn parts(&self) -> impl Iterator<Item = u32> {
        let present = self.viewers.iter().enumerate();
        let mut left = present.map(|(class, viewers)| u32::from(*viewers > 0) << class).sum();
        std::iter::from_fn(move || {
            let part = (left != 0).then(|| self.part_of(u32::trailing_zeros(left), left))?;
            left &= !part;
            Some(part)
        })
    }

    /// Whether a part is one class whose viewers do not even reach each other.
    fn is_apart(&self, part: u32) -> bool {
        part.count_ones() == 1 && self.union(part, &self.reached) & part == 0
    }

    /// The classes connected with this one among those `present`.
    fn part_of(&self, class: u32, present: u32) -> u32 {
        let mut part = 1 << class;
        loop {
            let grown = part | present & self.union(part, &self.reached);
            if grown == part {
                return part;
            }
            part = grown;
        }
    }

    /// What the origin must send to one connected part, bit/s.
    fn part_origin_bps(&self, part: u32) -> u64 {
        if self.is_apart(part) {
            return self.sum(part, &self.viewers) * self.rate_bps;
        }
        // A viewer alone in its class has no one in it to send to.
        let givers: Vec<u32> = (0..self.viewers.len())
            .map(|class| self.reached[class] & !(u32::from(self.viewers[class] < 2) << class))
            .collect();
        let mut origin_bps = self.rate_bps;
        let mut set = part;
        while set != 0 {
            let demand = self.sum(set, &self.viewers) * self.rate_bps;
            let upload = self.sum(part & self.union(set, &givers), &self.upload_bps);
            origin_bps = origin_bps.max(demand.saturating_sub(upload));
            set = (set - 1) & part;
        }
        origin_bps
    }

    /// Sum over the classes of a set.
    fn sum(&self, set: u32, of: &[u64]) -> u64 {
        of.iter().enumerate().map(|(class, value)| value * u64::from(set >> class & 1)).sum()
    }

    /// Union of the sets of the classes of a set.
    fn union(&self, set: u32, of: &[u32]) -> u32 {
        of.iter().enumerate().map(|(class, sets)| sets * (set >> class & 1)).fold(0, |a, b| a | b)
    }
}
