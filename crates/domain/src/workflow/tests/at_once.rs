//! All mistakes of a definition come at once.

use serde_json::json;

use super::{edge, problems, workflow};
use crate::workflow::problem::Severity;

#[test]
fn ten_mistakes_come_at_once() {
    let definition = workflow(json!({
        "timeout": "soon",
        "variables": {"tone": {"schema": {"enum": ["formal"]}, "value": "casual"}},
        "colour": "blue",
        "nodes": [
            {"id": "draft", "kind": "model", "model": "fast", "request": {
                "messages": [{"role": "user", "content": "{{ inputs.text }"}]}},
            {"id": "check", "kind": "functoin"},
            {"id": "again", "kind": "loop", "until": "{{ iteraton == 3 }}", "maxIterations": 5,
                "body": {"nodes": [{"id": "draft", "kind": "transform", "value": 1}], "result": 1}},
            {"id": "vote", "kind": "join", "policy": {"atLeast": 4}},
            {"id": "x", "kind": "transform", "value": "{{ nodes.y.output }}"},
            {"id": "y", "kind": "transform", "value": 1},
        ],
        "edges": [edge("draft", "chek"), edge("check", "vote"), edge("x", "y"), edge("y", "x")],
    }));
    let mut found: Vec<_> = problems(&definition)
        .into_iter()
        .filter(|problem| problem.severity == Severity::Error)
        .map(|problem| problem.pointer)
        .collect();
    found.sort();
    assert_eq!(
        found,
        [
            "/spec/colour",
            "/spec/edges/0/to",
            "/spec/edges/3",
            "/spec/nodes/0/request/messages/0/content",
            "/spec/nodes/1/kind",
            "/spec/nodes/2/body/nodes/0/id",
            "/spec/nodes/2/until",
            "/spec/nodes/3/policy/atLeast",
            "/spec/timeout",
            "/spec/variables/tone/value",
        ]
    );
}
