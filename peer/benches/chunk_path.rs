//! One core's way of a chunk through an engine: receive, verify, store, relay to children.
//!
//! The network is left out: a message comes in as bytes and goes out as bytes.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use shoal_peer::{ByteRange, Config, Engine, Input, Output, RequestId};
use shoal_wire::tracker_message::Assignment;
use shoal_wire::{
    BitRate, ChunkRange, Digest, Epoch, Instant, ObjectId, OriginSigner, PeerId, PeerMessage,
    RenditionId, ServerMessage, StreamName, Substream,
};
use std::time::Duration;

const OBJECT_BYTES: u32 = 2 * 1024 * 1024;
const PARENT: PeerId = PeerId(1);
const NOW: Instant = Instant::from_micros(1_000_000);

fn stream() -> StreamName {
    "bench".parse().expect("a valid name")
}

fn digest(bytes: &[u8]) -> Digest {
    let chunk_size = Digest::chunk_size_for(OBJECT_BYTES);
    Digest {
        stream: stream(),
        object: ObjectId::segment(RenditionId(0), Epoch(1), 1),
        ordinal: 0,
        byte_len: OBJECT_BYTES,
        chunk_size,
        substreams: Digest::substreams_for(OBJECT_BYTES, chunk_size),
        duration: Duration::from_secs(2),
        published_unix_ms: 0,
        discontinuity_sequence: 0,
        end_of_stream: false,
        playlist_lines: String::new(),
        hashes: Digest::hash_chunks(bytes, chunk_size),
    }
}

/// An engine that has a parent for everything and `children` subscribed to everything.
fn engine(signer: &OriginSigner, encoded: &Bytes, object: ObjectId, children: u64) -> Engine {
    let config = Config { upload_prior: BitRate::from_bps(1 << 50), ..Config::default() };
    let mut engine = Engine::new(stream(), config, 1);
    let key: String = signer.key().to_bytes().iter().map(|b| format!("{b:02x}")).collect();
    let mut input = |input| engine.handle(input, NOW);
    input(Input::Server(ServerMessage::Welcome {
        protocol: shoal_wire::PROTOCOL,
        peer: PeerId(99),
        keys: vec![key],
        renditions: Vec::new(),
        ice_servers: Vec::new(),
        report_interval_ms: 5000,
    }));
    let first = ObjectId { msn: object.msn - 1, ..object };
    let duration = Some(Duration::from_secs(2));
    let (id, range) = (RequestId(0), ByteRange::WHOLE);
    input(Input::Request { id, object: first, range, duration });
    for peer in std::iter::once(PARENT).chain((0..children).map(|c| PeerId(10 + c))) {
        input(Input::Server(ServerMessage::Introduce { peer, offer: true }));
        input(Input::LinkUp { peer });
    }
    let assignments: Vec<_> =
        (0..8).map(|k| Assignment { substream: Substream(k), parent: Some(PARENT) }).collect();
    let rendition = RenditionId(0);
    input(Input::Server(ServerMessage::Plan { version: 1, rendition, substreams: 8, assignments }));
    for k in (0..8).map(Substream) {
        let message = PeerMessage::Subscribed { substream: k, from: object };
        input(Input::LinkMessage { peer: PARENT, message });
        for child in 0..children {
            let message = PeerMessage::Subscribe { substream: k, from: object, weight: 0, turn: 1 };
            input(Input::LinkMessage { peer: PeerId(10 + child), message });
        }
    }
    let message = PeerMessage::Digest(encoded.clone());
    input(Input::LinkMessage { peer: PARENT, message });
    while engine.poll_output().is_some() {}
    engine
}

fn feed(engine: &mut Engine, messages: &[Bytes]) -> u64 {
    let mut sent = 0;
    for message in messages {
        let message = PeerMessage::decode(message.clone()).expect("a chunk");
        engine.handle(Input::LinkMessage { peer: PARENT, message }, NOW);
        while let Some(output) = engine.poll_output() {
            if let Output::Send { peer, message } = output {
                sent += message.encode().len() as u64;
                engine.handle(Input::LinkBuffered { peer, bytes: 0 }, NOW);
            }
        }
    }
    sent
}

fn chunk_path(c: &mut Criterion) {
    let signer = OriginSigner::from_secret(&[5; 32]);
    let bytes: Vec<u8> =
        (0..OBJECT_BYTES).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let digest = digest(&bytes);
    let signed = signer.sign(digest.clone()).expect("within limits");
    let messages: Vec<Bytes> = (0..digest.chunk_count())
        .map(|chunk| {
            let chunks = ChunkRange::new(chunk, 1);
            let (start, len) = digest.byte_range(chunks);
            let payload = bytes[start as usize..(start + len) as usize].to_vec().into();
            let object = digest.object;
            PeerMessage::Chunk { object, chunks, held: Duration::ZERO, payload }.encode()
        })
        .collect();
    let mut group = c.benchmark_group("chunk_path");
    group.throughput(Throughput::Bytes(OBJECT_BYTES.into()));
    for children in [0u64, 1, 3] {
        let make = || engine(&signer, signed.encoded(), digest.object, children);
        let relayed = feed(&mut make(), &messages);
        assert!(relayed >= u64::from(OBJECT_BYTES) * children, "{relayed} bytes for {children}");
        group.bench_function(format!("verify_and_relay_to_{children}"), |b| {
            b.iter_batched_ref(make, |engine| feed(engine, &messages), BatchSize::LargeInput);
        });
    }
    group.finish();
}

criterion_group!(benches, chunk_path);
criterion_main!(benches);
