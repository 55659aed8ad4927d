//! A schedule as the runtime has it: from a fact to the machine of [`domain::schedule`], and from its effects
//! to what the runtime is to do. Decides nothing of its own.
//!
//! Its entries are one for itself, one for its definition, and one for each execution that it started and that
//! hasn't ended. A deleted one is kept for a while, so that nothing late makes it anew.

use std::collections::{BTreeMap, BTreeSet};

use domain::answer::{Failure, Terminal};
use domain::event::EventType;
use domain::fact::Order;
use domain::request::{Origin, OriginKind, WorkflowStart};
use domain::schedule::definition::Definition;
use domain::schedule::kept::Kept;
use domain::schedule::{Effect, Event as Happened, Fate, Running, Schedule, Step};
use domain::time::{Millis, parse_rfc3339, to_rfc3339};
use domain::topic::Kind;
use domain::workflow::run::document::Document;
use domain::workflow::run::entry::Entry;
use runtime::context::{Context, EventBody};
use runtime::processor::{Event, StepError};
use serde::Deserialize;
use serde_json::json;

use crate::admission::{self, DELETED};
use crate::{Workflows, row};

/// The entry of a schedule itself.
const SCHEDULE: &str = "schedule";
/// The entry of its definition.
const DEFINITION: &str = "definition";
/// What the entries of its executions begin with; their ids follow.
const RUN: &str = "run/";
/// The timer of the next due time.
const DUE: &str = "due";
/// The timer that forgets a schedule that is over.
const FORGET: &str = "forget";
/// The step that its executions answer to.
const STEP: &str = "run";
/// The label of its executions that has its name.
const LABEL: &str = "schedule";

/// How long a schedule is known that is over: as long as the feed keeps what could make it anew.
const KNOWN_FOR_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// The signals that a schedule takes.
const SIGNALS: &str = "it takes pause, resume, and the signals trigger and backfill";

/// Folds one fact.
pub(crate) fn step(
    event: Event<Workflows>,
    context: &mut Context<'_, Workflows>,
) -> Result<(), StepError> {
    match (kept(context), event) {
        (None, Event::Admitted { request, version, trace_parent, .. }) => {
            begin(request, version.unwrap_or_default(), trace_parent, context)
        }
        (Some(kept), Event::Timer { timer }) if kept.over => {
            if timer == FORGET {
                context.finish();
            }
            Ok(())
        }
        (Some(kept), event) if !kept.over => go_on(kept, event, context),
        _ => Ok(()),
    }
}

/// Ends a schedule that can't be folded any further.
pub(crate) fn fail(failure: &Failure, context: &mut Context<'_, Workflows>) {
    let Some(kept) = kept(context).filter(|kept| !kept.over) else { return };
    let mut row = row::of_schedule("execution.failed", &kept, context);
    row.status = Some(Terminal::Failed.as_str().into());
    row::of_failure(&mut row, failure);
    context.log(row);
    let body = EventBody { error: Some(failure.clone()), ..EventBody::default() };
    // Without registered schemas nobody can be told anything, and the schedule ends all the same.
    drop(context.event(EventType::Failed, body));
    context.clear_timer(DUE);
    end(kept, context);
}

fn kept(context: &Context<'_, Workflows>) -> Option<Kept> {
    match context.get(SCHEDULE) {
        Some(Entry::Schedule(kept)) => Some((**kept).clone()),
        _ => None,
    }
}

fn begin(
    request: WorkflowStart,
    version: i32,
    trace_parent: Option<String>,
    context: &mut Context<'_, Workflows>,
) -> Result<(), StepError> {
    let Some(name) = request.schedule.filter(|_| request.input != DELETED) else {
        // Deleted before anybody here heard of it.
        context.finish();
        return Ok(());
    };
    let definition = read(&request.input)?;
    context.put(DEFINITION, Entry::Value(Document::trusted(request.input)));
    let step = Schedule::create(context.entity().to_owned(), definition, context.now());
    let kept = Kept::of(&step.schedule, &name, version);
    context.log(row::of_schedule(EventType::Admitted.as_str(), &kept, context));
    let data = json!({"schedule": name, "version": version}).to_string();
    let body = EventBody { data: Some(data), trace_parent, ..EventBody::default() };
    context.event(EventType::Admitted, body)?;
    carry_out(kept, &BTreeMap::new(), step, None, context)
}

