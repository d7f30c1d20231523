//! Low latency: the encode that is pushed part by part, the clock in its picture, and how far pages
//! are behind that clock.
//!
//! Rule: latency is from the picture before it is encoded to the picture that a page shows;
//! playlists have no part in it. `web-demo/drive/burnt_clock.mjs` draws the same clock and reads it.

use super::browsers::Browsers;
use super::encoder::{Plan, WINDOW};
use super::figures::median;
use super::origin::Copies;
use serde_json::{Map, Value, json};

/// The media playlist of the picture.
pub(crate) const PLAYLIST: &str = "media_0.m3u8";

const TICKS_PER_S: u32 = 50;
const BITS: u32 = 12;
/// Boxes beside each other: those of the bits, then one that is white and one that is black.
const BOXES: u32 = 16;

/// ffmpeg's words: CMAF that is pushed while it is made.
///
/// The picture is small and without sound: all pages run on this machine, and who is short of
/// processor time is late in everything.
pub(crate) fn arguments(plan: &Plan, part_ms: u16) -> Vec<String> {
    let (segment_s, part_s) = (plan.segment_s, f64::from(part_ms) / 1000.0);
    let (rate_bps, frames) = (plan.rate_bps, u32::from(plan.segment_s) * 25);
    let words = format!(
        "-hide_banner -loglevel warning -nostdin -re -f lavfi -i testsrc2=size=320x180:rate=25 -vf {} \
         -c:v libx264 -preset ultrafast -tune zerolatency -threads 1 -pix_fmt yuv420p -g {frames} \
         -keyint_min {frames} -sc_threshold 0 -b:v {rate_bps} -minrate {rate_bps} \
         -maxrate {rate_bps} -bufsize {} -x264-params nal-hrd=cbr:force-cfr=1 -f dash \
         -streaming 1 -ldash 1 -hls_playlist 1 -hls_master_name index.m3u8 \
         -seg_duration {segment_s} -frag_type duration -frag_duration {part_s} \
         -window_size {WINDOW} -http_persistent 1 -method PUT {}manifest.mpd",
        burnt_clock(),
        rate_bps / 2,
        plan.push_url
    );
    words.split_whitespace().map(str::to_owned).collect()
}

/// Filters that draw the time in Gray code, of which one box changes at a time.
fn burnt_clock() -> String {
    let drawn = |first: u32, count: u32, colour: &str, when: String| {
        format!(
            "drawbox=x=iw*{first}/{BOXES}:y=0:w=iw*{count}/{BOXES}:h=ih/12:color={colour}:\
             t=fill{when}"
        )
    };
    let bit = |index: u32| {
        // The highest bit is its own in Gray code.
        let is_highest = index == BITS - 1;
        let (add, by) = if is_highest { (0, 1 << index) } else { (1 << index, 2 << index) };
        let is_set = format!("mod(floor((time(0)*{TICKS_PER_S}+{add})/{by}),2)");
        drawn(index, 1, "white", format!(":enable='{is_set}'"))
    };
    let background = drawn(0, BOXES, "black", String::new());
    let white = drawn(BITS, 1, "white", String::new());
    [background].into_iter().chain((0..BITS).map(bit)).chain([white]).collect::<Vec<_>>().join(",")
}

/// How far pages were behind from `from_s` to the end, and what the origin sent of parts that were
/// published from then to `to_s`.
pub(crate) fn figures(
    (pages, has_twins): (u8, bool),
    browsers: &Browsers,
    objects: &[Copies],
    (from_s, to_s): (f64, f64),
) -> Map<String, Value> {
    let each = |is_twin| (0..pages).map(move |page| browsers.latencies_s(page, is_twin, from_s));
    let medians: Vec<f64> = each(false).filter_map(|all| percentile(all, 0.5)).collect();
    let p95s: Vec<f64> = each(false).filter_map(|all| percentile(all, 0.95)).collect();
    let direct = each(true).filter_map(|all| percentile(all, 0.5));
    let in_time = |object: &&Copies| (from_s..to_s).contains(&object.published_s);
    let parts = || objects.iter().filter(|object| object.is_part).filter(in_time);
    let bytes: u64 = parts().map(|part| part.bytes).sum();
    let sent: u64 = parts().map(|part| part.sent).sum();
    let copies = (bytes > 0).then(|| sent as f64 / bytes as f64);
    let values = json!({
        "latency_by": "burnt clock",
        "behind_clock_s_p50": rounded(median(medians.iter().copied())),
        "behind_clock_s_p50_worst": rounded(largest(&medians)),
        "behind_clock_s_p95_worst": rounded(largest(&p95s)),
        "behind_clock_s_p50_per_viewer": medians,
        "behind_clock_s_p95_per_viewer": p95s,
        "behind_clock_direct_s_p50": rounded(median(direct).filter(|_| has_twins)),
        "parts_steady": parts().count(),
        "origin_copies_per_part_steady": rounded(copies),
        // Each viewer plays each part once.
        "part_offload_steady": rounded(copies.map(|copies| 1.0 - copies / f64::from(pages))),
    });
    let Value::Object(values) = values else { return Map::new() };
    values
}

fn percentile(mut values: Vec<f64>, share: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let index = (share * values.len() as f64) as usize;
    values.get(index.min(values.len().checked_sub(1)?)).copied()
}

fn largest(values: &[f64]) -> Option<f64> {
    values.iter().copied().max_by(f64::total_cmp)
}

fn rounded(value: Option<f64>) -> Option<f64> {
    value.map(|value| (value * 1000.0).round() / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles() {
        let values: Vec<f64> = (1..=20).rev().map(f64::from).collect();
        assert_eq!(percentile(values.clone(), 0.5), Some(11.0));
        assert_eq!(percentile(values, 0.95), Some(20.0));
        assert_eq!(percentile(vec![], 0.5), None);
    }
}
