//! Parts of segments that are still being pushed, published as they come.
//!
//! Rule: the segment that is coming gets the next number, and only one at a time does: parts of a
//! later body wait until the encoder's playlist has named the one before. What was shown stays: if
//! the playlist goes on otherwise, or the body breaks off, the shown parts are a segment of their
//! own, and what follows is discontinuous. A body of which nothing is known is not cut: the first
//! of a rendition, and whatever its encoder does not number upwards.

use super::cmaf::{CutPart, Cutter, Tracks};
use super::encoder_playlist::Entry;
use super::low_latency::{Live, LowLatency, PartRecord, part_tag};
use super::object::{Location, StoredObject, Traffic, etag, extension, is_shared};
use super::publish::{NewSegment, PublishError, describe};
use super::state::{Lines, SegmentRecord};
use super::stream::{News, PushError, Stream, Writer};
use super::unix_ms;
use crate::config::Parts;
use bytes::Bytes;
use shoal_wire::{ObjectId, Part};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Bodies of one rendition whose parts wait to be named; encoders push one or two at once, and more
/// when they were held up: then later ones are not cut.
const CUT_MAX: usize = 8;
/// Bodies of one rendition that are known to come or to wait.
const BODIES_MAX: usize = 64;

/// Bodies that are cut while they come.
#[derive(Debug, Default)]
pub(crate) struct Bodies {
    /// By rendition: what its encoder's bodies are called.
    templates: HashMap<usize, Template>,
    /// In the order in which they began.
    bodies: VecDeque<Body>,
    made: u64,
}

/// Names that differ in a number.
#[derive(Debug)]
struct Template {
    before: String,
    after: String,
    /// Of the newest that was published.
    number: u64,
    tracks: Tracks,
    part_target: Duration,
}

#[derive(Debug)]
struct Body {
    id: u64,
    index: usize,
    name: String,
    /// Not shown yet.
    parts: VecDeque<CutPart>,
    state: BodyState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyState {
    Coming,
    Complete,
    Broken,
}

impl Bodies {
    /// The body of `name` begins to come: what cuts it, if it is to be cut.
    pub(super) fn begin(&mut self, name: &str) -> Option<(u64, Cutter)> {
        let (before, number, after) = numbered(name)?;
        let mut of = self.templates.iter().filter(|(_, template)| {
            template.before == before && template.after == after && template.number < number
        });
        let (index, template) = of.next()?;
        if of.next().is_some() {
            return None;
        }
        let index = *index;
        let cutter = Cutter::new(template.tracks.clone(), template.part_target);
        let of_rendition = |body: &Body| body.index == index;
        let waiting = self.bodies.iter().filter(|body| of_rendition(body)).count();
        if waiting >= BODIES_MAX {
            let oldest = self.bodies.iter().position(of_rendition);
            oldest.and_then(|oldest| self.bodies.remove(oldest));
        }
        self.made += 1;
        let is_cut = waiting < CUT_MAX;
        // What is not cut has its place: later parts are not its own.
        let state = if is_cut { BodyState::Coming } else { BodyState::Complete };
        let parts = VecDeque::new();
        self.bodies.push_back(Body { id: self.made, index, name: name.to_owned(), parts, state });
        is_cut.then_some((self.made, cutter))
    }

    /// More parts of body `id`; its rendition.
    pub(super) fn add(&mut self, id: u64, parts: Vec<CutPart>) -> Option<usize> {
        let body = self.bodies.iter_mut().find(|body| body.id == id)?;
        body.parts.extend(parts);
        Some(body.index)
    }

    /// All of body `id` has come.
    pub(super) fn complete(&mut self, id: u64) {
        if let Some(body) = self.bodies.iter_mut().find(|body| body.id == id) {
            body.state = BodyState::Complete;
        }
    }

    /// Nothing more of body `id` comes.
    pub(super) fn end(&mut self, id: u64) {
        let body = self.bodies.iter_mut().find(|body| body.id == id);
        if let Some(body) = body.filter(|body| body.state == BodyState::Coming) {
            body.state = BodyState::Broken;
        }
    }

    /// The oldest body of rendition `index`.
    fn front(&mut self, index: usize) -> Option<&mut Body> {
        self.bodies.iter_mut().find(|body| body.index == index)
    }

    fn is_broken(&self, id: u64) -> bool {
        self.bodies.iter().all(|body| body.id != id || body.state == BodyState::Broken)
    }

