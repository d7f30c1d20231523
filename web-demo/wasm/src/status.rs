//! The engine's figures as the page reads them.

use serde::Serialize;
use shoal_peer::{Parent, Status};
use shoal_wire::PeerId;
use std::collections::BTreeMap;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CoreStatus<'a> {
    peer: Option<PeerId>,
    totals: Totals,
    neighbours: Vec<Neighbour>,
    substreams: Vec<Substream>,
    buffered_ms: u64,
    upload_bps: u64,
    fallbacks: BTreeMap<&'a str, u64>,
    cut_off: u64,
    store_bytes: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Totals {
    delivered_bytes: u64,
    from_origin_bytes: u64,
    from_peers_bytes: u64,
    wasted_bytes: u64,
    to_peers_bytes: u64,
    hash_mismatches: u64,
    fallbacks: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Neighbour {
    peer: PeerId,
    received_bytes: u64,
    sent_bytes: u64,
    rtt_ms: Option<f64>,
}

#[derive(Serialize)]
struct Substream {
    rendition: u16,
    substream: u8,
    parent: Option<String>,
}

/// `status` as JSON.
pub(crate) fn json(status: &Status) -> String {
    let totals = &status.totals;
    let neighbours = status.neighbours.iter().map(|neighbour| Neighbour {
        peer: neighbour.peer,
        received_bytes: neighbour.received.as_bytes(),
        sent_bytes: neighbour.sent.as_bytes(),
        rtt_ms: neighbour.rtt.map(|rtt| rtt.as_micros() as f64 / 1000.0),
    });
    let substreams = status.substreams.iter().map(|fed| Substream {
        rendition: fed.rendition.0,
        substream: fed.substream.0,
        parent: match fed.parent {
            Parent::Nobody => None,
            Parent::Origin => Some("origin".to_owned()),
            Parent::Peer(peer) => Some(peer.to_string()),
        },
    });
    let status = CoreStatus {
        peer: status.peer,
        totals: Totals {
            delivered_bytes: totals.delivered.as_bytes(),
            from_origin_bytes: totals.from_origin.as_bytes(),
            from_peers_bytes: totals.from_peers.as_bytes(),
            wasted_bytes: totals.wasted.as_bytes(),
            to_peers_bytes: totals.to_peers.as_bytes(),
            hash_mismatches: totals.hash_mismatches,
            fallbacks: totals.fallbacks,
        },
        neighbours: neighbours.collect(),
        substreams: substreams.collect(),
        buffered_ms: u64::try_from(status.buffered.as_millis()).unwrap_or(u64::MAX),
        upload_bps: status.upload.as_bps(),
        fallbacks: status.fallbacks.iter().map(|(reason, n)| (reason.as_str(), *n)).collect(),
        cut_off: status.cut_off,
        store_bytes: status.store_bytes as u64,
    };
    serde_json::to_string(&status).expect("all keys are text")
}
