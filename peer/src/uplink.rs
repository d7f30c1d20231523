//! The send queue of the whole uplink: what goes next, and how fast.
//!
//! Rule: what waits in the transport stays short, so that the order of sending remains ours. The
//! newest object goes first, children with most descendants first, equals in random order. Children
//! without any come after them; where the children take less than the uplink carries, what they lack
//! of an older object comes before the newest, or a little that was late would be late by a whole
//! segment. What a newcomer catches up on comes next and oldest first: nobody else waits for it, and
//! its player needs the oldest next. What is asked for comes last: whoever asks has a parent as
//! well, and to serve it sooner would only move the load. The rate is learned only while there is
//! more to send than goes out; it never passes the viewer's cap.

use crate::chunk_set::ChunkSet;
use crate::config::Config;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::cmp::{Ordering, Reverse};
use core::time::Duration;
use shoal_wire::peer_message::CHUNKS_PER_MESSAGE_MAX;
use shoal_wire::{BitRate, ByteSize, ChunkRange, Instant, ObjectId, PeerId, Substream};

/// Time over which the drain rate is sampled.
const WINDOW: Duration = Duration::from_millis(400);
const WINDOW_MAX: Duration = Duration::from_secs(3);
/// A window lasts at least as long as these take: one more or less must not matter much.
const WINDOW_CHUNKS: u64 = 10;
/// Samples of busy windows that are remembered.
const SAMPLES_MAX: usize = 12;
/// Of them the third largest counts: an association that begins, or lost a packet, drains slower
/// than the uplink could, and whole messages make a window look faster than it was.
const SAMPLE_RANK: usize = 2;
/// An uplink that had more to send than it sent for so many windows in a row, this many times over,
/// carries no more than it sent in the best of those times, whatever is believed of it.
const LONG_WINDOWS: u32 = 4;
const LONG_MAX: usize = 5;
/// What may leave at once after a pause.
const BURST: Duration = Duration::from_millis(10);
/// Transport backlog beyond two chunks, as time at the learned rate: covers the round trip.
const BACKLOG: Duration = Duration::from_millis(120);
const BACKLOG_CHUNKS: u64 = 8;
/// With links that wait for their own windows, so many times as much may wait in transports.
const SLOW_LINKS: u64 = 2;
/// Children that take no more than this of an uplink leave it time for slow links, and to catch up.
const ROOMY_LOAD_PERCENT: u64 = 95;
/// More left of older objects than is sent within this is not caught up with.
const LEFT_OVER_MAX: Duration = Duration::from_millis(1200);
/// Time by which what an uplink sends is late for other reasons than how much it has to send.
const SEND_MARGIN: Duration = Duration::from_millis(30);
/// An uplink with more jobs than this does not run dry soon.
const LAST_JOBS_MAX: usize = 3;

/// Why chunks are sent, in order of precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Why {
    /// New, for a child.
    Pushed,
    /// Known before the child subscribed, which nobody waits for but its player.
    CatchUp,
    /// Asked for with a fetch.
    Pulled,
    /// The same by a viewer on demand, who has nobody else to get it from.
    Demanded,
}

/// Chunks of one object for one neighbour.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) peer: PeerId,
    pub(crate) object: ObjectId,
    pub(crate) why: Why,
    pub(crate) weight: u16,
    chunks: ChunkSet,
    tie: u32,
    /// Runs that are whole here: their end is told after their last chunk.
    pub(crate) ends: Vec<Substream>,
}

/// The uplink.
#[derive(Debug)]
pub(crate) struct Uplink {
    jobs: Vec<Job>,
    rate: BitRate,
    rate_min: BitRate,
    chunk_size: u32,
    samples: VecDeque<BitRate>,
    cap: Option<BitRate>,
    free_at: Instant,
    window_start: Instant,
    window_bytes: u64,
    window_backlog: u64,
    /// Bytes, time and number of the windows since the last long sample.
    long: (u64, Duration, u32),
    long_samples: Vec<BitRate>,
    starved: bool,
    queue_grew: bool,
    turn: u32,
    /// What all children together take; without bounds until it is known.
    load: BitRate,
}

