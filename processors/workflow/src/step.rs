//! From a fact to the machine of [`domain::workflow::run`], and from its decisions to what the runtime is to
//! do. Decides nothing of its own.

use std::sync::Arc;

use domain::answer::{Answer, ErrorClass, Failure, Terminal};
use domain::event::EventType;
use domain::request::{JSON, WorkflowStart};
use domain::schedule::{life, stored};
use domain::time::Millis;
use domain::topic::Kind;
use domain::workflow::run::document::Document;
use domain::workflow::run::entry::{Entry, Execution, name};
use domain::workflow::run::program::Program;
use domain::workflow::run::{self, Admission, Announcement, Damaged, Effect, Ending, Request};
use runtime::context::{Context, EventBody};
use runtime::processor::{Event, StepError};
use serde_json::{Value, json};

use crate::memory::Entries;
use crate::{Programs, Workflows, row, schedules};

/// Folds one fact.
pub(crate) fn step(
    programs: &Programs,
    event: Event<Workflows>,
    context: &mut Context<'_, Workflows>,
) -> Result<(), StepError> {
    if life::is_schedule(context.entity()) {
        return schedules::step(event, context);
    }
    let known = execution(context);
    let (happened, execution) = match (event, known) {
        (Event::Admitted { request, version, trace_parent, log_content }, None) => {
            let version = version.unwrap_or_default();
            let execution = begun(&request, version, trace_parent, log_content, context.now());
            let inputs = inputs(programs, &execution, request.input, request.scheduled_for)?;
            let not_before = request.not_before;
            let admission = Admission { execution: execution.clone(), inputs, not_before };
            (run::Event::Admitted(Box::new(admission)), execution)
        }
        // Somebody else's start under the same id: the first one stands.
        (Event::Admitted { .. }, Some(_)) | (_, None) => return Ok(()),
        (event, Some(execution)) => match happened(event) {
            Some(happened) => (happened, execution),
            None => return Ok(()),
        },
    };
    fold(&*pinned(programs, &execution)?, &execution, happened, context)
}

fn pinned(programs: &Programs, execution: &Execution) -> Result<Arc<Program>, StepError> {
    let Execution { tenant, workflow, version, .. } = execution;
    programs
        .pinned(tenant, workflow, *version)
        .ok_or_else(|| StepError::NotYet(format!("version {version} of workflow `{workflow}`")))?
        .map_err(StepError::Broken)
}

/// The inputs of an admitted start. What a schedule adds follows from the start and the pinned version.
fn inputs(
    programs: &Programs,
    execution: &Execution,
    text: String,
    scheduled_for: Option<Millis>,
) -> Result<Document, StepError> {
    let broken = |place: String| {
        StepError::Broken(format!("the inputs of an admitted start aren't JSON: {place}"))
    };
    if scheduled_for.is_none() {
        return Document::parse(text).map_err(broken);
    }
    let program = pinned(programs, execution)?;
    let value = serde_json::from_str(&text).map_err(|error| broken(error.to_string()))?;
    Ok(Document::from(&stored::input(&program, value, scheduled_for)))
}

/// Ends an execution that can't be folded any further.
pub(crate) fn fail(programs: &Programs, failure: &Failure, context: &mut Context<'_, Workflows>) {
    if life::is_schedule(context.entity()) {
        return schedules::fail(failure, context);
    }
    let told = execution(context).map(|execution| {
        let pinned = programs.pinned(&execution.tenant, &execution.workflow, execution.version);
        match pinned {
            Some(Ok(program)) => {
                fold(&program, &execution, run::Event::Broken(failure.clone()), context)
            }
            _ => end(&execution, broken(failure), context),
        }
    });
    if !matches!(told, Some(Ok(()))) {
        // All that is known of it is its name, or its entries can't be understood.
        let body = EventBody { error: Some(failure.clone()), ..EventBody::default() };
        context.log(row::nameless(context.entity(), context.tenant(), failure));
        // Without registered schemas nobody can be told anything, and the execution ends all the same.
        drop(context.event(EventType::Failed, body));
    }
    context.finish();
}

fn broken(failure: &Failure) -> Ending {
    Ending {
        status: Terminal::Failed,
        result: None,
        failure: Some(failure.clone()),
        reason: None,
        usage: None,
        cost: None,
        started: None,
    }
}

fn execution(context: &Context<'_, Workflows>) -> Option<Execution> {
    match context.get(name::EXECUTION) {
        Some(Entry::Execution(execution)) => Some((**execution).clone()),
        _ => None,
    }
}

fn begun(
    start: &WorkflowStart,
    version: i32,
    trace_parent: Option<String>,
    log_content: bool,
    now: Millis,
) -> Execution {
    Execution {
        tenant: start.tenant.clone(),
        origin: start.origin.clone(),
        workflow: start.workflow.clone(),
        version,
        labels: start.labels.clone(),
        search_attributes: start.search_attributes.clone(),
        priority: start.priority,
        admitted: now,
        deadline: start.deadline,
        trace_parent,
        log_content,
    }
}

/// What a fact means to an execution; `None`: nothing.
fn happened(event: Event<Workflows>) -> Option<run::Event> {
    Some(match event {
        Event::Answer(answer) => answered(*answer),
        Event::Finished { call, result, .. } => {
            let (attempt, step) = call.split_once('/')?;
            let output = |it: run::Published| {
                let run::Published { topic, partition, offset } = it;
                Document::from(&json!({"topic": topic, "partition": partition, "offset": offset}))
            };
            run::Event::Answered {
                step: step.to_owned(),
                attempt: attempt.parse().ok()?,
                result: result.map(output),
                usage: None,
                cost: None,
            }
        }
        Event::Timer { timer } => run::Event::Due(timer),
        Event::Command(order) => run::Event::Command(order),
        Event::Admitted { .. } => return None,
    })
}

