//! One run: levels of viewers, then a while in which they are replaced.

use super::Arguments;
use super::crowd::{Crowd, Joined, Way};
use super::tally::Tally;
use super::viewer::Event;
use crate::curve::{distribution, line};
use crate::encoder::Encoder;
use crate::host::{self, Usage};
use crate::outcome::{Outcome, Table};
use crate::samples::{Samples, slope};
use crate::server::UnderTest;
use crate::token::Signer;
use anyhow::{Context, Result};
use shoal_server::Server;
use shoal_server::config::Config;
use shoal_sim::progress::Progress;
use shoal_sim::report::plot::{Axis, Ink, Plot};
use shoal_sim::scenario::Scenario;
use shoal_wire::BitRate;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;
use url::Url;

const MIB: f64 = 1024.0 * 1024.0;
/// The stream on a server in memory, and its key.
const OWN: &str = "load";

/// The server, in a process of its own or in ours.
enum Host {
    Apart(Box<UnderTest>),
    Within { server: Arc<Server>, folder: tempfile::TempDir },
}

/// One level.
struct Level {
    viewers: f64,
    rss_bytes: f64,
    joined: Joined,
    cores_joining: f64,
    cores_steady: f64,
    /// Viewers' messages per CPU second of the server while nobody came or went.
    messages_per_cpu_s: f64,
}

/// Puts the load on.
pub(super) async fn run(arguments: &Arguments) -> Result<Outcome> {
    let scenario = Scenario::changed(&arguments.scenario, &arguments.set)?;
    let settings = &scenario.settings;
    let host = Host::open(arguments).await?;
    let (base, publish, stream) = host.place()?;
    let encoder = Encoder::begin(&publish, settings.rate, settings.segment_s).await?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked settings")]
    let event = Arc::new(Event {
        stream: stream.parse()?,
        playlist: base.join(&format!("/live/{stream}/index.m3u8"))?,
        rate: BitRate::from_bps((settings.rate * 1e6) as u64),
        signer: host.signer(),
        tally: Tally::default(),
    });
    let encoding = tokio::spawn(encoder.run());
    let way = host.way(&base)?;
    let mut crowd = Crowd::new(Arc::clone(&event), way, uploads(&scenario));
    let measured = measure(arguments, &host, &mut crowd).await;
    let encoded = encoding.is_finished();
    encoding.abort();
    crowd.leave().await;
    if encoded {
        encoding.await.context("the encoder")?.context("the encoder")?;
    }
    let (empty, levels, replaced) = measured?;
    let failed = event.tally.failed.load(Ordering::Relaxed);
    if failed > 0 {
        eprintln!(
            "{failed} viewers failed; the first: {}",
            event.tally.reason().unwrap_or_default()
        );
    }
    host.stop().await;
    Ok(outcome(arguments, &scenario, &Measured { empty, levels, replaced, failed }))
}

struct Measured {
    empty: Usage,
    levels: Vec<Level>,
    replaced: Joined,
    failed: u64,
}

async fn measure(
    arguments: &Arguments,
    host: &Host,
    crowd: &mut Crowd,
) -> Result<(Usage, Vec<Level>, Joined)> {
    let settle = Duration::from_secs_f64(arguments.settle);
    let (viewers, count) = (arguments.viewers as usize, arguments.levels as usize);
    let progress = Progress::new(1);
    let replaced = (arguments.replaced * arguments.replacing).ceil();
    let all = viewers as f64 + replaced;
    crowd.stay(settle.min(Duration::from_secs(2))).await;
    let empty = host.usage().await;
    let mut levels = Vec::new();
    for level in 1..=count {
        let target = viewers * level / count;
        let before = (host.usage().await, crowd.len());
        progress.say(&format!("{target} viewers"));
        let mut reached = |i: usize| progress.reached(0, (before.1 + i) as f64 / all);
        let joined = crowd.join(target - before.1, arguments.joins, false, &mut reached).await?;
        let begun = (Instant::now(), host.usage().await);
        let counts = crowd.stay(settle).await;
        let ended = host.usage().await;
        let cpu_s = ended.cpu_s - begun.1.cpu_s;
        levels.push(Level {
            viewers: target as f64,
            rss_bytes: ended.rss_bytes,
            cores_joining: (begun.1.cpu_s - before.0.cpu_s) / joined.took_s,
            cores_steady: cpu_s / begun.0.elapsed().as_secs_f64(),
            messages_per_cpu_s: counts.said as f64 / cpu_s,
            joined,
        });
    }
    progress.say(&format!("{replaced} of them are replaced"));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
    let count = replaced as usize;
    let mut reached = |i: usize| progress.reached(0, (viewers + i) as f64 / all);
    let replaced = crowd.join(count, arguments.replaced, true, &mut reached).await?;
    progress.end();
    Ok((empty, levels, replaced))
}

