//! Links over real sockets on loopback.
//!
//! Rule: nothing sleeps to let something happen; every wait is for an event and ends in a failure
//! after [`PATIENCE`].

#![expect(clippy::wildcard_enum_match_arm, reason = "any other event is a failure")]

use super::*;
use bytes::Bytes;
use shoal_wire::PeerId;
use shoal_wire::peer_message::MESSAGE_BYTES_MAX;
use shoal_wire::tracker_message::Signal;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);
const A: PeerId = PeerId(1);
const B: PeerId = PeerId(2);

fn config() -> LinkConfig {
    LinkConfig::new(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

async fn patient<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} took too long"))
}

/// Two ends, `a` known to `b` as `A` and the other way round, with the tracker's part played here.
struct Pair {
    a: Links,
    b: Links,
}

/// An event at one of the ends.
#[derive(Debug)]
enum At {
    A(LinkEvent),
    B(LinkEvent),
}

impl Pair {
    fn new(config: &LinkConfig) -> Self {
        Self { a: Links::new(config.clone()), b: Links::new(config.clone()) }
    }

    /// The next event that is not a signal; those are passed on.
    async fn next(&mut self) -> At {
        loop {
            let at = tokio::select! {
                event = self.a.next_event() => At::A(event),
                event = self.b.next_event() => At::B(event),
            };
            match at {
                At::A(LinkEvent::Signal { peer, signal }) => {
                    assert_eq!(peer, B);
                    self.b.signal(A, signal);
                }
                At::B(LinkEvent::Signal { peer, signal }) => {
                    assert_eq!(peer, A);
                    self.a.signal(B, signal);
                }
                other => return other,
            }
        }
    }

    async fn open(&mut self) {
        self.a.open(B, true).unwrap();
        self.b.open(A, false).unwrap();
        self.opened().await;
    }

    async fn opened(&mut self) {
        let (mut a, mut b) = (false, false);
        while !(a && b) {
            match patient("opening", self.next()).await {
                At::A(LinkEvent::Opened { peer: B }) => a = true,
                At::B(LinkEvent::Opened { peer: A }) => b = true,
                other => panic!("{other:?} while opening"),
            }
        }
    }
}

async fn pair() -> Pair {
    let mut pair = Pair::new(&config());
    pair.open().await;
    pair
}

