//! The end of a demo: a summary on standard output, all figures as JSON.
//!
//! Rule: figures stand beside what is possible and beside the conditions they were measured under.

use super::args::{Args, PlayerKind};
use super::figures::Outcome;
use anyhow::{Context, Result};
use serde_json::{Value, json};

/// Prints the summary and writes the file that was asked for.
pub(crate) fn write(
    args: &Args,
    player: PlayerKind,
    outcome: &Outcome,
    stubborn: &[String],
) -> Result<()> {
    let mut figures = outcome.to_json();
    figures["killed_at_shutdown"] = json!(stubborn);
    for (name, value) in conditions(args, player) {
        figures[name] = value;
    }
    summarise(&figures);
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&figures)?;
        std::fs::write(path, text + "\n")
            .with_context(|| format!("cannot write {}", path.display()))?;
        println!("all figures: {}", path.display());
    }
    Ok(())
}

fn conditions(args: &Args, player: PlayerKind) -> Vec<(&'static str, Value)> {
    let processors = std::thread::available_parallelism().map(std::num::NonZero::get).ok();
    vec![
        ("content", json!(content(args))),
        ("upstream", json!(args.upstream.map(|signing| format!("{signing:?}").to_lowercase()))),
        ("rate_bps", json!((content(args) != "demo channel").then_some(args.rate.bps))),
        ("segment_s", json!((content(args) != "demo channel").then_some(args.segment))),
        ("title_s", json!(args.vod)),
        ("stagger_s", json!(args.stagger)),
        ("part_ms", json!(args.low_latency.then_some(args.part_ms))),
        ("shape_up_bps", json!(args.shape.map(|shape| shape.up.bps))),
        ("player", json!(format!("{player:?}").to_lowercase())),
        ("video", json!(args.shows_video())),
        ("twins", json!(args.twins)),
        ("killed", json!(args.kill.map(|kill| kill.count))),
        ("killed_at_second", json!(args.kill.map(|kill| kill.second))),
        ("restarted_at_second", json!(args.restart_server)),
        ("corrupt", json!(args.corrupt)),
        ("processors", json!(processors)),
        ("programs", json!(args.bin_dir.as_ref().map_or("release", |_| "given"))),
    ]
}

fn content(args: &Args) -> &'static str {
    match (args.vod, args.is_encoded()) {
        (Some(_), _) => "title",
        (None, true) => "ffmpeg",
        (None, false) => "demo channel",
    }
}

/// Figure, what it is called, and what stands behind it.
const LINES: &[(&str, &str)] = &[
    ("offload, whole run", "offload_ratio"),
    ("offload, steady state", "offload_ratio_steady"),
    ("offload possible", "offload_bound"),
    ("origin copies per segment, steady", "origin_copies_per_segment_steady"),
    ("CDN to viewers, bytes (part of the above)", "cdn_viewer_bytes"),
    ("CDN to server for digests, bytes", "cdn_digest_bytes"),
    ("CDN to server, playlists, bytes", "cdn_server_playlist_bytes"),
    ("digest fetches per segment", "cdn_digest_fetches_per_segment"),
    ("offload after the kill", "offload_after_kill"),
    ("offload possible after the kill", "offload_after_kill_bound"),
    ("disagreement of the two origin counts", "origin_count_disagreement"),
    ("segments received by players", "segments"),
    ("  of them not what was published", "mismatched_segments"),
    ("  not compared", "unverified_segments"),
    ("stalls", "stalls"),
    ("stalls, seconds", "stall_seconds"),
    ("stalls without us", "stalls_direct"),
    ("waste", "waste_ratio"),
    ("start-up, median ms", "startup_ms_p50"),
    ("start-up without us, median ms", "startup_direct_ms_p50"),
    ("start-up added, median of pairs, ms", "startup_added_ms_p50"),
    ("seeks", "seeks"),
    ("  not answered by a frame in 10 s", "seeks_unanswered"),
    ("  median ms", "seek_ms_p50"),
    ("  longest, ms", "seek_ms_max"),
    ("  without us, median ms", "seek_direct_ms_p50"),
    ("  without us, longest, ms", "seek_direct_ms_max"),
    ("second showing, start-up, ms", "second_showing_startup_ms"),
    ("  without us, ms", "second_showing_startup_direct_ms"),
    ("  stalls", "second_showing_stalls"),
    ("  bytes to the player", "second_showing_delivered_bytes"),
    ("  of them from the origin", "second_showing_from_origin_bytes"),
    ("behind live, median s", "latency_s_p50"),
    ("behind live without us, median s", "latency_direct_s_p50"),
    ("behind live added, median of pairs, s", "latency_added_s_p50"),
    ("behind the encoder's clock, median s", "behind_clock_s_p50"),
    ("  the worst viewer's median", "behind_clock_s_p50_worst"),
    ("  the worst viewer's 95th percentile", "behind_clock_s_p95_worst"),
    ("  without us, median s", "behind_clock_direct_s_p50"),
    ("offload on parts, steady", "part_offload_steady"),
    ("origin copies per part, steady", "origin_copies_per_part_steady"),
    ("agent, processor s per viewer minute", "cpu_seconds_per_viewer_minute"),
    ("agent, resident MiB, median", "agent_rss_mib_p50"),
    ("server, resident MiB", "server_rss_mib"),
    ("pages, cores each (all of Chromium)", "page_cores"),
    ("pages, MiB each (all of Chromium)", "page_rss_mib"),
    ("pages, stalls", "page_stalls"),
    ("pages, stalls without us", "page_stalls_direct"),
    ("pages, start-up added, median of pairs, ms", "page_startup_added_ms_p50"),
    ("pages, behind live added, median of pairs, s", "page_latency_added_s_p50"),
    ("pages, loading the WASM, median ms", "wasm_load_ms_p50"),
    ("bytes that pages had from agents", "page_from_agent_bytes"),
    ("bytes that agents had from pages", "agent_from_page_bytes"),
    ("bytes that pages had from pages", "page_from_page_bytes"),
];

fn summarise(figures: &Value) {
    println!();
    for (label, name) in LINES {
        if !figures[name].is_null() {
            println!("{label:<40} {}", figures[name]);
        }
    }
    if figures["origin_count_flagged"] == true {
        println!("NOTE: server and kernel disagree on the origin's bytes by more than 2 %");
    }
    for complaint in figures["complaints"].as_array().into_iter().flatten() {
        println!("NOTE: {complaint}");
    }
    for name in figures["killed_at_shutdown"].as_array().into_iter().flatten() {
        println!("NOTE: {name} did not end when asked and was killed");
    }
}
