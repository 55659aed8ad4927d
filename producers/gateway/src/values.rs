//! `GET /v1/values/{hash}`: a value that was too large for its record, for those who read the topics
//! themselves. Over HTTP and sockets values stand where they belong, so their clients never need this.
#![allow(unused_qualifications, reason = "the macro of the document writes them")]

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use store::{CheckInError, Checked, ValueHash};

use crate::App;
use crate::auth::{Caller, See};
use crate::executions::away;
use crate::fault::{Fault, Problem};

/// A value never changes under its hash, and is its tenant's alone.
const CACHED: &str = "private, max-age=86400, immutable";

/// The value that a claim check stands for, as its bytes.
///
/// A record has a claim check (`body_claim`, `data_claim`, `output_claim`) in the place of a value that is
/// too large for it; `hash` is in there, and so is the value's media type. It is kept as long as executions
/// are.
#[utoipa::path(
    get,
    path = "/v1/values/{hash}",
    tag = "executions",
    params(
        ("hash" = String, Path, pattern = r"^sha256:[0-9a-f]{64}$", description = "`hash` of the claim check"),
    ),
    responses(
        (status = 200, description = "The value", content_type = "application/octet-stream", body = [u8]),
        crate::docs::ReadErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller<See, Problem>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(text) = path.map_err(|_| Fault::invalid("hash", "is not UTF-8"))?;
    let hash = ValueHash::parse(&text)
        .ok_or_else(|| Fault::invalid("hash", "is not `sha256:` and 64 lower-case hex digits"))?;
    match app.claims.value(caller.tenant(), &hash).await.map_err(|error| away(&error))? {
        Some(value) => {
            let headers = [(CONTENT_TYPE, "application/octet-stream"), (CACHE_CONTROL, CACHED)];
            Ok((headers, Body::from(value)).into_response())
        }
        None => Err(Problem(Fault::NotFound { what: "value", name: text })),
    }
}

/// Keeps a text of ours beside its row, where it is too large for that.
pub(crate) async fn check_in(
    app: &App,
    tenant: &str,
    text: String,
    media_type: &str,
) -> Result<Checked, Fault> {
    app.claims.check_in(tenant, text, media_type).await.map_err(refused)
}

/// What a client is told of a value that can't be kept.
pub(crate) fn refused(error: CheckInError) -> Fault {
    match error {
        CheckInError::TooLarge { .. } => Fault::TooLarge { limit: domain::claim::MAX_VALUE_BYTES },
        CheckInError::Store(error) => away(&error),
    }
}