    /// Segment `name` of rendition `index` is published: it and those before it are done with.
    fn published(&mut self, index: usize, name: &str) {
        let number = numbered(name).map(|(_, number, _)| number);
        self.bodies.retain(|body| {
            let older = numbered(&body.name).map(|(_, number, _)| number) <= number;
            body.index != index || !older
        });
    }

    fn forget(&mut self, id: u64) {
        self.bodies.retain(|body| body.id != id);
    }
}

/// A name's last number before its extension, and what stands around it.
fn numbered(name: &str) -> Option<(&str, u64, &str)> {
    let stem = name.rfind('.').filter(|dot| *dot > name.rfind('/').unwrap_or(0))?;
    let end = name[..stem].rfind(|c: char| c.is_ascii_digit())? + 1;
    let digits = name[..end].bytes().rev().take_while(u8::is_ascii_digit).count();
    let start = end - digits;
    Some((&name[..start], name[start..end].parse().ok()?, &name[end..]))
}

impl Stream {
    /// Publishes what has come of the segment that is next in rendition `index`.
    pub(super) async fn settle_parts(
        &self,
        writer: &mut Writer,
        index: usize,
    ) -> Result<(), PushError> {
        loop {
            let rendition = &writer.state.renditions[index];
            let Some(low_latency) = &rendition.low_latency else { return Ok(()) };
            let next = {
                let mut bodies = self.bodies();
                let Some(body) = bodies.front(index) else { return Ok(()) };
                let is_next = match &low_latency.live {
                    Some(live) => live.body == body.id,
                    None => !rendition.track.is_waiting() && rendition.end.is_none(),
                };
                let part = if is_next { body.parts.pop_front() } else { None };
                part.map(|part| (body.id, body.name.clone(), part))
            };
            let Some((id, name, part)) = next else { return Ok(()) };
            if let Err(error) = self.publish_part(writer, index, (id, name), part).await {
                // What comes after a missing part is none: what was shown is sealed.
                self.bodies().forget(id);
                return Err(error.into());
            }
        }
    }

    /// The next part of rendition `index` is `part`, of this body: what is to be known after a crash
    /// is on the disk with it, before any digest says so.
    async fn begin_part(
        &self,
        writer: &mut Writer,
        index: usize,
        (body, name): (u64, &str),
        part: &CutPart,
    ) -> Result<(), PublishError> {
        let rendition = &mut writer.state.renditions[index];
        let Some(low_latency) = &mut rendition.low_latency else { return Ok(()) };
        let discontinuity = rendition.track.is_discontinuous();
        let (name, parts) = (name.to_owned(), Vec::new());
        low_latency.live.get_or_insert(Live { body, name, discontinuity, parts });
        let before = (low_latency.shown_msn, low_latency.part_target);
        low_latency.shown_msn = Some(rendition.counters.next_msn);
        if part.duration > low_latency.part_target {
            tracing::warn!(stream = %self.name, rendition = index, was = ?low_latency.part_target,
                is = ?part.duration, "the encoder's fragments have become longer");
            low_latency.part_target = part.duration;
        }
        if before == (low_latency.shown_msn, low_latency.part_target) {
            return Ok(());
        }
        let saved = self.save(writer, false).await;
        if saved.is_err()
            && let Some(low_latency) = &mut writer.state.renditions[index].low_latency
        {
            (low_latency.shown_msn, low_latency.part_target) = before;
        }
        Ok(saved?)
    }

