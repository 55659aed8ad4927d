//! `/v1/definitions`: what there is, and proposals to change it.
//!
//! What is alike for all kinds is here, in `change.rs` (a change names the version that it replaces; the
//! first one in the log wins, and the other is told so) and in `page.rs`. The routes of a kind are in its own
//! file; they know its names and what makes a good body, and nothing else.

pub(crate) mod aliases;
mod change;
pub(crate) mod compile;
pub(crate) mod models;
mod page;
pub(crate) mod schedules;
mod source;
pub(crate) mod views;
pub(crate) mod workflows;

use axum::Json;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::StatusCode;
use axum::http::header::ETAG;
use axum::response::{IntoResponse as _, Response};
use domain::catalogue::{Catalogue, DefinitionKind, Version};
use domain::workflow::definition::{MAX_NAME_BYTES, is_name};
use domain::workflow::problem::Problem as Found;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::App;
use crate::docs::shapes::Finding;
use crate::fault::Fault;
use crate::shape;

use self::change::Asker;
use self::page::Page;

/// A kind of definition, as these routes meet it.
pub(crate) struct Sort {
    kind: DefinitionKind,
    /// What one is called where there is none.
    what: &'static str,
    /// The same of one of its versions.
    version: &'static str,
    /// Whether one may be called so.
    check_name: fn(&str) -> Result<(), Fault>,
}

const MODELS: Sort = Sort {
    kind: DefinitionKind::Model,
    what: "model definition",
    version: "version of a model definition",
    check_name: |name| shape::model(&name.into(), "name").map(drop),
};

const WORKFLOWS: Sort = Sort {
    kind: DefinitionKind::Workflow,
    what: "workflow",
    version: "version of a workflow",
    check_name: |name| workflow_name(name, "name"),
};

pub(crate) const SCHEDULES: Sort = Sort {
    kind: DefinitionKind::Schedule,
    what: "schedule",
    version: "version of a schedule",
    check_name: |name| workflow_name(name, "name"),
};

/// One definition as it stands.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Definition {
    /// Its name; of a model, the alias that requests use.
    name: String,
    /// Its version, from 1.
    version: i32,
    /// When it was proposed: milliseconds since the epoch.
    time: i64,
    /// What it says.
    #[schema(value_type = serde_json::Map<String, Value>)]
    definition: Box<RawValue>,
}

impl Definition {
    fn of(name: &str, version: &Version) -> Option<Self> {
        let definition = RawValue::from_string(version.body.clone()?).ok()?;
        let (number, time) = (version.number, version.time.0);
        Some(Self { name: name.to_owned(), version: number, time, definition })
    }
}

/// A definition that was just stored.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StoredDefinition {
    name: String,
    /// Its version, from 1.
    version: i32,
    /// When it was proposed: milliseconds since the epoch.
    time: i64,
    /// What it says.
    #[schema(value_type = serde_json::Map<String, Value>)]
    definition: Box<RawValue>,
    /// What its author should look at.
    #[schema(value_type = Vec<Finding>)]
    warnings: Vec<Found>,
}

/// One of the versions of a definition.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VersionEntry {
    /// Its number, from 1.
    version: i32,
    /// When it was proposed: milliseconds since the epoch.
    time: i64,
    /// Whether the definition was deleted then; such a version says nothing.
    deleted: bool,
}

/// The versions of a definition, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Versions {
    data: Vec<VersionEntry>,
    /// Where the next page begins, as `cursor`; null on the last one.
    #[schema(required)]
    next: Option<String>,
}

impl Sort {
    /// The name in a path, checked.
    pub(crate) fn name(&self, path: Result<Path<String>, PathRejection>) -> Result<String, Fault> {
        let Path(name) = path.map_err(|_| Fault::invalid("name", "is not UTF-8"))?;
        (self.check_name)(&name)?;
        Ok(name)
    }

    /// The name in a path and what follows it.
    fn names(
        &self,
        path: Result<Path<(String, String)>, PathRejection>,
    ) -> Result<(String, String), Fault> {
        let Path((name, more)) = path.map_err(|_| Fault::invalid("name", "is not UTF-8"))?;
        (self.check_name)(&name)?;
        Ok((name, more))
    }

    /// The answer where there is none.
    pub(crate) fn missing(&self, name: &str) -> Fault {
        Fault::NotFound { what: self.what, name: name.to_owned() }
    }

