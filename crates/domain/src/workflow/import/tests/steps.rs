//! What steps become that succeed.

use serde_json::{Value, json};

use super::{
    Outcome, app, edge, end, evaluated, finding, fixtures, imported, inside, llm, made, node,
    start, template, text_input, told,
};
use crate::workflow::schema;

#[test]
fn start_model_and_end_become_inputs_a_model_node_and_a_result() {
    let (imported, compiled) = imported(&fixtures::summary());
    let definition = &imported.definition;
    assert_eq!(compiled.warnings, []);
    assert_eq!(definition["metadata"]["name"], "order-desk");
    let inputs = &definition["spec"]["inputs"];
    let words = json!({"type": "number", "title": "Words", "default": 200});
    assert_eq!(inputs["properties"]["words"], words);
    for (value, fits) in [
        (json!({"topic": "x"}), true),
        (json!({"topic": "x", "tone": "plain", "words": 3}), true),
        (json!({"topic": "x", "tone": null}), true),
        (json!({"tone": "plain"}), false),
        (json!({"topic": "x".repeat(49)}), false),
        (json!({"topic": "x", "tone": "loud"}), false),
        (json!({"topic": "x", "words": "3"}), false),
    ] {
        assert_eq!(schema::violations(inputs, &value).is_empty(), fits, "{value}");
    }
    let model = made(definition, "draft_it");
    assert_eq!((&model["kind"], &model["model"]), (&json!("model"), &json!("gpt-4o")));
    assert_eq!(model["request"]["temperature"], 0.7);
    let variables = &definition["spec"]["variables"];
    let context = json!({
        "inputs": {"topic": "tea", "tone": null, "words": 200},
        "variables": {"company": evaluated(&variables["company"]["value"], &json!({}))},
        "nodes": {"draft_it": {"output": {"choices": [{"message": {"content": "Tea is good."}}]}}},
    });
    let messages = evaluated(&model["request"]["messages"], &context);
    let content = "Write 200 words, , on tea for ACME {{x}}. Mind the {{braces}}.";
    assert_eq!(messages, json!([{"role": "user", "content": content}]));
    let end = made(definition, "end");
    assert_eq!(end["kind"], "end");
    let result = evaluated(&end["result"], &context);
    assert_eq!(result, json!({"summary": "Tea is good.", "topic": "tea"}));
    assert_eq!(definition["spec"]["edges"], json!([{"from": "draft_it", "to": "end"}]));
    assert_eq!(definition["spec"]["layout"]["draft_it"], json!({"x": 80, "y": 282}));
}

#[test]
fn secrets_are_never_copied() {
    for source in [fixtures::summary(), fixtures::fetch()] {
        let (imported, _) = imported(&source);
        assert!(!imported.definition.to_string().contains("do-not-copy-me"));
        assert!(!format!("{:?}", imported.report).contains("do-not-copy-me"));
        let at = "/workflow/environment_variables/";
        assert!(finding(&imported.report, Outcome::NotConverted, at).is_some());
    }
}

#[test]
fn request_becomes_a_function_call_and_its_key_stays_with_the_function() {
    let (imported, compiled) = imported(&fixtures::fetch());
    assert_eq!(compiled.warnings, []);
    let node = made(&imported.definition, "fetch_customer");
    let context = json!({"inputs": {"customer": "c-1"}, "execution": {"id": "e-9"}});
    let arguments = evaluated(&node["arguments"], &context);
    assert_eq!(node["name"], "http-request-fetch-customer");
    assert_eq!(
        arguments,
        json!({
            "method": "POST",
            "url": "https://crm.example/customers/c-1",
            "headers": {"Accept": "application/json", "X-Trace": "e-9"},
            "params": [{"name": "verbose", "value": "1"}, {"name": "verbose", "value": "2"}],
            "body": {"type": "json", "text": "{\"who\":{\"id\":c-1}}"},
            "timeout_seconds": {"connect": 10, "read": 30},
        })
    );
    assert_eq!(
        node["retry"],
        json!({"maxTries": 4, "backoff": {"initial": "100ms", "max": "100ms", "factor": 1}})
    );
    let missing = told(&imported.report, Outcome::NotConverted);
    assert!(missing.contains("register the function \"http-request-fetch-customer\""), "{missing}");
    let different = told(&imported.report, Outcome::Different);
    assert!(different.contains("takes {method, url"), "{different}");
}

