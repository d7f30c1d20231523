//! Who may come in: tokens, and what each of their bearers may do.
//!
//! Rule: every refusal has a status, a reason that is counted and a sentence that says what to
//! change. What cannot be checked is refused. Nothing here reads a body or writes to a socket.

mod crypto;
mod hook;
mod ice;
mod keys;
mod limits;
mod token;

pub(crate) use hook::{Action, Question};
pub(crate) use ice::ViewersIce;
pub(crate) use keys::{Keys, own_secret};
pub(crate) use limits::{network, per_second};
pub(crate) use token::{Bearer, Ticket, TokenError};

use crate::config::{Config, Play, WebOrigin};
use crate::http::{Client, Shown, ShownBy};
use crate::metrics::Metrics;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, Uri, header};
use axum::response::IntoResponse;
use hook::Hook;
use ice::Ice;
use limits::JoinLimits;
use shoal_wire::StreamName;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Why somebody is not let in.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    /// The label under which it is counted.
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, reason: &'static str, message: impl ToString) -> Self {
        Self { status, reason, message: message.to_string() }
    }

    /// The answer; the refusal is counted.
    pub(crate) fn respond(&self, metrics: &Metrics) -> Response<Body> {
        metrics.refused.with_label_values(&[self.reason]).inc();
        tracing::debug!(reason = self.reason, message = self.message, "refused");
        let mut response = (self.status, format!("{}\n", self.message)).into_response();
        let out = response.headers_mut();
        out.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::UNAUTHORIZED {
            out.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<TokenError> for Refusal {
    fn from(error: TokenError) -> Self {
        Self::new(error.status(), error.reason(), error)
    }
}

/// What a request for playback is allowed, and how the viewer gets the token to join with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    /// The token is in the path: whatever is relative has it.
    InPath,
    /// The tracker's URL is to carry this token.
    Join(String),
    /// No token is known; whoever joins brings one.
    Plain,
    /// The same again, with this token in the path.
    MoveTo(String),
}

/// A request for playback.
#[derive(Clone, Copy)]
pub(crate) struct Playing<'a> {
    pub(crate) client: &'a Client,
    pub(crate) uri: &'a Uri,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) is_playlist: bool,
}

/// All rules of admission.
pub(crate) struct Admission {
    pub(crate) keys: Keys,
    joins: JoinLimits,
    hook: Option<Hook>,
    ice: Arc<Ice>,
    web_origins: Vec<WebOrigin>,
    play: Play,
    lifetime: Duration,
    refresh: Duration,
}

impl Admission {
    /// As configured; `own_secret` signs what the server issues itself, and its STUN listens on
    /// `stun`.
    pub(crate) fn new(
        config: &Config,
        own_secret: &[u8; 32],
        stun: &[SocketAddr],
    ) -> Result<Self, String> {
        let auth = &config.auth;
        Ok(Self {
            keys: Keys::new(auth, own_secret)?,
            joins: JoinLimits::new(&config.tracker),
            hook: Hook::new(auth)?,
            ice: Arc::new(Ice::new(config, stun)),
            web_origins: auth.web_origins.clone(),
            play: auth.play,
            lifetime: auth.token_lifetime_ms.0,
            refresh: auth.jwks_refresh_ms.0,
        })
    }

    /// Reads the keys again and forgets what no longer matters, again and again.
    pub(crate) async fn keep(self: Arc<Self>) {
        let fresh = async {
            loop {
                tokio::time::sleep(self.refresh).await;
                self.keys.refresh().await;
            }
        };
        tokio::join!(fresh, self.joins.keep_tidy());
    }

    /// Whether a request for playback of one of the server's own streams is served.
    pub(crate) async fn play(
        &self,
        stream: &StreamName,
        asked: &Playing<'_>,
    ) -> Result<Pass, Refusal> {
        let Playing { client, uri, headers, is_playlist } = *asked;
        let required = self.guards_playback();
        let shown = client.shows(uri, headers);
        let error = match &shown {
            None if !required => return Ok(self.open(stream)),
            None => TokenError::Missing,
            Some(Shown { token, by }) => match self.keys.check(token, stream, client.address) {
                Ok(_) => {
                    return Ok(match by {
                        ShownBy::Path => Pass::InPath,
                        ShownBy::Query if required && is_playlist => Pass::MoveTo(token.clone()),
                        ShownBy::Query | ShownBy::Header => Pass::Join(token.clone()),
                    });
                }
                // It may be somebody else's: who plays openly needs none.
                Err(_) if !required => return Ok(self.open(stream)),
                Err(error) => error,
            },
        };
        // What the operator's service knows may be none of ours; ours in the path is nothing else.
        let in_path = shown.as_ref().is_some_and(|shown| shown.by == ShownBy::Path);
        let Some(hook) = self.hook.as_ref().filter(|_| !in_path) else { return Err(error.into()) };
        let question = Question::new(Action::Read, stream, client, uri, headers, shown);
        hook.ask(&question).await?;
        let token = self.keys.issue(stream, self.lifetime);
        Ok(if is_playlist { Pass::MoveTo(token) } else { Pass::Plain })
    }

    /// Whether the operator's service lets somebody publish; none if there is no such service.
    pub(crate) async fn publish(&self, question: &Question) -> Option<Result<(), Refusal>> {
        match &self.hook {
            Some(hook) => Some(hook.ask(question).await),
            None => None,
        }
    }

    /// What a viewer gets whom somebody else has let in.
    pub(crate) fn issued(&self, stream: &StreamName) -> Pass {
        Pass::Join(self.keys.issue(stream, self.lifetime))
    }

    fn open(&self, stream: &StreamName) -> Pass {
        if self.keys.are_own_alone() { self.issued(stream) } else { Pass::Plain }
    }

    /// Whether a viewer may join the swarm of `stream`.
    pub(crate) fn join(
        &self,
        stream: &StreamName,
        client: &Client,
        (uri, headers): (&Uri, &HeaderMap),
    ) -> Result<(Ticket, ViewersIce), Refusal> {
        let origin = headers.get(header::ORIGIN).map(|value| value.to_str().unwrap_or("null"));
        let admitted =
            |origin: &str| origin.eq_ignore_ascii_case(&client.site) || self.admits_origin(origin);
        if !origin.is_none_or(admitted) {
            let why = "pages of this site may not join (auth.web_origins)";
            return Err(Refusal::new(StatusCode::FORBIDDEN, "web_origin", why));
        }
        self.joins.attempt(client.address)?;
        let shown = client.shows(uri, headers).ok_or(TokenError::Missing)?;
        let ticket = self.keys.check(&shown.token, stream, client.address)?;
        self.joins.join(ticket.bearer)?;
        Ok((ticket, self.ice.of(client.host(), ticket.bearer)))
    }

    /// Whether playback of the server's own streams needs a token: no cache may then answer.
    pub(crate) fn guards_playback(&self) -> bool {
        self.play == Play::Token || self.hook.is_some()
    }

    /// Whether pages of this web origin may read what is here.
    pub(crate) fn admits_origin(&self, origin: &str) -> bool {
        self.web_origins.iter().any(|allowed| allowed.admits(origin))
    }

    /// Whether pages of any web origin may.
    pub(crate) fn admits_all_origins(&self) -> bool {
        self.web_origins.contains(&WebOrigin::Any)
    }
}
