//! A flash crowd: what the origin must send while newcomers fill their start-up buffers and cannot
//! upload yet.
//!
//! origin ≥ max(r, n r + λ B r − Σ u_i of those who joined before t − τ), per rendition, as means
//! over steps, and one copy only while anyone is there. It supposes that a newcomer gets its start-up
//! buffer in the step in which it joins. A system that lets a part of that buffer wait can have a
//! lower peak, so hold it against a run's peak only with the part that does not wait as B; zero is
//! always right. Whose packets are blocked has all of it from the origin and gives nothing; all others
//! count as reaching each other.

use super::steps::{Steps, union};
use super::{Nat, Viewer, offload};
use std::collections::BTreeMap;

/// How newcomers behave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Newcomers {
    /// B: what a newcomer gets at once beyond what is published, seconds of media.
    pub startup_s: f64,
    /// τ: time from joining until it can upload.
    pub idle_s: f64,
}

/// One step of the curve.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// When the step begins.
    pub at_s: f64,
    /// What viewers take, start-up buffers included, Mbit/s.
    pub demand_mbps: f64,
    /// The least that the origin sends, Mbit/s.
    pub origin_mbps: f64,
}

impl Sample {
    /// Largest offload ratio in this step.
    #[must_use]
    pub fn offload_max(&self) -> f64 {
        offload(self.origin_mbps, self.demand_mbps)
    }
}

/// The bound from `from_s` to `to_s` in steps of `step_s`, usually a second.
///
/// # Panics
/// If the step is not positive.
#[must_use]
pub fn curve(
    viewers: &[Viewer],
    newcomers: Newcomers,
    from_s: f64,
    to_s: f64,
    step_s: f64,
) -> Vec<Sample> {
    assert!(step_s > 0.0, "a step takes time");
    let mut renditions: BTreeMap<u16, Vec<&Viewer>> = BTreeMap::new();
    for viewer in viewers {
        renditions.entry(viewer.rendition).or_default().push(viewer);
    }
    let steps = Steps::new(from_s, to_s, step_s).amounts().len();
    let begins = (0..steps).map(|step| from_s + step as f64 * step_s);
    let mut curve: Vec<Sample> = begins.map(|at_s| Sample { at_s, ..Sample::default() }).collect();
    for stays in renditions.values() {
        add_rendition(&mut curve, stays, newcomers, || Steps::new(from_s, to_s, step_s));
    }
    for sample in &mut curve {
        sample.demand_mbps /= step_s;
        sample.origin_mbps /= step_s;
    }
    curve
}

/// The sample with the highest origin egress, the first of equals.
#[must_use]
pub fn peak(curve: &[Sample]) -> Option<Sample> {
    curve.iter().copied().reduce(|a, b| if b.origin_mbps > a.origin_mbps { b } else { a })
}

/// Adds what one rendition takes, Mbit per step.
fn add_rendition(
    curve: &mut [Sample],
    stays: &[&Viewer],
    newcomers: Newcomers,
    steps: impl Fn() -> Steps,
) {
    let (mut demand, mut alone, mut upload, mut copy) = (steps(), steps(), steps(), steps());
    for stay in stays.iter().filter(|stay| stay.join_s < stay.leave_s) {
        let taken = if stay.class == Nat::Blocked { &mut alone } else { &mut demand };
        taken.add(stay.join_s, stay.leave_s, stay.rate_mbps);
        taken.add_at(stay.join_s, stay.rate_mbps * newcomers.startup_s);
        if stay.class != Nat::Blocked {
            upload.add(stay.join_s + newcomers.idle_s, stay.leave_s, stay.upload_mbps);
        }
    }
    let rate_mbps = stays.first().map_or(0.0, |stay| stay.rate_mbps);
    let sharing = stays.iter().filter(|stay| stay.class != Nat::Blocked);
    for (begin_s, end_s) in union(sharing.map(|stay| (stay.join_s, stay.leave_s))) {
        copy.add(begin_s, end_s, rate_mbps);
    }
    let taken = demand.amounts().into_iter().zip(alone.amounts());
    let peers = upload.amounts().into_iter().zip(copy.amounts());
    for ((sample, (demand, alone)), (upload, copy)) in curve.iter_mut().zip(taken).zip(peers) {
        sample.demand_mbps += demand + alone;
        sample.origin_mbps += alone + copy.max(demand - upload);
    }
}
