//! News of what is published while no session tells: digests fetched from the origin.
//!
//! Rule: without a session, roots ask the origin for the next object's digest when it is due and
//! the others when it is overdue by half an object; neighbours pass on what one of them got. With
//! a session the server tells, and nobody asks.

use crate::engine::Engine;
use crate::feed::{Parent, Rendition};
use crate::input::OriginFailure;
use crate::output::Output;
use bytes::Bytes;
use core::time::Duration;
use shoal_wire::{Instant, ObjectId, RenditionId, ShareMode};

/// A fetch that has not ended after this is given up.
const FETCH_MAX: Duration = Duration::from_secs(5);
/// A root asks again after this part of an object's duration; each time in vain doubles it.
const AGAIN_DIVISOR: u32 = 8;
/// Doublings, at most: a stream that has stopped is asked for once per duration.
const DOUBLINGS_MAX: u32 = 3;

/// What a rendition knows of the next object's digest.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// When the newest object became known.
    pub(crate) newest_at: Option<Instant>,
    /// Not before this.
    wait_until: Instant,
    /// Questions in vain since then.
    misses: u32,
}

impl News {
    /// A newer object became known.
    pub(crate) fn note_newest(&mut self, now: Instant) {
        *self = Self { newest_at: Some(now), ..Self::default() };
    }
}

impl Engine {
    /// Whether digests have to be asked for: nobody tells, and they can be checked.
    fn lacks_news(&self) -> bool {
        self.session.is_lost() && !self.session.keys.is_empty() && self.uses_peers()
    }

    /// When the next digest is to be asked for.
    pub(crate) fn news_at(&self) -> Option<Instant> {
        if !self.lacks_news() {
            return None;
        }
        self.renditions.values().filter_map(news_at).min()
    }

    pub(crate) fn ask_news(&mut self, now: Instant) {
        if self.news_at().is_none_or(|at| at > now) {
            return;
        }
        let due =
            |(_, state): &(&RenditionId, &Rendition)| news_at(state).is_some_and(|at| at <= now);
        let objects: alloc::vec::Vec<ObjectId> =
            self.renditions.iter().filter(due).filter_map(|(_, r)| r.frontier()).collect();
        for object in objects {
            self.rendition_mut(object.rendition).news.wait_until = now + FETCH_MAX;
            self.push(Output::DigestFetch { object });
        }
    }

    /// A player asked for an object of which no digest is known.
    pub(crate) fn ask_origin_for_digest(&mut self, object: ObjectId) -> bool {
        let lacks = self.lacks_news();
        if lacks {
            self.push(Output::DigestFetch { object });
        }
        lacks
    }

    pub(crate) fn on_digest_fetched(
        &mut self,
        object: ObjectId,
        digest: Result<Bytes, OriginFailure>,
        now: Instant,
    ) {
        let retry_at = self.origin.retry_at(now);
        let state = self.rendition_mut(object.rendition);
        if state.frontier() == Some(object) {
            let news = &mut state.news;
            let again = state.segment_len / AGAIN_DIVISOR * (1 << news.misses.min(DOUBLINGS_MAX));
            news.misses += 1;
            news.wait_until = match &digest {
                Ok(_) | Err(OriginFailure::Status(_)) => now + again,
                Err(OriginFailure::Unreachable) => retry_at,
            };
        }
        if digest != Err(OriginFailure::Unreachable) {
            self.retry_now(now);
        }
        if let Ok(encoded) = digest {
            self.on_digest(None, encoded, now);
        }
    }

    /// A parent is gone and no server will name another: who has others below becomes a root.
    pub(crate) fn root_itself(&mut self, rendition: RenditionId, k: shoal_wire::Substream) {
        let leads = self.share == ShareMode::Share && self.descendants(rendition, k) > 0;
        if !leads || !self.lacks_news() {
            return;
        }
        if let Some(feed) = self.rendition_mut(rendition).feed_mut(k)
            && feed.current == Parent::Nobody
            && feed.next.is_none()
        {
            feed.current = Parent::Origin;
        }
    }
}

/// When the digest of the next object of a rendition is to be asked for.
fn news_at(state: &Rendition) -> Option<Instant> {
    state.first.filter(|_| state.demand.is_none())?;
    let due = state.news.newest_at? + state.segment_len;
    let is_root = state.feeds.iter().any(|feed| feed.current == Parent::Origin);
    let overdue = if is_root { Duration::ZERO } else { state.segment_len / 2 };
    Some((due + overdue).max(state.news.wait_until))
}
