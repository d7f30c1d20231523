//! The recipes of the streams: one function each.
//!
//! Rule: what ffmpeg's writer can make, it makes; the rest is its output, edited as other packagers
//! write it.

use super::make::{Lines, Maker, PART_S, encrypt, ffmpeg, key_bytes};
use anyhow::Result;
use std::fmt::Write as _;
use std::path::Path;

/// MPEG-TS.
pub(crate) fn ts(maker: &Maker, into: &Path) -> Result<()> {
    maker.hls(into, "av", "index.m3u8")
}

/// Fragmented MP4 with an init section.
pub(crate) fn fmp4(maker: &Maker, into: &Path) -> Result<()> {
    maker.hls(into, "av", "-hls_segment_type fmp4 index.m3u8")
}

/// CMAF: picture and sound apart.
pub(crate) fn cmaf(maker: &Maker, into: &Path) -> Result<()> {
    let options = "-map 0:v -map 0:a -hls_segment_type fmp4 -hls_fmp4_init_filename init.mp4";
    let map = "v:0,agroup:main,name:video a:0,agroup:main,default:yes,language:en,name:audio";
    variants(maker, into, &["av"], options, map)
}

/// ffmpeg's HLS writer with a master playlist: `map` says which streams are a rendition together.
fn variants(maker: &Maker, into: &Path, bases: &[&str], options: &str, map: &str) -> Result<()> {
    let bases: Vec<String> = bases.iter().map(|name| maker.base(name)).collect::<Result<_>>()?;
    let inputs = bases.iter().flat_map(|base| ["-i", base.as_str()]);
    let common = "-c copy -f hls -hls_playlist_type vod -hls_time 2 -master_pl_name master.m3u8";
    let words = options.split_whitespace().chain(common.split_whitespace());
    ffmpeg(into, inputs.chain(words).chain(["-var_stream_map", map, "%v/index.m3u8"]))
}

/// MPEG-TS in one file.
pub(crate) fn ts_ranges(maker: &Maker, into: &Path) -> Result<()> {
    maker.hls(into, "av", "-hls_flags single_file index.m3u8")
}

/// Fragmented MP4 in one file.
pub(crate) fn fmp4_ranges(maker: &Maker, into: &Path) -> Result<()> {
    maker.hls(into, "av", "-hls_segment_type fmp4 -hls_flags single_file index.m3u8")
}

/// Sound alone, MPEG-TS.
pub(crate) fn audio_ts(maker: &Maker, into: &Path) -> Result<()> {
    maker.hls(into, "av", "-map 0:a index.m3u8")
}

/// Sound alone, fragmented MP4.
pub(crate) fn audio_fmp4(maker: &Maker, into: &Path) -> Result<()> {
    maker.hls(into, "av", "-map 0:a -hls_segment_type fmp4 index.m3u8")
}

/// Sound alone, packed AAC with its timestamp in ID3 (RFC 8216, 3.4).
pub(crate) fn audio_packed(maker: &Maker, into: &Path) -> Result<()> {
    let base = maker.base("av")?;
    let words = "-map 0:a -c copy -f segment -segment_time 2 -segment_format adts \
                 -segment_list index.m3u8 -segment_list_type m3u8 a%d.aac";
    ffmpeg(into, ["-i", &base].into_iter().chain(words.split_whitespace()))?;
    let mut lines = Lines::read(&into.join("index.m3u8"))?;
    let mut at_s = 0.0;
    for pair in lines.segments().to_vec().chunks(2) {
        let [extinf, name] = pair else { continue };
        let bytes = std::fs::read(into.join(name))?;
        let tagged = [timestamp_tag((at_s * 90_000.0) as u64), bytes].concat();
        std::fs::write(into.join(name), tagged)?;
        let seconds = extinf.trim_start_matches("#EXTINF:").trim_end_matches(',');
        at_s += seconds.parse::<f64>()?;
    }
    lines.0.retain(|line| !line.starts_with("#EXT-X-ALLOW-CACHE"));
    lines.write(&into.join("index.m3u8"))
}

