//! The driver for Anthropic's and Google's own interfaces, through `genai`, always with an explicit
//! target. Chat only, streaming and not, with tools and images.
//!
//! Requests and answers are converted, so less comes through than with [`crate::openai`]:
//! - carried: messages (text, images, files, audio), tools and their choice, `temperature`, `top_p`,
//!   `max_tokens`, `max_completion_tokens`, `stop`, `seed`, `reasoning_effort`, `response_format`; and
//!   `extra_body`, whose members are put into the provider's own request as they are;
//! - refused, because the answer would be another one: `n` above 1, `logprobs`, unknown content parts;
//! - left out: all other members, reasoning of earlier answers (providers want it signed), citations,
//!   safety ratings, and the provider's own id of the answer;
//! - a model name that ends in `-low`, `-high` and the like sets the reasoning effort, and what stands
//!   before `::` is cut off: `genai` reads names so;
//! - the size of an answer is bounded while it streams only, since `genai` reads whole ones by itself.

mod convert;

use domain::answer::{ErrorClass, Failure};
use domain::event::ChunkKind;
use domain::model_definition::Provider;
use futures_util::StreamExt;
use genai::adapter::AdapterKind;
use genai::chat::{ChatOptions, ChatRequest, ChatStreamEvent, StreamEnd};
use genai::resolver::{AuthData, Endpoint};
use genai::{Client, Error, Headers, ModelIden, ServiceTarget};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use secrecy::ExposeSecret;
use tokio::time::Instant;

use self::convert::{Answer, ToolPieces};
use crate::openai::http::{self, first_token_timeout};
use crate::provider_error;
use crate::redact::Redactor;
use crate::retry_after;
use crate::try_once::{Delivery, Drivers, Listener, Reply, Try, TryFailure};
use crate::usage;

/// Asks once.
pub(crate) async fn ask(
    drivers: &Drivers,
    ask: Try<'_>,
    listener: &mut Listener<'_>,
) -> Result<Reply, TryFailure> {
    let target = target(&ask)?;
    let web = drivers.clients.get(ask.timeouts.connect_ms)?;
    let client =
        Client::builder().with_reqwest(web).build().map_err(|error| failed(&ask, &error))?;
    let (request, options) = convert::request(&ask.request.body)
        .map_err(|problem| ask.failure(ErrorClass::Invalid, "not_carried", problem))?;
    let options = options
        .with_capture_usage(true)
        .with_capture_content(true)
        .with_capture_reasoning_content(true)
        .with_capture_tool_calls(true)
        .with_extra_headers(headers(&ask));
    let answer = match ask.delivery {
        Delivery::Whole => {
            let response = client.exec_chat(target, request, Some(&options)).await;
            Answer::from_response(response.map_err(|error| failed(&ask, &error))?)
        }
        Delivery::Stream => {
            let end = Stream { ask: &ask, max_bytes: drivers.max_answer_bytes };
            let end = end.run(&client, target, request, &options, listener).await?;
            Answer::from_stream_end(end)
        }
    };
    let body = answer.body(&ask.request.id, &ask.deployment.model);
    Ok(Reply {
        body: body.to_string(),
        usage: usage::parse(&body["usage"]),
        finish_reason: answer.finish_reason,
        model_used: answer.model,
        http_status: Some(200),
    })
}

fn target(ask: &Try<'_>) -> Result<ServiceTarget, Failure> {
    let (adapter, base) = match ask.deployment.provider {
        Provider::Gemini => {
            (AdapterKind::Gemini, "https://generativelanguage.googleapis.com/v1beta")
        }
        _ => (AdapterKind::Anthropic, "https://api.anthropic.com/v1"),
    };
    let base = ask.deployment.base_url.as_deref().unwrap_or(base).trim_end_matches('/');
    let Some(key) = ask.key else {
        let message = "the provider needs a key, and the deployment names none";
        return Err(ask.failure(ErrorClass::Authentication, "key_missing", message));
    };
    Ok(ServiceTarget {
        endpoint: Endpoint::from_owned(format!("{base}/")),
        auth: AuthData::from_single(key.expose_secret()),
        model: ModelIden::new(adapter, ask.deployment.model.clone()),
    })
}

fn headers(ask: &Try<'_>) -> Headers {
    let mut headers: Vec<(String, String)> = ask.deployment.headers.clone().into_iter().collect();
    // `genai` takes texts, so an id that is not ASCII can't be sent.
    if ask.request.id.is_ascii() {
        headers.push((http::IDEMPOTENCY_KEY.to_owned(), ask.request.id.clone()));
    }
    Headers::from(headers)
}

/// Reads a stream to its end.
struct Stream<'a> {
    ask: &'a Try<'a>,
    max_bytes: usize,
}

