//! What the operator and their tools ask: metrics, health, status.

use super::{Meters, Shared, StreamMeter};
use crate::metrics::Egress;
use crate::net::ListenerMeter;
use crate::origin::Stream;
use crate::process;
use crate::sessions::{Links, Mappings, SwarmStatus};
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use shoal_wire::RenditionId;
use shoal_wire::tracker_message::Totals;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the server takes new work: after it listens, until it is told to stop.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readiness(Arc<AtomicBool>);

impl Readiness {
    pub(crate) fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }
}

/// `GET /metrics`.
pub(super) async fn metrics(State(shared): State<Shared>) -> Response {
    let text = shared.metrics.text(&shared.meters);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

/// `GET /healthz`: the process answers.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: send viewers here.
pub(super) async fn readyz(State(shared): State<Shared>) -> (StatusCode, &'static str) {
    if shared.readiness.0.load(Ordering::Acquire) {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

#[derive(Serialize)]
struct Status {
    version: &'static str,
    uptime_s: u64,
    rss_bytes: u64,
    cpu_seconds: f64,
    egress: Egress,
    mirror_bytes: u64,
    /// The operator's switch for all streams.
    peers_enabled: bool,
    streams: Vec<StreamStatus>,
}

#[derive(Serialize)]
pub(super) struct StreamStatus {
    pub(super) stream: String,
    epoch: u32,
    viewers: usize,
    mappings: Mappings,
    totals: Totals,
    renditions: Vec<RenditionStatus>,
    links_up: u64,
    links_failed: u64,
    links: Links,
    bans: u64,
    /// Whether viewers may use peers.
    peers_enabled: bool,
    /// This stream's own switch: that of all streams may be off.
    peers_switched_on: bool,
    /// Written to sockets of the public listener for this stream: media, playlists, tracker, heads.
    egress_bytes: u64,
    plan_changes: u64,
    /// Newest last, at most 300.
    objects: Vec<ObjectStatus>,
}

impl StreamStatus {
    /// Without its objects.
    pub(super) fn brief(self) -> Self {
        Self { objects: Vec::new(), ..self }
    }
}

#[derive(Serialize)]
struct RenditionStatus {
    rendition: RenditionId,
    playlist: String,
    substreams: Option<u8>,
    last_msn: Option<u64>,
    ended: bool,
}

#[derive(Serialize)]
struct ObjectStatus {
    object: String,
    bytes: u64,
    origin_bytes_sent: u64,
    published_unix_ms: u64,
}

/// `GET /status`.
pub(super) async fn status(State(shared): State<Shared>) -> Response {
    let usage = process::usage();
    let hub = shared.sessions.status().await;
    let status = Status {
        version: env!("CARGO_PKG_VERSION"),
        uptime_s: shared.metrics.uptime_s(),
        rss_bytes: usage.rss_bytes,
        cpu_seconds: usage.cpu.as_secs_f64(),
        egress: Egress::of(&shared.meters.public),
        mirror_bytes: ListenerMeter::read(&shared.meters.mirror.sent_bytes),
        peers_enabled: hub.peers_enabled,
        streams: of_swarms(&shared, &hub.swarms),
    };
    Json(status).into_response()
}

/// How all streams do.
pub(super) async fn streams(shared: &Shared) -> Vec<StreamStatus> {
    of_swarms(shared, &shared.sessions.status().await.swarms)
}

fn of_swarms(shared: &Shared, swarms: &[SwarmStatus]) -> Vec<StreamStatus> {
    let streams = shared.origin.streams().map(|stream| {
        let swarm = swarms.iter().find(|swarm| swarm.stream == stream.name);
        stream_status(stream, swarm.cloned().unwrap_or_default(), &shared.meters)
    });
    streams.collect()
}

fn stream_status(stream: &Stream, swarm: SwarmStatus, meters: &Meters) -> StreamStatus {
    let egress_bytes = meters.stream(&stream.name).map_or(0, StreamMeter::sent_bytes);
    let view = stream.view();
    let renditions = view.renditions.iter().map(|rendition| RenditionStatus {
        rendition: rendition.info.rendition,
        playlist: rendition.info.playlist.clone(),
        substreams: rendition.substreams,
        last_msn: rendition.last_msn,
        ended: rendition.ended,
    });
    let objects = view.traffic.iter().filter_map(|traffic| {
        Some(ObjectStatus {
            object: traffic.object?.file_stem(),
            bytes: traffic.len,
            origin_bytes_sent: traffic.sent(),
            published_unix_ms: traffic.published_unix_ms,
        })
    });
    StreamStatus {
        stream: stream.name.to_string(),
        epoch: view.epoch,
        viewers: swarm.viewers,
        mappings: swarm.mappings,
        totals: swarm.totals,
        renditions: renditions.collect(),
        links_up: swarm.links.sum().up,
        links_failed: swarm.links.sum().failed,
        links: swarm.links,
        bans: swarm.bans,
        peers_enabled: swarm.peers_enabled,
        peers_switched_on: swarm.switched_on,
        egress_bytes,
        plan_changes: swarm.plan_changes,
        objects: objects.collect(),
    }
}
