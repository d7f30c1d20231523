//! How fast one chunk can reach everyone, and what that says of offload under a deadline.
//!
//! A peer that has the chunk at t sends copies one after the other, done at t + L/u, t + 2 L/u, ….
//! The usual figure gives each copy to the fastest peer without one (Liu, "On the minimum delay
//! peer-to-peer video streaming: how realtime can it be?", 2007): [`fastest_first_s`]. With equal
//! uploads no schedule is ahead of it at any moment. With unequal ones some are: of two peers that
//! get the chunk one after the other, the slower may better be the first, for then both are sooner
//! done with their first copy. So that figure is a good schedule and not a bound.
//!
//! [`earliest_s`] is the bound, for any uploads. Let τ_i be the earliest i-th arrival and d_i the
//! i-th shortest L/u. Each peer that has sent j copies by t pairs an arrival with a peer so that
//! τ + j d ≤ t, and m such pairs exist only if they do when the m shortest d meet the m earliest τ
//! in opposite order. So the m-th peer has sent its j-th copy no sooner than the largest
//! τ_i + j d_(m + 1 − i), and the k-th arrival comes no sooner than the k-th of these moments. With
//! equal uploads the two figures are the same.
//!
//! Both suppose that a chunk comes from one sender and is passed on when it is complete. That all
//! uplinks serve this chunk only, and that downlinks and reachability do not bind, errs on the
//! generous side.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Where the first copies come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seed {
    /// Its rate, Mbit/s.
    pub rate_mbps: f64,
    /// How many copies it sends, one after the other.
    pub copies: u64,
}

/// Most different uploads that [`earliest_s`] keeps apart.
const LEVELS_MAX: usize = 256;

/// Ratio of neighbouring uploads where it rounds them up: 256 levels span a factor of 160.
const LEVEL_RATIO: f64 = 1.02;

/// When viewers can have the chunk at the earliest, sorted, seconds from when the seed has it: in
/// no schedule is the k-th arrival before the k-th of these. `chunk_mbit` is the chunk's size and
/// `latency_s` the one-way delay after the last bit has left. Shorter than the audience if the
/// seed's copies run out where nobody can upload. More than 256 different uploads are rounded up
/// by at most 2 %, or to 1/160 of the largest.
#[must_use]
pub fn earliest_s(chunk_mbit: f64, seed: Seed, upload_mbps: &[f64], latency_s: f64) -> Vec<f64> {
    let runs = runs(chunk_mbit, upload_mbps);
    spread(seed, chunk_mbit, latency_s, upload_mbps.len(), |arrivals_s, copy| {
        let last = arrivals_s.len() - 1;
        let met = runs.iter().take_while(|run| run.first <= last);
        met.map(|run| arrivals_s[last - run.first] + copy * run.send_s).fold(0.0, f64::max)
    })
}

/// When viewers get the chunk if each copy goes to the fastest peer without one: otherwise as
/// [`earliest_s`]. A schedule that is possible, and the earliest one for equal uploads.
#[must_use]
pub fn fastest_first_s(
    chunk_mbit: f64,
    seed: Seed,
    upload_mbps: &[f64],
    latency_s: f64,
) -> Vec<f64> {
    let uploads = fastest_first(upload_mbps);
    spread(seed, chunk_mbit, latency_s, uploads.len(), |arrivals_s, copy| {
        let last = arrivals_s.len() - 1;
        arrivals_s[last] + copy * send_s(chunk_mbit, uploads[last])
    })
}

/// Uploads, the largest first.
pub(super) fn fastest_first(upload_mbps: &[f64]) -> Vec<f64> {
    let mut uploads = upload_mbps.to_vec();
    uploads.sort_unstable_by(|a, b| b.total_cmp(a));
    uploads
}

/// How long a copy takes to leave; without end where there is no upload.
fn send_s(chunk_mbit: f64, upload_mbps: f64) -> f64 {
    if upload_mbps > 0.0 { chunk_mbit / upload_mbps } else { f64::INFINITY }
}

