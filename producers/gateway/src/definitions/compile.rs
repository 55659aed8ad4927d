//! `POST /v1/workflows/{name}:compile`: what is wrong with a definition, before it is stored or after.
//!
//! Nothing is stored here. That a definition can't be used is an answer and no fault: only a body that is
//! neither JSON nor YAML is refused.
#![allow(unused_qualifications, reason = "the macro of the document writes them")]

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use domain::catalogue::{Catalogue, Version};
use domain::workflow::compile::Compiled;
use domain::workflow::problem::Problem as Found;
use domain::workflow::{mermaid, stored};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::App;
use crate::auth::{Caller, Look};
use crate::docs::shapes::Finding;
use crate::fault::{Fault, Problem};
use crate::verbs;

use super::source::Source;
use super::{WORKFLOWS, said};

/// Which version is looked at.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Asked {
    /// The version; the newest unless it is given.
    #[param(minimum = 1, maximum = 2147483647)]
    version: Option<i32>,
}

/// Whether a definition can be used.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Verdict {
    /// Whether it can; warnings alone don't keep it from that.
    valid: bool,
    /// Everything that is wrong with it, errors first.
    #[schema(value_type = Vec<Finding>)]
    problems: Vec<Found>,
    /// The stored version that this is about; absent: the one in the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<i32>,
    /// How many nodes it has, those of bodies included; absent when it can't be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    nodes: Option<usize>,
    /// It as a Mermaid flowchart; absent when it can't be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    graph: Option<String>,
}

/// Checks a workflow definition without storing it: all problems at once, each with its place as a JSON
/// pointer. With an empty body it checks the one that is stored, as the server understands it by now.
///
/// What a child workflow takes is looked up in the stored definitions.
#[utoipa::path(
    post,
    path = "/v1/workflows/{name}:compile",
    tag = "definitions",
    params(
        ("name" = String, Path, min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._-]+$", description = "The workflow"),
        Asked,
    ),
    request_body(content(
        (crate::docs::shapes::WorkflowDefinition = "application/json"),
        (crate::docs::shapes::WorkflowDefinition = "application/yaml"),
    ), description = "The definition; nothing: the stored one"),
    responses(
        (status = 200, description = "What there is to say of it", body = Verdict),
        (status = 404, description = "Nothing is stored under this name, or not this version", body = crate::docs::shapes::ProblemDetails, content_type = "application/problem+json"),
        crate::docs::WriteErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn post(
    State(app): State<App>,
    caller: Caller<Look, Problem>,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<Asked>, QueryRejection>,
    source: Source,
) -> Result<Json<Verdict>, Problem> {
    let name = WORKFLOWS.name(verbs::without(path, verbs::COMPILE)?)?;
    let asked = version_asked(query)?;
    let catalogue = app.definitions.snapshot();
    let tenant = caller.tenant();
    let (definition, version) = match (source.0, asked) {
        (Some(definition), None) => (definition, None),
        (Some(_), Some(_)) => {
            let problem = "is a stored one, so the body must be empty";
            return Err(Problem(Fault::invalid("version", problem)));
        }
        (None, number) => {
            let stored = find(&catalogue, tenant, &name, number)?;
            (read(stored, &name)?, Some(stored.number))
        }
    };
    let (_, result) = check(catalogue, tenant, &name, definition).await;
    Ok(Json(match result {
        Ok(compiled) => Verdict {
            valid: true,
            version,
            nodes: Some(compiled.graph.nodes.len()),
            graph: Some(mermaid::flowchart(&compiled)),
            problems: compiled.warnings,
        },
        Err(problems) => Verdict { valid: false, problems, version, nodes: None, graph: None },
    }))
}

pub(super) fn version_asked(
    query: Result<Query<Asked>, QueryRejection>,
) -> Result<Option<i32>, Fault> {
    let Query(Asked { version }) =
        query.map_err(|error| Fault::invalid("query", error.body_text()))?;
    Ok(version)
}

/// This version of a workflow, or the newest.
pub(super) fn find<'c>(
    catalogue: &'c Catalogue,
    tenant: &str,
    name: &str,
    number: Option<i32>,
) -> Result<&'c Version, Fault> {
    match number {
        Some(number) => WORKFLOWS.version(catalogue, tenant, name, number),
        None => WORKFLOWS.newest(catalogue, tenant, name),
    }
}

/// What a version says. One that was written into the topic by somebody else may be no JSON.
pub(super) fn read(version: &Version, name: &str) -> Result<Value, Fault> {
    said(version.body.as_deref().ok_or_else(|| WORKFLOWS.missing(name))?)
}

/// Compiles a definition, and gives it back. That takes as long as the definition is large, so it has a
/// thread of its own.
pub(super) async fn check(
    catalogue: Arc<Catalogue>,
    tenant: &str,
    name: &str,
    definition: Value,
) -> (Value, Result<Compiled, Vec<Found>>) {
    let (tenant, name) = (tenant.to_owned(), name.to_owned());
    let compiling = tokio::task::spawn_blocking(move || {
        let result = stored::check(&catalogue, &tenant, Some(&name), &definition);
        (definition, result)
    });
    compiling.await.expect("the compiler takes anything, and nobody aborts it")
}
