//! What the machine promises beyond the simulation: bounds, damaged state, poison of our own.

use bytes::Bytes;
use domain::answer::{Failure, ModelOutcome};
use domain::event::{EventType, ExecutionEvent};
use domain::request::{DEFAULT_TENANT, ModelRequest};
use domain::state::{Genesis, Position, SetTimer};
use domain::time::Millis;
use domain::topic::Topic;
use schemas::command::Cancel;
use schemas::{Ids, Record as _};

use super::checkpoint::position_key;
use super::effects::Alarm;
use super::entries::SEPARATOR;
use super::{Options, RestoreError, Restored, Snapshot, genesis_key};
use crate::sim::programs::{Child, outcome};
use crate::testing::Harness;

fn request(id: &str) -> ModelRequest {
    ModelRequest::new(id, "m", "ok")
}

fn done(id: &str) -> Result<ModelOutcome, Failure> {
    Ok(outcome(id))
}

/// Fault 13.
#[test]
fn one_slow_call_holds_back_neither_memory_nor_a_restart() {
    const REQUESTS: usize = 50_000;
    let options = Options { window: Some(64), client_ids_ms: 500, ..Options::default() };
    let mut harness = Harness::with(Child, options);
    harness.publish(&request("slow"));
    let slow = harness.calls()[0].run;
    for nth in 0..REQUESTS {
        let id = format!("r{nth}");
        harness.publish(&request(&id));
        let run = harness.calls().last().map(|started| started.run).expect("there is room");
        assert_ne!(run, slow, "{id} waits behind the slow call");
        harness.end_call(run, done(&id));
        if nth % 100 == 0 {
            harness.pass(20);
        }
        assert!(harness.state().len() < 5_000, "{} entries after {nth}", harness.state().len());
    }
    // Ids are forgotten by state time, which only a record moves.
    harness.pass(1_000);
    harness.command("slow", domain::fact::Order::Resume);
    harness.pass(1_000);
    assert!(harness.state().len() < 16, "{} entries are left", harness.state().len());
    harness.restart();
    let again: Vec<&str> =
        harness.calls().iter().map(|started| started.running.entity.as_str()).collect();
    assert_eq!(again, ["slow"], "only what had not finished is called again");
}

/// Fault 37.
#[test]
fn output_over_the_limit_fails_its_entity_and_the_partition_goes_on() {
    let options = Options { max_record_bytes: 2_048, ..Options::default() };
    let mut harness = Harness::with(Child, options);
    harness.publish(&request("large"));
    let run = harness.calls()[0].run;
    harness.end_call(run, done(crate::sim::programs::HUGE));
    harness.publish(&request("next"));
    let run = harness.calls()[0].run;
    harness.end_call(run, done("next"));
    let end = |id: &str| harness.events(id).last().map(|event| event.event_type);
    assert_eq!(end("large"), Some(EventType::Failed));
    assert_eq!(end("next"), Some(EventType::Succeeded));
}

#[test]
fn id_of_another_tenant_is_refused_aloud_and_touches_nothing() {
    let mut harness = Harness::new(Child);
    let of = |tenant: &str| ModelRequest { tenant: tenant.into(), ..request("shared") };
    let events = |harness: &Harness<Child>, tenant: &str| -> Vec<_> {
        let events = harness.outputs::<ExecutionEvent>(Topic::Results);
        let own = events.filter(|event| event.tenant == tenant);
        own.map(|event| (event.event_type, event.error.map(|error| error.code))).collect()
    };
    let refused = (EventType::Failed, Some("id_taken".to_owned()));
    harness.publish(&of("first"));
    let before = events(&harness, "first");
    harness.publish(&of("second"));
    assert_eq!(harness.calls().len(), 1);
    assert_eq!(events(&harness, "second"), std::slice::from_ref(&refused));
    assert_eq!(events(&harness, "first"), before);
    let run = harness.calls()[0].run;
    harness.end_call(run, done("shared"));
    assert_eq!(events(&harness, "first").last(), Some(&(EventType::Succeeded, None)));
    harness.publish(&of("second"));
    assert_eq!(harness.calls().len(), 0);
    assert_eq!(events(&harness, "second"), [refused.clone(), refused]);
    harness.publish(&of("first"));
    assert_eq!(harness.calls().len(), 0, "the same tenant's is a copy");
}