impl Host {
    async fn open(arguments: &Arguments) -> Result<Self> {
        let peers_max = arguments.viewers.saturating_mul(2).max(20_000);
        if !arguments.in_memory {
            // All viewers come from one address.
            let settings = [
                format!("--peers-max={peers_max}"),
                "--connections-max=1000000".into(),
                "--joins-per-address-max=1000000".into(),
            ];
            return Ok(Self::Apart(Box::new(arguments.server.open(&settings).await?)));
        }
        let folder = tempfile::tempdir().context("no folder for the server")?;
        let data = folder.path().join("data");
        let config = Config::from_toml(&format!(
            "server.listen = \"127.0.0.1:0\"\nserver.admin_listen = \"\"\n\
             server.data_dir = {data:?}\ntracker.peers_max = {peers_max}\n\
             tracker.joins_per_address_max = 1000000\n\
             streams = [{{name = \"{OWN}\", ingest_key = \"{OWN}\"}}]\n"
        ))?;
        let server = Arc::new(Server::start(&config).await?);
        Ok(Self::Within { server, folder })
    }

    /// Where viewers connect, where the stream is pushed, and its name.
    fn place(&self) -> Result<(Url, Url, String)> {
        match self {
            Self::Apart(server) => {
                Ok((server.base.clone(), server.publish.clone(), server.stream.clone()))
            }
            Self::Within { server, .. } => {
                let base = Url::parse(&format!("http://{}/", server.ports().listen))?;
                let publish = base.join(&format!("/publish/{OWN}/{OWN}/"))?;
                Ok((base, publish, OWN.to_owned()))
            }
        }
    }

    fn signer(&self) -> Option<Signer> {
        match self {
            Self::Apart(server) => server.signer.clone(),
            Self::Within { .. } => None,
        }
    }

    fn way(&self, base: &Url) -> Result<Way> {
        match self {
            Self::Within { server, .. } => Ok(Way::Memory(Arc::clone(server))),
            Self::Apart(_) => {
                let addresses = base.socket_addrs(|| None).context("the server's address")?;
                let address = addresses.iter().find(|address| address.is_ipv4());
                Ok(Way::Sockets(*address.context("the server has no IPv4 address")?))
            }
        }
    }

    /// What the server has used; not a number where it is not known.
    async fn usage(&self) -> Usage {
        let used = match self {
            Self::Apart(server) => server.usage().await,
            Self::Within { .. } => Some(host::own_usage()),
        };
        used.unwrap_or(Usage::UNKNOWN)
    }

    async fn stop(self) {
        match self {
            Self::Apart(server) => server.stop().await,
            Self::Within { server, folder } => {
                if let Ok(server) = Arc::try_unwrap(server) {
                    server.stop().await;
                }
                drop(folder);
            }
        }
    }
}

/// Uploads as the scenario draws them.
fn uploads(scenario: &Scenario) -> Vec<BitRate> {
    let instance = shoal_sim::export(scenario, 1);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "drawn in bounds")]
    let rate = |mbps: f64| BitRate::from_bps((mbps * 1e6) as u64);
    instance.viewers.iter().map(|viewer| rate(viewer.upload_mbps)).collect()
}

