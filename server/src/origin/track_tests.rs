//! Traces of playlists and uploads, and what they must mean.

use super::super::encoder_playlist::Piece;
use super::*;
use bytes::Bytes;

struct Encoder {
    track: Track,
    uploads: Uploads,
    now: Instant,
}

impl Encoder {
    fn new() -> Self {
        let uploads = Uploads::new(1 << 20);
        Self { track: Track::default(), uploads, now: Instant::now() }
    }

    fn put(&mut self, name: &str, bytes: &'static str) {
        let bytes = Bytes::from(bytes);
        self.uploads.insert(name, bytes.clone(), blake3::hash(&bytes), self.now);
    }

    fn list(&mut self, first_seq: u64, names: &[&str]) -> Verdict {
        let entries = names
            .iter()
            .map(|name| Entry { piece: Piece::whole(name), ..Entry::default() })
            .collect();
        let playlist = MediaPlaylist { first_seq, entries, ..MediaPlaylist::default() };
        self.track.playlist(playlist, &self.uploads, self.now)
    }

    /// What gets published now: names, with `!` where a discontinuity stands before.
    fn publish(&mut self) -> Vec<String> {
        let mut out = Vec::new();
        for _ in 0..1000 {
            match self.track.step(&self.uploads, self.now) {
                Step::Publish { entry } => {
                    let upload = self.uploads.remove(&entry.piece.name).unwrap();
                    self.track.published(&upload.hash, 60);
                    out.push(format!(
                        "{}{}",
                        if entry.discontinuity { "!" } else { "" },
                        entry.piece.name
                    ));
                }
                Step::GaveUp => {}
                Step::End => {
                    self.track.end_published();
                    out.push("end".into());
                }
                Step::Wait => return out,
            }
        }
        panic!("no end of steps");
    }
}

#[test]
fn a_segment_needs_its_name_and_its_bytes() {
    let mut e = Encoder::new();
    e.put("0", "a");
    assert!(e.publish().is_empty());
    assert_eq!(e.list(0, &["0", "1"]), Verdict::Continues);
    assert_eq!(e.publish(), ["0"]);
    e.put("1", "b");
    assert_eq!(e.publish(), ["1"]);
    assert_eq!(e.list(0, &["0", "1"]), Verdict::Known);
    assert!(e.publish().is_empty());
}

#[test]
fn a_retry_is_no_new_segment() {
    let mut e = Encoder::new();
    e.put("0", "a");
    e.list(0, &["0"]);
    assert_eq!(e.publish(), ["0"]);
    e.put("0", "a");
    assert_eq!(e.list(0, &["0"]), Verdict::Known);
    assert!(e.publish().is_empty());
    assert!(e.track.knows("0", &blake3::hash(b"a")));
}

#[test]
fn other_bytes_under_a_known_name_and_number_are_a_restart() {
    let mut e = Encoder::new();
    for (seq, bytes) in [(0, "a"), (1, "b"), (2, "c")] {
        e.put(&seq.to_string(), bytes);
        e.list(seq, &[&seq.to_string()]);
    }
    assert_eq!(e.publish(), ["0", "1", "2"]);
    e.put("0", "x");
    assert_eq!(e.list(0, &["0"]), Verdict::Restarts);
    assert_eq!(e.publish(), ["!0"]);
    e.put("1", "y");
    assert_eq!(e.list(0, &["0", "1"]), Verdict::Continues);
    assert_eq!(e.publish(), ["1"]);
}

#[test]
fn a_restart_is_seen_when_the_playlist_overtakes_the_segment() {
    let mut e = Encoder::new();
    e.put("0", "a");
    e.list(0, &["0"]);
    e.publish();
    assert_eq!(e.list(0, &["0"]), Verdict::Known);
    e.put("0", "x");
    assert_eq!(e.track.look_again(&e.uploads, e.now), Verdict::Restarts);
    assert_eq!(e.publish(), ["!0"]);
}

#[test]
fn numbers_that_start_again_are_a_restart_even_with_equal_bytes() {
    let mut e = Encoder::new();
    for seq in 0..40_u64 {
        e.put(&seq.to_string(), "same");
        e.list(seq, &[&seq.to_string()]);
    }
    assert_eq!(e.publish().len(), 40);
    e.put("0", "same");
    assert_eq!(e.list(0, &["0"]), Verdict::Restarts);
    assert_eq!(e.publish(), ["!0"]);
}

#[test]
fn an_overtaken_playlist_changes_nothing() {
    let mut e = Encoder::new();
    for seq in 0..12_u64 {
        e.put(&seq.to_string(), "a");
    }
    e.list(0, &["0", "1", "2", "3"]);
    e.publish();
    assert_eq!(e.list(0, &["0", "1"]), Verdict::Known);
    assert!(e.publish().is_empty());
}

