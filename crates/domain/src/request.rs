//! What upstream systems ask for. Only `id`, `model` and `body` are required of an upstream; all else
//! has a default in the schema.

pub mod check;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::catalogue::Which;
use crate::claim::ClaimCheck;
use crate::time::Millis;

/// The tenant of a record that names none.
pub const DEFAULT_TENANT: &str = "default";

/// Who asked, so that the answer finds its way back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// What the asker is.
    pub kind: OriginKind,
    /// The asker's id: an execution, a session.
    pub id: String,
    /// The step of the asker that waits.
    pub step: String,
    /// The attempt of that step, from 1.
    pub attempt: i32,
}

/// What an asker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OriginKind {
    /// An outside system: the answer goes to `results`.
    Client,
    /// A workflow execution: the answer goes to `workflow-events`.
    Workflow,
    /// An agent session: the answer goes to `agent-events`.
    Agent,
}

/// What a model is asked to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Chat completion (`/chat/completions`).
    #[default]
    Chat,
    /// Text completion (`/completions`).
    TextCompletion,
    /// Embeddings (`/embeddings`).
    Embeddings,
    /// Rerank (`/rerank`, in the shape that Cohere and Jina introduced).
    Rerank,
}

impl Operation {
    /// The name in records and rows.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::TextCompletion => "text_completion",
            Self::Embeddings => "embeddings",
            Self::Rerank => "rerank",
        }
    }
}

/// The media type of JSON that belongs to someone else.
pub const JSON: &str = "application/json";

/// A call of a model (topic `model-requests`, key `id`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelRequest {
    /// The call's id; the id of the execution as well.
    pub id: String,
    /// The tenant that pays and sees.
    pub tenant: String,
    /// Who asked; `None` for clients.
    pub origin: Option<Origin>,
    /// The client's own key for "the same request again".
    pub idempotency_key: Option<String>,
    /// Higher goes first where calls queue.
    pub priority: i32,
    /// No answer is wanted after this.
    pub deadline: Option<Millis>,
    /// Not to be started before this.
    pub not_before: Option<Millis>,
    /// Free labels, copied to the execution log.
    pub labels: BTreeMap<String, String>,
    /// Alias of a model definition.
    pub model: String,
    /// What to do.
    pub operation: Operation,
    /// The OpenAI-shaped JSON of the operation, vendor fields included; empty when `body_claim` stands for it.
    pub body: String,
    /// Media type of `body`.
    pub body_media_type: String,
    /// Whether token deltas go to the `stream` topic.
    pub stream: bool,
    /// Bound on the whole call, queueing included; `None`: the definition's.
    pub timeout_ms: Option<i64>,
    /// Stands for a body that is too large for the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_claim: Option<ClaimCheck>,
}

impl ModelRequest {
    /// A request with defaults for all that an upstream may leave out.
    #[must_use]
    pub fn new(id: impl Into<String>, model: impl Into<String>, body: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            tenant: DEFAULT_TENANT.into(),
            origin: None,
            idempotency_key: None,
            priority: 0,
            deadline: None,
            not_before: None,
            labels: BTreeMap::new(),
            model: model.into(),
            operation: Operation::Chat,
            body: body.into(),
            body_media_type: JSON.into(),
            stream: false,
            timeout_ms: None,
            body_claim: None,
        }
    }
}

/// A start of a workflow (topic `workflow-requests`, key `id`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowStart {
    /// The execution's id.
    pub id: String,
    /// The tenant that pays and sees.
    pub tenant: String,
    /// Who asked; `None` for clients.
    pub origin: Option<Origin>,
    /// The client's own key for "the same request again".
    pub idempotency_key: Option<String>,
    /// Higher goes first where something queues.
    pub priority: i32,
    /// It times out then.
    pub deadline: Option<Millis>,
    /// Not to be started before this.
    pub not_before: Option<Millis>,
    /// Free labels, copied to the execution log and to what the execution asks for.
    pub labels: BTreeMap<String, String>,
    /// The workflow's name.
    pub workflow: String,
    /// The version to run; `None`: the one that `alias` names, else the standing one.
    pub version: Option<i32>,
    /// The alias that names the version; `None`: `stable` where there is one, else the newest version.
    pub alias: Option<String>,
    /// The inputs, JSON.
    pub input: String,
    /// What the execution can be found by.
    pub search_attributes: BTreeMap<String, String>,
    /// The execution that this one goes on from.
    pub retry_of: Option<String>,
    /// Outputs by step, JSON: these steps give them without being carried out.
    pub reuse: BTreeMap<String, String>,
    /// The name of a schedule: then this starts nothing, and says that the schedule is as `input` has it from
    /// here on, JSON; `null`: it is deleted. `None` for starts.
    pub schedule: Option<String>,
    /// The time for which a schedule starts it. Where `input` has no `scheduledFor` and the workflow's inputs
    /// do, it becomes that: RFC 3339.
    pub scheduled_for: Option<Millis>,
}

