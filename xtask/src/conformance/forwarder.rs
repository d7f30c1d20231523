//! What a player was given, compared with what the origin answers to the same question.
//!
//! Rule: every body but playlists' is compared, in the order of requests: same URL, same range,
//! asked of the origin directly. Playlists are the agent's to change.

use crate::demo::forward::{self, Body, End, Watch};
use crate::demo::http;
use anyhow::Result;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A player that asks for more asks in a loop.
const BODIES_MAX: usize = 4_096;
const LIMIT: Duration = Duration::from_secs(10);

/// What the comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Comparison {
    /// Bodies that are the origin's.
    pub(crate) same: usize,
    /// What is wrong with the others.
    pub(crate) different: Vec<String>,
    /// Requests that had another answer than 200 or 206, the origin's own among them.
    pub(crate) refused: Vec<String>,
}

/// A recording forwarder before an agent; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Forwarder {
    /// `HOST:PORT` for the player.
    pub(crate) address: String,
    bodies: Arc<Bodies>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Bodies(Mutex<Vec<Body>>);

impl Watch for Bodies {
    fn passed(&self, _: bool, _: u64) {}

    fn body(&self, body: Body) {
        let mut bodies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if bodies.len() < BODIES_MAX {
            bodies.push(body);
        }
    }
}

impl Forwarder {
    /// Starts one before the agent at `upstream`.
    pub(crate) async fn start(upstream: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let bodies = Arc::<Bodies>::default();
        let (upstream, seen) = (upstream.to_owned(), Arc::clone(&bodies));
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (upstream, seen) = (upstream.clone(), Arc::clone(&seen));
                tokio::spawn(async move {
                    // A player may drop its connection at any time.
                    let _ = forward::serve_client(client, &upstream, &*seen).await;
                });
            }
        });
        Ok(Self { address, bodies, task })
    }

    /// Compares all that passed with what `origin` (`HOST:PORT`) answers.
    pub(crate) async fn compare(&self, origin: &str) -> Comparison {
        let bodies =
            std::mem::take(&mut *self.bodies.0.lock().unwrap_or_else(PoisonError::into_inner));
        let mut comparison = Comparison::default();
        for body in bodies {
            let Some(path) = origin_path(&body.target, origin) else { continue };
            if path.split('?').next().is_some_and(|path| path.ends_with(".m3u8")) {
                if body.status >= 400 {
                    comparison.refused.push(format!("{path}: {}", body.status));
                }
                continue;
            }
            if !matches!(body.status, 200 | 206) {
                comparison.refused.push(format!("{path}: {}", body.status));
                continue;
            }
            match compare(&body, &format!("http://{origin}{path}")).await {
                Ok(()) => comparison.same += 1,
                Err(error) => comparison.different.push(format!("{path}: {error:#}")),
            }
        }
        comparison
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The origin's path behind a path of the agent's proxy.
fn origin_path<'a>(target: &'a str, origin: &str) -> Option<&'a str> {
    let site = format!("/http/{origin}");
    Some(&target[target.find(&site)? + site.len()..])
}

async fn compare(body: &Body, url: &str) -> Result<()> {
    let range = body.range.as_deref().map(|range| ("Range", range));
    let headers: Vec<_> = range.into_iter().collect();
    let answer = http::request_with("GET", url, &headers, &[], LIMIT).await?;
    // A range of the whole may be answered as the whole (RFC 9110, 14.2).
    let status = answer.head.status();
    anyhow::ensure!(matches!(status, 200 | 206), "{} here, {status} at the origin", body.status);
    let offset = forward::offset(&answer.head);
    anyhow::ensure!(offset == body.offset, "from byte {} on, not {offset}", body.offset);
    anyhow::ensure!(body.end != End::Cut, "cut after {} bytes", body.bytes);
    let taken = usize::try_from(body.bytes)?;
    let expected = answer.body.get(..taken);
    anyhow::ensure!(
        body.end == End::Left || taken == answer.body.len(),
        "{taken} bytes, {} at the origin",
        answer.body.len()
    );
    let is_same = expected.is_some_and(|bytes| blake3::hash(bytes) == body.hash);
    anyhow::ensure!(is_same, "other bytes");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_the_proxy() {
        let origin = "127.0.0.1:80";
        let path = |target| origin_path(target, origin);
        assert_eq!(path("/http/127.0.0.1:80/vod/a/b.ts?x"), Some("/vod/a/b.ts?x"));
        assert_eq!(path("/s/abc/http/127.0.0.1:80/vod/a/b.ts"), Some("/vod/a/b.ts"));
        assert_eq!(path("/status"), None);
    }

    #[tokio::test]
    async fn a_changed_byte_is_found() {
        let folder = std::env::temp_dir().join(format!("shoal-forwarder-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("a.ts"), b"0123456789").unwrap();
        let server = super::super::plain::PlainServer::start(folder.clone()).await.unwrap();
        let url = format!("http://{}/a.ts", server.address());
        let body = |hash: &[u8], bytes, end| Body {
            target: String::new(),
            range: Some("bytes=2-".into()),
            status: 206,
            offset: 2,
            bytes,
            end,
            hash: blake3::hash(hash),
        };
        assert!(compare(&body(b"23456789", 8, End::Complete), &url).await.is_ok());
        assert!(compare(&body(b"234", 3, End::Left), &url).await.is_ok());
        for wrong in [
            body(b"23456780", 8, End::Complete),
            body(b"234", 3, End::Complete),
            body(b"234", 3, End::Cut),
            Body { offset: 3, ..body(b"23456789", 8, End::Complete) },
        ] {
            assert!(compare(&wrong, &url).await.is_err(), "{wrong:?}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
