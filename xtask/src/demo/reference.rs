//! What every player should have received, and whether it did.
//!
//! Rule: deliveries are compared with the file that ffmpeg also wrote to disk; where the server's
//! own demo channel plays, with a download of ours from the mirror listener, as nothing else is to
//! be had. Names map to files in order: if media sequence number m of an epoch is file i, m + 1
//! must be file i + 1. Bytes are compared, not only whole segments: what a player got of a segment
//! that it left half-way counts too.

use super::encoder;
use super::http;
use super::lock;
use super::playlist::{self, Entry};
use super::timeline::Timeline;
use super::{clock, pts};
use anyhow::Result;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Segments whose bytes are kept to compare with: five minutes of 2 s.
const BODIES_MAX: usize = 150;

/// How often the mirror's playlist is read.
const POLL_EVERY: Duration = Duration::from_millis(250);

/// A delivery that nothing could be compared with for so long stays unverified.
const PENDING_S_MAX: f64 = 60.0;

/// A segment as its name says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// Rendition.
    pub(crate) rendition: u64,
    /// Epoch.
    pub(crate) epoch: u64,
    /// Media sequence number.
    pub(crate) msn: u64,
}

impl Key {
    /// Reads `RENDITION-EPOCH-MSN.ext`.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let stem = name.rsplit('/').next()?.split(['.', '?']).next()?;
        let numbers: Option<Vec<u64>> = stem.split('-').map(|field| field.parse().ok()).collect();
        match numbers?[..] {
            [rendition, epoch, msn] => Some(Self { rendition, epoch, msn }),
            _ => None,
        }
    }
}

/// What a recorder saw a player get in one response.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    /// Which segment.
    pub(crate) key: Key,
    /// First byte's place in it.
    pub(crate) offset: usize,
    /// Bytes.
    pub(crate) bytes: usize,
    /// BLAKE3 of the bytes.
    pub(crate) hash: String,
    /// How it ended.
    pub(crate) end: End,
    /// When, Unix seconds.
    pub(crate) at_s: f64,
}

/// How a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// As its head had said.
    Complete,
    /// The agent ended it early.
    Cut,
    /// The player left.
    Left,
}

impl Delivery {
    /// Reads a recorder's line; none if it is no segment's.
    pub(crate) fn read(line: &Value) -> Option<Self> {
        Some(Self {
            key: Key::parse(line["name"].as_str()?)?,
            offset: usize::try_from(line["offset"].as_u64()?).ok()?,
            bytes: usize::try_from(line["bytes"].as_u64()?).ok()?,
            hash: line["hash"].as_str()?.to_owned(),
            end: match line["end"].as_str()? {
                "complete" => End::Complete,
                "cut" => End::Cut,
                _ => End::Left,
            },
            at_s: clock::unix_s(),
        })
    }
}

/// Counts of what was compared.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Whole segments that players received.
    pub(crate) segments: u64,
    /// Deliveries with bytes other than the reference's.
    pub(crate) mismatched: u64,
    /// Responses that the agent ended early.
    pub(crate) cut: u64,
    /// Deliveries that there was nothing to compare with.
    pub(crate) unverified: u64,
    /// Segments that the server publishes with other bytes than ffmpeg wrote, or out of order.
    pub(crate) published_wrong: u64,
    /// Epochs of the stream.
    pub(crate) epochs: BTreeSet<u64>,
    /// What was wrong, in words; the first few.
    pub(crate) complaints: Vec<String>,
}

impl Tally {
    fn complain(&mut self, what: String) {
        if self.complaints.len() < 20 {
            self.complaints.push(what);
        }
    }
}

type Bytes = Arc<Vec<u8>>;

/// Reference bytes and the deliveries still to be compared.
#[derive(Debug, Default)]
pub(crate) struct Reference {
    has_files: bool,
    /// What the mirror serves.
    mirror: BTreeMap<Key, Bytes>,
    /// What ffmpeg wrote, by its own numbering.
    files: BTreeMap<u64, Bytes>,
    /// Per epoch: media sequence number minus file number.
    shift: BTreeMap<u64, u64>,
    unchecked: BTreeSet<Key>,
    pending: Vec<Delivery>,
    tally: Tally,
}

