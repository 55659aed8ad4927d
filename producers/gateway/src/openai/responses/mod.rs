//! `/v1/responses`: a chat under OpenAI's newer names, which can be left alone, fetched, followed again and
//! gone on from.
//!
//! A response is an execution; its id is the execution's with `resp_` before it. What an execution doesn't
//! tell of its request is kept in the gateway's note.
#![allow(unused_qualifications, reason = "the macro of the document writes them")]

mod events;
mod input;
pub(crate) mod memo;
mod object;
mod stream;

use std::time::Duration;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use domain::answer::{ErrorClass, Failure};
use domain::catalogue::DefinitionKind;
use domain::fact::Order;
use domain::model_definition::{ModelDefinition, Provider};
use domain::request::{ModelRequest, Operation};
use serde::Deserialize;
use serde_json::{Value, json};
use store::{AcceptedExecution, Execution, Status};
use tokio::time::Instant;
use utoipa::IntoParams;

use self::events::Assembly;
use self::input::{Asked, Delivery, Keep};
use self::memo::{Ground, Memo};
use super::{diverged, known_model, named};
use crate::App;
use crate::auth::{Caller, See, Start, Steer};
use crate::body::{JsonText, check_depth, parse};
use crate::call::{Call, Ended};
use crate::docs::shapes::{OpenAiError, ResponseDeleted, ResponseObject, ResponseRequest};
use crate::executions::{find, whole};
use crate::fault::{Fault, OpenAi, name_execution};
use crate::publish::{new_id, now};
use crate::shape;
use crate::start::{Findable, Note, Orphan, idempotency_key};
use crate::trace::Trace;
use crate::waiting;

/// How long a response waits for the end of the one that it goes on from: who asks has seen that end, and the
/// store hears of it a moment later.
const PREVIOUS_PATIENCE: Duration = Duration::from_secs(5);

/// How long a cancel waits for the end that it asked for.
const CANCEL_PATIENCE: Duration = Duration::from_secs(5);

/// Asks a model for a response, as OpenAI does.
///
/// `background: true` answers at once, with `status: "queued"`. With `stream: true` the answer comes as
/// typed server-sent events; a stream that broke is resumed by `GET /v1/responses/{id}?stream=true&
/// starting_after=N`. Tools are functions; those that OpenAI runs itself are refused, and so are stored
/// prompts, conversations and files by id. If the client disconnects, the work is cancelled, unless it is
/// in the background or has an `Idempotency-Key`.
#[utoipa::path(
    post,
    path = "/v1/responses",
    tag = "openai",
    params(crate::docs::IdempotencyKey),
    request_body = ResponseRequest,
    responses(
        (
            status = 200,
            description = "The response, or a stream of its events",
            content((ResponseObject = "application/json"), (crate::docs::shapes::ServerSentEvent = "text/event-stream"))
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
    let json: Value = parse(&body.into_text())?;
    let asked = input::read(&json)?;
    let tenant = caller.tenant();
    known_model(&app, tenant, &asked.model)?;
    let memo = Memo {
        created: now().0 / 1000,
        ground: asked.ground,
        echo: asked.echo.clone(),
        messages: conversation(&app, tenant, &asked).await?,
    };
    let request = ModelRequest {
        tenant: tenant.to_owned(),
        stream: asked.delivery == Delivery::Stream || asked.ground == Ground::Back,
        ..ModelRequest::new(new_id(), asked.model.clone(), chat(&app, tenant, &asked, &memo)?)
    };
    let mut intent = named(request, idempotency_key(&headers)?, "responses", &json);
    if asked.keep == Keep::Yes {
        intent.findable = Findable::AtOnce;
        intent.note = Note::of_response(&app, tenant, intent.note.hash, &memo).await?;
    }
    let deadline = Instant::now() + app.options.wait;
    if asked.ground == Ground::Back {
        intent.orphan = Orphan::Kept;
    }
    let mut call = Call::start(&app, &intent, &trace).await?;
    let standing = call.standing().clone();
    let id = intent.request.id();
    let mut response = match (asked.delivery, asked.ground) {
        (Delivery::Stream, ground) => {
            let assembly = Assembly::new(id, memo, None);
            stream::start(call, assembly, deadline, ground).await?
        }
        (Delivery::Whole, Ground::Back) => {
            let queued = object::response(id, &memo, &object::State::Queued);
            shown(id, queued)
        }
        (Delivery::Whole, Ground::Fore) => {
            let output = call.answer(deadline).await?.into_output(id)?;
            let answer = super::chat::parsed(&output, id)?;
            let items = object::items(&answer);
            let state = object::State::Ended { answer: &answer, items };
            shown(id, object::response(id, &memo, &state))
        }
    };
    standing.mark(&mut response);
    Ok(response)
}

/// The conversation that the model is to go on with, instructions left out.
async fn conversation(app: &App, tenant: &str, asked: &Asked) -> Result<Vec<Value>, Fault> {
    let Some(previous) = &asked.previous else { return Ok(asked.messages.clone()) };
    let (execution, memo) = stored(app, tenant, previous).await?;
    let execution = waiting::end_of(app, execution, PREVIOUS_PATIENCE).await;
    let ended = execution.output.as_deref().filter(|_| execution.status == Status::Succeeded);
    let Some(output) = ended else {
        return Err(Fault::Conflict {
            code: "response_not_completed",
            problem: format!("the response `{previous}` has no answer to go on from"),
            version: None,
        });
    };
    let mut messages = memo.messages;
    messages.push(object::turn(&super::chat::parsed(output, &execution.id)?));
    messages.extend(asked.messages.iter().cloned());
    Ok(messages)
}

/// The body of the chat.
fn chat(app: &App, tenant: &str, asked: &Asked, memo: &Memo) -> Result<String, Fault> {
    let mut messages = Vec::with_capacity(memo.messages.len() + 1);
    if let Some(instructions) = &asked.instructions {
        messages.push(json!({"role": "system", "content": instructions}));
    }
    messages.extend(memo.messages.iter().cloned());
    let mut body = asked.chat.clone();
    body.insert("model".into(), asked.model.as_str().into());
    body.insert("messages".into(), messages.into());
    if asked.delivery == Delivery::Stream || asked.ground == Ground::Back {
        body.insert("stream".into(), true.into());
    }
    if let Some(count) = asked.max_output_tokens {
        body.insert(length_name(app, tenant, &asked.model).into(), count.into());
    }
    let body = Value::Object(body);
    shape::check(Operation::Chat, &body)?;
    let text = body.to_string();
    check_depth(&text)?;
    let limit = app.options.body_bytes;
    if text.len() > limit {
        let problem = format!("makes the conversation longer than {limit} bytes");
        let place = if asked.previous.is_some() { "previous_response_id" } else { "input" };
        return Err(Fault::invalid(place, problem));
    }
    Ok(text)
}

/// What the longest answer is called: OpenAI's newer models refuse the old name, others know no other.
fn length_name(app: &App, tenant: &str, model: &str) -> &'static str {
    let catalogue = app.definitions.snapshot();
    let body = catalogue
        .newest(DefinitionKind::Model, tenant, model)
        .and_then(|version| version.body.as_deref());
    let definition = body.and_then(|body| ModelDefinition::parse(body).ok());
    let openai = definition.is_some_and(|definition| {
        definition.deployments.iter().any(|deployment| deployment.provider == Provider::Openai)
    });
    if openai { "max_completion_tokens" } else { "max_tokens" }
}

