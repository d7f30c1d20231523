//! `shoal-server`: origin and tracker in one process.
//!
//! Rule: everything is started here and stopped here; a [`Server`] owns all that it started. The
//! binary only reads the command line and waits for signals; tests start it on port 0.

mod admission;
pub mod cli;
pub mod config;
mod ctl;
mod dashboard;
mod demo;
mod http;
mod metrics;
mod net;
mod origin;
mod pages;
mod process;
mod sessions;
pub mod upstream;

#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::http::fuzzing::*;
    pub use crate::net::fuzzing::*;
}

use admission::Admission;
use axum::Router;
use config::{Config, DEMO_STREAM};
use dashboard::Dashboard;
use http::{IngestState, Meters, Readiness, Shared};
use metrics::Metrics;
use net::{
    Certificate, Connection, ConnectionMeter, Listener, ListenerMeter, Metered, Service, Stun,
};
use origin::Origin;
use pages::Pages;
use serde::Serialize;
use sessions::{Hub, SessionEntry};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use upstream::Upstreams;

/// News from the origin that wait for the tracker: a segment of each of a thousand renditions.
const NEWS_MAX: usize = 1024;

/// Why a server does not start: a sentence that says what to change.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(String);

impl StartError {
    fn of(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// The addresses in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Ports {
    /// Viewers, and encoders unless they have their own.
    pub listen: SocketAddr,
    /// Encoders.
    pub ingest_listen: Option<SocketAddr>,
    /// The second origin.
    pub mirror_listen: Option<SocketAddr>,
    /// The operator.
    pub admin_listen: Option<SocketAddr>,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    ports: Ports,
    entry: Shutdown,
    drain_time: Duration,
    grace: Duration,
    public: Router,
    head_timeout: Duration,
    meter: Arc<ListenerMeter>,
}

/// What has to be told to stop, in this order.
struct Shutdown {
    readiness: Readiness,
    drain: CancellationToken,
    stop: CancellationToken,
    sessions: SessionEntry,
    connections: TaskTracker,
    tasks: JoinSet<()>,
}

impl std::fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shutdown(…)")
    }
}

/// The sockets, bound before anything else is started.
struct Listeners {
    public: Listener,
    ingest: Option<Listener>,
    mirror: Option<Listener>,
    admin: Option<Listener>,
}

impl Listeners {
    fn bind(config: &Config) -> Result<Self, StartError> {
        let server = &config.server;
        let public = server.listen.0.expect("a checked configuration has an address");
        Ok(Self {
            public: Listener::bind(public, "listen").map_err(StartError::of)?,
            ingest: bind(server.ingest_listen, "ingest-listen")?,
            mirror: bind(server.mirror_listen, "mirror-listen")?,
            admin: bind(server.admin_listen, "admin-listen")?,
        })
    }

    fn ports(&self) -> Ports {
        let address = |listener: &Option<Listener>| listener.as_ref().map(|it| it.address);
        Ports {
            listen: self.public.address,
            ingest_listen: address(&self.ingest),
            mirror_listen: address(&self.mirror),
            admin_listen: address(&self.admin),
        }
    }
}

fn bind(address: config::Listen, flag: &'static str) -> Result<Option<Listener>, StartError> {
    match address.0 {
        None => Ok(None),
        Some(address) => Listener::bind(address, flag).map(Some).map_err(StartError::of),
    }
}

