//! Executions over HTTP: started, found, followed, resumed, cancelled.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use stepstream_tests::api::{Api, Events, Sent};
use stepstream_tests::platform::Platform;
use stepstream_tests::process::Signal;
use stepstream_tests::stack::Stack;
use stepstream_tests::wait::PATIENCE;
use stepstream_tests::{fresh, provider};

super::on_both_stacks!(
    accepted_request_is_found_at_once_and_ends_once,
    events_resume_after_the_last_one_without_gap_or_double,
    cancelled_execution_closes_the_providers_connection,
    client_that_leaves_cancels_its_chat,
    same_idempotency_key_is_the_same_execution,
    another_request_under_a_used_key_is_refused,
    executions_are_listed_and_waited_for,
    cloud_event_is_one_execution_however_often_it_comes,
    failing_provider_fails_the_execution_with_its_class,
);

async fn accepted_request_is_found_at_once_and_ends_once(platform: &Platform) {
    let api = Api::of(platform);
    let id = fresh("found");
    api.start(&id, "demo", "hi").await;
    let found = api.get(&format!("/v1/executions/{id}")).await;
    assert_eq!(found.status(), StatusCode::OK, "a look-up right after the 202");
    let ended = api.ended(&id).await;
    assert_eq!(ended["status"], "succeeded");
    assert_eq!(ended["usage"]["input_tokens"], 1);
    assert!(ended["cost"]["micros"].as_i64().unwrap() > 0, "{ended}");
    let expected = ["execution.admitted", "execution.started", "execution.succeeded"];
    assert_eq!(api.event_types(&id).await, expected);
}

/// Those that have a place: what `Last-Event-ID` can name.
fn placed(events: &[Sent]) -> Vec<&str> {
    events.iter().filter_map(|sent| sent.id.as_deref()).collect()
}

