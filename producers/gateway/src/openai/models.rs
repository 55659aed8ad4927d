//! `GET /v1/models`: the aliases that the tenant has, in OpenAI's shape.

use axum::Json;
use axum::extract::{Path, State};
use domain::catalogue::{DefinitionKind, Version};
use serde_json::{Value, json};

use super::known_model;
use crate::App;
use crate::auth::{Caller, Look};
use crate::docs::shapes::{Model, Models, OpenAiError};
use crate::fault::{Fault, OpenAi};

/// Lists the models that this key can use.
#[utoipa::path(
    get,
    path = "/v1/models",
    tag = "openai",
    responses(
        (status = 200, description = "The models", body = Models),
        crate::docs::OpenAiReadErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn list(State(app): State<App>, caller: Caller<Look, OpenAi>) -> Json<Value> {
    let catalogue = app.definitions.snapshot();
    let models: Vec<Value> = catalogue
        .names(DefinitionKind::Model, caller.tenant())
        .map(|(name, version)| model(name, version))
        .collect();
    Json(json!({"object": "list", "data": models}))
}

/// One model.
#[utoipa::path(
    get,
    path = "/v1/models/{model}",
    tag = "openai",
    params(("model" = String, Path, description = "The alias")),
    responses(
        (status = 200, description = "The model", body = Model),
        (status = 404, description = "There is no such model", body = OpenAiError),
        crate::docs::OpenAiReadErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller<Look, OpenAi>,
    name: Result<Path<String>, axum::extract::rejection::PathRejection>,
) -> Result<Json<Value>, OpenAi> {
    let Path(name) = name.map_err(|_| Fault::invalid("model", "is not UTF-8"))?;
    known_model(&app, caller.tenant(), &name)?;
    let catalogue = app.definitions.snapshot();
    let found = catalogue.newest(DefinitionKind::Model, caller.tenant(), &name);
    let version = found.ok_or(Fault::NotFound { what: "model", name: name.clone() })?;
    Ok(Json(model(&name, version)))
}

fn model(name: &str, version: &Version) -> Value {
    json!({
        "id": name,
        "object": "model",
        "created": version.time.0 / 1000,
        "owned_by": "stepstream",
    })
}
