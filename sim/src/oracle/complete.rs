//! Everyone can reach everyone: the closed form.
//!
//! Source: Kumar, Liu and Ross, "Stochastic fluid theory for P2P streaming systems" (2007), turned
//! round: the least origin egress for a given rate. Their bound caps each upload at (n − 1) r; the
//! cap changes nothing, for one capped upload already serves all others and leaves the one copy
//! that must be sent anyway. So a count and a sum decide it, and viewers may come and go in O(1).
//!
//! Does not know of classes of reachability; those are in [`super::classes`].

use super::{mbit, offload, rate_bps, upload_bps};

/// Least origin egress that gives every viewer the rendition, Mbit/s: max(r, n r − Σ u), and
/// nothing for no viewers. Exact, not only a bound: a schedule that reaches it exists.
#[must_use]
pub fn origin_min_mbps(rate_mbps: f64, upload_mbps: &[f64]) -> f64 {
    let mut present = Present::new(rate_mbps);
    upload_mbps.iter().for_each(|upload| present.join(*upload));
    present.origin_min_mbps()
}

/// Largest part of what viewers get that peers can carry: min(1 − 1/n, ρ).
#[must_use]
pub fn offload_max(rate_mbps: f64, upload_mbps: &[f64]) -> f64 {
    let demand = rate_mbps * upload_mbps.len() as f64;
    offload(origin_min_mbps(rate_mbps, upload_mbps), demand)
}

/// The viewers of one rendition that are present, as they come and go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    rate_bps: u64,
    viewers: u64,
    upload_bps: u64,
}

impl Present {
    /// Nobody watches a rendition of this rate yet.
    #[must_use]
    pub fn new(rate_mbps: f64) -> Self {
        Self { rate_bps: rate_bps(rate_mbps), viewers: 0, upload_bps: 0 }
    }

    /// A viewer comes.
    pub fn join(&mut self, upload_mbps: f64) {
        self.viewers += 1;
        self.upload_bps += upload_bps(upload_mbps);
    }

    /// A viewer goes: one that came with exactly this upload. Panics if there was none.
    pub fn leave(&mut self, upload_mbps: f64) {
        self.viewers = self.viewers.checked_sub(1).expect("a viewer leaves only after it came");
        self.upload_bps = self
            .upload_bps
            .checked_sub(upload_bps(upload_mbps))
            .expect("a viewer leaves with the upload that it came with");
    }

    /// How many are there.
    #[must_use]
    pub fn viewers(&self) -> u64 {
        self.viewers
    }

    /// What they consume, Mbit/s.
    #[must_use]
    pub fn demand_mbps(&self) -> f64 {
        mbit(self.viewers * self.rate_bps)
    }

    /// Least origin egress now, Mbit/s.
    #[must_use]
    pub fn origin_min_mbps(&self) -> f64 {
        let deficit = (self.viewers * self.rate_bps).saturating_sub(self.upload_bps);
        mbit(if self.viewers == 0 { 0 } else { deficit.max(self.rate_bps) })
    }

    /// Largest offload ratio now; zero for no viewers.
    #[must_use]
    pub fn offload_max(&self) -> f64 {
        offload(self.origin_min_mbps(), self.demand_mbps())
    }
}
