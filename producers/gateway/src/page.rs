//! The live page at `/`: one file, nothing from elsewhere, for development only.
//!
//! A key is put into it only for a browser on this machine that asked for this machine by name, so that
//! neither another machine nor a page that resolves its own name to loopback gets to read it.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, REFERRER_POLICY};
use axum::response::{Html, IntoResponse as _, Response};
use secrecy::ExposeSecret as _;
use uuid::Uuid;

use crate::fault::{Fault, Problem};
use crate::{App, Page};

const HTML: &str = include_str!("page.html");

/// The live page, in development: prompt in, tokens and events appear.
#[utoipa::path(
    get, path = "/", tag = "operation",
    responses(
        (status = 200, description = "The page", body = String, content_type = "text/html"),
        (status = 404, description = "Not in development", body = crate::docs::shapes::ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get(State(app): State<App>, request: Request) -> Response {
    let key = match &app.options.page {
        Page::Hidden => return Problem(Fault::NoRoute).into_response(),
        Page::Live => "",
        Page::LiveWithKey(key) if is_local(&request) => key.expose_secret(),
        Page::LiveWithKey(_) => "",
    };
    let nonce = Uuid::new_v4().simple().to_string();
    let html = HTML.replace("__NONCE__", &nonce).replace("__KEY__", key);
    let mut response = Html(html).into_response();
    let headers = response.headers_mut();
    let policy = format!(
        "default-src 'none'; connect-src 'self'; img-src data:; script-src 'nonce-{nonce}'; \
         style-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn is_local(request: &Request) -> bool {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    peer.is_some_and(|peer| peer.0.ip().is_loopback()) && host.is_some_and(names_this_machine)
}

/// Whether a `Host` header names loopback, whatever its port.
fn names_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((name, _)) => name,
            None => return false,
        },
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name == "127.0.0.1" || name == "::1"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_are_this_machine() {
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "[::1]:8080", "[::1]"] {
            assert!(names_this_machine(host), "{host}");
        }
        for host in [
            "",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.nip.io",
            "[::1",
            "0.0.0.0",
        ] {
            assert!(!names_this_machine(host), "{host}");
        }
    }

    #[test]
    fn page_asks_nobody_else_for_anything() {
        for elsewhere in ["http://", "https://", "src=\"", "@import", " url(", ":url("] {
            assert!(!HTML.contains(elsewhere), "{elsewhere}");
        }
    }
}
