//! Error bodies as the providers send them.

use super::*;

fn classified(status: u16, body: &str) -> Failure {
    let status = (status != 0).then_some(status);
    classify(status, body.as_bytes(), &Redactor { key: None, content: "{}" })
}

#[test]
fn providers_errors_have_their_class() {
    use ErrorClass::{
        Authentication, ContentPolicy, ContextWindow, Invalid, NotFound, Provider, RateLimited,
        Timeout, TooLarge,
    };
    // Status 0: in a stream, or in the body of a success.
    for (provider, status, body, class, code) in [
        (
            "openai",
            400,
            r#"{"error":{"message":"This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#,
            ContextWindow,
            "context_window_exceeded",
        ),
        (
            "openai",
            400,
            r#"{"error":{"message":"Your request was rejected as a result of our safety system.","type":"invalid_request_error","param":null,"code":"content_policy_violation"}}"#,
            ContentPolicy,
            "content_policy",
        ),
        (
            "openai",
            400,
            r#"{"error":{"message":"Unsupported value: 'temperature'","type":"invalid_request_error","param":"temperature","code":"unsupported_value"}}"#,
            Invalid,
            "invalid_request",
        ),
        (
            "openai",
            401,
            r#"{"error":{"message":"Incorrect API key provided","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#,
            Authentication,
            "authentication",
        ),
        (
            "openai",
            404,
            r#"{"error":{"message":"The model `x` does not exist","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#,
            NotFound,
            "model_not_found",
        ),
        (
            "openai",
            404,
            r#"{"error":{"message":"no such route","type":"invalid_request_error","param":null,"code":null}}"#,
            NotFound,
            "model_not_found",
        ),
        (
            "openai",
            429,
            r#"{"error":{"message":"Rate limit reached for requests","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#,
            RateLimited,
            "rate_limited",
        ),
        (
            "openai",
            429,
            r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#,
            RateLimited,
            "quota_exceeded",
        ),
        (
            "openai",
            500,
            r#"{"error":{"message":"The server had an error","type":"server_error","param":null,"code":null}}"#,
            Provider,
            "provider_error",
        ),
        (
            "openai, in a stream",
            0,
            r#"{"error":{"message":"The server had an error","type":"server_error","param":null,"code":null}}"#,
            Provider,
            "provider_error",
        ),
        (
            "openai, in a stream",
            0,
            r#"{"error":{"message":"bad","type":"invalid_request_error","param":null,"code":null}}"#,
            Invalid,
            "invalid_request",
        ),
        (
            "azure",
            400,
            r#"{"error":{"message":"The response was filtered due to the prompt triggering Azure OpenAI's content management policy.","type":null,"param":"prompt","code":"content_filter","status":400}}"#,
            ContentPolicy,
            "content_policy",
        ),
        (
            "deepseek",
            400,
            r#"{"error":{"message":"Content Exists Risk","type":"invalid_request_error","param":null,"code":"invalid_request_error"}}"#,
            ContentPolicy,
            "content_policy",
        ),
        (
            "deepseek",
            402,
            r#"{"error":{"message":"Insufficient Balance","type":"unknown_error","param":null,"code":"invalid_request_error"}}"#,
            RateLimited,
            "quota_exceeded",
        ),
        (
            "deepseek",
            422,
            r#"{"error":{"message":"bad parameter","type":"invalid_request_error","param":null,"code":"invalid_request_error"}}"#,
            Invalid,
            "invalid_request",
        ),
        ("deepseek", 503, "", Provider, "overloaded"),
        (
            "qwen",
            400,
            r#"{"error":{"code":"data_inspection_failed","param":null,"message":"Input data may contain inappropriate content.","type":"data_inspection_failed"},"id":"x"}"#,
            ContentPolicy,
            "content_policy",
        ),
        (
            "qwen",
            400,
            r#"{"code":"DataInspectionFailed","message":"Output data may contain inappropriate content.","request_id":"x"}"#,
            ContentPolicy,
            "content_policy",
        ),
        (
            "qwen",
            400,
            r#"{"error":{"code":"invalid_parameter_error","param":null,"message":"Range of input length should be [1, 30720]","type":"invalid_request_error"}}"#,
            ContextWindow,
            "context_window_exceeded",
        ),
        (
            "qwen",
            400,
            r#"{"error":{"code":"Arrearage","message":"Access denied, please make sure your account is in good standing.","type":"Arrearage"}}"#,
            RateLimited,
            "quota_exceeded",
        ),
        (
            "qwen",
            401,
            r#"{"code":"InvalidApiKey","message":"Invalid API-key provided.","request_id":"x"}"#,
            Authentication,
            "authentication",
        ),
        (
            "qwen",
            429,
            r#"{"code":"Throttling.RateQuota","message":"Requests rate limit exceeded","request_id":"x"}"#,
            RateLimited,
            "rate_limited",
        ),
        (
            "qwen, in a stream",
            0,
            r#"{"code":"Throttling","message":"slow down","request_id":"x"}"#,
            RateLimited,
            "rate_limited",
        ),
        (
            "qianfan",
            400,
            r#"{"error":{"code":"characters_too_long","message":"the max input characters is 2000","type":"invalid_request_error"},"id":"as-x"}"#,
            ContextWindow,
            "context_window_exceeded",
        ),
        (
            "qianfan",
            400,
            r#"{"error":{"code":"system_unsafe","message":"the content of system field is invalid","type":"unsafe_request"}}"#,
            ContentPolicy,
            "content_policy",
        ),
        (
            "qianfan",
            429,
            r#"{"error":{"code":"rpm_rate_limit_exceeded","message":"Rate limit reached for RPM","type":"rate_limit_exceeded"}}"#,
            RateLimited,
            "rate_limited",
        ),
        (
            "qianfan",
            401,
            r#"{"error":{"code":"invalid_model","message":"No permission to use the model","type":"invalid_request_error"}}"#,
            NotFound,
            "model_not_found",
        ),
        (
            "vllm",
            400,
            r#"{"object":"error","message":"This model's maximum context length is 4096 tokens. However, you requested 5000 tokens.","type":"BadRequestError","param":null,"code":400}"#,
            ContextWindow,
            "context_window_exceeded",
        ),
        (
            "vllm",
            404,
            r#"{"error":{"message":"The model `x` does not exist.","type":"NotFoundError","param":null,"code":404}}"#,
            NotFound,
            "model_not_found",
        ),
        (
            "vllm, in a stream",
            0,
            r#"{"object":"error","message":"engine died","type":"InternalServerError","param":null,"code":500}"#,
            Provider,
            "provider_error",
        ),
        ("ollama", 404, r#"{"error":"model 'x' not found"}"#, NotFound, "model_not_found"),
        (
            "llama.cpp",
            400,
            r#"{"error":{"code":400,"message":"the request exceeds the available context size","type":"exceed_context_size_error"}}"#,
            ContextWindow,
            "context_window_exceeded",
        ),
        (
            "anthropic",
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 210000 tokens > 200000 maximum"}}"#,
            ContextWindow,
            "context_window_exceeded",
        ),
        (
            "anthropic",
            529,
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
            Provider,
            "overloaded",
        ),
        (
            "anthropic, in a stream",
            0,
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
            Provider,
            "overloaded",
        ),
        (
            "anthropic",
            403,
            r#"{"type":"error","error":{"type":"permission_error","message":"no"}}"#,
            Authentication,
            "authentication",
        ),
        (
            "gemini",
            400,
            r#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT"}}"#,
            Authentication,
            "authentication",
        ),
        (
            "gemini",
            400,
            r#"[{"error":{"code":400,"message":"The input token count (2000000) exceeds the maximum number of tokens allowed (1048576).","status":"INVALID_ARGUMENT"}}]"#,
            ContextWindow,
            "context_window_exceeded",
        ),
        (
            "gemini",
            429,
            r#"{"error":{"code":429,"message":"Resource has been exhausted","status":"RESOURCE_EXHAUSTED"}}"#,
            RateLimited,
            "rate_limited",
        ),
        ("a proxy", 502, "<html><body>Bad Gateway</body></html>", Provider, "provider_error"),
        ("a proxy", 504, "upstream timed out", Timeout, "provider_timeout"),
        ("a proxy", 413, "", TooLarge, "request_too_large"),
        ("anyone", 408, "", Timeout, "provider_timeout"),
        ("anyone", 409, "", Provider, "conflict"),
        ("anyone", 418, "", Invalid, "invalid_request"),
        ("nobody", 0, "", Provider, "provider_error"),
    ] {
        let failure = classified(status, body);
        assert_eq!(
            (failure.class, failure.code.as_str()),
            (class, code),
            "{provider} {status} {body}"
        );
        let passing = matches!(class, RateLimited | Provider | Timeout) && code != "quota_exceeded";
        assert_eq!(failure.retryable, passing, "{provider} {status} {body}");
        assert_eq!(failure.http_status, (status != 0).then_some(i32::from(status)), "{provider}");
    }
}

#[test]
fn message_says_what_the_provider_said() {
    for (body, message) in [
        (
            r#"{"error":{"message":"slow down","type":"requests","code":"rate_limit_exceeded"}}"#,
            "rate_limit_exceeded: slow down",
        ),
        (r#"{"error":{"message":"slow down"}}"#, "slow down"),
        (r#"{"error":"model 'x' not found"}"#, "model 'x' not found"),
        ("<html>secret page</html>", "the provider gives no reason"),
        ("", "the provider gives no reason"),
    ] {
        assert_eq!(classified(500, body).message, message, "{body}");
    }
}
