//! Playlists and segments for players, and beside each shared segment its digest: with those,
//! viewers go on sharing while no tracker tells them of new segments.
//!
//! Rule: an answer has a length, a type, an age that caches may rely on, and an entity tag. A
//! segment's bytes never change under its name, so it may be kept for ever.

use super::body::{Counted, CountedBody};
use super::low_latency::{self, Reload};
use super::range::{Selected, select};
use super::{Client, Face, Meters, Shared, StreamMeter, shoal_header};
use crate::admission::{Admission, Pass, Playing};
use crate::metrics::Metrics;
use crate::net::{Account, ConnectionMeter, ListenerMeter};
use crate::origin::object::{StoredObject, extension};
use crate::origin::{Origin, Playlist, Stream};
use crate::upstream::Upstreams;
use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Uri, header};
use bytes::Bytes;
use shoal_wire::SignedDigest;
use std::sync::Arc;

/// On a playlist: where the tracker's WebSocket is, relative to the playlist's URL.
pub(super) const TRACKER: HeaderName = shoal_header("shoal-tracker");
/// On a playlist: the stream's name.
pub(super) const STREAM: HeaderName = shoal_header("shoal-stream");

/// What is not there may be there soon: caches must not remember for longer than a second.
const NOT_FOUND_CACHE: HeaderValue = HeaderValue::from_static("max-age=1");
/// After a segment's name: its digest as the origin signed it.
const DIGEST_SUFFIX: &str = ".digest";
const SEGMENT_CACHE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// The same where not everybody may have it.
const GUARDED_CACHE: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");

/// Playback on one face of the server.
#[derive(Clone)]
pub(super) struct Playback {
    pub(super) admission: Arc<Admission>,
    origin: Arc<Origin>,
    upstreams: Arc<Upstreams>,
    pub(super) metrics: Arc<Metrics>,
    meters: Arc<Meters>,
    meter: Arc<ListenerMeter>,
    face: Face,
}

impl Playback {
    pub(super) fn new(shared: &Shared, face: Face) -> Self {
        let meter = match face {
            Face::Public => &shared.meters.public,
            Face::Mirror => &shared.meters.mirror,
        };
        let meters = Arc::clone(&shared.meters);
        let (upstreams, metrics) = (Arc::clone(&shared.upstreams), Arc::clone(&shared.metrics));
        let (origin, meter) = (Arc::clone(&shared.origin), Arc::clone(meter));
        let admission = Arc::clone(&shared.admission);
        Self { admission, origin, upstreams, metrics, meters, meter, face }
    }

    fn segment_cache(&self) -> HeaderValue {
        if self.admission.guards_playback() { GUARDED_CACHE } else { SEGMENT_CACHE }
    }

    pub(super) fn playlist(
        &self,
        stream: &Stream,
        (path, playlist): (&str, Playlist),
        headers: &HeaderMap,
        pass: &Pass,
    ) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        let out = response.headers_mut();
        let gzipped = if takes_gzip(headers) { playlist.gzipped() } else { None };
        let gzip_etag = playlist.etag.replacen('"', "\"gz", 1);
        let etag = if gzipped.is_some() { &gzip_etag } else { &playlist.etag };
        out.insert(header::ETAG, text(etag));
        out.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        let age = playlist.max_age_s;
        let age = if age == 0 { "no-cache".to_owned() } else { format!("max-age={age}") };
        // One viewer's token is not another's.
        let private = *pass != Pass::Plain || self.admission.guards_playback();
        let age = if private { format!("private, {age}") } else { age };
        out.insert(header::CACHE_CONTROL, text(&age));
        out.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/vnd.apple.mpegurl"));
        if self.face == Face::Public {
            // Relative to the playlist's own URL, so that it is right below any path of a proxy.
            let up = "../".repeat(path.matches('/').count());
            let token = match pass {
                Pass::Join(token) => format!("?token={token}"),
                Pass::InPath | Pass::Plain | Pass::MoveTo(_) => String::new(),
            };
            out.insert(TRACKER, text(&format!("{up}tracker{token}")));
            out.insert(STREAM, text(stream.name.as_str()));
        }
        if is_known(headers, etag) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        if gzipped.is_some() {
            out.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let body = gzipped.unwrap_or(playlist.text);
        out.insert(header::CONTENT_LENGTH, body.len().into());
        let counted = Counted::Playlist(Arc::clone(&self.meter));
        *response.body_mut() = Body::new(CountedBody::whole(body, counted));
        response
    }

