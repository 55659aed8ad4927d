//! The Mermaid form of a definition.

use serde_json::json;

use super::{compiles, edge, examples, graph, step, with};
use crate::workflow::mermaid::flowchart;

#[test]
fn flowchart_has_nodes_edges_and_bodies() {
    let definition = graph(
        json!([
            {"id": "s", "kind": "switch", "else": "end", "cases": [
                {"when": "{{ inputs.kind == \"a|b\" }}", "to": "m"}]},
            {"id": "m", "kind": "map", "over": "{{ inputs.list }}", "as": "one", "onError": "fix",
                "body": {"nodes": [with(step("x"), "description", json!("d"))], "result": 1}},
            {"id": "fix", "kind": "function", "name": "repair", "compensate": "undo"},
            {"id": "undo", "kind": "function", "name": "f"},
            {"id": "end", "kind": "end"},
        ]),
        json!([{"from": "m", "to": "end", "when": "{{ nodes.m.output | length > 1 }}"}, edge("fix", "end")]),
    );
    let expected = "\
flowchart TD
  n0{\"s<br/>switch\"}
  n1[[\"m<br/>map: one of inputs.list\"]]
  n3[\"fix<br/>function: repair\"]
  n4[\"undo<br/>function: f\"]
  n5([\"end<br/>end\"])
  n0 -->|\"inputs.kind == #34;a#124;b#34;\"| n1
  n0 -->|\"else\"| n5
  n1 -->|\"nodes.m.output #124; length #62; 1\"| n5
  n1 -. \"on error\" .-> n3
  n3 --> n5
  n3 -. \"undone by\" .-> n4
  subgraph s1[\"body of m\"]
    n2[\"x<br/>transform\"]
  end
  n1 -.- s1
";
    assert_eq!(flowchart(&compiles(&definition)), expected);
}

#[test]
fn labels_of_every_example_are_closed() {
    for example in examples::all() {
        for line in flowchart(&compiles(&example)).lines() {
            assert_eq!(line.matches('"').count() % 2, 0, "{line}");
        }
    }
}
