//! `POST /v1/embeddings`. Providers are asked for numbers, so that a stored answer can be read; base64 is
//! made here for the clients that ask for it (the OpenAI SDKs do, unless told otherwise).

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::request::Operation;
use serde_json::Value;

use super::{intent, whole};
use crate::App;
use crate::auth::{Caller, Start};
use crate::body::{JsonText, parse};
use crate::docs::shapes::{EmbeddingsAnswer, EmbeddingsRequest};
use crate::fault::{Fault, OpenAi};
use crate::shape;
use crate::trace::Trace;

/// Turns texts into vectors, as OpenAI does.
#[utoipa::path(
    post,
    path = "/v1/embeddings",
    tag = "openai",
    params(crate::docs::IdempotencyKey),
    request_body = EmbeddingsRequest,
    responses(
        (status = 200, description = "The vectors", body = EmbeddingsAnswer),
        crate::docs::ModelRouteErrors,
    ),
    security(("key" = []))
)]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller<Start, OpenAi>,
    Extension(trace): Extension<Trace>,
    headers: HeaderMap,
    body: JsonText<OpenAi>,
) -> Result<Response, OpenAi> {
    let mut text = body.into_text();
    let asked: Value = parse(&text)?;
    let shape = shape::check(Operation::Embeddings, &asked)?;
    let encoding = Encoding::of(&asked);
    if encoding == Encoding::Base64 {
        let mut numbers = asked.clone();
        numbers.as_object_mut().map(|body| body.shift_remove("encoding_format"));
        text = numbers.to_string();
    }
    let of = (Operation::Embeddings, &shape);
    let intent = intent(&app, caller.tenant(), &headers, of, &asked, text)?;
    let mut whole = whole(&app, &intent, &trace).await?;
    if encoding == Encoding::Base64 {
        let execution = whole.execution.clone();
        whole.answer =
            encode(&whole.answer).map_err(|problem| Fault::Unusable { execution, problem })?;
    }
    Ok(whole.into_response())
}

/// The form of a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    /// Numbers.
    Float,
    /// Base64 of little-endian 32-bit floats.
    Base64,
}

impl Encoding {
    fn of(body: &Value) -> Self {
        if body["encoding_format"] == "base64" { Self::Base64 } else { Self::Float }
    }
}

/// The answer with each vector of numbers as base64.
fn encode(answer: &str) -> Result<String, String> {
    let mut answer: Value =
        serde_json::from_str(answer).map_err(|_| "the provider's answer is not JSON".to_owned())?;
    let data = answer["data"].as_array_mut().ok_or("the provider's answer has no `data`")?;
    for (n, item) in data.iter_mut().enumerate() {
        let vector = match &item["embedding"] {
            Value::Array(numbers) => numbers,
            Value::String(_) => continue,
            _ => return Err(format!("`data[{n}].embedding` of the answer is not a vector")),
        };
        let mut bytes = Vec::with_capacity(vector.len() * size_of::<f32>());
        for number in vector {
            let number = number
                .as_f64()
                .ok_or_else(|| format!("`data[{n}].embedding` of the answer has no numbers"))?;
            #[allow(clippy::cast_possible_truncation, reason = "the format has 32 bits")]
            bytes.extend_from_slice(&(number as f32).to_le_bytes());
        }
        item["embedding"] = STANDARD.encode(&bytes).into();
    }
    Ok(answer.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn vector_of_numbers_becomes_base64_of_little_endian_floats() {
        let answer = json!({"data": [{"index": 0, "embedding": [1.0, -2.5]}], "usage": {"n": 1}});
        let encoded: Value = serde_json::from_str(&encode(&answer.to_string()).unwrap()).unwrap();
        assert_eq!(encoded["data"][0]["embedding"], "AACAPwAAIMA=");
        assert_eq!(encoded["usage"], json!({"n": 1}));
    }

    #[test]
    fn answer_that_is_no_vector_is_an_error_that_names_the_place() {
        for (answer, place) in [
            (json!({}), "data"),
            (json!({"data": [{"embedding": "AAAA"}, {"embedding": 1}]}), "data[1].embedding"),
            (json!({"data": [{"embedding": ["x"]}]}), "data[0].embedding"),
        ] {
            let error = encode(&answer.to_string()).unwrap_err();
            assert!(error.contains(place), "{error}");
        }
        assert!(encode("<html>").is_err());
    }
}
