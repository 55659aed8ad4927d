//! What model calls leave in `results` and `execution-log`, without the calls: three events and three rows
//! each, as large as those of a short answer, in the order in which calls that overlap leave them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use domain::answer::Usage;
use domain::event::{EventType, ExecutionEvent};
use domain::log_row::ExecutionLogRecord;
use domain::request::DEFAULT_TENANT;
use domain::time::Millis;
use domain::topic::{Kind, Topic};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, Producer as _};
use serde_json::json;

use crate::client::{self, Producer};
use crate::models::MODEL;
use crate::platform::{Platform, now};

/// What one call leaves.
pub(crate) const PER_CALL: u64 = 6;
/// Calls that overlap.
const OVERLAP: u64 = 50;
/// From the first call to the last: lists are cut by the hour, and most runs meet two of them.
const SPREAD_MS: u64 = 30 * 60 * 1000;
/// How long the broker may take for the last of them.
const PATIENCE: Duration = Duration::from_secs(120);

/// What stands in the topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// Calls.
    pub(crate) calls: u64,
}

impl Written {
    /// Records of both topics.
    pub(crate) fn records(self) -> u64 {
        self.calls * PER_CALL
    }

    /// Events; there are as many rows.
    pub(crate) fn events(self) -> u64 {
        self.calls * PER_CALL / 2
    }
}

/// Writes what at least `records / PER_CALL` calls leave.
pub(crate) fn write(platform: &Platform, records: u64) -> anyhow::Result<Written> {
    let calls = records.div_ceil(PER_CALL).max(1);
    let (producer, failures) = client::producer(&platform.brokers)?;
    let topics = Topics {
        results: platform.topic(Topic::Results),
        log: platform.topic(Topic::ExecutionLog),
        producer,
    };
    let first = now().plus(-i64::try_from(SPREAD_MS).unwrap_or_default());
    for wave in 0..calls.div_ceil(OVERLAP) {
        let of_wave = wave * OVERLAP..((wave + 1) * OVERLAP).min(calls);
        for stage in [EventType::Admitted, EventType::Started, EventType::Succeeded] {
            for nth in of_wave.clone() {
                let since = i64::try_from(nth * SPREAD_MS / calls).unwrap_or_default();
                let call = Call { nth, admitted: first.plus(since) };
                topics.send(platform, &call, stage)?;
            }
        }
    }
    topics.producer.flush(PATIENCE).context("writing events and rows")?;
    ensure!(failures.count() == 0, "{} events and rows were not acknowledged", failures.count());
    Ok(Written { calls })
}

struct Topics {
    results: String,
    log: String,
    producer: Producer,
}

impl Topics {
    fn send(&self, platform: &Platform, call: &Call, stage: EventType) -> anyhow::Result<()> {
        let key = call.id();
        let event = platform.ids.frame(&call.event(stage))?;
        let row = platform.ids.frame(&call.row(stage))?;
        for (topic, value) in [(&self.results, event), (&self.log, row)] {
            loop {
                match self.producer.send(BaseRecord::to(topic).key(&key).payload(&value)) {
                    Ok(()) => break,
                    Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    Err((error, _)) => return Err(error).context("handing over a record"),
                }
            }
        }
        Ok(())
    }
}

/// One call that never was.
struct Call {
    nth: u64,
    admitted: Millis,
}

impl Call {
    fn id(&self) -> String {
        format!("mdl_{:032x}", u128::from(self.nth).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060))
    }

    /// The number of its event, and when.
    fn place(&self, stage: EventType) -> (i64, Millis) {
        match stage {
            EventType::Admitted => (1, self.admitted),
            EventType::Started => (2, self.admitted.plus(2)),
            _ => (3, self.admitted.plus(900)),
        }
    }

    fn usage() -> Usage {
        Usage { input_tokens: 41, output_tokens: 50, cached_tokens: 0, reasoning_tokens: 0 }
    }

    fn event(&self, stage: EventType) -> ExecutionEvent {
        let (number, time) = self.place(stage);
        let data = match stage {
            EventType::Succeeded => json!({
                "id": self.id(), "object": "chat.completion", "created": 1, "model": MODEL,
                "choices": [{
                    "index": 0, "finish_reason": "stop", "logprobs": null,
                    "message": { "role": "assistant", "content": "word ".repeat(50) },
                }],
                "usage": { "prompt_tokens": 41, "completion_tokens": 50, "total_tokens": 91 },
            }),
            _ => json!({ "model": MODEL, "model_version": 1 }),
        };
        ExecutionEvent {
            execution_id: self.id(),
            kind: Kind::Model,
            tenant: DEFAULT_TENANT.into(),
            parent_id: None,
            generation: 0,
            number,
            event_type: stage,
            time,
            step: None,
            attempt: None,
            data: Some(data.to_string()),
            data_claim: None,
            error: None,
            usage: stage.is_terminal().then(Self::usage),
            cost: None,
        }
    }

    fn row(&self, stage: EventType) -> ExecutionLogRecord {
        let (number, time) = self.place(stage);
        let id = self.id();
        let mut row = ExecutionLogRecord::new(stage.as_str(), Kind::Model, &id, DEFAULT_TENANT);
        row.event_id = format!("{id}/{number}");
        row.cause_id = format!("{id}/{}", number - 1);
        row.event_time = time;
        row.definition = Some(MODEL.into());
        row.definition_version = Some(1);
        row.model_requested = Some(MODEL.into());
        row.operation = Some("chat".into());
        row.trace_id = Some(format!("{:032x}", self.nth));
        row.span_id = Some(format!("{:016x}", self.nth));
        row.source_topic = Some("model-events".into());
        row.source_partition = Some(0);
        row.source_offset = i64::try_from(self.nth).ok().map(|nth| nth * 3 + number);
        row.labels = BTreeMap::from([("team".to_owned(), "bench".to_owned())]);
        if stage.is_terminal() {
            row.status = Some("succeeded".into());
            row.duration_ms = Some(898);
            row.time_to_first_token_ms = Some(50);
            row.provider = Some("openai-compatible".into());
            row.model_used = Some("m".into());
            row.deployment = Some("server".into());
            row.finish_reason = Some("stop".into());
            row.http_status = Some(200);
            row.input_tokens = Some(41);
            row.output_tokens = Some(50);
        }
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_of_a_call_are_in_order_and_their_ids_differ() {
        let calls = [0, 1, 2].map(|nth| Call { nth, admitted: Millis(0) });
        let stages = [EventType::Admitted, EventType::Started, EventType::Succeeded];
        let mut ids = Vec::new();
        for call in &calls {
            let places: Vec<_> = stages.map(|stage| call.event(stage).number).into();
            assert_eq!(places, [1, 2, 3]);
            ids.extend(stages.map(|stage| call.row(stage).event_id));
            let rows = stages.map(|stage| call.row(stage));
            assert!(rows.is_sorted_by_key(|row| (row.event_time, row.source_offset)));
        }
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 9);
        assert_eq!(Written { calls: 7 }.records(), 42);
    }
}
