//! What this process uses, where the system tells.
//!
//! Rule: none is an answer. Only systems with a `/proc` give figures.

/// Resident memory in bytes.
pub(crate) fn rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// User and system time in seconds.
pub(crate) fn cpu_seconds() -> Option<f64> {
    /// Ticks per second in `/proc` on every architecture that Linux still has.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field, the name in parentheses, may hold spaces.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let (user, system) = (ticks()?, ticks()?);
    Some((user + system) as f64 / TICKS_PER_SECOND)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn figures_are_plausible() {
        assert!(super::rss_bytes().unwrap() > 1_000_000);
        let mut sum = 0u64;
        let start = super::cpu_seconds().unwrap();
        while super::cpu_seconds().unwrap() < start + 0.02 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
    }
}
