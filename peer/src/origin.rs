//! The origin as this viewer sees it: open fetches, how long they take, and when to start one.
//!
//! Rule: a fetch starts no later than the deadline less a high quantile of what such fetches took.

use crate::config::Config;
use crate::input::FetchId;
use crate::table::Table;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bytes::BytesMut;
use core::time::Duration;
use shoal_wire::{BitRate, ByteSize, Instant, ObjectId};

/// Fetches that the estimate is made from.
const SAMPLES_MAX: usize = 32;
/// Fewer samples than this do not say that the origin is better than the prior; that it is worse,
/// one does.
const SAMPLES_MIN: usize = 4;
/// One sample in so many may be worse than the high quantile: a moment in which this viewer's own
/// machine was busy says nothing of the origin.
const OUTLIER_IN: usize = 8;
/// A failing origin is asked this often for what a player waits for: plain players ask as often.
const RETRY_EVERY: Duration = Duration::from_millis(500);

/// An open fetch.
#[derive(Debug)]
pub(crate) struct Fetch {
    pub(crate) object: ObjectId,
    /// Where `tail` begins in the object.
    pub(crate) base: u32,
    /// Bytes that do not fill a chunk yet, or all of them while no digest is known.
    pub(crate) tail: BytesMut,
    started_at: Instant,
    first_byte_at: Option<Instant>,
    hedged: bool,
    bytes: u64,
}

/// The origin.
#[derive(Debug)]
pub(crate) struct Origin {
    /// Failures since it last answered.
    pub(crate) fails: u64,
    /// Where in [`RETRY_EVERY`] this viewer's retries fall: a crowd's are spread.
    retry_phase: Duration,
    fetches: Table<FetchId, Fetch>,
    next_id: u64,
    first_bytes: VecDeque<Duration>,
    rates: VecDeque<BitRate>,
    /// A high quantile of the one, a low one of the other.
    first_byte_high: Option<Duration>,
    rate_low: Option<BitRate>,
    /// What the server says of the whole network's fetches.
    pooled: Option<(Duration, BitRate)>,
}

impl Origin {
    /// `phase` spreads the retries of many viewers; any number will do.
    pub(crate) fn new(phase: u64) -> Self {
        let every = u64::try_from(RETRY_EVERY.as_micros()).unwrap_or(u64::MAX);
        Self {
            fails: 0,
            retry_phase: Duration::from_micros(phase % every),
            fetches: Table::new(),
            next_id: 0,
            first_bytes: VecDeque::new(),
            rates: VecDeque::new(),
            first_byte_high: None,
            rate_low: None,
            pooled: None,
        }
    }

    /// When a failing origin is asked again for what a player waits for: at instants of its own
    /// that no failure moves, so that one retry finds out for all that is waited for.
    pub(crate) fn retry_at(&self, now: Instant) -> Instant {
        let every = RETRY_EVERY.as_micros();
        let since = u128::from(now.as_micros()) + every - self.retry_phase.as_micros();
        let left = every - since % every;
        now + Duration::from_micros(u64::try_from(left).unwrap_or(0))
    }

    pub(crate) fn open(
        &mut self,
        object: ObjectId,
        range: Option<(u32, u32)>,
        now: Instant,
    ) -> FetchId {
        let id = FetchId(self.next_id);
        self.next_id += 1;
        let base = range.map_or(0, |(offset, _)| offset);
        let fetch = Fetch {
            object,
            base,
            tail: BytesMut::new(),
            started_at: now,
            first_byte_at: None,
            hedged: false,
            bytes: 0,
        };
        self.fetches.insert(id, fetch);
        id
    }

    pub(crate) fn len(&self) -> usize {
        self.fetches.len()
    }

    pub(crate) fn fetch_mut(&mut self, id: FetchId) -> Option<&mut Fetch> {
        self.fetches.get_mut(&id)
    }

    pub(crate) fn fetch(&self, id: FetchId) -> Option<&Fetch> {
        self.fetches.get(&id)
    }

    pub(crate) fn close(&mut self, id: FetchId) -> Option<Fetch> {
        self.fetches.remove(&id)
    }

    /// The open fetches of an object.
    pub(crate) fn of(&self, object: ObjectId) -> Vec<FetchId> {
        self.fetches.iter().filter(|(_, f)| f.object == object).map(|(id, _)| *id).collect()
    }

