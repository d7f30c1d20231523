//! Tokio for `webrtc`, with large socket buffers and a count of what leaves.
//!
//! Rule: everything is delegated to the crate's own Tokio runtime; only sockets are touched.
//!
//! It schedules nothing and keeps no packet.

use super::meter::Meter;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, RecvMeta, Runtime,
    TokioRuntime, Transmit,
};

/// Room for 30 ms at 1 Gbit/s. The system may grant less (`net.core.rmem_max`).
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// Longest sleep of the crate's driver while a link opens.
///
/// The driver collects output before it hands on events, so what the end of one handshake starts
/// (the DTLS hello, SCTP's INIT, the channel's OPEN) leaves only after the next packet or timer.
/// That timer is ICE's, every 200 ms: opening takes 420 ms on loopback without this bound, a few
/// milliseconds per stage with it. An early timer is harmless, as every stage looks at the time.
const OPENING_SLEEP_MAX: Duration = Duration::from_millis(5);

/// One link's runtime.
#[derive(Debug)]
pub(crate) struct LinkRuntime {
    tokio: TokioRuntime,
    meter: Arc<Meter>,
    opening: AtomicBool,
}

impl LinkRuntime {
    pub(crate) fn new(meter: Arc<Meter>) -> Self {
        Self { tokio: TokioRuntime, meter, opening: AtomicBool::new(true) }
    }

    /// The link is open or given up: from now on the driver sleeps as long as it wants to.
    pub(crate) fn settle(&self) {
        self.opening.store(false, Ordering::Release);
    }
}

impl Runtime for LinkRuntime {
    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) -> Box<dyn JoinHandle> {
        self.tokio.spawn(future)
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let buffers = socket2::SockRef::from(&socket);
        let set = buffers
            .set_recv_buffer_size(SOCKET_BUFFER_BYTES)
            .and_then(|()| buffers.set_send_buffer_size(SOCKET_BUFFER_BYTES));
        if let Err(error) = set {
            tracing::debug!(%error, "socket buffers stay as they are");
        }
        let inner = self.tokio.wrap_udp_socket(socket)?;
        Ok(Arc::new(MeteredSocket { inner, meter: Arc::clone(&self.meter) }))
    }

    fn wrap_tcp_listener(
        &self,
        listener: std::net::TcpListener,
    ) -> io::Result<Arc<dyn AsyncTcpListener>> {
        self.tokio.wrap_tcp_listener(listener)
    }

    fn connect_tcp<'a>(
        &'a self,
        remote_addr: SocketAddr,
    ) -> Pin<Box<dyn Future<Output = io::Result<Arc<dyn AsyncTcpStream>>> + Send + 'a>> {
        self.tokio.connect_tcp(remote_addr)
    }

    fn resolve_host<'a>(
        &'a self,
        host: &'a str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
        self.tokio.resolve_host(host)
    }

    fn now(&self) -> Instant {
        self.tokio.now()
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        let opening = self.opening.load(Ordering::Acquire);
        self.tokio.sleep(if opening { duration.min(OPENING_SLEEP_MAX) } else { duration })
    }

    fn interval(&self, period: Duration) -> Box<dyn AsyncInterval> {
        self.tokio.interval(period)
    }

    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        self.tokio.block_on(future);
    }

    fn yield_now(&self) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        self.tokio.yield_now()
    }

    fn name(&self) -> &'static str {
        "tokio, metered"
    }
}

/// A socket that tells the link's meter what leaves.
#[derive(Debug)]
struct MeteredSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    meter: Arc<Meter>,
}

impl AsyncUdpSocket for MeteredSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_gso_segments(&self) -> usize {
        self.inner.max_gso_segments()
    }

    fn max_gro_segments(&self) -> usize {
        self.inner.max_gro_segments()
    }

    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        let sent = ready!(self.inner.poll_send(cx, transmit));
        if sent.is_ok() {
            self.meter.transmitted(transmit.contents, transmit.segment_size);
        }
        Poll::Ready(sent)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.inner.poll_recv(cx, bufs, meta)
    }
}
