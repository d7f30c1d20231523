//! The oracles against reference values and against each other.
//!
//! Rule: the reference values were computed elsewhere, by linear programs and event queues of
//! their own, and are only read here. Uploads are kept in whole bits per second, rounded up, so a
//! sum of n of them is off by at most n bit/s: below the tolerance of 1e-6 at these rates.

#[path = "oracle/schedules.rs"]
mod schedules;

use proptest::prelude::*;
use schedules::{in_order_s, orders, relay_s};
use serde_json::Value;
use shoal_sim::oracle::burst::Burst;
use shoal_sim::oracle::churn::{Share, surplus};
use shoal_sim::oracle::classes::Classes;
use shoal_sim::oracle::complete::{self, Present};
use shoal_sim::oracle::crowd::{self, Newcomers};
use shoal_sim::oracle::flow::{self, Reach};
use shoal_sim::oracle::patience::{self, Slack};
use shoal_sim::oracle::snowball::{
    Seed, earliest_s, fastest_first_s, offload_with_deadline, reached_within,
};
use shoal_sim::oracle::{Nat, Viewer, window};

/// Largest relative difference from a reference value.
const TOLERANCE: f64 = 1e-6;

fn golden(section: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("data/golden.json")).expect("it is JSON");
    let entries = all[section].as_array().expect("a section is a list").clone();
    assert!(!entries.is_empty());
    entries
}

fn number(of: &Value, name: &str) -> f64 {
    of[name].as_f64().unwrap_or_else(|| panic!("{name} in {of}"))
}

fn numbers(of: &Value) -> Vec<f64> {
    let values = of.as_array().expect("it is a list");
    values.iter().map(|value| value.as_f64().expect("it holds numbers")).collect()
}

#[track_caller]
fn close(ours: f64, theirs: f64) {
    let room = TOLERANCE * theirs.abs().max(1e-12);
    assert!((ours - theirs).abs() <= room, "{ours} for {theirs}");
}

fn everyone(viewers: usize) -> Reach {
    let mut reach = Reach::new(viewers);
    (0..viewers).for_each(|a| (0..a).for_each(|b| reach.connect(a, b)));
    reach
}

fn stay(join_s: f64, leave_s: f64, upload_mbps: f64, class: Nat) -> Viewer {
    Viewer { join_s, leave_s, upload_mbps, class, rendition: 0, rate_mbps: 5.0 }
}

#[test]
fn complete_graph_agrees() {
    for entry in golden("complete") {
        let (rate, theirs) = (number(&entry, "r"), number(&entry, "origin_min"));
        let n = entry["n"].as_u64().unwrap();
        if entry["u"].is_null() {
            // Only the sum is known, and only the sum matters.
            let each = number(&entry, "sum_u") / n as f64;
            close(complete::origin_min_mbps(rate, &vec![each; n as usize]), theirs);
            continue;
        }
        let uploads = numbers(&entry["u"]);
        close(complete::origin_min_mbps(rate, &uploads), theirs);
        close(complete::offload_max(rate, &uploads), number(&entry, "offload_max"));
        close(flow::origin_min_mbps(rate, &uploads, &everyone(uploads.len())), theirs);
    }
}

#[test]
fn reachability_agrees() {
    for entry in golden("reachability") {
        let uploads = numbers(&entry["u"]);
        let mut reach = Reach::new(uploads.len());
        for edge in entry["edges"].as_array().unwrap() {
            reach.connect(edge[0].as_u64().unwrap() as usize, edge[1].as_u64().unwrap() as usize);
        }
        let ours = flow::origin_min_mbps(number(&entry, "r"), &uploads, &reach);
        close(ours, number(&entry, "origin_per_component_bound"));
        if let Some(exact) = entry["origin_exact"].as_f64() {
            assert!(ours <= exact + TOLERANCE, "{ours} is above the exact {exact}");
        }
    }
}

