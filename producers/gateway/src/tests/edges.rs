//! What surrounds every route: rates, browsers, stopping.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::post;
use domain::event::EventType;
use futures_util::StreamExt as _;
use serde_json::json;
use service::auth::Scope;
use store::Store as _;
use tower::ServiceExt as _;

use super::world::{Answer, Served, answer, event, with_key};
use super::{Options, Rate, Rates};

async fn served_at(per_second: u32, burst: u32) -> Served {
    let rates = Rates { every: Rate { per_second, burst }, ..Rates::default() };
    Served::with(Options { rates, ..Options::default() }).await
}

#[tokio::test]
async fn key_that_asks_too_often_is_told_when_to_come_back() {
    let served = served_at(1, 2).await;
    let first = served.get("/v1/models").await;
    assert_eq!((first.header("ratelimit-limit"), first.header("ratelimit-remaining")), ("2", "1"));
    assert_eq!(first.header("x-ratelimit-remaining-requests"), "1");
    served.get("/v1/models").await;
    let theirs = served.get("/v1/models").await;
    assert_eq!(theirs.status.as_u16(), 429);
    assert_eq!(theirs.json()["error"]["type"], "rate_limit_error");
    assert_eq!(theirs.json()["error"]["code"], "rate_limit_exceeded");
    assert_eq!((theirs.header("retry-after"), theirs.header("x-should-retry")), ("1", "true"));
    assert_eq!(theirs.header("ratelimit-remaining"), "0");
    let ours = served.get("/v1/executions").await;
    assert_eq!(ours.status.as_u16(), 429);
    assert_eq!(ours.header("content-type"), "application/problem+json");
    let other = served.world.key("acme", &[Scope::DefinitionsRead]);
    let free = served.send(with_key("GET", "/v1/models", &other, Body::empty())).await;
    assert_eq!(free.status().as_u16(), 200, "each key has its own rate");
    assert_eq!(served.get("/healthz").await.status.as_u16(), 200);
}

#[tokio::test]
async fn unlimited_key_hears_nothing_of_rates() {
    let served = Served::new().await;
    assert_eq!(served.get("/v1/models").await.header("ratelimit-limit"), "");
}

async fn from_page(served: &Served, method: &str, origin: &str) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri("/v1/models")
        .header("origin", origin)
        .header("access-control-request-method", "GET")
        .header("access-control-request-headers", "authorization,x-stainless-lang")
        .header("authorization", format!("Bearer {}", served.key));
    answer(served.send(request.body(Body::empty()).unwrap()).await).await
}

#[tokio::test]
async fn only_pages_of_allowed_origins_may_call() {
    let page = "https://console.example";
    let cors_origins = vec![page.to_owned()];
    let served = Served::with(Options { cors_origins, ..Options::default() }).await;
    let preflight = from_page(&served, "OPTIONS", page).await;
    assert_eq!(preflight.status.as_u16(), 200);
    assert_eq!(preflight.header("access-control-allow-origin"), page);
    assert!(preflight.header("access-control-allow-headers").contains("x-stainless-lang"));
    assert!(preflight.header("access-control-allow-methods").contains("DELETE"));
    let got = from_page(&served, "GET", page).await;
    assert_eq!(got.header("access-control-allow-origin"), page);
    assert!(got.header("access-control-expose-headers").contains("x-execution-id"));
    assert_eq!(got.header("access-control-allow-credentials"), "");
    for elsewhere in ["https://evil.example", "null"] {
        for method in ["OPTIONS", "GET"] {
            let got = from_page(&served, method, elsewhere).await;
            assert_ne!(got.header("access-control-allow-origin"), elsewhere, "{method}");
            assert_ne!(got.header("access-control-allow-origin"), "*", "{method}");
        }
    }
    let closed = Served::new().await;
    let got = from_page(&closed, "OPTIONS", page).await;
    assert_eq!((got.status.as_u16(), got.header("access-control-allow-origin")), (405, ""));
}