impl Uplink {
    pub(crate) const fn new(config: &Config) -> Self {
        Self {
            jobs: Vec::new(),
            rate: config.upload_prior,
            rate_min: config.upload_min,
            chunk_size: config.chunk_size_prior,
            samples: VecDeque::new(),
            cap: config.upload_cap,
            free_at: Instant::ZERO,
            window_start: Instant::ZERO,
            window_bytes: 0,
            window_backlog: 0,
            long: (0, Duration::ZERO, 0),
            long_samples: Vec::new(),
            starved: true,
            queue_grew: false,
            turn: 0,
            load: BitRate::from_bps(u64::MAX),
        }
    }

    pub(crate) const fn set_cap(&mut self, cap: Option<BitRate>) {
        self.cap = cap;
    }

    /// Usable upload as far as it is known.
    pub(crate) fn usable(&self) -> BitRate {
        self.cap.map_or(self.rate, |cap| cap.min(self.rate))
    }

    /// What all children together take.
    pub(crate) const fn set_load(&mut self, load: BitRate) {
        self.load = load;
    }

    /// Whether children leave some of it free.
    fn has_room(&self) -> bool {
        self.load.as_bps() <= self.usable().as_bps().saturating_mul(ROOMY_LOAD_PERCENT) / 100
    }

    /// Whether children get what they lack of older objects before the newest.
    fn catches_up(&self) -> bool {
        if !self.has_room() {
            return false;
        }
        let pushed = || self.jobs.iter().filter(|job| job.why == Why::Pushed);
        let newest = pushed().map(|job| job.object).max();
        let older = pushed().filter(|job| Some(job.object) < newest);
        older.map(|job| job.chunks.len()).sum::<u32>() <= self.chunks_within(LEFT_OVER_MAX)
    }

    fn pace(&self) -> BitRate {
        let probing = BitRate::from_bps(self.rate.as_bps().saturating_mul(17) / 16);
        self.cap.map_or(probing, |cap| cap.min(probing))
    }

    /// Bytes that may wait in the transport over all links.
    pub(crate) fn backlog_max(&self) -> u64 {
        (u64::from(self.chunk_size) * BACKLOG_CHUNKS).max(self.rate.in_time(BACKLOG).as_bytes())
    }

    /// Bytes that may wait in the transport over all links, slow ones too. Where upload is short,
    /// order is worth more than to have every link busy.
    pub(crate) fn transport_max(&self) -> u64 {
        let times = if self.has_room() { SLOW_LINKS } else { 1 };
        self.backlog_max() * times
    }

    /// Number of chunks that leave within a time.
    pub(crate) fn chunks_within(&self, time: Duration) -> u32 {
        let chunks = self.rate.in_time(time).as_bytes() / u64::from(self.chunk_size.max(1));
        u32::try_from(chunks).unwrap_or(u32::MAX)
    }

    /// By when the uplink alone has certainly sent so many bytes.
    pub(crate) fn time_to_send(&self, bytes: u64) -> Duration {
        self.rate.time_for(ByteSize::from_bytes(bytes)) * 5 / 4 + SEND_MARGIN
    }

    /// How long a message waits behind what this uplink keeps in the transport.
    pub(crate) fn own_delay(&self) -> Duration {
        self.rate.time_for(ByteSize::from_bytes(self.backlog_max())).min(WINDOW_MAX)
    }

    pub(crate) fn queued_for(&self, peer: PeerId) -> usize {
        self.jobs.iter().filter(|job| job.peer == peer).map(|job| job.chunks.len() as usize).sum()
    }

    /// Chunks that were asked for and wait for a gap.
    pub(crate) fn pulled_chunks(&self) -> u32 {
        let pulled = self.jobs.iter().filter(|job| job.why == Why::Pulled);
        pulled.map(|job| job.chunks.len()).sum()
    }

    /// Chunks that on-demand viewers asked for.
    pub(crate) fn demanded_chunks(&self) -> u32 {
        let demanded = self.jobs.iter().filter(|job| job.why == Why::Demanded);
        demanded.map(|job| job.chunks.len()).sum()
    }

    /// A number that grows: who asks first is served first.
    pub(crate) const fn turn(&mut self) -> u32 {
        self.turn = self.turn.wrapping_add(1);
        self.turn
    }

