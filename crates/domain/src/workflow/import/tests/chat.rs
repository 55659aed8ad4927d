//! Chatflows: a message goes in, an answer comes out.

use serde_json::json;

use super::{
    Outcome, app, edge, evaluated, finding, fixtures, imported, llm, made, node, start, told,
};

#[test]
fn answers_in_a_row_are_put_together_and_told_of() {
    let (imported, compiled) = imported(&fixtures::chatflow());
    assert_eq!(compiled.warnings, []);
    let definition = &imported.definition;
    assert_eq!(definition["spec"]["inputs"]["required"], json!(["query"]));
    let context = json!({
        "inputs": {"query": "Hi", "conversation_mood": "calm"},
        "nodes": {"llm": {"output": {"choices": [{"message": {"content": "Hello"}}]}}},
    });
    let messages = evaluated(&made(definition, "llm")["request"]["messages"], &context);
    assert_eq!(
        messages,
        json!([{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}])
    );
    let answer = evaluated(&made(definition, "answer")["value"], &context);
    assert_eq!(answer, json!({"answer": "Hello (calm)"}));
    let context = json!({"nodes": {
        "at_once": {"status": "succeeded", "output": {"answer": "Let me see.\n"}},
        "answer": {"status": "succeeded", "output": answer},
    }});
    let result = evaluated(&definition["spec"]["result"], &context);
    assert_eq!(result, json!({"answer": "Let me see.\nHello (calm)"}));
    let different = told(&imported.report, Outcome::Different);
    assert!(different.contains("one of several answers"), "{different}");
}

#[test]
fn what_only_a_conversation_has_is_told_of() {
    let (imported, _) = imported(&fixtures::chatflow());
    for (outcome, pointer) in [
        (Outcome::NotConverted, "/workflow/graph/nodes/2/data/memory"),
        (Outcome::NotConverted, "/workflow/features/opening_statement"),
        (Outcome::NotConverted, "/dependencies/0"),
        (Outcome::Different, "/workflow/conversation_variables/0"),
        (Outcome::Different, "/app/mode"),
    ] {
        assert!(
            finding(&imported.report, outcome, pointer).is_some(),
            "nothing of {pointer} in {:#?}",
            imported.report
        );
    }
}

#[test]
fn only_answer_ends_the_workflow() {
    let source = app(
        "advanced-chat",
        vec![
            start(json!([])),
            llm("101", "LLM", "{{#sys.query#}} {{#sys.user_id#}}"),
            node("102", "answer", "Answer", json!({"answer": "{{#101.text#}}"})),
        ],
        vec![edge("100", "source", "101"), edge("101", "source", "102")],
    );
    let (imported, _) = imported(&source);
    let end = made(&imported.definition, "answer");
    assert_eq!(end["kind"], "end");
    assert_eq!(
        end["result"],
        json!({"answer": "{{ nodes.llm.output.choices[0].message.content }}"})
    );
    let properties = &imported.definition["spec"]["inputs"]["properties"];
    assert_eq!(properties["user_id"]["default"], "");
}
