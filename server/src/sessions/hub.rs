//! The task that owns every tracker: feeds it, carries out what it asks for, wakes it in time.
//!
//! Rule: it never waits for a viewer. A viewer whose queue is full is sent away; its links live on
//! and it comes back. What goes to many is serialised once.

use super::introductions::Introductions;
use super::outbox::frame;
use super::oversight::Bans;
use super::quality::Group;
use super::swarm::{Members, Newcomer, SwarmStatus};
use super::trace::Trace;
use super::{Command, HubInbox, HubStatus, Joining, Refused, SessionEntry};
use crate::admission::Bearer;
use crate::origin::News;
use axum::extract::ws::Message;
use shoal_tracker::{Forest, Input, Output, Published, Tracker};
use shoal_wire::tracker_message::{IceServer, LinkState, RefuseCode, Report, Signal};
use shoal_wire::{
    ByteSize, ClientMessage, Instant, ObjectId, PROTOCOL, PeerId, ServerMessage, ShareMode,
    SignedDigest, StreamName,
};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tokio::sync::mpsc;

/// Viewers are told to come back at random moments within this time after the server stops, so that
/// they do not come all at once.
const RECONNECT_WITHIN_MS: u64 = 3000;

/// Places in trees that one look of the operator takes in: a few milliseconds of the hub's time.
const VISITS_MAX: usize = 20_000;
/// Places that are drawn: more are no longer told apart on a screen.
const NODES_MAX: usize = 500;

/// How often what no longer matters is forgotten.
const TIDY_INTERVAL: Duration = Duration::from_secs(60);

/// All swarms.
pub(crate) struct Hub {
    pub(super) entry: SessionEntry,
    pub(super) swarms: BTreeMap<StreamName, Swarm>,
    pub(super) bans: Bans,
    started: tokio::time::Instant,
    viewers: usize,
    /// How many sessions each token has.
    sessions: HashMap<Bearer, usize>,
    introductions: Introductions,
    /// The operator's switch for all streams.
    peers_enabled: bool,
}

pub(super) struct Swarm {
    pub(super) tracker: Tracker,
    pub(super) members: Members,
    pub(super) status: SwarmStatus,
    /// A segment that the operator follows, or will.
    pub(super) trace: Option<Trace>,
    /// When the groups were last compared.
    pub(super) judged: tokio::time::Instant,
    /// The digest that was sent last, ready to be sent again.
    digest: Option<(ObjectId, Message)>,
}

impl Hub {
    /// One tracker per stream of the origin.
    pub(crate) fn new(entry: SessionEntry) -> Self {
        let config = shoal_tracker::Config {
            peers_max: u32::try_from(entry.config.peers_max.0).unwrap_or(u32::MAX),
            ..shoal_tracker::Config::default()
        };
        let swarm = |name: &StreamName| Swarm {
            tracker: tracker_of(&entry, name, &config),
            members: Members::new(),
            status: SwarmStatus::new(name.clone()),
            trace: None,
            judged: tokio::time::Instant::now(),
            digest: None,
        };
        let names = entry.origin.streams().map(|stream| stream.name.clone());
        let swarms: BTreeMap<_, _> = names.map(|name| (name.clone(), swarm(&name))).collect();
        for name in swarms.keys() {
            entry.metrics.peers_enabled.with_label_values(&[name.as_str()]).set(1);
        }
        let introductions = Introductions::new(entry.config.introductions_per_hour_max.0);
        Self {
            entry,
            swarms,
            bans: Bans::default(),
            started: tokio::time::Instant::now(),
            viewers: 0,
            sessions: HashMap::new(),
            introductions,
            peers_enabled: true,
        }
    }

