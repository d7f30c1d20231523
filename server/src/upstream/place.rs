//! Our paths and the upstream's URLs, each from the other.
//!
//! Rule: below `/live/NAME/` the upstream's base is mirrored as it is, so that relative URIs mean
//! the same on both sides. What is elsewhere on an allowed host stands below `~SCHEME/HOST/`.

use super::hosts::{Hosts, Refused};
use std::sync::Arc;
use url::{Url, form_urlencoded};

/// One upstream's place.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    base: Url,
    hosts: Arc<Hosts>,
}

impl Place {
    pub(crate) const fn new(base: Url, hosts: Arc<Hosts>) -> Self {
        Self { base, hosts }
    }

    /// The upstream's URL of our `path`, which is as it came and relative to the stream.
    pub(crate) fn upstream(&self, path: &str, query: Option<&str>) -> Result<Url, Refused> {
        let elsewhere = |scheme: &str| {
            let rest = path.strip_prefix('~')?.strip_prefix(scheme)?.strip_prefix('/')?;
            Some(format!("{scheme}://{rest}"))
        };
        let below = elsewhere("https").or_else(|| elsewhere("http"));
        let is_below_base = below.is_none();
        let text = below.unwrap_or_else(|| format!("{}{path}", self.base));
        let mut url = Url::parse(&text).map_err(|_| Refused::Form)?;
        url.set_query(query);
        url.set_fragment(None);
        // Dots in the path may lead out of the base.
        if is_below_base && !url.path().starts_with(self.base.path()) {
            return Err(Refused::Form);
        }
        self.hosts.check(&url)?;
        Ok(url)
    }

    /// Our path of the upstream's `url`, with its query; none if it is on a foreign host.
    pub(crate) fn ours(&self, url: &Url) -> Option<String> {
        self.hosts.check(url).ok()?;
        let query = url.query().map_or(String::new(), |query| format!("?{query}"));
        let same_site = url.origin() == self.base.origin();
        if let Some(below) = url.path().strip_prefix(self.base.path()).filter(|_| same_site) {
            return Some(format!("{below}{query}"));
        }
        let port = url.port().map_or(String::new(), |port| format!(":{port}"));
        let host = url.host_str()?;
        Some(format!("~{}/{host}{port}{}{query}", url.scheme(), url.path()))
    }
}

/// A playlist where a viewer asked for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page<'a> {
    pub(crate) place: &'a Place,
    /// The upstream's URL that was asked for.
    pub(crate) asked: &'a Url,
    /// Where it was found; relative URIs are relative to this.
    pub(crate) found: &'a Url,
    /// Our path of it.
    pub(crate) path: &'a str,
}

impl Page<'_> {
    /// The viewer's own absolute URL of `uri`; none if that stays as it is.
    pub(crate) fn absolute(&self, uri: &str) -> Option<String> {
        // A variable is the player's to put in; what it then asks for is redirected.
        let url = (!uri.contains("{$")).then(|| self.found.join(uri).ok())??;
        (url.as_str() != uri).then(|| url.into())
    }

    /// `uri` of another playlist, so that it leads here; none if it does as it is.
    pub(crate) fn playlist(&self, uri: &str) -> Option<String> {
        if uri.contains("{$") {
            return None;
        }
        let url = self.found.join(uri).ok()?;
        let Some(ours) = self.place.ours(&url) else { return self.absolute(uri) };
        let here = Url::parse("http://shoal/live/name/").ok()?;
        let led_to = here.join(self.path).ok()?.join(uri).ok()?;
        if !uri.starts_with('/') && led_to.as_str() == format!("{here}{ours}") {
            return None;
        }
        Some(format!("{}{ours}", "../".repeat(self.path.matches('/').count())))
    }

    /// The query by which an object's URL here carries the viewer's own `uri` of it.
    pub(crate) fn object_query(&self, uri: &str) -> Option<String> {
        let url = self.found.join(uri).ok()?;
        self.place.hosts.check(&url).ok()?;
        Some(query_of(if self.mirrors(uri) { uri } else { url.as_str() }))
    }

    /// Whether `uri` means the same relative to our path.
    pub(crate) fn mirrors(&self, uri: &str) -> bool {
        let is_relative = !uri.starts_with('/') && Url::parse(uri).is_err();
        is_relative && self.asked == self.found
    }
}

/// The query of an object's URL here that carries `uri`.
pub(crate) fn query_of(uri: &str) -> String {
    format!("?u={}", form_urlencoded::byte_serialize(uri.as_bytes()).collect::<String>())
}

