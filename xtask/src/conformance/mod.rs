//! `cargo xtask conformance`: streams of many kinds in many players, through Shoal.
//!
//! Rule: each cell is a real player that plays a real stream through an agent, or in a page, with
//! another viewer in the swarm that has it; it passes if it plays to the end and every body is the
//! origin's. What is started is ended; nothing is skipped in silence.

mod cell;
mod clients;
mod crawl;
mod encode;
mod forwarder;
mod make;
mod plain;
mod recipes;
mod report;
mod row;
mod stage;
mod streams;
mod url;

use crate::demo::Signals;
use crate::folder::Folder;
use crate::{shell, suite, web};
use anyhow::{Context, Result, bail, ensure};
use clients::Client;
use clients::browser::Browser;
use futures_util::{StreamExt, TryStreamExt};
use make::Maker;
use report::Report;
use row::Surroundings;
use stage::Programs;
use std::path::{Path, PathBuf};
use streams::{STREAMS, Stream};

/// What to play.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these streams and players, by name; players alone take all streams, and the other way.
    #[arg(long, value_delimiter = ',', value_name = "STREAM,PLAYER")]
    only: Vec<String>,
    /// The few that the tests play.
    #[arg(long)]
    quick: bool,
    /// Write every cell to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Take the programs from this folder in place of building them.
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
    /// Keep logs in this folder.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Install nothing, only say what is missing.
    #[arg(long)]
    no_install: bool,
    /// Leave README.md as it is.
    #[arg(long)]
    no_readme: bool,
}

/// Players, and the packages that hold them with what they need.
const PLAYERS: &[(&str, &str)] = &[
    ("vlc", "vlc-bin vlc-plugin-base"),
    (
        "gst-launch-1.0",
        "gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good \
         gstreamer1.0-plugins-bad gstreamer1.0-libav",
    ),
];

/// Streams that are played at once: players wait more than they work.
const ROWS_AT_ONCE: usize = 2;

/// What `--only` and `--quick` leave.
#[derive(Debug)]
struct Selection {
    streams: Vec<&'static Stream>,
    clients: Vec<Client>,
}

impl Selection {
    fn new(args: &Args) -> Result<Self> {
        let named = |name: &str| args.only.iter().any(|only| only == name);
        let known = |only: &&String| {
            STREAMS.iter().any(|stream| stream.name == **only)
                || Client::ALL.iter().any(|client| client.name() == **only)
        };
        if let Some(unknown) = args.only.iter().find(|only| !known(only)) {
            let streams: Vec<_> = STREAMS.iter().map(|stream| stream.name).collect();
            let clients = Client::ALL.map(Client::name).join(" ");
            bail!("{unknown} is none of the streams {} or players {clients}", streams.join(" "));
        }
        let any_stream = STREAMS.iter().any(|stream| named(stream.name));
        let any_client = Client::ALL.iter().any(|client| named(client.name()));
        let streams = STREAMS.iter().filter(|it| !any_stream || named(it.name));
        let clients = Client::ALL.into_iter().filter(|it| !any_client || named(it.name()));
        Ok(Self {
            streams: streams.filter(|it| !args.quick || it.is_quick).collect(),
            clients: clients.filter(|it| !args.quick || it.is_quick()).collect(),
        })
    }

    fn is_whole(&self) -> bool {
        self.streams.len() == STREAMS.len() && self.clients.len() == Client::ALL.len()
    }
}

/// Plays everything; an error if a cell does not pass and the plain stream would have played.
pub(crate) fn run(args: &Args) -> Result<()> {
    let selection = Selection::new(args)?;
    ensure!(!selection.streams.is_empty() && !selection.clients.is_empty(), "nothing to play");
    suite::provide(suite::PROGRAMS, args.no_install);
    if selection.clients.iter().any(|it| matches!(it, Client::Vlc | Client::Gstreamer)) {
        suite::provide(PLAYERS, args.no_install);
    }
    let programs = programs(args)?;
    let folder = Folder::create("conformance", args.keep.as_deref())?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::new()?;
        tokio::select! {
            played = play(args, &selection, &programs, folder.path()) => played,
            () = signals.next() => bail!("interrupted"),
        }
    })
}