    /// The job for these chunks, made if there is none. `tie` orders equals.
    pub(crate) fn job(
        &mut self,
        peer: PeerId,
        object: ObjectId,
        why: Why,
        weight: u16,
        tie: u32,
    ) -> &mut Job {
        let same = |job: &Job| job.peer == peer && job.object == object && job.why == why;
        let at = self.jobs.iter().position(same).unwrap_or_else(|| {
            let (chunks, ends) = (ChunkSet::default(), Vec::new());
            self.jobs.push(Job { peer, object, why, weight, chunks, tie, ends });
            self.jobs.len() - 1
        });
        self.jobs[at].weight = weight;
        &mut self.jobs[at]
    }

    pub(crate) fn cancel(&mut self, peer: PeerId, object: &ObjectId, chunks: ChunkRange) {
        for job in self.jobs.iter_mut().filter(|job| job.peer == peer && job.object == *object) {
            job.chunks.remove(chunks);
        }
    }

    pub(crate) fn forget_peer(&mut self, peer: PeerId) {
        self.jobs.retain(|job| job.peer != peer);
    }

    pub(crate) fn forget_object(&mut self, object: &ObjectId) {
        self.jobs.retain(|job| job.object != *object);
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Whether all that waits will have left within `time`, at the learned rate.
    pub(crate) fn runs_dry_within(&self, time: Duration) -> bool {
        let queued = || self.jobs.iter().map(|job| job.chunks.len()).sum::<u32>();
        self.jobs.len() <= LAST_JOBS_MAX && queued() <= self.chunks_within(time)
    }

    /// When the pacer lets the next message go.
    pub(crate) const fn free_at(&self) -> Instant {
        self.free_at
    }

    /// The next job to serve among those that `open` lets through.
    pub(crate) fn next(&mut self, open: impl Fn(PeerId) -> bool) -> Option<&mut Job> {
        let catches_up = self.catches_up();
        let before = |a: &Job, b: &Job| a.precedence(b, catches_up);
        let first = self.jobs.iter().enumerate().min_by(|(_, a), (_, b)| before(a, b));
        let at = first.map(|(at, _)| at).filter(|at| open(self.jobs[*at].peer));
        if let Some(at) = at {
            return self.jobs.get_mut(at);
        }
        self.jobs.iter_mut().filter(|job| open(job.peer)).min_by(|a, b| before(a, b))
    }

    pub(crate) fn drop_empty(&mut self) {
        self.jobs.retain(|job| !job.chunks.is_empty() || !job.ends.is_empty());
    }

    /// Chunk bytes left for a neighbour.
    pub(crate) fn note_sent(&mut self, bytes: u64, now: Instant) {
        self.window_bytes += bytes;
        let earliest = now.saturating_sub(BURST);
        self.free_at =
            self.free_at.max(earliest) + self.pace().time_for(ByteSize::from_bytes(bytes));
    }

    /// There was nothing to send although there was room: this window teaches nothing.
    pub(crate) const fn note_starved(&mut self) {
        self.starved = true;
    }

    /// A round trip rose by 50 ms: the uplink's own queue fills.
    pub(crate) const fn note_delay(&mut self) {
        self.queue_grew = true;
    }

    /// The rate is nearly the largest of the newest samples; what was believed before stands until
    /// there are enough.
    fn note_sample(&mut self, sample: BitRate) {
        if self.samples.len() >= SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
        let mut sorted: Vec<BitRate> = self.samples.iter().copied().collect();
        sorted.sort_unstable_by(|a, b| b.cmp(a));
        let Some(high) = sorted.get(SAMPLE_RANK).copied() else { return };
        if self.samples.len() >= SAMPLES_MAX || high > self.rate {
            self.rate = high.min(BitRate::from_bps(self.rate.as_bps() * 2));
        }
    }

    /// What was sent in a window at whose end more waited. Where the rate is believed too high, all
    /// links seem slow and no window teaches anything: this does.
    fn note_overload(&mut self, drained: u64, elapsed: Duration) {
        let (bytes, time, windows) = self.long;
        self.long = (bytes + drained, time + elapsed, windows + 1);
        if windows + 1 < LONG_WINDOWS {
            return;
        }
        let (bytes, time, _) = core::mem::take(&mut self.long);
        self.long_samples.push(ByteSize::from_bytes(bytes).per(time));
        if self.long_samples.len() < LONG_MAX {
            return;
        }
        let most = self.long_samples.drain(..).max();
        self.rate = most.map_or(self.rate, |most| most.min(self.rate));
    }

    fn window_len(&self) -> Duration {
        let some_chunks = ByteSize::from_bytes(u64::from(self.chunk_size) * WINDOW_CHUNKS);
        self.rate.time_for(some_chunks).clamp(WINDOW, WINDOW_MAX)
    }

    /// Whether there is nothing to send, and nothing to learn from it.
    pub(crate) fn rests(&self, now: Instant) -> bool {
        self.jobs.is_empty()
            && (self.starved || self.free_at > now)
            && now - self.window_start < WINDOW
    }

    /// Learns from the window that ends, if it is over.
    pub(crate) fn learn(&mut self, backlog: u64, now: Instant) {
        let elapsed = now - self.window_start;
        if elapsed < WINDOW || elapsed < self.window_len() {
            return;
        }
        let drained = (self.window_bytes + self.window_backlog).saturating_sub(backlog);
        let busy = self.window_bytes > 0;
        if busy && !self.starved {
            self.note_sample(ByteSize::from_bytes(drained).per(elapsed));
        }
        if busy && !self.jobs.is_empty() {
            self.note_overload(drained, elapsed);
        } else {
            self.long = Default::default();
            self.long_samples.clear();
        }
        if busy && self.queue_grew {
            self.rate = BitRate::from_bps(self.rate.as_bps() * 7 / 8);
            self.samples.clear();
        }
        self.rate = self.rate.max(self.rate_min);
        self.window_start = now;
        self.window_bytes = 0;
        self.window_backlog = backlog;
        self.starved = self.jobs.is_empty();
        self.queue_grew = false;
    }
}

/// Jobs in order of precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Inner,
    Leaf,
    CatchUp,
    Pulled,
    Demanded,
}

