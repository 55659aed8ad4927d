//! What a record of the contract is, and the list of all of them: name, schema, fields in schema order.
//!
//! The codecs are the field lists below and nothing else; a test compares their bytes with what
//! apache-avro makes of the same schema.

use domain::answer::{Answer, Cost, Failure, ModelOutcome, Usage};
use domain::catalogue::DefinitionProposed;
use domain::claim::ClaimCheck;
use domain::event::{Chunk, ExecutionEvent};
use domain::fact::{
    Admitted, DeadLetter, Failed, Finished, Header, Rejected, Skipped, Source, TakenOver,
    TimerFired,
};
use domain::log_row::ExecutionLogRecord;
use domain::model_call::{ModelCall, WantedModelCall};
use domain::request::{AgentMessage, FunctionCall, ModelRequest, Origin, WorkflowStart};
use domain::state::{
    AppliedId, EarlyCommand, Genesis, Position, RecentId, Sender, Sequence, SetTimer, WantedCall,
};
use domain::workflow::run::entry::Entry as WorkflowEntry;
use domain::workflow::run::{Publication, Published};

use crate::command::{Callback, Cancel, Pause, Resume, Signal};
use crate::wire::{DecodeError, Field, Reader};

/// A record of the contract.
pub trait Record: Field + Send + Sync + 'static {
    /// The schema's full name.
    const NAME: &'static str;
    /// The `.avsc` file.
    const SCHEMA: &'static str;

    /// Appends the Avro datum, without framing.
    fn encode(&self, out: &mut Vec<u8>) {
        self.write(out);
    }

    /// Takes the datum off the front of `input`; what follows it is left.
    ///
    /// # Errors
    /// [`DecodeError`] with the field's path.
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::read(input)
    }
}

/// A record of ours, by name, for registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Declared {
    /// The schema's full name.
    pub name: &'static str,
    /// The `.avsc` file.
    pub schema: &'static str,
}

impl Declared {
    const fn of<R: Record>() -> Self {
        Self { name: R::NAME, schema: R::SCHEMA }
    }
}

/// Every record of the contract.
pub const ALL: &[Declared] = &[
    Declared::of::<ModelRequest>(),
    Declared::of::<ExecutionEvent>(),
    Declared::of::<Chunk>(),
    Declared::of::<ExecutionLogRecord>(),
    Declared::of::<DefinitionProposed>(),
    Declared::of::<DeadLetter>(),
    Declared::of::<Admitted>(),
    Declared::of::<Rejected>(),
    Declared::of::<Finished>(),
    Declared::of::<Failed>(),
    Declared::of::<TimerFired>(),
    Declared::of::<TakenOver>(),
    Declared::of::<Skipped>(),
    Declared::of::<Answer>(),
    Declared::of::<Cancel>(),
    Declared::of::<Pause>(),
    Declared::of::<Resume>(),
    Declared::of::<Signal>(),
    Declared::of::<Callback>(),
    Declared::of::<ModelOutcome>(),
    Declared::of::<ModelCall>(),
    Declared::of::<WantedModelCall>(),
    Declared::of::<Position>(),
    Declared::of::<Genesis>(),
    Declared::of::<WantedCall>(),
    Declared::of::<SetTimer>(),
    Declared::of::<Sequence>(),
    Declared::of::<AppliedId>(),
    Declared::of::<RecentId>(),
    Declared::of::<EarlyCommand>(),
    Declared::of::<WorkflowStart>(),
    Declared::of::<FunctionCall>(),
    Declared::of::<AgentMessage>(),
    Declared::of::<WorkflowEntry>(),
    Declared::of::<Publication>(),
    Declared::of::<Published>(),
];

/// The record of that full name.
#[must_use]
pub fn declared(name: &str) -> Option<&'static Declared> {
    ALL.iter().find(|declared| declared.name == name)
}

/// Lists a record's fields once, in schema order, for both directions. A macro, because a function
/// cannot name fields: with two hand-written lists per record, one that is swapped in only one of them
/// would still compile. A field that is left out doesn't compile.
macro_rules! fields {
    ($type:ty { $($field:ident $(=> $name:literal)?),* $(,)? }) => {
        #[cfg(test)]
        impl crate::record::tests::Fields for $type {
            const FIELDS: &'static [&'static str] = &[$(fields!(@name $field $($name)?)),*];
        }

        impl Field for $type {
            fn write(&self, out: &mut Vec<u8>) {
                $(self.$field.write(out);)*
            }

            fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(Self {
                    $($field: Field::read(input)
                        .map_err(|error: DecodeError| error.within(fields!(@name $field $($name)?)))?,)*
                })
            }
        }
    };
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $name:literal) => { $name };
}

