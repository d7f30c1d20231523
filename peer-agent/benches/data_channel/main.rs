//! How fast one link is, and what it costs: our `Links` beside the bare `rtc` core.
//!
//! Rule: both ends are in this process, on loopback, with the same settings; rounds of the two are
//! interleaved and medians are printed, so that a busy machine disturbs both alike.
//!
//! It prints one JSON object. CPU is that of the whole process, both ends together.

mod bare;
mod ours;
mod process;

use serde_json::json;
use std::time::Duration;

/// Rounds of every figure.
const ROUNDS: usize = 5;

/// Bytes moved per round: long enough that CPU ticks of 10 ms do not show.
const ROUND_BYTES: usize = 256 << 20;

/// The sizes of one chunk and of three, the most that one message carries.
const MESSAGE_BYTES: [usize; 2] = [16 * 1024, 48 * 1024];

/// Links opened for the memory of an idle one.
const IDLE_LINKS: usize = 20;

/// One transfer.
pub(crate) struct Transfer {
    pub(crate) bytes: usize,
    pub(crate) elapsed: Duration,
    pub(crate) cpu: Duration,
    pub(crate) open: Duration,
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let idle = runtime.block_on(ours::idle(IDLE_LINKS, ROUNDS));
    let mut report = json!({
        "rounds": ROUNDS,
        "round_mib": ROUND_BYTES >> 20,
        "worker_threads": 2,
        "cpus": std::thread::available_parallelism().map_or(0, usize::from),
        "rss_kib_per_idle_link_end": idle.rss_kib_per_end,
        "rss_kib_per_link_end_after_close": idle.rss_kib_per_end_after_close,
        "open_ms_p50": tenths(idle.open_ms[idle.open_ms.len() / 2]),
        "open_ms_p90": tenths(idle.open_ms[idle.open_ms.len() * 9 / 10]),
        "idle_links": IDLE_LINKS,
    });
    for bytes in MESSAGE_BYTES {
        let (mut links, mut core) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            links.push(runtime.block_on(ours::transfer(bytes, ROUND_BYTES)));
            core.push(runtime.block_on(bare::transfer(bytes, ROUND_BYTES)));
        }
        let name = format!("message_{}_kib", bytes >> 10);
        report[name] = json!({ "links": summary(&links), "bare_rtc": summary(&core) });
    }
    println!("{report:#}");
}

fn summary(rounds: &[Transfer]) -> serde_json::Value {
    let median_of = |figure: fn(&Transfer) -> f64| {
        let mut figures: Vec<f64> = rounds.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        tenths(figures[figures.len() / 2])
    };
    json!({
        "mb_per_s": median_of(|round| round.bytes as f64 / 1e6 / round.elapsed.as_secs_f64()),
        "cpu_s_per_gb": median_of(|round| round.cpu.as_secs_f64() * 1e9 / round.bytes as f64),
        "open_ms": median_of(|round| round.open.as_secs_f64() * 1e3),
    })
}

fn tenths(figure: f64) -> f64 {
    (figure * 10.0).round() / 10.0
}
