//! One HTTP request to a provider, up to the head of its answer. Follows no redirect, and says in an
//! error neither where it went nor what it sent.

use std::collections::HashMap;
use std::error::Error as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use domain::answer::{ErrorClass, Failure};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use secrecy::ExposeSecret;

use super::preset;
use crate::try_once::{Delivery, Try, TryFailure};

/// Definitions differ in few connect timeouts; above this many, connections are given up and opened anew.
const MAX_CLIENTS: usize = 32;
/// The same on each try of a request, so that a provider that knows it answers once.
pub(crate) const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The head of an answer, and its body as it comes.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) retry_after: Option<String>,
    pub(crate) body: BoxStream<'static, Result<Bytes, Broke>>,
}

/// The connection broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection broke")]
pub(crate) struct Broke;

/// HTTP clients, one for each connect timeout, because that is a property of the client.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    by_connect_ms: Mutex<HashMap<u64, reqwest::Client>>,
}

impl Clients {
    /// The client that gives up connecting after so many milliseconds.
    pub(crate) fn get(&self, connect_ms: u64) -> Result<reqwest::Client, Failure> {
        let mut clients = self.by_connect_ms.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&connect_ms) {
            return Ok(client.clone());
        }
        let client = reqwest::Client::builder()
            .connect_timeout(Duration::from_millis(connect_ms))
            .redirect(Policy::none())
            .tcp_nodelay(true)
            .user_agent(concat!("stepstream/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| {
                let message = format!("no HTTP client: {}", root_cause(&error));
                Failure::new(ErrorClass::Internal, "no_http_client", message)
            })?;
        if clients.len() >= MAX_CLIENTS {
            clients.clear();
        }
        clients.insert(connect_ms, client.clone());
        Ok(client)
    }
}

/// Sends the request and waits for the head of the answer.
pub(crate) async fn send(
    clients: &Clients,
    ask: &Try<'_>,
    body: String,
) -> Result<Response, TryFailure> {
    let url = preset::url(ask.deployment, ask.request.operation).ok_or_else(|| {
        let message = format!("the provider doesn't offer {}", ask.request.operation.as_str());
        ask.failure(ErrorClass::NotFound, "operation_not_offered", message)
    })?;
    let client = clients.get(ask.timeouts.connect_ms)?;
    let request = client.post(url).headers(headers(ask)?).body(body);
    let response = match ask.delivery {
        Delivery::Whole => request.send().await,
        Delivery::Stream => tokio::time::timeout_at(ask.first_token_by(), request.send())
            .await
            .map_err(|_elapsed| first_token_timeout(ask))?,
    };
    let response = response.map_err(|error| unsent(ask, &error))?;
    let text = |name| {
        let value =
            response.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        value.map(str::to_owned)
    };
    Ok(Response {
        status: response.status().as_u16(),
        content_type: text(CONTENT_TYPE).unwrap_or_default(),
        retry_after: text(RETRY_AFTER),
        body: response.bytes_stream().map(|piece| piece.map_err(|_| Broke)).boxed(),
    })
}

/// The failure of a try whose first token didn't come in time.
pub(crate) fn first_token_timeout(ask: &Try<'_>) -> Failure {
    let message = format!("no token within {} ms", ask.timeouts.first_token_ms);
    ask.failure(ErrorClass::Timeout, "first_token_timeout", message).retryable()
}

fn headers(ask: &Try<'_>) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for (name, value) in &ask.deployment.headers {
        let name = reqwest::header::HeaderName::try_from(name.as_str());
        let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) else {
            let message = "the definition has a header that can't be sent";
            return Err(ask.failure(ErrorClass::Internal, "invalid_header", message));
        };
        headers.insert(name, value);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let accept = match ask.delivery {
        Delivery::Whole => "application/json",
        Delivery::Stream => "text/event-stream",
    };
    headers.insert(ACCEPT, HeaderValue::from_static(accept));
    // An id has no control character, which is all that a header refuses.
    if let Ok(id) = HeaderValue::from_bytes(ask.request.id.as_bytes()) {
        headers.insert(IDEMPOTENCY_KEY, id);
    }
    if let Some(key) = ask.key {
        let bearer = format!("Bearer {}", key.expose_secret());
        let mut bearer = HeaderValue::from_str(&bearer).map_err(|_| {
            ask.failure(ErrorClass::Authentication, "key_missing", "the key can't be sent")
        })?;
        bearer.set_sensitive(true);
        headers.insert(AUTHORIZATION, bearer);
    }
    Ok(headers)
}

/// What went wrong before there was an answer.
pub(crate) fn unsent(ask: &Try<'_>, error: &reqwest::Error) -> Failure {
    let cause = root_cause(error);
    if error.is_builder() {
        let message = format!("the base URL is no use: {cause}");
        return ask.failure(ErrorClass::NotFound, "invalid_base_url", message);
    }
    let (class, code, message) = if error.is_timeout() {
        let message = format!("no connection within {} ms", ask.timeouts.connect_ms);
        (ErrorClass::Timeout, "connect_timeout", message)
    } else if error.is_connect() {
        (ErrorClass::Network, "connect_failed", format!("no connection: {cause}"))
    } else {
        (ErrorClass::Network, "connection_broke", format!("no answer: {cause}"))
    };
    ask.failure(class, code, message).retryable()
}

/// The innermost cause, which names no URL.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    while let Some(inner) = cause.and_then(std::error::Error::source) {
        cause = Some(inner);
    }
    cause.map_or_else(|| "unknown cause".to_owned(), ToString::to_string)
}
