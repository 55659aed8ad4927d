//! One full value of each record, every optional field set: for golden bytes, benchmarks and the
//! documentation. No two fields of a record have the same value where their types allow it.

use std::collections::BTreeMap;

use domain::answer::{Answer, Cost, ErrorClass, Failure, ModelOutcome, Terminal, Usage};
use domain::catalogue::{DefinitionKind, DefinitionProposed};
use domain::claim::{ClaimCheck, HASH_PREFIX};
use domain::event::{Chunk, ChunkKind, EventType, ExecutionEvent};
use domain::fact::{
    Admitted, DeadLetter, Failed, Finished, Header, Rejected, Skipped, Source, TakenOver,
    TimerFired,
};
use domain::log_row::ExecutionLogRecord;
use domain::model_call::{ModelCall, WantedModelCall};
use domain::request::{
    AgentMessage, FunctionCall, FunctionMode, JSON, ModelRequest, OnBusy, Operation, Origin,
    OriginKind, WorkflowStart,
};
use domain::state::{
    AppliedId, EarlyCommand, Genesis, Position, RecentId, Sender, Sequence, SetTimer, WantedCall,
};
use domain::time::Millis;
use domain::topic::Kind;
use domain::workflow::run::entry::{Entry, Execution};
use domain::workflow::run::{Publication, Published};

use crate::command::{Callback, Cancel, Pause, Resume, Signal};
use crate::ids::{Ids, ReadError};
use crate::record::{Declared, Record, declared};
use crate::wire::{DecodeError, Problem, Reader};

const EXECUTION: &str = "01972f5e-8a00-7000-8000-000000000001";
const TRACE_PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TIME: Millis = Millis(1_750_000_000_000);

/// A sample without its type.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Whose sample it is.
    pub record: &'static Declared,
    /// The datum, without framing.
    pub datum: Vec<u8>,
    /// Decodes a datum of this record and encodes it again.
    pub again: fn(&[u8]) -> Result<Vec<u8>, DecodeError>,
    /// Reads a frame of this record, in whatever schema its id stands for, and encodes it as ours.
    pub read: fn(&Ids, &[u8]) -> Result<Vec<u8>, ReadError>,
}

/// One of each, in the order of [`crate::ALL`].
#[must_use]
pub fn all() -> Vec<Sample> {
    vec![
        sample(&model_request()),
        sample(&execution_event()),
        sample(&chunk()),
        sample(&execution_log_record()),
        sample(&definition_proposed()),
        sample(&dead_letter()),
        sample(&admitted()),
        sample(&rejected()),
        sample(&Finished { call: "call".into(), attempt: 2, fence: 3, fact: vec![0, 0, 0, 0, 20] }),
        sample(&Failed { call: "call".into(), attempt: 2, fence: 3, failure: failure() }),
        sample(&TimerFired { timer: "retry".into(), due: TIME }),
        sample(&TakenOver { owner: "worker-1".into(), program: "a1b2c3".into() }),
        sample(&Skipped { offset: 41, fence: 3, reason: "the fold panicked".into() }),
        sample(&answer()),
        sample(&Cancel { id: "c-1".into(), tenant: "acme".into(), reason: Some("why".into()) }),
        sample(&Pause { id: "c-2".into(), tenant: "acme".into() }),
        sample(&Resume { id: "c-3".into(), tenant: "acme".into() }),
        sample(&Signal {
            id: "c-4".into(),
            tenant: "acme".into(),
            name: "approved".into(),
            payload: Some("true".into()),
        }),
        sample(&Callback {
            id: "c-5".into(),
            tenant: "acme".into(),
            token: "t-1".into(),
            payload: Some("{}".into()),
        }),
        sample(&model_outcome()),
        sample(&model_call()),
        sample(&WantedModelCall {
            request: model_request(),
            version: Some(4),
            trace_parent: Some(TRACE_PARENT.into()),
        }),
        sample(&position()),
        sample(&Genesis { topic: "model-state".into(), partition: 3, created: TIME }),
        sample(&WantedCall { request: vec![0, 0, 0, 0, 22], since: TIME }),
        sample(&SetTimer { due: TIME }),
        sample(&Sequence { generation: 1, number: 5, tenant: "acme".into() }),
        sample(&AppliedId {
            receiving: "model-events".into(),
            topic: "workflow-events".into(),
            partition: 3,
            offset: 41,
        }),
        sample(&RecentId { since: TIME, tenant: Some("acme".into()) }),
        sample(&EarlyCommand { command: vec![0, 0, 0, 0, 15], since: TIME }),
        sample(&workflow_start()),
        sample(&function_call()),
        sample(&agent_message()),
        sample(&Entry::Execution(Box::new(workflow_execution()))),
        sample(&publication()),
        sample(&Published { topic: "notes".into(), partition: 3, offset: 41 }),
    ]
}

