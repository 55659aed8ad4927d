//! What a client of `/v1/responses` meets.

use std::time::Duration;

use domain::answer::{ErrorClass, Failure};
use domain::event::EventType;
use domain::request::ModelRequest;
use domain::topic::{Kind, Topic};
use serde_json::{Value, json};
use store::Store as _;

use super::world::{Answer, Served, answer, event};

const ANSWER: &str = r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"Hello you"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3,"prompt_tokens_details":{"cached_tokens":1}}}"#;

fn asking(more: Value) -> Value {
    let mut body = json!({"model": "fast", "input": "hi"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn request(served: &Served) -> ModelRequest {
    let published = served.world.published();
    let feed = published.iter().rfind(|record| record.topic == Topic::Feed(Kind::Model));
    served.world.0.ids.read(&feed.expect("a request").value).unwrap()
}

/// Puts an ending where both the store and the live topics have it.
async fn end(served: &Served, id: &str, data: &str) {
    let done = domain::event::ExecutionEvent {
        data: Some(data.into()),
        ..event(id, 3, EventType::Succeeded)
    };
    served.world.0.store.apply_event(&done).await.unwrap();
    served.world.event(&done);
}

fn events(got: &Answer) -> Vec<Value> {
    got.events()
        .into_iter()
        .map(|(name, _, data)| {
            let event: Value = serde_json::from_str(&data).unwrap();
            assert_eq!(event["type"], name.as_str());
            event
        })
        .collect()
}

fn text(events: &[Value]) -> String {
    let deltas = events.iter().filter(|event| event["type"] == "response.output_text.delta");
    deltas.map(|event| event["delta"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn response_is_a_chat_under_other_names() {
    let served = Served::new().await;
    served.world.on_request(|world, request| world.succeed(&request.id, ANSWER));
    let got = served
        .post("/v1/responses", &asking(json!({"instructions": "be brief", "max_output_tokens": 9})))
        .await;
    assert_eq!(got.status.as_u16(), 200, "{}", got.text);
    let response = got.json();
    assert_eq!(
        (&response["object"], &response["status"]),
        (&json!("response"), &json!("completed"))
    );
    assert_eq!(response["output"][0]["content"][0]["text"], "Hello you");
    assert_eq!(response["usage"]["input_tokens_details"]["cached_tokens"], 1);
    assert_eq!(
        (&response["instructions"], &response["max_output_tokens"]),
        (&json!("be brief"), &json!(9))
    );
    let request = request(&served);
    let body: Value = serde_json::from_str(&request.body).unwrap();
    assert_eq!(
        body["messages"],
        json!([{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}])
    );
    assert_eq!(
        (&body["max_tokens"], &body["stream"], request.stream),
        (&json!(9), &Value::Null, false)
    );
    assert_eq!(response["id"], format!("resp_{}", request.id));
}

#[tokio::test]
async fn failure_of_a_client_that_waits_has_its_status() {
    for body in [asking(json!({})), asking(json!({"stream": true}))] {
        let served = Served::new().await;
        served.world.on_request(|world, request| {
            world.fail(&request.id, Failure::new(ErrorClass::ContextWindow, "said", "too long"));
        });
        let got = served.post("/v1/responses", &body).await;
        assert_eq!(got.status.as_u16(), 400, "{}", got.text);
        assert_eq!(got.json()["error"]["code"], "context_length_exceeded");
    }
}

#[tokio::test]
async fn stream_resumes_after_any_number_live_and_from_the_store() {
    let served = Served::new().await;
    served.world.on_request(|world, request| {
        world.chunk(&request.id, 1, 0, "Hello ");
        world.chunk(&request.id, 1, 1, "you");
        world.succeed(&request.id, ANSWER);
    });
    let got = served.post("/v1/responses", &asking(json!({"stream": true}))).await;
    let whole = events(&got);
    assert_eq!(text(&whole), "Hello you");
    assert_eq!(whole.last().unwrap()["type"], "response.completed");
    let id = whole[0]["response"]["id"].as_str().unwrap().to_owned();
    end(&served, got.header("x-execution-id"), ANSWER).await;
    for (had, event) in whole.iter().enumerate() {
        let after = event["sequence_number"].as_u64().unwrap();
        let path = format!("/v1/responses/{id}?stream=true&starting_after={after}");
        let rest = events(&served.get(&path).await);
        assert_eq!(text(&whole[..=had]) + &text(&rest), "Hello you", "after {after}");
        let all = [&whole[..=had], &rest[..]].concat();
        assert_eq!(all.last().unwrap()["type"], "response.completed", "after {after}");
        let numbers: Vec<u64> =
            all.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
        assert!(numbers.windows(2).all(|two| two[0] < two[1]), "{numbers:?}");
    }
    let from_start = events(&served.get(&format!("/v1/responses/{id}?stream=true")).await);
    assert_eq!(text(&from_start), "Hello you");
}

#[tokio::test]
async fn background_is_answered_at_once_and_found_until_it_is_forgotten() {
    let served = Served::new().await;
    let got = served.post("/v1/responses", &asking(json!({"background": true}))).await;
    let response = got.json();
    assert_eq!((got.status.as_u16(), &response["status"]), (200, &json!("queued")));
    let path = format!("/v1/responses/{}", response["id"].as_str().unwrap());
    assert_eq!(served.get(&path).await.json()["status"], "queued");
    let execution = got.header("x-execution-id").to_owned();
    let started = event(&execution, 2, EventType::Started);
    served.world.0.store.apply_event(&started).await.unwrap();
    assert_eq!(served.get(&path).await.json()["status"], "in_progress");
    end(&served, &execution, ANSWER).await;
    let done = served.get(&path).await.json();
    assert_eq!((&done["status"], &done["background"]), (&json!("completed"), &json!(true)));
    assert_eq!(done["output"][0]["content"][0]["text"], "Hello you");
    let gone = answer(served.send(served.request("DELETE", &path, "")).await).await;
    assert_eq!(gone.json()["deleted"], true);
    assert_eq!(served.get(&path).await.status.as_u16(), 404);
    assert_eq!(served.get(&format!("/v1/executions/{execution}")).await.status.as_u16(), 200);
    assert_eq!(served.world.published().len(), 1, "nothing was cancelled");
}

#[tokio::test]
async fn cancel_is_for_the_background_and_tells_how_it_ended() {
    let served = Served::new().await;
    served.world.on_request(|world, request| {
        if request.body.contains("answered") {
            world.succeed(&request.id, ANSWER);
        }
    });
    let waited = served.post("/v1/responses", &asking(json!({"input": "answered"}))).await.json();
    let path = format!("/v1/responses/{}/cancel", waited["id"].as_str().unwrap());
    assert_eq!(served.post(&path, &json!({})).await.status.as_u16(), 409);
    let got = served.post("/v1/responses", &asking(json!({"background": true}))).await;
    let execution = got.header("x-execution-id").to_owned();
    let path = format!("/v1/responses/resp_{execution}/cancel");
    let world = served.world.clone();
    tokio::spawn(async move {
        world.published_to(Topic::Log(Kind::Model)).await;
        world.event(&event(&execution, 2, EventType::Cancelled));
    });
    let cancelled = served.post(&path, &json!({})).await;
    assert_eq!(
        (cancelled.status.as_u16(), &cancelled.json()["status"]),
        (200, &json!("cancelled"))
    );
}

#[tokio::test]
async fn conversation_goes_on_from_a_stored_response() {
    let served = Served::new().await;
    served.world.on_request(|world, request| world.succeed(&request.id, ANSWER));
    let first = served.post("/v1/responses", &asking(json!({"instructions": "be brief"}))).await;
    let id = first.json()["id"].clone();
    let next = asking(json!({"input": "and?", "previous_response_id": id}));
    let early = served.post("/v1/responses", &next).await;
    assert_eq!(early.json()["previous_response_id"], id, "it needn't wait for the store");
    end(&served, first.header("x-execution-id"), ANSWER).await;
    let second = served.post("/v1/responses", &next).await;
    assert_eq!(second.json()["previous_response_id"], id);
    let body: Value = serde_json::from_str(&request(&served).body).unwrap();
    assert_eq!(
        body["messages"],
        json!([
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "Hello you"},
            {"role": "user", "content": "and?"},
        ]),
        "instructions don't carry over"
    );
    let unkept = served.post("/v1/responses", &asking(json!({"store": false}))).await.json();
    for unknown in [unkept["id"].clone(), json!("resp_x"), json!("x")] {
        let body = asking(json!({"previous_response_id": unknown}));
        assert_eq!(served.post("/v1/responses", &body).await.status.as_u16(), 404, "{unknown}");
    }
}

#[tokio::test]
async fn response_without_an_answer_is_none_to_go_on_from() {
    let served = Served::new().await;
    let first = served.post("/v1/responses", &asking(json!({"background": true}))).await;
    let execution = first.header("x-execution-id").to_owned();
    let world = served.world.clone();
    let next = asking(json!({"previous_response_id": format!("resp_{execution}")}));
    let (refused, ()) = tokio::join!(served.post("/v1/responses", &next), async move {
        world.event(&event(&execution, 2, EventType::Cancelled));
    });
    assert_eq!(refused.status.as_u16(), 409);
    assert_eq!(refused.json()["error"]["code"], "response_not_completed");
}

#[tokio::test]
async fn client_that_leaves_ends_its_work_unless_it_is_in_the_background() {
    for (body, goes_on) in
        [(asking(json!({})), false), (asking(json!({"stream": true, "background": true})), true)]
    {
        let served = Served::new().await;
        let request = served.request("POST", "/v1/responses", body.to_string());
        tokio::select! {
            response = served.send(request) => drop(response),
            _ = served.world.published_to(Topic::Feed(Kind::Model)) => {}
        }
        let cancelled = served.world.published_to(Topic::Log(Kind::Model));
        let cancelled = tokio::time::timeout(Duration::from_millis(50), cancelled).await.is_ok();
        assert_eq!(cancelled, !goes_on, "{body}");
    }
}
