//! Sessions of viewers with the tracker.
//!
//! Rule: one task owns all trackers by value (`hub`); one task per session owns its socket
//! (`session`). Between them are bounded queues and nothing shared.

mod hub;
mod introductions;
mod links;
mod mappings;
mod outbox;
mod oversight;
mod quality;
mod session;
mod swarm;
mod trace;
mod waiting;

pub(crate) use hub::Hub;
pub(crate) use links::Links;
pub(crate) use mappings::Mappings;
pub(crate) use session::serve;
pub(crate) use swarm::{SwarmStatus, ViewerStatus};
pub(crate) use trace::TraceReport;

use crate::admission::{Bearer, Ticket, ViewersIce};
use crate::config::{Config, HoldoutConfig, TrackerConfig};
use crate::metrics::Metrics;
use crate::origin::Origin;
use outbox::Outbox;
use shoal_tracker::{Forest, Profile};
use shoal_wire::tracker_message::{IceServer, RefuseCode, Resume};
use shoal_wire::{ClientMessage, PeerId, StreamName};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;
use waiting::Waiting;

/// Most commands that wait for the hub: a burst of a few messages from each of a thousand viewers.
/// When it is full, sessions wait and read no more.
const COMMANDS_MAX: usize = 4096;

/// What sessions need.
#[derive(Clone)]
pub(crate) struct SessionEntry {
    hub: mpsc::Sender<Command>,
    origin: Arc<Origin>,
    metrics: Arc<Metrics>,
    config: Arc<TrackerConfig>,
    holdout: HoldoutConfig,
    /// Under which viewers' addresses are hashed.
    origin_key: Arc<[u8; 32]>,
    waiting: Arc<Waiting>,
    /// Sessions that have not ended.
    open: TaskTracker,
}

/// How all swarms do.
#[derive(Debug, Default)]
pub(crate) struct HubStatus {
    /// The operator's switch for all streams.
    pub(crate) peers_enabled: bool,
    pub(crate) swarms: Vec<SwarmStatus>,
}

/// Who was let in.
#[derive(Clone, Debug)]
pub(crate) struct Guest {
    /// The stream that they may join.
    pub(crate) stream: StreamName,
    pub(crate) ticket: Ticket,
    pub(crate) address: IpAddr,
    /// The ICE servers that it is given.
    pub(crate) ice: ViewersIce,
}

/// What the hub is told.
enum Command {
    /// A viewer said hello.
    Join(Box<Joining>),
    /// A viewer said something else.
    Message { stream: StreamName, peer: PeerId, message: ClientMessage },
    /// A session ended.
    Leave { stream: StreamName, peer: PeerId },
    /// The operator asks.
    Status { reply: oneshot::Sender<HubStatus> },
    /// The operator looks at the trees of every stream's largest rendition.
    Forests { reply: oneshot::Sender<Vec<(StreamName, Forest)>> },
    /// The operator switches a stream's peers off, or on again; the answer is whether it exists.
    Peers { stream: StreamName, enabled: bool, reply: oneshot::Sender<bool> },
    /// The operator asks for something else.
    Order(oversight::Order),
    /// The operator switches all streams' peers off, or leaves it to each stream's switch again.
    AllPeers { enabled: bool, reply: oneshot::Sender<()> },
    /// The server stops: send everybody away.
    Stop { reply: oneshot::Sender<()> },
}

struct Joining {
    stream: StreamName,
    bearer: Bearer,
    ice: Vec<IceServer>,
    profile: Profile,
    offers: bool,
    kind: links::Kind,
    /// Where it is from, for bans.
    origin: u64,
    resume: Option<Resume>,
    outbox: Outbox,
    reply: oneshot::Sender<Result<PeerId, Refused>>,
}

/// Why a session is not wanted.
#[derive(Clone, Debug)]
struct Refused {
    code: RefuseCode,
    message: String,
}

impl SessionEntry {
    /// The entry, and the queue that the hub is to read.
    pub(crate) fn new(
        origin: Arc<Origin>,
        metrics: Arc<Metrics>,
        config: &Config,
    ) -> (Self, HubInbox) {
        let (hub, inbox) = mpsc::channel(COMMANDS_MAX);
        let mut origin_key = [0; 32];
        getrandom::fill(&mut origin_key).expect("the system has randomness");
        let entry = Self {
            hub,
            origin,
            metrics,
            config: Arc::new(config.tracker.clone()),
            holdout: config.holdout.clone(),
            origin_key: Arc::new(origin_key),
            waiting: Waiting::new(config.tracker.unjoined_max.0),
            open: TaskTracker::new(),
        };
        (entry, HubInbox(inbox))
    }

    /// How the swarms do; empty while the server stops.
    pub(crate) async fn status(&self) -> HubStatus {
        let (reply, answer) = oneshot::channel();
        if self.hub.send(Command::Status { reply }).await.is_err() {
            return HubStatus::default();
        }
        answer.await.unwrap_or_default()
    }

    /// A bounded look at the trees of every stream that has any; empty while the server stops.
    pub(crate) async fn forests(&self) -> Vec<(StreamName, Forest)> {
        let (reply, answer) = oneshot::channel();
        if self.hub.send(Command::Forests { reply }).await.is_err() {
            return Vec::new();
        }
        answer.await.unwrap_or_default()
    }

    /// Switches the peers of all streams off, or lets each stream's own switch decide again.
    pub(crate) async fn switch_all_peers(&self, enabled: bool) -> bool {
        let (reply, answer) = oneshot::channel();
        if self.hub.send(Command::AllPeers { enabled, reply }).await.is_err() {
            return false;
        }
        answer.await.is_ok()
    }

    /// Switches a stream's peers off, or on again, for all its viewers and those to come; whether
    /// there is such a stream.
    pub(crate) async fn switch_peers(&self, stream: StreamName, enabled: bool) -> bool {
        let (reply, answer) = oneshot::channel();
        if self.hub.send(Command::Peers { stream, enabled, reply }).await.is_err() {
            return false;
        }
        answer.await.unwrap_or(false)
    }

    /// Tells every viewer to come back later, and returns when their sessions have ended.
    pub(crate) async fn stop(&self) {
        let (reply, answer) = oneshot::channel();
        if self.hub.send(Command::Stop { reply }).await.is_ok() {
            // No answer means that it has stopped already.
            let _ = answer.await;
        }
        self.open.close();
        self.open.wait().await;
    }
}

/// What the hub reads.
pub(crate) struct HubInbox(mpsc::Receiver<Command>);
