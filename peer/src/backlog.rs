//! What waits in the transports of the links, and what of it waits for the uplink.
//!
//! Rule: what is handed over beyond what the uplink sends soon has left our order. But bytes that
//! are still there when the uplink alone would long have sent them wait for their own link, whose
//! window loss or distance keep small: they stand in no other link's way, and the uplink is not to
//! idle for them.

use core::time::Duration;
use shoal_wire::Instant;

/// A link that has drained nothing for this long is stuck; it must not hold up the others.
const STUCK_AFTER: Duration = Duration::from_millis(400);

/// What waits on one link.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: u32,
    drained_at: Instant,
    /// When the uplink will have sent what was handed over last, if nothing else keeps it.
    due_at: Instant,
    /// Whether bytes are late: the link takes less than the uplink could send.
    slow: bool,
}

impl Buffer {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { bytes: 0, drained_at: now, due_at: now, slow: false }
    }

    pub(crate) const fn bytes(&self) -> u32 {
        self.bytes
    }

    /// Whether bytes are late, or were when it last drained.
    pub(crate) const fn is_slow(&self) -> bool {
        self.slow
    }

    /// Bytes that wait on it if it is stuck.
    pub(crate) fn stuck(&self, now: Instant) -> u64 {
        if self.is_stuck(now) { self.bytes.into() } else { 0 }
    }

    pub(crate) fn is_stuck(&self, now: Instant) -> bool {
        self.bytes > 0 && now - self.drained_at > STUCK_AFTER
    }
}

/// What waits on all links, kept as sums.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    /// Bytes on links that are not slow: what waits for the uplink.
    in_uplink: u64,
    /// Bytes on slow links.
    in_links: u64,
    /// No link becomes slow by waiting before this.
    due_at: Option<Instant>,
}

impl Backlog {
    /// A link takes `len` more bytes, which the uplink alone would have sent by `due_at`.
    pub(crate) fn hand_over(
        &mut self,
        buffer: &mut Buffer,
        len: u32,
        due_at: Instant,
        now: Instant,
    ) {
        if buffer.bytes == 0 {
            buffer.drained_at = now;
        }
        buffer.due_at = due_at;
        self.due_at = Some(self.due_at.map_or(due_at, |at| at.min(due_at)));
        self.set(buffer, buffer.bytes.saturating_add(len), buffer.slow);
    }

    /// The transport of a link holds `bytes`.
    pub(crate) fn update(&mut self, buffer: &mut Buffer, bytes: u32, now: Instant) {
        let drained = bytes < buffer.bytes || bytes == 0;
        let late = buffer.bytes > 0 && now > buffer.due_at;
        if drained {
            buffer.drained_at = now;
        }
        // Who keeps up has nothing left before it is due.
        let slow = if bytes == 0 { late } else { buffer.slow || late };
        self.set(buffer, bytes, slow);
    }

    fn set(&mut self, buffer: &mut Buffer, bytes: u32, slow: bool) {
        *self.sum_of(buffer.slow) -= u64::from(buffer.bytes);
        (buffer.bytes, buffer.slow) = (bytes, slow);
        *self.sum_of(slow) += u64::from(bytes);
    }

    const fn sum_of(&mut self, slow: bool) -> &mut u64 {
        if slow { &mut self.in_links } else { &mut self.in_uplink }
    }

    /// Bytes on all links.
    pub(crate) const fn total(&self) -> u64 {
        self.in_uplink + self.in_links
    }

    /// Bytes that wait for the uplink.
    pub(crate) fn in_uplink<'a>(
        &mut self,
        buffers: impl Iterator<Item = &'a mut Buffer>,
        now: Instant,
    ) -> u64 {
        if self.due_at.is_some_and(|at| at < now) {
            self.due_at = None;
            for buffer in buffers.filter(|buffer| buffer.bytes > 0 && !buffer.slow) {
                if buffer.due_at < now {
                    self.set(buffer, buffer.bytes, true);
                } else {
                    let due = self.due_at.map_or(buffer.due_at, |at| at.min(buffer.due_at));
                    self.due_at = Some(due);
                }
            }
        }
        self.in_uplink
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1_000)
    }

    #[test]
    fn what_a_slow_link_keeps_does_not_wait_for_the_uplink() {
        let mut backlog = Backlog::default();
        let [mut near, mut far] = [Buffer::new(at(0)), Buffer::new(at(0))];
        backlog.hand_over(&mut near, 100, at(50), at(0));
        backlog.hand_over(&mut far, 200, at(60), at(0));
        assert_eq!(backlog.in_uplink([&mut near, &mut far].into_iter(), at(40)), 300);
        backlog.update(&mut near, 0, at(45));
        assert_eq!(backlog.in_uplink([&mut near, &mut far].into_iter(), at(60)), 200);
        assert_eq!(backlog.in_uplink([&mut near, &mut far].into_iter(), at(61)), 0, "it is late");
        // What it takes then is no more of the uplink's than what it had.
        backlog.update(&mut far, 100, at(70));
        backlog.hand_over(&mut far, 100, at(120), at(70));
        backlog.hand_over(&mut near, 100, at(120), at(70));
        assert_eq!(backlog.in_uplink([&mut near, &mut far].into_iter(), at(80)), 100);
        assert_eq!(backlog.total(), 300);
        assert_eq!((far.stuck(at(470)), far.stuck(at(471))), (0, 200), "400 ms after it drained");
    }

    #[test]
    fn a_link_that_keeps_up_again_counts_again() {
        let mut backlog = Backlog::default();
        let mut link = Buffer::new(at(0));
        backlog.hand_over(&mut link, 100, at(50), at(0));
        backlog.update(&mut link, 0, at(90));
        backlog.hand_over(&mut link, 100, at(200), at(150));
        assert_eq!(backlog.in_uplink([&mut link].into_iter(), at(160)), 0);
        backlog.update(&mut link, 0, at(170));
        backlog.hand_over(&mut link, 100, at(250), at(200));
        assert_eq!(backlog.in_uplink([&mut link].into_iter(), at(210)), 100);
        backlog.update(&mut link, 0, at(220));
        assert_eq!((backlog.total(), link.bytes()), (0, 0));
    }
}
