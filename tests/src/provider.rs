//! A model provider of the test's own: the scripted one behind HTTP, which counts what it is asked.

use std::net::{Ipv4Addr, SocketAddr};

use domain::script::Script;
use model::scripted::Server;
use serde_json::{Value, json};

/// A provider with these rules (the `rules` of a script).
///
/// # Panics
/// When the rules are wrong, or it can't listen.
pub async fn start(rules: Value) -> Server {
    let script: Script =
        serde_json::from_value(json!({ "rules": rules })).expect("rules of a script");
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Server::start(anywhere, script).await.expect("a free port")
}

/// A model that it answers for. Calls that fail are not tried again.
#[must_use]
pub fn model(server: &Server) -> Value {
    json!({
        "deployments": [{
            "name": "test",
            "provider": "openai-compatible",
            "base_url": server.base_url(),
            "model": "test",
            "price": { "currency": "EUR", "input": 1_000_000, "output": 2_000_000 }
        }],
        "retry": { "max_tries": 1 }
    })
}
