//! What happens, and what the tracker then says: one story per test.

use crate::world::{K, VIDEO, World, profile};
use shoal_tracker::{Config, Input, Mapping, Output, Place, Profile};
use shoal_wire::tracker_message::{Edge, LinkState, LostReason, Report};
use shoal_wire::{BitRate, PeerId, RenditionId, ShareMode, Substream};
use std::time::Duration;

fn peers(count: u64) -> World {
    let mut world = World::new(1);
    world.publish();
    for id in 1..=count {
        world.join(id, profile());
    }
    world.run(Duration::from_secs(30));
    world
}

fn parent(world: &World, id: u64, k: u8) -> Option<u64> {
    let parent = world.tracker.parent(PeerId(id), VIDEO, Substream(k));
    parent.expect("it is planned").map(|peer| peer.0)
}

/// A child and its parent in some substream.
fn an_edge(world: &World) -> (PeerId, PeerId, Substream) {
    let mut edges = world.parents.iter();
    let found = edges.find_map(|(&(child, _, k), parent)| Some((child, (*parent)?, Substream(k))));
    found.expect("there are edges")
}

#[test]
fn the_first_viewer_is_the_root_of_everything() {
    let mut world = World::new(1);
    for _ in 0..6 {
        world.publish();
    }
    world.join(1, profile());
    let [plan, digests @ ..] = &world.log[..] else { panic!("{:?}", world.log) };
    let Output::Plan { peer, substreams, assignments, .. } = plan else { panic!("{plan:?}") };
    assert_eq!((*peer, *substreams, assignments.len()), (PeerId(1), K, usize::from(K)));
    assert!(assignments.iter().all(|assignment| assignment.parent.is_none()));
    let msn = |output: &Output| {
        let Output::Digest { object, peers } = output else { panic!("{output:?}") };
        (object.msn, peers.clone())
    };
    let expected: Vec<_> = (3..=6).map(|msn| (msn, vec![PeerId(1)])).collect();
    assert_eq!(digests.iter().map(msn).collect::<Vec<_>>(), expected, "the newest four");
}

#[test]
fn a_newcomer_gets_one_plan_for_everything() {
    let mut world = peers(1);
    world.log.clear();
    world.join(2, profile());
    let plans = |output: &&Output| matches!(output, Output::Plan { .. });
    assert_eq!(world.log.iter().filter(plans).count(), 1);
    let introduced = Output::Introduce { offerer: PeerId(2), answerer: PeerId(1) };
    assert_eq!(world.log.iter().filter(|output| **output == introduced).count(), 1);
    assert!((0..K).all(|k| parent(&world, 2, k) == Some(1)));
    world.run(Duration::from_secs(5));
    assert_eq!(world.roots().into_values().collect::<Vec<_>>(), [4, 4]);
}

#[test]
fn watching_before_the_first_object() {
    let mut world = World::new(1);
    world.join(1, profile());
    world.join(2, profile());
    assert!(world.log.is_empty());
    world.publish();
    world.check_told();
    assert_eq!(world.parents.len(), 2 * usize::from(K));
}

#[test]
fn digests_go_to_roots_only() {
    let mut world = peers(24);
    world.log.clear();
    world.publish();
    let [Output::Digest { peers, .. }] = &world.log[..] else { panic!("{:?}", world.log) };
    let roots = world.roots().values().filter(|&&roots| roots > 0).count();
    assert_eq!(peers.len(), roots);
    assert!(roots <= usize::from(K));
}

#[test]
fn receive_only_and_off() {
    let mut world = World::new(1);
    world.publish();
    world.join(1, Profile { share: ShareMode::ReceiveOnly, ..profile() });
    world.join(2, Profile { share: ShareMode::Off, ..profile() });
    world.join(3, profile());
    assert!((0..K).all(|k| parent(&world, 3, k).is_none()), "the one that can feed is the root");
    assert!((0..K).all(|k| parent(&world, 1, k) == Some(3)));
    assert_eq!(world.tracker.parent(PeerId(2), VIDEO, Substream(0)), None);
    let plain = Input::Share { peer: PeerId(3), share: ShareMode::Off, upload_cap: None };
    world.handle(plain);
    assert!((0..K).all(|k| parent(&world, 1, k).is_none()));
    assert_eq!(world.parents[&(PeerId(3), VIDEO, 0)], None, "it is told");
}

