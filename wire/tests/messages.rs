//! Messages and digests survive the way to bytes and back; anything else is refused, never a panic.

use bytes::Bytes;
use proptest::prelude::*;
use shoal_wire::digest::{CHUNK_SIZE_MIN, CHUNKS_MAX};
use shoal_wire::peer_message::{CHUNKS_PER_MESSAGE_MAX, Holding, MESSAGE_BYTES_MAX};
use shoal_wire::tracker_message::{
    Assignment, IceServer, Mapping, MsnRun, RenditionInfo, Report, SERVER_MESSAGE_BYTES_MAX,
    Signal, Source, Totals,
};
use shoal_wire::{
    BitRate, ByteSize, ChunkRange, ClientMessage, DecodeError, Digest, Epoch, ObjectId,
    OriginSigner, Part, PeerId, PeerMessage, RenditionId, ServerFrame, ServerMessage, SignedDigest,
    Substream,
};
use std::time::Duration;

fn object_id() -> impl Strategy<Value = ObjectId> {
    (any::<u16>(), any::<u32>(), any::<u64>(), any::<u16>()).prop_map(
        |(rendition, epoch, msn, part)| ObjectId {
            rendition: RenditionId(rendition),
            epoch: Epoch(epoch),
            msn,
            part: Part(part),
        },
    )
}

fn chunk_range(count_max: u32) -> impl Strategy<Value = ChunkRange> {
    (0..1000u32, 1..=count_max).prop_map(|(first, count)| ChunkRange::new(first, count))
}

fn peer_message() -> impl Strategy<Value = PeerMessage> {
    let k = || (0..8u8).prop_map(Substream);
    let range = || chunk_range(500);
    prop_oneof![
        (k(), object_id(), any::<u16>(), any::<u32>()).prop_map(
            |(substream, from, weight, turn)| {
                PeerMessage::Subscribe { substream, from, weight, turn }
            }
        ),
        (k(), object_id())
            .prop_map(|(substream, from)| PeerMessage::Subscribed { substream, from }),
        (k(), object_id(), any::<u32>()).prop_map(|(substream, until, turn)| {
            PeerMessage::Unsubscribe { substream, until, turn }
        }),
        (object_id(), range()).prop_map(|(object, chunks)| PeerMessage::Fetch { object, chunks }),
        (object_id(), range()).prop_map(|(object, chunks)| PeerMessage::Cancel { object, chunks }),
        (object_id(), range()).prop_map(|(object, chunks)| PeerMessage::Refuse { object, chunks }),
        (object_id(), range()).prop_map(|(object, chunks)| PeerMessage::Late { object, chunks }),
        (object_id(), 0..3_usize).prop_map(|(object, which)| PeerMessage::Have {
            object,
            holding: [Holding::Digest, Holding::Complete, Holding::Private][which],
        }),
        (object_id(), any::<u8>()).prop_map(|(object, runs)| PeerMessage::Offer { object, runs }),
        (object_id(), k(), any::<u16>()).prop_map(|(object, substream, count)| PeerMessage::End {
            object,
            substream,
            count
        }),
        (
            object_id(),
            chunk_range(CHUNKS_PER_MESSAGE_MAX),
            any::<u16>(),
            prop::collection::vec(any::<u8>(), 1..2000),
        )
            .prop_map(|(object, chunks, held_ms, payload)| PeerMessage::Chunk {
                object,
                chunks,
                held: Duration::from_millis(held_ms.into()),
                payload: payload.into(),
            }),
        prop::collection::vec(any::<u8>(), 1..2000).prop_map(|b| PeerMessage::Digest(b.into())),
        any::<u16>().prop_map(|r| PeerMessage::Forget { rendition: RenditionId(r) }),
        any::<u64>().prop_map(PeerMessage::Ping),
        any::<u64>().prop_map(PeerMessage::Pong),
        Just(PeerMessage::Bye),
    ]
}

fn signer() -> OriginSigner {
    OriginSigner::from_secret(&[42; 32])
}

fn digest_of(bytes: &[u8], ordinal: u64) -> Digest {
    let byte_len = u32::try_from(bytes.len()).expect("small");
    let chunk_size = 1024;
    Digest {
        stream: "cam-1".parse().expect("a valid name"),
        object: ObjectId::segment(RenditionId(1), Epoch(2), 3),
        ordinal,
        byte_len,
        chunk_size,
        substreams: Digest::substreams_for(byte_len, chunk_size),
        duration: Duration::from_millis(2000),
        published_unix_ms: 1_700_000_000_123,
        discontinuity_sequence: 4,
        end_of_stream: bytes.is_empty(),
        playlist_lines: "#EXTINF:2.0,\n1-2-3.ts\n".into(),
        hashes: Digest::hash_chunks(bytes, chunk_size),
    }
}

