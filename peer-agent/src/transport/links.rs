//! All links of one stream, for the task that owns the engine.
//!
//! Rule: no call waits, and an event always speaks of the link that is there now: those of a link
//! that was closed or replaced are dropped here.
//!
//! It opens what it is told to and closes what it is told to; it chooses nothing.

use super::config::{IceServer, LinkConfig};
use super::link::{self, Command, Report};
use super::meter::Meter;
use bytes::Bytes;
use shoal_wire::PeerId;
use shoal_wire::peer_message::MESSAGE_BYTES_MAX;
use shoal_wire::tracker_message::Signal;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc;

/// Most bytes of one signal. An SDP of a data channel with forty candidates has about 4 KiB.
pub const SIGNAL_BYTES_MAX: usize = 16 * 1024;

/// Most early signals kept of one peer: a description and a few candidates.
const EARLY_SIGNALS_PER_PEER_MAX: usize = 8;

/// News of a link.
#[derive(Debug)]
pub enum LinkEvent {
    /// To be passed on to the peer by way of the tracker.
    Signal {
        /// The other end.
        peer: PeerId,
        /// What it is to read.
        signal: Signal,
    },
    /// Messages can be sent now.
    Opened {
        /// The other end.
        peer: PeerId,
    },
    /// It did not open; it is gone.
    Failed {
        /// The other end.
        peer: PeerId,
        /// Why.
        reason: FailReason,
    },
    /// It was open; it is gone. Not reported for links that the owner closed.
    Closed {
        /// The other end.
        peer: PeerId,
        /// Why.
        reason: CloseReason,
    },
    /// The peer sent a message of at most [`MESSAGE_BYTES_MAX`] bytes.
    Message {
        /// The other end.
        peer: PeerId,
        /// As it came, not yet looked at.
        message: Bytes,
    },
    /// Bytes left; several departures may be told at once.
    Drained {
        /// The other end.
        peer: PeerId,
        /// What is still to be sent, as [`Links::buffered`] says.
        buffered_bytes: usize,
    },
}

/// Why a link did not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FailReason {
    /// Not within [`LinkConfig::open_timeout`].
    #[error("it did not open in time")]
    Timeout,
    /// No candidate pair works, or the DTLS handshake failed.
    #[error("no way to the peer was found")]
    Unreachable,
    /// The peer's description or channel is not what was agreed.
    #[error("the peer's side of the set-up is wrong")]
    Refused,
    /// No socket, or another fault on this side.
    #[error("this side could not set it up")]
    Local,
}

/// Why an open link is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// The peer closed it.
    #[error("the peer closed it")]
    Remote,
    /// Nothing came for [`LinkConfig::silence_max`] and [`LinkConfig::silence_fatal`].
    #[error("the peer fell silent")]
    Silent,
    /// The peer sent what no peer sends: text, a second channel, an empty or too long message.
    #[error("the peer broke the protocol of the link")]
    Misbehaved,
}

/// Why [`Links::open`] did nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// [`LinkConfig::links_max`] are there.
    #[error("there are as many links as allowed")]
    TooMany,
    /// There is a link to that peer.
    #[error("there is a link to that peer already")]
    Exists,
}

/// Why [`Links::send`] did not take a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// There is no open link to that peer.
    #[error("there is no open link to that peer")]
    NotOpen,
    /// The link's queue is full: wait for [`LinkEvent::Drained`].
    #[error("the link's queue is full")]
    Full,
    /// Empty, or more than [`MESSAGE_BYTES_MAX`].
    #[error("a message has 1 to {MESSAGE_BYTES_MAX} bytes, not {bytes}")]
    Length {
        /// What it has.
        bytes: usize,
    },
}

/// The links of one agent in one stream.
///
/// Dropping it closes all of them, in the background, within about a second.
#[derive(Debug)]
pub struct Links {
    config: Arc<LinkConfig>,
    links: BTreeMap<PeerId, Link>,
    early: VecDeque<(PeerId, Signal)>,
    generation: u64,
    reports_tx: mpsc::Sender<Tagged>,
    reports: mpsc::Receiver<Tagged>,
}

/// A report, with the link that it is of.
pub(crate) struct Tagged {
    pub(crate) peer: PeerId,
    pub(crate) generation: u64,
    pub(crate) report: Report,
}

#[derive(Debug)]
struct Link {
    generation: u64,
    open: bool,
    accepted: u64,
    commands: mpsc::Sender<Command>,
    meter: Arc<Meter>,
    drain_told: Arc<AtomicBool>,
}

impl Links {
    /// No links yet. Needs a Tokio runtime from the first [`open`](Self::open) on.
    #[must_use]
    pub fn new(config: LinkConfig) -> Self {
        let (reports_tx, reports) = mpsc::channel(config.events_max.max(1));
        Self {
            config: Arc::new(config),
            links: BTreeMap::new(),
            early: VecDeque::new(),
            generation: 0,
            reports_tx,
            reports,
        }
    }

    /// Uses these ICE servers for all links that are opened from now on: a TURN server's password
    /// holds for a while only.
    pub fn set_ice_servers(&mut self, ice_servers: Vec<IceServer>) {
        if self.config.ice_servers != ice_servers {
            self.config = Arc::new(LinkConfig { ice_servers, ..LinkConfig::clone(&self.config) });
        }
    }