#[test]
fn extractor_asks_by_a_schema_and_gives_empty_values_when_the_answer_is_of_no_use() {
    let (imported, _) = imported(&fixtures::fetch());
    let model = made(&imported.definition, "find_facts");
    let schema = &model["request"]["response_format"]["json_schema"]["schema"];
    assert_eq!(schema["required"], json!(["name"]));
    assert_eq!(schema["properties"]["tags"]["items"], json!({"type": "string"}));
    assert_eq!(schema["properties"]["level"]["enum"], json!(["gold", "tin"]));
    assert_eq!(model["request"]["top_k"], 3);
    let data = made(&imported.definition, "find_facts_data");
    assert_eq!((&data["kind"], &data["name"]), (&json!("function"), &json!("parse-json")));
    let result = &made(&imported.definition, "end")["result"];
    let with = |output: Value| {
        json!({"nodes": {
            "find_facts_data": {"output": output, "status": "succeeded"},
            "fetch_customer": {"output": {"status_code": 200, "body": ""}},
        }})
    };
    assert_eq!(
        evaluated(result, &with(json!({"name": "Ann"}))),
        json!({"name": "Ann", "tags": [], "ok": 1, "status": 200})
    );
    assert_eq!(
        evaluated(result, &with(data["default"].clone())),
        json!({"name": "", "tags": [], "ok": 0, "status": 200})
    );
}

#[test]
fn iteration_becomes_a_map_with_the_steps_inside_as_its_body() {
    let (imported, compiled) = imported(&fixtures::each());
    assert_eq!(compiled.warnings, []);
    let map = made(&imported.definition, "each_text");
    assert_eq!(map["concurrency"], 4);
    assert_eq!(map["onItemError"], "skip");
    assert_eq!(map["over"], "{{ inputs.texts.list }}");
    assert_eq!(map["body"]["edges"], json!([{"from": "shorten", "to": "frame"}]));
    let context = json!({"item": "tea", "index": 2, "nodes": {"frame": {"output": "[t]"}}});
    let prompt = &made(map, "shorten")["request"]["messages"];
    assert_eq!(evaluated(prompt, &context)[0]["content"], "Number 2: tea");
    assert_eq!(evaluated(&map["body"]["result"], &context), "[t]");
}

#[test]
fn error_modes_of_iterations_have_their_counterparts() {
    for (theirs, ours) in
        [("terminated", "fail"), ("continue-on-error", "keep"), ("remove-abnormal-output", "skip")]
    {
        let mut source = fixtures::each();
        let iteration = &mut source["workflow"]["graph"]["nodes"][2]["data"];
        iteration["error_handle_mode"] = json!(theirs);
        iteration["is_parallel"] = json!(false);
        let (imported, _) = imported(&source);
        let map = made(&imported.definition, "each_text");
        assert_eq!((&map["onItemError"], &map["concurrency"]), (&json!(ours), &json!(1)));
    }
}

#[test]
fn iteration_without_a_start_begins_with_the_node_that_it_names() {
    let mut source = fixtures::each();
    let graph = &mut source["workflow"]["graph"];
    graph["nodes"][2]["data"]["start_node_id"] = json!("103");
    graph["nodes"].as_array_mut().expect("nodes").remove(3);
    graph["edges"].as_array_mut().expect("edges").remove(2);
    let (imported, compiled) = imported(&source);
    assert_eq!(compiled.warnings, []);
    assert!(!told(&imported.report, Outcome::Different).contains("has no start"));
}

#[test]
fn result_of_an_iteration_is_null_where_the_node_that_gives_it_is_skipped() {
    let mut source = fixtures::each();
    let graph = &mut source["workflow"]["graph"];
    let condition = json!({"comparison_operator": "is", "value": "a", "varType": "string",
        "variable_selector": ["102", "item"]});
    graph["nodes"].as_array_mut().expect("nodes").push(inside("102", node("106", "if-else", "Is a",
        json!({"cases": [{"case_id": "true", "logical_operator": "and", "conditions": [condition]}]}))));
    let edges = graph["edges"].as_array_mut().expect("edges");
    edges[2] = edge("102start", "source", "106");
    edges.push(edge("106", "true", "103"));
    let (imported, compiled) = imported(&source);
    assert_eq!(compiled.warnings, []);
    let result = &made(&imported.definition, "each_text")["body"]["result"];
    assert_eq!(evaluated(result, &json!({"nodes": {"frame": {"status": "skipped"}}})), Value::Null);
}

