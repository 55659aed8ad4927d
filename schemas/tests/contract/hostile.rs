//! Bytes and schemas that someone made in order to hurt.

use apache_avro::Schema;
use domain::fact::{DeadLetter, TimerFired};
use domain::request::ModelRequest;
use domain::state::{Position, SetTimer};
use schemas::{
    Ids, MAX_FIXED_BYTES, MAX_SCHEMA_BYTES, MAX_SCHEMA_DEPTH, MAX_VALUES, Problem, ReadError,
    Reader, Record, SchemaRefused, check_full, samples,
};
use serde_json::json;

use crate::values::frame;

/// Zigzag varint.
fn long(value: i64) -> Vec<u8> {
    let mut zigzag = ((value << 1) ^ (value >> 63)) as u64;
    let mut out = Vec::new();
    while zigzag > 0x7f {
        out.push(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    out.push(zigzag as u8);
    out
}

#[test]
fn malformed_data_is_an_error_that_names_the_field() {
    let request = |labels: &[u8]| {
        let mut datum = Vec::new();
        samples::model_request().encode(&mut datum);
        let entry = b"\x02\x08team\x0csearch\x00";
        let at = datum.windows(entry.len()).position(|window| window == entry).unwrap();
        datum.splice(at..at + entry.len(), labels.iter().copied());
        datum
    };
    fn check<R: Record + std::fmt::Debug>(datum: &[u8], field: &str, problem: Problem) {
        let error = R::decode(&mut Reader::new(datum)).unwrap_err();
        assert_eq!((error.field.as_str(), error.problem), (field, problem));
    }
    let ten_megabytes = [long(10_000_000), b"abc".to_vec()].concat();
    check::<TimerFired>(
        &ten_megabytes,
        "timer",
        Problem::Length { length: 10_000_000, remaining: 3 },
    );
    let negative = [long(-1), b"abc".to_vec()].concat();
    check::<TimerFired>(&negative, "timer", Problem::Length { length: -1, remaining: 3 });
    check::<TimerFired>(
        &long(i64::MAX),
        "timer",
        Problem::Length { length: i64::MAX, remaining: 0 },
    );
    check::<TimerFired>(&[4, 0xff, 0xfe, 0], "timer", Problem::Utf8);
    check::<TimerFired>(&[2, b'a', 0x80], "due", Problem::EndOfInput);
    check::<SetTimer>(&[0xff; 10], "due", Problem::LongOverflow);
    check::<SetTimer>(&[0xff; 64], "due", Problem::LongOverflow);
    let int = [long(1), long(1), long(1), long(i64::from(i32::MAX) + 1)].concat();
    check::<Position>(&int, "generation", Problem::IntOverflow(i64::from(i32::MAX) + 1));
    check::<ModelRequest>(&[0, 0, 4], "origin", Problem::Branch(2));
    check::<ModelRequest>(&[0, 0, 1], "origin", Problem::Branch(-1));
    let unknown = Problem::Symbol { name: "OriginKind".into(), index: 0 };
    check::<ModelRequest>(&[0, 0, 2, 0], "origin.kind", unknown);

    let blocks = request(&[long(1 << 40), b"\x02a\x02b".to_vec()].concat());
    assert!(ModelRequest::decode(&mut Reader::new(&blocks)).is_err());
    let blocks = request(&[long(i64::MIN), long(4), b"\x02a\x02b".to_vec()].concat());
    let error = ModelRequest::decode(&mut Reader::new(&blocks)).unwrap_err();
    assert_eq!(error.field, "labels");
    let blocks = request(&[long(-1), long(5), b"\x02a\x02b\x00".to_vec()].concat());
    check::<ModelRequest>(&blocks, "labels", Problem::BlockSize { announced: 5 });
    let size = [long(-1), long(10_000_000), b"\x02a\x02b\x00".to_vec()].concat();
    let error = ModelRequest::decode(&mut Reader::new(&request(&size))).unwrap_err();
    assert!(matches!(error.problem, Problem::Length { length: 10_000_000, .. }), "{error}");
}

/// On its own, because in a record the next field would notice.
#[test]
fn every_primitive_notices_the_end_of_input() {
    let mut nothing = Reader::new(&[]);
    let end = Problem::EndOfInput;
    assert_eq!(nothing.boolean(), Err(end.clone()));
    assert_eq!(nothing.int(), Err(end.clone()));
    assert_eq!(nothing.long(), Err(end.clone()));
    assert_eq!(nothing.bytes(), Err(end.clone()));
    assert_eq!(nothing.string(), Err(end.clone()));
    assert_eq!(nothing.branch(2), Err(end.clone()));
    assert_eq!(nothing.exactly(1), Err(end.clone()));
    assert_eq!(nothing.blocks(|_| Ok(())), Err(end.into()));
    assert_eq!(Reader::new(&[2]).boolean(), Err(Problem::Boolean(2)));
}

#[test]
fn blocks_that_announce_their_size_are_read() {
    let sized = |items: &[u8], count: i64| {
        [long(-count), long(i64::try_from(items.len()).unwrap()), items.to_vec()].concat()
    };
    let plain = samples::dead_letter();
    let mut datum = Vec::new();
    plain.encode(&mut datum);
    let headers = b"\x04\x0ace_id\x02\x31\x0ace_id\x02\xff\x00";
    let at = datum.windows(headers.len()).position(|window| window == headers).unwrap();
    // Two blocks of one item each, both with their size.
    let blocks = [sized(&headers[1..9], 1), sized(&headers[9..17], 1), vec![0]].concat();
    datum.splice(at..at + headers.len(), blocks);
    assert_eq!(DeadLetter::decode(&mut Reader::new(&datum)), Ok(plain));
}

#[test]
fn hostile_schemas_are_refused() {
    let record = |kind: serde_json::Value| json!({"type": "record", "name": "a.B", "fields": [{"name": "f", "type": kind}]});
    let nested = |depth: usize| {
        (0..depth).fold(json!("long"), |inner, _| json!({"type": "array", "items": inner}))
    };
    let doubling = (0..20).fold(json!("long"), |inner, level| {
        let again = if level == 0 { json!("long") } else { json!(format!("R{}", level - 1)) };
        json!({"type": "record", "name": format!("R{level}"), "fields": [
            {"name": "a", "type": inner}, {"name": "b", "type": again}
        ]})
    });
    let node = json!({"type": "record", "name": "Node", "fields": [
        {"name": "next", "type": ["null", "Node"]}
    ]});
    let fixed = json!({"type": "fixed", "name": "F", "size": MAX_FIXED_BYTES + 1});
    let ids = Ids::new();
    for (schema, expected) in [
        (record(nested(MAX_SCHEMA_DEPTH)).to_string(), SchemaRefused::TooDeep),
        (record(doubling).to_string(), SchemaRefused::TooWide),
        (record(node).to_string(), SchemaRefused::Recursive("a.Node".into())),
        (record(fixed).to_string(), SchemaRefused::FixedTooLarge("a.F".into())),
        (" ".repeat(MAX_SCHEMA_BYTES + 1), SchemaRefused::TooLong),
        (String::from(r#""long""#), SchemaRefused::NotARecord),
    ] {
        assert_eq!(ids.learn(900, &schema), Err(expected.clone()));
        let why = expected.to_string().into();
        assert_eq!(ids.name_of(&frame(900, &[])), Err(ReadError::RefusedSchema(900, why)));
    }
    for text in ["", "{", "[]", "{}", "7", r#"{"type": "record"}"#, r#"{"type": "Missing"}"#] {
        assert!(ids.learn(900, text).is_err(), "{text}");
    }
    let deep =
        format!("{}\"long\"{}", r#"{"type":"array","items":"#.repeat(5_000), "}".repeat(5_000));
    let deep = json!({"type": "record", "name": "a.B", "fields": [{"name": "f", "type": "X"}]})
        .to_string()
        .replace("\"X\"", &deep);
    assert!(matches!(ids.learn(900, &deep), Err(SchemaRefused::Unparsable(_))));
    assert_eq!(ids.learn(900, &record(nested(MAX_SCHEMA_DEPTH - 1)).to_string()), Ok(()));
}

#[test]
fn items_without_bytes_are_bounded() {
    let mut schema: serde_json::Value = serde_json::from_str(SetTimer::SCHEMA).unwrap();
    let items = json!({"type": "array", "items": "null"});
    schema["fields"].as_array_mut().unwrap().insert(0, json!({"name": "n", "type": items}));
    let text = schema.to_string();
    Schema::parse_str(&text).unwrap();
    let ids = Ids::for_tests();
    ids.learn(900, &text).unwrap();
    let datum = [long(1_000), long(0), long(5)].concat();
    assert!(ids.read::<SetTimer>(&frame(900, &datum)).is_ok());
    let datum = [long(1 << 60), long(0), long(5)].concat();
    let Err(ReadError::Malformed { problem, .. }) = ids.read::<SetTimer>(&frame(900, &datum))
    else {
        panic!("read a quintillion nulls");
    };
    assert_eq!(problem, Problem::TooMany(MAX_VALUES));
}

#[test]
fn check_full_refuses_another_record() {
    let refused = check_full(SetTimer::SCHEMA, TimerFired::SCHEMA).unwrap_err();
    assert!(matches!(refused, SchemaRefused::Incompatible { .. }), "{refused}");
}
