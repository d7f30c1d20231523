//! The server's sessions: messages to and from the real tracker, with the way they take.
//!
//! Rule: the tracker sees what a server sees, never a viewer's class or what it really has.

use super::net::{Dir, LinkState, peer_id, viewer_of};
use super::{Event, SCALE, World};
use crate::instance::{Role, Viewer as Drawn};
use crate::oracle::Nat;
use shoal_peer::Input as PeerInput;
use shoal_tracker::{Input, Mapping, Output, Place, Profile, Tracker};
use shoal_wire::tracker_message::{LostReason, RenditionInfo};
use shoal_wire::{
    BitRate, ByteSize, ClientMessage, ObjectId, PROTOCOL, PeerMessage, RenditionId, ServerFrame,
    ServerMessage, ShareMode, Substream,
};
use std::time::Duration;

/// Time between reports, as the server's default has it.
const REPORT_MS: u32 = 5_000;
/// Offer and answer of a link with their candidates, as our agent writes them.
const SIGNAL_BYTES: u64 = 1_000;
/// Header of a WebSocket frame.
const FRAME_BYTES: u64 = 4;
/// Time between two lies of a slanderer, µs.
const SLANDER_US: u64 = 2_000_000;

/// A viewer that finds no server tries again after this long, µs.
const RECONNECT_US: u64 = 2_000_000;

/// A viewer's session with the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Session {
    None,
    Up,
}

