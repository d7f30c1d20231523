//! Counts the bytes of a listener's connections where they are written.
//!
//! Rule: what the socket took is counted, once, whoever wrote it: bodies, headers, WebSocket
//! frames. It counts for what the connection was last asked for, heads and all. A peer that takes
//! nothing for too long is cut off here; an encoder that hears no answer any more is read to its end.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};

/// A connection that keeps us waiting for so long, while it takes fewer than [`WRITE_BYTES_MIN`], is
/// closed: longer than any retransmission that succeeds, and short enough to free what it holds.
const WRITE_STALL_MAX: Duration = Duration::from_secs(60);
/// 9 kbit/s over that time: no viewer could play from it.
const WRITE_BYTES_MIN: usize = 64 * 1024;

/// All connections of one listener.
#[derive(Debug, Default)]
pub(crate) struct ListenerMeter {
    pub(crate) sent_bytes: AtomicU64,
    pub(crate) received_bytes: AtomicU64,
    /// Part of `sent_bytes` that went over connections after they became WebSockets.
    pub(crate) control_bytes: AtomicU64,
    /// Body bytes of segments and init sections.
    pub(crate) media_bytes: AtomicU64,
    /// Body bytes of playlists.
    pub(crate) playlist_bytes: AtomicU64,
    /// Part of `sent_bytes` that answered requests for pages and what they load, heads included.
    pub(crate) page_bytes: AtomicU64,
    pub(crate) connections: AtomicUsize,
    /// Connections closed because their first request did not come.
    pub(crate) slow_heads: AtomicU64,
    /// Connections closed because they took nothing, or hardly anything.
    pub(crate) slow_readers: AtomicU64,
}

impl ListenerMeter {
    pub(crate) fn read(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }
}

/// What a connection's bytes count for beside its listener.
#[derive(Clone, Debug, Default)]
pub(crate) enum Account {
    /// Nothing of its own.
    #[default]
    None,
    /// The listener's pages.
    Page,
    /// A stream.
    Stream(Arc<AtomicU64>),
}

/// One connection.
#[derive(Debug)]
pub(crate) struct ConnectionMeter {
    listener: Arc<ListenerMeter>,
    is_control: AtomicBool,
    is_push: AtomicBool,
    account: Mutex<Account>,
    /// Held as long as anybody holds the socket, so a WebSocket counts as a connection too.
    _permit: Option<OwnedSemaphorePermit>,
}

impl ConnectionMeter {
    pub(crate) fn new(listener: &Arc<ListenerMeter>, permit: Option<OwnedSemaphorePermit>) -> Self {
        listener.connections.fetch_add(1, Ordering::Relaxed);
        let (is_control, is_push) = (AtomicBool::new(false), AtomicBool::new(false));
        let account = Mutex::new(Account::None);
        Self { listener: Arc::clone(listener), is_control, is_push, account, _permit: permit }
    }

    /// What is written from now on counts for `account`. A client asks again only when it has all
    /// of the last answer, so no answer's end is counted for the next request.
    pub(crate) fn counts_for(&self, account: Account) {
        *self.account.lock().unwrap_or_else(PoisonError::into_inner) = account;
    }

    /// From now on the connection is a WebSocket.
    pub(crate) fn becomes_control(&self) {
        self.is_control.store(true, Ordering::Relaxed);
    }

    /// An encoder pushes over it. One that exits without reading our answers resets the connection;
    /// what it sent before that is still to be read, so answers that cannot be written are dropped.
    pub(crate) fn becomes_push(&self) {
        self.is_push.store(true, Ordering::Relaxed);
    }

    /// The head of its first request did not come in time.
    pub(crate) fn refuse_head(&self) {
        self.listener.slow_heads.fetch_add(1, Ordering::Relaxed);
    }