/// Message `index` of one direction: its number, then bytes that depend on number and direction.
fn message(index: u32, salt: u8, bytes: usize) -> Bytes {
    let mut message: Vec<u8> =
        (0..bytes).map(|at| (at as u8).wrapping_mul(31) ^ (index as u8) ^ salt).collect();
    message[..4].copy_from_slice(&index.to_be_bytes());
    message.into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_messages_go_both_ways_intact() {
    const COUNT: u32 = 2_000;
    const BYTES: usize = 16 * 1024;
    let mut pair = pair().await;
    let mut sent = [0_u32; 2];
    let mut seen = [vec![false; COUNT as usize], vec![false; COUNT as usize]];
    let mut received = 0;
    while received < 2 * COUNT {
        for (links, peer, end) in [(&mut pair.a, B, 0), (&mut pair.b, A, 1)] {
            while sent[end] < COUNT {
                match links.send(peer, message(sent[end], end as u8, BYTES)) {
                    Ok(()) => sent[end] += 1,
                    Err(SendError::Full) => break,
                    Err(other) => panic!("{other}"),
                }
            }
            assert!(links.buffered(peer) <= config().queue_bytes_max);
        }
        let (event, from) = match patient("a message", pair.next()).await {
            At::A(event) => (event, 1_usize),
            At::B(event) => (event, 0),
        };
        if let LinkEvent::Drained { .. } = event {
            continue;
        }
        let LinkEvent::Message { message: got, .. } = event else { panic!("{event:?}") };
        let index = u32::from_be_bytes(got[..4].try_into().unwrap());
        assert_eq!(got, message(index, from as u8, BYTES));
        assert!(!std::mem::replace(&mut seen[from][index as usize], true), "{index} came twice");
        received += 1;
    }
    assert_eq!(sent, [COUNT; 2]);
}

#[tokio::test]
async fn what_is_buffered_drains_to_zero() {
    let mut pair = pair().await;
    assert_eq!(pair.a.buffered(B), 0);
    for index in 0..10 {
        pair.a.send(B, message(index, 0, 10_007)).unwrap();
    }
    assert_eq!(pair.a.buffered(B), 10 * 10_007);
    let mut left = usize::MAX;
    while left > 0 {
        let At::A(LinkEvent::Drained { peer: B, buffered_bytes }) =
            patient("draining", pair.next()).await
        else {
            continue;
        };
        assert!(buffered_bytes <= left);
        left = buffered_bytes;
    }
    assert_eq!(pair.a.buffered(B), 0);
}

#[tokio::test]
async fn send_refuses_what_is_no_message() {
    let mut pair = pair().await;
    let long = MESSAGE_BYTES_MAX + 1;
    let refused = pair.a.send(B, Bytes::from(vec![0; long]));
    assert_eq!(refused, Err(SendError::Length { bytes: long }));
    assert_eq!(pair.a.send(B, Bytes::new()), Err(SendError::Length { bytes: 0 }));
    assert_eq!(pair.a.send(PeerId(9), Bytes::from_static(b"x")), Err(SendError::NotOpen));
    pair.a.send(B, Bytes::from(vec![7; MESSAGE_BYTES_MAX])).unwrap();
    loop {
        if let At::B(LinkEvent::Message { message, .. }) = patient("it", pair.next()).await {
            assert_eq!(message, vec![7; MESSAGE_BYTES_MAX]);
            return;
        }
    }
}

#[tokio::test]
async fn a_full_queue_refuses_and_recovers() {
    let mut config = config();
    config.queue_bytes_max = 40_000;
    let mut pair = Pair::new(&config);
    pair.open().await;
    let chunk = Bytes::from(vec![1; 16 * 1024]);
    pair.a.send(B, chunk.clone()).unwrap();
    pair.a.send(B, chunk.clone()).unwrap();
    assert_eq!(pair.a.send(B, chunk.clone()), Err(SendError::Full));
    while pair.a.buffered(B) > 0 {
        patient("draining", pair.next()).await;
    }
    pair.a.send(B, chunk).unwrap();
}

#[tokio::test]
async fn closing_one_end_closes_the_other_after_the_last_message() {
    let mut pair = pair().await;
    pair.a.send(B, Bytes::from_static(b"bye")).unwrap();
    pair.a.close(B);
    assert!(pair.a.is_empty());
    let mut heard = false;
    loop {
        match patient("closing", pair.next()).await {
            At::B(LinkEvent::Message { message, .. }) => heard = message == b"bye"[..],
            At::B(LinkEvent::Closed { peer: A, reason }) => {
                assert_eq!(reason, CloseReason::Remote);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(heard, "what was queued is sent before the link closes");
    assert!(pair.b.is_empty());
    assert_eq!(pair.b.send(A, Bytes::from_static(b"x")), Err(SendError::NotOpen));
}

#[tokio::test]
async fn a_closed_link_opens_again() {
    let mut pair = pair().await;
    pair.a.close(B);
    pair.b.close(A);
    pair.open().await;
}

#[tokio::test]
async fn a_silent_peer_fails_in_time() {
    let mut config = config();
    config.open_timeout = Duration::from_millis(300);
    let mut links = Links::new(config);
    for (peer, offer) in [(A, true), (B, false)] {
        links.open(peer, offer).unwrap();
        loop {
            match patient("failing", links.next_event()).await {
                LinkEvent::Signal { .. } => {}
                LinkEvent::Failed { peer: failed, reason } => {
                    assert_eq!((failed, reason), (peer, FailReason::Timeout));
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(links.is_empty());
    }
}

#[tokio::test]
async fn garbage_for_a_description_fails_the_link() {
    let mut links = Links::new(config());
    links.open(A, false).unwrap();
    links.signal(A, Signal::Offer { sdp: "v=0\r\nnonsense".into() });
    let event = patient("failing", links.next_event()).await;
    let LinkEvent::Failed { peer: A, reason: FailReason::Refused } = event else {
        panic!("{event:?}")
    };
}

#[tokio::test]
async fn an_offer_may_come_before_the_introduction() {
    let mut pair = Pair::new(&config());
    pair.a.open(B, true).unwrap();
    let event = patient("the offer", pair.a.next_event()).await;
    let LinkEvent::Signal { signal, .. } = event else { panic!("{event:?}") };
    assert!(matches!(&signal, Signal::Offer { sdp } if sdp.contains("a=candidate")));
    pair.b.signal(A, signal);
    pair.b.open(A, false).unwrap();
    pair.opened().await;
}

#[tokio::test]
async fn early_signals_and_links_have_bounds() {
    let mut config = config();
    config.links_max = 1;
    let mut links = Links::new(config.clone());
    for peer in 0..1_000 {
        for _ in 0..20 {
            links.signal(PeerId(peer), Signal::Offer { sdp: String::new() });
        }
    }
    assert!(links.early_len() <= config.early_signals_max);
    links.open(A, true).unwrap();
    assert_eq!(links.open(A, true), Err(OpenError::Exists));
    assert_eq!(links.open(B, true), Err(OpenError::TooMany));
}

#[tokio::test]
async fn thirty_links_leave_neither_task_nor_connection_behind() {
    let metrics = tokio::runtime::Handle::current().metrics();
    let before = metrics.num_alive_tasks();
    let mut pair = Pair::new(&config());
    let mut meters = Vec::new();
    for _ in 0..30 {
        pair.open().await;
        // Sockets and connection hold the meter, so it dies with the last of them.
        meters.extend([pair.a.meter(B), pair.b.meter(A)]);
        pair.a.send(B, Bytes::from_static(b"hello")).unwrap();
        loop {
            match patient("hello", pair.next()).await {
                At::B(LinkEvent::Message { .. }) => break,
                At::A(LinkEvent::Drained { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
        pair.a.close(B);
        loop {
            if let At::B(LinkEvent::Closed { .. }) = patient("closing", pair.next()).await {
                break;
            }
        }
    }
    drop(pair);
    let none_left = async {
        while metrics.num_alive_tasks() > before {
            tokio::task::yield_now().await;
        }
    };
    patient("ending the tasks", none_left).await;
    assert_eq!(meters.iter().filter(|meter| meter.strong_count() > 0).count(), 0);
}

#[test]
fn a_killed_peer_is_noticed() {
    let here = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let there = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    here.block_on(async {
        let mut config = config();
        config.silence_max = Duration::from_millis(1_500);
        config.silence_fatal = Duration::from_millis(500);
        let mut pair = Pair::new(&config);
        pair.a.open(B, true).unwrap();
        {
            let _there = there.enter();
            pair.b.open(A, false).unwrap();
        }
        pair.opened().await;
        // Its tasks and sockets are gone at once, without a word to the other side.
        there.shutdown_background();
        loop {
            match patient("noticing", pair.next()).await {
                At::A(LinkEvent::Closed { peer: B, reason: CloseReason::Silent }) => return,
                At::A(LinkEvent::Drained { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
    });
}
