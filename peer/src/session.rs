//! The server's side of the engine: welcome, plan, introductions, and the news of links.

use crate::engine::Engine;
use crate::feed::{Next, Parent, Rendition};
use crate::neighbour::Neighbour;
use crate::object::Asked;
use crate::output::Output;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::time::Duration;
use shoal_wire::tracker_message::{Assignment, Edge, LinkState, LostReason, RenditionInfo, Resume};
use shoal_wire::{
    BitRate, ClientMessage, Instant, ObjectId, OriginKey, Part, PeerId, PeerMessage, RenditionId,
    ServerMessage, ShareMode, Substream,
};

/// Parents send so many segments before the newest one to a child that lacks them, or as many as its
/// player began before it: of more, the origin is quicker to give what is needed next.
const CAUGHT_UP_MAX: u64 = 3;
/// Newest objects that a new neighbour hears of: a playlist window.
const HAVES_ON_LINK_UP_MAX: usize = 24;
/// Peers cut off that are remembered; the server keeps them away as well.
const CUT_OFF_MAX: usize = 256;

/// What is known of the session with the server.
#[derive(Debug, Default)]
pub(crate) struct Session {
    state: State,
    me: Option<PeerId>,
    pub(crate) keys: Vec<OriginKey>,
    report_interval: Duration,
    report_at: Option<Instant>,
    /// Renditions that are complete.
    on_demand: BTreeSet<RenditionId>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// The shell is connecting, or has connected and waits for the welcome.
    #[default]
    Pending,
    Welcome,
    Lost,
}

impl Session {
    pub(crate) fn connected(&mut self) {
        self.state = State::Pending;
    }

    pub(crate) fn is_welcome(&self) -> bool {
        self.state == State::Welcome
    }

    pub(crate) const fn me(&self) -> Option<PeerId> {
        self.me
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.state == State::Lost
    }

    pub(crate) fn report_at(&self) -> Option<Instant> {
        self.report_at.filter(|_| self.is_welcome())
    }

    pub(crate) fn schedule_report(&mut self, now: Instant) {
        self.report_at = Some(now + self.report_interval);
    }

    fn welcome(&mut self, me: PeerId, keys: &[alloc::string::String], interval: Duration) {
        self.state = State::Welcome;
        self.me = Some(me);
        self.keys = keys.iter().filter_map(|key| parse_key(key)).collect();
        self.report_interval = interval.max(Duration::from_millis(500));
    }
}

fn parse_key(hex: &str) -> Option<OriginKey> {
    let mut bytes = [0u8; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).ok()?;
    }
    OriginKey::from_bytes(&bytes).ok()
}

impl Engine {
    /// What to say in a hello after a reconnect: the plan lives on in the peers.
    pub fn resume(&self) -> Option<Resume> {
        let peer = self.session.me()?;
        let mut edges = Vec::new();
        for (rendition, state) in self.renditions.iter() {
            for (k, feed) in (0u8..).zip(&state.feeds) {
                if feed.current != Parent::Nobody {
                    let (substream, parent) = (Substream(k), feed.current.peer());
                    edges.push(Edge { rendition: *rendition, substream, parent });
                }
            }
        }
        Some(Resume { peer, edges, neighbours: self.neighbours.keys().copied().collect() })
    }

    pub(crate) fn on_server(&mut self, message: ServerMessage, now: Instant) {
        match message {
            ServerMessage::Welcome { peer, keys, report_interval_ms, renditions, .. } => {
                self.note_renditions(&renditions);
                let interval = Duration::from_millis(report_interval_ms.into());
                self.session.welcome(peer, &keys, interval);
                // The plan begins with what this peer believes of itself.
                self.report_now(now);
                // Who is on demand says so first: otherwise the server would have to ask.
                self.forget_told();
                self.tell_positions(now);
                self.watch_again();
                // Where the server is reached again, the origin may be as well.
                self.retry_now(now);
            }
            ServerMessage::Introduce { peer, offer } => self.on_introduce(peer, offer, now),
            ServerMessage::Plan { version, rendition, substreams, assignments } => {
                self.on_plan(version, rendition, substreams, &assignments, now);
            }
            ServerMessage::Sources { rendition, epoch, sources } => {
                self.on_sources(rendition, epoch, sources, now);
            }
            ServerMessage::Renditions { renditions } => self.note_renditions(&renditions),
            ServerMessage::Digest { digest } => self.on_digest(None, digest, now),
            // The server may introduce the same peer again: it closes idle links as well.
            ServerMessage::Disconnect { peer } => self.close_link(peer, now),
            ServerMessage::Peers { enabled } => self.on_peers(enabled, now),
            ServerMessage::Trace { object } => self.on_trace(object, now),
            ServerMessage::OriginTiming { ttfb_ms, rate } => {
                self.origin.set_pooled(Duration::from_millis(ttfb_ms.into()), rate);
            }
            // The shell's own matters.
            ServerMessage::Signal { .. }
            | ServerMessage::IceServers { .. }
            | ServerMessage::Reconnect { .. }
            | ServerMessage::Refuse { .. } => {}
        }
    }

