//! Traces of requests, digests and polls, and when the origin is asked.

use super::*;
use shoal_wire::{Digest, Epoch, OriginSigner};

const R: RenditionId = RenditionId(0);

struct World {
    playlists: Playlists,
    start: Instant,
    now: Instant,
    url: Url,
    signer: OriginSigner,
}

/// What a request led to.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// These segments were shown.
    Shown(Vec<u64>),
    /// The origin is to be polled.
    Polls,
    /// It waits for the poll that is under way.
    Waits,
    /// The playlist is not known.
    Unknown,
}

impl World {
    fn new() -> Self {
        let start = Instant::now();
        let url = Url::parse("http://o/live/a/index.m3u8").unwrap();
        let signer = OriginSigner::from_secret(&[7; 32]);
        Self { playlists: Playlists::default(), start, now: start, url, signer }
    }

    fn at(&mut self, millis: u64) {
        self.now = self.start + Duration::from_millis(millis);
    }

    fn text(&self, segments: std::ops::Range<u64>) -> PlaylistText {
        let mut text =
            format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:{}\n", segments.start);
        for msn in segments {
            text.push_str(&lines(msn));
        }
        PlaylistText { found: self.url.clone(), text, address: None }
    }

    fn seen(&mut self, segments: std::ops::Range<u64>) {
        let text = self.text(segments);
        assert!(self.playlists.seen(&self.url, &text, Some(R), self.now));
    }

    fn publish(&mut self, msn: u64) {
        let digest = Digest {
            stream: "a".parse().unwrap(),
            object: ObjectId::segment(R, Epoch(1), msn),
            ordinal: msn,
            byte_len: 3,
            chunk_size: 16_384,
            substreams: 1,
            duration: Duration::from_secs(2),
            published_unix_ms: 0,
            discontinuity_sequence: 0,
            end_of_stream: false,
            playlist_lines: lines(msn),
            hashes: Digest::hash_chunks(b"abc", 16_384),
        };
        let digest = Arc::new(self.signer.sign(digest).unwrap());
        self.playlists.published(&digest, self.now);
    }

    fn ask(&mut self, connected: bool) -> (Outcome, oneshot::Receiver<Answer>) {
        let (reply, mut answer) = oneshot::channel();
        let outcome = match self.playlists.request(&self.url, connected, reply, self.now) {
            Decision::Poll(url) => {
                assert_eq!(url, self.url);
                Outcome::Polls
            }
            Decision::Done => match answer.try_recv() {
                Ok(answer) => shown(answer),
                Err(_) => Outcome::Waits,
            },
        };
        (outcome, answer)
    }

    fn check(&mut self, millis: u64, connected: bool, expected: Outcome) {
        self.at(millis);
        assert_eq!(self.ask(connected).0, expected, "at {millis} ms");
    }
}

fn lines(msn: u64) -> String {
    format!("#EXTINF:2.000,\n0-1-{msn}.ts\n")
}

fn shown(answer: Answer) -> Outcome {
    let Some(answer) = answer else { return Outcome::Unknown };
    let text = answer.unwrap().text.clone();
    let msns =
        crate::playlist::uris(&text).map(|uri| ObjectId::from_url_path(uri).unwrap().msn).collect();
    Outcome::Shown(msns)
}

#[test]
fn digests_take_the_place_of_polls() {
    let mut w = World::new();
    w.check(0, true, Outcome::Unknown);
    w.seen(4..10);
    w.check(100, true, Outcome::Shown((4..10).collect()));
    w.at(1900);
    w.publish(10);
    w.check(2000, true, Outcome::Shown((5..11).collect()));
    w.check(4800, true, Outcome::Shown((5..11).collect()));
    w.check(5000, true, Outcome::Polls);
}

#[test]
fn an_overdue_digest_is_polled_for_and_polls_are_shared() {
    let mut w = World::new();
    w.seen(4..10);
    w.at(3100);
    let (first, first_answer) = w.ask(true);
    let (second, second_answer) = w.ask(true);
    assert_eq!((first, second), (Outcome::Polls, Outcome::Waits));
    let text = w.text(5..11);
    w.playlists.polled(&w.url.clone(), Ok(text), Some(R), w.now);
    for mut answer in [first_answer, second_answer] {
        assert_eq!(shown(answer.try_recv().unwrap()), Outcome::Shown((5..11).collect()));
    }
    w.check(5000, true, Outcome::Shown((5..11).collect()));
}

#[test]
fn without_news_the_origin_is_asked_twice_a_second_at_most() {
    let mut w = World::new();
    w.seen(4..10);
    w.check(3100, true, Outcome::Polls);
    let text = w.text(4..10);
    w.playlists.polled(&w.url.clone(), Ok(text), Some(R), w.now);
    w.check(3500, true, Outcome::Shown((4..10).collect()));
    w.check(3600, true, Outcome::Polls);
}

#[test]
fn a_gap_and_a_lost_tracker_lead_to_the_origin() {
    let mut w = World::new();
    w.seen(4..10);
    w.at(600);
    w.publish(11);
    w.check(700, true, Outcome::Polls);
    // The origin's answer may be older than the digests.
    let text = w.text(5..11);
    w.playlists.polled(&w.url.clone(), Ok(text), Some(R), w.now);
    w.check(800, true, Outcome::Shown((6..12).collect()));
    w.check(1300, false, Outcome::Polls);
}

#[test]
fn an_order_of_arrival_is_no_gap() {
    let mut w = World::new();
    w.seen(4..10);
    w.at(600);
    w.publish(11);
    w.publish(10);
    w.publish(10);
    w.check(700, true, Outcome::Shown((6..12).collect()));
}

#[test]
fn an_origin_that_is_down_leaves_what_is_known() {
    let mut w = World::new();
    w.seen(4..10);
    for failure in [
        PlaylistFailure::Unreachable,
        PlaylistFailure::Status(reqwest::StatusCode::SERVICE_UNAVAILABLE),
    ] {
        w.at(3100 + w.now.duration_since(w.start).as_millis() as u64);
        let (outcome, mut answer) = w.ask(false);
        assert_eq!(outcome, Outcome::Polls);
        w.playlists.polled(&w.url.clone(), Err(failure), None, w.now);
        assert_eq!(shown(answer.try_recv().unwrap()), Outcome::Shown((4..10).collect()));
    }
    w.at(20_000);
    let (_, mut answer) = w.ask(false);
    let gone = PlaylistFailure::Status(reqwest::StatusCode::NOT_FOUND);
    w.playlists.polled(&w.url.clone(), Err(gone), None, w.now);
    assert_eq!(answer.try_recv().unwrap().unwrap().unwrap_err(), gone);
}

#[test]
fn memory_is_bounded() {
    let mut w = World::new();
    for index in 0..200 {
        w.url = Url::parse(&format!("http://o/live/a/index.m3u8?token={index}")).unwrap();
        w.at(index);
        w.seen(4..10);
        w.publish(10 + index);
    }
    assert_eq!(w.playlists.entries.len(), PLAYLISTS_MAX);
    assert_eq!(w.playlists.digests[&R].len(), DIGESTS_MAX);
}
