//! What the system says about this process, from `/proc`.
//!
//! Rule: Linux only, as the benchmark is.

use std::fs;
use std::time::Duration;

/// Ticks of the CPU times in `/proc`: 100 per second on every Linux that Rust runs on.
const TICK: Duration = Duration::from_millis(10);

/// User and system time so far.
pub(crate) fn cpu() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").expect("/proc is mounted");
    let after_name = stat.rsplit_once(')').expect("the name is in brackets").1;
    let ticks: u32 = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u32>().expect("a count of ticks"))
        .sum();
    TICK * ticks
}

/// Resident memory now.
pub(crate) fn rss_kib() -> i64 {
    let status = fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("the line");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}