fn programs(args: &Args) -> Result<Programs> {
    let folder = if let Some(folder) = &args.bin_dir {
        web::install_packages(&web::folder())?;
        std::path::absolute(folder)?
    } else {
        web::run(web::Args::default())?;
        let packages = ["build", "--package", "shoal-server", "--package", "shoal-agent"];
        shell::run(&mut shell::cargo(&packages))?;
        shell::build_folder("debug")
    };
    let programs =
        Programs { server: folder.join("shoal-server"), agent: folder.join("shoal-agent") };
    for path in [&programs.server, &programs.agent] {
        ensure!(path.is_file(), "{} does not exist", path.display());
    }
    Ok(programs)
}

async fn play(
    args: &Args,
    selection: &Selection,
    programs: &Programs,
    folder: &Path,
) -> Result<()> {
    let maker = Maker::new(&shell::build_folder("conformance").join("streams"))?;
    let has_pages = selection.clients.iter().any(|client| client.is_page());
    let mut browser = match has_pages {
        true => Some(Browser::start(&web::folder(), folder).await?),
        false => None,
    };
    let versions = versions(&selection.clients, browser.as_ref());
    let around =
        Surroundings { programs, folder, browser: browser.as_ref(), clients: &selection.clients };
    let mut origins = row::Origins::start(&around, &maker, &selection.streams).await?;
    let rows = selection.streams.iter().map(|stream| row::play(&around, &origins, &maker, stream));
    let rows: Vec<_> =
        futures_util::stream::iter(rows).buffered(ROWS_AT_ONCE).try_collect().await?;
    let cells: Vec<_> = rows.into_iter().flatten().collect();
    origins.stop().await;
    if let Some(browser) = &mut browser {
        browser.stop().await;
    }
    let (streams, clients) = (&selection.streams, &selection.clients);
    let report = Report { streams, clients, cells: &cells, versions: &versions };
    finish(args, selection, &report)
}

fn finish(args: &Args, selection: &Selection, report: &Report<'_>) -> Result<()> {
    println!("\n{}", report.markdown());
    if let Some(path) = &args.json {
        std::fs::write(path, format!("{:#}\n", report.json()))?;
    }
    if selection.is_whole() && !args.no_readme {
        let path = shell::workspace_root().join("README.md");
        let text = std::fs::read_to_string(&path)?;
        let text = report::written(&text, &report.markdown());
        std::fs::write(&path, text.context("README.md has no place for the table")?)?;
    }
    let ours = report.cells.iter().filter(|cell| !cell.passes() && cell.plain_failure.is_none());
    let ours: Vec<_> =
        ours.map(|cell| format!("{} in {}", cell.stream, cell.client.title())).collect();
    ensure!(ours.is_empty(), "plays plainly and not through Shoal: {}", ours.join(", "));
    Ok(())
}

/// What each player says of its version.
fn versions(clients: &[Client], browser: Option<&Browser>) -> Vec<(String, String)> {
    let first = |program: &str, flag: &str, nth: usize| {
        let said = shell::capture(std::process::Command::new(program).arg(flag));
        let said = said.unwrap_or_default();
        said.split_ascii_whitespace().nth(nth).unwrap_or("unknown").to_owned()
    };
    let page = |name: &str| {
        let version = browser.and_then(|browser| browser.versions[name].as_str());
        version.unwrap_or("unknown").to_owned()
    };
    let mut versions: Vec<(String, String)> = clients
        .iter()
        .map(|client| {
            let version = match client {
                Client::Ffmpeg => first("ffmpeg", "-version", 2),
                Client::Mpv => first("mpv", "--version", 1),
                Client::Vlc => clients::vlc_version(),
                Client::Gstreamer => first("gst-launch-1.0", "--version", 2),
                Client::HlsJs => page("hlsjs"),
                Client::Shaka => page("shaka"),
            };
            (client.title().to_owned(), version)
        })
        .collect();
    if browser.is_some() {
        versions.push(("Chromium".to_owned(), page("chromium")));
    }
    versions
}
