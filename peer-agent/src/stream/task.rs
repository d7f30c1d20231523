//! One stream's task: feeds the engine, drains it, and does what it asks for.
//!
//! Rule: it owns the engine by value and decides nothing that the engine could. One `select!`, one
//! timer; every channel has a bound, and nothing in the loop waits for a player or a peer.

use super::faults::Corruptor;
use super::playlists::{Decision, Playlists};
use super::session::Outside;
use super::socket::{self, SocketEvent, Way};
use super::urls::ObjectUrls;
use super::viewers::Viewers;
use super::wanted::Wanted;
use super::{Answer, Command, ObjectEvent, Settings, StreamAddress};
use crate::clock::Clock;
use crate::origin::{FetchEvent, OriginClient, PlaylistFailure, PlaylistText};
use crate::random;
use crate::status::{NeighbourStatus, StreamStatus, SubstreamStatus};
use crate::tls::Tls;
use crate::token::Tokens;
use crate::transport::LinkEvent;
use bytes::Bytes;
use shoal_peer::{Config, Engine, FetchId, Input, OriginFailure, Output, Parent, RequestId};
use shoal_wire::{
    ClientMessage, ObjectId, PROTOCOL, PeerMessage, RenditionId, ServerMessage, ShareMode,
    SignedDigest,
};
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout};
use url::Url;

/// Events of origin fetches that wait: each is one read of a socket.
const FETCH_EVENTS_MAX: usize = 64;
/// Events of the tracker's session that wait.
const SOCKET_EVENTS_MAX: usize = 64;
/// Finished fetches of digests that wait.
const DIGESTS_MAX: usize = 16;
/// Finished playlist polls that wait.
const POLLS_MAX: usize = 16;
/// A playlist that is asked for an object's URL is asked again after this time.
const WANTED_POLL_INTERVAL: Duration = Duration::from_millis(250);
/// Who has left is looked at this often.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// Ticks are no closer than this: the resolution of the runtime's timers.
const TICK_MIN: Duration = Duration::from_millis(1);
/// How long a goodbye may take.
const GOODBYE_TIMEOUT: Duration = Duration::from_millis(500);

type Poll = (Url, Result<PlaylistText, PlaylistFailure>);
type DigestFetch = (ObjectId, Result<Bytes, OriginFailure>);

/// What a stream's task works with.
pub(super) struct Means {
    pub(super) settings: Settings,
    pub(super) origin: OriginClient,
    pub(super) tls: Tls,
    pub(super) tokens: Tokens,
    pub(super) clock: Clock,
}

/// What a stream's task keeps.
struct StreamTask {
    address: StreamAddress,
    /// The tracker's URL, as the newest playlist has it.
    tracker: watch::Sender<Url>,
    settings: Settings,
    clock: Clock,
    engine: Engine,
    origin: OriginClient,
    fetches: HashMap<FetchId, AbortHandle>,
    wanted: Wanted,
    fetch_events: mpsc::Sender<FetchEvent>,
    urls: ObjectUrls,
    playlists: Playlists,
    polls: mpsc::Sender<Poll>,
    digests: mpsc::Sender<DigestFetch>,
    requests: HashMap<RequestId, Answering>,
    viewers: Viewers,
    outside: Outside,
    housekeeping_at: Instant,
    ticked_at: Instant,
    over: bool,
}

/// A player's request that is being answered.
struct Answering {
    rendition: RenditionId,
    to: mpsc::Sender<ObjectEvent>,
}

/// The ends that the loop listens on.
struct Ears {
    commands: mpsc::Receiver<Command>,
    fetches: mpsc::Receiver<FetchEvent>,
    polls: mpsc::Receiver<Poll>,
    digests: mpsc::Receiver<DigestFetch>,
    socket: mpsc::Receiver<SocketEvent>,
}