impl Job {
    const fn class(&self) -> Class {
        match self.why {
            Why::Pulled => Class::Pulled,
            Why::Demanded => Class::Demanded,
            Why::Pushed if self.weight > 0 => Class::Inner,
            Why::Pushed => Class::Leaf,
            Why::CatchUp => Class::CatchUp,
        }
    }

    /// Which of two jobs goes first; children's older objects do if the uplink catches up.
    fn precedence(&self, other: &Self, catches_up: bool) -> Ordering {
        let class = self.class();
        // An uplink that cannot send everything must not be late with everything: what is left over
        // is the oldest.
        let by_age = match class {
            Class::Inner | Class::Leaf if catches_up => self.object.cmp(&other.object),
            Class::Inner | Class::Leaf => other.object.cmp(&self.object),
            Class::CatchUp | Class::Pulled => self.object.cmp(&other.object),
            Class::Demanded => Ordering::Equal,
        };
        // Children get chunk after chunk together: inner nodes for each to pass on, leaves because
        // links with small windows need the time.
        let first = |job: &Self| match class {
            Class::Inner | Class::Leaf => job.chunks.first().unwrap_or(u32::MAX),
            Class::Pulled | Class::Demanded | Class::CatchUp => 0,
        };
        let rest = |job: &Self| (first(job), Reverse(job.weight), job.tie);
        class.cmp(&other.class()).then(by_age).then_with(|| rest(self).cmp(&rest(other)))
    }

    pub(crate) fn add(&mut self, chunk: u32) {
        self.chunks.insert(chunk);
    }

    /// Takes the next consecutive chunks, as many as fit one message.
    pub(crate) fn take(&mut self, count_max: u32) -> Option<ChunkRange> {
        let range = self.chunks.take_first(count_max.min(CHUNKS_PER_MESSAGE_MAX))?;
        Some(range)
    }

