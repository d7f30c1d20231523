//! Publication of what an upstream has: its numbers stay, and nothing is kept over a restart.
//!
//! Rule: numbers only grow within an epoch; where they would not, or where it cannot be known, a
//! new epoch begins first. It knows neither playlists nor viewers.

use super::journal;
use super::publish::{NewSegment, PublishError};
use super::state::Header;
use super::stream::{News, PushError, Stream};
use shoal_wire::{ObjectId, RenditionId};

/// Where a followed segment stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers {
    /// The upstream's media sequence number.
    pub(crate) msn: u64,
    /// EXT-X-DISCONTINUITY tags before its own.
    pub(crate) discontinuities: u64,
}

impl Stream {
    /// A new epoch of the rendition called `name`, whose first segment has the number `msn`. If
    /// there are too many renditions, it takes the place of one that is not `in_use`.
    pub(crate) async fn begin_followed(
        &self,
        name: &str,
        msn: u64,
        in_use: impl Fn(&str) -> bool,
    ) -> Result<RenditionId, PushError> {
        {
            let mut writer = self.writer.lock().await;
            let renditions = &mut writer.state.renditions;
            let is_known = renditions.iter().any(|rendition| rendition.playlist == name);
            if !is_known && renditions.len() >= self.limits.renditions_max {
                let idle = renditions.iter_mut().find(|rendition| !in_use(&rendition.playlist));
                let idle = idle.ok_or(PushError::Renditions(self.limits.renditions_max))?;
                name.clone_into(&mut idle.playlist);
            }
        }
        self.begin_own(name).await?;
        let mut writer = self.writer.lock().await;
        let index = writer.state.rendition_at(name).expect("it was just begun");
        let kept = writer.state.renditions[index].segments.len();
        let removed = writer.state.renditions[index].forget(kept);
        let rendition = &mut writer.state.renditions[index];
        let id = rendition.id;
        rendition.end = None;
        rendition.kept_from = msn;
        (rendition.counters.next_msn, rendition.counters.discontinuities) = (msn, 0);
        self.save(&writer, true).await.map_err(PublishError::from)?;
        journal::rewrite(&self.dir, id, &writer.state.renditions[index].segments)
            .await
            .map_err(PublishError::from)?;
        self.remove(&mut writer, &removed).await;
        self.show(&mut writer, index, None);
        drop(writer);
        let renditions = self.view().infos();
        self.tell(News::Renditions { stream: self.name.clone(), renditions }).await;
        Ok(id)
    }

    /// Publishes the next segment of the rendition called `name`.
    pub(crate) async fn publish_followed(
        &self,
        name: &str,
        header: Header,
        numbers: Numbers,
        segment: NewSegment,
    ) -> Result<ObjectId, PushError> {
        {
            let mut writer = self.writer.lock().await;
            if let Some(index) = writer.state.rendition_at(name) {
                let counters = &mut writer.state.renditions[index].counters;
                counters.next_msn = counters.next_msn.max(numbers.msn);
                counters.discontinuities = counters.discontinuities.max(numbers.discontinuities);
            }
        }
        self.publish_own(name, header, segment).await
    }

    /// Publishes the end of the rendition called `name`.
    pub(crate) async fn end_followed(&self, name: &str) -> Result<(), PushError> {
        let mut writer = self.writer.lock().await;
        if let Some(index) = writer.state.rendition_at(name) {
            self.publish_end(&mut writer, index).await?;
        }
        Ok(())
    }
}
