//! What upstream systems ask for. Only `id`, `model` and `body` are required of an upstream; all else
//! has a default in the schema.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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
