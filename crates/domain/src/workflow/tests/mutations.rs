//! Definitions damaged at random: the compiler says what is wrong, and never panics.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use super::{compile, examples, json_schema};
use crate::workflow::mermaid;
use crate::workflow::problem::Severity;

const CASES: u32 = 3_000;

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
        "draft",
        "vote",
        "each",
        "end",
        "model",
        "map",
        "loop",
        "all",
        "any",
        "{{ last }}",
        "{{ nodes.draft.output }}",
        "{{ inputs.documents }}",
        "{{",
        "{% if %}",
        "1s",
        "\u{0}é",
        "~/",
        "until",
        "while",
        "onError",
        "compensate",
        "default",
        "first",
        "count",
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
        Just(json!({"type": "object", "properties": {"a": {"$ref": "#/x"}}})),
        Just(json!({"atLeast": 2})),
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
            Value::Array(items) => items.get_mut(key.parse::<usize>().expect("an index")),
            _ => None,
        };
        if child.is_some_and(|child| apply(child, place, damage)) {
            return true;
        }
    }
    false
}

fn damage_at(parent: &mut Value, key: &str, damage: &Damage) {
    match (parent, damage) {
        (Value::Object(fields), Damage::Remove) => drop(fields.shift_remove(key)),
        (Value::Object(fields), Damage::Replace(with)) => {
            fields.insert(key.to_owned(), with.clone());
        }
        (Value::Object(fields), Damage::Rename(to)) => {
            let value = fields.shift_remove(key).unwrap_or_default();
            fields.insert(to.clone(), value);
        }
        (Value::Object(fields), Damage::CutText(at)) => cut(&mut fields[key], *at),
        (Value::Object(fields), Damage::Double) => {
            let value = fields[key].clone();
            fields.insert(format!("{key}2"), value);
        }
        (Value::Array(items), damage) => {
            let index: usize = key.parse().expect("an index");
            match damage {
                Damage::Remove | Damage::Rename(_) => drop(items.remove(index)),
                Damage::Replace(with) => items[index] = with.clone(),
                Damage::CutText(at) => cut(&mut items[index], *at),
                Damage::Double => items.push(items[index].clone()),
            }
        }
        _ => {}
    }
}

fn cut(value: &mut Value, at: usize) {
    if let Value::String(text) = value {
        *text = text.chars().take(at).collect();
    }
}

#[test]
fn damaged_definitions_never_panic() {
    let published = json_schema::validator();
    let strategy = (0_usize..3, prop::collection::vec((0_usize..150, damage()), 1..4));
    let mut runner =
        TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
    let refused = std::cell::Cell::new(0);
    runner
        .run(&strategy, |(example, damages)| {
            let mut definition = examples::all()[example].clone();
            for (mut place, damage) in damages {
                apply(&mut definition, &mut place, &damage);
            }
            match compile(&definition) {
                Ok(compiled) => {
                    prop_assert!(mermaid::flowchart(&compiled).starts_with("flowchart TD"));
                    prop_assert!(
                        published.is_valid(&definition),
                        "compiles, but the published schema refuses it: {definition:#}"
                    );
                }
                Err(problems) => {
                    refused.set(refused.get() + 1);
                    prop_assert!(problems.iter().any(|one| one.severity == Severity::Error));
                    for problem in &problems {
                        let parent = problem.pointer.rsplit_once('/').map_or("", |(up, _)| up);
                        prop_assert!(
                            definition.pointer(&problem.pointer).is_some()
                                || definition.pointer(parent).is_some(),
                            "points to nothing: {problem}"
                        );
                    }
                }
            }
            Ok(())
        })
        .expect("no damage hurts");
    assert!(refused.get() > CASES / 2, "most damage is noticed: {}", refused.get());
}