impl World<'_> {
    /// A connection to the server stands.
    pub(crate) fn on_session(&mut self, viewer: u32) {
        let state = &self.viewers[viewer as usize];
        if state.engine.is_none() || state.session == Session::Up {
            return;
        }
        if state.cut_off || self.tracker.is_none() {
            self.queue.push(self.now + RECONNECT_US, Event::Session(viewer));
            return;
        }
        let drawn = &self.instance.viewers[viewer as usize];
        let resume = state.engine.as_ref().and_then(|engine| engine.resume());
        let (edges, neighbours) =
            resume.map_or_else(Default::default, |resume| (resume.edges, resume.neighbours));
        let profile = profile(drawn);
        self.viewers[viewer as usize].session = Session::Up;
        let peer = peer_id(viewer);
        self.tell_tracker(Input::Join { peer, profile, edges, neighbours });
        let welcome = ServerMessage::Welcome {
            protocol: PROTOCOL,
            peer,
            keys: vec![self.origin.key_hex()],
            renditions: self.renditions(),
            ice_servers: Vec::new(),
            report_interval_ms: REPORT_MS,
        };
        self.count_control(&welcome);
        self.feed(viewer, PeerInput::ServerConnected);
        self.feed(viewer, PeerInput::Server(welcome));
        if drawn.role == Role::Slanderer {
            self.queue.push(self.now + SLANDER_US, Event::Slander(viewer));
        }
    }

    /// What a welcome says of renditions: only a finished title needs it.
    fn renditions(&self) -> Vec<RenditionInfo> {
        let numbers = (0..self.settings.renditions as u16).filter(|_| self.settings.vod);
        let info = |number| RenditionInfo {
            rendition: RenditionId(number),
            playlist: format!("{number}.m3u8"),
            on_demand: true,
        };
        numbers.map(info).collect()
    }

    /// A finished title is known to be one.
    pub(crate) fn tell_on_demand(&mut self) {
        for number in (0..self.settings.renditions as u16).filter(|_| self.settings.vod) {
            self.tell_tracker(Input::OnDemand { rendition: RenditionId(number) });
        }
    }

    /// The session ends: `tracker` learns of it, `viewer` too.
    pub(crate) fn end_session(&mut self, viewer: u32) {
        if self.viewers[viewer as usize].session == Session::Up {
            self.viewers[viewer as usize].session = Session::None;
            self.tell_tracker(Input::Leave { peer: peer_id(viewer) });
        }
    }

    fn count_control(&mut self, message: &ServerMessage) {
        let bytes = match message.to_frame() {
            ServerFrame::Text(text) => text.len(),
            ServerFrame::Binary(digest) => digest.len(),
        };
        self.tally.control_bytes(bytes as u64 + FRAME_BYTES, self.now);
    }

    /// Sends a message to a viewer.
    fn send(&mut self, viewer: u32, message: ServerMessage) {
        if self.viewers[viewer as usize].session != Session::Up {
            return;
        }
        self.count_control(&message);
        let at = self.now + self.viewers[viewer as usize].server_us;
        self.queue.push(at, Event::FromServer(viewer, Box::new(message)));
    }

    pub(crate) fn on_from_server(&mut self, viewer: u32, message: ServerMessage) {
        let state = &self.viewers[viewer as usize];
        if state.session == Session::Up && !state.cut_off {
            self.feed(viewer, PeerInput::Server(message));
        }
    }

    pub(crate) fn tell_tracker(&mut self, input: Input) {
        let now = self.instant();
        let Some(tracker) = self.tracker.as_mut() else { return };
        tracker.handle(input, now);
        let mut outputs = Vec::new();
        while let Some(output) = tracker.poll_output() {
            outputs.push(output);
        }
        for output in outputs {
            self.carry_out(output);
        }
        self.arm_tracker();
    }

    pub(crate) fn arm_tracker(&mut self) {
        let due = self.tracker.as_ref().and_then(Tracker::poll_timeout);
        if let Some(at) = due.map(|at| at.as_micros().max(self.now + 1))
            && (at < self.tracker_due || self.tracker_due <= self.now)
        {
            self.tracker_due = at;
            self.queue.push(at, Event::Tracker);
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Introduce { offerer, answerer } => {
                for (peer, other, offer) in [(offerer, answerer, true), (answerer, offerer, false)]
                {
                    let introduce = ServerMessage::Introduce { peer: other, offer };
                    self.send(viewer_of(peer), introduce);
                }
            }
            Output::Plan { peer, version, rendition, substreams, assignments } => {
                let viewer = viewer_of(peer);
                self.viewers[viewer as usize].planned_at = self.now;
                self.tally.plan_changes += assignments.len() as u64;
                let plan = ServerMessage::Plan { version, rendition, substreams, assignments };
                self.send(viewer, plan);
            }
            Output::Sources { peer, rendition, epoch, sources } => {
                self.send(viewer_of(peer), ServerMessage::Sources { rendition, epoch, sources });
            }
            Output::Digest { object, peers } => {
                for peer in peers {
                    self.send_digest(viewer_of(peer), object);
                }
            }
            Output::Disconnect { peer, other } => {
                self.send(viewer_of(peer), ServerMessage::Disconnect { peer: other });
            }
            Output::Peers { .. } => {}
            Output::Banned { peer } => {
                let role = self.instance.viewers[viewer_of(peer) as usize].role;
                self.tally.banned += 1;
                if matches!(role, Role::Honest | Role::Liar) {
                    self.tally.honest_banned += 1;
                }
            }
        }
    }

    fn send_digest(&mut self, viewer: u32, object: ObjectId) {
        if let Some(published) = self.origin.object(object)
            && object.msn < self.origin.announced
        {
            let digest = published.digest.encoded().clone();
            self.send(viewer, ServerMessage::Digest { digest });
        }
    }

    /// A viewer's message has reached the server.
    pub(crate) fn on_to_server(&mut self, viewer: u32, message: ClientMessage) {
        if self.viewers[viewer as usize].session != Session::Up || self.tracker.is_none() {
            return;
        }
        let peer = peer_id(viewer);
        let input = match message {
            ClientMessage::Watch { rendition, msn } => Input::Watch { peer, rendition, msn },
            ClientMessage::Position { rendition, epoch, msn, ahead, held } => {
                Input::Position { peer, rendition, epoch, msn, ahead, held }
            }
            ClientMessage::Unwatch { rendition } => Input::Unwatch { peer, rendition },
            ClientMessage::Share { share, upload_cap } => {
                let upload_cap = upload_cap.map(unscaled);
                Input::Share { peer, share, upload_cap }
            }
            ClientMessage::Link { peer: other, state, rtt_us } => {
                let rtt = rtt_us.map(|us| Duration::from_micros(us.into()));
                Input::Link { peer, other, state, rtt }
            }
            ClientMessage::Lost { rendition, substream, parent, reason } => {
                self.tally.lost_parents += 1;
                Input::Lost { peer, rendition, substream, parent, reason }
            }
            ClientMessage::BadChunk { peer: accused, .. } => {
                Input::BadChunk { reporter: peer, accused }
            }
            ClientMessage::WantDigests { objects } => {
                for object in objects {
                    self.send_digest(viewer, object);
                }
                return;
            }
            ClientMessage::Report(mut report) => {
                report.upload = unscaled(report.upload);
                Input::Report { peer, report }
            }
            ClientMessage::Bye => return self.end_session(viewer),
            ClientMessage::Hello { .. }
            | ClientMessage::Signal { .. }
            | ClientMessage::Mapping { .. }
            | ClientMessage::Traced { .. } => return,
        };
        self.tell_tracker(input);
    }

    /// The server reads what the origin has published, makes digests and tells the tracker.
    pub(crate) fn announce(&mut self) {
        if self.origin.is_down {
            return;
        }
        let objects = self.origin.take_unannounced();
        for digest in objects {
            self.tell_tracker(Input::Published(shoal_tracker::Published {
                object: digest.object,
                size: ByteSize::from_bytes(u64::from(digest.byte_len) * SCALE),
                duration: digest.duration,
                chunk_size: digest.chunk_size * SCALE as u32,
                substreams: digest.substreams,
            }));
        }
    }

    /// A viewer begins to open a link to another.
    pub(crate) fn open_link(&mut self, viewer: u32, other: u32) {
        let link = match self.viewers[viewer as usize].link_to(other) {
            Some(link) => link,
            None => self.make_link(viewer, other),
        };
        let ends = self.net.links[link as usize].ends;
        let side = usize::from(ends[0] != viewer);
        let LinkState::Opening(mut opened) = self.net.links[link as usize].state else { return };
        opened[side] = true;
        self.net.links[link as usize].state = LinkState::Opening(opened);
        if opened != [true; 2] {
            // If the other end never does the same, this end gives up.
            let [least, most] = self.settings.link_failure_s;
            let at = self.now + (self.random.between(least, most) * 1e6) as u64;
            self.queue.push(at, Event::LinkDecided(link, false));
            return;
        }
        self.tally.control_bytes(2 * SIGNAL_BYTES, self.now);
        let connects = self.connects(ends);
        let [least, most] =
            if connects { self.settings.link_setup_s } else { self.settings.link_failure_s };
        let at = self.now + (self.random.between(least, most) * 1e6) as u64;
        self.queue.push(at, Event::LinkDecided(link, connects));
    }

    fn connects(&self, ends: [u32; 2]) -> bool {
        let [a, b] = ends.map(|end| &self.instance.viewers[end as usize]);
        let pair = crate::random::mix(u64::from(ends[0]) << 32 | u64::from(ends[1]));
        let draw = crate::random::mix(pair ^ self.instance.seed) >> 11;
        let unlucky = (draw as f64 / (1u64 << 53) as f64) < self.settings.pair_failure;
        a.class.reaches(b.class) && !unlucky
    }

    fn make_link(&mut self, viewer: u32, other: u32) -> u32 {
        let ends = [viewer.min(other), viewer.max(other)];
        let one_way = self.path_us(ends) / 2;
        let link = self.net.add_link(ends, one_way, self.settings.loss);
        for (end, far) in [(viewer, other), (other, viewer)] {
            self.viewers[end as usize].links.push((far, link));
        }
        link
    }

    /// Round trip between two viewers, µs.
    fn path_us(&self, ends: [u32; 2]) -> u32 {
        let [a, b] = ends.map(|end| &self.instance.viewers[end as usize]);
        let towns = u64::from(a.town.min(b.town)) << 16 | u64::from(a.town.max(b.town));
        let draw = crate::random::mix(towns) as f64 / u64::MAX as f64;
        let [least, most] = if a.town == b.town {
            [2.0, 8.0]
        } else if a.country == b.country {
            [10.0, 30.0]
        } else {
            [30.0, 60.0]
        };
        ((a.access_ms + b.access_ms + least + (most - least) * draw) * 1e3) as u32
    }

    /// A link opened, or did not.
    pub(crate) fn on_link_decided(&mut self, link: u32, up: bool) {
        let state = self.net.links[link as usize].state;
        let ends = self.net.links[link as usize].ends;
        let gave_up = matches!(state, LinkState::Opening(opened) if !up || opened == [true; 2]);
        if !gave_up {
            return;
        }
        let alive = ends.map(|end| {
            let viewer = &self.viewers[end as usize];
            viewer.engine.is_some() && !viewer.cut_off
        });
        if up && alive == [true; 2] {
            self.net.links[link as usize].state = LinkState::Open;
            self.tally.links_up += 1;
            for (end, other) in [(ends[0], ends[1]), (ends[1], ends[0])] {
                self.feed(end, PeerInput::LinkUp { peer: peer_id(other) });
            }
            return;
        }
        self.tally.links_failed += 1;
        self.drop_link(link);
        for (end, other) in [(ends[0], ends[1]), (ends[1], ends[0])] {
            self.feed(end, PeerInput::LinkDown { peer: peer_id(other) });
        }
    }

    /// Takes a link out of the world.
    pub(crate) fn drop_link(&mut self, link: u32) {
        self.net.close(link);
        for end in self.net.links[link as usize].ends {
            self.viewers[end as usize].links.retain(|(_, own)| *own != link);
        }
    }

    /// One end closes a link; the other learns of it.
    pub(crate) fn close_link(&mut self, viewer: u32, other: u32) {
        let Some(link) = self.viewers[viewer as usize].link_to(other) else { return };
        let at = self.now + self.net.one_way_us(link);
        self.drop_link(link);
        self.queue.push(at, Event::LinkGone(other, viewer));
    }

    /// A message between neighbours.
    pub(crate) fn send_to_peer(&mut self, from: u32, to: u32, message: PeerMessage) {
        let Some(link) = self.viewers[from as usize].link_to(to) else { return };
        if self.net.links[link as usize].state != LinkState::Open {
            return;
        }
        let dir: Dir = self.net.dir(link, from);
        let role = self.instance.viewers[from as usize].role;
        let mut message = message;
        if let PeerMessage::Chunk { payload, .. } = &mut message {
            if role == Role::Dropper {
                return self.tell_buffered(dir, 0);
            }
            if role == Role::Polluter {
                let mut bad = payload.to_bytes().to_vec();
                bad[0] ^= 0x55;
                *payload = bad.into();
            }
        }
        let bytes = self.wire_bytes(&message);
        self.check_sent(role, &message);
        self.transmit(dir, message, bytes);
    }

    fn wire_bytes(&self, message: &PeerMessage) -> u32 {
        let mut bytes = message.encoded_len() as u64;
        if let PeerMessage::Chunk { payload, .. } = message {
            bytes += payload.len() as u64 * (SCALE - 1);
        }
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }

    /// No honest viewer sends a chunk that is not what the origin published.
    fn check_sent(&mut self, role: Role, message: &PeerMessage) {
        let PeerMessage::Chunk { object, chunks, payload, .. } = message else { return };
        let Some(published) = self.origin.object(*object) else { return };
        let (start, _) = published.digest.byte_range(*chunks);
        let mut truth = &published.bytes[start as usize..];
        let mut same = true;
        for piece in payload.pieces() {
            let (head, rest) = truth.split_at(piece.len().min(truth.len()));
            same &= head == &piece[..];
            truth = rest;
        }
        if !same && role != Role::Polluter {
            self.tally.bad_relayed += 1;
        }
    }

    /// A slanderer accuses a neighbour.
    pub(crate) fn on_slander(&mut self, viewer: u32) {
        if self.viewers[viewer as usize].session != Session::Up {
            return;
        }
        let count = self.viewers[viewer as usize].links.len() as u64;
        let pick = self.random.below(count) as usize;
        if let Some((other, _)) = self.viewers[viewer as usize].links.get(pick).copied() {
            let (reporter, accused) = (peer_id(viewer), peer_id(other));
            self.tell_tracker(Input::BadChunk { reporter, accused });
            let rendition = RenditionId(self.viewers[viewer as usize].rendition);
            let substream = Substream(self.random.below(8) as u8);
            self.tell_tracker(Input::Lost {
                peer: reporter,
                rendition,
                substream,
                parent: Some(accused),
                reason: LostReason::Misbehaved,
            });
        }
        self.queue.push(self.now + SLANDER_US, Event::Slander(viewer));
    }
}

fn profile(drawn: &Drawn) -> Profile {
    Profile {
        share: share_of(drawn),
        upload_cap: None,
        links_max: drawn.links_max,
        place: Place { subnet: drawn.subnet, asn: drawn.asn, country: drawn.country },
        mapping: match drawn.class {
            Nat::Symmetric => Mapping::Symmetric,
            Nat::Blocked => Mapping::Unknown,
            Nat::Open | Nat::AddressRestricted | Nat::PortRestricted => Mapping::Stable,
        },
    }
}

/// Whoever has no upload to give only receives.
pub(crate) fn share_of(drawn: &Drawn) -> ShareMode {
    if drawn.upload_mbps > 0.0 { ShareMode::Share } else { ShareMode::ReceiveOnly }
}

/// A rate as an engine sees it, in the world's own.
fn unscaled(rate: BitRate) -> BitRate {
    BitRate::from_bps(rate.as_bps().saturating_mul(SCALE))
}