fn answered(answer: Answer) -> run::Event {
    let Answer {
        origin,
        status,
        output,
        output_media_type,
        failure,
        usage,
        cost,
        output_claim,
        ..
    } = answer;
    let result = match (status, failure) {
        (Terminal::Succeeded, _) => Ok(match (output, output_claim) {
            (_, Some(claim)) => Document::from(&json!({ "claim_check": claim })),
            (Some(text), None) if output_media_type == JSON => Document::parse(text.as_str())
                .unwrap_or_else(|_| Document::from(&Value::from(text))),
            (Some(text), None) => Document::from(&Value::from(text)),
            (None, None) => Document::null(),
        }),
        (_, Some(failure)) => Err(failure),
        (status, None) => {
            let message = format!("what was asked for ended as {}", status.as_str());
            Err(Failure::new(ErrorClass::Internal, status.as_str(), message))
        }
    };
    run::Event::Answered { step: origin.step, attempt: origin.attempt, result, usage, cost }
}

/// Lets the machine decide, and carries out what it decided, in its order.
fn fold(
    program: &Program,
    execution: &Execution,
    happened: run::Event,
    context: &mut Context<'_, Workflows>,
) -> Result<(), StepError> {
    let (id, now) = (context.entity().to_owned(), context.now());
    let effects = run::step(program, &id, &mut Entries(context), happened, now)
        .map_err(|Damaged(why)| StepError::Broken(why))?;
    for effect in effects {
        match effect {
            Effect::Announce(told) => announce(*told, execution, context)?,
            Effect::Ask(request) => ask(*request, execution, context)?,
            Effect::Tell { kind, id, order } => context.command(kind, &id, order)?,
            Effect::Want { step, attempt, call } => context.want(&key(&step, attempt), *call),
            Effect::Unwant { step, attempt } => context.unwant(&key(&step, attempt)),
            Effect::SetTimer { timer, due } => context.set_timer(&timer, due),
            Effect::ClearTimer(timer) => context.clear_timer(&timer),
            Effect::End(ending) => {
                end(execution, *ending, context)?;
                context.finish();
            }
        }
    }
    Ok(())
}

/// The key of the outside call of an attempt.
fn key(step: &str, attempt: i32) -> String {
    format!("{attempt}/{step}")
}

fn announce(
    told: Announcement,
    execution: &Execution,
    context: &mut Context<'_, Workflows>,
) -> Result<(), StepError> {
    let row = row::of(&told, context.entity(), execution, context.now());
    context.log(row);
    let body = match told.step {
        Some(step) => EventBody { step: Some(step), attempt: told.attempt, ..body(execution) },
        None => of_whole(execution),
    };
    let body = EventBody {
        data: told.data,
        error: told.error,
        usage: told.usage,
        cost: told.cost,
        ..body
    };
    context.event(told.event_type, body)
}

/// What every event says.
fn body(execution: &Execution) -> EventBody {
    EventBody {
        parent_id: row::asker(execution).map(|origin| origin.id.clone()),
        trace_parent: execution.trace_parent.clone(),
        ..EventBody::default()
    }
}

/// What every event about the whole says: the step of whoever asked for it.
fn of_whole(execution: &Execution) -> EventBody {
    let asker = row::asker(execution);
    EventBody {
        step: asker.map(|origin| origin.step.clone()),
        attempt: asker.map(|origin| origin.attempt),
        ..body(execution)
    }
}

fn ask(
    request: Request,
    execution: &Execution,
    context: &mut Context<'_, Workflows>,
) -> Result<(), StepError> {
    let trace = execution.trace_parent.clone();
    match request {
        Request::Model(it) => context.request(Kind::Model, &it.id, &it.id, trace, &it),
        Request::Workflow(it) => context.request(Kind::Workflow, &it.id, &it.id, trace, &it),
        Request::Function(it) => context.request(Kind::Function, &it.id, &it.id, trace, &it),
        Request::Agent(it) => context.request(Kind::Agent, &it.id, &it.session, trace, &it),
    }
}

/// Tells those who follow the execution, and whoever asked, how it ended.
fn end(
    execution: &Execution,
    ending: Ending,
    context: &mut Context<'_, Workflows>,
) -> Result<(), StepError> {
    context.log(row::ended(&ending, context.entity(), execution, context.now()));
    let event_type = ending.event_type();
    let Ending { status, result, failure, reason, usage, cost, .. } = ending;
    let output = result.map(|result| result.text().to_owned());
    let reason = reason.map(|reason| json!({ "reason": reason }).to_string());
    if let Some(origin) = row::asker(execution).cloned() {
        let answer = Answer {
            request_id: context.entity().to_owned(),
            origin,
            status,
            output: output.clone(),
            output_media_type: JSON.to_owned(),
            failure: failure.clone(),
            usage,
            cost: cost.clone(),
            output_claim: None,
        };
        context.answer(answer, execution.trace_parent.clone())?;
    }
    let data = output.or(reason);
    context
        .event(event_type, EventBody { data, error: failure, usage, cost, ..of_whole(execution) })
}
