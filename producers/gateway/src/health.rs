//! `/healthz`, `/readyz`, `/metrics`: for probes and scrapers, without a key and without anything secret.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;
use utoipa::ToSchema;

use crate::App;

/// How long the store may take to answer a probe.
const STORE_PATIENCE: Duration = Duration::from_secs(2);

/// Whether the process lives.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// Always `ok`.
    status: &'static str,
}

/// Whether the process can serve, by dependency.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Readiness {
    /// `ready` or `not_ready`.
    status: &'static str,
    /// Each dependency: `ok`, or what is wrong with it.
    dependencies: BTreeMap<&'static str, String>,
}

/// The process lives.
#[utoipa::path(
    get, path = "/healthz", tag = "operation",
    responses((status = 200, description = "It lives", body = Health))
)]
pub(crate) async fn live() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Whether requests should be sent here, and what is missing if not.
#[utoipa::path(
    get, path = "/readyz", tag = "operation",
    responses(
        (status = 200, description = "Everything is there", body = Readiness),
        (status = 503, description = "Something is not", body = Readiness),
    )
)]
pub(crate) async fn ready(State(app): State<App>) -> Response {
    let mut dependencies = BTreeMap::new();
    let mut say = |name, result: Result<(), String>| {
        dependencies.insert(name, result.err().unwrap_or_else(|| "ok".into()));
    };
    let when =
        |holds: bool, otherwise: &str| if holds { Ok(()) } else { Err(otherwise.to_owned()) };
    say("definitions", when(app.definitions.caught_up(), "still reading the definitions"));
    say("live-events", when(app.hub.is_ready(), "results and stream are not being read"));
    say(
        "schemas",
        match app.ids.missing().first() {
            None => Ok(()),
            Some(missing) => Err(format!("{} is not registered", missing.name)),
        },
    );
    say("shutdown", when(!app.shutdown.is_asked(), "the process is stopping"));
    let store = tokio::time::timeout(STORE_PATIENCE, app.store.progress("readyz", 0)).await;
    say(
        "store",
        match store {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("does not answer".into()),
        },
    );
    for dependency in &app.dependencies {
        say(dependency.name, (dependency.check)());
    }
    let (code, status) = if dependencies.values().all(|state| state == "ok") {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not_ready")
    };
    (code, Json(Readiness { status, dependencies })).into_response()
}

/// The metrics of the process, for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "operation",
    responses((status = 200, description = "In Prometheus' text format", body = String, content_type = "text/plain"))
)]
pub(crate) async fn metrics(State(app): State<App>) -> Response {
    let kind = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, (app.metrics)()).into_response()
}
