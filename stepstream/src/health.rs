//! `/healthz`, `/readyz` and `/metrics` of a process that has no gateway.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use gateway::Dependency;
use serde_json::{Map, Value, json};
use service::shutdown::Shutdown;
use service::telemetry::Metrics;
use tokio::net::TcpListener;

/// Serves until it is asked to stop.
///
/// # Errors
/// The listener's.
pub(crate) async fn serve(
    listener: TcpListener,
    metrics: Metrics,
    dependencies: Vec<Dependency>,
    shutdown: Shutdown,
) -> std::io::Result<()> {
    axum::serve(listener, router(metrics, dependencies.into()))
        .with_graceful_shutdown(async move { shutdown.asked().await })
        .await
}

fn router(metrics: Metrics, dependencies: Arc<[Dependency]>) -> Router {
    let ready = move || {
        let dependencies = Arc::clone(&dependencies);
        async move { ready(&dependencies) }
    };
    let render = move || async move { ([(CONTENT_TYPE, Metrics::CONTENT_TYPE)], metrics.render()) };
    Router::new()
        .route("/healthz", get(|| async { Json(json!({ "status": "ok" })) }))
        .route("/readyz", get(ready))
        .route("/metrics", get(render))
}

/// As the gateway's own: 200 when all is there, else 503 and what is missing.
fn ready(dependencies: &[Dependency]) -> impl IntoResponse + use<> {
    let states: Map<String, Value> = dependencies
        .iter()
        .map(|dependency| {
            let state = (dependency.check)().err().unwrap_or_else(|| "ok".into());
            (dependency.name.to_owned(), state.into())
        })
        .collect();
    let (code, status) = match states.values().all(|state| state == "ok") {
        true => (StatusCode::OK, "ready"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not_ready"),
    };
    (code, Json(json!({ "status": status, "dependencies": states })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &'static str, state: Result<(), &'static str>) -> Dependency {
        Dependency { name, check: Arc::new(move || state.map_err(str::to_owned)) }
    }

    #[test]
    fn one_missing_dependency_makes_the_process_unready() {
        let status = |states: &[Dependency]| ready(states).into_response().status();
        let (good, bad) = (named("a", Ok(())), named("b", Err("away")));
        assert_eq!(status(&[]), StatusCode::OK);
        assert_eq!(status(std::slice::from_ref(&good)), StatusCode::OK);
        assert_eq!(status(&[good, bad]), StatusCode::SERVICE_UNAVAILABLE);
    }
}
