//! A small deterministic world: real engines, an origin, links with latency, players that ask for
//! one segment after the other. The plan is the test's own.
#![allow(dead_code, reason = "each test file uses its own part of the world")]

use bytes::Bytes;
use shoal_peer::{ByteRange, Config, Engine, FetchId, Input, OriginFailure, Output, RequestId};
use shoal_wire::tracker_message::{Assignment, MsnRun, RenditionInfo, Source};
use shoal_wire::{
    ClientMessage, Digest, Epoch, Instant, ObjectId, OriginSigner, PeerId, PeerMessage,
    RenditionId, ServerMessage, SignedDigest, StreamName, Substream,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub(crate) const SEGMENT: Duration = Duration::from_secs(2);
pub(crate) const SEGMENT_BYTES: usize = 300_000;
pub(crate) const LINK_LATENCY: Duration = Duration::from_millis(15);
pub(crate) const ORIGIN_LATENCY: Duration = Duration::from_millis(30);
const RENDITION: RenditionId = RenditionId(0);

pub(crate) struct Viewer {
    pub(crate) engine: Engine,
    pub(crate) alive: bool,
    /// Bytes delivered per segment, in order.
    pub(crate) played: BTreeMap<u64, Vec<u8>>,
    pub(crate) late: Vec<u64>,
    /// The first segment played, and when its first byte came.
    started: Option<(u64, Instant)>,
    pub(crate) needed_at: BTreeMap<u64, Instant>,
    pub(crate) to_server: Vec<ClientMessage>,
    pub(crate) events: Vec<String>,
    pub(crate) next_msn: Option<u64>,
    pub(crate) corrupts: bool,
    cancelled: BTreeSet<FetchId>,
}

enum Event {
    Input(usize, Input),
    Publish(u64),
}

pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) viewers: Vec<Viewer>,
    pub(crate) segments: BTreeMap<u64, (Vec<u8>, SignedDigest)>,
    pub(crate) origin_bytes: u64,
    pub(crate) origin_down: bool,
    /// It takes requests and never answers them.
    pub(crate) origin_silent: bool,
    /// An unsubscribe was lost, and comes so much later; what was said after it is there before.
    pub(crate) unsubscribes_late: Duration,
    /// Chunks sent by an honest viewer that are not what the origin published.
    pub(crate) bad_relayed: u64,
    /// Whether the server answers those who want digests.
    gives_digests: bool,
    /// Who gets a new digest from the server.
    pub(crate) roots: BTreeSet<usize>,
    pub(crate) log: Vec<String>,
    signer: OriginSigner,
    events: BTreeMap<(Instant, u64), Event>,
    next_event: u64,
    opened: BTreeSet<(usize, usize)>,
}

pub(crate) fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(crate) fn stream() -> StreamName {
    "test".parse().expect("a valid name")
}

pub(crate) fn object(msn: u64) -> ObjectId {
    ObjectId::segment(RENDITION, Epoch(1), msn)
}

fn segment_bytes(msn: u64) -> Vec<u8> {
    let mut state = msn + 1;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..SEGMENT_BYTES).map(|_| next()).collect()
}

pub(crate) fn sign(signer: &OriginSigner, msn: u64, bytes: &[u8]) -> SignedDigest {
    let byte_len = u32::try_from(bytes.len()).expect("a small segment");
    let chunk_size = Digest::chunk_size_for(byte_len);
    let digest = Digest {
        stream: stream(),
        object: object(msn),
        ordinal: msn,
        byte_len,
        chunk_size,
        substreams: Digest::substreams_for(byte_len, chunk_size),
        duration: SEGMENT,
        published_unix_ms: 0,
        discontinuity_sequence: 0,
        end_of_stream: false,
        playlist_lines: format!("#EXTINF:2.0,\n0-1-{msn}.ts\n"),
        hashes: Digest::hash_chunks(bytes, chunk_size),
    };
    signer.sign(digest).expect("a digest within limits")
}

