//! Engines against each other: every byte arrives, in time, verified, and mostly from peers.

mod world;

use proptest::prelude::*;
use shoal_peer::{ByteRange, Config, Engine, Input, Parent, RequestId};
use shoal_wire::{BitRate, ClientMessage, Instant, PeerId, PeerMessage, ServerMessage, ShareMode};
use std::time::Duration;
use world::{SEGMENT_BYTES, World, object, peer_id, seconds, stream};

/// K of the world's segments: 300,000 bytes are 19 chunks, which make six runs.
const K: usize = 6;

/// Viewer `i` is the root of the substreams k with k % n = i, and feeds the others directly.
fn star(n: usize, who: usize) -> Vec<Option<usize>> {
    (0..K).map(|k| (k % n != who).then_some(k % n)).collect()
}

/// `n` viewers that joined one second apart, linked and planned as a star.
fn star_world(n: usize, config: &Config) -> World {
    let mut world = World::new(n, config);
    world.publish(0, 40);
    world.run_for(seconds(9));
    for who in 0..n {
        let newest = *world.segments.last_key_value().expect("published").0;
        world.play(who, newest - 2);
        world.run_for(Duration::from_millis(20));
        for msn in newest - 2..=newest {
            world.send_digest(who, msn);
        }
        let plan: Vec<_> = if who == 0 { vec![None; K] } else { vec![Some(0); K] };
        for other in 0..who {
            world.introduce(other, who);
        }
        world.plan(who, 1, &plan);
        world.roots.insert(0);
        world.run_for(Duration::from_millis(980));
    }
    for who in 0..n {
        world.plan(who, 2, &star(n, who));
        world.roots.insert(who);
    }
    world.run_for(seconds(2));
    world
}

#[test]
fn a_lone_viewer_plays_from_the_origin_once() {
    let mut world = star_world(1, &Config::default());
    world.run_for(seconds(20));
    world.assert_played(0, 2, 14);
    let got = world.viewers[0].played.len() as u64;
    let copies = world.origin_bytes / SEGMENT_BYTES as u64;
    assert!((got..=got + 1).contains(&copies), "{got} segments, {copies} copies");
    assert_eq!(world.viewers[0].events, [""; 0]);
}

#[test]
fn a_followed_segment_is_told_once_by_each_who_gets_it() {
    let mut world = star_world(3, &Config::default());
    let newest = *world.segments.last_key_value().expect("published").0;
    let followed = object(newest + 1);
    for who in 0..3 {
        world.server(who, ServerMessage::Trace { object: followed });
    }
    world.run_for(seconds(6));
    for who in 0..3 {
        let mut told = Vec::new();
        for message in &world.viewers[who].to_server {
            if let ClientMessage::Traced { object, parents, fell_back, .. } = message {
                assert_eq!(*object, followed);
                let parents: Vec<_> = parents.iter().map(|it| it.parent).collect();
                told.push((parents, *fell_back));
            }
        }
        let parents = star(3, who).into_iter().map(|parent| parent.map(peer_id)).collect();
        assert_eq!(told, [(parents, false)], "viewer {who}");
    }
    // One that is here already is told at once.
    let before = world.viewers[0].to_server.len();
    world.server(0, ServerMessage::Trace { object: followed });
    let told = &world.viewers[0].to_server[before..];
    assert!(matches!(told, [ClientMessage::Traced { object, .. }] if *object == followed));
}

#[test]
fn a_report_says_how_playback_began_and_how_far_it_is() {
    let mut world = star_world(1, &Config::default());
    world.run_for(seconds(20));
    let mut last = None;
    for message in &world.viewers[0].to_server {
        if let ClientMessage::Report(report) = message {
            last = Some(report.clone());
        }
    }
    let report = last.expect("viewers report");
    let segments = world.viewers[0].played.len() as u64;
    let newest = report.newest.expect("a segment was handed over").msn;
    assert!(world.viewers[0].played.contains_key(&newest), "segment {newest}");
    let played_s = report.totals.played_ms / 1000;
    assert!(played_s % 2 == 0 && played_s <= 2 * segments && played_s + 12 >= 2 * segments);
    let startup_ms = report.startup_ms.expect("it began");
    assert!((1..2000).contains(&startup_ms), "{startup_ms} ms");
}

#[test]
fn four_viewers_share_one_copy() {
    let mut world = star_world(4, &Config::default());
    let before = world.origin_bytes;
    world.run_for(seconds(20));
    for who in 0..4 {
        world.assert_played(who, 7, 14);
    }
    let copies_percent = (world.origin_bytes - before) * 100 / (10 * SEGMENT_BYTES as u64);
    assert_eq!(copies_percent, 100, "one copy of each of ten segments");
    let wasted: u64 =
        world.viewers.iter().map(|v| v.engine.status(world.now).totals.wasted.as_bytes()).sum();
    assert!(wasted < SEGMENT_BYTES as u64 / 2, "{wasted} bytes wasted");
}