/// Joins the stream at `address` and stays until its last player has gone or it is told to leave.
/// Returns the last figures.
pub(super) async fn run(
    address: StreamAddress,
    means: Means,
    commands: mpsc::Receiver<Command>,
) -> StreamStatus {
    tracing::info!(stream = %address.name, "stream joined");
    let (socket_events, socket) = mpsc::channel(SOCKET_EVENTS_MAX);
    let (fetch_events, fetches) = mpsc::channel(FETCH_EVENTS_MAX);
    let (polls, poll_results) = mpsc::channel(POLLS_MAX);
    let (digests, digest_results) = mpsc::channel(DIGESTS_MAX);
    let (tracker, _) = watch::channel(address.tracker.clone());
    let session = if means.settings.share == ShareMode::Off {
        // Keeps the channel open and silent.
        tokio::spawn(async move { socket_events.closed().await })
    } else {
        let (tracker, tokens) = (tracker.subscribe(), means.tokens.clone());
        tokio::spawn(socket::run(Way { tracker, tokens, tls: means.tls.clone() }, socket_events))
    };
    let mut ears = Ears { commands, fetches, polls: poll_results, digests: digest_results, socket };
    let mut task = StreamTask::new((address, tracker), means, fetch_events, polls, digests);
    if task.settings.share == ShareMode::Off {
        task.feed(Input::ServerLost);
    }
    task.listen(&mut ears).await;
    let last = task.status();
    task.leave();
    drop(ears);
    let goodbye = session.abort_handle();
    if timeout(GOODBYE_TIMEOUT, session).await.is_err() {
        goodbye.abort();
    }
    tracing::info!(stream = %task.address.name, "stream left");
    last
}

impl StreamTask {
    fn new(
        (address, tracker): (StreamAddress, watch::Sender<Url>),
        means: Means,
        fetch_events: mpsc::Sender<FetchEvent>,
        polls: mpsc::Sender<Poll>,
        digests: mpsc::Sender<DigestFetch>,
    ) -> Self {
        let Means { settings, origin, clock, .. } = means;
        let config =
            Config { share: settings.share, upload_cap: settings.upload_cap, ..Config::default() };
        let now = Instant::now();
        Self {
            settings,
            clock,
            engine: Engine::new(address.name.clone(), config, random::number()),
            address,
            tracker,
            origin,
            fetches: HashMap::new(),
            wanted: Wanted::default(),
            fetch_events,
            urls: ObjectUrls::default(),
            playlists: Playlists::default(),
            polls,
            digests,
            requests: HashMap::new(),
            viewers: Viewers::new(now),
            outside: Outside::new(Corruptor::new(settings.corrupt_every)),
            housekeeping_at: now + HOUSEKEEPING,
            ticked_at: now,
            over: false,
        }
    }

