//! Each comparison of Dify, by what its counterpart gives.

use serde_json::{Value, json};

use super::{app, edge, end, evaluated, fixtures, imported, made, node, start, template};

/// Whether the condition holds for the value of the input `x`.
#[track_caller]
fn holds(kind: &str, operator: &str, expected: &Value, value: &Value) -> bool {
    let condition = json!({"comparison_operator": operator, "value": expected, "varType": kind,
        "variable_selector": ["100", "x"]});
    let input = if kind == "number" { "number" } else { "text-input" };
    let source = app(
        "workflow",
        vec![
            start(json!([
                {"variable": "x", "label": "x", "type": input, "required": false},
                {"variable": "y", "label": "y", "type": input, "required": false},
            ])),
            node(
                "101",
                "if-else",
                "If",
                json!({"cases": [
                {"case_id": "true", "logical_operator": "and", "conditions": [condition]}]}),
            ),
            template("102", "Yes", "yes", json!([])),
            template("103", "No", "no", json!([])),
        ],
        vec![edge("100", "source", "101"), edge("101", "true", "102"), edge("101", "false", "103")],
    );
    let (imported, _) = imported(&source);
    let switch = made(&imported.definition, "if_2");
    assert_eq!(switch["kind"], "switch", "{:#?}", imported.report);
    assert_eq!((&switch["cases"][0]["to"], &switch["else"]), (&json!("yes"), &json!("no")));
    let context = json!({"inputs": {"x": value, "y": "ab"}, "execution": {"id": "e"}});
    evaluated(&switch["cases"][0]["when"], &context).as_bool().expect("true or false")
}

#[test]
fn comparisons_hold_for_the_same_values() {
    let text = |text: &str| json!(text);
    for (kind, operator, expected, yes, no) in [
        ("string", "contains", text("b"), vec![text("abc")], vec![text("ac"), text("")]),
        ("string", "not contains", text("b"), vec![text("ac"), text("")], vec![text("abc")]),
        (
            "string",
            "start with",
            text("äb"),
            vec![text("äbc")],
            vec![text("aäb"), text(""), text("ä")],
        ),
        (
            "string",
            "end with",
            text("bä"),
            vec![text("abä"), text("bä")],
            vec![text("bäa"), text("ä")],
        ),
        (
            "string",
            "end with",
            text("{{#100.y#}}"),
            vec![text("cab")],
            vec![text("abc"), text("b")],
        ),
        ("string", "is", text("a\"{{b"), vec![text("a\"{{b")], vec![text("a"), Value::Null]),
        ("string", "is not", text("a"), vec![text("b")], vec![text("a"), Value::Null]),
        ("string", "is", text("{{#100.y#}}!"), vec![text("ab!")], vec![text("ab")]),
        ("string", "empty", text(""), vec![text(""), Value::Null], vec![text("a")]),
        ("string", "not empty", text(""), vec![text("a")], vec![text(""), Value::Null]),
        ("string", "null", text(""), vec![Value::Null], vec![text("")]),
        ("string", "not null", text(""), vec![text("")], vec![Value::Null]),
        ("string", "in", json!(["a", "b"]), vec![text("a")], vec![text("c"), text("")]),
        ("string", "not in", json!(["a", "b"]), vec![text("c"), text("")], vec![text("a")]),
        ("array", "contains", text("b"), vec![json!(["b"])], vec![json!(["a"]), json!([])]),
        (
            "array",
            "all of",
            json!(["a", "b"]),
            vec![json!(["b", "a", "c"])],
            vec![json!(["a"]), json!([])],
        ),
        ("array", "exists", Value::Null, vec![json!([])], vec![Value::Null]),
        ("array", "not exists", Value::Null, vec![Value::Null], vec![json!([])]),
        ("number", "=", text("1"), vec![json!(1), json!(1.0)], vec![json!(2), Value::Null]),
        ("number", "≠", text("1"), vec![json!(2)], vec![json!(1), Value::Null]),
        ("number", ">", text("1.5"), vec![json!(2)], vec![json!(1), json!(1.5), Value::Null]),
        ("number", "<", text("-1"), vec![json!(-2)], vec![json!(-1), Value::Null]),
        ("number", "≥", text("1"), vec![json!(1)], vec![json!(0.5), Value::Null]),
        ("number", "≤", text("1"), vec![json!(1)], vec![json!(1.5), Value::Null]),
        ("boolean", "is", json!(true), vec![json!(true)], vec![json!(false), Value::Null]),
        ("boolean", "is", text("false"), vec![json!(false)], vec![json!(true)]),
    ] {
        for value in &yes {
            assert!(holds(kind, operator, &expected, value), "{value} {operator} {expected}");
        }
        for value in &no {
            assert!(!holds(kind, operator, &expected, value), "not {value} {operator} {expected}");
        }
    }
}

