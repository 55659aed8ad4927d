//! The registry of the embedded stack: the part of the Confluent API that clients use, in memory, Avro
//! without references. `store` decides; here are the routes.

mod store;
#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use self::store::{Problem, Store, Wanted};

/// A running registry. It stops when it is dropped.
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens on 127.0.0.1, on a free port if `port` is 0. It has a thread of its own.
    ///
    /// # Errors
    /// The port is taken.
    pub fn start(port: u16) -> std::io::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread =
            std::thread::Builder::new().name("embedded-registry".into()).spawn(move || {
                runtime.block_on(async move {
                    let served = async {
                        let listener = tokio::net::TcpListener::from_std(listener)?;
                        axum::serve(listener, routes()).await
                    };
                    tokio::select! {
                        // Open connections are cut: nothing on them is worth waiting for.
                        _ = stopped => {}
                        result = served => {
                            if let Err(error) = result {
                                tracing::error!(%error, "the embedded registry has ended");
                            }
                        }
                    }
                });
            })?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// The base address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the embedded registry panicked");
        }
    }
}

type Shared = Arc<Mutex<Store>>;

fn routes() -> Router {
    Router::new()
        .route("/", get(|| async { Json(json!({})) }))
        .route("/subjects", get(subjects))
        .route("/subjects/{subject}", post(look_up))
        .route("/subjects/{subject}/versions", get(versions).post(register))
        .route("/subjects/{subject}/versions/{version}", get(version))
        .route("/schemas/types", get(|| async { Json(json!(["AVRO"])) }))
        .route("/schemas/ids/{id}", get(by_id))
        .route("/compatibility/subjects/{subject}/versions", post(compatible_with_all))
        .route("/compatibility/subjects/{subject}/versions/{version}", post(compatible_with))
        .route("/config", get(config).put(set_config))
        .route("/config/{subject}", get(subject_config).put(set_subject_config))
        .fallback(|| async { Problem::new(404, "HTTP 404 Not Found") })
        .with_state(Shared::default())
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // 40401 is 404 with a detail; 409 stands for itself.
        let status = if self.code >= 1000 { self.code / 100 } else { self.code };
        let status = u16::try_from(status)
            .ok()
            .and_then(|status| StatusCode::from_u16(status).ok())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = json!({ "error_code": self.code, "message": self.message });
        (status, answer(&body)).into_response()
    }
}

fn answer(body: &Value) -> impl IntoResponse + use<> {
    ([(header::CONTENT_TYPE, "application/vnd.schemaregistry.v1+json")], body.to_string())
}

fn with(
    store: &Shared,
    f: impl FnOnce(&mut Store) -> Result<Value, Problem>,
) -> Result<Response, Problem> {
    let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
    f(&mut store).map(|body| answer(&body).into_response())
}

async fn subjects(State(store): State<Shared>) -> Result<Response, Problem> {
    with(&store, |store| Ok(json!(store.subjects())))
}

async fn look_up(
    State(store): State<Shared>,
    Path(subject): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    let wanted = Wanted::parse(&body)?;
    with(&store, |store| store.look_up(&subject, &wanted))
}

async fn versions(
    State(store): State<Shared>,
    Path(subject): Path<String>,
) -> Result<Response, Problem> {
    with(&store, |store| Ok(json!(store.versions(&subject)?)))
}

async fn register(
    State(store): State<Shared>,
    Path(subject): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    let wanted = Wanted::parse(&body)?;
    with(&store, |store| Ok(json!({ "id": store.register(&subject, wanted)? })))
}

async fn version(
    State(store): State<Shared>,
    Path((subject, version)): Path<(String, String)>,
) -> Result<Response, Problem> {
    with(&store, |store| store.version(&subject, &version))
}

async fn by_id(State(store): State<Shared>, Path(id): Path<String>) -> Result<Response, Problem> {
    with(&store, |store| Ok(json!({ "schema": store.by_id(&id)? })))
}

async fn compatible_with_all(
    State(store): State<Shared>,
    Path(subject): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    let wanted = Wanted::parse(&body)?;
    with(&store, |store| Ok(verdict(&store.check(&subject, None, &wanted)?)))
}

async fn compatible_with(
    State(store): State<Shared>,
    Path((subject, version)): Path<(String, String)>,
    body: Bytes,
) -> Result<Response, Problem> {
    let wanted = Wanted::parse(&body)?;
    with(&store, |store| Ok(verdict(&store.check(&subject, Some(&version), &wanted)?)))
}

fn verdict(messages: &[String]) -> Value {
    json!({ "is_compatible": messages.is_empty(), "messages": messages })
}

async fn config(State(store): State<Shared>) -> Result<Response, Problem> {
    with(&store, |store| Ok(json!({ "compatibilityLevel": store.rule(None)? })))
}

async fn subject_config(
    State(store): State<Shared>,
    Path(subject): Path<String>,
) -> Result<Response, Problem> {
    with(&store, |store| Ok(json!({ "compatibilityLevel": store.rule(Some(&subject))? })))
}

async fn set_config(State(store): State<Shared>, body: Bytes) -> Result<Response, Problem> {
    with(&store, |store| Ok(json!({ "compatibility": store.set_rule(None, &body)? })))
}

async fn set_subject_config(
    State(store): State<Shared>,
    Path(subject): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    with(&store, |store| Ok(json!({ "compatibility": store.set_rule(Some(&subject), &body)? })))
}