#[test]
fn snowball_agrees() {
    let mut checked = 0;
    for entry in golden("snowball").iter().filter(|entry| !entry["u"].is_null()) {
        let seed = Seed { rate_mbps: number(entry, "origin"), copies: 1 };
        let uploads = numbers(&entry["u"]);
        let times =
            fastest_first_s(number(entry, "chunk"), seed, &uploads, number(entry, "latency"));
        assert_eq!(times.len(), uploads.len());
        close(times[0], number(entry, "first"));
        close(times[times.len() / 2], number(entry, "median"));
        close(times[times.len() - 1], number(entry, "last"));
        checked += 1;
    }
    assert!(checked >= 12, "{checked}");
}

#[test]
fn snowball_takes_as_long_as_published() {
    let last = |viewers: usize, chunk_s: f64| {
        let seed = Seed { rate_mbps: 1000.0, copies: 1 };
        let times = fastest_first_s(5.0 * chunk_s, seed, &vec![7.5; viewers], 0.03);
        times[times.len() - 1]
    };
    // 5 Mbit/s, resource index 1.5, 30 ms; the values are given to two digits.
    for (viewers, chunk_s, published) in [
        (1_000, 2.0, 13.6),
        (100_000, 2.0, 23.0),
        (1_000, 0.25, 1.9),
        (100_000, 0.25, 3.1),
        (1_000, 0.1, 0.88),
        (100_000, 0.1, 1.43),
    ] {
        let ours = last(viewers, chunk_s);
        assert!((ours / published - 1.0).abs() < 0.03, "{ours} for {published}");
    }
}

#[test]
fn nat_classes_agree() {
    // The references are for infinitely many viewers: with 1e8 a single copy is below the six
    // digits to which they are given.
    const VIEWERS: f64 = 1e8;
    for entry in golden("nat_classes") {
        let rho = number(&entry, "rho");
        let mut classes = Classes::of_nat(1.0);
        for (class, share) in numbers(&entry["shares_OAPSB"]).into_iter().enumerate() {
            let viewers = (share * VIEWERS).round();
            classes.join_many(class, viewers as u64, viewers * rho);
        }
        let (ours, theirs) = (classes.offload_max(), number(&entry, "offload_max"));
        assert!((ours - theirs).abs() < 1e-6, "{ours} for {theirs}");
    }
}

#[test]
fn churn_agrees() {
    for entry in golden("churn") {
        let shares = entry["classes"].as_array().unwrap().iter().map(numbers);
        let shares: Vec<Share> =
            shares.map(|pair| Share { share: pair[0], upload_mbps: pair[1] }).collect();
        let ours = surplus(1.0, 1.0, number(&entry, "mean_n"), &shares);
        close(ours.enough, number(&entry, "p_no_deficit"));
        close(ours.extra_origin_mbps, number(&entry, "extra_origin"));
    }
}

#[test]
fn deadline_asks_for_more_copies() {
    let times = fastest_first_s(1.0, Seed { rate_mbps: 1.0, copies: 1 }, &[1.0; 16], 0.0);
    // One copy at 1 s, then the number doubles every second.
    assert_eq!([0.0, 1.0, 2.0, 3.0].map(|deadline| reached_within(&times, deadline)), [1, 2, 4, 8]);
    assert_eq!(offload_with_deadline(1.0, 16, 1, 8), 1.0 - 2.0 / 16.0);
    assert_eq!(offload_with_deadline(1.0, 16, 3, 8), 1.0 - 3.0 / 16.0);
    assert_eq!(offload_with_deadline(0.5, 16, 1, 8), 0.5);
}

#[test]
fn snowball_stops_where_nobody_uploads() {
    assert_eq!(
        fastest_first_s(1.0, Seed { rate_mbps: 2.0, copies: 2 }, &[0.0; 5], 0.0),
        [0.5, 1.0]
    );
    assert!(fastest_first_s(1.0, Seed { rate_mbps: 2.0, copies: 0 }, &[9.0; 5], 0.0).is_empty());
}

