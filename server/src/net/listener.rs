//! A listener: accepts connections and serves HTTP/1.1 on each, until it is told to stop.
//!
//! Rule: a client that closes its sending side after a request is still answered (encoders do so
//! without waiting for the answer). Connections are limited; more wait in the accept queue.

use super::meter::{Account, ConnectionMeter, ListenerMeter, Metered};
use axum::Router;
use axum::body::Body;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// Time for the head of a later request to come, and for an idle connection to ask again: encoders
/// with segments of 30 s keep theirs.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// Connections that may wait to be taken; the system takes no more than its `somaxconn`, which is
/// that by default. Who finds the queue full waits for a second, and for twice as long each time: of
/// 128 places, as many as there are otherwise, a crowd that joins leaves none.
const ACCEPT_QUEUE: u32 = 4096;
/// Time for a client to agree on TLS.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Most bytes that wait in memory to be written to one connection.
const WRITE_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Pause after a failed accept (no file descriptors left), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound socket.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: TcpListener,
    /// Its address, with the port that the system chose.
    pub(crate) address: SocketAddr,
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BindError {
    #[error("{address} is in use by another program: choose another with --{flag} IP:PORT")]
    InUse { address: SocketAddr, flag: &'static str },
    #[error("cannot listen on {address}: {error} (choose another with --{flag} IP:PORT)")]
    Other { address: SocketAddr, flag: &'static str, error: io::Error },
}

/// What is served on a listener.
pub(crate) struct Service {
    pub(crate) router: Router,
    pub(crate) meter: Arc<ListenerMeter>,
    pub(crate) connections_max: usize,
    /// Speaks TLS alone, if there is one.
    pub(crate) tls: Option<TlsAcceptor>,
    /// Time for the head of a connection's first request.
    pub(crate) head_timeout: Duration,
}

impl Listener {
    /// Binds `address`; `flag` is the one that changes it.
    pub(crate) fn bind(address: SocketAddr, flag: &'static str) -> Result<Self, BindError> {
        let bound = || {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            // A server that begins again finds its address free; elsewhere it means another thing.
            #[cfg(unix)]
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            let socket = socket.listen(ACCEPT_QUEUE)?;
            let address = socket.local_addr()?;
            Ok(Self { socket, address })
        };
        bound().map_err(|error: io::Error| {
            if error.kind() == io::ErrorKind::AddrInUse {
                BindError::InUse { address, flag }
            } else {
                BindError::Other { address, flag, error }
            }
        })
    }

    /// Serves until `stop`; its connections run in `tasks` and end by themselves after it.
    pub(crate) async fn serve(self, service: Service, tasks: TaskTracker, stop: CancellationToken) {
        let permits = Arc::new(Semaphore::new(service.connections_max));
        loop {
            let accept = async {
                let permit = Arc::clone(&permits).acquire_owned().await;
                (permit, self.socket.accept().await)
            };
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = accept => accepted,
            };
            match accepted {
                (Ok(permit), Ok((socket, peer))) => {
                    let meter = Arc::new(ConnectionMeter::new(&service.meter, Some(permit)));
                    let router = service.router.clone();
                    let head_timeout = service.head_timeout;
                    let connection = Connection { peer, head_timeout, meter: Arc::clone(&meter) };
                    let stop = stop.clone();
                    // Chunks of a response must not wait for the acknowledgement of those before.
                    let _ = socket.set_nodelay(true);
                    let socket = Metered::new(socket, meter);
                    match service.tls.clone() {
                        None => tasks.spawn(connection.serve(socket, router, stop)),
                        Some(tls) => tasks.spawn(async move {
                            let hands = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(socket));
                            match hands.await {
                                Ok(Ok(socket)) => connection.serve(socket, router, stop).await,
                                Ok(Err(error)) => tracing::trace!(%error, "no TLS came about"),
                                Err(_) => tracing::trace!("no TLS came about in time"),
                            }
                        }),
                    };
                }
                (Ok(_), Err(error)) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                (Err(_), _) => return,
            }
        }
    }
}

/// One connection, whatever its bytes go over.
pub(crate) struct Connection {
    pub(crate) peer: SocketAddr,
    /// Time for the head of its first request.
    pub(crate) head_timeout: Duration,
    pub(crate) meter: Arc<ConnectionMeter>,
}

impl Connection {
    /// Serves until it ends, or soon after `stop`.
    pub(crate) async fn serve(
        self,
        socket: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        router: Router,
        stop: CancellationToken,
    ) {
        let Self { peer, head_timeout, meter } = self;
        let (tag, counts) = (Arc::clone(&meter), Arc::clone(&meter));
        let first = CancellationToken::new();
        let came = first.clone();
        let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            came.cancel();
            let mut request = request.map(Body::new);
            tag.counts_for(Account::None);
            request.extensions_mut().insert(Arc::clone(&tag));
            request.extensions_mut().insert(axum::extract::ConnectInfo(peer));
            router.clone().oneshot(request)
        });
        let io = TokioIo::new(socket);
        let connection = http1::Builder::new()
            .half_close(true)
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(WRITE_BUFFER_BYTES_MAX)
            .serve_connection(io, service)
            .with_upgrades();
        tokio::pin!(connection);
        let head_is_late = async {
            if tokio::time::timeout(head_timeout, first.cancelled()).await.is_ok() {
                std::future::pending::<()>().await;
            }
        };
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = head_is_late => {
                counts.refuse_head();
                return;
            }
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::trace!(%error, "a connection ended");
        }
    }
}
