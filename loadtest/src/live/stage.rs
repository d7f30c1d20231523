//! The event itself: server, encoder, viewers.
//!
//! Rule: whatever happens, what was started ends.

use super::Arguments;
use super::event::{self, Gauges, Second};
use super::viewer::{Stage, Viewer, Watched};
use crate::encoder::Encoder;
use crate::playlist::segments;
use crate::server::UnderTest;
use anyhow::{Context, Result, anyhow, bail};
use shoal_sim::instance::Instance;
use shoal_sim::progress::Progress;
use shoal_sim::scenario::{Scenario, Settings};
use shoal_wire::BitRate;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// Time for ffmpeg to push as many segments as players start before the end.
const FFMPEG_MAX: Duration = Duration::from_secs(60);
/// Segments of ffmpeg's that are there when the first viewers come.
const HEAD_START: u64 = 4;

/// What was seen.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) instance: Instance,
    pub(crate) seconds: Vec<Second>,
    pub(crate) watched: Vec<Watched>,
    pub(crate) failed_requests: u64,
}

/// What the second-by-second watch needs.
pub(crate) struct Measure<'a> {
    pub(crate) stage: &'a Stage,
    pub(crate) progress: &'a dyn Fn(f64, &Second),
}

/// Who makes the stream.
enum Encoding {
    Random(tokio::task::JoinHandle<Result<()>>),
    Ffmpeg(Child),
}

/// Runs the event.
pub(super) async fn run(arguments: &Arguments, scenario: &Scenario) -> Result<Seen> {
    let server = arguments.server.open(&[]).await?;
    let seen = with_server(arguments, scenario, &server).await;
    server.stop().await;
    seen
}

async fn with_server(
    arguments: &Arguments,
    scenario: &Scenario,
    server: &UnderTest,
) -> Result<Seen> {
    let settings = &scenario.settings;
    let mut encoding = if arguments.ffmpeg {
        Encoding::ffmpeg(server, settings).await?
    } else {
        let encoder = Encoder::begin(&server.publish, settings.rate, settings.segment_s).await?;
        Encoding::Random(tokio::spawn(encoder.run()))
    };
    let startup_s = if settings.startup_buffer_s > 0.0 {
        settings.startup_buffer_s
    } else {
        settings.segment_s
    };
    let stage = Arc::new(Stage {
        playlist: server.playlist()?,
        client: reqwest::Client::builder().no_proxy().build().context("no HTTP client")?,
        segment: Duration::from_secs_f64(settings.segment_s),
        startup: Duration::from_secs_f64(startup_s),
        started: Instant::now(),
        gauges: Gauges::default(),
    });
    let instance = shoal_sim::export(scenario, arguments.seed);
    let mut viewers = JoinSet::new();
    for (number, drawn) in (0..).zip(&instance.viewers) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in bounds")]
        let upload = BitRate::from_bps((drawn.upload_mbps * 1e6) as u64);
        let (join, leave) = (drawn.join_s, drawn.leave_s);
        let viewer = Viewer {
            join: Duration::from_secs_f64(join),
            leave: Duration::from_secs_f64(leave),
            upload,
            token: server.token(number),
        };
        viewers.spawn(viewer.watch(Arc::clone(&stage)));
    }
    let progress = Progress::new(1);
    let reached = |part: f64, second: &Second| {
        progress.reached(0, part);
        let at = second.at_s.round();
        if at % 10.0 == 0.0 {
            progress.say(&format!("{at} s, {} viewers", second.viewers));
        }
    };
    let end = stage.started + Duration::from_secs_f64(settings.duration_s);
    let measure = Measure { stage: &stage, progress: &reached };
    let seconds = event::watch(server, &measure, end).await;
    progress.end();
    encoding.check().await?;
    let seconds = seconds?;
    let mut watched = Vec::with_capacity(instance.viewers.len());
    while let Some(viewer) = viewers.join_next().await {
        watched.push(viewer.context("a viewer")??);
    }
    encoding.end().await;
    let failed_requests = stage.gauges.failed_requests.load(Ordering::Relaxed);
    Ok(Seen { instance, seconds, watched, failed_requests })
}

/// The newest segment in the playlist, if there is any.
async fn newest(client: &reqwest::Client, server: &UnderTest) -> Result<Option<u64>> {
    let text = match client.get(server.playlist()?).send().await {
        Ok(answer) => answer.text().await.unwrap_or_default(),
        Err(_) => String::new(),
    };
    Ok(segments(&text).last().map(|segment| segment.number))
}

impl Encoding {
    /// ffmpeg, once players can start.
    async fn ffmpeg(server: &UnderTest, settings: &Settings) -> Result<Self> {
        let rate = format!("{:.0}k", settings.rate * 1e3);
        let keys = format!("expr:gte(t,n_forced*{})", settings.segment_s);
        let segment = settings.segment_s.to_string();
        let client = server.client()?;
        let before = newest(&client, server).await?.map_or(0, |newest| newest + 1);
        let child = Command::new("ffmpeg")
            .args(["-nostdin", "-v", "error", "-re", "-f", "lavfi", "-i"])
            .arg("testsrc2=size=640x360:rate=25")
            .args(["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency"])
            .args(["-b:v", &rate, "-minrate", &rate, "-maxrate", &rate, "-bufsize", &rate])
            .args(["-force_key_frames", &keys, "-sc_threshold", "0", "-f", "hls"])
            .args(["-hls_time", &segment, "-hls_list_size", "10", "-method", "PUT"])
            .arg(server.publish.join("index.m3u8")?.as_str())
            .stdin(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start ffmpeg")?;
        let until = Instant::now() + FFMPEG_MAX;
        while Instant::now() < until {
            let newest = newest(&client, server).await?;
            if newest.is_some_and(|newest| newest >= before + HEAD_START - 1) {
                return Ok(Self::Ffmpeg(child));
            }
            sleep(Duration::from_millis(100)).await;
        }
        bail!("ffmpeg pushed too few segments in {} s", FFMPEG_MAX.as_secs())
    }

    /// An error if it has ended.
    async fn check(&mut self) -> Result<()> {
        match self {
            Self::Random(task) if task.is_finished() => match task.await {
                Ok(Ok(())) => bail!("the encoder ended"),
                Ok(Err(error)) => Err(error.context("the encoder")),
                Err(error) => Err(anyhow!("the encoder: {error}")),
            },
            Self::Ffmpeg(child) => match child.try_wait()? {
                Some(status) => bail!("ffmpeg ended ({status})"),
                None => Ok(()),
            },
            Self::Random(_) => Ok(()),
        }
    }

    async fn end(self) {
        match self {
            Self::Random(task) => task.abort(),
            Self::Ffmpeg(mut child) => {
                // It may have ended by itself.
                let _ = child.kill().await;
            }
        }
    }
}
