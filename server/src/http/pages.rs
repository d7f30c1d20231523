//! The viewer's page, the operator's page, and what they load.
//!
//! Rule: every link between them is relative, so that they work below any path of a proxy. A page
//! is asked for again each time and sent only if it changed; what it may load is said in its
//! policy. Its bytes count as pages, never as media.

use super::playback::{is_known, not_found, text};
use super::{Shared, shoal_header};
use crate::net::{Account, ConnectionMeter};
use crate::origin::Stream;
use crate::pages::{ABSENT, Page, Pages};
use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::IntoResponse;
use serde::Serialize;
use std::sync::Arc;

/// Players of a page take playlists and trackers from wherever its source is; scripts come from
/// here alone, and hls.js makes its worker and its media from memory.
const VIEWER_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; \
     connect-src 'self' http: https: ws: wss:; media-src 'self' blob:; worker-src 'self' blob:; \
     img-src 'self' data:; style-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'",
);
/// The operator's page talks to its server alone and is in nobody's frame.
const OPERATOR_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);
const POLICY: HeaderName = header::CONTENT_SECURITY_POLICY;
const RESOURCE_POLICY: HeaderName = shoal_header("cross-origin-resource-policy");

/// Counts what a connection is sent as pages, and says what holds for all of them.
pub(super) async fn as_page(
    Extension(connection): Extension<Arc<ConnectionMeter>>,
    request: Request,
    next: Next,
) -> Response<Body> {
    connection.counts_for(Account::Page);
    let mut response = next.run(request).await;
    let out = response.headers_mut();
    out.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    out.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// `GET /watch/{stream}` and `GET /admin`: to the same with a slash, from where links are relative.
pub(super) async fn add_slash(uri: Uri) -> Response<Body> {
    let last = uri.path().rsplit('/').next().unwrap_or_default();
    let query = uri.query().map_or_else(String::new, |query| format!("?{query}"));
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    match HeaderValue::from_str(&format!("./{last}/{query}")) {
        Ok(to) => response.headers_mut().insert(header::LOCATION, to),
        Err(_) => return not_found("no such path\n"),
    };
    response
}

/// `GET /watch/{stream}/`.
pub(super) async fn viewer(
    State(shared): State<Shared>,
    Path(stream): Path<String>,
    headers: HeaderMap,
) -> Response<Body> {
    if shared.origin.stream(&stream).is_none() {
        return not_found("no such stream\n");
    }
    with_policy(file(&shared.pages, "page/index.html", &headers), VIEWER_POLICY)
}

/// `GET /web/{file}`: what the viewer's page loads, and what other sites may load.
pub(super) async fn asset(
    State(shared): State<Shared>,
    Path(path): Path<String>,
    headers: HeaderMap,
) -> Response<Body> {
    if path.starts_with("admin/") {
        return not_found("no such file\n");
    }
    let mut response = file(&shared.pages, &path, &headers);
    // A site that embeds the SDK loads it from here.
    response.headers_mut().insert(RESOURCE_POLICY, HeaderValue::from_static("cross-origin"));
    with_policy(response, VIEWER_POLICY)
}

/// `GET /admin/`.
pub(super) async fn operator(State(shared): State<Shared>, headers: HeaderMap) -> Response<Body> {
    with_policy(file(&shared.pages, "admin/index.html", &headers), OPERATOR_POLICY)
}

/// `GET /admin/{file}`.
pub(super) async fn operator_asset(
    State(shared): State<Shared>,
    Path(path): Path<String>,
    headers: HeaderMap,
) -> Response<Body> {
    with_policy(file(&shared.pages, &format!("admin/{path}"), &headers), OPERATOR_POLICY)
}

/// What a page plays.
#[derive(Serialize)]
struct Source {
    stream: String,
    /// Relative to this answer's URL; none before anything is published.
    playlist: Option<String>,
    title: String,
}

/// `GET /watch/{stream}/source`.
pub(super) async fn source(
    State(shared): State<Shared>,
    Path(stream): Path<String>,
) -> Response<Body> {
    let Some(stream) = shared.origin.stream(&stream) else {
        return not_found("no such stream\n");
    };
    let name = stream.name.to_string();
    let playlist = main_playlist(stream).map(|path| format!("../../live/{name}/{path}"));
    let source = Source { title: name.clone(), stream: name, playlist };
    ([(header::CACHE_CONTROL, "no-cache")], Json(source)).into_response()
}

/// The playlist to begin with: a master if there is one, the shortest name of several; else the
/// first rendition's, as soon as it has a segment.
fn main_playlist(stream: &Stream) -> Option<String> {
    let view = stream.view();
    let is_media = |path: &str| view.renditions.iter().any(|it| it.info.playlist == path);
    let masters = view.playlists.keys().filter(|path| !is_media(path));
    let master = masters.min_by_key(|path| (path.len(), path.as_str()));
    let media = || view.renditions.iter().map(|it| &it.info.playlist);
    let first = || media().find(|path| view.playlists.contains_key(*path));
    master.or_else(first).cloned()
}

fn with_policy(mut response: Response<Body>, policy: HeaderValue) -> Response<Body> {
    response.headers_mut().insert(POLICY, policy);
    response
}

/// A file of the build, or why there is none.
fn file(pages: &Pages, path: &str, headers: &HeaderMap) -> Response<Body> {
    match pages.find(path) {
        Some(page) => answer(page, headers),
        None if pages.is_empty() => not_found(ABSENT),
        None => not_found("no such file\n"),
    }
}

fn answer(page: &Page, headers: &HeaderMap) -> Response<Body> {
    let gzip = page.gzip.as_ref().filter(|_| takes_gzip(headers));
    let form = gzip.unwrap_or(&page.plain);
    let mut response = Response::new(Body::empty());
    let out = response.headers_mut();
    out.insert(header::ETAG, text(&form.etag));
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if page.gzip.is_some() {
        out.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
    if is_known(headers, &form.etag) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static(page.content_type));
    if gzip.is_some() {
        out.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    *response.body_mut() = Body::from(form.bytes.clone());
    response
}

/// Whether the client names gzip and does not refuse it (RFC 9110, 12.5.3).
fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter();
    let mut codings = values.filter_map(|value| value.to_str().ok()).flat_map(|it| it.split(','));
    codings.any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let is_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let refused = |weight: &str| {
            let weight = weight.strip_prefix("q=").and_then(|it| it.trim().parse().ok());
            weight.is_some_and(|weight: f32| weight <= 0.0)
        };
        is_gzip && !parts.any(refused)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::Pages;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    fn pages() -> Pages {
        Pages::of(&[("sdk/a.wasm", b"\0asm"), ("sdk/a.wasm.gz", b"gz"), ("page/b.css", b"b")])
    }

    #[test]
    fn gzip_goes_to_those_who_take_it() {
        for (accepts, takes) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("gzip;q=0, identity", false),
            ("gzip; q=0.0", false),
            ("br", false),
            ("x-gzip", false),
        ] {
            let headers = headers(&[(header::ACCEPT_ENCODING, accepts)]);
            assert_eq!(takes_gzip(&headers), takes, "{accepts}");
            let response = file(&pages(), "sdk/a.wasm", &headers);
            assert_eq!(response.headers().contains_key(header::CONTENT_ENCODING), takes);
            assert_eq!(response.headers()[header::VARY], "accept-encoding");
            assert_eq!(response.headers()[header::CONTENT_TYPE], "application/wasm");
        }
        let plain = file(&pages(), "page/b.css", &headers(&[(header::ACCEPT_ENCODING, "gzip")]));
        assert!(!plain.headers().contains_key(header::CONTENT_ENCODING));
    }

    #[test]
    fn what_is_known_is_not_sent_again() {
        let gzip = (header::ACCEPT_ENCODING, "gzip");
        let first = file(&pages(), "sdk/a.wasm", &headers(std::slice::from_ref(&gzip)));
        let etag = first.headers()[header::ETAG].to_str().unwrap().to_owned();
        let asked = [gzip, (header::IF_NONE_MATCH, etag.as_str())];
        let again = file(&pages(), "sdk/a.wasm", &headers(&asked));
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(again.headers()[header::ETAG], etag);
        // The other form is another representation.
        let plain = file(&pages(), "sdk/a.wasm", &headers(&asked[1..]));
        assert_eq!(plain.status(), StatusCode::OK);
    }

    #[test]
    fn absent_pages_say_how_to_make_them() {
        let none = file(&Pages::default(), "page/index.html", &HeaderMap::new());
        assert_eq!(none.status(), StatusCode::NOT_FOUND);
        assert_eq!(file(&pages(), "page/c.css", &HeaderMap::new()).status(), 404);
    }
}