fn sample<R: Record>(record: &R) -> Sample {
    let mut datum = Vec::new();
    record.encode(&mut datum);
    Sample {
        record: declared(R::NAME).expect("every Record is in ALL, which a test checks"),
        datum,
        again: again::<R>,
        read: read::<R>,
    }
}

fn again<R: Record>(datum: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut input = Reader::new(datum);
    let record = R::decode(&mut input)?;
    let left = input.remaining();
    if left > 0 {
        return Err(Problem::Length { length: 0, remaining: left }.into());
    }
    let mut out = Vec::with_capacity(datum.len());
    record.encode(&mut out);
    Ok(out)
}

fn read<R: Record>(ids: &Ids, frame: &[u8]) -> Result<Vec<u8>, ReadError> {
    let mut out = Vec::new();
    ids.read::<R>(frame)?.encode(&mut out);
    Ok(out)
}

/// An asker.
#[must_use]
pub fn origin() -> Origin {
    Origin { kind: OriginKind::Workflow, id: "w-1".into(), step: "summarise".into(), attempt: 2 }
}

/// A failure.
#[must_use]
pub fn failure() -> Failure {
    Failure::new(ErrorClass::RateLimited, "provider_rate_limited", "the provider limits the rate")
        .retryable()
        .asked_last("openai-eu", "openai")
        .with_http_status(429)
}

/// Where an output came from.
#[must_use]
pub fn source() -> Source {
    Source {
        id: "w-1/summarise/2/request".into(),
        topic: "workflow-events".into(),
        partition: 3,
        offset: 41,
        stable: 40,
    }
}

fn claim() -> ClaimCheck {
    let hash = format!("{HASH_PREFIX}{}", "0a".repeat(32));
    ClaimCheck { hash, length: 262_145, media_type: JSON.into() }
}

