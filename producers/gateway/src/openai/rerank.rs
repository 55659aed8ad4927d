//! `POST /v1/rerank`, in the shape that Cohere and Jina introduced.

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use domain::request::Operation;
use serde_json::Value;

use super::{intent, whole};
use crate::App;
use crate::auth::{Caller, Start};
use crate::body::{JsonText, parse};
use crate::docs::shapes::{RerankAnswer, RerankRequest};
use crate::fault::OpenAi;
use crate::shape;
use crate::trace::Trace;

/// Orders documents by how well they answer a query.
#[utoipa::path(
    post,
    path = "/v1/rerank",
    tag = "openai",
    params(crate::docs::IdempotencyKey),
    request_body = RerankRequest,
    responses(
        (status = 200, description = "The documents' places and scores", body = RerankAnswer),
        crate::docs::ModelRouteErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller<Start, OpenAi>,
    Extension(trace): Extension<Trace>,
    headers: HeaderMap,
    body: JsonText<OpenAi>,
) -> Result<Response, OpenAi> {
    let text = body.into_text();
    let asked = parse::<Value>(&text)?;
    let shape = shape::check(Operation::Rerank, &asked)?;
    let of = (Operation::Rerank, &shape);
    let intent = intent(&app, caller.tenant(), &headers, of, &asked, text)?;
    Ok(whole(&app, &intent, &trace).await?.into_response())
}