proptest! {
    #[test]
    fn peer_messages_round_trip(message in peer_message()) {
        let encoded = message.encode();
        prop_assert_eq!(encoded.len(), message.encoded_len());
        prop_assert!(encoded.len() <= MESSAGE_BYTES_MAX);
        prop_assert_eq!(PeerMessage::decode(encoded), Ok(message));
    }

    #[test]
    fn garbage_is_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let key = signer().key();
        if let Ok(message) = PeerMessage::decode(bytes.clone().into()) {
            prop_assert_eq!(message.encode(), Bytes::from(bytes.clone()));
        }
        prop_assert!(SignedDigest::decode(bytes.clone().into(), &[key]).is_err());
        let text = String::from_utf8_lossy(&bytes);
        prop_assert!(ClientMessage::from_json(&text).is_err());
        prop_assert!(ServerMessage::from_text(&text).is_err());
    }

    #[test]
    fn a_cut_message_is_refused(message in peer_message(), cut in 1usize..16) {
        let encoded = message.encode();
        prop_assert_eq!(encoded.len(), message.encoded_len());
        let shorter = encoded.slice(..encoded.len().saturating_sub(cut));
        let carries_bytes = matches!(message, PeerMessage::Chunk { .. } | PeerMessage::Digest(_));
        if !carries_bytes {
            prop_assert!(PeerMessage::decode(shorter).is_err());
        }
    }

    #[test]
    fn digests_round_trip(bytes in prop::collection::vec(any::<u8>(), 0..40_000), ordinal: u64) {
        let signed = signer().sign(digest_of(&bytes, ordinal)).expect("within limits");
        let read = SignedDigest::decode(signed.encoded().clone(), &[signer().key()]);
        prop_assert_eq!(read.as_ref(), Ok(&signed));
    }

    #[test]
    fn a_changed_digest_is_refused(at: prop::sample::Index, flip in 1u8..) {
        let signed = signer().sign(digest_of(&[9; 5000], 7)).expect("within limits");
        let mut bytes = signed.encoded().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        prop_assert!(SignedDigest::decode(bytes.into(), &[signer().key()]).is_err());
    }

    #[test]
    fn runs_cover_the_object_once(len in 1u32..200_000, ordinal: u64) {
        let digest = digest_of(&vec![0; len as usize], ordinal);
        let mut seen = vec![0u32; digest.chunk_count() as usize];
        let mut bytes = 0;
        for k in (0..digest.substreams).map(Substream) {
            let run = digest.run(k);
            bytes += digest.byte_range(run).1;
            for chunk in run.indices() {
                seen[chunk as usize] += 1;
                prop_assert_eq!(digest.substream_of(chunk), k);
            }
        }
        prop_assert!(seen.iter().all(|count| *count == 1));
        prop_assert_eq!(bytes, len);
        let total: u32 = (0..digest.chunk_count()).map(|c| digest.chunk_len(c)).sum();
        prop_assert_eq!(total, len);
    }
}

#[test]
fn another_key_is_refused_and_the_next_key_accepted() {
    let signed = signer().sign(digest_of(&[1; 3000], 0)).expect("within limits");
    let other = OriginSigner::from_secret(&[43; 32]).key();
    let bytes = signed.encoded().clone();
    assert_eq!(
        SignedDigest::decode(bytes.clone(), std::slice::from_ref(&other)),
        Err(DecodeError::Signature)
    );
    assert_eq!(SignedDigest::decode(bytes.clone(), &[]), Err(DecodeError::Signature));
    assert!(SignedDigest::decode(bytes, &[other, signer().key()]).is_ok());
}

#[test]
fn digests_outside_the_limits_are_not_signed() {
    let good = digest_of(&[1; 3000], 0);
    let bad = [
        Digest { chunk_size: CHUNK_SIZE_MIN - 1, ..good.clone() },
        Digest { substreams: 0, ..good.clone() },
        Digest { substreams: 9, ..good.clone() },
        Digest { hashes: Vec::new(), ..good.clone() },
        Digest { byte_len: 0, ..good.clone() },
        Digest { end_of_stream: true, ..good.clone() },
        Digest { playlist_lines: "x".repeat(9000), ..good.clone() },
    ];
    for digest in bad {
        assert!(signer().sign(digest.clone()).is_err(), "{digest:?}");
    }
    assert!(signer().sign(good).is_ok());
}

