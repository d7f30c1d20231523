//! One viewer: agent, recorder and player, and the player's twin on the origin without us.
//!
//! Rule: the agent is a process of its own that runs idle until the player starts. All that is known
//! of the viewer comes from outside of the agent's word where it matters: delivered bytes from the
//! recorder, start-up and stalls from the player, processor time from the kernel.

use super::args::PlayerKind;
use super::build::Programs;
use super::lock;
use super::origin::wait_for_ports;
use super::player::{Player, Setup};
use super::process::{Launch, Process, Usage};
use super::reference::{Delivery, Reference};
use super::timeline::Timeline;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::task::JoinHandle;

const START_LIMIT: Duration = Duration::from_secs(30);

/// How the viewers of one demo are started.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings<'a> {
    /// Programs.
    pub(crate) programs: &'a Programs,
    /// Folder for logs.
    pub(crate) folder: &'a Path,
    /// `HOST:PORT` of the origin's public listener.
    pub(crate) origin: String,
    /// Playlist of the stream on the mirror listener.
    pub(crate) mirror_url: String,
    /// The viewer's page on the origin.
    pub(crate) page_url: String,
    /// Path of each viewer's playlist on the origin, or of all viewers'.
    pub(crate) playlist_paths: Vec<String>,
    /// Which player.
    pub(crate) player: PlayerKind,
    /// Whether it decodes video.
    pub(crate) shows_video: bool,
    /// Whether the stream has an end that players come to.
    pub(crate) is_title: bool,
    /// Whether each player has a twin.
    pub(crate) has_twins: bool,
    /// The stream's time line.
    pub(crate) timeline: Arc<Mutex<Timeline>>,
    /// What deliveries are compared with.
    pub(crate) reference: Arc<Mutex<Reference>>,
}

impl Surroundings<'_> {
    /// Path of the playlist that viewer `index` asks for.
    fn playlist_path(&self, index: u8) -> &str {
        let own = self.playlist_paths.get(usize::from(index)).or(self.playlist_paths.first());
        own.map_or("", String::as_str)
    }
}

/// What the recorder said so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Media bytes that the player received.
    pub(crate) media_bytes: u64,
    /// Other bytes that it received.
    pub(crate) other_bytes: u64,
    /// The agent's last status.
    pub(crate) agent: Value,
}

/// One viewer.
#[derive(Debug)]
pub(crate) struct Viewer {
    /// Its number, from 0 in the order of joining.
    pub(crate) index: u8,
    netns: Option<String>,
    agent: Process,
    agent_address: String,
    recorder_address: String,
    _recorder: Process,
    _recorder_input: Option<ChildStdin>,
    listener: JoinHandle<()>,
    seen: Arc<Mutex<Seen>>,
    first_msn: Arc<Mutex<Option<u64>>>,
    player: Option<Player>,
    twin: Option<Player>,
    idle_usage: Option<Usage>,
    last_usage: Option<Usage>,
    is_killed: bool,
}

impl Viewer {
    /// Starts agent and recorder.
    pub(crate) async fn start(
        index: u8,
        netns: Option<String>,
        flags: &[String],
        around: &Surroundings<'_>,
    ) -> Result<Self> {
        let (agent, agent_address) = start_agent(index, netns.as_deref(), flags, around).await?;
        let mut recorder = start_recorder(index, netns.as_deref(), &agent_address, around)?;
        let recorder_input = recorder.take_stdin();
        let output = recorder.take_stdout().context("the recorder has no standard output")?;
        let mut lines = BufReader::new(output).lines();
        let recorder_address = read_address(&mut lines).await?;
        let seen = Arc::default();
        let first_msn = Arc::default();
        let listener = tokio::spawn(listen(
            lines,
            Arc::clone(&seen),
            Arc::clone(&first_msn),
            Arc::clone(&around.reference),
        ));
        Ok(Self {
            index,
            netns,
            agent,
            agent_address,
            recorder_address,
            _recorder: recorder,
            _recorder_input: recorder_input,
            listener,
            seen,
            first_msn,
            player: None,
            twin: None,
            idle_usage: None,
            last_usage: None,
            is_killed: false,
        })
    }

