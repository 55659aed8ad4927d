//! The processor of these tests: its one model, `fast`, is scripted, and what it streams is kept.

use std::sync::{Arc, Mutex};

use domain::catalogue::{DefinitionKind, DefinitionProposed};
use domain::event::Chunk;
use domain::time::Millis;
use runtime::ports::{Deltas, Headers};
use schemas::Ids;
use service::catalogue::Definitions;

use crate::{Inference, Models};

/// What `fast` is: it echoes, stumbles once over "stumble", and never gets past "break".
const DEFINITION: &str = r#"{
    "deployments": [{
        "name": "one", "provider": "scripted", "model": "m",
        "price": {"currency": "EUR", "input": 1000000, "output": 2000000},
        "script": {"rules": [
            {"when": {"contains": "stumble"}, "tokens_per_second": 20,
             "fault": {"kind": {"drop": {"after_tokens": 2}}, "first_tries": 1}},
            {"when": {"contains": "break"}, "tokens_per_second": 20,
             "fault": {"kind": {"drop": {"after_tokens": 2}}}}
        ]}
    }],
    "retry": {"max_tries": 2}
}"#;

/// Where the token deltas of tests go.
pub(super) struct Stream(Mutex<Vec<Vec<u8>>>);

impl Stream {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::default()))
    }

    /// The chunks that calls sent, in order.
    pub(super) fn chunks(&self) -> Vec<Chunk> {
        let (sent, ids) = (self.0.lock().unwrap(), Ids::for_tests());
        sent.iter().map(|value| ids.read(value).expect("a chunk")).collect()
    }
}

impl Deltas for Stream {
    fn send(&self, _key: &str, value: Vec<u8>, _headers: Headers) {
        self.0.lock().unwrap().push(value);
    }
}

/// A processor that knows `fast` and streams to `stream`.
pub(super) fn inference(stream: &Arc<Stream>) -> Inference {
    knowing(DEFINITION, model::Options::default(), stream)
}

/// A processor whose `fast` is this definition.
pub(super) fn knowing(definition: &str, calls: model::Options, stream: &Arc<Stream>) -> Inference {
    let definitions = Definitions::new();
    definitions.apply(DefinitionProposed {
        id: "p".into(),
        kind: DefinitionKind::Model,
        tenant: "default".into(),
        name: "fast".into(),
        expects: 0,
        body: Some(definition.into()),
        proposed_by: "test".into(),
        time: Millis(0),
    });
    Inference::new(Arc::new(Models::new(definitions)), calls, Ids::for_tests(), stream.clone())
}
