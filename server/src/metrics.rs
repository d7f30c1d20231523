//! What Prometheus sees.
//!
//! Rule: no label names a viewer. Counters of bytes are read from the sockets' own counters when
//! they are asked for, so they agree with the status.

use crate::http::Meters;
use crate::net::ListenerMeter;
use prometheus::{
    Counter, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec,
    Opts, Registry, TextEncoder,
};
use std::sync::atomic::AtomicU64;

const STARTUP_BUCKETS_S: [f64; 10] = [0.05, 0.1, 0.2, 0.35, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0];
const LATENCY_BUCKETS_S: [f64; 10] = [1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 18.0, 30.0, 60.0];

/// All metrics of the server.
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) delivered_bytes: IntCounterVec,
    pub(crate) wasted_bytes: IntCounter,
    egress_bytes: IntCounterVec,
    mirror_bytes: IntCounter,
    pub(crate) peers: IntGaugeVec,
    pub(crate) rebuffer_seconds: Counter,
    pub(crate) played_seconds: Counter,
    pub(crate) fallbacks: IntCounterVec,
    pub(crate) quality: QualityMetrics,
    pub(crate) room: RoomMetrics,
    pub(crate) hash_mismatches: IntCounter,
    pub(crate) links: IntCounterVec,
    pub(crate) plan_changes: IntCounter,
    pub(crate) peers_enabled: IntGaugeVec,
    pub(crate) bans: IntCounter,
    pub(crate) ingest_bytes: IntCounter,
    pub(crate) ingest_uploads: IntCounter,
    pub(crate) ingest_playlists: IntCounter,
    pub(crate) published: IntCounterVec,
    pub(crate) refused: IntCounterVec,
    pub(crate) upstream_fetch_bytes: IntCounterVec,
    pub(crate) upstream_redirects: IntCounterVec,
    connections: GaugeVec,
    uptime_seconds: Gauge,
    started: std::time::Instant,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics(…)")
    }
}

/// How viewers fare, with peers and without.
pub(crate) struct QualityMetrics {
    pub(crate) startup_seconds: HistogramVec,
    pub(crate) latency_seconds: HistogramVec,
    pub(crate) viewers: IntGaugeVec,
    pub(crate) mean: GaugeVec,
    pub(crate) difference: GaugeVec,
    pub(crate) switched_off: IntCounterVec,
}

impl QualityMetrics {
    fn new(make: &Maker) -> Self {
        Self {
            startup_seconds: make.histogram(
                "shoal_startup_seconds",
                "From a viewer's first request to the end of its answer.",
                &STARTUP_BUCKETS_S,
            ),
            latency_seconds: make.histogram(
                "shoal_latency_seconds",
                "From publication to the playhead of who plays live, at each report.",
                &LATENCY_BUCKETS_S,
            ),
            viewers: make.int_gauges(
                "shoal_quality_viewers",
                "Viewers whose start-up is known.",
                &["stream", "group"],
            ),
            mean: make.gauges(
                "shoal_quality_mean",
                "Mean over viewers.",
                &["stream", "measure", "group"],
            ),
            difference: make.gauges(
                "shoal_quality_difference",
                "With peers less without, and the ends of its 95 % interval; positive is worse.",
                &["stream", "measure", "bound"],
            ),
            switched_off: make.counters(
                "shoal_peers_switched_off_total",
                "Times that a stream's peers were switched off because they did harm.",
                "stream",
            ),
        }
    }
}

/// How much there could be.
pub(crate) struct RoomMetrics {
    pub(crate) resource_index: GaugeVec,
    pub(crate) offload_bound: GaugeVec,
    pub(crate) demand: GaugeVec,
    pub(crate) supply: GaugeVec,
    pub(crate) peer_mappings: IntGaugeVec,
    pub(crate) peers_max: Gauge,
    pub(crate) connections_max: Gauge,
}

