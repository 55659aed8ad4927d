//! Whole apps, as Dify would export them.

use serde_json::{Value, json};

use super::{app, edge, end, inside, llm, node, start, template, text_input};

/// A summary by a model.
pub(super) fn summary() -> Value {
    let mut whole = app(
        "workflow",
        vec![
            start(json!([
                text_input("topic"),
                {"variable": "tone", "label": "Tone", "type": "select", "required": false,
                    "options": ["formal", "plain"]},
                {"variable": "words", "label": "Words", "type": "number", "required": false,
                    "max_length": 48, "default": 200},
            ])),
            llm(
                "101",
                "Draft it",
                "Write {{#100.words#}} words, {{#100.tone#}}, on {{#100.topic#}} for \
                {{#env.company#}}. Mind the {{braces}}.",
            ),
            end("102", &[("summary", &["101", "text"]), ("topic", &["100", "topic"])]),
        ],
        vec![edge("100", "source", "101"), edge("101", "source", "102")],
    );
    whole["workflow"]["environment_variables"] = json!([
        {"id": "e1", "name": "company", "value": "ACME {{x}}", "value_type": "string",
            "selector": ["env", "company"]},
        {"id": "e2", "name": "token", "value": "do-not-copy-me", "value_type": "secret",
            "selector": ["env", "token"]},
    ]);
    whole
}

/// Three ways, by an `if-else`.
pub(super) fn three_ways() -> Value {
    let condition = |operator: &str, value: &str| {
        json!({"id": "c", "comparison_operator": operator, "value": value, "varType": "string",
            "variable_selector": ["100", "topic"]})
    };
    let case = |id: &str, operator: &str, conditions: Vec<Value>| json!({"case_id": id, "id": id, "logical_operator": operator, "conditions": conditions});
    app(
        "workflow",
        vec![
            start(json!([text_input("topic")])),
            node(
                "101",
                "if-else",
                "Which way?",
                json!({"cases": [
                    case("true", "and", vec![condition("contains", "refund"), condition("not empty", "")]),
                    case("5f0c", "or", vec![condition("is", "order"), condition("start with", "buy")]),
                    case("77aa", "and", vec![condition("end with", "?")]),
                ]}),
            ),
            template(
                "102",
                "Refund",
                "refund: {{ t }}",
                json!([
                {"variable": "t", "value_selector": ["100", "topic"]}]),
            ),
            template("103", "Order", "order", json!([])),
            llm("104", "Ask", "{{#100.topic#}}"),
            llm("105", "Other", "{{#100.topic#}}"),
            node(
                "106",
                "variable-aggregator",
                "Pick",
                json!({"output_type": "string", "variables": [
                ["102", "output"], ["103", "output"], ["104", "text"], ["105", "text"]]}),
            ),
            end("107", &[("answer", &["106", "output"])]),
        ],
        vec![
            edge("100", "source", "101"),
            edge("101", "true", "102"),
            edge("101", "5f0c", "103"),
            edge("101", "77aa", "104"),
            edge("101", "false", "105"),
            edge("102", "source", "106"),
            edge("103", "source", "106"),
            edge("104", "source", "106"),
            edge("105", "source", "106"),
            edge("106", "source", "107"),
        ],
    )
}

