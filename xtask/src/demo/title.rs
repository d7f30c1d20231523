//! A title on demand: what is made of it, who seeks in it, and its second showing.
//!
//! Rule: a seek goes where the plan says, whatever the player has in its buffer; the second showing
//! begins when every agent of the first has ended, and nobody but the origin has the title.

use super::args::{self, Args};
use super::encoder;
use super::figures::{self, ViewerFigures};
use super::origin::Content;
use super::playback::Seek;
use super::stage::Stage;
use super::viewer::Viewer;
use crate::shell;
use anyhow::{Result, ensure};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Its name on the server.
pub(crate) const NAME: &str = "film";

/// Seconds from a viewer's join to its first seek, and from one seek to the next.
const SEEK_EVERY_S: u64 = 8;
/// Seeks of each viewer who seeks.
const SEEKS_EACH: u64 = 6;
/// Steps of the golden ratio fall everywhere, and nowhere twice.
const GOLDEN: f64 = 0.618_033_988_75;
/// Seeks leave this share of the title to be played after the last place.
const LAST_PLACE: f64 = 0.9;
/// A seek that shows no frame by then was not answered.
const ANSWER_S_MAX: f64 = 10.0;
/// For how long the second showing is watched.
const SECOND_SHOWING: Duration = Duration::from_secs(15);

/// Makes the title in a folder below `folder`, with the codecs of the live encode.
pub(crate) fn make(args: &Args, folder: &Path) -> Result<Content> {
    ensure!(shell::is_installed("ffmpeg"), "ffmpeg is not installed (apt: ffmpeg)");
    let titles = folder.join("titles");
    let files = titles.join(NAME);
    std::fs::create_dir_all(&files)?;
    let seconds = args.vod.unwrap_or_default();
    eprintln!("making a title of {seconds} s");
    let words = format!(
        "-hide_banner -loglevel error -nostdin -f lavfi -i testsrc2=size=640x360:rate=25 -f lavfi \
         -i sine=frequency=440:sample_rate=48000 -map 0:v -map 1:a -t {seconds} {} -f hls \
         -hls_time {} -hls_playlist_type vod index.m3u8",
        encoder::codecs(args.rate.bps, args.segment),
        args.segment
    );
    let mut ffmpeg = Command::new("ffmpeg");
    shell::run(ffmpeg.current_dir(&files).args(words.split_whitespace()))?;
    Ok(Content::Titles(titles))
}

/// Does the seeks of this second.
pub(crate) async fn seek(args: &Args, second: u64, viewers: &[Viewer]) {
    let Some(title_s) = args.vod else { return };
    for index in args::seekers(args.viewers).take(usize::from(args.seeks)) {
        let watched = second.checked_sub(args.stagger * u64::from(index));
        let number =
            watched.filter(|it| it.is_multiple_of(SEEK_EVERY_S)).map(|it| it / SEEK_EVERY_S);
        let Some(number) = number.filter(|number| (1..=SEEKS_EACH).contains(number)) else {
            continue;
        };
        let place = (u64::from(index) * SEEKS_EACH + number) as f64 * GOLDEN;
        if let Some(viewer) = viewers.get(usize::from(index)) {
            viewer.seek(place.fract() * LAST_PLACE * title_s as f64).await;
        }
    }
}

/// What is known of all seeks.
pub(crate) fn figures(viewers: &[ViewerFigures]) -> Map<String, Value> {
    let own: Vec<Seek> = viewers.iter().flat_map(|it| it.player.seeks.clone()).collect();
    let twins = viewers.iter().filter_map(|it| it.twin.as_ref());
    let direct: Vec<Seek> = twins.flat_map(|it| it.seeks.clone()).collect();
    let answers = |seeks: &[Seek]| -> Vec<f64> {
        let answered = seeks.iter().filter_map(|seek| seek.answered_s);
        answered.filter(|seconds| *seconds <= ANSWER_S_MAX).map(|it| it * 1000.0).collect()
    };
    let middle = |seeks: &[Seek]| figures::round(figures::median(answers(seeks).into_iter()), 1);
    let longest =
        |seeks: &[Seek]| figures::round(answers(seeks).into_iter().max_by(f64::total_cmp), 1);
    let flat = json!({
        "seeks": own.len(),
        "seeks_unanswered": own.len() - answers(&own).len(),
        "seek_ms_p50": middle(&own),
        "seek_ms_max": longest(&own),
        "seek_direct_ms_p50": middle(&direct),
        "seek_direct_ms_max": longest(&direct),
    });
    flat.as_object().cloned().unwrap_or_default()
}

/// Ends every agent, then starts one more viewer.
pub(crate) async fn show_again(stage: &mut Stage<'_>) -> Result<Map<String, Value>> {
    for viewer in &mut stage.viewers {
        viewer.stop_agent().await;
    }
    let index = u8::try_from(stage.viewers.len()).unwrap_or(u8::MAX);
    let mut viewer = Viewer::start(index, None, &[], &stage.around).await?;
    viewer.join(&stage.around)?;
    tokio::time::sleep(SECOND_SHOWING).await;
    viewer.end_player().await;
    let player = viewer.player().map(super::player::Player::figures).unwrap_or_default();
    let twin = viewer.twin().map(super::player::Player::figures);
    let seen = viewer.seen();
    viewer.stop_agent().await;
    let ms = |seconds: Option<f64>| figures::round(seconds.map(|seconds| seconds * 1000.0), 1);
    let flat = json!({
        "second_showing_startup_ms": ms(player.startup_s),
        "second_showing_startup_direct_ms": ms(twin.and_then(|twin| twin.startup_s)),
        "second_showing_stalls": player.stalls.len(),
        "second_showing_delivered_bytes": seen.media_bytes,
        "second_showing_from_origin_bytes": seen.total("from_origin"),
    });
    Ok(flat.as_object().cloned().unwrap_or_default())
}
