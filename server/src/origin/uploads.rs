//! Complete uploads that no playlist has named yet.
//!
//! Rule: bounded in bytes and in age; what an encoder never names is forgotten. An upload is here
//! only when its whole body has come; while it comes, only its name is.

use super::encoder_playlist::Piece;
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// Longest that an upload waits to be named. Encoders name a segment right after pushing it.
const AGE_MAX: Duration = Duration::from_secs(60);

/// Uploads of one stream.
#[derive(Debug)]
pub(crate) struct Uploads {
    by_name: HashMap<String, Upload>,
    /// Names from the oldest to the newest; a name that was replaced or taken stands here in vain.
    order: VecDeque<(String, Instant)>,
    /// How many, and since when.
    coming: HashMap<String, (usize, Instant)>,
    bytes: usize,
    bytes_max: usize,
}

/// One complete upload.
#[derive(Clone, Debug)]
pub(crate) struct Upload {
    pub(crate) bytes: Bytes,
    pub(crate) hash: blake3::Hash,
    /// How long the body took to come.
    pub(crate) took: Duration,
    at: Instant,
}

impl Uploads {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            by_name: HashMap::new(),
            order: VecDeque::new(),
            coming: HashMap::new(),
            bytes: 0,
            bytes_max,
        }
    }

    /// The body of `name` begins to come.
    pub(crate) fn begin(&mut self, name: &str) {
        self.coming.entry(name.to_owned()).or_insert_with(|| (0, Instant::now())).0 += 1;
    }

    /// The body of `name` came or failed.
    pub(crate) fn end(&mut self, name: &str) {
        if let Some((count, _)) = self.coming.get_mut(name) {
            *count -= 1;
            if *count == 0 {
                self.coming.remove(name);
            }
        }
    }

    /// Whether a body of `name` is coming just now.
    pub(crate) fn is_coming(&self, name: &str) -> bool {
        self.coming.contains_key(name)
    }

    /// Adds a complete upload in place of an earlier one of that name.
    pub(crate) fn insert(&mut self, name: &str, bytes: Bytes, hash: blake3::Hash, now: Instant) {
        self.remove(name);
        self.bytes += bytes.len();
        let began = self.coming.get(name).map_or(now, |(_, began)| *began);
        let took = now.saturating_duration_since(began);
        self.by_name.insert(name.to_owned(), Upload { bytes, hash, took, at: now });
        self.order.push_back((name.to_owned(), now));
        self.expire(now);
    }

    pub(crate) fn peek(&self, name: &str) -> Option<&Upload> {
        self.by_name.get(name)
    }

    /// Whether all bytes of `piece` are here.
    pub(crate) fn has(&self, piece: &Piece) -> bool {
        self.by_name.get(&piece.name).is_some_and(|upload| upload.slice(piece).is_some())
    }

    /// The bytes of `piece`, and their hash.
    pub(crate) fn piece(&self, piece: &Piece) -> Option<(Bytes, blake3::Hash)> {
        let upload = self.by_name.get(&piece.name)?;
        let bytes = upload.slice(piece)?;
        let hash = if piece.range.is_none() { upload.hash } else { blake3::hash(&bytes) };
        Some((bytes, hash))
    }

    /// `piece`, whose bytes hash to `hash`, is published: its upload goes, unless more of it may be
    /// named or other bytes came under its name. What may still be named is as if it came just now.
    pub(crate) fn used(&mut self, piece: &Piece, hash: &blake3::Hash, now: Instant) {
        let Some(upload) = self.by_name.get(&piece.name).cloned() else { return };
        match piece.range {
            None if upload.hash == *hash => drop(self.remove(&piece.name)),
            None => {}
            Some((offset, length)) if offset + length >= upload.bytes.len() as u64 => {
                self.remove(&piece.name);
            }
            Some(_) => self.insert(&piece.name, upload.bytes, upload.hash, now),
        }
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<Upload> {
        let upload = self.by_name.remove(name)?;
        self.bytes -= upload.bytes.len();
        Some(upload)
    }

    fn expire(&mut self, now: Instant) {
        while let Some((name, at)) = self.order.front() {
            let current = self.by_name.get(name).is_some_and(|upload| upload.at == *at);
            let old = now.saturating_duration_since(*at) > AGE_MAX;
            if current && !old && self.bytes <= self.bytes_max {
                break;
            }
            let (name, _) = self.order.pop_front().expect("front was there");
            if current {
                self.remove(&name);
            }
        }
    }
}

impl Upload {
    fn slice(&self, piece: &Piece) -> Option<Bytes> {
        let Some((offset, length)) = piece.range else { return Some(self.bytes.clone()) };
        let start = usize::try_from(offset).ok()?;
        let end = usize::try_from(offset.checked_add(length)?).ok()?;
        (start < end && end <= self.bytes.len()).then(|| self.bytes.slice(start..end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_out_until_the_last_one_is_used() {
        let now = Instant::now();
        let mut uploads = Uploads::new(100);
        let bytes = Bytes::from_static(b"0123456789");
        uploads.insert("a", bytes.clone(), blake3::hash(&bytes), now);
        let piece = |offset, length| Piece { name: "a".into(), range: Some((offset, length)) };
        for outside in [piece(8, 3), piece(11, 1), piece(u64::MAX, 2), piece(3, 0)] {
            assert!(!uploads.has(&outside), "{outside:?}");
        }
        let (middle, hash) = uploads.piece(&piece(2, 3)).unwrap();
        assert_eq!((&middle[..], hash), (&b"234"[..], blake3::hash(b"234")));
        let later = now + Duration::from_secs(50);
        uploads.used(&piece(2, 3), &hash, later);
        uploads.expire(later + Duration::from_secs(50));
        assert!(uploads.has(&piece(5, 5)), "used since it came");
        uploads.used(&piece(5, 5), &hash, later);
        assert!(!uploads.has(&piece(0, 1)), "nothing comes after the last one");
        assert_eq!(uploads.bytes, 0);
    }

    #[test]
    fn bytes_and_age_are_bounded() {
        let start = Instant::now();
        let mut uploads = Uploads::new(100);
        let add = |uploads: &mut Uploads, name: &str, len: usize, at: Duration| {
            let bytes = Bytes::from(vec![0; len]);
            let hash = blake3::hash(&bytes);
            uploads.insert(name, bytes, hash, start + at);
        };
        add(&mut uploads, "a", 60, Duration::ZERO);
        add(&mut uploads, "a", 70, Duration::ZERO);
        assert_eq!(uploads.peek("a").map(|upload| upload.bytes.len()), Some(70));
        add(&mut uploads, "b", 40, Duration::from_secs(1));
        assert!(uploads.peek("a").is_none(), "over 100 bytes the oldest goes");
        add(&mut uploads, "c", 1, Duration::from_secs(62));
        assert!(uploads.peek("b").is_none(), "unnamed for a minute");
        assert!(uploads.remove("c").is_some());
        assert_eq!(uploads.bytes, 0);
    }

    #[test]
    fn what_is_coming_is_counted() {
        let mut uploads = Uploads::new(100);
        uploads.begin("a");
        uploads.begin("a");
        uploads.end("a");
        assert!(uploads.is_coming("a"));
        uploads.end("a");
        assert!(!uploads.is_coming("a"));
    }
}
