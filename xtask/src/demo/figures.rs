//! The demo's figures, computed from what was sampled during the run.
//!
//! Rule: pure. What could not be measured is null, never 0. Offload counts everything that the
//! origin sent for viewers against what recorders saw players receive.

use super::cdn::Sent;
use super::origin::{Copies, Egress};
use super::playback::{Seek, Stall};
use super::reference::Tally;
use serde_json::{Map, Value, json};

/// Seconds from the last join to the steady state.
pub(crate) const SETTLING_S: u64 = 20;

/// An object published later than this before the end may still be on its way.
pub(crate) const ON_ITS_WAY_S: f64 = 8.0;

/// Seconds from a kill to the window that is looked at, and its length.
const AFTER_KILL_S: u64 = 10;

/// The two counts of the origin's bytes may differ by so much.
const DISAGREEMENT_MAX: f64 = 0.02;

const MIB: f64 = 1024.0 * 1024.0;

/// All counters at one second of the run.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Seconds since the first join.
    pub(crate) second: u64,
    /// The same instant, Unix seconds.
    pub(crate) at_s: f64,
    /// What the origin sent.
    pub(crate) egress: Egress,
    /// What the kernel counted on the origin's port.
    pub(crate) kernel_bytes: Option<u64>,
    /// Media bytes that all players received.
    pub(crate) delivered: u64,
}

/// One player's playback.
#[derive(Clone, Debug, Default)]
pub(crate) struct PlayerFigures {
    /// Seconds to the first frame.
    pub(crate) startup_s: Option<f64>,
    /// Median latency.
    pub(crate) latency_s: Option<f64>,
    /// Stalls.
    pub(crate) stalls: Vec<Stall>,
    /// Seeks.
    pub(crate) seeks: Vec<Seek>,
}

/// One viewer's results.
#[derive(Clone, Debug, Default)]
pub(crate) struct ViewerFigures {
    /// The player behind the agent.
    pub(crate) player: PlayerFigures,
    /// The player on the origin without us.
    pub(crate) twin: Option<PlayerFigures>,
    /// Media bytes that the player received.
    pub(crate) delivered: u64,
    /// The agent's own totals and what else is worth keeping of its status.
    pub(crate) agent: Map<String, Value>,
    /// Whether it is a page.
    pub(crate) is_page: bool,
    /// Processor seconds of the agent since its player started.
    pub(crate) cpu_s: Option<f64>,
    /// Resident memory of the agent.
    pub(crate) rss_bytes: Option<u64>,
    /// Seconds from the player's start to the end of the run, or to the kill.
    pub(crate) watched_s: f64,
    /// Whether the demo killed it.
    pub(crate) is_killed: bool,
}

impl ViewerFigures {
    fn agent_count(&self, name: &str) -> u64 {
        self.agent.get(name).and_then(Value::as_u64).unwrap_or(0)
    }
}

/// Everything that was measured.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// Viewers that were started, pages among them.
    pub(crate) viewers: u8,
    /// When the last of them joined.
    pub(crate) last_join_second: u64,
    /// What pages and agents gave each other, and what Chromium took; none without pages.
    pub(crate) pages: Map<String, Value>,
    /// What is known of a title's viewers alone.
    pub(crate) title: Map<String, Value>,
    /// One sample per second, from the first join on.
    pub(crate) samples: Vec<Sample>,
    /// Per viewer.
    pub(crate) per_viewer: Vec<ViewerFigures>,
    /// Per object of the stream.
    pub(crate) objects: Vec<Copies>,
    /// What the CDN behind the server sent, if there is one.
    pub(crate) cdn: Option<Sent>,
    /// Comparison of what was delivered.
    pub(crate) tally: Tally,
    /// When agents were killed, and how many.
    pub(crate) kill: Option<(u64, u8)>,
    /// The tracker's own counters.
    pub(crate) tracker: Map<String, Value>,
    /// Resident memory of the server.
    pub(crate) server_rss_bytes: Option<u64>,
    /// Processor seconds of the server over the run.
    pub(crate) server_cpu_s: Option<f64>,
}

/// The bound of the offload ratio: somebody must fetch each byte once.
pub(crate) fn bound(viewers: u8) -> f64 {
    1.0 - 1.0 / f64::from(viewers.max(1))
}

impl Outcome {
    /// The second at which the steady state begins.
    fn steady_second(&self) -> u64 {
        self.last_join_second + SETTLING_S
    }

    fn sample_at(&self, second: u64) -> Option<&Sample> {
        self.samples.iter().find(|sample| sample.second == second)
    }