    pub(crate) fn rendition_mut(&mut self, rendition: RenditionId) -> &mut Rendition {
        self.renditions.get_or_insert_with(rendition, || Rendition::new(&self.config))
    }

    /// A player asked for `object`: its rendition is watched from there on.
    pub(crate) fn watch(&mut self, object: ObjectId, now: Instant) {
        let state = self.rendition_mut(object.rendition);
        if state.first.is_some() {
            return;
        }
        state.first = Some(object);
        state.begun_behind = None;
        state.plan_version = 0;
        let (rendition, msn) = (object.rendition, object.msn);
        if self.session.on_demand.contains(&rendition) {
            self.begin_demand(rendition);
            self.tell_positions(now);
        }
        if self.share != ShareMode::Off {
            self.tell_server(ClientMessage::Watch { rendition, msn });
        }
    }

    /// Which renditions are complete; their viewers need not wait to be told so.
    fn note_renditions(&mut self, renditions: &[RenditionInfo]) {
        let complete = renditions.iter().filter(|info| info.on_demand);
        self.session.on_demand = complete.map(|info| info.rendition).collect();
    }

    fn watch_again(&mut self) {
        let mut watched = Vec::new();
        for (rendition, state) in self.renditions.iter_mut() {
            // Versions begin anew with each session.
            state.plan_version = 0;
            if let Some(first) = state.first {
                let newest = if state.demand.is_some() { state.front() } else { state.newest };
                watched.push((*rendition, newest.unwrap_or(first).msn));
            }
        }
        if self.share == ShareMode::Off {
            return;
        }
        for (rendition, msn) in watched {
            self.tell_server(ClientMessage::Watch { rendition, msn });
        }
    }

    /// The hello has said who feeds each substream, and the server plans from there: who was to feed
    /// it next by an older plan does so no more.
    pub(crate) fn on_server_connected(&mut self) {
        self.session.connected();
        for (_, state) in self.renditions.iter_mut() {
            for feed in state.feeds.iter_mut().filter(|feed| feed.current != Parent::Nobody) {
                feed.next = None;
            }
        }
    }

    pub(crate) fn on_server_lost(&mut self, now: Instant) {
        self.session.state = State::Lost;
        self.opening.clear();
        self.consider_all(now);
    }

    pub(crate) fn on_share(&mut self, share: ShareMode, upload_cap: Option<BitRate>, now: Instant) {
        let was_off = self.share == ShareMode::Off;
        self.share = share;
        self.uplink.set_cap(upload_cap);
        self.tell_server(ClientMessage::Share { share, upload_cap });
        match share {
            ShareMode::Off => self.leave_peers(now),
            ShareMode::Share | ShareMode::ReceiveOnly if was_off => {
                self.forget_told();
                self.tell_positions(now);
                self.watch_again();
            }
            ShareMode::Share | ShareMode::ReceiveOnly => {}
        }
    }

    fn on_peers(&mut self, enabled: bool, now: Instant) {
        self.peers_enabled = enabled;
        self.forget_told();
        if !enabled {
            self.leave_peers(now);
        }
    }

    fn leave_peers(&mut self, now: Instant) {
        let peers: Vec<_> = self.neighbours.keys().chain(&self.opening).copied().collect();
        for peer in peers {
            self.close_link(peer, now);
        }
        self.consider_all(now);
    }

    fn on_introduce(&mut self, peer: PeerId, offer: bool, now: Instant) {
        let links = self.neighbours.len() + self.opening.len();
        let refused = !self.uses_peers()
            || links >= usize::from(self.config.links_max)
            || self.cut_off.contains(&peer);
        if self.neighbours.contains_key(&peer) {
            // The other end lost the link and came back.
            self.close_link(peer, now);
        }
        if refused {
            let state = LinkState::Failed;
            self.tell_server(ClientMessage::Link { peer, state, rtt_us: None });
            return;
        }
        self.opening.insert(peer);
        self.push(Output::OpenLink { peer, offer });
    }