impl Server {
    /// Starts everything that `config` names. Once this returns, it listens.
    ///
    /// # Errors
    /// [`StartError`] if an address or the data directory cannot be used.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        let listeners = Listeners::bind(config)?;
        let ports = listeners.ports();
        let (news, news_inbox) = mpsc::channel(NEWS_MAX);
        let origin = Arc::new(Origin::open(config, &news).map_err(StartError::of)?);
        let metrics = Arc::new(Metrics::new());
        metrics.room.peers_max.set(config.tracker.peers_max.0 as f64);
        metrics.room.connections_max.set(config.server.connections_max.0 as f64);
        let stun = Stun::bind(&config.stun).await.map_err(StartError)?;
        let admission = admission(config, &stun.addresses()).await?;
        let (sessions, inbox) =
            SessionEntry::new(Arc::clone(&origin), Arc::clone(&metrics), config);
        let stop = CancellationToken::new();
        let upstreams = Upstreams::new(config, &origin, &metrics, &stop).map_err(StartError)?;
        let upstreams = Arc::new(upstreams);
        let shared = Shared {
            origin: Arc::clone(&origin),
            admission: Arc::clone(&admission),
            upstreams: Arc::clone(&upstreams),
            metrics,
            meters: Arc::new(Meters::new(origin.streams().map(|stream| stream.name.clone()))),
            sessions: sessions.clone(),
            ingest: IngestState::new(config),
            readiness: Readiness::default(),
            pages: Arc::new(Pages::built_in()),
            dashboard: Dashboard::new(),
            drain: CancellationToken::new(),
            stop,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(Hub::new(sessions.clone()).run(inbox, news_inbox));
        tasks.spawn(Arc::clone(&origin).keep_settling());
        tasks.spawn(Arc::clone(&origin).serve_recordings());
        tasks.spawn(upstreams.keep_tidy());
        tasks.spawn(admission.keep());
        stun.serve(&shared.metrics, &shared.stop, &mut tasks);
        tasks.spawn(Arc::clone(&shared.dashboard).run(sources(&shared)));
        if config.demo.channel
            && let Some(stream) = origin.stream(DEMO_STREAM)
        {
            tasks.spawn(demo::run(Arc::clone(stream)));
        }
        let (stop, connections) = (shared.stop.clone(), TaskTracker::new());
        let public = http::public(&shared, config, listeners.ingest.is_none());
        let certificate = certificate(config).map_err(StartError)?;
        let tls = certificate.as_ref().map(Certificate::acceptor).transpose();
        let tls = tls.map_err(StartError)?;
        if let Some(certificate) = certificate {
            tasks.spawn(certificate.keep_fresh());
        }
        for (listener, service) in services(listeners, &shared, config, tls.as_ref()) {
            tasks.spawn(listener.serve(service, connections.clone(), stop.clone()));
        }
        if let Some(path) = &config.server.ports_file.0 {
            write_ports(path, &ports).map_err(|error| {
                StartError(format!("cannot write {} (--ports-file): {error}", path.display()))
            })?;
        }
        announce(&ports, config, &shared);
        shared.readiness.set(true);
        let meter = Arc::clone(&shared.meters.public);
        let Shared { readiness, drain, .. } = shared;
        let entry = Shutdown { readiness, drain, stop, sessions, connections, tasks };
        let server = &config.server;
        let drain_time = Duration::from_millis(server.drain_ms);
        let grace = server.shutdown_grace_ms.0;
        let head_timeout = server.head_timeout_ms.0;
        Ok(Self { ports, entry, drain_time, grace, public, head_timeout, meter })
    }

    /// A connection to the public listener that goes through memory, `bytes_max` of them in each
    /// direction: for more clients than a process may have sockets. They seem to come from `from`.
    pub fn connect(&self, from: SocketAddr, bytes_max: usize) -> tokio::io::DuplexStream {
        let (ours, theirs) = tokio::io::duplex(bytes_max);
        let meter = Arc::new(ConnectionMeter::new(&self.meter, None));
        let head_timeout = self.head_timeout;
        let connection = Connection { peer: from, head_timeout, meter: Arc::clone(&meter) };
        let (router, stop) = (self.public.clone(), self.entry.stop.clone());
        self.entry.connections.spawn(connection.serve(Metered::new(ours, meter), router, stop));
        theirs
    }

    /// The addresses in use.
    pub const fn ports(&self) -> Ports {
        self.ports
    }

    /// Returns when the operator wants this server to drain; then it is to be stopped.
    pub async fn drained(&self) {
        self.entry.drain.cancelled().await;
    }