    /// A decryption key, as it was pushed. Its encoder may change it under its name.
    fn key(&self, key: Bytes) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        let out = response.headers_mut();
        out.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        out.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        out.insert(header::CONTENT_LENGTH, key.len().into());
        let counted = Counted::Playlist(Arc::clone(&self.meter));
        *response.body_mut() = Body::new(CountedBody::whole(key, counted));
        response
    }

    /// The digest of a segment, as it travels among peers.
    fn digest(&self, digest: &SignedDigest) -> Response<Body> {
        let encoded = digest.encoded().clone();
        let mut response = Response::new(Body::empty());
        let out = response.headers_mut();
        out.insert(header::CACHE_CONTROL, self.segment_cache());
        out.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        out.insert(header::CONTENT_LENGTH, encoded.len().into());
        let counted = Counted::Playlist(Arc::clone(&self.meter));
        *response.body_mut() = Body::new(CountedBody::whole(encoded, counted));
        response
    }

    pub(super) async fn object(
        &self,
        object: &StoredObject,
        account: Option<&StreamMeter>,
        headers: &HeaderMap,
    ) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        let out = response.headers_mut();
        out.insert(header::ETAG, text(&object.etag));
        out.insert(header::CACHE_CONTROL, self.segment_cache());
        out.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        if is_known(headers, &object.etag) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        let (first, last) = match select(headers, object.len, &object.etag) {
            Selected::Whole => (0, object.len.saturating_sub(1)),
            Selected::Part(first, last) => {
                let range = format!("bytes {first}-{last}/{}", object.len);
                out.insert(header::CONTENT_RANGE, text(&range));
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                (first, last)
            }
            Selected::Unsatisfiable => {
                out.insert(header::CONTENT_RANGE, text(&format!("bytes */{}", object.len)));
                out.insert(header::CONTENT_LENGTH, 0.into());
                *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
                return response;
            }
        };
        let out = response.headers_mut();
        out.insert(header::CONTENT_TYPE, HeaderValue::from_static(object.content_type()));
        out.insert(header::CONTENT_LENGTH, (last + 1 - first).into());
        let traffic =
            account.map(|stream| (Arc::clone(&object.traffic), Arc::clone(&stream.media)));
        let counted = Counted::Media(Arc::clone(&self.meter), traffic);
        match CountedBody::part(object, (first, last), counted).await {
            Ok(body) => *response.body_mut() = Body::new(body),
            Err(error) => {
                // Deleted between the look-up and here, or the disk fails.
                tracing::warn!(file = object.file, %error, "cannot read an object");
                return not_found("the segment is gone\n");
            }
        }
        response
    }
}

/// `GET /live/{stream}/{path}`: a playlist, a segment, or a segment's digest.
pub(super) async fn serve(
    State(playback): State<Playback>,
    Path((stream, path)): Path<(String, String)>,
    Extension(connection): Extension<Arc<ConnectionMeter>>,
    Extension(client): Extension<Client>,
    uri: Uri,
    headers: HeaderMap,
) -> Response<Body> {
    let Some(stream) = playback.origin.stream(&stream) else {
        return not_found("no such stream\n");
    };
    let account = match playback.face {
        Face::Public => playback.meters.stream(&stream.name),
        Face::Mirror => None,
    };
    connection.counts_for(account.map_or(Account::None, StreamMeter::account));
    let upstream = playback.upstreams.of(&stream.name);
    if let Some(upstream) = upstream.filter(|_| !path.ends_with(DIGEST_SUFFIX)) {
        return super::upstream::serve(&playback, (upstream, stream), account, &uri, &headers)
            .await;
    }
    let is_playlist = extension(&path) == Some("m3u8");
    // What an upstream has, it gives or denies itself.
    let pass = match upstream {
        Some(_) => Ok(Pass::Plain),
        None => {
            let playing = Playing { client: &client, uri: &uri, headers: &headers, is_playlist };
            playback.admission.play(&stream.name, &playing).await
        }
    };
    let pass = match pass {
        Ok(Pass::MoveTo(token)) => return super::front::moved(&uri, &token),
        Ok(pass) => pass,
        Err(refusal) => return refusal.respond(&playback.metrics),
    };
    if is_playlist {
        let found = match Reload::parse(uri.query()) {
            Ok(reload) => low_latency::playlist(stream, &path, reload).await,
            Err(refused) => Err(refused),
        };
        return match found {
            Ok(playlist) => playback.playlist(stream, (&path, playlist), &headers, &pass),
            Err(refused) => refused.response(),
        };
    }
    let file = path.rsplit('/').next().unwrap_or_default();
    if let Some(segment) = file.strip_suffix(DIGEST_SUFFIX) {
        let object = stream.view().objects.get(segment).cloned();
        let id = object.filter(|it| it.shared).and_then(|it| it.traffic.object);
        return match id.and_then(|id| stream.digest(id)) {
            Some(digest) => playback.digest(&digest),
            None => not_found("no such segment, or it is not shared\n"),
        };
    }
    if let Some(key) = stream.view().keys.get(&path).cloned() {
        return playback.key(key);
    }
    match low_latency::object(stream, file).await {
        Some(object) => playback.object(&object, account, &headers).await,
        None => not_found("no such segment\n"),
    }
}

pub(super) fn not_found(why: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(why));
    *response.status_mut() = StatusCode::NOT_FOUND;
    let out = response.headers_mut();
    out.insert(header::CACHE_CONTROL, NOT_FOUND_CACHE);
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

/// Whether the client reads gzip (RFC 9110, 12.5.3).
fn takes_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    accepted.unwrap_or_default().split(',').any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let refused =
            weight.trim().trim_start_matches("q=").trim_end_matches(['0', '.']).is_empty();
        name.trim().eq_ignore_ascii_case("gzip") && (weight.is_empty() || !refused)
    })
}

/// Whether the client has the representation with this entity tag (RFC 9110, 13.1.2).
pub(super) fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let Some(known) = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok())
    else {
        return false;
    };
    let mut tags = known.split(',').map(|tag| tag.trim().trim_start_matches("W/"));
    tags.any(|tag| tag == etag || tag == "*")
}

pub(super) fn text(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).expect("names, tags and numbers are visible ASCII")
}
