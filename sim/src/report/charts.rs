//! Which plots a run has, and what is to be read off each.
//!
//! Rule: what was reached stands beside what is possible, and beside what would be without peers.

use crate::figures::{Curves, Run};
use crate::report::number::human;
use crate::report::plot::{Axis, Ink, Mark, Plot, Series, Xy};

/// Points of a distribution that are drawn.
const QUANTILES: usize = 400;

/// What the origin sends comes in bursts, one per segment: it is averaged over this time, s.
const EGRESS_MEAN_S: f64 = 4.0;

/// The plots of a run, in the order of the page; with its twin's if it had one.
pub(crate) fn of_run(run: &Run, twins: bool) -> Vec<Plot> {
    let curves = &run.curves;
    vec![
        offload(curves),
        egress(curves),
        delay(curves),
        startup(curves),
        if twins { stalls_of_pairs(curves) } else { stalls(curves) },
        upload(curves),
        viewers(curves),
    ]
}

fn offload(curves: &Curves) -> Plot {
    let over = &curves.offload_bound;
    Plot {
        title: "Offload against its bound".into(),
        note: "Share of the media that did not come from the origin; the bound is what the \
               viewers' upload allows at that moment."
            .into(),
        x: time([&curves.offload, over]),
        y: Axis::share("offload"),
        series: vec![
            line("the bound", Ink::Bound, over.clone()),
            line("reached", Ink::Reached, curves.offload.clone()),
        ],
    }
}

fn egress(curves: &Curves) -> Plot {
    let sent = moving_mean(&curves.origin, EGRESS_MEAN_S);
    let all = [&sent, &curves.without_peers, &curves.origin_bound];
    let rates = all.into_iter().flatten().map(|point| point.1);
    let (x, y) = (time(all), Axis::wide("Mbit/s", rates));
    Plot {
        title: "What the origin sends".into(),
        note: "Everything that leaves the origin and the tracker, beside what the same audience \
               would cost without peers and the least that any system could send. \
               Means of the last 4 s, because segments leave in bursts."
            .into(),
        x,
        y,
        series: vec![
            line("the least possible", Ink::Bound, curves.origin_bound.clone()),
            line("without peers", Ink::Without, curves.without_peers.clone()),
            line("sent", Ink::Reached, sent),
        ],
    }
}

fn delay(curves: &Curves) -> Plot {
    let note = quantiles("From publication until a viewer had the segment", &curves.segment_delay);
    let series = vec![line("segments", Ink::Reached, distribution(&curves.segment_delay))];
    let x = seconds("delay, s", &[&curves.segment_delay]);
    Plot {
        title: "Delay of segments".into(),
        note,
        x,
        y: Axis::share("share of deliveries"),
        series,
    }
}

fn startup(curves: &Curves) -> Plot {
    let both = [curves.startup.as_slice(), curves.startup_twin.as_slice()];
    let mut note = quantiles("From joining until playback", &curves.startup);
    if let (Some(own), Some(twin)) = (quantile(both[0], 0.5), quantile(both[1], 0.5)) {
        let order = if own > twin { "later" } else { "earlier" };
        let by = human((own - twin).abs());
        note.push_str(&format!(" With peers the median starts {by} s {order}."));
    }
    Plot {
        title: "Time to start".into(),
        note,
        x: seconds("time to start, s", &both),
        y: Axis::share("share of viewers"),
        series: vec![
            line("without peers", Ink::Without, distribution(&curves.startup_twin)),
            line("with peers", Ink::Reached, distribution(&curves.startup)),
        ],
    }
}

fn stalls(curves: &Curves) -> Plot {
    let mut stalled: Vec<_> = curves.stalls.iter().map(|(_, with)| *with).collect();
    stalled.sort_by(f64::total_cmp);
    let note = match stalled.len() {
        0 => "No viewer stalled.".into(),
        count => quantiles(&format!("{count} viewers stalled"), &stalled),
    };
    let series = vec![line("viewers", Ink::Reached, distribution(&stalled))];
    let (x, y) = (seconds("stalled, s", &[&stalled]), Axis::share("share of those that stalled"));
    Plot { title: "Stalls".into(), note, x, y, series }
}

fn stalls_of_pairs(curves: &Curves) -> Plot {
    let largest = curves.stalls.iter().flat_map(|(without, with)| [*without, *with]);
    let largest = largest.filter(|value| value.is_finite()).fold(0.0, f64::max);
    let worse = curves.stalls.iter().filter(|(without, with)| with > without).count();
    let (x, y) = (
        Axis::from_zero("stalled without peers, s", [largest].into_iter()),
        Axis::from_zero("stalled with peers, s", [largest].into_iter()),
    );
    let note = if curves.stalls.is_empty() {
        "No viewer stalled, with peers or without.".into()
    } else {
        format!(
            "Viewers that stalled in either: {}. Above the line, stalled longer with peers: {worse}.",
            curves.stalls.len()
        )
    };
    let dots = Series {
        name: "a viewer".into(),
        ink: Ink::Reached,
        mark: Mark::Dots,
        points: curves.stalls.clone(),
    };
    let equal = line("as without peers", Ink::Bound, vec![(0.0, 0.0), (largest, largest)]);
    Plot { title: "Stalls against the twin".into(), note, x, y, series: vec![equal, dots] }
}

