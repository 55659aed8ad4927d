//! What has no counterpart: it is told of, and nothing runs past it unnoticed.

use serde_json::{Value, json};

use super::{
    NOT_CONVERTED, Outcome, app, edge, end, evaluated, finding, fixtures, imported, made, node,
    start, template, text_input, told,
};

#[test]
fn nodes_without_a_counterpart_fail_in_their_place() {
    let (imported, _) = imported(&fixtures::foreign());
    let definition = &imported.definition;
    let code = made(definition, "code");
    assert_eq!((&code["kind"], &code["onError"]), (&json!("map"), &json!("look_up")));
    let fail = made(code, "code_gap");
    assert_eq!((&fail["kind"], &fail["code"]), (&json!("fail"), &json!(NOT_CONVERTED)));
    // Nothing comes after it, so it fails itself.
    assert_eq!(made(definition, "look_up")["kind"], "fail");
    let again = made(definition, "again_and_again_gap");
    let message = evaluated(&again["message"], &json!({}));
    assert!(message.as_str().expect("a text").contains("Again {{ and again"));
    let edges = definition["spec"]["edges"].as_array().expect("edges");
    for to in ["one", "two"] {
        assert!(edges.contains(&json!({"from": "class", "to": to})), "{edges:?}");
    }
    assert_eq!(made(definition, "one")["value"], "{% set x = nodes.code.output.result %}{{ x }}");
}

#[test]
fn everything_without_a_counterpart_is_told_of() {
    let (imported, _) = imported(&fixtures::foreign());
    let nodes = fixtures::foreign()["workflow"]["graph"]["nodes"].as_array().expect("nodes").len();
    for i in 0..nodes {
        let at = format!("/workflow/graph/nodes/{i}");
        let told = imported.report.iter().any(|finding| finding.pointer == at);
        assert!(told, "nothing of {at} in {:#?}", imported.report);
    }
    let missing = told(&imported.report, Outcome::NotConverted);
    for words in [
        "register it as a function",
        "a model node that names the class",
        "put a loop node here",
        "is inside of \"Again {{ and again\", which isn't converted",
        "register your retrieval",
        "a note on the canvas",
    ] {
        assert!(missing.contains(words), "nothing says {words:?}:\n{missing}");
    }
}

#[test]
fn every_setting_is_either_read_or_told_of() {
    let mut source = fixtures::fetch();
    for node in 0..4 {
        source["workflow"]["graph"]["nodes"][node]["data"]["brand_new"] = json!({"on": true});
    }
    let nodes = &mut source["workflow"]["graph"]["nodes"];
    nodes[1]["data"]["body"]["brand_new"] = json!(1);
    nodes[1]["data"]["timeout"]["brand_new"] = json!(1);
    nodes[2]["data"]["parameters"][0]["brand_new"] = json!(1);
    nodes[2]["data"]["model"]["brand_new"] = json!(1);
    nodes[0]["data"]["variables"][0]["brand_new"] = json!(1);
    nodes[1]["data"]["url"] = json!("x");
    nodes[1]["data"]["params"] = json!(17);
    source["brand_new"] = json!("x");
    source["workflow"]["brand_new"] = json!("x");
    let (imported, _) = imported(&source);
    let graph = "/workflow/graph/nodes";
    for at in [
        "/brand_new".to_owned(),
        "/workflow/brand_new".to_owned(),
        format!("{graph}/0/data/brand_new"),
        format!("{graph}/1/data/brand_new"),
        format!("{graph}/2/data/brand_new"),
        format!("{graph}/3/data/brand_new"),
        format!("{graph}/1/data/body/brand_new"),
        format!("{graph}/1/data/timeout/brand_new"),
        format!("{graph}/1/data/params"),
        format!("{graph}/2/data/parameters/0/brand_new"),
        format!("{graph}/2/data/model/brand_new"),
        format!("{graph}/0/data/variables/0/brand_new"),
    ] {
        assert!(
            finding(&imported.report, Outcome::NotConverted, &at).is_some(),
            "nothing of {at} in {:#?}",
            imported.report
        );
    }
}

