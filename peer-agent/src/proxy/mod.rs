//! The local HTTP proxy: what a player talks to.
//!
//! Rule: a player never knows. Objects of a joined stream come from its engine, media playlists
//! from its task, all else is the origin's own answer, streamed through. A request is held until
//! there is an answer: never an early 404, which players retry at once and then skip.

#[cfg(fuzzing)]
pub mod fuzzing;
mod guard;
mod object;
mod pass;
mod playlist;
mod range;

pub(crate) use guard::Guard;

use crate::agent::Agent;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt;
use guard::{Admitted, Refusal, Wants};
use std::future::Future;
use std::sync::Arc;
use tokio::net::TcpListener;
use url::Url;

/// Serves until `stop` resolves; open answers then end with their connections.
pub(crate) async fn serve(
    listener: TcpListener,
    agent: Arc<Agent>,
    stop: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let router = Router::new().fallback(answer).with_state(agent);
    let listener = listener.tap_io(|tcp| {
        // Only latency suffers where it fails.
        let _ = tcp.set_nodelay(true);
    });
    tokio::select! {
        served = async { axum::serve(listener, router).await } => served,
        () = stop => Ok(()),
    }
}

/// What a handler needs to know of a request.
struct Asking {
    url: Url,
    method: Method,
    headers: HeaderMap,
    /// See [`Admitted::prefix`].
    prefix: String,
}

async fn answer(State(agent): State<Arc<Agent>>, request: Request) -> Response {
    let (head, _) = request.into_parts();
    let admitted = match agent.guard.admit(&head.uri, &head.headers) {
        Ok(admitted) => admitted,
        Err(refusal) => {
            tracing::debug!(%refusal, "request refused");
            let status = match refusal {
                Refusal::Path => StatusCode::NOT_FOUND,
                Refusal::Host(_) | Refusal::Page | Refusal::Site(_) => StatusCode::FORBIDDEN,
            };
            return sentence(status, &refusal.to_string());
        }
    };
    let Admitted { wants, prefix, from_page } = admitted;
    let mut response = match head.method {
        Method::OPTIONS if from_page => StatusCode::NO_CONTENT.into_response(),
        Method::GET | Method::HEAD => {
            let asking = |url| Asking { url, method: head.method, headers: head.headers, prefix };
            match wants {
                Wants::Origin(url) => from_origin(&agent, asking(url)).await,
                Wants::Status => json(&agent.status().await),
                Wants::Metrics => crate::metrics::render(&agent).await.into_response(),
                Wants::Health => "ok\n".into_response(),
                Wants::Home => agent.home().into_response(),
            }
        }
        _ => {
            let mut response = sentence(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            response
        }
    };
    if from_page {
        allow_page(response.headers_mut());
    }
    response
}

async fn from_origin(agent: &Arc<Agent>, asking: Asking) -> Response {
    if asking.method == Method::GET
        && let Some(stream) = agent.streams.find(&asking.url)
    {
        if let Some(object) = crate::stream::object_at(&asking.url, &stream.base) {
            return object::answer(agent, &stream, object, asking).await;
        }
        if playlist::is_media_playlist_poll(&asking.url) {
            return playlist::answer(agent, &stream, asking).await;
        }
    }
    pass::answer(agent, asking).await
}

/// Lets a page read the answer (Fetch standard, 3.2). It knew the secret.
fn allow_page(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "Range, If-None-Match, If-Modified-Since"),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, "Age, Date, ETag, Content-Length, Content-Range"),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // Chrome asks before it lets a public page reach loopback.
    headers.insert("access-control-allow-private-network", HeaderValue::from_static("true"));
}

/// A plain answer of one sentence.
fn sentence(status: StatusCode, text: &str) -> Response {
    (status, format!("{text}\n")).into_response()
}

fn json(value: &impl serde::Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => {
            ([(header::CONTENT_TYPE, "application/json")], Body::from(bytes)).into_response()
        }
        Err(error) => sentence(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}
