//! The rows of a workflow execution in the execution log. The runtime fills in ids, cause, time and source.
//!
//! Values stay out. So do usage and cost: they stand in the row of the call that used and cost it, and a sum
//! over rows counts them once.

use domain::answer::Failure;
use domain::log_row::ExecutionLogRecord;
use domain::request::{Origin, OriginKind};
use domain::schedule::kept::Kept;
use domain::time::Millis;
use domain::topic::Kind;
use domain::trace::TraceContext;
use domain::workflow::run::entry::Execution;
use domain::workflow::run::{Announcement, Ending};
use runtime::context::Context;

use crate::Workflows;

/// The origin that is an execution of ours; a client is none.
pub(crate) fn asker(execution: &Execution) -> Option<&Origin> {
    execution.origin.as_ref().filter(|origin| origin.kind != OriginKind::Client)
}

fn begun(event_type: &str, id: &str, execution: &Execution) -> ExecutionLogRecord {
    let mut row = ExecutionLogRecord::new(event_type, Kind::Workflow, id, &execution.tenant);
    if let Some(origin) = asker(execution) {
        // The start names who asked and not who asked first, so this is the nearest that is known.
        row.root_execution_id.clone_from(&origin.id);
        row.parent_execution_id = Some(origin.id.clone());
        row.session_id = (origin.kind == OriginKind::Agent).then(|| origin.id.clone());
    }
    row.definition = Some(execution.workflow.clone());
    row.definition_version = Some(execution.version);
    row.labels.clone_from(&execution.labels);
    if let Some(context) = execution.trace_parent.as_deref().and_then(TraceContext::parse) {
        row.trace_id = Some(context.trace.to_string());
        row.span_id = Some(context.span.to_string());
    }
    row
}

pub(crate) fn of_failure(row: &mut ExecutionLogRecord, failure: &Failure) {
    row.error_code = Some(failure.code.clone());
    row.error_class = Some(failure.class.as_str().into());
}

/// The row of something that is told.
pub(crate) fn of(
    told: &Announcement,
    id: &str,
    execution: &Execution,
    now: Millis,
) -> ExecutionLogRecord {
    let mut row = begun(told.event_type.as_str(), id, execution);
    row.step.clone_from(&told.step);
    row.attempt = told.attempt;
    if told.event_type.ends_step() {
        row.duration_ms = told.started.map(|started| now.since(started));
    }
    if let Some(failure) = &told.error {
        of_failure(&mut row, failure);
    }
    row
}

/// The row of an ending.
pub(crate) fn ended(
    ending: &Ending,
    id: &str,
    execution: &Execution,
    now: Millis,
) -> ExecutionLogRecord {
    let mut row = begun(ending.event_type().as_str(), id, execution);
    row.status = Some(ending.status.as_str().into());
    row.duration_ms = ending.started.map(|started| now.since(started));
    if let Some(failure) = &ending.failure {
        of_failure(&mut row, failure);
    }
    row
}

/// A row of a schedule: its definition is the schedule, where that of what it starts is the workflow.
pub(crate) fn of_schedule(
    event_type: &str,
    kept: &Kept,
    context: &Context<'_, Workflows>,
) -> ExecutionLogRecord {
    let (id, tenant) = (context.entity(), context.tenant());
    let mut row = ExecutionLogRecord::new(event_type, Kind::Workflow, id, tenant);
    row.definition = Some(kept.name.clone());
    row.definition_version = Some(kept.version);
    row.labels.insert("schedule".to_owned(), kept.name.clone());
    row
}

/// The row of an execution that failed before anything but its name was known.
pub(crate) fn nameless(id: &str, tenant: &str, failure: &Failure) -> ExecutionLogRecord {
    let event_type = domain::event::EventType::Failed.as_str();
    let mut row = ExecutionLogRecord::new(event_type, Kind::Workflow, id, tenant);
    row.status = Some(domain::answer::Terminal::Failed.as_str().into());
    of_failure(&mut row, failure);
    row
}
