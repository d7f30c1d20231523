//! What the steps came to, and the last one that was kept up with.

use super::Arguments;
use super::step::Step;
use crate::curve::{Curve, line};
use crate::host;
use crate::outcome::{Outcome, Table};
use shoal_sim::report::plot::{Axis, Ink, Plot};
use shoal_sim::scenario::Scenario;

/// The figures of all steps.
pub(super) fn outcome(arguments: &Arguments, scenario: &Scenario, steps: &[Step]) -> Outcome {
    let mut outcome = Outcome::new("origin");
    let settings = &scenario.settings;
    outcome.lead = format!(
        "Segments of {} s at {} Mbit/s, and the playlist for {:.0} % of the requests",
        settings.segment_s,
        settings.rate,
        arguments.playlists * 100.0
    );
    outcome.conditions.push(format!(
        "Open loop over {} connections on {} cores, shared by the server and this program; a step \
         is lost when its 99th percentile is above {} ms, a request fails, or less than 95 % are \
         served.",
        arguments.connections,
        host::cores(),
        arguments.late
    ));
    let kept: Vec<&Step> = steps.iter().filter(|step| !step.is_lost(arguments.late)).collect();
    if kept.len() == steps.len() {
        outcome.conditions.push("No step was lost: the knee is beyond --to.".into());
    }
    let none = Step { offered: f64::NAN, served: f64::NAN, mbps: f64::NAN, ..Step::default() };
    let (first, knee) = (steps.first().unwrap_or(&none), kept.last().copied().unwrap_or(&none));
    outcome.add("knee_requests_per_second", knee.served);
    outcome.add("knee_p99_ms", knee.times.quantile(0.99));
    outcome.add("knee_mbps", knee.mbps);
    outcome.add("first_p50_ms", first.times.quantile(0.5));
    outcome.add("first_p99_ms", first.times.quantile(0.99));
    outcome.add("knee_p50_ms", knee.times.quantile(0.5));
    outcome.add("knee_server_cores", knee.server_cores);
    outcome.add("knee_client_cores", knee.client_cores);
    outcome.add("failed_requests", kept.iter().map(|step| step.failed).sum());
    outcome.tables.push(table(steps));
    outcome.plots = plots(steps);
    outcome
}

fn table(steps: &[Step]) -> Table {
    let header = [
        "offered",
        "served",
        "p50_ms",
        "p90_ms",
        "p99_ms",
        "max_ms",
        "mbps",
        "failed",
        "server_cores",
        "client_cores",
    ];
    let rows = steps.iter().map(|step| {
        let [p50, p90, p99, most] = [0.5, 0.9, 0.99, 1.0].map(|share| step.times.quantile(share));
        let (server, client) = (step.server_cores, step.client_cores);
        vec![step.offered, step.served, p50, p90, p99, most, step.mbps, step.failed, server, client]
    });
    Table {
        title: "steps",
        header: header.map(str::to_owned).to_vec(),
        names: Vec::new(),
        rows: rows.collect(),
    }
}

fn plots(steps: &[Step]) -> Vec<Plot> {
    let over = |of: &dyn Fn(&Step) -> f64| -> Curve {
        steps.iter().map(|step| (step.offered, of(step))).collect()
    };
    let offered = || Axis::from_zero("requests per second", steps.iter().map(|step| step.offered));
    let time = |share: f64| over(&move |step| step.times.quantile(share));
    let (p50, p99) = (time(0.5), time(0.99));
    let (server, client) = (over(&|step| step.server_cores), over(&|step| step.client_cores));
    vec![
        Plot {
            title: "Served against offered".into(),
            note: "Where the line leaves the dashed one, the server no longer keeps up.".into(),
            x: offered(),
            y: Axis::from_zero("requests per second", steps.iter().map(|step| step.offered)),
            series: vec![
                line("offered", Ink::Bound, over(&|step| step.offered)),
                line("served", Ink::Reached, over(&|step| step.served)),
            ],
        },
        Plot {
            title: "Time to the last byte".into(),
            note: "From the moment at which a request was due.".into(),
            x: offered(),
            y: Axis::wide("ms", p50.iter().chain(&p99).map(|point| point.1)),
            series: vec![line("median", Ink::Without, p50), line("p99", Ink::Reached, p99)],
        },
        Plot {
            title: "Processor".into(),
            note: "Seconds of processor time per second.".into(),
            x: offered(),
            y: Axis::from_zero("cores", server.iter().chain(&client).map(|point| point.1)),
            series: vec![
                line("this program", Ink::Without, client),
                line("the server", Ink::Reached, server),
            ],
        },
    ]
}