#[test]
fn slower_first_can_be_sooner() {
    // Seven viewers: the usual order gives the chunk to 8, 5 and 3.7 Mbit/s in this order, and the
    // last has it after 166 ms. With the second and the third exchanged it is 152 ms.
    let seed = Seed { rate_mbps: 50.0, copies: 1 };
    let uploads = [8.108318594977586, 5.163698661505733, 3.6760582323759197, 0.5, 0.5, 0.5, 0.5];
    let usual = fastest_first_s(0.2, seed, &uploads, 0.02);
    let other = in_order_s(0.2, seed, &[0, 2, 1, 3, 4, 5, 6].map(|at| uploads[at]), 0.02);
    let earliest = earliest_s(0.2, seed, &uploads, 0.02);
    assert!(other[6] < 0.153 && usual[6] > 0.166, "{other:?} {usual:?}");
    assert!(earliest[6] <= other[6] && earliest[6] > 0.9 * other[6], "{earliest:?}");
}

#[test]
fn burst_estimate_is_beaten_by_an_exchange() {
    // The origin gives each of two viewers one of two chunks at once; they swap, which takes one
    // chunk's time. The estimate adds the other copy at the pace of both.
    let seed = Seed { rate_mbps: 1e9, copies: 1 };
    let uploads = [1.0, 1.0];
    let burst = Burst { chunk_mbit: 1.0, chunks: 2, seed, upload_mbps: &uploads, latency_s: 0.0 };
    assert!((burst.bound_s(1.0) - 1.0).abs() < 1e-6, "{}", burst.bound_s(1.0));
    assert!((burst.serial_estimate_s() - 1.5).abs() < 1e-6, "{}", burst.serial_estimate_s());
}

#[test]
fn flash_crowd_peaks_where_newcomers_cannot_upload() {
    // Ten viewers with enough upload; ten more join in the second from 20 s on.
    let mut viewers: Vec<Viewer> = (0..10).map(|_| stay(0.0, 60.0, 6.0, Nat::Open)).collect();
    viewers.extend((0..10).map(|at| stay(20.0 + 0.1 * f64::from(at), 60.0, 6.0, Nat::Open)));
    let newcomers = Newcomers { startup_s: 3.0, idle_s: 2.0 };
    let curve = crowd::curve(&viewers, newcomers, 0.0, 60.0, 1.0);
    assert_eq!(curve.len(), 60);
    // While settled, a single copy.
    close(curve[10].origin_mbps, 5.0);
    close(curve[40].origin_mbps, 5.0);
    // At 20 s: 10 + 5.5 viewers on average, ten buffers of 3 s, the uploads of the first ten.
    close(curve[20].origin_mbps, 15.5 * 5.0 + 10.0 * 15.0 - 60.0);
    // Then the newcomers only take.
    close(curve[21].origin_mbps, 20.0 * 5.0 - 60.0);
    assert_eq!(crowd::peak(&curve[10..]).unwrap().at_s, 20.0);
    // Two more that reach nobody: what they take comes from the origin, what they have is no help.
    viewers.extend((0..2).map(|_| stay(0.0, 60.0, 6.0, Nat::Blocked)));
    let curve = crowd::curve(&viewers, newcomers, 0.0, 60.0, 1.0);
    close(curve[10].origin_mbps, 5.0 + 10.0);
    close(curve[21].origin_mbps, 20.0 * 5.0 - 60.0 + 10.0);
    close(curve[21].demand_mbps, 22.0 * 5.0);
}

#[test]
fn window_is_exact() {
    // One viewer alone for 10 s, then two for 10 s that could carry all; another rendition beside
    // them with a viewer whose packets are blocked.
    let viewers = [
        stay(0.0, 20.0, 9.0, Nat::Open),
        stay(10.0, 20.0, 9.0, Nat::Open),
        Viewer { rendition: 1, rate_mbps: 2.0, ..stay(5.0, 9.0, 9.0, Nat::Blocked) },
    ];
    let bound = window::over(&viewers, 0.0, 30.0);
    close(bound.demand_mbit, 5.0 * 30.0 + 2.0 * 4.0);
    close(bound.origin_mbit, 5.0 * 20.0 + 2.0 * 4.0);
    close(bound.copies_mbit, bound.origin_mbit);
    close(bound.upload_mbit, 9.0 * 30.0);
    close(window::over(&viewers, 12.0, 16.0).offload_max(), 0.5);
    assert_eq!(window::over(&viewers, 40.0, 50.0).offload_max(), 0.0);
    assert_eq!(window::over(&viewers, 5.0, 5.0).demand_mbit, 0.0);
}