#[test]
fn a_failed_pair_is_not_tried_again_soon() {
    let mut world = peers(8);
    let (child, above, k) = an_edge(&world);
    world.log.clear();
    let failed = Input::Link { peer: child, other: above, state: LinkState::Failed, rtt: None };
    world.handle(failed.clone());
    assert_ne!(world.tracker.parent(child, VIDEO, k), Some(Some(above)));
    world.check_told();
    world.log.clear();
    world.handle(failed);
    assert!(world.log.is_empty(), "the other end says the same");
    world.run(Duration::from_secs(60));
    let again = |output: &Output| {
        matches!(output, Output::Introduce { offerer, answerer }
            if [*offerer, *answerer] == [child, above] || [*answerer, *offerer] == [child, above])
    };
    assert!(!world.log.iter().any(again));
}

/// Two peers whose link is opening turn out to be symmetric, one after the other.
fn two_symmetric(place: Place) -> World {
    let mut world = World::new(1);
    world.publish();
    for id in 1..=2 {
        world.join(id, Profile { place, ..profile() });
    }
    assert!((0..K).all(|k| parent(&world, 2, k) == Some(1)));
    world.log.clear();
    for peer in [PeerId(1), PeerId(2)] {
        assert!(world.log.is_empty(), "one symmetric peer may reach the other");
        world.handle(Input::Mapping { peer, mapping: Mapping::Symmetric });
    }
    world
}

#[test]
fn a_link_that_cannot_open_is_not_waited_for() {
    let mut world = two_symmetric(Place::default());
    for (peer, other) in [(1, 2), (2, 1)] {
        let apart = Output::Disconnect { peer: PeerId(peer), other: PeerId(other) };
        assert!(world.log.contains(&apart), "{:?}", world.log);
    }
    world.check_told();
    world.log.clear();
    world.opening.clear();
    world.run(Duration::from_secs(60));
    assert!((0..K).all(|k| parent(&world, 2, k).is_none()), "they cannot meet");
    assert!(!world.log.iter().any(|output| matches!(output, Output::Introduce { .. })));
    world.join(3, profile());
    assert!((0..K).any(|k| parent(&world, 2, k) == Some(3) || parent(&world, 3, k) == Some(2)));
}

#[test]
fn in_one_network_symmetric_peers_meet() {
    let mut world = two_symmetric(Place { subnet: 7, ..Place::default() });
    assert!(world.log.is_empty(), "{:?}", world.log);
    world.run(Duration::from_secs(5));
    assert!((0..K).any(|k| parent(&world, 1, k) == Some(2) || parent(&world, 2, k) == Some(1)));
}

#[test]
fn stale_complaints_change_nothing() {
    let mut world = peers(8);
    let (child, above, k) = an_edge(&world);
    let wrong = (1..=8).map(PeerId).find(|&id| id != child && id != above);
    world.log.clear();
    for parent in [wrong, None, Some(PeerId(99))] {
        let reason = LostReason::Link;
        let (peer, rendition, substream) = (child, VIDEO, k);
        world.handle(Input::Lost { peer, rendition, substream, parent, reason });
    }
    assert!(world.log.is_empty(), "{:?}", world.log);
}

#[test]
fn a_parent_late_for_many_loses_children() {
    let mut world = peers(8);
    let load = |world: &World, id: PeerId| world.children()[&id];
    let late = PeerId(1);
    let k = (0..K).find(|&k| parent(&world, 1, k).is_none()).expect("everybody is a root");
    let before = load(&world, late);
    for child in (2..=8).map(PeerId) {
        let (rendition, substream, reason) = (VIDEO, Substream(k), LostReason::Late);
        let parent = Some(late);
        world.handle(Input::Lost { peer: child, rendition, substream, parent, reason });
    }
    assert!(load(&world, late) < before, "{} of {before}", load(&world, late));
    world.check_told();
}

