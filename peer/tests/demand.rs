//! On demand: several neighbours at once, those that lack it, seeks, and the way to the trees.

mod world;

use shoal_peer::{Config, Parent};
use shoal_wire::ClientMessage;
use std::time::Duration;
use world::{SEGMENT_BYTES, World, peer_id};

/// Segments of the title.
const COUNT: u64 = 16;

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Viewers of a title of which the first `holders` have played all.
fn title_world(viewers: usize, holders: usize) -> World {
    let mut world = World::new(viewers, &Config::default());
    world.publish_title(COUNT);
    for who in 0..holders {
        world.play(who, 0);
        world.run_for(millis(50));
        world.name_sources(who, &[], 0, 0);
        world.run_for(Duration::from_secs(40));
        world.assert_played(who, 0, COUNT - 1);
    }
    world
}

/// What a viewer took from the origin, in segments, rounded up.
fn origin_segments(world: &World, who: usize) -> u64 {
    let totals = world.viewers[who].engine.status(world.now).totals;
    totals.from_origin.as_bytes().div_ceil(SEGMENT_BYTES as u64)
}

fn received(world: &World, who: usize, from: usize) -> u64 {
    let neighbours = world.viewers[who].engine.status(world.now).neighbours;
    let known = neighbours.iter().find(|n| n.peer == peer_id(from));
    known.map_or(0, |n| n.received.as_bytes())
}

#[test]
fn a_viewer_pulls_from_two_at_once() {
    let mut world = title_world(3, 2);
    world.introduce(2, 0);
    world.introduce(2, 1);
    world.play(2, 0);
    world.run_for(millis(50));
    world.name_sources(2, &[0, 1], 0, COUNT);
    world.run_for(Duration::from_secs(40));
    world.assert_played(2, 0, COUNT - 1);
    assert!(origin_segments(&world, 2) <= 2, "{} segments", origin_segments(&world, 2));
    let half = COUNT * SEGMENT_BYTES as u64 / 2;
    for source in [0, 1] {
        let got = received(&world, 2, source);
        assert!((half * 2 / 3..half * 4 / 3).contains(&got), "{got} bytes from {source}");
    }
    let wasted = world.viewers[2].engine.status(world.now).totals.wasted.as_bytes();
    assert_eq!(wasted, 0);
}

#[test]
fn a_source_that_lacks_it_refuses_and_is_passed_by() {
    let mut world = title_world(3, 1);
    world.introduce(2, 0);
    world.introduce(2, 1);
    world.play(2, 0);
    world.run_for(millis(50));
    world.name_sources(2, &[0, 1], 0, COUNT);
    world.run_for(Duration::from_secs(40));
    world.assert_played(2, 0, COUNT - 1);
    assert_eq!(received(&world, 2, 1), 0);
    assert!(origin_segments(&world, 2) <= 2, "{} segments", origin_segments(&world, 2));
}

#[test]
fn a_source_that_goes_silent_costs_no_stall() {
    let mut world = title_world(3, 2);
    world.introduce(2, 0);
    world.introduce(2, 1);
    world.play(2, 0);
    world.run_for(millis(50));
    world.name_sources(2, &[0, 1], 0, COUNT);
    world.run_for(millis(500));
    world.kill(1, Duration::from_secs(60));
    world.run_for(Duration::from_secs(40));
    world.assert_played(2, 0, COUNT - 1);
}

#[test]
fn a_seek_is_told_at_once_and_answered_from_the_origin() {
    let mut world = title_world(2, 1);
    world.introduce(1, 0);
    world.play(1, 10);
    world.run_for(millis(50));
    world.name_sources(1, &[0], 10, COUNT);
    world.run_for(Duration::from_secs(10));
    world.viewers[1].to_server.clear();
    world.seek(1, 2);
    world.run_for(millis(1));
    let told = |message: &ClientMessage| matches!(message, ClientMessage::Position { msn: 2, held, .. } if held[0].first == 10);
    let messages = &world.viewers[1].to_server;
    assert!(messages.iter().any(told), "{messages:?}");
    world.run_for(millis(50));
    world.name_sources(1, &[0], 2, COUNT);
    world.run_for(Duration::from_secs(20));
    world.assert_played(1, 2, COUNT - 1);
    // The first of each, and perhaps one more while the link opened.
    assert!(origin_segments(&world, 1) <= 3, "{} segments", origin_segments(&world, 1));
}

#[test]
fn nothing_is_asked_of_the_origin_that_no_player_asked_for() {
    let mut world = title_world(1, 0);
    world.play(0, 0);
    world.viewers[0].next_msn = None;
    world.run_for(millis(50));
    world.name_sources(0, &[], 0, 0);
    world.run_for(Duration::from_secs(20));
    assert_eq!(origin_segments(&world, 0), 1);
}

#[test]
fn sources_end_the_trees_and_a_plan_begins_them() {
    let mut world = title_world(2, 1);
    world.introduce(1, 0);
    world.play(1, 0);
    world.run_for(millis(50));
    world.name_sources(1, &[0], 0, COUNT);
    world.run_for(Duration::from_secs(1));
    let parents = |world: &World| -> Vec<Parent> {
        let substreams = world.viewers[1].engine.status(world.now).substreams;
        substreams.iter().map(|substream| substream.parent).collect()
    };
    assert_eq!(parents(&world), []);
    world.plan(1, 1, &[Some(0), Some(0)]);
    world.run_for(millis(100));
    assert_eq!(parents(&world), [Parent::Peer(peer_id(0)); 2]);
    world.name_sources(1, &[0], 0, COUNT);
    assert_eq!(parents(&world), []);
}
