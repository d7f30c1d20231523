//! The terminal: the live status line, and the signals that end the agent.
//!
//! Rule: the line is for people; where standard error is no terminal, nothing is drawn.

use anyhow::Result;
use shoal_agent::Running;
use std::future::Future;
use std::io::{IsTerminal, Write};
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// How often the line is drawn.
const INTERVAL: Duration = Duration::from_secs(1);
/// Width assumed where the terminal does not tell.
const COLUMNS: usize = 100;

/// Whether a person watches.
pub(crate) fn is_interactive() -> bool {
    std::io::stderr().is_terminal()
}

/// Shows the status line, if there is a terminal, until `end` resolves.
pub(crate) async fn show_status_until(running: &Running, end: impl Future<Output = ()>) {
    if !is_interactive() {
        return end.await;
    }
    let columns = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    let columns = columns.unwrap_or(COLUMNS);
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => break,
            _ = ticks.tick() => {}
        }
        let line: String = running.status_line().await.chars().take(columns).collect();
        // A terminal that went away needs no line.
        let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
    }
    eprintln!();
}

/// Resolves with the first SIGINT, SIGTERM or what the system has in their place.
pub(crate) fn asked_to_end() -> Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    let mut terminate = {
        use tokio::signal::unix::{SignalKind, signal};
        signal(SignalKind::terminate())?
    };
    Ok(async move {
        #[cfg(unix)]
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
    })
}
