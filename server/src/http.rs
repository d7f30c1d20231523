//! The HTTP faces of the server: which paths exist on which listener.
//!
//! Rule: only routes here; what a request means is in the module that its route names.

mod admin;
mod auth;
mod body;
mod control;
mod dashboard;
mod front;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod ingest;
mod low_latency;
mod pages;
mod playback;
mod push_path;
mod range;
mod tracker_socket;
mod upstream;

pub(crate) use admin::Readiness;
pub(crate) use front::{Client, Shown, ShownBy};
pub(crate) use ingest::IngestState;

use crate::admission::Admission;
use crate::config::Config;
use crate::dashboard::Dashboard;
use crate::metrics::Metrics;
use crate::net::{Account, ListenerMeter};
use crate::origin::{Origin, UPLOAD_PATH};
use crate::pages::Pages;
use crate::sessions::SessionEntry;
use crate::upstream::Upstreams;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, Method, StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{any, get};
use front::Front;
use shoal_wire::StreamName;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tower_http::cors::{AllowOrigin, CorsLayer};

/// Everything that request handlers share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) origin: Arc<Origin>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) upstreams: Arc<Upstreams>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) sessions: SessionEntry,
    pub(crate) ingest: IngestState,
    pub(crate) readiness: Readiness,
    pub(crate) pages: Arc<Pages>,
    pub(crate) dashboard: Arc<Dashboard>,
    /// Cancelled when the operator wants the server to drain and stop.
    pub(crate) drain: CancellationToken,
    /// Cancelled when the server stops: answers without an end then end.
    pub(crate) stop: CancellationToken,
}

/// The counters of each listener.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    pub(crate) public: Arc<ListenerMeter>,
    pub(crate) mirror: Arc<ListenerMeter>,
    pub(crate) ingest: Arc<ListenerMeter>,
    pub(crate) admin: Arc<ListenerMeter>,
    streams: BTreeMap<StreamName, StreamMeter>,
}

/// What the public listener sent for one stream.
#[derive(Debug, Default)]
pub(crate) struct StreamMeter {
    /// All that was written: media, playlists, tracker, heads.
    sent: Arc<AtomicU64>,
    /// Body bytes of segments and init sections.
    media: Arc<AtomicU64>,
}

impl StreamMeter {
    /// What a connection's bytes count for while it is asked for this stream.
    fn account(&self) -> Account {
        Account::Stream(Arc::clone(&self.sent))
    }

    pub(crate) fn sent_bytes(&self) -> u64 {
        ListenerMeter::read(&self.sent)
    }

    pub(crate) fn media_bytes(&self) -> u64 {
        ListenerMeter::read(&self.media)
    }
}

impl Meters {
    pub(crate) fn new(streams: impl Iterator<Item = StreamName>) -> Self {
        let streams = streams.map(|name| (name, StreamMeter::default())).collect();
        Self { streams, ..Self::default() }
    }

    pub(crate) fn stream(&self, name: &StreamName) -> Option<&StreamMeter> {
        self.streams.get(name)
    }
}

/// Which of a server's faces playback is served on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Face {
    /// Shoal's viewers and plain players.
    Public,
    /// Players to compare with.
    Mirror,
}

/// Playlists, segments and the tracker; with `ingest`, encoders too.
pub(crate) fn public(shared: &Shared, config: &Config, ingest: bool) -> Router {
    let tracker = Router::new()
        .route("/live/{stream}/tracker", get(tracker_socket::upgrade))
        .route("/vod/{stream}/tracker", get(tracker_socket::upgrade))
        .with_state(shared.clone());
    let mut router =
        playback_routes(shared, Face::Public).merge(tracker).merge(pages_routes(shared));
    if ingest {
        router = router.merge(ingest_routes(shared));
    }
    finish(router, shared, config)
}

/// Playlists and segments alone.
pub(crate) fn mirror(shared: &Shared, config: &Config) -> Router {
    finish(playback_routes(shared, Face::Mirror), shared, config)
}

