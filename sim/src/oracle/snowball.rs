//! How fast one chunk can reach everyone, and what that says of offload under a deadline.
//!
//! Source: Liu, "On the minimum delay peer-to-peer video streaming: how realtime can it be?"
//! (2007). A peer that has the chunk at t sends copies one after the other, done at t + L/u,
//! t + 2 L/u, …, each to the fastest peer without one. No schedule is ahead of it at any moment:
//! the sorted arrivals are the lower envelope. It holds where a chunk comes from one sender and is
//! passed on when it is complete, and all uplinks serve this chunk only. Downlinks and
//! reachability are ignored, so it stays a bound where they bind.

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

/// When viewers get the chunk, sorted, seconds from when the seed has it. `chunk_mbit` is its size
/// and `latency_s` the one-way delay after the last bit has left. Shorter than the audience if the
/// seed's copies run out where nobody can upload.
#[must_use]
pub fn arrivals_s(chunk_mbit: f64, seed: Seed, upload_mbps: &[f64], latency_s: f64) -> Vec<f64> {
    let mut uploads = upload_mbps.to_vec();
    uploads.sort_unstable_by(|a, b| b.total_cmp(a));
    let mut sends = BinaryHeap::with_capacity(uploads.len() + 1);
    let mut arrivals = Vec::with_capacity(uploads.len());
    if seed.copies > 0 {
        let every_s = chunk_mbit / seed.rate_mbps;
        sends.push(Send { done_s: every_s, every_s, left: seed.copies });
    }
    for upload in uploads {
        let Some(send) = sends.pop() else { break };
        let arrival_s = send.done_s + latency_s;
        arrivals.push(arrival_s);
        if send.left > 1 {
            let done_s = send.done_s + send.every_s;
            sends.push(Send { done_s, left: send.left - 1, ..send });
        }
        if upload > 0.0 {
            let every_s = chunk_mbit / upload;
            sends.push(Send { done_s: arrival_s + every_s, every_s, left: u64::MAX });
        }
    }
    arrivals
}

/// G(D): how many peers one seed's copy can reach within `deadline_s` of its own arrival. From
/// [`arrivals_s`] with a single copy.
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

/// The copy that a sender is sending.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Send {
    done_s: f64,
    every_s: f64,
    left: u64,
}

impl Eq for Send {}

impl PartialOrd for Send {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Send {
    /// The earliest is the greatest, as the heap gives the greatest first; ties by speed, so that
    /// equal times come in one order.
    fn cmp(&self, other: &Self) -> Ordering {
        other
            .done_s
            .total_cmp(&self.done_s)
            .then(other.every_s.total_cmp(&self.every_s))
            .then(self.left.cmp(&other.left))
    }
}