fn read(text: &str) -> Result<Definition, StepError> {
    admission::definition(text).map_err(|why| {
        StepError::Broken(format!("the definition of an admitted schedule can't be used: {why}"))
    })
}

fn go_on(
    mut kept: Kept,
    event: Event<Workflows>,
    context: &mut Context<'_, Workflows>,
) -> Result<(), StepError> {
    let late = match (&event, kept.next) {
        (Event::Timer { .. }, Some(next)) => Some(context.now().since(next.fires_at)),
        _ => None,
    };
    let happened = match event {
        // An older version, or a copy.
        Event::Admitted { version, .. } if version.unwrap_or_default() <= kept.version => {
            return Ok(());
        }
        Event::Admitted { request, version, .. } => {
            kept.version = version.unwrap_or_default();
            if request.input == DELETED {
                Happened::Delete
            } else {
                let definition = read(&request.input)?;
                let former = schedule(&kept, context)?;
                let step =
                    former.clone().step(Happened::Replaced(Box::new(definition)), context.now());
                context.put(DEFINITION, Entry::Value(Document::trusted(request.input)));
                return carry_out(kept, &former.running, step, None, context);
            }
        }
        Event::Timer { .. } => Happened::Due,
        Event::Answer(answer) => Happened::Ended { execution: answer.request_id },
        Event::Command(order) => match command(order, &kept) {
            Ok(happened) => happened,
            Err(why) => {
                refuse(&why, &kept, context);
                return Ok(());
            }
        },
        Event::Finished { .. } => return Ok(()),
    };
    let former = schedule(&kept, context)?;
    let running = former.running.clone();
    carry_out(kept, &running, former.step(happened, context.now()), late, context)
}

