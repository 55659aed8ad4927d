//! What must hold of every execution, whatever crashed, as an outsider can see it.

use std::collections::{BTreeMap, BTreeSet};

use domain::event::ExecutionEvent;
use domain::log_row::ExecutionLogRecord;

/// Each execution of `ids` has exactly one end in `results`, and its events are numbered without a gap;
/// a copy from after a crash has the same place and says the same.
///
/// # Panics
/// When it doesn't hold.
pub fn exactly_one_end(ids: &BTreeSet<String>, events: &[&ExecutionEvent]) {
    let mut places: BTreeMap<(&str, i32, i64), &ExecutionEvent> = BTreeMap::new();
    for event in events.iter().filter(|event| ids.contains(&event.execution_id)) {
        let place = (event.execution_id.as_str(), event.generation, event.number);
        if let Some(first) = places.insert(place, event) {
            assert_eq!(first, *event, "two events in one place");
        }
    }
    for id in ids {
        let of_id = places.values().filter(|event| event.execution_id == *id);
        let ends = of_id.clone().filter(|event| event.event_type.is_terminal()).count();
        assert_eq!(ends, 1, "ends of {id}");
        let numbers: BTreeSet<i64> = of_id.map(|event| event.number).collect();
        let last = numbers.last().copied().unwrap_or_default();
        assert_eq!(numbers, (1..=last).collect(), "numbers of {id}");
    }
}

/// Each fact about the executions of `ids` stands once in the execution log (read committed), and each
/// execution has one row that says how it ended.
///
/// # Panics
/// When it doesn't hold.
pub fn exactly_once_in_the_log(ids: &BTreeSet<String>, rows: &[&ExecutionLogRecord]) {
    let mut events = BTreeSet::new();
    let mut ends: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows.iter().filter(|row| ids.contains(&row.execution_id)) {
        assert!(events.insert(&row.event_id), "twice in the execution log: {row:?}");
        if row.status.is_some() {
            *ends.entry(&row.execution_id).or_default() += 1;
        }
    }
    for id in ids {
        assert_eq!(ends.get(id.as_str()), Some(&1), "rows that end {id}");
    }
}

/// No call was made twice, of those in `finished`.
///
/// # Panics
/// When it doesn't hold.
pub fn not_called_again(finished: &BTreeSet<String>, keys: &[String]) {
    for id in finished {
        let calls = keys.iter().filter(|key| *key == id).count();
        assert_eq!(calls, 1, "calls of {id}, which had finished");
    }
}