#[tokio::test]
async fn routes_on_a_port_of_their_own_have_the_same_around_them() {
    let page = "https://console.example";
    let bare = Router::new().route("/v1/tickets", post(async || "made"));
    let dressed = crate::dress(bare, &[page.to_owned()]);
    for (method, status) in [("OPTIONS", 200), ("POST", 200), ("GET", 405)] {
        let request = Request::builder()
            .method(method)
            .uri("/v1/tickets")
            .header("origin", page)
            .header("access-control-request-method", "POST")
            .body(Body::empty())
            .unwrap();
        let got = answer(dressed.clone().oneshot(request).await.unwrap()).await;
        assert_eq!(got.status.as_u16(), status, "{method}");
        assert_eq!(got.header("access-control-allow-origin"), page, "{method}");
        assert_eq!(got.header("x-content-type-options"), "nosniff", "{method}");
        assert!(!got.header("x-request-id").is_empty(), "{method}");
    }
}

#[tokio::test]
async fn every_answer_says_what_a_browser_may_do_with_it() {
    let served = Served::new().await;
    for path in ["/v1/models", "/v1/nothing", "/healthz", "/openapi.json"] {
        let got = served.get(path).await;
        assert_eq!(got.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(got.header("x-frame-options"), "DENY", "{path}");
        assert_eq!(got.header("cache-control"), "no-store", "{path}");
        assert_eq!(got.header("referrer-policy"), "no-referrer", "{path}");
        assert!(got.header("content-security-policy").contains("default-src 'none'"), "{path}");
    }
    let page = served.get("/docs").await;
    let policy = page.header("content-security-policy");
    let nonce = policy.split("script-src 'nonce-").nth(1).unwrap().split('\'').next().unwrap();
    assert!(page.text.contains(&format!("<script nonce=\"{nonce}\">")));
    assert!(!page.text.contains("__NONCE__"));
}

#[tokio::test]
async fn open_stream_of_events_is_told_where_to_go_on() {
    let served = Served::new().await;
    served.world.0.store.apply_event(&event("e", 1, EventType::Admitted)).await.unwrap();
    let response = served.send(served.request("GET", "/v1/executions/e/events", "")).await;
    let mut frames = response.into_body().into_data_stream();
    let first = frames.next().await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&first).contains("execution.admitted"));
    served.app.shutdown.finish();
    let mut rest = String::new();
    while let Some(frame) = frames.next().await {
        rest.push_str(&String::from_utf8_lossy(&frame.unwrap()));
    }
    assert!(rest.contains("event: restarting"), "{rest}");
    assert!(rest.contains("retry: 1000") && rest.contains(r#""last_event_id":"0.1""#), "{rest}");
}

#[tokio::test]
async fn who_still_waits_at_the_end_of_the_drain_learns_where_the_answer_will_be() {
    for (path, stream) in [
        ("/v1/chat/completions", false),
        ("/v1/chat/completions", true),
        ("/v1/responses", false),
        ("/v1/responses", true),
    ] {
        let served = Served::new().await;
        served.world.on_request(|world, request| {
            if request.stream {
                world.chunk(&request.id, 1, 0, "Hello");
            }
        });
        let body = json!({"model": "fast", "stream": stream, "input": "x", "messages": [{"role": "user"}]});
        let closing = served.app.closing.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(30)).await;
            closing.finish();
        });
        let got = served.post(path, &body).await;
        assert_eq!(got.status.as_u16(), if stream { 200 } else { 503 }, "{path} {stream}");
        assert!(got.text.contains("restarting"), "{path} {stream}: {}", got.text);
        let id = got.header("x-execution-id");
        assert!(got.text.contains(id) && !id.is_empty(), "{path} {stream}: {}", got.text);
        if path == "/v1/responses" && stream {
            assert!(got.text.contains("starting_after=8"), "{}", got.text);
        }
        assert_eq!(served.world.published().len(), 1, "it goes on");
    }
}
