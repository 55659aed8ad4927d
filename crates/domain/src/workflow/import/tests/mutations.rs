//! Exports damaged at random: what comes out always compiles, and each gap in it is told of.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use super::{NOT_CONVERTED, Outcome, dify, fixtures};
use crate::workflow::compile::compile;

const CASES: u32 = 600;

/// What happens to one place.
#[derive(Clone, Debug)]
enum Damage {
    Remove,
    Replace(Value),
    Rename(String),
    CutText(usize),
    Double,
}

fn damage() -> impl Strategy<Value = Damage> {
    let words = prop::sample::select(vec![
        "",
        "100",
        "101",
        "102",
        "103",
        "true",
        "false",
        "source",
        "fail-branch",
        "success-branch",
        "default-value",
        "error_strategy",
        "code",
        "iteration",
        "loop",
        "if-else",
        "end",
        "answer",
        "llm",
        "{{#101.text#}}",
        "{{#sys.query#}}",
        "{{#102.item#}}",
        "{{",
        "{% if %}",
        "{{#",
        "\u{0}é",
        "~/",
        "item",
        "output",
        "parentId",
        "jinja2",
        "completion",
        "≥",
        "not in",
        "array[number]",
    ]);
    let values = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-2_i64..5).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        words.clone().prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
        Just(json!(["101", "text"])),
        Just(json!(["102", "item", "a-b"])),
        Just(json!(["101", "error_message"])),
        Just(json!({"enabled": true})),
    ];
    prop_oneof![
        Just(Damage::Remove),
        values.prop_map(Damage::Replace),
        words.prop_map(|word| Damage::Rename(word.to_owned())),
        (0_usize..40).prop_map(Damage::CutText),
        Just(Damage::Double),
    ]
}

/// Walks to the `place`-th value, counted through the whole, and damages it there.
fn apply(value: &mut Value, place: &mut usize, damage: &Damage) -> bool {
    let keys: Vec<String> = match value {
        Value::Object(fields) => fields.keys().cloned().collect(),
        Value::Array(items) => (0..items.len()).map(|i| i.to_string()).collect(),
        _ => return false,
    };
    for key in keys {
        if *place == 0 {
            damage_at(value, &key, damage);
            return true;
        }
        *place -= 1;
        let child = match value {
            Value::Object(fields) => fields.get_mut(&key),
            Value::Array(items) => key.parse::<usize>().ok().and_then(|i| items.get_mut(i)),
            _ => None,
        };
        if child.is_some_and(|child| apply(child, place, damage)) {
            return true;
        }
    }
    false
}

fn damage_at(value: &mut Value, key: &str, damage: &Damage) {
    match value {
        Value::Object(fields) => match damage {
            Damage::Remove => drop(fields.remove(key)),
            Damage::Replace(with) => drop(fields.insert(key.to_owned(), with.clone())),
            Damage::Rename(to) => {
                if let Some(field) = fields.remove(key) {
                    fields.insert(to.clone(), field);
                }
            }
            Damage::CutText(at) => cut(fields.get_mut(key), *at),
            Damage::Double => {}
        },
        Value::Array(items) => {
            let index: usize = key.parse().expect("an index");
            match damage {
                Damage::Remove => drop(items.remove(index)),
                Damage::Replace(with) => items[index] = with.clone(),
                Damage::Rename(_) => items.reverse(),
                Damage::CutText(at) => cut(items.get_mut(index), *at),
                Damage::Double => items.push(items[index].clone()),
            }
        }
        _ => {}
    }
}

fn cut(value: Option<&mut Value>, at: usize) {
    if let Some(Value::String(text)) = value {
        let at = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(at);
    }
}

fn places(value: &Value) -> usize {
    match value {
        Value::Object(fields) => fields.values().map(|field| 1 + places(field)).sum(),
        Value::Array(items) => items.iter().map(|item| 1 + places(item)).sum(),
        _ => 0,
    }
}

/// The ids of the `fail` nodes that stand for gaps.
fn gaps<'d>(value: &'d Value, found: &mut Vec<&'d str>) {
    match value {
        Value::Object(fields) => {
            if fields.get("code").and_then(Value::as_str) == Some(NOT_CONVERTED) {
                found.extend(fields.get("id").and_then(Value::as_str));
            }
            fields.values().for_each(|field| gaps(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| gaps(item, found)),
        _ => {}
    }
}

#[test]
fn damaged_exports_become_what_compiles_and_every_gap_is_told_of() {
    let sources = fixtures::all();
    let count = sources.len();
    let cases = (0..count, prop::collection::vec((any::<prop::sample::Index>(), damage()), 1..6));
    let mut runner =
        TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&cases, |(which, damages)| {
        let mut source = sources[which].clone();
        for (place, damage) in &damages {
            let mut place = place.index(places(&source).max(1));
            apply(&mut source, &mut place, damage);
        }
        let Ok(imported) = dify(&source) else { return Ok(()) };
        if let Err(problems) = compile(&imported.definition) {
            return Err(TestCaseError::fail(format!("{problems:#?} in {:#}", imported.definition)));
        }
        let mut found = Vec::new();
        gaps(&imported.definition, &mut found);
        for id in found {
            let own = id.strip_suffix("_gap").unwrap_or(id);
            let is_told = imported.report.iter().any(|finding| {
                finding.outcome == Outcome::NotConverted
                    && finding.node.as_deref().is_none_or(|node| node == own || node == id)
            });
            prop_assert!(is_told, "nothing tells of {id}: {:#?}", imported.report);
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}
