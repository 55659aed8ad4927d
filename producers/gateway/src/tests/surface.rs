//! What holds of every route: keys, forms of refusal, request ids, the document.

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use proptest::prelude::*;
use serde_json::{Value, json};
use service::auth::Scope;
use std::net::SocketAddr;

use super::world::{Answer, Served, answer, with_key};
use super::{Options, Page};

/// Every operation of the document: method, path with ids filled in, whether it needs a key.
fn operations() -> Vec<(String, String, bool)> {
    let document = crate::docs::document();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            // Served by push, where a process has it.
            if operation["tags"] == json!(["push"]) {
                continue;
            }
            let path = path.replace("{id}", "e1").replace("{model}", "m").replace("{name}", "n");
            let path = path.replace("{version}", "1").replace("{alias}", "a");
            let path = path.replace("{hash}", &format!("sha256:{}", "0a".repeat(32)));
            found.push((method.to_uppercase(), path, operation.get("security").is_some()));
        }
    }
    assert_eq!(found.len(), 67);
    found
}

#[tokio::test]
async fn every_documented_route_exists_and_takes_no_other_method() {
    let served = Served::with(Options { page: Page::Live, ..Options::default() }).await;
    for (method, path, _) in operations() {
        let got = answer(served.send(served.request(&method, &path, "{}")).await).await;
        assert_ne!(got.status.as_u16(), 405, "{method} {path}");
        assert!(!got.text.contains("unknown_route"), "{method} {path}");
        let got = answer(served.send(served.request("PATCH", &path, "{}")).await).await;
        assert_eq!(got.status.as_u16(), 405, "PATCH {path}");
        let mut documented: Vec<String> = operations()
            .into_iter()
            .filter(|(_, other, _)| *other == path)
            .flat_map(|(method, _, _)| match method.as_str() {
                "GET" => vec!["GET".to_owned(), "HEAD".to_owned()],
                _ => vec![method],
            })
            .collect();
        documented.sort();
        let mut allowed: Vec<String> = got.header("allow").split(", ").map(str::to_owned).collect();
        allowed.sort();
        assert_eq!(allowed, documented, "PATCH {path}");
    }
}

#[tokio::test]
async fn nothing_but_probes_and_documents_answers_without_a_key() {
    let served = Served::new().await;
    let mut open = Vec::new();
    for (method, path, keyed) in operations() {
        let plain = Request::builder()
            .method(method.as_str())
            .uri(&path)
            .header("content-type", "application/json")
            .body(Body::from("{}"))
            .unwrap();
        let got = answer(served.send(plain).await).await;
        if keyed {
            assert_eq!(got.status.as_u16(), 401, "{method} {path}");
            assert_eq!(got.header("www-authenticate"), "Bearer");
        } else {
            open.push(path);
        }
    }
    open.sort();
    assert_eq!(
        open,
        ["/", "/asyncapi.json", "/docs", "/healthz", "/metrics", "/openapi.json", "/readyz"]
    );
}

#[tokio::test]
async fn wrong_keys_all_look_the_same() {
    let served = Served::new().await;
    let unknown = format!("sk-ss-{}", "0".repeat(64));
    let mut answers = Vec::new();
    for value in
        [&format!("Bearer {unknown}"), "Bearer x", "Bearer ", &format!("Bearer {}x", served.key)]
    {
        let request = Request::get("/v1/models").header("authorization", value);
        let got = answer(served.send(request.body(Body::empty()).unwrap()).await).await;
        assert_eq!(got.status.as_u16(), 401, "{value}");
        answers.push(got.text);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);
    for value in ["", "Basic abc", &served.key] {
        let request = Request::get("/v1/models").header("authorization", value);
        let got = served.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(got.status().as_u16(), 401, "{value}");
    }
    let twice = Request::get("/v1/models")
        .header("authorization", format!("Bearer {}", served.key))
        .header("authorization", format!("Bearer {unknown}"));
    assert_eq!(served.send(twice.body(Body::empty()).unwrap()).await.status().as_u16(), 401);
}

