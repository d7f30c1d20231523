//! From what a world counted to figures, each beside its bound.

use crate::figures::{Curves, Figure, Run, Worse};
use crate::instance::{Instance, Role};
use crate::oracle::burst::Burst;
use crate::oracle::crowd::{self, Newcomers};
use crate::oracle::snowball::Seed;
use crate::oracle::title::Title;
use crate::oracle::{self, Nat, window};
use crate::scenario::Settings;
use crate::world::{Outcome, SCALE, Segment, end_s, rate_of};
use shoal_wire::{ByteSize, CHUNK_SIZE};

/// More stall or later start than this in comparison with the twin is worse, µs.
const TWIN_TOLERANCE_US: u64 = 50_000;
/// One-way delay for the delay bound: a short path of the world, s.
const BOUND_LATENCY_S: f64 = 0.02;
/// Live players start this many segments before the end.
const START_SEGMENTS: f64 = 3.0;
/// Time over which peaks are taken, s: a few segments.
pub const PEAK_S: f64 = 5.0;

/// The viewers as the oracles take them.
///
/// One that changes rendition counts as leaving one swarm for another at that moment.
fn audience(
    settings: &Settings,
    instance: &Instance,
    switches: &[(u32, f64, u16)],
) -> Vec<oracle::Viewer> {
    let mut stays = Vec::with_capacity(instance.viewers.len());
    for (index, drawn) in (0u32..).zip(&instance.viewers) {
        let mut stay = oracle::Viewer {
            join_s: drawn.join_s,
            leave_s: drawn.leave_s,
            upload_mbps: drawn.upload_mbps,
            class: drawn.class,
            rendition: drawn.rendition,
            rate_mbps: rate_of(settings, drawn.rendition),
        };
        for (_, at_s, rendition) in switches.iter().filter(|s| s.0 == index) {
            let mut next = stay;
            (stay.leave_s, next.join_s) = (*at_s, *at_s);
            next.rendition = *rendition;
            next.rate_mbps = rate_of(settings, *rendition);
            stays.push(std::mem::replace(&mut stay, next));
        }
        stays.push(stay);
    }
    stays
}

/// From when on peaks count: from the crowd on, if one comes.
pub(crate) fn peaks_from_s(s: &Settings) -> f64 {
    if s.crowd_factor > 1.0 { s.crowd_at_s.min(s.duration_s) } else { s.warmup_s }
}

fn peak_bound_mbps(s: &Settings, viewers: &[oracle::Viewer]) -> f64 {
    let chunk_s = f64::from(CHUNK_SIZE) * 8.0 / 1e6 / s.rate;
    let idle_s = (s.link_setup_s[0] + s.link_setup_s[1]) / 2.0 + chunk_s;
    let newcomers = Newcomers { startup_s: s.segment_s * START_SEGMENTS, idle_s };
    let curve = crowd::curve(viewers, newcomers, peaks_from_s(s), s.duration_s, PEAK_S);
    crowd::peak(&curve).map_or(0.0, |peak| peak.origin_mbps)
}

/// What no system can beat with these viewers, if none changes rendition.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Largest offload ratio from the end of the warm-up to the end.
    pub offload: f64,
    /// Least peak of what the origin sends, as a mean over [`PEAK_S`], Mbit/s.
    pub peak_mbps: f64,
    /// From when on that peak counts, s.
    pub peaks_from_s: f64,
    /// Largest offload ratio, second by second.
    pub offload_curve: Vec<(f64, f64)>,
}

/// The bounds of an instance that was drawn from these settings.
pub fn bounds(settings: &Settings, instance: &Instance) -> Bounds {
    let viewers = audience(settings, instance, &[]);
    let curve = window::curve(&viewers, 0.0, settings.duration_s, 1.0);
    Bounds {
        offload: window::over(&viewers, settings.warmup_s, settings.duration_s).offload_max(),
        peak_mbps: peak_bound_mbps(settings, &viewers),
        peaks_from_s: peaks_from_s(settings),
        offload_curve: curve.iter().map(|(at, bound)| (*at, bound.offload_max())).collect(),
    }
}

