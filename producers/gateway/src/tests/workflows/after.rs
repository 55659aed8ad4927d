//! What became of the steps of an execution, why it waits, and how it is run again.

use domain::answer::{Cost, ErrorClass, Failure};
use domain::event::{EventType, ExecutionEvent};
use domain::request::WorkflowStart;
use domain::time::Millis;
use domain::topic::Topic;
use serde_json::{Value, json};
use store::Store as _;

use super::{Served, answer, of_workflow, published};

/// A saga: `book` is undone by `unbook`; `pay` isn't undone by anything.
fn trip() -> String {
    let call = |id: &str| json!({"id": id, "kind": "function", "name": id});
    let mut book = call("book");
    book["compensate"] = json!("unbook");
    json!({"apiVersion": "stepstream/v1", "kind": "Workflow", "metadata": {"name": "trip"},
        "spec": {"nodes": [book, call("unbook"), call("pay"),
                {"id": "each", "kind": "map", "over": [1, 2],
                    "body": {"nodes": [call("send")], "edges": []}}],
            "edges": [{"from": "book", "to": "pay"}, {"from": "pay", "to": "each"}]}})
    .to_string()
}

struct Told<'s> {
    served: &'s Served,
    number: i64,
}

impl Told<'_> {
    async fn tell(&mut self, event_type: EventType, step: &str, data: Value) {
        self.with(event_type, step, data, |event| event).await;
    }

    async fn with(
        &mut self,
        event_type: EventType,
        step: &str,
        data: Value,
        change: impl FnOnce(ExecutionEvent) -> ExecutionEvent,
    ) {
        self.number += 1;
        let event = ExecutionEvent {
            step: Some(step.to_owned()).filter(|step| !step.is_empty()),
            data: Some(data.to_string()).filter(|data| data != "null"),
            time: Millis(self.number * 1_000),
            ..of_workflow("acme/run", self.number, event_type)
        };
        self.served.world.0.store.apply_event(&change(event)).await.expect("a store");
    }

    async fn began(&mut self, step: &str) {
        let data =
            json!({"node": "function", "execution_id": format!("call-{step}"), "input": {"n": 1}});
        self.tell(EventType::StepStarted, step, data).await;
    }
}

/// `book`, `pay` and one item succeeded; the other item is tried again.
async fn under_way(served: &Served) -> Told<'_> {
    served.world.define_workflow("acme", "trip", &trip());
    let mut told = Told { served, number: 0 };
    let accepted = store::AcceptedExecution {
        id: "acme/run".into(),
        tenant: "acme".into(),
        kind: domain::topic::Kind::Workflow,
        definition: "trip".into(),
        request_time: Millis(500),
        labels: [("team".to_owned(), "a".to_owned())].into(),
        search_attributes: [("customer".to_owned(), "c-7".to_owned())].into(),
        note: None,
    };
    served.world.0.store.put_accepted(accepted).await.expect("a store");
    told.tell(EventType::Admitted, "", json!({"version": 1, "input": {"to": "Rome"}})).await;
    told.tell(EventType::Started, "", Value::Null).await;
    for step in ["book", "pay"] {
        told.began(step).await;
        let cost = Cost { micros: 7, currency: "EUR".into() };
        let costing = |event| ExecutionEvent { cost: Some(cost), ..event };
        told.with(EventType::StepSucceeded, step, json!({"done": step}), costing).await;
    }
    told.tell(EventType::StepStarted, "each", json!({"node": "map"})).await;
    told.began("each[0].send").await;
    told.began("each[1].send").await;
    told.tell(EventType::StepSucceeded, "each[0].send", json!("sent")).await;
    let failure = Failure::new(ErrorClass::Network, "broken", "the line broke");
    let failing = |event| ExecutionEvent { error: Some(failure), ..event };
    let due = json!({"attempt": 2, "due": 1_893_456_000_000_i64});
    told.with(EventType::StepRetrying, "each[1].send", due, failing).await;
    told
}

