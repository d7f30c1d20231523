//! The `shoal-server` program: reads the command line, serves until a signal.

use anyhow::{Context, Result};
use clap::Parser;
use shoal_server::Server;
use shoal_server::cli::{Action, Cli, dev_banner};
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
        Action::Serve(config) => (config, false),
        Action::Dev(config) => (config, true),
    };
    let filter = EnvFilter::try_new(&config.server.log)
        .with_context(|| format!("--log: `{}` is no log level", config.server.log))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let server = Server::start(&config).await?;
    if dev {
        let ports = server.ports();
        print!("{}", dev_banner(&config, ports.listen, ports.admin_listen));
    }
    interrupted().await?;
    tracing::info!("stopping");
    server.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// Returns at SIGINT or SIGTERM.
async fn interrupted() -> Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            result = tokio::signal::ctrl_c() => result?,
            _ = terminate.recv() => {}
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await?;
    Ok(())
}
