//! A peer with an open data channel: what it has, what it takes, how far away it is.

use crate::backlog::Buffer;
use crate::pull::Pull;
use crate::table::Table;
use alloc::vec::Vec;
use core::time::Duration;
use shoal_wire::peer_message::Holding;
use shoal_wire::{ChunkRange, Instant, ObjectId};

/// Objects remembered per neighbour: a playlist window with its parts, or what it may hold of a
/// title.
const HOLDINGS_MAX: usize = 512;
/// Cancelled ranges remembered per neighbour; older ones are for objects long gone.
const CANCELLED_MAX: usize = 128;
/// A round trip until one has been measured: between two homes of one country.
const RTT_PRIOR: Duration = Duration::from_millis(60);
/// Cancels before this are repairs from others.
const PATIENCE_MIN: Duration = Duration::from_secs(1);
/// A cancel that comes sooner takes off so much of the difference: most are of chunks that somebody
/// else brought.
const PATIENCE_SMOOTHING: u32 = 64;
/// What leaves later than this before the neighbour gives up arrives too late.
const PATIENCE_MARGIN: Duration = Duration::from_millis(400);
/// More delay than this, beyond what is known of, is a queue that fills.
const DELAY_MAX: Duration = Duration::from_millis(50);

/// What a neighbour has of an object.
#[derive(Clone, Copy, Debug)]
struct Held {
    holding: Holding,
    /// Whether it refused to give of it since it said so.
    refused: bool,
}

/// A neighbour.
#[derive(Debug)]
pub(crate) struct Neighbour {
    holdings: Table<ObjectId, Held>,
    /// Those of the newest objects last.
    cancelled: Vec<(ObjectId, ChunkRange)>,
    /// What waits in its transport.
    pub(crate) buffer: Buffer,
    pub(crate) unverified_bytes: usize,
    pub(crate) rtt_min: Option<Duration>,
    pub(crate) rtt: Option<Duration>,
    /// Whether the newest round trip says that a queue fills.
    pub(crate) is_delayed: bool,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) asked_chunks: u32,
    /// Of the newest message to it about subscriptions.
    pub(crate) turn: u32,
    /// What is under way from it on demand.
    pub(crate) pull: Pull,
    /// How old objects are when it takes from the origin what still lacks.
    patience: Option<Duration>,
}

impl Neighbour {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            holdings: Table::new(),
            cancelled: Vec::new(),
            buffer: Buffer::new(now),
            unverified_bytes: 0,
            rtt_min: None,
            rtt: None,
            is_delayed: false,
            received: 0,
            sent: 0,
            asked_chunks: 0,
            turn: 0,
            pull: Pull::default(),
            patience: None,
        }
    }

    /// It cancelled chunks of an object that was known for so long: it takes them from the origin
    /// then.
    pub(crate) fn note_cancel(&mut self, age: Duration) {
        if age > PATIENCE_MIN {
            let slower = |old: Duration| old - old.saturating_sub(age) / PATIENCE_SMOOTHING;
            self.patience = Some(self.patience.map_or(age, |old| slower(old).max(age)));
        }
    }

    /// Whether what is sent now, of an object known for so long, would come after it gave up.
    pub(crate) fn has_given_up(&self, age: Duration) -> bool {
        self.patience.is_some_and(|patience| age + PATIENCE_MARGIN > patience)
    }

    /// Notes what it says it has.
    pub(crate) fn note_holding(&mut self, object: ObjectId, holding: Holding) {
        let known = self.holdings.get_or_insert_with(object, || Held { holding, refused: false });
        if holding != Holding::Digest {
            *known = Held { holding, refused: false };
        }
        while self.holdings.len() > HOLDINGS_MAX {
            self.holdings.remove_first();
        }
    }

    /// It refused: it does not have all of it, or has no time to give it.
    pub(crate) fn note_refusal(&mut self, object: ObjectId) {
        let unknown = || Held { holding: Holding::Digest, refused: true };
        self.holdings.get_or_insert_with(object, unknown).refused = true;
    }

    pub(crate) fn knows_digest(&self, object: &ObjectId) -> bool {
        self.holdings.contains_key(object)
    }

    /// Whether it can be asked for any chunk.
    pub(crate) fn has_all(&self, object: &ObjectId) -> bool {
        let gives = |held: &Held| held.holding == Holding::Complete && !held.refused;
        self.holdings.get(object).is_some_and(gives)
    }

    /// The same, though it may have refused.
    pub(crate) fn says_it_has_all(&self, object: &ObjectId) -> bool {
        self.holdings.get(object).is_some_and(|held| held.holding == Holding::Complete)
    }

    /// Whether it may still need a chunk.
    pub(crate) fn lacks(&self, object: &ObjectId) -> bool {
        self.holdings.get(object).is_none_or(|held| held.holding == Holding::Digest)
    }

    pub(crate) fn cancel(&mut self, object: ObjectId, chunks: ChunkRange) {
        if self.cancelled.len() >= CANCELLED_MAX {
            self.cancelled.remove(0);
        }
        let at = self.cancelled.partition_point(|(of, _)| *of <= object);
        self.cancelled.insert(at, (object, chunks));
    }

    pub(crate) fn has_cancelled(&self, object: &ObjectId, chunk: u32) -> bool {
        let newest = self.cancelled.iter().rev();
        let older = newest.skip_while(|(of, _)| of > object);
        older.take_while(|(of, _)| of == object).any(|(_, chunks)| chunks.contains(chunk))
    }

    /// It asks for these again: an earlier cancel does not hold any more.
    pub(crate) fn uncancel(&mut self, object: &ObjectId, chunks: ChunkRange) {
        self.cancelled.retain(|(of, old)| {
            of != object || old.end() <= chunks.first || chunks.end() <= old.first
        });
    }

    /// Smoothed round trip.
    pub(crate) fn round_trip(&self) -> Duration {
        self.rtt.unwrap_or(RTT_PRIOR)
    }

    /// Notes a measured round trip. It is delayed if it is 50 ms above the least seen and what this
    /// uplink itself may keep waiting: some queue on the way fills.
    pub(crate) fn note_round_trip(&mut self, rtt: Duration, own_delay: Duration) {
        let least = self.rtt_min.map_or(rtt, |min| min.min(rtt));
        self.rtt_min = Some(least);
        self.rtt = Some(self.rtt.map_or(rtt, |old| (old * 3 + rtt) / 4));
        self.is_delayed = rtt > least + own_delay + DELAY_MAX;
    }
}

