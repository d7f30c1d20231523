//! The `shoal-server` program: reads the command line, serves until a signal.

use anyhow::{Context, Result};
use clap::Parser;
use sd_notify::NotifyState;
use shoal_server::Server;
use shoal_server::cli::{Action, Cli, dev_banner};
use shoal_server::config::LogFormat;
use std::io::IsTerminal;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let run = || -> Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(run(Cli::parse()))
    };
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("shoal-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<ExitCode> {
    let (config, dev) = match cli.action()? {
        Action::Print(text) => {
            print!("{text}");
            return Ok(ExitCode::SUCCESS);
        }
        Action::Explain(explanation) => {
            print!("{}", explanation.text);
            return Ok(if explanation.shares { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Action::Control(order) => {
            print!("{}", order.carry_out().await?);
            return Ok(ExitCode::SUCCESS);
        }
        Action::Serve(config) => (config, false),
        Action::Dev(config) => (config, true),
    };
    let filter = EnvFilter::try_new(&config.server.log)
        .with_context(|| format!("--log: `{}` is no log level", config.server.log))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match config.server.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    // Before it listens: who sees that it does may stop it at once.
    let mut signals = Signals::new()?;
    let server = Server::start(&config).await?;
    if dev {
        let ports = server.ports();
        print!("{}", dev_banner(&config, ports.listen, ports.admin_listen));
    }
    notify(&[NotifyState::Ready]);
    tokio::select! {
        () = signals.come() => {}
        () = server.drained() => {}
    }
    notify(&[NotifyState::Stopping]);
    tracing::info!("stopping");
    server.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// Tells systemd, where it started this with `Type=notify`.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "systemd is not reached");
    }
}

/// SIGINT and SIGTERM, heeded from the moment that this is made.
struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let interrupt = signal(SignalKind::interrupt())?;
            Ok(Self { interrupt, terminate: signal(SignalKind::terminate())? })
        }
        #[cfg(not(unix))]
        Ok(Self {})
    }

    /// Returns at the first of them.
    async fn come(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
    }
}
