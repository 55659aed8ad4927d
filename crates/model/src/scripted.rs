//! A provider without a model: it answers by rules, at the speed and with the faults that they ask for,
//! so that everything runs without a key. In the process, or behind a real HTTP [`Server`]; both play the
//! same [`domain::script::Script`] through the same code.
//!
//! It speaks OpenAI's shape. A word counts as a token. Nothing is left to chance: what a rule doesn't fix
//! is chosen by a hash of the request's id.

mod content;
mod plan;
mod player;
mod server;

use std::sync::OnceLock;

use domain::script::Script;
use secrecy::ExposeSecret;

use crate::openai::http::Response;
use crate::try_once::Try;

pub use server::{Seen, Server};

/// The scripted provider of this process.
#[derive(Debug, Default)]
pub(crate) struct Engine {
    tries: player::Tries,
}

impl Engine {
    /// Plays the deployment's script to one request.
    pub(crate) async fn ask(&self, ask: &Try<'_>, body: &str) -> Response {
        static NO_RULES: OnceLock<Script> = OnceLock::new();
        let script = match &ask.deployment.script {
            Some(script) => script,
            None => NO_RULES.get_or_init(Script::default),
        };
        let id = &ask.request.id;
        let request = plan::Request {
            operation: ask.request.operation,
            id,
            attempt: self.tries.count(&format!("{}\u{1f}{id}", ask.deployment.name)),
            authorization: ask.key.map(|key| format!("Bearer {}", key.expose_secret())),
            body: serde_json::from_str(body).unwrap_or_default(),
        };
        player::play(plan::plan(script, &request)).await
    }
}
