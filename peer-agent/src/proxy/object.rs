//! Objects of a joined stream, from its engine.
//!
//! Rule: the head goes out when the engine knows the length, with `Content-Length` and, for a
//! range, 206: what a plain origin answers. Bytes follow as they are verified. A player that hangs
//! up takes its request with it.

use super::range::{Asked, Part};
use super::{Asking, pass, sentence};
use crate::agent::Agent;
use crate::origin::TOO_LONG;
use crate::stream::{Command, ObjectEvent, StreamHandle};
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use shoal_peer::{OriginFailure, RequestId};
use shoal_wire::ObjectId;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;

/// Pieces that wait for a player which does not read: the chunks of the longest object, and as
/// many again for pieces that a slow network cut smaller. They are slices of the store.
const PIECES_MAX: usize = 8 * 1024;

/// Answers a GET for `object`.
pub(super) async fn answer(
    agent: &Arc<Agent>,
    stream: &StreamHandle,
    object: ObjectId,
    asking: Asking,
) -> Response {
    let header = asking.headers.get(header::RANGE).map(|range| range.to_str().unwrap_or(""));
    let asked = Asked::parse(header);
    if asked == Asked::Other {
        return pass::answer(agent, asking).await;
    }
    let Some(mut pieces) = request(stream, object, asked, &asking).await else {
        return pass::answer(agent, asking).await;
    };
    let total = match pieces.next().await {
        Some(ObjectEvent::Started(Some(total))) => total,
        // Neither a length nor a range can be told: the origin does as it can.
        Some(ObjectEvent::Started(None)) => return pass::answer(agent, asking).await,
        Some(ObjectEvent::Failed(failure)) if failure == TOO_LONG => {
            return pass::answer(agent, asking).await;
        }
        Some(ObjectEvent::Failed(failure)) => return failed(failure),
        Some(ObjectEvent::Data(_) | ObjectEvent::Done) | None => {
            return sentence(StatusCode::BAD_GATEWAY, "the stream was left");
        }
    };
    head(object_type(asking.url.path()), asked, total, pieces)
}

async fn request(
    stream: &StreamHandle,
    object: ObjectId,
    asked: Asked,
    asking: &Asking,
) -> Option<Pieces> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let id = RequestId(NEXT.fetch_add(1, Ordering::Relaxed));
    let (to, events) = mpsc::channel(PIECES_MAX);
    let (range, url) = (asked.byte_range(), asking.url.clone());
    let command = Command::Object { id, object, range, url, to };
    let pieces = Pieces { id, events, commands: stream.commands.clone(), ended: false };
    stream.commands.send(command).await.ok().map(|()| pieces)
}

/// The answer's head, before `pieces`.
fn head(content_type: &'static str, asked: Asked, total: u32, pieces: Pieces) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let Some(part) = Part::of(asked.byte_range(), total) else {
        let mut response = sentence(StatusCode::RANGE_NOT_SATISFIABLE, "the object ends before");
        insert(response.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{total}"));
        return response;
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    insert(&mut headers, header::CONTENT_LENGTH, &part.len().to_string());
    let status = if asked == Asked::Whole {
        StatusCode::OK
    } else {
        insert(&mut headers, header::CONTENT_RANGE, &part.content_range());
        StatusCode::PARTIAL_CONTENT
    };
    let mut response = Response::new(pieces.into_body());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn insert(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    headers.insert(name, value.parse().expect("digits and dashes are a header value"));
}

/// What the origin would not give to us it would not give to the player.
fn failed(failure: OriginFailure) -> Response {
    match failure {
        OriginFailure::Status(code) => {
            let status = StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_GATEWAY);
            sentence(status, &format!("the origin answered {status}"))
        }
        OriginFailure::Unreachable => {
            sentence(StatusCode::BAD_GATEWAY, "the origin cannot be reached")
        }
    }
}

/// The events of one request. Dropping it before the end tells the stream that the player left.
struct Pieces {
    id: RequestId,
    events: mpsc::Receiver<ObjectEvent>,
    commands: mpsc::Sender<Command>,
    ended: bool,
}

impl Pieces {
    async fn next(&mut self) -> Option<ObjectEvent> {
        let event = self.events.recv().await;
        self.ended |= matches!(event, None | Some(ObjectEvent::Done | ObjectEvent::Failed(_)));
        event
    }

    fn into_body(self) -> Body {
        Body::from_stream(futures_util::stream::unfold(self, |mut pieces| async {
            let item = match pieces.next().await? {
                ObjectEvent::Data(bytes) => Ok(bytes),
                ObjectEvent::Started(_) => Ok(Bytes::new()),
                ObjectEvent::Done => return None,
                ObjectEvent::Failed(_) => Err(std::io::Error::other("the origin failed")),
            };
            Some((item, pieces))
        }))
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        if !self.ended {
            // A full queue is no harm: the stream finds out with the next piece.
            let _ = self.commands.try_send(Command::Cancel { id: self.id });
        }
    }
}

/// Media type by extension, as players expect it (RFC 8216, 3; iana.org).
pub(super) fn object_type(path: &str) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or_default();
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    match extension.to_ascii_lowercase().as_str() {
        "ts" => "video/mp2t",
        "mp4" | "m4s" | "m4v" | "cmfv" => "video/mp4",
        "m4a" | "cmfa" => "audio/mp4",
        "aac" => "audio/aac",
        "mp3" => "audio/mpeg",
        "ac3" => "audio/ac3",
        "ec3" => "audio/eac3",
        "vtt" | "webvtt" => "text/vtt",
        _ => "application/octet-stream",
    }
}
