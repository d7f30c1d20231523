//! Plain HTTP at rising rates: how many segments and playlists a second, how fast, until when.
//!
//! Rule: open loop. A request's time runs from the moment at which it was due, so that a server that
//! falls behind is seen to, and the step at which it does is the end.

mod report;
mod step;

use crate::cli::{Common, positive};
use crate::encoder::Encoder;
use crate::outcome::{Known, Outcome};
use crate::server::{ServerArgs, UnderTest};
use anyhow::{Context, Result};
use clap::Args;
use shoal_sim::progress::Progress;
use shoal_sim::scenario::Scenario;
use std::time::Duration;
use step::{Client, Step};

/// The figures of this mode.
pub(crate) const KNOWN: Known = Known(&[
    ("knee_requests_per_second", "the highest rate that was kept up with"),
    ("knee_p99_ms", "99th percentile of the time to the last byte, at that rate"),
    ("knee_mbps", "what was sent at that rate"),
    ("first_p50_ms", "median time at the first rate"),
    ("first_p99_ms", "99th percentile of it"),
    ("knee_p50_ms", "median time at the knee"),
    ("knee_server_cores", "processor time of the server per second at the knee"),
    ("knee_client_cores", "the same of this program"),
    ("failed_requests", "requests that were not answered, up to the knee"),
]);

/// What can be set.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Requests per second in the first step
    #[arg(long, value_name = "N", default_value_t = 100.0, value_parser = positive)]
    from: f64,
    /// Requests per second that are not exceeded
    #[arg(long, value_name = "N", default_value_t = 50_000.0, value_parser = positive)]
    to: f64,
    /// Each step has so many times the rate of the one before
    #[arg(long, value_name = "F", default_value_t = 1.5, value_parser = growth)]
    growth: f64,
    /// How long a step takes, s
    #[arg(long, value_name = "S", default_value_t = 5.0, value_parser = positive)]
    step: f64,
    /// The part of the requests that are for the playlist
    #[arg(long, value_name = "SHARE", default_value_t = 0.5, value_parser = share)]
    playlists: f64,
    /// Requests under way at once, each on a connection
    #[arg(long, value_name = "N", default_value_t = 256,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// A step is lost when its 99th percentile is above this, ms
    #[arg(long, value_name = "MS", default_value_t = 250.0, value_parser = positive)]
    late: f64,
    /// The scenario whose rate and segments are used (see `shoal-sim list`)
    #[arg(long, value_name = "NAME|FILE", default_value = "steady")]
    scenario: String,
    /// Change a setting of it; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    pub(crate) common: Common,
}

fn growth(text: &str) -> Result<f64, String> {
    positive(text).ok().filter(|it| *it >= 1.05).ok_or_else(|| "1.05 or more".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "0 to 1".to_owned())
}

/// Puts the load on.
///
/// # Errors
/// If the scenario is wrong or the server is not there.
pub(crate) fn run(arguments: &Arguments) -> Result<Outcome> {
    let scenario = Scenario::changed(&arguments.scenario, &arguments.set)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("no threads")?.block_on(async {
        let server = arguments.server.open(&[]).await?;
        let steps = steps(arguments, &scenario, &server).await;
        server.stop().await;
        Ok(report::outcome(arguments, &scenario, &steps?))
    })
}

/// Steps up to and with the first that is lost.
async fn steps(
    arguments: &Arguments,
    scenario: &Scenario,
    server: &UnderTest,
) -> Result<Vec<Step>> {
    let (rate, segment_s) = (scenario.settings.rate, scenario.settings.segment_s);
    let encoder = Encoder::begin(&server.publish, rate, segment_s).await?;
    let encoding = tokio::spawn(encoder.run());
    let client = Client::new(server, arguments.playlists, arguments.connections)?;
    let length = Duration::from_secs_f64(arguments.step);
    let count = (arguments.to / arguments.from).ln() / arguments.growth.ln();
    let progress = Progress::new(1);
    let (mut steps, mut offered) = (Vec::new(), arguments.from);
    while offered <= arguments.to * 1.001 {
        progress.say(&format!("{offered:.0} requests per second"));
        let step = client.step(server, offered, length).await?;
        let is_lost = step.is_lost(arguments.late);
        steps.push(step);
        progress.reached(0, steps.len() as f64 / (count + 1.0));
        if is_lost {
            break;
        }
        offered *= arguments.growth;
    }
    progress.end();
    encoding.abort();
    Ok(steps)
}
