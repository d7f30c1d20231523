//! The streams of the table: what each covers, and how it comes to the server.
//!
//! Rule: the names are what `--only` takes and what stands in URLs. A stream is what an encoder or a
//! packager would write; nothing in it knows of us.

use super::make::Recipe;
use super::recipes;

/// One row of the table.
#[derive(Debug)]
pub(crate) struct Stream {
    /// Name in URLs.
    pub(crate) name: &'static str,
    /// What it covers.
    pub(crate) covers: &'static str,
    /// Its playlist, below its folder.
    pub(crate) entry: &'static str,
    /// How it comes to the server.
    pub(crate) source: Source,
    /// Whether it is among those that the tests play.
    pub(crate) is_quick: bool,
}

/// How a stream comes to the server.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    /// As a folder that it serves on demand.
    Recording(Recipe),
    /// Pushed file by file, as fast as it takes them; then it has ended.
    Pushed(Recipe, Upload),
    /// Pushed by a running ffmpeg.
    Live(Live),
}

/// How files are pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upload {
    /// Playlists compressed with gzip.
    Gzip,
    /// Playlists with absolute URLs of where the segments were pushed to.
    AbsoluteUrls,
}

/// What happens to a live stream, and how far back the server lets viewers go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Live {
    /// Nothing: the encoder's own window.
    Window,
    /// The encoder is killed and starts anew, again and again.
    Restart,
    /// A window of the server's, longer than the encoder's.
    Dvr,
    /// All of it, as an EVENT.
    Event,
}

const fn vod(
    name: &'static str,
    covers: &'static str,
    entry: &'static str,
    recipe: Recipe,
) -> Stream {
    Stream { name, covers, entry, source: Source::Recording(recipe), is_quick: false }
}

const fn quick(stream: Stream) -> Stream {
    Stream { is_quick: true, ..stream }
}

const fn pushed(name: &'static str, covers: &'static str, upload: Upload) -> Stream {
    let source = Source::Pushed(recipes::ts, upload);
    Stream { name, covers, entry: "index.m3u8", source, is_quick: false }
}

const fn live(name: &'static str, covers: &'static str, live: Live) -> Stream {
    Stream { name, covers, entry: "index.m3u8", source: Source::Live(live), is_quick: false }
}

const MEDIA: &str = "index.m3u8";
const MASTER: &str = "master.m3u8";

/// All streams.
pub(crate) const STREAMS: &[Stream] = &[
    quick(vod("ts", "MPEG-TS, VOD", MEDIA, recipes::ts)),
    vod("fmp4", "fMP4 with an init section", MEDIA, recipes::fmp4),
    quick(vod("cmaf", "CMAF, picture and sound demuxed", MASTER, recipes::cmaf)),
    quick(vod("ts-ranges", "byte ranges of one TS file", MEDIA, recipes::ts_ranges)),
    vod("fmp4-ranges", "byte ranges of one fMP4 file", MEDIA, recipes::fmp4_ranges),
    vod("audio-ts", "audio only, TS", MEDIA, recipes::audio_ts),
    vod("audio-fmp4", "audio only, fMP4", MEDIA, recipes::audio_fmp4),
    vod("audio-packed", "audio only, packed AAC with ID3 timestamps", MEDIA, recipes::audio_packed),
    vod("alt-audio", "two languages (EXT-X-MEDIA)", MASTER, recipes::alt_audio),
    vod("subtitles", "WebVTT subtitles", MASTER, recipes::subtitles),
    vod("ladder", "two qualities under a master", MASTER, recipes::ladder),
    quick(vod("aes", "AES-128, one key, IV by sequence number", MEDIA, recipes::aes)),
    vod("aes-iv", "AES-128, explicit IV", MEDIA, recipes::aes_iv),
    vod("aes-rotating", "AES-128, clear and two keys in turn", MEDIA, recipes::aes_rotating),
    vod("aes-fmp4", "AES-128 over fMP4", MEDIA, recipes::aes_fmp4),
    quick(vod("discontinuity", "timestamps begin anew", MEDIA, recipes::discontinuity)),
    vod("resolution", "resolution changes at a discontinuity", MEDIA, recipes::resolution),
    vod("init-change", "another init section at a discontinuity", MEDIA, recipes::init_change),
    vod("gap", "EXT-X-GAP", MEDIA, recipes::gap),
    vod("dates", "EXT-X-PROGRAM-DATE-TIME", MEDIA, recipes::dates),
    vod("define", "EXT-X-DEFINE in the media playlist", MEDIA, recipes::define),
    vod("import", "EXT-X-DEFINE imported from the master", MASTER, recipes::import),
    vod("folders", "sub-folders, relative URIs with ../", MASTER, recipes::folders),
    vod("absolute", "absolute paths as URIs", MEDIA, recipes::absolute),
    pushed("absolute-urls", "absolute URLs, pushed", Upload::AbsoluteUrls),
    pushed("gzip", "gzipped playlists, pushed", Upload::Gzip),
    vod("hevc", "HEVC, with H.264 for others", MASTER, recipes::hevc),
    vod("av1", "AV1, with H.264 for others", MASTER, recipes::av1),
    vod("opus", "Opus, with AAC for others", MASTER, recipes::opus),
    vod("ac3", "AC-3, with AAC for others", MASTER, recipes::ac3),
    vod("short", "segments of 0.5 s", MEDIA, recipes::short),
    vod("long", "segments of 10 s", MEDIA, recipes::long),
    vod("names", "blanks, escapes, unicode in names", ODD, recipes::names_odd),
    vod("sloppy", "unknown tags, comments, CRLF, BOM", MEDIA, recipes::sloppy),
    quick(live("live", "live window, ffmpeg PUT", Live::Window)),
    live("live-restart", "live, the encoder restarts", Live::Restart),
    live("live-dvr", "live, DVR window", Live::Dvr),
    live("live-event", "live, EVENT", Live::Event),
];
const ODD: &str = "odd näme/плейлист 1.m3u8";

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique() {
        let names: BTreeSet<_> = STREAMS.iter().map(|stream| stream.name).collect();
        assert_eq!(names.len(), STREAMS.len());
    }
}