    /// How many objects of the same rendition before `id` are being fetched, as far as the origin
    /// is not silent.
    pub(crate) fn earlier(&self, id: &ObjectId) -> usize {
        let is_earlier =
            |f: &&Fetch| f.object.rendition == id.rendition && f.object < *id && !f.hedged;
        let mut objects: Vec<_> =
            self.fetches.values().filter(is_earlier).map(|f| f.object).collect();
        objects.sort_unstable();
        objects.dedup();
        objects.len()
    }

    /// When the fetches of an object that have no answer yet are to be made a second time.
    pub(crate) fn hedge_at(&self, object: &ObjectId, config: &Config) -> Option<Instant> {
        // One that fails is not waited for longer than it is left alone.
        let least = if self.fails > 0 { RETRY_EVERY } else { config.origin_hedge_min };
        let wait = least.max(self.expected(0, config) * 2);
        let silent = |f: &&Fetch| f.object == *object && f.first_byte_at.is_none() && !f.hedged;
        self.fetches.values().filter(silent).map(|fetch| fetch.started_at + wait).min()
    }

    /// The fetches of an object that are to be made a second time by now. Each is named once.
    pub(crate) fn take_silent(
        &mut self,
        object: &ObjectId,
        config: &Config,
        now: Instant,
    ) -> Vec<FetchId> {
        let mut silent = Vec::new();
        while self.hedge_at(object, config).is_some_and(|at| at <= now) {
            let next = |f: &(&FetchId, &mut Fetch)| {
                f.1.object == *object && f.1.first_byte_at.is_none() && !f.1.hedged
            };
            let oldest = self.fetches.iter_mut().filter(next).min_by_key(|(_, f)| f.started_at);
            let Some((id, fetch)) = oldest else { break };
            fetch.hedged = true;
            silent.push(*id);
        }
        silent
    }

    pub(crate) fn note_started(&mut self, id: FetchId, now: Instant) {
        let Some(fetch) = self.fetches.get_mut(&id) else {
            return;
        };
        fetch.first_byte_at = Some(now);
        remember(&mut self.first_bytes, now - fetch.started_at);
        self.first_byte_high = ranked(&self.first_bytes, |a, b| b.cmp(a));
    }

    pub(crate) fn note_bytes(&mut self, id: FetchId, bytes: usize) {
        if let Some(fetch) = self.fetches.get_mut(&id) {
            fetch.bytes += bytes as u64;
        }
    }

    /// The fetch ended well: its rate counts.
    pub(crate) fn note_done(&mut self, fetch: &Fetch, config: &Config, now: Instant) {
        if let Some(first) = fetch.first_byte_at
            && fetch.bytes >= config.rate_sample_bytes_min
        {
            let elapsed = (now - first).max(Duration::from_micros(100));
            remember(&mut self.rates, ByteSize::from_bytes(fetch.bytes).per(elapsed));
            self.rate_low = ranked(&self.rates, Ord::cmp);
        }
    }

    pub(crate) const fn set_pooled(&mut self, first_byte: Duration, rate: BitRate) {
        self.pooled = Some((first_byte, rate));
    }

    /// How long a fetch of `bytes` takes, at a high quantile, without a safety factor.
    pub(crate) fn expected(&self, bytes: u64, config: &Config) -> Duration {
        let (pooled_first, pooled_rate) =
            self.pooled.unwrap_or((config.origin_ttfb_prior, config.origin_rate_prior));
        let first = match self.first_byte_high {
            Some(seen) if self.first_bytes.len() >= SAMPLES_MIN => seen,
            seen => seen.map_or(pooled_first, |seen| seen.max(pooled_first)),
        };
        let rate = match self.rate_low {
            Some(seen) if self.rates.len() >= SAMPLES_MIN => seen,
            seen => seen.map_or(pooled_rate, |seen| seen.min(pooled_rate)),
        };
        first + rate.time_for(ByteSize::from_bytes(bytes)).min(Duration::from_secs(60))
    }
}

fn remember<T>(samples: &mut VecDeque<T>, sample: T) {
    if samples.len() >= SAMPLES_MAX {
        samples.pop_front();
    }
    samples.push_back(sample);
}

/// The worst of the samples once one in [`OUTLIER_IN`] is left out; `order` has the worst first.
fn ranked<T: Copy>(
    samples: &VecDeque<T>,
    order: impl FnMut(&T, &T) -> core::cmp::Ordering,
) -> Option<T> {
    let mut sorted: Vec<T> = samples.iter().copied().collect();
    sorted.sort_unstable_by(order);
    sorted.get(samples.len() / OUTLIER_IN).copied()
}