#[test]
fn a_joining_viewer_takes_one_segment_from_the_origin() {
    let mut world = star_world(4, &Config::default());
    for who in 1..4 {
        let status = world.viewers[who].engine.status(world.now);
        let from_origin = status.totals.from_origin.as_bytes();
        assert!(from_origin < 2 * SEGMENT_BYTES as u64, "viewer {who} took {from_origin}");
    }
    world.run_for(seconds(4));
    for who in 0..4 {
        let substreams = world.viewers[who].engine.status(world.now).substreams;
        assert!(substreams.iter().all(|s| s.parent != Parent::Nobody));
    }
}

#[test]
fn a_corrupting_peer_is_cut_off_and_nobody_plays_or_relays_its_bytes() {
    let mut world = star_world(4, &Config::default());
    world.viewers[2].corrupts = true;
    world.run_for(seconds(20));
    assert_eq!(world.bad_relayed, 0);
    for who in [0, 1, 3] {
        world.assert_played(who, 7, 14);
        let accusations = world.viewers[who].to_server.iter();
        let accusations = accusations
            .filter(|m| matches!(m, ClientMessage::BadChunk { peer, .. } if *peer == peer_id(2)));
        assert_eq!(accusations.count(), 1, "told once by viewer {who}");
        let status = world.viewers[who].engine.status(world.now);
        assert_eq!(status.totals.hash_mismatches, 1, "one bad chunk is enough");
        assert!(status.neighbours.iter().all(|n| n.peer != peer_id(2)));
    }
}

#[test]
fn a_parent_that_dies_silently_makes_nobody_wait() {
    let mut world = star_world(4, &Config::default());
    world.kill(1, seconds(8));
    world.run_for(seconds(20));
    for who in [0, 2, 3] {
        world.assert_played(who, 7, 14);
    }
}

#[test]
fn without_the_server_and_all_peers_the_origin_serves() {
    let mut world = star_world(3, &Config::default());
    world.input(0, Input::ServerLost);
    world.kill(1, Duration::ZERO);
    world.kill(2, Duration::ZERO);
    world.run_for(seconds(20));
    world.assert_played(0, 7, 14);
}

#[test]
fn an_origin_that_fails_for_a_while_is_bridged_by_what_is_buffered() {
    let mut world = star_world(3, &Config::default());
    world.origin_down = true;
    world.run_for(seconds(1));
    world.origin_down = false;
    world.run_for(seconds(10));
    for who in 0..3 {
        world.assert_played(who, 7, 11);
    }
}

#[test]
fn peers_off_means_plain_http_and_no_stall() {
    let mut world = star_world(3, &Config::default());
    for who in 0..3 {
        world.server(who, ServerMessage::Peers { enabled: false });
    }
    world.run_for(seconds(2));
    let sent_before: u64 = sent(&world);
    world.run_for(seconds(10));
    assert_eq!(sent(&world), sent_before, "nothing passes between peers");
    for who in 0..3 {
        world.assert_played(who, 7, 12);
    }
}

fn sent(world: &World) -> u64 {
    world.viewers.iter().map(|v| v.engine.status(world.now).totals.to_peers.as_bytes()).sum()
}

#[test]
fn a_receive_only_viewer_sends_nothing() {
    let config = Config { share: ShareMode::ReceiveOnly, ..Config::default() };
    let mut world = star_world(2, &config);
    world.run_for(seconds(10));
    assert_eq!(sent(&world), 0);
    for who in 0..2 {
        world.assert_played(who, 5, 9);
    }
}

#[test]
fn the_upload_cap_holds() {
    let cap = BitRate::from_bps(400_000);
    let config = Config { upload_cap: Some(cap), ..Config::default() };
    let mut world = star_world(3, &config);
    let before = sent(&world);
    world.run_for(seconds(20));
    let bits = (sent(&world) - before) * 8;
    let allowed = cap.as_bps() * 20 * 3;
    assert!(bits > 0 && bits <= allowed + 3 * 3 * 16 * 1024 * 8, "{bits} of {allowed}");
    for who in 0..3 {
        world.assert_played(who, 7, 13);
    }
}

#[test]
fn the_store_stays_within_its_limit() {
    let config = Config { store_bytes_max: 4 * SEGMENT_BYTES, objects_max: 8, ..Config::default() };
    let mut world = star_world(2, &config);
    world.run_for(seconds(30));
    for viewer in &world.viewers {
        let status = viewer.engine.status(world.now);
        assert!(status.store_bytes <= 5 * SEGMENT_BYTES, "{}", status.store_bytes);
        assert!(status.objects <= 8, "{}", status.objects);
    }
}

