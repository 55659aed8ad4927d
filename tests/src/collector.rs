//! A collector of spans, as an operator would run one: OTLP over HTTP, in JSON.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use bytes::Bytes;
use serde_json::Value;
use tokio::net::TcpListener;

/// A collector that keeps what it is sent.
#[derive(Clone, Debug, Default)]
pub struct Collector {
    requests: Arc<Mutex<Vec<Value>>>,
    address: String,
}

impl Collector {
    /// Listens at a free port.
    ///
    /// # Panics
    /// When there is none.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("it is bound"));
        let collector = Self { requests: Arc::default(), address };
        let take = async |State(collector): State<Self>, body: Bytes| {
            let request = serde_json::from_slice(&body).expect("spans come as JSON");
            collector.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
            ([("content-type", "application/json")], "{}")
        };
        let router = Router::new().route("/v1/traces", post(take)).with_state(collector.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        collector
    }

    /// Where it listens: what `OTEL_EXPORTER_OTLP_ENDPOINT` takes.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The spans of a trace so far, in the order in which they came.
    #[must_use]
    pub fn spans(&self, trace: &str) -> Vec<Value> {
        let list = |value: &Value, name: &str| value[name].as_array().cloned().unwrap_or_default();
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests
            .iter()
            .flat_map(|request| list(request, "resourceSpans"))
            .flat_map(|resource| list(&resource, "scopeSpans"))
            .flat_map(|scope| list(&scope, "spans"))
            .filter(|span| span["traceId"] == trace)
            .collect()
    }

    /// Everything that it was sent, as text.
    #[must_use]
    pub fn text(&self) -> String {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        Value::Array(requests.clone()).to_string()
    }
}
