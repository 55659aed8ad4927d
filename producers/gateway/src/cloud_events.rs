//! `POST /v1/events`: CloudEvents 1.0 whose data is a request, structured, in a batch, or binary.
//!
//! An event is named by its source and id, so one that is delivered again is the same execution. A batch is
//! looked at as a whole before anything of it is started.

use axum::extract::{FromRequest as _, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::App;
use crate::auth::{Caller, Start};
use crate::body::{self, parse};
use crate::docs::shapes::ProblemDetails;
use crate::fault::{Fault, Problem};
use crate::openai::known_model;
use crate::requests;
use crate::start::{Intent, Novelty, hash};
use crate::text::is_trace_parent;
use crate::trace::Trace;
use crate::view::Accepted;

/// The type of the events that are taken: the name of the record that they become.
const MODEL_REQUEST: &str = "io.stepstream.v1.ModelRequest";

const JSON: &str = "application/json";
const STRUCTURED: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";

/// The most events of a batch: each is published by itself.
const MAX_BATCH: usize = 100;

/// What became of the events.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Taken {
    /// Of one.
    One(Accepted),
    /// Of a batch, in its order.
    Batch { data: Vec<Accepted> },
}

/// One event.
#[derive(Debug)]
struct Event {
    id: String,
    source: String,
    trace_parent: Option<String>,
    data: Value,
}

/// Starts an execution for each event.
///
/// The data of an event is what `POST /v1/requests` takes, without an id: the execution's id follows from
/// the event's `source` and `id`, so the same event again is the same execution. Structured
/// (`application/cloudevents+json`), in a batch (`application/cloudevents-batch+json`), or binary
/// (`ce-…` headers, the data as `application/json`). The extension `traceparent` is passed on.
#[utoipa::path(
    post,
    path = "/v1/events",
    tag = "executions",
    params(
        ("ce-specversion" = Option<String>, Header, description = "`1.0`; this and the next three in binary mode only"),
        ("ce-id" = Option<String>, Header, min_length = 1, pattern = r"^[!-$&-~]+$", description = "The event's id"),
        ("ce-source" = Option<String>, Header, min_length = 1, pattern = r"^[!-$&-~]+$", description = "The event's source"),
        ("ce-type" = Option<String>, Header, description = "`io.stepstream.v1.ModelRequest`"),
    ),
    request_body(content(
        (crate::docs::shapes::CloudEvent = "application/cloudevents+json"),
        (crate::docs::shapes::CloudEventBatch = "application/cloudevents-batch+json"),
        (crate::docs::shapes::CloudEventData = "application/json"),
    )),
    responses(
        (status = 202, description = "They stand", body = Taken),
        (status = 404, description = "There is no such model", body = ProblemDetails, content_type = "application/problem+json"),
        crate::docs::StartErrors,
        crate::docs::WriteErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller<Start, Problem>,
    Extension(trace): Extension<Trace>,
    request: Request,
) -> Result<Response, Problem> {
    let headers = request.headers().clone();
    let mode = Mode::of(&headers)?;
    let text = body::Text::from_request(request, &app).await?.into_text();
    let tenant = caller.tenant();
    let (events, places) = match mode {
        Mode::Binary => (vec![binary(&headers, parse(&text)?)?], vec![String::new()]),
        Mode::Structured => (vec![structured(parse(&text)?, "")?], vec!["data.".to_owned()]),
        Mode::Batch => {
            let batch: Vec<Map<String, Value>> = parse(&text)?;
            if !(1..=MAX_BATCH).contains(&batch.len()) {
                let problem = format!("must have 1 to {MAX_BATCH} events");
                return Err(Problem(Fault::invalid("body", problem)));
            }
            let places = (0..batch.len()).map(|n| format!("[{n}].data.")).collect();
            let events = batch
                .into_iter()
                .enumerate()
                .map(|(n, event)| structured(event, &format!("[{n}].")))
                .collect::<Result<_, _>>()?;
            (events, places)
        }
    };
    let mut intents = Vec::with_capacity(events.len());
    for (event, at) in events.into_iter().zip(&places) {
        intents.push(intent(&app, tenant, event, at)?);
    }
    let mut accepted = Vec::with_capacity(intents.len());
    let mut first = None;
    for (intent, parent) in intents {
        let trace = match parent {
            Some(parent) => Trace { parent, state: None },
            None => trace.clone(),
        };
        // After a failure in the middle the whole batch can be sent again: what stands is found.
        let standing = app.start(&intent, &trace).await?;
        first.get_or_insert(standing);
        accepted.push(requests::taken(intent.request.id));
    }
    let single = matches!(mode, Mode::Binary | Mode::Structured);
    let taken = match (single, accepted.pop()) {
        (true, Some(one)) => Taken::One(one),
        (_, last) => {
            accepted.extend(last);
            Taken::Batch { data: accepted }
        }
    };
    let mut response = (StatusCode::ACCEPTED, Json(taken)).into_response();
    if let (true, Some(standing)) = (single, first) {
        standing.mark(&mut response);
    }
    Ok(response)
}

/// How events come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Binary,
    Structured,
    Batch,
}