impl RoomMetrics {
    fn new(make: &Maker) -> Self {
        Self {
            resource_index: make.gauges(
                "shoal_resource_index",
                "Usable upload of a stream's viewers relative to what they watch.",
                &["stream"],
            ),
            offload_bound: make.gauges(
                "shoal_offload_bound",
                "The offload that a stream's viewers make possible: one copy, or their upload.",
                &["stream"],
            ),
            demand: make.gauges(
                "shoal_demand_bits_per_second",
                "What the planned viewers of a rendition take together.",
                &["stream", "rendition"],
            ),
            supply: make.gauges(
                "shoal_supply_bits_per_second",
                "Upload that the planned viewers of a rendition have for it.",
                &["stream", "rendition"],
            ),
            peer_mappings: make.int_gauges(
                "shoal_peer_mappings",
                "Viewers with a tracker session, by what address translation does to them.",
                &["stream", "mapping"],
            ),
            peers_max: make.gauge("shoal_peers_max", "Most viewers that are let in."),
            connections_max: make
                .gauge("shoal_connections_max", "Most connections open on one listener."),
        }
    }
}

/// Makes metrics and registers them.
struct Maker(Registry);

impl Maker {
    fn register<M: prometheus::core::Collector + Clone + 'static>(
        &self,
        metric: prometheus::Result<M>,
    ) -> M {
        let metric = metric.expect("names are valid");
        self.0.register(Box::new(metric.clone())).expect("names are unique");
        metric
    }

    /// The program and its process.
    fn process(&self) {
        let build = Opts::new("shoal_build_info", "Version of the server.");
        let build = self.register(IntGaugeVec::new(build, &["version"]));
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        #[cfg(target_os = "linux")]
        self.0
            .register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))
            .expect("names are unique");
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::new(name, help))
    }

    fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.register(Gauge::new(name, help))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.register(GaugeVec::new(Opts::new(name, help), labels))
    }

    fn int_gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> HistogramVec {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.register(HistogramVec::new(options, &["group"]))
    }

    fn counters(&self, name: &str, help: &str, label: &str) -> IntCounterVec {
        self.register(IntCounterVec::new(Opts::new(name, help), &[label]))
    }
}

impl Metrics {
    /// Registers everything.
    pub(crate) fn new() -> Self {
        let make = Maker(Registry::new());
        make.process();
        let peers = Opts::new("shoal_peers", "Viewers with a tracker session.");
        let enabled = Opts::new("shoal_peers_enabled", "Whether viewers may use peers.");
        let connections = Opts::new("shoal_connections", "Open connections.");
        let rebuffer = "Time that viewers' players waited after start-up, as they report it.";
        Self {
            delivered_bytes: make.counters(
                "shoal_delivered_bytes_total",
                "Media bytes handed to players, by where viewers took them from, as they report.",
                "source",
            ),
            wasted_bytes: make
                .counter("shoal_wasted_bytes_total", "Bytes from peers that were of no use."),
            egress_bytes: make.counters(
                "shoal_origin_egress_bytes_total",
                "Bytes written to sockets of the public listeners.",
                "kind",
            ),
            mirror_bytes: make.counter(
                "shoal_mirror_egress_bytes_total",
                "Bytes written to sockets of the mirror listener.",
            ),
            peers: make.register(IntGaugeVec::new(peers, &["stream"])),
            rebuffer_seconds: make.register(Counter::new("shoal_rebuffer_seconds_total", rebuffer)),
            played_seconds: make.register(Counter::new(
                "shoal_played_seconds_total",
                "Media handed to viewers' players, as they report it.",
            )),
            fallbacks: make.counters(
                "shoal_fallback_total",
                "Fetches from the origin of what peers should have brought, by why.",
                "reason",
            ),
            quality: QualityMetrics::new(&make),
            room: RoomMetrics::new(&make),
            hash_mismatches: make
                .counter("shoal_hash_mismatch_total", "Chunks whose hash did not match."),
            links: make.counters("shoal_links_total", "What became of links.", "state"),
            plan_changes: make
                .counter("shoal_plan_changes_total", "Changes of a parent, as sent to viewers."),
            peers_enabled: make.register(IntGaugeVec::new(enabled, &["stream"])),
            bans: make.counter("shoal_bans_total", "Viewers found guilty of bad chunks."),
            ingest_bytes: make.counter("shoal_ingest_bytes_total", "Bytes pushed by encoders."),
            ingest_uploads: make
                .counter("shoal_ingest_uploads_total", "Segments and init sections pushed."),
            ingest_playlists: make.counter("shoal_ingest_playlists_total", "Playlists pushed."),
            published: make.counters("shoal_published_total", "Objects published.", "stream"),
            refused: make.counters(
                "shoal_refused_total",
                "Requests, sessions and messages that were refused.",
                "reason",
            ),
            upstream_fetch_bytes: make.counters(
                "shoal_upstream_fetch_bytes_total",
                "Bytes that this server fetched from upstreams: media for digests, playlists.",
                "kind",
            ),
            upstream_redirects: make.counters(
                "shoal_upstream_redirects_total",
                "Viewers' fetches of segments that were sent on to an upstream.",
                "stream",
            ),
            connections: make.register(GaugeVec::new(connections, &["listener"])),
            uptime_seconds: make.gauge("shoal_uptime_seconds", "Seconds since the start."),
            started: std::time::Instant::now(),
            registry: make.0,
        }
    }

