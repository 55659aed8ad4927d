//! A definition among those that are stored: what the compiler can only say with a catalogue at hand.
//!
//! What a child takes is looked up as it stands now. It may be another version when the child starts, so
//! what is found here helps an author and proves nothing to whoever runs the workflow.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::compile::{Compiled, compile_with};
use super::definition::{Kind, Pin};
use super::problem::{Problem, Severity};
use crate::catalogue::{Catalogue, DefinitionKind, STABLE, Version};

/// Checks a definition that is to be stored under `name`, or without a name under its own.
///
/// # Errors
/// As [`compile_with`]; and that its own name is another.
pub fn check(
    catalogue: &Catalogue,
    tenant: &str,
    name: Option<&str>,
    definition: &Value,
) -> Result<Compiled, Vec<Problem>> {
    let children = Children { catalogue, tenant, definition, known: RefCell::default() };
    let compiled = compile_with(definition, &|child, pin| children.inputs(child, pin));
    let is_named = definition.pointer("/metadata/name").and_then(Value::as_str);
    let misnamed = match (name, is_named) {
        (Some(name), Some(own)) if name != own => Some(Problem::error(
            "/metadata/name",
            format!("is {own:?}, and it is to be stored as {name:?}: write the same name"),
        )),
        _ => None,
    };
    match (misnamed, compiled) {
        (None, Ok(mut compiled)) => {
            children.missing(&mut compiled);
            Ok(compiled)
        }
        (None, Err(problems)) => Err(problems),
        (Some(first), Ok(Compiled { warnings: problems, .. }) | Err(problems)) => {
            Err(std::iter::once(first).chain(problems).collect())
        }
    }
}

/// The part of a definition that its parents need.
#[derive(Deserialize)]
struct Outline {
    spec: Spec,
}

#[derive(Deserialize)]
struct Spec {
    #[serde(default)]
    inputs: Option<Value>,
}

struct Children<'c> {
    catalogue: &'c Catalogue,
    tenant: &'c str,
    definition: &'c Value,
    /// By name and version, since many nodes may start the same child.
    known: RefCell<BTreeMap<(String, i32), Option<Value>>>,
}

