//! Thousands of random events: after each, every rule of the plan holds. The seed in the message
//! replays a failure.

use crate::world::{VIDEO, World, profile};
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use shoal_tracker::{Input, Mapping, Output, Place, Profile, Published};
use shoal_wire::tracker_message::{Edge, LinkState, LostReason, MsnRun, NeighbourReport, Report};
use shoal_wire::{BitRate, ByteSize, Epoch, ObjectId, PeerId, RenditionId, ShareMode, Substream};
use std::time::Duration;

struct Dice(Xoshiro256PlusPlus);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0.next_u64() % end
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).expect("small")]
    }

    fn peer(&mut self) -> PeerId {
        PeerId(1 + self.below(40))
    }

    fn rendition(&mut self) -> RenditionId {
        RenditionId(self.one_of(&[0, 0, 0, 1, 2]))
    }

    fn parent(&mut self) -> Option<PeerId> {
        (self.below(6) > 0).then(|| self.peer())
    }

    fn mapping(&mut self) -> Mapping {
        self.one_of(&[Mapping::Unknown, Mapping::Stable, Mapping::Symmetric])
    }

    fn profile(&mut self) -> Profile {
        use ShareMode::{Off, ReceiveOnly, Share};
        Profile {
            share: self.one_of(&[Share, Share, Share, Share, ReceiveOnly, Off]),
            upload_cap: self.one_of(&[None, None, Some(BitRate::from_bps(3_000_000))]),
            links_max: self.one_of(&[0, 1, 4, 12, 32, 32, 32, 200]),
            place: Place {
                subnet: self.one_of(&[0, 1, 2, 3]),
                asn: self.one_of(&[0, 7]),
                country: 3,
            },
            mapping: self.mapping(),
        }
    }

    fn join(&mut self) -> Input {
        let edges = (0..self.below(3) * 8).map(|_| Edge {
            rendition: RenditionId(0),
            substream: Substream(0),
            parent: None,
        });
        let mut edges: Vec<Edge> = edges.collect();
        for edge in &mut edges {
            edge.rendition = self.rendition();
            edge.substream = Substream(u8::try_from(self.below(10)).expect("small"));
            edge.parent = self.parent();
        }
        let neighbours = (0..self.below(12)).map(|_| PeerId(1)).collect::<Vec<_>>();
        let neighbours = neighbours.iter().map(|_| self.peer()).collect();
        Input::Join { peer: self.peer(), profile: self.profile(), edges, neighbours }
    }

    fn report(&mut self) -> Input {
        let upload = BitRate::from_bps(self.one_of(&[0, 500_000, 2_000_000, 9_000_000, 1 << 40]));
        let rtt_us = u32::try_from(self.below(400_000)).expect("small");
        let neighbour = NeighbourReport {
            peer: self.peer(),
            received: ByteSize::ZERO,
            sent: ByteSize::ZERO,
            rtt_us,
        };
        let report = Report { upload, neighbours: vec![neighbour], ..Report::default() };
        Input::Report { peer: self.peer(), report }
    }

    /// News of a link that was asked for, or of any pair.
    fn link(&mut self, world: &mut World) -> Input {
        use LinkState::{Closed, Failed, Up};
        let rtt = Some(Duration::from_micros(self.below(300_000)));
        if world.opening.is_empty() || self.below(10) == 0 {
            let state = self.one_of(&[Up, Failed, Closed]);
            return Input::Link { peer: self.peer(), other: self.peer(), state, rtt };
        }
        let at = usize::try_from(self.below(world.opening.len() as u64)).expect("small");
        let (_, peer, other) = world.opening.swap_remove(at);
        Input::Link { peer, other, state: self.one_of(&[Up, Up, Up, Up, Up, Up, Failed]), rtt }
    }

    /// A complaint, mostly about the parent that the peer has.
    fn complaint(&mut self, world: &World) -> Input {
        use LostReason::{Late, Link, Misbehaved};
        let (peer, rendition) = (self.peer(), RenditionId(0));
        let substream = Substream(u8::try_from(self.below(9)).expect("small"));
        let told = world.tracker.parent(peer, rendition, substream).flatten();
        let parent = if self.below(5) > 0 { told } else { self.parent() };
        match (self.below(8), parent) {
            (0..4, Some(accused)) => Input::BadChunk { reporter: peer, accused },
            _ => {
                let reason = self.one_of(&[Late, Late, Late, Link, Misbehaved]);
                Input::Lost { peer, rendition, substream, parent, reason }
            }
        }
    }

    fn publish(&mut self) -> Input {
        let rendition = self.rendition();
        let odd = self.below(10) == 0;
        Input::Published(Published {
            object: ObjectId::segment(rendition, Epoch(1), self.below(1_000)),
            size: ByteSize::from_bytes(400_000 + self.below(200_000)),
            duration: Duration::from_millis(if odd { self.below(5_000) } else { 2_000 }),
            chunk_size: 16 * 1024,
            substreams: if odd { u8::try_from(self.below(11)).expect("small") } else { 8 },
        })
    }

    fn position(&mut self) -> Input {
        let run = |dice: &mut Self| {
            let count = u32::try_from(dice.below(40)).expect("small");
            MsnRun { first: dice.below(1_000), count }
        };
        Input::Position {
            peer: self.peer(),
            rendition: self.rendition(),
            epoch: Epoch(u32::from(self.below(20) > 0)),
            msn: self.below(1_000),
            ahead: u8::try_from(self.below(20)).expect("small"),
            held: (0..self.below(4)).map(|_| run(self)).collect(),
        }
    }

    fn input(&mut self, world: &mut World) -> Input {
        let (peer, rendition) = (self.peer(), self.rendition());
        match self.below(1_000) {
            0..60 => self.join(),
            60..90 => Input::Leave { peer },
            90..200 => Input::Watch { peer, rendition, msn: u64::MAX },
            200..260 => self.position(),
            260..299 => Input::Watch { peer, rendition, msn: self.below(1_000) },
            299 => Input::OnDemand { rendition },
            300..320 => Input::Unwatch { peer, rendition },
            320..325 => Input::Mapping { peer, mapping: self.mapping() },
            325..340 => {
                let Profile { share, upload_cap, .. } = self.profile();
                Input::Share { peer, share, upload_cap }
            }
            340..700 => self.link(world),
            700..780 => self.complaint(world),
            780..880 => self.report(),
            880..995 => self.publish(),
            995..999 => Input::Peers { enabled: true },
            _ => Input::Peers { enabled: false },
        }
    }
}

