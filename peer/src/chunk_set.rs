//! A set of chunk indices as sorted runs: chunks come and go in runs, so it stays a handful.

use alloc::vec::Vec;
use shoal_wire::ChunkRange;

/// The set. Its runs do not overlap or touch.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChunkSet {
    runs: Vec<ChunkRange>,
    len: u32,
}

impl ChunkSet {
    pub(crate) const fn len(&self) -> u32 {
        self.len
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The lowest index.
    pub(crate) fn first(&self) -> Option<u32> {
        self.runs.first().map(|run| run.first)
    }

    pub(crate) fn insert(&mut self, chunk: u32) {
        let at = self.runs.partition_point(|run| run.end() < chunk);
        let Some(run) = self.runs.get_mut(at) else {
            self.runs.push(ChunkRange::new(chunk, 1));
            self.len += 1;
            return;
        };
        if run.contains(chunk) {
            return;
        }
        self.len += 1;
        if run.end() == chunk {
            run.count += 1;
            let end = run.end();
            if let Some(next) = self.runs.get(at + 1).copied().filter(|next| next.first == end) {
                self.runs[at].count += next.count;
                self.runs.remove(at + 1);
            }
        } else if chunk + 1 == run.first {
            *run = ChunkRange::new(chunk, run.count + 1);
        } else {
            self.runs.insert(at, ChunkRange::new(chunk, 1));
        }
    }

    pub(crate) fn remove(&mut self, chunks: ChunkRange) {
        if chunks.is_empty() {
            return;
        }
        let mut at = self.runs.partition_point(|run| run.end() <= chunks.first);
        while let Some(run) = self.runs.get(at).copied().filter(|run| run.first < chunks.end()) {
            let before = ChunkRange::new(run.first, chunks.first.saturating_sub(run.first));
            let after_len = run.end().saturating_sub(chunks.end());
            let after = ChunkRange::new(run.end() - after_len, after_len);
            self.len -= run.count - before.count - after.count;
            match (before.is_empty(), after.is_empty()) {
                (true, true) => {
                    self.runs.remove(at);
                    continue;
                }
                (false, true) => self.runs[at] = before,
                (true, false) => self.runs[at] = after,
                (false, false) => {
                    self.runs[at] = before;
                    self.runs.insert(at + 1, after);
                }
            }
            at += 1;
        }
    }

    /// Takes the lowest chunks, as far as they follow each other, at most so many.
    pub(crate) fn take_first(&mut self, count_max: u32) -> Option<ChunkRange> {
        let run = self.runs.first_mut()?;
        let taken = ChunkRange::new(run.first, run.count.min(count_max.max(1)));
        *run = ChunkRange::new(taken.end(), run.count - taken.count);
        if run.is_empty() {
            self.runs.remove(0);
        }
        self.len -= taken.count;
        Some(taken)
    }
}

/// Takes the first `count` chunks out of sorted ranges.
pub(crate) fn skip_first(ranges: &mut Vec<ChunkRange>, mut count: u32) {
    for range in ranges.iter_mut() {
        let skipped = range.count.min(count);
        *range = ChunkRange::new(range.first + skipped, range.count - skipped);
        count -= skipped;
    }
    ranges.retain(|range| !range.is_empty());
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    #[test]
    fn it_behaves_as_a_set() {
        let (mut set, mut model) = (ChunkSet::default(), BTreeSet::new());
        let mut state = 1u32;
        for _ in 0..20_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (chunk, count) = ((state >> 8) % 64, (state >> 16) % 6);
            match state >> 29 {
                0 => {
                    let range = ChunkRange::new(chunk, count);
                    set.remove(range);
                    model.retain(|c| !range.contains(*c));
                }
                1 => {
                    let taken = set.take_first(count);
                    assert_eq!(taken.map(|t| t.first), model.first().copied());
                    let taken = taken.unwrap_or(ChunkRange::new(0, 0));
                    assert!(taken.indices().all(|c| model.remove(&c)));
                    assert!(taken.count == count.max(1) || !model.contains(&taken.end()));
                }
                _ => {
                    set.insert(chunk);
                    model.insert(chunk);
                }
            }
            assert!(set.runs.iter().flat_map(|r| r.indices()).eq(model.iter().copied()));
            assert_eq!(set.len() as usize, model.len());
            assert!(set.runs.windows(2).all(|w| w[0].end() < w[1].first));
        }
    }

    /// Chunks skipped, and ranges left of 3 and 5 to 8.
    const CASES: [(u32, &[(u32, u32)]); 4] =
        [(0, &[(3, 1), (5, 4)]), (1, &[(5, 4)]), (3, &[(7, 2)]), (9, &[])];

    #[test]
    fn the_first_chunks_of_ranges_are_skipped() {
        for (count, left) in CASES {
            let mut ranges = alloc::vec![ChunkRange::new(3, 1), ChunkRange::new(5, 4)];
            skip_first(&mut ranges, count);
            let ranges: Vec<_> = ranges.iter().map(|range| (range.first, range.count)).collect();
            assert_eq!(ranges, left, "{count}");
        }
    }
}