/// What a world and its twin, if there is one, came to.
pub(crate) struct Measured<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) instance: &'a Instance,
    pub(crate) outcome: &'a Outcome,
    pub(crate) twin: Option<&'a Outcome>,
}

impl Measured<'_> {
    pub(crate) fn run(&self) -> Run {
        let mut list = List(Vec::new());
        self.offload(&mut list);
        self.delay(&mut list);
        self.players(&mut list);
        self.twins(&mut list);
        self.trust(&mut list);
        self.work(&mut list);
        Run { seed: self.instance.seed, figures: list.0, curves: self.curves() }
    }

    /// Segments published in the window that counts: the first after warm-up, and the last.
    fn window(&self) -> (usize, usize) {
        let before = self.outcome.prefilled as f64;
        let number =
            |at_s: f64| (before + at_s / self.settings.segment_s).floor().max(0.0) as usize;
        if self.settings.vod {
            return (0, self.outcome.tally.by_segment.len());
        }
        (number(self.settings.warmup_s), number(self.settings.duration_s))
    }

    fn offload(&self, list: &mut List) {
        let s = self.settings;
        let (first, last) = self.window();
        let segments = self.outcome.tally.by_segment.iter().take(last).skip(first);
        let sum = segments.fold(Segment::default(), |sum, one| Segment {
            origin: sum.origin + one.origin,
            delivered: sum.delivered + one.delivered,
            whole: sum.whole + one.whole,
        });
        let seconds = |from: f64, to: f64| {
            let first = crate::world::START_S + from as usize;
            let count = (to - from) as usize;
            self.outcome.tally.by_second.iter().skip(first).take(count)
        };
        // All of a title counts, whenever it is sent.
        let (from, to) = if s.vod { (0.0, end_s(s)) } else { (s.warmup_s, s.duration_s) };
        let control: u64 = seconds(from, to).map(|second| second.control).sum();
        let bound = self.offload_bound();
        let offload = ratio(sum.delivered as f64 - (sum.origin + control) as f64, sum.delivered);
        list.less("offload_ratio", offload);
        list.less("offload_bound", bound);
        list.less("achieved_over_bound", offload / bound);
        list.less(
            "media_offload_ratio",
            ratio(sum.delivered as f64 - sum.origin as f64, sum.delivered),
        );
        list.more("control_ratio", ratio(control as f64, sum.delivered));
        list.more("origin_copies", ratio(sum.origin as f64, sum.delivered) * self.mean_viewers());
        let whole: (u64, u64) = self.outcome.tally.by_second.iter().fold((0, 0), |sum, second| {
            (sum.0 + second.origin + second.control, sum.1 + second.delivered)
        });
        list.less("whole_run_offload_ratio", ratio(whole.1 as f64 - whole.0 as f64, whole.1));
        list.more("origin_peak_over_bound", self.peak_over_bound());
    }

    /// The most that those who are there can give to each other at every moment.
    fn offload_bound(&self) -> f64 {
        let s = self.settings;
        if s.vod {
            return self.title().offload_max();
        }
        window::over(
            &audience(s, self.instance, &self.outcome.tally.switches),
            s.warmup_s,
            s.duration_s,
        )
        .offload_max()
    }

    /// What was watched of a finished title, and by whom.
    fn title(&self) -> Title {
        let s = self.settings;
        let mut title = Title::default();
        for (drawn, viewer) in self.instance.viewers.iter().zip(&self.outcome.viewers) {
            let mbit = |size: ByteSize| (size.as_bytes() * SCALE) as f64 * 8.0 / 1e6;
            let totals = viewer.totals;
            let got_mbit = mbit(totals.from_origin) + mbit(totals.from_peers);
            title.delivered_mbit += mbit(totals.delivered);
            if drawn.class == Nat::Blocked {
                title.alone_mbit += got_mbit;
            } else {
                title.shared_mbit += got_mbit;
                title.upload_mbit += drawn.upload_mbps * viewer.stayed as f64 / 1e6;
            }
        }
        // The lowest rendition has the shortest segments: what is whole in any is that long at least.
        let lowest = rate_of(s, s.renditions as u16 - 1) * s.segment_s;
        let got = |segment: &&Segment| segment.whole > 0;
        let distinct = self.outcome.tally.by_segment.iter().filter(got).count();
        title.distinct_mbit = distinct as f64 * lowest;
        title
    }

    fn mean_viewers(&self) -> f64 {
        let s = self.settings;
        let bound = window::over(
            &audience(s, self.instance, &self.outcome.tally.switches),
            s.warmup_s,
            s.duration_s,
        );
        bound.demand_mbit / (s.duration_s - s.warmup_s).max(1e-9) / s.rate
    }

    /// Highest egress over a few seconds against the highest that the crowd asks for at the least.
    fn peak_over_bound(&self) -> f64 {
        let s = self.settings;
        let from_s = peaks_from_s(s);
        let bound = peak_bound_mbps(s, &audience(s, self.instance, &self.outcome.tally.switches));
        let start = crate::world::START_S;
        let seconds = &self.outcome.tally.by_second;
        let width = PEAK_S as usize;
        let mbps = |at: usize| {
            let sum: u64 =
                seconds.iter().skip(start + at).take(width).map(|x| x.origin + x.control).sum();
            sum as f64 * 8.0 / 1e6 / PEAK_S
        };
        let ends = (s.duration_s as usize).saturating_sub(width);
        let peak = (from_s as usize..ends).map(mbps).fold(0.0, f64::max);
        peak / bound.max(1e-9)
    }

    fn delay(&self, list: &mut List) {
        let s = self.settings;
        let (first, last) = self.window();
        let window = |(msn, _): &&(u32, u32)| (first..last).contains(&(*msn as usize));
        let delays = self.outcome.tally.delays.iter().filter(window);
        let mut delays: Vec<f64> = delays.map(|(_, us)| f64::from(*us) / 1e6).collect();
        delays.sort_by(f64::total_cmp);
        let middle = (s.warmup_s + s.duration_s) / 2.0;
        let there = self.instance.viewers.iter();
        let there = there.filter(|v| v.join_s <= middle && v.leave_s > middle && v.rendition == 0);
        let uploads: Vec<f64> = there.map(|v| v.upload_mbps).collect();
        let bytes = s.rate * s.segment_s * 1e6 / 8.0;
        let chunks = (bytes / f64::from(CHUNK_SIZE)).ceil();
        let burst = Burst {
            chunk_mbit: s.rate * s.segment_s / chunks,
            chunks: chunks as u64,
            seed: Seed { rate_mbps: s.origin_rate, copies: 1 },
            upload_mbps: &uploads,
            latency_s: BOUND_LATENCY_S,
        };
        list.more("segment_p50_s", quantile(&delays, 0.5));
        list.more("segment_p99_s", quantile(&delays, 0.99));
        list.more("segment_max_s", quantile(&delays, 1.0));
        list.more("segment_bound_s", burst.bound_s(0.99));
        list.more("segment_estimate_s", burst.serial_estimate_s());
        list.more("segment_p99_over_estimate", quantile(&delays, 0.99) / burst.serial_estimate_s());
    }

    fn players(&self, list: &mut List) {
        let viewers = &self.outcome.viewers;
        let stalls: f64 = viewers.iter().map(|v| v.stalled as f64 / 1e6).sum();
        let startups = self.startups(self.outcome);
        list.more("stall_seconds", stalls);
        list.more("stalled_viewers", viewers.iter().filter(|v| v.stalled > 0).count() as f64);
        list.more("startup_p50_s", quantile(&startups, 0.5));
        list.more("startup_p99_s", quantile(&startups, 0.99));
        let never = viewers.iter().filter(|v| v.startup.is_none() && v.stayed > 5_000_000);
        list.more("never_started", never.count() as f64);
        list.more("seek_p50_s", quantile(&seeks(self.outcome), 0.5));
        list.more("seek_p99_s", quantile(&seeks(self.outcome), 0.99));
        let twin = self.twin.map(seeks).unwrap_or_default();
        list.more("twin_seek_p99_s", quantile(&twin, 0.99));
    }

    fn startups(&self, outcome: &Outcome) -> Vec<f64> {
        let started = outcome.viewers.iter().filter_map(|v| v.startup);
        let mut times: Vec<f64> = started.map(|us| us as f64 / 1e6).collect();
        times.sort_by(f64::total_cmp);
        times
    }

    fn twins(&self, list: &mut List) {
        let Some(twin) = self.twin else {
            list.more("twin_worse_stall", f64::NAN);
            list.more("twin_worse_startup", f64::NAN);
            list.more("twin_stall_seconds", f64::NAN);
            list.more("twin_startup_p50_s", f64::NAN);
            return;
        };
        let pairs = || self.outcome.viewers.iter().zip(&twin.viewers);
        // One whose own network is cut may lose a segment's duration.
        let segment_us = (self.settings.segment_s * 1e6) as u64;
        let outage = self.settings.outage_share > 0.0;
        let allowed = |at: usize| {
            let cut = outage && self.instance.viewers[at].in_outage;
            if cut { segment_us } else { TWIN_TOLERANCE_US }
        };
        let stalls = pairs()
            .enumerate()
            .filter(|(at, (own, twin))| own.stalled > twin.stalled + allowed(*at));
        let starts = pairs().filter(|(own, twin)| match (own.startup, twin.startup) {
            (Some(own), Some(twin)) => own > twin + TWIN_TOLERANCE_US,
            (None, Some(_)) => true,
            (_, None) => false,
        });
        list.more("twin_worse_stall", stalls.count() as f64);
        list.more("twin_worse_startup", starts.count() as f64);
        let stalled: u64 = twin.viewers.iter().map(|v| v.stalled).sum();
        list.more("twin_stall_seconds", stalled as f64 / 1e6);
        list.more("twin_startup_p50_s", quantile(&self.startups(twin), 0.5));
    }

    fn trust(&self, list: &mut List) {
        let tally = &self.outcome.tally;
        let viewers = &self.outcome.viewers;
        let mismatches: u64 = viewers.iter().map(|v| v.totals.hash_mismatches).sum();
        list.more("bad_chunks_played", tally.bad_played as f64);
        list.more("bad_chunks_relayed", tally.bad_relayed as f64);
        list.more("bad_chunks_received", mismatches as f64);
        list.more("bad_chunks_per_pair_max", tally.bad_per_pair_max() as f64);
        let bad = |role| matches!(role, Role::Polluter | Role::Dropper | Role::Slanderer);
        let attackers = self.instance.viewers.iter().filter(|v| bad(v.role)).count();
        list.less("attackers", attackers as f64);
        list.less("banned", tally.banned as f64);
        list.more("honest_evicted", tally.honest_banned as f64);
    }

    fn work(&self, list: &mut List) {
        let tally = &self.outcome.tally;
        let scale = crate::world::SCALE as f64;
        let sum = |of: fn(&shoal_wire::tracker_message::Totals) -> shoal_wire::ByteSize| {
            let sum: u64 = self.outcome.viewers.iter().map(|v| of(&v.totals).as_bytes()).sum();
            sum as f64 * scale
        };
        let (useful, wasted) = (sum(|t| t.from_peers), sum(|t| t.wasted));
        list.more("waste_ratio", wasted / useful.max(1.0));
        // What a viewer plays again of its own.
        let sent = useful + sum(|t| t.from_origin);
        list.less("own_store_ratio", (1.0 - sent / sum(|t| t.delivered).max(1.0)).max(0.0));
        list.more("fallbacks_deadline", tally.fallbacks[0] as f64);
        list.more("fallbacks_no_source", tally.fallbacks[1] as f64);
        list.more("fallbacks_no_peers", tally.fallbacks[2] as f64);
        list.more("failed_requests", tally.failed_requests as f64);
        list.less("links_up", tally.links_up as f64);
        list.more("links_failed", tally.links_failed as f64);
        list.more("plan_changes", tally.plan_changes as f64);
        list.more("lost_parents", tally.lost_parents as f64);
        list.more("plans_disagree", self.outcome.plans_disagree as f64);
        list.less("chunk_deliveries", (useful / f64::from(CHUNK_SIZE)).floor());
    }

    fn curves(&self) -> Curves {
        let s = self.settings;
        let mut curves = Curves::default();
        let viewers = audience(s, self.instance, &self.outcome.tally.switches);
        let bounds = window::curve(&viewers, 0.0, s.duration_s, 1.0);
        let seconds = self.outcome.tally.by_second.iter().skip(crate::world::START_S);
        // Whole segments, or egress would be seen to come and go with them.
        let smooth = (s.segment_s * (4.0 / s.segment_s).ceil()).ceil() as usize;
        let mut recent: std::collections::VecDeque<(f64, f64)> = std::collections::VecDeque::new();
        for (at, second) in seconds.take(s.duration_s as usize).enumerate() {
            let t = at as f64;
            let mbps = |bytes: u64| bytes as f64 * 8.0 / 1e6;
            let bound = bounds.get(at).map(|(_, bound)| *bound).unwrap_or_default();
            recent.push_back((mbps(second.origin + second.control), mbps(second.delivered)));
            if recent.len() > smooth {
                recent.pop_front();
            }
            let (origin, delivered) =
                recent.iter().fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            curves.viewers.push((t, f64::from(second.viewers)));
            if delivered > 0.0 {
                curves.offload.push((t, (1.0 - origin / delivered).max(-1.0)));
            }
            curves.offload_bound.push((t, bound.offload_max()));
            curves.origin.push((t, mbps(second.origin + second.control)));
            curves.without_peers.push((t, bound.demand_mbit));
            curves.origin_bound.push((t, bound.origin_mbit));
        }
        curves.segment_delay =
            self.outcome.tally.delays.iter().map(|(_, us)| f64::from(*us) / 1e6).collect();
        curves.segment_delay.sort_by(f64::total_cmp);
        curves.startup = self.startups(self.outcome);
        curves.startup_twin = self.twin.map(|twin| self.startups(twin)).unwrap_or_default();
        self.viewer_curves(&mut curves);
        curves
    }

    fn viewer_curves(&self, curves: &mut Curves) {
        for (at, (drawn, viewer)) in
            self.instance.viewers.iter().zip(&self.outcome.viewers).enumerate()
        {
            if viewer.stayed > 10_000_000 {
                let mean = viewer.sent_bytes as f64 * 8.0 / viewer.stayed as f64;
                curves.upload.push((drawn.upload_mbps, mean));
            }
            let twin = self.twin.map_or(0, |twin| twin.viewers[at].stalled);
            if viewer.stalled + twin > 0 {
                curves.stalls.push((twin as f64 / 1e6, viewer.stalled as f64 / 1e6));
            }
        }
    }
}

/// Times from a seek to playback, sorted, s.
fn seeks(outcome: &Outcome) -> Vec<f64> {
    let all = outcome.viewers.iter().flat_map(|viewer| &viewer.seeks);
    let mut all: Vec<f64> = all.map(|us| *us as f64 / 1e6).collect();
    all.sort_by(f64::total_cmp);
    all
}

/// Figures in the order in which they are made.
struct List(Vec<Figure>);

impl List {
    /// A figure that is worse when it is less.
    fn less(&mut self, name: &'static str, value: f64) {
        self.0.push(Figure { name, value, worse: Worse::Less, is_host: false });
    }

    /// A figure that is worse when it is more.
    fn more(&mut self, name: &'static str, value: f64) {
        self.0.push(Figure { name, value, worse: Worse::More, is_host: false });
    }
}

fn ratio(part: f64, whole: u64) -> f64 {
    part / (whole as f64).max(1.0)
}

/// The quantile of sorted samples; not a number if there are none.
pub(crate) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((q * last as f64).round() as usize).copied().unwrap_or(f64::NAN)
}