/// How a response is fetched.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Fetch {
    /// Whether its events are wanted, from the beginning or after `starting_after`.
    stream: Option<bool>,
    /// The `sequence_number` of the last event that the client has. Only with `stream=true`.
    #[param(minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    starting_after: Option<u64>,
}

/// One response: how far it is, and its answer when it has one; or its events, live until it has ended.
#[utoipa::path(
    get,
    path = "/v1/responses/{id}",
    tag = "openai",
    params(
        ("id" = String, Path, description = "The response: `resp_…`"),
        Fetch,
    ),
    responses(
        (
            status = 200,
            description = "The response, or a stream of its events",
            content((ResponseObject = "application/json"), (crate::docs::shapes::ServerSentEvent = "text/event-stream"))
        ),
        (status = 404, description = "There is no such response, or it was not stored", body = OpenAiError),
        (status = 503, description = "A dependency is away", body = OpenAiError),
        crate::docs::OpenAiReadErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller<See, OpenAi>,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<Fetch>, QueryRejection>,
) -> Result<Response, OpenAi> {
    let Query(query) = query.map_err(|error| Fault::invalid("query", error.body_text()))?;
    let id = path_id(path)?;
    let (execution, memo) = stored(&app, caller.tenant(), &id).await?;
    if query.stream != Some(true) {
        return Ok(shown(&execution.id, current(&execution, &memo)?));
    }
    let deadline = Instant::now() + app.options.wait;
    let call = Call::attach(&app, &execution);
    let assembly = Assembly::new(&execution.id, memo, query.starting_after);
    Ok(stream::start(call, assembly, deadline, Ground::Back).await?)
}

