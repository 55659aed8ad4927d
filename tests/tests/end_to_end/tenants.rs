//! Who may see and do what. Keys are made by the command line, beside the running process.

use reqwest::{Method, StatusCode};
use serde_json::json;
use stepstream_tests::api::Api;
use stepstream_tests::fresh;
use stepstream_tests::platform::{Platform, output};
use stepstream_tests::wait::{PATIENCE, until};

use super::push::Socket;

super::on_both_stacks!(
    wrong_key_is_denied_everywhere,
    another_tenants_execution_is_not_found,
    key_without_the_scope_is_refused,
    revoked_key_is_refused_and_its_socket_closed,
);

/// A key made by `stepstream keys create`, as soon as the gateway knows it.
pub(crate) async fn key(platform: &Platform, tenant: &str, scopes: &str) -> String {
    let arguments = ["keys", "create", "--tenant", tenant, "--scopes", scopes];
    let key = run(platform, &arguments).await;
    let api = Api::with_key(platform, &key);
    until("the gateway knows the key", PATIENCE, async || {
        let status = api.get("/v1/models").await.status();
        (status != StatusCode::UNAUTHORIZED).then_some(())
    })
    .await;
    key
}

async fn wrong_key_is_denied_everywhere(platform: &Platform) {
    let unknown = format!("sk-ss-{}", "0".repeat(64));
    for key in [unknown.as_str(), "sk-ss-", "password"] {
        let api = Api::with_key(platform, key);
        for (method, path) in [
            (Method::GET, "/v1/models"),
            (Method::POST, "/v1/chat/completions"),
            (Method::POST, "/v1/requests"),
            (Method::GET, "/v1/executions/x"),
            (Method::GET, "/v1/executions/x/events"),
            (Method::POST, "/v1/executions/x:cancel"),
            (Method::PUT, "/v1/definitions/models/x"),
        ] {
            let answer = api.request(method.clone(), path).json(&json!({})).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{method} {path} with {key}");
        }
    }
}

async fn another_tenants_execution_is_not_found(platform: &Platform) {
    let id = fresh("secret");
    let owner = Api::of(platform);
    owner.start(&id, "demo", "hi").await;
    let stranger = Api::with_key(platform, &key(platform, &fresh("stranger"), "admin").await);
    for path in [format!("/v1/executions/{id}"), format!("/v1/executions/{id}/events")] {
        assert_eq!(stranger.get(&path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
    let cancel = stranger.post(&format!("/v1/executions/{id}:cancel"), &json!({})).await;
    assert_eq!(cancel.status(), StatusCode::NOT_FOUND);
    let models: serde_json::Value = stranger.get("/v1/models").await.json().await.unwrap();
    assert_eq!(models["data"], json!([]), "models belong to a tenant as well");
    assert_eq!(owner.ended(&id).await["status"], "succeeded", "the stranger changed nothing");
}

async fn key_without_the_scope_is_refused(platform: &Platform) {
    let reader = Api::with_key(
        platform,
        &key(platform, &platform.tenant, "executions:read,definitions:read").await,
    );
    let body = json!({ "model": "demo", "messages": [{ "role": "user", "content": "hi" }] });
    let answer = reader.post("/v1/chat/completions", &body).await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    let put = reader.request(Method::PUT, "/v1/definitions/models/x").json(&json!({}));
    assert_eq!(put.send().await.unwrap().status(), StatusCode::FORBIDDEN);
    assert_eq!(reader.get("/v1/models").await.status(), StatusCode::OK);
}

async fn revoked_key_is_refused_and_its_socket_closed(platform: &Platform) {
    let tenant = fresh("leaver");
    let key = key(platform, &tenant, "executions:read,definitions:read").await;
    let mut socket = Socket::known(platform, &key).await;
    let listed = run(platform, &["keys", "list", "--tenant", &tenant]).await;
    let (id, rest) = listed.split_once('\t').expect("one key is listed");
    assert!(rest.starts_with(&format!("{tenant}\texecutions:read,definitions:read\t")), "{listed}");
    assert!(!listed.contains(&key["sk-ss-".len()..]), "a list shows no key");
    assert_eq!(run(platform, &["keys", "revoke", id]).await, format!("key {id} is revoked"));
    assert_eq!(socket.next_or_code().await, Err(4001));
    let status = Api::with_key(platform, &key).get("/v1/models").await.status();
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(run(platform, &["keys", "list", "--tenant", &tenant]).await, "");
}

/// What a command that ends well prints.
async fn run(platform: &Platform, arguments: &[&str]) -> String {
    let command = platform.command(arguments);
    tokio::task::spawn_blocking(move || output(command)).await.unwrap()
}