#[tokio::test]
async fn steps_are_listed_in_order_with_state_attempts_and_cost() {
    let served = Served::new().await;
    under_way(&served).await;
    let path = "/v1/executions/acme%2Frun/steps";
    let all = served.get(path).await.json();
    let names: Vec<_> =
        all["data"].as_array().expect("a list").iter().map(|it| it["step"].clone()).collect();
    assert_eq!(names, ["book", "pay", "each", "each[0].send", "each[1].send"]);
    assert_eq!(all["next"], Value::Null);
    let pay = &all["data"][1];
    assert_eq!((&pay["state"], &pay["costs"]), (&json!("succeeded"), &json!({"EUR": 7})));
    assert_eq!((&pay["started"], &pay["ended"]), (&json!(5_000), &json!(6_000)));
    assert!(pay.get("output").is_none(), "lists have no values");
    let open = served.get(&format!("{path}?state=retrying")).await.json();
    assert_eq!(
        (&open["data"][0]["step"], &open["data"][0]["error"]["code"]),
        (&json!("each[1].send"), &json!("broken"))
    );
    let first = served.get(&format!("{path}?limit=2")).await.json();
    let next = served
        .get(&format!("{path}?limit=3&cursor={}", first["next"].as_str().expect("a cursor")))
        .await
        .json();
    assert_eq!((&next["data"][0]["step"], &next["next"]), (&json!("each"), &Value::Null));
    let one = served.get(&format!("{path}/each%5B0%5D.send")).await.json();
    assert_eq!((&one["output"], &one["input"]), (&json!("sent"), &json!({"n": 1})));
    for (path, status) in [
        ("/v1/executions/acme%2Frun/steps/nothing", 404),
        ("/v1/executions/acme%2Fgone/steps", 404),
        ("/v1/executions/acme%2Frun/steps?state=odd", 400),
        ("/v1/executions/acme%2Frun/steps?limit=0", 400),
        ("/v1/executions/acme%2Frun/steps?cursor=x", 400),
    ] {
        assert_eq!(served.get(path).await.status.as_u16(), status, "{path}");
    }
}

#[tokio::test]
async fn why_names_what_would_move_it_on() {
    let served = Served::new().await;
    let mut told = under_way(&served).await;
    let why = async || served.get("/v1/executions/acme%2Frun/why").await.json();
    let waits = why().await["waits"].clone();
    assert_eq!((&waits[0]["for"], &waits[0]["step"]), (&json!("work"), &json!("each")));
    assert_eq!(
        (&waits[1]["for"], &waits[1]["until"]),
        (&json!("retry"), &json!(1_893_456_000_000_i64))
    );
    let says = waits[1]["moves_on"].as_str().expect("a sentence");
    assert!(says.contains("broken") && says.contains("2030-01-01T00:00:00.000Z"), "{says}");
    told.tell(EventType::Paused, "", Value::Null).await;
    let paused = why().await;
    assert_eq!(
        (&paused["status"], &paused["waits"][0]["for"]),
        (&json!("paused"), &json!("resume"))
    );
    assert!(paused["waits"][0]["moves_on"].as_str().is_some_and(|it| it.contains(":resume")));
    told.tell(EventType::StepWaiting, "each[1].send", json!({"for": "signal", "signal": "go"}))
        .await;
    let signal = why().await["waits"][2].clone();
    assert_eq!((&signal["for"], &signal["step"]), (&json!("signal"), &json!("each[1].send")));
    told.tell(EventType::Cancelled, "", Value::Null).await;
    assert_eq!(why().await["waits"], json!([]));
}

#[tokio::test]
async fn why_says_where_it_waits_for_a_place() {
    let served = Served::new().await;
    let mut told = Told { served: &served, number: 0 };
    let why = async || served.get("/v1/executions/acme%2Frun/why").await.json()["waits"].clone();
    told.tell(EventType::Admitted, "", json!({"version": 1, "input": {}})).await;
    let waits = why().await;
    assert_eq!((&waits[0]["for"], waits[0].get("place")), (&json!("place"), None));
    let place = json!({"limit": 5, "key": "c-7", "running": 5, "ahead": 3});
    told.tell(EventType::Queued, "", place.clone()).await;
    let waits = why().await;
    assert_eq!((&waits[0]["for"], &waits[0]["since"]), (&json!("place"), &json!(2_000)));
    assert_eq!((&waits[0]["place"], waits.as_array().map(Vec::len)), (&place, Some(1)));
    let says = waits[0]["moves_on"].as_str().expect("a sentence");
    assert!(says.contains("5 run at once") && says.contains("3 others"), "{says}");
    told.tell(EventType::Started, "", Value::Null).await;
    assert_eq!(why().await, json!([]));
}

