//! The processor under the runtime's own machine: from a published request to events, answers and rows.

mod content;
mod places;
mod scripted;
mod traces;

use std::sync::Arc;

use domain::answer::{Answer, Cost, ErrorClass, Failure, ModelOutcome, Terminal, Usage};
use domain::claim::ClaimCheck;
use domain::event::{ChunkKind, EventType, ExecutionEvent};
use domain::fact::{Fact, Order};
use domain::log_row::ExecutionLogRecord;
use domain::request::{ModelRequest, Origin, OriginKind};
use domain::time::Millis;
use domain::topic::{Kind, Topic};
use runtime::partition::Options;
use runtime::ports::Outgoing;
use runtime::processor::Processor;
use runtime::testing::{Harness, Started};
use schemas::Ids;

use self::scripted::{Stream, inference};
use crate::Inference;

const BODY: &str = r#"{"messages":[{"role":"user","content":"one two three four five"}]}"#;

fn request() -> ModelRequest {
    ModelRequest::new("call-1", "fast", BODY)
}

fn asked_by(kind: OriginKind) -> ModelRequest {
    let origin = Origin { kind, id: "parent-1".into(), step: "draft".into(), attempt: 2 };
    ModelRequest { origin: Some(origin), ..request() }
}

pub(crate) fn outcome() -> ModelOutcome {
    ModelOutcome {
        body: r#"{"object":"chat.completion"}"#.into(),
        body_media_type: "application/json".into(),
        provider: "scripted".into(),
        deployment: "one".into(),
        model_used: "m-2026".into(),
        finish_reason: Some("stop".into()),
        usage: Some(Usage {
            input_tokens: 5,
            output_tokens: 7,
            cached_tokens: 2,
            reasoning_tokens: 3,
        }),
        cost: Some(Cost { micros: 19, currency: "EUR".into() }),
        tries: 1,
        queued_ms: 4,
        duration_ms: 120,
        time_to_first_token_ms: Some(30),
        http_status: Some(200),
        body_claim: None,
    }
}

fn provider_failure() -> Failure {
    Failure::new(ErrorClass::Provider, "provider_error", "the provider failed")
        .from_source("one")
        .with_http_status(500)
}

/// A partition of the processor, where no test looks at what is streamed.
fn partition() -> Harness<Inference> {
    Harness::new(inference(&Stream::new()))
}

/// The events of `results`, in short words, copies included.
fn told(harness: &Harness<Inference>) -> Vec<&'static str> {
    events(harness).iter().map(|event| event.event_type.as_str()).collect()
}

/// The events of `results`, copies included.
fn events(harness: &Harness<Inference>) -> Vec<ExecutionEvent> {
    assert_calm(harness);
    harness.outputs(Topic::Results).collect()
}

/// The answers in the log of a kind: key and answer.
fn answers(harness: &Harness<Inference>, kind: Kind) -> Vec<(String, Answer)> {
    assert_calm(harness);
    let ids = Ids::for_tests();
    let answer = |output: &Outgoing| {
        let key = output.key.as_ref().expect("a key").to_vec();
        match ids.read_fact(&output.value).expect("a fact") {
            Fact::Answer(answer) => (String::from_utf8(key).expect("text"), answer),
            other => panic!("not an answer: {other:?}"),
        }
    };
    harness.sent(Topic::Log(kind)).map(answer).collect()
}

/// The rows of the execution log, after a checkpoint had time to write them. They stand by id: in the
/// order of the log, as long as it has no more than ten records.
fn checkpointed_rows(harness: &mut Harness<Inference>) -> Vec<ExecutionLogRecord> {
    harness.pass(2_000);
    assert_calm(harness);
    harness.rows().values().cloned().collect()
}

/// How many calls are under way, and how many were stopped. All others were ended by the test itself.
fn running_and_stopped(harness: &Harness<Inference>) -> (usize, usize) {
    (harness.calls().len(), harness.stopped().len())
}

fn end_call(harness: &mut Harness<Inference>, result: Result<ModelOutcome, Failure>) {
    let run = harness.calls().last().expect("a call is under way").run;
    harness.end_call(run, result);
}

