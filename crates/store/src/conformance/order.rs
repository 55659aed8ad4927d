//! Sets of writes about one execution, and what a store must have after one, whatever its order.

use std::collections::{BTreeMap, BTreeSet};

use domain::answer::{Cost, ErrorClass, Failure, Usage};
use domain::event::{EventType, ExecutionEvent, Position};
use domain::log_row::ExecutionLogRecord;
use domain::time::Millis;
use domain::topic::Kind;
use domain::workflow::admitted;

use super::execution_of;
use crate::{AcceptedExecution, Execution, Filter, LogPlace, MAX_ROWS, Status, Store};

/// One write about one execution.
#[derive(Clone, Debug)]
pub enum Write {
    /// [`Store::put_accepted`].
    Accepted(AcceptedExecution),
    /// [`Store::apply_event`].
    Event(Box<ExecutionEvent>),
    /// [`Store::append_log_rows`].
    Row(Box<ExecutionLogRecord>),
}

/// The write that the numbers stand for: the same numbers, the same write, as it is with copies.
#[must_use]
pub fn write(tenant: &str, id: &str, which: u8, generation: u8, number: u8) -> Write {
    let mixed = u64::from(generation) * 31 + u64::from(number) * 17;
    match which % 8 {
        0 => Write::Accepted(AcceptedExecution {
            // Each at a time of its own: of two at the same, either may stand.
            request_time: Millis(1_010 + i64::from(generation) * 9 + i64::from(number)),
            search_attributes: attributes(1_010 + i64::from(generation) * 9 + i64::from(number)),
            ..accepted(tenant, id, &format!("alias-{number}"))
        }),
        1 | 2 => {
            let mut row = ExecutionLogRecord::new("x", Kind::Workflow, id, tenant);
            row.event_id = format!("{generation}-{number}");
            row.event_time = Millis(1_015 + i64::from(number / 2));
            row.source_offset = (!number.is_multiple_of(3)).then_some(i64::from(number));
            row.definition = number.is_multiple_of(2).then(|| format!("logged-{number}"));
            Write::Row(Box::new(row))
        }
        _ => {
            let kinds = EventType::ALL;
            let at = usize::try_from(mixed).unwrap_or_default() % kinds.len();
            let mut event = event(tenant, id, (generation, number), kinds[at]);
            event.time = Millis(1_000 + (mixed % 23).cast_signed());
            if event.event_type == EventType::Admitted {
                event.data = Some(admitted::data(1, None, "{}", &attributes(event.time.0)));
            }
            Write::Event(Box::new(event))
        }
    }
}

