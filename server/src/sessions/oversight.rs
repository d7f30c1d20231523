//! What the operator does with swarms: looks, sends viewers away, follows a segment, compares.
//!
//! Rule: nothing here plans. A ban remembers no address: only a hash under a key of this process.

use super::hub::Hub;
use super::quality::{Group, Measure};
use super::swarm::ViewerStatus;
use super::trace::{PATIENCE, Trace, TraceReport};
use super::{Command, SessionEntry};
use crate::origin::unix_ms;
use shoal_wire::tracker_message::{RefuseCode, Report};
use shoal_wire::{ObjectId, PeerId, ServerMessage, SignedDigest, StreamName};
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Most places that are banned at once; the oldest ban ends for a new one.
const BANS_MAX: usize = 10_000;
/// Time between two looks at how viewers fare.
const JUDGE_EVERY: Duration = Duration::from_secs(2);
/// Time between two looks at a trace.
const TRACE_LOOK: Duration = Duration::from_millis(200);
/// Who plays further behind does not play live.
const LIVE_LATENCY_S_MAX: f64 = 60.0;

/// What the operator asks of the hub.
pub(super) enum Order {
    /// One viewer.
    Viewer { stream: StreamName, peer: PeerId, reply: oneshot::Sender<Option<ViewerStatus>> },
    /// Send a viewer away, and with `ban` let nobody from there in for so long.
    Remove { stream: StreamName, peer: PeerId, ban: Option<Duration>, reply: oneshot::Sender<bool> },
    /// Follow the next segment; the answer is whether there is such a stream.
    Follow { stream: StreamName, reply: oneshot::Sender<bool> },
    /// What came of that, if it is over; with `give_up`, nobody waits any more.
    Followed { stream: StreamName, give_up: bool, reply: oneshot::Sender<Option<TraceReport>> },
}

/// Places that nobody may join from.
#[derive(Debug, Default)]
pub(super) struct Bans {
    until: HashMap<u64, Instant>,
    order: VecDeque<u64>,
}

impl Bans {
    fn add(&mut self, origin: u64, time: Duration) {
        if self.until.insert(origin, Instant::now() + time).is_none() {
            self.order.push_back(origin);
        }
        if self.order.len() > BANS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.until.remove(&oldest);
        }
    }

    pub(super) fn holds(&self, origin: u64) -> bool {
        self.until.get(&origin).is_some_and(|until| Instant::now() < *until)
    }
}

