//! Schedules that can be carried out: no bound may be above what one of them takes.

use shoal_sim::oracle::burst::Burst;
use shoal_sim::oracle::snowball::Seed;

/// When the last viewer has all chunks in one real schedule: the origin gives each chunk to
/// another viewer in turn, and whoever is free first sends the rarest chunk that somebody lacks.
pub(crate) fn relay_s(burst: &Burst<'_>) -> f64 {
    let (viewers, chunks) = (burst.upload_mbps.len(), burst.chunks as usize);
    let mut arrival = vec![vec![f64::INFINITY; chunks]; viewers];
    for chunk in 0..chunks {
        let sent_s = (chunk + 1) as f64 * burst.chunk_mbit / burst.seed.rate_mbps;
        arrival[chunk % viewers][chunk] = sent_s + burst.latency_s;
    }
    let mut free_s = vec![0.0_f64; viewers];
    for _ in 0..(viewers - 1) * chunks {
        let mut best = (f64::INFINITY, 0, 0, 0);
        for (from, chunk) in (0..viewers).flat_map(|a| (0..chunks).map(move |b| (a, b))) {
            let copies = (0..viewers).filter(|at| arrival[*at][chunk].is_finite()).count();
            let Some(to) = (0..viewers).rev().find(|at| arrival[*at][chunk].is_infinite()) else {
                continue;
            };
            let begin_s = free_s[from].max(arrival[from][chunk]) + copies as f64 * 1e-9;
            if begin_s < best.0 {
                best = (begin_s, from, to, chunk);
            }
        }
        let (_, from, to, chunk) = best;
        let begin_s = free_s[from].max(arrival[from][chunk]);
        free_s[from] = begin_s + burst.chunk_mbit / burst.upload_mbps[from];
        arrival[to][chunk] = free_s[from] + burst.latency_s;
    }
    arrival.iter().flatten().copied().fold(0.0, f64::max)
}

/// All orders of a few values.
pub(crate) fn orders(values: &[f64]) -> Vec<Vec<f64>> {
    let Some((first, rest)) = values.split_first() else { return vec![Vec::new()] };
    let places = |order: Vec<f64>| {
        (0..=order.len()).map(move |at| [&order[..at], &[*first], &order[at..]].concat())
    };
    orders(rest).into_iter().flat_map(places).collect()
}

/// Arrivals where peers get the chunk in the order given, each as soon as any sender is done.
pub(crate) fn in_order_s(chunk_mbit: f64, seed: Seed, uploads: &[f64], latency_s: f64) -> Vec<f64> {
    let mut done_s: Vec<f64> =
        (1..=seed.copies).map(|copy| copy as f64 * chunk_mbit / seed.rate_mbps).collect();
    let mut arrivals_s = Vec::new();
    for upload in uploads {
        done_s.sort_unstable_by(f64::total_cmp);
        if done_s.is_empty() {
            break;
        }
        let arrival_s = done_s.remove(0) + latency_s;
        arrivals_s.push(arrival_s);
        if *upload > 0.0 {
            let copies = (1..=uploads.len()).map(|copy| copy as f64 * chunk_mbit / upload);
            done_s.extend(copies.map(|after_s| arrival_s + after_s));
        }
    }
    arrivals_s
}