    async fn listen(&mut self, ears: &mut Ears) {
        let timer = sleep_until(self.wake_at());
        tokio::pin!(timer);
        while !self.over {
            tokio::select! {
                command = ears.commands.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => self.over = true,
                },
                Some(event) = ears.socket.recv() => self.on_socket(event),
                event = self.outside.next_event() => self.on_link(event),
                Some(event) = ears.fetches.recv() => self.on_fetch(event),
                Some((url, result)) = ears.polls.recv() => self.on_polled(&url, result),
                Some((object, digest)) = ears.digests.recv() => {
                    self.feed(Input::DigestFetched { object, digest });
                },
                () = &mut timer => self.on_timer(),
            }
            let wake_at = self.wake_at();
            if timer.deadline() != wake_at {
                timer.as_mut().reset(wake_at);
            }
        }
    }

    fn wake_at(&self) -> Instant {
        let earliest = self.ticked_at + TICK_MIN;
        let engine = self.engine.poll_timeout().map(|at| self.clock.timer(at).max(earliest));
        engine.map_or(self.housekeeping_at, |at| at.min(self.housekeeping_at))
    }

    /// Gives the engine an event and does what it asks for.
    fn feed(&mut self, input: Input) {
        self.engine.handle(input, self.clock.now());
        while let Some(output) = self.engine.poll_output() {
            self.on_output(output);
        }
    }

    fn on_timer(&mut self) {
        if self.engine.poll_timeout().is_some_and(|at| at <= self.clock.now()) {
            self.feed(Input::Tick);
        }
        let now = Instant::now();
        self.ticked_at = now;
        if now < self.housekeeping_at {
            return;
        }
        self.housekeeping_at = now + HOUSEKEEPING;
        for request in self.requests.values() {
            self.viewers.touch(request.rendition, None, now);
        }
        for rendition in self.viewers.gone(now) {
            tracing::info!(stream = %self.address.name, rendition = rendition.0, "no player any more");
            self.feed(Input::StopWatching { rendition });
        }
        self.over |= self.viewers.all_left(now);
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Object { id, object, range, url, to } => {
                self.urls.learn(object, url);
                if range.start == 0 {
                    self.viewers.request(object, Instant::now());
                }
                let rendition = object.rendition;
                self.requests.insert(id, Answering { rendition, to });
                let duration = self.playlists.duration(object);
                self.feed(Input::Request { id, object, range, duration });
            }
            Command::Cancel { id } => self.cancel(id),
            Command::Playlist { url, reply } => self.on_playlist(&url, reply),
            Command::PlaylistSeen { url, playlist } => {
                let rendition = self.learn(&playlist);
                let now = Instant::now();
                self.playlists.seen(&url, &playlist, rendition, now);
                self.touch_playlist(&url, now);
            }
            // Whoever asked may be gone.
            Command::Status { reply } => drop(reply.send(self.status())),
            Command::Leave => self.over = true,
        }
    }

    fn cancel(&mut self, id: RequestId) {
        if self.requests.remove(&id).is_some() {
            self.feed(Input::CancelRequest { id });
        }
    }

    fn on_playlist(&mut self, url: &Url, reply: oneshot::Sender<Answer>) {
        let now = Instant::now();
        self.touch_playlist(url, now);
        let connected = self.outside.is_welcome();
        match self.playlists.request(url, connected, reply, now) {
            Decision::Done => {}
            Decision::Poll(url) => self.poll(url, Duration::ZERO),
        }
    }

    fn on_polled(&mut self, url: &Url, result: Result<PlaylistText, PlaylistFailure>) {
        let rendition = result.as_ref().ok().and_then(|playlist| self.learn(playlist));
        let now = Instant::now();
        self.playlists.polled(url, result, rendition, now);
        self.fetch_wanted(now);
        // What the playlist does not name yet it will name in a moment.
        let asked = self.wanted.first().and_then(|object| self.playlists.asked(object.rendition));
        if let Some(asked) = asked.cloned()
            && self.playlists.begin_poll(&asked)
        {
            self.poll(asked, WANTED_POLL_INTERVAL);
        }
    }

    fn touch_playlist(&mut self, url: &Url, now: Instant) {
        if let Some((rendition, target)) = self.playlists.rendition(url) {
            self.viewers.touch(rendition, Some(target), now);
        }
    }

    /// Remembers the objects that a playlist names, and where the tracker is; returns its rendition.
    fn learn(&mut self, playlist: &PlaylistText) -> Option<RenditionId> {
        if let Some(address) = &playlist.address {
            address.renews(&self.address.base, &self.tracker);
        }
        let uris = crate::playlist::uris(&playlist.text);
        self.urls.learn_from(&playlist.found, &self.address.base, uris)
    }

    fn on_fetch(&mut self, event: FetchEvent) {
        let FetchEvent { fetch, input, last } = event;
        let known = match last {
            true => self.fetches.remove(&fetch).is_some(),
            false => self.fetches.contains_key(&fetch),
        };
        // What a cancelled fetch had sent before is of no use.
        if known {
            self.feed(input);
        }
    }

    fn on_socket(&mut self, event: SocketEvent) {
        match event {
            SocketEvent::Connected { out, local } => {
                self.outside.connected(out, local);
                let hello = ClientMessage::Hello {
                    protocol: PROTOCOL,
                    stream: self.address.name.clone(),
                    agent: concat!("shoal-agent/", env!("CARGO_PKG_VERSION")).to_owned(),
                    share: self.settings.share,
                    upload_cap: self.settings.upload_cap,
                    links_max: Config::default().links_max,
                    offers: false,
                    resume: self.engine.resume(),
                };
                self.outside.tell(hello);
                self.feed(Input::ServerConnected);
            }
            SocketEvent::Message(message) => self.on_server(*message),
            SocketEvent::Lost => {
                self.outside.lost();
                self.feed(Input::ServerLost);
                // Their signals will not come any more.
                let opening: Vec<_> = self.outside.opening().collect();
                for peer in opening {
                    self.outside.close(peer);
                    self.feed(Input::LinkDown { peer });
                }
            }
        }
    }

    fn on_server(&mut self, message: ServerMessage) {
        if let ServerMessage::Signal { peer, signal } = message {
            self.outside.signal(peer, signal);
            return;
        }
        if let ServerMessage::IceServers { ice_servers } = message {
            self.outside.use_ice_servers(&ice_servers);
            return;
        }
        if let ServerMessage::Welcome { ice_servers, peer, .. } = &message {
            tracing::info!(stream = %self.address.name, %peer, "tracker session stands");
            self.outside.welcomed(ice_servers);
        }
        self.feed(Input::Server(message));
    }

    fn on_link(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Signal { peer, signal } => {
                self.outside.tell(ClientMessage::Signal { peer, signal });
            }
            LinkEvent::Opened { peer } => {
                self.outside.settled(peer);
                self.feed(Input::LinkUp { peer });
            }
            LinkEvent::Failed { peer, reason } => {
                tracing::debug!(%peer, %reason, "link failed");
                self.outside.settled(peer);
                self.feed(Input::LinkDown { peer });
            }
            LinkEvent::Closed { peer, reason } => {
                tracing::debug!(%peer, %reason, "link closed");
                self.feed(Input::LinkDown { peer });
            }
            LinkEvent::Message { peer, message } => self.feed(match PeerMessage::decode(message) {
                Ok(message) => Input::LinkMessage { peer, message },
                Err(_) => Input::LinkInvalid { peer },
            }),
            LinkEvent::Drained { peer, buffered_bytes } => {
                let bytes = u32::try_from(buffered_bytes).unwrap_or(u32::MAX);
                self.feed(Input::LinkBuffered { peer, bytes });
            }
        }
    }

    fn on_output(&mut self, output: Output) {
        match output {
            Output::Started { id, total_len } => self.answer(id, ObjectEvent::Started(total_len)),
            Output::Deliver { id, bytes } => self.answer(id, ObjectEvent::Data(bytes)),
            Output::Delivered { id } => {
                self.answer(id, ObjectEvent::Done);
                self.requests.remove(&id);
            }
            Output::Failed { id, failure } => {
                self.answer(id, ObjectEvent::Failed(failure));
                self.requests.remove(&id);
            }
            Output::OriginFetch { fetch, object, range } => self.fetch(fetch, object, range),
            Output::DigestFetch { object } => self.fetch_digest(object),
            Output::OriginCancel { fetch } => {
                self.wanted.cancel(fetch);
                if let Some(work) = self.fetches.remove(&fetch) {
                    work.abort();
                }
            }
            Output::Server(message) => self.outside.tell(message),
            Output::OpenLink { peer, offer } => {
                if !self.outside.open(peer, offer) {
                    self.engine.handle(Input::LinkDown { peer }, self.clock.now());
                }
            }
            Output::CloseLink { peer } => self.outside.close(peer),
            Output::Send { peer, message } => self.outside.send(peer, &message),
            Output::Published(digest) => self.on_published(&digest),
            Output::FellBack { object, reason } => {
                tracing::debug!(object = object.file_stem(), reason = reason.as_str(), "fell back");
            }
            Output::CutOff { peer, offence } => {
                tracing::warn!(%peer, ?offence, "neighbour cut off");
            }
        }
    }

    fn answer(&mut self, id: RequestId, event: ObjectEvent) {
        let Some(answering) = self.requests.get(&id) else { return };
        if answering.to.try_send(event).is_err() {
            // The player hung up, or reads so slowly that its queue is full.
            self.requests.remove(&id);
            self.engine.handle(Input::CancelRequest { id }, self.clock.now());
        }
    }

    fn fetch(&mut self, fetch: FetchId, object: ObjectId, range: Option<(u32, u32)>) {
        if let Some(url) = self.urls.url(object) {
            let work = self.origin.fetch(fetch, url, range, self.fetch_events.clone());
            self.fetches.insert(fetch, work);
            return;
        }
        // This viewer's own URL of it is in this viewer's own playlist.
        let asked = self.playlists.asked(object.rendition).cloned();
        let Some(asked) = asked.filter(|_| self.wanted.add(fetch, object, range, Instant::now()))
        else {
            tracing::warn!(object = object.file_stem(), "the object's URL is not known");
            let failure = OriginFailure::Unreachable;
            self.engine.handle(Input::OriginFailed { fetch, failure }, self.clock.now());
            return;
        };
        if self.playlists.begin_poll(&asked) {
            self.poll(asked, Duration::ZERO);
        }
    }

    /// Fetches what was waiting for its URL; what is still unknown waits on or has failed.
    fn fetch_wanted(&mut self, now: Instant) {
        for (fetch, object, range) in self.wanted.found(|object| self.urls.url(object).is_some()) {
            self.fetch(fetch, object, range);
        }
        for fetch in self.wanted.overdue(now) {
            let failure = OriginFailure::Unreachable;
            self.feed(Input::OriginFailed { fetch, failure });
        }
    }

    fn poll(&self, url: Url, after: Duration) {
        let (origin, polls) = (self.origin.clone(), self.polls.clone());
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let result = origin.playlist(url.clone()).await;
            // The stream was left meanwhile.
            let _ = polls.send((url, result)).await;
        });
    }

    fn fetch_digest(&self, object: ObjectId) {
        let (origin, digests) = (self.origin.clone(), self.digests.clone());
        let url = self.urls.digest(object);
        tokio::spawn(async move {
            let digest = match url {
                Some(url) => origin.digest(url).await,
                None => Err(OriginFailure::Unreachable),
            };
            // The stream was left meanwhile.
            let _ = digests.send((object, digest)).await;
        });
    }

    fn on_published(&mut self, digest: &std::sync::Arc<SignedDigest>) {
        let object = digest.object;
        let base = self.playlists.base(object.rendition);
        let base = base.or_else(|| self.urls.sibling(object.rendition));
        let url = base.zip(digest.uri()).and_then(|(base, uri)| base.join(uri).ok());
        if let Some(url) = url.filter(|url| super::object_at(url, &self.address.base).is_some()) {
            self.urls.learn(object, url);
        }
        self.playlists.published(digest, Instant::now());
    }

    fn leave(&mut self) {
        let status = self.engine.status(self.clock.now());
        self.outside.leave(status.neighbours.iter().map(|neighbour| neighbour.peer));
        for work in self.fetches.values() {
            work.abort();
        }
    }

    fn status(&self) -> StreamStatus {
        let status = self.engine.status(self.clock.now());
        let open = status.neighbours.iter().map(|neighbour| NeighbourStatus {
            peer: neighbour.peer,
            state: "open",
            received: neighbour.received,
            sent: neighbour.sent,
            rtt_us: neighbour.rtt.and_then(|rtt| u64::try_from(rtt.as_micros()).ok()),
        });
        let substreams = status.substreams.iter().map(|fed| SubstreamStatus {
            rendition: fed.rendition,
            substream: fed.substream,
            parent: match fed.parent {
                Parent::Nobody => None,
                Parent::Origin => Some("origin".to_owned()),
                Parent::Peer(peer) => Some(peer.to_string()),
            },
        });
        let reasons = status.fallbacks.iter().map(|(reason, count)| (reason.as_str(), *count));
        StreamStatus {
            url: self.address.base.clone(),
            stream: self.address.name.to_string(),
            peer: status.peer,
            connected: self.outside.is_welcome(),
            share: status.share,
            players: self.viewers.players(),
            totals: status.totals,
            neighbours: open.collect(),
            buffer_ms: u64::try_from(status.buffered.as_millis()).unwrap_or(u64::MAX),
            upload_bps: status.upload.as_bps(),
            last_fallback_reason: status.last_fallback.map(|reason| reason.as_str()),
            fallback_reasons: reasons.collect(),
            substreams: substreams.collect(),
            origin_failures: status.origin_failures,
            origin_mismatches: status.origin_mismatches,
            neighbours_cut_off: status.cut_off,
            store_bytes: status.store_bytes as u64,
        }
    }
}