async fn events_resume_after_the_last_one_without_gap_or_double(platform: &Platform) {
    let api = Api::of(platform);
    let id = fresh("resumed");
    let path = format!("/v1/executions/{id}/events");
    api.start(&id, "demo", "hi").await;
    let mut first = Events::of(api.get(&path).await);
    let seen = first.next().await.expect("an event");
    assert_eq!((seen.id.as_deref(), seen.event.as_str()), (Some("1.1"), "execution.admitted"));
    drop(first);
    let resume = |after: &str| {
        let after = after.to_owned();
        api.request(Method::GET, &path).header("last-event-id", after).send()
    };
    let rest = Events::of(resume("1.1").await.unwrap()).rest().await;
    assert_eq!(placed(&rest), ["1.2", "1.3"]);
    assert_eq!(rest.iter().filter(|sent| sent.event == "execution.succeeded").count(), 1);
    let text: String = rest
        .iter()
        .filter(|sent| sent.event == "output.delta")
        .map(|sent| sent.json()["text"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert!(text.is_empty() || text.contains("scripted provider"), "{text}");
    let again = Events::of(api.get(&path).await).rest().await;
    assert_eq!(placed(&again), ["1.1", "1.2", "1.3"], "the history stays");
    // The store hears of it a moment later than those who follow it.
    api.ended(&id).await;
    let nothing = resume("1.3").await.unwrap();
    assert_eq!(nothing.status(), StatusCode::NO_CONTENT, "it has ended and was all seen");
    let wrong = resume("yesterday").await.unwrap();
    assert_eq!(wrong.status(), StatusCode::BAD_REQUEST);
}

async fn cancelled_execution_closes_the_providers_connection(platform: &Platform) {
    let api = Api::of(platform);
    let hangs =
        provider::start(json!([{ "fault": { "kind": { "hang": { "after_tokens": 2 } } } }])).await;
    let (model, id) = (fresh("hangs"), fresh("cancelled"));
    api.put_model(&model, &provider::model(&hangs)).await;
    api.start(&id, &model, "hi").await;
    tokio::time::timeout(PATIENCE, hangs.until(|seen| seen.open == 1)).await.expect("a call");
    let answer = api.post(&format!("/v1/executions/{id}:cancel"), &json!({})).await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let closed = tokio::time::timeout(PATIENCE, hangs.until(|seen| seen.open == 0)).await;
    assert_eq!(closed.expect("the connection is closed").abandoned, 1);
    assert_eq!(api.ended(&id).await["status"], "cancelled");
    let types = api.event_types(&id).await;
    assert_eq!(types.last().unwrap(), "execution.cancelled");
    let again = api.post(&format!("/v1/executions/{id}:cancel"), &json!({})).await;
    assert_eq!(again.status(), StatusCode::CONFLICT, "what has ended can't be cancelled");
}

async fn client_that_leaves_cancels_its_chat(platform: &Platform) {
    let api = Api::of(platform);
    let hangs =
        provider::start(json!([{ "fault": { "kind": { "hang": { "after_tokens": 2 } } } }])).await;
    let model = fresh("left");
    api.put_model(&model, &provider::model(&hangs)).await;
    let body = json!({
        "model": model, "stream": true, "messages": [{ "role": "user", "content": "hi" }]
    });
    let mut events = Events::of(api.post("/v1/chat/completions", &body).await);
    events.next().await.expect("a first token");
    assert_eq!(hangs.seen().open, 1);
    drop(events);
    let closed = tokio::time::timeout(PATIENCE, hangs.until(|seen| seen.open == 0)).await;
    assert_eq!(closed.expect("the connection is closed").abandoned, 1);
}

async fn same_idempotency_key_is_the_same_execution(platform: &Platform) {
    let api = Api::of(platform);
    let counts = provider::start(json!([{ "reply": "once" }])).await;
    let (model, key) = (fresh("once"), fresh("key"));
    api.put_model(&model, &provider::model(&counts)).await;
    let body =
        json!({ "model": model, "body": { "messages": [{ "role": "user", "content": "hi" }] } });
    let mut ids = Vec::new();
    for _ in 0..3 {
        let request = api.request(Method::POST, "/v1/requests").header("idempotency-key", &key);
        let answer = request.json(&body).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        let accepted: Value = answer.json().await.unwrap();
        ids.push(accepted["id"].as_str().unwrap().to_owned());
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    api.ended(&ids[0]).await;
    // A request behind them on the same partition has ended, so they were all looked at.
    let behind = fresh_on_partition_of(platform, &ids[0]).await;
    api.start(&behind, &model, "hi").await;
    api.ended(&behind).await;
    let calls = counts.seen().keys.iter().filter(|key| **key == ids[0]).count();
    assert_eq!(calls, 1);
    assert_eq!(api.event_types(&ids[0]).await.len(), 3);
}

async fn fresh_on_partition_of(platform: &Platform, id: &str) -> String {
    let partitions = stepstream_tests::topics::Client::of(platform).await.partitions();
    let partition = domain::partition::of_key(id.as_bytes(), partitions);
    stepstream_tests::topics::fresh_on("behind", partition, partitions)
}

async fn failing_provider_fails_the_execution_with_its_class(platform: &Platform) {
    let api = Api::of(platform);
    let fails =
        provider::start(json!([{ "fault": { "kind": { "status": { "status": 500 } } } }])).await;
    let (model, id) = (fresh("fails"), fresh("failed"));
    api.put_model(&model, &provider::model(&fails)).await;
    api.start(&id, &model, "hi").await;
    let ended = api.ended(&id).await;
    assert_eq!(ended["status"], "failed");
    assert_eq!(ended["error"]["class"], "provider");
    assert_eq!(ended["error"]["http_status"], 500);
    assert_eq!(fails.seen().requests, 1, "the model says: one try");
}

async fn another_request_under_a_used_key_is_refused(platform: &Platform) {
    let api = Api::of(platform);
    let key = fresh("key");
    let ask = |text: &str| {
        let messages = json!([{ "role": "user", "content": text }]);
        let body = json!({ "model": "demo", "messages": messages, "max_tokens": 2 });
        api.request(Method::POST, "/v1/chat/completions")
            .header("idempotency-key", &key)
            .json(&body)
            .send()
    };
    let first = ask("a").await.unwrap().text().await.unwrap();
    let again = ask("a").await.unwrap();
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert_eq!(again.text().await.unwrap(), first);
    let other = ask("b").await.unwrap();
    assert_eq!(other.status(), StatusCode::UNPROCESSABLE_ENTITY);
}

async fn executions_are_listed_and_waited_for(platform: &Platform) {
    let api = Api::of(platform);
    let id = fresh("listed");
    let messages = json!([{ "role": "user", "content": "hi" }]);
    let body = json!({ "id": id, "model": "demo", "body": { "messages": messages } });
    let answer = api.post("/v1/requests?wait=60s", &body).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let ended: Value = answer.json().await.unwrap();
    assert_eq!(ended["status"], "succeeded");
    let created = api.ended(&id).await["created"].as_i64().unwrap();
    let path = format!("/v1/executions?status=succeeded&from={created}&to={}", created + 1);
    let page: Value = api.get(&path).await.json().await.unwrap();
    let found = page["data"].as_array().unwrap().iter().any(|one| one["id"] == id.as_str());
    assert!(found, "{page}");
}

async fn cloud_event_is_one_execution_however_often_it_comes(platform: &Platform) {
    let api = Api::of(platform);
    let messages = json!([{ "role": "user", "content": "hi" }]);
    let event = json!({
        "specversion": "1.0", "id": fresh("event"), "source": "/tests",
        "type": "io.stepstream.v1.ModelRequest",
        "data": { "model": "demo", "body": { "messages": messages, "max_tokens": 2 } }
    });
    let mut ids = Vec::new();
    for _ in 0..2 {
        let request = api.request(Method::POST, "/v1/events");
        let request = request.header("content-type", "application/cloudevents+json");
        let answer = request.body(event.to_string()).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        let accepted: Value = answer.json().await.unwrap();
        ids.push(accepted["id"].as_str().unwrap().to_owned());
    }
    assert_eq!(ids[0], ids[1]);
    assert_eq!(api.ended(&ids[0]).await["status"], "succeeded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn used_key_is_known_after_a_restart() {
    let mut platform = Platform::start(Stack::Embedded).await;
    let ask = async |platform: &Platform, text: &str| {
        let body = json!({ "model": "demo", "input": text, "max_output_tokens": 2 });
        let request = Api::of(platform).request(Method::POST, "/v1/responses");
        request.header("idempotency-key", "k").json(&body).send().await.unwrap()
    };
    let first: Value = ask(&platform, "a").await.json().await.unwrap();
    // What the archive has, it has written by the time that it answers.
    Api::of(&platform).ended(first["id"].as_str().unwrap().trim_start_matches("resp_")).await;
    platform.process().signal(Signal::Terminate);
    assert!(platform.process().ended(PATIENCE).success());
    let platform = platform.start_again().await;
    let again = ask(&platform, "a").await;
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    let again: Value = again.json().await.unwrap();
    assert_eq!((&again["id"], &again["output"]), (&first["id"], &first["output"]));
    assert_eq!(ask(&platform, "b").await.status(), StatusCode::UNPROCESSABLE_ENTITY);
}