/// The attributes that facts of this time name, if any: of two at the same time, either may stand.
fn attributes(time: i64) -> BTreeMap<String, String> {
    let all = [("zone", "eu".to_owned()), ("nth", (time % 4).to_string())];
    let named = all.into_iter().take(usize::try_from(time % 3).unwrap_or_default());
    named.map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Writes `writes`, all about one execution, in their order, and compares what the store has then with
/// what the set of them says.
///
/// # Panics
/// When it differs.
pub async fn check_order(store: &dyn Store, writes: &[Write]) {
    let Some((tenant, id)) = writes.first().map(about) else {
        return;
    };
    for write in writes {
        match write.clone() {
            Write::Accepted(accepted) => store.put_accepted(accepted).await,
            Write::Event(event) => store.apply_event(&event).await,
            Write::Row(row) => store.append_log_rows(&[*row]).await,
        }
        .expect("the store takes a good write");
    }
    let (execution, events, rows) = expected(tenant, id, writes);
    let found = execution_of(store, tenant, id).await;
    assert_eq!(found, Some(execution), "an execution follows from the set of writes: {writes:?}");
    let found = store.events(tenant, id, None, MAX_ROWS).await.expect("events are readable");
    assert_eq!(found, events, "events follow from the set of writes: {writes:?}");
    let found = store.log_rows(tenant, id, None, MAX_ROWS).await.expect("rows are readable");
    assert_eq!(found, rows, "rows follow from the set of writes: {writes:?}");
    let page = store.list(tenant, &Filter::default(), None, 10).await.expect("lists are readable");
    assert_eq!(page.executions.len(), 1, "an execution is listed once: {writes:?}");
    let attributes = &page.executions[0].search_attributes;
    for nth in 0..4 {
        let wanted = ("nth".to_owned(), nth.to_string());
        let expected = attributes.get(&wanted.0) == Some(&wanted.1);
        let filter = Filter { attributes: BTreeMap::from([wanted]), ..Filter::default() };
        let page = store.list(tenant, &filter, None, 10).await.expect("lists are readable");
        assert_eq!(page.executions.len(), usize::from(expected), "nth {nth}: {writes:?}");
    }
}

/// What a store must have after a set of writes, said as plainly as possible.
fn expected(
    tenant: &str,
    id: &str,
    writes: &[Write],
) -> (Execution, Vec<ExecutionEvent>, Vec<ExecutionLogRecord>) {
    let (mut requests, mut events, mut rows) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
    let (mut times, mut attributed) = (BTreeSet::new(), BTreeSet::new());
    for write in writes {
        match write {
            Write::Accepted(AcceptedExecution {
                request_time,
                definition,
                search_attributes,
                ..
            }) => {
                times.insert(*request_time);
                attributed.insert((*request_time, search_attributes.clone()));
                requests.insert((*request_time, definition.clone()));
            }
            Write::Event(event) => {
                times.insert(event.time);
                if event.event_type == EventType::Admitted {
                    attributed.insert((event.time, attributes(event.time.0)));
                }
                events.entry(event.position()).or_insert_with(|| (**event).clone());
            }
            Write::Row(row) => {
                times.insert(row.event_time);
                rows.entry(LogPlace::of(row)).or_insert_with(|| (**row).clone());
            }
        }
    }
    let hidden = |event: &ExecutionEvent| {
        events
            .keys()
            .any(|p: &Position| p.number <= event.number && p.generation > event.generation)
    };
    let mut standing: Vec<_> = events.values().filter(|event| !hidden(event)).cloned().collect();
    standing.sort_by_key(|event| event.number);
    let logged = rows.values().filter_map(|row| Some((row.event_time, row.definition.clone()?)));
    let latest = events.values().next_back();
    let newest = events.values().filter(|e| Some(e.generation) == latest.map(|l| l.generation));
    let ended = newest.into_iter().find(|event| event.event_type.is_terminal());
    let created = *times.first().expect("there is a write");
    let tells = ended.or(latest);
    let told = events.values().rev().find_map(|event| Status::after(event.event_type));
    let status = match (ended, latest) {
        (Some(ended), _) => Status::after(ended.event_type).expect("an ending"),
        (None, Some(_)) => told.unwrap_or(Status::Running),
        (None, None) => Status::Accepted,
    };
    let execution = Execution {
        id: id.into(),
        kind: Kind::Workflow,
        tenant: tenant.into(),
        status,
        definition: requests.first().cloned().or(logged.min()).map(|(_, definition)| definition),
        parent_id: None,
        note: None,
        labels: BTreeMap::new(),
        search_attributes: attributed
            .into_iter()
            .find(|(_, attributes)| !attributes.is_empty())
            .map(|(_, attributes)| attributes)
            .unwrap_or_default(),
        created,
        updated: tells.map_or(created, |event| event.time),
        position: latest.map(ExecutionEvent::position),
        output: ended
            .filter(|event| event.event_type == EventType::Succeeded)
            .and_then(|event| event.data.clone()),
        output_claim: None,
        error: ended.and_then(|event| event.error.clone()),
        usage: ended.and_then(|event| event.usage),
        cost: ended.and_then(|event| event.cost.clone()),
    };
    (execution, standing, rows.into_values().collect())
}

/// Up to forty writes, some of them copies. The same seed gives the same ones.
pub(super) fn random_writes(tenant: &str, id: &str, seed: u64) -> Vec<Write> {
    // SplitMix64 (Steele, Lea, Flood 2014): enough for a shuffle, and the same everywhere.
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).to_le_bytes()
    };
    let count = 1 + next()[0] % 40;
    (0..count)
        .map(|_| {
            let [which, generation, number, ..] = next();
            write(tenant, id, which, generation % 3, 1 + number % 8)
        })
        .collect()
}

fn about(write: &Write) -> (&str, &str) {
    match write {
        Write::Accepted(accepted) => (&accepted.tenant, &accepted.id),
        Write::Event(event) => (&event.tenant, &event.execution_id),
        Write::Row(row) => (&row.tenant, &row.execution_id),
    }
}

pub(crate) fn accepted(tenant: &str, id: &str, definition: &str) -> AcceptedExecution {
    AcceptedExecution {
        id: id.into(),
        tenant: tenant.into(),
        kind: Kind::Workflow,
        definition: definition.into(),
        request_time: Millis(1_000),
        labels: BTreeMap::new(),
        search_attributes: BTreeMap::new(),
        note: None,
    }
}

/// An event as a fold puts it out, at (generation, number).
pub(crate) fn event(
    tenant: &str,
    id: &str,
    (generation, number): (u8, u8),
    event_type: EventType,
) -> ExecutionEvent {
    let failed = event_type == EventType::Failed;
    let terminal = event_type.is_terminal();
    let tokens = i64::from(generation) * 100 + i64::from(number);
    ExecutionEvent {
        execution_id: id.into(),
        kind: Kind::Workflow,
        tenant: tenant.into(),
        parent_id: None,
        generation: i32::from(generation),
        number: i64::from(number),
        event_type,
        time: Millis(1_000 + i64::from(number)),
        step: None,
        attempt: None,
        data: Some(format!("{{\"said\":\"{generation}.{number}\"}}")),
        error: failed.then(|| Failure::new(ErrorClass::Timeout, "late", "took too long")),
        usage: terminal.then(|| Usage { output_tokens: tokens, ..Usage::default() }),
        cost: terminal.then(|| Cost { micros: tokens, currency: "USD".into() }),
        data_claim: None,
    }
}
