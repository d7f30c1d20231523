//! Sets the demo up, to the point where the first player may join.
//!
//! Rule: when it is ready, the stream is live with a few segments, every agent runs idle, and no
//! byte has gone to a viewer. Fields are dropped in their order: users before what they use.

use super::args::{Args, PlayerKind};
use super::browsers::Browsers;
use super::build::Programs;
use super::cdn::Cdn;
use super::encoder::{self, Encoder};
use super::lock;
use super::low_latency;
use super::netns::Network;
use super::nft::Counter;
use super::origin::{Content, Origin};
use super::player;
use super::reference::{self, Reference};
use super::timeline::Timeline;
use super::title;
use super::viewer::{Surroundings, Viewer};
use crate::shell;
use anyhow::{Context, Result, bail, ensure};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Segments listed before the first join: a player starts three from the end.
const SEGMENTS_READY: usize = 4;

/// Everything that runs.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    /// The viewers, in the order of joining.
    pub(crate) viewers: Vec<Viewer>,
    /// Those that are pages.
    pub(crate) browsers: Option<Browsers>,
    /// The live encode.
    pub(crate) encoder: Option<Encoder>,
    /// What viewers are started with.
    pub(crate) around: Surroundings<'a>,
    /// The kernel's count of the origin's bytes.
    pub(crate) counter: Option<Counter>,
    /// The server.
    pub(crate) origin: Origin,
    /// What it stands before.
    pub(crate) cdn: Option<Cdn>,
    follower: Follower,
    _network: Option<Network>,
}

