//! A reader that fetches all that a playlist leads to.
//!
//! Rule: it plays nothing. Gaps are left out, as a player that knows them leaves them out.

use super::url::join;
use crate::demo::http;
use anyhow::Result;
use std::collections::BTreeSet;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

/// What has been fetched already.
#[derive(Debug, Default)]
pub(crate) struct Crawler {
    seen: BTreeSet<String>,
}

impl Crawler {
    /// Reads the playlists anew and fetches what is new in them.
    pub(crate) async fn round(&mut self, url: &str) -> Result<()> {
        for (playlist, text) in playlists(url).await? {
            for uri in media(&text) {
                let url = join(&playlist, uri);
                if !self.seen.contains(&url) {
                    http::fetch(&url, LIMIT).await?;
                    self.seen.insert(url);
                }
            }
        }
        Ok(())
    }
}

/// The media playlists at `url`, itself or those that it names, with their texts.
pub(crate) async fn playlists(url: &str) -> Result<Vec<(String, String)>> {
    let text = http::fetch(url, LIMIT).await?.into_text()?;
    if !text.contains("#EXT-X-STREAM-INF") {
        return Ok(vec![(url.to_owned(), text)]);
    }
    let mut found = Vec::new();
    let named = text.lines().filter(|line| line.starts_with("#EXT-X-MEDIA:")).filter_map(quoted);
    for uri in named.chain(uri_lines(&text)) {
        let url = join(url, uri);
        // Variables are for players that know them.
        if let Ok(text) = http::fetch(&url, LIMIT).await?.into_text() {
            found.push((url, text));
        }
    }
    Ok(found)
}

/// URIs of segments and init sections.
fn media(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut is_gap = false;
    for line in text.lines().map(str::trim_end) {
        if line.starts_with("#EXT-X-MAP:") {
            found.extend(quoted(line));
        } else if line.starts_with("#EXT-X-GAP") {
            is_gap = true;
        } else if !line.is_empty() && !line.starts_with('#') {
            if !is_gap {
                found.push(line);
            }
            is_gap = false;
        }
    }
    found
}

/// The lines of a playlist that are URIs.
pub(crate) fn uri_lines(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().map(str::trim_end);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// The value of a tag's URI attribute.
fn quoted(line: &str) -> Option<&str> {
    let rest = &line[line.find("URI=\"")? + 5..];
    rest.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_left_out() {
        let text = "#EXTM3U\n#EXT-X-MAP:URI=\"i.mp4\",BYTERANGE=\"4@0\"\n#EXTINF:1,\na\n\
                    #EXT-X-GAP\n#EXTINF:1,\nb\n#EXTINF:1,\nc\r\n";
        assert_eq!(media(text), ["i.mp4", "a", "c"]);
    }
}