impl World {
    pub(crate) fn new(viewers: usize, config: &Config) -> Self {
        let viewer = |seed| Viewer {
            engine: Engine::new(stream(), config.clone(), seed),
            alive: true,
            played: BTreeMap::new(),
            late: Vec::new(),
            started: None,
            needed_at: BTreeMap::new(),
            to_server: Vec::new(),
            events: Vec::new(),
            next_msn: None,
            corrupts: false,
            cancelled: BTreeSet::new(),
        };
        let mut world = Self {
            now: Instant::from_micros(1_000_000),
            viewers: (0..viewers as u64).map(viewer).collect(),
            segments: BTreeMap::new(),
            origin_bytes: 0,
            origin_down: false,
            origin_silent: false,
            unsubscribes_late: Duration::ZERO,
            bad_relayed: 0,
            gives_digests: false,
            roots: BTreeSet::new(),
            log: Vec::new(),
            signer: OriginSigner::from_secret(&[7; 32]),
            events: BTreeMap::new(),
            next_event: 0,
            opened: BTreeSet::new(),
        };
        for who in 0..viewers {
            world.welcome(who);
        }
        world
    }

    /// A session begins, the first or another one.
    pub(crate) fn welcome(&mut self, who: usize) {
        let hex: String = self.signer.key().to_bytes().iter().map(|b| format!("{b:02x}")).collect();
        self.input(who, Input::ServerConnected);
        self.server(
            who,
            ServerMessage::Welcome {
                protocol: shoal_wire::PROTOCOL,
                peer: peer_id(who),
                keys: vec![hex],
                renditions: Vec::new(),
                ice_servers: Vec::new(),
                report_interval_ms: 5000,
            },
        );
    }

    /// Publishes `count` segments, two seconds apart, the first one now.
    pub(crate) fn publish(&mut self, first: u64, count: u64) {
        for i in 0..count {
            let at = self.now + SEGMENT * u32::try_from(i).expect("few");
            self.at(at, Event::Publish(first + i));
        }
    }

    /// Publishes a finished title, and says that it is one.
    pub(crate) fn publish_title(&mut self, count: u64) {
        self.gives_digests = true;
        for msn in 0..count {
            self.happen(Event::Publish(msn));
        }
        let playlist = "0.m3u8".into();
        let info = RenditionInfo { rendition: RENDITION, playlist, on_demand: true };
        for who in 0..self.viewers.len() {
            self.server(who, ServerMessage::Renditions { renditions: vec![info.clone()] });
        }
    }

    /// Names viewers that have the segments from `first` to before `end` to another one.
    pub(crate) fn name_sources(&mut self, who: usize, of: &[usize], first: u64, end: u64) {
        let count = u32::try_from(end - first).expect("few");
        let runs = vec![MsnRun { first, count }];
        let source =
            |other: &usize| Source { peer: peer_id(*other), runs: runs.clone(), next: end };
        let sources = of.iter().map(source).collect();
        let (rendition, epoch) = (RENDITION, Epoch(1));
        self.server(who, ServerMessage::Sources { rendition, epoch, sources });
    }

    /// The viewer's player jumps to segment `msn`.
    pub(crate) fn seek(&mut self, who: usize, msn: u64) {
        let viewer = &mut self.viewers[who];
        viewer.started = None;
        viewer.needed_at.clear();
        self.play(who, msn);
    }

    /// The viewer's player starts with segment `msn`.
    pub(crate) fn play(&mut self, who: usize, msn: u64) {
        self.viewers[who].next_msn = Some(msn);
        self.request_next(who);
    }

    pub(crate) fn server(&mut self, who: usize, message: ServerMessage) {
        self.input(who, Input::Server(message));
    }

    /// Assigns a parent in each substream; none is the origin.
    pub(crate) fn plan(&mut self, who: usize, version: u64, parents: &[Option<usize>]) {
        let assignments = (0u8..)
            .zip(parents)
            .map(|(k, parent)| Assignment { substream: Substream(k), parent: parent.map(peer_id) });
        let message = ServerMessage::Plan {
            version,
            rendition: RENDITION,
            substreams: u8::try_from(parents.len()).expect("eight at most"),
            assignments: assignments.collect(),
        };
        self.server(who, message);
    }

