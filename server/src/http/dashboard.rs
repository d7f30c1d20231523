//! What the operator's page asks for: events, and the switch for peers.
//!
//! Rule: what changes something takes JSON from the server's own page or from a program, never from
//! another site's page (a form cannot send JSON, and a browser says where a script is from).

use super::Shared;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use shoal_wire::StreamName;
use std::convert::Infallible;

/// `GET /admin/events`: server-sent events until the client goes or the server stops.
pub(super) async fn events(State(shared): State<Shared>) -> Response<Body> {
    let Some(looker) = shared.dashboard.look() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many pages are open\n").into_response();
    };
    let events = stream::unfold((looker, shared.stop), |(mut looker, stop)| async move {
        tokio::select! {
            () = stop.cancelled() => None,
            event = looker.next() => {
                event.map(|event| (Ok::<_, Infallible>(event), (looker, stop)))
            }
        }
    });
    let mut response = Response::new(Body::from_stream(events));
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // A proxy that collects an answer before it passes it on would pass on nothing.
    out.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// What the switch is set to.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Switch {
    enabled: bool,
}

#[derive(Serialize)]
struct Switched {
    stream: StreamName,
    peers_enabled: bool,
}

/// `POST /admin/streams/{stream}/peers`.
pub(super) async fn switch_peers(
    State(shared): State<Shared>,
    Path(stream): Path<String>,
    headers: HeaderMap,
    body: String,
) -> Response<Body> {
    let enabled = match wanted(&headers, &body) {
        Ok(enabled) => enabled,
        Err((status, why)) => return (status, why).into_response(),
    };
    let no_stream = || (StatusCode::NOT_FOUND, "no such stream\n").into_response();
    let Ok(stream) = stream.parse::<StreamName>() else { return no_stream() };
    if !shared.sessions.switch_peers(stream.clone(), enabled).await {
        return no_stream();
    }
    Json(Switched { stream, peers_enabled: enabled }).into_response()
}

/// `POST /admin/peers`: the same for all streams at once.
pub(super) async fn switch_all_peers(
    State(shared): State<Shared>,
    headers: HeaderMap,
    body: String,
) -> Response<Body> {
    let enabled = match wanted(&headers, &body) {
        Ok(enabled) => enabled,
        Err((status, why)) => return (status, why).into_response(),
    };
    if !shared.sessions.switch_all_peers(enabled).await {
        return (StatusCode::SERVICE_UNAVAILABLE, "the server stops\n").into_response();
    }
    Json(Switch { enabled }).into_response()
}

/// What a switch is to be set to, if the asker may set it.
fn wanted(headers: &HeaderMap, body: &str) -> Result<bool, (StatusCode, String)> {
    is_ours(headers).map_err(|(status, why)| (status, why.to_owned()))?;
    match serde_json::from_str(body) {
        Ok(Switch { enabled }) => Ok(enabled),
        Err(error) => {
            let why = format!("the body must be {{\"enabled\": true}} or false: {error}\n");
            Err((StatusCode::BAD_REQUEST, why))
        }
    }
}

/// Whether a request that changes something may come from a browser's page of ours, or from no page.
pub(super) fn is_ours(headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
    let value = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let kind = value(header::CONTENT_TYPE).and_then(|kind| kind.split(';').next());
    if !kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json")) {
        let why = "send it as content-type: application/json\n";
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
    }
    if !headers.contains_key(header::ORIGIN) {
        return Ok(());
    }
    let from = value(header::ORIGIN).and_then(|origin| origin.split_once("://"));
    match (from, value(header::HOST)) {
        (Some((_, from)), Some(host)) if from.eq_ignore_ascii_case(host) => Ok(()),
        (_, _) => Err((StatusCode::FORBIDDEN, "only this server's own page may ask for that\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_of_our_own_page_or_of_a_program_changes_anything() {
        let json = "application/json; charset=utf-8";
        for (kind, origin, status) in [
            (Some(json), None, None),
            (Some(json), Some("http://admin:9090"), None),
            (Some(json), Some("https://ADMIN:9090"), None),
            (Some(json), Some("http://admin"), Some(403)),
            (Some(json), Some("http://evil.example"), Some(403)),
            (Some(json), Some("null"), Some(403)),
            (Some("text/plain"), None, Some(415)),
            (Some("application/jsonx"), None, Some(415)),
            (None, Some("http://admin:9090"), Some(415)),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("admin:9090"));
            for (name, value) in [(header::CONTENT_TYPE, kind), (header::ORIGIN, origin)] {
                if let Some(value) = value {
                    headers.insert(name, HeaderValue::from_static(value));
                }
            }
            let refused = is_ours(&headers).err().map(|(status, _)| status.as_u16());
            assert_eq!(refused, status, "{kind:?} {origin:?}");
        }
    }
}
