//! `shoal-agent`: reads the command line, runs the agent, and ends with it.
//!
//! Rule: whatever goes wrong is told in one sentence that says what to change; nothing here knows
//! HTTP, HLS or peers.

mod cli;
mod player;
mod terminal;

use anyhow::{Context, Result};
use clap::{CommandFactory, Parser};
use cli::{Cli, Command, Play, Run};
use shoal_agent::{Options, Running, Site, parse_url};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Command::Completions { shell } = cli.command {
        let mut out = std::io::stdout();
        clap_complete::generate(shell, &mut Cli::command(), "shoal-agent", &mut out);
        return ExitCode::SUCCESS;
    }
    if matches!(cli.command, Command::Man) {
        let page = clap_mangen::Man::new(Cli::command());
        let printed = page.render(&mut std::io::stdout());
        return printed.map_or_else(|error| fail(&error.into()), |()| ExitCode::SUCCESS);
    }
    let quiet = matches!(cli.command, Command::Play(_)) && terminal::is_interactive();
    let filter = EnvFilter::try_from_env("SHOAL_LOG").unwrap_or_else(|_| {
        // Other crates' logs may hold addresses.
        EnvFilter::new(if quiet { "shoal_agent=warn" } else { "shoal_agent=info" })
    });
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(terminal::is_interactive())
        .init();
    // One thread: a viewer's stream needs a hundredth of a core.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let ended = match cli.command {
        Command::Run(run) => runtime.block_on(run_agent(run)).map(|()| ExitCode::SUCCESS),
        Command::Play(play) => runtime.block_on(play_url(play)),
        Command::Completions { .. } | Command::Man => return ExitCode::SUCCESS,
    };
    ended.unwrap_or_else(|error| fail(&error))
}

fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("shoal-agent: {error:#}");
    ExitCode::FAILURE
}

async fn run_agent(run: Run) -> Result<()> {
    let example = run.origin[0].clone();
    let running = Running::start(options(run.listen, run.origin, &run.common)).await?;
    let local = running.address();
    if let Some(path) = &run.ports_file {
        write_ports(path, local).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let url = parse_url(&format!("{example}/live/NAME/index.m3u8"))?;
    eprintln!("players  {}", running.local_url(&url));
    eprintln!(
        "pages    http://{local}{}/http/…   (secret: give it to your own pages only)",
        running.page_prefix()
    );
    eprintln!("status   http://{local}/status");
    terminal::show_status_until(&running, terminal::asked_to_end()?).await;
    running.stop().await;
    Ok(())
}

async fn play_url(play: Play) -> Result<ExitCode> {
    let mut sites = play.origin;
    sites.push(Site::of(&play.url)?);
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let running = Running::start(options(listen, sites, &play.common)).await?;
    let mut player =
        player::Player::start(&play.player, &play.args, &running.local_url(&play.url))?;
    let end = terminal::asked_to_end()?;
    let ended = tokio::select! {
        ended = player.wait() => Some(ended),
        () = terminal::show_status_until(&running, end) => None,
    };
    let code = match ended {
        Some(ended) => ended?,
        None => {
            player.stop().await;
            ExitCode::SUCCESS
        }
    };
    running.stop().await;
    Ok(code)
}

fn options(listen: SocketAddr, sites: Vec<Site>, common: &cli::Common) -> Options {
    Options {
        listen,
        sites,
        share: common.share.into(),
        upload_cap: common.upload_max.map(|rate| rate.0),
        token: common.token(),
        corrupt_every: common.corrupt_every(),
    }
}

/// Writes where the proxy listens: whole or not at all.
fn write_ports(path: &Path, listen: SocketAddr) -> std::io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".part");
    std::fs::write(&aside, format!("{{\"listen\":\"{listen}\"}}\n"))?;
    std::fs::rename(&aside, path)
}
