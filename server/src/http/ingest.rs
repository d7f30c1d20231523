//! What encoders push.
//!
//! Rule: a push that has come in whole takes effect, even if the encoder has closed its socket and
//! waits for no answer. Every refusal is a sentence, and counted.

use super::auth::keys_shown;
use super::push_path::{BadPath, Kind, PushPath};
use super::{Client, Shared, Shown, ShownBy};
use crate::admission::{self, Action, Question};
use crate::config::{Config, IngestKey};
use crate::net::ConnectionMeter;
use crate::origin::{BACKUP_DIR, Incoming, KEY_BYTES_MAX, PushError, Stream, Taken};
use axum::body::Body;
use axum::extract::{Extension, Path, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use http_body_util::BodyExt;
use serde::Deserialize;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Most bytes of a playlist: a day of two-second segments at 100 bytes each.
const PLAYLIST_BYTES_MAX: usize = 5 * 1024 * 1024;
/// What is still read of a body that is refused, so that the encoder gets to read why: closing
/// earlier would reset the connection under the answer.
const DRAIN_BYTES_MAX: usize = 256 * 1024 * 1024;
/// The same for whoever shows no valid key.
const DRAIN_STRANGER_BYTES_MAX: usize = 1024 * 1024;
/// Time that reading it may take.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(10);

/// Limits of ingest.
#[derive(Clone, Debug)]
pub(crate) struct IngestState {
    body_bytes_max: usize,
    idle_timeout: Duration,
    bytes_per_second_min: usize,
    uploads: Arc<Semaphore>,
}

impl IngestState {
    /// As configured.
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            body_bytes_max: config.ingest.body_mib_max.bytes(),
            idle_timeout: config.ingest.idle_timeout_ms.0,
            bytes_per_second_min: config.ingest.bytes_per_second_min.0,
            uploads: Arc::new(Semaphore::new(config.ingest.uploads_max.0)),
        }
    }
}

/// Why a push is refused.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(
        "the key is missing or wrong; send it as Authorization: Bearer KEY, as the password of \
             Basic authentication, or push to /publish/KEY/STREAM/PATH"
    )]
    Unauthorized,
    #[error("{}", .0.message)]
    Hook(admission::Refusal),
    #[error("no stream of that name is configured")]
    NoStream,
    #[error("this stream is made by the server; nothing can be pushed into it")]
    NotPushable,
    #[error("{0}")]
    Path(#[from] BadPath),
    #[error("only PUT, POST and DELETE can be done here")]
    Method,
    #[error("the body is larger than {0} bytes, the limit (ingest.body_mib_max)")]
    TooLarge(usize),
    #[error("nothing of the body came for too long")]
    Idle,
    #[error("the body comes too slowly (ingest.bytes_per_second_min)")]
    Slow,
    #[error("the body ended early")]
    Aborted,
    #[error("a segment without bytes is none")]
    Empty,
    #[error("too many uploads at once (ingest.uploads_max)")]
    Busy,
    #[error("the body is encoded as `{0}`; only gzip can be read")]
    Encoding(String),
    #[error("the body is no gzip")]
    Gzip,
    #[error("{0}")]
    Push(#[from] PushError),
}

impl Refusal {
    /// Status, and the label under which it is counted.
    const fn kind(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "ingest_key"),
            Self::Hook(refusal) => (refusal.status, refusal.reason),
            Self::NoStream => (StatusCode::NOT_FOUND, "ingest_stream"),
            Self::NotPushable => (StatusCode::FORBIDDEN, "ingest_stream"),
            Self::Path(BadPath::Outside) => (StatusCode::BAD_REQUEST, "ingest_path"),
            Self::Path(BadPath::Extension(_)) => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "ingest_path")
            }
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "ingest_method"),
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "ingest_too_large"),
            Self::Idle => (StatusCode::REQUEST_TIMEOUT, "ingest_idle"),
            Self::Slow => (StatusCode::REQUEST_TIMEOUT, "ingest_slow"),
            Self::Aborted => (StatusCode::BAD_REQUEST, "ingest_aborted"),
            Self::Empty => (StatusCode::BAD_REQUEST, "ingest_empty"),
            Self::Encoding(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "ingest_encoding"),
            Self::Gzip => (StatusCode::BAD_REQUEST, "ingest_encoding"),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "ingest_busy"),
            Self::Push(PushError::Store(_)) => (StatusCode::INSUFFICIENT_STORAGE, "ingest_store"),
            Self::Push(_) => (StatusCode::UNPROCESSABLE_ENTITY, "ingest_playlist"),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, _) = self.kind();
        let mut response = (status, format!("{self}\n")).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Basic realm=\"shoal ingest\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        if status == StatusCode::METHOD_NOT_ALLOWED {
            let allowed = HeaderValue::from_static("PUT, POST, DELETE");
            response.headers_mut().insert(header::ALLOW, allowed);
        }
        response
    }
}

/// A body, and whether anything of it was asked for.
struct PushBody {
    body: Body,
    asked: bool,
}

