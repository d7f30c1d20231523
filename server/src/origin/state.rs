//! What of a stream outlives the process: epoch, renditions, segments, where the encoder was.
//!
//! Rule: the file is replaced atomically, and before anything that it describes is shown to
//! anybody. So after a crash no number is used twice, and no playlist goes back.

use super::encoder_playlist::MediaPlaylist;
use super::encoders::Encoder;
use super::low_latency::{LowLatency, PartRecord};
use super::track::Track;
use serde::{Deserialize, Serialize};
use shoal_wire::{Epoch, ObjectId, RenditionId};
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

/// One stream.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct StreamState {
    /// The newest epoch of any rendition; 0 before the first.
    pub(crate) epoch: Epoch,
    /// By number.
    pub(crate) renditions: Vec<RenditionState>,
    /// Master playlists by path, as they were pushed.
    pub(crate) masters: BTreeMap<String, String>,
    /// What the operator's folder was like when this was made of it.
    #[serde(default)]
    pub(crate) recording: Option<String>,
}

/// One media playlist.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RenditionState {
    pub(crate) id: RenditionId,
    /// Its path in the stream.
    pub(crate) playlist: String,
    pub(crate) epoch: Epoch,
    pub(crate) counters: Counters,
    pub(crate) header: Header,
    /// The object whose digest says that the stream ended, while it has.
    pub(crate) end: Option<ObjectId>,
    pub(crate) inits: VecDeque<InitRecord>,
    pub(crate) inits_made: u64,
    /// Kept in a file of its own, see `journal`.
    #[serde(skip)]
    pub(crate) segments: VecDeque<SegmentRecord>,
    pub(crate) track: Track,
    /// Whose track it is.
    #[serde(default)]
    pub(crate) encoder: Encoder,
    /// None: its encoder pushes whole segments.
    #[serde(default)]
    pub(crate) low_latency: Option<LowLatency>,
    /// Number of the oldest segment that is kept.
    #[serde(default)]
    pub(crate) kept_from: u64,
    /// Lines in the file of segments.
    #[serde(skip)]
    pub(crate) journal_lines: usize,
    /// Bytes of all segments.
    #[serde(skip)]
    pub(crate) bytes: u64,
}

/// What each publication moves on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counters {
    /// The next segment's media sequence number.
    pub(crate) next_msn: u64,
    /// Objects with a digest so far.
    pub(crate) ordinal: u64,
    /// K, fixed by the first object.
    pub(crate) substreams: Option<u8>,
    /// EXT-X-DISCONTINUITY tags so far.
    pub(crate) discontinuities: u64,
    /// Whether any segment was encrypted: then clear ones have to say so.
    pub(crate) keyed: bool,
}

/// What the playlist says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) version: u32,
    pub(crate) target_s: u64,
    pub(crate) independent: bool,
    #[serde(default)]
    pub(crate) i_frames_only: bool,
    /// Most segments that this life of the encoder showed at once.
    pub(crate) window: usize,
    /// EXT-X-DEFINE lines that the segments' lines need.
    #[serde(default)]
    pub(crate) defines: Vec<String>,
}

/// A stored segment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SegmentRecord {
    pub(crate) object: ObjectId,
    /// Its name in URLs and on disk.
    pub(crate) file: String,
    pub(crate) len: u64,
    /// BLAKE3 of its bytes, in hex.
    pub(crate) hash: String,
    pub(crate) duration: Duration,
    /// EXT-X-DISCONTINUITY tags before this segment's own lines.
    pub(crate) discontinuity_sequence: u64,
    pub(crate) published_unix_ms: u64,
    pub(crate) lines: Lines,
    /// It is shown with EXT-X-GAP, and there is no such object.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) gap: bool,
    /// Where its bytes are, if they are not in a file of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<Source>,
}

/// A range of a file of the operator's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) offset: u64,
}

/// A stored init section.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct InitRecord {
    /// Its name in URLs and on disk.
    pub(crate) file: String,
    /// The name that the encoder gave it.
    pub(crate) pushed_as: String,
    pub(crate) len: u64,
    pub(crate) hash: String,
    /// Where its bytes are, if they are not in a file of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<Source>,
}