#[tokio::test]
async fn key_does_what_its_scopes_say_and_no_more() {
    let served = Served::new().await;
    for scope in [
        Scope::RequestsWrite,
        Scope::ExecutionsRead,
        Scope::ExecutionsWrite,
        Scope::DefinitionsRead,
        Scope::DefinitionsWrite,
    ] {
        let key = served.world.key("acme", &[scope]);
        for (method, path, keyed) in operations() {
            let needs = match (method.as_str(), path.as_str()) {
                (
                    _,
                    "/v1/chat/completions"
                    | "/v1/embeddings"
                    | "/v1/rerank"
                    | "/v1/responses"
                    | "/v1/requests"
                    | "/v1/events",
                ) => Scope::RequestsWrite,
                ("POST", path) if path.ends_with(":compile") => Scope::DefinitionsRead,
                ("POST", path)
                    if [":start", ":retry", ":restart"].iter().any(|verb| path.ends_with(verb)) =>
                {
                    Scope::RequestsWrite
                }
                ("PUT" | "DELETE", path) if path.starts_with("/v1/definitions") => {
                    Scope::DefinitionsWrite
                }
                ("POST" | "DELETE", _) => Scope::ExecutionsWrite,
                (_, path)
                    if ["/v1/executions", "/v1/responses", "/v1/values"]
                        .iter()
                        .any(|start| path.starts_with(start)) =>
                {
                    Scope::ExecutionsRead
                }
                _ => Scope::DefinitionsRead,
            };
            let got = served.send(with_key(&method, &path, &key, "{}")).await.status().as_u16();
            assert_eq!(got == 403, keyed && needs != scope, "{scope}: {method} {path}: {got}");
        }
    }
}

#[tokio::test]
async fn every_answer_has_a_request_id() {
    let served = Served::new().await;
    for (sent, kept) in
        [("my-id-1", true), ("", false), ("has space", false), (&"x".repeat(129), false)]
    {
        for path in ["/v1/models", "/nowhere", "/healthz"] {
            let request =
                Request::get(path).header("x-request-id", sent).body(Body::empty()).unwrap();
            let got = answer(served.send(request).await).await;
            let id = got.header("x-request-id");
            assert_eq!(id == sent, kept, "{path}: {sent}");
            assert!(!id.is_empty());
        }
    }
}

#[tokio::test]
async fn refusals_of_bodies_say_why() {
    let served = Served::with(Options { body_bytes: 10_000, ..Options::default() }).await;
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let big = format!("{{\"a\":\"{}\"}}", "x".repeat(20_000));
    for path in [
        "/v1/chat/completions",
        "/v1/embeddings",
        "/v1/rerank",
        "/v1/responses",
        "/v1/requests",
        "/v1/events",
    ] {
        for (body, status, word) in [
            ("", 400, "EOF"),
            ("{\"model\":}", 400, "column 10"),
            (deep.as_str(), 400, "nested deeper"),
            ("[]", 400, ""),
            (big.as_str(), 413, "larger than 10000 bytes"),
        ] {
            let got =
                answer(served.send(served.request("POST", path, body.to_owned())).await).await;
            assert_eq!(got.status.as_u16(), status, "{path}: {}", got.text);
            assert!(got.text.contains(word), "{path}: {}", got.text);
        }
        let mut form = served.request("POST", path, "a=b");
        form.headers_mut()
            .insert("content-type", "application/x-www-form-urlencoded".parse().unwrap());
        assert_eq!(served.send(form).await.status().as_u16(), 415);
        let bytes = served.request("POST", path, vec![b'"', 0xff, b'"']);
        assert_eq!(served.send(bytes).await.status().as_u16(), 400);
    }
}

#[tokio::test]
async fn unknown_route_is_a_problem() {
    let served = Served::new().await;
    let got = served.get("/v1/nothing").await;
    assert_eq!(
        (got.status.as_u16(), got.header("content-type")),
        (404, "application/problem+json")
    );
    assert_eq!(got.json()["code"], "unknown_route");
    let hidden = served.get("/").await;
    assert_eq!(hidden.status.as_u16(), 404);
}

#[tokio::test]
async fn document_is_openapi_31_and_every_reference_resolves() {
    let served = Served::new().await;
    let document = served.get("/openapi.json").await.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = &reference[..reference.find('"').unwrap()];
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let responses = operation["responses"].as_object().unwrap();
            let keyed = operation.get("security").is_some();
            assert_eq!(keyed, responses.contains_key("401"), "{method} {path}");
            assert!(operation["summary"].is_string(), "{method} {path}");
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            for parameter in parameters {
                let schema = parameter["schema"].to_string();
                assert!(!schema.contains("null"), "{method} {path}: {parameter}");
            }
        }
    }
    let asyncapi = served.get("/asyncapi.json").await.json();
    assert!(asyncapi["asyncapi"].as_str().unwrap().starts_with("3."));
}

#[tokio::test]
async fn readiness_names_each_dependency() {
    let served = Served::new().await;
    let got = served.get("/readyz").await;
    let expected = json!({"definitions": "ok", "live-events": "ok", "schemas": "ok", "shutdown": "ok", "store": "ok"});
    assert_eq!((got.status.as_u16(), &got.json()["dependencies"]), (200, &expected));
    served.app.shutdown.finish();
    let got = served.get("/readyz").await;
    assert_eq!((got.status.as_u16(), &got.json()["status"]), (503, &json!("not_ready")));
}

