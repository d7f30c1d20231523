//! The operator's own service, which is asked whether somebody may publish or play. The question
//! has the form of MediaMTX's, so that services written for it can be used.
//!
//! Rule: only an answer of 2xx lets anybody in. A service that cannot be asked denies, and that is
//! counted apart from its own denials.

use super::Refusal;
use crate::config::AuthConfig;
use crate::http::{Client, Shown};
use crate::net::client;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use shoal_wire::StreamName;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use url::Url;

/// Most answers that are remembered.
const ANSWERS_MAX: usize = 10_000;

/// What somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Action {
    /// To push a stream.
    Publish,
    /// To play it.
    Read,
}

/// Who wants it, by what they show.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Question {
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) token: String,
    pub(crate) ip: IpAddr,
    pub(crate) action: Action,
    /// The stream.
    pub(crate) path: String,
    /// The query as it came.
    pub(crate) query: String,
}

impl Question {
    /// What a request for `stream` asks; `shown` is its token.
    pub(crate) fn new(
        action: Action,
        stream: &StreamName,
        client: &Client,
        uri: &Uri,
        headers: &HeaderMap,
        shown: Option<Shown>,
    ) -> Self {
        let (user, password) = basic(headers).unwrap_or_default();
        // What one poll of a playlist asks is no part of who asks.
        let query = uri.query().unwrap_or_default().split('&');
        let query: Vec<_> = query.filter(|pair| !pair.starts_with("_HLS_")).collect();
        Self {
            user,
            password,
            token: shown.map(|shown| shown.token).unwrap_or_default(),
            ip: client.address,
            action,
            path: stream.to_string(),
            query: query.join("&"),
        }
    }
}

/// The name and the password of Basic authentication (RFC 7617).
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credentials) = value.trim().split_once(' ')?;
    let decoded = STANDARD.decode(credentials.trim()).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (user, password) = text.split_once(':')?;
    scheme.eq_ignore_ascii_case("basic").then(|| (user.to_owned(), password.to_owned()))
}

/// The same as it is sent.
#[derive(Serialize)]
struct Asked<'a> {
    #[serde(flatten)]
    question: &'a Question,
    protocol: &'static str,
    id: String,
}

/// The service.
pub(crate) struct Hook {
    url: Url,
    client: reqwest::Client,
    keep: Duration,
    answers: Mutex<HashMap<blake3::Hash, (Instant, StatusCode)>>,
}

impl Hook {
    /// None if none is configured.
    pub(super) fn new(config: &AuthConfig) -> Result<Option<Self>, String> {
        let Some(url) = config.hook.0.clone() else { return Ok(None) };
        let builder = reqwest::Client::builder()
            .timeout(config.hook_timeout_ms.0)
            .redirect(reqwest::redirect::Policy::none());
        let client = client(builder, url.scheme() == "https")?;
        let keep = config.hook_cache_ms.0;
        Ok(Some(Self { url, client, keep, answers: Mutex::default() }))
    }

    /// Asks, unless the same was asked a moment ago.
    pub(crate) async fn ask(&self, question: &Question) -> Result<(), Refusal> {
        let text = serde_json::to_vec(question).expect("a question is text");
        let key = blake3::hash(&text);
        if let Some((at, status)) = self.answers().get(&key).copied()
            && at.elapsed() < self.keep
        {
            return verdict(status);
        }
        let id = key.to_hex()[..32].to_owned();
        let asked = Asked { question, protocol: "hls", id };
        let body = serde_json::to_vec(&asked).expect("a question is text");
        let request = self.client.post(self.url.clone()).body(body);
        let request = request.header("content-type", "application/json");
        let status = match request.send().await {
            Ok(answer) => answer.status(),
            Err(error) => {
                tracing::warn!(error = %error.without_url(), "auth.hook does not answer");
                return Err(failed());
            }
        };
        if status.is_server_error() {
            tracing::warn!(%status, "auth.hook fails");
            return Err(failed());
        }
        let mut answers = self.answers();
        if answers.len() >= ANSWERS_MAX {
            answers.retain(|_, (at, _)| at.elapsed() < self.keep);
        }
        if answers.len() < ANSWERS_MAX {
            answers.insert(key, (Instant::now(), status));
        }
        drop(answers);
        verdict(status)
    }

    fn answers(&self) -> MutexGuard<'_, HashMap<blake3::Hash, (Instant, StatusCode)>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed() -> Refusal {
    let why = "who may come in cannot be checked: the service of auth.hook does not answer";
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "hook_failed", why)
}

fn verdict(status: StatusCode) -> Result<(), Refusal> {
    if status.is_success() {
        return Ok(());
    }
    let status = match status {
        StatusCode::UNAUTHORIZED => StatusCode::UNAUTHORIZED,
        _ => StatusCode::FORBIDDEN,
    };
    Err(Refusal::new(status, "hook_denied", "the operator's service (auth.hook) denies it"))
}