/// Fault 18.
#[test]
fn command_that_came_early_in_a_writers_own_schema_counts_after_a_restart_elsewhere() {
    let cancel = Cancel { id: "c-1".into(), tenant: DEFAULT_TENANT.into(), reason: None };
    let added = r#""fields": [{"name": "added", "type": "string", "default": ""},"#;
    let theirs = Cancel::SCHEMA.replacen(r#""fields": ["#, added, 1);
    // An empty text, then what ours is.
    let mut datum = vec![0];
    cancel.encode(&mut datum);
    let mut harness = Harness::new(Child);
    harness.append_in("r1", 4_711, &theirs, &datum);
    harness.pass(2_000);
    harness.restart_elsewhere();
    harness.publish(&request("r1"));
    assert_eq!(harness.events("r1").last().map(|it| it.event_type), Some(EventType::Cancelled));
    assert_eq!((harness.calls().len(), harness.alarms().len()), (0, 0));
}

/// Fault 18: a program came back that is older than the last one.
#[test]
fn fact_that_only_a_newer_program_knows_is_a_dead_letter_and_folding_goes_on() {
    let newer = r#"{"type": "record", "name": "Moved", "namespace": "io.stepstream.v1",
        "fields": [{"name": "to", "type": "string"}]}"#;
    let mut harness = Harness::new(Child);
    harness.publish(&request("r1"));
    harness.append_in("r1", 4_711, newer, &[2, b'x']);
    let letters = harness.dead_letters();
    assert_eq!((letters.len(), letters[0].code.as_str()), (1, "wrong_record"));
    assert!(matches!(harness.alarms(), [Alarm::Unreadable { .. }]), "{:?}", harness.alarms());
    harness.end_call(harness.calls()[0].run, done("r1"));
    assert_eq!(harness.events("r1").last().map(|it| it.event_type), Some(EventType::Succeeded));
}

fn snapshot(ids: &Ids, more: &[(String, Vec<u8>)]) -> Snapshot {
    let genesis = Genesis { topic: "model-state".into(), partition: 0, created: Millis(0) };
    let genesis = ids.frame(&genesis).expect("registered");
    let mut snapshot = Snapshot::from([(Bytes::from(genesis_key()), Bytes::from(genesis))]);
    for (key, value) in more {
        snapshot.insert(Bytes::from(key.clone()), Bytes::from(value.clone()));
    }
    snapshot
}

fn position(ids: &Ids, entries: i64) -> (String, Vec<u8>) {
    let position = Position {
        log_offset: 7,
        feed_offset: 3,
        state_time: Millis(9),
        generation: 1,
        program: "p".into(),
        entries,
        senders: Vec::new(),
    };
    (position_key(), ids.frame(&position).expect("registered"))
}

/// Faults 14 and 39.
#[test]
fn damaged_state_is_named_and_never_taken_for_an_empty_one() {
    let ids = Ids::for_tests();
    let key = format!("r1{SEPARATOR}timer{SEPARATOR}deadline");
    let timer = ids.frame(&SetTimer { due: Millis(5) }).expect("registered");
    let read = |snapshot: &Snapshot| Restored::<Child>::read(snapshot, &ids).err();

    let whole = snapshot(&ids, &[position(&ids, 1), (key.clone(), timer.clone())]);
    assert_eq!(read(&whole), None);

    assert_eq!(read(&Snapshot::new()), Some(RestoreError::NoGenesis));
    let missing = snapshot(&ids, &[position(&ids, 1)]);
    assert_eq!(read(&missing), Some(RestoreError::Missing { counted: 1, found: 0 }));

    for (key, value, says) in [
        (key.clone(), timer[..timer.len() - 1].to_vec(), "r1/timer/deadline"),
        (format!("r1{SEPARATOR}tiger{SEPARATOR}x"), timer.clone(), "r1/tiger/x"),
        ("r1".into(), timer, "r1"),
    ] {
        let damaged = snapshot(&ids, &[position(&ids, 0), (key, value)]);
        match read(&damaged) {
            Some(RestoreError::Damaged { key, .. }) => assert_eq!(key, says),
            other => panic!("{says}: {other:?}"),
        }
    }
}
