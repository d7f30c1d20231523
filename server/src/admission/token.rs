//! Join tokens: what they claim, and whether it holds here and now.
//!
//! Rule: a token is bound to streams, to a viewer and to a time; one that leaves any of them open
//! is none. The signature is checked before anything in it is believed.

use axum::http::StatusCode;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, get_current_timestamp};
use serde::{Deserialize, Serialize};
use shoal_wire::StreamName;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::Instant;

/// Most bytes of a token; ours have 120, those with keys and addresses 400.
pub(super) const TOKEN_BYTES_MAX: usize = 4096;
/// How far clocks may be apart.
const LEEWAY_S: u64 = 30;
/// A token that lasts longer is looked at again after that: a year.
const LASTS_S_MAX: u64 = 365 * 24 * 3600;
/// Who a token is for, where it says (RFC 7519, 4.1.3).
const AUDIENCE: &str = "shoal";

/// Why a token does not let anybody in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    #[error(
        "a token is needed: send it as ?token=… or as Authorization: Bearer …, or take the \
         tracker's URL from the playlist's shoal-tracker header"
    )]
    Missing,
    #[error("the token is none: {0}")]
    Invalid(&'static str),
    #[error("the token has expired: ask for a new one where this one came from")]
    Expired,
    #[error("the token is for another stream than `{0}`")]
    Stream(StreamName),
    #[error("the token is another viewer's: it is bound to another address")]
    Viewer,
}

impl TokenError {
    pub(super) const fn status(&self) -> StatusCode {
        match self {
            Self::Missing | Self::Invalid(_) | Self::Expired => StatusCode::UNAUTHORIZED,
            Self::Stream(_) | Self::Viewer => StatusCode::FORBIDDEN,
        }
    }

    /// The label under which it is counted.
    pub(super) const fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "token_missing",
            Self::Invalid(_) => "token_invalid",
            Self::Expired => "token_expired",
            Self::Stream(_) => "token_stream",
            Self::Viewer => "token_viewer",
        }
    }
}

/// Who shows a token that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Bearer(pub(super) u64);

impl Bearer {
    /// The viewer that `issuer` calls so: other issuers may mean another.
    pub(crate) fn new(issuer: &str, viewer: &str) -> Self {
        let hash = blake3::hash(format!("{issuer}\n{viewer}").as_bytes());
        let [a, b, c, d, e, f, g, h, ..] = *hash.as_bytes();
        Self(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }
}

impl fmt::Display for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A token that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) bearer: Bearer,
    /// From when on it holds no longer.
    pub(crate) expires: Instant,
}

/// What a token says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Claims {
    /// The viewer.
    pub(super) sub: String,
    /// Seconds since 1970.
    pub(super) exp: u64,
    pub(super) stream: Streams,
    /// The viewer's address, if the token is bound to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ip: Option<IpAddr>,
}

/// The streams of a token.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Streams {
    /// One, or `*` for all.
    One(String),
    /// Any of these.
    Some(Vec<String>),
}

impl Streams {
    fn has(&self, stream: &StreamName) -> bool {
        let is = |name: &String| name == "*" || name == stream.as_str();
        match self {
            Self::One(name) => is(name),
            Self::Some(names) => names.iter().any(is),
        }
    }
}

impl Claims {
    /// The instant from which on [`read`] refuses them.
    pub(super) fn expires(&self) -> Instant {
        let end = self.exp.saturating_add(LEEWAY_S + 1);
        let left = end.saturating_sub(get_current_timestamp());
        Instant::now() + Duration::from_secs(left.min(LASTS_S_MAX))
    }

    /// Whether they hold for a viewer of `stream` at `address`.
    pub(super) fn check(&self, stream: &StreamName, address: IpAddr) -> Result<(), TokenError> {
        if self.sub.is_empty() {
            return Err(TokenError::Invalid("it names no viewer (sub)"));
        }
        if !self.stream.has(stream) {
            return Err(TokenError::Stream(stream.clone()));
        }
        if self.ip.is_some_and(|ip| ip.to_canonical() != address.to_canonical()) {
            return Err(TokenError::Viewer);
        }
        Ok(())
    }
}

/// What `token` claims, if `key` signed it and its time has come and not gone; none if it is not
/// of this key.
pub(super) fn read(
    token: &str,
    algorithm: Algorithm,
    key: &DecodingKey,
) -> Result<Option<Claims>, TokenError> {
    let mut validation = Validation::new(algorithm);
    validation.leeway = LEEWAY_S;
    validation.validate_nbf = true;
    validation.set_required_spec_claims(&["exp", "sub"]);
    validation.set_audience(&[AUDIENCE]);
    let error = match decode::<Claims>(token, key, &validation) {
        Ok(data) => return Ok(Some(data.claims)),
        Err(error) => error,
    };
    #[expect(clippy::wildcard_enum_match_arm, reason = "the library's list has no end")]
    match error.kind() {
        ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm => Ok(None),
        ErrorKind::ExpiredSignature => Err(TokenError::Expired),
        ErrorKind::ImmatureSignature => Err(TokenError::Invalid("its time has not come (nbf)")),
        ErrorKind::InvalidAudience => Err(TokenError::Invalid("it is for somebody else (aud)")),
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::Json(_) => {
            Err(TokenError::Invalid("it must claim `stream`, `sub` and `exp`"))
        }
        _ => Err(TokenError::Invalid("it cannot be read")),
    }
}