#[test]
fn first_case_that_holds_is_taken_and_the_rest_comes_together() {
    let (imported, compiled) = imported(&fixtures::three_ways());
    assert_eq!(compiled.warnings, []);
    let switch = made(&imported.definition, "which_way");
    let cases = switch["cases"].as_array().expect("cases");
    let taken = |topic: &str| {
        let context = json!({"inputs": {"topic": topic}, "execution": {"id": "e"}});
        let case = cases.iter().find(|case| evaluated(&case["when"], &context) == json!(true));
        case.map_or(switch["else"].clone(), |case| case["to"].clone())
    };
    for (topic, wanted) in [
        ("a refund?", "refund"),
        ("order", "order"),
        ("buy it?", "order"),
        ("why?", "ask"),
        ("hm", "other"),
    ] {
        assert_eq!(taken(topic), wanted, "{topic}");
    }
    let pick = &made(&imported.definition, "pick")["value"];
    let context = json!({"nodes": {
        "refund": {"status": "skipped"},
        "order": {"status": "succeeded", "output": "order"},
        "ask": {"status": "skipped"},
        "other": {"status": "skipped"},
    }});
    assert_eq!(evaluated(pick, &context), json!({"output": "order"}));
}

#[test]
fn case_that_leads_nowhere_or_to_several_gets_a_fork() {
    let condition = json!({"comparison_operator": "is", "value": "a", "varType": "string",
        "variable_selector": ["100", "x"]});
    let source = app(
        "workflow",
        vec![
            start(json!([super::text_input("x")])),
            node(
                "101",
                "if-else",
                "Old",
                json!({"logical_operator": "and", "conditions": [condition]}),
            ),
            template("102", "A", "a", json!([])),
            template("103", "B", "b", json!([])),
            end("104", &[("a", &["102", "output"]), ("b", &["103", "output"])]),
        ],
        vec![
            edge("100", "source", "101"),
            edge("101", "true", "102"),
            edge("101", "true", "103"),
            edge("102", "source", "104"),
            edge("103", "source", "104"),
        ],
    );
    let (imported, _) = imported(&source);
    let switch = made(&imported.definition, "old");
    assert_eq!(switch["cases"][0]["to"], "old_case_1");
    assert_eq!(made(&imported.definition, "old_case_1")["kind"], "fork");
    assert_eq!(made(&imported.definition, "old_else")["kind"], "fork");
}

#[test]
fn condition_without_conditions_hides_nothing_from_the_compiler() {
    for operator in ["and", "or"] {
        let source = app(
            "workflow",
            vec![
                start(json!([])),
                node(
                    "101",
                    "if-else",
                    "Check",
                    json!({"cases": [
                    {"case_id": "true", "logical_operator": operator, "conditions": []}]}),
                ),
                template("102", "Yes", "yes", json!([])),
                template("103", "No", "no", json!([])),
            ],
            vec![
                edge("100", "source", "101"),
                edge("101", "true", "102"),
                edge("101", "false", "103"),
            ],
        );
        let (imported, _) = imported(&source);
        assert_eq!(made(&imported.definition, "check")["kind"], "switch");
    }
}
