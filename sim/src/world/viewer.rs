//! A viewer in the world: the real engine, a player before it, its access line.

use super::net::{Downlink, peer_id, viewer_of};
use super::origin::{BREAK_US, Fetch, object_id};
use super::player::Player;
use super::seek::Seeks;
use super::server::{Session, share_of};
use super::{Event, SCALE, START_US, World};
use crate::instance::Viewer as Drawn;
use crate::oracle::Nat;
use crate::random::Random;
use crate::scenario::Settings;
use shoal_peer::{ByteRange, Config, Engine, FallbackReason, Input, Output, RequestId};
use shoal_wire::peer_message::PeerMessage;
use shoal_wire::tracker_message::Totals;
use shoal_wire::{BitRate, CHUNK_SIZE, RenditionId, ShareMode};
use std::time::Duration;

/// Bytes of a media playlist.
const PLAYLIST_BYTES: u64 = 600;
/// Round trips until a new connection has its first answer: TCP, TLS and the request itself.
const CONNECT_TRIPS: u64 = 3;
/// Live players start this many segments before the end (RFC 8216, 6.3.3).
const START_SEGMENTS: u64 = 3;
/// A player asks again for what failed at instants this far apart, µs: its own, the same with peers
/// and without, so that pairs do not differ by which of two retries luck puts first.
const RETRY_US: u64 = 500_000;
/// Least and most time until the other end of a link that went silent knows, s.
const SILENCE_S: [f64; 2] = [4.0, 8.0];
/// The same for the server.
const SESSION_SILENCE_S: [f64; 2] = [5.0, 15.0];
/// Media that a simulated store keeps, s: what a playlist window shows, twice.
const STORE_S: f64 = 24.0;

/// A viewer.
pub(crate) struct Viewer {
    /// The engine, while the viewer is there.
    pub(crate) engine: Option<Box<Engine>>,
    timer_at: u64,
    /// When the playlist that was asked for comes.
    polled_at: Option<u64>,
    pub(crate) player: Player,
    /// In a finished title.
    pub(crate) seeks: Option<Seeks>,
    /// When it changes to another rendition, and to which: the same in its twin.
    switches: Option<Random>,
    pub(crate) session: Session,
    pub(crate) fetches: Vec<Fetch>,
    pub(crate) downlink: Downlink,
    /// Links by the viewer at the other end.
    pub(crate) links: Vec<(u32, u32)>,
    /// One way to the server, µs.
    pub(crate) server_us: u64,
    pub(crate) cut_off: bool,
    /// When its network came back.
    pub(crate) back_at: u64,
    pub(crate) planned_at: u64,
    /// The rendition of the segment that the player waits for.
    asked_rendition: u16,
    /// The rendition that it plays, and one that it has left.
    pub(crate) rendition: u16,
    pub(crate) left_rendition: Option<u16>,
    /// Bytes of the segment that it waits for that have come.
    pub(crate) delivered: u32,
    pub(crate) sent_bytes: u64,
    pub(crate) joined_at: u64,
    pub(crate) left_at: Option<u64>,
    /// What its engine counted, when it left.
    pub(crate) totals: Totals,
}

impl Viewer {
    pub(crate) fn new(drawn: &Drawn, settings: &Settings) -> Self {
        let joined_at = START_US + (drawn.join_s * 1e6) as u64;
        let buffer_s = if settings.startup_buffer_s > 0.0 {
            settings.startup_buffer_s
        } else {
            settings.segment_s
        };
        let core_ms = 10.0 + f64::from(drawn.town % 20);
        Self {
            engine: None,
            timer_at: u64::MAX,
            polled_at: None,
            player: Player::new(joined_at, (buffer_s * 1e6) as u64),
            seeks: None,
            switches: None,
            session: Session::None,
            fetches: Vec::new(),
            downlink: Downlink::new(drawn.download_mbps),
            links: Vec::new(),
            server_us: ((drawn.access_ms + core_ms) * 500.0) as u64,
            cut_off: false,
            back_at: 0,
            planned_at: 0,
            asked_rendition: drawn.rendition,
            rendition: drawn.rendition,
            left_rendition: None,
            delivered: 0,
            sent_bytes: 0,
            joined_at,
            left_at: None,
            totals: Totals::default(),
        }
    }

    pub(crate) fn link_to(&self, other: u32) -> Option<u32> {
        self.links.iter().find(|(far, _)| *far == other).map(|(_, link)| *link)
    }
}