fn outcome(arguments: &Arguments, scenario: &Scenario, measured: &Measured) -> Outcome {
    let mut outcome = Outcome::new("tracker");
    let levels = &measured.levels;
    let settings = &scenario.settings;
    outcome.lead = format!(
        "{} viewers without media, {} a second, on a stream of {} Mbit/s in segments of {} s",
        arguments.viewers, arguments.joins, settings.rate, settings.segment_s
    );
    outcome.conditions.push(format!(
        "Uploads as in {} (resource index {}); {} cores, shared with the viewers.",
        scenario.name,
        settings.rho,
        host::cores()
    ));
    outcome.conditions.push(if arguments.in_memory {
        "In memory: server and viewers in one process on one thread, without sockets; memory is \
         that of both."
            .into()
    } else {
        "Over TCP on one machine; memory is the server process's alone.".into()
    });
    let of = |pick: fn(&Joined) -> &Samples| -> Samples {
        levels.iter().flat_map(|level| pick(&level.joined).sorted()).collect()
    };
    let first_plan = of(|joined| &joined.times.first_plan);
    let points: Vec<_> = levels.iter().map(|level| (level.viewers, level.rss_bytes)).collect();
    let (viewers, rss_bytes) = points.last().copied().unwrap_or((f64::NAN, f64::NAN));
    let joining_s: f64 = levels.iter().map(|level| level.joined.took_s).sum();
    let weighted = |of: fn(&Level) -> f64| {
        levels.iter().map(|level| of(level) * level.joined.took_s).sum::<f64>() / joining_s
    };
    let last = levels.last();
    let replaced = &measured.replaced;
    outcome.add("viewers", viewers);
    outcome.add("server_bytes_per_viewer", slope(&points));
    outcome.add("first_plan_p99_ms", first_plan.quantile(0.99));
    outcome.add("joins_per_second", first_plan.len() as f64 / joining_s);
    outcome.add("replans_per_second", replaced.counts.plans as f64 / replaced.took_s);
    outcome.add("first_plan_p50_ms", first_plan.quantile(0.5));
    outcome.add("first_plan_max_ms", first_plan.quantile(1.0));
    outcome.add("welcome_p99_ms", of(|joined| &joined.times.welcome).quantile(0.99));
    outcome.add("replaced_first_plan_p99_ms", replaced.times.first_plan.quantile(0.99));
    outcome.add("server_rss_mib", rss_bytes / MIB);
    let whole = (rss_bytes - measured.empty.rss_bytes) / viewers;
    outcome.add("server_bytes_per_viewer_whole", whole);
    outcome.add("server_cores_joining", weighted(|level| level.cores_joining));
    outcome.add("server_cores_steady", last.map_or(f64::NAN, |level| level.cores_steady));
    let messages = last.map_or(f64::NAN, |level| level.messages_per_cpu_s);
    outcome.add("messages_per_server_cpu_s", messages);
    outcome.add("failed_viewers", measured.failed as f64);
    outcome.tables.push(table(measured));
    outcome.plots = plots(measured);
    outcome
}

fn table(measured: &Measured) -> Table {
    let header = [
        "viewers",
        "server_mib",
        "joins_per_second",
        "plan_p50_ms",
        "plan_p99_ms",
        "heard_per_join",
        "cores_joining",
        "cores_steady",
    ];
    let rows = measured.levels.iter().map(|level| {
        let joined = &level.joined;
        let joins = joined.times.first_plan.len() as f64;
        vec![
            level.viewers,
            level.rss_bytes / MIB,
            joins / joined.took_s,
            joined.times.first_plan.quantile(0.5),
            joined.times.first_plan.quantile(0.99),
            joined.counts.heard as f64 / joins,
            level.cores_joining,
            level.cores_steady,
        ]
    });
    Table {
        title: "levels",
        header: header.map(str::to_owned).to_vec(),
        names: Vec::new(),
        rows: rows.collect(),
    }
}

fn plots(measured: &Measured) -> Vec<Plot> {
    let viewers = || measured.levels.iter().map(|level| level.viewers);
    let memory: Vec<_> = std::iter::once((0.0, measured.empty.rss_bytes / MIB))
        .chain(measured.levels.iter().map(|level| (level.viewers, level.rss_bytes / MIB)))
        .collect();
    let times = measured.levels.iter().flat_map(|level| level.joined.times.first_plan.sorted());
    let times: Samples = times.collect();
    let replaced = &measured.replaced.times.first_plan;
    let high = times.quantile(0.999).max(replaced.quantile(0.999));
    let cores = |of: fn(&Level) -> f64| -> Vec<(f64, f64)> {
        measured.levels.iter().map(|level| (level.viewers, of(level))).collect()
    };
    let (joining, steady) = (cores(|it| it.cores_joining), cores(|it| it.cores_steady));
    vec![
        Plot {
            title: "Memory of the server".into(),
            note: "Resident, while nobody comes or goes.".into(),
            x: Axis::from_zero("viewers", viewers()),
            y: Axis::from_zero("MiB", memory.iter().map(|point| point.1)),
            series: vec![line("resident", Ink::Reached, memory)],
        },
        Plot {
            title: "Until the first assignment".into(),
            note: "From the moment at which a viewer was due; up to the 99.9th percentile.".into(),
            x: Axis::until("ms", high),
            y: Axis::share("share of viewers"),
            series: vec![
                line("while others are replaced", Ink::Without, distribution(&replaced.sorted())),
                line("while they come", Ink::Reached, distribution(&times.sorted())),
            ],
        },
        Plot {
            title: "Processor of the server".into(),
            note: "Seconds of processor time per second.".into(),
            x: Axis::from_zero("viewers", viewers()),
            y: Axis::from_zero("cores", joining.iter().chain(&steady).map(|point| point.1)),
            series: vec![
                line("while nobody comes or goes", Ink::Bound, steady),
                line("while viewers come", Ink::Reached, joining),
            ],
        },
    ]
}
