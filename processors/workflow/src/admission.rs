//! Whether a start is one that could be run at all: its names, its times, its inputs. Names the first
//! place that is wrong.

use domain::answer::Failure;
use domain::request::WorkflowStart;
use domain::request::check::{self, Invalid};
use domain::workflow::run::document::Document;
use domain::workflow::run::program::Program;
use serde_json::Value;

/// Checks what can be checked without the workflow. Returns the inputs.
///
/// # Errors
/// [`Invalid`]: the first place that is wrong.
pub fn check(start: &WorkflowStart) -> Result<Value, Invalid> {
    check::named("id", &start.id)?;
    if start.id.starts_with('@') {
        return Err(Invalid::new("id", "begins with `@`, as only those of our own entities do"));
    }
    check::named("tenant", &start.tenant)?;
    check::named("workflow", &start.workflow)?;
    if let Some(origin) = &start.origin {
        check::named("origin.id", &origin.id)?;
    }
    if let Some(alias) = &start.alias {
        check::named("alias", alias)?;
    }
    if start.version.is_some() && start.alias.is_some() {
        return Err(Invalid::new("alias", "has to be absent beside a version"));
    }
    check::times(start.not_before, start.deadline)?;
    for (step, output) in &start.reuse {
        if let Err(place) = Document::parse(output.as_str()) {
            return Err(Invalid::new(format!("reuse.{step}"), format!("is not JSON: see {place}")));
        }
    }
    match serde_json::from_str(&start.input) {
        Ok(input @ Value::Object(_)) => Ok(input),
        Ok(_) => Err(Invalid::new("input", "is not a JSON object")),
        // Serde's own message may quote the value.
        Err(error) => {
            let (line, column) = (error.line(), error.column());
            Err(Invalid::new("input", format!("is not JSON: see line {line} column {column}")))
        }
    }
}

/// Checks inputs against the schema of a version.
///
/// # Errors
/// A failure that names the place.
pub fn check_inputs(program: &Program, inputs: &Value) -> Result<(), Failure> {
    program.check_inputs(&program.with_defaults(inputs.clone())).map_err(|(place, problem)| {
        let path = format!("input{place}");
        Invalid::new(path, format!("doesn't fit the workflow's inputs: {problem}")).into()
    })
}
