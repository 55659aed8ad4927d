//! `POST /v1/chat/completions`, in one piece or as a stream.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use domain::request::Operation;
use futures_util::stream;
use serde_json::Value;
use tokio::time::Instant;

use super::assembly::{Assembly, Head};
use super::sent::Diverged;
use super::{intent, whole};
use crate::auth::{Caller, Start};
use crate::body::{JsonText, parse};
use crate::call::{Call, Ended, News};
use crate::docs::shapes::{ChatAnswer, ChatRequest};
use crate::fault::{EXECUTION_ID, Fault, OpenAi};
use crate::publish::now;
use crate::shape::{self, Output, UsageChunk};
use crate::trace::Trace;
use crate::{App, metrics as names};

/// How long the head of a stream waits for its first token. Until then a failure is answered with its own
/// status; after that the client is told that it is connected, and hears of a failure in the stream.
pub(crate) const HEAD_PATIENCE: Duration = Duration::from_secs(10);

/// How often a silent stream says that it lives: below the idle time of common proxies.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Asks a model, as OpenAI does.
///
/// With `stream: true` the answer comes as server-sent events. What was sent over such a stream can't be
/// taken back: if the call has to be tried again after text was sent, the stream goes on where the new
/// text is the same, and otherwise ends with an `error` event whose code is `stream_diverged`; the whole
/// answer is then found under the execution's id (header `x-execution-id`). If the client disconnects,
/// the call is cancelled, unless it has an `Idempotency-Key`.
#[utoipa::path(
    post,
    path = "/v1/chat/completions",
    tag = "openai",
    params(crate::docs::IdempotencyKey),
    request_body = ChatRequest,
    responses(
        (
            status = 200,
            description = "The answer, or a stream of `chat.completion.chunk` that ends with `[DONE]`",
            content((ChatAnswer = "application/json"), (crate::docs::shapes::ServerSentEvent = "text/event-stream"))
        ),
        crate::docs::ModelRouteErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller<Start, OpenAi>,
    Extension(trace): Extension<Trace>,
    headers: HeaderMap,
    body: JsonText<OpenAi>,
) -> Result<Response, OpenAi> {
    let text = body.into_text();
    let asked = parse::<Value>(&text)?;
    let shape = shape::check(Operation::Chat, &asked)?;
    let of = (Operation::Chat, &shape);
    let intent = intent(&app, caller.tenant(), &headers, of, &asked, text)?;
    let Output::Stream(usage) = shape.output else {
        return Ok(whole(&app, &intent, &trace).await?.into_response());
    };
    let deadline = Instant::now() + app.options.wait;
    let call = Call::start(&app, &intent, &trace).await?;
    let standing = call.standing().clone();
    let mut response = stream(call, shape.model, usage, deadline).await?;
    standing.mark(&mut response);
    Ok(response)
}

/// Answers with a stream, once there is something to send or [`HEAD_PATIENCE`] has passed.
async fn stream(
    mut call: Call,
    model: String,
    usage: UsageChunk,
    deadline: Instant,
) -> Result<Response, Fault> {
    let head = Head { id: format!("chatcmpl-{}", call.id()), model, created: now().0 / 1000 };
    let id = HeaderValue::from_str(call.id()).ok();
    let mut assembly = Assembly::new(head, usage);
    let patience = Instant::now() + HEAD_PATIENCE;
    let mut ready = VecDeque::new();
    let mut state = Flow::Open;
    while ready.is_empty() && state == Flow::Open {
        let Some(news) = call.news_within(patience, deadline).await? else { break };
        state = take(news, &mut assembly, call.id(), &mut ready)?;
    }
    let stream = Stream { call, assembly, ready, state, deadline };
    let frames = stream::unfold(stream, |mut stream| async move {
        let frame = stream.next().await?;
        Some((Ok::<_, Infallible>(frame), stream))
    });
    let mut response =
        Sse::new(frames).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
    if let Some(id) = id {
        response.headers_mut().insert(EXECUTION_ID, id);
    }
    Ok(response)
}

/// Whether more will come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Open,
    Over,
}

struct Stream {
    call: Call,
    assembly: Assembly,
    ready: VecDeque<String>,
    state: Flow,
    deadline: Instant,
}

impl Stream {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(data) = self.ready.pop_front() {
                return Some(Event::default().data(data));
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
                    if matches!(fault, Fault::Diverged { .. }) {
                        self.call.leave().await;
                    }
                    self.ready.push_back(fault.openai_json().to_string());
                    Flow::Over
                }
            };
        }
    }
}

/// Turns news into data of the stream. An error before anything was sent becomes the answer's status,
/// later the last data of the stream.
fn take(
    news: News,
    assembly: &mut Assembly,
    execution: &str,
    ready: &mut VecDeque<String>,
) -> Result<Flow, Fault> {
    let diverged = |why: Diverged| {
        ::metrics::counter!(names::DIVERGED).increment(1);
        Fault::Diverged { execution: execution.to_owned(), why: why.to_string() }
    };
    match news {
        News::Chunk(chunk) => {
            let chunks = assembly.chunk(&chunk).map_err(diverged)?;
            ready.extend(chunks.iter().map(Value::to_string));
            Ok(Flow::Open)
        }
        News::Restart => {
            assembly.restart();
            Ok(Flow::Open)
        }
        News::Ended(ended) => {
            let answer = answer(*ended, execution)?;
            let chunks = assembly.finish(&answer).map_err(diverged)?;
            ready.extend(chunks.iter().map(Value::to_string));
            ready.push_back("[DONE]".into());
            Ok(Flow::Over)
        }
    }
}

pub(super) fn answer(ended: Ended, execution: &str) -> Result<Value, Fault> {
    parsed(&ended.into_output(execution)?, execution)
}

/// A provider's answer, read.
pub(super) fn parsed(output: &str, execution: &str) -> Result<Value, Fault> {
    let answer: Value = serde_json::from_str(output).map_err(|_| Fault::Unusable {
        execution: execution.to_owned(),
        problem: "the provider's answer is not JSON".into(),
    })?;
    if !answer["choices"].is_array() {
        let problem = "the provider's answer has no `choices`".into();
        return Err(Fault::Unusable { execution: execution.to_owned(), problem });
    }
    Ok(answer)
}