#[test]
fn lateness_of_the_only_other_changes_nothing() {
    let mut world = peers(2);
    let (child, above, substream) = an_edge(&world);
    world.log.clear();
    for _ in 0..10 {
        let (rendition, parent, reason) = (VIDEO, Some(above), LostReason::Late);
        world.handle(Input::Lost { peer: child, rendition, substream, parent, reason });
    }
    assert!(world.log.is_empty(), "{:?}", world.log);
}

#[test]
fn bad_chunks_separate_and_a_ban_needs_all_its_children() {
    let mut world = peers(8);
    let accused = PeerId(1);
    world.log.clear();
    for reporter in [2, 3].map(PeerId) {
        world.handle(Input::BadChunk { reporter, accused });
        world.handle(Input::BadChunk { reporter, accused });
        assert!(world.log.contains(&Output::Disconnect { peer: reporter, other: accused }));
        assert!(world.log.contains(&Output::Disconnect { peer: accused, other: reporter }));
    }
    assert!(world.banned.is_empty());
    assert!((0..K).all(|k| parent(&world, 2, k) != Some(1) && parent(&world, 1, k) != Some(2)));
    world.run(Duration::from_secs(300));
    assert!((0..K).all(|k| parent(&world, 2, k) != Some(1) && parent(&world, 1, k) != Some(2)));
    // Somebody is fed by it for minutes and content: more accusers alone do not ban it.
    let content = |world: &World| {
        let fed = world.parents.iter().filter(|(_, parent)| **parent == Some(accused));
        fed.map(|((child, _, _), _)| *child).collect::<std::collections::BTreeSet<_>>()
    };
    assert!(!content(&world).is_empty());
    for reporter in content(&world) {
        assert!(world.banned.is_empty());
        world.handle(Input::BadChunk { reporter, accused });
    }
    for reporter in (2..=8).map(PeerId) {
        if !world.banned.contains(&accused) {
            world.handle(Input::BadChunk { reporter, accused });
        }
    }
    assert!(world.banned.contains(&accused));
    assert!(world.parents.values().all(|parent| *parent != Some(accused)));
    // Leaving and coming back does not help.
    world.leave(1);
    world.join(1, profile());
    world.run(Duration::from_secs(60));
    assert!(world.parents.values().all(|parent| *parent != Some(accused)));
}

#[test]
fn a_slanderer_harms_itself_only() {
    let mut world = peers(24);
    let links = world.tracker.view().links;
    for accused in (2..=24).map(PeerId) {
        world.handle(Input::BadChunk { reporter: PeerId(1), accused });
    }
    assert!(world.banned.is_empty());
    world.run(Duration::from_secs(20));
    let view = world.tracker.view();
    assert!(view.links + 32 >= links);
    // It is alone now and gets everything from the origin; the others have one copy.
    assert!(view.swarms[0].roots.iter().all(|&roots| roots <= 2), "{view:?}");
}

#[test]
fn peers_off_and_on() {
    let mut world = peers(8);
    world.log.clear();
    world.handle(Input::Peers { enabled: false });
    assert_eq!(world.log, [Output::Peers { enabled: false }]);
    world.log.clear();
    world.join(9, profile());
    world.publish();
    assert!(world.log.is_empty(), "{:?}", world.log);
    world.handle(Input::Peers { enabled: true });
    world.check_told();
    assert_eq!(world.parents.len(), 9 * usize::from(K));
    world.run(Duration::from_secs(10));
    assert!(world.tracker.view().swarms[0].roots.iter().all(|&roots| roots == 1));
}

#[test]
fn a_killed_root_is_replaced_at_once() {
    let mut world = peers(8);
    for id in [1, 5] {
        world.leave(id);
        world.check_told();
        let view = world.tracker.view();
        assert!(view.swarms[0].roots.iter().all(|&roots| roots == 1), "{view:?}");
    }
    world.run(Duration::from_secs(8));
    let roots = world.roots();
    assert!(roots.values().all(|&roots| (1..=2).contains(&roots)), "{roots:?}");
}

