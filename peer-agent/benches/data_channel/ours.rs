//! The link layer of the agent, used as the agent uses it.

use super::{Transfer, process};
use bytes::Bytes;
use shoal_agent::transport::{LinkConfig, LinkEvent, Links, SendError};
use shoal_wire::PeerId;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// What many links cost that nothing is sent on.
pub(crate) struct Idle {
    /// In each round, with the links open.
    pub(crate) rss_kib_per_end: Vec<i64>,
    /// After each round: flat if it is the allocator that keeps it, growing if it leaks.
    pub(crate) rss_kib_per_end_after_close: Vec<i64>,
    /// Sorted.
    pub(crate) open_ms: Vec<f64>,
}

struct Pair {
    a: Links,
    b: Links,
}

impl Pair {
    fn new() -> Self {
        let config = LinkConfig::new(IpAddr::V4(Ipv4Addr::LOCALHOST));
        Self { a: Links::new(config.clone()), b: Links::new(config) }
    }

    /// Opens link `number`: both ends name the other by it.
    async fn open(&mut self, number: u64) {
        let peer = PeerId(number);
        self.a.open(peer, true).expect("room");
        self.b.open(peer, false).expect("room");
        let mut open = 0;
        while open < 2 {
            let (event, other) = tokio::select! {
                event = self.a.next_event() => (event, &mut self.b),
                event = self.b.next_event() => (event, &mut self.a),
            };
            match event {
                LinkEvent::Signal { signal, .. } => other.signal(peer, signal),
                LinkEvent::Opened { .. } => open += 1,
                LinkEvent::Drained { .. } => {}
                LinkEvent::Failed { .. } | LinkEvent::Closed { .. } | LinkEvent::Message { .. } => {
                    panic!("{event:?} while opening")
                }
            }
        }
    }
}

/// Opens `count` links, lets them be, and closes them; then `rounds` times again.
pub(crate) async fn idle(count: usize, rounds: usize) -> Idle {
    let mut pair = Pair::new();
    pair.open(u64::MAX).await;
    drop(pair);
    all_tasks_ended().await;
    let before = process::rss_kib();
    let ends = 2 * count as i64;
    let (mut open, mut per_end, mut left) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let mut pair = Pair::new();
        for number in 0..count as u64 {
            let start = Instant::now();
            pair.open(number).await;
            open.push(start.elapsed().as_secs_f64() * 1e3);
        }
        per_end.push((process::rss_kib() - before) / ends);
        drop(pair);
        all_tasks_ended().await;
        left.push((process::rss_kib() - before) / ends);
    }
    open.sort_by(f64::total_cmp);
    Idle { rss_kib_per_end: per_end, rss_kib_per_end_after_close: left, open_ms: open }
}

async fn all_tasks_ended() {
    let metrics = tokio::runtime::Handle::current().metrics();
    let ended = async {
        while metrics.num_alive_tasks() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("all tasks end");
}

/// Sends `total_bytes` in messages of `message_bytes` from one end to the other.
pub(crate) async fn transfer(message_bytes: usize, total_bytes: usize) -> Transfer {
    let mut pair = Pair::new();
    let peer = PeerId(0);
    let opening = Instant::now();
    pair.open(0).await;
    let open = opening.elapsed();
    let Pair { mut a, mut b } = pair;
    let count = total_bytes / message_bytes;
    let (start, cpu) = (Instant::now(), process::cpu());
    let sender = tokio::spawn(async move {
        let mut sent = 0;
        while sent < count {
            // Every message has bytes of its own, as a chunk from a store has.
            match a.send(peer, Bytes::from(vec![sent as u8; message_bytes])) {
                Ok(()) => sent += 1,
                Err(SendError::Full) => {
                    a.next_event().await;
                }
                Err(other) => panic!("{other}"),
            }
        }
        a
    });
    let mut received = 0;
    while received < count * message_bytes {
        let event = tokio::time::timeout(PATIENCE, b.next_event()).await.expect("a message");
        if let LinkEvent::Message { message, .. } = event {
            received += message.len();
        }
    }
    let (elapsed, cpu) = (start.elapsed(), process::cpu() - cpu);
    drop(sender.await.expect("it ends"));
    Transfer { bytes: received, elapsed, cpu, open }
}
