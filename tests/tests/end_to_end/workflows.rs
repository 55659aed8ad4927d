//! Workflows: run, explained, steered, run again; and, on the real stack, with workers that are killed.

use std::collections::BTreeSet;

use domain::id::derived;
use domain::request::WorkflowStart;
use domain::topic::{Kind, Topic};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use stepstream_tests::api::Api;
use stepstream_tests::platform::Platform;
use stepstream_tests::topics::Client;
use stepstream_tests::wait::{PATIENCE, until};
use stepstream_tests::{fresh, provider};

use crate::cluster::Cluster;

super::on_both_stacks!(
    workflow_is_run_step_by_step_and_says_what_became_of_each,
    signal_of_the_wrong_shape_is_refused_and_the_wait_goes_on,
    cancelled_workflow_closes_the_connection_of_its_call_and_undoes_what_it_did,
    retried_workflow_carries_out_nothing_that_succeeded,
    upstream_starts_a_workflow_with_its_own_record,
    child_workflow_runs_with_the_version_of_its_alias,
);

/// Stores a definition under a name of its own.
async fn put(api: &Api, name: &str, spec: Value) {
    let definition = json!({"apiVersion": "stepstream/v1", "kind": "Workflow",
        "metadata": {"name": name}, "spec": spec});
    let path = format!("/v1/definitions/workflows/{name}");
    let request = api.request(Method::PUT, &path).header("if-none-match", "*").json(&definition);
    let answer = request.send().await.unwrap();
    let status = answer.status();
    assert_eq!(status, StatusCode::CREATED, "{}", answer.text().await.unwrap_or_default());
}

fn ask(id: &str, model: &str, text: &str) -> Value {
    json!({"id": id, "kind": "model", "model": model,
        "request": {"messages": [{"role": "user", "content": text}]}})
}

async fn started(api: &Api, name: &str, input: Value) -> String {
    let path = format!("/v1/workflows/{name}:start");
    let answer = api.post(&path, &json!({"input": input})).await;
    let (status, body): (_, Value) = (answer.status(), answer.json().await.unwrap());
    assert_eq!(status, StatusCode::ACCEPTED, "{body}");
    body["id"].as_str().unwrap().to_owned()
}

async fn got(api: &Api, path: &str) -> Value {
    api.get(path).await.json().await.unwrap()
}

/// Waits until the execution waits for something of this kind, and returns that.
async fn waits_for(api: &Api, id: &str, what: &str) -> Value {
    until(&format!("{id} waits for {what}"), PATIENCE, async || {
        let why = got(api, &format!("/v1/executions/{id}/why")).await;
        let waits = why["waits"].as_array()?.clone();
        waits.into_iter().find(|wait| wait["for"] == what)
    })
    .await
}

async fn workflow_is_run_step_by_step_and_says_what_became_of_each(platform: &Platform) {
    let api = Api::of(platform);
    let name = fresh("greet");
    let body = json!({"nodes": [ask("say", "demo", "hello {{ name }}")], "edges": [],
        "result": "{{ nodes.say.output.usage.prompt_tokens }}"});
    put(&api, &name, json!({
        "inputs": {"type": "object", "required": ["names"]},
        "nodes": [
            {"id": "each", "kind": "map", "over": "{{ inputs.names }}", "as": "name", "concurrency": 2, "body": body},
            {"id": "sum", "kind": "transform", "value": "{{ nodes.each.output | sum }}"},
        ],
        "edges": [{"from": "each", "to": "sum"}],
        "result": {"words": "{{ nodes.sum.output }}", "each": "{{ nodes.each.output }}"},
    }))
    .await;
    let path = format!("/v1/workflows/{name}:start?wait=60s");
    let answer = api.post(&path, &json!({"input": {"names": ["Ada", "Grace", "Alan"]}})).await;
    let (status, ended): (_, Value) = (answer.status(), answer.json().await.unwrap());
    assert_eq!(status, StatusCode::OK, "{ended}");
    assert_eq!(ended["output"], json!({"words": 6, "each": [2, 2, 2]}));
    assert_eq!((&ended["kind"], &ended["definition"]), (&json!("workflow"), &json!(name)));
    assert!(ended["cost"]["micros"].as_i64().unwrap() > 0, "{ended}");
    let id = ended["id"].as_str().unwrap();
    let steps = until("the steps", PATIENCE, async || {
        let steps = got(&api, &format!("/v1/executions/{id}/steps")).await;
        (steps["data"].as_array()?.len() == 5).then_some(steps["data"].clone())
    })
    .await;
    assert!(steps.as_array().unwrap().iter().all(|step| step["state"] == "succeeded"), "{steps}");
    let step = got(&api, &format!("/v1/executions/{id}/steps/each%5B1%5D.say")).await;
    assert_eq!(step["input"]["messages"][0]["content"], "hello Grace");
    let call = step["execution_id"].as_str().unwrap();
    assert_eq!(call, derived(id, "each[1].say", 1));
    let call = api.ended(call).await;
    assert_eq!((&call["parent_id"], &call["status"]), (&json!(id), &json!("succeeded")));
    let types = api.event_types(id).await;
    assert_eq!(types.iter().filter(|it| it.ends_with("succeeded")).count(), 6);
    assert_eq!(types.last().map(String::as_str), Some("execution.succeeded"));
}

