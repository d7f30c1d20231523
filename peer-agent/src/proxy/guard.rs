//! Who may ask the local proxy, and for what.
//!
//! Rule: a request passes only if it names this proxy as its host (a foreign name that resolves to
//! loopback is DNS rebinding), if no web page stands behind it that does not know the secret, and
//! if its target is a configured site. It looks at the head of a request and nothing else.

use crate::site::Site;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use url::Url;

/// The rules of one proxy.
#[derive(Debug)]
pub(crate) struct Guard {
    hosts: [String; 3],
    page_prefix: String,
    sites: Vec<Site>,
}

/// A request that may pass.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Admitted {
    pub(crate) wants: Wants,
    /// What stands before `/http/…` in this player's URLs.
    pub(crate) prefix: String,
    /// Whether it comes from a web page, which then needs CORS headers.
    pub(crate) from_page: bool,
}

/// What a request is for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wants {
    /// Something of an origin.
    Origin(Url),
    Status,
    Metrics,
    Health,
    /// A short text that says what this is.
    Home,
}

/// Why a request does not pass: 403 with this sentence, 404 for a path that means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("this proxy answers to {0} only; the request names another host")]
    Host(String),
    #[error("web pages need the secret path that shoal-agent printed when it started")]
    Page,
    #[error("{0} is not among the origins that this agent was started for; see --origin")]
    Site(String),
    #[error("no such path; streams are under /http/HOST:PORT/… or /https/HOST:PORT/…")]
    Path,
}

impl Guard {
    pub(crate) fn new(port: u16, secret: &str, sites: Vec<Site>) -> Self {
        let hosts = ["127.0.0.1", "localhost", "[::1]"].map(|host| format!("{host}:{port}"));
        Self { hosts, page_prefix: format!("/s/{secret}"), sites }
    }

    /// The sites that are served.
    pub(crate) fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// Whether, and as what, a request passes.
    pub(crate) fn admit(&self, uri: &Uri, headers: &HeaderMap) -> Result<Admitted, Refusal> {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        if !host.is_some_and(|host| self.hosts.iter().any(|own| own.eq_ignore_ascii_case(host))) {
            return Err(Refusal::Host(self.hosts[0].clone()));
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let with_secret = path.strip_prefix(&self.page_prefix).filter(|rest| rest.starts_with('/'));
        if with_secret.is_none() && is_from_page(headers) {
            return Err(Refusal::Page);
        }
        let prefix = if with_secret.is_some() { self.page_prefix.clone() } else { String::new() };
        let wants = self.wants(with_secret.unwrap_or(path))?;
        Ok(Admitted { wants, prefix, from_page: headers.contains_key(header::ORIGIN) })
    }

    fn wants(&self, path: &str) -> Result<Wants, Refusal> {
        match path.split('?').next().unwrap_or_default() {
            "/" => return Ok(Wants::Home),
            "/status" => return Ok(Wants::Status),
            "/metrics" => return Ok(Wants::Metrics),
            "/healthz" => return Ok(Wants::Health),
            _ => {}
        }
        let url = Site::target(&path[1..]).ok_or(Refusal::Path)?;
        let site = Site::of(&url).map_err(|_| Refusal::Path)?;
        if self.sites.contains(&site) {
            Ok(Wants::Origin(url))
        } else {
            Err(Refusal::Site(site.to_string()))
        }
    }
}

/// Whether a browser says that a page of another site stands behind the request.
fn is_from_page(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    headers.contains_key(header::ORIGIN) || matches!(site, Some(b"cross-site" | b"same-site"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(path: &str, headers: &[(&'static str, &str)]) -> Result<Admitted, Refusal> {
        let guard = Guard::new(8090, "abc", vec!["http://o:80".parse().unwrap()]);
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        guard.admit(&path.parse().unwrap(), &map)
    }

    const LOCAL: (&str, &str) = ("host", "127.0.0.1:8090");

    #[test]
    fn only_our_own_host_names_pass() {
        for host in ["127.0.0.1:8090", "LOCALHOST:8090", "[::1]:8090"] {
            assert!(admit("/status", &[("host", host)]).is_ok(), "{host}");
        }
        for host in ["evil.example:8090", "127.0.0.1", "127.0.0.1:80", "localhost:8091", ""] {
            let refused = admit("/status", &[("host", host)]);
            assert!(matches!(refused, Err(Refusal::Host(_))), "{host}");
        }
        assert!(matches!(admit("/status", &[]), Err(Refusal::Host(_))));
    }

    #[test]
    fn pages_need_the_secret() {
        let path = "/http/o/live/a/index.m3u8?x=1";
        for header in
            [("origin", "https://p"), ("origin", "null"), ("sec-fetch-site", "cross-site")]
        {
            assert_eq!(admit(path, &[LOCAL, header]), Err(Refusal::Page));
            assert_eq!(admit("/status", &[LOCAL, header]), Err(Refusal::Page));
            assert_eq!(admit(&format!("/s/abd{path}"), &[LOCAL, header]), Err(Refusal::Page));
            assert_eq!(admit(&format!("/s/abc2{path}"), &[LOCAL, header]), Err(Refusal::Page));
            let admitted = admit(&format!("/s/abc{path}"), &[LOCAL, header]).unwrap();
            let url = Url::parse("http://o/live/a/index.m3u8?x=1").unwrap();
            assert_eq!(admitted.wants, Wants::Origin(url));
            assert_eq!(admitted.prefix, "/s/abc");
            assert_eq!(admitted.from_page, header.0 == "origin");
        }
        assert!(admit(path, &[LOCAL, ("sec-fetch-site", "none")]).is_ok());
    }

    #[test]
    fn only_configured_sites_are_served() {
        assert!(admit("/http/o:80/x", &[LOCAL]).is_ok());
        for other in ["/http/o:81/x", "/https/o/x", "/http/o.evil/x", "/http/169.254.169.254/x"] {
            assert!(matches!(admit(other, &[LOCAL]), Err(Refusal::Site(_))), "{other}");
        }
        for nothing in ["/x", "/http/", "/http//o/x", "/ftp/o/x", "/http/u@o/x"] {
            assert_eq!(admit(nothing, &[LOCAL]), Err(Refusal::Path), "{nothing}");
        }
    }
}