#[test]
fn upload_is_split_among_renditions() {
    let mut world = peers(3);
    let room = |world: &World| world.tracker.view().swarms[0].resource_index;
    let before = room(&world);
    let audio = RenditionId(1);
    world.handle(Input::Published(shoal_tracker::Published {
        object: shoal_wire::ObjectId::segment(audio, shoal_wire::Epoch(1), 1),
        size: shoal_wire::ByteSize::from_bytes(500_000),
        duration: Duration::from_secs(2),
        chunk_size: 16 * 1024,
        substreams: 4,
    }));
    for id in 1..=3 {
        world.handle(Input::Watch { peer: PeerId(id), rendition: audio, msn: u64::MAX });
    }
    assert_eq!(room(&world), before / 2);
    let learned = Report { upload: BitRate::from_bps(20_000_000), ..Report::default() };
    for id in 1..=3 {
        world.handle(Input::Report { peer: PeerId(id), report: learned.clone() });
    }
    assert_eq!(room(&world), before);
    world.handle(Input::Unwatch { peer: PeerId(1), rendition: audio });
    world.check_told_except(audio);
}

#[test]
fn a_restarted_tracker_adopts_the_plan() {
    let world = peers(24);
    let mut restarted = World::with(Config::default(), 99);
    restarted.publish();
    let edges =
        |id: u64| {
            let own = world.parents.iter().filter(|(key, _)| key.0 == PeerId(id));
            let edge =
                |(&(_, rendition, k), &parent): (&(PeerId, RenditionId, u8), &Option<PeerId>)| {
                    Edge { rendition, substream: Substream(k), parent }
                };
            own.map(edge).collect::<Vec<_>>()
        };
    for id in (1..=24).rev() {
        let (peer, edges) = (PeerId(id), edges(id));
        let mut neighbours: Vec<PeerId> = world
            .parents
            .iter()
            .filter_map(|(key, parent)| {
                let parent = (*parent)?;
                (key.0 == peer).then_some(parent).or((parent == peer).then_some(key.0))
            })
            .collect();
        neighbours.sort_unstable();
        neighbours.dedup();
        restarted.handle(Input::Join { peer, profile: profile(), edges, neighbours });
        restarted.handle(Input::Watch { peer, rendition: VIDEO, msn: u64::MAX });
        restarted.run(Duration::from_millis(100));
    }
    assert_eq!(restarted.plans, 0, "nobody is moved");
    for (&(peer, rendition, k), parent) in &world.parents {
        assert_eq!(restarted.tracker.parent(peer, rendition, Substream(k)), Some(*parent));
    }
    restarted.run(Duration::from_secs(80));
    let settled = restarted.plans;
    assert!(settled <= 3 * 24, "{settled} plans after the grace");
    restarted.run(Duration::from_secs(60));
    assert_eq!(restarted.plans, settled, "it becomes quiet");
}

#[test]
fn a_cycle_and_a_parent_that_stays_away_are_planned_anew() {
    let mut world = World::new(1);
    world.publish();
    let edge = |parent: u64| Edge {
        rendition: VIDEO,
        substream: Substream(0),
        parent: Some(PeerId(parent)),
    };
    for (id, above) in [(1, 2), (2, 3), (3, 1), (4, 77)] {
        let (peer, edges) = (PeerId(id), vec![edge(above)]);
        world.handle(Input::Join { peer, profile: profile(), edges, neighbours: Vec::new() });
        world.handle(Input::Watch { peer, rendition: VIDEO, msn: u64::MAX });
    }
    assert_eq!(world.tracker.parent(PeerId(4), VIDEO, Substream(0)), None, "it waits");
    world.run(Duration::from_secs(12));
    let view = world.tracker.view().swarms[0].clone();
    assert!(view.roots.iter().all(|&roots| roots == 1), "{view:?}");
    assert!(world.tracker.parent(PeerId(4), VIDEO, Substream(0)).is_some());
}

#[test]
fn who_waits_for_a_link_hears_that_it_failed() {
    let mut world = World::new(1);
    world.publish();
    world.join(1, profile());
    world.join(2, profile());
    let &(_, a, b) = world.opening.first().expect("the two are introduced");
    world.log.clear();
    world.handle(Input::Link { peer: a, other: b, state: LinkState::Failed, rtt: None });
    let told = |peer, other| world.log.contains(&Output::Disconnect { peer, other });
    assert!(told(b, a) && !told(a, b), "{:?}", world.log);
}