/// The schedule from its entries.
fn schedule(kept: &Kept, context: &Context<'_, Workflows>) -> Result<Schedule, StepError> {
    let Some(Entry::Value(definition)) = context.get(DEFINITION) else {
        return Err(StepError::Broken("the schedule has no definition".into()));
    };
    let definition = read(definition.text())?;
    let names = context.names();
    let running = names.iter().filter_map(|name| match context.get(name) {
        Some(Entry::Running(running)) => Some((name.strip_prefix(RUN)?.to_owned(), *running)),
        _ => None,
    });
    Ok(kept.schedule(context.entity().to_owned(), definition, running.collect()))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trigger {
    id: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Backfill {
    from: String,
    to: String,
}

/// What a command means to a schedule.
fn command(order: Order, kept: &Kept) -> Result<Happened, String> {
    let (name, payload) = match order {
        Order::Pause => return Ok(Happened::Pause),
        Order::Resume => return Ok(Happened::Resume),
        Order::Signal { name, payload } => (name, payload),
        Order::Cancel { .. } => {
            return Err(format!("a schedule ends when its definition is deleted; {SIGNALS}"));
        }
        Order::Callback { .. } => return Err(format!("a schedule calls no function; {SIGNALS}")),
    };
    let payload = payload.as_deref().unwrap_or("null");
    // No two that start something find the same number of started executions.
    let unique = || kept.counts.started.to_string();
    match name.as_str() {
        "trigger" => {
            let Trigger { id } = serde_json::from_str::<Option<Trigger>>(payload)
                .map_err(|error| format!("trigger takes nothing, or an id: {error}"))?
                .unwrap_or_default();
            Ok(Happened::Trigger { command: id.unwrap_or_else(unique) })
        }
        "backfill" => {
            let Backfill { from, to } = serde_json::from_str(payload)
                .map_err(|error| format!("backfill takes \"from\" and \"to\": {error}"))?;
            let time = |text: &str, place: &str| {
                parse_rfc3339(text)
                    .ok_or_else(|| format!("{place:?} of a backfill is no point in time"))
            };
            let (from, to) = (time(&from, "from")?, time(&to, "to")?);
            Ok(Happened::Backfill { command: unique(), from, to })
        }
        _ => Err(format!("a schedule doesn't know this signal; {SIGNALS}")),
    }
}

/// Nobody waits for the outcome of a command, so that it was refused stands in the execution log.
fn refuse(why: &str, kept: &Kept, context: &mut Context<'_, Workflows>) {
    let mut row = row::of_schedule("schedule.refused", kept, context);
    let failure = domain::request::check::Invalid::new("command", why);
    row::of_failure(&mut row, &failure.into());
    context.log(row);
}

/// Writes what changed, and does what is to be done.
fn carry_out(
    former: Kept,
    running: &BTreeMap<String, Running>,
    step: Step,
    late: Option<i64>,
    context: &mut Context<'_, Workflows>,
) -> Result<(), StepError> {
    let Step { schedule, effects, fate } = step;
    let kept = Kept::of(&schedule, &former.name, former.version);
    for effect in effects {
        match effect {
            Effect::SetTimer { due } => context.set_timer(DUE, due),
            Effect::ClearTimer => context.clear_timer(DUE),
            Effect::Start { execution_id, scheduled_for, .. } => {
                start(&schedule, &kept, &execution_id, scheduled_for, context)?;
                let labels = [("scheduledFor", to_rfc3339(scheduled_for))];
                tell("schedule.fired", labels, &kept, late, context);
            }
            Effect::Cancel { execution } => {
                let reason = Some(format!("the schedule {} starts its next execution", kept.name));
                context.command(Kind::Workflow, &execution, Order::Cancel { reason })?;
            }
            Effect::Missed { count } => {
                tell("schedule.missed", [("count", count.to_string())], &kept, late, context);
            }
            Effect::Skipped { count } => {
                tell("schedule.skipped", [("count", count.to_string())], &kept, late, context);
            }
        }
    }
    if fate == Fate::Deleted {
        let mut row = row::of_schedule(EventType::Cancelled.as_str(), &kept, context);
        row.status = Some(Terminal::Cancelled.as_str().into());
        context.log(row);
        let data = json!({"reason": "the schedule was deleted"}).to_string();
        let body = EventBody { data: Some(data), ..EventBody::default() };
        context.event(EventType::Cancelled, body)?;
        end(kept, context);
        return Ok(());
    }
    let ids: BTreeSet<_> = running.keys().chain(schedule.running.keys()).collect();
    for id in ids {
        match (running.get(id), schedule.running.get(id)) {
            (before, Some(now)) if before != Some(now) => {
                context.put(&run(id), Entry::Running(*now));
            }
            (Some(_), None) => context.remove(&run(id)),
            _ => {}
        }
    }
    let kept = Entry::Schedule(Box::new(kept));
    if context.get(SCHEDULE) != Some(&kept) {
        context.put(SCHEDULE, kept);
    }
    Ok(())
}

fn run(execution: &str) -> String {
    format!("{RUN}{execution}")
}

fn start(
    schedule: &Schedule,
    kept: &Kept,
    id: &str,
    scheduled_for: Millis,
    context: &mut Context<'_, Workflows>,
) -> Result<(), StepError> {
    let Definition { workflow, pin, input, labels, search_attributes, .. } = &schedule.definition;
    let (version, alias) = pin.named();
    let mut labels = labels.clone();
    labels.insert(LABEL.to_owned(), kept.name.clone());
    let start = WorkflowStart {
        tenant: context.tenant().to_owned(),
        origin: Some(Origin {
            kind: OriginKind::Workflow,
            id: context.entity().to_owned(),
            step: STEP.to_owned(),
            attempt: 1,
        }),
        labels,
        version,
        alias: alias.map(str::to_owned),
        input: input.to_string(),
        search_attributes: search_attributes.clone(),
        scheduled_for: Some(scheduled_for),
        ..WorkflowStart::new(id, workflow.clone())
    };
    context.request(Kind::Workflow, id, id, None, &start)
}

/// A row about due times. `late`: by how many milliseconds the timer was.
fn tell<const N: usize>(
    event_type: &str,
    labels: [(&str, String); N],
    kept: &Kept,
    late: Option<i64>,
    context: &mut Context<'_, Workflows>,
) {
    let mut row = row::of_schedule(event_type, kept, context);
    row.timer_lateness_ms = late;
    row.labels.extend(labels.map(|(name, value)| (name.to_owned(), value)));
    context.log(row);
}

/// Leaves nothing of a schedule but that it was there.
fn end(kept: Kept, context: &mut Context<'_, Workflows>) {
    for name in context.names() {
        context.remove(&name);
    }
    let over = Kept { over: true, next: None, queued: None, ..kept };
    context.put(SCHEDULE, Entry::Schedule(Box::new(over)));
    context.set_timer(FORGET, context.now().plus(KNOWN_FOR_MS));
}
