//! A site is an origin that the agent serves, and the local URLs that stand for its own.
//!
//! Rule: the local path is `/SCHEME/HOST[:PORT]` and then the origin's path and query unchanged,
//! so that relative URIs in playlists mean the same on both sides.

use url::Url;

/// Scheme, host and port of an origin.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Site {
    scheme: &'static str,
    /// Host and, unless it is the scheme's own, port.
    authority: String,
}

/// A text that names no site.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSite {
    /// It is no URL at all.
    #[error("`{0}` is no URL; write it like http://HOST:PORT/live/NAME/index.m3u8")]
    Url(String),
    /// Another scheme.
    #[error("`{0}` is neither http nor https; the agent fetches from HTTP origins only")]
    Scheme(String),
    /// A user name or password.
    #[error("a URL with a user name or password cannot be served; leave them out")]
    Credentials,
}

impl Site {
    /// The site of a URL.
    ///
    /// # Errors
    /// [`InvalidSite`] says what is wrong with it.
    pub fn of(url: &Url) -> Result<Self, InvalidSite> {
        let scheme = match url.scheme() {
            "http" => "http",
            "https" => "https",
            _ => return Err(InvalidSite::Scheme(url.to_string())),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidSite::Credentials);
        }
        let host = url.host_str().ok_or_else(|| InvalidSite::Url(url.to_string()))?;
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        Ok(Self { scheme, authority })
    }

    /// Whether it is asked over TLS.
    pub(crate) fn is_secure(&self) -> bool {
        self.scheme == "https"
    }

    /// Reads `SCHEME/HOST[:PORT]/path?query`, the part of a local URL after its first slash.
    pub(crate) fn target(local: &str) -> Option<Url> {
        let (scheme, rest) = local.split_once('/')?;
        if !matches!(scheme, "http" | "https") || rest.starts_with('/') {
            return None;
        }
        let url = Url::parse(&format!("{scheme}://{rest}")).ok()?;
        Self::of(&url).is_ok().then_some(url)
    }
}

/// The path under which the agent serves `url`, with its query.
pub(crate) fn local_path(url: &Url) -> String {
    let authority = match (url.host_str().unwrap_or_default(), url.port()) {
        (host, Some(port)) => format!("{host}:{port}"),
        (host, None) => host.to_owned(),
    };
    let query = url.query().map_or(String::new(), |query| format!("?{query}"));
    format!("/{}/{authority}{}{query}", url.scheme(), url.path())
}

/// Reads a URL that a person gave.
///
/// # Errors
/// [`InvalidSite`] says what is wrong with it.
pub fn parse_url(text: &str) -> Result<Url, InvalidSite> {
    let url = Url::parse(text).map_err(|_| InvalidSite::Url(text.to_owned()))?;
    Site::of(&url).map(|_| url)
}

impl std::str::FromStr for Site {
    type Err = InvalidSite;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::of(&parse_url(text)?)
    }
}

impl std::fmt::Display for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_urls_and_origin_urls_map_to_each_other() {
        for (url, local) in [
            ("http://h:8080/live/a/index.m3u8?t=1", "/http/h:8080/live/a/index.m3u8?t=1"),
            ("https://h/x%20y.ts", "/https/h/x%20y.ts"),
            ("http://[::1]:90/a", "/http/[::1]:90/a"),
        ] {
            let parsed = Url::parse(url).unwrap();
            assert_eq!(local_path(&parsed), local);
            assert_eq!(Site::target(&local[1..]), Some(parsed));
        }
    }

    #[test]
    fn a_default_port_is_no_other_site() {
        assert_eq!("http://h:80".parse::<Site>(), "http://h/".parse());
        assert_ne!("http://h:81".parse::<Site>(), "http://h".parse());
        assert_ne!("https://h".parse::<Site>(), "http://h".parse());
    }

    #[test]
    fn what_is_no_site_says_why() {
        assert!(matches!("ftp://h/".parse::<Site>(), Err(InvalidSite::Scheme(_))));
        assert!(matches!(
            "h:8080".parse::<Site>(),
            Err(InvalidSite::Scheme(_) | InvalidSite::Url(_))
        ));
        assert!(matches!("index.m3u8".parse::<Site>(), Err(InvalidSite::Url(_))));
        assert_eq!("http://u:p@h/".parse::<Site>(), Err(InvalidSite::Credentials));
        for bad in ["", "http", "http/", "ftp/h/x", "http//h/x", "http/u@h/x"] {
            assert_eq!(Site::target(bad), None, "{bad}");
        }
    }
}
