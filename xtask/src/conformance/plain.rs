//! A static HTTP server: the files as their encoder left them, without us.
//!
//! Rule: it tells whether a player can play a stream at all. It knows files and byte ranges, and
//! nothing of HLS; it shares no code with the server under test.

use crate::demo::http;
use anyhow::Result;
use std::io;
use std::path::{Component, Path, PathBuf};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Media types by extension: some players go by them.
const TYPES: [(&str, &str); 6] = [
    ("m3u8", "application/vnd.apple.mpegurl"),
    ("ts", "video/mp2t"),
    ("mp4", "video/mp4"),
    ("m4s", "video/mp4"),
    ("aac", "audio/aac"),
    ("vtt", "text/vtt"),
];

/// The running server; it ends when dropped.
#[derive(Debug)]
pub(crate) struct PlainServer {
    address: String,
    task: JoinHandle<()>,
}

impl PlainServer {
    /// Serves `folder`.
    pub(crate) async fn start(folder: PathBuf) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let folder = folder.clone();
                tokio::spawn(async move {
                    // A player may leave at any time.
                    let _ = serve(client, &folder).await;
                });
            }
        });
        Ok(Self { address, task })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for PlainServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(client: TcpStream, folder: &Path) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut client = BufReader::new(client);
    while let Some(request) = http::read_head(&mut client).await? {
        let method = request.word(0).unwrap_or_default();
        let answer = answer(method, request.word(1).unwrap_or_default(), folder, &request).await;
        client.get_mut().write_all(&answer).await?;
        if request.closes() {
            break;
        }
    }
    Ok(())
}

async fn answer(method: &str, target: &str, folder: &Path, request: &http::Head) -> Vec<u8> {
    let file = file(target, folder);
    let bytes = match &file {
        Some(path) => tokio::fs::read(path).await.ok(),
        None => None,
    };
    let (status, range, part) = match &bytes {
        None => ("404 Not Found", String::new(), &[][..]),
        Some(bytes) => match request.header("range").and_then(|text| part(text, bytes.len())) {
            None => ("200 OK", String::new(), &bytes[..]),
            Some((first, last)) => {
                let range = format!("Content-Range: bytes {first}-{last}/{}\r\n", bytes.len());
                ("206 Partial Content", range, &bytes[first..=last])
            }
        },
    };
    let extension = file.as_deref().and_then(Path::extension).and_then(|text| text.to_str());
    let known = TYPES.iter().find(|(name, _)| Some(*name) == extension);
    let content_type = known.map_or("application/octet-stream", |(_, name)| name);
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n{range}\
         Accept-Ranges: bytes\r\nAccess-Control-Allow-Origin: *\r\n\
         Access-Control-Allow-Headers: Range\r\n\r\n",
        part.len()
    );
    let body = if method == "GET" { part } else { &[] };
    [head.as_bytes(), body].concat()
}

/// The file that a target names, if it lies in the folder.
fn file(target: &str, folder: &Path) -> Option<PathBuf> {
    let path = target.split(['?', '#']).next()?.strip_prefix('/')?;
    let path = PathBuf::from(decoded(path)?);
    let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
    inside.then(|| folder.join(path))
}

/// First and last byte of `bytes=A-B` in a body of `len` bytes.
fn part(range: &str, len: usize) -> Option<(usize, usize)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let first: usize = first.parse().ok()?;
    let last = last.parse().map_or(len, |last: usize| last.saturating_add(1)).min(len);
    (first < last).then(|| (first, last - 1))
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next()?, rest.next()?];
        bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_stay_inside() {
        let folder = Path::new("/f");
        assert_eq!(file("/vod/a%20b/c.ts?x", folder), Some("/f/vod/a b/c.ts".into()));
        for outside in ["x", "/vod/../a", "/vod/%2e%2e/a", "/vod//a/../../b", "/%2Fetc"] {
            assert_eq!(file(outside, folder), None, "{outside}");
        }
    }

    #[test]
    fn ranges() {
        assert_eq!(part("bytes=0-", 10), Some((0, 9)));
        assert_eq!(part("bytes=2-4", 10), Some((2, 4)));
        assert_eq!(part("bytes=2-40", 10), Some((2, 9)));
        assert_eq!(part("bytes=10-", 10), None);
    }
}