    /// The newest version, unless it is deleted.
    pub(crate) fn newest<'c>(
        &self,
        catalogue: &'c Catalogue,
        tenant: &str,
        name: &str,
    ) -> Result<&'c Version, Fault> {
        catalogue.newest(self.kind, tenant, name).ok_or_else(|| self.missing(name))
    }

    /// This version, unless the definition was deleted with it.
    fn version<'c>(
        &self,
        catalogue: &'c Catalogue,
        tenant: &str,
        name: &str,
        number: i32,
    ) -> Result<&'c Version, Fault> {
        let version = catalogue.version(self.kind, tenant, name, number);
        version.filter(|version| version.body.is_some()).ok_or_else(|| Fault::NotFound {
            what: self.version,
            name: format!("{name}, {number}"),
        })
    }

    /// The answer with a definition; its version is the `ETag`.
    fn answer(&self, status: StatusCode, name: &str, version: &Version) -> Result<Response, Fault> {
        let definition = Definition::of(name, version).ok_or_else(|| self.missing(name))?;
        Ok((status, [(ETAG, etag(version.number))], Json(definition)).into_response())
    }

    /// The answer with the newest version.
    fn get(
        &self,
        app: &App,
        tenant: &str,
        path: Result<Path<String>, PathRejection>,
    ) -> Result<Response, Fault> {
        let name = self.name(path)?;
        let catalogue = app.definitions.snapshot();
        self.answer(StatusCode::OK, &name, self.newest(&catalogue, tenant, &name)?)
    }

    /// Stores what was checked. The answer with it, and with what its author should look at.
    async fn put(
        &self,
        asker: &Asker<'_>,
        name: &str,
        stands: Option<&Version>,
        (definition, warnings): (&Value, Vec<Found>),
    ) -> Result<Response, Fault> {
        // What was checked is what is stored: of a field that the text has twice, only one is in there.
        let (status, number) = asker.put(self.kind, name, stands, definition.to_string()).await?;
        let catalogue = asker.app.definitions.snapshot();
        let version = self.version(&catalogue, &asker.principal.tenant, name, number)?;
        let Definition { name, version, time, definition } =
            Definition::of(name, version).ok_or_else(|| self.missing(name))?;
        let stored = StoredDefinition { name, version, time, definition, warnings };
        Ok((status, [(ETAG, etag(number))], Json(stored)).into_response())
    }

    /// Deletes what a path names.
    async fn delete(
        &self,
        asker: &Asker<'_>,
        path: Result<Path<String>, PathRejection>,
    ) -> Result<StatusCode, Fault> {
        let name = self.name(path)?;
        self.newest(&asker.app.definitions.snapshot(), &asker.principal.tenant, &name)?;
        asker.delete(self.kind, &name).await
    }

    /// The answer with one version.
    fn get_version(
        &self,
        app: &App,
        tenant: &str,
        path: Result<Path<(String, String)>, PathRejection>,
    ) -> Result<Response, Fault> {
        let (name, number) = self.names(path)?;
        let number =
            number.parse().map_err(|_| Fault::invalid("version", "must be a number from 1"))?;
        let catalogue = app.definitions.snapshot();
        self.answer(StatusCode::OK, &name, self.version(&catalogue, tenant, &name, number)?)
    }

    /// A page of all versions, also of what is deleted by now.
    fn versions(
        &self,
        app: &App,
        tenant: &str,
        path: Result<Path<String>, PathRejection>,
        page: &Page,
    ) -> Result<Json<Versions>, Fault> {
        let name = self.name(path)?;
        let before = page.after_number()?.unwrap_or(i32::MAX);
        let catalogue = app.definitions.snapshot();
        let versions = catalogue.history(self.kind, tenant, &name);
        if versions.is_empty() {
            return Err(self.missing(&name));
        }
        let older = versions.iter().rev().filter(|version| version.number < before);
        let (data, next) = page.take(older.map(|version| {
            let (number, time) = (version.number, version.time.0);
            let entry = VersionEntry { version: number, time, deleted: version.body.is_none() };
            (number.to_string(), entry)
        }));
        Ok(Json(Versions { data, next }))
    }
}

/// Checks the name of a workflow, of an alias or of a schedule.
pub(crate) fn workflow_name(name: &str, place: &str) -> Result<(), Fault> {
    if is_name(name) {
        return Ok(());
    }
    let problem = format!("must have 1 to {MAX_NAME_BYTES} letters, digits, `-`, `_` and `.`");
    Err(Fault::invalid(place, problem))
}

/// What a stored body says. One that was written into the topic by somebody else may be no JSON.
pub(crate) fn said(body: &str) -> Result<Value, Fault> {
    serde_json::from_str(body).map_err(|error| {
        let message = format!("the stored definition is no JSON: {error}");
        Fault::Refused { problems: vec![Found::error("", message)] }
    })
}

fn etag(version: i32) -> String {
    format!("\"{version}\"")
}
