//! The models of a development machine: one that needs nothing, and one for each provider whose key is in
//! the environment.

use domain::catalogue::{DefinitionKind, DefinitionProposed};
use domain::request::DEFAULT_TENANT;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::cluster::now;

/// The alias of the scripted model.
pub(super) const DEMO: &str = "demo";

/// A provider's model that is set up when its key is there.
struct Preset {
    /// The variable that holds the key.
    variable: &'static str,
    /// The alias, and the provider by its name in definitions.
    provider: &'static str,
    /// The model's name at the provider: a small one, that has been there for long.
    model: &'static str,
}

const PRESETS: [Preset; 6] = [
    Preset { variable: "OPENAI_API_KEY", provider: "openai", model: "gpt-4o-mini" },
    Preset {
        variable: "ANTHROPIC_API_KEY",
        provider: "anthropic",
        model: "claude-3-5-haiku-latest",
    },
    Preset { variable: "GEMINI_API_KEY", provider: "gemini", model: "gemini-2.0-flash" },
    Preset { variable: "DEEPSEEK_API_KEY", provider: "deepseek", model: "deepseek-chat" },
    Preset { variable: "DASHSCOPE_API_KEY", provider: "qwen", model: "qwen-plus" },
    Preset { variable: "QIANFAN_API_KEY", provider: "qianfan", model: "ernie-4.0-8k" },
];

fn present() -> impl Iterator<Item = &'static Preset> {
    let set =
        |preset: &&Preset| std::env::var_os(preset.variable).is_some_and(|key| !key.is_empty());
    PRESETS.iter().filter(set)
}

/// The aliases that are set up, the scripted one first.
pub(super) fn aliases() -> Vec<&'static str> {
    [DEMO].into_iter().chain(present().map(|preset| preset.provider)).collect()
}

/// The proposals that make them known.
pub(super) fn proposals() -> impl Iterator<Item = DefinitionProposed> {
    let presets = present().map(|preset| proposal(preset.provider, &preset.definition()));
    [proposal(DEMO, &demo())].into_iter().chain(presets)
}

/// Answers at the pace of a real model, so that tokens can be seen to arrive. Its price is made up, so
/// that there is a cost to be seen as well.
fn demo() -> Value {
    json!({
        "deployments": [{
            "name": "scripted",
            "provider": "scripted",
            "model": "demo",
            "price": { "currency": "USD", "input": 1_000_000, "output": 4_000_000 },
            "script": { "rules": [{ "latency_ms": 150, "tokens_per_second": 40 }] }
        }]
    })
}

impl Preset {
    fn definition(&self) -> Value {
        json!({
            "deployments": [{
                "name": self.provider,
                "provider": self.provider,
                "model": self.model,
                "key": { "env": self.variable }
            }]
        })
    }
}

fn proposal(alias: &str, definition: &Value) -> DefinitionProposed {
    DefinitionProposed {
        id: Uuid::now_v7().to_string(),
        kind: DefinitionKind::Model,
        tenant: DEFAULT_TENANT.into(),
        name: alias.into(),
        expects: 0,
        body: Some(definition.to_string()),
        proposed_by: "stepstream dev".into(),
        time: now(),
    }
}

#[cfg(test)]
mod tests {
    use domain::model_definition::ModelDefinition;

    use super::*;

    #[test]
    fn every_definition_can_be_used() {
        let presets = PRESETS.iter().map(Preset::definition);
        for definition in presets.chain([demo()]) {
            if let Err(error) = ModelDefinition::parse(&definition.to_string()) {
                panic!("{definition}: {error}");
            }
        }
    }
}
