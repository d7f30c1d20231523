//! The streams that this agent's players watch: one task per stream, found by URL.
//!
//! Rule: a stream's task owns its engine by value; everybody else sends it commands through a
//! bounded channel and holds no lock while waiting. Streams do not know each other.

mod address;
mod faults;
mod playlists;
mod session;
mod socket;
mod task;
mod urls;
mod viewers;
mod wanted;

pub(crate) use address::StreamAddress;
pub(crate) use playlists::Answer;
pub(crate) use urls::object_at;

use crate::clock::Clock;
use crate::origin::{OriginClient, PlaylistText};
use crate::status::{StreamStatus, Sums};
use crate::tls::Tls;
use crate::token::Tokens;
use bytes::Bytes;
use shoal_peer::{ByteRange, OriginFailure, RequestId};
use shoal_wire::{BitRate, ObjectId, ShareMode};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use url::Url;

/// Commands that wait for one stream's task: its players' requests, a few at a time.
const COMMANDS_MAX: usize = 128;
/// Streams at once: one viewer watches a few.
const STREAMS_MAX: usize = 32;
/// How long a stream's task may take to answer for the status.
const STATUS_TIMEOUT: Duration = Duration::from_secs(1);

/// What the viewer has set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) share: ShareMode,
    pub(crate) upload_cap: Option<BitRate>,
    /// Flip bytes in every N-th chunk message; only with `fault-injection`.
    pub(crate) corrupt_every: Option<NonZeroU32>,
}

/// What a stream's task can be asked.
#[derive(Debug)]
pub(crate) enum Command {
    /// A player wants an object.
    Object {
        id: RequestId,
        object: ObjectId,
        range: ByteRange,
        url: Url,
        to: mpsc::Sender<ObjectEvent>,
    },
    /// It gave up.
    Cancel { id: RequestId },
    /// A player wants a media playlist.
    Playlist { url: Url, reply: oneshot::Sender<Answer> },
    /// The proxy got this playlist from the origin.
    PlaylistSeen { url: Url, playlist: Arc<PlaylistText> },
    /// Figures.
    Status { reply: oneshot::Sender<StreamStatus> },
    /// Say goodbye and end.
    Leave,
}

/// The answer to a player's request for an object, piece by piece.
#[derive(Debug)]
pub(crate) enum ObjectEvent {
    /// The length of the whole object, if it is known.
    Started(Option<u32>),
    Data(Bytes),
    Done,
    Failed(OriginFailure),
}

/// The way to a stream's task.
#[derive(Clone, Debug)]
pub(crate) struct StreamHandle {
    pub(crate) base: Arc<str>,
    pub(crate) commands: mpsc::Sender<Command>,
}

/// All streams.
#[derive(Debug)]
pub(crate) struct Streams {
    settings: Settings,
    origin: OriginClient,
    tls: Tls,
    tokens: Tokens,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    live: BTreeMap<Arc<str>, StreamHandle>,
    tasks: tokio::task::JoinSet<()>,
    /// Of streams that were left.
    ended: Sums,
    closing: bool,
}

impl Streams {
    pub(crate) fn new(
        settings: Settings,
        origin: OriginClient,
        tls: Tls,
        tokens: Tokens,
    ) -> Arc<Self> {
        let (clock, state) = (Clock::new(), Mutex::default());
        Arc::new(Self { settings, origin, tls, tokens, clock, state })
    }

    /// The stream that `url` belongs to.
    pub(crate) fn find(&self, url: &Url) -> Option<StreamHandle> {
        let state = self.lock();
        let mut live = state.live.values().filter(|handle| !handle.commands.is_closed());
        live.find(|handle| url.as_str().starts_with(&*handle.base)).cloned()
    }

    /// The stream at `address`, joined if it is not yet. None if there are too many.
    pub(crate) fn join(self: &Arc<Self>, address: StreamAddress) -> Option<StreamHandle> {
        let mut state = self.lock();
        while state.tasks.try_join_next().is_some() {}
        let known = state.live.get(address.base.as_str());
        if let Some(handle) = known.filter(|handle| !handle.commands.is_closed()) {
            return Some(handle.clone());
        }
        if state.live.len() >= STREAMS_MAX || state.closing {
            return None;
        }
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let base: Arc<str> = address.base.as_str().into();
        let handle = StreamHandle { base: Arc::clone(&base), commands };
        state.live.insert(Arc::clone(&base), handle.clone());
        let means = task::Means {
            settings: self.settings,
            origin: self.origin.clone(),
            tls: self.tls.clone(),
            tokens: self.tokens.clone(),
            clock: self.clock,
        };
        let task = task::run(address, means, inbox);
        let streams = Arc::clone(self);
        state.tasks.spawn(async move {
            let last = task.await;
            let mut state = streams.lock();
            state.ended.add(&last);
            if state.live.get(&base).is_some_and(|handle| handle.commands.is_closed()) {
                state.live.remove(&base);
            }
        });
        Some(handle)
    }

    /// Figures of the streams that are watched.
    pub(crate) async fn status(&self) -> Vec<StreamStatus> {
        let handles: Vec<_> = self.lock().live.values().cloned().collect();
        let mut all = Vec::with_capacity(handles.len());
        for handle in handles {
            let (reply, answer) = oneshot::channel();
            if handle.commands.send(Command::Status { reply }).await.is_err() {
                continue;
            }
            if let Ok(Ok(status)) = tokio::time::timeout(STATUS_TIMEOUT, answer).await {
                all.push(status);
            }
        }
        all
    }

    /// Sums over streams that were left.
    pub(crate) fn ended(&self) -> Sums {
        self.lock().ended.clone()
    }

    /// Says goodbye everywhere, and waits until it is said.
    pub(crate) async fn leave(&self) {
        let (handles, mut tasks) = {
            let mut state = self.lock();
            state.closing = true;
            let handles: Vec<_> = state.live.values().cloned().collect();
            (handles, std::mem::take(&mut state.tasks))
        };
        for handle in handles {
            // A task that has ended needs no goodbye.
            let _ = handle.commands.send(Command::Leave).await;
        }
        while tasks.join_next().await.is_some() {}
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
