//! The workflows that are measured: as small as an author would write them, so that what is seen is the
//! platform.

use serde_json::{Value, json};

use crate::models::MODEL;

/// Bodies of a map that run at once; the same for every width, so that widths can be compared.
const AT_ONCE: u32 = 100;
/// No loop here goes on for longer.
const MOST_ITERATIONS: u32 = 100_000;

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Asks a model that answers at once.
    Call,
    /// Makes a value of another.
    Pure,
}

impl Work {
    /// In names.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Call => "calls",
            Self::Pure => "pure",
        }
    }

    /// The text that a step gave.
    fn text_of(self, id: &str) -> String {
        match self {
            Self::Call => format!("{{{{ nodes.{id}.output.choices[0].message.content }}}}"),
            Self::Pure => format!("{{{{ nodes.{id}.output.text }}}}"),
        }
    }

    fn node(self, id: &str, before: Option<&str>) -> Value {
        let text = before.map_or("{{ inputs.text }}".to_owned(), |before| self.text_of(before));
        match self {
            Self::Call => json!({"id": id, "kind": "model", "model": MODEL,
                "request": {"messages": [{"role": "user", "content": text}]}}),
            Self::Pure => json!({"id": id, "kind": "transform", "value": {"text": text}}),
        }
    }
}

fn workflow(name: &str, inputs: Value, spec: Value) -> Value {
    let required: Vec<&String> = inputs.as_object().into_iter().flatten().map(|it| it.0).collect();
    let inputs = json!({"type": "object", "required": required, "properties": inputs});
    let mut spec = spec;
    spec["inputs"] = inputs;
    json!({"apiVersion": "stepstream/v1", "kind": "Workflow",
        "metadata": {"name": name}, "spec": spec})
}

/// The name of [`chain`].
pub(crate) fn chain_name(work: Work, steps: u32) -> String {
    format!("chain-{}-{steps}", work.as_str())
}

/// Steps one after the other, each with what the one before gave.
pub(crate) fn chain(work: Work, steps: u32) -> Value {
    let id = |nth: u32| format!("s{nth}");
    let nodes: Vec<Value> = (1..=steps)
        .map(|nth| work.node(&id(nth), (nth > 1).then(|| id(nth - 1)).as_deref()))
        .collect();
    let edges: Vec<Value> =
        (1..steps).map(|nth| json!({"from": id(nth), "to": id(nth + 1)})).collect();
    workflow(
        &chain_name(work, steps),
        json!({"text": {"type": "string"}}),
        json!({"nodes": nodes, "edges": edges, "result": work.text_of(&id(steps))}),
    )
}

/// The name of [`fan_out`].
pub(crate) fn fan_out_name(work: Work) -> String {
    format!("fan-out-{}", work.as_str())
}

/// A body for each item of a list. The result says of how many there is an output.
pub(crate) fn fan_out(work: Work) -> Value {
    let body = match work {
        Work::Call => json!({"id": "one", "kind": "model", "model": MODEL,
            "request": {"messages": [{"role": "user", "content": "{{ item }}"}]}}),
        Work::Pure => json!({"id": "one", "kind": "transform", "value": "{{ item }}"}),
    };
    let map = json!({"id": "each", "kind": "map", "over": "{{ inputs.items }}",
        "concurrency": AT_ONCE, "body": {"nodes": [body], "result": "{{ index }}"}});
    workflow(
        &fan_out_name(work),
        json!({"items": {"type": "array"}}),
        json!({"nodes": [map], "result": "{{ nodes.each.output | length }}"}),
    )
}

/// The name of [`again`].
pub(crate) const AGAIN: &str = "again";

/// The step within a body of [`again`].
pub(crate) const ASK: &str = "ask";

/// A model call, again and again.
pub(crate) fn again() -> Value {
    let body = json!({"id": ASK, "kind": "model", "model": MODEL,
        "request": {"messages": [{"role": "user", "content": "{{ iteration }}"}]}});
    let nodes = json!([{"id": "again", "kind": "loop", "while": "{{ iteration < inputs.times }}",
        "maxIterations": MOST_ITERATIONS, "body": {"nodes": [body], "result": "{{ iteration }}"}}]);
    workflow(
        AGAIN,
        json!({"times": {"type": "integer"}}),
        json!({"nodes": nodes, "result": "{{ nodes.again.output + 1 }}"}),
    )
}

/// The name of [`alarm`].
pub(crate) const ALARM: &str = "alarm";

/// Waits until a point in time.
pub(crate) fn alarm() -> Value {
    let nodes = json!([{"id": "sleep", "kind": "wait", "until": "{{ inputs.due }}"}]);
    workflow(ALARM, json!({"due": {"type": "integer"}}), json!({"nodes": nodes, "result": 1}))
}

/// The name of [`approval`].
pub(crate) const APPROVAL: &str = "approval";

/// The signal that [`approval`] waits for.
pub(crate) const WORD: &str = "word";

/// Waits for someone's word.
pub(crate) fn approval() -> Value {
    let nodes = json!([{"id": "ask", "kind": "wait", "signal": {"name": WORD}}]);
    workflow(
        APPROVAL,
        json!({"text": {"type": "string"}}),
        json!({"nodes": nodes, "result": "{{ nodes.ask.output }}"}),
    )
}

#[cfg(test)]
mod tests {
    use domain::workflow::run::program::Program;

    use super::*;

    #[test]
    fn workflows_that_are_measured_compile() {
        let works = [Work::Call, Work::Pure];
        let chains = works.into_iter().flat_map(|work| [1, 3, 9].map(|steps| chain(work, steps)));
        let maps = works.into_iter().map(fan_out);
        for definition in chains.chain(maps).chain([again(), alarm(), approval()]) {
            let problems = Program::new(&definition).err();
            assert!(problems.is_none(), "{definition}: {problems:?}");
        }
    }

    #[test]
    fn chain_has_as_many_steps_as_it_says_one_after_the_other() {
        let nine = chain(Work::Pure, 9);
        let nodes = nine["spec"]["nodes"].as_array().expect("nodes");
        assert_eq!((nodes.len(), nine["spec"]["edges"].as_array().map(Vec::len)), (9, Some(8)));
        assert_eq!(nodes[8]["value"]["text"], "{{ nodes.s8.output.text }}");
    }
}
