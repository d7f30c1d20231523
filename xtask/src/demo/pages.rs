//! What the demo says of its pages: rows, figures, and what pages and agents gave each other.
//!
//! Rule: pure. A byte counts as given when its receiver has it, verified.

use super::args::Args;
use super::browsers::{Browsers, PageSeen};
use super::figures::{ViewerFigures, median};
use super::table::Row;
use super::viewer::Seen;
use serde_json::{Map, Value, json};

const MIB: f64 = 1024.0 * 1024.0;

/// The engine's totals under the names that agents give them.
const TOTALS: [(&str, &str); 6] = [
    ("from_origin", "fromOriginBytes"),
    ("from_peers", "fromPeersBytes"),
    ("wasted", "wastedBytes"),
    ("to_peers", "toPeersBytes"),
    ("hash_mismatches", "hashMismatches"),
    ("fallbacks", "fallbacks"),
];

/// A page's row in the table.
pub(crate) fn row(index: u8, browsers: &Browsers) -> Row {
    let (page, playback) = (browsers.page(index), browsers.figures(index, false));
    Row {
        name: format!("page {}", index + 1),
        from_origin: page.total("fromOriginBytes"),
        from_peers: page.total("fromPeersBytes"),
        to_peers: page.total("toPeersBytes"),
        neighbours: page.neighbours().len(),
        buffer_ms: page.buffer_ms(),
        latency_s: playback.latency_s,
        stalls: playback.stalls.len(),
    }
}

/// A page's results.
pub(crate) fn figures(index: u8, browsers: &Browsers, has_twin: bool) -> ViewerFigures {
    let page = browsers.page(index);
    let totals =
        TOTALS.iter().map(|(ours, theirs)| ((*ours).to_owned(), page.total(theirs).into()));
    let mut engine: Map<String, Value> = totals.collect();
    engine.insert("neighbours".into(), page.neighbours().len().into());
    engine.insert("fallback_reasons".into(), page.fallback_reasons());
    engine.insert("wasm_load_ms".into(), json!(page.wasm_load_ms()));
    engine.insert("heap_mib".into(), json!(page.heap_bytes().map(|bytes| bytes as f64 / MIB)));
    engine.insert("errors".into(), page.errors());
    ViewerFigures {
        player: browsers.figures(index, false),
        twin: has_twin.then(|| browsers.figures(index, true)),
        delivered: page.delivered(),
        agent: engine,
        is_page: true,
        ..ViewerFigures::default()
    }
}

/// What concerns all pages, or pages and agents: `open_s` is how long pages were open, summed.
pub(crate) fn together(
    args: &Args,
    browsers: &Browsers,
    agents: &[Seen],
    open_s: f64,
) -> Map<String, Value> {
    let pages: Vec<PageSeen> = (0..args.browsers).map(|index| browsers.page(index)).collect();
    let agent_names: Vec<&str> = agents.iter().filter_map(Seen::peer).collect();
    let page_names: Vec<&str> = pages.iter().filter_map(PageSeen::peer).collect();
    let page_links = || pages.iter().flat_map(PageSeen::neighbours);
    let agent_links = || agents.iter().flat_map(Seen::links);
    let usage = browsers.usage();
    let count = f64::from(args.browsers) * if args.twins { 2.0 } else { 1.0 };
    let wasm_ms = median(pages.iter().filter_map(PageSeen::wasm_load_ms));
    let values = json!({
        "browsers": args.browsers,
        "chromium": browsers.version(),
        "page_from_agent_bytes": received(page_links(), "receivedBytes", &agent_names),
        "agent_from_page_bytes": received(agent_links(), "received", &page_names),
        "page_from_page_bytes": received(page_links(), "receivedBytes", &page_names),
        "agent_from_agent_bytes": received(agent_links(), "received", &agent_names),
        "wasm_load_ms_p50": wasm_ms,
        "page_cores": usage.filter(|_| open_s > 0.0).map(|usage| usage.cpu_s / open_s),
        "page_rss_mib": usage.map(|usage| usage.rss_bytes as f64 / MIB / count),
    });
    let Value::Object(mut values) = values else { return Map::new() };
    values.extend(beside_twins(args, browsers));
    values
}

/// Playback of pages, and what it is beyond their twins'.
fn beside_twins(args: &Args, browsers: &Browsers) -> Map<String, Value> {
    let own = || (0..args.browsers).map(|index| browsers.figures(index, false));
    let pairs = || own().zip((0..args.browsers).map(|index| browsers.figures(index, true)));
    let startups = pairs().filter_map(|(own, twin)| Some(own.startup_s? - twin.startup_s?));
    let latencies = pairs().filter_map(|(own, twin)| Some(own.latency_s? - twin.latency_s?));
    let stalls = own().map(|page| page.stalls.len()).sum::<usize>();
    let direct = pairs().map(|(_, twin)| twin.stalls.len()).sum::<usize>();
    let named = [
        ("page_stalls", json!(stalls)),
        ("page_stalls_direct", json!(args.twins.then_some(direct))),
        ("page_startup_ms_p50", json!(median(own().filter_map(|page| page.startup_s)).map(ms))),
        ("page_startup_added_ms_p50", json!(median(startups).map(ms))),
        ("page_latency_s_p50", json!(median(own().filter_map(|page| page.latency_s)))),
        ("page_latency_added_s_p50", json!(median(latencies))),
    ];
    named.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn ms(seconds: f64) -> f64 {
    seconds * 1000.0
}

/// Bytes over those of `links` that lead to one of `names`.
fn received<'a>(links: impl Iterator<Item = &'a Value>, field: &str, names: &[&str]) -> u64 {
    let leads = |link: &&Value| link["peer"].as_str().is_some_and(|peer| names.contains(&peer));
    links.filter(leads).filter_map(|link| link[field].as_u64()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_to_the_named_count() {
        let links = [
            json!({"peer": "a", "received": 5}),
            json!({"peer": "b", "received": 7}),
            json!({"peer": "a", "received": null}),
        ];
        assert_eq!(received(links.iter(), "received", &["a"]), 5);
        assert_eq!(received(links.iter(), "received", &["a", "b"]), 12);
    }
}
