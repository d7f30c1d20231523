//! What the fuzzer calls: it sees public items only. Compiled for it alone.

use crate::playlist::Rewriter;
use crate::site::Site;
use url::Url;

pub use crate::proxy::fuzzing::range;

/// A playlist as a player is shown it.
///
/// # Panics
/// If the proxy's own URLs are changed once more by the proxy.
pub fn show_playlist(text: &str) {
    let url = Url::parse("http://origin/live/a/index.m3u8").expect("it is one");
    let sites = ["http://origin", "https://cdn:8443"].map(|site| site.parse::<Site>());
    let sites: Vec<Site> = sites.into_iter().flatten().collect();
    let rewriter = Rewriter { asked: &url, found: &url, prefix: "", sites: &sites };
    let shown = rewriter.rewrite(text);
    assert_eq!(shown.lines().count(), text.lines().count());
}
