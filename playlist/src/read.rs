//! Reads a text as a master or a media playlist.
//!
//! Rule: it is a master playlist if it names variants. Tags that the project does not need, and
//! such as do not parse, are kept as lines; only what must be understood is an error. A number that
//! has space around it is still a number.

use crate::LINES_MAX;
use crate::attributes::Attributes;
use crate::define::Variables;
use crate::error::PlaylistError;
use crate::line::{What, lines};
use crate::master::{Alternative, MasterPlaylist, Variant};
use crate::media::{
    ByteRange, Entry, Key, Map, MediaPlaylist, Part, PlaylistType, PreloadHint, RenditionReport,
    ServerControl,
};
use quick_m3u8::tag::{DecimalIntegerRange, TagValue};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// What a playlist's variables may come from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    /// The variables of the master playlist that named it (IMPORT).
    pub imports: Option<&'a Variables>,
    /// The query of its URL, without the question mark (QUERYPARAM). None: it is not known here,
    /// and such names stay in the text; see [`MediaPlaylist::query_params`].
    pub query: Option<&'a str>,
}

/// A playlist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Playlist {
    /// It names media playlists.
    Master(MasterPlaylist),
    /// It names segments.
    Media(MediaPlaylist),
}

impl Playlist {
    /// Reads `text`.
    ///
    /// # Errors
    /// [`PlaylistError`] says where it is wrong.
    pub fn parse(text: &[u8], context: Context<'_>) -> Result<Self, PlaylistError> {
        let text = std::str::from_utf8(text).map_err(|_| PlaylistError::Text)?;
        let mut all = lines(text);
        // Blank lines before the header are common, and players do not mind.
        let first = all.find(|line| !line.text.is_empty());
        if first.is_none_or(|line| line.text != "#EXTM3U") {
            return Err(PlaylistError::NoHeader);
        }
        let mut reader = Reader { context, ..Reader::default() };
        reader.media.version = 1;
        for line in all {
            if line.number > LINES_MAX {
                return Err(PlaylistError::TooLong(line.number));
            }
            match line.what() {
                What::Nothing if line.text.is_empty() => {}
                What::Nothing => reader.next.tags.push(line.text.to_owned()),
                What::Uri(uri) => reader.uri(uri, line.number)?,
                What::Tag { name, value } => {
                    let text = reader.variables.substitute_tag(line.text, line.number)?;
                    reader.tag(&Tagged { line: line.number, text: &text, value }, name)?;
                }
            }
        }
        reader.finish()
    }
}

/// A tag with its variables substituted.
struct Tagged<'a> {
    line: usize,
    text: &'a str,
    /// Of tags without attributes: they have no variables.
    value: &'a str,
}

/// Reads on from line to line.
#[derive(Default)]
struct Reader<'a> {
    context: Context<'a>,
    variables: Variables,
    media: MediaPlaylist,
    master: MasterPlaylist,
    is_master: bool,
    /// The variant whose URI is still to come.
    variant: Option<Variant>,
    /// The segment whose URI is still to come.
    next: Entry,
    timed: bool,
    /// Line of the first URI without EXTINF. In a master playlist it is nothing that a player
    /// would ask for.
    untimed: Option<usize>,
    keyed: bool,
    /// Its range, while the offset may depend on its URI.
    range: Option<(u64, Option<u64>)>,
    /// Where the last range of each file ended: segments, and parts.
    ends: [HashMap<String, u64>; 2],
}

const SEGMENTS: usize = 0;
const PARTS: usize = 1;

