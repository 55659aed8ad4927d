//! The messages of both sides as text: read with the place of what is wrong, written once.
//!
//! Pure. It knows what a message says and nothing of what becomes of it.

use domain::event::{EventType, ExecutionEvent, Position};
use domain::id;
use domain::topic::Kind;
use follow::order::Try;
use serde_json::{Map, Value, json};
use store::Status;

/// The longest name of a subscription and of a client, in bytes.
pub const MAX_NAME_BYTES: usize = 64;

/// What a client presents.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// An API key.
    Key(String),
    /// A ticket of `POST /v1/tickets`.
    Ticket(String),
}

/// Says which of them it is, never what.
impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Key(_) => "Key",
            Self::Ticket(_) => "Ticket",
        })
    }
}

/// How far a client has the text of an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextPlace {
    /// The try.
    pub of: Try,
    /// The last index that it has.
    pub index: i64,
}

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// With the first event.
    Start,
    /// With what comes.
    Now,
    /// After what the client has.
    Place {
        /// Its last event.
        event: Position,
        /// Its last text; `None`: the text comes again from its beginning.
        text: Option<TextPlace>,
    },
}

/// Which events of a tenant a feed has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Of executions of this kind only.
    pub kind: Option<Kind>,
    /// That lead to this status only.
    pub status: Option<Status>,
    /// Of this type only.
    pub event_type: Option<EventType>,
}

impl EventFilter {
    /// Whether an event is among them.
    #[must_use]
    pub fn takes(&self, event: &ExecutionEvent) -> bool {
        self.kind.is_none_or(|kind| kind == event.kind)
            && self.status.is_none_or(|status| Status::after(event.event_type) == Some(status))
            && self.event_type.is_none_or(|wanted| wanted == event.event_type)
    }
}

/// What a subscription follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One execution, to its end.
    Execution(String),
    /// An agent's session, which has no end of its own.
    Session(String),
    /// The executions of the tenant.
    Filter(EventFilter),
}

/// What a client says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Who it is; the first message.
    Authenticate {
        /// What it presents.
        credential: Credential,
        /// Its own name for itself: a newer socket of the same name replaces the older one.
        client: Option<String>,
    },
    /// Follow something.
    Subscribe {
        /// The client's name for the subscription.
        id: String,
        /// What.
        target: Target,
        /// From where.
        after: After,
    },
    /// Follow it no more.
    Unsubscribe {
        /// The client's name for the subscription.
        id: String,
    },
    /// Are you there?
    Ping {
        /// Comes back with the answer.
        id: Option<String>,
    },
}

/// What is wrong with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// For programs.
    pub code: &'static str,
    /// For people, with the place.
    pub message: String,
    /// The subscription that the message was about.
    pub subscription: Option<String>,
}

impl Refused {
    fn at(place: &str, problem: impl std::fmt::Display) -> Self {
        let message = format!("`{place}` {problem}");
        Self { code: "invalid_message", message, subscription: None }
    }
}

/// Reads a client's message.
///
/// # Errors
/// What is wrong with it, and where. What the client presented is never repeated.
pub fn read(text: &str) -> Result<Said, Refused> {
    let refuse = |message: String| Refused { code: "invalid_message", message, subscription: None };
    let value: Value = serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        refuse(format!("is not JSON: line {line}, column {column}"))
    })?;
    let Value::Object(mut fields) = value else {
        return Err(refuse("is not a JSON object".into()));
    };
    let kind = text_of(&mut fields, "type")?.ok_or_else(|| Refused::at("type", "is missing"))?;
    let about = match fields.get("id") {
        Some(Value::String(id)) if id.len() <= MAX_NAME_BYTES => Some(id.clone()),
        _ => None,
    };
    let said = match kind.as_str() {
        "authenticate" => authenticate(&mut fields),
        "subscribe" => subscribe(&mut fields),
        "unsubscribe" => name(&mut fields, "id").map(|id| Said::Unsubscribe { id }),
        "ping" => optional_name(&mut fields, "id").map(|id| Said::Ping { id }),
        _ => Err(Refused::at(
            "type",
            "must be one of `authenticate`, `subscribe`, `unsubscribe`, `ping`",
        )),
    };
    let said = said.and_then(|said| nothing_left("", &fields).map(|()| said));
    said.map_err(|refused| Refused { subscription: about.filter(|_| kind != "ping"), ..refused })
}

