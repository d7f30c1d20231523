//! What the server asks of an upstream, within limits.
//!
//! Rule: every answer has a length, a time and a host that it may not exceed; redirects are
//! followed only to hosts that the operator named. An error says what is wrong and never shows a
//! URL, because a URL may hold a viewer's token.

use super::hosts::{Hosts, Refused, Resolver, is_address, is_public};
use super::settings::{OperatorHeader, Settings};
use crate::metrics::Metrics;
use crate::net::client;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, LOCATION, RANGE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use bytes::{Bytes, BytesMut};
use shoal_playlist::ByteRange;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// An upstream that does not accept within this time is down or far beyond use.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Redirects in a row; CDNs use one or two.
const REDIRECTS_MAX: usize = 5;
/// Connections kept open to one host: digest fetches of a ladder, and viewers' playlists.
const IDLE_CONNECTIONS_MAX: usize = 32;
/// Most bytes of a playlist: a day of two-second segments is 5 MB.
const PLAYLIST_BYTES_MAX: usize = 8 << 20;
/// Whom upstreams see.
const USER_AGENT: &str = concat!("shoal-server/", env!("CARGO_PKG_VERSION"));

/// Why an upstream's answer is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("the upstream answered {0}")]
    Status(StatusCode),
    #[error("{0}")]
    Refused(#[from] Refused),
    #[error("the upstream redirects to where the server does not go: {0}")]
    Redirect(Refused),
    #[error("the upstream cannot be reached: {0}")]
    Unreachable(String),
    #[error("the upstream did not answer whole within {0:?}; see upstream.timeout_ms")]
    Slow(Duration),
    #[error("the upstream's answer is longer than {0} bytes")]
    TooLong(usize),
    #[error("the upstream's answer is {0}, which is not what was asked for")]
    Type(String),
    #[error("the upstream's answer is not the range that was asked for")]
    Range,
}

impl FetchError {
    /// Whether the upstream denies it, which is then the viewer's answer too.
    pub(crate) fn denied(&self) -> Option<StatusCode> {
        match self {
            Self::Status(status) if status.is_client_error() => Some(*status),
            Self::Status(_)
            | Self::Refused(_)
            | Self::Redirect(_)
            | Self::Unreachable(_)
            | Self::Slow(_)
            | Self::TooLong(_)
            | Self::Type(_)
            | Self::Range => None,
        }
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    /// Where it was found, after redirects.
    pub(crate) found: Url,
    pub(crate) content_type: Option<String>,
    pub(crate) bytes: Bytes,
}

/// In whose name something is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// A viewer's, with the viewer's URL and nothing of the operator's.
    Viewer,
    /// The server's own, for digests.
    Server,
}

/// Asks one upstream.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    pub(crate) hosts: Arc<Hosts>,
    timeout: Duration,
    segment_bytes_max: usize,
    operator_header: Option<OperatorHeader>,
    private: bool,
    metrics: Arc<Metrics>,
}

impl Client {
    /// # Errors
    /// A sentence, if the system's certificates cannot be used.
    pub(crate) fn new(
        base: &Url,
        settings: &Settings,
        metrics: Arc<Metrics>,
    ) -> Result<Self, String> {
        let hosts = Arc::new(Hosts::new(base, &settings.hosts));
        // Hosts beside the base may be asked either way.
        let secure = base.scheme() == "https" || !settings.hosts.is_empty();
        let allowed = Arc::clone(&hosts);
        let redirects = reqwest::redirect::Policy::custom(move |attempt| {
            let goes_on = attempt.previous().len() <= REDIRECTS_MAX;
            // The answer that redirects elsewhere is looked at below.
            if goes_on && allowed.check(attempt.url()).is_ok() {
                attempt.follow()
            } else {
                attempt.stop()
            }
        });
        let private = settings.private_addresses;
        let builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .tcp_nodelay(true)
            .no_gzip()
            // It would tell one host the token of another.
            .referer(false)
            .no_proxy()
            .dns_resolver(Arc::new(Resolver { private }))
            .redirect(redirects);
        Ok(Self {
            http: client(builder, secure)?,
            hosts,
            timeout: settings.timeout_ms.0,
            segment_bytes_max: settings.segment_mib_max.bytes(),
            operator_header: settings.operator_header.0.clone(),
            private,
            metrics,
        })
    }

    /// Fetches a playlist.
    pub(crate) async fn playlist(&self, url: &Url, asker: Asker) -> Result<Fetched, FetchError> {
        let asked = self.ask(url, asker, None, PLAYLIST_BYTES_MAX);
        let fetched = self.in_time(asked).await?;
        self.count("playlist", fetched.bytes.len());
        Ok(fetched)
    }

    /// Fetches a segment, or a range of a file, for its digest.
    pub(crate) async fn segment(
        &self,
        url: &Url,
        range: Option<ByteRange>,
    ) -> Result<Fetched, FetchError> {
        let asked = self.ask(url, Asker::Server, range, self.segment_bytes_max);
        let fetched = self.in_time(asked).await?;
        self.count("media", fetched.bytes.len());
        if let Some(text) = fetched.content_type.as_deref().filter(|it| it.starts_with("text/html"))
        {
            return Err(FetchError::Type(text.to_owned()));
        }
        Ok(fetched)
    }