fn upload(curves: &Curves) -> Plot {
    let usable = curves.upload.iter().map(|point| point.0);
    let used = curves.upload.iter().map(|point| point.1);
    let largest = usable.clone().filter(|value| value.is_finite()).fold(0.0, f64::max);
    let (given, room) = (used.clone().sum::<f64>(), usable.clone().sum::<f64>());
    let note = if room > 0.0 {
        let share = given / room * 100.0;
        format!("Each dot is a viewer. Together they gave {share:.0} % of what they could.")
    } else {
        "Each dot is a viewer.".into()
    };
    let mut points = curves.upload.clone();
    // Thinning takes every so-manieth: by usable upload, so that no class is lost.
    points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let dots = Series { name: "a viewer".into(), ink: Ink::Reached, mark: Mark::Dots, points };
    Plot {
        title: "Who uploads".into(),
        note,
        x: Axis::from_zero("usable upload, Mbit/s", usable.clone()),
        y: Axis::from_zero("mean upload, Mbit/s", usable.chain(used)),
        series: vec![line("all of it", Ink::Bound, vec![(0.0, 0.0), (largest, largest)]), dots],
    }
}

fn viewers(curves: &Curves) -> Plot {
    Plot {
        title: "Viewers".into(),
        note: String::new(),
        x: time([&curves.viewers]),
        y: Axis::from_zero("viewers", curves.viewers.iter().map(|point| point.1)),
        series: vec![line("viewers", Ink::Reached, curves.viewers.clone())],
    }
}

fn line(name: &str, ink: Ink, points: Vec<Xy>) -> Series {
    Series { name: name.into(), ink, mark: Mark::Line, points }
}

/// At each point, the mean of the points of the last while.
fn moving_mean(points: &[Xy], over_s: f64) -> Vec<Xy> {
    let mut first = 0;
    let mean = |last: usize| {
        while points[first].0 <= points[last].0 - over_s {
            first += 1;
        }
        let window = &points[first..=last];
        let sum: f64 = window.iter().map(|point| point.1).sum();
        (points[last].0, sum / window.len() as f64)
    };
    (0..points.len()).map(mean).collect()
}

fn time<'a>(curves: impl IntoIterator<Item = &'a Vec<Xy>>) -> Axis {
    let last = curves.into_iter().filter_map(|curve| Some(curve.last()?.0));
    Axis::until("time, s", last.fold(0.0, f64::max))
}

/// From zero to the largest, or to a bit more than the 99th percentile where few go far beyond.
fn seconds(label: &str, samples: &[&[f64]]) -> Axis {
    let ends = samples.iter().filter_map(|sorted| {
        let (most, p99) = (quantile(sorted, 1.0)?, quantile(sorted, 0.99)?);
        Some(if most > p99 * 2.0 { p99 * 1.25 } else { most })
    });
    Axis::from_zero(label, ends)
}

/// The share of samples that are no more than x.
fn distribution(sorted: &[f64]) -> Vec<Xy> {
    let count = sorted.len().min(QUANTILES - 1);
    let point = |i: usize| {
        let index = (i + 1) * sorted.len() / count - 1;
        (sorted[index], (index + 1) as f64 / sorted.len() as f64)
    };
    let start = sorted.first().map(|first| (*first, 0.0));
    start.into_iter().chain((0..count).map(point)).collect()
}

fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

fn quantiles(what: &str, sorted: &[f64]) -> String {
    let [p50, p90, p99, most] = [0.5, 0.9, 0.99, 1.0].map(|share| quantile(sorted, share));
    match (p50, p90, p99, most) {
        (Some(p50), Some(p90), Some(p99), Some(most)) => format!(
            "{what}: p50 {} s, p90 {} s, p99 {} s, at most {} s.",
            human(p50),
            human(p90),
            human(p99),
            human(most)
        ),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_rises_to_all() {
        let sorted: Vec<_> = (0..1000).map(f64::from).collect();
        let points = distribution(&sorted);
        assert!(points.len() <= QUANTILES);
        assert!(points.is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1));
        assert_eq!(points.last(), Some(&(999.0, 1.0)));
        assert_eq!(distribution(&[]), []);
        assert_eq!(distribution(&[2.0]).first(), Some(&(2.0, 0.0)));
    }

    #[test]
    fn bursts_are_averaged_over_whole_segments() {
        let points: Vec<Xy> = (0..20).map(|t| (f64::from(t), f64::from(t % 2) * 10.0)).collect();
        let mean = moving_mean(&points, EGRESS_MEAN_S);
        assert_eq!(mean.len(), points.len());
        assert!(mean.iter().skip(3).all(|point| point.1 == 5.0), "{mean:?}");
        assert_eq!(moving_mean(&[], 1.0), []);
    }

    #[test]
    fn stalls_without_twins_are_a_distribution() {
        let stalls = vec![(0.0, 2.0), (0.0, 1.0)];
        let curves = Curves { stalls, ..Curves::default() };
        let run = Run { curves, ..Run::default() };
        let drawn = |twins| of_run(&run, twins).iter().map(Plot::figure).collect::<String>();
        assert!(drawn(false).contains("2 viewers stalled: p50 1 s"));
        assert!(drawn(true).contains("stalled longer with peers: 2."));
    }

    #[test]
    fn quantiles_are_samples() {
        let sorted: Vec<_> = (1..=100).map(f64::from).collect();
        assert_eq!(quantile(&sorted, 0.5), Some(50.0));
        assert_eq!(quantile(&sorted, 0.99), Some(99.0));
        assert_eq!(quantile(&sorted, 1.0), Some(100.0));
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantiles("x", &[]), "");
    }

    #[test]
    fn a_run_without_curves_has_every_plot() {
        let plots = of_run(&Run::default(), true);
        assert_eq!(plots.len(), 7);
        for plot in plots {
            assert!(plot.figure().contains("Nothing to show"), "{}", plot.title);
        }
    }
}
