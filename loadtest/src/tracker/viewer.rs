//! A viewer without media: says what an engine says to the tracker, and believes what it hears.
//!
//! Rule: it costs the server what a real viewer does: a hello, a rendition, an answer to each
//! introduction as long as a real one, news of each link, a report every few seconds. Links always
//! open; nothing is ever late.

use super::shown::Shown;
use super::tally::Tally;
use crate::token::Signer;
use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use shoal_wire::tracker_message::{
    LinkState, NeighbourReport, Report, SERVER_MESSAGE_BYTES_MAX, Signal, SubstreamReport, Totals,
};
use shoal_wire::{
    BitRate, ByteSize, ClientMessage, PROTOCOL, PeerId, RenditionId, ServerMessage, ShareMode,
    StreamName, Substream,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use url::Url;

/// The library's default is 128 KiB per socket and direction.
const BUFFER_BYTES: usize = 4096;
/// Time for the upgrade and the welcome.
const WELCOME_MAX: Duration = Duration::from_secs(30);
/// Links that a native agent keeps.
const LINKS_MAX: u16 = 32;
/// Loopback's round trip is no viewer's.
const RTT_US: u32 = 30_000;
/// What a player of an agent takes to start.
const STARTUP_MS: u32 = 150;
/// A session description as long as one of the agent's, with a candidate.
const SDP: &str = "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
    a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:\
    88:99:AA:BB:CC:DD:EE:FF\r\na=extmap-allow-mixed\r\na=msid-semantic:WMS *\r\n\
    a=group:BUNDLE 0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\n\
    a=setup:actpass\r\na=mid:0\r\na=sendrecv\r\na=sctp-port:5000\r\na=max-message-size:262144\r\n\
    a=ice-ufrag:abcdefghijklmnop\r\na=ice-pwd:abcdefghijklmnopqrstuvwxyzabcdef\r\n\
    a=candidate:1 1 udp 2130706431 192.0.2.100 50000 typ host\r\na=end-of-candidates\r\n";

/// What all viewers of a run share.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) stream: StreamName,
    /// The media playlist at the server.
    pub(crate) playlist: Url,
    /// Media rate.
    pub(crate) rate: BitRate,
    /// Who signs viewers' tokens, if they need some.
    pub(crate) signer: Option<Signer>,
    pub(crate) tally: Tally,
}

/// One viewer, before it comes.
#[derive(Debug)]
pub(crate) struct Viewer {
    pub(crate) event: Arc<Event>,
    pub(crate) upload: BitRate,
    /// What it read in the playlist.
    pub(crate) shown: Shown,
    /// When it was due: times are from here on, so that none is hidden if we are late ourselves.
    pub(crate) due: Instant,
}

/// What it knows while it is there.
struct Session<S> {
    viewer: Viewer,
    socket: WebSocketStream<S>,
    rendition: Option<RenditionId>,
    parents: BTreeMap<Substream, Option<PeerId>>,
    links: BTreeSet<PeerId>,
    totals: Totals,
    report_interval: Duration,
    report_at: Instant,
    is_planned: bool,
}