impl Reference {
    /// With ffmpeg's files as the truth, or the mirror's.
    pub(crate) fn new(has_files: bool) -> Self {
        Self { has_files, ..Self::default() }
    }

    /// A segment as the mirror serves it.
    pub(crate) fn add_mirror(&mut self, key: Key, body: Vec<u8>) {
        self.tally.epochs.insert(key.epoch);
        self.mirror.insert(key, Arc::new(body));
        self.unchecked.insert(key);
        trim(&mut self.mirror);
    }

    /// A segment as ffmpeg wrote it.
    pub(crate) fn add_file(&mut self, number: u64, body: Vec<u8>) {
        self.files.insert(number, Arc::new(body));
        trim(&mut self.files);
    }

    /// Something that a player received.
    pub(crate) fn add_delivery(&mut self, delivery: Delivery) {
        self.pending.push(delivery);
    }

    /// Compares what can be compared by now.
    pub(crate) fn settle(&mut self, now_s: f64) {
        if self.has_files {
            for key in std::mem::take(&mut self.unchecked) {
                self.check_published(key);
            }
        }
        for delivery in std::mem::take(&mut self.pending) {
            match self.expected(delivery.key) {
                Some(body) => self.compare(&delivery, &body),
                None if now_s - delivery.at_s > PENDING_S_MAX => self.tally.unverified += 1,
                None => self.pending.push(delivery),
            }
        }
    }

    /// Counts so far; what is still pending counts as unverified.
    pub(crate) fn tally(&self) -> Tally {
        let mut tally = self.tally.clone();
        tally.unverified += self.pending.len() as u64;
        tally
    }

    /// The first segment of an epoch is found by its bytes, all later ones by their number.
    fn check_published(&mut self, key: Key) {
        let Some(served) = self.mirror.get(&key).cloned() else { return };
        let Some(shift) = self.shift.get(&key.epoch) else {
            let found = self.files.iter().find(|(_, file)| **file == served);
            match found.and_then(|(number, _)| key.msn.checked_sub(*number)) {
                Some(shift) => drop(self.shift.insert(key.epoch, shift)),
                None => drop(self.unchecked.insert(key)),
            }
            return;
        };
        match key.msn.checked_sub(*shift).and_then(|number| self.files.get(&number)) {
            Some(file) if *file == served => {}
            Some(_) => {
                self.tally.published_wrong += 1;
                self.tally.complain(format!("{key:?} is not the file that ffmpeg wrote"));
            }
            None => drop(self.unchecked.insert(key)),
        }
    }

    fn expected(&self, key: Key) -> Option<Bytes> {
        if !self.has_files {
            return self.mirror.get(&key).cloned();
        }
        let number = key.msn.checked_sub(*self.shift.get(&key.epoch)?)?;
        self.files.get(&number).cloned()
    }

    fn compare(&mut self, delivery: &Delivery, body: &[u8]) {
        let end = delivery.offset.saturating_add(delivery.bytes);
        let same = body
            .get(delivery.offset..end)
            .is_some_and(|part| blake3::hash(part).to_hex().as_str() == delivery.hash);
        let is_whole = delivery.end == End::Complete && delivery.offset == 0;
        let is_short = is_whole && delivery.bytes != body.len();
        self.tally.segments += u64::from(is_whole);
        self.tally.cut += u64::from(delivery.end == End::Cut);
        if !same || is_short {
            self.tally.mismatched += 1;
            self.tally
                .complain(format!("mismatch, reference of {} bytes: {delivery:?}", body.len()));
        }
    }
}

fn trim<K: Ord + Copy>(bodies: &mut BTreeMap<K, Bytes>) {
    while bodies.len() > BODIES_MAX {
        bodies.pop_first();
    }
}

/// Feeds time line and reference until it is aborted: from the mirror, and from ffmpeg's files.
pub(crate) async fn follow(
    playlist_url: String,
    files: Option<PathBuf>,
    timeline: Arc<Mutex<Timeline>>,
    reference: Arc<Mutex<Reference>>,
) {
    let mut next_file = 0;
    loop {
        // While the server restarts there is nothing to read; what was missed is read afterwards.
        let _ = follow_mirror(&playlist_url, &timeline, &reference).await;
        if let Some(folder) = &files {
            follow_files(folder, &mut next_file, &reference).await;
        }
        lock(&reference).settle(clock::unix_s());
        tokio::time::sleep(POLL_EVERY).await;
    }
}