    /// Runs until it is told to stop.
    pub(crate) async fn run(mut self, inbox: HubInbox, mut news: mpsc::Receiver<News>) {
        let mut commands = inbox.0;
        let mut tidying = tokio::time::interval(TIDY_INTERVAL);
        loop {
            let wake = self.swarms.values().filter_map(|swarm| swarm.tracker.poll_timeout()).min();
            let wake = wake.map(|at| self.started + Duration::from_micros(at.as_micros()));
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Stop { reply }) => {
                        self.send_everybody_away();
                        let _ = reply.send(());
                        return;
                    }
                    Some(command) => self.command(command),
                    None => return,
                },
                Some(news) = news.recv() => self.news(news),
                () = sleep_until(wake), if wake.is_some() => self.tick(),
                _ = tidying.tick() => self.tidy(),
            }
        }
    }

    fn now(&self) -> Instant {
        let micros = self.started.elapsed().as_micros();
        Instant::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    fn tick(&mut self) {
        let now = self.now();
        let due = |swarm: &Swarm| swarm.tracker.poll_timeout().is_some_and(|at| at <= now);
        let names = self.swarms.iter().filter(|(_, swarm)| due(swarm));
        let names: Vec<StreamName> = names.map(|(name, _)| name.clone()).collect();
        for name in names {
            self.feed(&name, Input::Tick);
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Join(joining) => self.join(*joining),
            Command::Message { stream, peer, message } => self.message(&stream, peer, message),
            Command::Leave { stream, peer } => self.leave(&stream, peer),
            Command::Status { reply } => {
                let swarms = self.swarms.values().map(|swarm| SwarmStatus {
                    viewers: swarm.members.len(),
                    mappings: swarm.members.mappings(),
                    supplies: swarm.tracker.supplies().collect(),
                    ..swarm.status.clone()
                });
                // Nobody waits for it any more: so be it.
                let status =
                    HubStatus { peers_enabled: self.peers_enabled, swarms: swarms.collect() };
                let _ = reply.send(status);
            }
            Command::Forests { reply } => {
                let forests = self.swarms.iter();
                let forests = forests.filter_map(|(name, it)| Some((name.clone(), it.forest()?)));
                let _ = reply.send(forests.collect());
            }
            Command::Peers { stream, enabled, reply } => {
                let _ = reply.send(self.switch_peers(&stream, enabled));
            }
            Command::Order(order) => self.order(order),
            Command::AllPeers { enabled, reply } => {
                tracing::info!(enabled, "the operator switched all peers");
                self.peers_enabled = enabled;
                let streams: Vec<StreamName> = self.swarms.keys().cloned().collect();
                streams.iter().for_each(|stream| self.apply_switches(stream));
                let _ = reply.send(());
            }
            Command::Stop { .. } => {}
        }
    }

    /// Whether there is such a stream.
    pub(super) fn switch_peers(&mut self, stream: &StreamName, enabled: bool) -> bool {
        let Some(swarm) = self.swarms.get_mut(stream) else { return false };
        if swarm.status.switched_on != enabled {
            tracing::info!(%stream, enabled, "peers are switched");
        }
        swarm.status.switched_on = enabled;
        self.apply_switches(stream);
        true
    }

    /// The tracker makes of it what goes to those who are here.
    fn apply_switches(&mut self, stream: &StreamName) {
        let Some(swarm) = self.swarms.get_mut(stream) else { return };
        let enabled = self.peers_enabled && swarm.status.switched_on;
        if swarm.status.peers_enabled == enabled {
            return;
        }
        swarm.status.peers_enabled = enabled;
        let gauge = &self.entry.metrics.peers_enabled;
        gauge.with_label_values(&[stream.as_str()]).set(enabled.into());
        self.feed(stream, Input::Peers { enabled });
    }

    fn join(&mut self, joining: Joining) {
        let Joining {
            stream,
            bearer,
            ice,
            mut profile,
            offers,
            kind,
            origin,
            resume,
            outbox,
            reply,
        } = joining;
        let refuse = |code, message: String| Err(Refused { code, message });
        let Some(swarm) = self.swarms.get_mut(&stream) else {
            let _ = reply.send(refuse(RefuseCode::UnknownStream, format!("no stream `{stream}`")));
            return;
        };
        let peers_max = self.entry.config.peers_max.0;
        if self.viewers >= peers_max {
            let message = format!("this server takes {peers_max} viewers (tracker.peers_max)");
            let _ = reply.send(refuse(RefuseCode::Limit, message));
            return;
        }
        if self.bans.holds(origin) {
            let message = "the operator lets nobody in from there".to_owned();
            let _ = reply.send(refuse(RefuseCode::Removed, message));
            return;
        }
        let sessions = self.sessions.get(&bearer).copied().unwrap_or(0);
        if sessions >= self.entry.config.sessions_per_token_max.0 {
            let message = "this token has too many sessions (tracker.sessions_per_token_max)";
            self.entry.metrics.refused.with_label_values(&["session_token"]).inc();
            let _ = reply.send(refuse(RefuseCode::Limit, message.to_owned()));
            return;
        }
        let known = resume.as_ref().map(|resume| resume.peer);
        let known = known.filter(|peer| peer.0 != 0 && !swarm.members.contains(*peer));
        let peer = known.unwrap_or_else(|| PeerId(random()));
        if reply.send(Ok(peer)).is_err() {
            return;
        }
        self.viewers += 1;
        self.sessions.insert(bearer, sessions + 1);
        let group = Group::of(peer, &self.entry.holdout);
        swarm.members.insert(peer, Newcomer { outbox, offers, kind, bearer, group, origin });
        let welcome = self.entry.welcome(&stream, peer, ice);
        swarm.members.send(peer, &welcome);
        if !swarm.status.peers_enabled || group == Group::Holdout {
            swarm.members.send(peer, &ServerMessage::Peers { enabled: false });
        }
        if group == Group::Holdout {
            profile.share = ShareMode::Off;
        }
        self.show_viewers(&stream);
        let (edges, neighbours) =
            resume.map_or_else(Default::default, |resume| (resume.edges, resume.neighbours));
        self.feed(&stream, Input::Join { peer, profile, edges, neighbours });
    }

    /// Tells the metrics how many viewers a stream has.
    fn show_viewers(&self, stream: &StreamName) {
        let Some(swarm) = self.swarms.get(stream) else { return };
        let (stream, metrics) = (stream.as_str(), &self.entry.metrics);
        metrics.peers.with_label_values(&[stream]).set(swarm.members.len() as i64);
        for (mapping, viewers) in swarm.members.mappings().labelled() {
            metrics.room.peer_mappings.with_label_values(&[stream, mapping]).set(viewers as i64);
        }
    }

    /// Forgets what no longer matters, once in a while.
    fn tidy(&mut self) {
        self.introductions.tidy(tokio::time::Instant::now());
    }

    pub(super) fn leave(&mut self, stream: &StreamName, peer: PeerId) {
        let Some(swarm) = self.swarms.get_mut(stream) else { return };
        if let Some(bearer) = swarm.members.remove(peer) {
            self.viewers -= 1;
            if let Some(sessions) = self.sessions.get_mut(&bearer) {
                *sessions -= 1;
                if *sessions == 0 {
                    self.sessions.remove(&bearer);
                }
            }
            self.show_viewers(stream);
            self.feed(stream, Input::Leave { peer });
        }
    }

    fn message(&mut self, stream: &StreamName, peer: PeerId, message: ClientMessage) {
        let Some(swarm) = self.swarms.get_mut(stream) else { return };
        if !swarm.members.contains(peer) {
            return;
        }
        let input = match message {
            ClientMessage::Watch { rendition, msn } => {
                swarm.members.note_watch(peer, rendition, true);
                Input::Watch { peer, rendition, msn }
            }
            ClientMessage::Position { rendition, epoch, msn, ahead, held } => {
                Input::Position { peer, rendition, epoch, msn, ahead, held }
            }
            ClientMessage::Unwatch { rendition } => {
                swarm.members.note_watch(peer, rendition, false);
                Input::Unwatch { peer, rendition }
            }
            ClientMessage::Share { share, upload_cap } => {
                let held_out = swarm.members.group(peer) == Some(Group::Holdout);
                let share = if held_out { ShareMode::Off } else { share };
                Input::Share { peer, share, upload_cap }
            }
            ClientMessage::Mapping { mapping } => {
                swarm.members.note_mapping(peer, mapping);
                self.show_viewers(stream);
                Input::Mapping { peer, mapping }
            }
            ClientMessage::Traced { object, known_ms, parents, fell_back } => {
                if let Some(trace) = &mut swarm.trace {
                    trace.arrived(peer, object, known_ms, &parents, fell_back);
                }
                return;
            }
            ClientMessage::Lost { rendition, substream, parent, reason } => {
                Input::Lost { peer, rendition, substream, parent, reason }
            }
            ClientMessage::BadChunk { peer: accused, .. } => {
                Input::BadChunk { reporter: peer, accused }
            }
            ClientMessage::Signal { peer: to, signal } => {
                return self.signal(stream, (peer, to), signal);
            }
            ClientMessage::Link { peer: other, state, rtt_us } => {
                self.count_link(stream, peer, other, state);
                let rtt = rtt_us.map(|us| Duration::from_micros(us.into()));
                Input::Link { peer, other, state, rtt }
            }
            ClientMessage::Report(report) => self.report(stream, peer, report),
            // Sessions answer these themselves.
            ClientMessage::Hello { .. }
            | ClientMessage::WantDigests { .. }
            | ClientMessage::Bye => {
                return;
            }
        };
        self.feed(stream, input);
    }

    /// Passes a signal on, if it may pass. An offer has its sender's address in it, and who takes
    /// it shows its own: both tokens must have room for one more.
    fn signal(&mut self, stream: &StreamName, (peer, to): (PeerId, PeerId), signal: Signal) {
        let Some(swarm) = self.swarms.get_mut(stream) else { return };
        let refuse = |reason| self.entry.metrics.refused.with_label_values(&[reason]).inc();
        if let Err(bad) = swarm.members.note(peer, to, &signal) {
            return refuse(bad.reason());
        }
        if matches!(signal, Signal::Offer { .. })
            && let Some(pair) = swarm.members.bearers(peer, to)
            && !self.introductions.allow(pair, tokio::time::Instant::now())
        {
            // Neither may say more; the link does not open, and the tracker hears of that.
            swarm.members.part(peer, to);
            return refuse("introductions");
        }
        swarm.members.send(to, &ServerMessage::Signal { peer, signal });
        self.send_away_overrun(stream);
    }

    fn report(&mut self, stream: &StreamName, peer: PeerId, report: Report) -> Input {
        let latency_s = self.latency(stream, &report);
        if let Some(swarm) = self.swarms.get_mut(stream) {
            let sum = &mut swarm.status.totals;
            swarm.members.report(peer, (&report, latency_s), sum, &self.entry.metrics);
        }
        self.judge(stream);
        Input::Report { peer, report }
    }

    /// Both ends tell of a link; only the one that offered is counted.
    fn count_link(&mut self, stream: &StreamName, peer: PeerId, other: PeerId, state: LinkState) {
        let Some(swarm) = self.swarms.get_mut(stream) else { return };
        if swarm.members.introduced(peer, other) != Some(true) {
            return;
        }
        if let Some((one, two)) = swarm.members.kinds(peer, other) {
            swarm.status.links.count(one, two, state);
        }
        let label = match state {
            LinkState::Up => "up",
            LinkState::Failed => "failed",
            LinkState::Closed => "closed",
        };
        self.entry.metrics.links.with_label_values(&[label]).inc();
    }

    fn news(&mut self, news: News) {
        match news {
            News::Renditions { stream, renditions } => {
                for info in renditions.iter().filter(|info| info.on_demand) {
                    self.feed(&stream, Input::OnDemand { rendition: info.rendition });
                }
                if let Some(swarm) = self.swarms.get_mut(&stream) {
                    swarm.members.broadcast(&ServerMessage::Renditions { renditions });
                }
                self.send_away_overrun(&stream);
            }
            News::Published { stream, digest } => {
                self.entry.metrics.published.with_label_values(&[stream.as_str()]).inc();
                self.follow(&stream, &digest);
                let Some(swarm) = self.swarms.get_mut(&stream) else { return };
                let message = digest_message(&digest);
                if digest.end_of_stream {
                    swarm.members.broadcast(&message);
                    // Who is in the trees stays; who comes now plays it on demand.
                    let rendition = digest.object.rendition;
                    return self.feed(&stream, Input::OnDemand { rendition });
                }
                swarm.digest = Some((digest.object, frame(&message)));
                let published = Published {
                    object: digest.object,
                    size: ByteSize::from_bytes(digest.byte_len.into()),
                    duration: digest.duration,
                    chunk_size: digest.chunk_size,
                    substreams: digest.substreams,
                };
                self.feed(&stream, Input::Published(published));
            }
        }
    }

    /// Gives one input to a tracker and does all that it asks for.
    fn feed(&mut self, stream: &StreamName, input: Input) {
        let now = self.now();
        let Some(swarm) = self.swarms.get_mut(stream) else { return };
        swarm.tracker.handle(input, now);
        while let Some(output) = swarm.tracker.poll_output() {
            swarm.carry_out(output, &self.entry);
        }
        self.send_away_overrun(stream);
    }

    /// Sends away viewers that do not read. Their leaving may overrun others, a finite number.
    fn send_away_overrun(&mut self, stream: &StreamName) {
        let Some(swarm) = self.swarms.get_mut(stream) else { return };
        for peer in swarm.members.take_overrun() {
            self.entry.metrics.refused.with_label_values(&["slow_session"]).inc();
            tracing::debug!(%stream, %peer, "a viewer does not read its messages; it is sent away");
            self.leave(stream, peer);
        }
    }

    fn send_everybody_away(&mut self) {
        for swarm in self.swarms.values_mut() {
            swarm.members.send_each(|| {
                let after_ms = u32::try_from(random() % RECONNECT_WITHIN_MS).unwrap_or(0);
                ServerMessage::Reconnect { after_ms }
            });
        }
        // The queues close with their senders, and with them the sessions.
        self.swarms.clear();
    }
}

