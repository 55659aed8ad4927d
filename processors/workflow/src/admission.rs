//! Whether a start is one that could be run at all: its names, its times, its inputs. Names the first
//! place that is wrong.
//!
//! What says that a schedule changed is compared with the catalogue, so nobody makes a schedule by the feed.

use domain::answer::{ErrorClass, Failure};
use domain::catalogue::{Catalogue, DefinitionKind};
use domain::request::WorkflowStart;
use domain::request::check::{self, Invalid};
use domain::schedule::definition::Definition;
use domain::schedule::life;
use domain::workflow::problem::Problem;
use domain::workflow::run::document::Document;
use domain::workflow::run::program::Program;
use runtime::processor::Refusal;
use serde_json::Value;

/// The input of what says that a schedule was deleted.
pub const DELETED: &str = "null";

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

/// Checks what says that a schedule is another version from here on. Returns that version.
///
/// Whether its workflow is there isn't asked: that was, when the schedule was stored, and a start that finds
/// none says so itself. To refuse the schedule for it would lose it when the workflow comes back.
///
/// # Errors
/// [`Refusal`]: it is none, or the catalogue doesn't have it yet.
pub fn of_schedule(
    start: &WorkflowStart,
    name: &str,
    catalogue: &Catalogue,
) -> Result<i32, Refusal> {
    let (version, entity) = (announced(start, name)?, life::told(&start.id));
    let versions = catalogue.history(DefinitionKind::Schedule, &start.tenant, name);
    let Some(found) = versions.iter().find(|it| it.number == version) else {
        let message = format!("there is no version {version} of schedule `{name}`");
        let failure = Failure::new(ErrorClass::NotFound, "unknown_schedule", message);
        return Err(Refusal::NotYet(failure.from_source("admission")));
    };
    let is_called = life::id_at(&start.tenant, name, versions, version);
    if entity != is_called {
        let problem = format!("isn't `{}`", life::record_id(&is_called, version));
        return Err(invalid(Invalid::new("id", problem)));
    }
    if start.input != found.body.as_deref().unwrap_or(DELETED) {
        return Err(invalid(Invalid::new("input", format!("isn't what version {version} says"))));
    }
    match &found.body {
        Some(body) => definition(body)
            .map(|_| version)
            .map_err(|problem| invalid(Invalid::new("input", format!("can't be used: {problem}")))),
        None => Ok(version),
    }
}

fn invalid(invalid: Invalid) -> Refusal {
    Refusal::Invalid(invalid.into())
}

/// The version that is announced.
fn announced(start: &WorkflowStart, name: &str) -> Result<i32, Refusal> {
    check::named("id", &start.id).map_err(invalid)?;
    check::named("tenant", &start.tenant).map_err(invalid)?;
    check::named("schedule", name).map_err(invalid)?;
    if start.origin.is_some() {
        return Err(invalid(Invalid::new("origin", "has to be absent beside a schedule")));
    }
    let version = start.id.rsplit_once('@').and_then(|(_, version)| version.parse().ok());
    version.ok_or_else(|| invalid(Invalid::new("id", "doesn't end with `@` and a version")))
}

/// The definition of a schedule in a text.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn definition(text: &str) -> Result<Definition, String> {
    let value = serde_json::from_str(text).map_err(|error| {
        format!("it isn't JSON: line {} column {}", error.line(), error.column())
    })?;
    Definition::read(&value).map(|(definition, _)| definition).map_err(|problems| {
        problems.first().map(Problem::to_string).unwrap_or_else(|| "it is no schedule".into())
    })
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
