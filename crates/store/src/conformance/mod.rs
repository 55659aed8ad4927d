//! What every store has to do, as one suite that each implementation's tests run.
//!
//! It panics with the promise that is broken. It writes under tenants that begin with the given
//! namespace, and deletes nothing, so it can run again on the same database under another one.

mod order;

use std::collections::BTreeMap;

use bytes::Bytes;
use domain::claim::ClaimCheck;
use domain::event::{EventType, ExecutionEvent, Position};
use domain::log_row::ExecutionLogRecord;
use domain::time::Millis;
use domain::topic::Kind;
use domain::workflow::admitted;

use crate::{
    AcceptedExecution, Batch, CHUNK_BYTES, Cursor, Execution, Filter, LogPlace, MAX_ROWS, Progress,
    Status, Store, ValueHash,
};
use order::random_writes;

pub use order::{Write, check_order, write};
pub(crate) use order::{accepted, event};

/// Random sets of writes that one run of the suite tries.
const SEEDS: u64 = 50;

/// Runs the whole suite on `store`.
///
/// # Panics
/// When the store breaks a promise.
pub async fn run(store: &dyn Store, namespace: &str) {
    let tenant = |case: &str| format!("{namespace}-{case}");
    accepted_execution_is_found_at_once(store, &tenant("accepted")).await;
    late_request_overwrites_nothing(store, &tenant("late")).await;
    ending_carries_answer_usage_and_cost(store, &tenant("ending")).await;
    higher_generation_replaces_from_its_number_on(store, &tenant("generation")).await;
    reader_resumes_where_it_was(store, &tenant("resume")).await;
    tenant_sees_only_its_own(store, &tenant("tenant")).await;
    pages_of_a_list_are_the_whole_list(store, &tenant("list")).await;
    executions_are_found_by_their_attributes(store, &tenant("attributes")).await;
    pages_of_log_rows_are_all_rows(store, &tenant("rows")).await;
    progress_is_kept_for_each_partition(store, &tenant("progress")).await;
    no_read_returns_more_than_a_page(store, &tenant("page")).await;
    value_is_found_by_its_hash_and_its_tenant(store, &tenant("value")).await;
    claim_of_an_answer_is_kept_with_it(store, &tenant("claim")).await;
    for seed in 0..SEEDS {
        let writes = random_writes(&tenant(&format!("seed-{seed}")), "e", seed);
        check_order(store, &writes).await;
    }
}

async fn execution_of(store: &dyn Store, tenant: &str, id: &str) -> Option<Execution> {
    store.execution(tenant, id).await.expect("executions are readable")
}

/// The positions of the events after `after`.
async fn heard(store: &dyn Store, tenant: &str, after: Option<(i32, i64)>) -> Vec<(i32, i64)> {
    let after = after.map(|(generation, number)| Position { generation, number });
    let events = store.events(tenant, "e", after, 100).await.expect("events are readable");
    events.iter().map(|event| (event.generation, event.number)).collect()
}

async fn accepted_execution_is_found_at_once(store: &dyn Store, tenant: &str) {
    assert_eq!(execution_of(store, tenant, "e").await, None, "what nobody wrote isn't there");
    assert!(heard(store, tenant, None).await.is_empty());
    let mut request = accepted(tenant, "e", "fast");
    request.labels = BTreeMap::from([("team".into(), "blue".into())]);
    store.put_accepted(request.clone()).await.expect("a request is taken");
    let execution = execution_of(store, tenant, "e").await.expect("an accepted request is found");
    assert_eq!(execution.status, Status::Accepted);
    assert_eq!(execution.definition.as_deref(), Some("fast"));
    assert_eq!((execution.created, execution.updated), (Millis(1_000), Millis(1_000)));
    assert_eq!((execution.position, execution.labels), (None, request.labels));
}

async fn late_request_overwrites_nothing(store: &dyn Store, tenant: &str) {
    for (number, event_type) in [(1, EventType::Admitted), (2, EventType::Succeeded)] {
        let event = event(tenant, "e", (0, number), event_type);
        store.apply_event(&event).await.expect("an event is taken");
    }
    let noted = |note: &str| Some(note.to_owned());
    let first = AcceptedExecution { note: noted("a"), ..accepted(tenant, "e", "fast") };
    store.put_accepted(first).await.expect("a request is taken");
    let again = AcceptedExecution {
        request_time: Millis(9_000),
        note: noted("b"),
        ..accepted(tenant, "e", "slow")
    };
    store.put_accepted(again).await.expect("a request is taken");
    let execution = execution_of(store, tenant, "e").await.expect("it is there");
    assert_eq!(execution.status, Status::Succeeded, "a request doesn't undo an ending");
    assert_eq!(execution.note, noted("a"), "with its note");
    assert_eq!(execution.definition.as_deref(), Some("fast"), "the earliest request stands");
    assert_eq!(execution.created, Millis(1_000));
}

