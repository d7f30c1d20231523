//! A media playlist that grows by digests: the origin's last text, and what was published since.
//!
//! Rule: what is shown is what the origin shows or would show (RFC 8216, 6.2.2): sequence numbers
//! move on with every segment and discontinuity that is dropped from the front, and key and map in
//! force are never lost. Whatever a digest cannot tell is left to the origin: [`Append`] says so.

use shoal_playlist::{Line, What, lines};
use shoal_wire::{Digest, ObjectId};
use std::collections::VecDeque;
use std::fmt::Write;
use std::time::Duration;

/// Segments shown while the origin has not dropped any yet: an encoder's window is 3 to 10.
const GROWING_MAX: usize = 10;
/// A window that is smaller than this may double: players want three segments to start, and an
/// origin keeps dropped segments for as long as its playlist is (RFC 8216, 6.2.2).
const SMALL_MAX: usize = 6;
/// Most segments kept of a live or event playlist: a day of two-second segments.
const SEGMENTS_MAX: usize = 43_200;

/// A media playlist.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    /// Lines before the first segment.
    header: Vec<HeaderLine>,
    first_msn: u64,
    discontinuity_sequence: u64,
    segments: VecDeque<Segment>,
    /// Lines after the last segment, the end apart.
    trailer: String,
    ended: bool,
    segments_max: usize,
    /// The origin's window in time, where it says so, and never fewer segments than it showed.
    slides: Option<(Duration, usize)>,
    target: Duration,
    follows_digests: bool,
}

/// A line before the first segment.
#[derive(Clone, Debug, PartialEq, Eq)]
enum HeaderLine {
    MediaSequence,
    DiscontinuitySequence,
    Other(String),
}

#[derive(Clone, Debug, Default)]
struct Segment {
    /// As the origin has them, line ends included; the last is the URI.
    lines: String,
    duration: Duration,
    discontinuity: bool,
    keys: Sticky,
    map: Sticky,
    /// The keys in force at the map's place: with these the init section is encrypted.
    map_keys: String,
}

/// What follows is not encrypted.
const CLEAR: &str = "#EXT-X-KEY:METHOD=NONE\n";

/// Tags that hold on until others replace them.
#[derive(Clone, Debug, Default)]
struct Sticky {
    /// The lines in force.
    lines: String,
    /// Whether they are among the segment's own.
    own: bool,
}

/// What became of a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Append {
    /// The playlist shows it now.
    Shown,
    /// The playlist already showed it.
    Known,
    /// Something before it is missing, or it changes what the header says: the origin knows.
    AskOrigin,
}

