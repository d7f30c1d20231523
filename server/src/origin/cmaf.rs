//! CMAF bodies cut into parts while they come (ISO/IEC 14496-12: movie fragments).
//!
//! Rule: a part is one or several whole fragments (`moof` and `mdat`) with what stands before them;
//! all parts together are the body, byte for byte. Only what a part's tag says is read: durations,
//! and whether the first sample can be decoded alone. What does not parse is not cut.

use bytes::{Bytes, BytesMut};
use std::time::Duration;

/// Least of the part target that a part lasts, if it is not its segment's last (draft-pantos-hls-
/// rfc8216bis, 4.4.3.7).
const FULL: f64 = 0.85;
/// Largest fragment header: a moof of thousands of samples. A `mdat` may be longer.
const MOOF_BYTES_MAX: usize = 1024 * 1024;

const NON_SYNC_SAMPLE: u32 = 0x0001_0000;

/// What an init section says of its tracks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tracks(Vec<Track>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Track {
    id: u32,
    timescale: u32,
    sample_duration: u32,
    sample_flags: u32,
}

/// One part of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CutPart {
    pub(crate) bytes: Bytes,
    pub(crate) duration: Duration,
    /// It begins with a sample that needs none before it.
    pub(crate) independent: bool,
}

/// Cuts one body.
#[derive(Debug)]
pub(crate) struct Cutter {
    tracks: Tracks,
    target: Duration,
    /// What came and is in no part yet.
    bytes: BytesMut,
    /// The boxes up to here are read.
    read: usize,
    /// The fragments in `bytes` so far.
    open: Fragment,
    fragments: usize,
    /// What the last fragment lasted: the next one may last as long.
    last: Duration,
    broken: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Fragment {
    duration: Duration,
    independent: bool,
}

impl Tracks {
    /// Those of an init section; none if it says nothing of any.
    pub(crate) fn read(init: &[u8]) -> Option<Self> {
        let moov = child(init, *b"moov")?;
        let mut tracks: Vec<Track> = boxes(moov)
            .filter(|(kind, _)| kind == b"trak")
            .filter_map(|(_, trak)| {
                let (tkhd, mdhd) =
                    (child(trak, *b"tkhd")?, child(child(trak, *b"mdia")?, *b"mdhd")?);
                // Version 1 has times of 64 bits.
                let at = |full: &[u8]| if full.first() == Some(&1) { 20 } else { 12 };
                let (id, timescale) = (u32_at(tkhd, at(tkhd))?, u32_at(mdhd, at(mdhd))?);
                (timescale > 0).then(|| Track { id, timescale, ..Track::default() })
            })
            .collect();
        for (_, trex) in boxes(child(moov, *b"mvex")?).filter(|(kind, _)| kind == b"trex") {
            let track = tracks.iter_mut().find(|track| u32_at(trex, 4) == Some(track.id));
            if let (Some(track), Some(duration), Some(flags)) =
                (track, u32_at(trex, 12), u32_at(trex, 20))
            {
                (track.sample_duration, track.sample_flags) = (duration, flags);
            }
        }
        (!tracks.is_empty()).then_some(Self(tracks))
    }

    /// What the fragment lasts, and whether it begins anew in all its tracks.
    fn fragment(&self, moof: &[u8]) -> Option<Fragment> {
        let mut fragment = Fragment { duration: Duration::ZERO, independent: true };
        let mut any = false;
        for (_, traf) in boxes(moof).filter(|(kind, _)| kind == b"traf") {
            let (ticks, first_flags, timescale) = self.run(traf)?;
            let seconds = ticks as f64 / f64::from(timescale);
            let duration = Duration::try_from_secs_f64(seconds).ok()?;
            fragment.duration = fragment.duration.max(duration);
            fragment.independent &= first_flags & NON_SYNC_SAMPLE == 0;
            any = true;
        }
        any.then_some(fragment)
    }

