//! `GET /v1/ws` and `POST /v1/tickets`.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use service::auth::{AuthError, KeyHash, Scope};

use crate::ticket::{GOOD_FOR, Grant};
use crate::{App, metrics as names, now, socket};

/// The sub-protocol, with the version of its messages.
pub const PROTOCOL: &str = "stepstream.v1";

/// The largest message of a client: a subscription with the longest names is a tenth of it.
const MAX_MESSAGE_BYTES: usize = 16 * 1024;
/// What the library sets aside for reading, for each connection, idle or not; its own default is 128 KiB.
/// What clients usually say fits in some times over; for more, it grows.
const READ_BUFFER_BYTES: usize = 512;
/// How much is gathered before it is written.
const WRITE_BUFFER_BYTES: usize = 4 * 1024;
/// The most that may wait to be written. One message at a time is handed over, so this is the largest one:
/// an event with the longest value that is kept, and as much for all else of it as a record holds.
const MAX_WRITE_BYTES: usize = domain::claim::MAX_VALUE_BYTES + 1024 * 1024;

/// The largest body of a request for a ticket.
const MAX_BODY_BYTES: usize = 4 * 1024;
/// How long a socket that was opened with a ticket stays, unless the request says otherwise.
const SESSION: Duration = Duration::from_secs(60 * 60);
/// The longest that a request may say.
const MAX_SESSION: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) fn router(app: App) -> Router {
    let only = |allowed: &'static str| {
        move || async move {
            let detail = format!("this route takes {allowed} only");
            let mut response =
                problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", &detail);
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
            response
        }
    };
    Router::new()
        .route("/v1/ws", get(open).fallback(only("GET")))
        .route(
            "/v1/tickets",
            post(ticket).fallback(only("POST")).layer(DefaultBodyLimit::max(MAX_BODY_BYTES)),
        )
        .with_state(app)
}

async fn open(
    State(app): State<App>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade.protocols([PROTOCOL]),
        Err(rejection) => {
            let detail = format!("a WebSocket is opened here: {}", rejection.body_text());
            return problem(rejection.status(), "not_a_websocket", &detail);
        }
    };
    if upgrade.selected_protocol().is_none() {
        let detail = format!("the header `Sec-WebSocket-Protocol` must offer `{PROTOCOL}`");
        return problem(StatusCode::BAD_REQUEST, "unknown_protocol", &detail);
    }
    if app.stopping.is_asked() {
        return away("restarting", "this server stops; connect again");
    }
    let Ok(open) = app.sockets.open() else {
        return away("too_many_sockets", "this server has as many sockets as it takes");
    };
    upgrade
        .max_message_size(MAX_MESSAGE_BYTES)
        .max_frame_size(MAX_MESSAGE_BYTES)
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(MAX_WRITE_BYTES)
        .on_failed_upgrade(|error| tracing::debug!(%error, "a socket could not be opened"))
        .on_upgrade(move |socket| socket::run(socket, app.0, open))
}

async fn ticket(
    State(app): State<App>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let unauthenticated = |detail: &str| {
        let mut response = problem(StatusCode::UNAUTHORIZED, "invalid_api_key", detail);
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        response
    };
    let Some(presented) = bearer(&headers) else {
        return unauthenticated("send one header `Authorization: Bearer <key>`");
    };
    let catalogue = app.parts.definitions.snapshot();
    let known = KeyHash::of(presented).and_then(|key| {
        let principal = key.authenticate(&catalogue, now())?;
        Ok((key, principal))
    });
    let (key, principal) = match known {
        Ok(known) => known,
        Err(error) => {
            if let AuthError::Damaged { .. } = &error {
                tracing::error!(%error, "an API key can't be used");
            }
            return unauthenticated("the API key is not valid");
        }
    };
    if let Err(error) = principal.require(Scope::ExecutionsRead) {
        return problem(StatusCode::FORBIDDEN, "insufficient_scope", &error.to_string());
    }
    let body = match body {
        Ok(body) => body,
        Err(rejection) => {
            return problem(rejection.status(), "invalid_request", &rejection.body_text());
        }
    };
    let session = match session(&body) {
        Ok(session) => session,
        Err(detail) => return problem(StatusCode::BAD_REQUEST, "invalid_request", &detail),
    };
    match app.tickets.issue(&Grant { key, session }, now()) {
        Ok(ticket) => {
            metrics::counter!(names::TICKETS).increment(1);
            let body = json!({
                "ticket": ticket,
                "expires_in": GOOD_FOR.as_secs(),
                "session_seconds": session.as_secs(),
            });
            (StatusCode::CREATED, Json(body)).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "a ticket can't be made");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "no_ticket", "a ticket can't be made")
        }
    }
}

/// How long the socket of a ticket may stay, as the body says.
fn session(body: &[u8]) -> Result<Duration, String> {
    if body.is_empty() {
        return Ok(SESSION);
    }
    let Ok(Value::Object(mut fields)) = serde_json::from_slice(body) else {
        return Err("the body must be a JSON object, or empty".into());
    };
    let seconds = fields.remove("session_seconds");
    if let Some(field) = fields.keys().next() {
        return Err(format!("`{field}` is not a field of this request"));
    }
    let most = MAX_SESSION.as_secs();
    match seconds {
        None | Some(Value::Null) => Ok(SESSION),
        Some(seconds) => seconds
            .as_u64()
            .filter(|seconds| (1..=most).contains(seconds))
            .map(Duration::from_secs)
            .ok_or_else(|| format!("`session_seconds` must be a whole number from 1 to {most}")),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

fn away(code: &str, detail: &str) -> Response {
    let mut response = problem(StatusCode::SERVICE_UNAVAILABLE, code, detail);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// RFC 9457, as on all routes of ours.
fn problem(status: StatusCode, code: &str, detail: &str) -> Response {
    let body = json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or("Error"),
        "status": status.as_u16(),
        "detail": detail,
        "code": code,
    });
    let mut response = (status, Json(body)).into_response();
    let kind = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