impl Swarm {
    fn carry_out(&mut self, output: Output, entry: &SessionEntry) {
        match output {
            Output::Introduce { offerer, answerer } => self.members.introduce(offerer, answerer),
            Output::Plan { peer, version, rendition, substreams, assignments } => {
                let changes = assignments.len() as u64;
                self.status.plan_changes += changes;
                entry.metrics.plan_changes.inc_by(changes);
                let plan = ServerMessage::Plan { version, rendition, substreams, assignments };
                self.members.send(peer, &plan);
            }
            Output::Sources { peer, rendition, epoch, sources } => {
                self.members.send(peer, &ServerMessage::Sources { rendition, epoch, sources });
            }
            Output::Digest { object, peers } => {
                if let Some(digest) = self.digest(object, entry) {
                    for peer in peers {
                        self.members.send_frame(peer, digest.clone());
                    }
                }
            }
            Output::Disconnect { peer, other } => {
                self.members.part(peer, other);
                self.members.send(peer, &ServerMessage::Disconnect { peer: other });
            }
            Output::Peers { enabled } => {
                self.members.switch_peers(enabled);
            }
            Output::Banned { peer } => {
                self.status.bans += 1;
                entry.metrics.bans.inc();
                tracing::warn!(stream = %self.status.stream, %peer, "sends bad chunks; cut off");
            }
        }
    }

