//! What is done with every request before it is routed: where it comes from, and which part of its
//! path is not the server's own.
//!
//! Rule: a proxy is believed only if the operator named it. A token may stand before any path, as
//! in `/t/TOKEN/live/…`, so that everything relative carries it; routes never see it. A path that
//! climbs is refused here, for all routes at once.

use crate::admission::Refusal;
use crate::config::{Config, Proxy};
use crate::metrics::Metrics;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Uri, header};
use axum::middleware::Next;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// What a token in the path stands behind.
const TOKEN_PREFIX: &str = "/t/";
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Who asks, as far as connections and trusted proxies tell.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) address: IpAddr,
    /// The site that it believes to talk to, as in a web origin; empty if it does not say.
    pub(crate) site: String,
    /// The token in the path.
    token: Option<String>,
}

/// A token that a request shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) token: String,
    pub(crate) by: ShownBy,
}

/// Where a token stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShownBy {
    /// `/t/TOKEN/…`.
    Path,
    /// `?token=…`.
    Query,
    /// `Authorization: Bearer …`.
    Header,
}

impl Client {
    /// The host without its port.
    pub(crate) fn host(&self) -> &str {
        let authority = self.site.split_once("://").map_or("", |(_, authority)| authority);
        match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
            Some(_) | None => authority,
        }
    }

    /// The token of a request of this client's; what is nearest to the request comes first.
    pub(crate) fn shows(&self, uri: &Uri, headers: &HeaderMap) -> Option<Shown> {
        let of = |token: &str, by| Some(Shown { token: token.to_owned(), by });
        if let Some(token) = token_in(uri.query()) {
            return of(token, ShownBy::Query);
        }
        if let Some(token) = &self.token {
            return of(token, ShownBy::Path);
        }
        let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = value.trim().split_once(' ')?;
        if scheme.eq_ignore_ascii_case("bearer") { of(token.trim(), ShownBy::Header) } else { None }
    }
}

fn token_in(query: Option<&str>) -> Option<&str> {
    let mut pairs = query?.split('&');
    pairs.find_map(|pair| pair.strip_prefix("token=")).filter(|token| !token.is_empty())
}

/// The same path and query with `token` in the path, relative to itself: it is right behind any
/// proxy.
pub(super) fn moved(uri: &Uri, token: &str) -> Response<Body> {
    let path = uri.path();
    let up = "../".repeat(path.matches('/').count().saturating_sub(1));
    let rest = uri.query().unwrap_or_default().split('&');
    let rest: Vec<_> = rest.filter(|it| !it.is_empty() && !it.starts_with("token=")).collect();
    let query = if rest.is_empty() { String::new() } else { format!("?{}", rest.join("&")) };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    let out = response.headers_mut();
    let to = format!("{up}{}{token}{path}{query}", &TOKEN_PREFIX[1..]);
    match HeaderValue::from_str(&to) {
        Ok(to) => out.insert(header::LOCATION, to),
        Err(_) => return super::playback::not_found("no such path\n"),
    };
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What it takes to understand where requests come from.
pub(super) struct Front {
    proxies: Vec<Proxy>,
    base: String,
    metrics: Arc<Metrics>,
}

impl Front {
    pub(super) fn new(config: &Config, metrics: &Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            proxies: config.server.trusted_proxies.clone(),
            base: config.server.base_path.0.clone(),
            metrics: Arc::clone(metrics),
        })
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.proxies.iter().any(|proxy| proxy.0.contains(&address.to_canonical()))
    }

    /// Who is behind the connection of `peer`.
    fn client(&self, peer: IpAddr, headers: &HeaderMap, token: Option<String>) -> Client {
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let mut address = peer.to_canonical();
        let (mut host, mut scheme) = (text(&header::HOST), "http");
        if self.trusts(peer) {
            // Each proxy adds whom it saw: the last one that is none of ours is the client.
            let hops = headers.get_all(&FORWARDED_FOR).iter().filter_map(|it| it.to_str().ok());
            let hops: Vec<_> = hops.flat_map(|value| value.split(',')).map(str::trim).collect();
            for hop in hops.iter().rev() {
                let Ok(hop) = hop.parse::<IpAddr>() else { break };
                address = hop.to_canonical();
                if !self.trusts(hop) {
                    break;
                }
            }
            host = text(&FORWARDED_HOST).or(host);
            scheme = text(&FORWARDED_PROTO).unwrap_or(scheme);
        }
        let site = host.map_or_else(String::new, |host| format!("{scheme}://{host}"));
        Client { address, site, token }
    }
}