impl Children<'_> {
    fn inputs(&self, child: &str, pin: &Pin) -> Option<Value> {
        if self.is_itself(child, pin) {
            return self.definition.pointer("/spec/inputs").cloned();
        }
        let version = self.find(child, pin)?;
        let mut known = self.known.borrow_mut();
        let inputs = known.entry((child.to_owned(), version.number)).or_insert_with(|| {
            let outline = serde_json::from_str::<Outline>(version.body.as_deref()?);
            outline.ok()?.spec.inputs
        });
        inputs.clone()
    }

    fn find(&self, child: &str, pin: &Pin) -> Option<&Version> {
        self.catalogue.resolve(DefinitionKind::Workflow, self.tenant, child, pin.which())
    }

    /// Whether the definition itself would run: it is to be the newest of its name.
    fn is_itself(&self, child: &str, pin: &Pin) -> bool {
        let own = self.definition.pointer("/metadata/name").and_then(Value::as_str);
        let has_stable =
            self.catalogue.aliases(self.tenant, child).any(|(alias, _, _)| alias == STABLE);
        own == Some(child) && *pin == Pin::Newest && !has_stable
    }

    /// Warns of children that aren't there: they may be stored later, but until then their nodes fail.
    fn missing(&self, compiled: &mut Compiled) {
        for node in &compiled.definition.nodes {
            let Kind::Workflow { name, pin, .. } = &node.kind else { continue };
            if self.is_itself(name, pin) || self.find(name, pin).is_some() {
                continue;
            }
            let what = match pin {
                Pin::Newest => format!("workflow {name:?}"),
                Pin::Version(number) => format!("version {number} of a workflow {name:?}"),
                Pin::Alias(alias) => format!("alias {alias:?} of a workflow {name:?}"),
            };
            compiled.warnings.push(Problem {
                severity: Severity::Warning,
                pointer: node.at.field("name").as_str().to_owned(),
                message: format!("there is no {what} yet: store it before this one runs"),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalogue::{DefinitionProposed, alias};
    use crate::time::Millis;

    fn put(catalogue: &mut Catalogue, name: &str, body: String) {
        let expects = catalogue.history(DefinitionKind::Workflow, "default", name).len();
        catalogue.apply(DefinitionProposed {
            id: "p".into(),
            kind: DefinitionKind::Workflow,
            tenant: "default".into(),
            name: name.into(),
            expects: i32::try_from(expects).unwrap(),
            body: Some(body),
            proposed_by: "test".into(),
            time: Millis(0),
        });
    }

    fn workflow(name: &str, inputs: Value, node: Value) -> Value {
        let spec = json!({"inputs": inputs, "nodes": [node]});
        json!({"apiVersion": "stepstream/v1", "kind": "Workflow", "metadata": {"name": name}, "spec": spec})
    }

    fn takes(name: &str, field: &str) -> Value {
        let inputs = json!({"type": "object", "required": [field], "additionalProperties": false,
            "properties": {field: {"type": "string"}}});
        workflow(name, inputs, json!({"id": "n", "kind": "transform", "value": 1}))
    }

    fn calls(child: &str, fields: Value) -> Value {
        let mut node = json!({"id": "c", "kind": "workflow", "name": child, "input": {"a": "x"}});
        node.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        workflow("parent", json!({"type": "object"}), node)
    }

    fn said(catalogue: &Catalogue, name: Option<&str>, definition: &Value) -> Vec<String> {
        let problems = match check(catalogue, "default", name, definition) {
            Ok(compiled) => compiled.warnings,
            Err(problems) => problems,
        };
        problems.iter().map(|problem| format!("{problem}")).collect()
    }

    #[test]
    fn input_of_a_child_is_held_against_the_version_that_would_run() {
        let mut catalogue = Catalogue::default();
        put(&mut catalogue, "child", takes("child", "a").to_string());
        put(&mut catalogue, "child", takes("child", "b").to_string());
        put(&mut catalogue, "child@old", alias::body(1));
        let fits = |catalogue: &Catalogue, fields| {
            check(catalogue, "default", None, &calls("child", fields)).is_ok()
        };
        assert!(!fits(&catalogue, json!({})), "the newest takes b");
        assert!(fits(&catalogue, json!({"version": 1})));
        assert!(fits(&catalogue, json!({"alias": "old"})));
        put(&mut catalogue, "child@stable", alias::body(1));
        assert!(fits(&catalogue, json!({})));
        assert!(check(&catalogue, "other", None, &calls("child", json!({}))).is_ok());
    }

    #[test]
    fn child_that_is_not_there_is_a_warning() {
        let mut catalogue = Catalogue::default();
        for (fields, what) in [
            (json!({}), "no workflow \"child\" yet"),
            (json!({"version": 3}), "no version 3 of a workflow \"child\" yet"),
            (json!({"alias": "old"}), "no alias \"old\" of a workflow \"child\" yet"),
        ] {
            let said = said(&catalogue, None, &calls("child", fields));
            assert!(matches!(said.as_slice(), [one] if one.contains(what)), "{said:?}");
            assert!(said[0].starts_with("warning at /spec/nodes/0/name"), "{said:?}");
        }
        put(&mut catalogue, "child", takes("child", "a").to_string());
        assert!(said(&catalogue, None, &calls("child", json!({}))).is_empty());
    }

    #[test]
    fn workflow_that_starts_itself_is_held_against_itself() {
        let mut catalogue = Catalogue::default();
        let fits = |catalogue: &Catalogue, definition: &Value| {
            let found = check(catalogue, "default", None, definition);
            found.map(|compiled| {
                let missing = |one: &Problem| one.message.starts_with("there is no");
                assert!(!compiled.warnings.iter().any(missing), "{:?}", compiled.warnings);
            })
        };
        let mut itself = calls("parent", json!({}));
        assert!(fits(&catalogue, &itself).is_ok());
        itself["spec"]["inputs"]["required"] = json!(["b"]);
        let errors = fits(&catalogue, &itself).unwrap_err();
        assert_eq!(errors[0].pointer, "/spec/nodes/0/input");
        put(&mut catalogue, "parent", takes("parent", "a").to_string());
        put(&mut catalogue, "parent@stable", alias::body(1));
        assert!(fits(&catalogue, &itself).is_ok(), "the stable one would run");
    }

    #[test]
    fn other_name_is_said_beside_everything_else() {
        let catalogue = Catalogue::default();
        let mut definition = takes("mine", "a");
        assert!(said(&catalogue, Some("mine"), &definition).is_empty());
        let errors = said(&catalogue, Some("yours"), &definition);
        assert!(matches!(errors.as_slice(), [one] if one.contains("/metadata/name")), "{errors:?}");
        definition["spec"]["nodes"][0]["kind"] = "magic".into();
        assert_eq!(said(&catalogue, Some("yours"), &definition).len(), 2);
    }

    #[test]
    fn stored_child_that_nobody_can_read_says_nothing() {
        let mut catalogue = Catalogue::default();
        for body in ["{", "[]", r#"{"spec":{"inputs":{"type":"nonsense"}}}"#] {
            put(&mut catalogue, "child", body.into());
            assert!(said(&catalogue, None, &calls("child", json!({}))).is_empty(), "{body}");
        }
    }
}