#[test]
fn patience_lets_a_gap_wait() {
    // Upload for everyone, but gone for one second in ten.
    let viewer = |join_s, leave_s, upload| stay(join_s, leave_s, upload, Nat::Open);
    let mut viewers: Vec<Viewer> = (0..10).map(|_| viewer(0.0, 100.0, 0.0)).collect();
    for second in (0..100).step_by(10) {
        viewers.push(viewer(f64::from(second), f64::from(second) + 9.0, 70.0));
    }
    let bound = |patience_s| {
        patience::over(&viewers, 0.0, 100.0, Slack { patience_s, startup_s: 0.0 }).origin_mbit
    };
    close(bound(0.0), 500.0 + 10.0 * 45.0);
    // Of each gap, the first half expires within it, but for what the one copy serves; the second
    // half reaches the next uploads, which have room for it.
    close(bound(0.5), 500.0 + 10.0 * (25.0 - 5.0));
    close(bound(2.0), 500.0);
}

#[test]
fn startup_buffers_need_no_new_copies() {
    let viewers: Vec<Viewer> =
        (0..8).map(|at| stay(f64::from(at), 80.0, 10.0, Nat::Open)).collect();
    let slack = Slack { startup_s: 6.0, patience_s: 6.0 };
    let (instant, waiting) =
        (window::over(&viewers, 0.0, 80.0), patience::over(&viewers, 0.0, 80.0, slack));
    close(waiting.demand_mbit, instant.demand_mbit + 8.0 * 30.0);
    assert!(waiting.offload_max() > instant.offload_max());
}

#[test]
fn classes_are_named_as_in_scenarios() {
    let names = Nat::ALL.map(|class| serde_json::to_string(&class).unwrap());
    assert_eq!(
        names.join(" ").replace('"', ""),
        "open address_restricted port_restricted symmetric blocked"
    );
    // O A P S B: who reaches how many classes.
    let reached = Nat::ALL.map(|a| Nat::ALL.iter().filter(|b| a.reaches(**b)).count());
    assert_eq!(reached, [4, 4, 3, 2, 0]);
}

/// A large audience that comes and goes: the sizes that a run must be able to ask for.
#[test]
fn large_instances_take_seconds() {
    let viewers: Vec<Viewer> = (0..100_000_u32)
        .map(|at| {
            let join_s = f64::from(at) * 0.01;
            let class = Nat::ALL[at as usize % Nat::COUNT];
            stay(join_s, join_s + 60.0 + f64::from(at % 997), f64::from(at % 11), class)
        })
        .collect();
    let begun = std::time::Instant::now();
    let bound = window::over(&viewers, 0.0, 1200.0);
    let curve = window::curve(&viewers, 0.0, 1200.0, 1.0);
    let sum: f64 = curve.iter().map(|(_, step)| step.origin_mbit).sum();
    close(sum, bound.origin_mbit);
    let waiting = patience::over(&viewers, 0.0, 1200.0, Slack::default());
    assert!(waiting.origin_mbit <= bound.origin_mbit * (1.0 + TOLERANCE));
    eprintln!("100,000 viewers over a window, three ways: {:?}", begun.elapsed());

    let begun = std::time::Instant::now();
    let uploads: Vec<f64> = viewers.iter().map(|viewer| viewer.upload_mbps).collect();
    let seed = Seed { rate_mbps: 1000.0, copies: 1 };
    let uneven: Vec<f64> =
        (0..100_000_u32).map(|at| 0.1 * 1.00005_f64.powf(f64::from(at))).collect();
    for uploads in [&uploads, &uneven] {
        let earliest = earliest_s(0.5, seed, uploads, 0.03);
        let usual = fastest_first_s(0.5, seed, uploads, 0.03);
        assert_eq!((earliest.len(), usual.len()), (100_000, 100_000));
        assert!(earliest.iter().zip(&usual).all(|(a, b)| *a <= b + 1e-12));
        eprintln!("last: {} at the earliest, {} as usual", earliest[99_999], usual[99_999]);
    }
    eprintln!("snowball over 100,000: {:?}", begun.elapsed());

    let begun = std::time::Instant::now();
    let (uploads, classes) = (&uploads[..3000], &viewers[..3000]);
    let mut reach = Reach::new(3000);
    for a in 0..3000 {
        for b in (0..a).filter(|b| classes[a].class.reaches(classes[*b].class)) {
            reach.connect(a, b);
        }
    }
    let least = flow::origin_min_mbps(5.0, uploads, &reach);
    eprintln!("flow over 3,000: {:?}", begun.elapsed());
    let mut sums = Classes::of_nat(5.0);
    classes.iter().for_each(|of| sums.join(of.class.index(), of.upload_mbps));
    assert!(sums.origin_min_mbps() <= least + TOLERANCE);
}

