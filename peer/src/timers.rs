//! When the engine wants to be called, kept rather than computed after every input.
//!
//! Rule: a kept time may be earlier than the true one, never later. What can only put a time off,
//! as most chunks do, leaves it as it is.

use crate::input::Input;
use shoal_wire::{Instant, PeerMessage};

/// The kept times.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    /// No object is due before.
    pub(crate) objects: Option<Instant>,
    /// An object may be due earlier than `objects` says.
    pub(crate) objects_stale: bool,
    /// Nothing is said again before.
    pub(crate) echoes: Option<Instant>,
    /// When all neighbours are pinged.
    pub(crate) pings: Option<Instant>,
    /// When an idle uplink is offered.
    pub(crate) offers: Option<Instant>,
    /// When on-demand renditions are looked after, if nothing happens before.
    pub(crate) demand: Option<Instant>,
    /// Something happened that they are to be looked after for.
    pub(crate) demand_stale: bool,
}

impl Timers {
    pub(crate) fn earliest(&self) -> Option<Instant> {
        let own = [self.objects, self.echoes, self.pings, self.offers, self.demand];
        own.into_iter().flatten().min()
    }

    /// An object may be due at `at`.
    pub(crate) fn hasten_objects(&mut self, at: Instant) {
        self.objects = Some(self.objects.map_or(at, |old| old.min(at)));
    }

    pub(crate) fn hasten_echoes(&mut self, at: Instant) {
        self.echoes = Some(self.echoes.map_or(at, |old| old.min(at)));
    }
}

/// Whether an object may be due earlier after this input. Those that come for every chunk say no;
/// where they do hasten something all the same, whoever does it says so to [`Timers`].
pub(crate) const fn may_hasten(input: &Input) -> bool {
    match input {
        Input::LinkMessage { message, .. } => match message {
            PeerMessage::Have { .. }
            | PeerMessage::Offer { .. }
            | PeerMessage::Subscribe { .. }
            | PeerMessage::Unsubscribe { .. }
            | PeerMessage::Fetch { .. }
            | PeerMessage::Cancel { .. }
            | PeerMessage::Chunk { .. }
            | PeerMessage::End { .. }
            | PeerMessage::Late { .. }
            | PeerMessage::Ping(_)
            | PeerMessage::Pong(_) => false,
            PeerMessage::Subscribed { .. }
            | PeerMessage::Refuse { .. }
            | PeerMessage::Digest(_)
            | PeerMessage::Forget { .. }
            | PeerMessage::Bye => true,
        },
        Input::LinkBuffered { .. } | Input::OriginData { .. } | Input::Tick => false,
        Input::Request { .. }
        | Input::Playhead { .. }
        | Input::CancelRequest { .. }
        | Input::StopWatching { .. }
        | Input::Share { .. }
        | Input::ServerConnected
        | Input::ServerLost
        | Input::Server(_)
        | Input::LinkUp { .. }
        | Input::LinkDown { .. }
        | Input::LinkInvalid { .. }
        | Input::OriginStarted { .. }
        | Input::OriginDone { .. }
        | Input::OriginFailed { .. }
        | Input::DigestFetched { .. } => true,
    }
}