async fn signal_of_the_wrong_shape_is_refused_and_the_wait_goes_on(platform: &Platform) {
    let api = Api::of(platform);
    let name = fresh("approve");
    let schema =
        json!({"type": "object", "required": ["ok"], "properties": {"ok": {"type": "boolean"}}});
    put(&api, &name, json!({
        "nodes": [{"id": "ask", "kind": "wait", "signal": {"name": "decision", "schema": schema, "timeout": "1h"}}],
        "edges": [], "result": "{{ nodes.ask.output.ok }}",
    }))
    .await;
    let id = started(&api, &name, json!({})).await;
    let wait = waits_for(&api, &id, "signal").await;
    assert_eq!(wait["step"], "ask");
    assert!(wait["moves_on"].as_str().unwrap().contains(":signal"), "{wait}");
    let signal = format!("/v1/executions/{id}:signal");
    let wrong = json!({"name": "decision", "payload": {"ok": "yes"}});
    assert_eq!(api.post(&signal, &wrong).await.status(), StatusCode::ACCEPTED);
    until("the refusal", PATIENCE, async || {
        api.event_types(&id).await.contains(&"signal.refused".to_owned()).then_some(())
    })
    .await;
    waits_for(&api, &id, "signal").await;
    let right = json!({"name": "decision", "payload": {"ok": true}});
    assert_eq!(api.post(&signal, &right).await.status(), StatusCode::ACCEPTED);
    let ended = api.ended(&id).await;
    assert_eq!((&ended["status"], &ended["output"]), (&json!("succeeded"), &json!(true)));
    let late = api.post(&signal, &right).await;
    assert_eq!(late.status(), StatusCode::CONFLICT);
}

async fn cancelled_workflow_closes_the_connection_of_its_call_and_undoes_what_it_did(
    platform: &Platform,
) {
    let api = Api::of(platform);
    let provider = provider::start(json!([{ "reply": "late", "latency_ms": 120_000 }])).await;
    let (name, slow) = (fresh("saga"), fresh("slow"));
    api.put_model(&slow, &provider::model(&provider)).await;
    let mut book = ask("book", "demo", "book it");
    book["compensate"] = json!("unbook");
    put(&api, &name, json!({
        "nodes": [book, ask("unbook", "demo", "unbook {{ nodes.book.output.id }}"), ask("pay", &slow, "pay")],
        "edges": [{"from": "book", "to": "pay"}],
    }))
    .await;
    let id = started(&api, &name, json!({})).await;
    let open = async || (provider.seen().open == 1).then_some(());
    until("the slow call is out", PATIENCE, open).await;
    let cancel = format!("/v1/executions/{id}:cancel?reason=enough");
    assert_eq!(api.post(&cancel, &json!({})).await.status(), StatusCode::ACCEPTED);
    let ended = api.ended(&id).await;
    assert_eq!(ended["status"], "cancelled", "{ended}");
    let closed = async || (provider.seen().open == 0).then_some(());
    until("its connection is closed", PATIENCE, closed).await;
    let steps = got(&api, &format!("/v1/executions/{id}/steps")).await["data"].clone();
    let state = |step: &str| {
        let found = steps.as_array().unwrap().iter().find(|it| it["step"] == step);
        found.map(|it| it["state"].clone()).unwrap_or_default()
    };
    assert_eq!((state("pay"), state("unbook")), (json!("cancelled"), json!("succeeded")));
    let pay = api.ended(&derived(&id, "pay", 1)).await;
    assert_eq!(pay["status"], "cancelled");
}

