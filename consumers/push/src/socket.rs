//! One open socket: moves messages between the wire, the machine of [`crate::connection`], the hub and the
//! store. It decides nothing but who somebody is, and that by asking the catalogue.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use domain::event::{ExecutionEvent, Position};
use follow::{Fed, Feed};
use futures_util::future::poll_fn;
use futures_util::stream::{FuturesUnordered, SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use service::auth::{AuthError, KeyHash, Principal, Scope};
use store::{Claims, Store};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite;

use crate::close::{Close, CloseCode};
use crate::connection::{Connection, Effect, History, Now, Outgoing, Rest, Stands, Wish};
use crate::message::Credential;
use crate::sockets::{Open, Seat};
use crate::{Shared, metrics as names, now};

/// How many events are read from the store at once.
const PAGE: usize = 100;
/// How long a client may take to answer the close frame.
const GOODBYE: Duration = Duration::from_secs(2);
/// How many records are moved from the hub to the machine before others have their turn.
const BATCH: usize = 256;

/// Serves one socket to its end.
pub(crate) fn run(
    socket: WebSocket,
    shared: Arc<Shared>,
    open: Open,
) -> impl Future<Output = ()> + Send {
    // A future keeps what it was given beside what it makes of it, and ten thousand wait here: so the socket
    // is taken apart before there is one, and the driver is lent to its loop.
    let (sink, stream) = socket.split();
    Box::pin(async move {
        let code = Driver::new(&shared).serve(sink, stream).await;
        metrics::counter!(names::CLOSED, "code" => code.label()).increment(1);
        drop(open);
    })
}

/// Who is at the other end.
struct Identity {
    key: KeyHash,
    tenant: String,
    /// When a socket that was opened with a ticket has to go.
    until: Option<Instant>,
    seat: Seat,
}

struct Driver<'a> {
    shared: &'a Shared,
    opened: Instant,
    connection: Connection,
    identity: Option<Identity>,
    feed: Feed,
    subscriptions: usize,
}

/// What a round of effects leads to.
enum Next {
    GoOn,
    Ping,
    Read(Read),
    Close(Close),
}

/// What the writing side is ready for.
enum Step {
    /// Another message.
    Ready,
    /// Nothing: all is on its way.
    Flushed,
}

struct Read {
    tag: u64,
    execution: String,
    wish: Wish,
}

impl<'a> Driver<'a> {
    fn new(shared: &'a Shared) -> Self {
        Self {
            shared,
            opened: Instant::now(),
            connection: Connection::new(shared.options.limits),
            identity: None,
            feed: shared.parts.hub.feed(),
            subscriptions: 0,
        }
    }

    fn now(&self) -> Now {
        self.opened.elapsed()
    }