#[test]
fn iteration_in_an_iteration_has_an_item_of_its_own() {
    let iteration = |id: &str, over: Value, output: Value| {
        node(
            id,
            "iteration",
            id,
            json!({"iterator_selector": over, "output_selector": output,
            "iterator_input_type": "array[object]"}),
        )
    };
    let source = app(
        "workflow",
        vec![
            start(
                json!([{"variable": "rows", "label": "rows", "type": "json_object", "required": true}]),
            ),
            iteration("out", json!(["100", "rows", "all"]), json!(["in", "output"])),
            inside("out", node("s1", "iteration-start", "", json!({}))),
            inside("out", iteration("in", json!(["out", "item", "cells"]), json!(["t", "output"]))),
            inside("in", node("s2", "iteration-start", "", json!({}))),
            inside(
                "in",
                template(
                    "t",
                    "Cell",
                    "{{ row }}:{{ cell }}",
                    json!([
                {"variable": "row", "value_selector": ["out", "item", "name"]},
                {"variable": "cell", "value_selector": ["in", "item"]}]),
                ),
            ),
            end("end", &[("all", &["out", "output"])]),
        ],
        vec![
            edge("100", "source", "out"),
            edge("s1", "source", "in"),
            edge("s2", "source", "t"),
            edge("out", "source", "end"),
        ],
    );
    let (imported, _) = imported(&source);
    let inner = made(&imported.definition, "in_2");
    assert_eq!((&inner["over"], &inner["as"]), (&json!("{{ item.cells }}"), &json!("item_2")));
    let context = json!({"item": {"name": "r"}, "item_2": "c"});
    assert_eq!(evaluated(&made(inner, "cell")["value"], &context), "r:c");
}

#[test]
fn structured_output_is_read_by_a_function() {
    let mut model = llm("101", "Judge", "x");
    model["data"]["structured_output_enabled"] = json!(true);
    model["data"]["structured_output"] =
        json!({"schema": {"type": "object", "properties": {"mood": {"type": "string"}}}});
    let source = app(
        "workflow",
        vec![
            start(json!([])),
            model,
            end("102", &[("mood", &["101", "structured_output", "mood"])]),
        ],
        vec![edge("100", "source", "101"), edge("101", "source", "102")],
    );
    let (imported, _) = imported(&source);
    let format = &made(&imported.definition, "judge")["request"]["response_format"];
    assert_eq!(format["json_schema"]["schema"]["properties"]["mood"], json!({"type": "string"}));
    let context = json!({"nodes": {"judge_data": {"output": {"mood": "good"}}}});
    let result = &made(&imported.definition, "end")["result"];
    assert_eq!(evaluated(result, &context), json!({"mood": "good"}));
}

#[test]
fn completion_and_jinja_prompts_keep_their_form() {
    let mut model = llm("101", "Complete", "x");
    model["data"]["model"]["mode"] = json!("completion");
    model["data"]["prompt_template"] = json!({"text": "old", "edition_type": "jinja2",
        "jinja2_text": "{% for c in who %}{{ c }}.{% endfor %}"});
    model["data"]["prompt_config"] =
        json!({"jinja2_variables": [{"variable": "who", "value_selector": ["100", "name"]}]});
    let source = app(
        "workflow",
        vec![start(json!([text_input("name")])), model, end("102", &[("text", &["101", "text"])])],
        vec![edge("100", "source", "101"), edge("101", "source", "102")],
    );
    let (imported, _) = imported(&source);
    let model = made(&imported.definition, "complete");
    assert_eq!(model["operation"], "text_completion");
    let context = json!({"inputs": {"name": "ab"}});
    assert_eq!(evaluated(&model["request"]["prompt"], &context), "a.b.");
}

#[test]
fn texts_show_values_as_json_and_are_always_texts() {
    let texts = ["{{#100.n#}}", "{{#100.o#}}", "a {{#100.o#}}", "{{#100.b#}}\n", "{{{#100.n#}}}"];
    let mut models: Vec<Value> = texts
        .iter()
        .enumerate()
        .map(|(i, text)| llm(&format!("m{i}"), &format!("m{i}"), text))
        .collect();
    let mut edges: Vec<Value> = (1..models.len())
        .map(|i| edge(&format!("m{}", i - 1), "source", &format!("m{i}")))
        .collect();
    edges.push(edge("100", "source", "m0"));
    let variable = |name: &str, kind: &str| {
        json!({"variable": name, "label": name, "type": kind,
        "required": true})
    };
    models.push(start(json!([
        variable("n", "number"),
        variable("o", "json_object"),
        variable("b", "checkbox")
    ])));
    let (imported, compiled) = imported(&app("workflow", models, edges));
    assert_eq!(compiled.warnings, []);
    let context = json!({"inputs": {"n": 3, "o": {"a": [true, null]}, "b": true}});
    let wanted = ["3", "{\"a\": [true, null]}", "a {\"a\": [true, null]}", "true\n", "{3}"];
    for (i, wanted) in wanted.iter().enumerate() {
        let model = made(&imported.definition, &format!("m{i}"));
        let messages = evaluated(&model["request"]["messages"], &context);
        assert_eq!(messages[0]["content"], json!(wanted), "{}", model["request"]["messages"]);
    }
}

