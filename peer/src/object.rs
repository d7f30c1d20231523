//! One object as the viewer holds it: its digest, its chunks, and who was asked for what is missing.

use crate::input::FetchId;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;
use shoal_wire::{ChunkRange, Instant, Payload, PeerId, SignedDigest, Substream};

/// Who was asked for a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Origin(FetchId),
    Peer(PeerId),
}

/// One chunk's place.
#[derive(Clone, Debug)]
pub(crate) enum Cell {
    Missing,
    Asked(Asked),
    /// Verified: may be played and passed on.
    Held {
        bytes: Bytes,
        since: Instant,
    },
    /// From the viewer's own origin, but not what the digest says: played, never passed on.
    Local(Bytes),
}

/// A chunk that came before its digest.
#[derive(Debug)]
pub(crate) struct Unverified {
    pub(crate) peer: PeerId,
    pub(crate) chunks: ChunkRange,
    pub(crate) payload: Payload,
}

/// The chunks of one substream in this object.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) chunks: ChunkRange,
    /// How many of them are not here.
    pub(crate) left: u32,
    /// When what is missing is asked of somebody else than the parent.
    pub(crate) repair_at: Instant,
    /// When its parent last brought a chunk of it.
    pub(crate) heard_at: Instant,
    pub(crate) repairs: u32,
    pub(crate) told_late: bool,
    /// Whether the parent said that it lacks it itself.
    pub(crate) parent_late: bool,
    /// Overdue, but nobody has it: the next neighbour that completes the object is asked.
    pub(crate) starved: bool,
    pub(crate) complete: bool,
    /// Whether its sender said that all of it was sent.
    pub(crate) ended: bool,
}

/// An object.
#[derive(Debug, Default)]
pub(crate) struct Object {
    pub(crate) digest: Option<Arc<SignedDigest>>,
    pub(crate) cells: Vec<Cell>,
    pub(crate) missing: u32,
    pub(crate) runs: Vec<Run>,
    pub(crate) unverified: Vec<Unverified>,
    /// The bytes as the origin gave them, while no digest is known.
    pub(crate) undigested: Option<Bytes>,
    pub(crate) raw_fetch: Option<FetchId>,
    pub(crate) total_len: Option<u32>,
    pub(crate) known_at: Instant,
    /// When the earliest player that asked for it needs it.
    pub(crate) deadline: Option<Instant>,
    /// The first segment of a playback: straight from the origin.
    pub(crate) direct: bool,
    /// How much earlier than needed the fallback starts, in percent of its lead: spreads a crowd.
    pub(crate) jitter_percent: u32,
    pub(crate) fell_back: bool,
    pub(crate) asked_for_digest: bool,
    /// The neighbour that was asked for it, and when.
    pub(crate) digest_asked: Option<(PeerId, Instant)>,
    /// When a player first asked for it.
    pub(crate) asked_at: Option<Instant>,
    pub(crate) first_failure: Option<Instant>,
    pub(crate) failures: u32,
    /// The origin is not asked for it before.
    pub(crate) origin_at: Instant,
}

impl Object {
    pub(crate) fn new(now: Instant, jitter_percent: u32) -> Self {
        Self { known_at: now, jitter_percent, ..Self::default() }
    }

    pub(crate) fn adopt_digest(&mut self, digest: Arc<SignedDigest>, repair_at: Instant) {
        self.missing = digest.chunk_count();
        self.cells = alloc::vec![Cell::Missing; digest.chunk_count() as usize];
        let run = |k| {
            let chunks = digest.run(Substream(k));
            Run {
                chunks,
                left: chunks.count,
                repair_at,
                heard_at: Instant::ZERO,
                repairs: 0,
                told_late: false,
                parent_late: false,
                starved: false,
                complete: false,
                ended: false,
            }
        };
        self.runs = (0..digest.substreams).map(run).collect();
        self.total_len = Some(digest.byte_len);
        self.digest = Some(digest);
    }

    pub(crate) fn is_complete(&self) -> bool {
        match self.digest {
            Some(_) => self.missing == 0,
            None => self.undigested.is_some(),
        }
    }