fn class() -> impl Strategy<Value = Nat> {
    (0..Nat::COUNT).prop_map(|index| Nat::ALL[index])
}

fn crowd_of(sizes: std::ops::Range<usize>) -> impl Strategy<Value = Vec<(Nat, f64)>> {
    let upload = prop_oneof![Just(0.0), 0.0..1.0, 0.0..12.0];
    prop::collection::vec((class(), upload), sizes)
}

fn stays(sizes: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Viewer>> {
    let upload = prop_oneof![Just(0.0), 0.0..12.0];
    let one = (0.0..50.0, 0.1..40.0, upload, class(), 0_u16..2).prop_map(
        |(join_s, stay_s, upload_mbps, class, rendition)| Viewer {
            join_s,
            leave_s: join_s + stay_s,
            upload_mbps,
            class,
            rendition,
            rate_mbps: if rendition == 0 { 5.0 } else { 2.0 },
        },
    );
    prop::collection::vec(one, sizes)
}

/// The largest flow by the definition: one augmenting path after the other, by adjacency matrix.
fn plain_flow(uploads: &[f64], rate: f64, can: impl Fn(usize, usize) -> bool) -> f64 {
    let n = uploads.len();
    let (source, sink) = (2 * n, 2 * n + 1);
    let mut room = vec![vec![0.0_f64; 2 * n + 2]; 2 * n + 2];
    for a in 0..n {
        room[source][a] = uploads[a];
        room[n + a][sink] = rate;
        for b in (0..n).filter(|b| can(a, *b)) {
            room[a][n + b] = rate;
        }
    }
    let mut total = 0.0;
    loop {
        let mut from = vec![usize::MAX; 2 * n + 2];
        let mut open = std::collections::VecDeque::from([source]);
        while let Some(at) = open.pop_front() {
            for to in 0..2 * n + 2 {
                if from[to] == usize::MAX && to != source && room[at][to] > 1e-9 {
                    from[to] = at;
                    open.push_back(to);
                }
            }
        }
        if from[sink] == usize::MAX {
            return total;
        }
        let mut path = vec![sink];
        while path[path.len() - 1] != source {
            path.push(from[path[path.len() - 1]]);
        }
        let least = path.windows(2).map(|pair| room[pair[1]][pair[0]]).fold(f64::MAX, f64::min);
        for pair in path.windows(2) {
            room[pair[1]][pair[0]] -= least;
            room[pair[0]][pair[1]] += least;
        }
        total += least;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn more_upload_never_needs_more_origin(
        crowd in crowd_of(1..24), who in any::<prop::sample::Index>(), more in 0.0..9.0,
    ) {
        let before = bounds_of(&crowd, 3.0);
        let mut richer = crowd.clone();
        richer[who.index(crowd.len())].1 += more;
        let after = bounds_of(&richer, 3.0);
        for (before, after) in before.into_iter().zip(after) {
            prop_assert!(after <= before + TOLERANCE, "{after} after {before}");
        }
    }

    #[test]
    fn lumping_never_needs_more_origin(crowd in crowd_of(1..24)) {
        let [complete, classes, flow] = bounds_of(&crowd, 3.0);
        prop_assert!(complete <= classes + TOLERANCE, "complete {complete}, classes {classes}");
        prop_assert!(classes <= flow + TOLERANCE, "classes {classes}, flow {flow}");
    }

    #[test]
    fn flow_is_the_largest(
        uploads in prop::collection::vec(0.0..6.0_f64, 2..12),
        links in prop::collection::vec(any::<bool>(), 144),
    ) {
        let n = uploads.len();
        let mut reach = Reach::new(n);
        // A hub keeps it in one part, so that the bound is the flow's.
        for a in 0..n {
            (0..a).filter(|b| *b == 0 || links[a * 12 + b]).for_each(|b| reach.connect(a, b));
        }
        let flow = plain_flow(&uploads, 3.0, |a, b| reach.connects(a, b));
        let theirs = (n as f64 * 3.0 - flow).max(3.0);
        let ours = flow::origin_min_mbps(3.0, &uploads, &reach);
        prop_assert!((ours - theirs).abs() < 1e-4, "{ours} for {theirs}");
    }

    #[test]
    fn class_cuts_are_the_largest_flow(crowd in crowd_of(2..40)) {
        // Two viewers at least in each class that is there, and one open: a single part, in which
        // a class may send to itself.
        let mut crowd: Vec<(Nat, f64)> = crowd.iter().flat_map(|one| [*one, *one]).collect();
        crowd.retain(|(class, _)| *class != Nat::Blocked);
        crowd.extend([(Nat::Open, 0.5), (Nat::Open, 0.5)]);
        let mut classes = Classes::of_nat(1.0);
        crowd.iter().for_each(|(class, upload)| classes.join(class.index(), *upload));
        let mut sums = [0.0; Nat::COUNT];
        let mut counts = [0.0; Nat::COUNT];
        for (class, upload) in &crowd {
            sums[class.index()] += upload;
            counts[class.index()] += 1.0;
        }
        // A class takes its count: as many unit receivers as it has viewers, one sender.
        let receivers: Vec<usize> = crowd.iter().map(|(class, _)| class.index()).collect();
        let mut uploads = sums.to_vec();
        uploads.resize(Nat::COUNT + receivers.len(), 0.0);
        let flow = plain_flow(&uploads, 1.0, |a, b| {
            a < Nat::COUNT
                && b >= Nat::COUNT
                && Nat::ALL[a].reaches(Nat::ALL[receivers[b - Nat::COUNT]])
        });
        let theirs = (crowd.len() as f64 - flow).max(1.0);
        prop_assert!((classes.origin_min_mbps() - theirs).abs() < 1e-3);
    }

    #[test]
    fn running_equals_batch(crowd in crowd_of(1..40), order in any::<prop::sample::Index>()) {
        let (mut present, mut classes) = (Present::new(3.0), Classes::of_nat(3.0));
        for (class, upload) in &crowd {
            present.join(*upload);
            classes.join(class.index(), *upload);
        }
        // Half of them leave, from a random place on; the rest must look as if alone.
        let mut left = crowd.clone();
        let at = order.index(crowd.len());
        left.rotate_left(at);
        for (class, upload) in left.split_off(left.len() / 2) {
            present.leave(upload);
            classes.leave(class.index(), upload);
        }
        let [complete, of_classes, _] = bounds_of(&left, 3.0);
        prop_assert_eq!(present.viewers(), left.len() as u64);
        prop_assert_eq!(present.origin_min_mbps(), complete);
        prop_assert_eq!(classes.origin_min_mbps(), of_classes);
    }

    #[test]
    fn window_equals_fine_samples(viewers in stays(1..20)) {
        let exact = window::over(&viewers, 10.0, 60.0);
        let steps = 5_000;
        let step_s = 50.0 / f64::from(steps);
        let sampled: f64 = (0..steps).map(|step| {
            let at_s = 10.0 + (f64::from(step) + 0.5) * step_s;
            let now = viewers.iter().filter(|of| of.join_s <= at_s && at_s < of.leave_s);
            let mut classes = [Classes::of_nat(5.0), Classes::of_nat(2.0)];
            now.for_each(|of| classes[of.rendition as usize].join(of.class.index(), of.upload_mbps));
            classes.iter().map(Classes::origin_min_mbps).sum::<f64>() * step_s
        }).sum();
        // Each of up to 40 events is off by half a step of at most 100 Mbit/s.
        prop_assert!((exact.origin_mbit - sampled).abs() < 40.0 * step_s * 50.0 + 1e-6);
    }

    #[test]
    fn slack_only_lowers_the_bound(viewers in stays(1..20), patience_s in 0.0..8.0) {
        let instant = window::over(&viewers, 10.0, 60.0);
        let none = patience::over(&viewers, 10.0, 60.0, Slack::default());
        let some = patience::over(&viewers, 10.0, 60.0, Slack { patience_s, startup_s: 0.0 });
        prop_assert!((none.demand_mbit - instant.demand_mbit).abs() < 1e-6);
        prop_assert!((some.upload_mbit - instant.upload_mbit).abs() < 1e-3);
        prop_assert!(none.origin_mbit <= instant.origin_mbit + 1e-3);
        prop_assert!(some.origin_mbit <= none.origin_mbit + 1e-6);
        prop_assert!(instant.offload_max_of(instant.demand_mbit) + 1e-9 >= instant.offload_max());
    }

    #[test]
    fn open_classes_are_the_complete_graph(uploads in prop::collection::vec(0.0..9.0, 1..40)) {
        let mut classes = Classes::of_nat(3.0);
        uploads.iter().for_each(|upload| classes.join(Nat::Open.index(), *upload));
        let theirs = complete::origin_min_mbps(3.0, &uploads);
        prop_assert_eq!(classes.origin_min_mbps(), theirs);
    }

    #[test]
    fn earliest_is_before_every_order(
        uploads in prop::collection::vec(prop_oneof![Just(0.0), 0.1..9.0_f64], 1..6),
        copies in 1_u64..3, latency_s in 0.0..0.1,
    ) {
        let seed = Seed { rate_mbps: 20.0, copies };
        let earliest = earliest_s(0.2, seed, &uploads, latency_s);
        for order in orders(&uploads) {
            let times = in_order_s(0.2, seed, &order, latency_s);
            prop_assert!(earliest.len() >= times.len());
            for (bound, time) in earliest.iter().zip(times) {
                prop_assert!(*bound <= time + 1e-9, "{bound} {time}");
            }
        }
    }

    #[test]
    fn earliest_is_the_usual_for_equal_uploads(
        viewers in 1_usize..200, upload in 0.1..9.0, copies in 1_u64..4, latency_s in 0.0..0.1,
    ) {
        let seed = Seed { rate_mbps: 20.0, copies };
        let uploads = vec![upload; viewers];
        prop_assert_eq!(
            earliest_s(0.2, seed, &uploads, latency_s),
            fastest_first_s(0.2, seed, &uploads, latency_s)
        );
    }

    #[test]
    fn burst_bound_is_below_a_schedule(
        uploads in prop::collection::vec(0.5..9.0_f64, 2..12), chunks in 1_u64..9,
    ) {
        let seed = Seed { rate_mbps: 50.0, copies: 1 };
        let burst = Burst { chunk_mbit: 0.2, chunks, seed, upload_mbps: &uploads, latency_s: 0.02 };
        let reached = relay_s(&burst);
        prop_assert!(burst.bound_s(1.0) <= reached + 1e-9, "{} {reached}", burst.bound_s(1.0));
        prop_assert!(burst.bound_s(0.5) <= burst.bound_s(1.0) + 1e-9);
        prop_assert!(burst.bound_s(1.0) <= burst.serial_estimate_s() + 1e-9);
    }
}

/// Least origin egress of a crowd: everyone reaching everyone, by classes, by single viewers.
fn bounds_of(crowd: &[(Nat, f64)], rate: f64) -> [f64; 3] {
    let uploads: Vec<f64> = crowd.iter().map(|(_, upload)| *upload).collect();
    let mut classes = Classes::of_nat(rate);
    let mut reach = Reach::new(crowd.len());
    for (at, (class, upload)) in crowd.iter().enumerate() {
        classes.join(class.index(), *upload);
        let earlier = crowd[..at].iter().enumerate();
        earlier.filter(|(_, other)| class.reaches(other.0)).for_each(|(b, _)| reach.connect(at, b));
    }
    let complete = complete::origin_min_mbps(rate, &uploads);
    [complete, classes.origin_min_mbps(), flow::origin_min_mbps(rate, &uploads, &reach)]
}
