//! The demo channel: a short bundled clip, looped as a true live stream in real time.
//!
//! Rule: it goes the same way as what encoders push; only the bytes come from this binary. Each
//! wrap is a discontinuity, as the clip's timestamps start again.

use crate::origin::{Header, Lines, NewSegment, PushError, Stream, unix_ms};
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

/// The clip's segments; `assets/README.md` says how they were made.
const CLIP: [&[u8]; 6] = [
    include_bytes!("../assets/demo0.ts"),
    include_bytes!("../assets/demo1.ts"),
    include_bytes!("../assets/demo2.ts"),
    include_bytes!("../assets/demo3.ts"),
    include_bytes!("../assets/demo4.ts"),
    include_bytes!("../assets/demo5.ts"),
];
/// Each of them.
const SEGMENT: Duration = Duration::from_secs(2);
/// Segments published at once at the start, as if it had run before: a player can begin.
const HEAD_START: u32 = 3;
/// Segments in the playlist.
const WINDOW: usize = 10;
const PLAYLIST: &str = "index.m3u8";

/// Publishes the channel into `stream` for ever.
pub(crate) async fn run(stream: Arc<Stream>) {
    if let Err(error) = publish_all(&stream).await {
        tracing::error!(%error, "the demo channel stops");
    }
}

async fn publish_all(stream: &Stream) -> Result<(), PushError> {
    stream.begin_own(PLAYLIST).await?;
    let start = tokio::time::Instant::now();
    let start_unix = Duration::from_millis(unix_ms());
    for count in 0_u32.. {
        // Segment `count` covers the media time that ends when it is published.
        let (media_start, due) = (SEGMENT * count, SEGMENT * (count + 1));
        let lead = SEGMENT * HEAD_START;
        tokio::time::sleep_until(start + due.saturating_sub(lead)).await;
        let program_date = (start_unix + media_start).saturating_sub(lead);
        publish(stream, count, program_date).await?;
    }
    Ok(())
}

async fn publish(stream: &Stream, count: u32, program_date: Duration) -> Result<(), PushError> {
    let place = count as usize % CLIP.len();
    let bytes = Bytes::from_static(CLIP[place]);
    let date = humantime::format_rfc3339_millis(UNIX_EPOCH + program_date);
    let tags = vec![
        format!("#EXTINF:{:.6},", SEGMENT.as_secs_f64()),
        format!("#EXT-X-PROGRAM-DATE-TIME:{date}"),
    ];
    let lines = Lines { discontinuity: place == 0, tags, ..Lines::default() };
    let hash = blake3::hash(&bytes);
    let segment = NewSegment {
        bytes,
        hash,
        name: "demo.ts".into(),
        duration: SEGMENT,
        lines,
        gap: false,
        named: false,
        pieces: 1,
    };
    let target_s = SEGMENT.as_secs();
    let header =
        Header { version: 3, target_s, independent: true, window: WINDOW, ..Header::default() };
    stream.publish_own(PLAYLIST, header, segment).await.map(drop)
}
