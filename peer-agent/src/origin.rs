//! The origin client: what the engine fetches, what playlists are polled, what is passed through.
//!
//! Rule: one pooled client for all streams and players; every wait ends. It retries nothing: the
//! engine knows what is urgent.

use crate::site::Site;
use crate::stream::StreamAddress;
use crate::tls::Tls;
use crate::token::Tokens;
use bytes::{Bytes, BytesMut};
use reqwest::header::{AUTHORIZATION, CONTENT_RANGE, HeaderMap, RANGE};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use shoal_peer::{FetchId, Input, OriginFailure};
use shoal_wire::ObjectId;
use shoal_wire::digest::DIGEST_BYTES_MAX;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use url::Url;

/// An origin that does not accept within this time is down or far beyond use.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Silence within an answer, or before it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections kept: a viewer's playlist, its segment, and a few ranges.
const IDLE_CONNECTIONS_MAX: usize = 6;
/// Redirects followed, as browsers allow at most twenty and origins use one.
const REDIRECTS_MAX: usize = 5;
/// Most bytes of a playlist: a day of two-second segments is 5 MB.
pub(crate) const PLAYLIST_BYTES_MAX: usize = 8 << 20;

/// What the engine is told when an object is longer than peers may share; the proxy then passes
/// the request through.
pub(crate) const TOO_LONG: OriginFailure = OriginFailure::Status(413);

/// A client for all origins.
#[derive(Clone, Debug)]
pub(crate) struct OriginClient {
    http: reqwest::Client,
    tokens: Tokens,
}

/// News of a fetch for the engine.
#[derive(Debug)]
pub(crate) struct FetchEvent {
    pub(crate) fetch: FetchId,
    pub(crate) input: Input,
    /// Nothing follows.
    pub(crate) last: bool,
}

/// A playlist, as an origin gave it.
#[derive(Debug)]
pub(crate) struct PlaylistText {
    /// Where it was found, after redirects.
    pub(crate) found: Url,
    pub(crate) text: String,
    /// Where it says that its stream's tracker is.
    pub(crate) address: Option<StreamAddress>,
}

/// Why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlaylistFailure {
    #[error("the origin answered {0}")]
    Status(StatusCode),
    #[error("the origin cannot be reached")]
    Unreachable,
    #[error("the origin's playlist is no text or has more than {PLAYLIST_BYTES_MAX} bytes")]
    Unreadable,
}