/// The engine's settings: as shipped, in the world's small bytes.
fn engine_config(drawn: &Drawn, settings: &Settings, peers: bool) -> Config {
    let own = Config::default();
    let scaled = |rate: BitRate| BitRate::from_bps(rate.as_bps() / SCALE);
    let believed = BitRate::from_bps((drawn.believed_mbps * 1e6) as u64);
    let scale = SCALE as usize;
    Config {
        share: if peers { share_of(drawn) } else { ShareMode::Off },
        upload_prior: scaled(believed),
        upload_min: scaled(own.upload_min),
        chunk_size_prior: CHUNK_SIZE / SCALE as u32,
        segment_bytes_prior: own.segment_bytes_prior / SCALE as u32,
        on_demand_bytes_max: own.on_demand_bytes_max / scale,
        store_bytes_max: (settings.rate * 1e6 / 8.0 * STORE_S) as usize / scale,
        unverified_bytes_max: own.unverified_bytes_max / scale,
        links_max: drawn.links_max,
        origin_rate_prior: scaled(own.origin_rate_prior),
        rate_sample_bytes_min: own.rate_sample_bytes_min / SCALE,
        ..own
    }
}

impl World<'_> {
    /// A viewer opens the stream.
    pub(crate) fn on_join(&mut self, viewer: u32) {
        let drawn = &self.instance.viewers[viewer as usize];
        let config = engine_config(drawn, self.settings, self.peers);
        let seed = crate::random::mix(self.instance.seed ^ u64::from(viewer) << 20);
        let memo = Box::new(self.memo.clone());
        let engine = Engine::with_verifier(self.stream.clone(), config, seed, memo);
        let state = &mut self.viewers[viewer as usize];
        state.engine = Some(Box::new(engine));
        state.cut_off = drawn.in_outage && self.in_outage;
        state.seeks = self.settings.vod.then(|| Seeks::new(self.instance.seed, viewer));
        let round_trip = state.server_us * 2;
        self.present += 1;
        self.plan_seek(viewer);
        self.poll_playlist(viewer, self.now + round_trip * CONNECT_TRIPS);
        if self.peers {
            self.queue.push(self.now + round_trip * CONNECT_TRIPS, Event::Session(viewer));
        }
        if self.settings.switches_per_min > 0.0 {
            let own = self.instance.seed ^ crate::random::mix(u64::from(viewer));
            self.viewers[viewer as usize].switches = Some(Random::new(own, 6));
            self.plan_switch(viewer);
        }
    }

    fn plan_switch(&mut self, viewer: u32) {
        let Some(switches) = self.viewers[viewer as usize].switches.as_mut() else { return };
        let wait_s = switches.exponential(60.0 / self.settings.switches_per_min);
        self.queue.push(self.now + (wait_s * 1e6) as u64, Event::Switch(viewer));
    }

    /// A playlist is to come at `at`, unless one comes before: a player has one poll open.
    pub(crate) fn poll_playlist(&mut self, viewer: u32, at: u64) {
        let polled_at = &mut self.viewers[viewer as usize].polled_at;
        if polled_at.is_none_or(|before| at < before) {
            *polled_at = Some(at);
            self.queue.push(at, Event::Playlist(viewer));
        }
    }

    /// A playlist has come from the origin, or the origin does not answer: then it is asked again
    /// after a while.
    pub(crate) fn on_playlist(&mut self, viewer: u32) {
        let state = &mut self.viewers[viewer as usize];
        if state.engine.is_none() || state.polled_at != Some(self.now) {
            return;
        }
        state.polled_at = None;
        // As for a segment, what counts is whether the request got through.
        let asked_at = self.now.saturating_sub(state.server_us * 2);
        let failed = state.cut_off || self.origin.is_down;
        if failed || asked_at < state.back_at.max(self.origin.back_at) {
            let noticed_at = self.now + if state.cut_off { BREAK_US } else { 0 };
            let answer_us = state.server_us * 2;
            let at = self.retry_at(viewer, noticed_at) + answer_us;
            self.poll_playlist(viewer, at);
            return;
        }
        self.tally.control_bytes(PLAYLIST_BYTES, self.now);
        let published = self.origin.published();
        state.player.known_until = state.player.known_until.max(published);
        if state.player.next.is_none() {
            let live = published.saturating_sub(START_SEGMENTS);
            let position = self.instance.viewers[viewer as usize].position;
            let scattered = (position * published as f64) as u64;
            state.player.next = Some(if self.settings.vod { scattered } else { live });
        }
        self.advance(viewer);
    }

    /// When the player of a viewer asks again for what it noticed to have failed.
    fn retry_at(&self, viewer: u32, noticed_at: u64) -> u64 {
        let phase = crate::random::mix(self.instance.seed.rotate_left(32) ^ u64::from(viewer));
        let since = noticed_at + RETRY_US - phase % RETRY_US;
        noticed_at + RETRY_US - since % RETRY_US
    }

    /// The player asks for its next segment, if it may.
    pub(crate) fn advance(&mut self, viewer: u32) {
        let state = &mut self.viewers[viewer as usize];
        let player = &mut state.player;
        let Some(next) = player.next.filter(|next| *next < player.known_until) else {
            let over_at = player.empty_at().filter(|_| state.seeks.is_some());
            if let Some(at) = over_at {
                self.queue.push(at, Event::TitleOver(viewer));
            }
            return;
        };
        if state.engine.is_none() || player.waiting.is_some() {
            return;
        }
        if let Some(until) = player.full_until(self.now) {
            self.queue.push(until, Event::Player(viewer));
            return;
        }
        player.waiting = Some(next);
        state.asked_rendition = state.rendition;
        let object = object_id(state.rendition, next);
        let duration = Some(Duration::from_secs_f64(self.settings.segment_s));
        let (id, range) = (RequestId(next), ByteRange::WHOLE);
        self.feed(viewer, Input::Request { id, object, range, duration });
    }

    /// The player changes to another rendition with its next request.
    pub(crate) fn on_switch(&mut self, viewer: u32) {
        let state = &mut self.viewers[viewer as usize];
        if state.engine.is_none() {
            return;
        }
        let Some(switches) = state.switches.as_mut() else { return };
        let count = u64::from(self.settings.renditions);
        let other = (u64::from(state.rendition) + 1 + switches.below(count.max(2) - 1)) % count;
        if state.left_rendition.is_none() && other != u64::from(state.rendition) {
            state.left_rendition = Some(state.rendition);
            state.rendition = other as u16;
            let at_s = (self.now as f64 - START_US as f64) / 1e6;
            self.tally.switches.push((viewer, at_s, state.rendition));
            let at = self.now + state.server_us * 2;
            self.poll_playlist(viewer, at);
        }
        self.plan_switch(viewer);
    }

    /// Gives an engine an input and does what it asks for.
    pub(crate) fn feed(&mut self, viewer: u32, input: Input) {
        let now = self.instant();
        let Some(engine) = self.viewers[viewer as usize].engine.as_mut() else { return };
        engine.handle(input, now);
        while let Some(output) =
            self.viewers[viewer as usize].engine.as_mut().and_then(|engine| engine.poll_output())
        {
            self.obey(viewer, output);
        }
        self.arm(viewer);
    }

    fn arm(&mut self, viewer: u32) {
        let state = &mut self.viewers[viewer as usize];
        let due = state.engine.as_ref().and_then(|engine| engine.poll_timeout());
        let Some(at) = due.map(|at| at.as_micros().max(self.now)) else { return };
        if at < state.timer_at {
            state.timer_at = at;
            self.queue.push(at, Event::Timer(viewer));
        }
    }

    pub(crate) fn on_timer(&mut self, viewer: u32) {
        let state = &mut self.viewers[viewer as usize];
        // A later timer was replaced by an earlier one and comes for nothing.
        if state.timer_at == self.now {
            state.timer_at = u64::MAX;
            self.feed(viewer, Input::Tick);
        }
    }

    fn obey(&mut self, viewer: u32, output: Output) {
        match output {
            Output::Started { .. } | Output::CutOff { .. } => {}
            Output::Deliver { id, bytes } => self.deliver(viewer, id.0, &bytes),
            Output::Delivered { id } => self.delivered(viewer, id.0),
            Output::Failed { .. } => {
                self.tally.failed_requests += 1;
                self.viewers[viewer as usize].player.waiting = None;
                self.viewers[viewer as usize].delivered = 0;
                let at = self.retry_at(viewer, self.now);
                self.queue.push(at, Event::Player(viewer));
            }
            Output::OriginFetch { fetch, object, range } => {
                self.origin_fetch(viewer, fetch, object, range);
            }
            Output::DigestFetch { object } => self.digest_fetch(viewer, object),
            Output::OriginCancel { fetch } => self.origin_cancel(viewer, fetch),
            Output::Server(message) => {
                let at = self.now + self.viewers[viewer as usize].server_us;
                self.queue.push(at, Event::ToServer(viewer, Box::new(message)));
            }
            Output::OpenLink { peer, .. } => self.open_link(viewer, viewer_of(peer)),
            Output::CloseLink { peer } => self.close_link(viewer, viewer_of(peer)),
            Output::Send { peer, message } => self.send_to_peer(viewer, viewer_of(peer), message),
            Output::Published(digest) => {
                let state = &mut self.viewers[viewer as usize];
                if digest.object.rendition == RenditionId(state.rendition) {
                    let known = &mut state.player.known_until;
                    *known = (*known).max(digest.object.msn + 1);
                    self.advance_later(viewer);
                }
            }
            Output::FellBack { reason, .. } => {
                self.tally.fallbacks[match reason {
                    FallbackReason::Deadline => 0,
                    FallbackReason::NoSource => 1,
                    FallbackReason::NoPeers => 2,
                }] += 1;
            }
        }
    }

    /// The player acts after the engine has said all that it has to say.
    fn advance_later(&mut self, viewer: u32) {
        let player = &self.viewers[viewer as usize].player;
        let is_title = self.viewers[viewer as usize].seeks.is_some();
        let has_next = player.next.is_some_and(|next| next < player.known_until);
        if player.waiting.is_none() && (has_next || is_title) {
            self.queue.push(self.now, Event::Player(viewer));
        }
    }

    fn deliver(&mut self, viewer: u32, msn: u64, bytes: &[u8]) {
        let state = &mut self.viewers[viewer as usize];
        let asked = object_id(state.asked_rendition, msn);
        let Some(object) = self.origin.object(asked) else { return };
        let (whole, media_us) = (object.bytes.len() as u64, (self.settings.segment_s * 1e6) as u64);
        let media_at = |bytes: u64| bytes * media_us / whole;
        let before = u64::from(state.delivered);
        let media = media_at(before + bytes.len() as u64) - media_at(before);
        state.player.receive(media, self.now);
        self.tally.delivered_bytes(msn, bytes.len() as u64 * SCALE, self.now);
        let at = state.delivered as usize;
        if object.bytes.get(at..at + bytes.len()) != Some(bytes) {
            self.tally.bad_played += 1;
        }
        state.delivered += bytes.len() as u32;
    }

    fn delivered(&mut self, viewer: u32, msn: u64) {
        let state = &mut self.viewers[viewer as usize];
        state.delivered = 0;
        state.player.waiting = None;
        state.player.next = Some(msn + 1);
        if self.instance.viewers[viewer as usize].class != Nat::Blocked {
            self.tally.whole_segment(msn);
        }
        if let Some(object) = self.origin.object(object_id(state.asked_rendition, msn))
            && state.joined_at + self.settled_us < object.published_at
            && self.instance.viewers[viewer as usize].class != Nat::Blocked
        {
            let delay = self.now - object.published_at;
            let sample = (msn as u32, u32::try_from(delay).unwrap_or(u32::MAX));
            self.tally.delays.push(sample);
        }
        if state.asked_rendition == state.rendition
            && let Some(left) = state.left_rendition.take()
        {
            let rendition = RenditionId(left);
            self.queue.push(self.now, Event::StopWatching(viewer, rendition));
        }
        self.advance_later(viewer);
    }

    /// A viewer leaves.
    pub(crate) fn on_leave(&mut self, viewer: u32) {
        let crashes = self.instance.viewers[viewer as usize].crashes;
        if self.viewers[viewer as usize].engine.is_none() {
            return;
        }
        self.retire(viewer);
        for (other, link) in self.viewers[viewer as usize].links.clone() {
            if crashes {
                let [least, most] = SILENCE_S;
                let at = self.now + (self.random.between(least, most) * 1e6) as u64;
                self.queue.push(at, Event::LinkDead(link));
            } else {
                self.send_to_peer(viewer, other, PeerMessage::Bye);
                let at = self.now + self.net.one_way_us(link) * 2;
                self.queue.push(at, Event::LinkDead(link));
            }
        }
        let server_us = self.viewers[viewer as usize].server_us;
        let [least, most] = SESSION_SILENCE_S;
        let silence = (self.random.between(least, most) * 1e6) as u64;
        let notice = if crashes { silence } else { server_us };
        self.queue.push(self.now + notice, Event::SessionOver(viewer));
    }

    /// Takes what is to be known of a viewer, and its engine out of the world.
    pub(crate) fn retire(&mut self, viewer: u32) {
        let now = self.instant();
        let event_end = self.at_second(self.settings.duration_s);
        let state = &mut self.viewers[viewer as usize];
        let Some(engine) = state.engine.take() else { return };
        state.totals = engine.status(now).totals;
        // What comes after the event does not count.
        state.player.end(self.now.min(event_end));
        state.left_at = Some(self.now);
        state.fetches.clear();
        self.present -= 1;
    }

    /// The end of a link that is left learns that the other is gone.
    pub(crate) fn on_link_dead(&mut self, link: u32) {
        if self.net.links[link as usize].state == super::net::LinkState::Closed {
            return;
        }
        let ends = self.net.links[link as usize].ends;
        self.drop_link(link);
        for (end, other) in [(ends[0], ends[1]), (ends[1], ends[0])] {
            self.feed(end, Input::LinkDown { peer: peer_id(other) });
        }
    }
}
