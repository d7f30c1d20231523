//! The segments of a rendition on disk: a file to which each new one is appended.
//!
//! Rule: a record is in the file before the state that counts it; at a start, what the state does
//! not count is left out. So a window of hours costs one line per segment, not the whole list.

use super::files;
use super::state::SegmentRecord;
use shoal_wire::RenditionId;
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use tokio::io::AsyncWriteExt;

fn path(dir: &Path, rendition: RenditionId) -> PathBuf {
    dir.join(format!("segments-{}.jsonl", rendition.0))
}

/// Appends one record.
pub(super) async fn append(
    dir: &Path,
    rendition: RenditionId,
    record: &SegmentRecord,
) -> io::Result<()> {
    let mut line = serde_json::to_vec(record).map_err(io::Error::other)?;
    line.push(b'\n');
    let mut options = tokio::fs::OpenOptions::new();
    let mut file = options.create(true).append(true).open(path(dir, rendition)).await?;
    file.write_all(&line).await?;
    file.flush().await
}

/// Leaves only `records`.
pub(super) async fn rewrite(
    dir: &Path,
    rendition: RenditionId,
    records: &VecDeque<SegmentRecord>,
) -> io::Result<()> {
    files::replace(&path(dir, rendition), &encoded(records)?, false).await
}

fn encoded(records: &VecDeque<SegmentRecord>) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    for record in records {
        serde_json::to_writer(&mut out, record).map_err(io::Error::other)?;
        out.push(b'\n');
    }
    Ok(out)
}

/// The records from number `from` up to and without `next`, in order; the later one of two with the
/// same number, as a publication that failed may have left one.
pub(super) fn read(
    dir: &Path,
    rendition: RenditionId,
    from: u64,
    next: u64,
) -> io::Result<VecDeque<SegmentRecord>> {
    let text = match std::fs::read(path(dir, rendition)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(VecDeque::new()),
        Err(error) => return Err(error),
    };
    let mut records: VecDeque<SegmentRecord> = VecDeque::new();
    for line in text.split(|byte| *byte == b'\n') {
        // A line that a crash cut short was not counted yet.
        let Ok(record) = serde_json::from_slice::<SegmentRecord>(line) else { continue };
        let msn = record.object.msn;
        while records.back().is_some_and(|last| last.object.msn >= msn) {
            records.pop_back();
        }
        if (from..next).contains(&msn) {
            records.push_back(record);
        }
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::super::state::Lines;
    use super::*;
    use shoal_wire::{Epoch, ObjectId};
    use std::time::Duration;

    fn record(msn: u64, len: u64) -> SegmentRecord {
        SegmentRecord {
            object: ObjectId::segment(RenditionId(3), Epoch(1), msn),
            file: format!("3-1-{msn}.ts"),
            len,
            hash: String::new(),
            duration: Duration::from_secs(2),
            discontinuity_sequence: 0,
            published_unix_ms: 0,
            lines: Lines::default(),
            gap: false,
            source: None,
        }
    }

    #[tokio::test]
    async fn what_is_counted_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let (dir, id) = (directory.path(), RenditionId(3));
        assert!(read(dir, id, 0, 9).unwrap().is_empty());
        for (msn, len) in [(4, 1), (5, 1), (6, 1), (6, 2), (7, 1)] {
            append(dir, id, &record(msn, len)).await.unwrap();
        }
        let mut file = std::fs::OpenOptions::new().append(true).open(path(dir, id)).unwrap();
        std::io::Write::write_all(&mut file, b"{\"object\":").unwrap();
        let lens = |records: VecDeque<SegmentRecord>| -> Vec<(u64, u64)> {
            records.iter().map(|record| (record.object.msn, record.len)).collect()
        };
        let records = read(dir, id, 5, 7).unwrap();
        assert_eq!(lens(records.clone()), [(5, 1), (6, 2)]);
        rewrite(dir, id, &records).await.unwrap();
        assert_eq!(lens(read(dir, id, 0, 9).unwrap()), [(5, 1), (6, 2)]);
    }
}