/// One push, before anything of it is trusted.
struct Push {
    shared: Shared,
    connection: Arc<ConnectionMeter>,
    client: Client,
    uri: Uri,
    stream: String,
    path: String,
    keys: Vec<String>,
    method: Method,
    headers: HeaderMap,
}

/// `/ingest/{stream}/{path}`, with the key in a header.
pub(super) async fn by_header(
    State(shared): State<Shared>,
    Extension(connection): Extension<Arc<ConnectionMeter>>,
    Extension(client): Extension<Client>,
    Path((stream, path)): Path<(String, String)>,
    request: Request,
) -> Response {
    let (Parts { method, uri, headers, .. }, body) = request.into_parts();
    let keys = keys_shown(&headers);
    Push { shared, connection, client, uri, stream, path, keys, method, headers }.answer(body).await
}

/// `/publish/{key}/{stream}/{path}`.
pub(super) async fn by_path(
    State(shared): State<Shared>,
    Extension(connection): Extension<Arc<ConnectionMeter>>,
    Extension(client): Extension<Client>,
    Path((key, stream, path)): Path<(String, String, String)>,
    request: Request,
) -> Response {
    let (Parts { method, uri, headers, .. }, body) = request.into_parts();
    let keys = vec![key];
    Push { shared, connection, client, uri, stream, path, keys, method, headers }.answer(body).await
}

/// The query of an upload as YouTube has it.
#[derive(Debug, Deserialize)]
pub(super) struct Upload {
    /// The key.
    #[serde(default)]
    cid: String,
    /// The path in the stream.
    #[serde(default)]
    file: String,
    /// 1 from the second of two encoders.
    #[serde(default)]
    copy: u8,
}

/// `/http_upload_hls?cid=KEY&copy=0&file=PATH`: the key tells the stream.
pub(super) async fn by_query(
    State(shared): State<Shared>,
    Extension(connection): Extension<Arc<ConnectionMeter>>,
    Extension(client): Extension<Client>,
    Query(Upload { cid, file, copy }): Query<Upload>,
    request: Request,
) -> Response {
    let (Parts { method, uri, headers, .. }, body) = request.into_parts();
    let of = |stream: &&Arc<Stream>| stream.key.as_ref().is_some_and(|key| key.matches(&cid));
    let stream = shared.origin.streams().find(of).map(|stream| stream.name.to_string());
    let path = if copy == 1 { format!("{BACKUP_DIR}{file}") } else { file };
    let keys = vec![cid];
    match stream {
        Some(stream) => {
            Push { shared, connection, client, uri, stream, path, keys, method, headers }
                .answer(body)
                .await
        }
        None => {
            shared.metrics.refused.with_label_values(&["ingest_key"]).inc();
            Refusal::Unauthorized.into_response()
        }
    }
}