/// What comes of the one call that is under way, by a processor made the same way: the harness keeps its
/// own, and passes results to the machine alone.
async fn carry_out(
    harness: &Harness<Inference>,
    stream: &Arc<Stream>,
) -> Result<ModelOutcome, Failure> {
    assert_calm(harness);
    let [Started { running, call, .. }] = harness.calls() else {
        panic!("one call, not {}", harness.calls().len())
    };
    inference(stream).call(call.clone(), running.clone()).await
}

/// Nothing here is a matter for an operator.
fn assert_calm(harness: &Harness<Inference>) {
    assert!(harness.alarms().is_empty(), "{:?}", harness.alarms());
}

#[test]
fn request_is_called_once_and_its_answer_is_told() {
    let mut harness = partition();
    harness.publish(&request());
    assert_eq!(told(&harness), ["execution.admitted", "execution.started"]);
    let [started] = harness.calls() else { panic!("one call, not {}", harness.calls().len()) };
    assert_eq!(started.call.request, request());
    assert_eq!(started.call.version, Some(1), "the version that stands is pinned");
    end_call(&mut harness, Ok(outcome()));
    harness.publish(&request());
    harness.pass(1_000);
    assert_eq!(told(&harness), ["execution.admitted", "execution.started", "execution.succeeded"]);
    assert_eq!(running_and_stopped(&harness), (0, 0), "its one call has ended");
    let events = events(&harness);
    assert_eq!(events.iter().map(|event| event.number).collect::<Vec<_>>(), [1, 2, 3]);
    let last = events.last().expect("three");
    assert_eq!(last.data.as_deref(), Some(r#"{"object":"chat.completion"}"#));
    assert_eq!((last.usage, last.cost.clone()), (outcome().usage, outcome().cost));
    assert_eq!((last.kind, last.parent_id.as_deref()), (Kind::Model, None));
    assert!(answers(&harness, Kind::Workflow).is_empty());
}

#[test]
fn answer_goes_to_the_log_of_whoever_asked() {
    for (kind, log) in [(OriginKind::Workflow, Kind::Workflow), (OriginKind::Agent, Kind::Agent)] {
        let mut harness = partition();
        harness.publish(&asked_by(kind));
        end_call(&mut harness, Ok(outcome()));
        let answers = answers(&harness, log);
        let [(key, answer)] = answers.as_slice() else { panic!("one answer, not {answers:?}") };
        assert_eq!(key, "parent-1");
        assert_eq!(answer.request_id, "call-1");
        assert_eq!(answer.status, Terminal::Succeeded);
        assert_eq!(answer.output.as_deref(), Some(r#"{"object":"chat.completion"}"#));
        assert_eq!((answer.usage, answer.cost.clone()), (outcome().usage, outcome().cost));
        let last = events(&harness).pop().expect("events are told all the same");
        assert_eq!(last.parent_id.as_deref(), Some("parent-1"));
        assert_eq!((last.step.as_deref(), last.attempt), (Some("draft"), Some(2)));
    }
}

#[test]
fn whoever_asked_learns_of_every_other_end_too() {
    let cancel = Order::Cancel { reason: Some("no more budget".into()) };
    let mut harness = partition();
    harness.publish(&asked_by(OriginKind::Workflow));
    harness.command("call-1", cancel);
    let (_, answer) = answers(&harness, Kind::Workflow).pop().expect("an answer");
    assert_eq!((answer.status, answer.output, answer.failure), (Terminal::Cancelled, None, None));

    let mut harness = partition();
    harness.publish(&asked_by(OriginKind::Workflow));
    end_call(&mut harness, Err(provider_failure()));
    let (_, answer) = answers(&harness, Kind::Workflow).pop().expect("an answer");
    assert_eq!((answer.status, answer.failure), (Terminal::Failed, Some(provider_failure())));
}

#[test]
fn cancel_stops_the_call_and_is_told_with_its_reason() {
    let mut harness = partition();
    harness.publish(&request());
    let run = harness.calls()[0].run;
    harness.command("call-1", Order::Cancel { reason: Some("changed my \"mind\"".into()) });
    assert_eq!(harness.stopped(), [run]);
    assert!(harness.calls().is_empty());
    harness.command("call-1", Order::Cancel { reason: None });
    assert_eq!(told(&harness), ["execution.admitted", "execution.started", "execution.cancelled"]);
    let last = events(&harness).pop().expect("three");
    assert_eq!(last.data.as_deref(), Some(r#"{"reason":"changed my \"mind\""}"#));
}

#[test]
fn deadline_stops_the_call_when_it_is_due() {
    let mut harness = partition();
    harness.publish(&ModelRequest { timeout_ms: Some(500), ..request() });
    let run = harness.calls()[0].run;
    harness.pass(450);
    assert_eq!(running_and_stopped(&harness), (1, 0));
    harness.pass(100);
    assert_eq!(harness.stopped(), [run]);
    assert!(harness.calls().is_empty());
    assert_eq!(told(&harness), ["execution.admitted", "execution.started", "execution.timed_out"]);
    let row = checkpointed_rows(&mut harness).pop().expect("rows");
    assert_eq!(row.status.as_deref(), Some("timed_out"));
    assert_eq!(row.error_class.as_deref(), Some("timeout"));
    assert!(row.timer_lateness_ms.is_some_and(|late| (0..100).contains(&late)), "{row:?}");
}

#[test]
fn request_that_comes_after_its_deadline_is_never_called() {
    let mut harness = partition();
    harness.publish(&ModelRequest { deadline: Some(Millis(999)), ..request() });
    assert_eq!(told(&harness), ["execution.admitted", "execution.timed_out"]);
    assert_eq!(running_and_stopped(&harness), (0, 0));
}

#[test]
fn held_call_waits_for_its_time_and_for_its_resume() {
    let mut harness = partition();
    harness.publish(&ModelRequest { not_before: Some(Millis(1_300)), ..request() });
    harness.pass(200);
    assert_eq!(running_and_stopped(&harness), (0, 0));
    harness.command("call-1", Order::Pause);
    harness.pass(500);
    assert_eq!(running_and_stopped(&harness), (0, 0), "paused while its time came");
    harness.command("call-1", Order::Resume);
    assert_eq!(running_and_stopped(&harness), (1, 0));
    let held = ["execution.admitted", "execution.paused", "execution.resumed", "execution.started"];
    assert_eq!(told(&harness), held);

    let mut harness = partition();
    harness.publish(&ModelRequest { not_before: Some(Millis(1_300)), ..request() });
    harness.pass(290);
    assert_eq!(running_and_stopped(&harness), (0, 0));
    harness.pass(50);
    assert_eq!(running_and_stopped(&harness), (1, 0));
}

#[test]
fn wrong_request_is_a_dead_letter_that_names_the_place() {
    let mut harness = partition();
    harness.publish(&ModelRequest { body: r#"{"messages":[]}"#.into(), ..request() });
    harness.pass(100);
    let letters = harness.dead_letters();
    let [letter] = letters.as_slice() else { panic!("one dead letter, not {letters:?}") };
    assert!(letter.message.contains("body.messages is empty"), "{}", letter.message);
    assert_eq!(told(&harness), ["execution.failed"]);
    assert_eq!(running_and_stopped(&harness), (0, 0));
}

#[test]
fn unknown_model_is_refused_after_a_while() {
    let mut harness = partition();
    harness.publish(&ModelRequest { model: "slow".into(), ..request() });
    assert!(told(&harness).is_empty(), "it may have been proposed just now");
    harness.pass(5_000);
    assert_eq!(told(&harness), ["execution.failed"]);
    let failure = events(&harness)[0].error.clone().expect("a failure");
    assert_eq!((failure.class, failure.code.as_str()), (ErrorClass::NotFound, "unknown_model"));
}

#[test]
fn answer_that_is_too_large_fails_the_execution_and_answers_whoever_asked() {
    let options = Options { max_record_bytes: 4_096, ..Options::default() };
    let mut harness = Harness::with(inference(&Stream::new()), options);
    let mut asked = asked_by(OriginKind::Workflow);
    // The outcome fits into a record, and what is put out of it doesn't.
    asked.origin.as_mut().expect("an origin").step = "s".repeat(900);
    harness.publish(&asked);
    let long = format!("{{\"text\":\"{}\"}}", "x".repeat(3_500));
    end_call(&mut harness, Ok(ModelOutcome { body: long, ..outcome() }));
    harness.pass(200);
    assert_eq!(told(&harness), ["execution.admitted", "execution.started", "execution.failed"]);
    let (_, answer) = answers(&harness, Kind::Workflow).pop().expect("an answer");
    assert_eq!(answer.status, Terminal::Failed);
    assert_eq!(answer.failure.map(|failure| failure.class), Some(ErrorClass::TooLarge));
}

#[test]
fn large_answer_is_told_by_its_claim_check() {
    let mut harness = partition();
    harness.publish(&asked_by(OriginKind::Workflow));
    let claim = ClaimCheck {
        hash: format!("sha256:{}", "0a".repeat(32)),
        length: 300_000,
        media_type: "application/json".into(),
    };
    let body_claim = Some(claim.clone());
    end_call(&mut harness, Ok(ModelOutcome { body: String::new(), body_claim, ..outcome() }));
    harness.pass(200);
    let ended = events(&harness).pop().expect("an event");
    assert_eq!((ended.event_type, ended.data), (EventType::Succeeded, None));
    assert_eq!(ended.data_claim.as_ref(), Some(&claim));
    let (_, answer) = answers(&harness, Kind::Workflow).pop().expect("an answer");
    assert_eq!((answer.output, answer.output_claim), (None, Some(claim)));
}

#[test]
fn rows_carry_what_the_worker_measured_and_no_text() {
    let mut harness = partition();
    let mut asked = asked_by(OriginKind::Agent);
    asked.labels.insert("team".into(), "a".into());
    harness.publish(&asked);
    end_call(&mut harness, Ok(outcome()));
    let rows = checkpointed_rows(&mut harness);
    let types: Vec<_> = rows.iter().map(|row| row.event_type.as_str()).collect();
    assert_eq!(types, ["execution.admitted", "execution.started", "execution.succeeded"]);
    for row in &rows {
        assert_eq!(row.parent_execution_id.as_deref(), Some("parent-1"));
        assert_eq!(row.session_id.as_deref(), Some("parent-1"));
        assert_eq!((row.step.as_deref(), row.attempt), (Some("draft"), Some(2)));
        assert_eq!((row.definition.as_deref(), row.definition_version), (Some("fast"), Some(1)));
        assert_eq!(row.operation.as_deref(), Some("chat"));
        assert_eq!(row.labels.get("team").map(String::as_str), Some("a"));
        assert_eq!((&row.input_text, &row.output_text), (&None, &None));
    }
    let last = rows.last().expect("three").clone();
    assert_eq!(last.status.as_deref(), Some("succeeded"));
    assert_eq!(last.provider.as_deref(), Some("scripted"));
    assert_eq!(last.model_requested.as_deref(), Some("fast"));
    assert_eq!(last.model_used.as_deref(), Some("m-2026"));
    assert_eq!(last.deployment.as_deref(), Some("one"));
    assert_eq!(last.finish_reason.as_deref(), Some("stop"));
    assert_eq!((last.input_tokens, last.output_tokens), (Some(5), Some(7)));
    assert_eq!((last.cached_tokens, last.reasoning_tokens), (Some(2), Some(3)));
    assert_eq!((last.cost_micros, last.currency.as_deref()), (Some(19), Some("EUR")));
    assert_eq!((last.queued_ms, last.duration_ms), (Some(4), Some(120)));
    assert_eq!((last.time_to_first_token_ms, last.http_status), (Some(30), Some(200)));
}

#[tokio::test(start_paused = true)]
async fn row_of_a_failed_call_names_the_last_deployment_that_was_asked() {
    let mut harness = partition();
    harness.publish(&saying("please break"));
    harness.run_calls().await;
    let last = checkpointed_rows(&mut harness).pop().expect("rows");
    assert_eq!(last.status.as_deref(), Some("failed"));
    assert_eq!(
        (last.provider.as_deref(), last.deployment.as_deref()),
        (Some("scripted"), Some("one"))
    );
    let error = events(&harness).pop().and_then(|event| event.error).expect("a failure");
    assert_eq!((error.provider.as_deref(), error.source_name.as_str()), (Some("scripted"), "one"));
}

#[test]
fn row_of_a_failed_call_says_why() {
    let mut harness = partition();
    harness.publish(&request());
    harness.pass(70);
    end_call(&mut harness, Err(provider_failure()));
    let last = checkpointed_rows(&mut harness).pop().expect("rows");
    assert_eq!(last.status.as_deref(), Some("failed"));
    assert_eq!(last.error_code.as_deref(), Some("provider_error"));
    assert_eq!(last.error_class.as_deref(), Some("provider"));
    assert_eq!(last.http_status, Some(500));
    assert_eq!(last.duration_ms, Some(70), "state time, for want of a better measure");
    assert_eq!(last.root_execution_id, "call-1");
    assert_eq!((last.provider, last.deployment), (None, None), "nobody was asked");
}

#[tokio::test(start_paused = true)]
async fn streamed_call_sends_its_tokens_and_returns_the_same_text() {
    let stream = Stream::new();
    let mut harness = Harness::new(inference(&stream));
    harness.publish(&ModelRequest { stream: true, ..request() });
    let fence = harness.calls()[0].running.fence;
    let answered = carry_out(&harness, &stream).await.expect("an answer");
    let chunks = stream.chunks();
    assert!(chunks.iter().zip(0..).all(|(chunk, index)| {
        chunk.index == index && chunk.attempt == 1 && chunk.fence == fence
    }));
    assert_eq!(chunks.last().map(|chunk| chunk.kind), Some(ChunkKind::Done));
    let text: String = chunks
        .iter()
        .filter(|chunk| chunk.kind == ChunkKind::Text)
        .map(|chunk| chunk.text.as_str())
        .collect();
    let body: serde_json::Value = serde_json::from_str(&answered.body).expect("JSON");
    assert_eq!(body["choices"][0]["message"]["content"], text);
    assert!(text.contains("one two three four five"), "the scripted model echoes: {text}");
    assert!(answered.cost.is_some(), "the definition has a price");
}

#[tokio::test(start_paused = true)]
async fn call_that_doesn_t_stream_sends_no_chunk() {
    let stream = Stream::new();
    let mut harness = Harness::new(inference(&stream));
    harness.publish(&request());
    let answered = carry_out(&harness, &stream).await;
    assert!(answered.is_ok(), "{answered:?}");
    assert!(stream.chunks().is_empty());
}

fn saying(text: &str) -> ModelRequest {
    let body = format!(r#"{{"messages":[{{"role":"user","content":"{text}"}}]}}"#);
    ModelRequest { body, stream: true, ..request() }
}

#[tokio::test(start_paused = true)]
async fn second_try_has_its_own_chunks_from_the_beginning() {
    let stream = Stream::new();
    let mut harness = Harness::new(inference(&stream));
    harness.publish(&saying("please stumble"));
    let answered = carry_out(&harness, &stream).await.expect("an answer");
    assert_eq!(answered.tries, 2);
    let chunks = stream.chunks();
    let of = |attempt: i32| chunks.iter().filter(move |chunk| chunk.attempt == attempt);
    assert!(of(1).count() > 0, "the first try got as far as a token");
    assert!(of(1).all(|chunk| chunk.kind != ChunkKind::Done));
    assert!(of(2).zip(0..).all(|(chunk, index)| chunk.index == index));
    let text: String = of(2).map(|chunk| chunk.text.as_str()).collect();
    let body: serde_json::Value = serde_json::from_str(&answered.body).expect("JSON");
    assert_eq!(body["choices"][0]["message"]["content"], text);
}

#[tokio::test(start_paused = true)]
async fn call_that_fails_has_no_mark_of_a_complete_stream() {
    let stream = Stream::new();
    let mut harness = Harness::new(inference(&stream));
    harness.publish(&saying("please break"));
    let failure = carry_out(&harness, &stream).await;
    let failure = failure.expect_err("it breaks on every try");
    assert_eq!(failure.class, ErrorClass::Network);
    let chunks = stream.chunks();
    assert!(!chunks.is_empty());
    assert!(chunks.iter().all(|chunk| chunk.kind != ChunkKind::Done));
}
