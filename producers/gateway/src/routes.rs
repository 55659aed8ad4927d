//! Which path leads where. One table, so that it can be read at a glance.

use axum::Router;
use axum::extract::Request;
use axum::http::{Method, Uri};
use axum::middleware;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get, post, put};

use crate::fault::{Fault, OpenAi, Problem};
use crate::{App, definitions, docs, events, executions, health, openai, page, requests, trace};

pub(crate) fn router(app: App) -> Router {
    let theirs = [
        ("/v1/chat/completions", post(openai::chat::create), "POST"),
        ("/v1/embeddings", post(openai::embeddings::create), "POST"),
        ("/v1/rerank", post(openai::rerank::create), "POST"),
        ("/v1/models", get(openai::models::list), "GET, HEAD"),
        ("/v1/models/{model}", get(openai::models::get), "GET, HEAD"),
    ];
    let ours = [
        ("/v1/requests", post(requests::create), "POST"),
        ("/v1/executions/{id}", get(executions::get).post(executions::cancel), "GET, HEAD"),
        ("/v1/executions/{id}/events", get(events::get), "GET, HEAD"),
        ("/v1/definitions/models", get(definitions::list), "GET, HEAD"),
        (
            "/v1/definitions/models/{name}",
            get(definitions::get).merge(put(definitions::put)),
            "GET, HEAD, PUT",
        ),
        ("/healthz", get(health::live), "GET, HEAD"),
        ("/readyz", get(health::ready), "GET, HEAD"),
        ("/metrics", get(health::metrics), "GET, HEAD"),
        ("/openapi.json", get(docs::openapi), "GET, HEAD"),
        ("/asyncapi.json", get(docs::asyncapi), "GET, HEAD"),
        ("/", get(page::get), "GET, HEAD"),
    ];
    let refusing = |route: MethodRouter<App>, refuse: fn(&'static str) -> Response, allowed| {
        // A command shares its route with the execution that it is for.
        route.fallback(move |uri: Uri| async move {
            refuse(if uri.path().ends_with(executions::CANCEL) { "POST" } else { allowed })
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
    router.fallback(no_route).layer(middleware::from_fn(trace::identify)).with_state(app)
}

async fn no_route(_: Method, _: Request) -> Problem {
    Problem(Fault::NoRoute)
}
