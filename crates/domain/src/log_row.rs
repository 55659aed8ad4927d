//! The execution log: one flat row a fact, for data teams (topic `execution-log`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::time::Millis;
use crate::topic::Kind;

/// One row. Every column but the first eight is nullable; no column is a blob of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "the columns are documented in schemas/execution-log-record.avsc, their one home"
)]
pub struct ExecutionLogRecord {
    pub event_id: String,
    pub cause_id: String,
    pub event_type: String,
    pub event_time: Millis,
    pub tenant: String,
    pub execution_id: String,
    pub root_execution_id: String,
    pub kind: Kind,
    pub parent_execution_id: Option<String>,
    pub definition: Option<String>,
    pub definition_version: Option<i32>,
    pub session_id: Option<String>,
    pub step: Option<String>,
    pub attempt: Option<i32>,
    pub status: Option<String>,
    pub error_code: Option<String>,
    pub error_class: Option<String>,
    pub queued_ms: Option<i64>,
    pub duration_ms: Option<i64>,
    pub time_to_first_token_ms: Option<i64>,
    pub provider: Option<String>,
    pub model_requested: Option<String>,
    pub model_used: Option<String>,
    pub deployment: Option<String>,
    pub operation: Option<String>,
    pub finish_reason: Option<String>,
    pub input_tokens: Option<i64>,
    pub output_tokens: Option<i64>,
    pub cached_tokens: Option<i64>,
    pub reasoning_tokens: Option<i64>,
    pub cost_micros: Option<i64>,
    pub currency: Option<String>,
    pub function: Option<String>,
    pub http_status: Option<i32>,
    pub timer_lateness_ms: Option<i64>,
    pub trace_id: Option<String>,
    pub span_id: Option<String>,
    pub source_topic: Option<String>,
    pub source_partition: Option<i32>,
    pub source_offset: Option<i64>,
    pub labels: BTreeMap<String, String>,
    pub input_text: Option<String>,
    pub output_text: Option<String>,
}

impl ExecutionLogRecord {
    /// A row with its required columns; the rest is null.
    #[must_use]
    pub fn new(event_type: &str, kind: Kind, execution_id: &str, tenant: &str) -> Self {
        Self {
            event_id: String::new(),
            cause_id: String::new(),
            event_type: event_type.into(),
            event_time: Millis(0),
            tenant: tenant.into(),
            execution_id: execution_id.into(),
            root_execution_id: execution_id.into(),
            kind,
            parent_execution_id: None,
            definition: None,
            definition_version: None,
            session_id: None,
            step: None,
            attempt: None,
            status: None,
            error_code: None,
            error_class: None,
            queued_ms: None,
            duration_ms: None,
            time_to_first_token_ms: None,
            provider: None,
            model_requested: None,
            model_used: None,
            deployment: None,
            operation: None,
            finish_reason: None,
            input_tokens: None,
            output_tokens: None,
            cached_tokens: None,
            reasoning_tokens: None,
            cost_micros: None,
            currency: None,
            function: None,
            http_status: None,
            timer_lateness_ms: None,
            trace_id: None,
            span_id: None,
            source_topic: None,
            source_partition: None,
            source_offset: None,
            labels: BTreeMap::new(),
            input_text: None,
            output_text: None,
        }
    }
}
