//! Starts of workflows, and what steers an execution.

mod after;

use domain::event::{EventType, ExecutionEvent};
use domain::fact::{Fact, Order};
use domain::request::WorkflowStart;
use domain::topic::{Kind, Topic};
use serde_json::{Value, json};
use store::Store as _;

use super::world::{Served, answer, event};

const START: &str = "/v1/workflows/greet:start";

fn greet(result: &str) -> String {
    json!({"apiVersion": "stepstream/v1", "kind": "Workflow", "metadata": {"name": "greet"},
        "spec": {"inputs": {"type": "object", "required": ["name"],
                "properties": {"name": {"type": "string"}}},
            "nodes": [{"id": "say", "kind": "transform", "value": "hi {{ inputs.name }}"}],
            "result": result}})
    .to_string()
}

async fn served() -> Served {
    let served = Served::new().await;
    served.world.define_workflow("acme", "greet", &greet("one"));
    served
}

fn input() -> Value {
    json!({"input": {"name": "Ada"}})
}

async fn published(served: &Served) -> WorkflowStart {
    let record = served.world.published_to(Topic::Feed(Kind::Workflow)).await;
    served.world.0.ids.read(&record.value).expect("a start")
}

#[tokio::test]
async fn start_stands_in_the_feed_and_its_execution_is_found() {
    let served = served().await;
    let mut body = input();
    body["labels"] = json!({"team": "a"});
    body["search_attributes"] = json!({"customer": "c-7"});
    body["priority"] = json!(3);
    let got = served.post(START, &body).await;
    assert_eq!(got.status.as_u16(), 202, "{}", got.text);
    let start = published(&served).await;
    assert_eq!((start.workflow.as_str(), start.tenant.as_str()), ("greet", "acme"));
    assert_eq!((start.input.as_str(), start.priority), (r#"{"name":"Ada"}"#, 3));
    assert_eq!((start.version, start.alias), (None, None), "admission pins it");
    assert_eq!(start.search_attributes["customer"], "c-7");
    let found = served.get(got.header("location")).await.json();
    assert_eq!((&found["kind"], &found["definition"]), (&json!("workflow"), &json!("greet")));
    assert_eq!(found["labels"], json!({"team": "a"}));
    let page = served.get("/v1/executions?attribute.customer=c-7").await.json();
    assert_eq!(page["data"][0], found, "it is found by what it can be found by, at once");
}

#[tokio::test]
async fn same_key_is_the_same_execution_and_another_start_under_it_is_refused() {
    let served = served().await;
    let mut ids = Vec::new();
    for body in [input(), input(), json!({"input": {"name": "Grace"}})] {
        let mut request = served.request("POST", START, body.to_string());
        request.headers_mut().insert("idempotency-key", "k".parse().expect("ASCII"));
        let got = answer(served.send(request).await).await;
        ids.push((got.status.as_u16(), got.json()["id"].clone()));
    }
    assert_eq!((ids[0].0, ids[1].0), (202, 202));
    assert_eq!(ids[0].1, ids[1].1);
    assert_eq!(ids[2].0, 422, "{ids:?}");
}

#[tokio::test]
async fn wrong_start_is_refused_at_its_place() {
    let served = served().await;
    for (path, body, status, says) in [
        (START, json!({}), 400, "input"),
        (START, json!({"input": {"name": 1}}), 400, "input.name"),
        (START, json!({"input": []}), 400, "input"),
        (START, json!({"inputs": {}}), 400, "inputs"),
        (START, json!({"input": {"name": "a"}, "version": 1, "alias": "b"}), 400, "alias"),
        (START, json!({"input": {"name": "a"}, "id": "theirs/1"}), 400, "id"),
        (START, json!({"input": {"name": "a"}, "deadline": -1}), 400, "deadline"),
        (
            START,
            json!({"input": {"name": "a"}, "search_attributes": {"": "x"}}),
            400,
            "search_attributes",
        ),
        (START, json!({"input": {"name": "a"}, "version": 9}), 404, "greet, 9"),
        (START, json!({"input": {"name": "a"}, "alias": "next"}), 404, "greet, next"),
        ("/v1/workflows/other:start", input(), 404, "other"),
        ("/v1/workflows/gr%20eet:start", input(), 400, "name"),
        ("/v1/workflows/greet:stop", input(), 404, "route"),
    ] {
        let got = served.post(path, &body).await;
        assert_eq!(got.status.as_u16(), status, "{body}: {}", got.text);
        assert!(got.text.contains(says), "{body}: {}", got.text);
    }
    assert!(served.world.published().iter().all(|record| record.topic == Topic::Definitions));
}

fn of_workflow(id: &str, number: i64, event_type: EventType) -> ExecutionEvent {
    ExecutionEvent { kind: Kind::Workflow, ..event(id, number, event_type) }
}

/// Path, body, and what is to stand in the log.
type Verb = (&'static str, Value, fn(&Order) -> bool);

#[tokio::test]
async fn each_verb_is_a_command_in_the_log_of_its_kind() {
    let cases: [Verb; 5] = [
        ("acme/run:pause", json!(null), |order| *order == Order::Pause),
        ("acme/run:resume", json!(null), |order| *order == Order::Resume),
        ("acme/run:cancel?reason=enough", json!(null), |order| {
            *order == Order::Cancel { reason: Some("enough".into()) }
        }),
        ("acme/run:signal", json!({"name": "go", "payload": {"n": 1.50}}), |order| {
            *order == Order::Signal { name: "go".into(), payload: Some(r#"{"n":1.50}"#.into()) }
        }),
        ("acme/run:signal", json!({"name": "go"}), |order| {
            *order == Order::Signal { name: "go".into(), payload: None }
        }),
    ];
    for (path, body, is_right) in cases {
        let served = served().await;
        let begun = of_workflow("acme/run", 1, EventType::Admitted);
        served.world.0.store.apply_event(&begun).await.expect("a store");
        let path = format!("/v1/executions/{}", path.replacen('/', "%2F", 1));
        let text = if body["name"] == "go" && body["payload"].is_object() {
            r#"{"name":"go","payload":{"n":1.50}}"#.to_owned()
        } else {
            body.to_string()
        };
        let got = answer(served.send(served.request("POST", &path, text)).await).await;
        assert_eq!(got.status.as_u16(), 202, "{path}: {}", got.text);
        let record = served.world.published_to(Topic::Log(Kind::Workflow)).await;
        let fact = served.world.0.ids.read_fact(&record.value).expect("a fact");
        assert!(matches!(&fact, Fact::Command(command) if is_right(&command.order)), "{fact:?}");
    }
}

#[tokio::test]
async fn signal_that_nobody_can_take_is_refused() {
    let served = served().await;
    let call = event("acme/call", 1, EventType::Admitted);
    served.world.0.store.apply_event(&call).await.expect("a store");
    let run = of_workflow("acme/run", 1, EventType::Admitted);
    served.world.0.store.apply_event(&run).await.expect("a store");
    let large = "x".repeat(300 * 1024);
    for (id, body, status, code) in [
        ("call", json!({"name": "go"}), 409, "no_signals"),
        ("gone", json!({"name": "go"}), 404, "not_found"),
        ("run", json!({"name": ""}), 400, "invalid"),
        ("run", json!({"payload": 1}), 400, "invalid"),
        ("run", json!({"name": "go", "payload": large}), 413, "too_large"),
    ] {
        let got = served.post(&format!("/v1/executions/acme%2F{id}:signal"), &body).await;
        assert_eq!(got.status.as_u16(), status, "{}", got.text);
        assert!(got.json()["code"].as_str().is_some_and(|it| it.contains(code)), "{}", got.text);
    }
    assert!(served.world.published().is_empty());
}

#[tokio::test]
async fn filter_commands_those_that_have_not_ended_and_only_when_it_is_meant() {
    let served = served().await;
    for (id, event_type) in [
        ("acme/a", EventType::Started),
        ("acme/b", EventType::Paused),
        ("acme/c", EventType::Succeeded),
    ] {
        let told = of_workflow(id, 1, event_type);
        served.world.0.store.apply_event(&told).await.expect("a store");
    }
    let call = event("acme/call", 1, EventType::Started);
    served.world.0.store.apply_event(&call).await.expect("a store");
    // Started by a record: all that is known of it is what its admission says.
    let data = r#"{"version":1,"input":{},"search_attributes":{"customer":"c-7"}}"#;
    let admitted = of_workflow("acme/d", 1, EventType::Admitted);
    let admitted = ExecutionEvent { data: Some(data.into()), ..admitted };
    served.world.0.store.apply_event(&admitted).await.expect("a store");
    let path = "/v1/executions:cancel";
    let dry = served.post(path, &json!({"kind": "workflow"})).await.json();
    assert_eq!(
        (&dry["dry_run"], &dry["matched"], &dry["commanded"]),
        (&json!(true), &json!(3), &json!(0))
    );
    assert!(served.world.published().is_empty());
    let body =
        json!({"kind": "workflow", "status": "paused", "dry_run": false, "reason": "enough"});
    let done = served.post(path, &body).await.json();
    assert_eq!((&done["ids"], &done["commanded"]), (&json!(["acme/b"]), &json!(1)));
    let record = served.world.published_to(Topic::Log(Kind::Workflow)).await;
    let fact = served.world.0.ids.read_fact(&record.value).expect("a fact");
    let reason = Some("enough".to_owned());
    assert!(matches!(fact, Fact::Command(it) if it.order == Order::Cancel { reason }));
    let by = |value| json!({"search_attributes": {"customer": value}});
    for (value, found) in [("c-7", json!(["acme/d"])), ("c-8", json!([]))] {
        assert_eq!(served.post(path, &by(value)).await.json()["ids"], found, "{value}");
    }
    for (body, place) in [
        (json!({"kind": "odd"}), "kind"),
        (json!({"all": true}), "all"),
        (json!({"search_attributes": {"": "x"}}), "search_attributes (entry 0)"),
    ] {
        let got = served.post(path, &body).await;
        assert!(got.status.as_u16() == 400 && got.text.contains(place), "{}", got.text);
    }
}

/// What a step tells changes nothing about the whole.
#[tokio::test]
async fn paused_execution_stays_paused_while_its_steps_end() {
    let served = served().await;
    for (number, event_type) in [
        (1, EventType::Admitted),
        (2, EventType::Started),
        (3, EventType::StepStarted),
        (4, EventType::Paused),
        (5, EventType::StepSucceeded),
    ] {
        let told = of_workflow("acme/run", number, event_type);
        served.world.0.store.apply_event(&told).await.expect("a store");
    }
    let found = served.get("/v1/executions/acme%2Frun").await.json();
    assert_eq!((&found["status"], &found["position"]["number"]), (&json!("paused"), &json!(5)));
}
