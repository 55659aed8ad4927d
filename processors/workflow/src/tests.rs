//! The processor under the runtime's own machine: from a published start to requests, events, answers and
//! rows.

mod schedules;
pub(crate) mod simulation;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use domain::answer::{Answer, Cost, ErrorClass, Failure, Terminal, Usage};
use domain::catalogue::{DefinitionKind, DefinitionProposed};
use domain::event::ExecutionEvent;
use domain::fact::{Admitted, Command, Fact, Order};
use domain::request::{JSON, ModelRequest, Origin, OriginKind, WorkflowStart};
use domain::time::Millis;
use domain::topic::{Kind, Topic};
use runtime::partition::effects::Alarm;
use runtime::ports::{Elsewhere, ElsewhereError, PublishElsewhere};
use runtime::testing::Harness;
use schemas::Ids;
use serde_json::{Value, json};
use service::catalogue::Definitions;

use crate::{Programs, Workflows};

/// What was published elsewhere; refuses the topic `refused`, and doesn't know about `unknown`.
#[derive(Default)]
struct Topics(Mutex<Vec<Elsewhere>>);

#[async_trait]
impl PublishElsewhere for Topics {
    async fn publish_elsewhere(&self, record: Elsewhere) -> Result<(i32, i64), ElsewhereError> {
        match record.topic.as_str() {
            "refused" => return Err(ElsewhereError::Refused("no such topic".into())),
            "unknown" => return Err(ElsewhereError::Unknown("timed out".into())),
            _ => {}
        }
        let mut topics = self.0.lock().expect("no test panics with it");
        topics.push(record);
        Ok((3, i64::try_from(topics.len()).expect("a few")))
    }
}

/// One partition of the processor with a catalogue.
struct World {
    definitions: Definitions,
    topics: Arc<Topics>,
    harness: Harness<Workflows>,
}

fn definition(name: &str, nodes: Value, edges: Value, result: &str) -> Value {
    json!({"apiVersion": "stepstream/v1", "kind": "Workflow", "metadata": {"name": name},
        "spec": {"nodes": nodes, "edges": edges, "result": result,
            "inputs": {"type": "object", "required": ["text"],
                "properties": {"text": {"type": "string"}}}}})
}

fn model(id: &str, text: &str) -> Value {
    json!({"id": id, "kind": "model", "model": "fast",
        "request": {"messages": [{"role": "user", "content": text}]}})
}

/// Two model calls, the second with the answer of the first.
fn chain() -> Value {
    let nodes = json!([
        model("draft", "{{ inputs.text }}"),
        model("polish", "{{ nodes.draft.output.text }}"),
    ]);
    definition(
        "chain",
        nodes,
        json!([{"from": "draft", "to": "polish"}]),
        "{{ nodes.polish.output }}",
    )
}

impl World {
    fn new() -> Self {
        let definitions = Definitions::default();
        let topics = Arc::new(Topics::default());
        let programs = Arc::new(Programs::new(definitions.clone()));
        let publisher: Arc<dyn PublishElsewhere> = topics.clone();
        let harness = Harness::new(Workflows::new(programs, publisher));
        Self { definitions, topics, harness }
    }

    fn knowing(definition: Value) -> Self {
        let world = Self::new();
        world.define(0, Some(definition));
        world
    }

    fn define(&self, expects: i32, definition: Option<Value>) {
        let name = definition
            .as_ref()
            .map_or("chain", |it| it["metadata"]["name"].as_str().expect("a name"));
        self.definitions.apply(DefinitionProposed {
            id: format!("{name}-{expects}"),
            kind: DefinitionKind::Workflow,
            tenant: "default".into(),
            name: name.into(),
            expects,
            body: definition.as_ref().map(Value::to_string),
            proposed_by: "test".into(),
            time: Millis(0),
        });
    }

    fn start(&mut self, workflow: &str) {
        self.harness.publish(&start(workflow));
    }

    fn requests(&self) -> Vec<ModelRequest> {
        self.harness.outputs(Topic::Feed(Kind::Model)).collect()
    }

    /// Answers the newest model request.
    fn answer(&mut self, result: Result<Value, Failure>) {
        let request = self.requests().pop().expect("a request");
        let fact = answer_to(&request.id, request.origin.expect("an origin"), result);
        self.harness.append("run-1", &fact);
    }

