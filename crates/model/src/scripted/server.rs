//! The scripted provider behind a real HTTP server in OpenAI's shape: `/v1/chat/completions`,
//! `/v1/completions`, `/v1/embeddings`, `/v1/rerank`, `/v1/models`. For dev, tests and load runs; it
//! checks no key.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use domain::request::Operation;
use domain::script::Script;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::plan::{Request, hash, plan};
use super::player::{Tries, play};

/// The largest request.
const MAX_REQUEST_BYTES: usize = 64 * 1024 * 1024;
/// So many idempotency keys are kept in [`Seen`].
const MAX_KEYS_SEEN: usize = 1_024;

/// What a server has seen so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Requests that came.
    pub requests: u64,
    /// Requests that are being answered.
    pub open: u64,
    /// Requests whose client went away before the answer was complete.
    pub abandoned: u64,
    /// The idempotency keys of the first requests, in order; empty where there was none.
    pub keys: Vec<String>,
    /// The body of the last request.
    pub last_body: String,
}

/// A running server. When it is dropped it listens no more; answers under way go on.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    seen: watch::Receiver<Seen>,
    _stop: DropGuard,
}

struct Shared {
    script: Script,
    tries: Tries,
    seen: watch::Sender<Seen>,
}

impl Server {
    /// Listens at `address`; port 0 is any free port.
    ///
    /// # Errors
    /// When it can't listen there.
    pub async fn start(address: SocketAddr, script: Script) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (sender, seen) = watch::channel(Seen::default());
        let shared = Arc::new(Shared { script, tries: Tries::default(), seen: sender });
        let routes = Router::new()
            .route("/chat/completions", post(chat))
            .route("/completions", post(text_completion))
            .route("/embeddings", post(embeddings))
            .route("/rerank", post(rerank))
            .route("/models", get(models))
            .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
            .with_state(shared);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move {
            let serve = axum::serve(listener, Router::new().nest("/v1", routes));
            tokio::select! {
                () = stopped.cancelled() => {}
                result = serve => {
                    if let Err(error) = result {
                        tracing::error!(%error, "scripted server ended");
                    }
                }
            }
        });
        Ok(Self { address, seen, _stop: stop.drop_guard() })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL for a deployment of provider `openai-compatible`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// What it has seen until now.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Waits until what it has seen fits.
    pub async fn until(&self, fits: impl FnMut(&Seen) -> bool) -> Seen {
        let mut seen = self.seen.clone();
        // The sender lives as long as the server, whose guard we hold.
        seen.wait_for(fits).await.map(|seen| seen.clone()).unwrap_or_default()
    }
}

/// Counts one request from its beginning to its end.
struct Open {
    shared: Arc<Shared>,
    complete: bool,
}

impl Open {
    /// Nothing of the answer is missing, or what is missing is so on purpose.
    fn complete(&mut self) {
        self.complete = true;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shared.seen.send_modify(|seen| {
            seen.open -= 1;
            seen.abandoned += u64::from(!self.complete);
        });
    }
}

async fn chat(state: State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    answer(state.0, Operation::Chat, &headers, &body).await
}

async fn text_completion(state: State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    answer(state.0, Operation::TextCompletion, &headers, &body).await
}

async fn embeddings(state: State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    answer(state.0, Operation::Embeddings, &headers, &body).await
}

async fn rerank(state: State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    answer(state.0, Operation::Rerank, &headers, &body).await
}

async fn models() -> Response {
    let model =
        json!({ "id": "scripted", "object": "model", "created": 0, "owned_by": "stepstream" });
    axum::Json(json!({ "object": "list", "data": [model] })).into_response()
}

async fn answer(
    shared: Arc<Shared>,
    operation: Operation,
    headers: &HeaderMap,
    bytes: &Bytes,
) -> Response {
    let text = |name: &str| {
        headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let key = text("idempotency-key");
    shared.seen.send_modify(|seen| {
        seen.requests += 1;
        seen.open += 1;
        seen.last_body = String::from_utf8_lossy(bytes).into_owned();
        if seen.keys.len() < MAX_KEYS_SEEN {
            seen.keys.push(key.clone().unwrap_or_default());
        }
    });
    let mut open = Open { shared: Arc::clone(&shared), complete: false };
    let Ok(body @ Value::Object(_)) = serde_json::from_slice(bytes) else {
        open.complete();
        let error = json!({ "error": { "message": "the body is not a JSON object",
            "type": "invalid_request_error", "param": null, "code": null } });
        return (StatusCode::BAD_REQUEST, axum::Json(error)).into_response();
    };
    // Without a key, the same body is the same request.
    let id = key.unwrap_or_else(|| format!("{:016x}", hash(&String::from_utf8_lossy(bytes))));
    let request = Request {
        operation,
        id: &id,
        attempt: shared.tries.count(&id),
        authorization: text(AUTHORIZATION.as_str()),
        body,
    };
    let played = play(plan(&shared.script, &request)).await;
    let state = (played.body, open);
    let pieces = futures_util::stream::unfold(state, |(mut body, mut open)| async move {
        let piece = body.next().await;
        if !matches!(piece, Some(Ok(_))) {
            open.complete();
        }
        piece.map(|piece| (piece, (body, open)))
    });
    let mut response = Response::new(Body::from_stream(pieces));
    *response.status_mut() =
        StatusCode::from_u16(played.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in
        [(CONTENT_TYPE, Some(played.content_type)), (RETRY_AFTER, played.retry_after)]
    {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