    pub(crate) fn is_drained(&self) -> bool {
        self.chunks.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_wire::{Epoch, RenditionId};

    fn object(msn: u64) -> ObjectId {
        ObjectId::segment(RenditionId(0), Epoch(1), msn)
    }

    fn uplink() -> Uplink {
        let upload_prior = BitRate::from_bps(8_000_000);
        Uplink::new(&Config { upload_prior, ..Config::default() })
    }

    #[test]
    fn order_is_newest_then_most_descendants_then_catching_up_then_pulled() {
        let mut uplink = uplink();
        for (peer, msn, why, weight) in [
            (6, 6, Why::CatchUp, 9),
            (5, 5, Why::CatchUp, 0),
            (1, 5, Why::Pushed, 9),
            (2, 6, Why::Pushed, 1),
            (3, 6, Why::Pushed, 4),
            (4, 4, Why::Pulled, 0),
        ] {
            uplink.job(PeerId(peer), object(msn), why, weight, 0).add(0);
        }
        let mut order = Vec::new();
        while let Some(job) = uplink.next(|_| true) {
            order.push(job.peer.0);
            job.take(3);
            uplink.drop_empty();
        }
        assert_eq!(order, [3, 2, 1, 5, 6, 4]);
    }

    #[test]
    fn children_of_a_kind_get_chunk_after_chunk_together() {
        let mut uplink = uplink();
        for (peer, weight) in [(1, 0), (2, 0), (3, 2), (4, 2)] {
            let job = uplink.job(PeerId(peer), object(6), Why::Pushed, weight, peer as u32);
            job.add(7);
            job.add(8);
        }
        let mut order = Vec::new();
        while let Some(job) = uplink.next(|_| true) {
            let range = job.take(1).expect("a chunk");
            order.push((job.peer.0, range.first));
            uplink.drop_empty();
        }
        assert_eq!(order, [(3, 7), (4, 7), (3, 8), (4, 8), (1, 7), (2, 7), (1, 8), (2, 8)]);
    }

    #[test]
    fn an_uplink_with_room_sends_what_a_leaf_lacks_of_the_last_object_first() {
        let first = |load: u64, left: u32| {
            let mut uplink = uplink();
            uplink.set_load(BitRate::from_bps(load));
            uplink.job(PeerId(1), object(6), Why::Pushed, 0, 0).add(0);
            for chunk in 0..left {
                uplink.job(PeerId(2), object(5), Why::Pushed, 0, 0).add(chunk);
            }
            let leaf = uplink.next(|_| true).expect("a job").peer.0;
            uplink.job(PeerId(3), object(6), Why::Pushed, 1, 0).add(0);
            assert_eq!(uplink.next(|_| true).expect("a job").peer, PeerId(3), "who has others");
            leaf
        };
        assert_eq!(first(7_600_000, 73), 2);
        assert_eq!(first(7_600_000, 74), 1, "more than is sent in 1.2 s");
        assert_eq!(first(7_700_000, 73), 1, "nearly full");
    }

    #[test]
    fn consecutive_chunks_share_a_message() {
        let mut uplink = uplink();
        let job = uplink.job(PeerId(1), object(1), Why::Pushed, 0, 0);
        for chunk in [4, 5, 6, 7, 9] {
            job.add(chunk);
        }
        let taken: Vec<_> =
            core::iter::from_fn(|| job.take(3)).map(|r| (r.first, r.count)).collect();
        assert_eq!(taken, [(4, 3), (7, 1), (9, 1)]);
    }

    #[test]
    fn an_uplink_whose_links_all_seem_slow_learns_that_it_is_slow() {
        let learned = |runs_dry: bool| {
            let mut uplink = uplink();
            let mut now = Instant::ZERO;
            for window in 0..60 {
                now += WINDOW;
                uplink.job(PeerId(1), object(1), Why::Pushed, 0, 0).add(window);
                uplink.note_starved();
                uplink.note_sent(BitRate::from_bps(5_000_000).in_time(WINDOW).as_bytes(), now);
                if runs_dry && window % 16 == 0 {
                    uplink.forget_peer(PeerId(1));
                }
                uplink.learn(0, now);
            }
            uplink.usable().as_bps() / 1_000_000
        };
        assert_eq!(learned(false), 5);
        assert_eq!(learned(true), 8, "it had nothing more to send now and then");
    }

    #[test]
    fn the_rate_is_learned_only_under_load() {
        let mut uplink = uplink();
        let mut now = Instant::ZERO;
        uplink.learn(0, now + WINDOW);
        assert_eq!(uplink.usable(), BitRate::from_bps(8_000_000));
        for _ in 0..40 {
            now += WINDOW;
            uplink.job(PeerId(1), object(1), Why::Pushed, 0, 0).add(0);
            uplink.note_sent(BitRate::from_bps(1_000_000).in_time(WINDOW).as_bytes(), now);
            uplink.learn(0, now);
        }
        let learned = uplink.usable().as_bps();
        assert!((1_000_000..1_010_000).contains(&learned), "{learned}");
        uplink.set_cap(Some(BitRate::from_bps(500_000)));
        assert_eq!(uplink.usable(), BitRate::from_bps(500_000));
    }
}
