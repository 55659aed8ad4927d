//! The routes of push, for the document only: they are served beside the gateway's own where the process
//! has both roles, and on a port of their own otherwise. Nothing here is ever called.
#![expect(dead_code, reason = "push serves these; the document describes them")]
#![allow(unused_qualifications, reason = "the macros of the document write them")]

use serde::Deserialize;
use utoipa::{IntoParams, IntoResponses, ToSchema};

use super::shapes::ProblemDetails;

/// What a client of the socket sends in its handshake, beside what every WebSocket has.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
struct Handshake {
    /// The sub-protocol, with the version of its messages.
    #[param(rename = "Sec-WebSocket-Protocol", pattern = r"^stepstream\.v1$")]
    protocol: String,
}

/// What a ticket is asked with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TicketRequest {
    /// How long the socket may stay, in seconds.
    #[schema(minimum = 1, maximum = 86_400, default = 3_600)]
    session_seconds: Option<i64>,
}

/// A ticket.
#[derive(ToSchema)]
struct Ticket {
    /// What the first message of the socket says: `{"type": "authenticate", "ticket": "..."}`.
    ticket: String,
    /// Within how many seconds it has to be used.
    expires_in: i64,
    /// How long the socket may stay, in seconds.
    session_seconds: i64,
}

/// How opening a socket can fail.
#[derive(IntoResponses)]
enum OpenErrors {
    /// It is no handshake of a WebSocket, or doesn't offer the sub-protocol
    #[response(status = 400, content_type = "application/problem+json")]
    Invalid(ProblemDetails),
    /// The connection can't become a WebSocket
    #[response(status = 426, content_type = "application/problem+json")]
    Upgrade(ProblemDetails),
    /// This server stops, or has as many sockets as it takes
    #[response(status = 503, content_type = "application/problem+json")]
    Away(ProblemDetails),
}

/// How asking for a ticket can fail.
#[derive(IntoResponses)]
enum TicketErrors {
    /// The body isn't what it should be
    #[response(status = 400, content_type = "application/problem+json")]
    Invalid(ProblemDetails),
    /// No key, or not a valid one
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthenticated(ProblemDetails),
    /// The key lacks the scope
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(ProblemDetails),
    /// The body is too large
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(ProblemDetails),
    /// Our own fault
    #[response(status = 500, content_type = "application/problem+json")]
    Internal(ProblemDetails),
}

/// A WebSocket with events and tokens of many executions. Its first message is `authenticate`, with a key
/// or a ticket. The messages are in `docs/websocket.md`.
#[utoipa::path(
    get, path = "/v1/ws", tag = "push", params(Handshake),
    responses((status = 101, description = "The socket is open"), OpenErrors)
)]
pub(super) fn open() {}

/// A ticket with which a browser opens one socket, so that its page never has a key. The key needs the scope
/// `executions:read`. The body may be empty.
#[utoipa::path(
    post, path = "/v1/tickets", tag = "push", request_body = TicketRequest,
    responses((status = 201, description = "The ticket", body = Ticket), TicketErrors),
    security(("key" = []))
)]
pub(super) fn ticket() {}
