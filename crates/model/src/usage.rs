//! Reads how many tokens a call used, from the `usage` object under the field names of each provider.

use domain::answer::Usage;
use serde_json::Value;

/// The usage in `value`; `None` when it says nothing. Counts that are absent are zero.
pub(crate) fn parse(value: &Value) -> Option<Usage> {
    let count = |path: &[&str]| {
        let mut at = value;
        for step in path {
            at = at.get(step)?;
        }
        // Some write whole numbers as 12.0.
        at.as_i64().or_else(|| at.as_f64().map(|n| n as i64)).filter(|n| *n >= 0)
    };
    let first = |paths: &[&[&str]]| paths.iter().find_map(|path| count(path));
    let input = first(&[&["prompt_tokens"], &["input_tokens"]]);
    let output = first(&[&["completion_tokens"], &["output_tokens"]]);
    let total = first(&[&["total_tokens"], &["billed_units", "total_tokens"]]);
    if input.is_none() && output.is_none() && total.is_none() {
        return None;
    }
    let output = output.or_else(|| Some((total? - input?).max(0))).unwrap_or(0);
    Some(Usage {
        // Rerank interfaces give the total only.
        input_tokens: input.or_else(|| Some((total? - output).max(0))).unwrap_or(0),
        output_tokens: output,
        cached_tokens: first(&[
            &["prompt_tokens_details", "cached_tokens"],
            &["input_tokens_details", "cached_tokens"],
            &["prompt_cache_hit_tokens"],
            &["cached_tokens"],
        ])
        .unwrap_or(0),
        reasoning_tokens: first(&[
            &["completion_tokens_details", "reasoning_tokens"],
            &["output_tokens_details", "reasoning_tokens"],
            &["reasoning_tokens"],
        ])
        .unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_providers_names_are_read() {
        let usage = |input_tokens, output_tokens, cached_tokens, reasoning_tokens| {
            Some(Usage { input_tokens, output_tokens, cached_tokens, reasoning_tokens })
        };
        for (provider, value, expected) in [
            (
                "openai, qwen",
                json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15,
                    "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
                    "completion_tokens_details": {"reasoning_tokens": 3}}),
                usage(10, 5, 4, 3),
            ),
            (
                "deepseek",
                json!({"prompt_tokens": 10, "completion_tokens": 5, "prompt_cache_hit_tokens": 6,
                    "prompt_cache_miss_tokens": 4}),
                usage(10, 5, 6, 0),
            ),
            (
                "vllm",
                json!({"prompt_tokens": 3, "completion_tokens": 0, "prompt_tokens_details": null}),
                usage(3, 0, 0, 0),
            ),
            (
                "responses shape",
                json!({"input_tokens": 7, "output_tokens": 2,
                "output_tokens_details": {"reasoning_tokens": 1}}),
                usage(7, 2, 0, 1),
            ),
            ("embeddings", json!({"prompt_tokens": 8, "total_tokens": 8}), usage(8, 0, 0, 0)),
            ("rerank", json!({"total_tokens": 8}), usage(8, 0, 0, 0)),
            ("floats", json!({"prompt_tokens": 8.0, "completion_tokens": 1.0}), usage(8, 1, 0, 0)),
            ("nothing", json!({}), None),
            ("null", json!(null), None),
            ("text", json!({"prompt_tokens": "many"}), None),
        ] {
            assert_eq!(parse(&value), expected, "{provider}");
        }
    }
}
