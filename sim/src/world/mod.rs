//! The world: real engines and the real tracker in virtual time.
//!
//! Rule: it decides nothing that the cores decide. It moves what they send, as slowly as a network
//! would, and counts.

mod net;
mod origin;
pub mod player;
mod queue;
mod script;
mod seek;
mod server;
mod slab;
mod tally;
mod viewer;

use crate::instance::Instance;
use crate::memo::Memo;
use crate::random::Random;
use crate::scenario::Settings;
use anyhow::{Result, anyhow};
use bytes::Bytes;
use net::{Dir, Net, Uplink};
use origin::Origin;
use queue::Queue;
use server::Session;
use shoal_peer::{FetchId, Input};
use shoal_tracker::Tracker;
use shoal_wire::{ClientMessage, Instant, ObjectId, RenditionId, ServerMessage, StreamName};
use tally::Tally;
use viewer::Viewer;

pub(crate) use origin::rate_of;
pub(crate) use tally::Segment;

/// Bytes on the wire for one byte in memory: a chunk of 16 KiB is 64 bytes here.
pub(crate) const SCALE: u64 = 256;
/// When the event begins, in virtual time, µs: some segments are published before.
const START_US: u64 = START_S as u64 * 1_000_000;
/// The same in seconds.
pub(crate) const START_S: usize = 100;
/// Time after the event for a segment to reach every player, without its length, s.
const TAIL_S: f64 = 2.0;
/// The same in segments: no player plays further behind.
const TAIL_SEGMENTS: f64 = 3.0;
/// Viewers that joined this long before a segment's publication count for its delay, s.
const SETTLED_S: f64 = 10.0;
/// Segments of a live stream that are there when the first viewers come.
const PREFILL: u64 = 4;

/// When a run ends, s. Live segments are published until then, though those after the event do not
/// count: the last that do have to share uplinks, as all before them.
pub(crate) fn end_s(settings: &Settings) -> f64 {
    settings.duration_s + TAIL_S + TAIL_SEGMENTS * settings.segment_s
}

/// Something that happens.
enum Event {
    Join(u32),
    Leave(u32),
    SessionOver(u32),
    Session(u32),
    Playlist(u32),
    Player(u32),
    Switch(u32),
    Seek(u32),
    TitleOver(u32),
    StopWatching(u32, RenditionId),
    Timer(u32),
    Uplink(u32),
    Window(Dir),
    Retransmit(Dir, u32),
    Arrive(Dir, u32, u32),
    Deliver(Dir, u32),
    FetchStarted(u32, FetchId),
    FetchData(u32, FetchId, Box<(Bytes, bool)>),
    FetchFailed(u32, FetchId, u16),
    DigestFetched(u32, ObjectId, Result<(), u16>),
    ToServer(u32, Box<ClientMessage>),
    FromServer(u32, Box<ServerMessage>),
    LinkDecided(u32, bool),
    LinkGone(u32, u32),
    LinkDead(u32),
    Slander(u32),
    Publish,
    Announce,
    Overdue(u64),
    Tracker,
    Second,
    Script(script::Step),
}

/// What a finished world is judged by.
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    pub(crate) viewers: Vec<ViewerOutcome>,
    pub(crate) plans_disagree: u64,
    /// Segments published before the event begins.
    pub(crate) prefilled: u64,
}

/// One viewer's share in it. Times are µs.
pub(crate) struct ViewerOutcome {
    pub(crate) startup: Option<u64>,
    pub(crate) stalled: u64,
    /// From each seek to playback.
    pub(crate) seeks: Vec<u64>,
    pub(crate) stayed: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) totals: shoal_wire::tracker_message::Totals,
}

/// The world of one run.
pub(crate) struct World<'a> {
    settings: &'a Settings,
    instance: &'a Instance,
    /// Whether peers are used: not, in a twin.
    peers: bool,
    stream: StreamName,
    now: u64,
    queue: Queue<Event>,
    random: Random,
    viewers: Vec<Viewer>,
    net: Net,
    origin: Origin,
    tracker: Option<Tracker>,
    tracker_due: u64,
    tally: Tally,
    memo: Memo,
    present: u32,
    in_outage: bool,
    settled_us: u64,
    fault: Option<anyhow::Error>,
}

