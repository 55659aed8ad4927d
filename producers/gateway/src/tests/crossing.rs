//! One tenant tries to reach another's, on every route.

use domain::event::EventType;
use serde_json::{Value, json};
use service::auth::Scope;
use store::Store as _;

use super::world::{Answer, Served, answer, event, with_key};

/// What must not be seen: it stands in names, ids and contents of `acme`.
const CANARY: &str = "canary-of-acme";

struct Crossing {
    served: Served,
    theirs: String,
    response: String,
    value: String,
}

impl Crossing {
    async fn new() -> Self {
        let served = Served::new().await;
        served.world.define(
            "acme",
            CANARY,
            &json!({"deployments": [{"name": CANARY, "provider": "scripted", "model": "m"}]})
                .to_string(),
        );
        let workflow = json!({
            "apiVersion": "stepstream/v1", "kind": "Workflow", "metadata": {"name": CANARY},
            "spec": {"nodes": [{"id": "n", "kind": "transform", "value": CANARY}]},
        });
        served.world.define_workflow("acme", CANARY, &workflow.to_string());
        served.world.define_workflow("acme", &format!("{CANARY}@stable"), r#"{"version":1}"#);
        let schedule = json!({"workflow": CANARY, "cron": "0 2 * * *"});
        served.world.define_schedule("acme", CANARY, &schedule.to_string());
        let body = json!({"model": "fast", "input": CANARY, "background": true});
        let made = served.post("/v1/responses", &body).await.json();
        let response = made["id"].as_str().unwrap().to_owned();
        let done = domain::event::ExecutionEvent {
            data: Some(json!({"choices": [{"message": {"content": CANARY}}]}).to_string()),
            ..event("e", 1, EventType::Succeeded)
        };
        served.world.0.store.apply_event(&done).await.unwrap();
        served.world.event(&done);
        let value = bytes::Bytes::from_static(CANARY.as_bytes());
        let put = served.world.0.store.put_value("acme", &value, domain::time::Millis(1)).await;
        let value = put.unwrap().as_str().to_owned();
        let theirs = served.world.key("other", &Scope::ALL);
        Self { served, theirs, response, value }
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        let request = with_key(method, path, &self.theirs, body.to_string());
        answer(self.served.send(request).await).await
    }
}

#[tokio::test]
async fn nothing_of_another_tenant_is_seen_or_changed_on_any_route() {
    let crossing = Crossing::new().await;
    let before = crossing.served.world.published().len();
    let response = crossing.response.as_str();
    let execution = response.strip_prefix("resp_").unwrap();
    let document = crate::docs::document();
    let mut tried = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if operation.get("security").is_none() {
                continue;
            }
            let method = method.to_uppercase();
            for id in ["e", execution, response] {
                let path = path.replace("{hash}", &crossing.value);
                let path =
                    path.replace("{id}", id).replace("{model}", CANARY).replace("{name}", CANARY);
                let path = path.replace("{version}", "1").replace("{alias}", "stable");
                // Whatever a route reads of it: everything names what is acme's.
                let body = json!({
                    "model": CANARY, "messages": [{"role": "user", "content": "x"}], "input": "x",
                    "query": "q", "documents": ["d"],
                });
                let got = crossing.ask(&method, &path, &body).await;
                assert!(
                    got.status.is_client_error() || !got.text.contains(CANARY),
                    "{method} {path}: {}",
                    got.text
                );
                // Lists have what is theirs, and the compiler looks at what they send.
                let listing = [
                    "/v1/models",
                    "/v1/executions",
                    "/v1/definitions/models",
                    "/v1/definitions/workflows",
                    "/v1/definitions/schedules",
                ];
                if listing.contains(&path.as_str()) || path.ends_with(":compile") {
                    assert_eq!(got.status.as_u16(), 200, "{method} {path}");
                    assert!(!got.text.contains(execution), "{method} {path}");
                } else {
                    assert!(got.status.is_client_error(), "{method} {path}: {}", got.text);
                }
                tried += 1;
            }
        }
    }
    assert!(tried >= 30, "{tried}");
    assert_eq!(crossing.served.world.published().len(), before, "nothing was written");
}

#[tokio::test]
async fn body_that_names_another_tenants_things_is_refused() {
    let crossing = Crossing::new().await;
    let before = crossing.served.world.published().len();
    let chat = json!({"messages": [{"role": "user", "content": "x"}]});
    for (path, body, status) in [
        ("/v1/requests", json!({"model": "fast", "tenant": "acme", "body": chat}), 403),
        ("/v1/requests", json!({"model": "fast", "id": "acme/1", "body": chat}), 400),
        ("/v1/requests", json!({"model": CANARY, "body": chat}), 404),
        (
            "/v1/responses",
            json!({"model": "fast", "input": "x", "previous_response_id": crossing.response}),
            404,
        ),
    ] {
        let got = crossing.ask("POST", path, &body).await;
        assert_eq!(got.status.as_u16(), status, "{path}: {}", got.text);
    }
    assert_eq!(crossing.served.world.published().len(), before);
}

#[tokio::test]
async fn one_key_of_two_tenants_is_two_executions() {
    let crossing = Crossing::new().await;
    let body = json!({"model": "fast", "body": {"messages": [{"role": "user"}]}});
    let mut ids = Vec::new();
    for key in [&crossing.served.key, &crossing.theirs] {
        let mut request = with_key("POST", "/v1/requests", key, body.to_string());
        request.headers_mut().insert("idempotency-key", "same".parse().unwrap());
        let got = answer(crossing.served.send(request).await).await;
        assert_eq!(got.status.as_u16(), 202);
        assert_eq!(got.header("idempotent-replayed"), "");
        ids.push(got.json()["id"].clone());
    }
    assert_ne!(ids[0], ids[1]);
}