async fn ending_carries_answer_usage_and_cost(store: &dyn Store, tenant: &str) {
    let failed = event(tenant, "failed", (0, 2), EventType::Failed);
    let succeeded = event(tenant, "succeeded", (0, 2), EventType::Succeeded);
    let late = event(tenant, "succeeded", (0, 3), EventType::Cancelled);
    let batch = [late, succeeded.clone(), failed.clone()];
    store.apply_events(&batch).await.expect("events are taken");
    let execution = execution_of(store, tenant, "failed").await.expect("it is there");
    assert_eq!((execution.status, execution.output), (Status::Failed, None));
    assert_eq!(execution.error, failed.error);
    let execution = execution_of(store, tenant, "succeeded").await.expect("it is there");
    assert_eq!(execution.status, Status::Succeeded, "the first ending stands");
    assert_eq!((execution.output, execution.error), (succeeded.data, None));
    assert_eq!((execution.usage, execution.cost), (succeeded.usage, succeeded.cost));
}

async fn higher_generation_replaces_from_its_number_on(store: &dyn Store, tenant: &str) {
    use EventType::{Admitted, Cancelled, Failed, Queued, Started, Succeeded};
    let said =
        |generation, number, event_type| event(tenant, "e", (generation, number), event_type);
    let first = [said(1, 1, Admitted), said(1, 2, Queued), said(1, 3, Started), said(1, 4, Failed)];
    store.apply_events(&first).await.expect("events are taken");
    store.apply_event(&said(2, 3, Started)).await.expect("an event is taken");
    assert_eq!(heard(store, tenant, None).await, [(1, 1), (1, 2), (2, 3)]);
    let execution = execution_of(store, tenant, "e").await.expect("it is there");
    assert_eq!(execution.status, Status::Running, "an ending that was replaced doesn't count");
    store.apply_event(&said(1, 5, Cancelled)).await.expect("an event is taken");
    assert_eq!(heard(store, tenant, None).await, [(1, 1), (1, 2), (2, 3)], "a lower one is late");
    store.apply_event(&said(2, 4, Succeeded)).await.expect("an event is taken");
    assert_eq!(heard(store, tenant, None).await, [(1, 1), (1, 2), (2, 3), (2, 4)]);
    let execution = execution_of(store, tenant, "e").await.expect("it is there");
    assert_eq!(execution.status, Status::Succeeded);
}

async fn reader_resumes_where_it_was(store: &dyn Store, tenant: &str) {
    use EventType::{Admitted, Queued, Started, Succeeded};
    let said =
        |generation, number, event_type| event(tenant, "e", (generation, number), event_type);
    let all = [said(1, 1, Admitted), said(1, 2, Queued), said(1, 3, Queued), said(1, 4, Started)];
    store.apply_events(&all).await.expect("events are taken");
    store.apply_events(&[said(2, 3, Started), said(2, 4, Succeeded)]).await.expect("taken");
    // Late, and hidden.
    store.apply_events(&[said(1, 5, Queued), said(1, 6, Queued)]).await.expect("events are taken");
    for (after, expected) in [
        (None, vec![(1, 1), (1, 2), (2, 3), (2, 4)]),
        (Some((0, 0)), vec![(1, 1), (1, 2), (2, 3), (2, 4)]),
        (Some((1, 1)), vec![(1, 2), (2, 3), (2, 4)]),
        (Some((1, 4)), vec![(2, 3), (2, 4)]),
        (Some((2, 3)), vec![(2, 4)]),
        (Some((2, 4)), vec![]),
        (Some((2, 5)), vec![]),
        (Some((2, 0)), vec![(1, 1), (1, 2), (2, 3), (2, 4)]),
        (Some((9, 9)), vec![]),
    ] {
        assert_eq!(heard(store, tenant, after).await, expected, "after {after:?}");
    }
    let two = store.events(tenant, "e", None, 2).await.expect("events are readable");
    assert_eq!(two.iter().map(|event| event.number).collect::<Vec<_>>(), [1, 2]);
}