    async fn publish_part(
        &self,
        writer: &mut Writer,
        index: usize,
        (body, name): (u64, String),
        part: CutPart,
    ) -> Result<(), PublishError> {
        self.begin_part(writer, index, (body, &name), &part).await?;
        let shares = self.limits.parts == Parts::Share && !writer.is_subtitles(index);
        let rendition = &mut writer.state.renditions[index];
        let live = rendition.low_latency.as_ref().and_then(|it| it.live.as_ref());
        let Some(live) = live else { return Ok(()) };
        let msn = rendition.counters.next_msn;
        let number = u16::try_from(live.parts.len()).map_or(Part::WHOLE, Part);
        if number == Part::WHOLE {
            return Ok(());
        }
        let segment = ObjectId::segment(rendition.id, rendition.epoch, msn);
        let id = ObjectId { part: number, ..segment };
        let file = format!("{}.{}", id.file_stem(), extension(&name).unwrap_or("bin"));
        let CutPart { bytes, duration, independent } = part;
        let tags = vec![part_tag(&file, duration, independent)];
        let record = SegmentRecord {
            object: id,
            len: bytes.len() as u64,
            hash: blake3::hash(&bytes).to_hex().to_string(),
            duration,
            discontinuity_sequence: rendition.counters.discontinuities,
            published_unix_ms: unix_ms(),
            lines: Lines { tags, uri: file.clone(), ..Lines::default() },
            file,
            gap: false,
            source: None,
        };
        let digest = if shares && is_shared(&record.file) {
            Some(Arc::new(self.sign(&describe(&self.name, rendition, &record, &bytes, 1))?))
        } else {
            None
        };
        let object = Arc::new(self.stored_part(&record, &bytes, digest.is_some()));
        let rendition = &mut writer.state.renditions[index];
        if let Some(digest) = &digest {
            rendition.counters.ordinal += 1;
            rendition.counters.substreams = Some(digest.substreams);
            self.view_mut().add_digest(digest, self.limits.keep_segments);
        }
        let live = rendition.low_latency.as_mut().and_then(|it| it.live.as_mut());
        live.expect("it was there").parts.push(PartRecord {
            object: Arc::clone(&object),
            bytes,
            duration,
            independent,
        });
        self.view_mut().add_object(&object);
        self.show(writer, index, None);
        if let Some(digest) = digest {
            self.tell(News::Published { stream: self.name.clone(), digest }).await;
        }
        Ok(())
    }

    /// A part as it is served: it has no file.
    fn stored_part(&self, record: &SegmentRecord, bytes: &Bytes, shared: bool) -> StoredObject {
        let traffic = Traffic::new(Some(record.object), record.len, record.published_unix_ms);
        let at = Location { path: self.objects_dir().join(&record.file), offset: 0 };
        let mut object = StoredObject::new(&record.file, at, etag(&record.hash), traffic);
        object.shared &= shared;
        object.set_cached(Some(bytes.clone()));
        object
    }

    /// What was shown of a segment that is not the next after all becomes one of its own, and
    /// what comes after it does not go on where it stopped.
    pub(super) async fn seal(&self, writer: &mut Writer, index: usize) -> Result<(), PublishError> {
        let rendition = &mut writer.state.renditions[index];
        let last = rendition.segments.back().map(|last| last.lines.clone()).unwrap_or_default();
        let Some(low_latency) = &mut rendition.low_latency else { return Ok(()) };
        let Some(live) = &low_latency.live else { return Ok(()) };
        self.bodies().forget(live.body);
        if live.parts.is_empty() {
            low_latency.live = None;
            return Ok(());
        }
        let (bytes, duration, name) = (live.bytes(), live.duration(), live.name.clone());
        tracing::warn!(stream = %self.name, rendition = index, name, ?duration, "a segment ended \
            early: what was shown of it stays");
        let tags = vec![format!("#EXTINF:{:.6},", duration.as_secs_f64())];
        let discontinuity = live.discontinuity;
        let lines = Lines { discontinuity, tags, uri: String::new(), ..last };
        let hash = blake3::hash(&bytes);
        let (gap, named, pieces) = (false, false, 1);
        let segment = NewSegment { bytes, hash, name, duration, lines, gap, named, pieces };
        self.publish(writer, index, segment).await?;
        writer.state.renditions[index].track.discontinue();
        Ok(())
    }

    /// Seals what comes no more.
    pub(super) async fn seal_broken(&self, writer: &mut Writer) -> Result<(), PublishError> {
        for index in 0..writer.state.renditions.len() {
            let low_latency = &writer.state.renditions[index].low_latency;
            let live = low_latency.as_ref().and_then(|it| it.live.as_ref()).map(|live| live.body);
            if live.is_some_and(|body| self.bodies().is_broken(body)) {
                self.seal(writer, index).await?;
            }
        }
        Ok(())
    }

    /// The playlist names `entry` as the next segment of rendition `index`, whose bytes are these:
    /// seals what was shown if that is another one.
    pub(super) async fn seal_other(
        &self,
        writer: &mut Writer,
        index: usize,
        (entry, bytes): (&Entry, &[u8]),
    ) -> Result<bool, PublishError> {
        let low_latency = &writer.state.renditions[index].low_latency;
        let Some(live) = low_latency.as_ref().and_then(|it| it.live.as_ref()) else {
            return Ok(false);
        };
        let whole = entry.piece.range.is_none() && !entry.gap;
        if whole && live.name == entry.piece.name && live.fits(bytes).is_some() {
            return Ok(false);
        }
        self.seal(writer, index).await?;
        Ok(true)
    }

