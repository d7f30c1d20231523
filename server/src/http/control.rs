//! The control interface, `/api/v1/…` on the operator's listener: what `shoal-server ctl` speaks.
//!
//! Rule: answers are JSON, errors are `{"error": sentence}`. What changes something takes JSON from
//! the server's own page or from a program, never from another site's page (a form cannot send JSON,
//! and a browser says where a script is from). `openapi.json` names every route; a test compares.

use super::Shared;
use super::admin;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, get, post};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shoal_wire::{PeerId, StreamName};
use std::time::Duration;

/// The description of the interface (OpenAPI 3.1).
const OPENAPI: &str = include_str!("../../openapi.json");
/// Longest ban: a week.
const BAN_SECONDS_MAX: u64 = 7 * 24 * 3600;

/// All routes: method, path, handler.
pub(super) fn routes() -> [(&'static str, &'static str, MethodRouter<Shared>); 11] {
    [
        ("get", "/api/v1/openapi.json", get(openapi)),
        ("get", "/api/v1/streams", get(streams)),
        ("get", "/api/v1/streams/{stream}", get(stream)),
        ("post", "/api/v1/streams/{stream}/peers", post(peers)),
        ("post", "/api/v1/streams/{stream}/epoch", post(epoch)),
        ("get", "/api/v1/streams/{stream}/trace", get(trace)),
        ("get", "/api/v1/streams/{stream}/viewers/{peer}", get(viewer)),
        ("post", "/api/v1/streams/{stream}/viewers/{peer}/kick", post(kick)),
        ("post", "/api/v1/streams/{stream}/viewers/{peer}/ban", post(ban)),
        ("post", "/api/v1/peers", post(all_peers)),
        ("post", "/api/v1/drain", post(drain)),
    ]
}

/// Why something was not done.
#[derive(Debug)]
struct Problem(StatusCode, String);

impl Problem {
    fn absent(what: &str) -> Self {
        Self(StatusCode::NOT_FOUND, format!("no such {what}"))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        (self.0, Json(serde_json::json!({ "error": self.1 }))).into_response()
    }
}

type Answer<T> = Result<Json<T>, Problem>;

/// The body of a request that changes something; an empty one is `{}`.
fn order<T: DeserializeOwned>(headers: &HeaderMap, body: &str) -> Result<T, Problem> {
    is_ours(headers)?;
    let body = if body.trim().is_empty() { "{}" } else { body };
    serde_json::from_str(body)
        .map_err(|error| Problem(StatusCode::BAD_REQUEST, format!("the body: {error}")))
}

/// Whether a request that changes something may come from a browser's page of ours, or from no page.
fn is_ours(headers: &HeaderMap) -> Result<(), Problem> {
    let value = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let kind = value(header::CONTENT_TYPE).and_then(|kind| kind.split(';').next());
    if !kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json")) {
        let why = "send it as content-type: application/json";
        return Err(Problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, why.to_owned()));
    }
    if !headers.contains_key(header::ORIGIN) {
        return Ok(());
    }
    let from = value(header::ORIGIN).and_then(|origin| origin.split_once("://"));
    match (from, value(header::HOST)) {
        (Some((_, from)), Some(host)) if from.eq_ignore_ascii_case(host) => Ok(()),
        (_, _) => {
            let why = "only this server's own page may ask for that";
            Err(Problem(StatusCode::FORBIDDEN, why.to_owned()))
        }
    }
}

fn name(text: &str) -> Result<StreamName, Problem> {
    text.parse().map_err(|_| Problem::absent("stream"))
}

fn peer(text: &str) -> Result<PeerId, Problem> {
    text.parse().map_err(|_| Problem::absent("viewer"))
}