/// The arrivals where the newest holder has sent its n-th copy at `done_s(arrivals, n)`. The
/// arrivals are those until its own.
fn spread(
    seed: Seed,
    chunk_mbit: f64,
    latency_s: f64,
    viewers: usize,
    done_s: impl Fn(&[f64], f64) -> f64,
) -> Vec<f64> {
    let mut sends = BinaryHeap::with_capacity(viewers + 1);
    let mut arrivals_s: Vec<f64> = Vec::with_capacity(viewers);
    let seed_done_s = |copy: u64| copy as f64 * chunk_mbit / seed.rate_mbps;
    if seed.copies > 0 {
        sends.push(Send { done_s: seed_done_s(1), holder: None, copy: 1 });
    }
    while arrivals_s.len() < viewers
        && let Some(send) = sends.pop()
    {
        let copy = send.copy + 1;
        match send.holder {
            None if copy > seed.copies => {}
            None => sends.push(Send { done_s: seed_done_s(copy), holder: None, copy }),
            Some(holder) => {
                let done_s = done_s(&arrivals_s[..=holder], copy as f64);
                sends.push(Send { done_s, holder: Some(holder), copy });
            }
        }
        arrivals_s.push(send.done_s + latency_s);
        let done_s = done_s(&arrivals_s, 1.0);
        if done_s.is_finite() {
            sends.push(Send { done_s, holder: Some(arrivals_s.len() - 1), copy: 1 });
        }
    }
    arrivals_s
}

/// Peers with the same upload, in the order of speed.
struct Run {
    /// The place of the first of them.
    first: usize,
    /// How long a copy takes to leave.
    send_s: f64,
}

/// The runs of equal uploads, at most so many as there are levels and one without upload.
fn runs(chunk_mbit: f64, upload_mbps: &[f64]) -> Vec<Run> {
    let mut uploads = fastest_first(upload_mbps);
    let different = 1 + uploads.windows(2).filter(|pair| pair[0] > pair[1]).count();
    let largest = uploads.first().copied().unwrap_or(0.0);
    if different > LEVELS_MAX {
        for upload in uploads.iter_mut().filter(|upload| **upload > 0.0) {
            let level = ((largest / *upload).ln() / LEVEL_RATIO.ln()).floor();
            *upload = largest / LEVEL_RATIO.powf(level.min((LEVELS_MAX - 1) as f64));
        }
    }
    let mut runs: Vec<Run> = Vec::new();
    for (first, upload) in uploads.into_iter().enumerate() {
        let send_s = send_s(chunk_mbit, upload);
        if runs.last().is_none_or(|run| run.send_s < send_s) {
            runs.push(Run { first, send_s });
        }
    }
    runs
}

/// G(D): how many peers one copy of the seed reaches within `deadline_s` of its own arrival, by the
/// arrivals of a seed with a single copy: a bound if they are from [`earliest_s`].
#[must_use]
pub fn reached_within(arrivals_s: &[f64], deadline_s: f64) -> usize {
    let first_s = arrivals_s.first().copied().unwrap_or(0.0);
    arrivals_s.iter().filter(|arrival_s| **arrival_s - first_s <= deadline_s + 1e-12).count()
}

/// Largest offload ratio where copies must arrive within a deadline: min(`flow_offload`,
/// 1 − max(`parts`, ⌈n/G⌉)/n). `flow_offload` is the bound without a deadline, `parts` the number
/// of connected parts, `reached` is G(D). Zero for no viewers.
#[must_use]
pub fn offload_with_deadline(
    flow_offload: f64,
    viewers: usize,
    parts: usize,
    reached: usize,
) -> f64 {
    if viewers == 0 {
        return 0.0;
    }
    let copies = parts.max(viewers.div_ceil(reached.max(1)));
    flow_offload.min(1.0 - copies as f64 / viewers as f64)
}

/// A copy that will have left.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Send {
    done_s: f64,
    /// Who sends it: the number of its own arrival, or nobody for the seed.
    holder: Option<usize>,
    /// Its number among the sender's copies, from 1.
    copy: u64,
}

impl Eq for Send {}

impl PartialOrd for Send {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Send {
    /// The earliest is the greatest, as the heap gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        let order = |send: &Self| (send.holder, send.copy);
        other.done_s.total_cmp(&self.done_s).then(order(other).cmp(&order(self)))
    }
}