/// Encoders alone.
pub(crate) fn ingest(shared: &Shared, config: &Config) -> Router {
    finish(ingest_routes(shared), shared, config)
}

/// For the operator.
pub(crate) fn admin(shared: &Shared, config: &Config) -> Router {
    let router = Router::new()
        .route("/metrics", get(admin::metrics))
        .route("/healthz", get(admin::healthz))
        .route("/readyz", get(admin::readyz))
        .route("/status", get(admin::status))
        .route("/admin/events", get(dashboard::events));
    let with = |router: Router<Shared>, (_, path, handler)| router.route(path, handler);
    let router = control::routes()
        .into_iter()
        .fold(router, with)
        .layer(DefaultBodyLimit::max(ADMIN_BODY_BYTES_MAX))
        .with_state(shared.clone());
    let pages = Router::new()
        .route("/admin", get(pages::add_slash))
        .route("/admin/", get(pages::operator))
        .route("/admin/{*file}", get(pages::operator_asset))
        .layer(from_fn(pages::as_page))
        .with_state(shared.clone());
    finish(router.merge(pages), shared, config)
}

/// The viewer's page and what it loads; other sites may load the SDK from here.
fn pages_routes(shared: &Shared) -> Router {
    let assets = Router::new().route("/web/{*file}", get(pages::asset)).layer(cors(shared));
    Router::new()
        .route("/watch/{stream}", get(pages::add_slash))
        .route("/watch/{stream}/", get(pages::viewer))
        .route("/watch/{stream}/source", get(pages::source))
        .merge(assets)
        .layer(from_fn(pages::as_page))
        .with_state(shared.clone())
}

fn playback_routes(shared: &Shared, face: Face) -> Router {
    Router::new()
        .route("/live/{stream}/{*path}", get(playback::serve))
        .route("/vod/{stream}/{*path}", get(playback::serve))
        .layer(cors(shared))
        .with_state(playback::Playback::new(shared, face))
}

fn ingest_routes(shared: &Shared) -> Router {
    Router::new()
        .route("/ingest/{stream}/{*path}", any(ingest::by_header))
        .route("/publish/{key}/{stream}/{*path}", any(ingest::by_path))
        .route(&format!("/{UPLOAD_PATH}"), any(ingest::by_query))
        .with_state(shared.clone())
}

/// Routes, and before them what holds for all.
fn finish(router: Router, shared: &Shared, config: &Config) -> Router {
    let routes = router.fallback(|| async { (StatusCode::NOT_FOUND, "no such path\n") });
    let front = Front::new(config, &shared.metrics);
    Router::new().fallback_service(routes).layer(from_fn_with_state(front, front::front))
}

/// Pages of the allowed origins may play. Players need ranges, and read how old and how long an
/// answer is.
fn cors(shared: &Shared) -> CorsLayer {
    let admission = Arc::clone(&shared.admission);
    let origins = if admission.admits_all_origins() {
        AllowOrigin::any()
    } else {
        AllowOrigin::predicate(move |origin, _| {
            origin.to_str().is_ok_and(|origin| admission.admits_origin(origin))
        })
    };
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::HEAD])
        .allow_headers([
            header::AUTHORIZATION,
            header::RANGE,
            header::IF_NONE_MATCH,
            header::IF_RANGE,
            header::CACHE_CONTROL,
        ])
        .expose_headers([
            header::AGE,
            header::DATE,
            header::ETAG,
            header::CONTENT_LENGTH,
            header::CONTENT_RANGE,
            playback::TRACKER,
            playback::STREAM,
        ])
        .max_age(PREFLIGHT_AGE)
}

/// How long a browser may remember that it may ask: two hours is the most that Chromium takes.
const PREFLIGHT_AGE: Duration = Duration::from_secs(7200);

/// Most bytes of what the operator sends: a switch.
const ADMIN_BODY_BYTES_MAX: usize = 1024;

/// A header that Shoal adds.
const fn shoal_header(name: &'static str) -> HeaderName {
    HeaderName::from_static(name)
}
