//! Push: events and tokens to clients over WebSockets, resumable, with a bound on what each may cost.
//!
//! Component shape: [`Push::new`], [`Push::router`] for the routes, [`Push::run`] to its end. What a
//! connection does is a pure machine ([`connection`]); a socket only drives it. It keeps nothing but
//! which tickets were used: history is the store's, what is live comes from `follow`, keys are in the catalogue. It never
//! writes a record, and never passes another tenant's on.

pub mod close;
pub mod connection;
pub mod message;
pub mod metrics;
mod routes;
mod socket;
mod sockets;
pub mod ticket;

use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;

use axum::Router;
use axum::serve::ListenerExt as _;
use domain::time::Millis;
use service::catalogue::Definitions;
use service::shutdown::Shutdown;
use store::{Claims, Store};
use tokio::net::TcpListener;

use crate::sockets::{Room, Sockets};
use crate::ticket::Tickets;

pub use routes::PROTOCOL;

/// How push behaves.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Of each connection.
    pub limits: connection::Limits,
    /// The most sockets of this process.
    pub sockets: usize,
    /// The most sockets of one key; those of its tickets count.
    pub sockets_per_key: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { limits: connection::Limits::default(), sockets: 50_000, sockets_per_key: 20_000 }
    }
}

/// What push works with.
#[derive(Clone)]
pub struct Parts {
    /// What is live.
    pub hub: follow::Handle,
    /// What was.
    pub store: Arc<dyn Store>,
    /// What is too large for a record.
    pub claims: Claims,
    /// Keys.
    pub definitions: Definitions,
}

/// What every socket sees.
struct Shared {
    options: Options,
    parts: Parts,
    tickets: Tickets,
    sockets: Sockets,
    stopping: Shutdown,
}

#[derive(Clone)]
struct App(Arc<Shared>);

impl Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// The sockets of this process. Cheap to clone.
#[derive(Clone)]
pub struct Push {
    app: App,
}

impl Push {
    /// Sockets that nobody has opened yet.
    #[must_use]
    pub fn new(options: Options, parts: Parts, tickets: Tickets) -> Self {
        let room = Room { all: options.sockets, per_key: options.sockets_per_key };
        Self {
            app: App(Arc::new(Shared {
                options,
                parts,
                tickets,
                sockets: Sockets::new(room),
                stopping: Shutdown::new(),
            })),
        }
    }

    /// `/v1/ws` and `/v1/tickets`, to be merged with other routes.
    pub fn router(&self) -> Router {
        routes::router(self.app.clone())
    }

    /// Returns when `asked` has completed and every socket has been closed with word where to resume.
    pub async fn run(self, asked: impl Future<Output = ()> + Send) {
        asked.await;
        self.app.stopping.finish();
        self.idle().await;
    }

    /// Returns when no socket is open.
    pub async fn idle(&self) {
        self.app.sockets.none().await;
    }

    /// As [`Push::run`], with a listener of its own, where `router` is served: [`Push::router`], with
    /// whatever its owner puts around it.
    ///
    /// # Errors
    /// The listener's.
    pub async fn serve(
        self,
        listener: TcpListener,
        router: Router,
        asked: impl Future<Output = ()> + Send,
    ) -> std::io::Result<()> {
        // Each token is a packet of its own: without this they would wait for each other.
        let listener = listener.tap_io(|connection| {
            if let Err(error) = connection.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY can't be set");
            }
        });
        let stopping = self.app.stopping.clone();
        let server = axum::serve(listener, router)
            .with_graceful_shutdown(async move { stopping.asked().await });
        let (served, ()) = tokio::join!(server, self.run(asked));
        served
    }
}

fn now() -> Millis {
    std::time::SystemTime::now().into()
}