impl<'a> World<'a> {
    /// The world before anybody has come.
    pub(crate) fn new(settings: &'a Settings, instance: &'a Instance, peers: bool) -> Self {
        let stream: StreamName = "sim".parse().expect("sim is a stream name");
        let uplinks = instance.viewers.iter().map(|v| Uplink::new(v.upload_mbps)).collect();
        let config = shoal_tracker::Config::default();
        let mut world = Self {
            settings,
            instance,
            peers,
            origin: Origin::new(settings, stream.clone(), instance.seed),
            stream,
            now: START_US,
            queue: Queue::new(),
            random: Random::new(instance.seed, 2),
            viewers: instance.viewers.iter().map(|v| Viewer::new(v, settings)).collect(),
            net: Net::new(uplinks),
            tracker: peers.then(|| Tracker::new(config, instance.seed)),
            tracker_due: u64::MAX,
            tally: Tally::default(),
            memo: Memo::default(),
            present: 0,
            in_outage: false,
            settled_us: (SETTLED_S * 1e6) as u64,
            fault: None,
        };
        world.prepare();
        world
    }

    fn prepare(&mut self) {
        let segment_us = self.segment_us();
        let before = if self.settings.vod {
            (self.settings.duration_s / self.settings.segment_s) as u64
        } else {
            PREFILL
        };
        for back in (0..before).rev() {
            self.publish(START_US.saturating_sub(segment_us * back));
        }
        self.announce();
        self.tell_on_demand();
        if !self.settings.vod {
            self.queue.push(START_US + segment_us, Event::Publish);
        }
        for (at, viewer) in self.instance.viewers.iter().enumerate() {
            let viewer_ix = at as u32;
            self.queue.push(self.at_second(viewer.join_s), Event::Join(viewer_ix));
            if viewer.leave_s < self.settings.duration_s {
                self.queue.push(self.at_second(viewer.leave_s), Event::Leave(viewer_ix));
            }
        }
        self.queue.push(START_US, Event::Second);
        self.prepare_script();
    }

    fn segment_us(&self) -> u64 {
        (self.settings.segment_s * 1e6) as u64
    }

    fn at_second(&self, seconds: f64) -> u64 {
        START_US + (seconds * 1e6) as u64
    }

    fn instant(&self) -> Instant {
        Instant::from_micros(self.now)
    }

    /// Runs to the end. `progress` hears of the part that is done, 0 to 1.
    pub(crate) fn run(mut self, progress: &mut dyn FnMut(f64)) -> Result<Outcome> {
        let end = self.at_second(end_s(self.settings));
        while let Some((at, event)) = self.queue.pop() {
            if at > end {
                break;
            }
            let is_second = matches!(event, Event::Second);
            self.now = self.now.max(at);
            self.happen(event);
            if is_second {
                progress((self.now - START_US) as f64 / (end - START_US) as f64);
            }
            if let Some(fault) = self.fault.take() {
                return Err(fault.context(format!("at {:.6} s", self.elapsed_s())));
            }
        }
        self.finish()
    }

