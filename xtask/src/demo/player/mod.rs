//! The players: real HLS clients, started as processes and listened to.
//!
//! Rule: what counts is what the player says of itself. Each kind turns its own signals into
//! start-up, waiting and positions of one [`Playback`].

mod ffmpeg;
mod mpv;
pub(crate) mod reader;

use super::args::PlayerKind;
use super::clock;
use super::lock;
use super::playback::Playback;
use super::process::{Launch, Process};
use super::timeline::{Place, Position, Timeline};
use crate::shell;
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::task::JoinHandle;

/// What to start.
#[derive(Clone, Debug)]
pub(crate) struct Setup<'a> {
    /// Which player.
    pub(crate) kind: PlayerKind,
    /// Its name in messages and files.
    pub(crate) name: String,
    /// What it plays.
    pub(crate) url: String,
    /// Network namespace.
    pub(crate) netns: Option<&'a str>,
    /// Folder for its log and socket.
    pub(crate) folder: &'a Path,
    /// Whether it decodes video.
    pub(crate) shows_video: bool,
    /// Whether the stream has an end that it comes to.
    pub(crate) is_title: bool,
    /// The stream's time line.
    pub(crate) timeline: Arc<Mutex<Timeline>>,
    /// First segment that it received, where something knows that.
    pub(crate) first_msn: Arc<Mutex<Option<u64>>>,
}

/// A running player.
#[derive(Debug)]
pub(crate) struct Player {
    process: Process,
    listener: JoinHandle<()>,
    record: Record,
    /// Where mpv listens.
    socket: PathBuf,
}

impl Player {
    /// Starts it.
    pub(crate) fn start(setup: &Setup<'_>) -> Result<Self> {
        let record = Record {
            playback: Arc::default(),
            timeline: Arc::clone(&setup.timeline),
            first_msn: Arc::clone(&setup.first_msn),
        };
        lock(&record.playback).start(clock::unix_s());
        let (process, listener) = match setup.kind {
            PlayerKind::Mpv => mpv::start(setup, record.clone())?,
            PlayerKind::Ffmpeg => ffmpeg::start(setup, record.clone())?,
            PlayerKind::Reader => reader::start(setup, record.clone())?,
        };
        Ok(Self { process, listener, record, socket: mpv::socket(setup) })
    }

    /// Its record.
    pub(crate) fn playback(&self) -> MutexGuard<'_, Playback> {
        lock(&self.record.playback)
    }

    /// Lets it go on at that second of the stream; only mpv can.
    pub(crate) async fn seek(&self, second: f64) {
        self.playback().seek(clock::unix_s());
        // One that does not listen any more has not answered, which is what counts.
        let _ = mpv::seek(&self.socket, second).await;
    }

    /// Closes the record, then kills the player.
    pub(crate) async fn kill(&mut self) {
        self.playback().end(true, clock::unix_s());
        self.process.kill().await;
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// The best player that this machine has.
pub(crate) fn best_installed() -> PlayerKind {
    if shell::is_installed("mpv") {
        PlayerKind::Mpv
    } else if shell::is_installed("ffmpeg") {
        PlayerKind::Ffmpeg
    } else {
        PlayerKind::Reader
    }
}

/// Where a listener writes down what its player says.
#[derive(Clone, Debug)]
struct Record {
    playback: Arc<Mutex<Playback>>,
    timeline: Arc<Mutex<Timeline>>,
    first_msn: Arc<Mutex<Option<u64>>>,
}

impl Record {
    fn first_frame(&self) {
        lock(&self.playback).first_frame(clock::unix_s());
    }

    fn clocks_restarted(&self) {
        lock(&self.playback).clocks_restarted(clock::unix_s());
    }

    fn waiting(&self, waits: bool) {
        lock(&self.playback).waiting(waits, clock::unix_s());
    }

    fn position(&self, position: Position) {
        let now_s = clock::unix_s();
        let place = lock(&self.timeline).locate(position, now_s);
        if let Some(place) = place {
            lock(&self.playback).position(place, now_s);
        }
    }

    /// The player has shown that many seconds since its first segment.
    fn since_start(&self, seconds: f64) {
        let first_msn = *lock(&self.first_msn);
        match first_msn {
            Some(msn) => self.position(Position::After { msn, seconds }),
            None => {
                let place = Place { media_s: seconds, date_s: None };
                lock(&self.playback).position(place, clock::unix_s());
            }
        }
    }

    /// The player came to the end of the stream.
    fn finished(&self) {
        lock(&self.playback).end(true, clock::unix_s());
    }

    /// The player's signals ended; it counts against it unless the demo closed the record first.
    fn ended(&self) {
        lock(&self.playback).end(false, clock::unix_s());
    }
}

fn launch(setup: &Setup<'_>, program: &str) -> Launch {
    Launch::new(&setup.name, program, setup.folder).within(setup.netns)
}
