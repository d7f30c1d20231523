//! Seeks in a finished title: from time to time, and when the title is over.
//!
//! Rule: a viewer and its twin jump at the same times to the same places.

use super::{Event, World};
use crate::random::Random;
use shoal_peer::{Input, RequestId};

/// Where one viewer's seeks come from.
#[derive(Debug)]
pub(crate) struct Seeks {
    times: Random,
    places: Random,
}

impl Seeks {
    pub(crate) fn new(seed: u64, viewer: u32) -> Self {
        let own = |purpose| Random::new(seed ^ crate::random::mix(u64::from(viewer)), purpose);
        Self { times: own(4), places: own(5) }
    }
}

impl World<'_> {
    /// Plans a viewer's next seek.
    pub(crate) fn plan_seek(&mut self, viewer: u32) {
        if self.settings.seeks_per_min > 0.0
            && let Some(seeks) = self.viewers[viewer as usize].seeks.as_mut()
        {
            let wait = seeks.times.exponential(60.0 / self.settings.seeks_per_min);
            self.queue.push(self.now + (wait * 1e6) as u64, Event::Seek(viewer));
        }
    }

    pub(crate) fn on_seek(&mut self, viewer: u32) {
        self.seek(viewer);
        self.plan_seek(viewer);
    }

    /// Nothing is left to play: it is watched on from somewhere else.
    pub(crate) fn on_title_over(&mut self, viewer: u32) {
        let player = &self.viewers[viewer as usize].player;
        let is_over = player.waiting.is_none()
            && player.next.is_some_and(|next| next >= player.known_until)
            && player.empty_at().is_some_and(|at| at <= self.now);
        if is_over {
            self.seek(viewer);
        }
    }

    fn seek(&mut self, viewer: u32) {
        let published = self.origin.published();
        let state = &mut self.viewers[viewer as usize];
        let Some(seeks) = state.seeks.as_mut() else { return };
        let to = (seeks.places.unit() * published as f64) as u64;
        if state.engine.is_none() || state.player.next.is_none() {
            return;
        }
        state.player.seek(to, self.now);
        state.delivered = 0;
        if let Some(msn) = state.player.waiting.take() {
            self.feed(viewer, Input::CancelRequest { id: RequestId(msn) });
        }
        self.advance(viewer);
    }
}
