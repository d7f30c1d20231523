//! Viewers that come and go at a rate.
//!
//! Rule: open loop. Each viewer has a moment at which it is due, whatever became of those before.

use super::shown::Shown;
use super::tally::{Counts, Times};
use super::viewer::{Event, Viewer};
use anyhow::{Context, Result, bail};
use shoal_server::Server;
use shoal_wire::BitRate;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

/// Bytes that a connection through memory holds in each direction: what a small socket buffer does.
const MEMORY_BYTES: usize = 16 * 1024;
/// How long before it is due a viewer reads the playlist.
const LEAD: Duration = Duration::from_secs(1);
/// Time for the last of those that joined to have a plan.
const PLANNED_MAX: Duration = Duration::from_secs(30);
/// A first few that fail end the run: something is wrong with all of them.
const FAILURES_MAX: u64 = 20;

/// How viewers reach the server.
#[derive(Clone, Debug)]
pub(crate) enum Way {
    /// Over TCP.
    Sockets(SocketAddr),
    /// Through the memory of this process.
    Memory(Arc<Server>),
}

/// Viewers that are there, in the order in which they came.
pub(crate) struct Crowd {
    event: Arc<Event>,
    way: Way,
    uploads: Vec<BitRate>,
    leave: VecDeque<oneshot::Sender<()>>,
    tasks: JoinSet<()>,
    joined: u64,
}

/// What a while of joining came to.
pub(crate) struct Joined {
    /// From when the first was due until all had a plan.
    pub(crate) took_s: f64,
    pub(crate) times: Times,
    pub(crate) counts: Counts,
}

impl Crowd {
    /// Nobody yet. Uploads are taken in turn.
    pub(crate) fn new(event: Arc<Event>, way: Way, uploads: Vec<BitRate>) -> Self {
        Self { event, way, uploads, leave: VecDeque::new(), tasks: JoinSet::new(), joined: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.leave.len()
    }

    /// `count` viewers come at `per_second`, and as many of the oldest leave if `replaces`.
    /// `progress` hears how many have come.
    ///
    /// # Errors
    /// If they cannot, or get no plan.
    pub(crate) async fn join(
        &mut self,
        count: usize,
        per_second: f64,
        replaces: bool,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Joined> {
        let before = self.event.tally.counts();
        self.event.tally.take_times();
        let started = Instant::now();
        for i in 0..count {
            let due = started + LEAD + Duration::from_secs_f64(i as f64 / per_second);
            sleep_until(due - LEAD).await;
            self.spawn(due);
            if replaces && let Some(oldest) = self.leave.pop_front() {
                // It may have failed; then it has gone already.
                let _ = oldest.send(());
            }
            while self.tasks.try_join_next().is_some() {}
            if i % 64 == 0 {
                progress(i);
                self.check()?;
            }
        }
        let due = before.first_plans + before.failed + count as u64;
        let until = Instant::now() + PLANNED_MAX;
        let settled = |counts: Counts| counts.first_plans + counts.failed >= due;
        while !settled(self.event.tally.counts()) && Instant::now() < until {
            sleep(Duration::from_millis(5)).await;
            self.check()?;
        }
        let now = self.event.tally.counts();
        Ok(Joined {
            took_s: (started.elapsed() - LEAD).as_secs_f64(),
            times: self.event.tally.take_times(),
            counts: now.since(before),
        })
    }

    /// Those who are there go on for a while.
    pub(crate) async fn stay(&self, time: Duration) -> Counts {
        let before = self.event.tally.counts();
        sleep(time).await;
        self.event.tally.counts().since(before)
    }

    /// All leave.
    pub(crate) async fn leave(mut self) {
        for viewer in self.leave.drain(..) {
            let _ = viewer.send(());
        }
        let all = async { while self.tasks.join_next().await.is_some() {} };
        // Who has not gone by then is cut off with the tasks.
        let _ = tokio::time::timeout(PLANNED_MAX, all).await;
    }

    fn check(&self) -> Result<()> {
        let tally = &self.event.tally;
        let failed = tally.failed.load(Ordering::Relaxed);
        if failed >= FAILURES_MAX && failed * 10 > self.joined {
            let reason = tally.reason().unwrap_or_default();
            bail!("{failed} of {} viewers failed; the first: {reason}", self.joined);
        }
        Ok(())
    }

    fn spawn(&mut self, due: Instant) {
        let (leave, left) = oneshot::channel();
        self.leave.push_back(leave);
        let number = self.joined;
        self.joined += 1;
        let upload = self.uploads[usize::try_from(number).unwrap_or(0) % self.uploads.len()];
        let (event, way) = (Arc::clone(&self.event), self.way.clone());
        let token = event.signer.as_ref().map(|signer| signer.sign(number));
        let coming = Coming { event, way, upload, token, from: address(number), due };
        let event = Arc::clone(&self.event);
        self.tasks.spawn(async move {
            if let Err(error) = coming.watch(left).await {
                event.tally.fail(|| format!("{error:#}"));
            }
        });
    }
}

/// What a viewer needs to come.
struct Coming {
    event: Arc<Event>,
    way: Way,
    upload: BitRate,
    token: Option<String>,
    from: SocketAddrV4,
    due: Instant,
}

impl Coming {
    /// Reads the playlist before it is due, and joins when it is.
    async fn watch(self, leave: oneshot::Receiver<()>) -> Result<()> {
        let playlist = &self.event.playlist;
        let token = self.token.as_deref();
        let shown = match &self.way {
            Way::Memory(server) => {
                let stream = server.connect(self.from.into(), MEMORY_BYTES);
                Shown::read(stream, playlist, token).await?
            }
            Way::Sockets(to) => {
                Shown::read(connect(*to, self.from).await?, playlist, token).await?
            }
        };
        sleep_until(self.due).await;
        let Self { event, way, upload, from, due, token: _ } = self;
        let viewer = Viewer { event, upload, shown, due };
        match way {
            Way::Memory(server) => {
                viewer.watch(server.connect(from.into(), MEMORY_BYTES), leave).await
            }
            Way::Sockets(to) => viewer.watch(connect(to, from).await?, leave).await,
        }
    }
}

async fn connect(to: SocketAddr, from: SocketAddrV4) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if to.ip().is_loopback() {
        socket.bind(from.into()).context("an address of this machine")?;
    }
    let stream = socket.connect(to).await.context("cannot connect")?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Where a viewer comes from: on loopback, so that they are in many networks; 16 in each.
fn address(number: u64) -> SocketAddrV4 {
    let [.., b, c] = u32::try_from(number / 16 % 65_536).unwrap_or(0).to_be_bytes();
    let d = u8::try_from(number % 16).unwrap_or(0) + 1;
    SocketAddrV4::new(Ipv4Addr::new(127, b.saturating_add(1), c, d), 0)
}