/// Whether a path leads out of where it begins, once its escapes are read.
fn climbs(path: &str) -> bool {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |digit: u8| char::from(digit).to_digit(16);
        let escaped = match rest {
            [b'%', high, low, ..] => hex(*high).zip(hex(*low)),
            [..] => None,
        };
        let byte = escaped.and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &rest[3..] } else { tail };
    }
    let mut parts = bytes.split(|byte| matches!(byte, b'/' | b'\\'));
    parts.any(|part| part == b"..") || bytes.contains(&0)
}

/// The middleware.
pub(super) async fn front(
    State(front): State<Arc<Front>>,
    mut request: Request,
    next: Next,
) -> Response<Body> {
    if climbs(request.uri().path()) {
        let why = "the path leads out of where it begins";
        return Refusal::new(StatusCode::BAD_REQUEST, "path", why).respond(&front.metrics);
    }
    let path = request.uri().path();
    let below = |rest: &&str| rest.is_empty() || rest.starts_with('/');
    let path = path.strip_prefix(&front.base).filter(below).unwrap_or(path);
    let behind = path.strip_prefix(TOKEN_PREFIX).and_then(|rest| rest.split_once('/'));
    let (token, path) = match behind {
        Some((token, _)) => {
            let path = &path[TOKEN_PREFIX.len() + token.len()..];
            (Some(token.to_owned()), path)
        }
        None => (None, path),
    };
    let query = request.uri().query().map_or_else(String::new, |query| format!("?{query}"));
    let slash = if path.is_empty() { "/" } else { "" };
    let Ok(inner) = format!("{slash}{path}{query}").parse::<PathAndQuery>() else {
        return super::playback::not_found("no such path\n");
    };
    let uri = Uri::from(inner);
    if uri.path().starts_with("/watch/")
        && let Some(token) = token_in(uri.query())
    {
        // What a page loads is relative to it, and then has the token too.
        return moved(&uri, token);
    }
    let unspecified = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let peer = peer.map_or(unspecified, |ConnectInfo(peer)| *peer);
    let client = front.client(peer.ip(), request.headers(), token);
    *request.uri_mut() = uri;
    request.extensions_mut().insert(client);
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let config = "server.trusted_proxies = ['10.0.0.0/8']";
        let config = Config::from_toml(config).unwrap();
        let front = Front::new(&config, &Arc::new(Metrics::new()));
        let said = [
            ("host", "inner:8080"),
            ("x-forwarded-for", "203.0.113.9, 198.51.100.7, 10.2.2.2"),
            ("x-forwarded-host", "cdn.example"),
            ("x-forwarded-proto", "https"),
        ];
        let client = |peer: &str| front.client(peer.parse().unwrap(), &headers(&said), None);
        let behind = client("10.1.1.1");
        assert_eq!(behind.address, IpAddr::from([198, 51, 100, 7]), "not what the client made up");
        assert_eq!((behind.site.as_str(), behind.host()), ("https://cdn.example", "cdn.example"));
        let liar = client("203.0.113.1");
        assert_eq!(liar.address, IpAddr::from([203, 0, 113, 1]));
        assert_eq!((liar.site.as_str(), liar.host()), ("http://inner:8080", "inner"));
        let nonsense = headers(&[("x-forwarded-for", "1.2.3.4, unknown")]);
        let address = front.client(IpAddr::from([10, 1, 1, 1]), &nonsense, None).address;
        assert_eq!(address, IpAddr::from([10, 1, 1, 1]));
    }

    #[test]
    fn paths_that_climb_are_seen_through_their_escapes() {
        for path in ["/live/../x", "/a/%2e%2E/b", "/a/..%2fb", "/a/..%5Cb", "/..", "/a/%00"] {
            assert!(climbs(path), "{path}");
        }
        for path in ["/live/a..b/c", "/a/...", "/a/%2", "/a/%zz..", "/"] {
            assert!(!climbs(path), "{path}");
        }
    }

    #[test]
    fn a_token_moves_into_the_path() {
        let to = |uri: &str| {
            let response = moved(&uri.parse().unwrap(), "T");
            response.headers()[header::LOCATION].to_str().unwrap().to_owned()
        };
        assert_eq!(to("/live/cam/i.m3u8?token=T"), "../../t/T/live/cam/i.m3u8");
        assert_eq!(to("/watch/cam?a=1&token=T&b=2"), "../t/T/watch/cam?a=1&b=2");
    }
}
