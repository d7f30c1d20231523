//! One sample: how the server and every stream do at one moment.
//!
//! Rule: counters, not rates: who reads makes rates over the window that suits. Shares are in
//! thousandths.

use super::{Sources, json};
use crate::metrics::{Egress, Metrics};
use crate::origin::Stream;
use crate::process;
use crate::sessions::{HubStatus, Links, SwarmStatus};
use bytes::Bytes;
use serde::Serialize;
use shoal_tracker::Forest;
use shoal_tracker::forest::{Drawing, Supply};
use shoal_wire::StreamName;
use std::collections::BTreeMap;

/// What the numbers of a [`Row`] are.
pub(super) const COLUMNS: [&str; 15] = [
    "unix_ms",
    "viewers",
    "egress_bytes",
    "media_bytes",
    "delivered_bytes",
    "from_origin_bytes",
    "from_peers_bytes",
    "to_peers_bytes",
    "wasted_bytes",
    "stalled_ms",
    "fallbacks",
    "hash_mismatches",
    "bound_permille",
    "members",
    "copies_permille",
];

/// The place of `bound_permille` among them.
const BOUND: usize = 12;

/// What is kept of a stream's sample.
pub(super) type Row = [u64; COLUMNS.len()];

/// Origin copies are averaged over so many objects…
const COPIES_OBJECTS: usize = 10;
/// …without the newest, which are still on their way.
const COPIES_SKIPPED: usize = 3;

/// How the server does.
#[derive(Debug, Serialize)]
pub(super) struct Sample {
    unix_ms: u64,
    version: &'static str,
    uptime_s: u64,
    rss_bytes: u64,
    cpu_seconds: f64,
    egress: Egress,
    connections: usize,
    /// The operator's switch for all streams.
    peers_enabled: bool,
    pub(super) streams: Vec<StreamSample>,
}

impl Sample {
    /// Tells Prometheus what only a look at the swarms shows.
    pub(super) fn export(&self, metrics: &Metrics) {
        for stream in &self.streams {
            let name = [stream.stream.as_str()];
            let share = |permille: u64| permille as f64 / 1000.0;
            metrics.room.resource_index.with_label_values(&name).set(share(stream.resource_index));
            metrics.room.offload_bound.with_label_values(&name).set(share(stream.row[BOUND]));
            for it in &stream.renditions {
                let rendition = [name[0], &it.rendition.to_string()];
                let demand = it.rate_bps as f64 * f64::from(it.members);
                let supply = demand * share(it.resource_index);
                metrics.room.demand.with_label_values(&rendition).set(demand);
                metrics.room.supply.with_label_values(&rendition).set(supply);
            }
        }
    }
}

/// How a stream does.
#[derive(Debug, Serialize)]
pub(super) struct StreamSample {
    pub(super) stream: String,
    epoch: u32,
    /// Whether viewers may use peers.
    peers_enabled: bool,
    /// The stream's own switch.
    peers_switched_on: bool,
    /// As [`COLUMNS`] names them.
    pub(super) row: Row,
    links: Links,
    plan_changes: u64,
    bans: u64,
    /// Usable upload of those who are planned, relative to what they watch, ‰.
    resource_index: u64,
    renditions: Vec<RenditionSample>,
}

/// How a rendition does.
#[derive(Debug, Serialize)]
struct RenditionSample {
    rendition: u16,
    playlist: String,
    members: u32,
    rate_bps: u64,
    resource_index: u64,
}

/// Looks at everything but the trees.
pub(super) fn take(sources: &Sources, hub: &HubStatus, unix_ms: u64) -> Sample {
    let usage = process::usage();
    let public = &sources.meters.public;
    let streams = sources.origin.streams().map(|stream| {
        let swarm = hub.swarms.iter().find(|swarm| swarm.stream == stream.name);
        let meter = sources.meters.stream(&stream.name);
        let (sent, media) = meter.map_or((0, 0), |meter| (meter.sent_bytes(), meter.media_bytes()));
        let swarm = swarm.cloned().unwrap_or_default();
        // What an upstream sends to viewers it sends itself: only viewers know how much.
        let elsewhere = match sources.upstreams.of(&stream.name) {
            Some(_) => swarm.totals.from_origin.as_bytes().saturating_sub(media),
            None => 0,
        };
        of_stream(stream, &swarm, (sent + elsewhere, media), unix_ms)
    });
    Sample {
        unix_ms,
        version: env!("CARGO_PKG_VERSION"),
        uptime_s: sources.metrics.uptime_s(),
        rss_bytes: usage.rss_bytes,
        cpu_seconds: usage.cpu.as_secs_f64(),
        egress: Egress::of(public),
        connections: public.connections.load(std::sync::atomic::Ordering::Relaxed),
        peers_enabled: hub.peers_enabled,
        streams: streams.collect(),
    }
}