    /// The stream's URL at the agent itself, for a player that is not ours.
    pub(crate) fn player_url(&self, around: &Surroundings<'_>) -> String {
        let path = around.playlist_path(self.index);
        format!("http://{}/http/{}{path}", self.agent_address, around.origin)
    }

    /// Starts the player, and its twin at the same instant.
    pub(crate) fn join(&mut self, around: &Surroundings<'_>) -> Result<()> {
        self.idle_usage = self.agent.usage();
        let path = around.playlist_path(self.index);
        let url = format!("http://{}/http/{}{path}", self.recorder_address, around.origin);
        let first_msn = Arc::clone(&self.first_msn);
        let setup = self.player_setup("player", url, first_msn, around);
        let twin_setup =
            self.player_setup("twin", around.mirror_url.clone(), Arc::default(), around);
        // Whoever is started first has a millisecond's advantage; they take turns.
        let (player, twin) = if !around.has_twins {
            (Player::start(&setup)?, None)
        } else if self.index.is_multiple_of(2) {
            let player = Player::start(&setup)?;
            (player, Some(Player::start(&twin_setup)?))
        } else {
            let twin = Player::start(&twin_setup)?;
            (Player::start(&setup)?, Some(twin))
        };
        (self.player, self.twin) = (Some(player), twin);
        Ok(())
    }

    fn player_setup<'a>(
        &'a self,
        role: &str,
        url: String,
        first_msn: Arc<Mutex<Option<u64>>>,
        around: &Surroundings<'a>,
    ) -> Setup<'a> {
        Setup {
            kind: around.player,
            name: format!("{role}-{}", self.index),
            url,
            netns: self.netns.as_deref(),
            folder: around.folder,
            shows_video: around.shows_video,
            is_title: around.is_title,
            timeline: Arc::clone(&around.timeline),
            first_msn,
        }
    }

    /// Lets the player and its twin go on at that second of the stream.
    pub(crate) async fn seek(&self, second: f64) {
        for player in self.player.iter().chain(&self.twin) {
            player.seek(second).await;
        }
    }

    /// kill -9 of agent and player.
    pub(crate) async fn kill(&mut self) {
        self.sample_usage();
        self.is_killed = true;
        self.end_player().await;
        self.agent.kill().await;
    }

    /// Closes the records of player and twin and ends them.
    pub(crate) async fn end_player(&mut self) {
        for player in self.player.iter_mut().chain(&mut self.twin) {
            player.kill().await;
        }
    }

    /// Asks the agent to end; says whether it did by itself.
    pub(crate) async fn stop_agent(&mut self) -> bool {
        self.is_killed || self.agent.stop(Duration::from_secs(3)).await
    }

    /// An error if the agent ended without being told to.
    pub(crate) fn check_running(&mut self) -> Result<()> {
        if self.is_killed { Ok(()) } else { self.agent.check_running() }
    }

    /// Notes the agent's processor time and memory.
    pub(crate) fn sample_usage(&mut self) {
        self.last_usage = self.agent.usage().or(self.last_usage);
    }

    /// The agent's processor seconds since its player started, and its memory.
    pub(crate) fn usage(&self) -> Option<Usage> {
        let (idle, last) = (self.idle_usage?, self.last_usage?);
        Some(Usage { cpu_s: last.cpu_s - idle.cpu_s, rss_bytes: last.rss_bytes })
    }

    /// Whether it was killed by the demo.
    pub(crate) fn is_killed(&self) -> bool {
        self.is_killed
    }

    /// The player, once it has joined.
    pub(crate) fn player(&self) -> Option<&Player> {
        self.player.as_ref()
    }

    /// Its twin.
    pub(crate) fn twin(&self) -> Option<&Player> {
        self.twin.as_ref()
    }

    /// What the recorder said so far.
    pub(crate) fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Seen {
    /// One of the agent's totals, summed over its streams.
    pub(crate) fn total(&self, name: &str) -> u64 {
        self.streams().filter_map(|stream| stream["totals"][name].as_u64()).sum()
    }

    /// Neighbours of the agent.
    pub(crate) fn neighbours(&self) -> usize {
        self.links().count()
    }

    /// Media that the agent holds ahead of its player, ms.
    pub(crate) fn buffer_ms(&self) -> Option<u64> {
        self.streams().filter_map(|stream| stream["buffer_ms"].as_u64()).max()
    }

    /// Why the agent asked the origin for what peers should have brought, with counts.
    pub(crate) fn fallback_reasons(&self) -> Value {
        let mut reasons = self.streams().map(|stream| stream["fallback_reasons"].clone());
        reasons.next().unwrap_or(Value::Null)
    }

    /// The agent's name in the swarm.
    pub(crate) fn peer(&self) -> Option<&str> {
        self.streams().find_map(|stream| stream["peer"].as_str())
    }

    /// Its open links, with the bytes of each.
    pub(crate) fn links(&self) -> impl Iterator<Item = &Value> {
        self.streams().filter_map(|stream| stream["neighbours"].as_array()).flatten()
    }

    fn streams(&self) -> impl Iterator<Item = &Value> {
        self.agent["streams"].as_array().into_iter().flatten()
    }
}

