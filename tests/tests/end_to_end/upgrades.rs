//! Workers of two releases that follow each other on the real stack, while workflows wait for everything that
//! they can wait for: each ends once, and none is stuck.

use std::collections::BTreeSet;

use domain::event::ExecutionEvent;
use domain::id::derived;
use domain::request::WorkflowStart;
use domain::topic::{Kind, Topic};
use domain::workflow::run::entry::Entry;
use schemas::Record as _;
use schemas::command;
use serde_json::{Value, json};
use stepstream_tests::process::Signal;
use stepstream_tests::wait::PATIENCE;
use stepstream_tests::{fresh, next, program};

use crate::cluster::{Cluster, Worker};

const ROLES: &str = "inference,workflow";

/// Started at each stage of the upgrade.
const BATCH: usize = 6;

/// How often partitions may go from one worker to another: each of those below comes once, and all but the
/// last two leave.
const HANDOVERS: u32 = 10;

fn ask(id: &str) -> Value {
    json!({"id": id, "kind": "model", "model": "slow",
        "request": {"messages": [{"role": "user", "content": id}]}})
}

/// A call, then four things to wait for at once, then another call.
fn definitions() -> [Value; 2] {
    let workflow = |name: &str, spec: Value| json!({"apiVersion": "stepstream/v1", "kind": "Workflow", "metadata": {"name": name}, "spec": spec});
    let waits = ["time", "word", "child", "call"];
    let mut edges =
        vec![json!({"from": "first", "to": "all"}), json!({"from": "back", "to": "final"})];
    for wait in waits {
        edges.push(json!({"from": "all", "to": wait}));
        edges.push(json!({"from": wait, "to": "back"}));
    }
    [
        workflow(
            "part",
            json!({
                "nodes": [{"id": "rest", "kind": "wait", "duration": "4s"}, ask("ask")],
                "edges": [{"from": "rest", "to": "ask"}],
                "result": "{{ nodes.ask.output.choices[0].message.content }}",
            }),
        ),
        workflow(
            "whole",
            json!({
                "inputs": {"type": "object", "required": ["seconds"], "properties": {"seconds": {"type": "integer"}}},
                "nodes": [ask("first"), {"id": "all", "kind": "fork"},
                    {"id": "time", "kind": "wait", "duration": "{{ inputs.seconds }}s"},
                    {"id": "word", "kind": "wait", "signal": {"name": "go", "timeout": "1h"}},
                    {"id": "child", "kind": "workflow", "name": "part"},
                    ask("call"), {"id": "back", "kind": "join"}, ask("final")],
                "edges": edges,
                "result": ["{{ nodes.word.output }}", "{{ nodes.child.output }}",
                    "{{ nodes.final.output.choices[0].message.content }}"],
            }),
        ),
    ]
}

/// A start as each kind of upstream writes it: as ours is, with a field that isn't known here yet, and with
/// those three alone that are needed.
struct Upstreams {
    newer: u32,
    narrow: u32,
}

impl Upstreams {
    async fn of(cluster: &Cluster) -> Self {
        let mut newer: Value = serde_json::from_str(WorkflowStart::SCHEMA).unwrap();
        let fields = newer["fields"].as_array_mut().unwrap();
        fields.push(json!({"name": "added_later", "type": "string", "default": ""}));
        let text = |name: &str| json!({"name": name, "type": "string"});
        let mut input = text("input");
        input["default"] = json!("{ }");
        let narrow = json!({"type": "record", "name": "WorkflowStart", "namespace": "io.stepstream.v1",
            "fields": [text("workflow"), text("id"), input]});
        let feed = Topic::Feed(Kind::Workflow);
        let registered = async |schema: Value| {
            cluster.registered(feed, WorkflowStart::NAME, schema.to_string()).await
        };
        Self { newer: registered(newer).await, narrow: registered(narrow).await }
    }

    /// The value of the `nth` start.
    fn value(&self, cluster: &Cluster, nth: usize, start: &WorkflowStart) -> Vec<u8> {
        let framed = |id: u32, datum: Vec<u8>| [vec![0], id.to_be_bytes().to_vec(), datum].concat();
        // Lengths below 64 are one byte, doubled.
        let text = |text: &str| [vec![u8::try_from(2 * text.len()).unwrap()], text.into()].concat();
        match nth % 3 {
            0 => cluster.upstream.frame(start),
            1 => {
                let mut datum = Vec::new();
                start.encode(&mut datum);
                framed(self.newer, [datum, text("news")].concat())
            }
            _ => framed(
                self.narrow,
                [&start.workflow, &start.id, &start.input].map(|it| text(it)).concat(),
            ),
        }
    }
}