#[test]
fn several_ends_at_work_at_once_are_put_together() {
    let source = app(
        "workflow",
        vec![
            start(json!([])),
            template("101", "A", "a", json!([])),
            template("102", "B", "b", json!([])),
            end("103", &[("a", &["101", "output"])]),
            end("104", &[("b", &["102", "output"])]),
        ],
        vec![
            edge("100", "source", "101"),
            edge("100", "source", "102"),
            edge("101", "source", "103"),
            edge("102", "source", "104"),
        ],
    );
    let (imported, compiled) = imported(&source);
    assert_eq!(compiled.warnings, []);
    let context = json!({"nodes": {
        "end": {"status": "succeeded", "output": {"a": "a"}},
        "end_2": {"status": "skipped"},
    }});
    let result = evaluated(&imported.definition["spec"]["result"], &context);
    assert_eq!(result, json!({"a": "a", "b": null}));
    assert!(told(&imported.report, Outcome::Different).contains("one of several ends"));
}

#[test]
fn start_stays_as_a_fork_where_it_leads_to_what_others_lead_to() {
    let source = app(
        "workflow",
        vec![
            start(json!([])),
            template("101", "A", "a", json!([])),
            end("102", &[("a", &["101", "output"])]),
        ],
        vec![
            edge("100", "source", "101"),
            edge("100", "source", "102"),
            edge("101", "source", "102"),
        ],
    );
    let (imported, _) = imported(&source);
    let edges = &imported.definition["spec"]["edges"];
    assert_eq!(made(&imported.definition, "start")["kind"], "fork");
    assert_eq!(
        edges,
        &json!([{"from": "start", "to": "a"}, {"from": "start", "to": "end"}, {"from": "a", "to": "end"}])
    );
}

#[test]
fn groups_of_an_aggregator_have_an_output_each() {
    let mut source = fixtures::three_ways();
    let group = |name: &str, variables: Value| {
        json!({"groupId": "g", "group_name": name,
        "output_type": "string", "variables": variables})
    };
    source["workflow"]["graph"]["nodes"][6]["data"]["advanced_settings"] = json!({
        "group_enabled": true,
        "groups": [
            group("Texts", json!([["102", "output"], ["103", "output"]])),
            group("Models", json!([["104", "text"], ["100", "topic"]])),
        ],
    });
    source["workflow"]["graph"]["nodes"][7]["data"]["outputs"][0]["value_selector"] =
        json!(["106", "Texts", "output"]);
    let (imported, _) = imported(&source);
    let context = json!({"inputs": {"topic": "tea"}, "nodes": {
        "refund": {"status": "skipped"},
        "order": {"status": "skipped"},
        "ask": {"status": "skipped"},
    }});
    let pick = evaluated(&made(&imported.definition, "pick")["value"], &context);
    assert_eq!(pick, json!({"Texts": {"output": null}, "Models": {"output": "tea"}}));
    let result = &made(&imported.definition, "end")["result"];
    assert_eq!(result["answer"], "{{ nodes.pick.output.Texts.output }}");
}

#[test]
fn ids_are_readable_unique_and_always_the_same() {
    let titles = ["Draft!", "draft", "下一步", "7 things", "nodes", "draft_2", "Ünïcode ok"];
    let nodes = titles.iter().enumerate();
    let mut nodes: Vec<Value> =
        nodes.map(|(i, title)| template(&format!("t{i}"), title, "x", json!([]))).collect();
    let edges: Vec<Value> =
        (0..nodes.len()).map(|i| edge("100", "source", &format!("t{i}"))).collect();
    nodes.push(start(json!([])));
    let source = app("workflow", nodes, edges);
    let (first, compiled) = imported(&source);
    let ids: Vec<&str> = compiled.definition.nodes.iter().map(|node| node.id.as_str()).collect();
    let wanted = [
        "draft",
        "draft_2",
        "template_transform",
        "n_7_things",
        "nodes_2",
        "draft_2_2",
        "n_code_ok",
    ];
    assert_eq!(ids[..5], wanted[..5]);
    assert_eq!(ids.len(), wanted.len());
    assert_eq!(imported(&source).0, first);
}