    /// Starts a link to `peer`. The side with `offer` sends the first signal; exactly one has it.
    ///
    /// Ends in [`LinkEvent::Opened`] or [`LinkEvent::Failed`].
    ///
    /// # Errors
    /// When there is one already, or no room for another; nothing was done then.
    pub fn open(&mut self, peer: PeerId, offer: bool) -> Result<(), OpenError> {
        if self.links.contains_key(&peer) {
            return Err(OpenError::Exists);
        }
        if self.links.len() >= self.config.links_max {
            return Err(OpenError::TooMany);
        }
        self.generation += 1;
        let (commands, inbox) = mpsc::channel(self.config.queue_messages_max.max(1));
        let meter = Arc::new(Meter::default());
        let drain_told = Arc::new(AtomicBool::new(false));
        let outbox = link::Outbox {
            peer,
            generation: self.generation,
            reports: self.reports_tx.clone(),
            drain_told: Arc::clone(&drain_told),
        };
        let config = Arc::clone(&self.config);
        tokio::spawn(link::run(config, offer, inbox, outbox, Arc::clone(&meter)));
        let generation = self.generation;
        let link = Link { generation, open: false, accepted: 0, commands, meter, drain_told };
        self.links.insert(peer, link);
        for signal in self.take_early(peer) {
            self.signal(peer, signal);
        }
        Ok(())
    }

    /// What `peer` said, by way of the tracker. Kept for a while if no link to it is open yet.
    pub fn signal(&mut self, peer: PeerId, signal: Signal) {
        if signal_bytes(&signal) > SIGNAL_BYTES_MAX {
            tracing::debug!(%peer, "signal too long, dropped");
            return;
        }
        let Some(link) = self.links.get(&peer) else {
            self.keep_early(peer, signal);
            return;
        };
        if link.commands.try_send(Command::Signal(signal)).is_err() {
            tracing::debug!(%peer, "more signals than a link needs, dropped");
        }
    }

    /// Queues one message.
    ///
    /// # Errors
    /// When the link is not open, its queue is full, or the length is not that of a message;
    /// the message was not taken then.
    pub fn send(&mut self, peer: PeerId, message: Bytes) -> Result<(), SendError> {
        let bytes = message.len();
        if bytes == 0 || bytes > MESSAGE_BYTES_MAX {
            return Err(SendError::Length { bytes });
        }
        let link = self.links.get_mut(&peer).filter(|link| link.open).ok_or(SendError::NotOpen)?;
        if link.buffered_bytes() + bytes > self.config.queue_bytes_max {
            return Err(SendError::Full);
        }
        link.commands.try_send(Command::Message(message)).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => SendError::Full,
            mpsc::error::TrySendError::Closed(_) => SendError::NotOpen,
        })?;
        link.accepted += bytes as u64;
        Ok(())
    }

    /// Bytes that [`send`](Self::send) accepted and that have not left on a socket yet.
    ///
    /// Zero for a peer without a link. Exact when nothing is lost on the way; see the module.
    #[must_use]
    pub fn buffered(&self, peer: PeerId) -> usize {
        self.links.get(&peer).map_or(0, Link::buffered_bytes)
    }

    /// Links there are, opening ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.links.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// Closes the link to `peer`, if there is one. What was queued is still sent for a moment;
    /// no event of it follows.
    pub fn close(&mut self, peer: PeerId) {
        self.links.remove(&peer);
        self.early.retain(|(early, _)| *early != peer);
    }

    /// Waits for the next event. It never ends, and losing the race in a `select!` loses nothing.
    pub async fn next_event(&mut self) -> LinkEvent {
        loop {
            let tagged = self.reports.recv().await.expect("Links itself holds a sender");
            if let Some(event) = self.take(tagged) {
                return event;
            }
        }
    }

    fn take(&mut self, tagged: Tagged) -> Option<LinkEvent> {
        let Tagged { peer, generation, report } = tagged;
        let link = self.links.get_mut(&peer).filter(|link| link.generation == generation)?;
        Some(match report {
            Report::Signal(signal) => LinkEvent::Signal { peer, signal },
            Report::Opened => {
                link.open = true;
                LinkEvent::Opened { peer }
            }
            Report::Message(message) => LinkEvent::Message { peer, message },
            Report::Drained => {
                link.drain_told.store(false, Ordering::Release);
                LinkEvent::Drained { peer, buffered_bytes: link.buffered_bytes() }
            }
            Report::Failed(reason) => {
                self.links.remove(&peer);
                LinkEvent::Failed { peer, reason }
            }
            Report::Closed(reason) => {
                self.links.remove(&peer);
                LinkEvent::Closed { peer, reason }
            }
        })
    }

    #[cfg(test)]
    pub(super) fn early_len(&self) -> usize {
        self.early.len()
    }

    #[cfg(test)]
    pub(super) fn meter(&self, peer: PeerId) -> std::sync::Weak<Meter> {
        self.links.get(&peer).map_or_else(std::sync::Weak::new, |link| Arc::downgrade(&link.meter))
    }

    fn keep_early(&mut self, peer: PeerId, signal: Signal) {
        let of_peer = self.early.iter().filter(|(early, _)| *early == peer).count();
        if of_peer >= EARLY_SIGNALS_PER_PEER_MAX {
            return;
        }
        if self.early.len() >= self.config.early_signals_max {
            self.early.pop_front();
        }
        self.early.push_back((peer, signal));
    }

    fn take_early(&mut self, peer: PeerId) -> Vec<Signal> {
        let all = std::mem::take(&mut self.early);
        let (mine, rest) = all.into_iter().partition::<Vec<_>, _>(|(early, _)| *early == peer);
        self.early = rest.into();
        mine.into_iter().map(|(_, signal)| signal).collect()
    }
}

impl Link {
    fn buffered_bytes(&self) -> usize {
        self.accepted.saturating_sub(self.meter.sent()) as usize
    }
}

fn signal_bytes(signal: &Signal) -> usize {
    match signal {
        Signal::Offer { sdp } | Signal::Answer { sdp } => sdp.len(),
        Signal::Candidate { candidate, mid } => {
            candidate.len() + mid.as_ref().map_or(0, String::len)
        }
    }
}
