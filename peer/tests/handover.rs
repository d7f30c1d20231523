//! What a viewer gets when it comes, when its parent goes, and when another one takes over.

mod world;

use shoal_peer::{Config, Input};
use shoal_wire::peer_message::Holding;
use shoal_wire::{BitRate, PeerMessage, Substream};
use std::time::Duration;
use world::{World, object, peer_id, seconds};

/// K of the world's segments: 300,000 bytes are 19 chunks, which make six runs.
const K: usize = 6;

/// Viewer 0 has played for 9 s, as a root, and has links to the others, which do not play yet.
fn world_of_a_root(viewers: usize, config: &Config) -> World {
    let mut world = World::new(viewers, config);
    world.publish(0, 60);
    world.run_for(seconds(1));
    world.play(0, 0);
    world.plan(0, 1, &[None; K]);
    world.roots.insert(0);
    for other in 1..viewers {
        world.introduce(0, other);
    }
    world.run_for(seconds(8));
    world
}

/// Viewer 0 plays and has everything; viewer 1 begins `behind` segments before the newest one, and
/// hears of all of them.
fn world_of_a_newcomer(behind: u64) -> World {
    let mut world = world_of_a_root(2, &Config::default());
    world.run_for(seconds(22));
    world.origin_down = true;
    let newest = world.newest();
    world.play(1, newest - behind);
    world.run_for(Duration::from_millis(20));
    for msn in newest - behind..=newest {
        world.send_digest(1, msn);
    }
    world
}

#[test]
fn parents_are_asked_for_no_more_than_a_player_was_behind_at_first() {
    for behind in [1, 6] {
        // Of the first segment all is asked of the origin: its digest was not known.
        let mut world = world_of_a_newcomer(behind + 1);
        let newest = world.newest();
        let before = world.log.len();
        world.plan(1, 1, &[Some(0); K]);
        assert_eq!(world.named(before, 1, " Subscribe {"), [newest - behind; K], "{behind}");

        world.run_for(seconds(2));
        world.input(1, Input::LinkDown { peer: peer_id(0) });
        world.input(0, Input::LinkDown { peer: peer_id(1) });
        world.run_for(seconds(18));
        let newest = world.newest();
        for msn in newest - 9..=newest {
            world.send_digest(1, msn);
        }
        let before = world.log.len();
        world.introduce(0, 1);
        world.run_for(Duration::from_millis(10));
        world.plan(1, 2, &[Some(0); K]);
        world.run_for(seconds(1));
        let from = newest - behind.max(3);
        assert_eq!(world.named(before, 1, " Subscribe {"), [from; K], "{behind}, after a gap");
    }
}

#[test]
fn while_the_origin_fails_neighbours_that_refused_are_asked_again() {
    let mut world = world_of_a_newcomer(2);
    let newest = world.newest();
    let before = world.log.len();
    world.run_for(seconds(3));
    assert!(!world.named(before, 0, " Refuse {").is_empty(), "it has no time for all at once");
    assert!(world.viewers[1].played.contains_key(&(newest - 2)), "it came all the same");
}

/// A neighbour that says nothing else, with `weight` peers below it, subscribes to what `who` has
/// from `from` on.
fn subscribe(world: &mut World, who: usize, child: usize, from: u64, weight: u16) {
    world.viewers[child].alive = false;
    for substream in (0..6).map(Substream) {
        let message = PeerMessage::Subscribe { substream, from: object(from), weight, turn: 1 };
        world.receive(who, peer_id(child), message.encode());
    }
}

#[test]
fn a_new_child_with_others_below_it_gets_the_newest_segment_before_the_leaves() {
    for (weight, comes_first) in [(20, true), (0, false)] {
        let config = Config { upload_cap: Some(BitRate::from_bps(4_000_000)), ..Config::default() };
        let mut world = world_of_a_root(3, &config);
        let newest = world.newest();
        subscribe(&mut world, 0, 1, newest, 1);
        world.run_for(Duration::from_millis(1_900));
        assert_eq!(world.newest(), newest + 1);
        let before = world.log.len();
        subscribe(&mut world, 0, 2, newest + 1, weight);
        world.run_for(Duration::from_millis(300));
        let chunks = |child: usize| {
            let to = format!("peer: {}, message: Chunk", peer_id(child));
            world.log[before..].iter().filter(|line| line.contains(&to)).count()
        };
        assert_eq!(chunks(2) > 3, comes_first, "{} and {} chunks", chunks(1), chunks(2));
    }
}

#[test]
fn an_orphan_with_many_below_it_asks_the_origin_soon() {
    for (weight, asks) in [(20, true), (1, false)] {
        let mut world = world_of_a_root(3, &Config::default());
        let first = world.newest() - 1;
        world.play(1, first);
        world.run_for(Duration::from_millis(20));
        for msn in first..=first + 1 {
            world.send_digest(1, msn);
        }
        world.introduce(1, 2);
        world.plan(1, 1, &[Some(0); K]);
        world.roots.insert(1);
        world.run_for(seconds(4));
        let newest = world.newest();
        subscribe(&mut world, 1, 2, newest + 1, weight);
        world.input(1, Input::LinkDown { peer: peer_id(0) });
        let before = world.log.len();
        for _ in 0..20 {
            if world.newest() == newest {
                world.run_for(Duration::from_millis(100));
            }
        }
        assert_eq!(world.newest(), newest + 1);
        world.run_for(Duration::from_millis(400));
        let asked = world.named(before, 1, "OriginFetch").contains(&(newest + 1));
        assert_eq!(asked, asks, "with {weight} below it");
    }
}

#[test]
fn the_end_of_a_run_is_said_again_to_whoever_may_lack_some_of_it() {
    for (has_all, said) in [(true, 1), (false, 3)] {
        let mut world = world_of_a_root(2, &Config::default());
        world.viewers[1].alive = false;
        let from = object(world.newest() + 1);
        let substream = Substream(0);
        let message = PeerMessage::Subscribe { substream, from, weight: 0, turn: 1 };
        world.receive(0, peer_id(1), message.encode());
        let before = world.log.len();
        let ends = |world: &World| {
            world.log[before..].iter().filter(|line| line.contains(" End {")).count()
        };
        for _ in 0..3_000 {
            if ends(&world) == 0 {
                world.run_for(Duration::from_millis(1));
            }
        }
        assert_eq!(ends(&world), 1);
        if has_all {
            let holding = Holding::Complete;
            let message = PeerMessage::Have { object: from, holding };
            world.receive(0, peer_id(1), message.encode());
        }
        world.run_for(Duration::from_millis(500));
        assert_eq!(ends(&world), said, "it has all: {has_all}");
    }
}