impl Push {
    /// Does it in a task of its own: the handler's own future is dropped when the encoder closes.
    async fn answer(self, body: Body) -> Response {
        match tokio::spawn(self.run(PushBody { body, asked: false })).await {
            Ok(response) => response,
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }

    async fn run(self, mut body: PushBody) -> Response {
        let outcome = match self.admit().await {
            Ok((stream, path)) => {
                self.connection.becomes_push();
                self.take(&stream, &path, &mut body).await
            }
            Err(refusal) => Err(refusal),
        };
        match outcome {
            Ok(status) => status.into_response(),
            Err(refusal) => {
                let (_, reason) = refusal.kind();
                if !self.asks_how() {
                    self.shared.metrics.refused.with_label_values(&[reason]).inc();
                    tracing::info!(stream = self.stream, path = self.path, "refused: {refusal}");
                }
                self.drain_later(body, matches!(refusal, Refusal::Unauthorized | Refusal::Hook(_)));
                refusal.into_response()
            }
        }
    }

    /// Whether the encoder only wants to know how to show its key: it sends none, and no body yet.
    fn asks_how(&self) -> bool {
        self.keys.is_empty() && self.headers.contains_key(header::EXPECT)
    }

    /// Who and what it is, from the head alone.
    async fn admit(&self) -> Result<(Arc<Stream>, PushPath), Refusal> {
        let stream = self.shared.origin.stream(&self.stream).ok_or(Refusal::NoStream)?;
        let key = stream.key.as_ref().ok_or(Refusal::NotPushable)?;
        let token = self.keys.first().map(|key| Shown { token: key.clone(), by: ShownBy::Path });
        let (uri, headers) = (&self.uri, &self.headers);
        let question =
            Question::new(Action::Publish, &stream.name, &self.client, uri, headers, token);
        match self.shared.admission.publish(&question).await {
            Some(verdict) => verdict.map_err(Refusal::Hook)?,
            None if shows(key, &self.keys) => {}
            None => return Err(Refusal::Unauthorized),
        }
        Ok((Arc::clone(stream), PushPath::parse(&self.path)?))
    }

    async fn take(
        &self,
        stream: &Arc<Stream>,
        path: &PushPath,
        body: &mut PushBody,
    ) -> Result<StatusCode, Refusal> {
        if self.method == Method::DELETE {
            // Retention is the server's own; the encoder only learns that it is heard.
            return Ok(StatusCode::NO_CONTENT);
        }
        if self.method != Method::PUT && self.method != Method::POST {
            return Err(Refusal::Method);
        }
        let _permit = self.shared.ingest.uploads.try_acquire().map_err(|_| Refusal::Busy)?;
        let metrics = &self.shared.metrics;
        match path.kind {
            Kind::Playlist => {
                let text = self.read(body, PLAYLIST_BYTES_MAX, None).await?;
                stream.push_playlist(&path.path, &text).await?;
                metrics.ingest_playlists.inc();
                Ok(StatusCode::CREATED)
            }
            Kind::Key => {
                let key = self.read(body, KEY_BYTES_MAX, None).await?;
                stream.push_key(&path.path, &key).await?;
                Ok(StatusCode::CREATED)
            }
            Kind::Manifest => {
                self.read(body, PLAYLIST_BYTES_MAX, None).await?;
                Ok(StatusCode::NO_CONTENT)
            }
            Kind::Media => {
                let mut incoming = stream.begin_upload(&path.path);
                let bytes = self.read(body, usize::MAX, Some(&mut incoming)).await?;
                if bytes.is_empty() {
                    return Err(Refusal::Empty);
                }
                metrics.ingest_uploads.inc();
                match stream.uploaded(incoming, bytes).await? {
                    Taken::New => Ok(StatusCode::CREATED),
                    Taken::Retry => Ok(StatusCode::OK),
                }
            }
        }
    }

    /// The whole body, as it was before it was compressed. What needs no decompression goes to
    /// `incoming` as it comes.
    async fn read(
        &self,
        body: &mut PushBody,
        bytes_max: usize,
        incoming: Option<&mut Incoming>,
    ) -> Result<Bytes, Refusal> {
        let bytes_max = bytes_max.min(self.shared.ingest.body_bytes_max);
        let encoding = self.headers.get(header::CONTENT_ENCODING);
        let encoding = encoding.map_or("", |value| value.to_str().unwrap_or("?")).trim();
        match encoding.to_ascii_lowercase().as_str() {
            "" | "identity" => self.read_raw(body, bytes_max, incoming).await,
            "gzip" | "x-gzip" => gunzip(&self.read_raw(body, bytes_max, None).await?, bytes_max),
            _ => Err(Refusal::Encoding(encoding.to_owned())),
        }
    }

    async fn read_raw(
        &self,
        body: &mut PushBody,
        bytes_max: usize,
        mut incoming: Option<&mut Incoming>,
    ) -> Result<Bytes, Refusal> {
        let limits = &self.shared.ingest;
        let announced = self.headers.get(header::CONTENT_LENGTH);
        let announced = announced.and_then(|len| len.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|len| len > bytes_max) {
            return Err(Refusal::TooLarge(bytes_max));
        }
        body.asked = true;
        let mut out = BytesMut::with_capacity(announced.unwrap_or(0));
        let started = Instant::now();
        loop {
            let frame = tokio::time::timeout(limits.idle_timeout, body.body.frame()).await;
            match frame.map_err(|_| Refusal::Idle)? {
                None => return Ok(out.freeze()),
                Some(Err(_)) => return Err(Refusal::Aborted),
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    if out.len() + data.len() > bytes_max {
                        return Err(Refusal::TooLarge(bytes_max));
                    }
                    self.shared.metrics.ingest_bytes.inc_by(data.len() as u64);
                    out.extend_from_slice(&data);
                    let took = started.elapsed();
                    let due = took.as_secs_f64() * limits.bytes_per_second_min as f64;
                    if took > limits.idle_timeout && (out.len() as f64) < due {
                        return Err(Refusal::Slow);
                    }
                    if let Some(incoming) = &mut incoming {
                        incoming.feed(&data).await;
                    }
                }
            }
        }
    }

    /// Reads on what an encoder still sends after it was refused, and drops it.
    fn drain_later(&self, body: PushBody, stranger: bool) {
        // A client that waits for `100 Continue` has sent nothing and must not be told to.
        if self.headers.contains_key(header::EXPECT) && !body.asked {
            return;
        }
        let mut body = body.body;
        let bytes_max = if stranger { DRAIN_STRANGER_BYTES_MAX } else { DRAIN_BYTES_MAX };
        tokio::spawn(tokio::time::timeout(DRAIN_TIME_MAX, async move {
            let mut bytes = 0;
            while let Some(Ok(frame)) = body.frame().await {
                bytes += frame.data_ref().map_or(0, Bytes::len);
                if bytes > bytes_max {
                    return;
                }
            }
        }));
    }
}

/// What `body` was before gzip, at most `bytes_max` of it.
fn gunzip(body: &[u8], bytes_max: usize) -> Result<Bytes, Refusal> {
    let mut out = Vec::new();
    let mut decoder = MultiGzDecoder::new(body).take(bytes_max as u64 + 1);
    decoder.read_to_end(&mut out).map_err(|_| Refusal::Gzip)?;
    if out.len() > bytes_max { Err(Refusal::TooLarge(bytes_max)) } else { Ok(out.into()) }
}

/// Whether one of `keys` is `key`.
fn shows(key: &IngestKey, keys: &[String]) -> bool {
    keys.iter().any(|given| key.matches(given))
}
