//! What a viewer reads in the playlist before it joins: where the tracker is, and where to start.
//!
//! Rule: as an agent does it, with a token in the tracker's URL where the server gives one.

use crate::playlist::segments;
use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use url::Url;

/// Most bytes of an answer: a playlist is about one kilobyte.
const ANSWER_BYTES_MAX: u64 = 256 * 1024;
/// Players start so many segments before the newest (RFC 8216, 6.3.3).
const BEHIND: u64 = 2;

/// What it read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// The tracker's WebSocket.
    pub(crate) tracker: Url,
    /// The first segment that a player asks for.
    pub(crate) start: u64,
}

impl Shown {
    /// Asks for `playlist` over `stream`, one request and no more. A `token` that is shown here comes
    /// back in the tracker's URL.
    ///
    /// # Errors
    /// If there is no such playlist, or it names no tracker.
    pub(crate) async fn read<S: AsyncRead + AsyncWrite + Unpin>(
        mut stream: S,
        playlist: &Url,
        token: Option<&str>,
    ) -> Result<Self> {
        let bearer = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
        let bearer = bearer.unwrap_or_default();
        let host = playlist.host_str().context("the playlist's URL has no host")?;
        let port = playlist.port_or_known_default().unwrap_or(80);
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {host}:{port}\r\n{bearer}Connection: close\r\n\r\n",
            playlist.path()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).await?;
        Self::parse(&answer, playlist)
    }

    fn parse(answer: &str, playlist: &Url) -> Result<Self> {
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer for the playlist")?;
        let mut lines = head.lines();
        let status = lines.next().unwrap_or_default();
        ensure!(status.contains(" 200 "), "the playlist's answer was {status}");
        let headers = lines.filter_map(|line| line.split_once(':'));
        let named = headers.filter(|(name, _)| name.eq_ignore_ascii_case("shoal-tracker"));
        let tracker = named.map(|(_, value)| value.trim()).next();
        let mut tracker = playlist.join(tracker.context("the playlist names no tracker")?)?;
        ensure!(tracker.set_scheme("ws").is_ok(), "the tracker's URL is not http");
        let newest = segments(body).last().map_or(0, |segment| segment.number);
        Ok(Self { tracker, start: newest.saturating_sub(BEHIND) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tracker_and_the_start_are_found() {
        let playlist: Url = "http://h:81/live/a/index.m3u8".parse().unwrap();
        let text = "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:7\na.ts\nb.ts\nc.ts\nd.ts\n";
        let head = "HTTP/1.1 200 OK\r\nShoal-Tracker: /live/a/tracker?token=x";
        let shown = Shown::parse(&format!("{head}\r\n\r\n{text}"), &playlist).unwrap();
        let tracker = "ws://h:81/live/a/tracker?token=x".parse().unwrap();
        assert_eq!(shown, Shown { tracker, start: 8 });
        for bad in ["", "HTTP/1.1 404 No\r\n\r\n", "HTTP/1.1 200 OK\r\nA: b\r\n\r\n"] {
            assert!(Shown::parse(bad, &playlist).is_err(), "{bad:?}");
        }
    }
}