    pub(crate) fn on_link_up(&mut self, peer: PeerId, now: Instant) {
        if !self.opening.remove(&peer) {
            self.push(Output::CloseLink { peer });
            return;
        }
        self.neighbours.insert(peer, Neighbour::new(now));
        self.tell(peer, PeerMessage::Ping(now.as_micros()));
        self.timers.pings.get_or_insert(now + self.config.ping_interval);
        self.tell_server(ClientMessage::Link { peer, state: LinkState::Up, rtt_us: None });
        let oldest = self.store.iter().next().map(|(id, _)| *id);
        if let Some(oldest) = oldest {
            self.tell_holdings(peer, oldest);
        }
        let renditions: Vec<_> = self.renditions.keys().copied().collect();
        for rendition in renditions {
            self.subscribe_to(peer, rendition);
        }
        self.note_source(peer);
    }

    pub(crate) fn on_link_down(&mut self, peer: PeerId, now: Instant) {
        let gone = self.neighbours.remove(&peer);
        let opened = gone.is_some();
        if let Some(mut neighbour) = gone {
            self.backlog.update(&mut neighbour.buffer, 0, now);
        }
        if !self.opening.remove(&peer) && !opened {
            return;
        }
        self.timers.objects_stale = true;
        self.timers.demand_stale = true;
        let state = if opened { LinkState::Closed } else { LinkState::Failed };
        self.tell_server(ClientMessage::Link { peer, state, rtt_us: None });
        self.uplink.forget_peer(peer);
        self.children.forget_peer(peer);
        for id in self.store.incomplete() {
            let Some(object) = self.store.object_mut(&id) else {
                continue;
            };
            object.release(Asked::Peer(peer));
            object.unverified.retain(|u| u.peer != peer);
        }
        let mut orphaned = Vec::new();
        for (rendition, state) in self.renditions.iter_mut() {
            for k in state.fed_by(peer) {
                let Some(feed) = state.feed_mut(k) else {
                    continue;
                };
                feed.next = feed.next.filter(|next| next.peer != peer);
                if feed.current == Parent::Peer(peer) {
                    feed.current = Parent::Nobody;
                    orphaned.push((*rendition, k));
                }
            }
        }
        for (rendition, k) in orphaned {
            self.root_itself(rendition, k);
            self.hasten_repair(rendition, k, now);
        }
        self.consider_all(now);
    }

    /// Closes a link from this side, and lets the engine know.
    pub(crate) fn close_link(&mut self, peer: PeerId, now: Instant) {
        if self.neighbours.contains_key(&peer) || self.opening.contains(&peer) {
            self.push(Output::CloseLink { peer });
            self.on_link_down(peer, now);
        }
    }

    pub(crate) fn remember_cut_off(&mut self, peer: PeerId) {
        if self.cut_off.len() >= CUT_OFF_MAX {
            self.cut_off.pop_first();
        }
        self.cut_off.insert(peer);
    }

    fn on_plan(
        &mut self,
        version: u64,
        rendition: RenditionId,
        substreams: u8,
        assignments: &[Assignment],
        now: Instant,
    ) {
        let alone = self.neighbours.is_empty() && assignments.iter().all(|a| a.parent.is_none());
        let state = self.rendition_mut(rendition);
        if version <= state.plan_version || state.first.is_none() {
            return;
        }
        state.plan_version = version;
        state.resize(substreams);
        self.end_demand(rendition);
        for assignment in assignments {
            match assignment.parent {
                Some(parent) => self.plan_peer(rendition, assignment.substream, parent),
                None => self.plan_origin(rendition, assignment.substream, alone),
            }
        }
        self.consider_all(now);
    }

    fn plan_origin(&mut self, rendition: RenditionId, k: Substream, alone: bool) {
        let state = self.rendition_mut(rendition);
        let frontier = state.frontier();
        let Some(feed) = state.feed_mut(k) else {
            return;
        };
        feed.next = None;
        let old = core::mem::replace(&mut feed.current, Parent::Origin);
        if old == Parent::Origin {
            return;
        }
        // Older objects are with the neighbours, if there are any.
        feed.root_from = if alone { None } else { frontier };
        if let (Parent::Peer(parent), Some(until)) = (old, frontier) {
            self.unsubscribe(parent, k, until);
        }
    }

    fn plan_peer(&mut self, rendition: RenditionId, k: Substream, parent: PeerId) {
        let reason = LostReason::Misbehaved;
        if self.cut_off.contains(&parent) {
            let parent = Some(parent);
            self.tell_server(ClientMessage::Lost { rendition, substream: k, parent, reason });
            return;
        }
        let Some(feed) = self.rendition_mut(rendition).feed_mut(k) else {
            return;
        };
        if feed.current == Parent::Peer(parent) {
            feed.next = None;
            return;
        }
        feed.next = Some(Next { peer: parent, asked: false });
        self.subscribe_to(parent, rendition);
    }

