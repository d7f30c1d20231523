//! Playback of streams that an upstream has: its playlists with our names in them, and for each
//! object the way to the viewer's own copy.
//!
//! Rule: what the upstream denies is denied with its status. Nobody is sent to a host that the
//! operator did not name.

use super::StreamMeter;
use super::playback::{Playback, not_found, text};
use crate::origin::{Playlist, Stream};
use crate::upstream::{Denial, Upstream, Way};
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, Uri, header};
use shoal_wire::ObjectId;
use std::sync::Arc;
use url::Url;

/// A way may be another soon, and is a viewer's own.
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-store");

/// `GET /live/{stream}/{path}` of a stream that `upstream` has.
pub(super) async fn serve(
    playback: &Playback,
    (upstream, stream): (&Arc<Upstream>, &Stream),
    account: Option<&StreamMeter>,
    uri: &Uri,
    headers: &HeaderMap,
) -> Response<Body> {
    // As it came: an upstream's path may hold escapes that mean something to it.
    let path = uri.path().splitn(4, '/').nth(3).unwrap_or_default();
    let answer = if is_playlist(path) {
        upstream.playlist(path, uri.query()).await.map(|shown| {
            let playlist = Playlist::new(shown.text, shown.target_s);
            // Whom the upstream lets in may join.
            let pass = playback.admission.issued(&stream.name);
            playback.playlist(stream, (path, playlist), headers, &pass)
        })
    } else if let Some(object) = ObjectId::from_url_path(path) {
        match upstream.object(path, object, uri.query()).await {
            Ok(Way::Here) => {
                let file = path.rsplit('/').next().unwrap_or_default();
                let stored = stream.view().objects.get(file).cloned();
                match stored {
                    Some(stored) => Ok(playback.object(&stored, account, headers).await),
                    None => Ok(not_found("the segment is gone\n")),
                }
            }
            Ok(Way::Upstream(url)) => {
                let name = stream.name.as_str();
                playback.metrics.upstream_redirects.with_label_values(&[name]).inc();
                Ok(redirect(&url))
            }
            Err(denial) => Err(denial),
        }
    } else {
        // A key or whatever else a player made up from a relative URI.
        upstream.url(path, uri.query()).map(|url| redirect(&url))
    };
    answer.unwrap_or_else(|denial| denied(&denial))
}

fn is_playlist(path: &str) -> bool {
    let extension = crate::origin::object::extension(path).unwrap_or_default();
    extension.eq_ignore_ascii_case("m3u8") || extension.eq_ignore_ascii_case("m3u")
}

fn redirect(url: &Url) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::FOUND;
    let out = response.headers_mut();
    out.insert(header::LOCATION, text(url.as_str()));
    out.insert(header::CACHE_CONTROL, NO_CACHE);
    response
}

fn denied(denial: &Denial) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{}\n", denial.why)));
    *response.status_mut() = denial.status;
    let out = response.headers_mut();
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=1"));
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}