    fn offload_between(&self, from: Option<&Sample>, to: Option<&Sample>) -> Option<f64> {
        let (from, to) = (from?, to?);
        let delivered = to.delivered.saturating_sub(from.delivered);
        let sent = to.egress.since(from.egress).for_viewing();
        (delivered > 0).then(|| 1.0 - sent as f64 / delivered as f64)
    }

    /// Over the whole run, from the first byte.
    pub(crate) fn offload(&self) -> Option<f64> {
        self.offload_between(self.samples.first(), self.samples.last())
    }

    /// From the last join + 20 s on.
    pub(crate) fn offload_steady(&self) -> Option<f64> {
        self.offload_between(self.sample_at(self.steady_second()), self.samples.last())
    }

    /// In the 10 s that begin 10 s after the kill.
    fn offload_after_kill(&self) -> Option<f64> {
        let (second, _) = self.kill?;
        let from = self.sample_at(second + AFTER_KILL_S);
        self.offload_between(from, self.sample_at(second + 2 * AFTER_KILL_S))
    }

    /// Mean copies of the objects published in the steady state.
    pub(crate) fn copies_steady(&self) -> Option<f64> {
        let from_s = self.sample_at(self.steady_second())?.at_s;
        let to_s = self.samples.last()?.at_s - ON_ITS_WAY_S;
        // Where there are parts, players take those.
        let has_parts = self.objects.iter().any(|object| object.is_part);
        let published = |object: &&Copies| {
            (from_s..to_s).contains(&object.published_s) && object.is_part == has_parts
        };
        let copies = self.objects.iter().filter(published);
        mean(copies.map(|object| object.sent as f64 / object.bytes.max(1) as f64))
    }

    fn total(&self, name: &str) -> u64 {
        self.per_viewer.iter().map(|viewer| viewer.agent_count(name)).sum()
    }

    fn median_of(&self, value: impl Fn(&ViewerFigures) -> Option<f64>) -> Option<f64> {
        median(self.per_viewer.iter().filter_map(value))
    }

    /// All figures under their flat names.
    pub(crate) fn to_json(&self) -> Value {
        let mut all = Map::new();
        for part in [self.offload_json(), self.cdn_json(), self.playback_json(), self.cost_json()] {
            if let Value::Object(part) = part {
                all.extend(part);
            }
        }
        all.extend(self.tracker.clone());
        all.extend(self.pages.clone());
        all.extend(self.title.clone());
        let numbered = self.per_viewer.iter().enumerate();
        all.insert(
            "per_viewer".into(),
            numbered.map(|(n, viewer)| per_viewer(n, viewer)).collect(),
        );
        Value::Object(all)
    }

    fn offload_json(&self) -> Value {
        let sent = match (self.samples.first(), self.samples.last()) {
            (Some(first), Some(last)) => last.egress.since(first.egress),
            _ => Egress::default(),
        };
        let kernel = self.kernel_bytes();
        let disagreement = kernel
            .filter(|bytes| *bytes > 0)
            .map(|bytes| (bytes as f64 - sent.socket as f64).abs() / bytes as f64);
        let after_kill_bound = self.kill.map(|(_, count)| bound(self.viewers - count));
        json!({
            "viewers": self.viewers,
            "seconds": self.samples.last().map(|sample| sample.second),
            "offload_ratio": round(self.offload(), 4),
            "offload_ratio_steady": round(self.offload_steady(), 4),
            "offload_bound": round(Some(bound(self.viewers)), 4),
            "origin_copies_per_segment_steady": round(self.copies_steady(), 4),
            "offload_after_kill": round(self.offload_after_kill(), 4),
            "offload_after_kill_bound": round(after_kill_bound, 4),
            "delivered_bytes": self.per_viewer.iter().map(|viewer| viewer.delivered).sum::<u64>(),
            "origin_bytes": sent.for_viewing(),
            "origin_page_bytes": sent.page,
            "origin_media_bytes": sent.media,
            "origin_playlist_bytes": sent.playlist,
            "origin_control_bytes": sent.control,
            "origin_other_bytes": sent.other,
            "origin_bytes_by_kernel": kernel,
            "origin_count_disagreement": round(disagreement, 4),
            "origin_count_flagged": disagreement.map(|share| share > DISAGREEMENT_MAX),
            "segments": self.tally.segments,
            "mismatched_segments": self.tally.mismatched,
            "unverified_segments": self.tally.unverified,
            "cut_segments": self.tally.cut,
            "published_wrong_segments": self.tally.published_wrong,
            "epochs": self.tally.epochs.len(),
            "complaints": self.tally.complaints,
        })
    }

