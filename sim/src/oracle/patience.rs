//! The bound of a whole run for viewers that fill a start-up buffer and can wait.
//!
//! [`super::window`] lets nothing wait. A real viewer holds some seconds of media: what is short
//! now may come from peers a little later, and what a newcomer fetches of the past needs no new
//! copy from the origin. Both let a run beat the bound of the instant; this one they cannot beat.
//!
//! Each demand waits at most the patience. For any set J of classes, the origin sends at least one
//! copy for as long as anybody who reaches anybody is there, and what overflows a queue, oldest
//! first, of J's demand, served by that copy and by all uploads of classes that reach J; first come
//! first served loses least of what all waits equally long. The bound takes the best J of the
//! whole window, and blocked viewers take everything from the origin. Time is cut into steps, and
//! within one everything may be exchanged, which errs on the generous side.

use super::steps::{Steps, union};
use super::window::Bound;
use super::{Nat, Viewer};
use std::collections::{BTreeMap, VecDeque};

/// Length of a step, seconds.
const STEP_S: f64 = 0.1;

/// What viewers allow.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Slack {
    /// What a newcomer fetches of the past when it joins, seconds of media. More makes the share
    /// of the single copies smaller and that of scarce uploads larger: give what is really fetched.
    pub startup_s: f64,
    /// How long what is published may take until viewers have it, at most, seconds; usually how
    /// far players stay behind.
    pub patience_s: f64,
}

/// The bound from `from_s` to `to_s`. Start-up buffers count as demand of the window in which
/// their viewer joined. Media on its way at the window's ends is not charged to the origin, so a
/// run should be measured over a window much longer than the patience.
#[must_use]
pub fn over(viewers: &[Viewer], from_s: f64, to_s: f64, slack: Slack) -> Bound {
    let mut renditions: BTreeMap<u16, Vec<&Viewer>> = BTreeMap::new();
    for viewer in viewers {
        renditions.entry(viewer.rendition).or_default().push(viewer);
    }
    let mut bound = Bound::default();
    for stays in renditions.values() {
        let part = Swarm::new(stays, from_s, to_s, slack).bound(slack.patience_s);
        bound.demand_mbit += part.demand_mbit;
        bound.origin_mbit += part.origin_mbit;
        bound.copies_mbit += part.copies_mbit;
        bound.upload_mbit += part.upload_mbit;
    }
    bound
}

/// One rendition's amounts per step, Mbit.
struct Swarm {
    /// Per class, what its viewers want.
    demand: Vec<Vec<f64>>,
    /// Per class, what they can upload.
    upload: Vec<Vec<f64>>,
    /// One copy, as long as anybody is there who reaches anybody.
    copy: Vec<f64>,
}

impl Swarm {
    fn new(stays: &[&Viewer], from_s: f64, to_s: f64, slack: Slack) -> Self {
        let steps = || Steps::new(from_s, to_s, STEP_S);
        let mut demand: Vec<Steps> = Nat::ALL.iter().map(|_| steps()).collect();
        let mut upload: Vec<Steps> = Nat::ALL.iter().map(|_| steps()).collect();
        let mut copy = steps();
        let clip = |stay: &Viewer| (stay.join_s.max(from_s), stay.leave_s.min(to_s));
        for stay in stays.iter().filter(|stay| stay.join_s < stay.leave_s) {
            let (class, (begin_s, end_s)) = (stay.class.index(), clip(stay));
            demand[class].add(begin_s, end_s, stay.rate_mbps);
            upload[class].add(begin_s, end_s, stay.upload_mbps);
            if stay.join_s < to_s {
                demand[class].add_at(stay.join_s, stay.rate_mbps * slack.startup_s);
            }
        }
        let reaching = stays.iter().filter(|stay| reaches_anyone(stay.class));
        let rate_mbps = stays.first().map_or(0.0, |stay| stay.rate_mbps);
        for (begin_s, end_s) in union(reaching.map(|stay| clip(stay))) {
            copy.add(begin_s, end_s, rate_mbps);
        }
        let amounts = |steps: Vec<Steps>| steps.into_iter().map(Steps::amounts).collect();
        Self { demand: amounts(demand), upload: amounts(upload), copy: copy.amounts() }
    }

    fn bound(&self, patience_s: f64) -> Bound {
        let waits = (patience_s / STEP_S - 1e-9).ceil().max(0.0) as usize;
        let classes = || Nat::ALL.into_iter();
        let total = |of: &[Vec<f64>], class: Nat| of[class.index()].iter().sum::<f64>();
        let alone = classes().filter(|class| !reaches_anyone(*class));
        let alone_mbit: f64 = alone.map(|class| total(&self.demand, class)).sum();
        let reaching: Vec<Nat> = classes().filter(|class| reaches_anyone(*class)).collect();
        let overflow_mbit = subsets(&reaching)
            .map(|set| {
                let serves = |class: &Nat| set.iter().any(|other| class.reaches(*other));
                let servers: Vec<Nat> = classes().filter(serves).collect();
                overflow(&self.sum(&self.demand, &set), &self.served(&servers), waits)
            })
            .fold(0.0, f64::max);
        let copies_mbit = self.copy.iter().sum::<f64>() + alone_mbit;
        Bound {
            demand_mbit: classes().map(|class| total(&self.demand, class)).sum(),
            origin_mbit: copies_mbit + overflow_mbit,
            copies_mbit,
            upload_mbit: reaching.iter().map(|class| total(&self.upload, *class)).sum(),
        }
    }

    /// Per step, the sum over some classes.
    fn sum(&self, of: &[Vec<f64>], classes: &[Nat]) -> Vec<f64> {
        let at = |step: usize| classes.iter().map(|class| of[class.index()][step]).sum();
        (0..self.copy.len()).map(at).collect()
    }

    /// Per step, what these classes and the one copy can serve.
    fn served(&self, classes: &[Nat]) -> Vec<f64> {
        self.sum(&self.upload, classes).iter().zip(&self.copy).map(|(a, b)| a + b).collect()
    }
}

/// Whether a viewer of this class can open a link with anyone.
fn reaches_anyone(class: Nat) -> bool {
    Nat::ALL.iter().any(|other| class.reaches(*other))
}

/// All sets of these classes but the empty one.
fn subsets(classes: &[Nat]) -> impl Iterator<Item = Vec<Nat>> {
    (1_u32..1 << classes.len()).map(|set| {
        let members = classes.iter().enumerate().filter(|(at, _)| set >> at & 1 == 1);
        members.map(|(_, class)| *class).collect()
    })
}

/// What is not served within so many steps after its own, oldest first. What still waits at the
/// end is not counted.
fn overflow(demand: &[f64], service: &[f64], waits: usize) -> f64 {
    let mut queue: VecDeque<(usize, f64)> = VecDeque::new();
    let mut lost = 0.0;
    for (step, (want, serve)) in demand.iter().zip(service).enumerate() {
        queue.push_back((step, *want));
        let mut room = *serve;
        while let Some((_, waiting)) = queue.front_mut() {
            let served = waiting.min(room);
            *waiting -= served;
            room -= served;
            if *waiting > 0.0 {
                break;
            }
            queue.pop_front();
        }
        while queue.front().is_some_and(|(from, _)| from + waits <= step) {
            lost += queue.pop_front().map_or(0.0, |(_, waiting)| waiting);
        }
    }
    lost
}