fn timestamp_tag(timestamp: u64) -> Vec<u8> {
    let owner = b"com.apple.streaming.transportStreamTimestamp\0";
    let frame = [owner.as_slice(), &timestamp.to_be_bytes()].concat();
    let size = u8::try_from(frame.len()).expect("53 bytes");
    let head = [b"ID3\x04\0\0\0\0\0".as_slice(), &[size + 10], b"PRIV\0\0\0", &[size, 0, 0]];
    [&head.concat(), frame.as_slice()].concat()
}

/// One picture, sound in two languages beside it.
pub(crate) fn alt_audio(maker: &Maker, into: &Path) -> Result<()> {
    let options = "-map 0:v -map 0:a -map 1:a";
    let map = "v:0,agroup:main,name:video a:0,agroup:main,default:yes,language:en,name:en \
               a:1,agroup:main,language:de,name:de";
    variants(maker, into, &["av", "part-de"], options, map)
}

/// Subtitles in WebVTT.
pub(crate) fn subtitles(maker: &Maker, into: &Path) -> Result<()> {
    maker.hls(into, "av", "video.m3u8")?;
    std::fs::create_dir_all(into.join("subs"))?;
    let mut playlist = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:8\n\
                        #EXT-X-PLAYLIST-TYPE:VOD\n"
        .to_owned();
    for (part, start) in [0, 8].into_iter().enumerate() {
        let mut text = "WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:126000,LOCAL:00:00:00.000\n".to_owned();
        for second in (start..start + 8).step_by(2) {
            let end = second + 1;
            write!(text, "\n00:00:{second:02}.000 --> 00:00:{end:02}.500\nSecond {second}\n")?;
        }
        std::fs::write(into.join(format!("subs/{part}.vtt")), text)?;
        write!(playlist, "#EXTINF:8,\n{part}.vtt\n")?;
    }
    std::fs::write(into.join("subs/index.m3u8"), playlist + "#EXT-X-ENDLIST\n")?;
    let master = "#EXTM3U\n#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"subs\",NAME=\"English\",\
                  LANGUAGE=\"en\",DEFAULT=YES,AUTOSELECT=YES,URI=\"subs/index.m3u8\"\n\
                  #EXT-X-STREAM-INF:BANDWIDTH=350000,RESOLUTION=320x180,\
                  CODECS=\"avc1.42c00d,mp4a.40.2\",SUBTITLES=\"subs\"\nvideo.m3u8\n";
    Ok(std::fs::write(into.join("master.m3u8"), master)?)
}

/// AES-128 with one key; each segment's IV is its sequence number.
pub(crate) fn aes(maker: &Maker, into: &Path) -> Result<()> {
    ts(maker, into)?;
    std::fs::write(into.join("one.key"), key_bytes(1))?;
    let path = into.join("index.m3u8");
    let mut lines = Lines::read(&path)?;
    for (sequence, name) in names(&lines).into_iter().enumerate() {
        encrypt(into, &name, 1, sequence as u128)?;
    }
    lines.before_segment(0, &["#EXT-X-KEY:METHOD=AES-128,URI=\"one.key\""]);
    lines.write(&path)
}

/// AES-128 as ffmpeg itself writes it, with an IV of its own.
pub(crate) fn aes_iv(maker: &Maker, into: &Path) -> Result<()> {
    std::fs::write(into.join("one.key"), key_bytes(1))?;
    let info = "one.key\none.key\n000102030405060708090a0b0c0d0e0f\n";
    std::fs::write(into.join("info"), info)?;
    maker.hls(into, "av", "-hls_key_info_file info index.m3u8")?;
    Ok(std::fs::remove_file(into.join("info"))?)
}