/// A request over HTTP, and what a model finds in the answer.
pub(super) fn fetch() -> Value {
    let mut whole = app(
        "workflow",
        vec![
            start(json!([text_input("customer")])),
            node(
                "101",
                "http-request",
                "Fetch customer",
                json!({
                    "method": "post",
                    "url": "https://crm.example/customers/{{#100.customer#}}",
                    "authorization": {"type": "api-key", "config": {"type": "bearer",
                        "api_key": "{{#env.token#}}", "header": ""}},
                    "headers": "Accept: application/json\nX-Trace:{{#sys.workflow_run_id#}}",
                    "params": "verbose:1\nverbose:2",
                    "body": {"type": "json", "data": [{"id": "b", "key": "", "type": "text",
                        "value": "{\"who\":{\"id\":{{#100.customer#}}}}"}]},
                    "timeout": {"connect": 10, "read": 30, "write": 0},
                    "ssl_verify": true,
                    "variables": [],
                    "retry_config": {"retry_enabled": true, "max_retries": 3, "retry_interval": 100},
                }),
            ),
            node(
                "102",
                "parameter-extractor",
                "Find facts",
                json!({
                    "model": {"provider": "openai", "name": "gpt-4o-mini", "mode": "chat",
                        "completion_params": {"temperature": 0, "top_k": 3}},
                    "query": ["101", "body"],
                    "instruction": "Mind the year {{#100.customer#}}.",
                    "reasoning_mode": "function_call",
                    "parameters": [
                        {"name": "name", "type": "string", "description": "full name", "required": true},
                        {"name": "tags", "type": "array[string]", "description": "tags", "required": false},
                        {"name": "level", "type": "select", "options": ["gold", "tin"], "description": "",
                            "required": false},
                    ],
                    "variables": [],
                    "vision": {"enabled": false},
                }),
            ),
            end(
                "103",
                &[
                    ("name", &["102", "name"]),
                    ("tags", &["102", "tags"]),
                    ("ok", &["102", "__is_success"]),
                    ("status", &["101", "status_code"]),
                ],
            ),
        ],
        vec![
            edge("100", "source", "101"),
            edge("101", "source", "102"),
            edge("102", "source", "103"),
        ],
    );
    whole["workflow"]["environment_variables"] =
        json!([{"id": "e", "name": "token", "value": "do-not-copy-me", "value_type": "secret"}]);
    whole
}

/// A model for each of several texts.
pub(super) fn each() -> Value {
    app(
        "workflow",
        vec![
            start(json!([
                {"variable": "texts", "label": "Texts", "type": "json_object", "required": true}])),
            template(
                "101",
                "Unused",
                "{{ t }}",
                json!([
                {"variable": "t", "value_selector": ["100", "texts"]}]),
            ),
            node(
                "102",
                "iteration",
                "Each text",
                json!({
                    "start_node_id": "102start",
                    "iterator_selector": ["100", "texts", "list"],
                    "iterator_input_type": "array[string]",
                    "output_selector": ["104", "output"],
                    "output_type": "array[string]",
                    "is_parallel": true,
                    "parallel_nums": 4,
                    "error_handle_mode": "remove-abnormal-output",
                    "flatten_output": true,
                    "height": 178,
                }),
            ),
            inside("102", node("102start", "iteration-start", "", json!({}))),
            inside("102", llm("103", "Shorten", "Number {{#102.index#}}: {{#102.item#}}")),
            inside(
                "102",
                template(
                    "104",
                    "Frame",
                    "[{{ text }}]",
                    json!([
                {"variable": "text", "value_selector": ["103", "text"]}]),
                ),
            ),
            end("105", &[("short", &["102", "output"])]),
        ],
        vec![
            edge("100", "source", "101"),
            edge("101", "source", "102"),
            edge("102start", "source", "103"),
            edge("103", "source", "104"),
            edge("102", "source", "105"),
        ],
    )
}

/// A conversation, with an answer at once and one at the end.
pub(super) fn chatflow() -> Value {
    let mut model = llm("101", "LLM", "Be kind.");
    model["data"]["prompt_template"][0]["role"] = json!("system");
    model["data"]["memory"] = json!({
        "query_prompt_template": "{{#sys.query#}}\n\n{{#sys.files#}}",
        "window": {"enabled": false, "size": 10},
    });
    let mut whole = app(
        "advanced-chat",
        vec![
            start(json!([])),
            node(
                "answer1",
                "answer",
                "At once",
                json!({"answer": "Let me see.\n", "variables": []}),
            ),
            model,
            node(
                "answer2",
                "answer",
                "Answer",
                json!({
                "answer": "{{#101.text#}} ({{#conversation.mood#}})", "variables": []}),
            ),
        ],
        vec![
            edge("100", "source", "answer1"),
            edge("answer1", "source", "101"),
            edge("101", "source", "answer2"),
        ],
    );
    whole["workflow"]["conversation_variables"] = json!([
        {"id": "v", "name": "mood", "value": "calm", "value_type": "string",
            "selector": ["conversation", "mood"]}]);
    whole["workflow"]["features"]["opening_statement"] = json!("Hello!");
    whole["dependencies"] = json!([{"type": "marketplace", "value": {
        "marketplace_plugin_unique_identifier": "langgenius/openai:0.0.30@1f5e"}}]);
    whole
}

