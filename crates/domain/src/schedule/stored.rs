//! A schedule among the definitions that are stored: whether its workflow is there and takes its input.
//!
//! The workflow is looked at as it stands now. Another version may stand when the schedule fires, so what is
//! found here helps an author, and proves nothing to whoever starts the workflow.

use serde_json::Value;

use super::definition::Definition;
use super::{SCHEDULED_FOR, life};
use crate::catalogue::{Catalogue, DefinitionKind, Which};
use crate::id;
use crate::time::{Millis, to_rfc3339};
use crate::workflow::problem::Problem;
use crate::workflow::run::program::Program;

/// Checks a definition that is to be stored under `name`; the warnings are for its author.
///
/// # Errors
/// Everything that is wrong with it, warnings included; at least one is an error.
pub fn check(
    catalogue: &Catalogue,
    tenant: &str,
    name: &str,
    definition: &Value,
) -> Result<(Definition, Vec<Problem>), Vec<Problem>> {
    let (definition, warnings) = Definition::read(definition)?;
    let longest = life::record_id(&life::id_at(tenant, &format!("{name}~"), &[], 1), i32::MAX);
    // What its record will be called, whatever version it is by then.
    let room = id::MAX_ID_BYTES.saturating_sub(i32::MAX.to_string().len());
    let found = if longest.len() > room {
        Some(Problem::error(
            "",
            format!("the names of tenant and schedule are too long together: {name:?}"),
        ))
    } else {
        target(catalogue, tenant, &definition).err()
    };
    match found {
        None => Ok((definition, warnings)),
        Some(problem) => Err(std::iter::once(problem).chain(warnings).collect()),
    }
}

/// The input with which an execution starts: where the workflow takes the time for which it is started, and
/// the input doesn't say it, that is added.
#[must_use]
pub fn input(program: &Program, mut input: Value, scheduled_for: Option<Millis>) -> Value {
    if let (Some(time), Value::Object(map)) = (scheduled_for, &mut input)
        && program.takes(SCHEDULED_FOR)
        && !map.contains_key(SCHEDULED_FOR)
    {
        map.insert(SCHEDULED_FOR.to_owned(), Value::from(to_rfc3339(time)));
    }
    input
}

fn target(catalogue: &Catalogue, tenant: &str, definition: &Definition) -> Result<(), Problem> {
    let name = &definition.workflow;
    let which = definition.pin.which();
    let field = match which {
        Which::Standing => "/workflow",
        Which::Version(_) => "/version",
        Which::Alias(_) => "/alias",
    };
    if catalogue.newest(DefinitionKind::Workflow, tenant, name).is_none() {
        let message = format!("there is no workflow {name:?}: store it first");
        return Err(Problem::error("/workflow", message));
    }
    let found = catalogue.resolve(DefinitionKind::Workflow, tenant, name, which);
    let version = found.ok_or_else(|| {
        let lacks = match which {
            Which::Version(number) => format!("version {number}: name one that it has"),
            Which::Alias(alias) => format!("alias {alias:?}: make it first, or leave it out"),
            // It was deleted.
            Which::Standing => "version that stands: store it anew".to_owned(),
        };
        Problem::error(field, format!("the workflow {name:?} has no {lacks}"))
    })?;
    let body = version.body.as_deref().unwrap_or_default();
    let program = Program::read(body).map_err(|problem| {
        Problem::error(
            field,
            format!("version {} of {name:?} can't be used: {problem}", version.number),
        )
    })?;
    let input = input(&program, Value::clone(&definition.input), Some(Millis(0)));
    program.check_inputs(&input).map_err(|(place, problem)| {
        let message = format!("doesn't fit the inputs of {name:?}: {problem}");
        Problem::error(format!("/input{place}"), message)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalogue::DefinitionProposed;

    fn workflow(properties: Value, required: Value) -> Value {
        json!({"apiVersion": "stepstream/v1", "kind": "Workflow", "metadata": {"name": "w"},
            "spec": {"nodes": [{"id": "n", "kind": "transform", "value": 1}],
                "inputs": {"type": "object", "properties": properties, "required": required,
                    "additionalProperties": false}}})
    }

    fn catalogue(workflow: &Value) -> Catalogue {
        let mut catalogue = Catalogue::default();
        catalogue.apply(DefinitionProposed {
            id: "p".into(),
            kind: DefinitionKind::Workflow,
            tenant: "acme".into(),
            name: "w".into(),
            expects: 0,
            body: Some(workflow.to_string()),
            proposed_by: String::new(),
            time: Millis(0),
        });
        catalogue
    }

    #[track_caller]
    fn check_says(workflow: &Value, more: Value, place: &str, says: &str) {
        let mut definition = json!({"workflow": "w", "cron": "0 2 * * *"});
        for (name, value) in more.as_object().expect("fields") {
            definition[name] = value.clone();
        }
        match check(&catalogue(workflow), "acme", "n", &definition) {
            Ok(_) => assert_eq!(says, "", "{definition}"),
            Err(problems) => {
                let first = &problems[0];
                assert_eq!(first.pointer, place, "{first}");
                assert!(!says.is_empty() && first.message.contains(says), "{first}");
            }
        }
    }

    #[test]
    fn schedule_is_refused_when_it_could_start_nothing() {
        let plain = workflow(json!({"a": {"type": "integer"}}), json!(["a"]));
        check_says(&plain, json!({"input": {"a": 1}}), "", "");
        check_says(&plain, json!({"input": {"a": "x"}}), "/input/a", "integer");
        check_says(&plain, json!({}), "/input", "required");
        check_says(&plain, json!({"workflow": "v"}), "/workflow", "no workflow \"v\"");
        check_says(&plain, json!({"version": 2}), "/version", "no version 2");
        check_says(&plain, json!({"alias": "stable"}), "/alias", "no alias \"stable\"");
        check_says(&json!({"kind": "Workflow"}), json!({}), "/workflow", "can't be used");
        check_says(&plain, json!({"cron": "x"}), "/cron", "five");
    }

    #[test]
    fn time_is_part_of_the_input_where_the_workflow_takes_it() {
        let takes = workflow(json!({"scheduledFor": {"type": "string"}}), json!(["scheduledFor"]));
        check_says(&takes, json!({}), "", "");
        let time = Some(Millis(1_000));
        let takes = Program::new(&takes).expect("a workflow");
        let said = json!({"scheduledFor": "1970-01-01T00:00:01.000Z"});
        assert_eq!(input(&takes, json!({}), time), said);
        assert_eq!(input(&takes, json!({"scheduledFor": "x"}), time), json!({"scheduledFor": "x"}));
        assert_eq!(input(&takes, json!({}), None), json!({}));
        let other = Program::new(&workflow(json!({}), json!([]))).expect("a workflow");
        assert_eq!(input(&other, json!({}), time), json!({}));
    }

    #[test]
    fn names_that_make_no_id_together_are_refused() {
        let plain = workflow(json!({}), json!([]));
        let definition = json!({"workflow": "w", "cron": "0 2 * * *"});
        let long = "n".repeat(128);
        let problems = check(&catalogue(&plain), &"t".repeat(128), &long, &definition);
        assert!(problems.expect_err("too long")[0].message.contains("too long"));
    }
}