/// AES-128: clear, then one key, then another.
pub(crate) fn aes_rotating(maker: &Maker, into: &Path) -> Result<()> {
    ts(maker, into)?;
    std::fs::create_dir_all(into.join("keys"))?;
    for key in [1, 2] {
        std::fs::write(into.join(format!("keys/{key}.key")), key_bytes(key))?;
    }
    let path = into.join("index.m3u8");
    let mut lines = Lines::read(&path)?;
    for (sequence, name) in names(&lines).into_iter().enumerate() {
        match sequence {
            0..2 => {}
            2..5 => encrypt(into, &name, 1, sequence as u128)?,
            _ => encrypt(into, &name, 2, 0xff00 + sequence as u128)?,
        }
    }
    for sequence in 5..names(&lines).len() {
        let iv = 0xff00 + sequence;
        let tag = format!("#EXT-X-KEY:METHOD=AES-128,URI=\"keys/2.key\",IV=0x{iv:032X}");
        lines.before_segment(sequence, &[&tag]);
    }
    lines.before_segment(2, &["#EXT-X-KEY:METHOD=AES-128,URI=\"keys/1.key\""]);
    lines.before_segment(0, &["#EXT-X-KEY:METHOD=NONE"]);
    lines.write(&path)
}

/// AES-128 over fragmented MP4, the init section in the clear.
pub(crate) fn aes_fmp4(maker: &Maker, into: &Path) -> Result<()> {
    fmp4(maker, into)?;
    std::fs::write(into.join("one.key"), key_bytes(1))?;
    let path = into.join("index.m3u8");
    let mut lines = Lines::read(&path)?;
    for name in names(&lines) {
        encrypt(into, &name, 1, 7)?;
    }
    let tag = format!("#EXT-X-KEY:METHOD=AES-128,URI=\"one.key\",IV=0x{:032x}", 7);
    lines.before_segment(0, &[&tag]);
    lines.write(&path)
}

/// The segments' names.
fn names(lines: &Lines) -> Vec<String> {
    lines.segments().iter().filter(|line| !line.starts_with('#')).cloned().collect()
}

/// One title after another, each with its own time line.
fn joined(maker: &Maker, into: &Path, second: &str, options: &str) -> Result<()> {
    let first_s = format!("-t {PART_S} -hls_segment_filename");
    let end = if options.contains("fmp4") { "m4s" } else { "ts" };
    let inits = |name: &str| {
        if end == "ts" { String::new() } else { format!("-hls_fmp4_init_filename {name}.mp4") }
    };
    let init = inits("first");
    maker.hls(into, "av", &format!("{options} {init} {first_s} first%d.{end} index.m3u8"))?;
    let init = inits("second");
    let names = format!("-hls_segment_filename second%d.{end} second.m3u8");
    maker.hls(into, second, &format!("{options} {init} {names}"))?;
    let mut lines = Lines::read(&into.join("index.m3u8"))?;
    let second = Lines::read(&into.join("second.m3u8"))?;
    lines.0.retain(|line| line != "#EXT-X-ENDLIST");
    lines.0.push("#EXT-X-DISCONTINUITY".into());
    lines.0.extend(second.0.iter().find(|line| line.starts_with("#EXT-X-MAP")).cloned());
    lines.0.extend_from_slice(second.segments());
    lines.0.push("#EXT-X-ENDLIST".into());
    std::fs::remove_file(into.join("second.m3u8"))?;
    lines.write(&into.join("index.m3u8"))
}

/// A discontinuity: timestamps begin anew.
pub(crate) fn discontinuity(maker: &Maker, into: &Path) -> Result<()> {
    joined(maker, into, "part", "")
}

/// A discontinuity at which the resolution changes.
pub(crate) fn resolution(maker: &Maker, into: &Path) -> Result<()> {
    joined(maker, into, "big", "")
}

/// A discontinuity with another init section, and another resolution.
pub(crate) fn init_change(maker: &Maker, into: &Path) -> Result<()> {
    joined(maker, into, "big", "-hls_segment_type fmp4")
}