    fn cdn_json(&self) -> Value {
        let Some(sent) = self.cdn else { return Value::Null };
        let ratio = |fetches: u64| fetches as f64 / sent.segments.max(1) as f64;
        json!({
            "cdn_viewer_bytes": sent.viewers,
            "cdn_digest_bytes": sent.digest_media,
            "cdn_server_playlist_bytes": sent.server_playlists,
            "cdn_digest_fetches_per_segment": round(Some(ratio(sent.digest_fetches)), 4),
            "cdn_digest_segments": sent.segments,
        })
    }

    fn kernel_bytes(&self) -> Option<u64> {
        let (first, last) = (self.samples.first()?, self.samples.last()?);
        Some(last.kernel_bytes? - first.kernel_bytes?)
    }

    fn playback_json(&self) -> Value {
        let stalls = |of: fn(&ViewerFigures) -> Option<&PlayerFigures>| {
            let players = self.per_viewer.iter().filter_map(of);
            players.flat_map(|player| player.stalls.clone()).collect::<Vec<_>>()
        };
        let own = stalls(|viewer| Some(&viewer.player));
        let direct = stalls(|viewer| viewer.twin.as_ref());
        let has_twins = self.per_viewer.iter().any(|viewer| viewer.twin.is_some());
        let seconds = |stalls: &[Stall]| stalls.iter().fold(0.0, |sum, stall| sum + stall.seconds);
        let startup = |viewer: &ViewerFigures| Some(viewer.player.startup_s? * 1000.0);
        let direct_startup =
            |viewer: &ViewerFigures| Some(viewer.twin.as_ref()?.startup_s? * 1000.0);
        let latency = |viewer: &ViewerFigures| viewer.player.latency_s;
        let direct_latency = |viewer: &ViewerFigures| viewer.twin.as_ref()?.latency_s;
        let startup_max = self.per_viewer.iter().filter_map(startup).fold(f64::NAN, f64::max);
        let waiting = |viewer: &&ViewerFigures| viewer.player.startup_s.is_none();
        json!({
            "stalls": own.len(),
            "stall_seconds": round(Some(seconds(&own)), 3),
            "stalls_direct": has_twins.then_some(direct.len()),
            "stall_seconds_direct": round(has_twins.then(|| seconds(&direct)), 3),
            "players_without_a_frame": self.per_viewer.iter().filter(waiting).count(),
            "startup_ms_p50": round(self.median_of(startup), 1),
            "startup_ms_max": round(Some(startup_max).filter(|ms| ms.is_finite()), 1),
            "startup_direct_ms_p50": round(self.median_of(direct_startup), 1),
            "startup_added_ms_p50":
                round(self.median_of(|viewer| Some(startup(viewer)? - direct_startup(viewer)?)), 1),
            "latency_s_p50": round(self.median_of(latency), 3),
            "latency_direct_s_p50": round(self.median_of(direct_latency), 3),
            "latency_added_s_p50":
                round(self.median_of(|viewer| Some(latency(viewer)? - direct_latency(viewer)?)), 3),
        })
    }

    fn cost_json(&self) -> Value {
        let delivered: u64 = self.per_viewer.iter().map(|viewer| viewer.delivered).sum();
        let share = |count: u64| (delivered > 0).then(|| count as f64 / delivered as f64);
        let measured = self.per_viewer.iter().filter(|viewer| viewer.cpu_s.is_some());
        let (cpu_s, minutes) = measured.fold((0.0, 0.0), |(cpu_s, minutes), viewer| {
            (cpu_s + viewer.cpu_s.unwrap_or(0.0), minutes + viewer.watched_s / 60.0)
        });
        let rss = |viewer: &ViewerFigures| Some(viewer.rss_bytes? as f64 / MIB);
        let server_rss_mib = self.server_rss_bytes.map(|bytes| bytes as f64 / MIB);
        json!({
            "waste_ratio": round(share(self.total("wasted")), 4),
            "from_peers_ratio": round(share(self.total("from_peers")), 4),
            "from_origin_ratio": round(share(self.total("from_origin")), 4),
            "hash_mismatches": self.total("hash_mismatches"),
            "fallbacks": self.total("fallbacks"),
            "cpu_seconds_per_viewer_minute":
                round((minutes > 0.0).then(|| cpu_s / minutes), 3),
            "agent_rss_mib_p50": round(self.median_of(rss), 1),
            "server_rss_mib": round(server_rss_mib, 1),
            "server_cpu_seconds": round(self.server_cpu_s, 2),
        })
    }
}

