//! A live event with real viewers: the agent's engine and its WebRTC links, a player before each,
//! a real server behind them, and the simulator's word on the same event.
//!
//! Rule: the simulator runs what was run here: the same arrivals, departures, uploads, rate and
//! segments, and everybody reachable. What cannot be had on one machine is refused or left out of
//! both, and said.

mod event;
mod report;
mod stage;
mod viewer;

use crate::cli::Common;
use crate::outcome::{Known, Outcome};
use crate::server::ServerArgs;
use anyhow::{Context, Result, bail};
use clap::Args;
use shoal_sim::scenario::{NatMix, Scenario};

/// The figures of this mode.
pub(crate) const KNOWN: Known = Known(&[
    ("offload_ratio", "1 − what the server sent for the stream ÷ what players got, after warm-up"),
    ("offload_difference", "that, minus the simulator's"),
    ("offload_bound", "the most that the viewers' upload allows"),
    ("stalled_viewers", "players that stood still, however shortly"),
    ("startup_p50_s", "from opening the stream to playing, median"),
    ("origin_peak_mbps", "most that the server sent, as a mean over 5 s"),
    ("origin_peak_bound_mbps", "the least peak that these arrivals allow"),
    ("cores", "processor time of engines, players and server per second, after warm-up"),
    ("origin_peak_over_bound", "the peak divided by its bound"),
    ("stall_seconds", "all stalls together"),
    ("startup_p99_s", "99th percentile of the time to start"),
    ("never_started", "players that stayed for 5 s and longer and did not play"),
    ("whole_run_offload_ratio", "offload from the first viewer on"),
    ("failed_requests", "requests of players that their agent did not answer"),
    ("waste_ratio", "bytes from peers that were of no use, to those that were"),
    ("links_up", "links that opened"),
    ("links_failed", "links that did not"),
    ("server_cores", "processor time of the server per second, after warm-up"),
    ("mib_per_viewer", "memory of engines and players per viewer at the most"),
    ("server_rss_mib", "memory of the server at the end"),
    ("sim_offload_ratio", "the simulator's offload"),
    ("sim_stalled_viewers", "the simulator's players that stood still"),
    ("sim_startup_p50_s", "the simulator's median time to start"),
    ("sim_origin_peak_over_bound", "the simulator's peak divided by the same bound"),
]);

/// What can be set.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// A built-in scenario (see `shoal-sim list`), or the path of a TOML file
    #[arg(default_value = "steady")]
    scenario: String,
    /// Change a setting of the scenario; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The seed of arrivals, departures and uploads
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Let ffmpeg encode and push a test picture instead of random bytes
    #[arg(long)]
    ffmpeg: bool,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Runs the event, then the simulator.
///
/// # Errors
/// If the scenario cannot be played live, or a program does not start.
pub(crate) fn run(arguments: &Arguments) -> Result<Outcome> {
    let mut scenario = Scenario::changed(&arguments.scenario, &arguments.set)?;
    let left_out = leave_out(&mut scenario)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("no threads")?;
    let seen = runtime.block_on(stage::run(arguments, &scenario))?;
    eprintln!("the simulator runs the same event");
    let options = shoal_sim::Options { twins: false };
    let simulated = shoal_sim::run(&scenario, arguments.seed, &options, &mut |_| {})?;
    Ok(report::outcome(&scenario, &seen, &simulated, &left_out))
}

/// Takes out of the scenario what loopback has none of; returns the keys that were set.
///
/// # Errors
/// If the scenario is about something else than viewers that come and go.
fn leave_out(scenario: &mut Scenario) -> Result<Vec<&'static str>> {
    let s = &scenario.settings;
    let refused = [
        ("vod", s.vod),
        ("renditions", s.renditions > 1),
        ("outage_share", s.outage_share > 0.0),
        ("tracker_down_s", s.tracker_down_s > 0.0),
        ("origin_slow_s", s.origin_slow_s > 0.0),
        ("origin_down_s", s.origin_down_s > 0.0),
        (
            "polluters, droppers, slanderers or liars",
            s.polluters + s.droppers + s.slanderers + s.liars > 0.0,
        ),
    ];
    if let Some((key, _)) = refused.iter().find(|(_, is_set)| *is_set) {
        bail!(
            "a live event has no {key}: that is for shoal-sim; set it to nothing or choose another"
        );
    }
    let absent = [
        ("nat", s.nat != NatMix::Open, "nat=open"),
        ("pair_failure", s.pair_failure > 0.0, "pair_failure=0"),
        ("loss", s.loss > 0.0, "loss=0"),
        ("crashes", s.crashes > 0.0, "crashes=0"),
        ("upload_error", s.upload_error > 0.0, "upload_error=0"),
        ("browsers", s.browsers > 0.0, "browsers=0"),
    ];
    let mut left_out = Vec::new();
    for (key, is_set, setting) in absent {
        if is_set {
            scenario.set(setting)?;
            left_out.push(key);
        }
    }
    Ok(left_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_loopback_has_none_of_is_left_out_and_said() {
        let mut crowd = Scenario::named("flash-crowd").expect("built in");
        assert_eq!(leave_out(&mut crowd).expect("playable"), ["nat", "pair_failure"]);
        assert_eq!((crowd.settings.nat, crowd.settings.pair_failure), (NatMix::Open, 0.0));
        assert_eq!(crowd.settings.crowd_factor, 10.0);
        for name in ["vod", "attackers", "renditions", "tracker-down"] {
            let mut scenario = Scenario::named(name).expect("built in");
            assert!(leave_out(&mut scenario).is_err(), "{name}");
        }
    }
}