#[test]
fn chunk_sizes_keep_large_digests_within_a_message() {
    for (len, size) in [(1, 16_384), (24 << 20, 16_384), (32 << 20, 22_528), (64 << 20, 44_032)] {
        assert_eq!(Digest::chunk_size_for(len), size, "{len}");
        assert!(len.div_ceil(size) <= CHUNKS_MAX);
    }
}

/// The layout is a contract with peers of other builds and with the browser, whose tests read the
/// same file.
#[test]
fn golden_bytes() {
    let object = ObjectId { rendition: RenditionId(1), epoch: Epoch(2), msn: 3, part: Part::WHOLE };
    let chunks = ChunkRange::new(4, 2);
    let held = Duration::from_millis(258);
    let payload = Bytes::from_static(b"\xaa\xbb").into();
    let (substream, last) = (Substream(5), Substream(7));
    let messages = [
        ("subscribe", PeerMessage::Subscribe { substream, from: object, weight: 6, turn: 11 }),
        ("subscribed", PeerMessage::Subscribed { substream, from: object }),
        ("unsubscribe", PeerMessage::Unsubscribe { substream, until: object, turn: 12 }),
        ("fetch", PeerMessage::Fetch { object, chunks }),
        ("want-digest", PeerMessage::Fetch { object, chunks: ChunkRange::new(0, 0) }),
        ("cancel", PeerMessage::Cancel { object, chunks }),
        ("refuse", PeerMessage::Refuse { object, chunks }),
        ("chunk", PeerMessage::Chunk { object, chunks, held, payload }),
        ("digest", PeerMessage::Digest(Bytes::from_static(b"\xcc"))),
        ("have", PeerMessage::Have { object, holding: Holding::Complete }),
        ("have-private", PeerMessage::Have { object, holding: Holding::Private }),
        ("end", PeerMessage::End { object, substream: last, count: 4 }),
        ("late", PeerMessage::Late { object, chunks }),
        ("forget", PeerMessage::Forget { rendition: RenditionId(1) }),
        ("ping", PeerMessage::Ping(9)),
        ("pong", PeerMessage::Pong(9)),
        ("bye", PeerMessage::Bye),
        ("offer", PeerMessage::Offer { object, runs: 0b1000_0001 }),
    ];
    let lines = include_str!("../golden/peer_messages.txt").lines();
    let lines: Vec<_> = lines.filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines.len(), messages.len());
    for (line, (name, message)) in lines.into_iter().zip(messages) {
        let encoded: String = message.encode().iter().map(|b| format!("{b:02x}")).collect();
        let (golden_name, hex) = line.split_once(": ").expect("a line is a name and bytes");
        assert_eq!((golden_name, hex.replace(' ', "")), (name, encoded));
        assert_eq!(PeerMessage::decode(message.encode()), Ok(message));
    }
}