/// The task that follows the stream; ended with its handle.
#[derive(Debug)]
struct Follower(JoinHandle<()>);

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<'a> Stage<'a> {
    /// Starts everything but the players.
    pub(crate) async fn set_up(
        args: &Args,
        programs: &'a Programs,
        folder: &'a Path,
    ) -> Result<Self> {
        let player = choose_player(args)?;
        let shape = args.shape.map(|shape| Network::create(args.viewers, shape.up));
        let network = shape.transpose()?;
        let host = network.as_ref().map_or("127.0.0.1".to_owned(), Network::server_address);
        let cdn = match args.upstream {
            Some(signing) => Some(Cdn::start(&host, signing, folder).await?),
            None => None,
        };
        let content = match &cdn {
            _ if args.vod.is_some() => title::make(args, folder)?,
            Some(cdn) => Content::Upstream(cdn.url()),
            None if args.is_encoded() => Content::Pushed,
            None => Content::DemoChannel,
        };
        let origin = Origin::start(&programs.server, folder, content, &host).await?;
        let port = origin.addresses().public.rsplit(':').next().and_then(|port| port.parse().ok());
        let counter = Counter::create(port.context("the server's address has no port")?);
        if counter.is_none() {
            eprintln!("no independent count of the origin's bytes: that takes root and nft");
        }
        let around = surroundings(args, (programs, folder), &origin, cdn.as_ref(), player)?;
        let encoder =
            args.is_encoded().then(|| start_encoder(args, &origin, folder)).transpose()?;
        let follower = Follower(tokio::spawn(reference::follow(
            followed_url(args, &around.mirror_url),
            args.has_files().then(|| folder.to_owned()),
            Arc::clone(&around.timeline),
            Arc::clone(&around.reference),
        )));
        let viewers = Vec::new();
        let mut stage = Self {
            viewers,
            browsers: None,
            encoder,
            around,
            counter,
            origin,
            cdn,
            follower,
            _network: network,
        };
        stage.wait_for_stream(args).await?;
        stage.start_viewers(args).await?;
        if args.browsers > 0 {
            stage.browsers = Some(Browsers::start(&crate::web::folder(), folder).await?);
        }
        Ok(stage)
    }

    /// Waits until the stream is live.
    async fn wait_for_stream(&mut self, args: &Args) -> Result<()> {
        eprintln!("waiting for the stream's first {SEGMENTS_READY} segments");
        let rounds_max = (u32::from(args.segment) * 10 + 20) * 10;
        for _ in 0..rounds_max {
            self.check_running()?;
            let listed = lock(&self.around.timeline).len();
            if listed >= SEGMENTS_READY {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("the stream does not start; see server.log and encoder.log (with --keep DIR)")
    }

    async fn start_viewers(&mut self, args: &Args) -> Result<()> {
        for index in 0..args.viewers {
            let netns = self._network.as_ref().map(|network| network.viewer(index));
            let is_corrupt = index < args.corrupt;
            let flags: &[&str] = if is_corrupt { &["--corrupt-every", "10"] } else { &[] };
            let flags: Vec<String> = flags.iter().map(|&flag| flag.to_owned()).collect();
            self.viewers.push(Viewer::start(index, netns, &flags, &self.around).await?);
        }
        Ok(())
    }

    /// An error if the server or the encoder ended by itself.
    pub(crate) fn check_running(&mut self) -> Result<()> {
        self.origin.check_running()?;
        self.cdn.as_mut().map_or(Ok(()), Cdn::check_running)?;
        self.browsers.as_mut().map_or(Ok(()), Browsers::check_running)?;
        ensure!(!self.follower.0.is_finished(), "the reference download ended");
        self.encoder.as_mut().map_or(Ok(()), Encoder::check_running)
    }

    /// Ends every process in order; says which had to be killed.
    pub(crate) async fn tear_down(mut self) -> Vec<String> {
        let mut stubborn = Vec::new();
        if let Some(browsers) = &mut self.browsers
            && !browsers.stop().await
        {
            stubborn.push("browsers".to_owned());
        }
        for viewer in &mut self.viewers {
            if !viewer.stop_agent().await {
                stubborn.push(format!("agent-{}", viewer.index));
            }
        }
        if let Some(encoder) = &mut self.encoder {
            encoder.stop().await;
        }
        if !self.origin.stop().await {
            stubborn.push("server".to_owned());
        }
        if let Some(cdn) = &mut self.cdn
            && !cdn.stop().await
        {
            stubborn.push("nginx".to_owned());
        }
        stubborn
    }
}

/// The media playlist whose segments are the event's time line.
fn followed_url(args: &Args, mirror_url: &str) -> String {
    if args.low_latency {
        return mirror_url.replace("index.m3u8", low_latency::PLAYLIST);
    }
    mirror_url.to_owned()
}

fn choose_player(args: &Args) -> Result<PlayerKind> {
    let player = args.player.unwrap_or_else(player::best_installed);
    let program = match player {
        PlayerKind::Mpv => "mpv",
        PlayerKind::Ffmpeg => "ffmpeg",
        PlayerKind::Reader => return Ok(player),
    };
    ensure!(shell::is_installed(program), "--player {program}: {program} is not installed");
    Ok(player)
}

fn surroundings<'a>(
    args: &Args,
    (programs, folder): (&'a Programs, &'a Path),
    origin: &Origin,
    cdn: Option<&Cdn>,
    player: PlayerKind,
) -> Result<Surroundings<'a>> {
    let addresses = origin.addresses();
    let playlist = |index| match cdn {
        Some(cdn) => cdn.playlist(index),
        None => Ok("index.m3u8".to_owned()),
    };
    let path = |index| {
        Ok(origin.stream_url("").trim_start_matches("http://").to_owned() + &playlist(Some(index))?)
    };
    let paths: Result<Vec<String>> = (0..args.viewers.max(1)).map(path).collect();
    Ok(Surroundings {
        programs,
        folder,
        origin: addresses.public.clone(),
        mirror_url: origin.stream_url(&addresses.mirror) + &playlist(None)?,
        page_url: origin.page_url(),
        playlist_paths: paths?,
        player,
        shows_video: args.shows_video(),
        is_title: args.vod.is_some(),
        has_twins: args.twins,
        timeline: Arc::new(Mutex::new(Timeline::default())),
        reference: Arc::new(Mutex::new(Reference::new(args.has_files()))),
    })
}

fn start_encoder(args: &Args, origin: &Origin, folder: &Path) -> Result<Encoder> {
    ensure!(shell::is_installed("ffmpeg"), "ffmpeg is not installed (apt: ffmpeg)");
    let push = match (args.upstream, args.restart_server) {
        (Some(_), _) => encoder::Push::Nobody,
        (None, Some(_)) => encoder::Push::ByUs,
        (None, None) => encoder::Push::ByFfmpeg,
    };
    let plan = encoder::Plan {
        rate_bps: args.rate.bps,
        segment_s: args.segment,
        push_url: origin.push_url(),
        push,
        part_ms: args.low_latency.then_some(args.part_ms),
    };
    Encoder::start(&plan, folder)
}
