//! Sessions with the tracker, without media: how many a second, how soon a plan, how much memory.
//!
//! Rule: the server's memory is read when nobody joins, and the cost of one viewer is the slope over
//! several levels, so that what a server has anyway does not count.

mod crowd;
mod run;
mod shown;
mod tally;
mod viewer;
mod yardstick;

use crate::cli::{Common, positive};
use crate::outcome::{Known, Outcome};
use crate::server::ServerArgs;
use anyhow::{Context, Result};
use clap::Args;

/// The figures of this mode.
pub(crate) const KNOWN: Known = Known(&[
    ("viewers", "sessions at the end"),
    ("server_bytes_per_viewer", "growth of the server's resident memory over the levels"),
    (
        "first_plan_p99_ms",
        "from the moment a viewer was due until its first assignment, all levels",
    ),
    ("joins_per_second", "viewers that came and were planned, per second of joining"),
    ("replans_per_second", "plans sent per second while viewers are replaced"),
    ("first_plan_p50_ms", "median of the same"),
    ("first_plan_max_ms", "the longest of them"),
    ("welcome_p99_ms", "until the welcome"),
    ("replaced_first_plan_p99_ms", "until the first assignment, while viewers are replaced"),
    ("server_rss_mib", "resident memory at the end"),
    ("server_bytes_per_viewer_whole", "the same with what the first level made it allocate"),
    ("server_cores_joining", "processor time per second while viewers join"),
    ("server_cores_steady", "the same while nobody comes or goes"),
    ("messages_per_server_cpu_s", "viewers' messages while nobody comes or goes, per CPU second"),
    ("failed_viewers", "viewers that were not welcomed, or that the server sent away"),
    ("yardstick_bytes_per_peer", "bittorrent-tracker: the same slope for idle peers"),
    ("yardstick_announces_per_cpu_s", "bittorrent-tracker: announces per CPU second"),
]);

/// What can be set.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Viewers at the end
    #[arg(long, value_name = "N", default_value_t = 10_000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    viewers: u32,
    /// Viewers that come per second
    #[arg(long, value_name = "N", default_value_t = 500.0, value_parser = positive)]
    joins: f64,
    /// Levels, evenly spaced, at which memory is read
    #[arg(long, value_name = "N", default_value_t = 4,
          value_parser = clap::value_parser!(u32).range(1..=50))]
    levels: u32,
    /// How long nobody comes or goes at each level, s
    #[arg(long, value_name = "S", default_value_t = 10.0, value_parser = positive)]
    settle: f64,
    /// Viewers per second that leave and are replaced at the last level
    #[arg(long, value_name = "N", default_value_t = 100.0, value_parser = positive)]
    replaced: f64,
    /// How long, s
    #[arg(long, value_name = "S", default_value_t = 20.0, value_parser = positive)]
    replacing: f64,
    /// Through memory instead of sockets, server and viewers in one process on one core
    #[arg(long, conflicts_with_all = ["server", "server_bin", "server_arg"])]
    in_memory: bool,
    /// The scenario whose rate, segments and uploads are used (see `shoal-sim list`)
    #[arg(long, value_name = "NAME|FILE", default_value = "steady")]
    scenario: String,
    /// Change a setting of it; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Beside it, idle peers on bittorrent-tracker (npm; installed from loadtest/yardstick)
    #[arg(long)]
    yardstick: bool,
    /// How many of those
    #[arg(long, value_name = "N", default_value_t = 5_000,
          value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    yardstick_peers: u32,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Puts the load on.
///
/// # Errors
/// If the scenario is wrong, the server is not there or the viewers cannot join.
pub(crate) fn run(arguments: &Arguments) -> Result<Outcome> {
    let mut runtime = if arguments.in_memory {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    let runtime = runtime.enable_all().build().context("no threads")?;
    runtime.block_on(async {
        let mut outcome = run::run(arguments).await?;
        if arguments.yardstick {
            yardstick::add(arguments.yardstick_peers, &mut outcome).await?;
        }
        Ok(outcome)
    })
}
