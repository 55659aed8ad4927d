//! The rows of a model call in the execution log. The runtime fills in ids, cause, time and source.
//!
//! Prompt and answer text stay out, whatever the definition says: a step can't see the definition, and
//! what it can't see it must not write.

use domain::answer::{Failure, Terminal};
use domain::event::EventType;
use domain::log_row::ExecutionLogRecord;
use domain::model_call::{Ending, ModelCall};
use domain::request::{Origin, OriginKind};
use domain::time::Millis;
use domain::topic::Kind;

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
    if let Some((trace, span)) = call.trace_parent.as_deref().and_then(trace_ids) {
        row.trace_id = Some(trace.into());
        row.span_id = Some(span.into());
    }
    row.labels.clone_from(&call.labels);
    row
}

/// The row of the ending, at state time `now`.
pub(crate) fn ended(
    call: &ModelCall,
    execution: &str,
    ending: &Ending,
    now: Millis,
) -> ExecutionLogRecord {
    let mut row = progress(call, execution, ending.event_type());
    row.status = Some(ending.terminal().as_str().into());
    // Overwritten by the worker's own measure, where there is one.
    row.duration_ms = call.started.map(|started| now.since(started));
    if let Some(failure) = ending.failure() {
        row.error_code = Some(failure.code.clone());
        row.error_class = Some(failure.class.as_str().into());
        row.http_status = failure.http_status;
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

/// Trace id and parent span id of a W3C `traceparent` of any version; `None` when it isn't one.
fn trace_ids(trace_parent: &str) -> Option<(&str, &str)> {
    let mut parts = trace_parent.split('-');
    let (_version, trace, span) = (parts.next()?, parts.next()?, parts.next()?);
    let is_id = |text: &str, length: usize| {
        text.len() == length
            && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            && text.bytes().any(|byte| byte != b'0')
    };
    (is_id(trace, 32) && is_id(span, 16)).then_some((trace, span))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trace_parent_is_taken_apart_or_left_out() {
        let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        let good = format!("00-{trace}-{span}-01");
        assert_eq!(trace_ids(&good), Some((trace, span)));
        let zero = format!("00-{}-{span}-01", "0".repeat(32));
        let upper = good.to_uppercase();
        for bad in ["", "00", "00-x-y-01", zero.as_str(), upper.as_str()] {
            assert_eq!(trace_ids(bad), None, "{bad}");
        }
    }
}