/// Ends a response in the background as cancelled. One that has ended stays as it ended.
#[utoipa::path(
    post,
    path = "/v1/responses/{id}/cancel",
    tag = "openai",
    params(("id" = String, Path, description = "The response: `resp_…`")),
    responses(
        (status = 200, description = "The response as it is now", body = ResponseObject),
        (status = 404, description = "There is no such response, or it was not stored", body = OpenAiError),
        (status = 409, description = "It is not in the background", body = OpenAiError),
        (status = 503, description = "A dependency is away", body = OpenAiError),
        crate::docs::OpenAiReadErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn cancel(
    State(app): State<App>,
    caller: Caller<Steer, OpenAi>,
    Extension(trace): Extension<Trace>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, OpenAi> {
    let id = path_id(path)?;
    let (mut execution, memo) = stored(&app, caller.tenant(), &id).await?;
    if memo.ground == Ground::Fore {
        return Err(OpenAi(Fault::Conflict {
            code: "not_in_background",
            problem: "only a response with `background: true` can be cancelled".into(),
            version: None,
        }));
    }
    if !execution.status.is_terminal() {
        let call = Call::attach(&app, &execution);
        let order = Order::Cancel { reason: Some("asked for over HTTP".into()) };
        app.publish_command(execution.kind, &execution.id, caller.tenant(), order, Some(&trace))
            .await
            .map_err(|error| error.into_fault(Some(&execution.id)))?;
        execution = whole(&app, waiting::finish(call, execution, CANCEL_PATIENCE).await).await?;
    }
    Ok(shown(&execution.id, current(&execution, &memo)?))
}

/// Forgets a response: it can't be fetched or gone on from any more. The execution stays, with its answer,
/// until its time is over.
#[utoipa::path(
    delete,
    path = "/v1/responses/{id}",
    tag = "openai",
    params(("id" = String, Path, description = "The response: `resp_…`")),
    responses(
        (status = 200, description = "It is forgotten", body = ResponseDeleted),
        (status = 404, description = "There is no such response, or it was not stored", body = OpenAiError),
        (status = 503, description = "A dependency is away", body = OpenAiError),
        crate::docs::OpenAiReadErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn delete(
    State(app): State<App>,
    caller: Caller<Steer, OpenAi>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, OpenAi> {
    let id = path_id(path)?;
    let (execution, _) = stored(&app, caller.tenant(), &id).await?;
    let hash = Note::of(&execution).hash;
    // Of several notes the earliest stands, so this one is a little earlier.
    let forgotten = AcceptedExecution {
        id: execution.id.clone(),
        tenant: execution.tenant.clone(),
        kind: execution.kind,
        definition: execution.definition.unwrap_or_default(),
        request_time: execution.created.plus(-1),
        labels: execution.labels,
        search_attributes: execution.search_attributes,
        note: Note { hash, ..Note::default() }.text(),
    };
    app.store.put_accepted(forgotten).await.map_err(|error| {
        tracing::warn!(%error, "a response can't be forgotten");
        Fault::Away { what: "the store", execution: None }
    })?;
    Ok(Json(json!({"id": id, "object": "response", "deleted": true})))
}

fn path_id(path: Result<Path<String>, PathRejection>) -> Result<String, Fault> {
    path.map(|Path(id)| id).map_err(|_| Fault::invalid("id", "is not UTF-8"))
}

/// The tenant's response with this id.
async fn stored(app: &App, tenant: &str, id: &str) -> Result<(Execution, Memo), Fault> {
    let nowhere = || Fault::NotFound { what: "response", name: id.to_owned() };
    let execution = object::execution_of(id).ok_or_else(nowhere)?;
    let execution = find(app, tenant, execution).await?.ok_or_else(nowhere)?;
    let memo = Note::of(&execution).into_response(app, tenant).await?.ok_or_else(nowhere)?;
    Ok((whole(app, execution).await?, memo))
}

/// The response as it is now.
fn current(execution: &Execution, memo: &Memo) -> Result<Value, Fault> {
    let id = execution.id.as_str();
    let state = match execution.status {
        Status::Accepted | Status::Admitted | Status::Queued => object::State::Queued,
        Status::Running | Status::Paused => object::State::InProgress,
        Status::Cancelled => object::State::Cancelled,
        Status::Failed | Status::TimedOut => {
            let unknown = || Failure::new(ErrorClass::Internal, "unknown", "it doesn't say why");
            let failure = execution.error.clone().unwrap_or_else(unknown);
            let state = object::State::Failed { failure: &failure };
            return Ok(object::response(id, memo, &state));
        }
        Status::Succeeded => {
            let answer = super::chat::parsed(execution.output.as_deref().unwrap_or("null"), id)?;
            let items = object::items(&answer);
            let state = object::State::Ended { answer: &answer, items };
            return Ok(object::response(id, memo, &state));
        }
    };
    Ok(object::response(id, memo, &state))
}

/// How it ended, in the words of a stream.
fn last(ended: Ended, assembly: &mut Assembly, id: &str) -> Result<Vec<Value>, Fault> {
    use domain::answer::Terminal;
    match ended.status {
        Terminal::Cancelled => return Ok(vec![assembly.cancelled()]),
        Terminal::Succeeded => {}
        Terminal::Failed | Terminal::TimedOut => {
            if let Some(failure) = &ended.failure {
                return Ok(vec![assembly.fail(failure)]);
            }
        }
    }
    let answer = super::chat::answer(ended, id)?;
    assembly.finish(&answer).map_err(|why| diverged(id, why))
}

fn shown(execution: &str, response: Value) -> Response {
    let mut response = Json(response).into_response();
    name_execution(&mut response, execution);
    response
}
