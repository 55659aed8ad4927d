//! What is refused and where; what calls cost.

use super::*;

/// The smallest definition with `more` put into its one deployment.
fn with(more: &str) -> String {
    format!(r#"{{"deployments":[{{"name":"a","provider":"openai","model":"m"{more}}}]}}"#)
}

#[test]
fn smallest_definition_has_the_documented_defaults() {
    let definition = ModelDefinition::parse(&with("")).expect("valid");
    assert_eq!(definition.retry, Retry::default());
    assert_eq!(definition.timeouts.first_token_ms, 60_000);
    assert_eq!(definition.balance, Balance::Ordered);
    assert!(!definition.log_content);
}

#[test]
fn full_definition_survives_a_round_trip() {
    let json = r#"{
        "deployments": [
            {"name": "eu", "provider": "openai-compatible", "base_url": "https://eu.example/v1",
             "model": "m", "key": {"env": "EU_API_KEY"}, "concurrency": 8, "weight": 2,
             "price": {"currency": "USD", "input": 2500000, "output": 10000000, "cached_input": 1250000},
             "headers": {"x-team": "search"}},
            {"name": "dev", "provider": "scripted", "model": "m", "key": {"file": "/run/secrets/k"},
             "script": {"rules": [{"when": {"contains": "x", "operation": "chat"}, "reply": "y",
                "fault": {"kind": {"status": {"status": 429, "retry_after": "1"}}, "first_tries": 2}}]}}
        ],
        "balance": "spread",
        "retry": {"max_tries": 5},
        "fallbacks": {"general": ["b"], "context_window": ["long"], "content_policy": ["c"]},
        "timeouts": {"first_token_ms": 10},
        "cooldown": {"failures": 2},
        "capabilities": {"operations": ["chat", "embeddings"], "features": ["tools"]},
        "log_content": true
    }"#;
    let definition = ModelDefinition::parse(json).expect("valid");
    let again = serde_json::to_string(&definition).expect("serialises");
    assert_eq!(ModelDefinition::parse(&again).expect("valid"), definition);
}

#[test]
fn refusal_names_the_place() {
    let top = |more: &str| with("").replacen('{', &format!("{{{more},"), 1);
    for (json, path, problem) in [
        (r#"{"deployments":[]}"#.to_owned(), "deployments", "has none"),
        ("{}".to_owned(), "", "missing field `deployments`"),
        ("[]".to_owned(), "", "is not a JSON object"),
        (with(r#","modle":"x""#), "deployments[0].modle", "unknown field `modle`"),
        (with(r#","provider":"x""#), "deployments[0].provider", "duplicate field"),
        (with(r#","weight":"x""#), "deployments[0].weight", "invalid type"),
        (with(r#","concurrency":-1"#), "deployments[0].concurrency", "invalid value"),
        (with(r#","concurrency":0"#), "deployments[0].concurrency", "is 0"),
        (with(r#","key":{"value":"sk"}"#), "deployments[0].key.value", "unknown variant"),
        (with(r#","key":{"env":""}"#), "deployments[0].key.env", "environment variable"),
        (with(r#","key":{"file":"k"}"#), "deployments[0].key.file", "absolute path"),
        (with(r#","base_url":"ftp://x""#), "deployments[0].base_url", "https://"),
        (with(r#","base_url":"http://u:p@x""#), "deployments[0].base_url", "user or password"),
        (with(r#","base_url":"http://x?key=1""#), "deployments[0].base_url", "query"),
        (with(r#","price":{"currency":"usd","input":1}"#), "deployments[0].price.currency", "ISO"),
        (
            with(r#","price":{"currency":"USD","input":1.5}"#),
            "deployments[0].price.input",
            "invalid type",
        ),
        (with(r#","headers":{"a b":"c"}"#), "deployments[0].headers.a b", "header name"),
        (
            with(r#","headers":{"Authorization":"c"}"#),
            "deployments[0].headers.Authorization",
            "driver",
        ),
        (with(r#","script":{"rules":[]}"#), "deployments[0].script", "only for provider scripted"),
        (top(r#""retry":{"max_tries":0}"#), "retry.max_tries", "from 1 to 20"),
        (top(r#""timeouts":{"total_ms":0}"#), "timeouts.total_ms", "from 1 ms"),
        (top(r#""timeouts":{"total":1}"#), "timeouts.total", "unknown field"),
        (top(r#""cooldown":{"failures":0}"#), "cooldown.failures", "is 0"),
        (top(r#""fallbacks":{"general":["a",""]}"#), "fallbacks.general[1]", "is empty"),
    ] {
        let error = ModelDefinition::parse(&json).expect_err(&json);
        assert_eq!(error.path, path, "{json}: {error}");
        assert!(error.problem.contains(problem), "{json}: {error}");
    }
}

#[test]
fn names_are_unique_within_a_definition() {
    let one = r#"{"name":"a","provider":"ollama","model":"m"}"#;
    let error =
        ModelDefinition::parse(&format!(r#"{{"deployments":[{one},{one}]}}"#)).expect_err("twice");
    assert_eq!(error.to_string(), "deployments[1].name: is used twice");
}

#[test]
fn cost_is_exact_and_rounded_once() {
    let price =
        |input, output, cached_input| Price { currency: "USD".into(), input, output, cached_input };
    let usage = |input_tokens, output_tokens, cached_tokens, reasoning_tokens| Usage {
        input_tokens,
        output_tokens,
        cached_tokens,
        reasoning_tokens,
    };
    for (price, usage, micros) in [
        // A million of each at list price is the list price.
        (price(2_500_000, 10_000_000, None), usage(1_000_000, 0, 0, 0), 2_500_000),
        (price(2_500_000, 10_000_000, None), usage(0, 1_000_000, 0, 0), 10_000_000),
        // Cached tokens at their own rate, the rest at the full one.
        (price(2_000_000, 0, Some(500_000)), usage(1_000, 0, 400, 0), 1_200 + 200),
        (price(2_000_000, 0, None), usage(1_000, 0, 400, 0), 2_000),
        // Reasoning is part of the output.
        (price(0, 10_000_000, None), usage(0, 100, 0, 90), 1_000),
        // Each part alone would round to zero; together they are one micro-unit.
        (price(250_000, 250_000, Some(250_000)), usage(2, 2, 1, 0), 1),
        (price(499_999, 0, None), usage(1, 0, 0, 0), 0),
        (price(500_000, 0, None), usage(1, 0, 0, 0), 1),
        // Nonsense is bounded.
        (price(1_000_000, 1_000_000, Some(0)), usage(-5, 10, 99, 0), 10),
        (price(1_000_000, 0, Some(0)), usage(10, 0, 99, 0), 0),
        (price(u64::MAX, u64::MAX, None), usage(i64::MAX, i64::MAX, 0, 0), i64::MAX),
    ] {
        assert_eq!(price.cost(&usage).micros, micros, "{price:?} {usage:?}");
    }
}
