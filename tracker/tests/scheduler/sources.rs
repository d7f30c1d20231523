//! On demand and behind the live edge: who is named to whom.

use crate::world::{VIDEO, World, capped, profile};
use shoal_tracker::{Config, Input, Mapping, Profile};
use shoal_wire::tracker_message::{AHEAD_MAX, LinkState, MsnRun, Source};
use shoal_wire::{Epoch, PeerId, ShareMode};
use std::collections::BTreeMap;
use std::time::Duration;

const TITLE_SEGMENTS: u64 = 200;

/// A finished title that nobody watches yet.
fn title() -> World {
    let mut world = World::new(1);
    for _ in 0..TITLE_SEGMENTS {
        world.publish();
    }
    world.handle(Input::OnDemand { rendition: VIDEO });
    world
}

fn watch(world: &mut World, id: u64, profile: Profile, msn: u64) {
    let peer = PeerId(id);
    world.handle(Input::Join { peer, profile, edges: Vec::new(), neighbours: Vec::new() });
    world.handle(Input::Watch { peer, rendition: VIDEO, msn });
}

/// A viewer that lacks `msn` and holds `held`, as first and count.
fn stands(world: &mut World, id: u64, msn: u64, held: &[(u64, u32)]) {
    let held = held.iter().map(|&(first, count)| MsnRun { first, count }).collect();
    let (peer, epoch) = (PeerId(id), Epoch(1));
    world.handle(Input::Position { peer, rendition: VIDEO, epoch, msn, ahead: 15, held });
}

fn sources(world: &World, id: u64) -> &[Source] {
    &world.sources[&(PeerId(id), VIDEO)]
}

fn named(world: &World, id: u64) -> Vec<u64> {
    let mut named: Vec<_> = sources(world, id).iter().map(|source| source.peer.0).collect();
    named.sort_unstable();
    named
}

#[test]
fn every_segment_of_the_window_has_sources_that_hold_it() {
    let mut world = title();
    for id in 1..=60 {
        let msn = id * 3;
        watch(&mut world, id, profile(), msn);
        stands(&mut world, id, msn, &[(msn.saturating_sub(20), 20)]);
    }
    for id in 1..=60 {
        let msn = id * 3;
        stands(&mut world, id, msn, &[(msn.saturating_sub(20), 20)]);
        let told = sources(&world, id);
        for segment in msn..msn + 15 {
            let holds = |other: &u64| {
                let first = (other * 3).saturating_sub(20);
                (first..first + 20).contains(&segment)
            };
            let holders = (1..=60).filter(|other| *other != id && holds(other)).count();
            let has = |source: &&Source| {
                source.runs.iter().any(|run| (run.first..run.end()).contains(&segment))
            };
            let given: Vec<u64> = told.iter().filter(has).map(|source| source.peer.0).collect();
            assert!(given.iter().all(holds), "{id} is sent to {given:?} for {segment}");
            assert!(given.len() >= holders.min(2), "{id} has {given:?} of {holders} for {segment}");
        }
        assert!(told.len() <= usize::from(Config::default().sources_max));
    }
}

#[test]
fn load_is_spread_by_what_uplinks_can_give() {
    let mut world = title();
    for id in 1..=12 {
        let bps = if id <= 6 { 9_000_000 } else { 3_000_000 };
        watch(&mut world, id, capped(bps), 100);
        stands(&mut world, id, 100, &[(0, 100)]);
    }
    for id in 101..=120 {
        watch(&mut world, id, capped(100_000), 10);
        stands(&mut world, id, 10, &[]);
    }
    let mut served: BTreeMap<u64, usize> = (1..=12).map(|id| (id, 0)).collect();
    for id in 101..=120 {
        for source in named(&world, id) {
            *served.get_mut(&source).expect("only these hold anything") += 1;
        }
    }
    let of = |ids: std::ops::RangeInclusive<u64>| ids.map(|id| served[&id]).collect::<Vec<_>>();
    let (strong, weak) = (of(1..=6), of(7..=12));
    assert_eq!(strong.iter().chain(&weak).sum::<usize>(), 3 * 20);
    assert!(strong.iter().min() >= weak.iter().max(), "{strong:?} {weak:?}");
    assert!(weak.iter().all(|count| *count > 0), "{strong:?} {weak:?}");
}

#[test]
fn whoever_cannot_give_is_not_named() {
    let mut world = title();
    let (receives, off) = (ShareMode::ReceiveOnly, ShareMode::Off);
    let symmetric = Profile { mapping: Mapping::Symmetric, ..profile() };
    let holders = [
        Profile { share: receives, ..profile() },
        Profile { share: off, ..profile() },
        symmetric.clone(),
        profile(),
    ];
    for (id, holder) in (1..).zip(holders) {
        watch(&mut world, id, holder, 50);
        stands(&mut world, id, 50, &[(0, 50)]);
    }
    watch(&mut world, 9, symmetric, 10);
    stands(&mut world, 9, 10, &[]);
    assert_eq!(named(&world, 9), [4]);
}

