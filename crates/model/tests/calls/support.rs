//! A world for calls: definitions from JSON, a fixed environment, and a sink that remembers.

use std::collections::HashMap;
use std::sync::Arc;

use domain::event::{ChunkKind, QueuePlace};
use domain::model_definition::ModelDefinition;
use domain::request::ModelRequest;
use domain::script::Script;
use domain::time::Millis;
use serde_json::{Value, json};
use stepstream_model::scripted::Server;
use stepstream_model::{Caller, ChunkSink, Definitions, Delta, Environment, KeySources, Options};

/// The time of day in all tests.
pub(crate) const NOW: Millis = Millis(1_700_000_000_000);
/// The key in the environment variable `CANARY_API_KEY`.
pub(crate) const CANARY_KEY: &str = "sk-canary-key-5f1e0c77";

struct Models(HashMap<String, Arc<ModelDefinition>>);

impl Definitions for Models {
    fn model(&self, tenant: &str, alias: &str, _: Option<i32>) -> Option<Arc<ModelDefinition>> {
        self.0.get(alias).filter(|_| tenant == "default").cloned()
    }
}

/// No chance: backoff is as short as it may be, and ties go to the first.
struct Fixed;

impl Environment for Fixed {
    fn now(&self) -> Millis {
        NOW
    }

    fn random(&self) -> u64 {
        0
    }

    fn variable(&self, name: &str) -> Option<String> {
        (name == "CANARY_API_KEY").then(|| CANARY_KEY.to_owned())
    }
}

/// A caller of these models.
pub(crate) fn caller<const N: usize>(models: [(&str, Value); N]) -> Caller {
    caller_with(Options::default(), models)
}

/// A caller of these models with other options; its environment is fixed all the same.
pub(crate) fn caller_with<const N: usize>(options: Options, models: [(&str, Value); N]) -> Caller {
    let models = models
        .into_iter()
        .map(|(alias, json)| {
            let definition = ModelDefinition::parse(&json.to_string()).expect("a valid definition");
            (alias.to_owned(), Arc::new(definition))
        })
        .collect();
    Caller::new(Options { environment: Arc::new(Fixed), ..options }, Arc::new(Models(models)))
}

/// Options that take keys from files in this directory only.
pub(crate) fn keys_in(directory: &std::path::Path) -> Options {
    let directories = vec![directory.to_owned()];
    let keys = KeySources { env_prefixes: vec![], env_suffixes: vec![], directories };
    Options { keys, ..Options::default() }
}

/// A scripted server with these rules.
pub(crate) async fn server(rules: Value) -> Server {
    let script: Script = serde_json::from_value(json!({ "rules": rules })).expect("valid rules");
    Server::start(([127, 0, 0, 1], 0).into(), script).await.expect("loopback has a free port")
}

/// A deployment at a server.
pub(crate) fn at(server: &Server) -> Value {
    at_url(&server.base_url())
}

/// A deployment at a URL.
pub(crate) fn at_url(base_url: &str) -> Value {
    json!({ "name": "a", "provider": "openai-compatible", "base_url": base_url, "model": "m" })
}

/// A deployment that plays rules in the process.
pub(crate) fn scripted(name: &str, rules: Value) -> Value {
    json!({ "name": name, "provider": "scripted", "model": name, "script": { "rules": rules } })
}

/// A definition with one deployment.
pub(crate) fn one(deployment: Value) -> Value {
    json!({ "deployments": [deployment] })
}

/// `value` with `more` put over it.
pub(crate) fn with(mut value: Value, more: Value) -> Value {
    let (Value::Object(members), Value::Object(more)) = (&mut value, more) else {
        panic!("objects only")
    };
    members.extend(more);
    value
}

/// A chat request of the model `m`.
pub(crate) fn chat(id: &str, prompt: &str) -> ModelRequest {
    let body = json!({ "messages": [{ "role": "user", "content": prompt }] });
    ModelRequest::new(id, "m", body.to_string())
}

/// The same, streaming.
pub(crate) fn streaming(id: &str, prompt: &str) -> ModelRequest {
    ModelRequest { stream: true, ..chat(id, prompt) }
}

/// Remembers what it hears.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    /// Numbers of the tries that began.
    pub(crate) tries: Vec<i32>,
    /// What came in the last try.
    pub(crate) deltas: Vec<Delta>,
    /// Where it waited, each with the try that it waited for.
    pub(crate) places: Vec<(i32, QueuePlace)>,
}

impl ChunkSink for Heard {
    fn try_begins(&mut self, attempt: i32) {
        self.tries.push(attempt);
        self.deltas.clear();
    }

    fn delta(&mut self, delta: Delta) {
        self.deltas.push(delta);
    }

    fn queued(&mut self, attempt: i32, place: QueuePlace) {
        self.places.push((attempt, place));
    }
}

impl Heard {
    /// The pieces of one kind of one choice, joined.
    pub(crate) fn joined(&self, kind: ChunkKind, choice: i32) -> String {
        let pieces = self.deltas.iter().filter(|d| d.kind == kind && d.choice == choice);
        pieces.map(|delta| delta.text.as_str()).collect()
    }
}