    async fn serve(
        &mut self,
        mut sink: SplitSink<WebSocket, Message>,
        mut stream: SplitStream<WebSocket>,
    ) -> CloseCode {
        let shared = self.shared;
        let mut stopping = pin!(shared.stopping.asked());
        let mut reads = FuturesUnordered::new();
        let mut flushed = true;
        // At most one event at a time has its data fetched, and nothing is sent before it: that keeps the
        // order, and a client that is behind costs one value and no more.
        let mut fetching = FuturesUnordered::new();
        let mut fetched: Option<String> = None;
        loop {
            // All effects before anything else: the machine waits for their answers.
            loop {
                match self.carry_out() {
                    Next::GoOn => break,
                    Next::Ping => {
                        // A socket that can't take it is stalled, which the machine sees by itself.
                        let ready = futures_util::poll!(poll_fn(|cx| sink.poll_ready_unpin(cx)));
                        if ready.is_ready() {
                            let ping = sink.start_send_unpin(Message::Ping(Vec::new().into()));
                            if ping.is_err() {
                                return self.broken();
                            }
                            flushed = false;
                        }
                    }
                    Next::Read(read) => {
                        let tenant = self.identity.as_ref().map(|who| who.tenant.clone());
                        let store = Arc::clone(&self.shared.parts.store);
                        // Boxed: even without any, the set keeps room for one.
                        reads.push(Box::pin(history(store, tenant.unwrap_or_default(), read)));
                    }
                    Next::Close(close) => {
                        self.count();
                        let code = close.code;
                        let frame = CloseFrame { code: code.number(), reason: close.reason.into() };
                        let goodbye = async {
                            // The reason may name the place of an event that is still being fetched.
                            if fetched.is_none() {
                                fetched = fetching.next().await;
                            }
                            if let Some(text) = fetched {
                                let _ = sink.send(Message::Text(text.into())).await;
                            }
                            // The client may be gone, or not read: it had its chance.
                            let _ = sink.send(Message::Close(Some(frame))).await;
                            while let Some(Ok(_)) = stream.next().await {}
                        };
                        let _ = tokio::time::timeout(GOODBYE, goodbye).await;
                        return code;
                    }
                }
            }
            self.count();
            let held = !fetching.is_empty();
            let writes = fetched.is_some() || (!held && self.connection.has_message());
            let deadline = self.connection.deadline().unwrap_or_default();
            let replaced = self.identity.as_ref().map(|who| Arc::clone(&who.seat.replaced));
            let replaced = async {
                match replaced {
                    Some(replaced) => replaced.notified().await,
                    None => std::future::pending().await,
                }
            };
            let step = poll_fn(|cx| match writes {
                true => sink.poll_ready_unpin(cx).map_ok(|()| Step::Ready),
                false => sink.poll_flush_unpin(cx).map_ok(|()| Step::Flushed),
            });
            tokio::select! {
                () = &mut stopping => self.connection.handle_shutdown(),
                () = replaced => self.connection.handle_replaced(),
                step = step, if writes || !flushed => match step {
                    Err(_) => return self.broken(),
                    Ok(Step::Ready) => {
                        let text = match fetched.take() {
                            Some(text) => Some(text),
                            None => match self.connection.poll_message(self.now()) {
                                Some(Outgoing::Text(text)) => Some(text),
                                Some(Outgoing::Large { subscription, event }) => {
                                    let claims = self.shared.parts.claims.clone();
                                    let event = ExecutionEvent::clone(&event);
                                    fetching.push(Box::pin(whole(claims, subscription, event)));
                                    None
                                }
                                None => None,
                            },
                        };
                        if let Some(text) = text {
                            if sink.start_send_unpin(Message::Text(text.into())).is_err() {
                                return self.broken();
                            }
                            flushed = false;
                        }
                    }
                    Ok(Step::Flushed) => {
                        flushed = true;
                        if !held {
                            // Tells the machine that everything was taken.
                            let more = self.connection.poll_message(self.now());
                            debug_assert!(more.is_none(), "there was nothing to write");
                        }
                    }
                },
                Some(text) = fetching.next(), if held => fetched = Some(text),
                fed = self.feed.next() => self.take_in(fed),
                Some((tag, history)) = reads.next(), if !reads.is_empty() => {
                    self.connection.handle_history(self.now(), tag, history);
                }
                said = stream.next(), if self.connection.listens() => match said {
                    Some(Ok(message)) => {
                        if let Some(code) = self.hear(message) {
                            // The answer to a goodbye is written by the socket itself.
                            let goodbye = poll_fn(|cx| sink.poll_close_unpin(cx));
                            let _ = tokio::time::timeout(GOODBYE, goodbye).await;
                            return code;
                        }
                    }
                    Some(Err(error)) => {
                        if !is_too_large(error) {
                            return self.broken();
                        }
                        let code = CloseCode::TooLarge;
                        let frame = CloseFrame {
                            code: code.number(),
                            reason: "a message was too large".into(),
                        };
                        let send = sink.send(Message::Close(Some(frame)));
                        let _ = tokio::time::timeout(GOODBYE, send).await;
                        self.forget();
                        return code;
                    }
                    None => return self.broken(),
                },
                () = tokio::time::sleep_until(self.opened + deadline) => {
                    // What came in time is no less in time because this task wasn't run meanwhile.
                    self.take_in_waiting();
                    self.connection.handle_time(self.now());
                }
            }
        }
    }

    /// Moves what waits at the hub, beginning with `fed`.
    fn take_in(&mut self, fed: Fed) {
        self.tell(self.now(), fed);
        self.take_in_waiting();
    }

    fn take_in_waiting(&mut self) {
        let now = self.now();
        for _ in 0..BATCH {
            let Some(fed) = self.feed.try_next() else { return };
            self.tell(now, fed);
        }
    }

    fn tell(&mut self, now: Now, fed: Fed) {
        match fed {
            Fed::Record { tag, record } => self.connection.handle_record(now, tag, record),
            Fed::Interrupted => self.connection.handle_interrupted(now),
        }
    }

    /// Takes a message in; a code when it was goodbye.
    fn hear(&mut self, message: Message) -> Option<CloseCode> {
        let now = self.now();
        match message {
            Message::Text(text) => self.connection.handle_text(now, &text),
            Message::Binary(_) => self.connection.handle_binary(now),
            Message::Ping(_) | Message::Pong(_) => self.connection.handle_heard(now),
            Message::Close(_) => {
                self.forget();
                return Some(CloseCode::Normal);
            }
        }
        None
    }

    /// Carries effects out until one needs the socket.
    fn carry_out(&mut self) -> Next {
        while let Some(effect) = self.connection.poll_effect() {
            match effect {
                Effect::Authenticate { credential, client } => {
                    let identity = self.identify(&credential, client).map(|identity| {
                        let tenant = identity.tenant.clone();
                        self.identity = Some(identity);
                        tenant
                    });
                    self.connection.handle_identity(self.opened.elapsed(), identity);
                }
                Effect::Recheck => {
                    let outcome = self.recheck();
                    self.connection.handle_recheck(outcome);
                }
                Effect::Follow { tag, execution } => {
                    let Some(who) = &self.identity else { continue };
                    let remembered = self.feed.follow(tag, &who.tenant, &execution);
                    self.connection.handle_remembered(self.opened.elapsed(), tag, remembered);
                }
                Effect::FollowTenant { tag } => {
                    let Some(who) = &self.identity else { continue };
                    self.feed.follow_tenant(tag, &who.tenant);
                }
                Effect::Unfollow { tag } => self.feed.unfollow(tag),
                Effect::Read { tag, execution, wish } => {
                    return Next::Read(Read { tag, execution, wish });
                }
                Effect::Ping => return Next::Ping,
                Effect::Close(close) => return Next::Close(close),
            }
        }
        Next::GoOn
    }