#[test]
fn the_same_inputs_give_the_same_outputs() {
    let run = || {
        let mut world = star_world(4, &Config::default());
        world.kill(3, seconds(2));
        world.run_for(seconds(12));
        world.log
    };
    assert!(run() == run(), "two runs differ");
}

#[test]
fn garbage_from_the_server_and_unknown_links_change_nothing() {
    let mut engine = Engine::new(stream(), Config::default(), 1);
    let now = Instant::from_micros(5);
    let digest = vec![0u8; 300].into();
    engine.handle(Input::Server(ServerMessage::Digest { digest }), now);
    engine.handle(Input::LinkUp { peer: peer_id(3) }, now);
    engine.handle(Input::LinkInvalid { peer: peer_id(3) }, now);
    engine.handle(Input::LinkDown { peer: peer_id(3) }, now);
    let status = engine.status(now);
    assert_eq!((status.neighbours.len(), status.objects), (0, 0));
}

#[test]
fn too_many_requests_are_refused_and_the_rest_goes_on() {
    let mut engine = Engine::new(stream(), Config { requests_max: 4, ..Config::default() }, 1);
    for id in 0..10 {
        let (id, object, range, duration) = (RequestId(id), object(id), ByteRange::WHOLE, None);
        engine.handle(Input::Request { id, object, range, duration }, Instant::from_micros(5));
    }
    let mut refused = 0;
    while let Some(output) = engine.poll_output() {
        refused += u32::from(matches!(output, shoal_peer::Output::Failed { .. }));
    }
    assert_eq!(refused, 6);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a neighbour sends, the viewer goes on and its memory stays bounded.
    #[test]
    fn a_hostile_neighbour_costs_its_link_at_most(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..60),
        kinds in prop::collection::vec(0u8..17, 60),
    ) {
        let mut world = star_world(2, &Config::default());
        let peer = peer_id(1);
        for (mut message, kind) in messages.into_iter().zip(kinds) {
            if let Some(first) = message.first_mut() {
                *first = kind;
            }
            world.receive(0, peer, message.into());
        }
        world.run_for(seconds(6));
        world.assert_played(0, 4, 6);
        let status = world.viewers[0].engine.status(world.now);
        prop_assert!(status.objects < 256);
    }
}

#[test]
fn chunks_for_unknown_objects_are_bounded() {
    let mut world = star_world(2, &Config::default());
    let before = world.viewers[0].engine.status(world.now).store_bytes;
    for msn in 1000..1400 {
        let payload = vec![1u8; 16 * 1024].into();
        let chunks = shoal_wire::ChunkRange::new(0, 1);
        let chunk = PeerMessage::Chunk { object: object(msn), chunks, held: seconds(0), payload };
        world.input(0, Input::LinkMessage { peer: peer_id(1), message: chunk });
    }
    let status = world.viewers[0].engine.status(world.now);
    assert!(status.objects <= 256 && status.store_bytes <= before + SEGMENT_BYTES);
    assert!(status.totals.wasted.as_bytes() > 380 * 16 * 1024);
}

#[test]
fn a_message_of_the_wrong_length_costs_the_link_and_is_counted() {
    let truncated_subscribe = vec![1u8, 0, 0];
    let short_chunk = |msn| {
        let (chunks, payload) = (shoal_wire::ChunkRange::new(0, 1), vec![1u8; 100].into());
        PeerMessage::Chunk { object: object(msn), chunks, held: seconds(0), payload }.encode()
    };
    let oversized = vec![7u8; 70_000];
    for kind in 0..3 {
        let mut world = star_world(2, &Config::default());
        let newest = *world.segments.last_key_value().expect("published").0;
        let message = match kind {
            0 => truncated_subscribe.clone().into(),
            1 => short_chunk(newest),
            _ => oversized.clone().into(),
        };
        world.receive(0, peer_id(1), message);
        let status = world.viewers[0].engine.status(world.now);
        assert_eq!((status.cut_off, status.neighbours.len()), (1, 0), "case {kind}");
        world.run_for(seconds(8));
        world.assert_played(0, 4, 6);
    }
}

#[test]
fn a_parent_that_was_asked_and_replaced_sends_nothing() {
    let mut world = star_world(3, &Config::default());
    // Both orders arrive before the first parent can answer.
    let all_from = |parent| (0..K).map(|k| (k % 3 != 2).then_some(parent)).collect::<Vec<_>>();
    world.plan(2, 3, &all_from(0));
    world.plan(2, 4, &all_from(1));
    world.run_for(seconds(4));
    let before = world.viewers[2].engine.status(world.now).totals.wasted.as_bytes();
    world.run_for(seconds(10));
    let wasted = world.viewers[2].engine.status(world.now).totals.wasted.as_bytes() - before;
    assert_eq!(wasted, 0, "two parents push the same substreams");
    world.assert_played(2, 6, 11);
}

