//! What happens when: events in virtual time.
//!
//! Rule: events come out by time, and those of one moment in the order in which they were put in.
//!
//! Near events lie unsorted in buckets of a wheel and are sorted when their bucket's time comes;
//! far ones wait outside. So an event costs about the same whether there are thousands or millions.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// Width of a bucket as a power of two, µs.
const WIDTH_BITS: u32 = 8;
/// Buckets of the wheel: two seconds.
const BUCKETS: u64 = 8192;

#[derive(Debug)]
struct Entry<E> {
    at: u64,
    order: u64,
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// The events to come. Times are µs.
#[derive(Debug)]
pub(crate) struct Queue<E> {
    /// The bucket that is being worked through.
    current: BinaryHeap<Reverse<Entry<E>>>,
    current_bucket: u64,
    wheel: Vec<Vec<Entry<E>>>,
    in_wheel: usize,
    far: BTreeMap<u64, Vec<Entry<E>>>,
    order: u64,
}

impl<E> Queue<E> {
    pub(crate) fn new() -> Self {
        Self {
            current: BinaryHeap::new(),
            current_bucket: 0,
            wheel: (0..BUCKETS).map(|_| Vec::new()).collect(),
            in_wheel: 0,
            far: BTreeMap::new(),
            order: 0,
        }
    }

    /// Puts an event in. One whose time has passed comes next.
    pub(crate) fn push(&mut self, at: u64, event: E) {
        self.order += 1;
        let entry = Entry { at, order: self.order, event };
        let bucket = at >> WIDTH_BITS;
        if bucket <= self.current_bucket {
            self.current.push(Reverse(entry));
        } else if bucket < self.current_bucket + BUCKETS {
            self.wheel[(bucket % BUCKETS) as usize].push(entry);
            self.in_wheel += 1;
        } else {
            self.far.entry(bucket).or_default().push(entry);
        }
    }

    /// The next event and its time.
    pub(crate) fn pop(&mut self) -> Option<(u64, E)> {
        loop {
            if let Some(Reverse(entry)) = self.current.pop() {
                return Some((entry.at, entry.event));
            }
            self.turn()?;
        }
    }

    /// Goes to the next bucket that has something.
    fn turn(&mut self) -> Option<()> {
        let first_far = self.far.first_key_value().map(|(bucket, _)| *bucket);
        if self.in_wheel == 0 {
            self.current_bucket = first_far?;
        } else {
            self.current_bucket += 1;
        }
        let near = &mut self.wheel[(self.current_bucket % BUCKETS) as usize];
        self.in_wheel -= near.len();
        self.current.extend(near.drain(..).map(Reverse));
        if first_far == Some(self.current_bucket)
            && let Some((_, far)) = self.far.pop_first()
        {
            self.current.extend(far.into_iter().map(Reverse));
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_order_of_time_then_of_entry() {
        let mut queue = Queue::new();
        let mut expected = Vec::new();
        let mut state = 7u64;
        for order in 0..20_000u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (state >> 40) % if order % 3 == 0 { 9_000_000 } else { 5_000 };
            queue.push(at, order);
            expected.push((at, order));
        }
        expected.sort_unstable();
        let mut got = Vec::new();
        while let Some(event) = queue.pop() {
            got.push(event);
        }
        assert_eq!(got, expected);
    }

    #[test]
    fn what_is_put_in_late_comes_next() {
        let mut queue = Queue::new();
        queue.push(10_000_000, 1);
        assert_eq!(queue.pop(), Some((10_000_000, 1)));
        queue.push(10_000_001, 3);
        queue.push(5, 2);
        assert_eq!(queue.pop(), Some((5, 2)));
        assert_eq!(queue.pop(), Some((10_000_001, 3)));
        assert_eq!(queue.pop(), None);
    }
}
