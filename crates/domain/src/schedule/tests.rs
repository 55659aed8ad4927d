//! When schedules are due, held against a clock that is watched minute by minute; what is wrong with
//! definitions; the JSON Schema of them; histories of one schedule as data, and random ones against the
//! promises of the module.

mod expressions;
mod histories;
mod json_schema;
mod problems;
mod random_histories;
mod random_times;
mod times;

use serde_json::{Value, json};

use super::definition::Definition;
use crate::time::Millis;

/// An RFC 3339 text as a point in time.
#[track_caller]
fn at(text: &str) -> Millis {
    let time: jiff::Timestamp = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    Millis(time.as_millisecond())
}

/// A schedule with this expression and further fields.
fn schedule(cron: &str, more: Value) -> Value {
    let mut schedule = json!({"workflow": "w", "cron": cron});
    for (name, value) in more.as_object().into_iter().flatten() {
        schedule[name] = value.clone();
    }
    schedule
}

/// A definition that must be fine.
#[track_caller]
fn definition(cron: &str, more: Value) -> Definition {
    let schedule = schedule(cron, more);
    match Definition::read(&schedule) {
        Ok((definition, _)) => definition,
        Err(problems) => panic!("{schedule}: {problems:#?}"),
    }
}