fn random_run(seed: u64, steps: u32) -> Vec<Output> {
    let mut dice = Dice(Xoshiro256PlusPlus::seed_from_u64(seed));
    let mut world = World::new(seed);
    let mut edges_max = 0;
    for _ in 0..steps {
        world.now += Duration::from_millis(dice.below(300));
        let input = dice.input(&mut world);
        world.handle(input);
        if world.tracker.poll_timeout().is_some_and(|at| at <= world.now) {
            world.handle(Input::Tick);
        }
        let edges = world.tracker.view().swarms.iter().map(|swarm| swarm.edges).sum();
        edges_max = edges_max.max(edges);
    }
    assert!(edges_max > 20, "seed {seed} made a swarm of {edges_max} edges only");
    println!(
        "seed {seed}: edges {edges_max}, banned {:?} {:?}",
        world.banned,
        world.tracker.counts()
    );
    world.log
}

#[test]
fn rules_hold_after_every_event() {
    for seed in 1..=40 {
        random_run(seed, 1_500);
    }
}

#[test]
fn same_inputs_give_same_outputs() {
    for seed in 20..=22 {
        let (first, second) = (random_run(seed, 1_000), random_run(seed, 1_000));
        assert!(first == second, "seed {seed}");
        assert!(!first.is_empty());
    }
}

#[test]
fn ample_supply_means_one_origin_copy_at_every_moment() {
    for seed in 1..=6 {
        let mut dice = Dice(Xoshiro256PlusPlus::seed_from_u64(seed));
        let mut world = World::new(seed);
        world.publish();
        for step in 0..400 {
            let id = 1 + dice.below(60);
            if dice.below(3) > 0 {
                world.join(id, profile());
            } else {
                world.leave(id);
            }
            let view = world.tracker.view().swarms[0].clone();
            let roots = u32::from(view.members > 0);
            let one = view.roots.iter().all(|&count| count == roots);
            assert!(one, "seed {seed}, step {step}: {view:?}");
            world.run(Duration::from_millis(100 * dice.below(8)));
            let view = world.tracker.view().swarms[0].clone();
            let one = view.roots.iter().all(|&count| count == roots);
            assert!(one, "seed {seed}, step {step}: {view:?}");
        }
        world.check_told();
    }
}

#[test]
fn a_leave_hurts_little() {
    let mut world = World::new(5);
    world.audits = false;
    world.publish();
    for id in 1..=300 {
        world.join(id, profile());
        world.run(Duration::from_millis(100));
    }
    world.run(Duration::from_secs(60));
    let before = world.tracker.counts().plan_changes;
    for id in (10..=300).step_by(10) {
        world.leave(id);
    }
    let changes = world.tracker.counts().plan_changes - before;
    // A leaver has about eight children, in one substream.
    assert!(changes <= 30 * 24, "{changes} changes for 30 leavers");
    world.tracker.audit().expect("the tables agree");
    world.handle(Input::Leave { peer: PeerId(12_345) });
    world.handle(Input::Watch { peer: PeerId(12_345), rendition: VIDEO, msn: u64::MAX });
}