async fn start_agent(
    index: u8,
    netns: Option<&str>,
    flags: &[String],
    around: &Surroundings<'_>,
) -> Result<(Process, String)> {
    let ports_file = around.folder.join(format!("agent-{index}-ports.json"));
    let mut agent = Launch::new(&format!("agent-{index}"), &around.programs.agent, around.folder)
        .within(netns)
        .args(["run", "--origin", &format!("http://{}", around.origin)])
        .args(["--listen", "127.0.0.1:0", "--ports-file", &ports_file.display().to_string()])
        .args(flags.iter().cloned())
        .spawn()?;
    let ports = wait_for_ports(&mut agent, &ports_file, START_LIMIT).await?;
    let address = ports["listen"].as_str().context("the agent's ports file lacks `listen`")?;
    Ok((agent, address.to_owned()))
}

fn start_recorder(
    index: u8,
    netns: Option<&str>,
    agent_address: &str,
    around: &Surroundings<'_>,
) -> Result<Process> {
    let program = std::env::current_exe().context("where is this program?")?;
    Launch::new(&format!("recorder-{index}"), program, around.folder)
        .within(netns)
        .args(["recorder", "--upstream", agent_address])
        .piped()
        .spawn()
}

async fn read_address(lines: &mut Lines<BufReader<ChildStdout>>) -> Result<String> {
    let line = tokio::time::timeout(START_LIMIT, lines.next_line()).await??;
    let line: Value = serde_json::from_str(&line.context("the recorder ended at once")?)?;
    match line["listen"].as_str() {
        Some(address) => Ok(address.to_owned()),
        None => bail!("the recorder said {line} first"),
    }
}

async fn listen(
    mut lines: Lines<BufReader<ChildStdout>>,
    seen: Arc<Mutex<Seen>>,
    first_msn: Arc<Mutex<Option<u64>>>,
    reference: Arc<Mutex<Reference>>,
) {
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(line) = serde_json::from_str::<Value>(&line) else { continue };
        if line["type"] == "tally" {
            let mut seen = lock(&seen);
            seen.media_bytes = line["media_bytes"].as_u64().unwrap_or(seen.media_bytes);
            seen.other_bytes = line["other_bytes"].as_u64().unwrap_or(seen.other_bytes);
        } else if line["type"] == "agent" {
            // An agent whose player is gone leaves the stream, and its totals with it.
            let status = &line["status"];
            let mut seen = lock(&seen);
            if seen.streams().next().is_none() || status["streams"][0].is_object() {
                seen.agent = status.clone();
            }
        } else if let Some(delivery) = Delivery::read(&line) {
            lock(&first_msn).get_or_insert(delivery.key.msn);
            lock(&reference).add_delivery(delivery);
        }
    }
}