/// Whether round trips say that this uplink's queue fills: most do, as pongs wait in the neighbours'
/// own queues as well. Links that wait for their own windows, where pings wait too, say nothing.
pub(crate) fn most_are_delayed<'a>(neighbours: impl Iterator<Item = &'a Neighbour>) -> bool {
    let (mut delayed, mut all) = (0, 0);
    for neighbour in neighbours.filter(|neighbour| !neighbour.buffer.is_slow()) {
        delayed += usize::from(neighbour.is_delayed);
        all += 1;
    }
    delayed * 2 > all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backlog::Backlog;
    use shoal_wire::{Epoch, RenditionId};

    fn object(msn: u64) -> ObjectId {
        ObjectId::segment(RenditionId(0), Epoch(1), msn)
    }

    #[test]
    fn links_that_wait_for_themselves_do_not_say_that_the_uplink_is_full() {
        let at = |ms: u64| Instant::from_micros(ms * 1_000);
        let mut backlog = Backlog::default();
        let mut neighbours = [0; 5].map(|_| Neighbour::new(at(0)));
        for neighbour in &mut neighbours[..3] {
            neighbour.is_delayed = true;
        }
        assert!(most_are_delayed(neighbours.iter()));
        for neighbour in &mut neighbours[..2] {
            backlog.hand_over(&mut neighbour.buffer, 100, at(50), at(0));
            backlog.update(&mut neighbour.buffer, 0, at(90));
        }
        assert!(!most_are_delayed(neighbours.iter()), "one of three");
        assert!(!most_are_delayed(neighbours[..2].iter()), "nobody can tell");
    }

    #[test]
    fn the_longest_patience_is_believed() {
        let mut neighbour = Neighbour::new(Instant::ZERO);
        let gives_up =
            |neighbour: &Neighbour, ms| neighbour.has_given_up(Duration::from_millis(ms));
        assert!(!gives_up(&neighbour, 60_000), "nothing is known");
        neighbour.note_cancel(Duration::from_millis(5_500));
        assert!(!gives_up(&neighbour, 5_000) && gives_up(&neighbour, 5_500));
        // Chunks that somebody else brought.
        for _ in 0..8 {
            neighbour.note_cancel(Duration::from_millis(2_000));
        }
        assert!(!gives_up(&neighbour, 4_500) && gives_up(&neighbour, 5_400));
        // Its player has moved closer.
        for _ in 0..400 {
            neighbour.note_cancel(Duration::from_millis(2_000));
        }
        assert!(gives_up(&neighbour, 3_000));
        neighbour.note_cancel(Duration::from_millis(5_500));
        assert!(!gives_up(&neighbour, 5_000), "and back");
    }

    #[test]
    fn memory_is_bounded() {
        let mut neighbour = Neighbour::new(Instant::ZERO);
        for msn in 0..10_000 {
            neighbour.note_holding(object(msn), Holding::Digest);
            neighbour.cancel(object(msn), ChunkRange::new(0, 1));
        }
        assert_eq!(neighbour.holdings.len(), HOLDINGS_MAX);
        assert_eq!(neighbour.cancelled.len(), CANCELLED_MAX);
        assert!(neighbour.has_cancelled(&object(9_999), 0));
        neighbour.uncancel(&object(9_999), ChunkRange::new(0, 4));
        assert!(!neighbour.has_cancelled(&object(9_999), 0));
    }
}
