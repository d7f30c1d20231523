//! The task of one link: it opens it, moves messages both ways, and takes it down.
//!
//! Rule: one task holds the channel and all that belongs to it, and ends when its owner lets go of
//! it, so a closed link leaves nothing behind.
//!
//! It does not look into messages.

use super::config::LinkConfig;
use super::links::{CloseReason, FailReason, Tagged};
use super::meter::Meter;
use super::session::{News, Session, ended};
use bytes::{Bytes, BytesMut};
use shoal_wire::PeerId;
use shoal_wire::peer_message::MESSAGE_BYTES_MAX;
use shoal_wire::tracker_message::Signal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use webrtc::data_channel::{DataChannel, DataChannelEvent};
use webrtc::peer_connection::RTCPeerConnectionState;

/// How long what is queued may still leave after the owner closed a link: a `bye`, mostly.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(250);

/// How often that is looked at.
const FLUSH_INTERVAL: Duration = Duration::from_millis(5);

/// How long the crate may take to say good-bye to the other side.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How often SCTP is asked what is acknowledged while something is to be sent; see `meter.rs`.
const ACKNOWLEDGED_INTERVAL: Duration = Duration::from_millis(50);

/// Candidates that wait for the description they belong to. A machine has few interfaces.
const CANDIDATES_MAX: usize = 32;

/// From the owner.
pub(crate) enum Command {
    Signal(Signal),
    Message(Bytes),
}

/// To the owner.
pub(crate) enum Report {
    Signal(Signal),
    Opened,
    Message(Bytes),
    Drained,
    Failed(FailReason),
    Closed(CloseReason),
}

/// Where a link's reports go.
pub(crate) struct Outbox {
    pub(crate) peer: PeerId,
    pub(crate) generation: u64,
    pub(crate) reports: mpsc::Sender<Tagged>,
    pub(crate) drain_told: Arc<AtomicBool>,
}

impl Outbox {
    /// Waits for room. If the owner is gone, so is the interest in it.
    async fn put(&self, report: Report) {
        let tagged = Tagged { peer: self.peer, generation: self.generation, report };
        let _ = self.reports.send(tagged).await;
    }
}

/// Why a link ends.
enum End {
    /// The owner let go of it.
    Owner,
    Failed(FailReason),
    Closed(CloseReason),
}

/// Runs a link from its opening to its end.
pub(crate) async fn run(
    config: Arc<LinkConfig>,
    offer: bool,
    inbox: mpsc::Receiver<Command>,
    outbox: Outbox,
    meter: Arc<Meter>,
) {
    let end = match Session::new(&config, Arc::clone(&meter)).await {
        Ok(session) => {
            let mut link = Link { config, offer, inbox, outbox: &outbox, meter, session };
            let end = link.run().await;
            if timeout(CLOSE_TIMEOUT, link.session.connection.close()).await.is_err() {
                tracing::debug!(peer = %outbox.peer, "the connection did not close in time");
            }
            end
        }
        Err(error) => {
            tracing::warn!(peer = %outbox.peer, %error, "no connection could be set up");
            End::Failed(FailReason::Local)
        }
    };
    match end {
        End::Owner => {}
        End::Failed(reason) => outbox.put(Report::Failed(reason)).await,
        End::Closed(reason) => outbox.put(Report::Closed(reason)).await,
    }
}

struct Link<'a> {
    config: Arc<LinkConfig>,
    offer: bool,
    inbox: mpsc::Receiver<Command>,
    outbox: &'a Outbox,
    meter: Arc<Meter>,
    session: Session,
}