    fn wrote(&self, bytes: usize) {
        let bytes = bytes as u64;
        self.listener.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
        if self.is_control.load(Ordering::Relaxed) {
            self.listener.control_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        match &*self.account.lock().unwrap_or_else(PoisonError::into_inner) {
            Account::None => {}
            Account::Page => {
                self.listener.page_bytes.fetch_add(bytes, Ordering::Relaxed);
            }
            Account::Stream(counter) => {
                counter.fetch_add(bytes, Ordering::Relaxed);
            }
        }
    }
}

impl Drop for ConnectionMeter {
    fn drop(&mut self) {
        self.listener.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection whose bytes are counted.
pub(crate) struct Metered<S> {
    socket: S,
    meter: Arc<ConnectionMeter>,
    /// Runs while the peer takes nothing.
    stall: Option<Pin<Box<Sleep>>>,
    /// How long it has kept us waiting, and what it took in between.
    waited: Duration,
    taken: usize,
}

impl<S> Metered<S> {
    pub(crate) const fn new(socket: S, meter: Arc<ConnectionMeter>) -> Self {
        Self { socket, meter, stall: None, waited: Duration::ZERO, taken: 0 }
    }

    /// What became of a write of `bytes`.
    fn after_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: usize,
        poll: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match poll {
            Poll::Ready(Err(_)) if self.meter.is_push.load(Ordering::Relaxed) => {
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(result) => {
                if let Some(stall) = self.stall.take() {
                    let left = stall.deadline().saturating_duration_since(Instant::now());
                    self.waited = WRITE_STALL_MAX.saturating_sub(left);
                }
                if let Ok(bytes) = result {
                    self.meter.wrote(bytes);
                    self.taken += bytes;
                }
                if self.taken >= WRITE_BYTES_MIN {
                    (self.taken, self.waited) = (0, Duration::ZERO);
                }
                Poll::Ready(result)
            }
            Poll::Pending => {
                let left = WRITE_STALL_MAX.saturating_sub(self.waited);
                let stall = self.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(left)));
                match stall.as_mut().poll(cx) {
                    Poll::Ready(()) => {
                        self.meter.listener.slow_readers.fetch_add(1, Ordering::Relaxed);
                        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
                    }
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.socket).poll_read(cx, buf);
        let read = (buf.filled().len() - before) as u64;
        self.meter.listener.received_bytes.fetch_add(read, Ordering::Relaxed);
        poll
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.after_write(cx, bytes.len(), poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        let bytes = slices.iter().map(|slice| slice.len()).sum();
        self.after_write(cx, bytes, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test(start_paused = true)]
    async fn bytes_are_counted_and_a_stalled_peer_is_cut_off() {
        let listener = Arc::new(ListenerMeter::default());
        let meter = Arc::new(ConnectionMeter::new(&listener, None));
        let (near, mut far) = tokio::io::duplex(100);
        let mut near = Metered::new(near, Arc::clone(&meter));
        near.write_all(&[0; 40]).await.unwrap();
        meter.becomes_control();
        let stream = Arc::new(AtomicU64::new(0));
        meter.counts_for(Account::Stream(Arc::clone(&stream)));
        near.write_all(&[0; 20]).await.unwrap();
        meter.counts_for(Account::Page);
        near.write_all(&[0; 10]).await.unwrap();
        meter.counts_for(Account::None);
        far.write_all(&[0; 7]).await.unwrap();
        near.read_exact(&mut [0; 7]).await.unwrap();
        assert_eq!(ListenerMeter::read(&listener.sent_bytes), 70);
        assert_eq!(ListenerMeter::read(&listener.control_bytes), 30);
        assert_eq!(ListenerMeter::read(&listener.received_bytes), 7);
        assert_eq!(ListenerMeter::read(&stream), 20);
        assert_eq!(ListenerMeter::read(&listener.page_bytes), 10);
        let error = near.write_all(&[0; 100]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(ListenerMeter::read(&listener.sent_bytes), 100);
        assert_eq!(ListenerMeter::read(&listener.slow_readers), 1);
        drop(far);
        assert!(near.write_all(&[0; 10]).await.is_err());
        meter.becomes_push();
        near.write_all(&[0; 10]).await.unwrap();
        assert_eq!(ListenerMeter::read(&listener.sent_bytes), 100, "nobody took it");
        drop((near, meter));
        assert_eq!(listener.connections.load(Ordering::Relaxed), 0);
    }
    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_a_byte_now_and_then_is_cut_off_too() {
        let listener = Arc::new(ListenerMeter::default());
        let meter = Arc::new(ConnectionMeter::new(&listener, None));
        let (near, mut far) = tokio::io::duplex(100);
        let mut near = Metered::new(near, meter);
        let began = Instant::now();
        let drip = async {
            loop {
                tokio::time::sleep(Duration::from_secs(20)).await;
                far.read_exact(&mut [0; 10]).await.unwrap();
            }
        };
        let error = tokio::select! {
            result = near.write_all(&[0; 1000]) => result.unwrap_err(),
            () = drip => unreachable!("it goes on for ever"),
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), 60);
    }
}