/// A segment that the encoder lost.
pub(crate) fn gap(maker: &Maker, into: &Path) -> Result<()> {
    ts(maker, into)?;
    let path = into.join("index.m3u8");
    let mut lines = Lines::read(&path)?;
    lines.before_segment(4, &["#EXT-X-GAP"]);
    lines.replace("#EXT-X-VERSION:3", "#EXT-X-VERSION:8");
    std::fs::remove_file(into.join(&names(&lines)[4]))?;
    lines.write(&path)
}

/// Program date time.
pub(crate) fn dates(maker: &Maker, into: &Path) -> Result<()> {
    maker.hls(into, "av", "-hls_flags program_date_time index.m3u8")
}

/// Variables in a media playlist.
pub(crate) fn define(maker: &Maker, into: &Path) -> Result<()> {
    ts(maker, into)?;
    let path = into.join("index.m3u8");
    let mut lines = Lines::read(&path)?;
    lines.replace("#EXT-X-VERSION:3", "#EXT-X-VERSION:8");
    lines.map_uris(|uri| uri.replace("index", "{$part}"));
    lines.before_segment(0, &["#EXT-X-DEFINE:NAME=\"part\",VALUE=\"index\""]);
    lines.write(&path)
}

/// Variables that a media playlist takes over from its master.
pub(crate) fn import(maker: &Maker, into: &Path) -> Result<()> {
    ts(maker, into)?;
    let path = into.join("index.m3u8");
    let mut lines = Lines::read(&path)?;
    lines.replace("#EXT-X-VERSION:3", "#EXT-X-VERSION:8");
    lines.map_uris(|uri| uri.replace("index", "{$part}"));
    lines.before_segment(0, &["#EXT-X-DEFINE:IMPORT=\"part\""]);
    lines.write(&path)?;
    let master = "#EXTM3U\n#EXT-X-VERSION:8\n#EXT-X-DEFINE:NAME=\"part\",VALUE=\"index\"\n\
                  #EXT-X-STREAM-INF:BANDWIDTH=350000,RESOLUTION=320x180,\
                  CODECS=\"avc1.42c00d,mp4a.40.2\"\nindex.m3u8\n";
    Ok(std::fs::write(into.join("master.m3u8"), master)?)
}

/// Segments in folders beside, reached with `../`.
pub(crate) fn folders(maker: &Maker, into: &Path) -> Result<()> {
    ts(maker, into)?;
    std::fs::create_dir_all(into.join("lists/hd"))?;
    let mut lines = Lines::read(&into.join("index.m3u8"))?;
    for (n, name) in names(&lines).iter().enumerate() {
        let folder = into.join(format!("media/{}", n / 3));
        std::fs::create_dir_all(&folder)?;
        std::fs::rename(into.join(name), folder.join(name))?;
    }
    lines.map_uris(|uri| {
        let n: usize = uri.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(0);
        format!("../../media/{}/{uri}", n / 3)
    });
    std::fs::remove_file(into.join("index.m3u8"))?;
    lines.write(&into.join("lists/hd/index.m3u8"))?;
    let master = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=350000,RESOLUTION=320x180,\
                  CODECS=\"avc1.42c00d,mp4a.40.2\"\nlists/hd/index.m3u8\n";
    Ok(std::fs::write(into.join("master.m3u8"), master)?)
}

/// Absolute paths in place of relative ones.
pub(crate) fn absolute(maker: &Maker, into: &Path) -> Result<()> {
    ts(maker, into)?;
    let path = into.join("index.m3u8");
    let mut lines = Lines::read(&path)?;
    lines.map_uris(|uri| format!("/vod/absolute/{uri}"));
    lines.write(&path)
}

/// Renditions of two qualities under a master playlist.
pub(crate) fn ladder(maker: &Maker, into: &Path) -> Result<()> {
    let options = "-map 0:v -map 0:a -map 1:v -map 1:a";
    variants(maker, into, &["av", "small"], options, "v:0,a:0 v:1,a:1")
}

