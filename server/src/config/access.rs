//! Values of the configuration that say who may come in.
//!
//! Rule: a secret shows itself to nobody who prints the configuration. What is written wrongly says
//! how it should be written.

use super::value::read_as_text;
use crate::net::SPEAKS_TLS;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ipnet::IpNet;
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use url::Url;

/// Fewest characters of a secret: HS256 has 32 bytes, and shorter ones can be tried out
/// (RFC 7518, 3.2).
const SECRET_CHARS_MIN: usize = 32;
/// What stands before the 32 bytes of an Ed25519 key in its SubjectPublicKeyInfo (RFC 8410, 4).
const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];

/// A shared secret, or none where the text is empty.
#[derive(Clone, PartialEq, Eq)]
pub struct OptionalSecret(pub Option<String>);

impl fmt::Debug for OptionalSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Some(…)" } else { "None" })
    }
}

impl FromStr for OptionalSecret {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "" => Ok(Self(None)),
            secret if secret.len() >= SECRET_CHARS_MIN => Ok(Self(Some(secret.to_owned()))),
            _ => Err(format!("a secret has {SECRET_CHARS_MIN} characters at least")),
        }
    }
}

/// A secret of somebody else's making; it may be empty.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(String);

impl Hidden {
    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden(…)")
    }
}

impl FromStr for Hidden {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }
}

/// An Ed25519 public key, or none where the text is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionalPublicKey(pub Option<[u8; 32]>);

impl FromStr for OptionalPublicKey {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with("-----"));
        let body: String = lines.collect();
        if body.is_empty() {
            return Ok(Self(None));
        }
        let bytes = STANDARD.decode(&body).or_else(|_| URL_SAFE_NO_PAD.decode(&body));
        let key = bytes.ok().and_then(|bytes| {
            let key = bytes.strip_prefix(&ED25519_SPKI).unwrap_or(&bytes);
            <[u8; 32]>::try_from(key).ok()
        });
        key.map(|key| Self(Some(key))).ok_or_else(|| {
            "this is no Ed25519 public key: write it as PEM (`openssl pkey -pubout`) or as the \
             base64 of its 32 bytes"
                .to_owned()
        })
    }
}

/// Where a set of keys is, or none where the text is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Jwks {
    /// Nowhere.
    None,
    /// Over HTTP.
    Url(Url),
    /// On this machine.
    File(PathBuf),
}

impl FromStr for Jwks {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" => Ok(Self::None),
            url if url.contains("://") => Ok(Self::Url(http_url(url)?)),
            file => Ok(Self::File(file.into())),
        }
    }
}

/// The URL of a service, or none where the text is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionalUrl(pub Option<Url>);

impl FromStr for OptionalUrl {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() { Ok(Self(None)) } else { http_url(text).map(|url| Self(Some(url))) }
    }
}

fn http_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let url = url
        .ok_or_else(|| format!("`{text}` is no URL: write it as in http://127.0.0.1:9000/auth"))?;
    if url.scheme() == "https" && !SPEAKS_TLS {
        return Err(format!("`{text}` needs a server that was built with the feature `tls`"));
    }
    Ok(url)
}

/// Who may fetch playlists and segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Play {
    /// Everybody.
    Open,
    /// Who shows a token.
    Token,
}

impl FromStr for Play {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "open" => Ok(Self::Open),
            "token" => Ok(Self::Token),
            _ => Err(format!("`{text}` is neither `open` nor `token`")),
        }
    }
}

/// Pages of which web origin may play.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebOrigin {
    /// All.
    Any,
    /// This one, as browsers write it.
    Exact(String),
    /// Those whose host ends so, with this scheme: `("https", ".example.com")`.
    Below(String, String),
}

impl WebOrigin {
    /// Whether `origin`, as a browser says it, is meant.
    pub fn admits(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact.eq_ignore_ascii_case(origin),
            Self::Below(scheme, end) => origin.split_once("://").is_some_and(|(its, host)| {
                let host = host.to_ascii_lowercase();
                its.eq_ignore_ascii_case(scheme) && host.len() > end.len() && host.ends_with(end)
            }),
        }
    }
}