/// What follows is not encrypted.
const CLEAR: &str = "#EXT-X-KEY:METHOD=NONE";

/// A segment's lines in the playlist.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lines {
    pub(crate) discontinuity: bool,
    /// EXT-X-KEY lines in force.
    pub(crate) keys: Vec<String>,
    /// EXT-X-MAP line in force.
    pub(crate) map: Option<String>,
    /// EXT-X-KEY lines in force at its place: with these the init section is encrypted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) map_keys: Vec<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) uri: String,
}

impl Lines {
    /// The lines as they are said after the segments that `counters` count.
    pub(crate) fn after(mut self, counters: &Counters) -> Self {
        // Nothing before it: nothing to be discontinuous with.
        self.discontinuity &= counters.next_msn > 0;
        if self.keys.is_empty() && counters.keyed {
            self.keys.push(CLEAR.into());
        }
        self
    }

    /// All lines, standing on their own: key and map in force are among them. Nothing, if there are
    /// no tags: then a viewer's own playlist has to be asked.
    pub(crate) fn whole(&self) -> String {
        if self.tags.is_empty() {
            return String::new();
        }
        let mut out = String::new();
        self.write(&mut out, None, &[]);
        out
    }

    /// Writes the lines after those of the segment `before`, whose keys and map are not repeated;
    /// `parts` are the segment's.
    pub(crate) fn write(&self, out: &mut String, before: Option<&Self>, parts: &[PartRecord]) {
        let mut line = |line: &str| {
            out.push_str(line);
            out.push('\n');
        };
        if self.discontinuity {
            line("#EXT-X-DISCONTINUITY");
        }
        let mut keys = before.map_or(&[][..], |before| &before.keys);
        let known = before.map(|before| (&before.map, &before.map_keys));
        if let Some(map) = self.map.as_ref().filter(|_| known != Some((&self.map, &self.map_keys)))
        {
            if self.map_keys.is_empty() && !keys.is_empty() {
                line(CLEAR);
            } else if self.map_keys != keys {
                self.map_keys.iter().for_each(|key| line(key));
            }
            keys = &self.map_keys;
            line(map);
        }
        if self.keys != keys {
            self.keys.iter().for_each(|key| line(key));
        }
        // What is said of the whole segment stands after its parts, what goes for them before.
        let of_whole = |tag: &&String| !parts.is_empty() && tag.starts_with("#EXTINF");
        self.tags.iter().filter(|tag| !of_whole(tag)).for_each(|tag| line(tag));
        parts.iter().for_each(|part| line(&part.tag()));
        self.tags.iter().filter(of_whole).for_each(|tag| line(tag));
        line(&self.uri);
    }
}

impl RenditionState {
    pub(crate) fn new(id: RenditionId, playlist: &str, epoch: Epoch) -> Self {
        Self {
            id,
            playlist: playlist.to_owned(),
            epoch,
            counters: Counters::default(),
            header: Header::default(),
            end: None,
            inits: VecDeque::new(),
            inits_made: 0,
            segments: VecDeque::new(),
            track: Track::default(),
            encoder: Encoder::Main,
            low_latency: None,
            kept_from: 0,
            journal_lines: 0,
            bytes: 0,
        }
    }

    /// Another encoder makes it from now on.
    pub(crate) fn switch_to(&mut self, encoder: Encoder) {
        self.encoder = encoder;
        self.track = Track::default();
    }

    /// Takes over what the encoder's playlist says of itself.
    pub(crate) fn header_from(&mut self, playlist: &MediaPlaylist, restarted: bool) {
        let window = if restarted { 0 } else { self.header.window };
        let longest = playlist.entries.iter().map(|entry| entry.duration.as_secs_f64().round());
        let longest = longest.fold(0.0, f64::max) as u64;
        self.header = Header {
            version: playlist.version.max(self.header.version),
            target_s: playlist.target_s.max(longest).max(self.header.target_s),
            independent: playlist.independent,
            i_frames_only: self.header.i_frames_only,
            window: window.max(playlist.entries.len()),
            defines: playlist.defines.clone(),
        };
    }

