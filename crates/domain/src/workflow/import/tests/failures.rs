//! What happens when a step fails: branches, defaults, tries.

use serde_json::json;

use super::{Outcome, edge, evaluated, finding, fixtures, imported, llm, made, told};

#[test]
fn fail_branch_becomes_an_error_branch() {
    let (imported, _) = imported(&fixtures::fail_branch());
    let definition = &imported.definition;
    assert_eq!(made(definition, "fetch")["onError"], "bad");
    assert_eq!(
        definition["spec"]["edges"],
        json!([{"from": "fetch", "to": "good"}, {"from": "good", "to": "end"}, {"from": "bad", "to": "end"}])
    );
    let error = json!({"message": "no answer", "code": "timeout"});
    let context = json!({"nodes": {
        "fetch": {"status": "failed", "error": error},
        "good": {"status": "skipped"},
        "bad": {"status": "succeeded", "output": "x"},
    }});
    assert_eq!(evaluated(&made(definition, "bad")["value"], &context), "no answer timeout");
    let result = evaluated(&made(definition, "end")["result"], &context);
    assert_eq!(result, json!({"body": null, "why": "no answer", "status": null}));
    let context = json!({"nodes": {
        "fetch": {"status": "succeeded", "output": {"status_code": 200}},
        "good": {"status": "succeeded", "output": "page"},
    }});
    let result = evaluated(&made(definition, "end")["result"], &context);
    assert_eq!(result, json!({"body": "page", "why": null, "status": 200}));
}

#[test]
fn branch_that_others_lead_to_gets_a_fork_of_its_own() {
    let mut source = fixtures::fail_branch();
    let edges = source["workflow"]["graph"]["edges"].as_array_mut().expect("edges");
    edges[2] = edge("101", "fail-branch", "104");
    edges.remove(4);
    let (imported, _) = imported(&source);
    assert_eq!(made(&imported.definition, "fetch")["onError"], "fetch_failed");
    assert_eq!(made(&imported.definition, "fetch_failed")["kind"], "fork");
    assert!(finding(&imported.report, Outcome::NotConverted, "/workflow/graph/nodes/3").is_some());
}

#[test]
fn what_can_never_be_there_is_null_and_told_of() {
    let mut source = fixtures::fail_branch();
    source["workflow"]["graph"]["nodes"][3]["data"]["variables"][0]["value_selector"] =
        json!(["101", "body"]);
    source["workflow"]["graph"]["nodes"][2]["data"]["variables"][0]["value_selector"] =
        json!(["101", "error_message"]);
    let (imported, _) = imported(&source);
    let told = told(&imported.report, Outcome::NotConverted);
    assert!(told.contains("\"101.body\" is not converted: it is never there"), "{told}");
    assert!(told.contains("\"101.error_message\" is not converted: it is never there"), "{told}");
}

#[test]
fn default_value_becomes_a_default_in_the_form_of_the_output() {
    let mut source = fixtures::summary();
    let data = &mut source["workflow"]["graph"]["nodes"][1]["data"];
    data["error_strategy"] = json!("default-value");
    data["default_value"] = json!([{"key": "text", "type": "string", "value": "sorry {{x"}]);
    data["retry_config"] = json!({"retry_enabled": true, "max_retries": 2, "retry_interval": 0});
    let (summary, _) = imported(&source);
    let model = made(&summary.definition, "draft_it");
    let default = evaluated(&model["default"], &json!({}));
    assert_eq!(default["choices"][0]["message"]["content"], "sorry {{x");
    assert_eq!(model["retry"]["backoff"]["initial"], "1ms");

    let mut source = fixtures::fail_branch();
    let data = &mut source["workflow"]["graph"]["nodes"][1]["data"];
    data["error_strategy"] = json!("default-value");
    data["default_value"] = json!([
        {"key": "body", "type": "string", "value": "none"},
        {"key": "status_code", "type": "number", "value": "599"},
    ]);
    let (fetch, _) = imported(&source);
    let default = &made(&fetch.definition, "fetch")["default"];
    assert_eq!(default, &json!({"status_code": 599, "body": "none", "headers": {}, "files": []}));
    let edge = finding(&fetch.report, Outcome::NotConverted, "/workflow/graph/edges/2");
    assert!(edge.is_some_and(|edge| edge.message.contains("never taken")), "{:#?}", fetch.report);
}

#[test]
fn both_nodes_of_a_structured_answer_lead_to_the_error_branch() {
    let mut source = fixtures::fail_branch();
    let mut model = llm("101", "Fetch", "{{#100.url#}}");
    model["data"]["structured_output_enabled"] = json!(true);
    model["data"]["structured_output"] = json!({"schema": {"type": "object"}});
    model["data"]["error_strategy"] = json!("fail-branch");
    source["workflow"]["graph"]["nodes"][1] = model;
    let (imported, _) = imported(&source);
    let definition = &imported.definition;
    let branches =
        (&made(definition, "fetch")["onError"], &made(definition, "fetch_data")["onError"]);
    assert_eq!(branches, (&json!("fetch_failed"), &json!("fetch_failed")));
    let bad = &made(definition, "bad")["value"];
    let error = json!({"message": "no JSON", "code": "bad"});
    let context = json!({"nodes": {
        "fetch": {"status": "succeeded"},
        "fetch_data": {"status": "failed", "error": error},
    }});
    assert_eq!(evaluated(bad, &context), "no JSON bad");
}
