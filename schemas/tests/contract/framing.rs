//! Confluent framing and the table of ids.

use domain::fact::{Fact, TakenOver};
use domain::request::ModelRequest;
use schemas::{ALL, FrameError, Ids, NotOurs, ReadError, Record, SUBJECTS, samples, subjects};

use crate::values::frame;

const STRANGER: &str = r#"{"type": "record", "name": "a.B", "fields": []}"#;

#[test]
fn frame_is_magic_id_and_datum() {
    let ids = Ids::new();
    ids.ours::<ModelRequest>(0x0102_0304);
    let request = samples::model_request();
    let mut datum = Vec::new();
    request.encode(&mut datum);
    let framed = ids.frame(&request).unwrap();
    assert_eq!(framed[..5], [0, 1, 2, 3, 4]);
    assert_eq!(framed[5..], datum);
    assert_eq!(ids.read::<ModelRequest>(&framed), Ok(request));
}

#[test]
fn facts_come_back_as_they_were_framed() {
    let ids = Ids::for_tests();
    let other = ids.clone();
    for fact in [
        Fact::Admitted(samples::admitted()),
        Fact::Rejected(samples::rejected()),
        Fact::Answer(samples::answer()),
        Fact::TakenOver(TakenOver { owner: "o".into(), program: "p".into() }),
    ] {
        let framed = ids.frame_fact(&fact).unwrap();
        assert_eq!(other.read_fact(&framed), Ok(fact));
    }
}

#[test]
fn every_fact_is_read_by_its_record() {
    let ids = Ids::for_tests();
    let all = samples::all();
    for name in subjects::LOG {
        let sample = all.iter().find(|sample| sample.record.name == *name).unwrap();
        let framed = frame(ids.id_of(name).unwrap(), &sample.datum);
        let fact = ids.read_fact(&framed).unwrap();
        assert_eq!(schemas::fact::name(&fact), *name);
        assert_eq!(ids.frame_fact(&fact).unwrap(), framed);
    }
}

#[test]
fn framing_errors_name_what_is_wrong() {
    let ids = Ids::for_tests();
    ids.learn(500, STRANGER).unwrap();
    ids.refuse(501);
    let request = ids.id_of(ModelRequest::NAME).unwrap();
    let mut trailing = ids.frame(&samples::model_request()).unwrap();
    trailing.push(7);
    let strange = || ReadError::WrongRecord { expected: ModelRequest::NAME, found: "a.B".into() };
    for (bytes, expected, code) in [
        (vec![], ReadError::TooShort, "bad_framing"),
        (vec![0, 0, 0, 0], ReadError::TooShort, "bad_framing"),
        (vec![b'{', b'}'], ReadError::BadMagic(b'{'), "bad_framing"),
        (frame(499, &[]), ReadError::UnknownSchema(499), "unknown_schema"),
        (frame(500, &[]), strange(), "wrong_record"),
        (
            frame(501, &[]),
            ReadError::RefusedSchema(501, "the registry doesn't have it".into()),
            "refused_schema",
        ),
        (
            trailing,
            ReadError::TrailingBytes { record: ModelRequest::NAME.into(), count: 1 },
            "trailing_bytes",
        ),
    ] {
        let error = ids.read::<ModelRequest>(&bytes).unwrap_err();
        assert_eq!((&error, error.code()), (&expected, code));
    }
    let request = frame(request, &[]);
    assert!(matches!(ids.read_fact(&request), Err(ReadError::WrongRecord { .. })));
}

#[test]
fn unknown_id_reads_once_it_is_learned() {
    let ids = Ids::new();
    let framed = Ids::for_tests().frame(&samples::chunk()).unwrap();
    let id = schemas::schema_id(&framed).unwrap();
    assert_eq!(ids.name_of(&framed), Err(ReadError::UnknownSchema(id)));
    ids.refuse(id);
    assert!(matches!(ids.name_of(&framed), Err(ReadError::RefusedSchema(..))));
    ids.learn(id, domain::event::Chunk::SCHEMA).unwrap();
    assert_eq!(ids.read(&framed), Ok(samples::chunk()));
    ids.refuse(id);
    assert_eq!(ids.read(&framed), Ok(samples::chunk()), "what is in use stays readable");
}

#[test]
fn record_without_an_id_is_not_framed() {
    let ids = Ids::new();
    let refused = Err(FrameError::NotRegistered(ModelRequest::NAME));
    assert_eq!(ids.frame(&samples::model_request()), refused);
    assert_eq!(ids.register("a.B", 1), Err(NotOurs("a.B".into())));
    assert_eq!(ids.missing().len(), ALL.len());
    for (id, declared) in (1..).zip(ALL) {
        ids.register(declared.name, id).unwrap();
    }
    assert!(ids.missing().is_empty());
}

#[test]
fn refused_ids_are_bounded() {
    let ids = Ids::new();
    for id in 0..25_000 {
        ids.refuse(id);
    }
    let known = (0..25_000)
        .filter(|id| ids.name_of(&frame(*id, &[])) != Err(ReadError::UnknownSchema(*id)))
        .count();
    assert!((1..=10_000).contains(&known), "{known}");
}

#[test]
fn every_record_has_a_subject_and_every_subject_a_record() {
    let all: Vec<_> = subjects::all("dev.").collect();
    for declared in ALL {
        assert!(all.iter().any(|(_, record)| record.name == declared.name), "{}", declared.name);
    }
    let mut names: Vec<&String> = all.iter().map(|(subject, _)| subject).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all.len(), "a subject is listed twice");
    let mut topics: Vec<_> = SUBJECTS.iter().map(|entry| entry.topic).collect();
    topics.sort();
    topics.dedup();
    assert_eq!(topics.len(), SUBJECTS.len(), "a topic is listed twice");
    assert_eq!(all[0].0, "dev.model-requests-io.stepstream.v1.ModelRequest");
}