    fn told(&self) -> Vec<String> {
        let events = self.harness.events("run-1");
        events
            .iter()
            .map(|event| match &event.step {
                Some(step) => format!("{} {step}", event.event_type.as_str()),
                None => event.event_type.as_str().to_owned(),
            })
            .collect()
    }

    fn last(&self) -> ExecutionEvent {
        self.harness.events("run-1").pop().expect("an event")
    }

    /// The facts that were put out into the log of a kind, with their keys.
    fn facts(&self, kind: Kind) -> Vec<(String, Fact)> {
        let ids = Ids::for_tests();
        let read = |output: &runtime::ports::Outgoing| {
            let key = output.key.as_ref().expect("a key").to_vec();
            let key = String::from_utf8(key).expect("text");
            (key, ids.read_fact(&output.value).expect("a fact"))
        };
        self.harness.sent(Topic::Log(kind)).map(read).collect()
    }
}

fn start(workflow: &str) -> WorkflowStart {
    WorkflowStart { input: r#"{"text":"hi"}"#.into(), ..WorkflowStart::new("run-1", workflow) }
}

fn answer_to(request: &str, origin: Origin, result: Result<Value, Failure>) -> Fact {
    let status = if result.is_ok() { Terminal::Succeeded } else { Terminal::Failed };
    Fact::Answer(Answer {
        request_id: request.into(),
        origin,
        status,
        output: result.as_ref().ok().map(Value::to_string),
        output_media_type: JSON.into(),
        failure: result.err(),
        usage: Some(Usage { input_tokens: 5, output_tokens: 7, ..Usage::default() }),
        cost: Some(Cost { micros: 10, currency: "EUR".into() }),
        output_claim: None,
    })
}

fn overloaded() -> Failure {
    Failure::new(ErrorClass::RateLimited, "overloaded", "try later").retryable()
}

#[test]
fn start_runs_its_steps_and_tells_its_result() {
    let mut world = World::knowing(chain());
    world.start("chain");
    let first = world.requests().pop().expect("a request");
    assert_eq!(first.id, domain::id::derived("run-1", "draft", 1));
    assert_eq!(first.body, r#"{"messages":[{"role":"user","content":"hi"}]}"#);
    let origin = first.origin.clone().expect("an origin");
    assert_eq!((origin.kind, origin.id.as_str()), (OriginKind::Workflow, "run-1"));
    assert_eq!((origin.step.as_str(), origin.attempt), ("draft", 1));
    world.answer(Ok(json!({"text": "hello"})));
    let second = world.requests().pop().expect("a request");
    assert_eq!(second.body, r#"{"messages":[{"role":"user","content":"hello"}]}"#);
    world.answer(Ok(json!({"text": "Hello!"})));
    assert_eq!(
        world.told(),
        [
            "execution.admitted",
            "execution.started",
            "step.started draft",
            "step.succeeded draft",
            "step.started polish",
            "step.succeeded polish",
            "execution.succeeded",
        ]
    );
    let last = world.last();
    assert_eq!(last.data.as_deref(), Some(r#"{"text":"Hello!"}"#));
    assert_eq!(last.usage.map(|usage| usage.input_tokens), Some(10));
    assert_eq!(last.cost, Some(Cost { micros: 20, currency: "EUR".into() }));
    world.harness.pass(2_000);
    let rows: Vec<_> = world.harness.rows().values().cloned().collect();
    assert_eq!(rows.len(), 7);
    assert!(rows.iter().all(|row| row.definition.as_deref() == Some("chain")));
    assert!(rows.iter().all(|row| row.cost_micros.is_none()), "the calls' own rows have it");
    let left: Vec<_> =
        world.harness.state().keys().map(|key| String::from_utf8_lossy(key)).collect();
    assert!(!left.iter().any(|key| key.contains("\u{1f}entry\u{1f}")), "{left:?}");
}

#[test]
fn second_answer_to_one_request_changes_nothing() {
    let mut world = World::knowing(chain());
    world.start("chain");
    world.answer(Ok(json!({"text": "one"})));
    let first = world.requests().remove(0);
    let again = answer_to(&first.id, first.origin.expect("an origin"), Ok(json!({"text": "two"})));
    world.harness.append("run-1", &again);
    assert_eq!(world.requests().len(), 2);
    world.answer(Ok(json!("done")));
    assert_eq!(world.last().data.as_deref(), Some(r#""done""#));
}

#[test]
fn restarted_owner_goes_on_where_the_last_one_was() {
    let mut world = World::knowing(chain());
    world.start("chain");
    world.harness.pass(2_000);
    world.harness.restart();
    world.answer(Ok(json!({"text": "hello"})));
    world.harness.restart();
    world.answer(Ok(json!("done")));
    assert_eq!(world.last().event_type.as_str(), "execution.succeeded");
}

#[test]
fn execution_stays_with_the_version_that_admission_pinned() {
    let mut world = World::knowing(chain());
    world.start("chain");
    let mut other = chain();
    other["spec"]["result"] = json!("changed");
    world.define(1, Some(other));
    world.define(2, None);
    world.answer(Ok(json!({"text": "hello"})));
    world.answer(Ok(json!("done")));
    assert_eq!(world.last().data.as_deref(), Some(r#""done""#));
}

#[test]
fn failed_call_is_tried_again_after_its_wait() {
    let mut workflow = chain();
    workflow["spec"]["nodes"][0]["retry"] = json!({"maxTries": 2, "backoff": {"initial": "1s"}});
    let mut world = World::knowing(workflow);
    world.start("chain");
    world.answer(Err(overloaded()));
    assert_eq!(world.told().last().map(String::as_str), Some("step.retrying draft"));
    world.harness.pass(900);
    assert_eq!(world.requests().len(), 1);
    world.harness.pass(200);
    assert_eq!(world.requests().len(), 2);
    assert_eq!(world.requests()[1].id, domain::id::derived("run-1", "draft", 2));
    world.answer(Err(overloaded()));
    let last = world.last();
    assert_eq!(last.event_type.as_str(), "execution.failed");
    assert_eq!(last.error.expect("an error").code, "overloaded");
}

#[test]
fn cancel_ends_the_execution_and_what_it_asked_for() {
    let mut world = World::knowing(chain());
    world.start("chain");
    world.harness.command("run-1", Order::Cancel { reason: Some("enough".into()) });
    assert_eq!(
        world.told()[3..],
        ["step.cancelled draft".to_owned(), "execution.cancelled".to_owned()]
    );
    assert_eq!(world.last().data.as_deref(), Some(r#"{"reason":"enough"}"#));
    let request = world.requests().remove(0).id;
    let told = world.facts(Kind::Model);
    let [(entity, Fact::Command(Command { tenant, order: Order::Cancel { .. }, .. }))] = &told[..]
    else {
        panic!("{told:?}");
    };
    assert_eq!((entity, tenant.as_str()), (&request, "default"));
}

#[test]
fn pause_starts_nothing_and_is_passed_on() {
    let mut world = World::knowing(chain());
    world.start("chain");
    world.harness.command("run-1", Order::Pause);
    world.answer(Ok(json!({"text": "hello"})));
    world.harness.pass(5_000);
    assert_eq!(world.requests().len(), 1);
    world.harness.restart();
    world.harness.command("run-1", Order::Resume);
    assert_eq!(world.requests().len(), 2);
    let orders: Vec<_> = world.facts(Kind::Model);
    assert!(
        matches!(&orders[..], [(_, Fact::Command(Command { order: Order::Pause, .. }))]),
        "nothing is outstanding when it resumes: {orders:?}"
    );
}

/// Seed 26 of the simulation: their ids are in another order than they came.
#[test]
fn commands_that_come_before_the_start_count_in_the_order_in_which_they_came() {
    let mut world = World::knowing(chain());
    for (id, order) in [("b", Order::Pause), ("a", Order::Resume)] {
        let tenant = "default".to_owned();
        world.harness.append("run-1", &Fact::Command(Command { id: id.into(), tenant, order }));
    }
    world.start("chain");
    assert_eq!(world.requests().len(), 1, "{:?}", world.told());
}

#[test]
fn child_answers_its_parent() {
    let child =
        definition("child", json!([model("only", "x")]), json!([]), "{{ nodes.only.output }}");
    let mut world = World::knowing(child);
    let origin = Origin {
        kind: OriginKind::Workflow,
        id: "parent-1".into(),
        step: "sub".into(),
        attempt: 2,
    };
    world.harness.publish(&WorkflowStart { origin: Some(origin.clone()), ..start("child") });
    world.answer(Ok(json!(1)));
    let to_parent = world.harness.facts().find(|(entity, _)| entity == "parent-1");
    let Some((entity, Fact::Answer(answer))) = &to_parent else { panic!("{to_parent:?}") };
    assert_eq!((entity.as_str(), &answer.origin), ("parent-1", &origin));
    assert_eq!((answer.status, answer.output.as_deref()), (Terminal::Succeeded, Some("1")));
    assert_eq!(world.last().parent_id.as_deref(), Some("parent-1"));
}

#[test]
fn parent_starts_its_child_and_goes_on_with_its_answer() {
    let nodes = json!([{"id": "sub", "kind": "workflow", "name": "child", "alias": "stable",
        "input": {"text": "{{ inputs.text }}"}}]);
    let mut world =
        World::knowing(definition("parent", nodes, json!([]), "{{ nodes.sub.output }}"));
    world.start("parent");
    let mut starts: Vec<WorkflowStart> =
        world.harness.outputs(Topic::Feed(Kind::Workflow)).collect();
    let child = starts.pop().expect("a start");
    assert_eq!((child.workflow.as_str(), child.alias.as_deref()), ("child", Some("stable")));
    assert_eq!(child.input, r#"{"text":"hi"}"#);
    let fact = answer_to(&child.id, child.origin.expect("an origin"), Ok(json!({"n": 1})));
    world.harness.append("run-1", &fact);
    assert_eq!(world.last().data.as_deref(), Some(r#"{"n":1}"#));
}

fn emitting(topic: &str) -> Value {
    let nodes = json!([{"id": "tell", "kind": "emit", "topic": topic, "type": "com.example.note",
        "subject": "{{ inputs.text }}", "key": "k", "data": {"text": "{{ inputs.text }}"},
        "retry": {"maxTries": 2}}]);
    definition("notes", nodes, json!([]), "{{ nodes.tell.output }}")
}

#[tokio::test]
async fn emitted_event_is_a_cloud_event_on_its_topic() {
    let mut world = World::knowing(emitting("notes"));
    world.start("notes");
    world.harness.run_calls().await;
    let records = world.topics.0.lock().expect("nobody panicked").clone();
    let [record] = &records[..] else { panic!("{records:?}") };
    assert_eq!(record.value, r#"{"text":"hi"}"#);
    assert_eq!(record.key.as_deref(), Some(&b"k"[..]));
    let header = |name: &str| {
        let found = record.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| String::from_utf8(value.to_vec()).expect("text"))
    };
    let id = domain::id::derived("run-1", "tell", 1);
    assert_eq!(header("ce_id"), Some(id));
    assert_eq!(header("ce_type").as_deref(), Some("com.example.note"));
    assert_eq!(header("ce_source").as_deref(), Some("/workflows/notes/tell"));
    assert_eq!(header("ce_subject").as_deref(), Some("hi"));
    assert_eq!(header("ce_time").as_deref(), Some("1970-01-01T00:00:01.000Z"));
    let result = world.last().data.expect("a result");
    assert_eq!(result, r#"{"topic":"notes","partition":3,"offset":1}"#);
}

#[tokio::test]
async fn event_without_a_topic_fails_its_step_and_one_of_unknown_fate_is_written_again() {
    let mut world = World::knowing(emitting("refused"));
    world.start("notes");
    world.harness.run_calls().await;
    assert_eq!(world.last().error.expect("an error").code, "event_refused");
    let mut world = World::knowing(emitting("unknown"));
    world.start("notes");
    world.harness.run_calls().await;
    assert_eq!(world.told().last().map(String::as_str), Some("step.retrying tell"));
}

#[test]
fn start_that_can_not_be_run_is_a_dead_letter_with_its_place() {
    let cases: [(WorkflowStart, &str); 8] = [
        (WorkflowStart { id: String::new(), ..start("chain") }, "id is empty"),
        (WorkflowStart { input: "[]".into(), ..start("chain") }, "input is not a JSON object"),
        (WorkflowStart { input: "{".into(), ..start("chain") }, "input is not JSON: see line 1"),
        (WorkflowStart { input: "{}".into(), ..start("chain") }, "input doesn't fit"),
        (
            WorkflowStart { input: r#"{"text":1}"#.into(), ..start("chain") },
            "input/text doesn't fit",
        ),
        (
            WorkflowStart { version: Some(1), alias: Some("a".into()), ..start("chain") },
            "alias has to",
        ),
        (WorkflowStart { version: Some(7), ..start("chain") }, "there is no version 7 of workflow"),
        (
            WorkflowStart { alias: Some("next".into()), ..start("chain") },
            "there is no alias `next`",
        ),
    ];
    for (start, begins) in cases {
        let mut world = World::knowing(chain());
        world.harness.publish(&start);
        world.harness.pass(30_000);
        let letters = world.harness.dead_letters();
        let [letter] = &letters[..] else { panic!("{begins}: {letters:?}") };
        assert!(letter.message.starts_with(begins), "{}", letter.message);
        assert!(!letter.message.contains("\"hi\""), "it quotes no value");
    }
}

#[test]
fn definition_that_nobody_checked_is_refused_with_what_is_wrong() {
    let mut broken = chain();
    broken["spec"]["nodes"][0]["kind"] = json!("mode");
    let mut world = World::knowing(broken);
    world.start("chain");
    let letters = world.harness.dead_letters();
    assert!(letters[0].message.contains("/spec/nodes/0/kind"), "{}", letters[0].message);
}

/// Whoever admitted it had the definition; this process reads the catalogue a little later.
#[test]
fn fold_waits_for_a_definition_that_is_on_its_way() {
    let mut world = World::new();
    let request = Ids::for_tests().frame(&start("chain")).expect("a record of the contract");
    let admitted = Admitted {
        feed_before: 0,
        feed_offset: 0,
        feed_time: Millis(0),
        source: None,
        version: Some(1),
        request,
        trace_parent: None,
        log_content: false,
    };
    world.harness.append("run-1", &Fact::Admitted(admitted));
    world.harness.pass(1_000);
    assert_eq!(world.told(), Vec::<String>::new());
    assert!(world.harness.alarms().is_empty());
    world.harness.pass(60_000);
    let late = |alarm: &Alarm| matches!(alarm, Alarm::DefinitionLate { .. });
    assert_eq!(world.harness.alarms().iter().filter(|alarm| late(alarm)).count(), 1);
    world.define(0, Some(chain()));
    world.harness.pass(100);
    assert_eq!((world.requests().len(), world.told().len()), (1, 3));
}

fn told_of(world: &World, id: &str) -> Vec<&'static str> {
    world.harness.events(id).iter().map(|event| event.event_type.as_str()).collect()
}

#[test]
fn executions_beyond_the_limit_wait_for_a_place_and_go_by_priority() {
    let mut workflow = definition("one", json!([model("only", "x")]), json!([]), "done");
    workflow["spec"]["concurrency"] = json!({"limit": 1, "key": "{{ inputs.text }}"});
    let mut world = World::knowing(workflow);
    let started = |id: &str, text: &str, priority: i32| WorkflowStart {
        id: id.into(),
        input: json!({"text": text}).to_string(),
        priority,
        ..start("one")
    };
    for (id, text, priority) in
        [("a", "x", 0), ("b", "x", 0), ("c", "x", 9), ("d", "y", 0), ("e", "x", 0)]
    {
        world.harness.publish(&started(id, text, priority));
    }
    let begun = |world: &World| -> Vec<String> {
        let asked = world.requests().into_iter();
        asked.filter_map(|request| Some(request.origin?.id)).collect()
    };
    assert_eq!(begun(&world), ["a", "d"], "another key has places of its own");
    assert_eq!(told_of(&world, "a")[..2], ["execution.admitted", "execution.started"]);
    assert_eq!(told_of(&world, "b"), ["execution.admitted", "execution.queued"]);
    for (id, ahead) in [("b", 0), ("c", 0), ("e", 2)] {
        let queued = world.harness.events(id).remove(1).data.expect("where it stands");
        let queued: Value = serde_json::from_str(&queued).expect("JSON");
        assert_eq!(queued, json!({"limit": 1, "key": "x", "running": 1, "ahead": ahead}), "{id}");
    }
    world.harness.command("b", Order::Cancel { reason: None });
    assert_eq!(told_of(&world, "b").last(), Some(&"execution.cancelled"));
    world.harness.pass(2_000);
    world.harness.restart();
    let end = |world: &mut World, id: &str| {
        let mut asked = world.requests().into_iter();
        let request = asked.rfind(|it| it.origin.as_ref().is_some_and(|it| it.id == id));
        let request = request.expect("a request");
        let answer = answer_to(&request.id, request.origin.expect("an origin"), Ok(json!(1)));
        world.harness.append(id, &answer);
    };
    end(&mut world, "a");
    assert_eq!(begun(&world).last().map(String::as_str), Some("c"), "the highest priority");
    end(&mut world, "c");
    assert_eq!(begun(&world).last().map(String::as_str), Some("e"), "b left the line");
    for id in ["e", "d"] {
        end(&mut world, id);
        assert_eq!(told_of(&world, id).last(), Some(&"execution.succeeded"));
    }
    world.harness.pass(2_000);
    let left: Vec<_> =
        world.harness.state().keys().map(|key| String::from_utf8_lossy(key)).collect();
    assert!(!left.iter().any(|key| key.contains("@limit")), "{left:?}");
}

#[test]
fn who_is_paused_before_it_hears_where_it_waits_stays_paused() {
    let mut workflow = definition("one", json!([model("only", "x")]), json!([]), "done");
    workflow["spec"]["concurrency"] = json!({"limit": 1});
    let mut world = World::knowing(workflow);
    for id in ["a", "b"] {
        world.harness.publish(&WorkflowStart { id: id.into(), ..start("one") });
    }
    let queued = world.harness.events("b").remove(1);
    assert_eq!(queued.event_type.as_str(), "execution.queued");
    world.harness.command("b", Order::Pause);
    // As if it had come later.
    let origin =
        Origin { kind: OriginKind::Workflow, id: "b".into(), step: String::new(), attempt: 2 };
    let place = json!({"limit": 1, "running": 1, "ahead": 0});
    world.harness.append("b", &answer_to("late", origin, Ok(place)));
    assert_eq!(
        told_of(&world, "b")[2..],
        ["execution.paused", "execution.queued", "execution.paused"]
    );
}

#[test]
fn child_of_a_workflow_needs_no_place() {
    let mut workflow = definition("one", json!([model("only", "x")]), json!([]), "done");
    workflow["spec"]["concurrency"] = json!({"limit": 1});
    let mut world = World::knowing(workflow);
    world.start("one");
    let origin =
        Origin { kind: OriginKind::Workflow, id: "run-1".into(), step: "s".into(), attempt: 1 };
    let child = WorkflowStart { id: "child".into(), origin: Some(origin), ..start("one") };
    world.harness.publish(&child);
    assert_eq!(world.requests().len(), 2);
}

#[test]
fn inputs_that_are_left_out_have_their_defaults() {
    let mut workflow = chain();
    workflow["spec"]["inputs"]["properties"]["tone"] = json!({"type": "string", "default": "kind"});
    workflow["spec"]["nodes"][0] = model("draft", "{{ inputs.tone }}: {{ inputs.text }}");
    let mut world = World::knowing(workflow);
    world.start("chain");
    assert!(world.requests()[0].body.contains("kind: hi"), "{}", world.requests()[0].body);
    let admitted = world.harness.events("run-1").remove(0).data.expect("what it begins with");
    assert!(admitted.contains(r#""input":{"text":"hi","tone":"kind"}"#), "{admitted}");
}

#[test]
fn execution_times_out_when_its_workflow_or_its_start_says_so() {
    let mut workflow = chain();
    workflow["spec"]["timeout"] = json!("1s");
    for (deadline, not_before, lasts) in
        [(None, None, 1_000), (Some(1_500), None, 500), (Some(9_000), Some(1_500), 1_500)]
    {
        let mut world = World::knowing(workflow.clone());
        let (deadline, not_before) = (deadline.map(Millis), not_before.map(Millis));
        world.harness.publish(&WorkflowStart { deadline, not_before, ..start("chain") });
        world.harness.pass(lasts - 100);
        assert_ne!(world.last().event_type.as_str(), "execution.timed_out", "{lasts}");
        world.harness.pass(200);
        assert_eq!(world.last().event_type.as_str(), "execution.timed_out", "{lasts}");
        assert_eq!(world.last().error.expect("an error").code, "deadline_exceeded");
    }
}

#[test]
fn id_of_our_own_entities_is_nobodys() {
    let mut world = World::knowing(chain());
    world.harness.publish(&WorkflowStart { id: "@limit/default/chain".into(), ..start("chain") });
    assert!(world.harness.dead_letters()[0].message.starts_with("id begins with `@`"));
}
