//! The HTTP faces of the server: which paths exist on which listener.
//!
//! Rule: only routes here; what a request means is in the module that its route names.

mod admin;
mod auth;
mod body;
mod ingest;
mod playback;
mod push_path;
mod range;
mod tracker_socket;

pub(crate) use admin::Readiness;
pub(crate) use ingest::IngestState;

use crate::metrics::Metrics;
use crate::net::ListenerMeter;
use crate::origin::Origin;
use crate::sessions::SessionEntry;
use axum::Router;
use axum::http::{HeaderName, Method, StatusCode, header};
use axum::routing::{any, get};
use std::sync::Arc;
use std::time::Duration;
use tower_http::cors::{Any, CorsLayer};

/// Everything that request handlers share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) origin: Arc<Origin>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) sessions: SessionEntry,
    pub(crate) ingest: IngestState,
    pub(crate) readiness: Readiness,
}

/// The counters of each listener.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    pub(crate) public: Arc<ListenerMeter>,
    pub(crate) mirror: Arc<ListenerMeter>,
    pub(crate) ingest: Arc<ListenerMeter>,
    pub(crate) admin: Arc<ListenerMeter>,
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
pub(crate) fn public(shared: &Shared, ingest: bool) -> Router {
    let tracker = Router::new()
        .route("/live/{stream}/tracker", get(tracker_socket::upgrade))
        .with_state(shared.clone());
    let mut router = playback_routes(shared, Face::Public).merge(tracker);
    if ingest {
        router = router.merge(ingest_routes(shared));
    }
    finish(router)
}

/// Playlists and segments alone.
pub(crate) fn mirror(shared: &Shared) -> Router {
    finish(playback_routes(shared, Face::Mirror))
}

/// Encoders alone.
pub(crate) fn ingest(shared: &Shared) -> Router {
    finish(ingest_routes(shared))
}

/// For the operator.
pub(crate) fn admin(shared: &Shared) -> Router {
    let router = Router::new()
        .route("/metrics", get(admin::metrics))
        .route("/healthz", get(admin::healthz))
        .route("/readyz", get(admin::readyz))
        .route("/status", get(admin::status))
        .with_state(shared.clone());
    finish(router)
}

fn playback_routes(shared: &Shared, face: Face) -> Router {
    Router::new()
        .route("/live/{stream}/{*path}", get(playback::serve))
        .layer(cors())
        .with_state(playback::Playback::new(shared, face))
}

fn ingest_routes(shared: &Shared) -> Router {
    Router::new()
        .route("/ingest/{stream}/{*path}", any(ingest::by_header))
        .route("/publish/{key}/{stream}/{*path}", any(ingest::by_path))
        .with_state(shared.clone())
}

fn finish(router: Router) -> Router {
    router.fallback(|| async { (StatusCode::NOT_FOUND, "no such path\n") })
}

/// Any page may play. Players need ranges, and read how old and how long an answer is.
fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::HEAD])
        .allow_headers([
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

/// A header that Shoal adds.
const fn shoal_header(name: &'static str) -> HeaderName {
    HeaderName::from_static(name)
}