    pub(crate) fn introduce(&mut self, a: usize, b: usize) {
        self.server(a, ServerMessage::Introduce { peer: peer_id(b), offer: true });
        self.server(b, ServerMessage::Introduce { peer: peer_id(a), offer: false });
    }

    pub(crate) fn send_digest(&mut self, who: usize, msn: u64) {
        let digest = self.segments[&msn].1.encoded().clone();
        self.server(who, ServerMessage::Digest { digest });
    }

    /// A viewer is gone without a word; its neighbours learn after `notice`.
    pub(crate) fn kill(&mut self, who: usize, notice: Duration) {
        self.viewers[who].alive = false;
        for other in 0..self.viewers.len() {
            if self.opened.contains(&(other, who)) {
                let at = self.now + notice;
                self.at(at, Event::Input(other, Input::LinkDown { peer: peer_id(who) }));
            }
        }
    }

    /// Runs until `end`.
    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..5_000_000 {
            let event_at = self.events.first_key_value().map(|((at, _), _)| *at);
            let living = self.viewers.iter().enumerate().filter(|(_, v)| v.alive);
            let timer = living
                .filter_map(|(who, v)| Some((v.engine.poll_timeout()?.max(self.now), who)))
                .min();
            let timer_at = timer.map(|(at, _)| at);
            let Some(at) = event_at.into_iter().chain(timer_at).min().filter(|at| *at <= end)
            else {
                self.now = end;
                return;
            };
            self.now = at;
            if event_at == Some(at) {
                let (_, event) = self.events.pop_first().expect("just seen");
                self.happen(event);
            } else if let Some((_, who)) = timer {
                self.input(who, Input::Tick);
            }
        }
        panic!("the world does not come to rest");
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Input(who, input) => {
                if !self.viewers[who].alive {
                    return;
                }
                if let Input::OriginData { fetch, bytes } = &input {
                    if self.viewers[who].cancelled.contains(fetch) {
                        return;
                    }
                    self.origin_bytes += bytes.len() as u64;
                }
                self.input(who, input);
            }
            Event::Publish(msn) => {
                let bytes = segment_bytes(msn);
                let digest = sign(&self.signer, msn, &bytes);
                self.segments.insert(msn, (bytes, digest));
                for who in self.roots.clone() {
                    self.send_digest(who, msn);
                }
                for who in 0..self.viewers.len() {
                    self.request_next(who);
                }
            }
        }
    }

    /// A data channel message as a shell takes it: bytes, read at the edge.
    pub(crate) fn receive(&mut self, who: usize, peer: PeerId, message: Bytes) {
        let input = match PeerMessage::decode(message) {
            Ok(message) => Input::LinkMessage { peer, message },
            Err(_) => Input::LinkInvalid { peer },
        };
        self.input(who, input);
    }

    pub(crate) fn input(&mut self, who: usize, input: Input) {
        if !self.viewers[who].alive {
            return;
        }
        self.viewers[who].engine.handle(input, self.now);
        while let Some(output) = self.viewers[who].engine.poll_output() {
            self.log.push(format!("{} {who} {output:?}", self.now.as_micros()));
            self.obey(who, output);
        }
    }

    fn at(&mut self, at: Instant, event: Event) {
        self.next_event += 1;
        self.events.insert((at, self.next_event), event);
    }

    fn request_next(&mut self, who: usize) {
        let viewer = &mut self.viewers[who];
        let Some(msn) = viewer.next_msn else { return };
        let last = viewer.needed_at.last_key_value();
        let waiting = last.is_some_and(|(msn, _)| !viewer.played.contains_key(msn));
        if waiting || !self.segments.contains_key(&msn) || !viewer.alive {
            return;
        }
        viewer.next_msn = Some(msn + 1);
        // Playback begins with the first byte; until it comes, nothing is late.
        let due = match viewer.started {
            Some((first, at)) => at + SEGMENT * u32::try_from(msn - first).expect("in order"),
            None => Instant::FAR_FUTURE,
        };
        viewer.needed_at.insert(msn, due);
        let (id, range, duration) = (RequestId(msn), ByteRange::WHOLE, Some(SEGMENT));
        self.at(
            self.now,
            Event::Input(who, Input::Request { id, object: object(msn), range, duration }),
        );
    }

    fn obey(&mut self, who: usize, output: Output) {
        match output {
            Output::Deliver { id, bytes } => {
                let viewer = &mut self.viewers[who];
                let due = viewer.needed_at[&id.0];
                viewer.started.get_or_insert((id.0, self.now));
                if self.now > due && !viewer.late.contains(&id.0) {
                    viewer.late.push(id.0);
                }
                viewer.played.entry(id.0 | ARRIVING).or_default().extend_from_slice(&bytes);
            }
            Output::Delivered { id } => {
                let viewer = &mut self.viewers[who];
                let bytes = viewer.played.remove(&(id.0 | ARRIVING)).unwrap_or_default();
                viewer.played.insert(id.0, bytes);
                self.request_next(who);
            }
            Output::OriginFetch { fetch, object, range } => self.fetch(who, fetch, object, range),
            Output::OriginCancel { fetch } => {
                self.viewers[who].cancelled.insert(fetch);
            }
            Output::Send { peer, message } => self.send(who, index(peer), message),
            Output::OpenLink { peer, .. } => self.open(who, index(peer)),
            Output::CloseLink { peer } => {
                let other = index(peer);
                self.opened.remove(&(who, other));
                if self.opened.remove(&(other, who)) {
                    let at = self.now + LINK_LATENCY;
                    self.at(at, Event::Input(other, Input::LinkDown { peer: peer_id(who) }));
                }
            }
            Output::Server(message) => {
                if let ClientMessage::WantDigests { objects } = &message {
                    self.give_digests(who, objects);
                }
                self.viewers[who].to_server.push(message);
            }
            Output::FellBack { .. } | Output::CutOff { .. } | Output::Failed { .. } => {
                self.viewers[who].events.push(format!("{output:?}"));
            }
            Output::DigestFetch { object } => self.fetch_digest(who, object),
            Output::Started { .. } | Output::Published(_) => {}
        }
    }

    fn give_digests(&mut self, who: usize, objects: &[ObjectId]) {
        for object in objects.iter().filter(|_| self.gives_digests).copied().collect::<Vec<_>>() {
            if let Some((_, digest)) = self.segments.get(&object.msn) {
                let message = ServerMessage::Digest { digest: digest.encoded().clone() };
                self.at(self.now + ORIGIN_LATENCY, Event::Input(who, Input::Server(message)));
            }
        }
    }

    fn fetch_digest(&mut self, who: usize, object: ObjectId) {
        let published = self.segments.get(&object.msn).map(|(_, digest)| digest.encoded().clone());
        let digest = match published {
            _ if self.origin_down => Err(OriginFailure::Unreachable),
            Some(digest) => Ok(digest),
            None => Err(OriginFailure::Status(404)),
        };
        let input = Input::DigestFetched { object, digest };
        self.at(self.now + ORIGIN_LATENCY * 2, Event::Input(who, input));
    }

    fn fetch(&mut self, who: usize, fetch: FetchId, id: ObjectId, range: Option<(u32, u32)>) {
        if self.origin_silent {
            return;
        }
        let at = self.now + ORIGIN_LATENCY;
        let Some((bytes, _)) = self.segments.get(&id.msn).filter(|_| !self.origin_down) else {
            let failure = if self.origin_down {
                OriginFailure::Unreachable
            } else {
                OriginFailure::Status(404)
            };
            self.at(at, Event::Input(who, Input::OriginFailed { fetch, failure }));
            return;
        };
        let total = u32::try_from(bytes.len()).expect("small");
        let (offset, len) = range.unwrap_or((0, total));
        let body = Bytes::copy_from_slice(&bytes[offset as usize..(offset + len) as usize]);
        let started = Input::OriginStarted { fetch, total_len: Some(total), offset };
        self.at(at, Event::Input(who, started));
        let mut at = at;
        for piece in body.chunks(10_000) {
            at += Duration::from_millis(1);
            let bytes = body.slice_ref(piece);
            self.at(at, Event::Input(who, Input::OriginData { fetch, bytes }));
        }
        self.at(at, Event::Input(who, Input::OriginDone { fetch }));
    }

    fn send(&mut self, from: usize, to: usize, message: PeerMessage) {
        if !self.opened.contains(&(from, to)) {
            return;
        }
        let mut message = message;
        if let PeerMessage::Chunk { object, chunks, held, payload } = &message {
            let (_, digest) = &self.segments[&object.msn];
            let (start, len) = digest.byte_range(*chunks);
            let truth = &self.segments[&object.msn].0[start as usize..(start + len) as usize];
            if self.viewers[from].corrupts {
                let mut bad = payload.to_bytes().to_vec();
                bad[5] ^= 0x55;
                let (object, chunks, held) = (*object, *chunks, *held);
                message = PeerMessage::Chunk { object, chunks, held, payload: bad.into() };
            } else if truth != payload.to_bytes() {
                self.bad_relayed += 1;
            }
        }
        let late = matches!(message, PeerMessage::Unsubscribe { .. });
        let late = if late { self.unsubscribes_late } else { Duration::ZERO };
        let at = self.now + LINK_LATENCY + late;
        let peer = peer_id(from);
        self.at(at, Event::Input(to, Input::LinkMessage { peer, message }));
        let drained = Input::LinkBuffered { peer: peer_id(to), bytes: 0 };
        self.at(self.now + Duration::from_millis(1), Event::Input(from, drained));
    }

    fn open(&mut self, who: usize, other: usize) {
        self.opened.insert((who, other));
        if self.opened.contains(&(other, who)) && self.viewers[other].alive {
            let at = self.now + Duration::from_millis(300);
            self.at(at, Event::Input(who, Input::LinkUp { peer: peer_id(other) }));
            self.at(at, Event::Input(other, Input::LinkUp { peer: peer_id(who) }));
        }
    }

    /// The objects that viewer `who` did `what` with, by the log from line `from` on.
    pub(crate) fn named(&self, from: usize, who: usize, what: &str) -> Vec<u64> {
        let did = |line: &&String| line.contains(&format!(" {who} ")) && line.contains(what);
        let msn = |line: &String| {
            let (_, rest) = line.split_once("msn: ")?;
            rest.split(',').next()?.parse().ok()
        };
        self.log[from..].iter().filter(did).filter_map(msn).collect()
    }

    /// The newest segment that was published.
    pub(crate) fn newest(&self) -> u64 {
        *self.segments.last_key_value().expect("published").0
    }

    /// Every segment that every living viewer got is what was published, none came late.
    pub(crate) fn assert_played(&self, who: usize, from: u64, to: u64) {
        let viewer = &self.viewers[who];
        for msn in from..=to {
            let got = viewer.played.get(&msn);
            let whole = got.is_some_and(|b| *b == self.segments[&msn].0);
            let (events, late) = (&viewer.events, &viewer.late);
            assert!(whole, "viewer {who}, segment {msn}: {events:?}, late {late:?}");
        }
        assert_eq!(viewer.late, [0u64; 0], "late at viewer {who}: {:?}", viewer.events);
    }
}

/// Marks a segment of which bytes are still arriving.
const ARRIVING: u64 = 1 << 40;

pub(crate) fn peer_id(index: usize) -> PeerId {
    PeerId(index as u64 + 1)
}

fn index(peer: PeerId) -> usize {
    usize::try_from(peer.0 - 1).expect("a viewer of this world")
}
