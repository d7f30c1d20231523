//! One row: a stream is made available, a viewer takes all of it, then every player plays it.
//!
//! Rule: all players of a row play at once, each behind an agent of its own: as viewers do.

use super::cell::{Cell, Place};
use super::clients::browser::Browser;
use super::clients::{Client, Goal};
use super::encode::{self, Encoder};
use super::make::{self, Maker};
use super::plain::PlainServer;
use super::stage::{Agent, INGEST_KEY, Programs, Seed, Server};
use super::streams::{Live, Source, Stream};
use super::url::escape;
use anyhow::Result;
use futures_util::future::join_all;
use std::path::Path;
use std::time::Instant;

/// Seconds that a live stream is played.
const LIVE_S: f64 = 30.0;
/// A player that takes longer for a recording stands still.
const LIMIT_S: f64 = 60.0;
/// The same for a live stream.
const LIVE_LIMIT_S: f64 = 75.0;
/// What a player's last word of its position may lack, beside a segment: VLC says whole seconds.
const SLACK_S: f64 = 1.0;
/// Segments of a live stream that are there before players begin.
const LIVE_READY: usize = 5;

/// What all rows have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Surroundings<'a> {
    /// Programs.
    pub(crate) programs: &'a Programs,
    /// Folder for logs.
    pub(crate) folder: &'a Path,
    /// Chromium, if pages are to play.
    pub(crate) browser: Option<&'a Browser>,
    /// Columns.
    pub(crate) clients: &'a [Client],
}

/// The servers: one for most, one for each length of DVR window; and the files without us.
#[derive(Debug)]
pub(crate) struct Origins {
    common: Server,
    dvr: Option<Server>,
    event: Option<Server>,
    plain: PlainServer,
}

impl Origins {
    /// Makes the streams' files and starts what serves them.
    pub(crate) async fn start(
        around: &Surroundings<'_>,
        maker: &Maker,
        streams: &[&Stream],
    ) -> Result<Self> {
        let mut common = vec!["--vod".to_owned(), maker.recordings().display().to_string()];
        let accepts = |name: &str| ["--stream".to_owned(), format!("{name}={INGEST_KEY}")];
        let (mut dvr, mut event) = (None, None);
        for stream in streams {
            match stream.source {
                Source::Recording(recipe) => {
                    maker.make(&maker.recordings().join(stream.name), recipe)?;
                }
                Source::Pushed(recipe, _) => {
                    maker.make(&maker.pushed().join(stream.name), recipe)?;
                    common.extend(accepts(stream.name));
                }
                Source::Live(Live::Window | Live::Restart) => common.extend(accepts(stream.name)),
                Source::Live(Live::Dvr) => dvr = Some(accepts(stream.name)),
                Source::Live(Live::Event) => event = Some(accepts(stream.name)),
            }
        }
        let start = async |name: &str, window: &str, accepts: Option<[String; 2]>| {
            let Some(accepts) = accepts else { return Ok(None) };
            let flags = ["--dvr-window".to_owned(), window.to_owned()];
            let flags = [&flags[..], &accepts].concat();
            Server::start(around.programs, around.folder, name, &flags).await.map(Some)
        };
        let plain = PlainServer::start(
            maker.recordings().parent().map_or_else(|| maker.recordings(), Path::to_owned),
        );
        Ok(Self {
            common: Server::start(around.programs, around.folder, "server", &common).await?,
            dvr: start("server-dvr", "40s", dvr).await?,
            event: start("server-event", "unlimited", event).await?,
            plain: plain.await?,
        })
    }

    fn server(&self, stream: &Stream) -> &Server {
        let special = match stream.source {
            Source::Live(Live::Dvr) => self.dvr.as_ref(),
            Source::Live(Live::Event) => self.event.as_ref(),
            Source::Live(Live::Window | Live::Restart)
            | Source::Recording(_)
            | Source::Pushed(..) => None,
        };
        special.unwrap_or(&self.common)
    }

    /// Ends them.
    pub(crate) async fn stop(&mut self) {
        self.common.stop().await;
        for server in [&mut self.dvr, &mut self.event].into_iter().flatten() {
            server.stop().await;
        }
    }
}