impl Viewer {
    /// Watches over `stream` until `leave` says so or is dropped.
    ///
    /// # Errors
    /// If it is not welcomed, or the server ends the session.
    pub(crate) async fn watch<S: AsyncRead + AsyncWrite + Send + Unpin>(
        self,
        stream: S,
        leave: oneshot::Receiver<()>,
    ) -> Result<()> {
        let mut config = WebSocketConfig::default();
        config.read_buffer_size = BUFFER_BYTES;
        config.write_buffer_size = 0;
        config.max_message_size = Some(SERVER_MESSAGE_BYTES_MAX);
        let joining = async {
            let url = self.shown.tracker.as_str();
            let (socket, _) = client_async_with_config(url, stream, Some(config)).await?;
            Session::begin(self, socket).await
        };
        let mut session = timeout(WELCOME_MAX, joining).await.context("no welcome came")??;
        session.run(leave).await
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Session<S> {
    /// Says hello and waits for the welcome.
    async fn begin(viewer: Viewer, socket: WebSocketStream<S>) -> Result<Self> {
        let event = Arc::clone(&viewer.event);
        let shares = viewer.upload > BitRate::ZERO;
        let hello = ClientMessage::Hello {
            protocol: PROTOCOL,
            stream: event.stream.clone(),
            agent: concat!("shoal-loadtest/", env!("CARGO_PKG_VERSION")).to_owned(),
            share: if shares { ShareMode::Share } else { ShareMode::ReceiveOnly },
            upload_cap: shares.then_some(viewer.upload),
            links_max: LINKS_MAX,
            offers: false,
            resume: None,
        };
        let now = Instant::now();
        let mut session = Self {
            viewer,
            socket,
            rendition: None,
            parents: BTreeMap::new(),
            links: BTreeSet::new(),
            totals: Totals::default(),
            report_interval: Duration::MAX,
            report_at: now,
            is_planned: false,
        };
        session.say(&hello).await?;
        while session.rendition.is_none() {
            let message = session.socket.next().await.context("the server hung up")??;
            session.hear(message).await?;
        }
        event.tally.welcomed(session.viewer.due.elapsed());
        Ok(session)
    }

    async fn run(&mut self, mut leave: oneshot::Receiver<()>) -> Result<()> {
        loop {
            tokio::select! {
                _ = &mut leave => {
                    self.say(&ClientMessage::Bye).await?;
                    // It goes either way.
                    let _ = self.socket.close(None).await;
                    return Ok(());
                }
                message = self.socket.next() => {
                    self.hear(message.context("the server hung up")??).await?;
                }
                () = sleep_until(self.report_at) => {
                    self.report_at += self.report_interval;
                    let report = self.report();
                    self.say(&ClientMessage::Report(report)).await?;
                }
            }
        }
    }

    async fn hear(&mut self, message: Message) -> Result<()> {
        let message = match message {
            Message::Text(text) => ServerMessage::from_text(&text)?,
            Message::Binary(digest) => ServerMessage::from_binary(digest)?,
            Message::Close(_) => bail!("the server closed the session"),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => return Ok(()),
        };
        let tally = &self.viewer.event.tally;
        tally.heard.fetch_add(1, Ordering::Relaxed);
        match message {
            ServerMessage::Welcome { renditions, report_interval_ms, .. } => {
                let rendition = renditions.first().context("the stream has no rendition")?;
                self.rendition = Some(rendition.rendition);
                self.report_interval = Duration::from_millis(report_interval_ms.into());
                // Spread, as the viewers' joins are.
                self.report_at = Instant::now() + self.report_interval;
                let (rendition, msn) = (rendition.rendition, self.viewer.shown.start);
                let watch = ClientMessage::Watch { rendition, msn };
                self.say(&watch).await
            }
            ServerMessage::Introduce { peer, offer: true } => {
                self.signal(peer, Signal::Offer { sdp: SDP.to_owned() }).await
            }
            ServerMessage::Signal { peer, signal: Signal::Offer { .. } } => {
                self.signal(peer, Signal::Answer { sdp: SDP.to_owned() }).await?;
                self.up(peer).await
            }
            ServerMessage::Signal { peer, signal: Signal::Answer { .. } } => self.up(peer).await,
            ServerMessage::Plan { assignments, .. } => {
                tally.plans.fetch_add(1, Ordering::Relaxed);
                if !assignments.is_empty() && !std::mem::replace(&mut self.is_planned, true) {
                    tally.planned(self.viewer.due.elapsed());
                }
                for assignment in assignments {
                    self.parents.insert(assignment.substream, assignment.parent);
                }
                Ok(())
            }
            ServerMessage::Disconnect { peer } => {
                self.links.remove(&peer);
                Ok(())
            }
            ServerMessage::Refuse { code, message } => bail!("refused ({code:?}): {message}"),
            ServerMessage::Reconnect { .. } => bail!("the server sends its viewers away"),
            ServerMessage::IceServers { .. }
            | ServerMessage::Renditions { .. }
            | ServerMessage::Introduce { offer: false, .. }
            | ServerMessage::Signal { signal: Signal::Candidate { .. }, .. }
            | ServerMessage::Sources { .. }
            | ServerMessage::Digest { .. }
            | ServerMessage::Peers { .. }
            | ServerMessage::OriginTiming { .. }
            | ServerMessage::Trace { .. } => Ok(()),
        }
    }

    async fn signal(&mut self, peer: PeerId, signal: Signal) -> Result<()> {
        self.say(&ClientMessage::Signal { peer, signal }).await
    }

    async fn up(&mut self, peer: PeerId) -> Result<()> {
        self.links.insert(peer);
        let state = LinkState::Up;
        self.say(&ClientMessage::Link { peer, state, rtt_us: Some(RTT_US) }).await
    }

    async fn say(&mut self, message: &ClientMessage) -> Result<()> {
        self.viewer.event.tally.said.fetch_add(1, Ordering::Relaxed);
        Ok(self.socket.send(Message::text(message.to_json())).await?)
    }

    /// Everything came from parents, in time.
    fn report(&mut self) -> Report {
        let bits = u128::from(self.viewer.event.rate.as_bps()) * self.report_interval.as_millis();
        let bytes = u64::try_from(bits / 8_000).unwrap_or(u64::MAX);
        let grown = |size: ByteSize| ByteSize::from_bytes(size.as_bytes().saturating_add(bytes));
        self.totals.delivered = grown(self.totals.delivered);
        self.totals.from_peers = grown(self.totals.from_peers);
        let rendition = self.rendition.unwrap_or(RenditionId(0));
        let substreams = self.parents.iter().map(|(substream, parent)| SubstreamReport {
            rendition,
            substream: *substream,
            parent: *parent,
            lag_ms: 400,
            runs_good: 3,
            runs_repaired: 0,
        });
        let neighbours = self.links.iter().map(|peer| NeighbourReport {
            peer: *peer,
            received: self.totals.from_peers,
            sent: self.totals.from_peers,
            rtt_us: RTT_US,
        });
        Report {
            totals: self.totals,
            upload: self.viewer.upload,
            buffer_ms: 6_000,
            substreams: substreams.collect(),
            neighbours: neighbours.collect(),
            startup_ms: Some(STARTUP_MS),
            newest: None,
        }
    }
}