async fn tenant_sees_only_its_own(store: &dyn Store, tenant: &str) {
    // Names that a key made by joining them would mix up.
    let (one, other) = (format!("{tenant}/a"), tenant.to_owned());
    for (tenant, id) in [(&one, "b"), (&other, "a/b"), (&other, "b")] {
        let said = event(tenant, id, (0, 1), EventType::Admitted);
        let row = ExecutionLogRecord::new("x", Kind::Model, id, tenant);
        let batch = Batch { events: vec![said], rows: vec![row], ..Batch::default() };
        store.archive(batch).await.expect("a batch is taken");
    }
    for (tenant, ids) in [(&one, vec!["b"]), (&other, vec!["a/b", "b"])] {
        let page = store.list(tenant, &Filter::default(), None, 10).await.expect("listed");
        let mut listed: Vec<_> = page.executions.iter().map(|e| e.id.as_str()).collect();
        listed.sort_unstable();
        assert_eq!(listed, ids, "{tenant} lists its own");
        assert!(page.executions.iter().all(|execution| execution.tenant == *tenant));
        for id in ["b", "a/b"] {
            let own = usize::from(ids.contains(&id));
            let events = store.events(tenant, id, None, 10).await.expect("events are readable");
            let rows = store.log_rows(tenant, id, None, 10).await.expect("rows are readable");
            let execution = execution_of(store, tenant, id).await;
            let found = (events.len(), rows.len(), execution.iter().count());
            assert_eq!(found, (own, own, own), "{tenant} sees its own of {id}");
        }
    }
}

async fn pages_of_a_list_are_the_whole_list(store: &dyn Store, tenant: &str) {
    let kinds = [Kind::Model, Kind::Workflow];
    let mut all = Vec::new();
    for number in 0..25_u8 {
        let mut said = event(tenant, &format!("e{number:02}"), (0, 1), EventType::Admitted);
        // Some share their time.
        said.time = Millis(1_000 + i64::from(number / 3));
        said.kind = kinds[usize::from(number % 2)];
        if number % 5 == 0 {
            said.event_type = EventType::Failed;
        }
        all.push(said);
    }
    store.apply_events(&all).await.expect("events are taken");
    all.sort_by(|a, b| (b.time, &b.execution_id).cmp(&(a.time, &a.execution_id)));
    for (filter, wanted) in filters() {
        let wanted: Vec<_> =
            all.iter().filter(|e| wanted(e)).map(|e| e.execution_id.as_str()).collect();
        check_list(store, tenant, &filter, &wanted).await;
    }
}

/// A list has these, in pages of any size.
async fn check_list(store: &dyn Store, tenant: &str, filter: &Filter, wanted: &[&str]) {
    for limit in [1, 4, 25, 100] {
        let (mut found, mut cursor) = (Vec::new(), None::<Cursor>);
        loop {
            let page = store.list(tenant, filter, cursor.as_ref(), limit).await;
            let page = page.expect("lists are readable");
            assert!(page.executions.len() <= limit, "a page is within its limit");
            found.extend(page.executions.into_iter().map(|execution| execution.id));
            // Through its text, as clients hand it back.
            match page.next.map(|next| next.to_string()) {
                Some(text) => cursor = Some(Cursor::parse(&text).expect("it is ours")),
                None => break,
            }
        }
        assert_eq!(found, wanted, "{filter:?} in pages of {limit}");
    }
}