/// A codec that not everybody has, and H.264 with AAC for the others.
fn with_fallback(maker: &Maker, into: &Path, base: &str, codecs: &str) -> Result<()> {
    let mut master = "#EXTM3U\n#EXT-X-VERSION:7\n".to_owned();
    for (folder, base, codecs, bandwidth) in
        [("main", base, codecs, 400_000), ("common", "small", "avc1.42c00d,mp4a.40.2", 150_000)]
    {
        std::fs::create_dir_all(into.join(folder))?;
        maker.hls(&into.join(folder), base, "-hls_segment_type fmp4 index.m3u8")?;
        write!(
            master,
            "#EXT-X-STREAM-INF:BANDWIDTH={bandwidth},CODECS=\"{codecs}\"\n{folder}/index.m3u8\n"
        )?;
    }
    Ok(std::fs::write(into.join("master.m3u8"), master)?)
}

/// HEVC.
pub(crate) fn hevc(maker: &Maker, into: &Path) -> Result<()> {
    with_fallback(maker, into, "hevc", "hvc1.1.6.L60.90,mp4a.40.2")
}

/// AV1.
pub(crate) fn av1(maker: &Maker, into: &Path) -> Result<()> {
    with_fallback(maker, into, "av1", "av01.0.00M.08,mp4a.40.2")
}

/// Opus.
pub(crate) fn opus(maker: &Maker, into: &Path) -> Result<()> {
    with_fallback(maker, into, "opus", "avc1.42c00d,opus")
}

/// AC-3.
pub(crate) fn ac3(maker: &Maker, into: &Path) -> Result<()> {
    with_fallback(maker, into, "ac3", "avc1.42c00d,ac-3")
}

/// Segments of half a second.
pub(crate) fn short(maker: &Maker, into: &Path) -> Result<()> {
    maker.hls(into, "quick", "-hls_time 0.48 index.m3u8")
}

/// A segment of ten seconds, and the rest.
pub(crate) fn long(maker: &Maker, into: &Path) -> Result<()> {
    maker.hls(into, "av", "-hls_time 10 index.m3u8")
}

/// Names with blanks, escapes and letters of other alphabets.
pub(crate) fn names_odd(maker: &Maker, into: &Path) -> Result<()> {
    ts(maker, into)?;
    let folder = into.join("odd näme");
    std::fs::create_dir_all(&folder)?;
    let mut lines = Lines::read(&into.join("index.m3u8"))?;
    for (n, name) in names(&lines).iter().enumerate() {
        std::fs::rename(into.join(name), folder.join(odd(n)))?;
    }
    // Escaped, as they should be; one in the raw, as some packagers write it.
    lines.map_uris(|uri| {
        let n: usize = uri.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(0);
        if n == 3 { odd(n) } else { super::url::escape(&odd(n)) }
    });
    std::fs::remove_file(into.join("index.m3u8"))?;
    lines.write(&folder.join("плейлист 1.m3u8"))
}

fn odd(n: usize) -> String {
    if n == 3 { "übertragung-3.ts".into() } else { format!("späte Sendung 100%, Teil+{n}.ts") }
}

/// Tags nobody knows, comments, CRLF and a byte order mark.
pub(crate) fn sloppy(maker: &Maker, into: &Path) -> Result<()> {
    ts(maker, into)?;
    let path = into.join("index.m3u8");
    let mut lines = Lines::read(&path)?;
    let strange = ["#EXT-X-VENDOR-THING:A=1,B=\"x, y\"", "# a comment", "", "#EXTVLCOPT:nothing"];
    lines.before_segment(3, &strange);
    lines.before_segment(1, &["#EXT-X-CUE-OUT:4.0", "#EXT-OATCLS-SCTE35:/DAlAAAAAAAAAP/wFAU="]);
    lines.before_segment(0, &["## made by hand", ""]);
    Ok(std::fs::write(path, format!("\u{feff}{}\r\n", lines.0.join("\r\n")))?)
}