/// A step that fails, and what is done then.
pub(super) fn fail_branch() -> Value {
    app(
        "workflow",
        vec![
            start(json!([text_input("url")])),
            node(
                "101",
                "http-request",
                "Fetch",
                json!({
                    "method": "GET",
                    "url": "{{#100.url#}}",
                    "authorization": {"type": "no-auth", "config": null},
                    "headers": "",
                    "params": "",
                    "body": {"type": "none", "data": []},
                    "error_strategy": "fail-branch",
                }),
            ),
            template(
                "102",
                "Good",
                "{{ body }}",
                json!([
                {"variable": "body", "value_selector": ["101", "body"]}]),
            ),
            template(
                "103",
                "Bad",
                "{{ why }} {{ what }}",
                json!([
                {"variable": "why", "value_selector": ["101", "error_message"]},
                {"variable": "what", "value_selector": ["101", "error_type"]}]),
            ),
            end(
                "104",
                &[
                    ("body", &["102", "output"]),
                    ("why", &["101", "error_message"]),
                    ("status", &["101", "status_code"]),
                ],
            ),
        ],
        vec![
            edge("100", "source", "101"),
            edge("101", "success-branch", "102"),
            edge("101", "fail-branch", "103"),
            edge("102", "source", "104"),
            edge("103", "source", "104"),
        ],
    )
}

/// Code, tools and a loop, which are not converted.
pub(super) fn foreign() -> Value {
    let mut looped = node("110", "loop", "Again", json!({"loop_count": 3, "break_conditions": []}));
    looped["data"]["title"] = json!("Again {{ and again");
    app(
        "workflow",
        vec![
            start(json!([text_input("n")])),
            node(
                "101",
                "code",
                "计算",
                json!({
                    "code": "def main(n): return {'result': n}",
                    "code_language": "python3",
                    "outputs": {"result": {"type": "string", "children": null}},
                    "variables": [{"variable": "n", "value_selector": ["100", "n"]}],
                    "error_strategy": "fail-branch",
                }),
            ),
            node(
                "102",
                "question-classifier",
                "Class",
                json!({
                    "classes": [{"id": "1", "name": "a"}, {"id": "2", "name": "b"}],
                    "query_variable_selector": ["101", "result"],
                }),
            ),
            template(
                "103",
                "One",
                "{{ x }}",
                json!([
                {"variable": "x", "value_selector": ["101", "result"]}]),
            ),
            template("104", "Two", "2", json!([])),
            looped,
            inside("110", node("111", "tool", "Tool", json!({"tool_name": "time"}))),
            node("105", "knowledge-retrieval", "Look up", json!({"dataset_ids": ["d"]})),
            end("106", &[("x", &["103", "output"])]),
            json!({"id": "107", "type": "custom-note", "data": {"type": "", "text": "a note", "title": ""},
                "position": {"x": 0, "y": 0}}),
        ],
        vec![
            edge("100", "source", "101"),
            edge("101", "source", "102"),
            edge("101", "fail-branch", "105"),
            edge("102", "1", "103"),
            edge("102", "2", "104"),
            edge("103", "source", "106"),
            edge("104", "source", "110"),
            edge("110", "source", "106"),
        ],
    )
}

/// All of them.
pub(super) fn all() -> Vec<Value> {
    vec![summary(), three_ways(), fetch(), each(), chatflow(), fail_branch(), foreign()]
}