impl Link<'_> {
    async fn run(&mut self) -> End {
        let deadline = Instant::now() + self.config.open_timeout;
        let opened = timeout_at(deadline, self.open()).await;
        self.session.runtime.settle();
        let channel = match opened {
            Ok(Ok(channel)) => channel,
            Ok(Err(end)) => return end,
            Err(_) => return End::Failed(FailReason::Timeout),
        };
        self.outbox.put(Report::Opened).await;
        let end = self.move_messages(&channel).await;
        let _ = timeout(CLOSE_TIMEOUT, channel.close()).await;
        end
    }

    /// Signals back and forth until the channel is open.
    async fn open(&mut self) -> Result<Arc<dyn DataChannel>, End> {
        let mut opening = Opening::default();
        if self.offer {
            opening.channel = Some(self.session.offer().await.map_err(local_fault)?);
            opening.gather_until(self.config.gather_timeout);
        }
        loop {
            tokio::select! {
                command = self.inbox.recv() => match command {
                    Some(Command::Signal(signal)) => self.read(signal, &mut opening).await?,
                    Some(Command::Message(_)) => {}
                    None => return Err(End::Owner),
                },
                news = self.session.news.recv() => match news {
                    Some(news) => self.hear(news, &mut opening).await?,
                    None => return Err(End::Failed(FailReason::Local)),
                },
                () = at(opening.gather_deadline) => self.describe(&mut opening).await?,
                event = poll(opening.channel.as_ref()) => {
                    if matches!(event, Some(DataChannelEvent::OnOpen)) {
                        break;
                    }
                    if matches!(event, None | Some(DataChannelEvent::OnClose)) {
                        return Err(refused());
                    }
                }
                _ = ended(&mut self.session.state) => return Err(End::Failed(FailReason::Unreachable)),
            }
        }
        opening.channel.ok_or_else(refused)
    }

    /// A signal from the other side, while opening.
    async fn read(&mut self, signal: Signal, opening: &mut Opening) -> Result<(), End> {
        let read = match signal {
            Signal::Offer { sdp } if !self.offer && !opening.remote_known => {
                opening.gather_until(self.config.gather_timeout);
                self.session.answer(sdp).await
            }
            Signal::Answer { sdp } if self.offer && !opening.remote_known => {
                self.session.accept(sdp).await
            }
            Signal::Offer { .. } | Signal::Answer { .. } => return Err(refused()),
            Signal::Candidate { candidate, mid } => {
                if opening.remote_known {
                    self.add(candidate, mid).await;
                } else if opening.candidates.len() < CANDIDATES_MAX {
                    opening.candidates.push((candidate, mid));
                }
                return Ok(());
            }
        };
        if let Err(error) = read {
            tracing::debug!(peer = %self.outbox.peer, %error, "its description is of no use");
            return Err(refused());
        }
        opening.remote_known = true;
        for (candidate, mid) in std::mem::take(&mut opening.candidates) {
            self.add(candidate, mid).await;
        }
        Ok(())
    }

    /// Something happened on this side, while opening.
    async fn hear(&mut self, news: News, opening: &mut Opening) -> Result<(), End> {
        match news {
            News::Candidate(candidate) => {
                if opening.described {
                    let (candidate, mid) = (candidate.candidate, candidate.sdp_mid);
                    let signal = Signal::Candidate { candidate, mid };
                    self.outbox.put(Report::Signal(signal)).await;
                }
                Ok(())
            }
            News::Gathered => self.describe(opening).await,
            News::Channel(channel) if opening.channel.is_none() => {
                opening.channel = Some(channel);
                Ok(())
            }
            News::Channel(_) => Err(refused()),
        }
    }

    /// Sends the description with the candidates found so far; later ones follow one by one.
    async fn describe(&mut self, opening: &mut Opening) -> Result<(), End> {
        opening.gather_deadline = None;
        if opening.described {
            return Ok(());
        }
        opening.described = true;
        let signal = self.session.description(self.offer).await;
        self.outbox.put(Report::Signal(signal.ok_or(End::Failed(FailReason::Local))?)).await;
        Ok(())
    }

    async fn add(&self, candidate: String, mid: Option<String>) {
        if let Err(error) = self.session.add(candidate, mid).await {
            tracing::debug!(peer = %self.outbox.peer, %error, "a candidate is of no use");
        }
    }

    /// Both ways at once, until one of them ends.
    async fn move_messages(&mut self, channel: &Arc<dyn DataChannel>) -> End {
        let Session { news, state, .. } = &mut self.session;
        tokio::select! {
            end = write(channel, &mut self.inbox, &self.meter) => end,
            end = read(channel, self.outbox) => end,
            () = tell_drained(channel, self.outbox, &self.meter) => End::Closed(CloseReason::Remote),
            state = ended(state) => {
                let silent = state == RTCPeerConnectionState::Failed;
                End::Closed(if silent { CloseReason::Silent } else { CloseReason::Remote })
            }
            () = second_channel(news) => End::Closed(CloseReason::Misbehaved),
        }
    }
}