    fn elapsed_s(&self) -> f64 {
        (self.now - START_US) as f64 / 1e6
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Uplink(viewer) => self.on_uplink(viewer),
            Event::Arrive(dir, message, bytes) => self.on_arrive(dir, message, bytes),
            Event::Deliver(dir, message) => self.on_deliver(dir, message),
            Event::Timer(viewer) => self.on_timer(viewer),
            Event::Window(dir) => self.on_window(dir),
            Event::Retransmit(dir, message) => self.on_retransmit(dir, message),
            Event::FetchStarted(viewer, fetch) => self.on_fetch_started(viewer, fetch),
            Event::FetchData(viewer, fetch, piece) => {
                self.on_fetch_data(viewer, fetch, piece.0, piece.1);
            }
            Event::FetchFailed(viewer, fetch, status) => {
                self.on_fetch_failed(viewer, fetch, status);
            }
            Event::DigestFetched(viewer, object, found) => {
                self.on_digest_fetched(viewer, object, found);
            }
            Event::ToServer(viewer, message) => self.on_to_server(viewer, *message),
            Event::FromServer(viewer, message) => self.on_from_server(viewer, *message),
            Event::Player(viewer) => self.advance(viewer),
            Event::Playlist(viewer) => self.on_playlist(viewer),
            Event::StopWatching(viewer, rendition) => {
                self.feed(viewer, Input::StopWatching { rendition });
            }
            Event::Switch(viewer) => self.on_switch(viewer),
            Event::Seek(viewer) => self.on_seek(viewer),
            Event::TitleOver(viewer) => self.on_title_over(viewer),
            Event::Join(viewer) => self.on_join(viewer),
            Event::Leave(viewer) => self.on_leave(viewer),
            Event::Session(viewer) => self.on_session(viewer),
            Event::SessionOver(viewer) => self.end_session(viewer),
            Event::LinkDecided(link, up) => self.on_link_decided(link, up),
            Event::LinkGone(viewer, other) => {
                self.feed(viewer, Input::LinkDown { peer: net::peer_id(other) });
            }
            Event::LinkDead(link) => self.on_link_dead(link),
            Event::Slander(viewer) => self.on_slander(viewer),
            Event::Publish => self.on_publish(),
            Event::Announce => self.announce(),
            Event::Overdue(msn) => self.on_overdue(msn),
            Event::Tracker => self.on_tracker(),
            Event::Second => self.on_second(),
            Event::Script(step) => self.on_script(step),
        }
    }

    fn publish(&mut self, at: u64) {
        for rendition in 0..self.settings.renditions as u16 {
            self.origin.publish(self.settings, rendition, at);
        }
    }

    fn on_publish(&mut self) {
        let msn = self.origin.published();
        self.publish(self.now);
        if self.now < self.origin.slow_until {
            let slow = (self.settings.origin_slow_by_s * 1e6) as u64;
            self.queue.push(self.now + slow, Event::Announce);
        } else {
            self.announce();
        }
        let segment_us = self.segment_us();
        self.queue.push(self.now + segment_us / 2, Event::Overdue(msn));
        if self.now + segment_us <= self.at_second(end_s(self.settings)) {
            self.queue.push(self.now + segment_us, Event::Publish);
        }
    }

    /// Whoever does not know a segment half its time after it was published asks the origin: an
    /// agent because the digest is overdue, a plain player because it polls.
    fn on_overdue(&mut self, msn: u64) {
        for viewer in 0..self.viewers.len() as u32 {
            let state = &self.viewers[viewer as usize];
            let knows = state.player.known_until > msn || state.player.next.is_none();
            if state.engine.is_some() && !knows {
                let own = self.instance.seed ^ msn.rotate_left(32) ^ u64::from(viewer);
                let spread = crate::random::mix(own) % (self.segment_us() / 8).max(1);
                let at = self.now + state.server_us * 2 + spread;
                self.poll_playlist(viewer, at);
            }
        }
    }

    fn on_tracker(&mut self) {
        if self.tracker_due == self.now {
            self.tracker_due = u64::MAX;
            self.tell_tracker(shoal_tracker::Input::Tick);
        }
    }

    fn on_second(&mut self) {
        let present = self.present;
        self.tally.second(self.now).viewers = present;
        self.queue.push(self.now + 1_000_000, Event::Second);
        let second = (self.now - START_US) / 1_000_000;
        if second % AUDIT_EVERY_S == AUDIT_EVERY_S - 1 {
            self.audit();
        }
    }

    /// Checks what must hold at any time.
    fn audit(&mut self) {
        if self.viewers.len() <= AUDIT_VIEWERS_MAX
            && let Some(Err(fault)) = self.tracker.as_ref().map(Tracker::audit)
        {
            self.fault = Some(anyhow!("the tracker's tables: {fault}"));
        }
        let now = self.instant();
        for (at, viewer) in self.viewers.iter().enumerate() {
            let Some(engine) = viewer.engine.as_ref() else { continue };
            let status = engine.status(now);
            let links_max = usize::from(self.instance.viewers[at].links_max);
            if status.neighbours.len() > links_max {
                self.fault = Some(anyhow!("viewer {at} has {} links", status.neighbours.len()));
            }
            let config = shoal_peer::Config::default();
            let objects_max =
                if self.settings.vod { config.on_demand_objects_max } else { config.objects_max };
            if status.objects > objects_max {
                self.fault = Some(anyhow!("viewer {at} knows {} objects", status.objects));
            }
            let carried = self.instance.viewers[at].upload_mbps / 8.0;
            let carried = carried * (self.now - viewer.joined_at) as f64 + 1.0;
            if viewer.sent_bytes as f64 > carried {
                let sent = viewer.sent_bytes;
                self.fault = Some(anyhow!("viewer {at} sent {sent} bytes, {carried:.0} at most"));
            }
        }
        if self.tally.bad_played + self.tally.bad_relayed > 0 {
            self.fault = Some(anyhow!("bytes that the origin did not publish were used"));
        }
    }

    /// Viewers whose parents are not those of a plan that has long stood.
    fn plans_disagree(&self) -> u64 {
        let Some(tracker) = self.tracker.as_ref() else { return 0 };
        let now = self.instant();
        let mut disagree = 0;
        for (at, viewer) in self.viewers.iter().enumerate() {
            let Some(engine) = viewer.engine.as_ref() else { continue };
            if viewer.session != Session::Up {
                continue;
            }
            for feed in engine.status(now).substreams {
                let peer = net::peer_id(at as u32);
                let planned = tracker.parent(peer, feed.rendition, feed.substream);
                let actual = match feed.parent {
                    shoal_peer::Parent::Nobody => continue,
                    shoal_peer::Parent::Origin => None,
                    shoal_peer::Parent::Peer(parent) => Some(parent),
                };
                let parent = planned.flatten().map(net::viewer_of);
                let is_settled = viewer.planned_at + self.settles_us(at as u32, parent) <= self.now;
                disagree += u64::from(is_settled && planned != Some(actual));
            }
        }
        disagree
    }

    /// How long a plan is given to be carried out: a request and its answer wait behind what their
    /// senders' transports hold already.
    fn settles_us(&self, viewer: u32, parent: Option<u32>) -> u64 {
        let uploads = std::iter::once(viewer).chain(parent);
        let uploads = uploads.map(|at| self.instance.viewers[at as usize].upload_mbps);
        let waits = uploads.filter(|mbps| *mbps > 0.0).map(|mbps| TRANSPORT_BITS / mbps);
        PLAN_SETTLES_US + waits.sum::<f64>() as u64
    }

    fn finish(mut self) -> Result<Outcome> {
        self.audit();
        if let Some(fault) = self.fault.take() {
            return Err(fault.context("at the end"));
        }
        let plans_disagree = self.plans_disagree();
        for viewer in 0..self.viewers.len() as u32 {
            self.retire(viewer);
        }
        let outcome = |viewer: &Viewer| ViewerOutcome {
            startup: viewer.player.startup(),
            stalled: viewer.player.stalled(),
            seeks: viewer.player.seeks().to_vec(),
            stayed: viewer.left_at.map_or(0, |left| left - viewer.joined_at),
            sent_bytes: viewer.sent_bytes,
            totals: viewer.totals,
        };
        let viewers = self.viewers.iter().map(outcome).collect();
        let prefilled = if self.settings.vod { self.origin.published() } else { PREFILL };
        Ok(Outcome { tally: self.tally, viewers, plans_disagree, prefilled })
    }
}

/// Time between two audits, s.
const AUDIT_EVERY_S: u64 = 10;
/// Above this size the tracker is not audited: it costs as much as the run.
const AUDIT_VIEWERS_MAX: usize = 5_000;
/// A plan that has stood for this long is carried out, µs, where messages need not wait.
const PLAN_SETTLES_US: u64 = 30_000_000;
/// What an engine keeps in its transport at most if its uplink is slow: eight chunks.
const TRANSPORT_BITS: f64 = 8.0 * 16_384.0 * 8.0;
