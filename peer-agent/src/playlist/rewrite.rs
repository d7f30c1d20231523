//! URIs in playlists: which there are, and how they are pointed at the local proxy.
//!
//! Rule: a URI is changed only if the player would otherwise leave the proxy or miss it; relative
//! ones stay, because the local path mirrors the origin's. Sites that are not served stay as they
//! are: the player asks them itself.

use crate::site::{Site, local_path};
use shoal_playlist::UriKind;
use std::borrow::Cow;
use url::Url;

/// Points URIs at the proxy.
pub(crate) struct Rewriter<'a> {
    /// Where the playlist was asked for.
    pub(crate) asked: &'a Url,
    /// Where it was found in the end; relative URIs are relative to this.
    pub(crate) found: &'a Url,
    /// What stands before `/http/…` in the player's URL: empty, or the page's secret.
    pub(crate) prefix: &'a str,
    /// The sites that are served.
    pub(crate) sites: &'a [Site],
}

impl Rewriter<'_> {
    /// The playlist as the player is to see it.
    pub(crate) fn rewrite(&self, text: &str) -> String {
        shoal_playlist::rewrite(text, |uri| match self.uri(uri.text) {
            Cow::Owned(other) => Some(other),
            Cow::Borrowed(_) => None,
        })
    }

    fn uri<'u>(&self, uri: &'u str) -> Cow<'u, str> {
        // What a variable holds is known to the player alone.
        if uri.contains("{$") {
            return Cow::Borrowed(uri);
        }
        let rooted = uri.starts_with('/');
        if !rooted && !has_http_scheme(uri) && (has_scheme(uri) || self.asked == self.found) {
            return Cow::Borrowed(uri);
        }
        let Ok(url) = self.found.join(uri) else { return Cow::Borrowed(uri) };
        match Site::of(&url) {
            Ok(site) if self.sites.contains(&site) => {
                Cow::Owned(format!("{}{}", self.prefix, local_path(&url)))
            }
            Ok(_) | Err(_) => Cow::Owned(url.into()),
        }
    }
}

/// The URI lines of a playlist: segments of a media playlist, variants of a master playlist.
pub(crate) fn uris(text: &str) -> impl Iterator<Item = &str> {
    let lines = [UriKind::Segment, UriKind::Variant];
    shoal_playlist::uris(text).filter(move |uri| lines.contains(&uri.kind)).map(|uri| uri.text)
}

/// Whether this media type is a playlist's (RFC 8216, 4).
pub(crate) fn is_playlist_type(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    ["application/vnd.apple.mpegurl", "application/x-mpegurl", "audio/mpegurl", "audio/x-mpegurl"]
        .iter()
        .any(|known| essence.eq_ignore_ascii_case(known))
}

fn has_http_scheme(uri: &str) -> bool {
    let starts = |scheme: &str| {
        uri.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    starts("http://") || starts("https://")
}

/// Whether the URI begins with a scheme (RFC 3986, 3.1).
fn has_scheme(uri: &str) -> bool {
    uri.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(found: &str, prefix: &str, text: &str, expected: &str) {
        let asked = Url::parse("http://o:80/live/a/index.m3u8").unwrap();
        let found = Url::parse(found).unwrap();
        let sites = ["http://o", "https://cdn:8443"].map(|site| site.parse().unwrap());
        let rewriter = Rewriter { asked: &asked, found: &found, prefix, sites: &sites };
        assert_eq!(rewriter.rewrite(text), expected, "{text}");
    }

    #[test]
    fn uris_are_pointed_at_the_proxy() {
        let same = "http://o/live/a/index.m3u8";
        for (text, expected) in [
            ("#EXTM3U\n0-1-2.ts\n", "#EXTM3U\n0-1-2.ts\n"),
            ("../b/x.ts?t=1", "../b/x.ts?t=1"),
            ("/x.ts\r\n", "/http/o/x.ts\r\n"),
            ("http://o/live/x.ts?t=1", "/http/o/live/x.ts?t=1"),
            ("HTTPS://CDN:8443/x.ts", "/https/cdn:8443/x.ts"),
            ("//cdn/x.ts", "http://cdn/x.ts"),
            ("https://elsewhere/x.ts", "https://elsewhere/x.ts"),
            ("data:text/plain,x", "data:text/plain,x"),
            (
                "#EXT-X-KEY:METHOD=AES-128,URI=\"http://o/k\",IV=0x1",
                "#EXT-X-KEY:METHOD=AES-128,URI=\"/http/o/k\",IV=0x1",
            ),
            ("#EXT-X-MAP:URI=\"init.mp4\"", "#EXT-X-MAP:URI=\"init.mp4\""),
            (
                "#EXT-X-CONTENT-STEERING:SERVER-URI=\"/s\",PATHWAY-ID=\"A\"",
                "#EXT-X-CONTENT-STEERING:SERVER-URI=\"/http/o/s\",PATHWAY-ID=\"A\"",
            ),
            ("#EXTINF:2,URI=\"/x\"", "#EXTINF:2,URI=\"/x\""),
            ("{$base}/x.ts", "{$base}/x.ts"),
            (" /x.ts \r\n", " /http/o/x.ts \r\n"),
            ("#EXT-X-MAP:URI=\"/never closed", "#EXT-X-MAP:URI=\"/never closed"),
            ("# see URI=\"/x\"", "# see URI=\"/x\""),
            ("", ""),
        ] {
            check(same, "", text, expected);
        }
    }

    #[test]
    fn a_page_keeps_its_secret() {
        check("http://o/live/a/index.m3u8", "/s/abc", "/x.ts", "/s/abc/http/o/x.ts");
    }

    #[test]
    fn after_a_redirect_relative_uris_follow() {
        check("https://cdn:8443/b/i.m3u8", "", "x.ts", "/https/cdn:8443/b/x.ts");
        check("https://cdn:8443/b/i.m3u8", "", "{$base}/x.ts", "{$base}/x.ts");
        check("https://elsewhere/b/i.m3u8", "", "x.ts", "https://elsewhere/b/x.ts");
    }

    #[test]
    fn playlists_are_known_by_their_type() {
        assert!(is_playlist_type("application/vnd.apple.mpegURL; charset=utf-8"));
        assert!(!is_playlist_type("video/mp2t"));
        assert_eq!(uris("#EXTM3U\n\n#X\na.ts \nb.ts").collect::<Vec<_>>(), ["a.ts", "b.ts"]);
    }
}
