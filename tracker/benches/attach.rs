//! What a join and a leave cost the tracker: one operation is a whole Join with Watch, or a whole
//! Leave, in all 8 substreams, with its outputs taken.
//!
//! The swarm stands already, all links are open, uplinks are mixed (3 to 50 Mbit/s for a stream of
//! 2 Mbit/s), 12 % only receive. Before each size it prints bytes per peer, by the tracker's own
//! count and by the growth of the resident set (Linux), percentiles over single operations, and
//! what a round of rebalancing takes.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use shoal_tracker::{Config, Input, Mapping, Output, Place, Profile, Published, Tracker};
use shoal_wire::tracker_message::{LinkState, Report};
use shoal_wire::{BitRate, ByteSize, Epoch, Instant, ObjectId, PeerId, RenditionId, ShareMode};
use std::hint::black_box;
use std::time::Duration;

const VIDEO: RenditionId = RenditionId(0);

/// Uplinks of the newcomers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Uplinks {
    /// 3 to 50 Mbit/s, 12 % only receive.
    Mixed,
    /// One and a half times the stream's rate.
    Equal,
}

struct World {
    uplinks: Uplinks,
    tracker: Tracker,
    now: Instant,
    introduced: Vec<(PeerId, PeerId)>,
    /// Those that are there, for a leaver to be picked.
    peers: Vec<u64>,
    next: u64,
    random: u64,
}

impl World {
    /// A swarm whose viewers all come at the same moment.
    fn new(uplinks: Uplinks, count: u64) -> Self {
        let mut world = Self {
            uplinks,
            tracker: Tracker::new(Config::default(), named("SEED").unwrap_or(1)),
            now: Instant::from_micros(1_000_000),
            introduced: Vec::new(),
            peers: Vec::new(),
            next: 1,
            random: 88_172_645_463_325_252,
        };
        world.give(Input::Published(Published {
            object: ObjectId::segment(VIDEO, Epoch(1), 1),
            size: ByteSize::from_bytes(500_000),
            duration: Duration::from_secs(2),
            chunk_size: 16 * 1024,
            substreams: 8,
        }));
        for _ in 0..count {
            world.join();
            world.open_links();
        }
        world
    }

    fn dice(&mut self, end: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % end
    }

    fn give(&mut self, input: Input) {
        self.tracker.handle(input, self.now);
        while let Some(output) = self.tracker.poll_output() {
            if let Output::Introduce { offerer, answerer } = output {
                self.introduced.push((offerer, answerer));
            }
            black_box(&output);
        }
    }

    /// Time passes: a hundred events a second, and a tick when it is due.
    fn step(&mut self) {
        self.now += Duration::from_millis(10);
        if self.tracker.poll_timeout().is_some_and(|due| due <= self.now) {
            self.give(Input::Tick);
        }
    }

    fn tick(&mut self) -> Duration {
        self.now += Duration::from_secs(1);
        let start = std::time::Instant::now();
        self.give(Input::Tick);
        let took = start.elapsed();
        self.open_links();
        took
    }

    fn open_links(&mut self) {
        for (peer, other) in std::mem::take(&mut self.introduced) {
            let rtt = Some(Duration::from_millis(10 + self.dice(80)));
            self.give(Input::Link { peer, other, state: LinkState::Up, rtt });
        }
    }

    /// Returns the time that Join and Watch took; the upload is learned afterwards.
    fn join(&mut self) -> Duration {
        let mixed = [3, 5, 10, 10, 15, 20, 30, 50][usize::try_from(self.dice(8)).expect("small")];
        let (upload, receives) = match self.uplinks {
            Uplinks::Mixed => (mixed, self.dice(8) == 0),
            Uplinks::Equal => (3, false),
        };
        let place = Place {
            subnet: u32::try_from(1 + self.dice(50_000)).expect("small"),
            asn: u32::try_from(1 + self.dice(40)).expect("small"),
            country: u16::try_from(1 + self.dice(12)).expect("small"),
        };
        let profile = Profile {
            share: if receives { ShareMode::ReceiveOnly } else { ShareMode::Share },
            upload_cap: Some(BitRate::from_bps(upload * 1_000_000)),
            links_max: 32,
            place,
            mapping: Mapping::Unknown,
        };
        let id = self.next;
        self.next += 1;
        self.peers.push(id);
        let peer = PeerId(id.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let start = std::time::Instant::now();
        self.give(Input::Join { peer, profile, edges: Vec::new(), neighbours: Vec::new() });
        self.give(Input::Watch { peer, rendition: VIDEO, msn: u64::MAX });
        let took = start.elapsed();
        let upload = BitRate::from_bps(upload * 1_000_000);
        self.give(Input::Report { peer, report: Report { upload, ..Report::default() } });
        took
    }

    fn leave(&mut self) -> Duration {
        let count = self.peers.len() as u64;
        let at = usize::try_from(self.dice(count)).expect("small");
        let id = self.peers.swap_remove(at);
        let peer = PeerId(id.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let start = std::time::Instant::now();
        self.give(Input::Leave { peer });
        start.elapsed()
    }
}

/// Bytes of this process in memory, from the kernel.
fn resident_bytes() -> Option<usize> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: usize = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * 4_096)
}

