//! The driver of a response's stream: news in, server-sent events out. It decides nothing about numbers or
//! text; that is `events`.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::http::HeaderValue;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use serde_json::Value;
use tokio::time::Instant;

use super::events::Assembly;
use super::last;
use super::memo::Ground;
use super::object::id_of;
use crate::call::{Call, News};
use crate::fault::{EXECUTION_ID, Fault};
use crate::metrics as names;
use crate::openai::chat::{Flow, HEAD_PATIENCE, KEEP_ALIVE};
use crate::openai::sent::Diverged;

/// What was sent differs from what is said now.
pub(super) fn diverged(execution: &str, why: &Diverged) -> Fault {
    ::metrics::counter!(names::DIVERGED).increment(1);
    Fault::Diverged { execution: execution.to_owned(), why: why.to_string() }
}

/// Answers with a stream. A client that waits gets the head when there is something to send, so that an
/// early failure has its own status.
pub(super) async fn start(
    mut call: Call,
    mut assembly: Assembly,
    deadline: Instant,
    ground: Ground,
) -> Result<Response, Fault> {
    let id = HeaderValue::from_str(call.id()).ok();
    let mut ready: VecDeque<Value> = assembly.begin().into();
    let mut state = Flow::Open;
    if ground == Ground::Fore {
        let patience = Instant::now() + HEAD_PATIENCE;
        let begun = ready.len();
        while ready.len() == begun && state == Flow::Open {
            let Some(news) = call.news_within(patience, deadline).await? else { break };
            if let News::Ended(ended) = &news {
                ended.as_ref().clone().into_output(call.id())?;
            }
            state = take(news, &mut assembly, call.id(), &mut ready)?;
        }
    }
    let stream = Stream { call, assembly, ready, state, deadline };
    let frames = stream::unfold(stream, |mut stream| async move {
        let event = stream.next().await?;
        let name = event["type"].as_str().unwrap_or_default().to_owned();
        let frame = Event::default().event(name).data(event.to_string());
        Some((Ok::<_, Infallible>(frame), stream))
    });
    let mut response =
        Sse::new(frames).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
    if let Some(id) = id {
        response.headers_mut().insert(EXECUTION_ID, id);
    }
    Ok(response)
}

struct Stream {
    call: Call,
    assembly: Assembly,
    ready: VecDeque<Value>,
    state: Flow,
    deadline: Instant,
}

impl Stream {
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.state == Flow::Over {
                return None;
            }
            let news = self.call.news_before(self.deadline).await;
            let taken = news
                .and_then(|news| take(news, &mut self.assembly, self.call.id(), &mut self.ready));
            self.state = match taken {
                Ok(state) => state,
                Err(fault) => {
                    self.call.leave().await;
                    let error = self.farewell(&fault);
                    self.ready.push_back(error);
                    Flow::Over
                }
            };
        }
    }

    /// Why the stream ends before the response does, and where it goes on.
    fn farewell(&mut self, fault: &Fault) -> Value {
        let id = id_of(self.call.id());
        let message = match fault {
            Fault::Waiting { .. } | Fault::Restarting { .. } => format!(
                "the work goes on; resume with GET /v1/responses/{id}?stream=true&starting_after={}",
                self.assembly.last()
            ),
            fault => fault.message(),
        };
        self.assembly.error(fault.code(), &message)
    }
}

fn take(
    news: News,
    assembly: &mut Assembly,
    execution: &str,
    ready: &mut VecDeque<Value>,
) -> Result<Flow, Fault> {
    match news {
        News::Chunk(chunk) => {
            ready.extend(assembly.chunk(&chunk).map_err(|why| diverged(execution, &why))?);
            Ok(Flow::Open)
        }
        News::Restart => {
            assembly.restart();
            Ok(Flow::Open)
        }
        News::Ended(ended) => {
            ready.extend(last(*ended, assembly, execution)?);
            Ok(Flow::Over)
        }
    }
}