impl Stream<'_> {
    async fn run(
        &self,
        client: &Client,
        target: ServiceTarget,
        request: ChatRequest,
        options: &ChatOptions,
        listener: &mut Listener<'_>,
    ) -> Result<StreamEnd, TryFailure> {
        let ask = self.ask;
        let response = client.exec_chat_stream(target, request, Some(options)).await;
        let mut stream = response.map_err(|error| failed(ask, &error))?.stream;
        let mut tools = ToolPieces::default();
        let mut bytes = 0;
        loop {
            let patience = if listener.heard() {
                Instant::now() + ask.between_tokens()
            } else {
                ask.first_token_by()
            };
            let (kind, text) = loop {
                match tokio::time::timeout_at(patience, stream.next()).await {
                    Ok(Some(Ok(event))) => match event {
                        ChatStreamEvent::Chunk(chunk) => break (ChunkKind::Text, chunk.content),
                        ChatStreamEvent::ReasoningChunk(chunk) => {
                            break (ChunkKind::Reasoning, chunk.content);
                        }
                        ChatStreamEvent::ToolCallChunk(chunk) => {
                            break (ChunkKind::ToolCalls, tools.piece(&chunk.tool_call));
                        }
                        ChatStreamEvent::End(end) => return Ok(end),
                        // Neither is a token.
                        ChatStreamEvent::Start
                        | ChatStreamEvent::Heartbeat
                        | ChatStreamEvent::ThoughtSignatureChunk(_) => {}
                    },
                    Ok(Some(Err(error))) => return Err(failed(ask, &error)),
                    Ok(None) => return Err(incomplete(ask).into()),
                    Err(_elapsed) if listener.heard() => return Err(token_timeout(ask).into()),
                    Err(_elapsed) => return Err(first_token_timeout(ask).into()),
                }
            };
            bytes += text.len();
            if bytes > self.max_bytes {
                let message = format!("the answer is larger than {} bytes", self.max_bytes);
                return Err(ask.failure(ErrorClass::TooLarge, "answer_too_large", message).into());
            }
            listener.hear(kind, 0, text);
        }
    }
}

fn incomplete(ask: &Try<'_>) -> Failure {
    let message = "the stream ended before the answer did";
    ask.failure(ErrorClass::Network, "incomplete_stream", message).retryable()
}

fn token_timeout(ask: &Try<'_>) -> Failure {
    let message = format!("no further token within {} ms", ask.timeouts.between_tokens_ms);
    ask.failure(ErrorClass::Timeout, "between_tokens_timeout", message).retryable()
}

/// What an error of `genai` means. Its own texts are never used: they quote requests.
fn failed(ask: &Try<'_>, error: &Error) -> TryFailure {
    use genai::webc;
    let malformed = || {
        ask.failure(ErrorClass::Provider, "malformed_answer", "the answer can't be read")
            .retryable()
    };
    match error {
        Error::HttpError { status, body, headers, .. }
        | Error::WebModelCall {
            webc_error: webc::Error::ResponseFailedStatus { status, body, headers },
            ..
        } => refused(ask, Some(status.as_u16()), body.as_bytes(), Some(headers)),
        Error::ChatResponse { body, .. } => refused(ask, None, body.to_string().as_bytes(), None),
        Error::WebModelCall { webc_error: webc::Error::Reqwest(error), .. } => {
            http::unsent(ask, error).into()
        }
        Error::WebStream { error, .. } => match (error.downcast_ref(), error.downcast_ref()) {
            (Some(error), _) => failed(ask, error),
            (_, Some(error)) => http::unsent(ask, error).into(),
            _ => incomplete(ask).into(),
        },
        Error::WebModelCall { .. }
        | Error::StreamParse { .. }
        | Error::ChatResponseGeneration { .. }
        | Error::NoChatResponse { .. }
        | Error::InvalidJsonResponseElement { .. }
        | Error::JsonValueExt(_)
        | Error::SerdeJson(_) => malformed().into(),
        Error::ChatReqHasNoMessages { .. }
        | Error::LastChatMessageIsNotUser { .. }
        | Error::MessageRoleNotSupported { .. }
        | Error::MessageContentTypeNotSupported { .. }
        | Error::JsonModeWithoutInstruction => {
            let message = "the provider can't be sent these messages";
            ask.failure(ErrorClass::Invalid, "not_carried", message).into()
        }
        _ => ask.failure(ErrorClass::Internal, "driver_failed", "the driver failed").into(),
    }
}

fn refused(
    ask: &Try<'_>,
    status: Option<u16>,
    body: &[u8],
    headers: Option<&HeaderMap>,
) -> TryFailure {
    let redactor = Redactor { key: ask.key, content: &ask.request.body };
    let failure = provider_error::classify(status, body, &redactor);
    let header = headers.and_then(|headers| headers.get(RETRY_AFTER)?.to_str().ok());
    TryFailure {
        failure: failure.from_source(&ask.deployment.name),
        retry_after: header.and_then(|value| retry_after::parse(value, ask.now)),
    }
}
