//! Makes streams: ffmpeg's encodes, its HLS writer, and edits by hand; kept between runs.
//!
//! Rule: a stream's folder appears whole or not at all, and is made anew when its recipe changes.
//! Everything is short and small: what is tested is the format, not the load.

use crate::shell;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Seconds of each whole title.
pub(crate) const TITLE_S: u32 = 16;
/// Seconds of each part of a title that is put together from two.
pub(crate) const PART_S: u32 = 8;
/// AES key of the streams that have one.
const KEY: [u8; 16] = *b"conformance-key1";
/// The one that it is followed by.
const NEXT_KEY: [u8; 16] = *b"conformance-key2";

/// What streams are made from, and where they are put.
#[derive(Debug)]
pub(crate) struct Maker {
    folder: PathBuf,
}

/// Encodes, as arguments of ffmpeg: sources, then codecs.
const BASES: &[(&str, u32, &str)] = &[
    ("av", TITLE_S, "-c:v libx264 -g 50"),
    ("part", PART_S, "-c:v libx264 -g 50"),
    ("big", PART_S, "-c:v libx264 -g 50 -s 640x360"),
    ("small", TITLE_S, "-c:v libx264 -g 50 -s 192x108 -b:v 80k"),
    ("part-de", TITLE_S, "-c:v libx264 -g 50"),
    ("quick", TITLE_S, "-c:v libx264 -g 12"),
    ("hevc", TITLE_S, "-c:v libx265 -tag:v hvc1 -x265-params keyint=50:min-keyint=50:log-level=1"),
    ("av1", TITLE_S, "-c:v libsvtav1 -preset 12 -g 50"),
    ("opus", TITLE_S, "-c:v libx264 -g 50 -c:a libopus"),
    ("ac3", TITLE_S, "-c:v libx264 -g 50 -c:a ac3 -b:a 96k"),
];
const H264: &str = "-preset ultrafast -profile:v baseline -sc_threshold 0 -maxrate 200k";

impl Maker {
    /// In `folder`, which may hold what an earlier run made.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let recipes = [include_str!("make.rs"), include_str!("recipes.rs")].concat();
        let key = &blake3::hash(recipes.as_bytes()).to_hex().to_string()[..12];
        std::fs::create_dir_all(folder)?;
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_name() != key {
                std::fs::remove_dir_all(entry.path())?;
            }
        }
        let maker = Self { folder: folder.join(key) };
        std::fs::create_dir_all(maker.recordings())?;
        std::fs::create_dir_all(maker.pushed())?;
        Ok(maker)
    }

    /// Folder of the streams that are served on demand.
    pub(crate) fn recordings(&self) -> PathBuf {
        self.folder.join("vod")
    }

    /// Folder of the streams that are pushed.
    pub(crate) fn pushed(&self) -> PathBuf {
        self.folder.join("pushed")
    }

    /// Makes the stream in `folder` unless it is there.
    pub(crate) fn make(&self, folder: &Path, recipe: Recipe) -> Result<()> {
        if folder.exists() {
            return Ok(());
        }
        let name = folder.file_name().context("a stream has a name")?;
        let aside = self.folder.join("unfinished").join(name);
        if aside.exists() {
            std::fs::remove_dir_all(&aside)?;
        }
        std::fs::create_dir_all(&aside)?;
        recipe(self, &aside).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(std::fs::rename(aside, folder)?)
    }

    /// An encode of the table above.
    pub(crate) fn base(&self, name: &str) -> Result<String> {
        let path = self.folder.join("bases").join(format!("{name}.mp4"));
        if !path.exists() {
            let found = BASES.iter().find(|(known, ..)| *known == name);
            let (_, seconds, codecs) = found.context("no such base")?;
            let aside = path.with_extension("part.mp4");
            std::fs::create_dir_all(self.folder.join("bases"))?;
            let pitch = if name.starts_with("part") { 660 } else { 440 };
            let words = format!(
                "-f lavfi -i testsrc2=size=320x180:rate=25:duration={seconds} -f lavfi -i \
                 sine=frequency={pitch}:sample_rate=48000:duration={seconds} -pix_fmt yuv420p \
                 -threads 2 -b:v 200k -bufsize 200k -c:a aac -b:a 48k -strict -2 {} {codecs}",
                if codecs.contains("libx264") { H264 } else { "" }
            );
            ffmpeg(&self.folder, words.split_whitespace().chain([&*aside.to_string_lossy()]))?;
            std::fs::rename(aside, &path)?;
        }
        Ok(path.display().to_string())
    }

    /// ffmpeg's HLS writer over a base, streams copied: `options` are its own, the playlist among
    /// them.
    pub(crate) fn hls(&self, into: &Path, base: &str, options: &str) -> Result<()> {
        let base = self.base(base)?;
        let common = ["-i", &base, "-c", "copy", "-f", "hls", "-hls_playlist_type", "vod"];
        let time = if options.contains("-hls_time") { "" } else { "-hls_time 2" };
        let words = time.split_whitespace().chain(options.split_whitespace());
        ffmpeg(into, common.into_iter().chain(words))
    }
}