fn authenticate(fields: &mut Map<String, Value>) -> Result<Said, Refused> {
    let credential = match (text_of(fields, "key")?, text_of(fields, "ticket")?) {
        (Some(key), None) => Credential::Key(key),
        (None, Some(ticket)) => Credential::Ticket(ticket),
        _ => return Err(Refused::at("key", "or `ticket` must be there, and not both")),
    };
    Ok(Said::Authenticate { credential, client: optional_name(fields, "client")? })
}

fn subscribe(fields: &mut Map<String, Value>) -> Result<Said, Refused> {
    let id = name(fields, "id")?;
    let checked = |place: &str, text: Option<String>| match text {
        Some(text) => match id::check(&text) {
            Ok(()) => Ok(Some(text)),
            Err(why) => Err(Refused::at(place, why)),
        },
        None => Ok(None),
    };
    let execution = checked("execution", text_of(fields, "execution")?)?;
    let session = checked("session", text_of(fields, "session")?)?;
    let filter = fields.remove("filter").map(filter).transpose()?;
    let target = match (execution, session, filter) {
        (Some(execution), None, None) => Target::Execution(execution),
        (None, Some(session), None) => Target::Session(session),
        (None, None, Some(filter)) => Target::Filter(filter),
        _ => {
            return Err(Refused::at(
                "execution",
                "or `session` or `filter` must be there, and only one of them",
            ));
        }
    };
    let after = match (fields.remove("after"), &target) {
        (Some(after), _) => self::after(after)?,
        (None, Target::Filter(_)) => After::Now,
        (None, _) => After::Start,
    };
    Ok(Said::Subscribe { id, target, after })
}

fn after(value: Value) -> Result<After, Refused> {
    const SHAPE: &str = "must be \"start\", \"now\" or {\"generation\", \"number\"}";
    match value {
        Value::String(word) if word == "start" => Ok(After::Start),
        Value::String(word) if word == "now" => Ok(After::Now),
        Value::Object(mut fields) => {
            let generation = count(&mut fields, "after.", "generation")?;
            let generation = i32::try_from(generation)
                .map_err(|_| Refused::at("after.generation", "is too large"))?;
            let number = count(&mut fields, "after.", "number")?;
            let text = match fields.remove("output") {
                None | Some(Value::Null) => None,
                Some(Value::Object(mut output)) => {
                    let fence = count(&mut output, "after.output.", "fence")?;
                    let attempt = count(&mut output, "after.output.", "try")?;
                    let attempt = i32::try_from(attempt)
                        .map_err(|_| Refused::at("after.output.try", "is too large"))?;
                    let index = count(&mut output, "after.output.", "index")?;
                    nothing_left("after.output.", &output)?;
                    Some(TextPlace { of: Try { fence, attempt }, index })
                }
                Some(_) => {
                    return Err(Refused::at(
                        "after.output",
                        "must be {\"fence\", \"try\", \"index\"}",
                    ));
                }
            };
            nothing_left("after.", &fields)?;
            Ok(After::Place { event: Position { generation, number }, text })
        }
        _ => Err(Refused::at("after", SHAPE)),
    }
}

fn filter(value: Value) -> Result<EventFilter, Refused> {
    let Value::Object(mut fields) = value else {
        return Err(Refused::at("filter", "must be an object"));
    };
    let mut one_of = |field: &str, names: Vec<&'static str>| match fields.remove(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if names.contains(&text.as_str()) => Ok(Some(text)),
        Some(_) => Err(Refused::at(
            &format!("filter.{field}"),
            format_args!("must be one of {}", names.join(", ")),
        )),
    };
    let kind = one_of("kind", Kind::ALL.map(Kind::as_str).to_vec())?;
    let status = one_of("status", Status::ALL.map(Status::as_str).to_vec())?;
    let event_type = one_of("type", EventType::ALL.map(EventType::as_str).to_vec())?;
    nothing_left("filter.", &fields)?;
    let named = |name: &Option<String>, known: &str| name.as_deref() == Some(known);
    Ok(EventFilter {
        kind: Kind::ALL.into_iter().find(|one| named(&kind, one.as_str())),
        status: Status::ALL.into_iter().find(|one| named(&status, one.as_str())),
        event_type: EventType::ALL.into_iter().find(|one| named(&event_type, one.as_str())),
    })
}

