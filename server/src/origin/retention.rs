//! What is kept of a stream, and for how long.
//!
//! Rule: a segment outlives its time in the playlist, unless the disk's share is used up: then the
//! oldest of the whole stream go first, from disk and playlist together, and the log says so. The
//! state that does not name them is on disk before they are deleted.

use super::publish::PublishError;
use super::state::{InitRecord, RenditionState, Shown};
use super::stream::{Stream, Writer};
use super::{Limits, journal};
use crate::config::{Bytes, DvrWindow};
use std::time::Duration;

/// A segment that has left a playlist of hours is kept for so much longer. RFC 8216, 6.2.2, asks
/// for the playlist's own duration, which would double the disk; a player that is that far back
/// reloads the playlist each segment.
const GRACE: Duration = Duration::from_secs(60);
/// The file of segments is written anew when it has this many lines beside those in use.
const JOURNAL_SLACK: usize = 64;

/// How far back viewers may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dvr {
    /// None: to the beginning.
    pub(crate) window: Option<Duration>,
    /// Bytes of a stream's segments on disk.
    pub(crate) bytes_max: u64,
}

impl Dvr {
    /// Everything stays.
    pub(super) const ALL: Self = Self { window: None, bytes_max: u64::MAX };
}

impl From<(DvrWindow, Bytes)> for Dvr {
    fn from((window, bytes_max): (DvrWindow, Bytes)) -> Self {
        let window = match window {
            DvrWindow::Unlimited => None,
            DvrWindow::Last(window) => Some(window),
        };
        Self { window, bytes_max: bytes_max.0 }
    }
}

impl Limits {
    /// What the rendition's playlist shows.
    pub(super) fn shown(&self, rendition: &RenditionState) -> Shown {
        let Some(dvr) = self.dvr else {
            let shown = match self.playlist_segments {
                0 => rendition.header.window,
                set => set,
            };
            let window = shown.clamp(1, self.keep_segments / 2);
            return Shown { window, ..Shown::default() };
        };
        let window = dvr.window.map_or(usize::MAX, |window| newest(rendition, window));
        let window = window.max(rendition.header.window);
        Shown { window, dvr: Some(dvr.window), ..Shown::default() }
    }

    /// How many segments of the rendition are kept.
    fn kept(&self, rendition: &RenditionState) -> usize {
        match self.dvr {
            None => self.keep_segments,
            Some(Dvr { window: None, .. }) => usize::MAX,
            Some(Dvr { window: Some(window), .. }) => {
                newest(rendition, window + GRACE).max(self.keep_segments)
            }
        }
    }
}

/// How many of the newest segments last for `window`.
fn newest(rendition: &RenditionState, window: Duration) -> usize {
    let mut left = window;
    let lasts = |segment: &&super::state::SegmentRecord| {
        let before = left;
        left = left.saturating_sub(segment.duration);
        before > Duration::ZERO
    };
    rendition.segments.iter().rev().take_while(lasts).count()
}

impl Stream {
    /// Takes what is past the limits out of state, view and disk, after rendition `index` grew.
    pub(super) async fn trim(&self, writer: &mut Writer, index: usize) -> Result<(), PublishError> {
        let rendition = &mut writer.state.renditions[index];
        let kept = self.limits.kept(rendition);
        let mut removed = rendition.forget(rendition.segments.len().saturating_sub(kept));
        let mut changed = vec![index];
        while self.limits.dvr.is_some_and(|dvr| writer.bytes() > dvr.bytes_max) {
            let Some(oldest) = oldest(writer) else { break };
            self.say_full(writer, oldest);
            removed.extend(writer.state.renditions[oldest].forget(1));
            changed.push(oldest);
        }
        if removed.is_empty() {
            return Ok(());
        }
        changed.sort_unstable();
        changed.dedup();
        self.save(writer, false).await?;
        for index in changed {
            self.show(writer, index, None);
            let rendition = &mut writer.state.renditions[index];
            if rendition.journal_lines > 2 * rendition.segments.len() + JOURNAL_SLACK {
                journal::rewrite(&self.dir, rendition.id, &rendition.segments).await?;
                rendition.journal_lines = rendition.segments.len();
            }
        }
        self.remove(writer, &removed).await;
        Ok(())
    }

    /// Once per minute of media that goes.
    fn say_full(&self, writer: &mut Writer, index: usize) {
        let Some(segment) = writer.state.renditions[index].segments.front() else { return };
        writer.full_said = writer.full_said.saturating_sub(segment.duration);
        if writer.full_said.is_zero() {
            writer.full_said = GRACE;
            let dvr_bytes_max = self.limits.dvr.map_or(0, |dvr| dvr.bytes_max);
            tracing::warn!(stream = %self.name, dvr_bytes_max, segment = segment.file, "the disk's \
                share of this stream is used up: its oldest segments are deleted");
        }
    }

    pub(super) async fn remove(&self, writer: &mut Writer, removed: &[String]) {
        for file in removed {
            let object = self.view_mut().remove_object(file);
            let Some(object) = object else { continue };
            writer.cache.remove(&object);
            let mut paths = vec![object.at.path.clone()];
            paths.extend(object.traffic.object.map(|id| self.digest_path(id)));
            for path in paths {
                // What cannot be deleted now is swept at the next start.
                let _ = tokio::fs::remove_file(path).await;
            }
        }
    }
}

/// The rendition with the oldest segment; none if nothing may go: what is live stays.
fn oldest(writer: &Writer) -> Option<usize> {
    let renditions = writer.state.renditions.iter().enumerate();
    let first = renditions.filter_map(|(index, rendition)| {
        let spare = rendition.segments.len() > rendition.header.window.max(1);
        spare.then(|| Some((rendition.segments.front()?.published_unix_ms, index)))?
    });
    first.min().map(|(_, index)| index)
}

impl Writer {
    /// Bytes of all segments.
    fn bytes(&self) -> u64 {
        self.state.renditions.iter().map(|rendition| rendition.bytes).sum()
    }
}

impl RenditionState {
    /// Forgets the `count` oldest segments, and init sections that no other one needs; their files.
    pub(super) fn forget(&mut self, count: usize) -> Vec<String> {
        let mut removed = Vec::new();
        for segment in self.segments.drain(..count) {
            self.kept_from = segment.object.msn + 1;
            self.bytes -= segment.len;
            removed.push(segment.file);
        }
        if count == 0 {
            return removed;
        }
        let segments = &self.segments;
        let used = |init: &InitRecord| {
            let uri = format!("\"{}\"", init.file);
            segments
                .iter()
                .any(|segment| segment.lines.map.as_ref().is_some_and(|map| map.contains(&uri)))
        };
        // The newest stays: a segment that names it may be on its way.
        while self.inits.len() > 1 && !used(&self.inits[0]) {
            removed.extend(self.inits.pop_front().map(|init| init.file));
        }
        removed
    }
}
