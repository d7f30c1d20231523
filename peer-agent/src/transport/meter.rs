//! How many of a link's payload bytes have left on its sockets.
//!
//! Rule: what is counted as sent is never more than what was handed to SCTP, so what is still to
//! be sent is never below zero, and the count is exact again whenever SCTP has sent all it has.
//!
//! It is an estimate in between, because records are encrypted: retransmissions count as sent, so
//! a link that loses p of its packets shows its backlog too low by p of the bytes since the
//! backlog was last empty.

use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

/// DTLS content type of application data (RFC 6347), the first byte of a record.
const APPLICATION_DATA: u8 = 23;

/// What surrounds the payload in a datagram: DTLS record header 13, explicit nonce 8 and tag 16
/// (AES-GCM), SCTP common header 12, DATA chunk header 16. An acknowledgement is no longer.
const OVERHEAD_BYTES: usize = 65;

/// Counts one link's payload, shared by its task, its owner and its sockets.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    handed: AtomicU64,
    sent: AtomicU64,
    handed_some: Notify,
    drained: Notify,
}

impl Meter {
    /// `bytes` of payload are about to be handed to SCTP.
    pub(crate) fn hand(&self, bytes: usize) {
        self.handed.fetch_add(bytes as u64, Ordering::AcqRel);
        self.handed_some.notify_one();
    }

    /// A socket accepted `datagrams`, each of `segment_bytes` except for the last.
    pub(crate) fn transmitted(&self, datagrams: &[u8], segment_bytes: Option<usize>) {
        let segment_bytes = segment_bytes.unwrap_or(datagrams.len()).max(1);
        let payload: usize = datagrams
            .chunks(segment_bytes)
            .filter(|datagram| datagram.first() == Some(&APPLICATION_DATA))
            .map(|datagram| datagram.len().saturating_sub(OVERHEAD_BYTES))
            .sum();
        if payload == 0 {
            return;
        }
        let handed = self.handed.load(Ordering::Acquire);
        let add = |sent: u64| Some((sent + payload as u64).min(handed));
        let before = self.sent.fetch_update(Ordering::AcqRel, Ordering::Acquire, add);
        if before.is_ok_and(|before| before < handed) {
            self.drained.notify_one();
        }
    }

    /// SCTP still holds `outstanding_bytes`, unsent and unacknowledged; the rest has arrived.
    pub(crate) fn outstanding(&self, outstanding_bytes: usize) {
        let handed = self.handed.load(Ordering::Acquire);
        let arrived = handed.saturating_sub(outstanding_bytes as u64);
        if self.sent.fetch_max(arrived, Ordering::AcqRel) < arrived {
            self.drained.notify_one();
        }
    }

    /// Payload bytes that left, at most those handed over.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Acquire)
    }

    /// Whether all that was handed over has left.
    pub(crate) fn is_empty(&self) -> bool {
        self.sent() >= self.handed.load(Ordering::Acquire)
    }

    /// Resolves when something was handed over since the last call. For one waiter.
    pub(crate) async fn handed(&self) {
        self.handed_some.notified().await;
    }

    /// Resolves when payload has left since the last call. For one waiter.
    pub(crate) async fn drained(&self) {
        self.drained.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(payload: usize) -> Vec<u8> {
        let mut datagram = vec![0; payload + OVERHEAD_BYTES];
        datagram[0] = APPLICATION_DATA;
        datagram
    }

    #[test]
    fn counts_every_segment_of_a_batch() {
        let meter = Meter::default();
        meter.hand(2_500);
        let batch = [record(1_000), record(1_000), record(400)].concat();
        meter.transmitted(&batch, Some(1_000 + OVERHEAD_BYTES));
        assert_eq!(meter.sent(), 2_400);
        assert!(!meter.is_empty());
    }

    #[test]
    fn never_counts_more_than_was_handed_over() {
        let meter = Meter::default();
        meter.hand(1_500);
        meter.transmitted(&record(1_000), None);
        meter.transmitted(&record(1_000), None);
        assert_eq!(meter.sent(), 1_500);
        meter.hand(100);
        assert!(!meter.is_empty(), "a retransmission is no credit for what comes later");
    }

    #[test]
    fn what_is_acknowledged_was_sent() {
        let meter = Meter::default();
        meter.hand(1_000);
        meter.outstanding(400);
        assert_eq!(meter.sent(), 600);
        meter.outstanding(700);
        assert_eq!(meter.sent(), 600, "it does not go back");
        meter.outstanding(0);
        assert!(meter.is_empty());
    }

    #[test]
    fn passes_over_handshakes_and_acknowledgements() {
        let meter = Meter::default();
        meter.hand(1_000);
        meter.transmitted(&[22; 500], None);
        meter.transmitted(&record(0), None);
        meter.transmitted(&[], None);
        assert_eq!(meter.sent(), 0);
    }
}