/// What runs, and what it asks for.
struct Runs {
    cluster: Cluster,
    upstreams: Upstreams,
    ids: Vec<String>,
    /// How many of them have been told to go on.
    told: usize,
}

impl Runs {
    /// Starts a batch; each one's time comes some seconds after that of the one before.
    async fn start(&mut self) {
        for nth in 0..BATCH {
            let start = WorkflowStart {
                input: json!({"seconds": 2 + 5 * nth}).to_string(),
                ..WorkflowStart::new(fresh("run"), "whole")
            };
            let value = self.upstreams.value(&self.cluster, nth, &start);
            let feed = Topic::Feed(Kind::Workflow);
            self.cluster.upstream.write(feed, None, &start.id, value).await;
            self.ids.push(start.id);
        }
    }

    /// Tells the next `count` of them to go on, whether or not they wait for it yet.
    async fn tell(&mut self, count: usize) {
        for id in self.ids.iter().skip(self.told).take(count) {
            let (tenant, name, payload) = ("default".into(), "go".into(), Some("7".into()));
            let signal = command::Signal { id: fresh("signal"), tenant, name, payload };
            let value = self.cluster.upstream.frame(&signal);
            self.cluster.upstream.write(Topic::Log(Kind::Workflow), None, id, value).await;
        }
        self.told += count;
    }

    /// All executions, with those that they ask for.
    fn all(&self) -> BTreeSet<String> {
        let of_run = |run: &String| {
            let child = derived(run, "child", 1);
            let calls = ["first", "call", "final"].map(|step| derived(run, step, 1));
            [run.clone(), derived(&child, "ask", 1), child].into_iter().chain(calls)
        };
        self.ids.iter().flat_map(of_run).collect()
    }

    /// Waits until this worker has put something out that isn't of an earlier program.
    async fn generation(&mut self, generation: i32) {
        let newer = |event: &ExecutionEvent| event.generation >= generation;
        let what = format!("events of generation {generation}");
        self.cluster.results.until(&what, newer, |events| !events.is_empty()).await;
    }
}

fn leave(mut worker: Worker) {
    worker.process.signal(Signal::Terminate);
    let status = worker.process.ended(PATIENCE);
    assert!(status.success(), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_upgrade_and_back_with_workflows_in_flight_ends_each_once() {
    let cluster = Cluster::new().await;
    for definition in definitions() {
        cluster.define(&definition).await;
    }
    let (this, newer) = (program(), next::release(&program(), cluster.folder()));
    let upstreams = Upstreams::of(&cluster).await;
    let mut runs = Runs { cluster, upstreams, ids: Vec::new(), told: 0 };
    let first = runs.cluster.worker_of(&this, "first", ROLES, 4).await;
    let second = runs.cluster.worker_of(&this, "second", ROLES, 1).await;
    runs.start().await;
    runs.tell(2).await;
    let all = runs.all();
    let finished = runs.cluster.some_ended(&all).await;

    // There: each of the old ones leaves when a new one has come.
    let mut third = runs.cluster.worker_of(&newer, "third", ROLES, 1).await;
    runs.start().await;
    leave(first);
    runs.tell(2).await;
    let fourth = runs.cluster.worker_of(&newer, "fourth", ROLES, 1).await;
    leave(second);
    runs.generation(2).await;
    let versions = runs.cluster.versions(Topic::State(Kind::Workflow), Entry::NAME).await;
    assert_eq!(versions, 2, "state is written in either's schema");
    runs.start().await;
    runs.tell(4).await;

    // And back, in a hurry.
    let _fifth = runs.cluster.worker_of(&this, "fifth", ROLES, 1).await;
    third.process.kill();
    runs.start().await;
    runs.tell(4).await;
    let _sixth = runs.cluster.worker_of(&this, "sixth", ROLES, 1).await;
    leave(fourth);
    runs.generation(3).await;
    let rest = runs.ids.len() - runs.told;
    assert!(rest > BATCH, "some of each stage wait for a word until now");
    runs.tell(rest).await;

    let (all, wholes): (_, BTreeSet<_>) = (runs.all(), runs.ids.iter().cloned().collect());
    runs.cluster.all_ended_once(&all, &finished, HANDOVERS).await;
    let results = json!([7, "done", "done"]).to_string();
    let good = |event: &&ExecutionEvent| {
        wholes.contains(&event.execution_id) && event.data.as_deref() == Some(&results)
    };
    let good: BTreeSet<_> =
        runs.cluster.results.records().filter(good).map(|event| &event.execution_id).collect();
    assert_eq!(good.len(), wholes.len(), "each has the result that it would have had");
}