/// A record with its own subject: its name, its file, its fields.
macro_rules! record {
    ($type:ident in $file:literal $fields:tt) => {
        impl Record for $type {
            const NAME: &'static str = concat!("io.stepstream.v1.", stringify!($type));
            const SCHEMA: &'static str = include_str!(concat!("../", $file, ".avsc"));
        }

        fields!($type $fields);
    };
}

fields!(Origin { kind, id, step, attempt });
fields!(Usage { input_tokens, output_tokens, cached_tokens, reasoning_tokens });
fields!(Cost { micros, currency });
fields!(Failure { code, message, class, retryable, source_name => "source", http_status, provider });
fields!(Source { id, topic, partition, offset, stable });
fields!(Header { name, value });
fields!(ClaimCheck { hash, length, media_type });
fields!(Sender { receiving, topic, partition, stable });

record!(ModelRequest in "model-request" {
    id, tenant, origin, idempotency_key, priority, deadline, not_before, labels, model, operation,
    body, body_media_type, stream, timeout_ms, body_claim,
});
record!(ExecutionEvent in "execution-event" {
    execution_id, kind, tenant, parent_id, generation, number, event_type => "type", time, step,
    attempt, data, error, usage, cost, data_claim,
});
record!(Chunk in "chunk" {
    execution_id, tenant, fence, attempt => "try", index, kind, choice, text,
});
record!(ExecutionLogRecord in "execution-log-record" {
    event_id, cause_id, event_type, event_time, tenant, execution_id, root_execution_id, kind,
    parent_execution_id, definition, definition_version, session_id, step, attempt, status,
    error_code, error_class, queued_ms, duration_ms, time_to_first_token_ms, provider,
    model_requested, model_used, deployment, operation, finish_reason, input_tokens, output_tokens,
    cached_tokens, reasoning_tokens, cost_micros, currency, function, http_status,
    timer_lateness_ms, trace_id, span_id, source_topic, source_partition, source_offset, labels,
    input_text, output_text,
});
record!(DefinitionProposed in "definition-proposed" {
    id, kind, tenant, name, expects, body, proposed_by, time,
});
record!(DeadLetter in "dead-letter" {
    id, topic, partition, offset, time, code, message, tenant, key, value, headers,
});

record!(Admitted in "admitted" {
    feed_before, feed_offset, feed_time, source, version, request, trace_parent, log_content,
});
record!(Rejected in "rejected" {
    feed_before, feed_offset, request_id, tenant, origin, source, failure,
});
record!(Finished in "finished" { call, attempt, fence, fact });
record!(Failed in "failed" { call, attempt, fence, failure });
record!(TimerFired in "timer-fired" { timer, due });
record!(TakenOver in "taken-over" { owner, program });
record!(Skipped in "skipped" { offset, fence, reason });
record!(Answer in "answer" {
    request_id, origin, status, output, output_media_type, failure, usage, cost, output_claim,
});

record!(Cancel in "cancel" { id, tenant, reason });
record!(Pause in "pause" { id, tenant });
record!(Resume in "resume" { id, tenant });
record!(Signal in "signal" { id, tenant, name, payload });
record!(Callback in "callback" { id, tenant, token, payload });

record!(ModelOutcome in "model-outcome" {
    body, body_media_type, provider, deployment, model_used, finish_reason, usage, cost, tries,
    queued_ms, duration_ms, time_to_first_token_ms, http_status, body_claim,
});
record!(ModelCall in "model-call" {
    tenant, origin, model, version, operation, labels, admitted, deadline, trace_parent,
    started, paused, held, log_content,
});
record!(WantedModelCall in "wanted-model-call" { request, version, trace_parent });

record!(Position in "position" {
    log_offset, feed_offset, state_time, generation, program, entries, senders,
});
record!(Genesis in "genesis" { topic, partition, created });
record!(WantedCall in "wanted-call" { request, since });
record!(SetTimer in "set-timer" { due });
record!(Sequence in "sequence" { generation, number, tenant });
record!(AppliedId in "applied-id" { receiving, topic, partition, offset });
record!(RecentId in "recent-id" { since, tenant });
record!(EarlyCommand in "early-command" { command, since });

record!(WorkflowStart in "workflow-start" {
    id, tenant, origin, idempotency_key, priority, deadline, not_before, labels, workflow, version,
    alias, input, search_attributes, retry_of, reuse, schedule, scheduled_for,
});
record!(FunctionCall in "function-call" {
    id, tenant, origin, idempotency_key, priority, deadline, not_before, labels, function, version,
    arguments, mode,
});
record!(AgentMessage in "agent-message" {
    id, tenant, origin, idempotency_key, priority, deadline, not_before, labels, agent, session,
    content, content_media_type, on_busy, stream,
});
record!(Publication in "publication" {
    id, tenant, topic, key, event_type, source, subject, time, data, trace_parent,
});
record!(Published in "published" { topic, partition, offset });

mod workflow;

#[cfg(test)]
mod tests;
