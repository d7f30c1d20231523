//! The bound of a whole run: what the origin must send while viewers come and go.
//!
//! Between two events, a join or a leave, nothing changes, so the integral is exact. The fluid of
//! every instant stands alone here: what a viewer gets is what is published while it is there, and
//! an upload left unused is lost. Real viewers can wait and fill a start-up buffer; a bound that
//! holds for them is in [`super::patience`].

use super::classes::Classes;
use super::{Nat, Viewer, offload};
use std::collections::BTreeMap;

/// What a window of time takes at least.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bound {
    /// What viewers consume, Mbit.
    pub demand_mbit: f64,
    /// The least that the origin sends, Mbit.
    pub origin_mbit: f64,
    /// Of that, one copy for every connected part, which no amount of upload replaces, Mbit.
    pub copies_mbit: f64,
    /// All that viewers who reach anybody could upload, wanted or not, Mbit.
    pub upload_mbit: f64,
}

impl Bound {
    /// Largest offload ratio; zero where nothing is consumed.
    #[must_use]
    pub fn offload_max(&self) -> f64 {
        offload(self.origin_mbit, self.demand_mbit)
    }

    /// Largest offload ratio of a run that delivered so much, wherever in the window: only the
    /// copies and the sum of all uploads count. The most generous bound, and the one that holds
    /// however long viewers wait and however much they fetch.
    #[must_use]
    pub fn offload_max_of(&self, delivered_mbit: f64) -> f64 {
        offload(self.copies_mbit.max(delivered_mbit - self.upload_mbit), delivered_mbit)
    }
}

/// The bound from `from_s` to `to_s`, exact.
///
/// # Panics
/// If viewers of one rendition disagree on its rate.
#[must_use]
pub fn over(viewers: &[Viewer], from_s: f64, to_s: f64) -> Bound {
    let mut bound = Bound::default();
    if to_s > from_s {
        sweep(viewers, from_s, to_s, to_s - from_s, |_, span| bound.add(&span));
    }
    bound
}

/// The bound of each step of `step_s` from `from_s` to `to_s`: when the step begins, and what it
/// takes; divide by the step for means in Mbit/s.
///
/// # Panics
/// If viewers of one rendition disagree on its rate, or the step is not positive.
#[must_use]
pub fn curve(viewers: &[Viewer], from_s: f64, to_s: f64, step_s: f64) -> Vec<(f64, Bound)> {
    assert!(step_s > 0.0, "a step takes time");
    let steps = ((to_s - from_s) / step_s - 1e-9).ceil().max(0.0) as usize;
    let begins = (0..steps).map(|step| from_s + step as f64 * step_s);
    let mut curve: Vec<_> = begins.map(|begin_s| (begin_s, Bound::default())).collect();
    if steps > 0 {
        sweep(viewers, from_s, to_s, step_s, |step, span| curve[step.min(steps - 1)].1.add(&span));
    }
    curve
}

impl Bound {
    fn add(&mut self, span: &Self) {
        self.demand_mbit += span.demand_mbit;
        self.origin_mbit += span.origin_mbit;
        self.copies_mbit += span.copies_mbit;
        self.upload_mbit += span.upload_mbit;
    }

    /// What this rate comes to in so many seconds.
    fn during(&self, seconds: f64) -> Self {
        Self {
            demand_mbit: self.demand_mbit * seconds,
            origin_mbit: self.origin_mbit * seconds,
            copies_mbit: self.copies_mbit * seconds,
            upload_mbit: self.upload_mbit * seconds,
        }
    }
}

/// The viewers of one rendition, and what they take per second now.
struct Swarm {
    rate_mbps: f64,
    classes: Classes,
    per_second: Bound,
}

impl Swarm {
    fn new(rate_mbps: f64) -> Self {
        Self { rate_mbps, classes: Classes::of_nat(rate_mbps), per_second: Bound::default() }
    }

    fn change(&mut self, viewer: &Viewer, joins: bool) {
        if joins {
            self.classes.join(viewer.class.index(), viewer.upload_mbps);
        } else {
            self.classes.leave(viewer.class.index(), viewer.upload_mbps);
        }
        let reaching = Nat::ALL.iter().filter(|class| class.reaches(Nat::Open));
        self.per_second = Bound {
            demand_mbit: self.classes.demand_mbps(),
            origin_mbit: self.classes.origin_min_mbps(),
            copies_mbit: self.classes.copies_min() as f64 * self.rate_mbps,
            upload_mbit: reaching.map(|class| self.classes.upload_mbps(class.index())).sum(),
        };
    }
}

/// Goes through the events of the window and visits every span between them, cut where a step
/// ends, with the number of the step.
fn sweep(
    viewers: &[Viewer],
    from_s: f64,
    to_s: f64,
    step_s: f64,
    mut visit: impl FnMut(usize, Bound),
) {
    let mut swarms: BTreeMap<u16, Swarm> = BTreeMap::new();
    let (mut now_s, mut step) = (from_s, 0);
    for (at_s, joins, viewer) in events(viewers, from_s, to_s) {
        while now_s < at_s {
            let end_s = (from_s + (step + 1) as f64 * step_s).min(to_s);
            let until_s = at_s.min(end_s);
            for swarm in swarms.values() {
                visit(step, swarm.per_second.during(until_s - now_s));
            }
            step += usize::from(until_s >= end_s);
            now_s = until_s;
        }
        let Some(viewer) = viewer else { continue };
        let swarm = swarms.entry(viewer.rendition).or_insert_with(|| Swarm::new(viewer.rate_mbps));
        assert!(swarm.rate_mbps == viewer.rate_mbps, "a rendition has one rate");
        swarm.change(viewer, joins);
    }
}

/// Joins and leaves within the window, in the order of time, then its end.
fn events(
    viewers: &[Viewer],
    from_s: f64,
    to_s: f64,
) -> impl Iterator<Item = (f64, bool, Option<&Viewer>)> {
    let mut events = Vec::with_capacity(2 * viewers.len() + 1);
    for viewer in viewers {
        let (begin_s, end_s) = (viewer.join_s.max(from_s), viewer.leave_s.min(to_s));
        if begin_s < end_s {
            events.push((begin_s, true, Some(viewer)));
            events.push((end_s, false, Some(viewer)));
        }
    }
    // Stable: a stay's join was pushed before its leave.
    events.sort_by(|a, b| a.0.total_cmp(&b.0));
    events.push((to_s, false, None));
    events.into_iter()
}