    /// The media playlist of the newest segments (RFC 8216, 4.3.3), or none without any.
    pub(crate) fn render(&self, shown: &Shown) -> Option<String> {
        use std::fmt::Write;
        let skip = self.segments.len().saturating_sub(shown.window);
        let first = self.segments.get(skip)?;
        let mut out = String::with_capacity(4096);
        let header = &self.header;
        write!(
            out,
            "#EXTM3U\n#EXT-X-VERSION:{}\n#EXT-X-TARGETDURATION:{}\n#EXT-X-MEDIA-SEQUENCE:{}\n\
             #EXT-X-DISCONTINUITY-SEQUENCE:{}\n",
            header.version.max(if self.low_latency.is_some() { 9 } else { 3 }),
            header.target_s.max(1),
            first.object.msn,
            first.discontinuity_sequence
        )
        .expect("writing to a string cannot fail");
        for line in shown.tag(self).iter().chain(&header.defines) {
            out.push_str(line);
            out.push('\n');
        }
        if header.independent {
            out.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
        }
        if header.i_frames_only {
            out.push_str("#EXT-X-I-FRAMES-ONLY\n");
        }
        let mut skipped = 0;
        if let Some(low_latency) = &self.low_latency {
            low_latency.header(&mut out, self.target());
            if shown.delta {
                skipped = self.skippable(skip);
                writeln!(out, "#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}")
                    .expect("writing to a string cannot fail");
            }
        }
        let mut before = None;
        for segment in self.segments.iter().skip(skip + skipped) {
            let low_latency = self.low_latency.as_ref();
            let parts = low_latency.map(|it| it.parts(segment.object.msn, self.target()));
            segment.lines.write(&mut out, before, parts.unwrap_or_default());
            before = Some(&segment.lines);
        }
        if self.end.is_some() {
            out.push_str("#EXT-X-ENDLIST\n");
        } else {
            self.write_live(&mut out, shown);
        }
        Some(out)
    }
}

/// Seconds that a sliding playlist will hold; players pass over tags that they do not know.
const WINDOW_TAG: &str = "#EXT-X-SHOAL-WINDOW";

/// How much of a rendition its playlist shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    /// The newest segments.
    pub(crate) window: usize,
    /// Whether viewers may go back in all that is kept, and how far that will be: none without end.
    pub(crate) dvr: Option<Option<Duration>>,
    /// EXT-X-RENDITION-REPORT lines.
    pub(crate) reports: Vec<String>,
    /// Whether old segments are left out, for those who have them.
    pub(crate) delta: bool,
}

impl Shown {
    fn tag(&self, rendition: &RenditionState) -> Option<String> {
        let dvr = self.dvr?;
        if rendition.end.is_some() {
            return Some("#EXT-X-PLAYLIST-TYPE:VOD".into());
        }
        match dvr {
            None if rendition.kept_from == 0 => Some("#EXT-X-PLAYLIST-TYPE:EVENT".into()),
            None => None,
            // Viewers' agents let their own window slide as this one does.
            Some(window) => Some(format!("{WINDOW_TAG}:{}", window.as_secs())),
        }
    }
}

impl StreamState {
    /// Where the rendition shown at `playlist` stands in the list, if there is one.
    pub(crate) fn rendition_at(&self, playlist: &str) -> Option<usize> {
        self.renditions.iter().position(|rendition| rendition.playlist == playlist)
    }

    /// Adds a rendition, in the newest epoch.
    pub(crate) fn add_rendition(&mut self, playlist: &str) -> usize {
        let index = self.renditions.len();
        let id = RenditionId(u16::try_from(index).expect("the number of renditions is limited"));
        self.epoch = self.epoch.max(Epoch(1));
        self.renditions.push(RenditionState::new(id, playlist, self.epoch));
        index
    }

