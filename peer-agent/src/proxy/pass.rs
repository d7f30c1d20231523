//! What is none of ours: passed through to the origin and back, streamed.
//!
//! Rule: the origin's answer reaches the player as it is, but for headers of one hop, cookies
//! (every origin would share the proxy's host) and URIs in playlists. A playlist that names its
//! tracker makes its stream joined.

use super::playlist::{is_playlist_path, respond, without_directives};
use super::{Asking, sentence};
use crate::agent::Agent;
use crate::origin::read_playlist;
use crate::playlist::is_playlist_type;
use crate::stream::Command;
use axum::body::Body;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use std::sync::Arc;

/// Request headers that mean something to an origin.
const REQUEST_HEADERS: [header::HeaderName; 9] = [
    header::ACCEPT,
    header::ACCEPT_LANGUAGE,
    header::AUTHORIZATION,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::IF_RANGE,
    header::RANGE,
    header::REFERER,
    header::USER_AGENT,
];
/// Those that would make a playlist's answer partial or empty.
const CONDITIONAL_HEADERS: [header::HeaderName; 4] =
    [header::IF_MODIFIED_SINCE, header::IF_NONE_MATCH, header::IF_RANGE, header::RANGE];
/// Answer headers of one hop (RFC 9110, 7.6.1), and cookies.
const DROPPED_HEADERS: [header::HeaderName; 7] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::SET_COOKIE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Asks the origin.
pub(super) async fn answer(agent: &Arc<Agent>, asking: Asking) -> Response {
    let mut headers = HeaderMap::new();
    let playlist = is_playlist_path(&asking.url);
    for name in REQUEST_HEADERS {
        let unwanted = playlist && CONDITIONAL_HEADERS.contains(&name);
        if let Some(value) = asking.headers.get(&name).filter(|_| !unwanted) {
            headers.insert(name, value.clone());
        }
    }
    let asked = agent.origin.pass(asking.method.clone(), asking.url.clone(), headers).await;
    let answer = match asked {
        Ok(answer) => answer,
        Err(error) => {
            tracing::debug!(error = %error.without_url(), "the origin did not answer");
            return sentence(StatusCode::BAD_GATEWAY, "the origin cannot be reached");
        }
    };
    let typed = answer.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_playlist = playlist || typed.is_some_and(is_playlist_type);
    if is_playlist && answer.status() == StatusCode::OK {
        return pass_playlist(agent, asking, answer).await;
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = answer.status();
    *response.headers_mut() = kept(answer.headers());
    *response.body_mut() = Body::from_stream(answer.bytes_stream());
    response
}

/// Passes a playlist on, and joins its stream if it has one.
async fn pass_playlist(agent: &Arc<Agent>, asking: Asking, answer: reqwest::Response) -> Response {
    let mut headers = kept(answer.headers());
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::ETAG);
    if asking.method == Method::HEAD {
        let mut response = Response::new(Body::empty());
        *response.headers_mut() = headers;
        return response;
    }
    let playlist = match read_playlist(answer).await {
        Ok(playlist) => Arc::new(playlist),
        Err(failure) => return sentence(StatusCode::BAD_GATEWAY, &failure.to_string()),
    };
    let stream = playlist.address.clone().and_then(|address| agent.streams.join(address));
    // A delta update says only what is new of the playlist.
    if let Some(stream) = stream.filter(|_| !playlist.text.contains("#EXT-X-SKIP:")) {
        let url = without_directives(&asking.url);
        let command = Command::PlaylistSeen { url, playlist: Arc::clone(&playlist) };
        // A stream that was just left is joined again with the next poll.
        let _ = stream.commands.send(command).await;
    }
    let mut response = respond(agent, &asking, &playlist);
    for (name, value) in &headers {
        if *name != header::CONTENT_TYPE {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

fn kept(headers: &HeaderMap) -> HeaderMap {
    let foreign = |name: &header::HeaderName| {
        DROPPED_HEADERS.contains(name)
            || name.as_str().starts_with("access-control-")
            || matches!(name.as_str(), "keep-alive" | "alt-svc" | "strict-transport-security")
    };
    let mut kept = HeaderMap::new();
    for (name, value) in headers.iter().filter(|(name, _)| !foreign(name)) {
        kept.append(name, value.clone());
    }
    kept
}
