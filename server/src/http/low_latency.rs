//! Requests that wait: blocking playlist reloads, delta updates, and parts that are only announced
//! (rfc8216bis, 6.2.5).
//!
//! Rule: nobody waits for longer than three target durations, or for what is far ahead; each waits
//! on a connection of his own, and those are limited.

use crate::origin::object::StoredObject;
use crate::origin::{Playlist, Progress, Stream};
use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use shoal_wire::{ObjectId, Part};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Target durations that a request may wait (6.2.5.2).
const WAIT_TARGETS: u32 = 3;

/// What a request for a playlist asks beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reload {
    /// The segment that it is to show, and which part of it.
    until: Option<(u64, Option<u64>)>,
    /// `_HLS_skip`.
    skip: bool,
}

/// Why a playlist is not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    NoPlaylist,
    Directive,
    Far,
    Late,
}

impl Reload {
    /// From a URL's query.
    pub(super) fn parse(query: Option<&str>) -> Result<Self, Refused> {
        let (mut msn, mut part, mut skip) = (None, None, false);
        for pair in query.unwrap_or_default().split('&') {
            let number = |value: &str| value.parse().map(Some).map_err(|_| Refused::Directive);
            match pair.split_once('=') {
                Some(("_HLS_msn", value)) => msn = number(value)?,
                Some(("_HLS_part", value)) => part = number(value)?,
                Some(("_HLS_skip", value)) => skip = matches!(value, "YES" | "v2"),
                Some(_) | None => {}
            }
        }
        match (msn, part) {
            (None, Some(_)) => Err(Refused::Directive),
            (msn, part) => Ok(Self { until: msn.map(|msn: u64| (msn, part)), skip }),
        }
    }
}

/// The playlist at `path` of `stream`, when it has come as far as `reload` wants.
pub(super) async fn playlist(
    stream: &Stream,
    path: &str,
    reload: Reload,
) -> Result<Playlist, Refused> {
    let mut changes = stream.changes();
    let start = Instant::now();
    loop {
        changes.borrow_and_update();
        let playlist = stream.view().playlists.get(path).cloned().ok_or(Refused::NoPlaylist)?;
        let wait = match (playlist.progress, reload.until) {
            (Some(progress), Some((msn, part))) if !progress.ended => {
                if progress.is_far(msn, part) {
                    return Err(Refused::Far);
                }
                (!progress.shows(msn, part)).then(|| wait(progress))
            }
            (Some(_) | None, _) => None,
        };
        let Some(wait) = wait else {
            let delta = playlist.delta.as_deref().filter(|_| reload.skip).cloned();
            return Ok(delta.unwrap_or(playlist));
        };
        if !matches!(timeout_at(start + wait, changes.changed()).await, Ok(Ok(()))) {
            return Err(Refused::Late);
        }
    }
}

/// The object in `file`, waited for if it is a part that may come next.
pub(super) async fn object(stream: &Stream, file: &str) -> Option<Arc<StoredObject>> {
    let mut changes = stream.changes();
    let start = Instant::now();
    loop {
        changes.borrow_and_update();
        let wait = {
            let view = stream.view();
            if let Some(object) = view.objects.get(file) {
                return Some(Arc::clone(object));
            }
            let id = ObjectId::from_url_path(file).filter(|id| id.part != Part::WHOLE)?;
            let of = |progress: &Progress| progress.rendition == id.rendition;
            let progress = view.playlists.values().filter_map(|it| it.progress).find(of)?;
            let part = Some(u64::from(id.part.0));
            let coming = id.epoch == progress.epoch
                && id.msn >= progress.next_msn
                && !progress.ended
                && !progress.is_far(id.msn, part);
            coming.then(|| wait(progress))?
        };
        timeout_at(start + wait, changes.changed()).await.ok()?.ok()?;
    }
}

fn wait(progress: Progress) -> Duration {
    progress.target * WAIT_TARGETS
}

impl Refused {
    /// The answer.
    pub(super) fn response(self) -> Response<Body> {
        let (status, why) = match self {
            Self::NoPlaylist => {
                return super::playback::not_found("no such playlist, or no segment in it yet\n");
            }
            Self::Directive => (StatusCode::BAD_REQUEST, "a directive is wrong\n"),
            Self::Far => (StatusCode::BAD_REQUEST, "that is too far ahead\n"),
            Self::Late => (StatusCode::SERVICE_UNAVAILABLE, "it did not come in time\n"),
        };
        let mut response = Response::new(Body::from(why));
        *response.status_mut() = status;
        let out = response.headers_mut();
        out.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        out.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_are_read() {
        let ok = |until, skip| Ok(Reload { until, skip });
        for (query, expected) in [
            (None, ok(None, false)),
            (Some("token=a&_HLS_msn=7"), ok(Some((7, None)), false)),
            (Some("_HLS_part=2&_HLS_msn=7&_HLS_skip=YES"), ok(Some((7, Some(2))), true)),
            (Some("_HLS_skip=v2"), ok(None, true)),
            (Some("_HLS_part=2"), Err(Refused::Directive)),
            (Some("_HLS_msn=x"), Err(Refused::Directive)),
        ] {
            assert_eq!(Reload::parse(query), expected, "{query:?}");
        }
    }
}
