//! The engine: keeps the state and routes each input to the part that handles it.

use crate::backlog::Backlog;
use crate::children::Children;
use crate::config::Config;
use crate::feed::Rendition;
use crate::input::{Input, RequestId};
use crate::neighbour::Neighbour;
use crate::origin::Origin;
use crate::output::{FallbackReason, Output};
use crate::report::Counters;
use crate::request::Request;
use crate::session::Session;
use crate::store::Store;
use crate::table::Table;
use crate::timers::{Timers, may_hasten};
use crate::uplink::Uplink;
use crate::verify::{CheckSignature, Verifier};
use alloc::boxed::Box;
use alloc::collections::{BTreeSet, VecDeque};
use core::time::Duration;
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use shoal_wire::{
    ClientMessage, Instant, ObjectId, PeerId, PeerMessage, RenditionId, ShareMode, StreamName,
};

/// A message said again after a while: the end of a run, so that a lost tail shows.
#[derive(Debug)]
pub(crate) struct Echo {
    pub(crate) at: Instant,
    pub(crate) peer: PeerId,
    /// Not said any more once the peer has all of this.
    pub(crate) object: ObjectId,
    pub(crate) message: PeerMessage,
    pub(crate) wait: Duration,
    pub(crate) left: u8,
}

/// One viewer's engine for one stream.
#[derive(Debug)]
pub struct Engine {
    pub(crate) config: Config,
    pub(crate) stream: StreamName,
    rng: Xoshiro256PlusPlus,
    pub(crate) share: ShareMode,
    pub(crate) peers_enabled: bool,
    pub(crate) session: Session,
    pub(crate) renditions: Table<RenditionId, Rendition>,
    pub(crate) store: Store,
    pub(crate) requests: Table<RequestId, Request>,
    pub(crate) neighbours: Table<PeerId, Neighbour>,
    pub(crate) children: Children,
    pub(crate) backlog: Backlog,
    /// Peers that the server introduced and whose link is not open yet.
    pub(crate) opening: BTreeSet<PeerId>,
    pub(crate) cut_off: BTreeSet<PeerId>,
    pub(crate) uplink: Uplink,
    /// When sending goes on by itself, if something waits.
    pub(crate) pump_at: Option<Instant>,
    pub(crate) origin: Origin,
    pub(crate) echoes: VecDeque<Echo>,
    pub(crate) timers: Timers,
    pub(crate) counters: Counters,
    /// The object that the operator follows.
    pub(crate) traced: Option<ObjectId>,
    pub(crate) verifier: Box<dyn Verifier>,
    pub(crate) outputs: VecDeque<Output>,
}

impl Engine {
    /// An engine for `stream`. The same settings, seed and inputs give the same outputs.
    pub fn new(stream: StreamName, config: Config, seed: u64) -> Self {
        Self::with_verifier(stream, config, seed, Box::new(CheckSignature))
    }

    /// The same, with another way to check signatures.
    pub fn with_verifier(
        stream: StreamName,
        config: Config,
        seed: u64,
        verifier: Box<dyn Verifier>,
    ) -> Self {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let origin = Origin::new(rng.next_u64());
        Self {
            stream,
            share: config.share,
            uplink: Uplink::new(&config),
            config,
            rng,
            peers_enabled: true,
            session: Session::default(),
            renditions: Table::new(),
            store: Store::default(),
            requests: Table::new(),
            neighbours: Table::new(),
            children: Children::default(),
            backlog: Backlog::default(),
            opening: BTreeSet::new(),
            cut_off: BTreeSet::new(),
            pump_at: None,
            origin,
            echoes: VecDeque::new(),
            timers: Timers::default(),
            counters: Counters::default(),
            traced: None,
            verifier,
            outputs: VecDeque::new(),
        }
    }

