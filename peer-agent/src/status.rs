//! What the agent says of itself: the shape of `/status`.
//!
//! Rule: figures as the engine has them, in named units. Addresses are not among them.

use serde::Serialize;
use shoal_wire::tracker_message::Totals;
use shoal_wire::{ByteSize, PeerId, RenditionId, ShareMode, Substream};
use std::collections::BTreeMap;

/// The whole agent.
#[derive(Debug, Serialize)]
pub(crate) struct AgentStatus {
    pub(crate) version: &'static str,
    pub(crate) pid: u32,
    /// Resident memory; none where the system does not tell.
    pub(crate) rss_bytes: Option<u64>,
    /// User and system time; none where the system does not tell.
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) streams: Vec<StreamStatus>,
}

/// One stream.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct StreamStatus {
    pub(crate) url: String,
    pub(crate) stream: String,
    pub(crate) peer: Option<PeerId>,
    pub(crate) connected: bool,
    pub(crate) share: ShareMode,
    pub(crate) players: u32,
    pub(crate) totals: Totals,
    pub(crate) neighbours: Vec<NeighbourStatus>,
    pub(crate) buffer_ms: u64,
    pub(crate) upload_bps: u64,
    pub(crate) last_fallback_reason: Option<&'static str>,
    pub(crate) fallback_reasons: BTreeMap<&'static str, u64>,
    pub(crate) substreams: Vec<SubstreamStatus>,
    pub(crate) origin_failures: u64,
    pub(crate) origin_mismatches: u64,
    pub(crate) neighbours_cut_off: u64,
    pub(crate) store_bytes: u64,
}

/// One open link.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct NeighbourStatus {
    pub(crate) peer: PeerId,
    pub(crate) state: &'static str,
    pub(crate) received: ByteSize,
    pub(crate) sent: ByteSize,
    pub(crate) rtt_us: Option<u64>,
}

/// Where one substream comes from.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SubstreamStatus {
    pub(crate) rendition: RenditionId,
    pub(crate) substream: Substream,
    /// A peer's id, `origin`, or none while nobody feeds it.
    pub(crate) parent: Option<String>,
}

/// Sums over streams.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sums {
    pub(crate) totals: Totals,
    pub(crate) fallback_reasons: BTreeMap<&'static str, u64>,
    pub(crate) cut_off: u64,
}

impl Sums {
    /// Adds a stream's figures.
    pub(crate) fn add(&mut self, stream: &StreamStatus) {
        let sum = |a: &mut ByteSize, b: ByteSize| {
            *a = ByteSize::from_bytes(a.as_bytes().saturating_add(b.as_bytes()));
        };
        let (mine, its) = (&mut self.totals, &stream.totals);
        sum(&mut mine.delivered, its.delivered);
        sum(&mut mine.from_origin, its.from_origin);
        sum(&mut mine.from_peers, its.from_peers);
        sum(&mut mine.wasted, its.wasted);
        sum(&mut mine.to_peers, its.to_peers);
        mine.hash_mismatches += its.hash_mismatches;
        mine.fallbacks += its.fallbacks;
        mine.stalled_ms += its.stalled_ms;
        for (reason, count) in &stream.fallback_reasons {
            *self.fallback_reasons.entry(reason).or_default() += count;
        }
        self.cut_off += stream.neighbours_cut_off;
    }
}

/// The line that a terminal shows.
pub(crate) fn line(streams: &[StreamStatus]) -> String {
    if streams.is_empty() {
        return "waiting for a player".to_owned();
    }
    let mut sums = Sums::default();
    streams.iter().for_each(|stream| sums.add(stream));
    let (origin, peers) = (sums.totals.from_origin.as_bytes(), sums.totals.from_peers.as_bytes());
    let share = (peers * 100).checked_div(origin + peers).unwrap_or(0);
    let neighbours: usize = streams.iter().map(|stream| stream.neighbours.len()).sum();
    let buffer_ms = streams.iter().map(|stream| stream.buffer_ms).min().unwrap_or(0);
    let upload = streams.iter().map(|stream| stream.upload_bps).max().unwrap_or(0);
    let connected =
        if streams.iter().all(|stream| stream.connected) { "" } else { " | no tracker" };
    format!(
        "origin {} MB, peers {} MB ({share} %) | {neighbours} neighbours | buffer {}.{} s | upload {}, \
         sent {} MB{connected}",
        megabytes(origin),
        megabytes(peers),
        buffer_ms / 1000,
        buffer_ms % 1000 / 100,
        crate::rate::readable(shoal_wire::BitRate::from_bps(upload)),
        megabytes(sums.totals.to_peers.as_bytes()),
    )
}

fn megabytes(bytes: u64) -> String {
    format!("{}.{}", bytes / 1_000_000, bytes % 1_000_000 / 100_000)
}

#[cfg(test)]
pub(crate) fn example() -> StreamStatus {
    StreamStatus {
        url: "http://o/live/a/".into(),
        stream: "a".into(),
        peer: Some(PeerId(1)),
        connected: true,
        share: ShareMode::Share,
        players: 1,
        totals: Totals {
            from_origin: ByteSize::from_bytes(1_000_000),
            from_peers: ByteSize::from_bytes(3_250_000),
            ..Totals::default()
        },
        neighbours: Vec::new(),
        buffer_ms: 4_321,
        upload_bps: 5_000_000,
        last_fallback_reason: Some("deadline"),
        fallback_reasons: [("deadline", 2)].into(),
        substreams: Vec::new(),
        origin_failures: 0,
        origin_mismatches: 0,
        neighbours_cut_off: 0,
        store_bytes: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_the_split() {
        assert_eq!(line(&[]), "waiting for a player");
        assert_eq!(
            line(&[example()]),
            "origin 1.0 MB, peers 3.2 MB (76 %) | 0 neighbours | buffer 4.3 s | \
             upload 5.0 Mbit/s, sent 0.0 MB"
        );
    }

    #[test]
    fn names_on_the_wire() {
        let json = serde_json::to_value(example()).unwrap();
        assert_eq!(json["peer"], "0000000000000001");
        assert_eq!(json["totals"]["from_peers"], 3_250_000);
        assert_eq!(json["fallback_reasons"]["deadline"], 2);
        assert_eq!(json["share"], "share");
    }
}
