//! What the operator decides about upstreams, as it is written in the configuration.
//!
//! Rule: each value is checked where it is read, and says how it should be written.

use super::hosts::AllowedHost;
use super::identity::Rules;
use crate::config::UpstreamConfig;
use crate::net::SPEAKS_TLS;
use axum::http::{HeaderName, HeaderValue};
use serde::{Deserialize, Deserializer};
use shoal_wire::StreamName;
use std::fmt;
use std::str::FromStr;
use url::Url;

/// What holds for all upstreams.
pub(crate) type Settings = UpstreamConfig;

/// Name of a stream whose upstream was given without one.
const DEFAULT_NAME: &str = "cdn";

/// A stream and the existing origin or CDN that it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamUrl {
    /// The stream's name in URLs.
    pub name: StreamName,
    /// What stands before the path and query of viewers' URLs; its path ends in a slash.
    pub base: Url,
}

impl FromStr for UpstreamUrl {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let named = text.split_once('=').filter(|(name, _)| !name.contains(['/', ':']));
        let (name, url) = named.unwrap_or((DEFAULT_NAME, text));
        let name = name.parse().map_err(|error| format!("`{name}`: {error}"))?;
        let wrong = |what: &str| {
            format!("`{url}` {what}: write [NAME=]http://HOST[:PORT]/PATH, without query or user")
        };
        let mut base = Url::parse(url).map_err(|_| wrong("is no URL"))?;
        match base.scheme() {
            "http" => {}
            "https" if SPEAKS_TLS => {}
            "https" => return Err(wrong("needs a server that was built with the feature `tls`")),
            _ => return Err(wrong("is neither http nor https")),
        }
        let plain = base.username().is_empty() && base.password().is_none();
        if !plain || base.query().is_some() || base.fragment().is_some() {
            return Err(wrong("holds more than a place"));
        }
        if !base.path().ends_with('/') {
            let path = format!("{}/", base.path());
            base.set_path(&path);
        }
        Ok(Self { name, base })
    }
}

/// Where viewers' own fetches of segments go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetch {
    /// To the upstream, each with its own URL.
    Cdn,
    /// To the copy that the server fetched for the digest.
    Server,
}

impl FromStr for Fetch {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "cdn" => Ok(Self::Cdn),
            "server" => Ok(Self::Server),
            _ => Err(format!("`{text}` is neither `cdn` nor `server`")),
        }
    }
}

/// A header for the server's own requests, or none where the text is empty.
#[derive(Clone, PartialEq, Eq)]
pub struct OptionalHeader(pub(crate) Option<OperatorHeader>);

/// A header of the operator's: a credential.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct OperatorHeader {
    pub(crate) name: HeaderName,
    pub(crate) value: HeaderValue,
}

impl fmt::Debug for OperatorHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: …", self.name)
    }
}

impl fmt::Debug for OptionalHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for OptionalHeader {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        // The value is a secret and is not repeated.
        let wrong = || "it is no header: write `NAME: VALUE`".to_owned();
        let (name, value) = text.split_once(':').ok_or_else(wrong)?;
        let name = name.trim().parse().map_err(|_| wrong())?;
        let mut value: HeaderValue = value.trim().parse().map_err(|_| wrong())?;
        value.set_sensitive(true);
        Ok(Self(Some(OperatorHeader { name, value })))
    }
}

/// A query for the server's own requests; empty for none.
#[derive(Clone, PartialEq, Eq)]
pub struct OperatorQuery(pub(crate) String);

impl fmt::Debug for OperatorQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OperatorQuery(…)")
    }
}

impl FromStr for OperatorQuery {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains(['?', '#', ' ']) {
            return Err("it is no query: write `KEY=VALUE&KEY=VALUE`".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

macro_rules! read_from_text {
    ($($value:ident)*) => { $(
        impl<'de> Deserialize<'de> for $value {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )* };
}

read_from_text!(UpstreamUrl Fetch OptionalHeader OperatorQuery AllowedHost);

impl Settings {
    /// The rules of identity.
    pub(crate) fn rules(&self) -> Rules {
        Rules {
            presets: self.presets.clone(),
            query: self.ignore_query.clone(),
            path: self.ignore_path.clone(),
        }
    }

    /// `url` as the server itself asks for it: with the operator's credentials, if there are any.
    pub(crate) fn own_url(&self, rules: &Rules, url: &Url) -> Url {
        let query = &self.operator_query.0;
        if query.is_empty() && self.operator_header.0.is_none() {
            return url.clone();
        }
        let mut url = rules.without_query_tokens(url);
        if !query.is_empty() {
            let kept = url.query().map_or(String::new(), |kept| format!("{kept}&"));
            url.set_query(Some(&format!("{kept}{query}")));
        }
        url
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn an_upstream_is_a_place() {
        for (text, name, base) in [
            ("http://h/a=b", "cdn", "http://h/a=b/"),
            ("tv=http://h:81/x/", "tv", "http://h:81/x/"),
            ("tv=http://h", "tv", "http://h/"),
        ] {
            let url: UpstreamUrl = text.parse().unwrap();
            assert_eq!((url.name.as_str(), url.base.as_str()), (name, base));
        }
        for (wrong, says) in [
            ("h/x", "is no URL"),
            ("ftp://h/", "neither http nor https"),
            ("http://h/?x", "more than a place"),
            ("http://u:p@h/", "more than a place"),
            ("a b=http://h/", "stream name"),
        ] {
            let error = wrong.parse::<UpstreamUrl>().unwrap_err();
            assert!(error.contains(says), "{wrong}: {error}");
        }
    }

    #[test]
    fn the_servers_own_requests_carry_the_operators_credentials() {
        let url = Url::parse("http://h/a.m3u8?token=viewer&v=1").unwrap();
        for (text, expected) in [
            ("", "http://h/a.m3u8?token=viewer&v=1"),
            ("upstream.operator_query = 'k=1&l=2'", "http://h/a.m3u8?v=1&k=1&l=2"),
            ("upstream.operator_header = 'X-Key: secret'", "http://h/a.m3u8?v=1"),
        ] {
            let settings = Config::from_toml(text).unwrap().upstream;
            assert_eq!(settings.own_url(&settings.rules(), &url).as_str(), expected);
            assert!(!format!("{settings:?}").contains("secret"));
        }
        assert!("secret".parse::<OptionalHeader>().unwrap_err().contains("`NAME: VALUE`"));
    }
}
