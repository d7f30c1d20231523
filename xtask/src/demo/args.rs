//! The demo's command line: what runs, for how long, and what is done to it.
//!
//! Rule: a combination that cannot be run is refused here, before anything is started.

use super::cdn::Signing;
use anyhow::{Result, bail, ensure};
use std::path::PathBuf;
use std::str::FromStr;

/// A live event on this machine: one server, agents as separate processes, real HLS players.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Viewers: each is an agent of its own with one player.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u8).range(0..=200))]
    pub(crate) viewers: u8,
    /// Viewers that are pages in a headless Chromium, beside the agents.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=40))]
    pub(crate) browsers: u8,
    /// Seconds from the first join to the end; without it the demo runs until Ctrl-C.
    #[arg(long)]
    pub(crate) seconds: Option<u64>,
    /// Push a live ffmpeg encode instead of showing the server's bundled demo channel.
    #[arg(long)]
    pub(crate) ffmpeg: bool,
    /// Stand before nginx, which serves a live ffmpeg encode with a token for each viewer
    /// (secure_link): in the path, or in the query of every segment.
    #[arg(long, value_enum, value_name = "WHERE", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "path")]
    pub(crate) upstream: Option<Signing>,
    /// Show a title of that many seconds on demand in place of a live event; when all viewers have
    /// left, one more comes.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "180")]
    #[arg(value_parser = clap::value_parser!(u64).range(10..=3600))]
    pub(crate) vod: Option<u64>,
    /// Viewers of the title who seek all over it.
    #[arg(long, value_name = "COUNT", default_value_t = 0, requires = "vod")]
    pub(crate) seeks: u8,
    /// Seconds from one join to the next.
    #[arg(long, value_name = "SECONDS", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) stagger: u64,
    /// Push a live encode part by part (low-latency HLS), with a clock burnt into its picture that
    /// says how far players are behind. All viewers are pages: mpv and ffmpeg play whole segments.
    #[arg(long)]
    pub(crate) low_latency: bool,
    /// Duration of a part that --low-latency pushes, in milliseconds.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u16).range(100..=2000))]
    pub(crate) part_ms: u16,
    /// Shape every viewer's uplink, e.g. up=5mbit (network namespaces and tc; needs root).
    #[arg(long, value_name = "up=RATE")]
    pub(crate) shape: Option<Shape>,
    /// Give each viewer a twin: the same player, started at the same instant, on the origin
    /// without us.
    #[arg(long)]
    pub(crate) twins: bool,
    /// Write all figures to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// kill -9 that many agents, those that relay most, and their players, at that second.
    #[arg(long, value_name = "COUNT@SECOND")]
    pub(crate) kill: Option<Kill>,
    /// kill -9 the server at that second and start it again on the same ports and data.
    #[arg(long, value_name = "SECOND")]
    pub(crate) restart_server: Option<u64>,
    /// That many agents (the first to join) flip bytes in every tenth chunk that they relay.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub(crate) corrupt: u8,
    /// Which player reads each agent; by default mpv, or ffmpeg, or a small reader of our own,
    /// whichever is installed.
    #[arg(long, value_enum)]
    pub(crate) player: Option<PlayerKind>,
    /// Whether mpv decodes video (0.05 of a core each); by default on for up to 10 players.
    #[arg(long, value_enum)]
    pub(crate) video: Option<Switch>,
    /// Bit rate of the stream that --ffmpeg pushes, container included.
    #[arg(long, default_value = "2mbit")]
    pub(crate) rate: Rate,
    /// Duration of its segments in seconds.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=10))]
    pub(crate) segment: u8,
    /// Keep data, logs and recordings in this folder (otherwise a temporary one that is removed).
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
    /// Use the programs in this folder instead of building them (release).
    #[arg(long, value_name = "DIR")]
    pub(crate) bin_dir: Option<PathBuf>,
}

/// A player that the demo can start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum PlayerKind {
    /// mpv without picture and sound; its JSON IPC tells what it shows.
    Mpv,
    /// ffmpeg reading at native speed; its progress output tells how far it is.
    Ffmpeg,
    /// A reader of our own, for machines that have neither.
    Reader,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

/// Bits per second, written as `2mbit`, `500kbit` or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Bits per second.
    pub(crate) bps: u64,
}

impl FromStr for Rate {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.to_ascii_lowercase();
        let units = [("gbit", 1e9), ("mbit", 1e6), ("kbit", 1e3), ("bit", 1.0), ("", 1.0)];
        let (number, factor) = units
            .iter()
            .find_map(|(unit, factor)| Some((lower.strip_suffix(unit)?, *factor)))
            .unwrap_or((lower.as_str(), 1.0));
        let bps = number.parse::<f64>().map_err(|_| format!("`{text}` is no rate like 5mbit"))?;
        let bps = (bps * factor).round();
        if !(16_000.0..=100e9).contains(&bps) {
            return Err(format!("`{text}` is not between 16kbit and 100gbit"));
        }
        Ok(Self { bps: bps as u64 })
    }
}

/// What every viewer's access line is held to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// The uplink.
    pub(crate) up: Rate,
}

impl FromStr for Shape {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let rate = text.strip_prefix("up=").ok_or("write it as up=RATE, e.g. up=5mbit")?;
        Ok(Self { up: rate.parse()? })
    }
}

