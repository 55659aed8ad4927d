//! `/docs`: the document to read and to try, one file, nothing from elsewhere.
//!
//! It holds no key: whoever tries a route brings one, and it stays in the page's memory.

use axum::http::HeaderValue;
use axum::http::header::CONTENT_SECURITY_POLICY;
use axum::response::{Html, IntoResponse as _, Response};
use uuid::Uuid;

const HTML: &str = include_str!("page.html");

/// This document as a page: each route with its schemas, and a form to try it.
#[utoipa::path(
    get, path = "/docs", tag = "operation",
    responses((status = 200, description = "The page", body = String, content_type = "text/html"))
)]
pub(crate) async fn get() -> Response {
    let nonce = Uuid::new_v4().simple().to_string();
    let mut response = Html(HTML.replace("__NONCE__", &nonce)).into_response();
    let policy = format!(
        "default-src 'none'; connect-src 'self'; img-src data:; script-src 'nonce-{nonce}'; \
         style-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_asks_nobody_else_for_anything() {
        for elsewhere in ["http://", "https://", "src=\"", "@import", " url(", ":url(", "innerHTML"]
        {
            assert!(!HTML.contains(elsewhere), "{elsewhere}");
        }
    }
}