/// Plays one stream in all players.
pub(crate) async fn play(
    around: &Surroundings<'_>,
    origins: &Origins,
    maker: &Maker,
    stream: &'static Stream,
) -> Result<Vec<Cell>> {
    let plain_address = origins.plain.address().to_owned();
    let server = origins.server(stream);
    let address = server.address.clone();
    let entry = escape(stream.entry);
    let face = if matches!(stream.source, Source::Recording(_)) { "vod" } else { "live" };
    let path = format!("/{face}/{}/{entry}", stream.name);
    let url = format!("http://{address}{path}");
    let mut plain_url = url.clone();
    let (begin, begins) = tokio::sync::oneshot::channel();
    let mut encoder = None;
    let mut served;
    let mut goal = Goal { is_live: true, media_s: LIVE_S, limit_s: LIVE_LIMIT_S };
    match stream.source {
        Source::Recording(_) => {
            goal = recorded(&maker.recordings().join(stream.name).join(stream.entry))?;
            plain_url = format!("http://{plain_address}/vod/{}/{entry}", stream.name);
            served = server.wait_for(&url, 1).await;
        }
        Source::Pushed(_, upload) => {
            let folder = maker.pushed().join(stream.name);
            goal = recorded(&folder.join(stream.entry))?;
            plain_url = format!("http://{plain_address}/pushed/{}/{entry}", stream.name);
            served = encode::push_files(&folder, &address, stream.name, upload).await;
            if served.is_ok() {
                served = server.wait_for(&url, 1).await;
            }
        }
        Source::Live(live) => {
            let started = Encoder::start(around.folder, &address, stream.name, live, begins);
            encoder = Some(started?);
            served = server.wait_for(&url, LIVE_READY).await;
        }
    }
    let mut seed = None;
    if served.is_ok() {
        let name = format!("{}-seed", stream.name);
        let agent = Agent::start(around.programs, around.folder, &name, &address).await?;
        match Seed::start(agent, &path).await {
            Ok(started) => seed = Some(started),
            Err(error) => served = Err(error.context("a viewer that fetches all of it fails")),
        }
    }
    // Only an encoder that is to be killed listens.
    let _ = begin.send(());
    let place = Place {
        programs: around.programs,
        folder: around.folder,
        browser: around.browser,
        stream: stream.name,
        origin: &address,
        path: &path,
        plain_url: &plain_url,
        goal,
        refusal: served.err().map(|error| format!("{error:#}")),
    };
    let playing = around.clients.iter().map(|&client| play_cell(&place, client));
    let cells = join_all(playing).await;
    if let Some(seed) = &mut seed {
        seed.stop().await;
    }
    drop(encoder);
    Ok(cells)
}

/// What it means to have played a recording: all but one segment of it, as far as players tell.
fn recorded(playlist: &Path) -> Result<Goal> {
    let (media_s, longest_s) = make::length(playlist)?;
    let media_s = media_s - (longest_s + SLACK_S).min(media_s / 2.0);
    Ok(Goal { is_live: false, media_s, limit_s: LIMIT_S })
}

async fn play_cell(place: &Place<'_>, client: Client) -> Cell {
    let begun = Instant::now();
    let cell = place.play(client).await;
    let bytes = cell.sources.peers + cell.sources.origin;
    eprintln!(
        "{:<16}{:<11}{} {:>5.1} s, played {:>5.1} s, {} bodies right, {} wrong, {:.0} % from a \
         viewer{}",
        cell.stream,
        client.name(),
        if cell.passes() { "ok  " } else { "FAIL" },
        begun.elapsed().as_secs_f64(),
        cell.played_s,
        cell.comparison.same,
        cell.comparison.different.len(),
        100.0 * cell.sources.peers as f64 / bytes.max(1) as f64,
        failure(&cell)
    );
    cell
}

fn failure(cell: &Cell) -> String {
    let Some(failure) = &cell.failure else { return String::new() };
    let plain = cell.plain_failure.as_deref().unwrap_or("plays");
    format!("\n    {failure}\n    plain: {plain}")
}