impl WorkflowStart {
    /// The version that it means.
    #[must_use]
    pub fn which(&self) -> Which<'_> {
        match (self.version, &self.alias) {
            (Some(version), _) => Which::Version(version),
            (None, Some(alias)) => Which::Alias(alias),
            (None, None) => Which::Standing,
        }
    }

    /// A start with defaults for all that an upstream may leave out.
    #[must_use]
    pub fn new(id: impl Into<String>, workflow: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            tenant: DEFAULT_TENANT.into(),
            origin: None,
            idempotency_key: None,
            priority: 0,
            deadline: None,
            not_before: None,
            labels: BTreeMap::new(),
            workflow: workflow.into(),
            version: None,
            alias: None,
            input: "{}".into(),
            search_attributes: BTreeMap::new(),
            retry_of: None,
            reuse: BTreeMap::new(),
            schedule: None,
            scheduled_for: None,
        }
    }
}

/// How a function gives its result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FunctionMode {
    /// At once, as the answer to the call.
    #[default]
    Sync,
    /// Later, by a callback.
    Callback,
}

/// A call of a function (topic `function-requests`, key `id`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionCall {
    /// The call's id.
    pub id: String,
    /// The tenant that pays and sees.
    pub tenant: String,
    /// Who asked; `None` for clients.
    pub origin: Option<Origin>,
    /// The client's own key for "the same request again".
    pub idempotency_key: Option<String>,
    /// Higher goes first where calls queue.
    pub priority: i32,
    /// No answer is wanted after this.
    pub deadline: Option<Millis>,
    /// Not to be started before this.
    pub not_before: Option<Millis>,
    /// Free labels, copied to the execution log.
    pub labels: BTreeMap<String, String>,
    /// The function's name.
    pub function: String,
    /// Its version; `None`: the newest.
    pub version: Option<i32>,
    /// Its arguments, JSON.
    pub arguments: String,
    /// How it gives its result.
    pub mode: FunctionMode,
}

impl FunctionCall {
    /// A call with defaults for all that an upstream may leave out.
    #[must_use]
    pub fn new(id: impl Into<String>, function: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            tenant: DEFAULT_TENANT.into(),
            origin: None,
            idempotency_key: None,
            priority: 0,
            deadline: None,
            not_before: None,
            labels: BTreeMap::new(),
            function: function.into(),
            version: None,
            arguments: "{}".into(),
            mode: FunctionMode::Sync,
        }
    }
}

/// What happens to a message that comes while a turn of its session runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnBusy {
    /// It is refused.
    #[default]
    Reject,
    /// It waits for its turn.
    Enqueue,
    /// The running turn is broken off.
    Interrupt,
}

/// A message to an agent (topic `agent-requests`, key `session`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentMessage {
    /// The message's id.
    pub id: String,
    /// The tenant that pays and sees.
    pub tenant: String,
    /// Who asked; `None` for clients.
    pub origin: Option<Origin>,
    /// The client's own key for "the same request again".
    pub idempotency_key: Option<String>,
    /// Higher goes first where something queues.
    pub priority: i32,
    /// No answer is wanted after this.
    pub deadline: Option<Millis>,
    /// Not to be started before this.
    pub not_before: Option<Millis>,
    /// Free labels, copied to the execution log.
    pub labels: BTreeMap<String, String>,
    /// The agent's name.
    pub agent: String,
    /// The session that it belongs to.
    pub session: String,
    /// Text, or a list of content parts in the OpenAI shape as JSON.
    pub content: String,
    /// Media type of `content`.
    pub content_media_type: String,
    /// What happens while a turn runs.
    pub on_busy: OnBusy,
    /// Whether token deltas go to the `stream` topic.
    pub stream: bool,
}

/// The media type of plain text.
pub const TEXT: &str = "text/plain";

impl AgentMessage {
    /// A message that begins a session, with defaults for all that an upstream may leave out.
    #[must_use]
    pub fn new(id: impl Into<String>, agent: impl Into<String>) -> Self {
        let id = id.into();
        Self {
            session: id.clone(),
            id,
            tenant: DEFAULT_TENANT.into(),
            origin: None,
            idempotency_key: None,
            priority: 0,
            deadline: None,
            not_before: None,
            labels: BTreeMap::new(),
            agent: agent.into(),
            content: String::new(),
            content_media_type: TEXT.into(),
            on_busy: OnBusy::Reject,
            stream: false,
        }
    }
}