async fn openapi() -> Response<Body> {
    let mut response = Response::new(Body::from(OPENAPI));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

async fn streams(State(shared): State<Shared>) -> Json<Vec<admin::StreamStatus>> {
    Json(admin::streams(&shared).await.into_iter().map(admin::StreamStatus::brief).collect())
}

async fn stream(
    State(shared): State<Shared>,
    Path(stream): Path<String>,
) -> Answer<admin::StreamStatus> {
    let all = admin::streams(&shared).await;
    all.into_iter()
        .find(|it| it.stream == stream)
        .map(Json)
        .ok_or_else(|| Problem::absent("stream"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Switch {
    enabled: bool,
}

#[derive(Serialize)]
struct Switched {
    stream: StreamName,
    peers_enabled: bool,
}

async fn peers(
    State(shared): State<Shared>,
    Path(stream): Path<String>,
    headers: HeaderMap,
    body: String,
) -> Answer<Switched> {
    let Switch { enabled } = order(&headers, &body)?;
    let stream = name(&stream)?;
    if !shared.sessions.switch_peers(stream.clone(), enabled).await {
        return Err(Problem::absent("stream"));
    }
    Ok(Json(Switched { stream, peers_enabled: enabled }))
}

#[derive(Serialize)]
struct SwitchedAll {
    peers_enabled: bool,
}

async fn all_peers(
    State(shared): State<Shared>,
    headers: HeaderMap,
    body: String,
) -> Answer<SwitchedAll> {
    let Switch { enabled } = order(&headers, &body)?;
    if !shared.sessions.switch_all_peers(enabled).await {
        return Err(Problem(StatusCode::SERVICE_UNAVAILABLE, "the server stops".to_owned()));
    }
    Ok(Json(SwitchedAll { peers_enabled: enabled }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Serialize)]
struct Begun {
    stream: StreamName,
    epoch: u32,
}

async fn epoch(
    State(shared): State<Shared>,
    Path(stream): Path<String>,
    headers: HeaderMap,
    body: String,
) -> Answer<Begun> {
    let Nothing {} = order(&headers, &body)?;
    let stream = name(&stream)?;
    let of = shared.origin.stream(stream.as_str()).ok_or_else(|| Problem::absent("stream"))?;
    let failed = |error: crate::origin::PushError| {
        Problem(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    };
    let epoch = of.begin_epoch().await.map_err(failed)?.0;
    Ok(Json(Begun { stream, epoch }))
}

async fn trace(
    State(shared): State<Shared>,
    Path(stream): Path<String>,
) -> Answer<crate::sessions::TraceReport> {
    let stream = name(&stream)?;
    if shared.origin.stream(stream.as_str()).is_none() {
        return Err(Problem::absent("stream"));
    }
    shared.sessions.trace(&stream).await.map(Json).ok_or_else(|| {
        let why = "nothing was published to a viewer; is the encoder on, and does anybody watch?";
        Problem(StatusCode::CONFLICT, why.to_owned())
    })
}

async fn viewer(
    State(shared): State<Shared>,
    Path((stream, viewer)): Path<(String, String)>,
) -> Answer<crate::sessions::ViewerStatus> {
    let found = shared.sessions.viewer(name(&stream)?, peer(&viewer)?).await;
    found.map(Json).ok_or_else(|| Problem::absent("viewer"))
}

#[derive(Serialize)]
struct Removed {
    stream: StreamName,
    viewer: String,
    banned_seconds: u64,
}

async fn remove(
    shared: Shared,
    (stream, viewer): (String, String),
    ban: Option<Duration>,
) -> Answer<Removed> {
    let (stream, peer) = (name(&stream)?, peer(&viewer)?);
    if !shared.sessions.remove(stream.clone(), peer, ban).await {
        return Err(Problem::absent("viewer"));
    }
    let banned_seconds = ban.map_or(0, |time| time.as_secs());
    Ok(Json(Removed { stream, viewer, banned_seconds }))
}

async fn kick(
    State(shared): State<Shared>,
    Path(path): Path<(String, String)>,
    headers: HeaderMap,
    body: String,
) -> Answer<Removed> {
    let Nothing {} = order(&headers, &body)?;
    remove(shared, path, None).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ban {
    seconds: u64,
}

async fn ban(
    State(shared): State<Shared>,
    Path(path): Path<(String, String)>,
    headers: HeaderMap,
    body: String,
) -> Answer<Removed> {
    let Ban { seconds } = order(&headers, &body)?;
    if !(1..=BAN_SECONDS_MAX).contains(&seconds) {
        let why = format!("seconds: {seconds} is not from 1 to {BAN_SECONDS_MAX}");
        return Err(Problem(StatusCode::BAD_REQUEST, why));
    }
    remove(shared, path, Some(Duration::from_secs(seconds))).await
}

#[derive(Serialize)]
struct Draining {
    draining: bool,
}

async fn drain(State(shared): State<Shared>, headers: HeaderMap, body: String) -> Answer<Draining> {
    let Nothing {} = order(&headers, &body)?;
    tracing::info!("the operator drains this server");
    shared.drain.cancel();
    Ok(Json(Draining { draining: true }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_names_every_route_and_no_other() {
        let text: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
        let mut described: Vec<(String, String)> = text["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, methods)| {
                methods.as_object().unwrap().keys().map(move |it| (it.clone(), path.clone()))
            })
            .filter(|(method, _)| method != "parameters")
            .collect();
        let mut there: Vec<_> =
            routes().into_iter().map(|(m, p, _)| (m.into(), p.into())).collect();
        described.sort();
        there.sort();
        assert_eq!(described, there);
    }

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
            let refused = is_ours(&headers).err().map(|it| it.0.as_u16());
            assert_eq!(refused, status, "{kind:?} {origin:?}");
        }
    }
}
