//! `GET /v1/executions/{id}/events`: what happened, then what happens, spliced without a gap or a double.
//!
//! The follower is registered before the store is read, so nothing falls between the two. What is live
//! but doesn't follow what was sent (the store lags, a reader was interrupted) is found in the store
//! again before it is passed on.
#![allow(unused_qualifications, reason = "the macro of the document writes them")]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use domain::event::{ChunkKind, EventType, ExecutionEvent, Position, QueuePlace};
use follow::order::{Events as Order, Try, Verdict};
use follow::{Followed, Following};
use futures_util::stream;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;
use utoipa::IntoParams;

use crate::App;
use crate::auth::{Caller, See};
use crate::executions::{find, id};
use crate::fault::{Fault, Problem};
use crate::openai::telling::KEEP_ALIVE;
use crate::view::{DeltaView, EventView, Events};

/// When the store is first asked for what may have been missed; doubled up to [`ASK_AT_MOST`].
const ASK_FIRST: Duration = Duration::from_millis(50);
/// The longest between two questions to the store.
const ASK_AT_MOST: Duration = Duration::from_secs(5);
/// How long a client is asked to wait before it connects again elsewhere.
const RECONNECT: Duration = Duration::from_secs(1);
/// How many events are read from the store at once.
const PAGE: usize = 500;
/// How long the end waits for text that is still on its way: the two come by different topics.
const TEXT_PATIENCE: Duration = Duration::from_millis(150);

/// What a list of events may be asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Selection {
    /// Only what comes after this place, `generation.number`. The header `Last-Event-ID` comes first.
    #[param(pattern = r"^[0-9]{1,9}\.[0-9]{1,18}$")]
    after: Option<String>,
    /// The most events of a list.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// The events of an execution: server-sent events, live until it has ended; or the list so far for
