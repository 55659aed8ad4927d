//! Reads an answer in OpenAI's shape: an error, a whole body, or a stream of events, within bounds of
//! size and time. Tolerates what servers of this shape are known to do; says so where it does.

use std::time::Duration;

use bytes::Bytes;
use domain::answer::{ErrorClass, Failure};
use eventsource_stream::{EventStreamError, Eventsource};
use futures_util::StreamExt;
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::http::{Broke, Response, first_token_timeout};
use super::pieces::{PieceProblem, Pieces};
use crate::provider_error;
use crate::redact::Redactor;
use crate::retry_after;
use crate::try_once::{Listener, Reply, Try, TryFailure};
use crate::usage;

/// Of an error's body no more is read.
const MAX_ERROR_BYTES: usize = 64 * 1024;
/// A provider that is slow to say what is wrong isn't waited for longer.
const ERROR_PATIENCE: Duration = Duration::from_secs(5);
/// The event that ends a stream.
const DONE: &str = "[DONE]";

/// Reads the answer to one try.
pub(crate) struct Decoder<'a> {
    pub(crate) ask: &'a Try<'a>,
    /// The body that was sent: what error texts must not repeat.
    pub(crate) sent: &'a str,
    pub(crate) max_bytes: usize,
}

/// Why a piece of a body didn't come.
enum Stopped {
    Broke,
    TooLarge,
}

impl Decoder<'_> {
    /// An answer in one piece.
    pub(crate) async fn whole(&self, response: Response) -> Result<Reply, TryFailure> {
        let response = self.accepted(response).await?;
        let status = response.status;
        let mut bytes = Vec::new();
        let mut body = bounded(response.body, self.max_bytes);
        while let Some(piece) = body.next().await {
            bytes.extend_from_slice(&piece.map_err(|stopped| self.stopped(&stopped))?);
        }
        self.read_whole(status, bytes)
    }

    /// An answer that comes token by token.
    pub(crate) async fn stream(
        &self,
        response: Response,
        listener: &mut Listener<'_>,
    ) -> Result<Reply, TryFailure> {
        let response = self.accepted(response).await?;
        // Some servers ignore that a stream was asked for.
        if response.content_type.starts_with("application/json") {
            let reply = tokio::time::timeout_at(self.ask.first_token_by(), self.whole(response))
                .await
                .map_err(|_elapsed| first_token_timeout(self.ask))??;
            Pieces::hear_whole(&reply.body, listener);
            return Ok(reply);
        }
        let status = response.status;
        let mut events = Box::pin(bounded(response.body, self.max_bytes).eventsource());
        let mut pieces = Pieces::new(self.ask.request.operation);
        loop {
            let patience = if listener.heard() {
                Instant::now() + self.ask.between_tokens()
            } else {
                self.ask.first_token_by()
            };
            // Comments, which some send to keep the connection open, are no events: they don't help
            // a model that has stopped.
            let event = match tokio::time::timeout_at(patience, events.next()).await {
                Ok(Some(Ok(event))) => event,
                // `[DONE]` is often missing, and some leave the connection open behind the last token.
                Ok(None | Some(Err(_))) | Err(_) if pieces.is_finished() => break,
                Ok(None) => return Err(self.incomplete().into()),
                Ok(Some(Err(EventStreamError::Transport(stopped)))) => {
                    return Err(self.stopped(&stopped).into());
                }
                Ok(Some(Err(_))) => return Err(self.malformed("is not a stream of events").into()),
                Err(_elapsed) if listener.heard() => return Err(self.token_timeout().into()),
                Err(_elapsed) => return Err(first_token_timeout(self.ask).into()),
            };
            if event.data.trim() == DONE {
                break;
            }
            if event.event == "error" {
                return Err(self.refused(None, event.data.as_bytes(), None));
            }
            match pieces.take(&event.data, listener) {
                Ok(()) => {}
                Err(PieceProblem::NotJson) => {
                    return Err(self.malformed("has a piece that is not JSON").into());
                }
                Err(PieceProblem::Error) => {
                    return Err(self.refused(None, event.data.as_bytes(), None));
                }
            }
        }
        if pieces.is_empty() {
            return Err(self.incomplete().into());
        }
        let whole = pieces.whole();
        Ok(Reply {
            body: whole.body,
            model_used: whole.model,
            finish_reason: whole.finish_reason,
            usage: whole.usage.as_ref().and_then(usage::parse),
            http_status: Some(i32::from(status)),
        })
    }

    /// The response, if its status says that it is an answer.
    async fn accepted(&self, response: Response) -> Result<Response, TryFailure> {
        let status = response.status;
        if (200..300).contains(&status) {
            return Ok(response);
        }
        if (300..400).contains(&status) {
            let message = format!("the provider redirects (status {status}), which isn't followed");
            let failure = self.ask.failure(ErrorClass::Provider, "unexpected_redirect", message);
            return Err(failure.with_http_status(status).into());
        }
        let mut bytes = Vec::new();
        let mut body = bounded(response.body, MAX_ERROR_BYTES);
        let reading = async {
            while let Some(Ok(piece)) = body.next().await {
                bytes.extend_from_slice(&piece);
            }
        };
        // What came until then must do.
        let _ = tokio::time::timeout(ERROR_PATIENCE, reading).await;
        Err(self.refused(Some(status), &bytes, response.retry_after.as_deref()))
    }

    #[allow(clippy::result_large_err, reason = "once a try, and as everywhere else here")]
    fn read_whole(&self, status: u16, bytes: Vec<u8>) -> Result<Reply, TryFailure> {
        let text = String::from_utf8(bytes).map_err(|_| self.malformed("is not UTF-8"))?;
        // Serde would read a list as the members in order.
        if !text.trim_start().starts_with('{') {
            return Err(self.malformed("is not a JSON object").into());
        }
        let seen: Seen = serde_json::from_str(&text)
            .map_err(|_| self.malformed("is not the JSON it should be"))?;
        if seen.error.as_ref().is_some_and(|error| !error.is_null()) {
            return Err(self.refused(None, text.as_bytes(), None));
        }
        let usage = seen.usage.as_ref().or(seen.meta.as_ref()).and_then(usage::parse);
        let choices = seen.choices.unwrap_or_default();
        Ok(Reply {
            finish_reason: choices.into_iter().find_map(|choice| choice.finish_reason),
            model_used: seen.model,
            usage,
            http_status: Some(i32::from(status)),
            body: text,
        })
    }

    /// What the provider says is wrong.
    fn refused(&self, status: Option<u16>, body: &[u8], retry_after: Option<&str>) -> TryFailure {
        let redactor = Redactor { key: self.ask.key, content: self.sent };
        let failure = provider_error::classify(status, body, &redactor);
        TryFailure {
            failure: failure.from_source(&self.ask.deployment.name),
            retry_after: retry_after.and_then(|value| retry_after::parse(value, self.ask.now)),
        }
    }

    fn stopped(&self, stopped: &Stopped) -> Failure {
        match stopped {
            Stopped::Broke => self
                .ask
                .failure(
                    ErrorClass::Network,
                    "connection_broke",
                    "the connection broke in the answer",
                )
                .retryable(),
            Stopped::TooLarge => {
                let message = format!("the answer is larger than {} bytes", self.max_bytes);
                self.ask.failure(ErrorClass::TooLarge, "answer_too_large", message)
            }
        }
    }

    fn malformed(&self, problem: &str) -> Failure {
        let message = format!("the answer {problem}");
        self.ask.failure(ErrorClass::Provider, "malformed_answer", message).retryable()
    }

    fn incomplete(&self) -> Failure {
        let message = "the stream ended before the answer did";
        self.ask.failure(ErrorClass::Network, "incomplete_stream", message).retryable()
    }

    fn token_timeout(&self) -> Failure {
        let message = format!("no further token within {} ms", self.ask.timeouts.between_tokens_ms);
        self.ask.failure(ErrorClass::Timeout, "between_tokens_timeout", message).retryable()
    }
}