fn per_viewer(number: usize, viewer: &ViewerFigures) -> Value {
    let list = |player: &PlayerFigures| -> Value {
        let stalls = player.stalls.iter().map(|stall| {
            json!({
                "at_unix_s": round(Some(stall.at_s), 2),
                "seconds": round(Some(stall.seconds), 3),
                "kind": format!("{:?}", stall.kind).to_lowercase(),
            })
        });
        stalls.collect()
    };
    let ms = |seconds: Option<f64>| round(seconds.map(|seconds| seconds * 1000.0), 1);
    let twin = viewer.twin.as_ref();
    let mut value = json!({
        "viewer": number + 1,
        "kind": if viewer.is_page { "page" } else { "agent" },
        "killed": viewer.is_killed,
        "startup_ms": ms(viewer.player.startup_s),
        "startup_direct_ms": ms(twin.and_then(|twin| twin.startup_s)),
        "latency_s": round(viewer.player.latency_s, 3),
        "latency_direct_s": round(twin.and_then(|twin| twin.latency_s), 3),
        "stalls": list(&viewer.player),
        "stalls_direct": twin.map(list),
        "delivered_bytes": viewer.delivered,
        "cpu_seconds": round(viewer.cpu_s, 2),
        "rss_mib": round(viewer.rss_bytes.map(|bytes| bytes as f64 / MIB), 1),
    });
    if let Value::Object(map) = &mut value {
        map.extend(viewer.agent.clone());
    }
    value
}

/// Middle value; the mean of the two middle ones of an even number.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let is_even = values.len().is_multiple_of(2);
    Some(if is_even { f64::midpoint(values[values.len() / 2 - 1], upper) } else { upper })
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

pub(crate) fn round(value: Option<f64>, digits: i32) -> Option<f64> {
    let factor = 10f64.powi(digits);
    value.map(|value| (value * factor).round() / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> Outcome {
        let sample = |second: u64| Sample {
            second,
            at_s: 1000.0 + second as f64,
            egress: Egress {
                socket: 5000 + second * 110,
                media: second * 100,
                ..Egress::default()
            },
            kernel_bytes: Some(second * 111),
            delivered: second * 400,
        };
        let objects = (0..60).map(|n| Copies {
            bytes: 200,
            sent: if n < 12 { 800 } else { 220 },
            published_s: 1000.0 + f64::from(n) * 2.0,
            is_part: false,
        });
        let viewer = |startup_ms: f64, direct_ms: f64| ViewerFigures {
            player: PlayerFigures { startup_s: Some(startup_ms / 1e3), ..PlayerFigures::default() },
            twin: Some(PlayerFigures {
                startup_s: Some(direct_ms / 1e3),
                ..PlayerFigures::default()
            }),
            delivered: 12_000,
            agent: [("wasted".to_owned(), json!(120))].into_iter().collect(),
            cpu_s: Some(1.0),
            watched_s: 120.0,
            ..ViewerFigures::default()
        };
        Outcome {
            viewers: 4,
            last_join_second: 3,
            pages: Map::new(),
            title: Map::new(),
            samples: (0..=120).map(sample).collect(),
            per_viewer: vec![viewer(300.0, 280.0), viewer(500.0, 600.0), viewer(310.0, 305.0)],
            objects: objects.collect(),
            cdn: None,
            tally: Tally::default(),
            kill: Some((50, 2)),
            tracker: Map::new(),
            server_rss_bytes: None,
            server_cpu_s: None,
        }
    }

    #[test]
    fn flat_names() {
        let json = outcome().to_json();
        assert_eq!(json["offload_ratio"], 0.725);
        assert_eq!(json["offload_ratio_steady"], 0.725);
        assert_eq!(json["offload_bound"], 0.75);
        assert_eq!(json["origin_copies_per_segment_steady"], 1.1);
        assert_eq!(json["offload_after_kill"], 0.725);
        assert_eq!(json["offload_after_kill_bound"], 0.5);
        assert_eq!(json["origin_count_disagreement"], 0.009);
        assert_eq!(json["origin_count_flagged"], false);
        assert_eq!(json["startup_ms_p50"], 310.0);
        assert_eq!(json["startup_added_ms_p50"], 5.0, "the median of pairs, not of medians");
        assert_eq!(json["waste_ratio"], 0.01);
        assert_eq!(json["cpu_seconds_per_viewer_minute"], 0.5);
        assert_eq!(json["latency_added_s_p50"], Value::Null);
        assert_eq!(json["server_rss_mib"], Value::Null);
    }

    #[test]
    fn a_run_too_short_has_no_steady_state() {
        let mut outcome = outcome();
        outcome.samples.truncate(15);
        let json = outcome.to_json();
        assert_eq!(json["offload_ratio_steady"], Value::Null);
        assert_eq!(json["offload_after_kill"], Value::Null);
    }

    #[test]
    fn medians() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), Some(2.5));
        assert_eq!(median(std::iter::empty()), None);
    }
}
