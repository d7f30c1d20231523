//! The processes that a demo starts: server, agents, recorders, players, encoder.
//!
//! Rule: none of them outlives the demo. Each is in a process group of its own, so that Ctrl-C on
//! the terminal reaches the demo alone, which then ends them; dropping a handle kills its process.

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// How to start a process.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    name: String,
    words: Vec<String>,
    log: PathBuf,
    netns: Option<String>,
    is_piped: bool,
}

impl Launch {
    /// `program`, called `name` in messages, with its output in `NAME.log` in `folder`.
    pub(crate) fn new(name: &str, program: impl AsRef<OsStr>, folder: &Path) -> Self {
        Self {
            name: name.to_owned(),
            words: vec![program.as_ref().to_string_lossy().into_owned()],
            log: folder.join(format!("{name}.log")),
            netns: None,
            is_piped: false,
        }
    }

    /// More arguments.
    pub(crate) fn args<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.words.extend(words.into_iter().map(Into::into));
        self
    }

    /// In this network namespace.
    pub(crate) fn within(mut self, netns: Option<&str>) -> Self {
        self.netns = netns.map(str::to_owned);
        self
    }

    /// With standard input and output on pipes to us; standard error still goes to the log.
    pub(crate) fn piped(mut self) -> Self {
        self.is_piped = true;
        self
    }

    /// Starts it.
    pub(crate) fn spawn(self) -> Result<Process> {
        let prefix = self.netns.iter().flat_map(|name| ["ip", "netns", "exec", name.as_str()]);
        let words: Vec<&str> = prefix.chain(self.words.iter().map(String::as_str)).collect();
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("cannot write {}", self.log.display()))?;
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).kill_on_drop(true).process_group(0);
        command.stderr(log.try_clone()?);
        if self.is_piped {
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
        } else {
            command.stdin(Stdio::null()).stdout(log);
        }
        let child = command.spawn().with_context(|| format!("cannot start {}", words[0]))?;
        Ok(Process { child, name: self.name, log: self.log })
    }
}

/// A running process; killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Its standard input, once, if it was started piped.
    pub(crate) fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Its standard output, once, if it was started piped.
    pub(crate) fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// An error with the end of its log, if it has ended.
    pub(crate) fn check_running(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(8)..].join("\n  ");
        anyhow::bail!("{} ended ({status}); its last words:\n  {tail}", self.name);
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Result<Option<std::process::ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// The last line of its log that holds one of these words.
    pub(crate) fn said(&self, words: &[&str]) -> Option<String> {
        let log = std::fs::read(&self.log).ok()?;
        let log = String::from_utf8_lossy(&log);
        let found = log.lines().rev().find(|line| words.iter().any(|word| line.contains(word)));
        found.map(|line| line.trim().to_owned())
    }

    /// kill -9, and waits until it is gone.
    pub(crate) async fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill().await;
    }

    /// Asks it to end and kills it if it has not within `patience`. Says whether it ended itself.
    pub(crate) async fn stop(&mut self, patience: Duration) -> bool {
        if let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok()) {
            // It may have ended between these two lines.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let ended = tokio::time::timeout(patience, self.child.wait()).await.is_ok();
        if !ended {
            self.kill().await;
        }
        ended
    }

    /// Its number.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Processor seconds and resident bytes so far, where the system tells (Linux).
    pub(crate) fn usage(&self) -> Option<Usage> {
        usage(self.child.id()?)
    }
}

/// What a process has used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// User and system time, seconds.
    pub(crate) cpu_s: f64,
    /// Resident memory.
    pub(crate) rss_bytes: u64,
}

/// Clock ticks per second in /proc, the same on every Linux platform that Rust builds for.
const TICKS_PER_S: f64 = 100.0;

fn usage(pid: u32) -> Option<Usage> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in brackets, which may hold blanks.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let ticks = |n: usize| fields.get(n)?.parse::<f64>().ok();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let rss_kib: u64 = rss.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(Usage { cpu_s: (ticks(11)? + ticks(12)?) / TICKS_PER_S, rss_bytes: rss_kib * 1024 })
}

/// What all processes below `pid` use, without it. Memory that they share is counted once, by its
/// proportional share.
pub(crate) fn usage_below(pid: u32) -> Option<Usage> {
    let mut sum = Usage { cpu_s: 0.0, rss_bytes: 0 };
    let mut pids = children(pid)?;
    while let Some(pid) = pids.pop() {
        // It may have ended since.
        let Some(usage) = usage(pid) else { continue };
        pids.extend(children(pid).unwrap_or_default());
        sum.cpu_s += usage.cpu_s;
        sum.rss_bytes += proportional_bytes(pid).unwrap_or(usage.rss_bytes);
    }
    Some(sum)
}

fn children(pid: u32) -> Option<Vec<u32>> {
    let mut all = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let list = std::fs::read_to_string(task.ok()?.path().join("children")).ok()?;
        all.extend(list.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
    }
    Some(all)
}

fn proportional_bytes(pid: u32) -> Option<u64> {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: u64 = pss.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dropped_process_is_gone() {
        let folder = std::env::temp_dir();
        let name = format!("shoal-process-test-{}", std::process::id());
        let process = Launch::new(&name, "sleep", &folder).args(["600"]).spawn().unwrap();
        let pid = process.child.id().unwrap();
        assert!(usage(pid).is_some());
        drop(process);
        let is_gone = || usage(pid).is_none();
        let wait = async {
            while !is_gone() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.expect("killed");
        std::fs::remove_file(folder.join(format!("{name}.log"))).unwrap();
    }

    #[tokio::test]
    async fn an_early_end_is_reported_with_the_log() {
        let folder = std::env::temp_dir();
        let name = format!("shoal-process-end-{}", std::process::id());
        let script = ["-c", "echo port in use >&2; exit 3"];
        let mut process = Launch::new(&name, "sh", &folder).args(script).spawn().unwrap();
        process.child.wait().await.unwrap();
        let error = process.check_running().unwrap_err().to_string();
        assert!(error.contains("port in use"), "{error}");
        std::fs::remove_file(folder.join(format!("{name}.log"))).unwrap();
    }
}
