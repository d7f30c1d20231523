//! What this process uses, as the system tells.
//!
//! Elsewhere than on Linux the figures are zero.

use std::time::Duration;

/// Memory and processor time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Resident memory.
    pub(crate) rss_bytes: u64,
    /// User and system time of all threads.
    pub(crate) cpu: Duration,
}

/// Clock ticks per second in /proc: 100 in Linux's interface to programs on all platforms that
/// Rust supports (proc(5), USER_HZ).
const TICKS_PER_SECOND: u64 = 100;

/// What is used now.
pub(crate) fn usage() -> Usage {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    Usage { rss_bytes: rss(&status).unwrap_or(0), cpu: cpu(&stat).unwrap_or_default() }
}

fn rss(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn cpu(stat: &str) -> Option<Duration> {
    // The name in parentheses may hold spaces; utime and stime are fields 14 and 15 of all, 11 and
    // 12 counted from 0 after it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * 1000 / TICKS_PER_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read() {
        assert_eq!(rss("VmSize: 9 kB\nVmRSS:\t    2048 kB\n"), Some(2048 * 1024));
        let stat = "1 (a) b) S 0 1 1 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 1 0 2 3 4";
        assert_eq!(cpu(stat), Some(Duration::from_secs(2)));
        if cfg!(target_os = "linux") {
            assert!(usage().rss_bytes > 100_000);
        }
    }
}