    /// Seconds since the start.
    pub(crate) fn uptime_s(&self) -> u64 {
        self.started.elapsed().as_secs()
    }

    /// Everything as text, with the sockets' counters as they are now.
    pub(crate) fn text(&self, meters: &Meters) -> String {
        let egress = Egress::of(&meters.public);
        for (kind, bytes) in [
            ("media", egress.media_bytes),
            ("playlist", egress.playlist_bytes),
            ("control", egress.control_bytes),
            ("page", egress.page_bytes),
            ("other", egress.other_bytes),
        ] {
            raise(&self.egress_bytes.with_label_values(&[kind]), bytes);
        }
        raise(&self.mirror_bytes, ListenerMeter::read(&meters.mirror.sent_bytes));
        for (listener, meter) in [
            ("public", &meters.public),
            ("mirror", &meters.mirror),
            ("ingest", &meters.ingest),
            ("admin", &meters.admin),
        ] {
            let open = meter.connections.load(std::sync::atomic::Ordering::Relaxed);
            self.connections.with_label_values(&[listener]).set(open as f64);
        }
        let all = [&meters.public, &meters.mirror, &meters.ingest, &meters.admin];
        let refused = |reason, of: fn(&ListenerMeter) -> &AtomicU64| {
            let sum = all.iter().map(|meter| ListenerMeter::read(of(meter))).sum();
            raise(&self.refused.with_label_values(&[reason]), sum);
        };
        refused("slow_head", |meter| &meter.slow_heads);
        refused("slow_reader", |meter| &meter.slow_readers);
        self.uptime_seconds.set(self.started.elapsed().as_secs_f64());
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
}

/// Raises a counter to what another one counted.
fn raise(counter: &IntCounter, to: u64) {
    counter.inc_by(to.saturating_sub(counter.get()));
}

/// What was written to the sockets of a listener, by what it was.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct Egress {
    /// All of it.
    pub(crate) socket_bytes: u64,
    pub(crate) media_bytes: u64,
    pub(crate) playlist_bytes: u64,
    pub(crate) control_bytes: u64,
    /// Answers to requests for pages, heads included: what a site would serve beside any player.
    pub(crate) page_bytes: u64,
    /// Heads, other answers.
    pub(crate) other_bytes: u64,
}

impl Egress {
    pub(crate) fn of(meter: &ListenerMeter) -> Self {
        let media_bytes = ListenerMeter::read(&meter.media_bytes);
        let playlist_bytes = ListenerMeter::read(&meter.playlist_bytes);
        let control_bytes = ListenerMeter::read(&meter.control_bytes);
        let socket_bytes = ListenerMeter::read(&meter.sent_bytes);
        let page_bytes = ListenerMeter::read(&meter.page_bytes);
        let known = media_bytes + playlist_bytes + control_bytes + page_bytes;
        let other_bytes = socket_bytes.saturating_sub(known);
        Self { socket_bytes, media_bytes, playlist_bytes, control_bytes, page_bytes, other_bytes }
    }
}