/// `Accept: application/json`.
///
/// Each event's `id:` is `generation.number`, so `Last-Event-ID` resumes. A higher generation at number n
/// replaces everything from n on. Beside the execution's own events there are `output.delta` (text as it
/// comes), `output.reset` (discard the text so far; `reason` says why), `output.done`, and `execution.queued`
/// with the `position` of a call in the queue of its model (1 is next, 0 waits no more) and
/// `estimated_wait_ms` (null when unknown); these have no `id:`. A gateway that stops says `restarting`:
/// connect again, with `Last-Event-ID`. A client that has everything of an execution that has ended gets
/// 204, so that it doesn't connect again.
#[utoipa::path(
    get,
    path = "/v1/executions/{id}/events",
    tag = "executions",
    params(
        ("id" = String, Path, min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$", description = "The execution"),
        Selection,
        ("Last-Event-ID" = Option<String>, Header, pattern = r"^([0-9]{1,9}\.[0-9]{1,18})?$", description = "Resume after this place, `generation.number`"),
    ),
    responses(
        (
            status = 200, description = "The events",
            content((Events = "application/json"), (crate::docs::shapes::ServerSentEvent = "text/event-stream"))
        ),
        (status = 204, description = "It has ended, and the client has everything"),
        crate::docs::ReadErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller<See, Problem>,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<Selection>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = id(path)?;
    let Query(query) = query.map_err(|error| Fault::invalid("query", error.body_text()))?;
    let after = cursor(&query, &headers)?;
    let tenant = caller.tenant();
    if wants_list(&headers) {
        let limit = query.limit.unwrap_or(PAGE);
        return Ok(Json(list(&app, tenant, &id, after, limit).await?).into_response());
    }
    let following = app.hub.follow(tenant, &id);
    let mut feed = Feed::new(app, tenant, &id, after, following);
    if feed.begin().await? == Begun::Complete {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let frames = stream::unfold(feed, |mut feed| async move {
        let frame = feed.next().await?.whole(&feed.app).await;
        Some((Ok::<_, Infallible>(frame.into_event()), feed))
    });
    Ok(Sse::new(frames).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

async fn list(
    app: &App,
    tenant: &str,
    id: &str,
    after: Option<Position>,
    limit: usize,
) -> Result<Events, Fault> {
    if !(1..=store::MAX_ROWS).contains(&limit) {
        return Err(Fault::invalid("limit", format!("must be 1 to {}", store::MAX_ROWS)));
    }
    if find(app, tenant, id).await?.is_none() {
        return Err(Fault::NotFound { what: "execution", name: id.to_owned() });
    }
    let mut events = read(app, tenant, id, after, limit).await?;
    for event in &mut events {
        app.claims.fill_event(event).await;
    }
    let next = (events.len() == limit)
        .then(|| events.last().map(|event| place_text(event.position())))
        .flatten();
    Ok(Events { data: events.into_iter().map(EventView::from).collect(), next })
}

async fn read(
    app: &App,
    tenant: &str,
    id: &str,
    after: Option<Position>,
    limit: usize,
) -> Result<Vec<ExecutionEvent>, Fault> {
    app.store.events(tenant, id, after, limit).await.map_err(|error| {
        tracing::warn!(%error, "the store can't be asked for events");
        Fault::Away { what: "the store", execution: None }
    })
}

/// JSON only when it is asked for and events are not.
fn wants_list(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let (mut json, mut events) = (false, false);
    for kind in accepted.by_ref().flat_map(|value| value.split(',')) {
        let essence = kind.split(';').next().unwrap_or_default().trim();
        json |= essence.eq_ignore_ascii_case("application/json");
        events |= essence.eq_ignore_ascii_case("text/event-stream");
    }
    json && !events
}

fn cursor(query: &Selection, headers: &HeaderMap) -> Result<Option<Position>, Fault> {
    let (place, text) = match (headers.get("last-event-id"), &query.after) {
        (Some(value), _) => {
            let text =
                value.to_str().map_err(|_| Fault::invalid("Last-Event-ID", "is not ASCII"))?;
            ("Last-Event-ID", text)
        }
        (None, Some(text)) => ("after", text.as_str()),
        (None, None) => return Ok(None),
    };
    // Browsers send an empty one when no event had an id.
    if text.is_empty() {
        return Ok(None);
    }
    place_of(text)
        .map(Some)
        .ok_or_else(|| Fault::invalid(place, "must be `generation.number`, as in `id:`"))
}

fn place_of(text: &str) -> Option<Position> {
    let (generation, number) = text.split_once('.')?;
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(generation) || !digits(number) {
        return None;
    }
    Some(Position { generation: generation.parse().ok()?, number: number.parse().ok()? })
}

fn place_text(place: Position) -> String {
    format!("{}.{}", place.generation, place.number)
}

/// What is sent.
#[derive(Debug, PartialEq)]
enum Frame {
    Event(Box<ExecutionEvent>),
    Delta(domain::event::Chunk),
    Done(Try),
    /// Where the call waits; it has no `id:`.
    Queued {
        execution: String,
        place: QueuePlace,
    },
    Reset {
        of: Option<Try>,
        reason: &'static str,
    },
    /// The client's place is not one of this execution: it starts over.
    StartOver,
    /// This gateway stops; another one goes on from here.
    Farewell(Position),
}

impl Frame {
    /// The same, with data that lies elsewhere. Before it nothing else is sent.
    async fn whole(mut self, app: &App) -> Self {
        if let Self::Event(event) = &mut self {
            app.claims.fill_event(event).await;
        }
        self
    }

    fn into_event(self) -> Event {
        let attempt = |of: Try| json!({"fence": of.fence, "try": of.attempt});
        match self {
            Self::Event(event) => {
                let (id, name) = (place_text(event.position()), event.event_type.as_str());
                data(Event::default().id(id).event(name), &EventView::from(*event))
            }
            Self::Delta(chunk) => {
                data(Event::default().event("output.delta"), &DeltaView::from(chunk))
            }
            Self::Queued { execution, place } => {
                let event = Event::default().event(EventType::Queued.as_str());
                event.data(follow::json::queued(&execution, place))
            }
            Self::Done(of) => data(Event::default().event("output.done"), &attempt(of)),
            Self::Reset { of, reason } => {
                let mut body = of.map_or_else(|| json!({}), attempt);
                body["reason"] = reason.into();
                data(Event::default().event("output.reset"), &body)
            }
            Self::Farewell(place) => {
                let body = json!({
                    "reason": "this server stops; connect again with `Last-Event-ID`",
                    "last_event_id": place_text(place),
                });
                data(Event::default().retry(RECONNECT).event("restarting"), &body)
            }
            Self::StartOver => {
                let body = json!({"reason": "the place to resume from is unknown here"});
                data(Event::default().event("reset"), &body)
            }
        }
    }
}

fn data(event: Event, body: &impl serde::Serialize) -> Event {
    let text = serde_json::to_string(body).expect("a view has text keys and plain values");
    event.data(text)
}

/// Whether there is anything to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begun {
    /// There is, or there will be.
    More,
    /// It has ended, and the client has everything.
    Complete,
}

/// How far the text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Text {
    /// None came, or all of it did.
    Still,
    /// Some came, and its end didn't.
    Flowing,
}

struct Feed {
    app: App,
    tenant: String,
    id: String,
    order: Order,
    following: Following,
    ready: VecDeque<Frame>,
    /// The terminal event, held until the text is complete.
    last: Option<(Frame, Instant)>,
    text: Text,
    over: bool,
    ask: Instant,
    pause: Duration,
}

impl Feed {
    fn new(
        app: App,
        tenant: &str,
        id: &str,
        after: Option<Position>,
        following: Following,
    ) -> Self {
        Self {
            app,
            tenant: tenant.to_owned(),
            id: id.to_owned(),
            order: Order::after(after.unwrap_or_default()),
            following,
            ready: VecDeque::new(),
            last: None,
            text: Text::Still,
            over: false,
            ask: Instant::now() + ASK_FIRST,
            pause: ASK_FIRST,
        }
    }

    /// Reads the history. An execution that neither the store nor the live topics know doesn't exist.
    async fn begin(&mut self) -> Result<Begun, Fault> {
        let execution = find(&self.app, &self.tenant, &self.id).await?;
        self.refill().await?;
        let mut known = execution.is_some();
        while let Some(followed) = self.following.try_next() {
            known = true;
            self.take_in(followed).await;
        }
        if !known {
            return Err(Fault::NotFound { what: "execution", name: self.id.clone() });
        }
        let Some(execution) = execution.filter(|execution| execution.status.is_terminal()) else {
            return Ok(Begun::More);
        };
        let (Some(end), had) = (execution.position, self.order.last()) else {
            return Ok(Begun::More);
        };
        if self.last.is_some() || had < end {
            return Ok(Begun::More);
        }
        if had == end {
            return Ok(Begun::Complete);
        }
        self.start_over();
        self.refill().await?;
        Ok(Begun::More)
    }

    /// The next frame; `None` after the end, or when the gateway stops.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Some(frame);
            }
            if self.over {
                return None;
            }
            let text_deadline = match (&self.last, self.text) {
                (Some(_), Text::Still) => Some(Instant::now()),
                (Some((_, until)), Text::Flowing) => Some(*until),
                (None, _) => None,
            };
            let patience = async {
                match text_deadline {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                followed = self.following.next() => self.take_in(followed).await,
                () = patience => {
                    self.ready.extend(self.last.take().map(|(frame, _)| frame));
                    self.over = true;
                }
                () = tokio::time::sleep_until(self.ask) => self.ask_now().await,
                // The client resumes elsewhere, at the last id that it had.
                () = self.app.shutdown.asked() => {
                    self.over = true;
                    return Some(Frame::Farewell(self.order.last()));
                }
            }
        }
    }

    /// Takes what is live; what is missing before it is looked for in the store first.
    async fn take_in(&mut self, followed: Followed) {
        if let Taken::Hole(event) = self.take(followed) {
            self.ask_now().await;
            // If the hole is still there, the store will have this event too once it is filled.
            if let Some(event) = event {
                self.offer(event);
            }
        }
    }

    fn take(&mut self, followed: Followed) -> Taken {
        match followed {
            Followed::Event(event) => return self.offer(event),
            Followed::Chunk(chunk) if chunk.kind == ChunkKind::Done => {
                self.text = Text::Still;
                self.ready.push_back(Frame::Done(Try::of(&chunk)));
            }
            // An ending that waits for text is one all the same.
            Followed::Queued(_) if self.last.is_some() => {}
            Followed::Queued(place) => {
                self.ready.push_back(Frame::Queued { execution: self.id.clone(), place });
            }
            Followed::Chunk(chunk) => {
                self.text = Text::Flowing;
                self.ready.push_back(Frame::Delta(chunk));
            }
            Followed::Reset(of) => {
                self.text = Text::Flowing;
                self.ready
                    .push_back(Frame::Reset { of: Some(of), reason: "the call was tried again" });
            }
            Followed::Gap(of) => {
                self.text = Text::Still;
                let reason = "text is missing; the answer has the whole";
                self.ready.push_back(Frame::Reset { of: Some(of), reason });
            }
            Followed::Lagged => {
                self.text = Text::Still;
                let reason = "this client or its server fell behind; the answer has the whole";
                self.ready.push_back(Frame::Reset { of: None, reason });
                return Taken::Hole(None);
            }
        }
        Taken::Well
    }

    fn offer(&mut self, event: Box<ExecutionEvent>) -> Taken {
        let (place, had) = (event.position(), self.order.last());
        let terminal = event.event_type.is_terminal();
        match self.order.offer(place) {
            Verdict::Next | Verdict::Replaces => {
                let frame = Frame::Event(event);
                if terminal {
                    self.last = Some((frame, Instant::now() + TEXT_PATIENCE));
                } else {
                    // A replaced ending is no ending.
                    self.last = None;
                    self.ready.push_back(frame);
                }
                Taken::Well
            }
            Verdict::Gap => Taken::Hole(Some(event)),
            Verdict::Copy if terminal && place.generation == had.generation => {
                if place.number < had.number {
                    // Nothing comes after an ending, so the client's place was never one of these.
                    self.start_over();
                    return Taken::Hole(Some(event));
                }
                self.over |= self.last.is_none();
                Taken::Well
            }
            Verdict::Copy => Taken::Well,
        }
    }

    fn start_over(&mut self) {
        self.order = Order::default();
        self.ready.push_back(Frame::StartOver);
    }

    /// Asks the store; a store that doesn't answer is asked again.
    async fn ask_now(&mut self) {
        let before = self.order.last();
        if self.refill().await.is_ok() && self.order.last() != before {
            self.pause = ASK_FIRST;
        }
        self.ask = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(ASK_AT_MOST);
    }

    /// Takes everything that the store has after the last event.
    async fn refill(&mut self) -> Result<(), Fault> {
        loop {
            let after = Some(self.order.last());
            let events = read(&self.app, &self.tenant, &self.id, after, PAGE).await?;
            let full = events.len() == PAGE;
            for event in events {
                if let Taken::Hole(_) = self.offer(Box::new(event)) {
                    return Ok(());
                }
            }
            if !full {
                return Ok(());
            }
        }
    }
}

/// Whether what came follows what was sent.
#[derive(Debug)]
enum Taken {
    Well,
    /// Something is missing before this event: the store may have it.
    Hole(Option<Box<ExecutionEvent>>),
}

#[cfg(test)]
mod tests;