    /// Takes an event. It never fails: whoever is at fault is answered through outputs.
    pub fn handle(&mut self, input: Input, now: Instant) {
        self.timers.objects_stale |= may_hasten(&input);
        match input {
            Input::Request { id, object, range, duration } => {
                self.on_request(id, object, range, duration, now);
            }
            Input::CancelRequest { id } => self.on_cancel_request(id),
            Input::Playhead { object, needed_in } => {
                self.on_playhead(object, now + needed_in, now);
            }
            Input::StopWatching { rendition } => self.on_stop_watching(rendition),
            Input::Share { share, upload_cap } => self.on_share(share, upload_cap, now),
            Input::ServerConnected => self.on_server_connected(),
            Input::ServerLost => self.on_server_lost(now),
            Input::Server(message) => self.on_server(message, now),
            Input::LinkUp { peer } => self.on_link_up(peer, now),
            Input::LinkDown { peer } => self.on_link_down(peer, now),
            Input::LinkMessage { peer, message } => self.on_link_message(peer, message, now),
            Input::LinkInvalid { peer } => self.on_link_invalid(peer, now),
            Input::LinkBuffered { peer, bytes } => self.on_link_buffered(peer, bytes, now),
            Input::OriginStarted { fetch, total_len, offset } => {
                self.on_origin_started(fetch, total_len, offset, now);
            }
            Input::OriginData { fetch, bytes } => self.on_origin_data(fetch, &bytes, now),
            Input::OriginDone { fetch } => self.on_origin_done(fetch, now),
            Input::OriginFailed { fetch, failure } => self.on_origin_failed(fetch, failure, now),
            Input::DigestFetched { object, digest } => {
                self.on_digest_fetched(object, digest, now);
            }
            Input::Tick => self.on_tick(now),
        }
        self.attend_demand(now);
        self.pump(now);
        self.arm_offers(now);
        self.refresh_timers();
    }

    /// The next thing that the shell is to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When the engine wants a [`Input::Tick`], if ever.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let own = self.timers.earliest();
        let others = [self.pump_at, self.session.report_at(), self.news_at()];
        own.into_iter().chain(others.into_iter().flatten()).min()
    }

    fn on_tick(&mut self, now: Instant) {
        if self.timers.objects.is_some_and(|at| at <= now) {
            self.timers.objects_stale = true;
            self.consider_due(now);
        }
        self.say_echoes(now);
        self.ping(now);
        self.offer_room(now);
        self.report(now);
        self.ask_news(now);
    }

    fn consider_due(&mut self, now: Instant) {
        for id in self.store.incomplete() {
            let is_due = self.store.object(&id).and_then(|o| self.due(&id, o));
            if is_due.is_some_and(|at| at <= now) {
                self.consider(id, now);
            }
        }
    }

    /// Computes anew when objects are due, if the last input may have hastened one.
    fn refresh_timers(&mut self) {
        if core::mem::take(&mut self.timers.objects_stale) {
            self.timers.objects = self.objects_due();
        }
        debug_assert!(
            self.objects_due().is_none_or(|due| self.timers.objects.is_some_and(|at| at <= due)),
            "an input that hastens an object must say so"
        );
    }

    fn objects_due(&self) -> Option<Instant> {
        self.store.iter_incomplete().filter_map(|(id, o)| self.due(id, o)).min()
    }

    pub(crate) fn say_again(&mut self, echo: Echo) {
        self.timers.hasten_echoes(echo.at);
        self.echoes.push_back(echo);
    }

    fn say_echoes(&mut self, now: Instant) {
        if self.timers.echoes.is_none_or(|at| at > now) {
            return;
        }
        for _ in 0..self.echoes.len() {
            let Some(mut echo) = self.echoes.pop_front() else {
                break;
            };
            if echo.at > now {
                self.echoes.push_back(echo);
                continue;
            }
            if self.neighbours.get(&echo.peer).is_some_and(|n| n.lacks(&echo.object)) {
                let (peer, message) = (echo.peer, echo.message.clone());
                self.push(Output::Send { peer, message });
                echo.left -= 1;
                echo.at = now + echo.wait;
                if echo.left > 0 {
                    self.echoes.push_back(echo);
                }
            }
        }
        self.timers.echoes = self.echoes.iter().map(|echo| echo.at).min();
    }

    /// Pings all neighbours at once, so that the engine need not be called for each.
    fn ping(&mut self, now: Instant) {
        if self.timers.pings.is_none_or(|at| at > now) {
            return;
        }
        let any = !self.neighbours.is_empty();
        self.timers.pings = any.then(|| now + self.config.ping_interval);
        self.tell_all(&PeerMessage::Ping(now.as_micros()));
    }

    pub(crate) fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    /// Sends a message to a neighbour; control messages do not wait in the uplink's queue.
    pub(crate) fn tell(&mut self, peer: PeerId, message: PeerMessage) {
        self.push(Output::Send { peer, message });
    }

    pub(crate) fn tell_server(&mut self, message: ClientMessage) {
        if self.session.is_welcome() {
            self.push(Output::Server(message));
        }
    }

    pub(crate) fn fell_back(&mut self, object: ObjectId, reason: FallbackReason) {
        self.counters.note_fallback(reason);
        self.push(Output::FellBack { object, reason });
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn random(&mut self, bound: u32) -> u32 {
        u32::try_from(self.rng.next_u64() % u64::from(bound.max(1))).unwrap_or(0)
    }

    /// Whether peers may be asked and served at all.
    pub(crate) fn uses_peers(&self) -> bool {
        self.peers_enabled && self.share != ShareMode::Off
    }
}
