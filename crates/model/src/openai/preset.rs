//! Where each provider that speaks OpenAI's shape lives, and which operations it has at which path.

use domain::model_definition::{Deployment, Provider};
use domain::request::Operation;

/// Qwen has its rerank beside, not under, the base of the rest.
const QWEN_BASE: &str = "/compatible-mode/v1";
const QWEN_RERANK_BASE: &str = "/compatible-api/v1";

/// The base URL of a provider that has a usual one.
pub(crate) fn base_url(provider: Provider) -> &'static str {
    match provider {
        Provider::Openai => "https://api.openai.com/v1",
        Provider::Deepseek => "https://api.deepseek.com",
        Provider::Qwen => "https://dashscope.aliyuncs.com/compatible-mode/v1",
        Provider::Qianfan => "https://qianfan.baidubce.com/v2",
        Provider::Ollama => "http://127.0.0.1:11434/v1",
        Provider::Vllm => "http://127.0.0.1:8000/v1",
        // A definition without a base URL is refused, or has no URL at all.
        Provider::OpenaiCompatible
        | Provider::Anthropic
        | Provider::Gemini
        | Provider::Scripted => "",
    }
}

/// The path of an operation under the base URL; `None` when the provider doesn't have it.
pub(crate) fn path(provider: Provider, operation: Operation) -> Option<&'static str> {
    use Operation::{Chat, Embeddings, Rerank, TextCompletion};
    match (provider, operation) {
        (Provider::Anthropic | Provider::Gemini, _) => None,
        (_, Chat) => Some("/chat/completions"),
        // DeepSeek has it for fill-in-the-middle only, under `beta`.
        (Provider::Deepseek, TextCompletion) => Some("/beta/completions"),
        (Provider::Deepseek, Embeddings | Rerank) => None,
        (_, TextCompletion) => Some("/completions"),
        (_, Embeddings) => Some("/embeddings"),
        (Provider::Openai | Provider::Ollama, Rerank) => None,
        (Provider::Qwen, Rerank) => Some("/reranks"),
        (_, Rerank) => Some("/rerank"),
    }
}

/// The URL of an operation at a deployment; `None` when its provider doesn't have it.
pub(crate) fn url(deployment: &Deployment, operation: Operation) -> Option<String> {
    let path = path(deployment.provider, operation)?;
    let base = deployment.base_url.as_deref().unwrap_or(base_url(deployment.provider));
    let base = base.trim_end_matches('/');
    if deployment.provider == Provider::Qwen
        && operation == Operation::Rerank
        && let Some(host) = base.strip_suffix(QWEN_BASE)
    {
        return Some(format!("{host}{QWEN_RERANK_BASE}{path}"));
    }
    Some(format!("{base}{path}"))
}

#[cfg(test)]
mod tests {
    use domain::model_definition::ModelDefinition;

    use super::*;

    #[test]
    fn each_operation_has_its_providers_url() {
        use Operation::{Chat, Embeddings, Rerank, TextCompletion};
        for (provider, base, operation, expected) in [
            ("openai", None, Chat, Some("https://api.openai.com/v1/chat/completions")),
            ("openai", None, TextCompletion, Some("https://api.openai.com/v1/completions")),
            ("openai", None, Embeddings, Some("https://api.openai.com/v1/embeddings")),
            ("openai", None, Rerank, None),
            ("deepseek", None, Chat, Some("https://api.deepseek.com/chat/completions")),
            ("deepseek", None, TextCompletion, Some("https://api.deepseek.com/beta/completions")),
            ("deepseek", None, Embeddings, None),
            (
                "qwen",
                None,
                Chat,
                Some("https://dashscope.aliyuncs.com/compatible-mode/v1/chat/completions"),
            ),
            (
                "qwen",
                None,
                Rerank,
                Some("https://dashscope.aliyuncs.com/compatible-api/v1/reranks"),
            ),
            (
                "qwen",
                Some("https://dashscope-intl.aliyuncs.com/compatible-mode/v1/"),
                Rerank,
                Some("https://dashscope-intl.aliyuncs.com/compatible-api/v1/reranks"),
            ),
            ("qianfan", None, Rerank, Some("https://qianfan.baidubce.com/v2/rerank")),
            ("ollama", None, Embeddings, Some("http://127.0.0.1:11434/v1/embeddings")),
            ("ollama", None, Rerank, None),
            ("vllm", Some("http://gpu:8000/v1"), Rerank, Some("http://gpu:8000/v1/rerank")),
            (
                "openai-compatible",
                Some("https://x/api/"),
                Chat,
                Some("https://x/api/chat/completions"),
            ),
        ] {
            let base_url = base.map_or(String::new(), |url| format!(r#","base_url":"{url}""#));
            let json = format!(
                r#"{{"deployments":[{{"name":"a","provider":"{provider}","model":"m"{base_url}}}]}}"#
            );
            let definition = ModelDefinition::parse(&json).expect("valid");
            let url = url(&definition.deployments[0], operation);
            assert_eq!(url.as_deref(), expected, "{provider} {operation:?}");
        }
    }
}
