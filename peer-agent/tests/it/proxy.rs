//! Who may ask, what is passed through, and what a player sees of an origin that is not ours.

use crate::harness::{PATIENCE, Viewer, options, soon};
use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use reqwest::Method;
use shoal_agent::{Running, StartError};
use tokio::net::TcpListener;

const PLAYLIST: &str = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-KEY:METHOD=AES-128,URI=\"/key\"\n\
                        #EXTINF:2,\nrelative.ts\n#EXTINF:2,\nhttp://elsewhere/x.ts\n";

/// A plain HLS origin.
async fn origin() -> String {
    let echo = |headers: HeaderMap| async move {
        let mut names: Vec<_> = headers.keys().map(|name| name.as_str().to_owned()).collect();
        names.sort();
        ([(header::SET_COOKIE, "a=b"), (header::ETAG, "\"1\"")], names.join(","))
    };
    let ranged = |headers: HeaderMap| async move {
        let range = headers.get(header::RANGE).map(|range| range.to_str().unwrap().to_owned());
        match range.as_deref() {
            Some("bytes=0-") => {
                let head = [(header::CONTENT_RANGE, "bytes 0-3/4")];
                (StatusCode::PARTIAL_CONTENT, head, "data").into_response()
            }
            _ => "data".into_response(),
        }
    };
    let playlist = |headers: HeaderMap| async move {
        let plain = !headers.contains_key(header::RANGE);
        if plain { PLAYLIST.into_response() } else { StatusCode::BAD_REQUEST.into_response() }
    };
    let away = || async { (StatusCode::FOUND, [(header::LOCATION, "http://elsewhere/y")]) };
    let router = Router::new()
        .route("/echo", get(echo))
        .route("/a.ts", get(ranged))
        .route("/index.m3u8", get(playlist))
        .route("/away", get(away));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let site = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    site
}

#[tokio::test]
async fn what_is_not_ours_is_passed_through() {
    let viewer = Viewer::new(&origin().await).await;
    let segment = viewer.get("/a.ts", &[("range", "bytes=0-")]).await;
    assert_eq!(segment.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(segment.headers()[header::CONTENT_RANGE], "bytes 0-3/4");
    assert_eq!(segment.headers()[header::CONTENT_LENGTH], "4");
    assert_eq!(segment.text().await.unwrap(), "data");
    assert_eq!(viewer.get("/none.ts", &[]).await.status(), StatusCode::NOT_FOUND);
    let head = viewer.ask(Method::HEAD, &viewer.url("/a.ts"), &[]).await;
    assert_eq!(
        (head.status(), head.headers()[header::CONTENT_LENGTH].as_bytes()),
        (StatusCode::OK, &b"4"[..])
    );
    let away = viewer.get("/away", &[]).await;
    assert_eq!(away.status(), StatusCode::FOUND);
    assert_eq!(away.headers()[header::LOCATION], "http://elsewhere/y");
}

#[tokio::test]
async fn cookies_and_foreign_headers_stay_here() {
    let viewer = Viewer::new(&origin().await).await;
    let answer = viewer
        .get(
            "/echo",
            &[("cookie", "c=d"), ("x-own", "1"), ("user-agent", "player"), ("accept", "*/*")],
        )
        .await;
    assert!(!answer.headers().contains_key(header::SET_COOKIE));
    assert_eq!(answer.headers()[header::ETAG], "\"1\"");
    let names = answer.text().await.unwrap();
    assert!(names.contains("user-agent") && names.contains("accept"), "{names}");
    assert!(!names.contains("cookie") && !names.contains("x-own"), "{names}");
}

#[tokio::test]
async fn a_foreign_origins_playlist_leads_through_the_proxy() {
    let viewer = Viewer::new(&origin().await).await;
    let answer = viewer.get("/index.m3u8", &[("range", "bytes=0-")]).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/vnd.apple.mpegurl");
    let local = viewer.url("/key");
    let local_path = local.strip_prefix(&format!("http://{}", viewer.agent.address())).unwrap();
    assert_eq!(answer.text().await.unwrap(), PLAYLIST.replace("/key", local_path));
}

#[tokio::test]
async fn pages_need_the_secret_and_get_cors() {
    let viewer = Viewer::new(&origin().await).await;
    let page = [("origin", "https://page.example")];
    let refused = viewer.get("/a.ts", &page).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert!(!refused.headers().contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
    assert!(refused.text().await.unwrap().contains("secret"));
    let base = format!("http://{}", viewer.agent.address());
    let url = viewer.url("/a.ts").replace(&base, &format!("{base}{}", viewer.agent.page_prefix()));
    let allowed = viewer.ask(Method::GET, &url, &page).await;
    assert_eq!(allowed.status(), StatusCode::OK);
    assert_eq!(allowed.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    let exposed = allowed.headers()[header::ACCESS_CONTROL_EXPOSE_HEADERS].to_str().unwrap();
    assert!(exposed.contains("Content-Range"));
    let preflight = viewer.ask(Method::OPTIONS, &url, &page).await;
    assert_eq!(preflight.status(), StatusCode::NO_CONTENT);
    let allowed = preflight.headers()[header::ACCESS_CONTROL_ALLOW_HEADERS].to_str().unwrap();
    assert!(allowed.contains("Range"));
}

#[tokio::test]
async fn other_hosts_and_other_origins_are_refused() {
    let viewer = Viewer::new(&origin().await).await;
    let rebound = viewer.get("/a.ts", &[("host", "evil.example")]).await;
    assert_eq!(rebound.status(), StatusCode::FORBIDDEN);
    let base = format!("http://{}", viewer.agent.address());
    let other = viewer.ask(Method::GET, &format!("{base}/http/other.example/x"), &[]).await;
    assert_eq!(other.status(), StatusCode::FORBIDDEN);
    let text = other.text().await.unwrap();
    assert!(text.contains("http://other.example") && text.contains("--origin"), "{text}");
    let nothing = viewer.ask(Method::GET, &format!("{base}/favicon.ico"), &[]).await;
    assert_eq!(nothing.status(), StatusCode::NOT_FOUND);
    let put = viewer.ask(Method::PUT, &viewer.url("/a.ts"), &[]).await;
    assert_eq!(put.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn an_origin_that_is_down_is_said_to_be() {
    let site = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let viewer = Viewer::new(&site).await;
    let answer = viewer.get("/index.m3u8", &[]).await;
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    let base = format!("http://{}", viewer.agent.address());
    for (path, part) in [("/healthz", "ok"), ("/metrics", "shoal_agent_streams 0"), ("/", &site)] {
        let answer = viewer.ask(Method::GET, &format!("{base}{path}"), &[]).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        assert!(answer.text().await.unwrap().contains(part), "{path}");
    }
}

#[tokio::test]
async fn an_address_that_cannot_be_used_is_a_sentence() {
    let viewer = Viewer::new("http://h").await;
    let taken = options("http://h");
    let taken = shoal_agent::Options { listen: viewer.agent.address(), ..taken };
    let error = soon(Running::start(taken)).await.unwrap_err();
    assert!(error.to_string().contains("--listen"), "{error}");
    let open = shoal_agent::Options { listen: "0.0.0.0:0".parse().unwrap(), ..options("http://h") };
    let error = Running::start(open).await.unwrap_err();
    assert!(matches!(error, StartError::NotLoopback(_)));
    #[cfg(not(feature = "tls"))]
    {
        let error = Running::start(options("https://h")).await.unwrap_err();
        assert!(error.to_string().contains("--features tls"), "{error}");
    }
    tokio::time::timeout(PATIENCE, viewer.agent.stop()).await.unwrap();
}
