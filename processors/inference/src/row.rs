//! The rows of a model call in the execution log. The runtime fills in ids, cause, time and source.
//!
//! Prompt and answer text stay out, unless the call says that its definition lets them in: then the prompt
//! stands in the row of the admission, and the answer in that of the ending.

use domain::answer::{Failure, Terminal};
use domain::event::EventType;
use domain::log_row::ExecutionLogRecord;
use domain::model_call::{Ending, ModelCall};
use domain::request::{Origin, OriginKind};
use domain::time::Millis;
use domain::topic::Kind;
use domain::trace::TraceContext;

use crate::content;

/// The origin that is an execution of ours; a client is none.
pub(crate) fn asker(call: &ModelCall) -> Option<&Origin> {
    call.origin.as_ref().filter(|origin| origin.kind != OriginKind::Client)
}

/// The row of an event that ends nothing.
pub(crate) fn progress(
    call: &ModelCall,
    execution: &str,
    event_type: EventType,
) -> ExecutionLogRecord {
    let mut row =
        ExecutionLogRecord::new(event_type.as_str(), Kind::Model, execution, &call.tenant);
    if let Some(origin) = asker(call) {
        // The request names who asked and not who asked first, so this is the nearest that is known.
        row.root_execution_id.clone_from(&origin.id);
        row.parent_execution_id = Some(origin.id.clone());
        row.session_id = (origin.kind == OriginKind::Agent).then(|| origin.id.clone());
        row.step = Some(origin.step.clone());
        row.attempt = Some(origin.attempt);
    }
    row.definition = Some(call.model.clone());
    row.definition_version = call.version;
    row.model_requested = Some(call.model.clone());
    row.operation = Some(call.operation.as_str().into());
    of_span(&mut row, admission(call));
    row.labels.clone_from(&call.labels);
    row
}

/// The span of the call's admission.
pub(crate) fn admission(call: &ModelCall) -> Option<TraceContext> {
    call.trace_parent.as_deref().and_then(TraceContext::parse)
}

fn of_span(row: &mut ExecutionLogRecord, span: Option<TraceContext>) {
    if let Some(TraceContext { trace, span, .. }) = span {
        row.trace_id = Some(trace.to_string());
        row.span_id = Some(span.to_string());
    }
}

/// The row of the ending, at state time `now`; `run`: the span of the run of the call that ended it.
pub(crate) fn ended(
    call: &ModelCall,
    execution: &str,
    ending: &Ending,
    run: Option<TraceContext>,
    now: Millis,
) -> ExecutionLogRecord {
    let mut row = progress(call, execution, ending.event_type());
    of_span(&mut row, run);
    row.status = Some(ending.terminal().as_str().into());
    // Overwritten by the worker's own measure, where there is one.
    row.duration_ms = call.started.map(|started| now.since(started));
    if let Some(failure) = ending.failure() {
        row.error_code = Some(failure.code.clone());
        row.error_class = Some(failure.class.as_str().into());
        row.http_status = failure.http_status;
        if let Some(provider) = &failure.provider {
            row.provider = Some(provider.clone());
            row.deployment = Some(failure.source_name.clone());
        }
    }
    if let Some(outcome) = ending.outcome() {
        row.queued_ms = Some(outcome.queued_ms);
        row.duration_ms = Some(outcome.duration_ms);
        row.time_to_first_token_ms = outcome.time_to_first_token_ms;
        row.provider = Some(outcome.provider.clone());
        row.model_used = Some(outcome.model_used.clone());
        row.deployment = Some(outcome.deployment.clone());
        row.finish_reason.clone_from(&outcome.finish_reason);
        row.http_status = outcome.http_status;
        if let Some(usage) = &outcome.usage {
            row.input_tokens = Some(usage.input_tokens);
            row.output_tokens = Some(usage.output_tokens);
            row.cached_tokens = Some(usage.cached_tokens);
            row.reasoning_tokens = Some(usage.reasoning_tokens);
        }
        if let Some(cost) = &outcome.cost {
            row.cost_micros = Some(cost.micros);
            row.currency = Some(cost.currency.clone());
        }
        if call.log_content {
            row.output_text = content::output(call.operation, &outcome.body);
        }
    }
    row
}

/// The row of an execution that failed before anything but its name was known.
pub(crate) fn nameless(execution: &str, tenant: &str, failure: &Failure) -> ExecutionLogRecord {
    let event_type = EventType::Failed.as_str();
    let mut row = ExecutionLogRecord::new(event_type, Kind::Model, execution, tenant);
    row.status = Some(Terminal::Failed.as_str().into());
    row.error_code = Some(failure.code.clone());
    row.error_class = Some(failure.class.as_str().into());
    row
}
