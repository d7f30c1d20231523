//! The command line.
//!
//! Rule: a value that cannot work is refused here, with a sentence that says how to write it.

use clap::{Args, Parser, Subcommand, ValueEnum};
use shoal_agent::{Rate, Site, Token, parse_url};
use shoal_wire::ShareMode;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use url::Url;

const EXAMPLES: &str = "\
Examples:
  Watch a stream in mpv, taking most of it from other viewers:
    shoal-agent play http://media.example:8080/live/cam/index.m3u8
  In another player, with arguments of its own:
    shoal-agent play --player ffplay URL -- -fs
  Serve any players on this machine:
    shoal-agent run --origin http://media.example:8080
    vlc http://127.0.0.1:8090/http/media.example:8080/live/cam/index.m3u8
  Give at most 5 Mbit/s to other viewers, or nothing:
    shoal-agent run --origin … --upload-max 5mbit
    shoal-agent run --origin … --share receive-only

Logs go to standard error; SHOAL_LOG=shoal_agent=debug shows more.";

/// Version and commit.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("SHOAL_COMMIT"), ")");

/// Watch live HLS with any player, and take most of it from other viewers.
#[derive(Debug, Parser)]
#[command(name = "shoal-agent", version = VERSION, about, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve players on this machine until it is stopped.
    Run(Run),
    /// Play one URL: start the proxy and a player, and end with the player.
    Play(Play),
    /// Print what makes a shell complete this command, to be put where the shell looks for it.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, as man reads it.
    Man,
}

/// `shoal-agent run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// An origin whose streams are served, such as http://HOST:PORT; may be repeated. Requests for
    /// anything else are refused.
    #[arg(
        long,
        required = true,
        value_name = "URL",
        env = "SHOAL_AGENT_ORIGIN",
        value_delimiter = ','
    )]
    pub(crate) origin: Vec<Site>,
    /// Where players connect; a loopback address. Port 0 is any free one.
    #[arg(
        long,
        default_value = "127.0.0.1:8090",
        value_name = "ADDRESS",
        env = "SHOAL_AGENT_LISTEN"
    )]
    pub(crate) listen: SocketAddr,
    /// Write {"listen": "ADDRESS"} to this file once players can connect.
    #[arg(long, value_name = "FILE")]
    pub(crate) ports_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// `shoal-agent play`.
#[derive(Debug, Args)]
pub(crate) struct Play {
    /// The stream's playlist, as a player would get it from the origin.
    #[arg(value_parser = parse_url)]
    pub(crate) url: Url,
    /// The player: a program that takes a URL as its last argument.
    #[arg(long, default_value = "mpv", value_name = "PROGRAM", env = "SHOAL_AGENT_PLAYER")]
    pub(crate) player: OsString,
    /// A further origin that the playlist leads to, besides the URL's own; may be repeated.
    #[arg(long, value_name = "URL")]
    pub(crate) origin: Vec<Site>,
    /// Arguments for the player, before the URL.
    #[arg(last = true, value_name = "PLAYER ARGUMENTS")]
    pub(crate) args: Vec<OsString>,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// What both have.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// What other viewers may get from this machine.
    #[arg(long, value_enum, default_value_t, env = "SHOAL_AGENT_SHARE")]
    pub(crate) share: Sharing,
    /// Most upload to other viewers, such as 5mbit or 800kbit; without it, what the line has room
    /// for.
    #[arg(long, value_name = "RATE", env = "SHOAL_AGENT_UPLOAD_MAX")]
    pub(crate) upload_max: Option<Rate>,
    /// The token that lets this viewer in, where the operator asks for one and the playlist's URL
    /// does not carry it.
    #[arg(long, value_name = "TOKEN", env = "SHOAL_AGENT_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// A file with that token, which is read again: for tokens that somebody renews.
    #[arg(long, value_name = "FILE", env = "SHOAL_AGENT_TOKEN_FILE", conflicts_with = "token")]
    pub(crate) token_file: Option<PathBuf>,
    /// Flip bytes in every N-th chunk message to other viewers, to see how they take it.
    #[cfg(feature = "fault-injection")]
    #[arg(long, value_name = "N")]
    corrupt_every: Option<NonZeroU32>,
}

impl Common {
    pub(crate) fn token(&self) -> Option<Token> {
        let file = || self.token_file.clone().map(Token::File);
        self.token.clone().map(Token::Given).or_else(file)
    }

    #[cfg(feature = "fault-injection")]
    pub(crate) const fn corrupt_every(&self) -> Option<NonZeroU32> {
        self.corrupt_every
    }

    #[cfg(not(feature = "fault-injection"))]
    pub(crate) const fn corrupt_every(&self) -> Option<NonZeroU32> {
        None
    }
}

/// See [`ShareMode`].
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum Sharing {
    /// Take from other viewers and give to them.
    #[default]
    Share,
    /// Take, but give nothing: for metered lines.
    ReceiveOnly,
    /// No other viewers at all: plain HTTP.
    Off,
}

impl From<Sharing> for ShareMode {
    fn from(share: Sharing) -> Self {
        match share {
            Sharing::Share => Self::Share,
            Sharing::ReceiveOnly => Self::ReceiveOnly,
            Sharing::Off => Self::Off,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn error(args: &[&str]) -> String {
        Cli::try_parse_from([&["shoal-agent"], args].concat()).unwrap_err().to_string()
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_players_get_follows_the_dashes() {
        let url = "http://h/live/a/index.m3u8";
        let cli = Cli::parse_from([
            "shoal-agent",
            "play",
            url,
            "--upload-max",
            "2mbit",
            "--",
            "-fs",
            "--x",
        ]);
        let Command::Play(play) = cli.command else { panic!("play was asked for") };
        assert_eq!(play.args, ["-fs", "--x"]);
        assert_eq!(play.player, "mpv");
        assert_eq!(play.common.upload_max.unwrap().0.as_bps(), 2_000_000);
    }

    #[test]
    fn errors_say_what_to_change() {
        for (args, part) in [
            (&["play", "ftp://h/x"][..], "neither http nor https"),
            (&["play", "index.m3u8"], "is no URL"),
            (&["run"], "--origin"),
            (&["run", "--origin", "http://h", "--upload-max", "5"], "5mbit"),
            (&["run", "--origin", "http://h", "--share", "never"], "receive-only"),
            (&["run", "--origin", "http://h", "--listen", "8090"], "--listen"),
            (&["run", "--orgin", "http://h"], "--origin"),
        ] {
            let error = error(args);
            assert!(error.contains(part), "{error}");
        }
    }
}
