//! Our codecs against apache-avro's, for arbitrary values of every record.

use apache_avro::Schema;
use domain::fact::{Command, Fact, Order};
use proptest::prelude::*;
use schemas::command::{Callback, Cancel, Pause, Resume, Signal};
use schemas::{ALL, Ids, Record, fact, samples};

use crate::values::{for_any, has_free_order, read, write};

#[test]
fn samples_are_one_of_each_record() {
    let names: Vec<&str> = samples::all().iter().map(|sample| sample.record.name).collect();
    let all: Vec<&str> = ALL.iter().map(|declared| declared.name).collect();
    assert_eq!(names, all);
}

#[test]
fn our_bytes_are_those_of_apache_avro() {
    for sample in samples::all() {
        let schema = Schema::parse_str(sample.record.schema).unwrap();
        for_any(&schema, 64, |value| {
            let theirs = write(&schema, &value);
            let ours = (sample.again)(&theirs)
                .map_err(|error| TestCaseError::fail(format!("{}: {error}", sample.record.name)))?;
            prop_assert_eq!(read(&schema, &ours), value.clone(), "{}", sample.record.name);
            prop_assert!(has_free_order(&value) || ours == theirs, "{}", sample.record.name);
            Ok(())
        });
    }
}

#[test]
fn every_strict_prefix_of_a_datum_is_an_error() {
    for sample in samples::all() {
        let schema = Schema::parse_str(sample.record.schema).unwrap();
        for_any(&schema, 16, |value| {
            let datum = write(&schema, &value);
            for end in 0..datum.len() {
                prop_assert!((sample.again)(&datum[..end]).is_err(), "{end} of {}", datum.len());
            }
            Ok(())
        });
    }
}

/// Also what apache-avro's reader takes for a null: the prefix of a frame in a schema that isn't ours.
#[test]
fn every_strict_prefix_of_a_foreign_frame_is_an_error() {
    let ids = Ids::for_tests();
    for sample in samples::all() {
        let added = crate::evolution::with_added_fields(sample.record.schema);
        ids.learn(900, &added).unwrap();
        let schema = Schema::parse_str(&added).unwrap();
        let frame = crate::evolution::frame_with_added_fields(900, &schema, &sample);
        assert_eq!((sample.read)(&ids, &frame).unwrap(), sample.datum);
        for end in 0..frame.len() {
            let read = (sample.read)(&ids, &frame[..end]);
            assert!(read.is_err(), "{}: {end} of {}", sample.record.name, frame.len());
        }
    }
}

#[test]
fn damaged_bytes_never_panic() {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    let samples = samples::all();
    proptest!(config, |(
        which in 0..samples.len(),
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        noise in any::<Vec<u8>>(),
    )| {
        let sample = &samples[which];
        let mut datum = sample.datum.clone();
        let place = place.index(datum.len());
        datum[place] = byte;
        // A damaged datum that is still one reads as what it says: the same bytes again.
        if let Ok(again) = (sample.again)(&datum) {
            prop_assert_eq!((sample.again)(&again), Ok(again.clone()));
        }
        let _ = (sample.again)(&noise);
        let _ = Ids::for_tests().read_fact(&noise);
    });
}

#[test]
fn commands_are_written_as_their_records() {
    let (id, tenant) = (String::from("c-1"), String::from("acme"));
    let word = String::from("word");
    for payload in [None, Some(String::from("{}"))] {
        let command = |order| Command { id: id.clone(), tenant: tenant.clone(), order };
        let check = |order: Order, name: &str, record: Vec<u8>, back: Command| {
            let fact = Fact::Command(command(order));
            let mut datum = Vec::new();
            fact::encode(&fact, &mut datum);
            assert_eq!((fact::name(&fact), &datum), (name, &record));
            assert_eq!(fact, Fact::Command(back));
        };
        fn datum<R: Record>(record: &R) -> Vec<u8> {
            let mut out = Vec::new();
            record.encode(&mut out);
            out
        }
        let cancel = Cancel { id: id.clone(), tenant: tenant.clone(), reason: payload.clone() };
        let order = Order::Cancel { reason: payload.clone() };
        check(order, Cancel::NAME, datum(&cancel), cancel.into());
        let pause = Pause { id: id.clone(), tenant: tenant.clone() };
        check(Order::Pause, Pause::NAME, datum(&pause), pause.into());
        let resume = Resume { id: id.clone(), tenant: tenant.clone() };
        check(Order::Resume, Resume::NAME, datum(&resume), resume.into());
        let signal = Signal {
            id: id.clone(),
            tenant: tenant.clone(),
            name: word.clone(),
            payload: payload.clone(),
        };
        let order = Order::Signal { name: word.clone(), payload: payload.clone() };
        check(order, Signal::NAME, datum(&signal), signal.into());
        let callback = Callback {
            id: id.clone(),
            tenant: tenant.clone(),
            token: word.clone(),
            payload: payload.clone(),
        };
        let order = Order::Callback { token: word.clone(), payload };
        check(order, Callback::NAME, datum(&callback), callback.into());
    }
}