async fn follow_mirror(
    url: &str,
    timeline: &Mutex<Timeline>,
    reference: &Mutex<Reference>,
) -> Result<()> {
    let limit = Duration::from_secs(5);
    let text = http::fetch(url, limit).await?.into_text()?;
    let listed_s = clock::unix_s();
    let newest = lock(timeline).newest();
    let is_new = |entry: &Entry| newest.is_none_or(|newest| entry.msn > newest);
    for entry in playlist::parse(&text).into_iter().filter(is_new) {
        let at = playlist::resolve(url, &entry.uri);
        let mut answer = http::fetch(&at, limit).await?;
        if answer.head.status() == 302 {
            // To the CDN.
            let location = answer.head.header("location").map(str::to_owned);
            answer = http::fetch(&location.unwrap_or_default(), limit).await?;
        }
        let body = answer.into_body()?;
        let pts_s = pts::first_pts_s(&body);
        lock(timeline).push(&entry, pts_s, listed_s);
        if let Some(key) = Key::parse(&entry.uri) {
            lock(reference).add_mirror(key, body);
        }
    }
    Ok(())
}

async fn follow_files(folder: &Path, next_file: &mut u64, reference: &Mutex<Reference>) {
    let folder = encoder::files_folder(folder);
    let Ok(text) = tokio::fs::read_to_string(folder.join("index.m3u8")).await else { return };
    let mut entries = playlist::parse(&text);
    entries.retain(|entry| entry.msn >= *next_file);
    for entry in entries {
        let Ok(body) = tokio::fs::read(folder.join(&entry.uri)).await else { return };
        lock(reference).add_file(entry.msn, body);
        *next_file = entry.msn + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(msn: u64, offset: usize, body: &[u8], end: End) -> Delivery {
        let hash = blake3::hash(body).to_hex().to_string();
        let key = Key { rendition: 0, epoch: 1, msn };
        Delivery { key, offset, bytes: body.len(), hash, end, at_s: 0.0 }
    }

    fn key(msn: u64) -> Key {
        Key { rendition: 0, epoch: 1, msn }
    }

    #[test]
    fn names() {
        assert_eq!(Key::parse("a/0-1-57.ts?x=1"), Some(key(57)));
        for other in ["index0.ts", "0-1.ts", "0-1-init0.mp4", "0-1-2-3.ts"] {
            assert_eq!(Key::parse(other), None, "{other}");
        }
    }

    #[test]
    fn deliveries_are_compared_in_whole_and_in_part() {
        let mut reference = Reference::new(false);
        reference.add_mirror(key(7), b"segment seven".to_vec());
        for (offset, body, end) in [
            (0, &b"segment seven"[..], End::Complete),
            (0, b"segment", End::Left),
            (8, b"seven", End::Complete),
            (0, b"segment", End::Complete),
            (0, b"segmxnt seven", End::Complete),
            (0, b"segmx", End::Cut),
            (9, b"seven", End::Complete),
        ] {
            reference.add_delivery(delivery(7, offset, body, end));
        }
        reference.add_delivery(delivery(8, 0, b"", End::Complete));
        reference.settle(1.0);
        let tally = reference.tally();
        assert_eq!((tally.segments, tally.mismatched), (3, 4));
        assert_eq!((tally.cut, tally.unverified), (1, 1));
    }

    #[test]
    fn files_match_in_order_only() {
        let mut reference = Reference::new(true);
        for (number, body) in [(0, "a"), (1, "b"), (2, "c"), (3, "d")] {
            reference.add_file(number, body.into());
        }
        // Number 11 is file 1; so 13 must be file 3, but the server serves file 2 again.
        for (msn, body) in [(11, "b"), (12, "c"), (13, "c")] {
            reference.add_mirror(key(msn), body.into());
        }
        reference.add_delivery(delivery(12, 0, b"c", End::Complete));
        reference.add_delivery(delivery(13, 0, b"c", End::Complete));
        reference.settle(1.0);
        let tally = reference.tally();
        assert_eq!((tally.segments, tally.mismatched, tally.published_wrong), (2, 1, 1));
    }
}