    /// Whether every chunk is verified, so that it may be passed on.
    pub(crate) fn is_shareable(&self) -> bool {
        self.digest.is_some() && self.cells.iter().all(|c| matches!(c, Cell::Held { .. }))
    }

    /// Bytes that count towards the store's limit. Unverified ones have a limit of their own.
    pub(crate) fn bytes_held(&self) -> usize {
        let cells = self.cells.iter().map(|cell| match cell {
            Cell::Held { bytes, .. } | Cell::Local(bytes) => bytes.len(),
            Cell::Missing | Cell::Asked(_) => 0,
        });
        cells.sum::<usize>() + self.undigested.as_ref().map_or(0, Bytes::len)
    }

    /// The verified bytes of a chunk, and how long they have been here.
    pub(crate) fn held(&self, chunk: u32, now: Instant) -> Option<(&Bytes, Duration)> {
        match self.cells.get(chunk as usize)? {
            Cell::Held { bytes, since } => Some((bytes, now - *since)),
            Cell::Missing | Cell::Asked(_) | Cell::Local(_) => None,
        }
    }

    /// The neighbour that was asked for a chunk.
    pub(crate) fn asked_peer(&self, chunk: u32) -> Option<PeerId> {
        match self.cells.get(chunk as usize)? {
            Cell::Asked(Asked::Peer(peer)) => Some(*peer),
            Cell::Missing | Cell::Asked(Asked::Origin(_)) | Cell::Held { .. } | Cell::Local(_) => {
                None
            }
        }
    }

    /// Whether a chunk's bytes are here, verified or from the own origin.
    pub(crate) fn has(&self, chunk: u32) -> bool {
        matches!(self.cells.get(chunk as usize), Some(Cell::Held { .. } | Cell::Local(_)))
    }

    /// The runs of consecutive chunks within `within` that satisfy `test`.
    pub(crate) fn ranges(
        &self,
        within: ChunkRange,
        test: impl Fn(u32, &Cell) -> bool,
    ) -> Vec<ChunkRange> {
        let mut found: Vec<ChunkRange> = Vec::new();
        for chunk in within.indices() {
            if !self.cells.get(chunk as usize).is_some_and(|cell| test(chunk, cell)) {
                continue;
            }
            match found.last_mut() {
                Some(last) if last.end() == chunk => last.count += 1,
                _ => found.push(ChunkRange::new(chunk, 1)),
            }
        }
        found
    }

    pub(crate) fn mark_asked(&mut self, chunks: ChunkRange, asked: Asked) {
        for chunk in chunks.indices() {
            if let Some(cell @ (Cell::Missing | Cell::Asked(_))) =
                self.cells.get_mut(chunk as usize)
            {
                *cell = Cell::Asked(asked);
            }
        }
    }

    /// Whoever was asked will not deliver any more.
    pub(crate) fn release(&mut self, released: Asked) {
        for cell in &mut self.cells {
            if matches!(cell, Cell::Asked(asked) if *asked == released) {
                *cell = Cell::Missing;
            }
        }
    }

    /// All chunks.
    pub(crate) fn all(&self) -> ChunkRange {
        ChunkRange::new(0, u32::try_from(self.cells.len()).unwrap_or(u32::MAX))
    }

    pub(crate) fn run_chunks(&self, substream: Substream) -> ChunkRange {
        let run = self.runs.get(usize::from(substream.0));
        run.map_or(ChunkRange::new(0, 0), |run| run.chunks)
    }

    /// Puts a chunk's bytes in their place, which had none. The substream of its run.
    pub(crate) fn fill(&mut self, chunk: u32, filled: Cell) -> Option<Substream> {
        let cell = self.cells.get_mut(chunk as usize)?;
        *cell = filled;
        self.missing -= 1;
        let (k, run) = (0u8..).zip(&mut self.runs).find(|(_, run)| run.chunks.contains(chunk))?;
        run.left -= 1;
        Some(Substream(k))
    }
}