/// A playlist's own URL: without what one poll of it asks (rfc8216bis, 6.2.5).
pub(crate) fn without_directives(url: &Url) -> Url {
    let mut plain = url.clone();
    let kept = url.query().unwrap_or_default().split('&').filter(|pair| !pair.starts_with("_HLS_"));
    let kept = kept.collect::<Vec<_>>().join("&");
    plain.set_query((!kept.is_empty()).then_some(kept.as_str()));
    plain
}

/// What an object's query carries.
pub(crate) fn uri_in(query: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(key, _)| key == "u").map(|(_, uri)| uri.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        let base = Url::parse("http://o.example/tv/").unwrap();
        let hosts = Hosts::new(&base, &["cdn.example".parse().unwrap()]);
        Place::new(base, Arc::new(hosts))
    }

    #[test]
    fn paths_and_urls_are_each_others_mirror() {
        let place = place();
        for (path, query, url) in [
            ("a/b.m3u8", Some("t=1"), "http://o.example/tv/a/b.m3u8?t=1"),
            ("a%2Fb%20c.m3u8", None, "http://o.example/tv/a%2Fb%20c.m3u8"),
            ("~https/cdn.example/x.m3u8", Some("y"), "https://cdn.example/x.m3u8?y"),
            ("~http/o.example/other", None, "http://o.example/other"),
        ] {
            let found = place.upstream(path, query).unwrap();
            assert_eq!(found.as_str(), url);
            let query = query.map_or(String::new(), |query| format!("?{query}"));
            assert_eq!(place.ours(&found), Some(format!("{path}{query}")));
        }
        for path in ["../secret", "a/../../secret", "%2e%2e/x", "~ftp/o/x", "~http/u@o.example/x"] {
            // What is not elsewhere is below the base, whatever it looks like.
            let found = place.upstream(path, None);
            let below = |url: &Url| url.as_str().starts_with("http://o.example/tv/");
            assert!(found.as_ref().map_or(true, below), "{path}: {found:?}");
        }
        for path in ["~https/evil.example/x", "~http/169.254.169.254/x", "~http//x"] {
            assert!(place.upstream(path, None).is_err(), "{path}");
        }
        assert_eq!(place.ours(&Url::parse("http://evil.example/tv/x").unwrap()), None);
    }

    #[test]
    fn a_low_latency_poll_is_of_the_same_playlist() {
        for (asked, plain) in [
            ("http://o/a.m3u8?_HLS_msn=7&t=x%20y&_HLS_skip=YES", "http://o/a.m3u8?t=x%20y"),
            ("http://o/a.m3u8?_HLS_msn=7&_HLS_part=1", "http://o/a.m3u8"),
            ("http://o/a.m3u8?t=1", "http://o/a.m3u8?t=1"),
        ] {
            assert_eq!(without_directives(&Url::parse(asked).unwrap()).as_str(), plain);
        }
    }

    #[test]
    fn uris_in_a_playlist_lead_here_or_to_the_upstream() {
        let place = place();
        let url = |text: &str| Url::parse(text).unwrap();
        let (asked, moved) =
            (url("http://o.example/tv/k1/i.m3u8?t=1"), url("https://cdn.example/e/i.m3u8"));
        let at = |found| Page { place: &place, asked: &asked, found, path: "k1/i.m3u8" };
        for (found, uri, playlist, absolute, query) in [
            (&asked, "v/a.m3u8", None, "http://o.example/tv/k1/v/a.m3u8", "?u=v%2Fa.m3u8"),
            (
                &asked,
                "/tv/a?t=2",
                Some("../a?t=2"),
                "http://o.example/tv/a?t=2",
                "?u=http%3A%2F%2Fo.example%2Ftv%2Fa%3Ft%3D2",
            ),
            (
                &asked,
                "../../x",
                Some("../~http/o.example/x"),
                "http://o.example/x",
                "?u=..%2F..%2Fx",
            ),
            (
                &moved,
                "a",
                Some("../~https/cdn.example/e/a"),
                "https://cdn.example/e/a",
                "?u=https%3A%2F%2Fcdn.example%2Fe%2Fa",
            ),
        ] {
            let page = at(found);
            assert_eq!(page.playlist(uri).as_deref(), playlist, "{uri}");
            assert_eq!(page.absolute(uri).as_deref(), Some(absolute), "{uri}");
            assert_eq!(page.object_query(uri).as_deref(), Some(query), "{uri}");
            let carried = uri_in(&query[1..]).unwrap();
            assert_eq!(page.found.join(&carried).unwrap().as_str(), absolute, "{uri}");
        }
        let foreign = "https://ads.example/x.m3u8";
        let page = at(&asked);
        assert_eq!((page.playlist(foreign), page.absolute(foreign)), (None, None));
        assert_eq!(page.object_query(foreign), None);
        assert_eq!((page.playlist("{$v}"), page.absolute("a{$v}")), (None, None));
    }
}
