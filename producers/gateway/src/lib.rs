//! The gateway: HTTP in, records out, and the answers back.
//!
//! It keeps nothing of its own: requests become records, answers come from the topics (through `follow`)
//! and the store, keys and definitions from the catalogue. It never calls a model, never decides what
//! becomes of an execution, and never names Kafka. The tenant of whatever it writes or shows comes from
//! the API key alone.

mod again;
mod audit;
mod auth;
mod body;
mod bulk;
mod bulk_again;
mod call;
mod cloud_events;
mod definitions;
mod docs;
mod events;
mod executions;
mod fault;
mod headers;
mod health;
mod ids;
pub mod metrics;
mod openai;
mod page;
mod publish;
mod rate;
mod requests;
mod routes;
mod running;
mod schedules;
mod shape;
mod start;
mod steering;
mod steps;
mod text;
mod trace;
mod values;
mod verbs;
mod view;
mod waiting;
pub mod yaml;

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt as _;
use runtime::ports::Publish;
use schemas::Ids;
use secrecy::SecretString;
use service::catalogue::Definitions;
use service::shutdown::Shutdown;
use store::{Claims, Store};
use tokio::net::TcpListener;

pub use rate::{Rate, Rates};
pub use routes::dress;

/// How long before the end of the drain those who still wait are told where to go on.
const FAREWELL: Duration = Duration::from_secs(1);

/// The largest body of a request, unless configured otherwise.
pub const BODY_BYTES: usize = 16 * 1024 * 1024;

/// The same where no store is shared with those who carry requests out: with its headers it fits into the
/// 1 MiB that brokers take by default.
pub const RECORD_BODY_BYTES: usize = 768 * 1024;

/// How a gateway behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// The largest body of a request, in bytes.
    pub body_bytes: usize,
    /// How long a client may wait for an answer in one request.
    pub wait: Duration,
    /// How long running requests may take when it is time to stop.
    pub drain: Duration,
    /// What comes before the name of every topic, for the AsyncAPI document.
    pub topic_prefix: String,
    /// `host:port` of the brokers, for the AsyncAPI document.
    pub brokers: String,
    /// The live page at `/`.
    pub page: Page,
    /// How often each key may ask.
    pub rates: Rates,
    /// Origins whose pages may call from a browser.
    pub cors_origins: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            body_bytes: BODY_BYTES,
            wait: Duration::from_secs(600),
            drain: Duration::from_secs(20),
            topic_prefix: String::new(),
            brokers: "127.0.0.1:9092".into(),
            page: Page::Hidden,
            rates: Rates::default(),
            cors_origins: Vec::new(),
        }
    }
}

/// Whether `/` shows the live page.
#[derive(Clone, Debug)]
pub enum Page {
    /// No: `/` answers 404.
    Hidden,
    /// Yes; a key is asked for.
    Live,
    /// Yes; a browser on this machine finds this key in it. For development only.
    LiveWithKey(SecretString),
}

/// A dependency that `/readyz` asks after.
#[derive(Clone)]
pub struct Dependency {
    /// Its name in the answer.
    pub name: &'static str,
    /// `Err` says what is wrong with it. Must return at once.
    pub check: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
}

/// What a gateway works with.
#[derive(Clone)]
pub struct Parts {
    /// Writes records.
    pub publish: Arc<dyn Publish>,
    /// The registry's ids.
    pub ids: Ids,
    /// Live events and tokens.
    pub hub: follow::Handle,
    /// What was.
    pub store: Arc<dyn Store>,
    /// Values that are too large for a record; what it keeps, the inference processes have to find.
    pub claims: Claims,
    /// Models and keys.
    pub definitions: Definitions,
    /// Renders all metrics of the process.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// More that `/readyz` asks after.
    pub dependencies: Vec<Dependency>,
    /// When it is time to stop.
    pub shutdown: Shutdown,
}

/// What every handler sees.
pub(crate) struct Shared {
    options: Options,
    parts: Parts,
    buckets: rate::Buckets,
    known: start::Known,
    /// When clients that wait are let go, with word where to go on.
    closing: Shutdown,
}

impl Deref for Shared {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

/// [`Shared`], as the state of the router.
#[derive(Clone)]
pub(crate) struct App(Arc<Shared>);

impl Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// A gateway.
#[derive(Clone)]
pub struct Gateway {
    app: App,
    more: Router,
}

impl Gateway {
    /// A gateway that serves nobody yet.
    #[must_use]
    pub fn new(options: Options, parts: Parts) -> Self {
        let shared = Shared {
            buckets: rate::Buckets::new(options.rates.clone()),
            known: start::Known::default(),
            closing: Shutdown::new(),
            options,
            parts,
        };
        Self { app: App(Arc::new(shared)), more: Router::new() }
    }

    /// Serves these routes as well, with the headers that all of them have. They bring no fallback.
    #[must_use]
    pub fn with_routes(mut self, more: Router) -> Self {
        self.more = self.more.merge(more);
        self
    }

    /// All routes, as a service.
    pub fn router(&self) -> Router {
        routes::router(self.app.clone(), self.more.clone())
    }

    /// Serves until the parts' shutdown asks to finish, and then until running requests are done, but no
    /// longer than [`Options::drain`].
    ///
    /// # Errors
    /// The listener's.
    pub async fn serve(self, listener: TcpListener) -> std::io::Result<()> {
        // Each token is a packet of its own: without this they would wait for each other.
        let listener = listener.tap_io(|connection| {
            if let Err(error) = connection.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY can't be set");
            }
        });
        let router = self.router().into_make_service_with_connect_info::<SocketAddr>();
        let asked = self.app.shutdown.clone();
        let server = axum::serve(listener, router)
            .with_graceful_shutdown(async move { asked.asked().await });
        let app = self.app.clone();
        let too_late = async move {
            app.shutdown.asked().await;
            let drain = async {
                tokio::time::sleep(app.options.drain.saturating_sub(FAREWELL)).await;
                app.closing.finish();
                tokio::time::sleep(app.options.drain.min(FAREWELL)).await;
            };
            tokio::select! {
                () = drain => {}
                () = app.shutdown.at_once() => {}
            }
        };
        tokio::select! {
            served = server => served,
            () = too_late => {
                tracing::warn!("requests were still running when the gateway stopped");
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
