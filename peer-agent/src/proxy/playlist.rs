//! Media playlists of a joined stream, from its task.
//!
//! Rule: where the task cannot answer, the origin does; a low-latency poll is always the origin's,
//! because it asks to be held there.

use super::{Asking, pass, sentence};
use crate::agent::Agent;
use crate::origin::{PlaylistFailure, PlaylistText};
use crate::playlist::Rewriter;
use crate::stream::{Command, StreamHandle};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use tokio::sync::oneshot;
use url::Url;

/// Whether the URL's path is a playlist's.
pub(super) fn is_playlist_path(url: &Url) -> bool {
    let path = url.path();
    [".m3u8", ".m3u"].iter().any(|end| {
        path.len() > end.len()
            && path.as_bytes()[path.len() - end.len()..].eq_ignore_ascii_case(end.as_bytes())
    })
}

/// Whether it is a plain poll of a playlist.
pub(super) fn is_media_playlist_poll(url: &Url) -> bool {
    is_playlist_path(url) && !url.query().is_some_and(|query| query.contains("_HLS_"))
}

/// The playlist's own URL: without what one poll of it asks.
pub(super) fn without_directives(url: &Url) -> Url {
    let mut plain = url.clone();
    let kept = url.query().unwrap_or_default().split('&').filter(|pair| !pair.starts_with("_HLS_"));
    let kept = kept.collect::<Vec<_>>().join("&");
    plain.set_query((!kept.is_empty()).then_some(kept.as_str()));
    plain
}

/// Answers a GET for a playlist of `stream`.
pub(super) async fn answer(agent: &Arc<Agent>, stream: &StreamHandle, asking: Asking) -> Response {
    let (reply, answer) = oneshot::channel();
    let command = Command::Playlist { url: asking.url.clone(), reply };
    if stream.commands.send(command).await.is_err() {
        return pass::answer(agent, asking).await;
    }
    match answer.await {
        Ok(Some(Ok(playlist))) => respond(agent, &asking, &playlist),
        Ok(Some(Err(PlaylistFailure::Status(status)))) => {
            sentence(status, &format!("the origin answered {status}"))
        }
        Ok(Some(Err(failure))) => sentence(StatusCode::BAD_GATEWAY, &failure.to_string()),
        Ok(None) | Err(_) => pass::answer(agent, asking).await,
    }
}

/// The playlist as this player is to see it.
pub(super) fn respond(agent: &Agent, asking: &Asking, playlist: &PlaylistText) -> Response {
    let rewriter = Rewriter {
        asked: &asking.url,
        found: &playlist.found,
        prefix: &asking.prefix,
        sites: agent.guard.sites(),
    };
    let mut response = rewriter.rewrite(&playlist.text).into_response();
    let headers = response.headers_mut();
    let content_type = HeaderValue::from_static("application/vnd.apple.mpegurl");
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_low_latency_poll_is_of_the_same_playlist() {
        for (asked, plain) in [
            ("http://o/a.m3u8?_HLS_msn=7&_HLS_part=1", "http://o/a.m3u8"),
            ("http://o/a.m3u8?t=x%20y&_HLS_skip=YES&u=", "http://o/a.m3u8?t=x%20y&u="),
            ("http://o/a.m3u8", "http://o/a.m3u8"),
        ] {
            let url = without_directives(&Url::parse(asked).unwrap());
            assert_eq!(url.as_str(), plain);
        }
    }
}