#[test]
fn names_may_be_used_again_while_the_numbers_go_on() {
    let mut e = Encoder::new();
    for seq in 0..9_u64 {
        let name = (seq % 3).to_string();
        e.put(&name, ["a", "b", "c", "d", "e", "f", "g", "h", "i"][usize::try_from(seq).unwrap()]);
        assert_eq!(e.list(seq, &[&name]), Verdict::Continues);
        assert_eq!(e.publish(), [name]);
    }
}

#[test]
fn what_does_not_come_is_given_up_once_a_later_one_is_there() {
    let mut e = Encoder::new();
    e.put("0", "a");
    e.put("2", "c");
    e.list(0, &["0", "1", "2"]);
    assert_eq!(e.publish(), ["0"]);
    e.now += MISSING_WAIT;
    e.uploads.begin("1");
    assert!(e.publish().is_empty(), "it is coming");
    e.uploads.end("1");
    assert_eq!(e.publish(), ["!2"]);
}

#[test]
fn a_hole_in_the_numbers_is_a_discontinuity() {
    let mut e = Encoder::new();
    e.put("0", "a");
    e.list(0, &["0"]);
    e.publish();
    e.put("7", "b");
    assert_eq!(e.list(7, &["7"]), Verdict::Continues);
    assert_eq!(e.publish(), ["!7"]);
}

#[test]
fn the_end_comes_after_the_last_segment() {
    let mut e = Encoder::new();
    let entry = Entry { piece: Piece::whole("0"), ..Entry::default() };
    let playlist = MediaPlaylist { ended: true, entries: vec![entry], ..MediaPlaylist::default() };
    e.track.playlist(playlist, &e.uploads, e.now);
    assert!(e.publish().is_empty());
    e.put("0", "a");
    assert_eq!(e.publish(), ["0", "end"]);
}

#[test]
fn it_goes_on_where_it_was_saved() {
    let mut e = Encoder::new();
    e.put("0", "a");
    e.list(0, &["0"]);
    e.publish();
    let saved = serde_json::to_string(&e.track).unwrap();
    e.track = serde_json::from_str(&saved).unwrap();
    e.put("1", "b");
    assert_eq!(e.list(0, &["0", "1"]), Verdict::Continues);
    assert_eq!(e.publish(), ["1"]);
    e.put("1", "z");
    assert_eq!(e.list(0, &["0", "1"]), Verdict::Restarts);
}

#[test]
fn a_gap_needs_no_bytes_and_no_discontinuity() {
    let mut e = Encoder::new();
    let entry = |name, gap| Entry { piece: Piece::whole(name), gap, ..Entry::default() };
    let entries = vec![entry("0", false), entry("1", true), entry("2", false)];
    let playlist = MediaPlaylist { entries, ..MediaPlaylist::default() };
    e.put("0", "a");
    e.track.playlist(playlist.clone(), &e.uploads, e.now);
    let step = |e: &Encoder| match e.track.clone().step(&e.uploads, e.now) {
        Step::Publish { entry } => Some((entry.piece.name, entry.gap, entry.discontinuity)),
        Step::GaveUp | Step::End | Step::Wait => None,
    };
    assert_eq!(step(&e), Some(("0".into(), false, false)));
    e.track.published(&blake3::hash(b"a"), 60);
    assert_eq!(step(&e), Some(("1".into(), true, false)));
    e.track.published(&blake3::hash(b""), 60);
    assert_eq!(step(&e), None, "the next one is not there yet");
    e.put("1", "late");
    assert_eq!(e.track.playlist(playlist, &e.uploads, e.now), Verdict::Known, "it stays a gap");
    e.put("2", "c");
    assert_eq!(step(&e), Some(("2".into(), false, false)));
}

#[test]
fn ranges_of_one_file_are_told_apart() {
    let mut e = Encoder::new();
    let entry =
        |range| Entry { piece: Piece { name: "f".into(), range: Some(range) }, ..Entry::default() };
    let list = |e: &mut Encoder, first_seq, ranges: &[(u64, u64)]| {
        let entries = ranges.iter().map(|range| entry(*range)).collect();
        let playlist = MediaPlaylist { first_seq, entries, ..MediaPlaylist::default() };
        e.track.playlist(playlist, &e.uploads, e.now)
    };
    e.put("f", "0123456789");
    list(&mut e, 0, &[(0, 4), (4, 4), (8, 4)]);
    for _ in 0..2 {
        let Step::Publish { entry } = e.track.step(&e.uploads, e.now) else { panic!("is ready") };
        e.track.published(&e.uploads.piece(&entry.piece).unwrap().1, 60);
    }
    assert_eq!(e.track.step(&e.uploads, e.now), Step::Wait, "the file is too short");
    e.put("f", "0123456789ab");
    assert_eq!(list(&mut e, 0, &[(0, 4), (4, 4), (8, 4)]), Verdict::Known, "it only grew");
    assert!(matches!(e.track.step(&e.uploads, e.now), Step::Publish { .. }));
    assert_eq!(list(&mut e, 0, &[(0, 5)]), Verdict::Restarts);
}