impl FromStr for WebOrigin {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let wrong = || format!("`{text}` is no web origin: write https://HOST, or https://*.HOST");
        let (scheme, host) = text.split_once("://").ok_or_else(wrong)?;
        if !matches!(scheme, "http" | "https") || host.is_empty() || host.contains('/') {
            return Err(wrong());
        }
        match host.strip_prefix('*') {
            Some(end) if end.starts_with('.') && end.len() > 1 => {
                Ok(Self::Below(scheme.to_owned(), end.to_ascii_lowercase()))
            }
            Some(_) => Err(wrong()),
            None => Ok(Self::Exact(text.to_owned())),
        }
    }
}

/// A proxy, or a network of them, that tells who its clients are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proxy(pub IpNet);

impl FromStr for Proxy {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let one = || text.parse::<IpAddr>().map(IpNet::from);
        text.parse::<IpNet>()
            .or_else(|_| one())
            .map(Self)
            .map_err(|_| format!("`{text}` is no address: write it as in 127.0.0.1 or 10.0.0.0/8"))
    }
}

/// Where on its site the server is: empty, or as in `/shoal`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasePath(pub String);

impl FromStr for BasePath {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let path = text.trim_end_matches('/');
        let fits = path.split('/').skip(1).all(|part| {
            let visible = part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._~-".contains(&b));
            !matches!(part, "" | "." | "..") && visible
        });
        if path.is_empty() || path.starts_with('/') && fits {
            Ok(Self(path.to_owned()))
        } else {
            Err(format!("`{text}` is no path: write it as in /shoal"))
        }
    }
}

read_as_text!(Hidden OptionalSecret OptionalPublicKey Jwks OptionalUrl Play WebOrigin Proxy BasePath);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_are_written() {
        let key = OptionalPublicKey(Some([7; 32]));
        let pem = [&ED25519_SPKI[..], &[7; 32]].concat();
        let pem = format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            STANDARD.encode(pem)
        );
        for text in [pem, STANDARD.encode([7; 32]), URL_SAFE_NO_PAD.encode([7; 32])] {
            assert_eq!(text.parse(), Ok(key.clone()), "{text}");
        }
        assert_eq!("".parse(), Ok(OptionalPublicKey(None)));
        assert!("AAAA".parse::<OptionalPublicKey>().unwrap_err().contains("PEM"));
        assert!("short".parse::<OptionalSecret>().unwrap_err().contains("32"));
        let secret: OptionalSecret = "s".repeat(32).parse().unwrap();
        assert!(!format!("{secret:?}").contains('s'.to_string().repeat(2).as_str()));
    }

    #[test]
    fn https_is_for_builds_that_speak_it() {
        for url in ["https://a.example/keys", "https://[::1]/"] {
            assert_eq!(url.parse::<Jwks>().is_ok(), cfg!(feature = "tls"), "{url}");
            assert_eq!(url.parse::<OptionalUrl>().is_ok(), cfg!(feature = "tls"), "{url}");
        }
        assert!("ftp://a.example/keys".parse::<Jwks>().unwrap_err().contains("no URL"));
    }

    #[test]
    fn origins_are_matched_whole() {
        for (allowed, origin, admitted) in [
            ("*", "https://a.example", true),
            ("https://a.example", "https://A.example", true),
            ("https://a.example", "http://a.example", false),
            ("https://a.example", "https://a.example.evil", false),
            ("https://*.example", "https://a.b.example", true),
            ("https://*.example", "https://example", false),
            ("https://*.example", "https://evilexample", false),
            ("https://*.example", "null", false),
        ] {
            let web: WebOrigin = allowed.parse().unwrap();
            assert_eq!(web.admits(origin), admitted, "{allowed} {origin}");
        }
        for wrong in ["a.example", "ftp://a", "https://", "https://a/b", "https://*a"] {
            assert!(wrong.parse::<WebOrigin>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn paths_and_proxies() {
        for (text, path) in [("", ""), ("/", ""), ("/shoal/", "/shoal"), ("/a/b", "/a/b")] {
            assert_eq!(text.parse(), Ok(BasePath(path.to_owned())));
        }
        for wrong in ["shoal", "/a/../b", "/a//b", "/a?b", "http://h/a"] {
            assert!(wrong.parse::<BasePath>().is_err(), "{wrong}");
        }
        let proxy: Proxy = "10.0.0.0/8".parse().unwrap();
        assert!(proxy.0.contains(&IpAddr::from([10, 1, 2, 3])));
        assert!("::1".parse::<Proxy>().is_ok() && "ten".parse::<Proxy>().is_err());
    }
}
