//! What was seen beside what the simulator says, and beside what is possible.

use super::event::Second;
use super::stage::Seen;
use crate::curve::{Curve, distribution, line};
use crate::host;
use crate::outcome::{Outcome, Table};
use crate::samples::Samples;
use shoal_sim::figures::Run;
use shoal_sim::report::plot::{Axis, Ink, Plot};
use shoal_sim::scenario::Scenario;
use shoal_sim::{Bounds, PEAK_S};

const MIB: f64 = 1024.0 * 1024.0;
/// A viewer that was there for so long should have played.
const PATIENCE_S: f64 = 5.0;

/// The figures of an event, and of the same event in the simulator.
pub(super) fn outcome(
    scenario: &Scenario,
    seen: &Seen,
    simulated: &Run,
    left_out: &[&str],
) -> Outcome {
    let s = &scenario.settings;
    let bounds = shoal_sim::bounds(s, &seen.instance);
    let mut outcome = Outcome::new("live");
    outcome.lead = format!(
        "{}: {} real engines, {} Mbit/s in segments of {} s, {} s",
        scenario.name,
        seen.instance.viewers.len(),
        s.rate,
        s.segment_s,
        s.duration_s
    );
    outcome.conditions.push(format!(
        "Real engines with real WebRTC links on loopback, {} cores for all of them, their players, \
         the server and the encoder; uploads are caps. Figures count from {} s on.",
        host::cores(),
        s.warmup_s
    ));
    if !left_out.is_empty() {
        let keys = left_out.join(", ");
        outcome.conditions.push(format!("Left out here and in the simulator: {keys}."));
    }
    let sim = |name: &str| {
        let found = simulated.figures.iter().find(|figure| figure.name == name);
        found.map_or(f64::NAN, |figure| figure.value)
    };
    figures(&mut outcome, scenario, seen, &bounds, sim("offload_ratio"));
    outcome.add("sim_offload_ratio", sim("offload_ratio"));
    outcome.add("sim_stalled_viewers", sim("stalled_viewers"));
    outcome.add("sim_startup_p50_s", sim("startup_p50_s"));
    outcome.add("sim_origin_peak_over_bound", sim("origin_peak_over_bound"));
    outcome.tables.push(beside(&outcome, sim));
    outcome.plots = plots(seen, simulated, &bounds);
    outcome
}

fn figures(
    outcome: &mut Outcome,
    scenario: &Scenario,
    seen: &Seen,
    bounds: &Bounds,
    sim_offload: f64,
) {
    let s = &scenario.settings;
    let window = Window::of(&seen.seconds, s.warmup_s);
    let whole = Window::of(&seen.seconds, 0.0);
    let startups: Samples = seen.watched.iter().filter_map(|viewer| viewer.startup_s).collect();
    let stalled = seen.watched.iter().filter(|viewer| viewer.stalled_s > 0.0).count();
    let never = seen.watched.iter();
    let never = never.filter(|it| it.startup_s.is_none() && it.stayed_s > PATIENCE_S).count();
    let peak = peak_mbps(&seen.seconds, bounds.peaks_from_s);
    let most = |of: fn(&Second) -> f64| seen.seconds.iter().map(of).fold(f64::NAN, f64::max);
    let last = seen.seconds.last();
    let said = |of: fn(&Second) -> f64| last.map_or(f64::NAN, of);
    let stalls: Samples = seen.watched.iter().map(|viewer| viewer.stalled_s).collect();
    outcome.add("offload_ratio", window.offload);
    outcome.add("offload_difference", window.offload - sim_offload);
    outcome.add("offload_bound", bounds.offload);
    outcome.add("stalled_viewers", stalled as f64);
    outcome.add("startup_p50_s", startups.quantile(0.5));
    outcome.add("origin_peak_mbps", peak);
    outcome.add("origin_peak_bound_mbps", bounds.peak_mbps);
    outcome.add("cores", window.server_cores + window.own_cores);
    outcome.add("origin_peak_over_bound", peak / bounds.peak_mbps);
    outcome.add("stall_seconds", stalls.sum());
    outcome.add("startup_p99_s", startups.quantile(0.99));
    outcome.add("never_started", never as f64);
    outcome.add("whole_run_offload_ratio", whole.offload);
    outcome.add("failed_requests", seen.failed_requests as f64);
    outcome.add("waste_ratio", said(|it| it.said.wasted_bytes / it.said.from_peers_bytes));
    outcome.add("links_up", said(|it| it.said.links_up));
    outcome.add("links_failed", said(|it| it.said.links_failed));
    outcome.add("server_cores", window.server_cores);
    let rss = most(|second| second.own.rss_bytes);
    outcome.add("mib_per_viewer", rss / MIB / most(|second| second.viewers));
    outcome.add("server_rss_mib", said(|second| second.server.rss_bytes / MIB));
}

/// What was reached, what the simulator reached, and how far they are apart.
fn beside(outcome: &Outcome, sim: impl Fn(&str) -> f64) -> Table {
    const NAMES: [&str; 7] = [
        "offload_ratio",
        "whole_run_offload_ratio",
        "stalled_viewers",
        "startup_p50_s",
        "startup_p99_s",
        "origin_peak_over_bound",
        "waste_ratio",
    ];
    let row = |name: &str| {
        let (real, simulated) = (outcome.figure(name), sim(name));
        vec![real, simulated, real - simulated]
    };
    Table {
        title: "real beside simulated",
        header: ["figure", "real", "simulated", "difference"].map(str::to_owned).to_vec(),
        names: NAMES.map(str::to_owned).to_vec(),
        rows: NAMES.iter().map(|name| row(name)).collect(),
    }
}

