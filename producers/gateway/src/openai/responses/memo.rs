//! What is kept of a response's request, so that the response can be fetched, followed and gone on from.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Whether the client waits for a response, or comes back for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ground {
    /// The client waits; if it leaves, the work ends.
    #[default]
    Fore,
    /// The client comes back.
    Back,
}

/// Beside the execution, in the gateway's note.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Memo {
    /// Seconds since the epoch.
    pub(crate) created: i64,
    pub(crate) ground: Ground,
    /// The members of the response that repeat the request.
    pub(crate) echo: Map<String, Value>,
    /// The conversation up to the answer, in the shape of chat; without instructions, which don't carry over.
    pub(crate) messages: Vec<Value>,
}