impl Mode {
    fn of(headers: &HeaderMap) -> Result<Self, Fault> {
        let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let essence = kind.unwrap_or(JSON).split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case(STRUCTURED) {
            Ok(Self::Structured)
        } else if essence.eq_ignore_ascii_case(BATCH) {
            Ok(Self::Batch)
        } else if essence.eq_ignore_ascii_case(JSON) {
            Ok(Self::Binary)
        } else {
            Err(Fault::MediaType { found: essence.chars().take(100).collect(), wanted: "JSON" })
        }
    }
}

/// An event whose attributes are headers.
fn binary(headers: &HeaderMap, data: Value) -> Result<Event, Fault> {
    let attribute = |name: &str| {
        let value = headers.get(format!("ce-{name}"));
        let value = value.map(|value| value.to_str().map(percent_decoded));
        match value {
            Some(Ok(Some(text))) => Ok(Value::from(text)),
            Some(_) => Err(Fault::invalid(format!("ce-{name}"), "is not percent-encoded ASCII")),
            None => Ok(Value::Null),
        }
    };
    let mut attributes = Map::new();
    for name in ["specversion", "id", "source", "type", "traceparent"] {
        attributes.insert(name.into(), attribute(name)?);
    }
    attributes.insert("data".into(), data);
    structured(attributes, "ce-")
}

/// An event whose attributes are members.
fn structured(mut event: Map<String, Value>, at: &str) -> Result<Event, Fault> {
    let text = |name: &str| match event.get(name) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
        _ => Err(Fault::invalid(format!("{at}{name}"), "must be a string that is not empty")),
    };
    if text("specversion")? != "1.0" {
        return Err(Fault::invalid(format!("{at}specversion"), "must be `1.0`"));
    }
    let (id, source) = (text("id")?, text("source")?);
    if text("type")? != MODEL_REQUEST {
        let problem = format!("must be `{MODEL_REQUEST}`");
        return Err(Fault::invalid(format!("{at}type"), problem));
    }
    let trace_parent = text("traceparent").ok().filter(|parent| is_trace_parent(parent));
    let kind = event.get("datacontenttype").filter(|kind| !kind.is_null());
    if kind.is_some_and(|kind| !kind.as_str().is_some_and(is_json)) {
        return Err(Fault::invalid(format!("{at}datacontenttype"), "must be `application/json`"));
    }
    if event.get("data_base64").is_some_and(|data| !data.is_null()) {
        return Err(Fault::invalid(
            format!("{at}data_base64"),
            "must be `data`: requests are JSON",
        ));
    }
    let data = event.remove("data").unwrap_or(Value::Null);
    Ok(Event { id, source, trace_parent, data })
}

fn is_json(kind: &str) -> bool {
    let essence = kind.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case(JSON)
}

/// What an event asks for, and its own trace.
fn intent(
    app: &App,
    tenant: &str,
    event: Event,
    at: &str,
) -> Result<(Intent, Option<String>), Fault> {
    let inside = |fault| match fault {
        Fault::Invalid { place, problem } if place != "body" => {
            Fault::Invalid { place: format!("{at}{place}"), problem }
        }
        Fault::Invalid { problem, .. } => {
            let place = at.strip_suffix('.').filter(|at| !at.is_empty()).unwrap_or("data");
            Fault::invalid(place, problem)
        }
        other => other,
    };
    if !event.data.is_object() {
        return Err(inside(Fault::invalid("body", "must be an object")));
    }
    if event.data.get("id").is_some_and(|id| !id.is_null()) {
        let problem = "must not be given: it follows from the event's source and id";
        return Err(inside(Fault::invalid("id", problem)));
    }
    let mut intent = requests::read(&event.data.to_string(), tenant, None).map_err(inside)?;
    known_model(app, tenant, &intent.request.model)?;
    intent.request.id = crate::ids::of_event(tenant, &event.source, &event.id);
    intent.novelty = Novelty::Maybe;
    intent.note.hash = Some(hash("events", &event.data));
    Ok((intent, event.trace_parent))
}

/// A header's value as the CloudEvents HTTP binding writes it; `None`: not written so.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let (high, low) = (digit(rest.next())?, digit(rest.next())?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn header_values_are_percent_decoded() {
        assert_eq!(percent_decoded("a%20b%C3%A9").as_deref(), Some("a bé"));
        for wrong in ["%", "%2", "%zz", "%ff"] {
            assert_eq!(percent_decoded(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn attribute_that_is_wrong_is_named() {
        let good = json!({"specversion": "1.0", "id": "1", "source": "/s", "type": MODEL_REQUEST, "data": {}});
        assert!(structured(good.as_object().unwrap().clone(), "").is_ok());
        for (name, value) in [
            ("specversion", json!("0.3")),
            ("specversion", json!(null)),
            ("id", json!("")),
            ("id", json!(7)),
            ("source", json!(null)),
            ("type", json!("com.example.other")),
            ("datacontenttype", json!("text/xml")),
            ("data_base64", json!("e30=")),
        ] {
            let mut event = good.as_object().unwrap().clone();
            event.insert(name.into(), value);
            match structured(event, "[3].") {
                Err(Fault::Invalid { place, .. }) => assert_eq!(place, format!("[3].{name}")),
                other => panic!("{name}: {other:?}"),
            }
        }
    }
}
