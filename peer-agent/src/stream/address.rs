//! Where a stream is, as its playlists' headers tell.
//!
//! Rule: the tracker is on the playlist's own host. Its URL may bring a token, and the newest that
//! came with a playlist is the one to show.

use crate::site::Site;
use crate::token::has_token;
use reqwest::header::HeaderMap;
use shoal_wire::StreamName;
use tokio::sync::watch;
use url::Url;

/// Where a stream is, as the playlist's headers told.
#[derive(Clone, Debug)]
pub(crate) struct StreamAddress {
    /// URL under which its playlists and objects are, with a slash at the end.
    pub(crate) base: String,
    pub(crate) name: StreamName,
    /// The tracker's WebSocket.
    pub(crate) tracker: Url,
}

impl StreamAddress {
    /// Where the stream of the playlist at `found` is, if its headers name a tracker on that host.
    pub(crate) fn of(found: &Url, headers: &HeaderMap) -> Option<Self> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let mut tracker = found.join(text("shoal-tracker")?).ok()?;
        if Site::of(&tracker).ok()? != Site::of(found).ok()? {
            tracing::warn!("the playlist names a tracker on another host; it is not used");
            return None;
        }
        let base = tracker.join(".").ok()?;
        let directory = base.path().trim_end_matches('/').rsplit('/').next()?;
        let name = text("shoal-stream").unwrap_or(directory).parse().ok()?;
        let scheme = if tracker.scheme() == "https" { "wss" } else { "ws" };
        tracker.set_scheme(scheme).ok()?;
        Some(Self { base: base.into(), name, tracker })
    }

    /// Has `tracker` follow this newer address of the same stream. One without a token does not
    /// replace one with: it is what was asked for without.
    pub(super) fn renews(&self, base: &str, tracker: &watch::Sender<Url>) {
        tracker.send_if_modified(|known| {
            let is_newer = self.base == base
                && *known != self.tracker
                && (has_token(&self.tracker) || !has_token(known));
            if is_newer {
                known.clone_from(&self.tracker);
            }
            is_newer
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(tracker: &str, stream: Option<&str>) -> Option<(String, String, String)> {
        let found = Url::parse("http://o:81/live/cam/hd/index.m3u8?t=1").unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("shoal-tracker", tracker.parse().unwrap());
        if let Some(stream) = stream {
            headers.insert("shoal-stream", stream.parse().unwrap());
        }
        let address = StreamAddress::of(&found, &headers)?;
        Some((address.base, address.name.to_string(), address.tracker.into()))
    }

    #[test]
    fn a_playlist_names_its_stream() {
        let (base, tracker) = ("http://o:81/live/cam/", "ws://o:81/live/cam/tracker");
        let expected = |name: &str| Some((base.into(), name.into(), tracker.into()));
        assert_eq!(address("/live/cam/tracker", Some("other")), expected("other"));
        assert_eq!(address("/live/cam/tracker", None), expected("cam"));
        assert_eq!(address("http://o:81/live/cam/tracker", None), expected("cam"));
        for foreign in ["http://evil/live/cam/tracker", "//evil/t", "http://o/live/cam/tracker"] {
            assert_eq!(address(foreign, None), None, "{foreign}");
        }
        assert_eq!(address("/live/cam/tracker", Some("no/name")), None);
    }
}