/// Prints what the trees are like.
fn print_trees(world: &World, when: &str) {
    let links = world.tracker.view().links as f64 * 2.0 / world.peers.len() as f64;
    let view = world.tracker.view().swarms[0].clone();
    let (p50, p99) = (view.arrival_ms_p50, view.arrival_ms_p99);
    let roots: u32 = view.roots.iter().sum();
    println!(
        "  {:?} {when}: depth {}, arrival p50 {p50} p99 {p99} max {} ms, estimates off by {} ms, \
         roots {roots}, {links:.1} links per peer, resource index {}, {} moves by rebalancing",
        world.uplinks,
        view.depth_max,
        view.arrival_ms_max,
        view.estimate_off_ms_p99,
        view.resource_index,
        world.tracker.counts().rebalanced,
    );
}

/// Builds a swarm at once and lets it settle; says how its trees are before and after.
fn build(uplinks: Uplinks, count: u64) -> World {
    let start = std::time::Instant::now();
    let mut world = World::new(uplinks, count);
    println!("  {uplinks:?} built in {:.2} s", start.elapsed().as_secs_f64());
    print_trees(&world, "at once");
    let mut ticks: Vec<_> = (0..60).map(|_| world.tick()).collect();
    print_trees(&world, "60 ticks later");
    ticks.sort_unstable();
    println!("  tick: p50 {:?} max {:?}", ticks[30], ticks[59]);
    world
}

fn describe(world: &mut World, count: u64, before: Option<usize>) {
    let people = usize::try_from(count).expect("small");
    let counted = world.tracker.memory_bytes() / people;
    let resident = resident_bytes().zip(before).map(|(now, then)| (now - then.min(now)) / people);
    if let Some(resident) = resident {
        println!("  {counted} bytes per peer counted, {resident} resident");
    }
    let (mut joins, mut leaves) = (Vec::new(), Vec::new());
    let (mut ticks, mut changes) = (0, 0);
    for _ in 0..20_000 {
        world.step();
        let start = world.tracker.counts().plan_changes;
        leaves.push(world.leave());
        world.open_links();
        joins.push(world.join());
        changes += world.tracker.counts().plan_changes - start;
        world.open_links();
        ticks += 1;
    }
    let spent: Duration = joins.iter().chain(&leaves).sum();
    // What a leaver's own eight detachments are comes on top of the changes that are told.
    let operations = changes + 8 * ticks;
    println!(
        "  attach or detach: {:.0} per second, {:.1} per join and leave",
        operations as f64 / spent.as_secs_f64(),
        operations as f64 / ticks as f64,
    );
    for (name, times) in [("join", &mut joins), ("leave", &mut leaves)] {
        times.sort_unstable();
        let at = |permille: usize| times[times.len() * permille / 1_000];
        let last = times[times.len() - 1];
        println!("  {name}: p50 {:?} p99 {:?} p99.9 {:?} max {last:?}", at(500), at(990), at(999));
    }
    print_trees(world, "after 20,000 leaves and joins");
}

/// A number that the environment names.
fn named(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

/// Sizes to measure: all, or the one that `PEERS` names.
fn sizes() -> Vec<u64> {
    named("PEERS").map_or_else(|| vec![1_000, 10_000, 100_000], |count| vec![count])
}

fn attach_and_detach(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tracker");
    group.sample_size(20);
    for count in sizes() {
        println!("{count} peers:");
        describe(&mut build(Uplinks::Equal, count), count, None);
        let before = resident_bytes();
        let mut world = build(Uplinks::Mixed, count);
        describe(&mut world, count, before);
        group.bench_function(BenchmarkId::new("join", count), |bencher| {
            bencher.iter_custom(|times| {
                let mut took = Duration::ZERO;
                for _ in 0..times {
                    world.step();
                    world.leave();
                    world.open_links();
                    took += world.join();
                    world.open_links();
                }
                took
            });
        });
        group.bench_function(BenchmarkId::new("leave", count), |bencher| {
            bencher.iter_custom(|times| {
                let mut took = Duration::ZERO;
                for _ in 0..times {
                    world.step();
                    took += world.leave();
                    world.open_links();
                    world.join();
                    world.open_links();
                }
                took
            });
        });
    }
    group.finish();
}

criterion_group!(benches, attach_and_detach);
criterion_main!(benches);
