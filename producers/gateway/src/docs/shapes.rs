//! Shapes that exist for the document only: bodies that pass verbatim, and errors that are made by hand.
//! Fields that are not named here pass as well.
#![expect(dead_code, reason = "nothing makes these; the document describes with them")]
#![allow(unused_qualifications, reason = "the derive writes them")]

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa::openapi::schema::{
    ArrayBuilder, Object, ObjectBuilder, OneOfBuilder, Schema, SchemaType, Type,
};

/// An error in OpenAI's shape.
#[derive(ToSchema)]
pub(crate) struct OpenAiError {
    error: OpenAiErrorBody,
}

/// What is wrong.
#[derive(ToSchema)]
pub(crate) struct OpenAiErrorBody {
    /// For people.
    message: String,
    /// The kind of error.
    r#type: String,
    /// Where in the request.
    #[schema(required)]
    param: Option<String>,
    /// For programs.
    #[schema(required)]
    code: Option<String>,
}

/// RFC 9457.
#[derive(ToSchema)]
pub(crate) struct ProblemDetails {
    /// Always `about:blank`: `code` tells problems apart.
    r#type: String,
    /// The status in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// For people.
    detail: String,
    /// For programs.
    code: String,
    /// Where in the request.
    place: Option<String>,
    /// The execution that it is about.
    execution_id: Option<String>,
    /// The version that stands, after a conflict.
    version: Option<i32>,
}

/// The body of `POST /v1/chat/completions`; the fields that matter here. All others pass to the provider.
#[derive(ToSchema)]
pub(crate) struct ChatRequest {
    /// The alias of a model.
    #[schema(min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
    model: String,
    #[schema(min_items = 1)]
    messages: Vec<ChatMessage>,
    /// Whether tokens are sent as they come.
    stream: Option<bool>,
    /// Only with `stream: true`.
    stream_options: Option<StreamOptions>,
}

/// A message; `content`, `tool_calls` and the rest pass verbatim.
#[derive(ToSchema)]
pub(crate) struct ChatMessage {
    role: String,
}

/// How to stream.
#[derive(ToSchema)]
pub(crate) struct StreamOptions {
    /// Whether the last chunk tells the usage.
    include_usage: Option<bool>,
}

/// A `chat.completion`, as the provider gave it.
#[derive(ToSchema)]
pub(crate) struct ChatAnswer {
    choices: Vec<Map<String, Value>>,
}

/// The body of `POST /v1/embeddings`; the fields that matter here. All others pass to the provider.
#[derive(ToSchema)]
pub(crate) struct EmbeddingsRequest {
    /// The alias of a model.
    #[schema(min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
    model: String,
    #[schema(schema_with = embeddings_input)]
    input: Value,
    encoding_format: Option<EncodingFormat>,
}

/// A text, or several, or tokens.
fn embeddings_input() -> Schema {
    let anything = ObjectBuilder::new().schema_type(SchemaType::AnyValue);
    let list = ArrayBuilder::new().items(anything).min_items(Some(1));
    OneOfBuilder::new().item(Object::with_type(Type::String)).item(list).build().into()
}

/// How vectors are written.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum EncodingFormat {
    /// Numbers.
    Float,
    /// Little-endian 32-bit floats.
    Base64,
}

/// A list of vectors, as the provider gave it.
#[derive(ToSchema)]
pub(crate) struct EmbeddingsAnswer {
    data: Vec<Map<String, Value>>,
}

/// The body of `POST /v1/rerank`; the fields that matter here. All others pass to the provider.
#[derive(ToSchema)]
pub(crate) struct RerankRequest {
    /// The alias of a model.
    #[schema(min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
    model: String,
    query: String,
    /// Texts, or objects with a text.
    #[schema(min_items = 1)]
    documents: Vec<RerankDocument>,
}

/// A document.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum RerankDocument {
    Text(String),
    Object(Map<String, Value>),
}

/// The places and scores, as the provider gave them.
#[derive(ToSchema)]
pub(crate) struct RerankAnswer {
    results: Vec<Map<String, Value>>,
}

/// A model that can be asked.
#[derive(ToSchema)]
pub(crate) struct Model {
    /// Its alias.
    id: String,
    /// `model`
    object: String,
    /// Seconds since the epoch.
    created: i64,
    owned_by: String,
}

/// The models that can be asked.
#[derive(ToSchema)]
pub(crate) struct Models {
    /// `list`
    object: String,
    data: Vec<Model>,
}

/// What a model is asked to do.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum OperationName {
    Chat,
    TextCompletion,
    Embeddings,
    Rerank,
}