impl Window {
    /// Reads a media playlist; none if `text` is something else, a master playlist for one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if lines(text).next()?.text != "#EXTM3U" || !text.contains("#EXT-X-TARGETDURATION:") {
            return None;
        }
        let mut reader = Reader::new();
        for line in lines(text) {
            reader.line(&line);
        }
        Some(reader.finish())
    }

    /// Whether digests can tell how it goes on: a live playlist without low-latency parts.
    pub(crate) const fn follows_digests(&self) -> bool {
        self.follows_digests && !self.ended
    }

    /// EXT-X-TARGETDURATION.
    pub(crate) const fn target(&self) -> Duration {
        self.target
    }

    /// Media sequence number after the last segment.
    pub(crate) fn next_msn(&self) -> u64 {
        self.first_msn + self.segments.len() as u64
    }

    /// EXTINF of the last segment, or the target.
    pub(crate) fn last_duration(&self) -> Duration {
        self.segments.back().map_or(self.target, |segment| segment.duration)
    }

    /// EXTINF of segment `msn`, if it is shown.
    pub(crate) fn duration(&self, msn: u64) -> Option<Duration> {
        let index = usize::try_from(msn.checked_sub(self.first_msn)?).ok()?;
        self.segments.get(index).map(|segment| segment.duration)
    }

    /// Shows one more segment, or the end.
    pub(crate) fn append(&mut self, digest: &Digest) -> Append {
        let ObjectId { msn, .. } = digest.object;
        if msn < self.next_msn() {
            return Append::Known;
        }
        // EXTINF rounded must not pass the target (RFC 8216, 4.3.3.1).
        let too_long =
            digest.duration.as_millis() + 500 >= (self.target.as_millis() / 1000 + 1) * 1000;
        if msn > self.next_msn() || !self.follows_digests || too_long {
            return Append::AskOrigin;
        }
        if digest.end_of_stream {
            self.ended = true;
            return Append::Shown;
        }
        let mut reader = Reader::new();
        for line in lines(&digest.playlist_lines) {
            reader.segment_line(&line);
        }
        let Some(mut segment) = reader.segments.pop_front() else { return Append::AskOrigin };
        if let Some(last) = self.segments.back() {
            segment.inherit(last);
            segment.lines = segment.lines_after(Some(last));
        }
        self.ended = false;
        self.segments.push_back(segment);
        while self.is_too_long() {
            self.drop_first();
        }
        Append::Shown
    }

    /// The playlist's text.
    pub(crate) fn render(&self) -> String {
        let lines: usize = self.segments.iter().map(|segment| segment.lines.len()).sum();
        let mut out = String::with_capacity(lines + 512);
        for line in &self.header {
            let (tag, number) = match line {
                HeaderLine::MediaSequence => ("MEDIA", self.first_msn),
                HeaderLine::DiscontinuitySequence => ("DISCONTINUITY", self.discontinuity_sequence),
                HeaderLine::Other(line) => {
                    out.push_str(line);
                    continue;
                }
            };
            writeln!(out, "#EXT-X-{tag}-SEQUENCE:{number}").expect("strings take all");
        }
        self.segments.iter().for_each(|segment| out.push_str(&segment.lines));
        out.push_str(&self.trailer);
        if self.ended {
            out.push_str("#EXT-X-ENDLIST\n");
        }
        out
    }

    fn is_too_long(&self) -> bool {
        let spare = |(window, count)| {
            let rest: Duration = self.segments.iter().skip(1).map(|segment| segment.duration).sum();
            self.segments.len() > count && rest >= window
        };
        self.segments.len() > self.segments_max || self.slides.is_some_and(spare)
    }

    fn drop_first(&mut self) {
        let Some(first) = self.segments.pop_front() else { return };
        self.first_msn += 1;
        self.discontinuity_sequence += u64::from(first.discontinuity);
        self.count_in_header();
        if let Some(first) = self.segments.front_mut() {
            first.lines = first.lines_after(None);
        }
    }

    /// Numbers that are not zero any more are said in the header.
    fn count_in_header(&mut self) {
        for (number, line) in [
            (self.first_msn, HeaderLine::MediaSequence),
            (self.discontinuity_sequence, HeaderLine::DiscontinuitySequence),
        ] {
            if number > 0 && !self.header.contains(&line) {
                self.header.push(line);
            }
        }
    }
}

impl Segment {
    /// Takes over what `last` left in force.
    fn inherit(&mut self, last: &Self) {
        if !self.keys.own {
            self.keys.lines.clone_from(&last.keys.lines);
        }
        if !self.map.own {
            self.map.lines.clone_from(&last.map.lines);
            self.map_keys.clone_from(&last.map_keys);
        }
    }

    /// Its lines after `before`, or as the first of a playlist: what is in force there already is
    /// not said again, and what is not is said.
    fn lines_after(&self, before: Option<&Self>) -> String {
        let mut out = String::with_capacity(self.lines.len() + self.keys.lines.len());
        let mut rest = lines(&self.lines).peekable();
        let discontinuity = rest.next_if(|line| line.text == "#EXT-X-DISCONTINUITY");
        discontinuity.iter().for_each(|line| out.push_str(line.raw));
        let mut keys = before.map_or("", |before| &before.keys.lines);
        let known = before.map(|before| (&before.map.lines, &before.map_keys));
        if !self.map.lines.is_empty() && known != Some((&self.map.lines, &self.map_keys)) {
            if self.map_keys.is_empty() && !keys.is_empty() {
                out.push_str(CLEAR);
            } else if self.map_keys != keys {
                out.push_str(&self.map_keys);
            }
            keys = &self.map_keys;
            out.push_str(&self.map.lines);
        }
        if self.keys.lines != keys {
            out.push_str(&self.keys.lines);
        }
        let sticky =
            |line: &Line<'_>| matches!(line.what(), What::Tag { name: "-X-KEY" | "-X-MAP", .. });
        rest.filter(|line| !sticky(line)).for_each(|line| out.push_str(line.raw));
        out
    }
}

/// Puts lines together.
struct Reader {
    window: Window,
    segments: VecDeque<Segment>,
    next: Segment,
    in_header: bool,
    event: bool,
    /// A map stands before the next segment, and no key after it.
    mapped: bool,
}

impl Reader {
    fn new() -> Self {
        let window = Window {
            header: Vec::new(),
            first_msn: 0,
            discontinuity_sequence: 0,
            segments: VecDeque::new(),
            trailer: String::new(),
            ended: false,
            segments_max: SEGMENTS_MAX,
            slides: None,
            target: Duration::ZERO,
            follows_digests: true,
        };
        let next = Segment::default();
        let segments = VecDeque::new();
        Self { window, segments, next, in_header: true, event: false, mapped: false }
    }