async fn page(served: &Served, peer: &str, host: &str) -> Answer {
    let mut request = Request::get("/").header("host", host).body(Body::empty()).unwrap();
    request.extensions_mut().insert(ConnectInfo(peer.parse::<SocketAddr>().unwrap()));
    answer(served.send(request).await).await
}

#[tokio::test]
async fn key_in_the_page_is_for_a_browser_on_this_machine_only() {
    let secret = "sk-ss-for-development";
    let page_with_key = Page::LiveWithKey(secret.to_owned().into());
    let served = Served::with(Options { page: page_with_key, ..Options::default() }).await;
    assert!(page(&served, "127.0.0.1:5", "localhost:8080").await.text.contains(secret));
    for (peer, host) in [
        ("192.168.1.7:5", "localhost:8080"),
        ("127.0.0.1:5", "rebound.example:8080"),
        ("127.0.0.1:5", ""),
    ] {
        let got = page(&served, peer, host).await;
        assert_eq!(got.status.as_u16(), 200);
        assert!(!got.text.contains(secret), "{peer} {host}");
        assert!(!got.text.contains("__KEY__") && !got.text.contains("__NONCE__"));
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(json!("fast")),
    ];
    let name = prop_oneof![
        prop::sample::select(vec![
            "model",
            "messages",
            "role",
            "body",
            "input",
            "query",
            "documents",
            "stream",
            "id",
            "stream_options",
            "labels",
            "operation",
            "deadline",
            "encoding_format",
            "tools",
            "background",
            "previous_response_id",
            "data",
            "source",
        ])
        .prop_map(str::to_owned),
        ".{0,6}",
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(name.clone(), inner, 0..7)
                .prop_map(|map| map.into_iter().collect::<Value>()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever the body: an answer of the 2xx or 4xx, JSON with a message, and never a fault of ours.
    #[test]
    fn no_body_breaks_a_route(
        json in json_value(),
        raw in prop::collection::vec(any::<u8>(), 0..40),
        id in ".{0,20}",
        header in "[ -~]{0,20}",
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let served = Served::new().await;
            served.world.on_request(|world, request| world.succeed(&request.id, "{\"choices\":[],\"data\":[]}"));
            let paths = [
                ("POST", "/v1/chat/completions".to_owned()),
                ("POST", "/v1/embeddings".to_owned()),
                ("POST", "/v1/rerank".to_owned()),
                ("POST", "/v1/responses".to_owned()),
                ("POST", "/v1/requests".to_owned()),
                ("POST", "/v1/events".to_owned()),
                ("GET", format!("/v1/responses/{}?stream=true", crate::text::segment(&id))),
                ("GET", format!("/v1/executions?cursor={}", crate::text::segment(&id))),
                ("PUT", format!("/v1/definitions/models/{}", crate::text::segment(&id))),
                ("PUT", format!("/v1/definitions/workflows/{}", crate::text::segment(&id))),
                ("PUT", "/v1/definitions/workflows/w".to_owned()),
                ("POST", "/v1/workflows/w:compile".to_owned()),
                ("PUT", format!("/v1/definitions/workflows/w/aliases/{}", crate::text::segment(&id))),
                ("PUT", format!("/v1/definitions/schedules/{}", crate::text::segment(&id))),
                ("POST", format!("/v1/schedules/{}:backfill", crate::text::segment(&id))),
                ("DELETE", format!("/v1/definitions/workflows/{}", crate::text::segment(&id))),
                ("GET", format!("/v1/definitions/workflows?cursor={0}&label={0}", crate::text::segment(&id))),
                ("GET", format!("/v1/definitions/workflows/w/versions/{}", crate::text::segment(&id))),
                ("POST", format!("/v1/executions/{}:cancel", crate::text::segment(&id))),
                ("GET", format!("/v1/executions/{}/events", crate::text::segment(&id))),
            ];
            for (method, path) in paths {
                for body in [json.to_string().into_bytes(), raw.clone()] {
                    let mut request = served.request(method, &path, body);
                    for name in ["last-event-id", "idempotency-key", "if-match", "traceparent"] {
                        request.headers_mut().insert(name, header.parse().unwrap());
                    }
                    let got = answer(served.send(request).await).await;
                    assert!(!got.status.is_server_error(), "{method} {path}: {} {}", got.status, got.text);
                    if got.status.is_client_error() {
                        let body = got.json();
                        let said = body.get("detail").or_else(|| body["error"].get("message"));
                        assert!(said.is_some_and(Value::is_string), "{method} {path}: {}", got.text);
                    }
                }
            }
        });
    }
}
