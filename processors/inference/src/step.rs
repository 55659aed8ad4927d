//! From a fact to the machine of [`domain::model_call`], and from its decisions to what the runtime is to
//! do. Decides nothing of its own.

use domain::answer::{Answer, Failure, Terminal};
use domain::event::EventType;
use domain::fact::Order;
use domain::log_row::ExecutionLogRecord;
use domain::model_call::{self, Effect, Ending, Fate, ModelCall, Step, Timer};
use domain::request::JSON;
use domain::time::Millis;
use domain::trace::TraceContext;
use runtime::context::{Context, EventBody};
use runtime::processor::{Event, StepError};
use serde_json::json;

use crate::Inference;
use crate::spans::{publication_of, run_of};
use crate::{content, row};

/// The name of the one entry of an execution.
pub(crate) const ENTRY: &str = "call";
/// The key of its one outside call.
pub(crate) const CALL: &str = "call";

/// Folds one fact.
pub(crate) fn step(
    event: Event<Inference>,
    context: &mut Context<'_, Inference>,
) -> Result<(), StepError> {
    let now = context.now();
    let known = context.get(ENTRY).cloned();
    match (event, known) {
        (Event::Admitted { request, version, trace_parent, log_content }, None) => {
            let input_text = log_content.then(|| content::input(&request)).flatten();
            let mut step = ModelCall::admit(request, version, trace_parent, now);
            step.call.log_content = log_content;
            carry_out(step, Known { input_text, ..Known::default() }, context)
        }
        // The id is taken: by a call that still runs.
        (Event::Admitted { .. }, Some(_)) => Ok(()),
        (event, Some(call)) => {
            let run = match &event {
                Event::Finished { call: key, fence, .. } => {
                    row::admission(&call).map(|admission| run_of(admission, key, *fence))
                }
                _ => None,
            };
            let Some(event) = happened(event) else {
                return Ok(());
            };
            let timer_lateness_ms = lateness(&event, &call, now);
            let known = Known { timer_lateness_ms, run, ..Known::default() };
            carry_out(call.step(event, now), known, context)
        }
        // It has ended.
        (_, None) => Ok(()),
    }
}

/// Ends the execution because a record of it can't be folded.
pub(crate) fn fail(failure: &Failure, context: &mut Context<'_, Inference>) {
    let now = context.now();
    let told = match context.get(ENTRY).cloned() {
        Some(call) => {
            let step = call.step(model_call::Event::Broken(failure.clone()), now);
            carry_out(step, Known::default(), context)
        }
        // It was its very admission that failed, so all that is known of it is its name.
        None => {
            let body = EventBody { error: Some(failure.clone()), ..EventBody::default() };
            context.log(row::nameless(context.entity(), context.tenant(), failure));
            context.event(EventType::Failed, body)
        }
    };
    // Without registered schemas nobody can be told anything, and the execution ends all the same.
    drop(told);
    context.finish();
}

/// What a fact means to a model call; `None`: nothing.
fn happened(event: Event<Inference>) -> Option<model_call::Event> {
    match event {
        Event::Finished { call, result, .. } if call == CALL => {
            Some(model_call::Event::Finished(result.map(Box::new)))
        }
        Event::Timer { timer } => Timer::of_key(&timer).map(model_call::Event::Due),
        Event::Command(Order::Cancel { reason }) => Some(model_call::Event::Cancel { reason }),
        Event::Command(Order::Pause) => Some(model_call::Event::Pause),
        Event::Command(Order::Resume) => Some(model_call::Event::Resume),
        // A model call asks nobody, waits for no signal and takes no callback.
        Event::Command(Order::Signal { .. } | Order::Callback { .. })
        | Event::Answer(_)
        | Event::Finished { .. }
        | Event::Admitted { .. } => None,
    }
}

/// How much later than due a timer is folded, in milliseconds.
fn lateness(event: &model_call::Event, call: &ModelCall, now: Millis) -> Option<i64> {
    let due = match event {
        model_call::Event::Due(Timer::Deadline) => call.deadline,
        model_call::Event::Due(Timer::Start) => call.held.as_ref()?.not_before,
        _ => None,
    };
    due.map(|due| now.since(due))
}