#[test]
fn template_that_is_none_here_fails_with_what_the_compiler_says() {
    let body = "{% macro m() %}{% endmacro %}{{ m() }}";
    let source = app(
        "workflow",
        vec![
            start(json!([])),
            template("101", "Macro", body, json!([])),
            template(
                "102",
                "Method",
                "{{ t.split(' ') }}",
                json!([
                {"variable": "t", "value_selector": ["101", "output"]}]),
            ),
            end("103", &[("x", &["102", "output"])]),
        ],
        vec![
            edge("100", "source", "101"),
            edge("101", "source", "102"),
            edge("102", "source", "103"),
        ],
    );
    let (imported, _) = imported(&source);
    assert_eq!(made(&imported.definition, "macro_gap")["code"], NOT_CONVERTED);
    let gap = finding(&imported.report, Outcome::NotConverted, "/workflow/graph/nodes/1");
    assert!(gap.expect("it is told of").message.contains("doesn't compile"));
    assert!(told(&imported.report, Outcome::Different).contains("Python method \"split\""));
}

#[test]
fn gap_in_an_iteration_is_not_skipped_with_its_item() {
    let mut source = fixtures::each();
    source["workflow"]["graph"]["nodes"][4]["data"]["type"] = json!("code");
    let (imported, _) = imported(&source);
    assert_eq!(made(&imported.definition, "each_text")["onItemError"], "fail");
    assert!(told(&imported.report, Outcome::Different).contains("then write onItemError: skip"));
}

#[test]
fn references_to_nothing_are_told_of() {
    let source = app(
        "workflow",
        vec![
            start(json!([text_input("a")])),
            super::llm(
                "101",
                "LLM",
                "{{#999.x#}} {{#101.text#}} {{#103.output#}} {{#env.no#}} {{#context#}}",
            ),
            template("103", "After", "x", json!([])),
            end("102", &[("x", &["101", "nothing"])]),
        ],
        vec![
            edge("100", "source", "101"),
            edge("101", "source", "103"),
            edge("103", "source", "102"),
        ],
    );
    let (imported, _) = imported(&source);
    let missing = told(&imported.report, Outcome::NotConverted);
    for name in ["999.x", "101.text", "103.output", "env.no", "101.nothing"] {
        assert!(missing.contains(&format!("the reference {name:?}")), "{name}:\n{missing}");
    }
    assert!(told(&imported.report, Outcome::Different).contains("the node's context is off"));
}

#[test]
fn circles_strays_and_edges_to_nothing_are_left_out_and_told_of() {
    let source = app(
        "workflow",
        vec![
            start(json!([])),
            template("101", "A", "a", json!([])),
            template("102", "B", "b", json!([])),
            template("103", "Stray", "s", json!([])),
            node("104", "trigger-schedule", "Nightly", json!({"cron_expression": "0 3 * * *"})),
        ],
        vec![
            edge("100", "source", "101"),
            edge("101", "source", "102"),
            edge("102", "source", "101"),
            edge("102", "fail-branch", "101"),
            edge("102", "source", "nowhere"),
        ],
    );
    let (imported, compiled) = imported(&source);
    assert_eq!(compiled.definition.nodes.len(), 2);
    let graph = "/workflow/graph";
    for (at, words) in [
        ("edges/2", "closes a circle"),
        ("edges/3", "never taken"),
        ("edges/4", "names what isn't there"),
        ("nodes/3", "never reached"),
        ("nodes/4", "what triggers it"),
    ] {
        let told = finding(&imported.report, Outcome::NotConverted, &format!("{graph}/{at}"));
        assert!(
            told.is_some_and(|one| one.message.contains(words)),
            "{at}: {:#?}",
            imported.report
        );
    }
}

#[test]
fn graph_of_nothing_but_a_start_compiles() {
    let (imported, _) = imported(&app("workflow", vec![start(json!([]))], vec![]));
    assert_eq!(imported.definition["spec"]["nodes"], json!([{"id": "start", "kind": "fork"}]));
}

#[test]
fn what_is_too_large_is_one_fail_node() {
    let mut nodes = vec![start(json!([]))];
    let mut edges = Vec::new();
    for i in 0..2_001 {
        nodes.push(template(&format!("t{i}"), "T", "x", json!([])));
        edges.push(edge("100", "source", &format!("t{i}")));
    }
    let (imported, _) = imported(&app("workflow", nodes, edges));
    let spec: &Value = &imported.definition["spec"];
    assert_eq!(spec["nodes"][0]["code"], NOT_CONVERTED);
    assert!(told(&imported.report, Outcome::NotConverted).contains("more than 2000 nodes"));
}