async fn retried_workflow_carries_out_nothing_that_succeeded(platform: &Platform) {
    let api = Api::of(platform);
    // The first call of each prompt fails, and what is asked again is answered.
    let (name, model) = (fresh("again"), fresh("healing"));
    let provider = provider::start(json!([{ "reply": "done", "latency_ms": 10 }])).await;
    api.put_model(&model, &provider::model(&provider)).await;
    put(&api, &name, json!({
        "inputs": {"type": "object"},
        "nodes": [ask("first", &model, "one"),
            {"id": "gate", "kind": "switch", "cases": [{"when": "{{ inputs.ok | default(false) }}", "to": "good"}], "else": "bad"},
            {"id": "bad", "kind": "fail", "message": "not yet", "code": "not_yet"},
            {"id": "good", "kind": "end", "result": "{{ nodes.first.output.choices[0].message.content }}"}],
        "edges": [{"from": "first", "to": "gate"}],
    }))
    .await;
    let id = started(&api, &name, json!({})).await;
    assert_eq!(api.ended(&id).await["error"]["code"], "not_yet");
    assert_eq!(provider.seen().keys.len(), 1);
    let again = api.post(&format!("/v1/executions/{id}:retry?wait=60s"), &json!({})).await;
    let again: Value = again.json().await.unwrap();
    assert_eq!(again["error"]["code"], "not_yet", "its inputs are the same: {again}");
    assert_ne!(again["id"], json!(id));
    assert_eq!(provider.seen().keys.len(), 1, "what succeeded isn't asked again");
    let changed = json!({"input": {"ok": true}});
    let other = api.post(&format!("/v1/executions/{id}:restart?wait=60s"), &changed).await;
    let other: Value = other.json().await.unwrap();
    assert_eq!((&other["status"], &other["output"]), (&json!("succeeded"), &json!("done")));
    assert_eq!(provider.seen().keys.len(), 2, "all of it is run again");
}

async fn upstream_starts_a_workflow_with_its_own_record(platform: &Platform) {
    let api = Api::of(platform);
    let name = fresh("avro");
    put(&api, &name, json!({
        "inputs": {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}},
        "nodes": [{"id": "twice", "kind": "transform", "value": "{{ inputs.n * 2 }}"}],
        "edges": [], "result": "{{ nodes.twice.output }}",
    }))
    .await;
    let upstream = Client::of(platform).await;
    let start = |id: &str, input: &str| WorkflowStart {
        input: input.into(),
        tenant: platform.tenant.clone(),
        ..WorkflowStart::new(id, name.clone())
    };
    let (good, bad) = (fresh("run"), fresh("run"));
    for start in [start(&good, r#"{"n":21}"#), start(&bad, r#"{"n":"x"}"#)] {
        let value = upstream.frame(&start);
        upstream.write(Topic::Feed(Kind::Workflow), None, &start.id, value).await;
    }
    let ended = api.ended(&good).await;
    assert_eq!((&ended["status"], &ended["output"]), (&json!("succeeded"), &json!(42)));
    let refused = api.ended(&bad).await;
    assert_eq!(
        (&refused["status"], &refused["error"]["code"]),
        (&json!("failed"), &json!("invalid_request"))
    );
    assert!(refused["error"]["message"].as_str().unwrap().contains("input/n"), "{refused}");
}

