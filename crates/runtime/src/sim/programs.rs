//! Two chained processors for the simulation: a parent that asks children and joins their answers, and a
//! child that makes an outside call.

use domain::answer::{Answer, Failure, ModelOutcome, Terminal};
use domain::event::EventType;
use domain::fact::Order;
use domain::log_row::ExecutionLogRecord;
use domain::model_call::{ModelCall, WantedModelCall};
use domain::request::{ModelRequest, Origin, OriginKind};
use domain::time::Millis;
use domain::topic::Kind;

use crate::context::{Context, EventBody};
use crate::processor::{Event, Processor, Refusal, StepError, Subject};
use crate::sim::Program;

/// The body of a request that admission refuses.
pub(crate) const INVALID: &str = "invalid";
/// The body of a request whose step fails.
pub(crate) const POISON: &str = "poison";
/// The body of a request whose step panics.
pub(crate) const PANIC: &str = "panic";
/// The body of a request whose answer is larger than a record.
pub(crate) const HUGE: &str = "huge";

/// How long after its admission a parent's timer is due.
pub(crate) const TIMER_MS: i64 = 300;

fn admit(request: &ModelRequest) -> Result<Option<i32>, Refusal> {
    if request.body == INVALID {
        let class = domain::answer::ErrorClass::Invalid;
        return Err(Refusal::Invalid(Failure::new(class, "invalid", "says so itself")));
    }
    Ok(Some(1))
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

fn row<P: Processor>(context: &Context<'_, P>, event_type: &str) -> ExecutionLogRecord {
    ExecutionLogRecord::new(event_type, P::KIND, context.entity(), context.tenant())
}

fn end<P: Processor>(
    context: &mut Context<'_, P>,
    origin: Option<Origin>,
    status: Terminal,
    failure: Option<Failure>,
) -> Result<(), StepError> {
    let event_type = match status {
        Terminal::Succeeded => EventType::Succeeded,
        Terminal::Failed => EventType::Failed,
        Terminal::Cancelled => EventType::Cancelled,
        Terminal::TimedOut => EventType::TimedOut,
    };
    context.event(event_type, EventBody { error: failure.clone(), ..EventBody::default() })?;
    let row = row(context, status.as_str());
    context.log(row);
    if let Some(origin) = origin {
        context.answer(
            Answer {
                request_id: context.entity().to_owned(),
                origin,
                status,
                output: None,
                output_media_type: domain::request::JSON.into(),
                failure,
                usage: None,
                cost: None,
                output_claim: None,
            },
            None,
        )?;
    }
    context.finish();
    Ok(())
}

/// Asks as many children as its request's priority says, and ends when all have answered. The second program
/// asks a child more, and waits for it.
pub(crate) struct Parent(pub(crate) Program);

impl Processor for Parent {
    const KIND: Kind = Kind::Workflow;
    type Request = ModelRequest;
    type Entry = ModelCall;
    type Call = WantedModelCall;
    type Fact = ModelOutcome;

    fn subject(&self, request: &ModelRequest) -> Subject {
        request.into()
    }

    fn admit(&self, request: &ModelRequest) -> Result<Option<i32>, Refusal> {
        admit(request)
    }

    fn step(&self, event: Event<Self>, context: &mut Context<'_, Self>) -> Result<(), StepError> {
        match event {
            Event::Admitted { request, .. } => {
                match request.body.as_str() {
                    POISON => return Err(StepError::Broken("says so itself".into())),
                    PANIC => panic!("says so itself"),
                    _ => {}
                }
                context.event(EventType::Admitted, EventBody::default())?;
                let row = row(context, "admitted");
                context.log(row);
                let more = i32::from(self.0 == Program::Second && request.priority > 0);
                for nth in 1..=request.priority + more {
                    let step = format!("child-{nth}");
                    let id = domain::id::derived(context.entity(), &step, 1);
                    let mut child = ModelRequest::new(&id, "m", "ok");
                    child.tenant.clone_from(&request.tenant);
                    let id_of_parent = context.entity().to_owned();
                    let kind = OriginKind::Workflow;
                    child.origin = Some(Origin { kind, id: id_of_parent, step, attempt: 1 });
                    // Its content depends on all that a step sees: so a copy that differs shows.
                    child.labels.insert("asked_at".into(), context.now().0.to_string());
                    context.request(Kind::Model, &id, &id, None, &child)?;
                    context.put(&format!("child-{nth}"), kept(&child, context.now()));
                }
                context.put("self", kept(&request, context.now()));
                context.set_timer("once", context.now().plus(TIMER_MS));
                if request.priority == 0 {
                    return end(context, request.origin, Terminal::Succeeded, None);
                }
                Ok(())
            }
            Event::Answer(answer) => {
                let row = row(context, "answered").with_step(&answer.request_id);
                context.log(row);
                context.remove(&answer.origin.step);
                let open = (1..=16).any(|nth| context.get(&format!("child-{nth}")).is_some());
                if open {
                    return Ok(());
                }
                let origin = context.get("self").and_then(|own| own.origin.clone());
                end(context, origin, Terminal::Succeeded, None)
            }
            Event::Command(Order::Cancel { .. }) => {
                let origin = context.get("self").and_then(|own| own.origin.clone());
                end(context, origin, Terminal::Cancelled, None)
            }
            Event::Timer { timer } => {
                let mut row = row(context, "timer").with_step(&timer);
                let admitted = context.get("self").map_or(Millis(0), |own| own.admitted);
                row.timer_lateness_ms = Some(context.now().0 - admitted.0 - TIMER_MS);
                context.log(row);
                Ok(())
            }
            Event::Command(_) | Event::Finished { .. } => Ok(()),
        }
    }

    fn fail(&self, failure: &Failure, context: &mut Context<'_, Self>) {
        let origin = context.get("self").and_then(|own| own.origin.clone());
        end(context, origin, Terminal::Failed, Some(failure.clone())).expect("its entity exists");
    }
}

/// Makes one outside call and answers its origin.
pub(crate) struct Child;

impl Processor for Child {
    const KIND: Kind = Kind::Model;
    type Request = ModelRequest;
    type Entry = ModelCall;
    type Call = WantedModelCall;
    type Fact = ModelOutcome;

    fn subject(&self, request: &ModelRequest) -> Subject {
        request.into()
    }

    fn admit(&self, request: &ModelRequest) -> Result<Option<i32>, Refusal> {
        admit(request)
    }

    fn step(&self, event: Event<Self>, context: &mut Context<'_, Self>) -> Result<(), StepError> {
        match event {
            Event::Admitted { request, version, trace_parent, .. } => {
                context.event(EventType::Admitted, EventBody::default())?;
                context.put("call", kept(&request, context.now()));
                context.set_timer("deadline", context.now().plus(20_000));
                context.want("call", WantedModelCall { request, version, trace_parent });
                Ok(())
            }
            Event::Finished { result, .. } => {
                let origin = context.get("call").and_then(|own| own.origin.clone());
                match result {
                    Ok(outcome) if outcome.body == HUGE => {
                        let data = Some("x".repeat(4_096));
                        context
                            .event(EventType::Started, EventBody { data, ..EventBody::default() })
                    }
                    Ok(_) => end(context, origin, Terminal::Succeeded, None),
                    Err(failure) => end(context, origin, Terminal::Failed, Some(failure)),
                }
            }
            Event::Command(Order::Cancel { .. }) => {
                let origin = context.get("call").and_then(|own| own.origin.clone());
                end(context, origin, Terminal::Cancelled, None)
            }
            Event::Timer { .. } => {
                let origin = context.get("call").and_then(|own| own.origin.clone());
                end(context, origin, Terminal::TimedOut, None)
            }
            Event::Command(_) | Event::Answer(_) => Ok(()),
        }
    }

    fn fail(&self, failure: &Failure, context: &mut Context<'_, Self>) {
        let origin = context.get("call").and_then(|own| own.origin.clone());
        end(context, origin, Terminal::Failed, Some(failure.clone())).expect("its entity exists");
    }
}

/// How a call ended, with this body.
pub(crate) fn outcome(body: &str) -> ModelOutcome {
    ModelOutcome {
        body: body.into(),
        body_media_type: domain::request::JSON.into(),
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
    }
}

trait WithStep {
    fn with_step(self, step: &str) -> Self;
}

impl WithStep for ExecutionLogRecord {
    fn with_step(mut self, step: &str) -> Self {
        self.step = Some(step.to_owned());
        self
    }
}