    /// The trees of the rendition that most watch.
    fn forest(&self) -> Option<Forest> {
        let largest = self.tracker.supplies().max_by_key(|supply| supply.members)?;
        self.tracker.forest(largest.rendition, VISITS_MAX, NODES_MAX)
    }

    fn digest(&mut self, object: ObjectId, entry: &SessionEntry) -> Option<Message> {
        if let Some((last, sent)) = &self.digest
            && *last == object
        {
            return Some(sent.clone());
        }
        let digest = entry.digest(&self.status.stream, object)?;
        let sent = frame(&digest_message(&digest));
        self.digest = Some((object, sent.clone()));
        Some(sent)
    }
}

impl SessionEntry {
    /// A published object's digest.
    pub(super) fn digest(
        &self,
        stream: &StreamName,
        object: ObjectId,
    ) -> Option<std::sync::Arc<SignedDigest>> {
        self.origin.stream(stream.as_str())?.digest(object)
    }

    fn welcome(
        &self,
        stream: &StreamName,
        peer: PeerId,
        ice_servers: Vec<IceServer>,
    ) -> ServerMessage {
        let key = self.origin.key().to_bytes();
        let renditions = self.origin.stream(stream.as_str()).map(|stream| stream.view().infos());
        let report = self.config.report_interval_ms.0.as_millis();
        ServerMessage::Welcome {
            protocol: PROTOCOL,
            peer,
            keys: vec![key.iter().map(|byte| format!("{byte:02x}")).collect()],
            renditions: renditions.unwrap_or_default(),
            ice_servers,
            report_interval_ms: u32::try_from(report).unwrap_or(u32::MAX),
        }
    }
}

/// A digest as a message.
pub(super) fn digest_message(digest: &SignedDigest) -> ServerMessage {
    ServerMessage::Digest { digest: digest.encoded().clone() }
}

async fn sleep_until(at: Option<tokio::time::Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at).await;
    }
}

/// A tracker for a stream, of which some renditions may be complete.
fn tracker_of(
    entry: &SessionEntry,
    stream: &StreamName,
    config: &shoal_tracker::Config,
) -> Tracker {
    let mut tracker = Tracker::new(config.clone(), random());
    let infos = entry.origin.stream(stream.as_str()).map(|stream| stream.view().infos());
    for info in infos.into_iter().flatten().filter(|info| info.on_demand) {
        tracker.handle(Input::OnDemand { rendition: info.rendition }, Instant::ZERO);
    }
    tracker
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the system has randomness");
    u64::from_be_bytes(bytes)
}