/// How many agents are killed, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kill {
    /// Agents.
    pub(crate) count: u8,
    /// Seconds after the first join.
    pub(crate) second: u64,
}

impl FromStr for Kill {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text
            .split_once('@')
            .and_then(|(count, second)| Some((count.parse().ok()?, second.parse().ok()?)));
        let (count, second) = parsed.ok_or("write it as COUNT@SECOND, e.g. 2@30")?;
        Ok(Self { count, second })
    }
}

impl Args {
    /// With what follows from other flags.
    pub(crate) fn settled(mut self) -> Self {
        if self.low_latency {
            self.browsers = self.total();
            self.viewers = 0;
        }
        self
    }

    /// Refuses what cannot be run or would measure nothing.
    pub(crate) fn validate(&self) -> Result<()> {
        ensure!(self.total() > 0, "there is nobody to watch: raise --viewers or --browsers");
        ensure!(
            self.shape.is_none() || self.browsers == 0,
            "--shape gives each agent a network of its own; pages share one Chromium: leave \
             --browsers out"
        );
        ensure!(
            self.upstream.is_none() || self.browsers == 0,
            "--upstream gives each agent a URL of its own; pages have one: leave --browsers out"
        );
        if self.vod.is_some() {
            let is_live = self.is_encoded() || self.seconds.is_some();
            ensure!(
                !is_live && self.browsers == 0,
                "--vod is no live event, ends with the last viewer's title, and is for agents: \
                 leave --ffmpeg, --upstream, --seconds and --browsers out"
            );
            ensure!(
                usize::from(self.seeks) <= seekers(self.viewers).count(),
                "--seeks takes every other of the viewers at most"
            );
        }
        ensure!(
            !self.low_latency || (self.upstream.is_none() && self.restart_server.is_none()),
            "--low-latency pushes an encode that ends with its server: leave --upstream and \
             --restart-server out"
        );
        ensure!(
            self.corrupt == 0 || self.corrupt < self.total(),
            "--corrupt {} leaves no honest viewer among {}",
            self.corrupt,
            self.viewers
        );
        if let Some(kill) = self.kill {
            ensure!(
                kill.count >= 1 && kill.count <= self.viewers && kill.count < self.total(),
                "--kill takes at least one agent and leaves a viewer"
            );
            self.check_second("--kill", kill.second)?;
        }
        if let Some(second) = self.restart_server {
            self.check_second("--restart-server", second)?;
        }
        Ok(())
    }

    fn check_second(&self, flag: &str, second: u64) -> Result<()> {
        let stagger = self.stagger;
        if second <= self.last_join() {
            bail!(
                "{flag} at second {second} comes before the last of the joins, {stagger} s apart"
            );
        }
        if self.end().is_some_and(|seconds| second >= seconds) {
            bail!("{flag} at second {second} comes after the end of the run");
        }
        Ok(())
    }

    /// Second of the last join, if no page is late.
    fn last_join(&self) -> u64 {
        self.stagger * u64::from(self.total().saturating_sub(1))
    }

    /// Second at which the run ends, if it does by itself.
    pub(crate) fn end(&self) -> Option<u64> {
        self.vod.map(|seconds| self.last_join() + seconds + TITLE_SLACK_S).or(self.seconds)
    }

    /// Whether ffmpeg makes the stream.
    pub(crate) fn is_encoded(&self) -> bool {
        self.ffmpeg || self.low_latency || self.upstream.is_some()
    }

    /// Whether the encoder also writes files, which deliveries can be compared with.
    pub(crate) fn has_files(&self) -> bool {
        self.is_encoded() && !self.low_latency
    }

    /// Viewers of both kinds.
    pub(crate) fn total(&self) -> u8 {
        self.viewers.saturating_add(self.browsers)
    }

    /// Whether players decode video.
    pub(crate) fn shows_video(&self) -> bool {
        let players = usize::from(self.viewers) * if self.twins { 2 } else { 1 };
        match self.video {
            Some(choice) => choice == Switch::On,
            None => players <= 10,
        }
    }
}

/// Start-up and what stalls take of a title's time.
const TITLE_SLACK_S: u64 = 5;

/// The viewers who may seek, by index: the others are there to be followed.
pub(crate) fn seekers(viewers: u8) -> impl Iterator<Item = u8> {
    (0..viewers).skip(1).step_by(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        assert_eq!("5mbit".parse::<Rate>().unwrap().bps, 5_000_000);
        assert_eq!("2.5Mbit".parse::<Rate>().unwrap().bps, 2_500_000);
        assert_eq!("64000".parse::<Rate>().unwrap().bps, 64_000);
        for bad in ["", "fast", "5mb", "-1mbit", "1bit", "NaN"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
        assert_eq!("up=5mbit".parse::<Shape>().unwrap().up.bps, 5_000_000);
        assert!("down=5mbit".parse::<Shape>().is_err());
    }

    #[test]
    fn kills() {
        let kill = "2@30".parse::<Kill>().unwrap();
        assert_eq!((kill.count, kill.second), (2, 30));
        for bad in ["2", "@30", "2@", "a@b"] {
            assert!(bad.parse::<Kill>().is_err(), "{bad}");
        }
    }
}
