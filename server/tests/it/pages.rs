//! Pages: served if they were built in, said to be absent if not; what they are told to play.

use crate::harness::Fixture;
use reqwest::Method;
use reqwest::header::{ETAG, IF_NONE_MATCH};
use serde_json::Value;

/// Whether the build found the pages, as the server itself tells.
async fn are_built_in(fixture: &Fixture) -> bool {
    fixture.get("/web/page/page.js").await.status() == 200
}

#[tokio::test]
async fn the_page_is_served_or_said_to_be_absent() {
    let fixture = Fixture::new().await;
    let built = are_built_in(&fixture).await;
    for (response, policy) in [
        (fixture.get("/watch/cam/").await, "wasm-unsafe-eval"),
        (fixture.admin("/admin/").await, "frame-ancestors 'none'"),
    ] {
        let headers = response.headers().clone();
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert!(headers["content-security-policy"].to_str().unwrap().contains(policy));
        assert_eq!(response.status(), if built { 200 } else { 404 });
        let kind = headers["content-type"].to_str().unwrap();
        assert!(kind.starts_with(if built { "text/html" } else { "text/plain" }), "{kind}");
        let text = response.text().await.unwrap();
        let line =
            "this server was built without its pages: run `cargo xtask web`, then build again\n";
        assert_eq!(text == line, !built, "{text}");
        assert!(!text.contains("=\"/"), "every link is relative");
    }
    assert_eq!(fixture.get("/watch/none/").await.status(), 404);
    // The operator's page is on the operator's side alone.
    assert_eq!(fixture.get("/admin/").await.status(), 404);
    assert_eq!(fixture.get("/web/admin/admin.js").await.status(), 404);
}

#[tokio::test]
async fn what_has_not_changed_is_not_sent_again() {
    let fixture = Fixture::new().await;
    if !are_built_in(&fixture).await {
        return;
    }
    for path in ["/watch/cam/", "/web/page/page.js", "/web/sdk/shoal_bg.wasm"] {
        let asked = |etag: Option<&str>| {
            let request = fixture.request(Method::GET, path).header("accept-encoding", "gzip");
            match etag {
                Some(etag) => request.header(IF_NONE_MATCH, etag),
                None => request,
            }
        };
        let first = fixture.send(asked(None)).await;
        assert_eq!(first.status(), 200, "{path}");
        assert_eq!(first.headers()["vary"], "accept-encoding");
        assert_eq!(first.headers()["cache-control"], "no-cache");
        let etag = first.headers()[ETAG].to_str().unwrap().to_owned();
        let again = fixture.send(asked(Some(&etag))).await;
        assert_eq!(again.status(), 304, "{path}");
        assert!(again.bytes().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn without_a_slash_links_still_work() {
    let fixture = Fixture::new().await;
    let client = crate::harness::http_builder().redirect(reqwest::redirect::Policy::none());
    let client = client.build().unwrap();
    let response = client.get(fixture.url("/watch/cam?share=off&cap=2mbit")).send().await.unwrap();
    assert_eq!(response.status(), 308);
    assert_eq!(response.headers()["location"], "./cam/?share=off&cap=2mbit");
    let admin = fixture.server.ports().admin_listen.unwrap();
    let response = client.get(format!("http://{admin}/admin")).send().await.unwrap();
    assert_eq!(response.headers()["location"], "./admin/");
}

#[tokio::test]
async fn the_source_names_the_playlist_to_begin_with() {
    let fixture = Fixture::new().await;
    let source = async || -> Value {
        serde_json::from_str(&fixture.text("/watch/cam/source").await).unwrap()
    };
    assert_eq!(source().await["playlist"], Value::Null, "nothing is published");
    fixture.push_segment(0, b"zero").await;
    let only = source().await;
    assert_eq!(only["playlist"], "../../live/cam/index.m3u8");
    assert_eq!((&only["stream"], &only["title"]), (&"cam".into(), &"cam".into()));
    let master = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1000\nindex.m3u8\n";
    assert_eq!(fixture.push("master.m3u8", master).await, 201);
    let playlist = source().await["playlist"].as_str().unwrap().to_owned();
    assert_eq!(playlist, "../../live/cam/master.m3u8");
    // As a browser resolves it against the answer's own address.
    let base = reqwest::Url::parse(&fixture.url("/watch/cam/source")).unwrap();
    let url = base.join(&playlist).unwrap();
    assert_eq!(crate::harness::http().get(url).send().await.unwrap().text().await.unwrap(), master);
    assert_eq!(fixture.get("/watch/none/source").await.status(), 404);
}

#[tokio::test]
async fn page_bytes_are_no_media_and_a_streams_bytes_are_its_own() {
    let fixture = Fixture::new().await;
    fixture.push_segment(0, &[7; 100_000]).await;
    let before = fixture.status().await;
    let count = |status: &Value, name: &str| status["egress"][name].as_u64().unwrap();
    for _ in 0..20 {
        fixture.text("/watch/cam/source").await;
    }
    let after = fixture.status().await;
    assert!(count(&after, "page_bytes") > count(&before, "page_bytes") + 20 * 60);
    for kind in ["media_bytes", "playlist_bytes", "control_bytes"] {
        assert_eq!(count(&after, kind), count(&before, kind), "{kind}");
    }
    let stream = |status: &Value| status["streams"][0]["egress_bytes"].as_u64().unwrap();
    assert_eq!(stream(&after), stream(&before));
    assert_eq!(fixture.get("/live/cam/0-1-0.ts").await.bytes().await.unwrap().len(), 100_000);
    crate::harness::until(|| async {
        let status = fixture.status().await;
        let sent = stream(&status) - stream(&before);
        // The segment and its head.
        (sent > 100_000 && sent < 101_000).then_some(())
    })
    .await;
    let paged = fixture.metric("shoal_origin_egress_bytes_total{kind=\"page\"}").await;
    assert!(paged > 20.0 * 60.0, "{paged}");
}
