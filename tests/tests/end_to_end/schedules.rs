//! Schedules and limits on the real stack, with workers that are killed when it matters.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use domain::event::{EventType, ExecutionEvent};
use domain::id::derived;
use domain::log_row::ExecutionLogRecord;
use domain::request::WorkflowStart;
use domain::schedule::execution_id;
use domain::time::Millis;
use domain::topic::Topic;
use serde_json::{Value, json};
use stepstream_tests::fresh;
use stepstream_tests::wait::until;

use crate::cluster::Cluster;

const ROLES: &str = "inference,workflow";
const MINUTE_MS: i64 = 60_000;

/// A workflow of one call, with more in its `spec`.
fn one(more: Value) -> Value {
    let mut spec = json!({
        "nodes": [{"id": "ask", "kind": "model", "model": "slow",
            "request": {"messages": [{"role": "user", "content": "hi"}]}}],
        "edges": [],
        "result": "{{ nodes.ask.output.choices[0].message.content }}",
    });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"apiVersion": "stepstream/v1", "kind": "Workflow", "metadata": {"name": "one"}, "spec": spec})
}

fn with_calls(runs: &BTreeSet<String>) -> BTreeSet<String> {
    runs.iter().flat_map(|run| [run.clone(), derived(run, "ask", 1)]).collect()
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_that_is_killed_while_schedules_fire_lets_each_fire_once() {
    let mut cluster = Cluster::new().await;
    cluster.define(&one(json!({}))).await;
    // Spread over more than it takes to notice that a worker is gone, so times fall before the kill, between
    // the two workers, and after.
    let schedule =
        json!({"workflow": "one", "cron": "* * * * *", "jitter": "20s", "overlap": "allow"});
    let names: Vec<String> = (0..24).map(|nth| format!("s{nth}")).collect();
    let files: Vec<String> =
        names.iter().map(|name| cluster.file(&format!("{name}.json"), &schedule)).collect();
    // Some are stored while nobody is there to announce them.
    let (before, after) = files.split_at(files.len() / 2);
    let apply = async |files: &[String]| {
        let files = files.iter().map(String::as_str);
        cluster.run(&["schedule", "apply"].into_iter().chain(files).collect::<Vec<_>>()).await;
    };
    apply(before).await;
    let mut first = cluster.worker_as("first", ROLES).await;
    apply(after).await;
    let ids: Vec<String> = names.iter().map(|name| format!("@schedule/default/{name}")).collect();
    let known = |event: &ExecutionEvent| {
        event.event_type == EventType::Admitted && ids.contains(&event.execution_id)
    };
    cluster.results.until("all are known", known, |events| events.len() >= ids.len()).await;

    // The first minute of which nothing has fired when this is read.
    let minute = (now() / MINUTE_MS + 1) * MINUTE_MS;
    let runs: BTreeSet<String> = ids.iter().map(|id| execution_id(id, Millis(minute))).collect();
    let limit = Duration::from_secs(65);
    until("the minute", limit, async || (now() >= minute).then_some(())).await;
    let begun = |event: &ExecutionEvent| {
        event.event_type == EventType::Started && runs.contains(&event.execution_id)
    };
    let begun = cluster.results.until("some begin", begun, |begun| begun.len() >= 4).await.len();
    first.process.kill();
    assert!(begun < runs.len(), "none is left to fire");
    let _second = cluster.worker_as("second", ROLES).await;
    cluster.all_ended_once(&with_calls(&runs), &BTreeSet::new(), 1).await;

    let mut log = cluster.upstream.read::<ExecutionLogRecord>(Topic::ExecutionLog).await;
    log.settle(Duration::from_secs(2)).await;
    let due = domain::time::to_rfc3339(Millis(minute));
    let mut fired: BTreeMap<String, u32> = BTreeMap::new();
    for row in log.records().filter(|row| row.labels.get("scheduledFor") == Some(&due)) {
        assert_eq!(row.event_type, "schedule.fired");
        *fired.entry(row.definition.clone().unwrap()).or_default() += 1;
    }
    let each_once: BTreeMap<String, u32> = names.into_iter().map(|name| (name, 1)).collect();
    assert_eq!(fired, each_once);
}

/// How many of the workflow run at once.
const LIMIT: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_worker_forgets_nobody_who_waits_for_a_place_and_gives_none_twice() {
    let mut cluster = Cluster::new().await;
    cluster.define(&one(json!({"concurrency": {"limit": LIMIT}}))).await;
    let mut first = cluster.worker_as("first", ROLES).await;
    let runs: BTreeSet<String> = (0..18).map(|_| fresh("run")).collect();
    for run in &runs {
        cluster.start(&WorkflowStart::new(run, "one")).await;
    }
    let queued = |event: &ExecutionEvent| event.event_type == EventType::Queued;
    // Who has a place at once isn't queued, and the first may have ended before the last came.
    let waiting = |events: &[&ExecutionEvent]| events.len() >= runs.len() / 2;
    cluster.results.until("others wait", queued, waiting).await;
    let finished = cluster.some_ended(&with_calls(&runs)).await;
    first.process.kill();
    let second = cluster.worker_as("second", ROLES).await;
    cluster.all_ended_once(&with_calls(&runs), &finished, 1).await;
    drop(second);

    // By the broker's clock, which all times of events are of. Who ends in a millisecond makes room in it.
    let events: Vec<ExecutionEvent> = cluster.results.records().cloned().collect();
    let mut changes = Vec::new();
    for (id, events) in domain::invariants::as_clients_see(&events) {
        for event in events.iter().filter(|_| runs.contains(&id)) {
            match event.event_type {
                EventType::Started => changes.push((event.time, 1)),
                kind if kind.is_terminal() => changes.push((event.time, -1)),
                _ => {}
            }
        }
    }
    changes.sort();
    let mut at_once = 0;
    let most = changes.iter().map(|(_, change)| {
        at_once += change;
        at_once
    });
    assert_eq!(most.max(), Some(i32::try_from(LIMIT).unwrap()));
    assert_eq!(at_once, 0, "who began ends");
}