/// All substreams but those in which viewer 2 of a star of three is the root.
fn all_from<T: Copy>(parent: T) -> Vec<Option<T>> {
    (0..K).map(|k| (k % 3 != 2).then_some(parent)).collect()
}

/// Who feeds viewer 2.
fn fed_by(world: &World) -> Vec<PeerId> {
    let status = world.viewers[2].engine.status(world.now);
    status.substreams.iter().filter_map(|feed| feed.parent.peer()).collect()
}

#[test]
fn what_an_old_session_planned_and_nobody_did_is_void() {
    let mut world = star_world(3, &Config::default());
    world.plan(2, 3, &all_from(0));
    world.run_for(seconds(1));
    // The next plan is lost with the tracker before the new parent can answer.
    world.plan(2, 4, &all_from(1));
    world.input(2, Input::ServerLost);
    let resume = world.viewers[2].engine.resume().expect("it had a session");
    world.welcome(2);
    world.run_for(seconds(2));
    let told: Vec<_> = resume.edges.iter().filter_map(|edge| edge.parent).collect();
    assert_eq!(told, fed_by(&world), "as the new session knows it");
    let before = world.viewers[2].engine.status(world.now).totals.wasted;
    world.run_for(seconds(10));
    assert_eq!(world.viewers[2].engine.status(world.now).totals.wasted, before, "of two parents");
}

#[test]
fn whoever_comes_back_before_its_farewell_is_served() {
    let mut world = star_world(3, &Config::default());
    world.unsubscribes_late = Duration::from_millis(500);
    for (version, parent) in [(3, 0), (4, 1), (5, 0)] {
        world.plan(2, version, &all_from(parent));
        world.run_for(Duration::from_millis(200));
        let planned: Vec<_> = all_from(peer_id(parent)).into_iter().flatten().collect();
        assert_eq!(fed_by(&world), planned, "plan {version}");
    }
    world.run_for(seconds(2));
    let before = world.log.len();
    world.run_for(seconds(10));
    let asks = |line: &&String| line.contains(" 2 Send ") && line.contains(" Fetch {");
    let asked = world.log[before..].iter().filter(asks).count();
    assert_eq!(asked, 0, "what nobody pushed");
    world.assert_played(2, 6, 11);
}

#[test]
fn a_fetch_that_the_origin_swallows_is_made_again() {
    let mut world = star_world(1, &Config::default());
    world.origin_silent = true;
    world.run_for(seconds(2));
    world.origin_silent = false;
    world.run_for(seconds(12));
    world.assert_played(0, 2, 9);
}

#[test]
fn without_a_server_roots_ask_for_digests_and_peers_go_on() {
    let mut world = star_world(4, &Config::default());
    world.roots.clear();
    for who in 0..4 {
        world.input(who, Input::ServerLost);
    }
    let before = world.origin_bytes;
    world.run_for(seconds(20));
    for who in 0..4 {
        world.assert_played(who, 7, 14);
    }
    let copies_percent = (world.origin_bytes - before) * 100 / (10 * SEGMENT_BYTES as u64);
    assert!(copies_percent <= 115, "{copies_percent} % of a copy");
}

#[test]
fn while_the_origin_fails_one_object_finds_out_when_it_is_back() {
    let mut world = star_world(1, &Config::default());
    world.origin_down = true;
    let before = world.log.len();
    world.run_for(seconds(12));
    let asked = world.log[before..].iter().filter(|line| line.contains("OriginFetch")).count();
    assert!((20..=48).contains(&asked), "{asked} fetches in 12 s");
    world.origin_down = false;
    world.run_for(seconds(1));
    let newest = *world.segments.last_key_value().expect("published").0;
    assert!(world.viewers[0].played.contains_key(&newest), "all is made up for at once");
}

#[test]
fn of_a_batch_of_news_what_a_dry_player_needs_is_fetched_first() {
    for (buffered_s, first) in [(0, 1), (60, 2)] {
        let mut world = star_world(1, &Config::default());
        world.roots.clear();
        world.viewers[0].next_msn = None;
        world.run_for(seconds(16));
        let newest = *world.segments.last_key_value().expect("published").0;
        let next = *world.viewers[0].played.last_key_value().expect("played").0 + 1;
        if buffered_s > 0 {
            let needed_in = seconds(buffered_s);
            world.input(0, Input::Playhead { object: object(next), needed_in });
        }
        let before = world.log.len();
        for msn in next..=newest {
            world.send_digest(0, msn);
        }
        let fetched = world.named(before, 0, "OriginFetch");
        assert_eq!(fetched, (next..next + first).collect::<Vec<_>>(), "{buffered_s} s buffered");
        world.run_for(seconds(2));
        let fetched = world.named(before, 0, "OriginFetch");
        assert_eq!(fetched, (next..=newest).collect::<Vec<_>>(), "then the rest in order");
    }
}
