//! From a fact to the machine of [`domain::workflow::run`], and from its decisions to what the runtime is to
//! do. Decides nothing of its own.

use std::sync::Arc;

use domain::answer::{Answer, ErrorClass, Failure, Terminal};
use domain::event::EventType;
use domain::request::{JSON, WorkflowStart};
use domain::schedule::{life, stored};
use domain::topic::Kind;
use domain::workflow::run::document::Document;
use domain::workflow::run::entry::{Entry, Execution, name};
use domain::workflow::run::program::Program;
use domain::workflow::run::{self, Admission, Announcement, Damaged, Effect, Ending, Request};
use domain::workflow::{admitted, limit};
use runtime::context::{Context, EventBody};
use runtime::processor::{Event, StepError};
use serde_json::{Value, json};

use crate::memory::Entries;
use crate::{Programs, Workflows, places, row, schedules};

/// The machine. In tests a witness stands before it.
#[cfg(test)]
use crate::tests::simulation::witness::decide;
#[cfg(not(test))]
use domain::workflow::run::step as decide;

/// Folds one fact.
pub(crate) fn step(
    programs: &Programs,
    event: Event<Workflows>,
    context: &mut Context<'_, Workflows>,
) -> Result<(), StepError> {
    if context.entity().starts_with(limit::PREFIX) {
        return places::step(event, context);
    }
    if life::is_schedule(context.entity()) {
        return schedules::step(event, context);
    }
    match (event, execution(context)) {
        (Event::Admitted { request, version, trace_parent, log_content }, None) => {
            let now = context.now();
            let execution = Execution {
                tenant: request.tenant.clone(),
                origin: request.origin.clone(),
                workflow: request.workflow.clone(),
                version: version.unwrap_or_default(),
                labels: request.labels.clone(),
                search_attributes: request.search_attributes.clone(),
                priority: request.priority,
                admitted: now,
                deadline: request.deadline,
                trace_parent,
                log_content,
            };
            admit(programs, request, execution, context)
        }
        // Somebody else's start under the same id: the first one stands.
        (Event::Admitted { .. }, Some(_)) | (_, None) => Ok(()),
        (event, Some(execution)) => match happened(event) {
            Some(happened) => {
                let program = pinned(programs, &execution)?;
                fold(&program, &execution, happened, None, context)
            }
            None => Ok(()),
        },
    }
}

/// The program of an execution's version.
fn pinned(programs: &Programs, execution: &Execution) -> Result<Arc<Program>, StepError> {
    let Execution { tenant, workflow, version, .. } = execution;
    programs
        .pinned(tenant, workflow, *version)
        .ok_or_else(|| StepError::NotYet(format!("version {version} of workflow `{workflow}`")))?
        .map_err(StepError::Broken)
}

/// Takes an execution in.
fn admit(
    programs: &Programs,
    start: WorkflowStart,
    execution: Execution,
    context: &mut Context<'_, Workflows>,
) -> Result<(), StepError> {
    let program = pinned(programs, &execution)?;
    let inputs = Document::parse(start.input).map_err(|place| {
        StepError::Broken(format!("the inputs of an admitted start aren't JSON: {place}"))
    })?;
    let inputs = stored::input(&program, inputs.to_json(), start.scheduled_for);
    let inputs = Document::from(&program.with_defaults(inputs));
    let not_before = start.not_before;
    // The time that the workflow may take runs from when it may begin.
    let begins = not_before.map_or(execution.admitted, |time| time.max(execution.admitted));
    let timeout = program.definition().timeout_ms.and_then(|ms| i64::try_from(ms).ok());
    let timeout = timeout.map(|ms| begins.plus(ms));
    let deadline = [execution.deadline, timeout].into_iter().flatten().min();
    let execution = Execution { deadline, ..execution };
    let Execution { version, search_attributes, .. } = &execution;
    let begins_with = Some(admitted::data(*version, not_before, inputs.text(), search_attributes));
    let reuse = start.reuse.into_iter();
    let reuse = reuse.map(|(step, output)| (step, Document::trusted(output))).collect();
    let admission = Admission { execution: execution.clone(), inputs, not_before, reuse };
    let admission = run::Event::Admitted(Box::new(admission));
    fold(&program, &execution, admission, begins_with, context)
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
                fold(&program, &execution, run::Event::Broken(failure.clone()), None, context)
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

/// What a fact means to an execution; `None`: nothing.
fn happened(event: Event<Workflows>) -> Option<run::Event> {
    Some(match event {
        // No step of it asked, but all of it: for a place.
        Event::Answer(answer) if answer.origin.step.is_empty() => places::answered(&answer)?,
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
    mut begins_with: Option<String>,
    context: &mut Context<'_, Workflows>,
) -> Result<(), StepError> {
    let (id, now) = (context.entity().to_owned(), context.now());
    let effects = decide(program, &id, &mut Entries(context), happened, now)
        .map_err(|Damaged(why)| StepError::Broken(why))?;
    for effect in effects {
        match effect {
            Effect::Announce(mut told) => {
                // The first of an admission's events is that of the admission.
                told.data = told.data.or(begins_with.take());
                announce(*told, execution, context)?;
            }
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
