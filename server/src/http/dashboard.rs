//! What the operator's page is shown: events, for as long as it looks.
//!
//! Rule: it only looks; what the page changes goes through the control interface.

use super::Shared;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use futures_util::stream;
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