fn of_stream(
    stream: &Stream,
    swarm: &SwarmStatus,
    (egress_bytes, media_bytes): (u64, u64),
    unix_ms: u64,
) -> StreamSample {
    let (totals, supplies) = (&swarm.totals, &swarm.supplies);
    let view = stream.view();
    let playlist = |rendition| {
        let found = view.renditions.iter().find(|it| it.info.rendition == rendition);
        found.map_or_else(String::new, |it| it.info.playlist.clone())
    };
    let renditions = supplies.iter().map(|supply| RenditionSample {
        rendition: supply.rendition.0,
        playlist: playlist(supply.rendition),
        members: supply.members,
        rate_bps: supply.rate.as_bps(),
        resource_index: supply.resource_index,
    });
    let demand: u64 = supplies.iter().map(demand_bps).sum();
    let usable = supplies.iter().map(|supply| demand_bps(supply) * supply.resource_index).sum();
    StreamSample {
        stream: stream.name.to_string(),
        epoch: view.epoch,
        peers_enabled: swarm.peers_enabled,
        peers_switched_on: swarm.switched_on,
        row: [
            unix_ms,
            swarm.viewers as u64,
            egress_bytes,
            media_bytes,
            totals.delivered.as_bytes(),
            totals.from_origin.as_bytes(),
            totals.from_peers.as_bytes(),
            totals.to_peers.as_bytes(),
            totals.wasted.as_bytes(),
            totals.stalled_ms,
            totals.fallbacks,
            totals.hash_mismatches,
            bound_permille(supplies),
            supplies.iter().map(|supply| supply.members).max().unwrap_or(0).into(),
            copies_permille(&view.traffic.iter().map(|it| (it.sent(), it.len)).collect::<Vec<_>>()),
        ],
        links: swarm.links,
        plan_changes: swarm.plan_changes,
        bans: swarm.bans,
        resource_index: u64::checked_div(usable, demand).unwrap_or(0),
        renditions: renditions.collect(),
    }
}

fn demand_bps(supply: &Supply) -> u64 {
    supply.rate.as_bps() * u64::from(supply.members)
}

/// The offload that is possible: in each rendition all but one copy, and no more than the usable
/// upload carries; weighted by what they need.
fn bound_permille(supplies: &[Supply]) -> u64 {
    let possible = |supply: &Supply| match supply.members {
        0 => 0,
        members => (1000 - 1000_u64.div_ceil(members.into())).min(supply.resource_index),
    };
    let all: u64 = supplies.iter().map(demand_bps).sum();
    let sum: u64 = supplies.iter().map(|supply| demand_bps(supply) * possible(supply)).sum();
    sum.checked_div(all).unwrap_or(0)
}

/// How often an object left the origin, ‰, for objects given as bytes sent and length, newest last.
fn copies_permille(objects: &[(u64, u64)]) -> u64 {
    let settled = objects.iter().rev().skip(COPIES_SKIPPED).take(COPIES_OBJECTS);
    let (sent, len) = settled.fold((0, 0), |sum, object| (sum.0 + object.0, sum.1 + object.1));
    u64::checked_div(sent * 1000, len).unwrap_or(0)
}

/// The trees of one stream's largest rendition.
#[derive(Serialize)]
struct ForestSample {
    rendition: u16,
    substreams: u8,
    /// Places that the histograms are made of.
    visited: u32,
    is_whole: bool,
    depths: Vec<u32>,
    fan_out: Vec<u32>,
    trees: Vec<TreeSample>,
}

#[derive(Serialize)]
struct TreeSample {
    substream: u8,
    is_whole: bool,
    /// Names; the page shows a few digits of them.
    peers: Vec<String>,
    /// Index of each one's parent, −1 for the origin; parents before children.
    parents: Vec<i64>,
}

/// All trees as JSON, by stream.
pub(super) fn forests_json(forests: &[(StreamName, Forest)]) -> Bytes {
    let forests = forests.iter().map(|(stream, forest)| (stream.to_string(), of_forest(forest)));
    json(&forests.collect::<BTreeMap<_, _>>())
}

fn of_forest(forest: &Forest) -> ForestSample {
    let tree = |drawing: &Drawing| TreeSample {
        substream: drawing.substream.0,
        is_whole: drawing.is_whole,
        peers: drawing.nodes.iter().map(|node| node.peer.to_string()).collect(),
        parents: drawing.nodes.iter().map(|node| node.parent.map_or(-1, i64::from)).collect(),
    };
    ForestSample {
        rendition: forest.rendition.0,
        substreams: forest.substreams,
        visited: forest.visited,
        is_whole: forest.is_whole,
        depths: forest.depths.to_vec(),
        fan_out: forest.fan_out.to_vec(),
        trees: forest.trees.iter().map(tree).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_wire::{BitRate, RenditionId};

    fn supply(members: u32, mbps: u64, resource_index: u64) -> Supply {
        let rate = BitRate::from_bps(mbps * 1_000_000);
        Supply { rendition: RenditionId(0), members, rate, resource_index }
    }

    #[test]
    fn the_bound_is_one_copy_or_the_upload() {
        for (supplies, bound) in [
            (vec![], 0),
            (vec![supply(0, 2, 0)], 0),
            (vec![supply(1, 2, 3000)], 0),
            (vec![supply(8, 2, 3000)], 875),
            (vec![supply(8, 2, 500)], 500),
            (vec![supply(10, 1, 2000), supply(10, 3, 100)], 300),
        ] {
            assert_eq!(bound_permille(&supplies), bound, "{supplies:?}");
        }
    }

    #[test]
    fn the_bound_has_its_place() {
        assert_eq!(COLUMNS[BOUND], "bound_permille");
    }

    #[test]
    fn copies_leave_out_what_is_on_its_way() {
        assert_eq!(copies_permille(&[(100, 100), (0, 100), (0, 100), (0, 100)]), 1000);
        assert_eq!(copies_permille(&[(100, 100)]), 0);
        let mut objects = vec![(900, 100)];
        objects.extend([(150, 100); 10 + 3]);
        assert_eq!(copies_permille(&objects), 1500);
    }
}