/// How far the opening of a link has come.
#[derive(Default)]
struct Opening {
    channel: Option<Arc<dyn DataChannel>>,
    /// The local description was sent.
    described: bool,
    /// When it is sent at the latest.
    gather_deadline: Option<Instant>,
    /// The other side's description was taken.
    remote_known: bool,
    /// Candidates that came before it.
    candidates: Vec<(String, Option<String>)>,
}

impl Opening {
    fn gather_until(&mut self, gather_timeout: Duration) {
        self.gather_deadline = Some(Instant::now() + gather_timeout);
    }
}

/// Hands messages to SCTP, waiting while it holds enough. Signals are late: the way is found.
async fn write(
    channel: &Arc<dyn DataChannel>,
    inbox: &mut mpsc::Receiver<Command>,
    meter: &Meter,
) -> End {
    while let Some(command) = inbox.recv().await {
        let Command::Message(message) = command else {
            continue;
        };
        if channel.writable().await.is_err() {
            return End::Closed(CloseReason::Remote);
        }
        meter.hand(message.len());
        if channel.send(BytesMut::from(message)).await.is_err() {
            return End::Closed(CloseReason::Remote);
        }
    }
    let flushed = async {
        while !meter.is_empty() {
            sleep(FLUSH_INTERVAL).await;
        }
    };
    let _ = timeout(FLUSH_TIMEOUT, flushed).await;
    End::Owner
}

/// Passes messages to the owner; while it does not take them, SCTP's window closes.
async fn read(channel: &Arc<dyn DataChannel>, outbox: &Outbox) -> End {
    while let Some(event) = channel.poll().await {
        if matches!(event, DataChannelEvent::OnClosing | DataChannelEvent::OnClose) {
            break;
        }
        let DataChannelEvent::OnMessage(message) = event else {
            continue;
        };
        let bytes = message.data.len();
        if message.is_string || bytes == 0 || bytes > MESSAGE_BYTES_MAX {
            return End::Closed(CloseReason::Misbehaved);
        }
        outbox.put(Report::Message(message.data.freeze())).await;
    }
    End::Closed(CloseReason::Remote)
}

/// Tells the owner when bytes have left, once until it has taken notice.
async fn tell_drained(channel: &Arc<dyn DataChannel>, outbox: &Outbox, meter: &Meter) {
    loop {
        let asked = async {
            while meter.is_empty() {
                meter.handed().await;
            }
            sleep(ACKNOWLEDGED_INTERVAL).await;
        };
        tokio::select! {
            () = meter.drained() => {
                if !outbox.drain_told.swap(true, Ordering::AcqRel) {
                    outbox.put(Report::Drained).await;
                }
            }
            () = asked => match channel.outstanding_bytes().await {
                Ok(outstanding_bytes) => meter.outstanding(outstanding_bytes),
                Err(_) => return,
            }
        }
    }
}

/// Resolves when the other side opens a channel beside the one that was agreed.
async fn second_channel(news: &mut mpsc::Receiver<News>) {
    while let Some(news) = news.recv().await {
        if matches!(news, News::Channel(_)) {
            return;
        }
    }
    std::future::pending().await
}

async fn poll(channel: Option<&Arc<dyn DataChannel>>) -> Option<DataChannelEvent> {
    match channel {
        Some(channel) => channel.poll().await,
        None => std::future::pending().await,
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn refused() -> End {
    End::Failed(FailReason::Refused)
}

fn local_fault(error: webrtc::error::Error) -> End {
    tracing::warn!(%error, "no offer could be made");
    End::Failed(FailReason::Local)
}
