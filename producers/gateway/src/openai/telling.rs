//! The driver of a streamed answer: news of the call in, server-sent events out. It knows when to wait and
//! when it is over; what is said, and in which words, is the teller's.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use tokio::time::Instant;

use crate::call::{Call, News};
use crate::fault::{Fault, name_execution};

/// How long the head of a stream waits for its first token. Until then a failure is answered with its own
/// status; after that the client is told that it is connected, and hears of a failure in the stream.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);

/// How often a silent stream says that it lives: below the idle time of common proxies.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Whether more will come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Open,
    Over,
}

/// Turns the news of a call into the pieces of one kind of stream.
pub(super) trait Teller: Send + 'static {
    /// What is sent at once.
    type Piece: Send + 'static;

    /// Puts what follows from `news` into `ready`.
    fn take(
        &mut self,
        news: News,
        execution: &str,
        ready: &mut VecDeque<Self::Piece>,
    ) -> Result<Flow, Fault>;

    /// The last piece of a stream that a fault ends.
    fn farewell(&mut self, fault: &Fault, execution: &str) -> Self::Piece;

    /// Whether the call goes on without this stream when the fault ends it.
    fn goes_on(fault: &Fault) -> bool;

    /// The piece as it is sent.
    fn frame(piece: &Self::Piece) -> Event;
}

/// A stream that is told.
pub(super) struct Telling<T: Teller> {
    call: Call,
    teller: T,
    ready: VecDeque<T::Piece>,
    state: Flow,
    deadline: Instant,
}

impl<T: Teller> Telling<T> {
    /// Nothing was sent yet; `ready` comes first.
    pub(super) fn new(call: Call, teller: T, ready: VecDeque<T::Piece>, deadline: Instant) -> Self {
        Self { call, teller, ready, state: Flow::Open, deadline }
    }

    /// Waits until there is more to send, or [`HEAD_PATIENCE`] has passed. What `refuse` or the teller
    /// makes a fault of is answered with its own status.
    pub(super) async fn head(
        &mut self,
        refuse: impl Fn(&News, &str) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let patience = Instant::now() + HEAD_PATIENCE;
        let begun = self.ready.len();
        while self.ready.len() == begun && self.state == Flow::Open {
            let Some(news) = self.call.news_within(patience, self.deadline).await? else { break };
            refuse(&news, self.call.id())?;
            self.state = self.teller.take(news, self.call.id(), &mut self.ready)?;
        }
        Ok(())
    }

    async fn next(&mut self) -> Option<T::Piece> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Some(piece);
            }
            if self.state == Flow::Over {
                return None;
            }
            let news = self.call.news_before(self.deadline).await;
            let taken =
                news.and_then(|news| self.teller.take(news, self.call.id(), &mut self.ready));
            self.state = match taken {
                Ok(state) => state,
                Err(fault) => {
                    if T::goes_on(&fault) {
                        self.call.leave().await;
                    }
                    self.ready.push_back(self.teller.farewell(&fault, self.call.id()));
                    Flow::Over
                }
            };
        }
    }

    /// The stream as an answer.
    pub(super) fn into_response(self) -> Response {
        let execution = self.call.id().to_owned();
        let frames = stream::unfold(self, |mut telling| async move {
            let piece = telling.next().await?;
            Some((Ok::<_, Infallible>(T::frame(&piece)), telling))
        });
        let mut response =
            Sse::new(frames).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
        name_execution(&mut response, &execution);
        response
    }
}