    fn line(&mut self, line: &Line<'_>) {
        let What::Tag { name, value } = line.what() else {
            return self.lines_of_segments(line, matches!(line.what(), What::Uri(_)));
        };
        match name {
            "-X-MEDIA-SEQUENCE" => {
                self.window.first_msn = value.parse().unwrap_or(0);
                self.window.header.push(HeaderLine::MediaSequence);
            }
            "-X-DISCONTINUITY-SEQUENCE" => {
                self.window.discontinuity_sequence = value.parse().unwrap_or(0);
                self.window.header.push(HeaderLine::DiscontinuitySequence);
            }
            "-X-ENDLIST" => self.window.ended = true,
            "-X-TARGETDURATION" => {
                self.window.target = Duration::from_secs(value.parse().unwrap_or(0));
                self.header(line.raw);
            }
            "-X-SHOAL-WINDOW" => {
                let window = value.parse().ok().map(Duration::from_secs);
                self.window.slides = window.map(|window| (window, 0));
                self.header(line.raw);
            }
            "-X-PART-INF" | "-X-SKIP" | "-X-I-FRAMES-ONLY" => {
                self.window.follows_digests = false;
                self.header(line.raw);
            }
            "-X-PLAYLIST-TYPE" => {
                self.window.follows_digests &= value != "VOD";
                self.event = value == "EVENT";
                self.header(line.raw);
            }
            _ => self.lines_of_segments(line, begins_segment(name)),
        }
    }

    fn lines_of_segments(&mut self, line: &Line<'_>, begins: bool) {
        if self.in_header && !begins {
            return self.header(line.raw);
        }
        self.in_header = false;
        self.segment_line(line);
    }

    fn header(&mut self, line: &str) {
        let mut text = String::with_capacity(line.len() + 1);
        push_line(&mut text, line);
        self.window.header.push(HeaderLine::Other(text));
    }

    fn segment_line(&mut self, line: &Line<'_>) {
        push_line(&mut self.next.lines, line.raw);
        match line.what() {
            What::Nothing => {}
            What::Uri(_) => {
                let mut segment = std::mem::take(&mut self.next);
                self.mapped = false;
                if let Some(last) = self.segments.back() {
                    segment.inherit(last);
                }
                self.segments.push_back(segment);
            }
            What::Tag { name, value } => match name {
                "INF" => self.next.duration = seconds(value),
                "-X-DISCONTINUITY" => self.next.discontinuity = true,
                "-X-KEY" => {
                    // Another key than the map's, and no other format of it.
                    if std::mem::take(&mut self.mapped) {
                        self.next.keys.lines.clear();
                    }
                    self.next.keys.add(line.raw);
                }
                "-X-MAP" => {
                    let before = self.segments.back().filter(|_| !self.next.keys.own);
                    let keys = before.map_or(&self.next.keys, |before| &before.keys);
                    self.next.map_keys.clone_from(&keys.lines);
                    self.next.map = Sticky::default();
                    self.next.map.add(line.raw);
                    self.mapped = true;
                }
                // A range without an offset goes on where the one before ended: the origin counts.
                "-X-BYTERANGE" | "-X-PART" => self.window.follows_digests = false,
                _ => {}
            },
        }
    }

    fn finish(self) -> Window {
        let Self { mut window, segments, next, event, .. } = self;
        window.trailer = next.lines;
        window.follows_digests &= window.trailer.is_empty();
        let count = segments.len();
        window.slides = window.slides.map(|(time, _)| (time, count));
        window.segments_max = if event || window.slides.is_some() {
            SEGMENTS_MAX
        } else if window.first_msn == 0 {
            count.max(GROWING_MAX)
        } else {
            count.max((count * 2).min(SMALL_MAX))
        };
        window.segments = segments;
        window
    }
}

impl Sticky {
    fn add(&mut self, line: &str) {
        self.own = true;
        push_line(&mut self.lines, line);
    }
}

fn push_line(out: &mut String, line: &str) {
    out.push_str(line);
    if !line.ends_with('\n') {
        out.push('\n');
    }
}

/// Whether a tag belongs to the segment that follows (RFC 8216, 4.3.2).
fn begins_segment(tag: &str) -> bool {
    const TAGS: [&str; 10] = [
        "INF",
        "-X-BYTERANGE",
        "-X-DISCONTINUITY",
        "-X-KEY",
        "-X-MAP",
        "-X-PROGRAM-DATE-TIME",
        "-X-DATERANGE",
        "-X-GAP",
        "-X-BITRATE",
        "-X-PART",
    ];
    TAGS.contains(&tag)
}

fn seconds(extinf: &str) -> Duration {
    let number = extinf.split(',').next().unwrap_or_default().trim();
    let seconds = number.parse::<f64>().unwrap_or(0.0);
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