impl OriginClient {
    /// A client that follows redirects only to `sites`; others are the player's own business. An
    /// object's may lead anywhere, as they may for any player: its origin sends viewers to a CDN.
    ///
    /// They are shown the viewer's token; whom they redirect to is not.
    pub(crate) fn new(
        sites: Arc<[Site]>,
        tls: &Tls,
        tokens: Tokens,
    ) -> Result<Self, reqwest::Error> {
        let redirects = reqwest::redirect::Policy::custom(move |attempt| {
            let asked = attempt.previous().first();
            let is_object = asked.is_some_and(|url| ObjectId::from_url_path(url.path()).is_some());
            let allowed =
                Site::of(attempt.url()).is_ok_and(|site| is_object || sites.contains(&site));
            if allowed && attempt.previous().len() <= REDIRECTS_MAX {
                attempt.follow()
            } else {
                attempt.stop()
            }
        });
        let builder = reqwest::Client::builder()
            .user_agent(concat!("shoal-agent/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .tcp_nodelay(true)
            .http1_only()
            // It would tell one host the query of another's URL.
            .referer(false)
            .redirect(redirects);
        Ok(Self { http: tls.apply(builder).build()?, tokens })
    }

    /// A request with the viewer's token.
    fn get(&self, url: Url) -> RequestBuilder {
        let request = self.http.get(url);
        match self.tokens.now() {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Asks as a player did.
    pub(crate) async fn pass(
        &self,
        method: Method,
        url: Url,
        headers: HeaderMap,
    ) -> Result<Response, reqwest::Error> {
        let token = self.tokens.now().filter(|_| !headers.contains_key(AUTHORIZATION));
        let request = self.http.request(method, url).headers(headers);
        match token {
            Some(token) => request.bearer_auth(token).send().await,
            None => request.send().await,
        }
    }

    /// Polls a playlist.
    pub(crate) async fn playlist(&self, url: Url) -> Result<PlaylistText, PlaylistFailure> {
        let answer = self.get(url).send().await.map_err(|error| {
            tracing::debug!(error = %error.without_url(), "playlist poll failed");
            PlaylistFailure::Unreachable
        })?;
        if answer.status() != StatusCode::OK {
            return Err(PlaylistFailure::Status(answer.status()));
        }
        read_playlist(answer).await
    }

    /// Fetches a digest, which an origin of ours has beside its segment.
    pub(crate) async fn digest(&self, url: Url) -> Result<Bytes, OriginFailure> {
        let unreachable = |error: reqwest::Error| {
            tracing::debug!(error = %error.without_url(), "digest fetch failed");
            OriginFailure::Unreachable
        };
        let mut answer = self.get(url).send().await.map_err(unreachable)?;
        if answer.status() != StatusCode::OK {
            return Err(OriginFailure::Status(answer.status().as_u16()));
        }
        let mut bytes = BytesMut::new();
        while let Some(part) = answer.chunk().await.map_err(unreachable)? {
            if bytes.len() + part.len() > DIGEST_BYTES_MAX {
                return Err(TOO_LONG);
            }
            bytes.extend_from_slice(&part);
        }
        Ok(bytes.freeze())
    }

    /// Fetches an object for the engine, whose inputs go to `to`.
    pub(crate) fn fetch(
        &self,
        fetch: FetchId,
        url: Url,
        range: Option<(u32, u32)>,
        to: mpsc::Sender<FetchEvent>,
    ) -> AbortHandle {
        let mut request = self.get(url);
        if let Some((offset, len)) = range {
            let last = u64::from(offset) + u64::from(len).saturating_sub(1);
            request = request.header(RANGE, format!("bytes={offset}-{last}"));
        }
        let work = async move {
            let input = match run_fetch(fetch, request, &to).await {
                Ok(()) => Input::OriginDone { fetch },
                Err(failure) => Input::OriginFailed { fetch, failure },
            };
            // The stream's task is gone, and with it whoever wanted the bytes.
            let _ = to.send(FetchEvent { fetch, input, last: true }).await;
        };
        tokio::spawn(work).abort_handle()
    }
}

/// Reads a playlist's text within its limit.
pub(crate) async fn read_playlist(mut answer: Response) -> Result<PlaylistText, PlaylistFailure> {
    let found = answer.url().clone();
    let address = StreamAddress::of(&found, answer.headers());
    let mut bytes = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(|_| PlaylistFailure::Unreachable)? {
        if bytes.len() + part.len() > PLAYLIST_BYTES_MAX {
            return Err(PlaylistFailure::Unreadable);
        }
        bytes.extend_from_slice(&part);
    }
    let text = String::from_utf8(bytes).map_err(|_| PlaylistFailure::Unreadable)?;
    Ok(PlaylistText { found, text, address })
}

async fn run_fetch(
    fetch: FetchId,
    request: RequestBuilder,
    to: &mpsc::Sender<FetchEvent>,
) -> Result<(), OriginFailure> {
    let unreachable = |error: reqwest::Error| {
        tracing::debug!(error = %error.without_url(), "origin fetch failed");
        OriginFailure::Unreachable
    };
    let mut answer = request.send().await.map_err(unreachable)?;
    let (total, offset) = match answer.status() {
        StatusCode::OK => (answer.content_length(), 0),
        StatusCode::PARTIAL_CONTENT => {
            let range = answer.headers().get(CONTENT_RANGE).and_then(|v| v.to_str().ok());
            range.and_then(content_range).ok_or(OriginFailure::Unreachable)?
        }
        other => return Err(OriginFailure::Status(other.as_u16())),
    };
    let total_len = total.map(u32::try_from).transpose().map_err(|_| TOO_LONG)?;
    if total_len.is_some_and(|len| len > shoal_wire::OBJECT_BYTES_MAX) {
        return Err(TOO_LONG);
    }
    let offset = u32::try_from(offset).map_err(|_| TOO_LONG)?;
    let started = Input::OriginStarted { fetch, total_len, offset };
    tell(to, fetch, started).await?;
    let mut left = u64::from(shoal_wire::OBJECT_BYTES_MAX);
    while let Some(bytes) = answer.chunk().await.map_err(unreachable)? {
        left = left.checked_sub(bytes.len() as u64).ok_or(TOO_LONG)?;
        let data = Input::OriginData { fetch, bytes };
        tell(to, fetch, data).await?;
    }
    Ok(())
}

async fn tell(
    to: &mpsc::Sender<FetchEvent>,
    fetch: FetchId,
    input: Input,
) -> Result<(), OriginFailure> {
    let event = FetchEvent { fetch, input, last: false };
    to.send(event).await.map_err(|_| OriginFailure::Unreachable)
}

/// Reads `bytes FIRST-LAST/TOTAL`: total length, if told, and offset.
fn content_range(text: &str) -> Option<(Option<u64>, u64)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = range.split_once('-')?;
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    Some((total, first.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read() {
        for (text, expected) in [
            ("bytes 0-9/100", Some((Some(100), 0))),
            ("bytes 5-9/*", Some((None, 5))),
            ("bytes */100", None),
            ("items 0-9/100", None),
            ("bytes 0-9/x", None),
        ] {
            assert_eq!(content_range(text), expected, "{text}");
        }
    }
}