/// What is looked at in a whole answer; the rest passes unread.
#[derive(Deserialize)]
struct Seen {
    #[serde(default)]
    error: Option<Value>,
    #[serde(default, deserialize_with = "text_or_nothing")]
    model: Option<String>,
    #[serde(default)]
    usage: Option<Value>,
    /// Where Cohere's shape of rerank has it.
    #[serde(default)]
    meta: Option<Value>,
    #[serde(default)]
    choices: Option<Vec<SeenChoice>>,
}

#[derive(Deserialize)]
struct SeenChoice {
    #[serde(default, deserialize_with = "text_or_nothing")]
    finish_reason: Option<String>,
}

fn text_or_nothing<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(value)? {
        Value::String(text) => Some(text),
        _ => None,
    })
}

/// The pieces of a body up to `max` bytes in all.
fn bounded(
    body: impl Stream<Item = Result<Bytes, Broke>> + Send + Unpin + 'static,
    max: usize,
) -> impl Stream<Item = Result<Bytes, Stopped>> + Send + Unpin {
    let pieces = stream::unfold((body, 0usize), move |(mut body, so_far)| async move {
        let piece = body.next().await?;
        Some(match piece {
            Ok(piece) if so_far + piece.len() > max => (Err(Stopped::TooLarge), (body, so_far)),
            Ok(piece) => {
                let so_far = so_far + piece.len();
                (Ok(piece), (body, so_far))
            }
            Err(Broke) => (Err(Stopped::Broke), (body, so_far)),
        })
    });
    Box::pin(pieces)
}