    /// Whether the upstream lets the viewer with this URL have what is there.
    pub(crate) async fn authorises(&self, url: &Url) -> Result<(), FetchError> {
        self.hosts.check(url)?;
        let request = self.http.get(url.clone()).header(RANGE, "bytes=0-0");
        let answer = self.in_time(async { request.send().await.map_err(unreachable) }).await?;
        match answer.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(()),
            other => Err(FetchError::Status(other)),
        }
    }

    async fn in_time<T>(
        &self,
        asked: impl Future<Output = Result<T, FetchError>>,
    ) -> Result<T, FetchError> {
        let answer = tokio::time::timeout(self.timeout, asked).await;
        let answer = answer.unwrap_or(Err(FetchError::Slow(self.timeout)));
        if let Err(error) = &answer {
            let denied = error.denied().is_some();
            let reason = if denied { "upstream-denied" } else { "upstream-failed" };
            self.metrics.refused.with_label_values(&[reason]).inc();
        }
        answer
    }

    async fn ask(
        &self,
        url: &Url,
        asker: Asker,
        range: Option<ByteRange>,
        bytes_max: usize,
    ) -> Result<Fetched, FetchError> {
        self.hosts.check(url)?;
        let mut headers = HeaderMap::new();
        if let Some(header) = self.operator_header.as_ref().filter(|_| asker == Asker::Server) {
            headers.insert(header.name.clone(), header.value.clone());
        }
        if let Some(range) = range {
            let last = range.end().saturating_sub(1);
            let value = HeaderValue::from_str(&format!("bytes={}-{last}", range.offset));
            headers.insert(RANGE, value.expect("digits are a header value"));
        }
        let request = self.http.get(url.clone()).headers(headers);
        let answer = request.send().await.map_err(unreachable)?;
        self.check_answer(&answer, range)?;
        let text = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let content_type = text(CONTENT_TYPE).map(str::to_ascii_lowercase);
        let found = answer.url().clone();
        let bytes = read(answer, range, bytes_max).await?;
        Ok(Fetched { found, content_type, bytes })
    }

    fn check_answer(
        &self,
        answer: &reqwest::Response,
        range: Option<ByteRange>,
    ) -> Result<(), FetchError> {
        // A name cannot lead inside, the resolver sees to that; an address has to be the operator's.
        let inside = answer.remote_addr().is_some_and(|address| !is_public(address.ip()));
        let meant = self.private
            || is_address(answer.url())
            || answer.url().host_str() == Some("localhost");
        if inside && !meant {
            let host = answer.url().host_str().unwrap_or_default().to_owned();
            return Err(FetchError::Refused(Refused::Host(host)));
        }
        let status = answer.status();
        if status.is_redirection() {
            let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let target = location.and_then(|location| answer.url().join(location).ok());
            if let Some(Err(refused)) = target.map(|target| self.hosts.check(&target)) {
                return Err(FetchError::Redirect(refused));
            }
        }
        let wanted = if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
        if status == StatusCode::OK && range.is_some() {
            return Err(FetchError::Range);
        }
        if status != wanted {
            return Err(FetchError::Status(status));
        }
        match answer.headers().get(CONTENT_ENCODING).map(HeaderValue::as_bytes) {
            None | Some(b"identity") => Ok(()),
            Some(coding) => {
                let coding = String::from_utf8_lossy(coding).into_owned();
                Err(FetchError::Type(format!("encoded as {coding}")))
            }
        }
    }

    fn count(&self, kind: &str, bytes: usize) {
        self.metrics.upstream_fetch_bytes.with_label_values(&[kind]).inc_by(bytes as u64);
    }
}

async fn read(
    mut answer: reqwest::Response,
    range: Option<ByteRange>,
    bytes_max: usize,
) -> Result<Bytes, FetchError> {
    let told = answer.content_length().unwrap_or(0);
    if usize::try_from(told).map_or(true, |told| told > bytes_max) {
        return Err(FetchError::TooLong(bytes_max));
    }
    let mut bytes = BytesMut::with_capacity(usize::try_from(told).unwrap_or(0));
    while let Some(part) = answer.chunk().await.map_err(unreachable)? {
        if bytes.len() + part.len() > bytes_max {
            return Err(FetchError::TooLong(bytes_max));
        }
        bytes.extend_from_slice(&part);
    }
    if range.is_some_and(|range| range.length != bytes.len() as u64) {
        return Err(FetchError::Range);
    }
    Ok(bytes.freeze())
}

/// The innermost reason; the outer ones show the URL.
#[allow(clippy::needless_pass_by_value, reason = "it is what map_err gives")]
fn unreachable(error: reqwest::Error) -> FetchError {
    let error = error.without_url();
    let mut reason: &dyn std::error::Error = &error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    FetchError::Unreachable(reason.to_string())
}