/// The instant after which what is missing is fetched from the origin.
///
/// `expected` is how long that takes at a high quantile; the config's safety factor multiplies it
/// and its least lead holds; `jitter_percent` moves the start earlier, never later, so that a crowd
/// does not ask at once.
pub(crate) fn fallback_at(
    deadline: Instant,
    expected: Duration,
    jitter_percent: u32,
    config: &Config,
) -> Instant {
    let lead = expected.saturating_mul(config.fallback_safety_percent) / 100;
    let lead = lead.max(config.fallback_lead_min);
    deadline.saturating_sub(lead + lead.saturating_mul(jitter_percent) / 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_wire::{Epoch, RenditionId};

    #[test]
    fn fallback_never_starts_late() {
        let deadline = Instant::from_micros(10_000_000);
        let config = Config::default();
        // The factor is 1.5 and the least lead 0.5 s.
        for (expected_ms, jitter, at_ms) in [
            (0, 0, 9500),
            (0, 20, 9400),
            (100, 0, 9500),
            (1000, 0, 8500),
            (1000, 20, 8200),
            (9000, 9, 0),
        ] {
            let at = fallback_at(deadline, Duration::from_millis(expected_ms), jitter, &config);
            assert_eq!(at, Instant::from_micros(at_ms * 1000), "{expected_ms} {jitter}");
        }
    }

    #[test]
    fn retries_keep_their_own_instants() {
        let origin = Origin::new(7_100_000);
        for (now_ms, at_ms) in [(0, 100), (99, 100), (100, 600), (101, 600), (700, 1100)] {
            let now = Instant::from_micros(now_ms * 1000);
            assert_eq!(origin.retry_at(now), Instant::from_micros(at_ms * 1000), "{now_ms}");
        }
    }

    #[test]
    fn measured_fetches_replace_the_prior() {
        let config = Config::default();
        let mut origin = Origin::new(0);
        let prior = origin.expected(0, &config);
        assert_eq!(prior, config.origin_ttfb_prior);
        let object = ObjectId::segment(RenditionId(0), Epoch(0), 0);
        for i in 0..8 {
            let start = Instant::from_micros(i * 1_000_000);
            let id = origin.open(object, None, start);
            origin.note_started(id, start + Duration::from_millis(5 + i));
            origin.note_bytes(id, 100_000);
            let fetch = origin.close(id).expect("open");
            origin.note_done(&fetch, &config, start + Duration::from_millis(105 + i));
        }
        assert_eq!(origin.expected(0, &config), Duration::from_millis(11));
        assert_eq!(origin.expected(1_000_000, &config), Duration::from_millis(1011));
    }

    #[test]
    fn one_slow_fetch_among_many_is_an_outlier_and_several_are_not() {
        let config = Config::default();
        let mut origin = Origin::new(0);
        let object = ObjectId::segment(RenditionId(0), Epoch(0), 0);
        let mut took = |ms: u64| {
            let id = origin.open(object, None, Instant::ZERO);
            origin.note_started(id, Instant::ZERO + Duration::from_millis(ms));
            origin.expected(0, &config)
        };
        for _ in 0..SAMPLES_MAX {
            took(10);
        }
        assert_eq!(took(900), Duration::from_millis(10));
        let after_more = [took(900), took(900), took(900), took(900)];
        assert_eq!(after_more[3], Duration::from_millis(900));
    }

    #[test]
    fn one_slow_fetch_is_believed_and_one_fast_is_not() {
        let config = Config::default();
        for (ms, first_ms) in [(2000, 400), (1, 1)] {
            let mut origin = Origin::new(0);
            let prior = origin.expected(1_000_000, &config);
            let object = ObjectId::segment(RenditionId(0), Epoch(0), 0);
            let id = origin.open(object, None, Instant::ZERO);
            let first = Instant::ZERO + Duration::from_millis(first_ms);
            origin.note_started(id, first);
            origin.note_bytes(id, 1_000_000);
            let fetch = origin.close(id).expect("open");
            origin.note_done(&fetch, &config, first + Duration::from_millis(ms));
            let seen = Duration::from_millis(first_ms + ms);
            assert_eq!(origin.expected(1_000_000, &config), seen.max(prior), "{ms}");
        }
    }
}