    /// Asks `peer` for the substreams that it is to feed, if the link is open.
    fn subscribe_to(&mut self, peer: PeerId, rendition: RenditionId) {
        if !self.neighbours.contains_key(&peer) {
            return;
        }
        let Some(state) = self.renditions.get(&rendition) else {
            return;
        };
        let Some(frontier) = state.frontier() else {
            return;
        };
        let oldest = self.oldest_wanted(rendition).unwrap_or(frontier);
        let oldest = self.recent(rendition, oldest).unwrap_or(oldest);
        let mut asks = Vec::new();
        let Some(state) = self.renditions.get_mut(&rendition) else {
            return;
        };
        for (k, feed) in (0u8..).zip(&mut state.feeds) {
            let serves = feed.current != Parent::Nobody;
            if let Some(next) = &mut feed.next
                && next.peer == peer
                && !next.asked
            {
                next.asked = true;
                asks.push((Substream(k), if serves { frontier } else { oldest }));
            }
        }
        if let Some(from) = asks.iter().map(|(_, from)| *from).min() {
            self.tell_holdings(peer, from);
        }
        for (substream, from) in asks {
            let weight = self.descendants(rendition, substream);
            if let Some(feed) = self.rendition_mut(rendition).feed_mut(substream) {
                feed.weight_told = weight;
            }
            let turn = self.turn(peer);
            self.tell(peer, PeerMessage::Subscribe { substream, from, weight, turn });
        }
    }

    /// Of what is wanted from `oldest` on, what parents are asked for.
    fn recent(&mut self, rendition: RenditionId, oldest: ObjectId) -> Option<ObjectId> {
        let state = self.renditions.get_mut(&rendition)?;
        let newest = state.newest?;
        let behind = newest.msn.saturating_sub(oldest.msn);
        let behind = *state.begun_behind.get_or_insert(behind);
        let msn = newest.msn.saturating_sub(behind.max(CAUGHT_UP_MAX));
        Some(oldest.max(ObjectId { msn, part: Part(0), ..newest }))
    }

    /// The oldest object that is wanted and neither complete nor on its way from the origin.
    fn oldest_wanted(&self, rendition: RenditionId) -> Option<ObjectId> {
        let lacks = self.store.iter_incomplete().filter(|(id, object)| {
            id.rendition == rendition && !object.direct && self.is_wanted(id)
        });
        lacks.map(|(id, _)| *id).min()
    }

    pub(crate) fn on_subscribed(
        &mut self,
        peer: PeerId,
        substream: Substream,
        from: ObjectId,
        now: Instant,
    ) {
        let rendition = from.rendition;
        let Some(state) = self.renditions.get_mut(&rendition) else {
            return;
        };
        let Some(feed) = state.feed_mut(substream) else {
            return;
        };
        if feed.next.is_none_or(|next| next.peer != peer) {
            if feed.current != Parent::Peer(peer) {
                // The plan has changed since it was asked.
                self.unsubscribe(peer, substream, from);
            }
            return;
        }
        feed.next = None;
        let old = core::mem::replace(&mut feed.current, Parent::Peer(peer));
        feed.silent_in_row = 0;
        feed.suspect = None;
        if let Parent::Peer(old) = old
            && old != peer
        {
            self.unsubscribe(old, substream, from);
        }
        self.delay_repair(substream, from, now);
    }

    fn unsubscribe(&mut self, peer: PeerId, substream: Substream, until: ObjectId) {
        let turn = self.turn(peer);
        self.tell(peer, PeerMessage::Unsubscribe { substream, until, turn });
    }

    /// A number for what a neighbour is told about subscriptions, larger than those before.
    pub(crate) fn turn(&mut self, peer: PeerId) -> u32 {
        self.neighbours.get_mut(&peer).map_or(0, |neighbour| {
            neighbour.turn += 1;
            neighbour.turn
        })
    }

    /// Tells a neighbour what is here of the newest objects from `from` on.
    fn tell_holdings(&mut self, peer: PeerId, from: ObjectId) {
        let serves = self.may_serve();
        let newest = self.store.iter().rev().take_while(|(id, _)| **id >= from);
        let mut holdings: Vec<_> = newest.filter_map(|entry| holding_of(entry, serves)).collect();
        holdings.truncate(HAVES_ON_LINK_UP_MAX);
        for (object, holding) in holdings {
            self.tell(peer, PeerMessage::Have { object, holding });
        }
    }
}

fn holding_of(
    (id, object): (&ObjectId, &crate::object::Object),
    serves: bool,
) -> Option<(ObjectId, shoal_wire::peer_message::Holding)> {
    use shoal_wire::peer_message::Holding;
    object.digest.as_ref()?;
    let holding = match object.is_complete() {
        false => Holding::Digest,
        true if serves && object.is_shareable() => Holding::Complete,
        true => Holding::Private,
    };
    Some((*id, holding))
}
