//! What the system lets a process have, and what processes use.
//!
//! Rule: it reads and asks; it touches no process but this one.

use anyhow::{Context, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the number of files that may be open to the most that the system allows, for this process
/// and those that it starts. Returns that number.
///
/// # Errors
/// If the system refuses.
pub(crate) fn raise_file_limit() -> Result<u64> {
    let read = || getrlimit(Resource::RLIMIT_NOFILE).context("cannot read the limit of open files");
    let (soft, hard) = read()?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).with_context(|| {
            format!("cannot raise the limit of open files from {soft} to {hard}")
        })?;
    }
    Ok(read()?.0)
}

/// What a process has used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// User and system time.
    pub(crate) cpu_s: f64,
    /// Resident memory.
    pub(crate) rss_bytes: f64,
}

impl Usage {
    /// Of a process that does not tell.
    pub(crate) const UNKNOWN: Self = Self { cpu_s: f64::NAN, rss_bytes: f64::NAN };
}

/// Clock ticks per second in /proc, the same on every Linux platform that Rust builds for.
const TICKS_PER_S: f64 = 100.0;

/// What the process `pid` has used; none if it has ended or the system does not tell.
pub(crate) fn usage_of(pid: u32) -> Option<Usage> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in brackets, which may hold blanks.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let ticks = |n: usize| fields.get(n)?.parse::<f64>().ok();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let rss_kib: f64 = rss.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(Usage { cpu_s: (ticks(11)? + ticks(12)?) / TICKS_PER_S, rss_bytes: rss_kib * 1024.0 })
}

/// What this process has used.
pub(crate) fn own_usage() -> Usage {
    usage_of(std::process::id()).unwrap_or_default()
}

/// Cores that this process may run on.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_to_the_hard_one() {
        let limit = raise_file_limit().expect("allowed");
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("readable");
        assert_eq!((soft, limit), (hard, hard));
    }

    #[test]
    fn this_process_uses_memory_and_others_may_not_exist() {
        assert!(own_usage().rss_bytes > 100_000.0);
        assert!(usage_of(u32::MAX).is_none());
    }
}
