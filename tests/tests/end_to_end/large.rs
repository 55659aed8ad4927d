//! A message and an answer of a MiB each: over HTTP, server-sent events and a socket they are as small ones
//! are, and on the topics there are claim checks.

use domain::event::ExecutionEvent;
use domain::request::ModelRequest;
use domain::topic::{Kind, Topic};
use reqwest::StatusCode;
use serde_json::{Value, json};
use stepstream_tests::api::{Api, Events};
use stepstream_tests::fresh;
use stepstream_tests::platform::Platform;
use stepstream_tests::topics::Client;

use crate::on_both_stacks;
use crate::push::Socket;
use crate::tenants::key;

on_both_stacks!(large_message_and_answer_are_as_small_ones_are);

/// Larger than any record with so much in it.
const MIB: usize = 1024 * 1024;

/// The length of a word.
const WORD: usize = 4 * 1024;

/// What a record of these requests has at most, headers left out: far below the limit of a claim check.
const SMALL: usize = 16 * 1024;

async fn large_message_and_answer_are_as_small_ones_are(platform: &Platform) {
    let (api, model) = (Api::of(platform), fresh("echo"));
    let echo = json!({ "deployments": [{
        "name": "one", "provider": "scripted", "model": "m",
        "script": { "rules": [{ "reply": "{{prompt}}" }] },
    }] });
    api.put_model(&model, &echo).await;
    // In long words: each is an event of the provider's stream, whose length is bounded as a whole.
    let prompt = vec!["word".repeat(WORD / 4); MIB / WORD + 1].join(" ");
    let chat = json!({ "model": model, "messages": [{ "role": "user", "content": prompt }] });

    // A client that waits.
    let answer = api.post("/v1/chat/completions", &chat).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let answer: Value = answer.json().await.unwrap();
    assert!(content(&answer) == prompt, "{} bytes", content(&answer).len());

    // Everybody else, of an execution that doesn't stream: so much text at once is more than a socket queues.
    let id = fresh("large");
    let mut socket = Socket::known(platform, &platform.key).await;
    socket.follow(&id, &json!("start")).await;
    let body = json!({ "messages": chat["messages"] });
    let start = api.post("/v1/requests", &json!({ "id": id, "model": model, "body": body })).await;
    assert_eq!(start.status(), StatusCode::ACCEPTED);
    let told = socket.rest().await;
    let told = told.iter().rfind(|event| event["number"].is_i64()).unwrap();
    assert_eq!(told["type"], "execution.succeeded", "{}", told["error"]);
    assert!(content(&told["data"]) == prompt, "over a socket");
    let execution = api.ended(&id).await;
    assert!(content(&execution["output"]) == prompt, "the execution");
    let sent = Events::of(api.get(&format!("/v1/executions/{id}/events")).await).rest().await;
    let sent = sent.iter().find(|one| one.event == "execution.succeeded").unwrap().json();
    assert!(sent == *told, "server-sent events have what sockets have");

    // The topics.
    let client = Client::of(platform).await;
    let requests = &mut client.read::<ModelRequest>(Topic::Feed(Kind::Model)).await;
    let ours = |request: &ModelRequest| request.id == id;
    let request = requests.until("the request", ours, |found| found.len() == 1).await[0].clone();
    assert_eq!(request.body, "");
    assert!(request.body_claim.is_some_and(|claim| claim.length > MIB as i64));
    let events = &mut client.read::<ExecutionEvent>(Topic::Results).await;
    let ours = |event: &ExecutionEvent| event.execution_id == id && event.data_claim.is_some();
    let ended = events.until("the answer", ours, |found| found.len() == 1).await[0].clone();
    for topic in [
        Topic::Feed(Kind::Model),
        Topic::Log(Kind::Model),
        Topic::State(Kind::Model),
        Topic::Results,
    ] {
        let longest = client.longest(topic, &id).await;
        assert!(longest < SMALL, "{}: {longest}", topic.name());
    }

    // Whoever reads them.
    let path = format!("/v1/values/{}", ended.data_claim.unwrap().hash);
    let value: Value = api.get(&path).await.json().await.unwrap();
    assert!(value == execution["output"], "the value of the claim check");
    let stranger = Api::with_key(platform, &key(platform, &fresh("stranger"), "admin").await);
    assert_eq!(stranger.get(&path).await.status(), StatusCode::NOT_FOUND);
}

fn content(answer: &Value) -> &str {
    answer["choices"][0]["message"]["content"].as_str().unwrap_or_default()
}