/// What is known of an event beyond what the machine needs.
#[derive(Default)]
struct Known {
    /// How much later than due its timer is folded.
    timer_lateness_ms: Option<i64>,
    /// The span of the run of the call that ended.
    run: Option<TraceContext>,
    /// The prompt, where it may stand in the row of the admission.
    input_text: Option<String>,
}

/// Carries out what the machine decided, in its order.
fn carry_out(
    step: Step,
    known: Known,
    context: &mut Context<'_, Inference>,
) -> Result<(), StepError> {
    let Step { call, effects, fate } = step;
    let Known { timer_lateness_ms, run, mut input_text } = known;
    let execution = context.entity().to_owned();
    for effect in effects {
        match effect {
            Effect::Announce(event_type) => {
                context.event(event_type, body(&call))?;
                let row = row::progress(&call, &execution, event_type);
                // The first of an admission's events is that of the admission.
                let input_text = input_text.take();
                context.log(ExecutionLogRecord { timer_lateness_ms, input_text, ..row });
            }
            Effect::Want(wanted) => context.want(CALL, *wanted),
            Effect::SetTimer { timer, due } => context.set_timer(timer.key(), due),
            Effect::ClearTimer(timer) => context.clear_timer(timer.key()),
        }
    }
    match fate {
        Fate::Ignored => {}
        Fate::Kept => context.put(ENTRY, call),
        Fate::Ended(ending) => {
            let row = row::ended(&call, &execution, &ending, run, context.now());
            context.log(ExecutionLogRecord { timer_lateness_ms, ..row });
            tell(call, ending, run, context)?;
            context.finish();
        }
    }
    Ok(())
}

/// Tells those who follow the execution, and whoever asked, how it ended.
fn tell(
    call: ModelCall,
    ending: Ending,
    run: Option<TraceContext>,
    context: &mut Context<'_, Inference>,
) -> Result<(), StepError> {
    let (status, event_type) = (ending.terminal(), ending.event_type());
    let mut body = body(&call);
    // Whoever reads how it ended goes on below the span of its publication; that is below the run of the
    // call that ended it, where one did.
    let admission = row::admission(&call);
    let cause = run.or(admission);
    body.below = cause.map(|cause| cause.span);
    let answer_parent = cause.map(|cause| cause.to_string());
    body.trace_parent = admission.map(|admission| publication_of(admission).to_string());
    body.error = ending.failure().cloned();
    let mut media_type = JSON.to_owned();
    match ending {
        Ending::Succeeded(outcome) => {
            body.data = outcome.body_claim.is_none().then_some(outcome.body);
            body.data_claim = outcome.body_claim;
            body.usage = outcome.usage;
            body.cost = outcome.cost;
            media_type = outcome.body_media_type;
        }
        Ending::Cancelled { reason } => {
            body.data = reason.map(|reason| json!({ "reason": reason }).to_string());
        }
        Ending::Failed(_) | Ending::TimedOut(_) => {}
    }
    if let Some(origin) = row::asker(&call).cloned() {
        context.answer(
            Answer {
                request_id: context.entity().to_owned(),
                origin,
                status,
                output: body.data.clone().filter(|_| status == Terminal::Succeeded),
                output_media_type: media_type,
                failure: body.error.clone(),
                usage: body.usage,
                cost: body.cost.clone(),
                output_claim: body.data_claim.clone(),
            },
            answer_parent,
        )?;
    }
    context.event(event_type, body)
}

/// What every event of a call says: who asked for it.
fn body(call: &ModelCall) -> EventBody {
    let asker = row::asker(call);
    EventBody {
        parent_id: asker.map(|origin| origin.id.clone()),
        step: asker.map(|origin| origin.step.clone()),
        attempt: asker.map(|origin| origin.attempt),
        trace_parent: call.trace_parent.clone(),
        ..EventBody::default()
    }
}