#[test]
fn a_source_that_goes_is_replaced_at_once() {
    let mut world = title();
    for id in 1..=8 {
        watch(&mut world, id, profile(), 100);
        stands(&mut world, id, 100, &[(0, 100)]);
    }
    watch(&mut world, 20, profile(), 10);
    stands(&mut world, 20, 10, &[]);
    let first = named(&world, 20);
    assert_eq!(first.len(), 3);
    world.leave(first[0]);
    let second = named(&world, 20);
    assert!(second.len() == 3 && !second.contains(&first[0]), "{first:?} {second:?}");
    let (peer, other) = (PeerId(20), PeerId(second[1]));
    world.handle(Input::Link { peer, other, state: LinkState::Failed, rtt: None });
    let third = named(&world, 20);
    assert!(third.len() == 3 && !third.contains(&second[1]), "{second:?} {third:?}");
    stands(&mut world, third[2], 150, &[(120, 30)]);
    stands(&mut world, 20, 10, &[]);
    assert!(!named(&world, 20).contains(&third[2]), "it has nothing of the window any more");
}

#[test]
fn existing_links_stay_while_they_serve() {
    let mut world = title();
    for id in 1..=30 {
        watch(&mut world, id, profile(), 100);
        stands(&mut world, id, 100, &[(0, 100)]);
    }
    watch(&mut world, 40, profile(), 10);
    stands(&mut world, 40, 10, &[]);
    let first = named(&world, 40);
    world.run(Duration::from_secs(2));
    for msn in 11..60 {
        stands(&mut world, 40, msn, &[]);
        assert_eq!(named(&world, 40), first, "at segment {msn}");
    }
}

#[test]
fn a_viewer_behind_the_live_edge_leaves_the_trees_and_comes_back() {
    let mut world = World::new(1);
    for _ in 0..100 {
        world.publish();
    }
    for id in 1..=6 {
        watch(&mut world, id, profile(), 98);
    }
    watch(&mut world, 7, profile(), 20);
    let members = |world: &World| world.tracker.view().swarms[0].members;
    assert_eq!((members(&world), sources(&world, 7).len()), (6, 0));
    stands(&mut world, 7, 30, &[(20, 10)]);
    watch(&mut world, 8, profile(), 22);
    stands(&mut world, 8, 22, &[]);
    assert_eq!(named(&world, 8), [7]);
    // Somebody in the trees goes back, and somebody else is not far enough behind.
    stands(&mut world, 3, 25, &[(95, 3)]);
    stands(&mut world, 4, 75, &[(90, 8)]);
    assert_eq!((members(&world), named(&world, 3)), (5, vec![7]));
    assert!(!world.sources.contains_key(&(PeerId(4), VIDEO)));
    // A seek to the live edge.
    world.sources.clear();
    stands(&mut world, 7, 99, &[(20, 10)]);
    assert_eq!(members(&world), 6);
    // What the others are told is that one of them will have what the other needs.
    assert_eq!((named(&world, 3), named(&world, 8)), (vec![], vec![3]));
    assert!(sources(&world, 8)[0].runs.is_empty(), "{:?}", world.sources);
}

#[test]
fn whatever_is_said_is_bounded() {
    let mut world = title();
    watch(&mut world, 1, profile(), 5);
    watch(&mut world, 2, profile(), 5);
    let held = vec![MsnRun { first: 0, count: u32::MAX }; 10_000];
    let (peer, epoch) = (PeerId(1), Epoch(1));
    let (rendition, msn) = (VIDEO, u64::MAX);
    world.handle(Input::Position { peer, rendition, epoch, msn, ahead: u8::MAX, held });
    let before = world.tracker.memory_bytes();
    let held = Vec::new();
    world.handle(Input::Position {
        peer: PeerId(2),
        rendition,
        epoch,
        msn: 0,
        ahead: u8::MAX,
        held,
    });
    let [source] = sources(&world, 2) else { panic!("{:?}", world.sources) };
    assert_eq!(source.runs, [MsnRun { first: 0, count: AHEAD_MAX.into() }]);
    for id in 3..200 {
        watch(&mut world, id, profile(), 5);
        stands(&mut world, id, 5, &[(0, u32::MAX)]);
        world.leave(id);
    }
    let after = world.tracker.memory_bytes();
    assert!(after < before + 100_000, "{before} {after}");
}
