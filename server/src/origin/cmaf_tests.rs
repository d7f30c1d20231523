//! Bodies made by hand, cut wherever they may come in pieces.

use super::*;

fn boxed(kind: &[u8; 4], payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len() + 8).unwrap();
    [&len.to_be_bytes()[..], kind, payload].concat()
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// Track 7 with 1,000 ticks per second; samples last 100 and are no sync samples unless they say so.
fn init() -> Vec<u8> {
    let tkhd = boxed(b"tkhd", &words(&[0, 0, 0, 7, 0]));
    let mdia = boxed(b"mdia", &boxed(b"mdhd", &words(&[0, 0, 0, 1000, 0])));
    let trak = boxed(b"trak", &[tkhd, mdia].concat());
    let trex = boxed(b"trex", &words(&[0, 7, 1, 100, 0, NON_SYNC_SAMPLE]));
    let moov = [trak, boxed(b"mvex", &trex)].concat();
    [boxed(b"ftyp", b"cmfc"), boxed(b"moov", &moov)].concat()
}

/// A fragment of samples that last `ticks` each.
fn fragment(ticks: &[u32], sync: bool) -> Vec<u8> {
    let tfhd = boxed(b"tfhd", &words(&[0x02_0000, 7]));
    let count = u32::try_from(ticks.len()).unwrap();
    let first = if sync { 0 } else { NON_SYNC_SAMPLE };
    let mut trun = words(&[0x105, count, 0, first]);
    trun.extend(words(ticks));
    let traf = [tfhd, boxed(b"trun", &trun)].concat();
    [boxed(b"moof", &boxed(b"traf", &traf)), boxed(b"mdat", &[9; 50])].concat()
}

fn cut(body: &[u8], piece: usize, target_ms: u64) -> Vec<CutPart> {
    let tracks = Tracks::read(&init()).unwrap();
    let mut cutter = Cutter::new(tracks, Duration::from_millis(target_ms));
    let mut parts: Vec<_> = body.chunks(piece).flat_map(|piece| cutter.push(piece)).collect();
    parts.extend(cutter.finish());
    parts
}

#[test]
fn fragments_become_parts_whose_bytes_are_the_body() {
    let long = || fragment(&[130, 130, 130, 130], false);
    let body = [
        boxed(b"styp", b"msdh"),
        fragment(&[260, 260], true),
        long(),
        long(),
        fragment(&[440], false),
    ];
    let body = body.concat();
    for piece in [1, 7, 64, body.len()] {
        let parts = cut(&body, piece, 520);
        let said: Vec<_> =
            parts.iter().map(|part| (part.duration.as_millis(), part.independent)).collect();
        assert_eq!(said, [(520, true), (520, false), (520, false), (440, false)], "{piece}");
        assert_eq!(parts.iter().flat_map(|part| part.bytes.to_vec()).collect::<Vec<_>>(), body);
    }
}

#[test]
fn small_fragments_are_joined_up_to_the_target() {
    let frames: Vec<_> = (0..50).flat_map(|frame| fragment(&[40], frame == 0)).collect();
    let parts = cut(&frames, 100, 500);
    let lasts: Vec<_> = parts.iter().map(|part| part.duration.as_millis()).collect();
    assert!(lasts.iter().all(|ms| *ms <= 500), "{lasts:?}");
    assert!(lasts.iter().rev().skip(1).all(|ms| *ms >= 425), "{lasts:?}");
    assert_eq!(lasts.iter().sum::<u128>(), 2000);
}

#[test]
fn flags_and_durations_come_from_where_they_are_said() {
    let tracks = Tracks::read(&init()).unwrap();
    // No fields in the run: the init section's defaults.
    assert_eq!(samples(&words(&[0, 3]), 100, NON_SYNC_SAMPLE), Some((300, Some(NON_SYNC_SAMPLE))));
    // Flags and sizes of each sample.
    let run = words(&[0x600, 2, 11, 0, 12, NON_SYNC_SAMPLE]);
    assert_eq!(samples(&run, 100, NON_SYNC_SAMPLE), Some((200, Some(0))));
    // Defaults of the fragment.
    let tfhd = boxed(b"tfhd", &words(&[0x28, 7, 30, 0]));
    let traf = [tfhd, boxed(b"trun", &words(&[0, 2]))].concat();
    assert_eq!(tracks.run(&traf), Some((60, 0, 1000)));
}

#[test]
fn what_does_not_parse_is_not_cut() {
    assert_eq!(Tracks::read(b"no boxes at all"), None);
    assert_eq!(Tracks::read(&boxed(b"moov", b"")), None);
    let short = words(&[0x105, 1000, 0, 0]);
    assert_eq!(samples(&short, 1, 0), None, "more samples than bytes");
    assert_eq!(cut(&boxed(b"moof", b"xx"), 3, 500), []);
    assert_eq!(cut(&[0; 100], 9, 500), [], "boxes of no length");
    assert_eq!(cut(&[1; 2 << 20], 1 << 16, 500), []);
}
