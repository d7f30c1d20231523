//! A whole segment of m chunks that appears at once: when can viewers have all of it?
//!
//! Two things hold for any schedule and any mix of uploads, and [`Burst::bound_s`] is the later:
//! a viewer has the segment no earlier than any single chunk of it, so the snowball of one chunk
//! bounds it; and all the copies must leave somebody's uplink, which begins to work only when its
//! owner holds a first chunk. How fast uplinks can come to work is again a snowball, with all the
//! origin's copies of all chunks as its seeds.
//!
//! The often used sum (T/ρ)(1 − 1/n)(m − 1)/m + snowball ([`Burst::serial_estimate_s`]) is *not* a
//! bound: it supposes that the chunks leave the origin one after the other at the peers' pace. Two
//! viewers and two chunks, one given to each, are done after one exchange, earlier than it says.
//! With many more chunks than the logarithm of the audience the two come close.

use super::snowball::{Seed, earliest_s, fastest_first, fastest_first_s};

/// A segment that appears at once, and who wants it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Burst<'a> {
    /// Size of one chunk, Mbit: the mean, if the last one is shorter.
    pub chunk_mbit: f64,
    /// How many chunks it has.
    pub chunks: u64,
    /// The origin: its rate, and how many copies of each chunk it sends. A run's delay may be
    /// held against the bound only if its origin sent no more copies.
    pub seed: Seed,
    /// Uploads, Mbit/s. All of each can be used, as long as its owner has a chunk.
    pub upload_mbps: &'a [f64],
    /// One-way delay, seconds: for a bound, the shortest between any two viewers.
    pub latency_s: f64,
}

impl Burst<'_> {
    /// The earliest that a share of the viewers, the quantile, can have the whole segment, seconds;
    /// 1 for the last of them. Infinite if the uploads cannot do it. Valid for any uploads, in a
    /// complete graph and in any other.
    #[must_use]
    pub fn bound_s(&self, quantile: f64) -> f64 {
        let viewers = self.upload_mbps.len();
        let done = ((quantile * viewers as f64).ceil() as usize).clamp(1, viewers.max(1));
        if viewers == 0 || self.chunks == 0 {
            return 0.0;
        }
        let one = earliest_s(self.chunk_mbit, self.seed, self.upload_mbps, self.latency_s);
        let one_s = one.get(done - 1).copied().unwrap_or(f64::INFINITY);
        one_s.max(self.uplinks_s(done))
    }

    /// The usual estimate for the last viewer: the time that all uplinks need for all chunks but
    /// one, and the snowball of the last. Exact for equal uploads and an origin as slow as a peer;
    /// not a bound otherwise. Not finite where nobody uploads.
    #[must_use]
    pub fn serial_estimate_s(&self) -> f64 {
        let viewers = self.upload_mbps.len();
        let one = fastest_first_s(self.chunk_mbit, self.seed, self.upload_mbps, self.latency_s);
        let all = if one.len() == viewers { one.last().copied() } else { None };
        let copies = viewers.saturating_sub(1) as f64 * self.chunks.saturating_sub(1) as f64;
        let upload_mbps: f64 = self.upload_mbps.iter().sum();
        copies * self.chunk_mbit / upload_mbps + all.unwrap_or(f64::INFINITY)
    }

    /// The earliest that all uplinks together can have sent what `done` whole segments take beyond
    /// the origin's copies, and the last of it has arrived.
    fn uplinks_s(&self, done: usize) -> f64 {
        let by_peers = (done as u64).saturating_sub(self.seed.copies) * self.chunks;
        if by_peers == 0 {
            return 0.0;
        }
        let copies = self.seed.copies.saturating_mul(self.chunks);
        let seeds = Seed { copies, ..self.seed };
        let starts = earliest_s(self.chunk_mbit, seeds, self.upload_mbps, self.latency_s);
        // At any moment, the most is sent if the earliest to hold a chunk is the fastest.
        let uploads = fastest_first(self.upload_mbps);
        let mut left_mbit = by_peers as f64 * self.chunk_mbit;
        let (mut now_s, mut working_mbps) = (0.0, 0.0);
        for (start_s, upload) in starts.iter().zip(uploads) {
            let sent_mbit = working_mbps * (start_s - now_s);
            if sent_mbit >= left_mbit {
                break;
            }
            left_mbit -= sent_mbit;
            now_s = *start_s;
            working_mbps += upload;
        }
        now_s + left_mbit / working_mbps + self.latency_s
    }
}