    /// Segment `name` of rendition `index` has come, over a time of `took`: whether its encoder
    /// streams its segments, and what the next bodies are called.
    ///
    /// Gives how many parts its bytes make, if viewers share those.
    pub(super) fn learn_body(
        &self,
        writer: &mut Writer,
        index: usize,
        (entry, init): (&Entry, &[u8]),
        (bytes, took): (&[u8], Duration),
    ) -> usize {
        let Some(tracks) = Tracks::read(init).filter(|_| entry.piece.range.is_none()) else {
            return 1;
        };
        let rendition = &mut writer.state.renditions[index];
        let mut pieces = 1;
        if rendition.low_latency.is_none() {
            // What is pushed at once when it is complete has no latency to win.
            if took < entry.duration / 2 {
                return 1;
            }
            let mut cutter = Cutter::new(tracks.clone(), self.limits.part_target);
            let mut parts = cutter.push(bytes);
            parts.extend(cutter.finish());
            if parts.len() < 2 {
                return 1;
            }
            let longest = parts.iter().map(|part| part.duration).max().unwrap_or_default();
            let part_target = longest.max(self.limits.part_target);
            tracing::info!(stream = %self.name, rendition = index, ?part_target, "the encoder \
                streams its segments: low-latency HLS");
            rendition.low_latency = Some(LowLatency { part_target, ..LowLatency::default() });
            if self.limits.parts == Parts::Share {
                pieces = parts.len();
            }
        }
        let low_latency = rendition.low_latency.as_ref();
        let part_target = low_latency.map_or(self.limits.part_target, |it| it.part_target);
        let mut bodies = self.bodies();
        if let Some((before, number, after)) = numbered(&entry.piece.name) {
            let (before, after) = (before.to_owned(), after.to_owned());
            let template = Template { before, after, number, tracks, part_target };
            bodies.templates.insert(index, template);
        }
        pieces
    }

    /// Segment `name` of rendition `index` is published.
    pub(super) fn body_published(&self, index: usize, name: &str) {
        self.bodies().published(index, name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_in_their_last_number() {
        for (name, expected) in [
            ("chunk-stream0-00012.m4s", Some(("chunk-stream0-", 12, ".m4s"))),
            ("a7/seg_3_x.mp4", Some(("a7/seg_", 3, "_x.mp4"))),
            ("init.mp4", None),
            ("a1/b.mp4", Some(("a", 1, "/b.mp4"))),
            ("noextension1", None),
        ] {
            assert_eq!(numbered(name), expected, "{name}");
        }
    }

    #[test]
    fn bodies_are_cut_in_their_encoders_order() {
        let mut bodies = Bodies::default();
        assert!(bodies.begin("s1.m4s").is_none(), "nothing is known yet");
        let template = |number| Template {
            before: "s".into(),
            after: ".m4s".into(),
            number,
            tracks: Tracks::default(),
            part_target: Duration::from_millis(500),
        };
        bodies.templates.insert(0, template(1));
        assert!(bodies.begin("s1.m4s").is_none(), "again, or of another life");
        assert!(bodies.begin("t2.m4s").is_none());
        let (two, _) = bodies.begin("s2.m4s").unwrap();
        let (three, _) = bodies.begin("s3.m4s").unwrap();
        assert_eq!(bodies.front(0).unwrap().id, two);
        bodies.complete(two);
        bodies.end(two);
        bodies.end(three);
        assert!(!bodies.is_broken(two) && bodies.is_broken(three));
        bodies.published(0, "s2.m4s");
        assert_eq!(bodies.front(0).unwrap().id, three);
        bodies.templates.insert(1, template(1));
        assert!(bodies.begin("s4.m4s").is_none(), "of which rendition?");
        bodies.templates.remove(&1);
        let cut = (10..300).filter(|number| bodies.begin(&format!("s{number}.m4s")).is_some());
        assert_eq!(cut.count(), CUT_MAX - 1, "one waited already");
        assert_eq!(bodies.bodies.len(), BODIES_MAX);
        bodies.published(0, "s270.m4s");
        assert_eq!(bodies.front(0).unwrap().name, "s271.m4s", "whole, and in its place");
    }
}
