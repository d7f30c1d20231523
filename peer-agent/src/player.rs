//! The player's process.
//!
//! Rule: it lives no longer than the agent that started it.

use anyhow::{Context, Result, bail};
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long a player may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// A running player.
#[derive(Debug)]
pub(crate) struct Player {
    program: String,
    child: Child,
}

impl Player {
    /// Starts `program` with `args` and then the URL.
    pub(crate) fn start(program: &OsStr, args: &[OsString], url: &str) -> Result<Self> {
        let name = program.to_string_lossy().into_owned();
        let mut command = Command::new(program);
        command.args(quiet_args(program)).args(args).arg(url).kill_on_drop(true);
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound => bail!(
                "player `{name}` is not found; install it, or name another with --player \
                 (such as --player ffplay)"
            ),
            Err(error) => return Err(error).with_context(|| format!("player `{name}`")),
        };
        Ok(Self { program: name, child })
    }

    /// Waits for its end; a failure is ours as well.
    pub(crate) async fn wait(&mut self) -> Result<ExitCode> {
        let status = self.child.wait().await?;
        if !status.success() {
            eprintln!("shoal-agent: player `{}` ended with {status}", self.program);
        }
        let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
        Ok(ExitCode::from(code))
    }

    /// Ends it. A terminal's Ctrl-C has reached it already.
    pub(crate) async fn stop(&mut self) {
        if timeout(END_TIMEOUT / 4, self.child.wait()).await.is_err() {
            // It may have ended just now.
            let _ = self.child.start_kill();
            let _ = timeout(END_TIMEOUT, self.child.wait()).await;
        }
    }
}

/// What keeps a known player's own status line from fighting ours.
fn quiet_args(program: &OsStr) -> &'static [&'static str] {
    let name = Path::new(program).file_stem().and_then(OsStr::to_str).unwrap_or_default();
    match name {
        "mpv" => &["--quiet"],
        "ffplay" => &["-nostats", "-loglevel", "warning"],
        _ => &[],
    }
}