/// A model request.
#[must_use]
pub fn model_request() -> ModelRequest {
    ModelRequest {
        tenant: "acme".into(),
        origin: Some(origin()),
        idempotency_key: Some("order-17".into()),
        priority: 5,
        deadline: Some(TIME.plus(60_000)),
        not_before: Some(TIME),
        labels: labels(),
        operation: Operation::Embeddings,
        body_media_type: JSON.into(),
        stream: true,
        timeout_ms: Some(30_000),
        body_claim: Some(claim()),
        ..ModelRequest::new(EXECUTION, "fast", r#"{"input":"grüße"}"#)
    }
}

/// An event of an execution.
#[must_use]
pub fn execution_event() -> ExecutionEvent {
    ExecutionEvent {
        execution_id: EXECUTION.into(),
        kind: Kind::Model,
        tenant: "acme".into(),
        parent_id: Some("w-1".into()),
        generation: 1,
        number: 3,
        event_type: EventType::Failed,
        time: TIME,
        step: Some("summarise".into()),
        attempt: Some(2),
        data: Some(r#"{"a":1}"#.into()),
        error: Some(failure()),
        usage: Some(usage()),
        cost: Some(cost()),
        data_claim: Some(claim()),
    }
}

/// A piece of a stream.
#[must_use]
pub fn chunk() -> Chunk {
    Chunk {
        execution_id: EXECUTION.into(),
        tenant: "acme".into(),
        fence: 1_000,
        attempt: 2,
        index: 7,
        kind: ChunkKind::ToolCalls,
        choice: 1,
        text: r#"[{"index":0}]"#.into(),
    }
}

/// A row of the execution log.
#[must_use]
pub fn execution_log_record() -> ExecutionLogRecord {
    let text = |text: &str| Some(text.to_owned());
    ExecutionLogRecord {
        event_id: "e-1".into(),
        cause_id: "e-0".into(),
        event_time: TIME,
        root_execution_id: "w-0".into(),
        parent_execution_id: text("w-1"),
        definition: text("fast"),
        definition_version: Some(4),
        session_id: text("s-1"),
        step: text("summarise"),
        attempt: Some(2),
        status: text("succeeded"),
        error_code: text("provider_rate_limited"),
        error_class: text("rate_limited"),
        queued_ms: Some(11),
        duration_ms: Some(12),
        time_to_first_token_ms: Some(13),
        provider: text("openai"),
        model_requested: text("alias"),
        model_used: text("gpt-x"),
        deployment: text("openai-eu"),
        operation: text("chat"),
        finish_reason: text("stop"),
        input_tokens: Some(21),
        output_tokens: Some(22),
        cached_tokens: Some(23),
        reasoning_tokens: Some(24),
        cost_micros: Some(125),
        currency: text("EUR"),
        function: text("lookup"),
        http_status: Some(200),
        timer_lateness_ms: Some(14),
        trace_id: text("4bf92f3577b34da6a3ce929d0e0e4736"),
        span_id: text("00f067aa0ba902b7"),
        source_topic: text("model-events"),
        source_partition: Some(3),
        source_offset: Some(41),
        labels: labels(),
        input_text: text("question"),
        output_text: text("answer"),
        ..ExecutionLogRecord::new("execution.succeeded", Kind::Model, EXECUTION, "acme")
    }
}

/// A proposal.
#[must_use]
pub fn definition_proposed() -> DefinitionProposed {
    DefinitionProposed {
        id: "p-1".into(),
        kind: DefinitionKind::Agent,
        tenant: "acme".into(),
        name: "helper".into(),
        expects: 4,
        body: Some("{}".into()),
        proposed_by: "ann".into(),
        time: TIME,
    }
}

/// A dead letter.
#[must_use]
pub fn dead_letter() -> DeadLetter {
    DeadLetter {
        id: "model-requests/3/41".into(),
        topic: "model-requests".into(),
        partition: 3,
        offset: 41,
        time: TIME,
        code: "unknown_schema".into(),
        message: "schema 9 isn't known".into(),
        tenant: Some("acme".into()),
        key: Some(b"key".to_vec()),
        value: vec![0, 0, 0, 0, 9, 255],
        headers: vec![
            Header { name: "ce_id".into(), value: b"1".to_vec() },
            Header { name: "ce_id".into(), value: vec![255] },
        ],
    }
}

/// An admission.
#[must_use]
pub fn admitted() -> Admitted {
    Admitted {
        feed_before: 40,
        feed_offset: 41,
        feed_time: TIME,
        source: Some(source()),
        version: Some(4),
        request: vec![0, 0, 0, 0, 1],
        trace_parent: Some(TRACE_PARENT.into()),
        log_content: true,
    }
}

/// A rejection.
#[must_use]
pub fn rejected() -> Rejected {
    Rejected {
        feed_before: 40,
        feed_offset: 41,
        request_id: Some(EXECUTION.into()),
        tenant: Some("acme".into()),
        origin: Some(origin()),
        source: Some(source()),
        failure: failure(),
    }
}

/// An answer.
#[must_use]
pub fn answer() -> Answer {
    Answer {
        request_id: EXECUTION.into(),
        origin: origin(),
        status: Terminal::TimedOut,
        output: Some("{}".into()),
        output_media_type: JSON.into(),
        failure: Some(failure()),
        usage: Some(usage()),
        cost: Some(cost()),
        output_claim: Some(claim()),
    }
}

/// How a model call ended well.
#[must_use]
pub fn model_outcome() -> ModelOutcome {
    ModelOutcome {
        body: r#"{"choices":[]}"#.into(),
        body_media_type: JSON.into(),
        provider: "openai".into(),
        deployment: "openai-eu".into(),
        model_used: "gpt-x".into(),
        finish_reason: Some("stop".into()),
        usage: Some(usage()),
        cost: Some(cost()),
        tries: 2,
        queued_ms: 11,
        duration_ms: 12,
        time_to_first_token_ms: Some(13),
        http_status: Some(200),
        body_claim: Some(claim()),
    }
}

/// A model call in state.
#[must_use]
pub fn model_call() -> ModelCall {
    ModelCall {
        tenant: "acme".into(),
        origin: Some(origin()),
        model: "fast".into(),
        version: Some(4),
        operation: Operation::Rerank,
        labels: labels(),
        admitted: TIME,
        deadline: Some(TIME.plus(60_000)),
        trace_parent: Some(TRACE_PARENT.into()),
        started: Some(TIME.plus(5)),
        paused: true,
        held: Some(model_request()),
        log_content: true,
    }
}

/// A checkpoint's position.
#[must_use]
pub fn position() -> Position {
    let sender = |partition| Sender {
        receiving: "model-requests".into(),
        topic: "workflow-events".into(),
        partition,
        stable: 40,
    };
    Position {
        log_offset: 41,
        feed_offset: 17,
        state_time: TIME,
        generation: 1,
        program: "a1b2c3".into(),
        entries: 9,
        senders: vec![sender(0), sender(1)],
    }
}

/// One label: of several, the order on the wire is free, and golden bytes need one order.
fn labels() -> BTreeMap<String, String> {
    BTreeMap::from([("team".into(), "search".into())])
}

fn usage() -> Usage {
    Usage { input_tokens: 21, output_tokens: 22, cached_tokens: 23, reasoning_tokens: 24 }
}

fn cost() -> Cost {
    Cost { micros: 125, currency: "EUR".into() }
}

/// A full start of a workflow.
#[must_use]
pub fn workflow_start() -> WorkflowStart {
    WorkflowStart {
        tenant: "acme".into(),
        origin: Some(origin()),
        idempotency_key: Some("key-1".into()),
        priority: 5,
        deadline: Some(TIME.plus(60_000)),
        not_before: Some(TIME.plus(1_000)),
        labels: BTreeMap::from([("team".into(), "search".into())]),
        version: Some(4),
        alias: Some("stable".into()),
        input: r#"{"text":"hi"}"#.into(),
        search_attributes: BTreeMap::from([("customer".into(), "c-7".into())]),
        retry_of: Some("run-1".into()),
        reuse: BTreeMap::from([("draft".into(), r#"{"text":"hello"}"#.into())]),
        schedule: Some("nightly".into()),
        scheduled_for: Some(TIME.plus(2_000)),
        ..WorkflowStart::new(EXECUTION, "summarise")
    }
}

fn function_call() -> FunctionCall {
    FunctionCall {
        tenant: "acme".into(),
        origin: Some(origin()),
        idempotency_key: Some("key-1".into()),
        priority: 5,
        deadline: Some(TIME.plus(60_000)),
        not_before: Some(TIME.plus(1_000)),
        labels: BTreeMap::from([("team".into(), "search".into())]),
        version: Some(4),
        arguments: r#"{"city":"Berlin"}"#.into(),
        mode: FunctionMode::Callback,
        ..FunctionCall::new(EXECUTION, "weather")
    }
}

fn agent_message() -> AgentMessage {
    AgentMessage {
        tenant: "acme".into(),
        origin: Some(origin()),
        idempotency_key: Some("key-1".into()),
        priority: 5,
        deadline: Some(TIME.plus(60_000)),
        not_before: Some(TIME.plus(1_000)),
        labels: BTreeMap::from([("team".into(), "search".into())]),
        session: "session-1".into(),
        content: "hi".into(),
        on_busy: OnBusy::Enqueue,
        stream: true,
        ..AgentMessage::new(EXECUTION, "helper")
    }
}

fn workflow_execution() -> Execution {
    Execution {
        tenant: "acme".into(),
        origin: Some(origin()),
        workflow: "summarise".into(),
        version: 4,
        labels: BTreeMap::from([("team".into(), "search".into())]),
        search_attributes: BTreeMap::from([("customer".into(), "c-7".into())]),
        priority: 5,
        admitted: TIME,
        deadline: Some(TIME.plus(60_000)),
        trace_parent: Some(TRACE_PARENT.into()),
        log_content: true,
    }
}

fn publication() -> Publication {
    Publication {
        id: EXECUTION.into(),
        tenant: "acme".into(),
        topic: "notes".into(),
        key: Some("c-7".into()),
        event_type: "com.example.note".into(),
        source: "/workflows/summarise/tell".into(),
        subject: Some("c-7".into()),
        time: TIME,
        data: r#"{"text":"hi"}"#.into(),
        trace_parent: Some(TRACE_PARENT.into()),
    }
}
