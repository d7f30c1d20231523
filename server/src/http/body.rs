//! Response bodies that count what is taken of them.
//!
//! Rule: bytes count when the connection takes them, not when the request comes: a viewer that goes
//! away half-way costs half. At most one piece more than was written is counted.

use crate::net::ListenerMeter;
use crate::origin::object::{StoredObject, Traffic};
use bytes::Bytes;
use futures_util::Stream;
use hyper::body::{Body, Frame, SizeHint};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

/// Bytes handed over at once: few enough to count finely, enough for one write.
const PIECE_BYTES: usize = 32 * 1024;

/// What a body's bytes count as.
#[derive(Clone, Debug)]
pub(crate) enum Counted {
    /// Bytes of a segment or an init section; for viewers, per object and per stream too.
    Media(Arc<ListenerMeter>, Option<(Arc<Traffic>, Arc<AtomicU64>)>),
    /// Bytes of a playlist or of a digest.
    Playlist(Arc<ListenerMeter>),
}

impl Counted {
    fn add(&self, bytes: usize) {
        let bytes = bytes as u64;
        match self {
            Self::Media(meter, traffic) => {
                meter.media_bytes.fetch_add(bytes, Ordering::Relaxed);
                if let Some((object, stream)) = traffic {
                    object.add(bytes);
                    stream.fetch_add(bytes, Ordering::Relaxed);
                }
            }
            Self::Playlist(meter) => {
                meter.playlist_bytes.fetch_add(bytes, Ordering::Relaxed);
            }
        }
    }
}

/// A body of known length.
pub(crate) struct CountedBody {
    source: Source,
    left: u64,
    counted: Counted,
}

enum Source {
    Memory(Bytes),
    File(Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>),
}

impl CountedBody {
    /// All of `bytes`.
    pub(crate) fn whole(bytes: Bytes, counted: Counted) -> Self {
        Self { left: bytes.len() as u64, source: Source::Memory(bytes), counted }
    }

    /// The bytes from `first` to `last` of an object.
    pub(crate) async fn part(
        object: &StoredObject,
        (first, last): (u64, u64),
        counted: Counted,
    ) -> io::Result<Self> {
        let left = last + 1 - first;
        let index = |at: u64| usize::try_from(at).map_err(io::Error::other);
        let source = match object.cached() {
            Some(bytes) => Source::Memory(bytes.slice(index(first)?..index(last + 1)?)),
            None => {
                let mut file = tokio::fs::File::open(&object.at.path).await?;
                file.seek(io::SeekFrom::Start(object.at.offset + first)).await?;
                let pieces = ReaderStream::with_capacity(file.take(left), PIECE_BYTES);
                Source::File(Box::pin(pieces))
            }
        };
        Ok(Self { source, left, counted })
    }
}

impl Body for CountedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let piece = match &mut self.source {
            Source::Memory(bytes) if bytes.is_empty() => None,
            Source::Memory(bytes) => Some(Ok(bytes.split_to(bytes.len().min(PIECE_BYTES)))),
            Source::File(pieces) => match pieces.as_mut().poll_next(cx) {
                Poll::Ready(piece) => piece,
                Poll::Pending => return Poll::Pending,
            },
        };
        if let Some(Ok(bytes)) = &piece {
            self.left = self.left.saturating_sub(bytes.len() as u64);
            self.counted.add(bytes.len());
        }
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