fn text_of(fields: &mut Map<String, Value>, field: &str) -> Result<Option<String>, Refused> {
    match fields.remove(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Refused::at(field, "must be text")),
    }
}

fn optional_name(fields: &mut Map<String, Value>, field: &str) -> Result<Option<String>, Refused> {
    match text_of(fields, field)? {
        Some(text) if text.is_empty() || text.len() > MAX_NAME_BYTES => {
            Err(Refused::at(field, format_args!("must have 1 to {MAX_NAME_BYTES} bytes")))
        }
        other => Ok(other),
    }
}

fn name(fields: &mut Map<String, Value>, field: &str) -> Result<String, Refused> {
    optional_name(fields, field)?.ok_or_else(|| Refused::at(field, "is missing"))
}

fn count(fields: &mut Map<String, Value>, within: &str, field: &str) -> Result<i64, Refused> {
    let number = fields.remove(field).as_ref().and_then(Value::as_i64);
    number.filter(|number| *number >= 0).ok_or_else(|| {
        Refused::at(&format!("{within}{field}"), "must be a whole number, 0 or more")
    })
}

fn nothing_left(within: &str, fields: &Map<String, Value>) -> Result<(), Refused> {
    match fields.keys().next() {
        None => Ok(()),
        Some(field) => {
            let shown: String = field.chars().take(MAX_NAME_BYTES).collect();
            Err(Refused::at(&format!("{within}{shown}"), "is not a field of this message"))
        }
    }
}

/// Writes the server's messages.
pub(crate) mod write {
    use super::{Refused, Value, json};

    /// The text of a subscription's name, as JSON.
    pub(crate) fn quoted(text: &str) -> String {
        Value::from(text).to_string()
    }

    pub(crate) fn authenticated(tenant: &str, heartbeat_ms: u128) -> String {
        let heartbeat_ms = u64::try_from(heartbeat_ms).unwrap_or(u64::MAX);
        json!({"type": "authenticated", "tenant": tenant, "heartbeat_ms": heartbeat_ms}).to_string()
    }

    pub(crate) fn subscribed(subscription: &str) -> String {
        json!({"type": "subscribed", "subscription": subscription}).to_string()
    }

    pub(crate) fn unsubscribed(subscription: &str, reason: &str) -> String {
        json!({"type": "unsubscribed", "subscription": subscription, "reason": reason}).to_string()
    }

    pub(crate) fn reset(subscription: &str, reason: &str) -> String {
        json!({"type": "reset", "subscription": subscription, "reason": reason}).to_string()
    }

    pub(crate) fn lagging(subscription: &str) -> String {
        json!({"type": "lagging", "subscription": subscription}).to_string()
    }

    pub(crate) fn pong(id: Option<&str>) -> String {
        match id {
            Some(id) => json!({"type": "pong", "id": id}).to_string(),
            None => r#"{"type":"pong"}"#.into(),
        }
    }

    pub(crate) fn error(refused: &Refused) -> String {
        let mut body = json!({"type": "error", "code": refused.code, "message": refused.message});
        if let Some(subscription) = &refused.subscription {
            body["subscription"] = subscription.as_str().into();
        }
        body.to_string()
    }

    /// `subscription` and `event` are JSON already.
    pub(crate) fn event(subscription: &str, event: &str) -> String {
        const HEAD: &str = r#"{"type":"event","subscription":"#;
        const MIDDLE: &str = r#","event":"#;
        let length = HEAD.len() + subscription.len() + MIDDLE.len() + event.len() + 1;
        let mut text = String::with_capacity(length);
        for part in [HEAD, subscription, MIDDLE, event, "}"] {
            text.push_str(part);
        }
        text
    }
}

#[cfg(test)]
mod tests;