    /// Stops: is not ready for a while, then takes no more connections, sends viewers away and lets
    /// requests end.
    pub async fn stop(self) {
        let Shutdown { readiness, stop, sessions, connections, mut tasks, .. } = self.entry;
        readiness.set(false);
        tokio::time::sleep(self.drain_time).await;
        stop.cancel();
        connections.close();
        let ended = async {
            sessions.stop().await;
            connections.wait().await;
        };
        if tokio::time::timeout(self.grace, ended).await.is_err() {
            tracing::info!(open = connections.len(), "connections are cut");
        }
        tasks.shutdown().await;
    }
}

/// The rules of admission, with the keys of a key set if it can be read at once.
async fn admission(config: &Config, stun: &[SocketAddr]) -> Result<Arc<Admission>, StartError> {
    let path = config.server.data_dir.join("join.key");
    let secret = admission::own_secret(&path)
        .map_err(|error| StartError(format!("cannot read or make {}: {error}", path.display())))?;
    let admission = Admission::new(config, &secret, stun).map_err(StartError)?;
    admission.keys.refresh().await;
    Ok(Arc::new(admission))
}

/// What the operator's page is made of.
fn sources(shared: &Shared) -> dashboard::Sources {
    dashboard::Sources {
        origin: Arc::clone(&shared.origin),
        metrics: Arc::clone(&shared.metrics),
        meters: Arc::clone(&shared.meters),
        sessions: shared.sessions.clone(),
        upstreams: Arc::clone(&shared.upstreams),
    }
}

/// Says where it listens and what is where.
fn announce(ports: &Ports, config: &Config, shared: &Shared) {
    tracing::info!(
        listen = %ports.listen,
        ingest = ?ports.ingest_listen,
        mirror = ?ports.mirror_listen,
        admin = ?ports.admin_listen,
        "listening"
    );
    for upstream in &config.upstream.urls {
        let viewers = format!("http://{}/live/{}/PATH?QUERY", ports.listen, upstream.name);
        tracing::info!(upstream = %upstream.base, viewers, "stands before an upstream");
    }
    for stream in shared.origin.streams() {
        let page = cli::page_url(ports.listen, stream.name.as_str());
        tracing::info!(stream = %stream.name, page, "the viewer's page");
    }
    if let Some(admin) = ports.admin_listen {
        tracing::info!(dashboard = cli::dashboard_url(admin), "the operator's page");
    }
}

/// The certificate that is named, if one is.
fn certificate(config: &Config) -> Result<Option<Arc<Certificate>>, String> {
    let (chain, key) = (&config.server.tls_certificate.0, &config.server.tls_key.0);
    let (Some(chain), Some(key)) = (chain, key) else { return Ok(None) };
    Certificate::load(chain.clone(), key.clone()).map(Some)
}

/// What is served where.
fn services(
    listeners: Listeners,
    shared: &Shared,
    config: &Config,
    tls: Option<&TlsAcceptor>,
) -> impl Iterator<Item = (Listener, Service)> {
    let connections_max = config.server.connections_max.0;
    let service = |router, meter: &Arc<ListenerMeter>| Service {
        router,
        meter: Arc::clone(meter),
        connections_max,
        tls: None,
        head_timeout: config.server.head_timeout_ms.0,
    };
    let outside = |service: Service| Service { tls: tls.cloned(), ..service };
    let meters = &shared.meters;
    let ingest_apart = listeners.ingest.is_some();
    let public = outside(service(http::public(shared, config, !ingest_apart), &meters.public));
    let ingest = outside(service(http::ingest(shared, config), &meters.ingest));
    let mirror = service(http::mirror(shared, config), &meters.mirror);
    let admin = service(http::admin(shared, config), &meters.admin);
    [
        (Some(listeners.public), public),
        (listeners.ingest, ingest),
        (listeners.mirror, mirror),
        (listeners.admin, admin),
    ]
    .into_iter()
    .filter_map(|(listener, service)| Some((listener?, service)))
}

/// Writes the addresses so that a reader sees all of them or no file.
fn write_ports(path: &Path, ports: &Ports) -> std::io::Result<()> {
    let json = serde_json::to_vec(ports).map_err(std::io::Error::other)?;
    let mut aside = path.as_os_str().to_owned();
    aside.push(".part");
    std::fs::write(&aside, json)?;
    std::fs::rename(&aside, path)
}
