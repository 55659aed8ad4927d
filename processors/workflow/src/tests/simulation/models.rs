//! The stand-in for the processor of model calls: real records, one outside call each, and chance for a
//! provider.

use domain::answer::{Answer, ErrorClass, Failure, ModelOutcome, Terminal};
use domain::event::EventType;
use domain::fact::Order;
use domain::log_row::ExecutionLogRecord;
use domain::model_call::{ModelCall, WantedModelCall};
use domain::request::{JSON, ModelRequest};
use domain::time::Millis;
use domain::topic::Kind;
use runtime::context::{Context, EventBody};
use runtime::processor::{Event, Processor, Refusal, Running, StepError, Subject};
use runtime::sim::Rng;
use serde_json::json;

/// In a prompt: admission refuses the call.
pub(super) const INVALID: &str = "invalid";
/// In a prompt: the step fails.
pub(super) const POISON: &str = "poison";

/// How long a call may take.
const DEADLINE_MS: i64 = 20_000;
/// A few answers of this length are more than a record holds.
const LONG: usize = 1_500;
/// One of them is.
const HUGE: usize = 6_000;

/// Asks a provider once, and answers whoever asked.
pub(super) struct Models;

impl Processor for Models {
    const KIND: Kind = Kind::Model;
    type Request = ModelRequest;
    type Entry = ModelCall;
    type Call = WantedModelCall;
    type Fact = ModelOutcome;

    fn subject(&self, request: &ModelRequest) -> Subject {
        request.into()
    }

    fn admit(&self, request: &ModelRequest) -> Result<Option<i32>, Refusal> {
        if request.body.contains(INVALID) {
            let failure = Failure::new(ErrorClass::Invalid, "invalid", "says so itself");
            return Err(Refusal::Invalid(failure));
        }
        Ok(Some(1))
    }

    fn step(&self, event: Event<Self>, context: &mut Context<'_, Self>) -> Result<(), StepError> {
        match event {
            Event::Admitted { request, version, trace_parent, .. } => {
                if request.body.contains(POISON) {
                    return Err(StepError::Broken("says so itself".into()));
                }
                context.event(EventType::Admitted, EventBody::default())?;
                context.put("call", kept(&request, context.now()));
                context.set_timer("deadline", context.now().plus(DEADLINE_MS));
                context.want("call", WantedModelCall { request, version, trace_parent });
                Ok(())
            }
            Event::Finished { result, .. } => end(context, result.map_err(Some)),
            Event::Command(Order::Cancel { .. }) => end(context, Err(None)),
            Event::Timer { .. } => {
                let failure = Failure::new(ErrorClass::Timeout, "deadline_exceeded", "too late");
                end(context, Err(Some(failure)))
            }
            Event::Command(_) | Event::Answer(_) => Ok(()),
        }
    }

    fn fail(&self, failure: &Failure, context: &mut Context<'_, Self>) {
        end(context, Err(Some(failure.clone()))).expect("its entity exists");
    }
}

fn kept(request: &ModelRequest, now: Millis) -> ModelCall {
    ModelCall {
        tenant: request.tenant.clone(),
        origin: request.origin.clone(),
        model: request.model.clone(),
        version: Some(1),
        operation: request.operation,
        labels: request.labels.clone(),
        admitted: now,
        deadline: None,
        trace_parent: None,
        started: None,
        paused: false,
        held: None,
        log_content: false,
    }
}

/// Ends a call: with an outcome, a failure, or neither, when it was cancelled.
fn end(
    context: &mut Context<'_, Models>,
    result: Result<ModelOutcome, Option<Failure>>,
) -> Result<(), StepError> {
    let (output, failure) = match result {
        Ok(outcome) => (Some(outcome.body), None),
        Err(failure) => (None, failure),
    };
    let (event, status) = match (&output, &failure) {
        (Some(_), _) => (EventType::Succeeded, Terminal::Succeeded),
        (None, Some(_)) => (EventType::Failed, Terminal::Failed),
        (None, None) => (EventType::Cancelled, Terminal::Cancelled),
    };
    context.event(event, EventBody { error: failure.clone(), ..EventBody::default() })?;
    let (entity, tenant) = (context.entity().to_owned(), context.tenant().to_owned());
    context.log(ExecutionLogRecord::new(event.as_str(), Kind::Model, &entity, &tenant));
    let origin = context.get("call").and_then(|call| call.origin.clone());
    if let Some(origin) = origin {
        let answer = Answer {
            request_id: entity,
            origin,
            status,
            output,
            output_media_type: JSON.into(),
            failure,
            usage: None,
            cost: None,
            output_claim: None,
        };
        context.answer(answer, None)?;
    }
    context.finish();
    Ok(())
}

/// What the provider says, by chance.
pub(super) fn provider(
    _: &Running,
    _: &WantedModelCall,
    rng: &mut Rng,
) -> Result<ModelOutcome, Failure> {
    let length = match rng.below(24) {
        0 => return Err(Failure::new(ErrorClass::Provider, "provider", "bad luck").retryable()),
        1 => {
            let failure = Failure::new(ErrorClass::RateLimited, "rate_limited", "not now");
            return Err(failure.retryable());
        }
        2 => return Err(Failure::new(ErrorClass::Invalid, "refused", "never")),
        3 => HUGE,
        4 | 5 => LONG,
        _ => 3,
    };
    let body = json!({"n": rng.below(4), "text": "x".repeat(length)}).to_string();
    Ok(ModelOutcome {
        body,
        body_media_type: JSON.into(),
        provider: "simulated".into(),
        deployment: "d".into(),
        model_used: "m".into(),
        finish_reason: None,
        usage: None,
        cost: None,
        tries: 1,
        queued_ms: 0,
        duration_ms: 0,
        time_to_first_token_ms: None,
        http_status: None,
        body_claim: None,
    })
}
