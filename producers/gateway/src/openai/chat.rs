//! `POST /v1/chat/completions`, in one piece or as a stream.

use std::collections::VecDeque;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::response::sse::Event;
use domain::request::Operation;
use serde_json::Value;
use tokio::time::Instant;

use super::assembly::{Assembly, Head};
use super::telling::{Flow, Teller, Telling};
use super::{diverged, intent, whole};
use crate::App;
use crate::auth::{Caller, Start};
use crate::body::{JsonText, parse};
use crate::call::{Call, Ended, News};
use crate::docs::shapes::{ChatAnswer, ChatRequest};
use crate::fault::{Fault, OpenAi};
use crate::publish::now;
use crate::shape::{self, Output, UsageChunk};
use crate::trace::Trace;

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

/// Answers with a stream, once there is something to send or the head has waited long enough.
async fn stream(
    call: Call,
    model: String,
    usage: UsageChunk,
    deadline: Instant,
) -> Result<Response, Fault> {
    let head = Head { id: format!("chatcmpl-{}", call.id()), model, created: now().0 / 1000 };
    let assembly = Assembly::new(head, usage);
    let mut telling = Telling::new(call, assembly, VecDeque::new(), deadline);
    telling.head(|_, _| Ok(())).await?;
    Ok(telling.into_response())
}

impl Teller for Assembly {
    type Piece = String;

    /// An error before anything was sent becomes the answer's status, later the last data of the stream.
    fn take(
        &mut self,
        news: News,
        execution: &str,
        ready: &mut VecDeque<String>,
    ) -> Result<Flow, Fault> {
        match news {
            News::Chunk(chunk) => {
                let chunks = self.chunk(&chunk).map_err(|why| diverged(execution, why))?;
                ready.extend(chunks.iter().map(Value::to_string));
                Ok(Flow::Open)
            }
            News::Restart => {
                self.restart();
                Ok(Flow::Open)
            }
            News::Ended(ended) => {
                let answer = answer(*ended, execution)?;
                let chunks = self.finish(&answer).map_err(|why| diverged(execution, why))?;
                ready.extend(chunks.iter().map(Value::to_string));
                ready.push_back("[DONE]".into());
                Ok(Flow::Over)
            }
        }
    }

    fn farewell(&mut self, fault: &Fault, _: &str) -> String {
        fault.openai_json().to_string()
    }

    fn goes_on(fault: &Fault) -> bool {
        matches!(fault, Fault::Diverged { .. })
    }

    fn frame(piece: &String) -> Event {
        Event::default().data(piece)
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
