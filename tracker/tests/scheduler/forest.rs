//! The operator's look at the trees: complete where there is room, bounded where there is not.

use crate::world::{K, VIDEO, World, profile};
use shoal_tracker::Forest;
use shoal_wire::RenditionId;
use std::time::Duration;

fn world(peers: u64) -> World {
    let mut world = World::new(1);
    world.publish();
    for id in 1..=peers {
        world.join(id, profile());
    }
    world.run(Duration::from_secs(10));
    world
}

fn check(forest: &Forest, world: &World) {
    for tree in &forest.trees {
        for (at, node) in (0_u32..).zip(&tree.nodes) {
            assert!(node.parent.is_none_or(|parent| parent < at), "parents come first");
            let parent = node.parent.map(|parent| tree.nodes[parent as usize].peer);
            assert_eq!(world.tracker.parent(node.peer, VIDEO, tree.substream), Some(parent));
        }
    }
    assert_eq!(forest.depths.iter().sum::<u32>(), forest.visited);
    assert_eq!(forest.fan_out.iter().sum::<u32>(), forest.visited);
}

#[test]
fn a_small_swarm_is_shown_whole() {
    let world = world(20);
    let forest = world.tracker.forest(VIDEO, 10_000, 500).unwrap();
    assert!(forest.is_whole && forest.trees.iter().all(|tree| tree.is_whole));
    assert_eq!((forest.trees.len(), forest.visited), (usize::from(K), 20 * u32::from(K)));
    assert!(forest.trees.iter().all(|tree| tree.nodes.len() == 20));
    let roots: u32 = world.tracker.view().swarms[0].roots.iter().sum();
    assert_eq!(forest.depths[0], roots);
    check(&forest, &world);
    assert_eq!(world.tracker.forest(RenditionId(9), 10, 10), None);
}

#[test]
fn of_a_large_one_the_top_is_shown_and_said_so() {
    let world = world(120);
    let forest = world.tracker.forest(VIDEO, 400, 30).unwrap();
    assert!(!forest.is_whole);
    assert_eq!(forest.visited, 400);
    let [tree] = &forest.trees[..] else { panic!("one tree is drawn") };
    assert!(!tree.is_whole);
    assert_eq!(tree.nodes.len(), 30);
    check(&forest, &world);
}

#[test]
fn supply_is_what_the_view_says() {
    let world = world(5);
    let [supply] = world.tracker.supplies().collect::<Vec<_>>()[..] else { panic!("one") };
    let view = &world.tracker.view().swarms[0];
    assert_eq!((supply.rendition, supply.members), (VIDEO, 5));
    assert_eq!((supply.rate, supply.resource_index), (view.rate, view.resource_index));
}