fn texts(texts: &[(&str, &str)]) -> BTreeMap<String, String> {
    texts.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

async fn executions_are_found_by_their_attributes(store: &dyn Store, tenant: &str) {
    // Over some hours; what is between them has other attributes, or another tenant.
    const STEP: i64 = 40 * 60 * 1000;
    let mut expected = Vec::new();
    for number in 0..12_i64 {
        let id = format!("e{number:02}");
        let parity = if number % 2 == 0 { "even" } else { "odd" };
        let third = (number % 3).to_string();
        let attributes = texts(&[("customer", "c/7"), ("parity", parity), ("third", &third)]);
        let time = Millis(1_000_000 + number * STEP);
        if number % 4 == 0 {
            // Told by its request, and a little later by its admission.
            let request = AcceptedExecution {
                request_time: Millis(time.0 - 5),
                search_attributes: attributes.clone(),
                ..accepted(tenant, &id, "fast")
            };
            store.put_accepted(request).await.expect("a request is taken");
        }
        let mut said = event(tenant, &id, (0, 1), EventType::Admitted);
        said.time = time;
        said.data = Some(admitted::data(1, None, r#"{"customer":"x"}"#, &attributes));
        let mut ended = event(tenant, &id, (0, 2), EventType::Succeeded);
        ended.time = Millis(time.0 + 1);
        store.apply_events(&[ended, said.clone()]).await.expect("events are taken");
        // As a replay has it.
        store.apply_event(&said).await.expect("an event is taken");
        let found = execution_of(store, tenant, &id).await.expect("it is there");
        assert_eq!(found.search_attributes, attributes);
        expected.insert(0, (id, number));
    }
    let mut stranger = accepted(&format!("{tenant}-other"), "e03", "fast");
    stranger.search_attributes = texts(&[("customer", "c/7")]);
    store.put_accepted(stranger).await.expect("a request is taken");
    let mut nobody = accepted(tenant, "nobody", "fast");
    nobody.search_attributes = texts(&[("customer", "c"), ("c", "customer"), ("empty", "")]);
    store.put_accepted(nobody).await.expect("a request is taken");
    let by =
        |attributes: &[(&str, &str)]| Filter { attributes: texts(attributes), ..Filter::default() };
    let of = |wanted: fn(i64) -> bool| -> Vec<&str> {
        let wanted = expected.iter().filter(|(_, number)| wanted(*number));
        wanted.map(|(id, _)| id.as_str()).collect()
    };
    let (from, to) = (Some(Millis(1_000_000 + 3 * STEP)), Some(Millis(1_000_000 + 9 * STEP)));
    let all = by(&[("customer", "c/7")]);
    for (filter, wanted) in [
        (all.clone(), of(|_| true)),
        (by(&[("parity", "odd")]), of(|number| number % 2 == 1)),
        (by(&[("parity", "odd"), ("third", "2")]), of(|number| number % 6 == 5)),
        (by(&[("customer", "c/7"), ("parity", "none")]), Vec::new()),
        (by(&[("parity", "")]), Vec::new()),
        (by(&[("none", "odd")]), Vec::new()),
        (by(&[("empty", "")]), vec!["nobody"]),
        (by(&[("customer", "c")]), vec!["nobody"]),
        (Filter { from, ..all.clone() }, of(|number| number >= 3)),
        (Filter { from, to, ..all.clone() }, of(|number| (3..9).contains(&number))),
        (Filter { status: Some(Status::Succeeded), ..all.clone() }, of(|_| true)),
        (Filter { status: Some(Status::Failed), ..all.clone() }, Vec::new()),
        (Filter { kind: Some(Kind::Model), ..all.clone() }, Vec::new()),
        (Filter { from: to, to: from, ..all }, Vec::new()),
    ] {
        check_list(store, tenant, &filter, &wanted).await;
    }
}

type Wanted = fn(&ExecutionEvent) -> bool;

fn filters() -> Vec<(Filter, Wanted)> {
    let all = Filter::default();
    let (from, to) = (Some(Millis(1_002)), Some(Millis(1_005)));
    vec![
        (all.clone(), |_| true),
        (Filter { kind: Some(Kind::Workflow), ..all.clone() }, |e| e.kind == Kind::Workflow),
        (Filter { status: Some(Status::Failed), ..all.clone() }, |e| e.event_type.is_terminal()),
        (Filter { status: Some(Status::Paused), ..all.clone() }, |_| false),
        (Filter { from, ..all.clone() }, |e| e.time.0 >= 1_002),
        (Filter { to, ..all.clone() }, |e| e.time.0 < 1_005),
        (Filter { from, to, ..all.clone() }, |e| (1_002..1_005).contains(&e.time.0)),
        (Filter { from: to, to: from, ..all }, |_| false),
    ]
}

async fn pages_of_log_rows_are_all_rows(store: &dyn Store, tenant: &str) {
    let row = |time, offset, name: &str| {
        let mut row = ExecutionLogRecord::new("x", Kind::Model, "e", tenant);
        (row.event_time, row.source_offset, row.event_id) = (Millis(time), offset, name.into());
        row
    };
    let in_order = [
        row(1, None, "z"),
        row(1, Some(0), "y"),
        row(1, Some(9), "a"),
        row(1, Some(10), "b"),
        row(2, Some(3), "c"),
        row(2, Some(3), "d"),
    ];
    for at in [3, 0, 5, 1, 4, 2, 3, 0] {
        store.append_log_rows(&in_order[at..=at]).await.expect("a row is taken");
    }
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let rows = store.log_rows(tenant, "e", after.as_ref(), 2).await.expect("readable");
        let Some(last) = rows.last() else { break };
        after = Some(LogPlace::of(last));
        found.extend(rows);
    }
    assert_eq!(found, in_order, "log rows come once each and in log order");
}

async fn progress_is_kept_for_each_partition(store: &dyn Store, tenant: &str) {
    // Progress belongs to no tenant; the name only keeps runs apart.
    let (results, log) = (format!("{tenant}-results"), format!("{tenant}-log"));
    let progress = |topic: &str, partition, next_offset| Progress {
        topic: topic.into(),
        partition,
        next_offset,
    };
    assert_eq!(store.progress(&results, 0).await.expect("readable"), None);
    let events = vec![event(tenant, "e", (0, 1), EventType::Admitted)];
    let first = vec![progress(&results, 0, 5), progress(&results, 1, 7), progress(&log, 0, 9)];
    store.archive(Batch { events, progress: first, ..Batch::default() }).await.expect("taken");
    assert!(execution_of(store, tenant, "e").await.is_some(), "progress comes with its rows");
    // A replay moves it back.
    let back = Batch { progress: vec![progress(&results, 0, 2)], ..Batch::default() };
    store.archive(back).await.expect("taken");
    for (topic, partition, next) in [(&results, 0, 2), (&results, 1, 7), (&log, 0, 9)] {
        let found = store.progress(topic, partition).await.expect("readable");
        assert_eq!(found, Some(next), "{topic} {partition}");
    }
    store.flush().await.expect("a flush succeeds");
}

async fn no_read_returns_more_than_a_page(store: &dyn Store, tenant: &str) {
    let count = i64::try_from(MAX_ROWS).expect("a page is small") + 1;
    let mut batch = Batch::default();
    for number in 1..=count {
        let mut said = event(tenant, "e", (0, 1), EventType::Queued);
        said.number = number;
        batch.events.push(said);
        let mut row = ExecutionLogRecord::new("x", Kind::Model, "e", tenant);
        row.source_offset = Some(number);
        batch.rows.push(row);
    }
    store.archive(batch).await.expect("a large batch is taken");
    let events = store.events(tenant, "e", None, usize::MAX).await.expect("readable");
    let rows = store.log_rows(tenant, "e", None, usize::MAX).await.expect("readable");
    assert_eq!((events.len(), rows.len()), (MAX_ROWS, MAX_ROWS));
    let last = events.last().map(ExecutionEvent::position);
    let rest = store.events(tenant, "e", last, usize::MAX).await.expect("readable");
    assert_eq!(rest.len(), 1, "what a page left out is on the next one");
}

async fn value_is_found_by_its_hash_and_its_tenant(store: &dyn Store, tenant: &str) {
    let (one, other) = (format!("{tenant}/a"), tenant.to_owned());
    for length in [1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES - 1] {
        // Bytes that are no text, each length its own.
        let value: Bytes = (0..length).map(|n| ((n * 31 + length) % 256) as u8).collect();
        let hash = ValueHash::of(&value);
        assert_eq!(store.value(&one, &hash).await.expect("readable"), None, "nobody put it");
        for time in [2_000, 1_000, 3_000] {
            let put = store.put_value(&one, &value, Millis(time)).await.expect("a value is taken");
            assert_eq!(put, hash, "the same bytes are the same value");
            let found = store.value(&one, &hash).await.expect("readable");
            assert!(found.as_ref() == Some(&value), "{length} bytes come back as they were");
        }
        let theirs = store.value(&other, &hash).await.expect("readable");
        assert!(theirs.is_none(), "a value is its tenant's, whoever knows the hash");
    }
}

async fn claim_of_an_answer_is_kept_with_it(store: &dyn Store, tenant: &str) {
    let claim = ClaimCheck {
        hash: ValueHash::of(b"x").as_str().to_owned(),
        length: 1,
        media_type: "application/json".into(),
    };
    let mut said = event(tenant, "e", (0, 1), EventType::Succeeded);
    (said.data, said.data_claim) = (None, Some(claim.clone()));
    store.apply_event(&said).await.expect("an event is taken");
    let execution = execution_of(store, tenant, "e").await.expect("it is there");
    assert_eq!((execution.output, execution.output_claim), (None, Some(claim)));
    let events = store.events(tenant, "e", None, 10).await.expect("events are readable");
    assert_eq!(events, [said]);
}