#[test]
fn json_messages_round_trip() {
    let report = Report {
        totals: Totals { delivered: ByteSize::from_bytes(9), ..Totals::default() },
        upload: BitRate::from_bps(5),
        ..Report::default()
    };
    let position = ClientMessage::Position {
        rendition: RenditionId(1),
        epoch: Epoch(3),
        msn: 9,
        ahead: 15,
        held: vec![MsnRun { first: 0, count: 9 }],
    };
    let mapping = ClientMessage::Mapping { mapping: Mapping::Symmetric };
    assert_eq!(mapping.to_json(), r#"{"type":"mapping","mapping":"symmetric"}"#);
    let from_client = [
        mapping,
        ClientMessage::Watch { rendition: RenditionId(1), msn: 2 },
        ClientMessage::Signal { peer: PeerId(0xabc), signal: Signal::Offer { sdp: "v=0".into() } },
        ClientMessage::Report(report),
        position.clone(),
        ClientMessage::Bye,
    ];
    assert_eq!(
        position.to_json(),
        r#"{"type":"position","rendition":1,"epoch":3,"msn":9,"ahead":15,"held":[{"first":0,"count":9}]}"#
    );
    for message in from_client {
        assert_eq!(ClientMessage::from_json(&message.to_json()), Ok(message));
    }
    let assignments =
        vec![Assignment { substream: Substream(1), parent: Some(PeerId(0x0123_4567_89ab_cdef)) }];
    let plan =
        ServerMessage::Plan { version: 1, rendition: RenditionId(0), substreams: 8, assignments };
    assert_eq!(
        text_of(&plan),
        r#"{"type":"plan","version":1,"rendition":0,"substreams":8,"assignments":[{"substream":1,"parent":"0123456789abcdef"}]}"#
    );
    let encoding = Bytes::from_static(b"\x00\xff");
    let digest = ServerMessage::Digest { digest: encoding.clone() };
    assert_eq!(digest.to_frame(), ServerFrame::Binary(encoding.clone()));
    assert_eq!(ServerMessage::from_binary(encoding), Ok(digest));
    let as_text = r#"{"type":"digest","digest":"AP8="}"#;
    assert!(matches!(ServerMessage::from_text(as_text), Err(DecodeError::Json(_))));
    let source = Source { peer: PeerId(7), runs: vec![MsnRun { first: 4, count: 2 }], next: 6 };
    let (rendition, epoch) = (RenditionId(1), Epoch(3));
    let sources = ServerMessage::Sources { rendition, epoch, sources: vec![source] };
    assert_eq!(
        text_of(&sources),
        r#"{"type":"sources","rendition":1,"epoch":3,"sources":[{"peer":"0000000000000007","runs":[{"first":4,"count":2}],"next":6}]}"#
    );
    let ice = ServerMessage::IceServers {
        ice_servers: vec![IceServer {
            urls: vec!["turn:t.example".into()],
            username: Some("1:a".into()),
            credential: None,
        }],
    };
    assert_eq!(
        text_of(&ice),
        r#"{"type":"ice_servers","ice_servers":[{"urls":["turn:t.example"],"username":"1:a"}]}"#
    );
    for message in [plan, sources, ice] {
        assert_eq!(ServerMessage::from_text(&text_of(&message)), Ok(message));
    }
}

fn text_of(message: &ServerMessage) -> String {
    match message.to_frame() {
        ServerFrame::Text(text) => text,
        ServerFrame::Binary(_) => panic!("{message:?} is no text"),
    }
}

#[test]
fn long_and_wrong_messages_are_refused() {
    let long = vec![7u8; MESSAGE_BYTES_MAX + 1].into();
    assert!(matches!(PeerMessage::decode(long), Err(DecodeError::TooLong { .. })));
    let too_long = " ".repeat(40_000);
    assert!(matches!(ClientMessage::from_json(&too_long), Err(DecodeError::TooLong { .. })));
    let too_long = vec![0; SERVER_MESSAGE_BYTES_MAX + 1].into();
    assert!(matches!(ServerMessage::from_binary(too_long), Err(DecodeError::TooLong { .. })));
    let cases = [
        (vec![], DecodeError::Truncated),
        (vec![0], DecodeError::Unknown { what: "message type", value: 0 }),
        (vec![15, 1], DecodeError::TrailingBytes(1)),
    ];
    for (bytes, error) in cases {
        assert_eq!(PeerMessage::decode(bytes.into()), Err(error));
    }
}

#[test]
fn what_runs_have_in_common() {
    let run = |first, count| MsnRun { first, count };
    for (held, first, end, common) in [
        (run(0, 9), 4, 20, Some(run(4, 5))),
        (run(5, 2), 4, 20, Some(run(5, 2))),
        (run(5, 20), 4, 20, Some(run(5, 15))),
        (run(0, 4), 4, 20, None),
        (run(20, 4), 4, 20, None),
        (run(u64::MAX, u32::MAX), 0, 9, None),
    ] {
        assert_eq!(held.within(first, end), common, "{held:?}");
    }
}

#[test]
fn renditions_are_live_unless_they_say_otherwise() {
    let live = r#"{"rendition":1,"playlist":"video.m3u8"}"#;
    let info: RenditionInfo = serde_json::from_str(live).expect("an older server's");
    assert!(!info.on_demand);
    assert_eq!(serde_json::to_string(&info).expect("it is text"), live);
    let title = RenditionInfo { on_demand: true, ..info };
    let read = serde_json::to_string(&title).expect("it is text");
    assert_eq!(serde_json::from_str::<RenditionInfo>(&read).expect("our own"), title);
}