#[tokio::test]
async fn retry_takes_over_what_succeeded_and_was_not_undone() {
    let served = Served::new().await;
    let mut told = under_way(&served).await;
    let retry = "/v1/executions/acme%2Frun:retry";
    let early = served.post(retry, &json!({})).await;
    assert_eq!((early.status.as_u16(), &early.json()["code"]), (409, &json!("not_ended")));
    told.tell(EventType::StepFailed, "each[1].send", Value::Null).await;
    told.tell(EventType::StepFailed, "each", Value::Null).await;
    told.began("unbook").await;
    told.tell(EventType::StepSucceeded, "unbook", json!("undone")).await;
    told.tell(EventType::Failed, "", Value::Null).await;
    let got = served.post(retry, &json!({})).await;
    assert_eq!(got.status.as_u16(), 202, "{}", got.text);
    let start = published(&served).await;
    assert_ne!(start.id, "acme/run");
    assert_eq!((start.version, start.retry_of.as_deref()), (Some(1), Some("acme/run")));
    assert_eq!((start.input.as_str(), start.labels["team"].as_str()), (r#"{"to":"Rome"}"#, "a"));
    assert_eq!(start.search_attributes["customer"], "c-7");
    let kept: Vec<_> =
        start.reuse.iter().map(|(step, output)| (step.as_str(), output.as_str())).collect();
    assert_eq!(kept, [("each[0].send", r#""sent""#), ("pay", r#"{"done":"pay"}"#)]);
}

#[tokio::test]
async fn restart_runs_all_of_it_again_with_what_is_changed() {
    let served = Served::new().await;
    let mut told = under_way(&served).await;
    told.tell(EventType::Succeeded, "", json!(1)).await;
    let refused = served.post("/v1/executions/acme%2Frun:retry", &json!({})).await;
    assert_eq!((refused.status.as_u16(), &refused.json()["code"]), (409, &json!("nothing_failed")));
    let restart = "/v1/executions/acme%2Frun:restart";
    let body = json!({"input": {"to": "Oslo"}, "version": "standing"});
    let got = served.post(restart, &body).await;
    assert_eq!(got.status.as_u16(), 202, "{}", got.text);
    let start = published(&served).await;
    assert_eq!((start.input.as_str(), start.version), (r#"{"to":"Oslo"}"#, None));
    assert!(start.reuse.is_empty());
    for (body, status) in [
        (json!({"version": "newest"}), 400),
        (json!({"version": 9}), 404),
        (json!({"inputs": 1}), 400),
    ] {
        assert_eq!(served.post(restart, &body).await.status.as_u16(), status, "{body}");
    }
}

/// `acme/run` failed, `acme/done` succeeded, `acme/open` goes on, `acme/early` was refused before it began; and a
/// model call, which no filter of these finds unless it is asked for.
async fn ended_and_open(served: &Served) {
    let mut told = under_way(served).await;
    told.tell(EventType::StepFailed, "each", Value::Null).await;
    told.tell(EventType::Failed, "", Value::Null).await;
    let admitted = Some(json!({"version": 1, "input": {"to": "Oslo"}}).to_string());
    for (id, ended, data) in [
        ("acme/done", Some(EventType::Succeeded), admitted.clone()),
        ("acme/open", None, admitted),
        ("acme/early", Some(EventType::Failed), None),
    ] {
        let accepted = store::AcceptedExecution {
            id: id.into(),
            tenant: "acme".into(),
            kind: domain::topic::Kind::Workflow,
            definition: "trip".into(),
            request_time: Millis(600),
            labels: [("team".to_owned(), "a".to_owned())].into(),
            search_attributes: [("customer".to_owned(), "c-7".to_owned())].into(),
            note: None,
        };
        served.world.0.store.put_accepted(accepted).await.expect("a store");
        let admitted = ExecutionEvent { data, ..of_workflow(id, 1, EventType::Admitted) };
        served.world.0.store.apply_event(&admitted).await.expect("a store");
        if let Some(ended) = ended {
            let ended = of_workflow(id, 2, ended);
            served.world.0.store.apply_event(&ended).await.expect("a store");
        }
    }
    let call = super::event("acme/call", 1, EventType::Failed);
    served.world.0.store.apply_event(&call).await.expect("a store");
}

fn starts(served: &Served) -> Vec<WorkflowStart> {
    let feed = Topic::Feed(domain::topic::Kind::Workflow);
    let published = served.world.published().into_iter().filter(|record| record.topic == feed);
    published.map(|record| served.world.0.ids.read(&record.value).expect("a start")).collect()
}

#[tokio::test]
async fn filter_runs_again_what_can_be_and_says_why_the_rest_can_not() {
    let served = Served::new().await;
    ended_and_open(&served).await;
    let by = json!({"search_attributes": {"customer": "c-7"}, "labels": {"team": "a"}});
    let reasons = |answer: &Value| -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let reasons = answer["reasons"].as_array().expect("a list").iter();
        let mut all: Vec<_> = reasons.map(|it| (text(&it["id"]), text(&it["code"]))).collect();
        all.sort();
        all
    };
    let expected = |codes: &[(&str, &str)]| -> Vec<(String, String)> {
        codes.iter().map(|(id, code)| (format!("acme/{id}"), (*code).to_owned())).collect()
    };
    let dry = served.post("/v1/executions:retry", &by).await.json();
    assert_eq!((&dry["dry_run"], &dry["matched"]), (&json!(true), &json!(4)), "{dry}");
    assert_eq!(
        (&dry["fitting"], &dry["started"], &dry["refused"]),
        (&json!(1), &json!(0), &json!(3))
    );
    assert_eq!(dry["executions"], json!([{"id": "acme/run", "started": null}]));
    let of_retry =
        expected(&[("done", "nothing_failed"), ("early", "never_admitted"), ("open", "not_ended")]);
    assert_eq!(reasons(&dry), of_retry);
    let dry = served.post("/v1/executions:restart", &by).await.json();
    assert_eq!(dry["fitting"], 2, "what succeeded can be restarted");
    assert_eq!(reasons(&dry), expected(&[("early", "never_admitted"), ("open", "not_ended")]));
    assert!(starts(&served).is_empty(), "nothing was meant");

    let mut meant = by.clone();
    meant["dry_run"] = json!(false);
    let done = served.post("/v1/executions:retry", &meant).await.json();
    assert_eq!((&done["started"], reasons(&done)), (&json!(1), of_retry));
    let [start] = starts(&served).try_into().expect("one start");
    assert_eq!(done["executions"][0]["started"], start.id);
    assert_eq!((start.retry_of.as_deref(), start.reuse.len()), (Some("acme/run"), 3));
    assert_eq!(start.search_attributes["customer"], "c-7");
    assert!(done["next"].is_null());

    let calls = served.post("/v1/executions:retry", &json!({"kind": "model"})).await.json();
    assert_eq!(reasons(&calls), expected(&[("call", "no_workflow")]));
    meant["version"] = json!(9);
    let gone = served.post("/v1/executions:restart", &meant).await.json();
    assert_eq!((&gone["started"], &gone["refused"]), (&json!(0), &json!(5)));
    for (body, place) in [
        (json!({"cursor": "x"}), "cursor"),
        (json!({"version": "newest"}), "version"),
        (json!({"status": "odd"}), "status"),
    ] {
        let got = served.post("/v1/executions:restart", &body).await;
        assert!(got.status.as_u16() == 400 && got.text.contains(place), "{}", got.text);
    }
}

#[tokio::test]
async fn same_key_runs_each_execution_again_once() {
    let served = Served::new().await;
    ended_and_open(&served).await;
    let post = async |path: &str, key: &str, body: Value| {
        let mut request = served.request("POST", path, body.to_string());
        request.headers_mut().insert("idempotency-key", key.parse().expect("ASCII"));
        answer(served.send(request).await).await.json()
    };
    let meant = json!({"dry_run": false, "labels": {"team": "a"}});
    let path = "/v1/executions:restart";
    let first = post(path, "k", meant.clone()).await;
    let again = post(path, "k", meant.clone()).await;
    assert_eq!(first["started"], 2, "{first}");
    assert_eq!(first["executions"], again["executions"]);
    let mut ids: Vec<_> = starts(&served).into_iter().map(|start| start.id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 2, "a copy has the id of the first");
    let other = post(path, "l", meant.clone()).await;
    assert_ne!(first["executions"], other["executions"]);
    let mut changed = meant;
    changed["version"] = json!(1);
    let refused = post(path, "k", changed).await;
    let reused = refused["reasons"].as_array().expect("a list").iter();
    let reused = reused.filter(|it| it["code"] == "idempotency_key_reused").count();
    assert_eq!((&refused["started"], reused), (&json!(0), 2), "{refused}");
}
