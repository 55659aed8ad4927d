//! Which path leads where. One table, so that it can be read at a glance.

use axum::Router;
use axum::extract::Request;
use axum::http::{Method, Uri};
use axum::middleware;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get, post, put};

use crate::definitions::{self, aliases, models, views, workflows};
use crate::fault::{Fault, OpenAi, Problem};
use crate::openai::responses;
use crate::{
    App, bulk, bulk_again, cloud_events, docs, events, executions, headers, health, openai, page,
    requests, schedules, steps, trace, values, verbs,
};

pub(crate) fn router(app: App, more: Router) -> Router {
    let theirs = [
        ("/v1/chat/completions", post(openai::chat::create), "POST"),
        ("/v1/embeddings", post(openai::embeddings::create), "POST"),
        ("/v1/rerank", post(openai::rerank::create), "POST"),
        ("/v1/responses", post(responses::create), "POST"),
        ("/v1/responses/{id}", get(responses::get).delete(responses::delete), "GET, HEAD, DELETE"),
        ("/v1/responses/{id}/cancel", post(responses::cancel), "POST"),
        ("/v1/models", get(openai::models::list), "GET, HEAD"),
        ("/v1/models/{model}", get(openai::models::get), "GET, HEAD"),
    ];
    let ours = [
        ("/v1/requests", post(requests::create), "POST"),
        ("/v1/events", post(cloud_events::create), "POST"),
        ("/v1/executions", get(executions::list), "GET, HEAD"),
        ("/v1/executions:cancel", post(bulk::cancel), "POST"),
        ("/v1/executions:pause", post(bulk::pause), "POST"),
        ("/v1/executions:resume", post(bulk::resume), "POST"),
        ("/v1/executions:retry", post(bulk_again::retry), "POST"),
        ("/v1/executions:restart", post(bulk_again::restart), "POST"),
        ("/v1/executions/{id}", get(executions::get).post(verbs::of_execution), "GET, HEAD"),
        ("/v1/executions/{id}/events", get(events::get), "GET, HEAD"),
        ("/v1/executions/{id}/steps", get(steps::list), "GET, HEAD"),
        ("/v1/executions/{id}/steps/{step}", get(steps::get), "GET, HEAD"),
        ("/v1/executions/{id}/why", get(steps::why), "GET, HEAD"),
        ("/v1/values/{hash}", get(values::get), "GET, HEAD"),
        ("/v1/definitions/models", get(models::list), "GET, HEAD"),
        (
            "/v1/definitions/models/{name}",
            get(models::get).merge(put(models::put)).delete(models::delete),
            "GET, HEAD, PUT, DELETE",
        ),
        ("/v1/definitions/models/{name}/versions", get(models::versions), "GET, HEAD"),
        ("/v1/definitions/models/{name}/versions/{version}", get(models::version), "GET, HEAD"),
        ("/v1/definitions/workflows", get(workflows::list), "GET, HEAD"),
        (
            "/v1/definitions/workflows/{name}",
            get(workflows::get).merge(put(workflows::put)).delete(workflows::delete),
            "GET, HEAD, PUT, DELETE",
        ),
        ("/v1/definitions/workflows/{name}/versions", get(workflows::versions), "GET, HEAD"),
        (
            "/v1/definitions/workflows/{name}/versions/{version}",
            get(workflows::version),
            "GET, HEAD",
        ),
        ("/v1/definitions/workflows/{name}/graph", get(views::graph), "GET, HEAD"),
        ("/v1/definitions/workflows/{name}/diff", get(views::diff), "GET, HEAD"),
        ("/v1/definitions/workflows/{name}/aliases", get(aliases::list), "GET, HEAD"),
        (
            "/v1/definitions/workflows/{name}/aliases/{alias}",
            get(aliases::get).merge(put(aliases::put)).delete(aliases::delete),
            "GET, HEAD, PUT, DELETE",
        ),
        ("/v1/workflows/{name}", post(verbs::of_workflow), "POST"),
        ("/v1/definitions/schedules", get(definitions::schedules::list), "GET, HEAD"),
        (
            "/v1/definitions/schedules/{name}",
            get(definitions::schedules::get)
                .merge(put(definitions::schedules::put))
                .delete(definitions::schedules::delete),
            "GET, HEAD, PUT, DELETE",
        ),
        (
            "/v1/definitions/schedules/{name}/versions",
            get(definitions::schedules::versions),
            "GET, HEAD",
        ),
        (
            "/v1/definitions/schedules/{name}/versions/{version}",
            get(definitions::schedules::version),
            "GET, HEAD",
        ),
        ("/v1/schedules/{name}", post(schedules::post), "POST"),
        ("/v1/schedules/{name}/next", get(schedules::next), "GET, HEAD"),
        ("/healthz", get(health::live), "GET, HEAD"),
        ("/readyz", get(health::ready), "GET, HEAD"),
        ("/metrics", get(health::metrics), "GET, HEAD"),
        ("/openapi.json", get(docs::openapi), "GET, HEAD"),
        ("/asyncapi.json", get(docs::asyncapi), "GET, HEAD"),
        ("/docs", get(docs::page::get), "GET, HEAD"),
        ("/", get(page::get), "GET, HEAD"),
    ];
    let refusing = |route: MethodRouter<App>, refuse: fn(&'static str) -> Response, allowed| {
        // A verb shares its route with what it is for.
        route.fallback(move |uri: Uri| async move {
            refuse(if verbs::is_in(uri.path()) { "POST" } else { allowed })
        })
    };
    let mut router = Router::new();
    for (path, route, allowed) in theirs {
        let refuse = |allowed| OpenAi(Fault::Method { allowed }).into_response();
        router = router.route(path, refusing(route, refuse, allowed));
    }
    for (path, route, allowed) in ours {
        let refuse = |allowed| Problem(Fault::Method { allowed }).into_response();
        router = router.route(path, refusing(route, refuse, allowed));
    }
    let cors_origins = app.options.cors_origins.clone();
    dress(router.merge(more.with_state(())).fallback(no_route).with_state(app), &cors_origins)
}

/// Routes with what each answer of the API has: a request id, security headers, CORS for `cors_origins`; and
/// their line in metrics and log. For routes on a port of their own; [`crate::Gateway`] does it itself.
pub fn dress(router: Router, cors_origins: &[String]) -> Router {
    let router = match headers::cors(cors_origins) {
        Some(cors) => router.layer(cors),
        None => router,
    };
    router.layer(middleware::from_fn(headers::add)).layer(middleware::from_fn(trace::identify))
}

async fn no_route(_: Method, _: Request) -> Problem {
    Problem(Fault::NoRoute)
}