/// Where a viewer is from: the same for one address while this process lives, and nothing that
/// leads back to it.
pub(super) fn origin_of(address: IpAddr, key: &[u8; 32]) -> u64 {
    let hash = match address.to_canonical() {
        IpAddr::V4(v4) => blake3::keyed_hash(key, &v4.octets()),
        // A household has a /64.
        IpAddr::V6(v6) => blake3::keyed_hash(key, &v6.octets()[..8]),
    };
    let [a, b, c, d, e, f, g, h, ..] = *hash.as_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

impl Hub {
    pub(super) fn order(&mut self, order: Order) {
        match order {
            Order::Viewer { stream, peer, reply } => {
                let viewer = self.swarms.get(&stream).and_then(|it| it.members.viewer(peer));
                let _ = reply.send(viewer);
            }
            Order::Remove { stream, peer, ban, reply } => {
                let _ = reply.send(self.remove(&stream, peer, ban));
            }
            Order::Follow { stream, reply } => {
                let swarm = self.swarms.get_mut(&stream);
                let _ = reply.send(swarm.is_some());
                if let Some(swarm) = swarm {
                    swarm.trace.get_or_insert_with(Trace::new);
                }
            }
            Order::Followed { stream, give_up, reply } => {
                let swarm = self.swarms.get_mut(&stream);
                let _ = reply.send(swarm.and_then(|swarm| {
                    let report = swarm.trace.as_ref()?.result();
                    if report.is_some() || give_up {
                        swarm.trace = None;
                    }
                    report
                }));
            }
        }
    }

    /// Whether that viewer was here.
    fn remove(&mut self, stream: &StreamName, peer: PeerId, ban: Option<Duration>) -> bool {
        let Some(swarm) = self.swarms.get_mut(stream) else { return false };
        let Some(origin) = swarm.members.origin(peer) else { return false };
        let message = match ban {
            Some(time) => {
                self.bans.add(origin, time);
                format!("the operator sent this viewer away for {} s", time.as_secs())
            }
            None => "the operator sent this viewer away".to_owned(),
        };
        tracing::info!(%stream, %peer, ?ban, "the operator sends a viewer away");
        let refuse = ServerMessage::Refuse { code: RefuseCode::Removed, message };
        swarm.members.send(peer, &refuse);
        self.leave(stream, peer);
        true
    }

    /// Follows `digest` through its swarm, if a trace waits for one.
    pub(super) fn follow(&mut self, stream: &StreamName, digest: &SignedDigest) {
        let Some(swarm) = self.swarms.get_mut(stream) else { return };
        let object = digest.object;
        let is_next = swarm.trace.as_ref().is_some_and(Trace::is_waiting);
        let viewers = swarm.members.watching(object.rendition);
        if !is_next || viewers.is_empty() {
            return;
        }
        // Of several renditions, the one that most watch.
        let largest = swarm.tracker.supplies().max_by_key(|supply| supply.members);
        if largest.is_some_and(|it| it.rendition != object.rendition && it.members > 0) {
            return;
        }
        let trace = ServerMessage::Trace { object };
        for viewer in &viewers {
            swarm.members.send(*viewer, &trace);
        }
        if let Some(waiting) = &mut swarm.trace {
            waiting.follow((object, digest.byte_len, digest.duration), viewers);
        }
    }

    /// How far behind publication a viewer plays, s; none if it does not play live.
    pub(super) fn latency(&self, stream: &StreamName, report: &Report) -> Option<f64> {
        let newest: ObjectId = report.newest?;
        let digest = self.entry.digest(stream, newest)?;
        // The end of a segment is recorded when it is published, and lies a buffer ahead.
        let age_ms = unix_ms().checked_sub(digest.published_unix_ms)?;
        let latency_s = (age_ms as f64 + f64::from(report.buffer_ms)) / 1000.0;
        (latency_s < LIVE_LATENCY_S_MAX && !digest.end_of_stream).then_some(latency_s)
    }

    /// Compares the groups now and then, and switches peers off where they do harm.
    pub(super) fn judge(&mut self, stream: &StreamName) {
        let config = &self.entry.holdout;
        let Some(swarm) = self.swarms.get_mut(stream) else { return };
        if config.percent.0 == 0 || swarm.judged.elapsed() < JUDGE_EVERY {
            return;
        }
        swarm.judged = Instant::now();
        let (quality, m) = (swarm.members.quality(), &self.entry.metrics);
        for group in Group::ALL {
            let labels = [stream.as_str(), group.as_str()];
            let viewers = quality.spread(group, Measure::Startup).count;
            m.quality.viewers.with_label_values(&labels).set(viewers.cast_signed());
        }
        for measure in Measure::ALL {
            for group in Group::ALL {
                let labels = [stream.as_str(), measure.as_str(), group.as_str()];
                m.quality.mean.with_label_values(&labels).set(quality.spread(group, measure).mean);
            }
            let Some(it) = quality.difference(measure, config.viewers_min.0 as u64) else {
                continue;
            };
            for (bound, value) in [("mean", it.mean), ("low", it.low), ("high", it.high)] {
                let labels = [stream.as_str(), measure.as_str(), bound];
                m.quality.difference.with_label_values(&labels).set(value);
            }
        }
        let harm = quality.harm(config).filter(|_| config.switch_off);
        if let Some((measure, difference)) = harm.filter(|_| swarm.status.peers_enabled) {
            tracing::warn!(
                %stream,
                measure = measure.as_str(),
                mean = difference.mean,
                low = difference.low,
                "peers do harm beyond chance and are switched off"
            );
            m.quality.switched_off.with_label_values(&[stream.as_str()]).inc();
            self.switch_peers(stream, false);
        }
    }
}

impl SessionEntry {
    async fn ask<T>(&self, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.hub.send(Command::Order(order(reply))).await.ok()?;
        answer.await.ok()
    }

    /// One viewer; none if it is not here.
    pub(crate) async fn viewer(&self, stream: StreamName, peer: PeerId) -> Option<ViewerStatus> {
        self.ask(|reply| Order::Viewer { stream, peer, reply }).await?
    }

    /// Sends a viewer away, and with `ban` lets nobody from there in for so long; whether it was
    /// here.
    pub(crate) async fn remove(
        &self,
        stream: StreamName,
        peer: PeerId,
        ban: Option<Duration>,
    ) -> bool {
        self.ask(|reply| Order::Remove { stream, peer, ban, reply }).await.unwrap_or(false)
    }

    /// Follows the next segment of a stream to its last viewer. None if there is no such stream,
    /// or nothing was published to anybody for long.
    pub(crate) async fn trace(&self, stream: &StreamName) -> Option<TraceReport> {
        let name = || stream.clone();
        if !self.ask(|reply| Order::Follow { stream: name(), reply }).await? {
            return None;
        }
        let begun = Instant::now();
        loop {
            tokio::time::sleep(TRACE_LOOK).await;
            let give_up = begun.elapsed() > PATIENCE;
            let look = |reply| Order::Followed { stream: name(), give_up, reply };
            let found = self.ask(look).await?;
            if found.is_some() || give_up {
                return found;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bans_end_and_are_bounded() {
        let mut bans = Bans::default();
        bans.add(1, Duration::from_secs(10));
        assert!(bans.holds(1) && !bans.holds(2));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(!bans.holds(1));
        for origin in 0..2 * BANS_MAX as u64 {
            bans.add(origin, Duration::from_secs(10));
        }
        assert_eq!((bans.until.len(), bans.order.len()), (BANS_MAX, BANS_MAX));
    }

    #[test]
    fn a_household_is_one_origin() {
        let of = |text: &str| origin_of(text.parse().unwrap(), &[7; 32]);
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff"));
        assert_ne!(of("2001:db8::1"), origin_of("2001:db8::1".parse().unwrap(), &[8; 32]));
    }
}