    /// Ticks of a track fragment, its first sample's flags, and the track's ticks per second.
    fn run(&self, traf: &[u8]) -> Option<(u64, u32, u32)> {
        let tfhd = child(traf, *b"tfhd")?;
        let flags = u32_at(tfhd, 0)? & 0x00ff_ffff;
        let id = u32_at(tfhd, 4)?;
        let track = self.0.iter().find(|track| track.id == id)?;
        let mut at = 8 + if flags & 1 == 0 { 0 } else { 8 } + if flags & 2 == 0 { 0 } else { 4 };
        let mut optional = |flag: u32, otherwise: u32| {
            if flags & flag == 0 {
                return Some(otherwise);
            }
            at += 4;
            u32_at(tfhd, at - 4)
        };
        let default_duration = optional(0x8, track.sample_duration)?;
        let _size = optional(0x10, 0)?;
        let default_flags = optional(0x20, track.sample_flags)?;
        let (mut ticks, mut first) = (0, None);
        for (_, trun) in boxes(traf).filter(|(kind, _)| kind == b"trun") {
            let run = samples(trun, default_duration, default_flags)?;
            ticks += run.0;
            first = first.or(run.1);
        }
        Some((ticks, first.unwrap_or(default_flags), track.timescale))
    }
}

/// Ticks of a `trun`, and the flags of its first sample if it has any.
fn samples(trun: &[u8], duration: u32, default_flags: u32) -> Option<(u64, Option<u32>)> {
    let (flags, count) = (u32_at(trun, 0)? & 0x00ff_ffff, u32_at(trun, 4)?);
    let mut at = 8 + if flags & 1 == 0 { 0 } else { 4 };
    let mut first = None;
    if flags & 4 != 0 {
        first = Some(u32_at(trun, at)?);
        at += 4;
    }
    let fields = [0x100, 0x200, 0x400, 0x800].map(|flag| flags & flag != 0);
    let stride = 4 * fields.iter().filter(|has| **has).count();
    if stride == 0 {
        return Some((u64::from(count) * u64::from(duration), first.or(Some(default_flags))));
    }
    let flags_at = 4 * fields[..2].iter().filter(|has| **has).count();
    let mut ticks = 0;
    for sample in 0..count as usize {
        let start = at.checked_add(sample.checked_mul(stride)?)?;
        trun.get(start..start.checked_add(stride)?)?;
        ticks += u64::from(if fields[0] { u32_at(trun, start)? } else { duration });
        if first.is_none() {
            first = Some(if fields[2] { u32_at(trun, start + flags_at)? } else { default_flags });
        }
    }
    Some((ticks, first))
}

impl Cutter {
    /// For a body of these tracks, into parts that last up to `target`.
    pub(crate) fn new(tracks: Tracks, target: Duration) -> Self {
        Self {
            tracks,
            target,
            bytes: BytesMut::new(),
            read: 0,
            open: Fragment::default(),
            fragments: 0,
            last: Duration::ZERO,
            broken: false,
        }
    }

    /// More of the body came: the parts that are complete with it.
    pub(crate) fn push(&mut self, data: &[u8]) -> Vec<CutPart> {
        self.bytes.extend_from_slice(data);
        let mut parts = Vec::new();
        while !self.broken
            && let Some((kind, payload, len)) = next_box(&self.bytes[self.read..])
        {
            if &kind == b"moof" {
                match self.tracks.fragment(payload) {
                    Some(fragment) => self.add(fragment),
                    None => self.broken = true,
                }
            }
            self.read += len;
            let next = self.open.duration + self.last.mul_f64(0.5);
            let full = self.open.duration >= self.target.mul_f64(FULL) || next > self.target;
            if &kind == b"mdat" && self.fragments > 0 && full {
                parts.push(self.cut());
            }
        }
        let header = self.bytes.get(self.read..self.read + 8);
        let oversized = self.bytes.len() - self.read > MOOF_BYTES_MAX;
        self.broken |= oversized && header.is_none_or(|header| &header[4..] != b"mdat");
        parts
    }

    /// The body is complete: the last part, if anything is left.
    pub(crate) fn finish(mut self) -> Option<CutPart> {
        self.read = self.bytes.len();
        (self.fragments > 0 && !self.broken).then(|| self.cut())
    }

    fn add(&mut self, fragment: Fragment) {
        if self.fragments == 0 {
            self.open.independent = fragment.independent;
        }
        self.fragments += 1;
        self.open.duration += fragment.duration;
        self.last = fragment.duration;
    }

    fn cut(&mut self) -> CutPart {
        let bytes = self.bytes.split_to(self.read).freeze();
        let Fragment { duration, independent } = std::mem::take(&mut self.open);
        (self.read, self.fragments) = (0, 0);
        CutPart { bytes, duration, independent }
    }
}

/// The first box of `bytes` if all of it is here: its kind, what is in it, its whole length.
fn next_box(bytes: &[u8]) -> Option<([u8; 4], &[u8], usize)> {
    let kind: [u8; 4] = bytes.get(4..8)?.try_into().ok()?;
    let (header, len) = match u32_at(bytes, 0)? {
        1 => (16, usize::try_from(u64::from_be_bytes(bytes.get(8..16)?.try_into().ok()?)).ok()?),
        len => (8, len as usize),
    };
    // A box that reaches to the end of the body (0) is left to the body's end.
    Some((kind, bytes.get(header..len)?, len))
}

fn boxes(mut bytes: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let (kind, payload, len) = next_box(bytes)?;
        bytes = &bytes[len..];
        Some((kind, payload))
    })
}

fn child(bytes: &[u8], wanted: [u8; 4]) -> Option<&[u8]> {
    boxes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, payload)| payload)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
#[path = "cmaf_tests.rs"]
mod tests;