/// How a stream is made, in an empty folder.
pub(crate) type Recipe = fn(&Maker, &Path) -> Result<()>;

/// Runs ffmpeg in `folder`.
pub(crate) fn ffmpeg<'a>(folder: &Path, words: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let mut command = Command::new("ffmpeg");
    command.current_dir(folder).args(["-nostdin", "-hide_banner", "-loglevel", "error", "-y"]);
    shell::capture(command.args(words)).map(drop)
}

/// Encrypts a file in place: AES-128 in CBC mode with PKCS #7, as RFC 8216, 4.3.2.4 has it.
pub(crate) fn encrypt(folder: &Path, file: &str, key: u8, iv: u128) -> Result<()> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (key, iv) = (hex(key_bytes(key)), format!("{iv:032x}"));
    std::fs::rename(folder.join(file), folder.join("plain.bin"))?;
    let out = format!("crypto:{file}");
    let words = ["-f", "data", "-i", "plain.bin", "-map", "0", "-c", "copy", "-f", "data"];
    let secret = ["-encryption_key", &key, "-encryption_iv", &iv, &out];
    ffmpeg(folder, words.into_iter().chain(secret))?;
    Ok(std::fs::remove_file(folder.join("plain.bin"))?)
}

/// The first or the second key.
pub(crate) const fn key_bytes(key: u8) -> &'static [u8; 16] {
    if key == 1 { &KEY } else { &NEXT_KEY }
}

/// A media playlist that can be edited line by line.
#[derive(Clone, Debug)]
pub(crate) struct Lines(pub(crate) Vec<String>);

impl Lines {
    /// The playlist at `path`.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        Ok(Self(std::fs::read_to_string(path)?.lines().map(str::to_owned).collect()))
    }

    /// Inserts `tags` before the tags of the n-th segment, from 0 on.
    pub(crate) fn before_segment(&mut self, n: usize, tags: &[&str]) {
        let mut starts = self
            .0
            .iter()
            .enumerate()
            .filter(|(_, line)| line.starts_with("#EXTINF"))
            .map(|it| it.0);
        let at = starts.nth(n).unwrap_or(self.0.len());
        self.0.splice(at..at, tags.iter().map(|&tag| tag.to_owned()));
    }

    /// The lines of its segments, from the first `#EXTINF` to the last URI.
    pub(crate) fn segments(&self) -> &[String] {
        let start = self.0.iter().position(|line| line.starts_with("#EXTINF")).unwrap_or(0);
        let uri = |line: &String| !line.is_empty() && !line.starts_with('#');
        let end = self.0.iter().rposition(uri).map_or(0, |at| at + 1);
        &self.0[start..end]
    }

    /// Replaces in every line.
    pub(crate) fn replace(&mut self, from: &str, to: &str) {
        for line in &mut self.0 {
            *line = line.replace(from, to);
        }
    }

    /// Changes the URI lines.
    pub(crate) fn map_uris(&mut self, change: impl Fn(&str) -> String) {
        for line in self.0.iter_mut().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            *line = change(line);
        }
    }

    /// Writes it.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        Ok(std::fs::write(path, self.0.join("\n") + "\n")?)
    }
}

/// Seconds of media that a playlist lists, gaps left out, and its longest segment.
pub(crate) fn length(playlist: &Path) -> Result<(f64, f64)> {
    let text = std::fs::read_to_string(playlist)?;
    if let Some(first) = text.lines().skip_while(|it| !it.starts_with("#EXT-X-STREAM-INF")).nth(1) {
        let folder = playlist.parent().context("a playlist lies in a folder")?;
        return length(&folder.join(first.trim()));
    }
    let (mut sum, mut longest, mut next) = (0.0, 0.0_f64, 0.0);
    let mut is_gap = false;
    for line in text.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("#EXTINF:") {
            next = rest.split(',').next().unwrap_or_default().trim().parse()?;
        } else if line.starts_with("#EXT-X-GAP") {
            is_gap = true;
        } else if !line.is_empty() && !line.starts_with('#') {
            sum += if is_gap { 0.0 } else { next };
            longest = longest.max(next);
            is_gap = false;
        }
    }
    Ok((sum, longest))
}