    /// The encoder of rendition `index` began anew. Renditions of one encoder restart together: the
    /// first that is seen makes the epoch, the others follow into it.
    pub(crate) fn restart(&mut self, index: usize) -> Epoch {
        let rendition = &mut self.renditions[index];
        if rendition.epoch >= self.epoch {
            self.epoch = Epoch(self.epoch.0 + 1);
        }
        rendition.epoch = self.epoch;
        rendition.end = None;
        rendition.track.discontinue();
        rendition.epoch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(msn: u64, lines: Lines, discontinuity_sequence: u64) -> SegmentRecord {
        SegmentRecord {
            object: ObjectId::segment(RenditionId(0), Epoch(1), msn),
            file: format!("0-1-{msn}.ts"),
            len: 1,
            hash: String::new(),
            duration: Duration::from_secs(2),
            discontinuity_sequence,
            published_unix_ms: 0,
            lines,
            gap: false,
            source: None,
        }
    }

    fn lines(uri: &str, key: &str, discontinuity: bool) -> Lines {
        Lines {
            discontinuity,
            keys: vec![key.into()],
            map: Some("#MAP".into()),
            map_keys: vec![key.into()],
            tags: vec!["#EXTINF:2,".into()],
            uri: uri.into(),
        }
    }

    #[test]
    fn keys_and_maps_are_repeated_only_when_they_change() {
        let mut rendition = RenditionState::new(RenditionId(0), "i.m3u8", Epoch(1));
        let render = |rendition: &RenditionState, window| {
            rendition.render(&Shown { window, ..Shown::default() })
        };
        assert_eq!(render(&rendition, 3), None);
        for (msn, key, discontinuity, sequence) in
            [(0, "#A", false, 0), (1, "#A", true, 0), (2, "#B", false, 1)]
        {
            let lines = lines(&format!("{msn}.ts"), key, discontinuity);
            rendition.segments.push_back(segment(msn, lines, sequence));
        }
        rendition.header.target_s = 2;
        assert_eq!(
            render(&rendition, 2).unwrap(),
            "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:1\n\
             #EXT-X-DISCONTINUITY-SEQUENCE:0\n#EXT-X-DISCONTINUITY\n#A\n#MAP\n#EXTINF:2,\n1.ts\n\
             #B\n#MAP\n#EXTINF:2,\n2.ts\n"
        );
        assert!(render(&rendition, 1).unwrap().contains("DISCONTINUITY-SEQUENCE:1\n#B\n#MAP\n"));
        rendition.end = Some(ObjectId::segment(RenditionId(0), Epoch(1), 3));
        assert!(render(&rendition, 9).unwrap().ends_with("2.ts\n#EXT-X-ENDLIST\n"));
    }

    #[test]
    fn a_map_stands_below_its_own_keys() {
        let of = |map: &str, map_keys: &[&str], keys: &[&str]| Lines {
            keys: keys.iter().map(|&key| key.to_owned()).collect(),
            map: Some(map.to_owned()),
            map_keys: map_keys.iter().map(|&key| key.to_owned()).collect(),
            uri: "u".into(),
            ..Lines::default()
        };
        let (clear, keyed, both) =
            (of("#M", &[], &["#A"]), of("#N", &["#A"], &["#A"]), of("#N", &["#A"], &["#B"]));
        for (before, lines, expected) in [
            (None, &clear, "#M\n#A\n"),
            (None, &keyed, "#A\n#N\n"),
            (None, &both, "#A\n#N\n#B\n"),
            (Some(&clear), &clear, ""),
            (Some(&clear), &keyed, "#N\n"),
            (Some(&clear), &both, "#N\n#B\n"),
            (Some(&keyed), &both, "#B\n"),
            (Some(&both), &keyed, "#A\n"),
            (Some(&both), &clear, "#EXT-X-KEY:METHOD=NONE\n#M\n#A\n"),
        ] {
            let mut out = String::new();
            lines.write(&mut out, before, &[]);
            assert_eq!(out, format!("{expected}u\n"), "{lines:?} after {before:?}");
        }
    }

    #[test]
    fn renditions_of_one_encoder_restart_together() {
        let mut state = StreamState::default();
        let (a, b) = (state.add_rendition("a.m3u8"), state.add_rendition("b.m3u8"));
        assert_eq!(state.restart(a), Epoch(2));
        assert_eq!(state.restart(b), Epoch(2));
        assert_eq!(state.restart(b), Epoch(3));
        assert_eq!(state.restart(a), Epoch(3));
    }
}