    fn identify(&self, credential: &Credential, client: Option<String>) -> Result<Identity, Close> {
        let unknown = || Close::new(CloseCode::NotAuthenticated, "the key or ticket is not valid");
        let (key, session) = match credential {
            Credential::Key(key) => (KeyHash::of(key).map_err(|_| unknown())?, None),
            Credential::Ticket(ticket) => {
                let grant = self.shared.tickets.redeem(ticket, now());
                let grant = grant.ok_or_else(unknown)?;
                (grant.key, Some(grant.session))
            }
        };
        let principal = self.shared.principal(&key)?;
        let seat = self.shared.sockets.seat(&principal.key_id, client).map_err(|_| {
            Close::new(CloseCode::NotAllowed, "this key has as many sockets as it may")
        })?;
        let until = session.map(|session| self.opened + session);
        Ok(Identity { key, tenant: principal.tenant, until, seat })
    }

    fn recheck(&self) -> Result<(), Close> {
        let Some(who) = &self.identity else { return Ok(()) };
        if who.until.is_some_and(|until| until <= Instant::now()) {
            return Err(Close::new(CloseCode::NotAuthenticated, "the session is over"));
        }
        let principal = self.shared.principal(&who.key)?;
        if principal.tenant != who.tenant {
            let reason = "the key is another tenant's now";
            return Err(Close::new(CloseCode::NotAuthenticated, reason));
        }
        Ok(())
    }

    fn broken(&mut self) -> CloseCode {
        self.forget();
        CloseCode::Broken
    }

    /// Takes what this socket had out of the counts.
    fn forget(&mut self) {
        self.count();
        metrics::gauge!(names::SUBSCRIPTIONS).decrement(self.subscriptions as f64);
        self.subscriptions = 0;
    }

    fn count(&mut self) {
        let subscriptions = self.connection.subscriptions();
        if subscriptions != self.subscriptions {
            let change = subscriptions as f64 - self.subscriptions as f64;
            metrics::gauge!(names::SUBSCRIPTIONS).increment(change);
            self.subscriptions = subscriptions;
        }
        let counts = self.connection.take_counts();
        let tell = |name: &'static str, count| {
            if count > 0 {
                metrics::counter!(name).increment(count);
            }
        };
        tell(names::SENT, counts.sent);
        tell(names::COALESCED, counts.coalesced);
        tell(names::LAGGED, counts.lagged);
    }
}

impl Shared {
    /// Who has this key now, if they may see executions.
    fn principal(&self, key: &KeyHash) -> Result<Principal, Close> {
        let catalogue = self.parts.definitions.snapshot();
        let principal = key.authenticate(&catalogue, now()).map_err(|error| {
            if let AuthError::Damaged { .. } = &error {
                tracing::error!(%error, "an API key can't be used");
            }
            Close::new(CloseCode::NotAuthenticated, "the key or ticket is not valid")
        })?;
        principal
            .require(Scope::ExecutionsRead)
            .map_err(|error| Close::new(CloseCode::NotAllowed, error.to_string()))?;
        Ok(principal)
    }
}

/// The message of an event, with its data where that can be had.
async fn whole(claims: Claims, subscription: String, mut event: ExecutionEvent) -> String {
    claims.fill_event(&mut event).await;
    Outgoing::event_text(&subscription, &event)
}

async fn history(store: Arc<dyn Store>, tenant: String, read: Read) -> (u64, Option<History>) {
    let Read { tag, execution, wish } = read;
    // The standing first: the events that are read after it are at least those that it counts.
    let asked = store.execution(&tenant, &execution).await;
    let standing = match asked {
        Ok(found) => found.and_then(|found| {
            let stands = match found.status.is_terminal() {
                true => Stands::Ended,
                false => Stands::Open,
            };
            found.position.map(|position| (position, stands))
        }),
        Err(error) => return away(tag, &error),
    };
    let Wish::Events(after) = wish else {
        return (tag, Some(History { standing, ..History::default() }));
    };
    let after = Some(after).filter(|after| *after != Position::default());
    match store.events(&tenant, &execution, after, PAGE).await {
        Ok(events) => {
            let rest = if events.len() < PAGE { Rest::None } else { Rest::More };
            (tag, Some(History { standing, events, rest }))
        }
        Err(error) => away(tag, &error),
    }
}

fn away(tag: u64, error: &store::StoreError) -> (u64, Option<History>) {
    tracing::warn!(%error, "the store can't be asked");
    (tag, None)
}

fn is_too_large(error: axum::Error) -> bool {
    let inner = error.into_inner();
    let error = inner.downcast_ref::<tungstenite::Error>();
    matches!(error, Some(tungstenite::Error::Capacity(_)))
}