async fn child_workflow_runs_with_the_version_of_its_alias(platform: &Platform) {
    let api = Api::of(platform);
    let (parent, child) = (fresh("parent"), fresh("child"));
    put(&api, &child, json!({"nodes": [{"id": "one", "kind": "transform", "value": 1}], "edges": [], "result": "first"})).await;
    let path = format!("/v1/definitions/workflows/{child}");
    let second = json!({"apiVersion": "stepstream/v1", "kind": "Workflow", "metadata": {"name": child},
        "spec": {"nodes": [{"id": "one", "kind": "transform", "value": 1}], "edges": [], "result": "second"}});
    let changed = api
        .request(Method::PUT, &path)
        .header("if-match", "\"1\"")
        .json(&second)
        .send()
        .await
        .unwrap();
    assert_eq!(changed.status(), StatusCode::OK);
    let stable =
        api.request(Method::PUT, &format!("{path}/aliases/stable")).header("if-none-match", "*");
    let stable = stable.json(&json!({"version": 1})).send().await.unwrap();
    assert!(stable.status().is_success(), "{}", stable.text().await.unwrap());
    put(
        &api,
        &parent,
        json!({
            "nodes": [{"id": "sub", "kind": "workflow", "name": child},
                {"id": "newer", "kind": "workflow", "name": child, "version": 2}],
            "edges": [], "result": ["{{ nodes.sub.output }}", "{{ nodes.newer.output }}"],
        }),
    )
    .await;
    let id = started(&api, &parent, json!({})).await;
    assert_eq!(api.ended(&id).await["output"], json!(["first", "second"]));
    let sub = api.ended(&derived(&id, "sub", 1)).await;
    assert_eq!((&sub["parent_id"], &sub["kind"]), (&json!(id), &json!("workflow")));
}

/// What the workers below run: three calls, one after the other.
fn three() -> Value {
    json!({"apiVersion": "stepstream/v1", "kind": "Workflow", "metadata": {"name": "three"},
        "spec": {"nodes": [ask("a", "slow", "hi"), ask("b", "slow", "hi"), ask("c", "slow", "hi")],
            "edges": [{"from": "a", "to": "b"}, {"from": "b", "to": "c"}],
            "result": "{{ nodes.c.output.choices[0].message.content }}"}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_worker_loses_and_doubles_no_step_of_a_workflow() {
    let mut cluster = Cluster::new().await;
    cluster.define(&three()).await;
    let mut first = cluster.worker_as("first", "inference,workflow").await;
    let runs: BTreeSet<String> = (0..20).map(|_| fresh("run")).collect();
    for run in &runs {
        cluster.start(&WorkflowStart::new(run, "three")).await;
    }
    let calls = |steps: &[&str]| -> BTreeSet<String> {
        let of_run =
            |run: &String| steps.iter().map(|step| derived(run, step, 1)).collect::<Vec<_>>();
        runs.iter().flat_map(of_run).collect()
    };
    // Some are at their second step, and calls are out.
    let finished = cluster.some_ended(&calls(&["a"])).await;
    first.process.kill();
    let _second = cluster.worker_as("second", "inference,workflow").await;
    let all: BTreeSet<String> = calls(&["a", "b", "c"]).union(&runs).cloned().collect();
    cluster.all_ended_once(&all, &finished, 1).await;
    let succeeded = cluster.results.records().filter(|event| {
        runs.contains(&event.execution_id) && event.data.as_deref() == Some(r#""done""#)
    });
    assert!(succeeded.count() >= runs.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workflow_worker_that_stood_still_is_fenced_and_does_no_harm() {
    let mut cluster = Cluster::new().await;
    cluster.define(&three()).await;
    let _calls = cluster.worker("calls", 4).await;
    let first = cluster.worker_as("first", "workflow").await;
    let runs: BTreeSet<String> = (0..10).map(|_| fresh("run")).collect();
    for run in &runs {
        cluster.start(&WorkflowStart::new(run, "three")).await;
    }
    let steps = ["a", "b", "c"];
    let all: BTreeSet<String> =
        runs.iter().flat_map(|run| steps.map(|step| derived(run, step, 1))).collect();
    let finished = cluster.some_ended(&all).await;
    first.process.signal(stepstream_tests::process::Signal::Stop);
    let stopped = std::time::Instant::now();
    let _second = cluster.worker_as("second", "workflow").await;
    until("twice the session timeout", PATIENCE, async || {
        (stopped.elapsed() > 2 * crate::cluster::SESSION).then_some(())
    })
    .await;
    first.process.signal(stepstream_tests::process::Signal::Continue);
    let all: BTreeSet<String> = all.union(&runs).cloned().collect();
    cluster.all_ended_once(&all, &finished, 2).await;
}