/// What a part of the event came to.
struct Window {
    offload: f64,
    server_cores: f64,
    own_cores: f64,
}

impl Window {
    /// From `from_s` to the end.
    fn of(seconds: &[Second], from_s: f64) -> Self {
        let first = seconds.iter().find(|second| second.at_s >= from_s);
        let (Some(first), Some(last)) = (first, seconds.last()) else {
            return Self { offload: f64::NAN, server_cores: f64::NAN, own_cores: f64::NAN };
        };
        let sent = last.said.egress_bytes - first.said.egress_bytes;
        let time_s = last.at_s - first.at_s;
        Self {
            offload: 1.0 - sent / (last.delivered_bytes - first.delivered_bytes),
            server_cores: (last.server.cpu_s - first.server.cpu_s) / time_s,
            own_cores: (last.own.cpu_s - first.own.cpu_s) / time_s,
        }
    }
}

/// Most that the server sent, as a mean over [`PEAK_S`].
fn peak_mbps(seconds: &[Second], from_s: f64) -> f64 {
    let mut peak = f64::NAN;
    for (i, first) in seconds.iter().enumerate().filter(|(_, second)| second.at_s >= from_s) {
        let last = seconds[i..].iter().find(|second| second.at_s >= first.at_s + PEAK_S);
        if let Some(last) = last {
            let bytes = last.said.egress_bytes - first.said.egress_bytes;
            peak = peak.max(bytes * 8.0 / 1e6 / (last.at_s - first.at_s));
        }
    }
    peak
}

fn plots(seen: &Seen, simulated: &Run, bounds: &Bounds) -> Vec<Plot> {
    let end_s = seen.seconds.last().map_or(1.0, |second| second.at_s);
    let time = || Axis::until("time, s", end_s);
    let (sent, offload) = over_time(&seen.seconds);
    let rates = sent.iter().chain(&simulated.curves.origin).map(|point| point.1);
    let startups: Samples = seen.watched.iter().filter_map(|viewer| viewer.startup_s).collect();
    let (startups, sim_startups) = (startups.sorted(), &simulated.curves.startup);
    let cores = |of: fn(&Second) -> f64| -> Curve {
        let pairs = seen.seconds.windows(2);
        pairs
            .map(|two| (two[1].at_s, (of(&two[1]) - of(&two[0])) / (two[1].at_s - two[0].at_s)))
            .collect()
    };
    let (server, own) = (cores(|it| it.server.cpu_s), cores(|it| it.own.cpu_s));
    let viewers: Curve = seen.seconds.iter().map(|it| (it.at_s, it.viewers)).collect();
    vec![
        Plot {
            title: "Offload, real and simulated".into(),
            note: "Over the last 8 s; the bound is what the viewers' upload allows.".into(),
            x: time(),
            y: Axis::share("offload"),
            series: vec![
                line("the bound", Ink::Bound, bounds.offload_curve.clone()),
                line("simulated", Ink::Without, simulated.curves.offload.clone()),
                line("real", Ink::Reached, offload),
            ],
        },
        Plot {
            title: "What the origin sends".into(),
            note: "Media, playlists, digests and signalling; means over 5 s, the simulator's over 1 s."
                .into(),
            x: time(),
            y: Axis::wide("Mbit/s", rates),
            series: vec![
                line("simulated", Ink::Without, simulated.curves.origin.clone()),
                line("real", Ink::Reached, sent),
            ],
        },
        Plot {
            title: "Time to start".into(),
            note: "From opening the stream to playing.".into(),
            x: Axis::from_zero("s", startups.iter().chain(sim_startups).copied()),
            y: Axis::share("share of viewers"),
            series: vec![
                line("simulated", Ink::Without, distribution(sim_startups)),
                line("real", Ink::Reached, distribution(&startups)),
            ],
        },
        Plot {
            title: "Processor".into(),
            note: "Seconds of processor time per second.".into(),
            x: time(),
            y: Axis::from_zero("cores", server.iter().chain(&own).map(|point| point.1)),
            series: vec![
                line("server", Ink::Without, server.clone()),
                line("engines and players", Ink::Reached, own),
            ],
        },
        Plot {
            title: "Viewers".into(),
            note: String::new(),
            x: time(),
            y: Axis::from_zero("viewers", viewers.iter().map(|point| point.1)),
            series: vec![line("viewers", Ink::Reached, viewers.clone())],
        },
    ]
}

/// What the server sent, Mbit/s, and the offload, both over the last while.
fn over_time(seconds: &[Second]) -> (Curve, Curve) {
    /// Whole segments, or egress would be seen to come and go with them.
    const SMOOTH_S: f64 = 8.0;
    let (mut sent, mut offload) = (Vec::new(), Vec::new());
    for (i, now) in seconds.iter().enumerate() {
        let since = |time_s: f64| {
            seconds[..i].iter().rev().find(|second| second.at_s <= now.at_s - time_s + 0.5)
        };
        if let Some(before) = since(PEAK_S) {
            let bytes = now.said.egress_bytes - before.said.egress_bytes;
            sent.push((now.at_s, bytes * 8.0 / 1e6 / (now.at_s - before.at_s)));
        }
        if let Some(before) = since(SMOOTH_S) {
            let delivered = now.delivered_bytes - before.delivered_bytes;
            let bytes = now.said.egress_bytes - before.said.egress_bytes;
            if delivered > 0.0 {
                offload.push((now.at_s, (1.0 - bytes / delivered).max(0.0)));
            }
        }
    }
    (sent, offload)
}