impl Reader<'_> {
    fn tag(&mut self, tag: &Tagged<'_>, name: &str) -> Result<(), PlaylistError> {
        let media = &mut self.media;
        match name {
            "M3U"
            | "-X-START"
            | "-X-SESSION-DATA"
            | "-X-SESSION-KEY"
            | "-X-CONTENT-STEERING"
            | "-X-ALLOW-CACHE" => {}
            "-X-VERSION" => media.version = tag.value.parse().unwrap_or(1),
            "-X-TARGETDURATION" => media.target_s = tag.whole("-X-TARGETDURATION")?,
            "-X-MEDIA-SEQUENCE" => media.media_sequence = tag.whole("-X-MEDIA-SEQUENCE")?,
            "-X-DISCONTINUITY-SEQUENCE" => {
                media.discontinuity_sequence = tag.whole("-X-DISCONTINUITY-SEQUENCE")?;
            }
            "-X-PLAYLIST-TYPE" => {
                media.playlist_type = match tag.value {
                    "EVENT" => Some(PlaylistType::Event),
                    "VOD" => Some(PlaylistType::Vod),
                    _ => None,
                };
            }
            "-X-INDEPENDENT-SEGMENTS" => {
                (media.independent, self.master.independent) = (true, true);
            }
            "-X-I-FRAMES-ONLY" => media.i_frames_only = true,
            "-X-ENDLIST" => media.ended = true,
            "-X-DEFINE" => self.define(tag)?,
            "-X-SERVER-CONTROL"
            | "-X-PART-INF"
            | "-X-SKIP"
            | "-X-PRELOAD-HINT"
            | "-X-RENDITION-REPORT" => self.low_latency(tag, name)?,
            "-X-STREAM-INF" | "-X-I-FRAME-STREAM-INF" | "-X-MEDIA" => self.master_tag(tag, name),
            _ => self.segment_tag(tag, name)?,
        }
        Ok(())
    }

    fn segment_tag(&mut self, tag: &Tagged<'_>, name: &str) -> Result<(), PlaylistError> {
        let next = &mut self.next;
        match name {
            "-X-DISCONTINUITY" => next.discontinuities += 1,
            "-X-GAP" => next.gap = true,
            "-X-BYTERANGE" => {
                let range = DecimalIntegerRange::try_from(tag.value);
                let range = range.map_err(|_| tag.wrong("-X-BYTERANGE"))?;
                self.range = Some((range.length, range.offset));
            }
            "-X-KEY" => self.key(tag),
            "-X-MAP" => {
                next.map = Some(Arc::new(tag.map(&next.keys)?));
                // What follows is another key, and no other format of one that it is under.
                self.keyed = false;
            }
            "-X-PART" => self.part(tag)?,
            "INF" => {
                let seconds = tag.value.split(',').next().unwrap_or_default();
                next.duration = duration(seconds).ok_or_else(|| tag.wrong("INF"))?;
                next.tags.push(tag.text.to_owned());
                self.timed = true;
            }
            _ => {
                if name == "-X-PROGRAM-DATE-TIME" {
                    next.date_time = Some(tag.value.to_owned());
                } else if name == "-X-BITRATE" {
                    next.bitrate = tag.value.parse().ok();
                }
                next.tags.push(tag.text.to_owned());
            }
        }
        Ok(())
    }

    fn key(&mut self, tag: &Tagged<'_>) {
        let attributes = Attributes::of(tag.text);
        let method = attributes.text("METHOD").unwrap_or_default().to_owned();
        let uri = attributes.text("URI").map(str::to_owned);
        // Several key tags before one segment are the same key in several formats.
        let mut keys = if std::mem::replace(&mut self.keyed, true) {
            self.next.keys.to_vec()
        } else {
            Vec::new()
        };
        keys.push(Key { method, uri, tag: tag.text.to_owned() });
        self.next.keys = keys.into();
    }

    fn part(&mut self, tag: &Tagged<'_>) -> Result<(), PlaylistError> {
        let wrong = || tag.wrong("-X-PART");
        let attributes = Attributes::of(tag.text);
        let uri = attributes.text("URI").ok_or_else(wrong)?.to_owned();
        let seconds = attributes.text("DURATION").and_then(duration).ok_or_else(wrong)?;
        let range = match attributes.text("BYTERANGE") {
            Some(range) => {
                let range = DecimalIntegerRange::try_from(range).map_err(|_| wrong())?;
                Some(self.range_of(PARTS, &uri, (range.length, range.offset), tag.line)?)
            }
            None => None,
        };
        self.next.parts.push(Part {
            uri,
            duration: seconds,
            independent: attributes.yes("INDEPENDENT"),
            gap: attributes.yes("GAP"),
            range,
            tag: tag.text.to_owned(),
        });
        Ok(())
    }

    fn define(&mut self, tag: &Tagged<'_>) -> Result<(), PlaylistError> {
        let attributes = Attributes::of(tag.text);
        let missing =
            |name: &str| PlaylistError::Variable { line: tag.line, name: name.to_owned() };
        if let Some(name) = attributes.text("NAME") {
            self.variables.define(name, attributes.text("VALUE").unwrap_or_default());
        } else if let Some(name) = attributes.text("IMPORT") {
            let value = self.context.imports.and_then(|imports| imports.value(name));
            self.variables.define(name, value.ok_or_else(|| missing(name))?);
        } else if let Some(name) = attributes.text("QUERYPARAM") {
            let Some(query) = self.context.query else {
                self.variables.define(name, &format!("{{${name}}}"));
                self.media.query_params.push(tag.text.to_owned());
                return Ok(());
            };
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let value = pairs.find(|(key, _)| *key == name).map(|(_, value)| value);
            self.variables.define(name, value.ok_or_else(|| missing(name))?);
        } else {
            return Err(tag.wrong("-X-DEFINE"));
        }
        Ok(())
    }

    fn low_latency(&mut self, tag: &Tagged<'_>, name: &str) -> Result<(), PlaylistError> {
        let attributes = Attributes::of(tag.text);
        let seconds = |name| attributes.text(name).and_then(duration);
        let uri = || attributes.text("URI").map(str::to_owned);
        let media = &mut self.media;
        match name {
            "-X-SERVER-CONTROL" => {
                media.server_control = Some(ServerControl {
                    can_skip_until: seconds("CAN-SKIP-UNTIL"),
                    can_skip_dateranges: attributes.yes("CAN-SKIP-DATERANGES"),
                    hold_back: seconds("HOLD-BACK"),
                    part_hold_back: seconds("PART-HOLD-BACK"),
                    can_block_reload: attributes.yes("CAN-BLOCK-RELOAD"),
                });
            }
            "-X-PART-INF" => media.part_target = seconds("PART-TARGET"),
            "-X-SKIP" => {
                let skipped = attributes.number("SKIPPED-SEGMENTS");
                media.skipped = skipped.ok_or_else(|| tag.wrong("-X-SKIP"))?;
            }
            "-X-PRELOAD-HINT" => media.hints.push(PreloadHint {
                is_map: attributes.text("TYPE") == Some("MAP"),
                uri: uri().ok_or_else(|| tag.wrong("-X-PRELOAD-HINT"))?,
                offset: attributes.number("BYTERANGE-START").unwrap_or(0),
                length: attributes.number("BYTERANGE-LENGTH"),
            }),
            _ => media.reports.push(RenditionReport {
                uri: uri().ok_or_else(|| tag.wrong("-X-RENDITION-REPORT"))?,
                last_msn: attributes.number("LAST-MSN").unwrap_or(0),
                last_part: attributes.number("LAST-PART"),
            }),
        }
        Ok(())
    }

    fn master_tag(&mut self, tag: &Tagged<'_>, name: &str) {
        let attributes = Attributes::of(tag.text);
        let uri = attributes.text("URI").map(str::to_owned);
        let line = tag.line;
        self.is_master |= name != "-X-MEDIA";
        match name {
            "-X-STREAM-INF" => {
                self.variant = Some(Variant { line, uri: String::new(), attributes });
            }
            "-X-MEDIA" => self.master.alternatives.push(Alternative { line, uri, attributes }),
            _ => {
                let uri = uri.unwrap_or_default();
                self.master.i_frames.push(Variant { line, uri, attributes });
            }
        }
    }

    fn uri(&mut self, uri: &str, line: usize) -> Result<(), PlaylistError> {
        let uri = self.variables.substitute(uri, line)?.into_owned();
        if let Some(variant) = self.variant.take() {
            self.master.variants.push(Variant { uri, ..variant });
            return Ok(());
        }
        if !std::mem::take(&mut self.timed) {
            self.untimed = self.untimed.or(Some(line));
        }
        self.next.range = match self.range.take() {
            Some(range) => Some(self.range_of(SEGMENTS, &uri, range, line)?),
            None => None,
        };
        (self.next.uri, self.next.line) = (uri, line);
        self.keyed = false;
        let carried = Entry {
            keys: Arc::clone(&self.next.keys),
            map: self.next.map.clone(),
            bitrate: self.next.bitrate,
            ..Entry::default()
        };
        self.media.entries.push(std::mem::replace(&mut self.next, carried));
        Ok(())
    }

    /// A range whose offset may be left out: then it follows the last one of the same file, or, as
    /// players have it, begins where the file does.
    fn range_of(
        &mut self,
        which: usize,
        uri: &str,
        (length, offset): (u64, Option<u64>),
        line: usize,
    ) -> Result<ByteRange, PlaylistError> {
        let ends = &mut self.ends[which];
        let offset = offset.or_else(|| ends.get(uri).copied()).unwrap_or(0);
        let range = ByteRange::new(offset, length).ok_or(PlaylistError::Range(line))?;
        if let Some(end) = ends.get_mut(uri) {
            *end = range.end();
        } else {
            ends.insert(uri.to_owned(), range.end());
        }
        Ok(range)
    }

    fn finish(self) -> Result<Playlist, PlaylistError> {
        let (mut media, mut master) = (self.media, self.master);
        if self.is_master || media.entries.is_empty() && !master.alternatives.is_empty() {
            master.variables = self.variables;
            return Ok(Playlist::Master(master));
        }
        if let Some(line) = self.untimed {
            return Err(PlaylistError::NoDuration(line));
        }
        media.parts = self.next.parts;
        Ok(Playlist::Media(media))
    }
}

impl Tagged<'_> {
    fn wrong(&self, tag: &'static str) -> PlaylistError {
        PlaylistError::Value { line: self.line, tag }
    }

    fn whole(&self, tag: &'static str) -> Result<u64, PlaylistError> {
        TagValue(self.value.as_bytes()).try_as_decimal_integer().map_err(|_| self.wrong(tag))
    }

    fn map(&self, keys: &Arc<[Key]>) -> Result<Map, PlaylistError> {
        let wrong = || self.wrong("-X-MAP");
        let attributes = Attributes::of(self.text);
        let range = match attributes.text("BYTERANGE") {
            Some(range) => {
                let range = DecimalIntegerRange::try_from(range).map_err(|_| wrong())?;
                let range = ByteRange::new(range.offset.unwrap_or(0), range.length);
                Some(range.ok_or(PlaylistError::Range(self.line))?)
            }
            None => None,
        };
        let uri = attributes.text("URI").ok_or_else(wrong)?.to_owned();
        Ok(Map { uri, range, keys: Arc::clone(keys), tag: self.text.to_owned() })
    }
}

fn duration(seconds: &str) -> Option<Duration> {
    let seconds = TagValue(seconds.trim().as_bytes()).try_as_decimal_floating_point().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
