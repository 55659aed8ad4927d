//! A workflow definition as it came: JSON or YAML by its media type, or nothing.
//!
//! It says what the text is and where it breaks off, and nothing of what the definition means.

use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_TYPE;
use serde_json::Value;

use crate::App;
use crate::body::{check_depth, parse, read_text};
use crate::fault::{Fault, Problem};
use crate::yaml;

/// The media type of YAML, and those that RFC 9512 deprecates for it.
const YAML: [&str; 4] = ["application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml"];

/// A definition that nobody has looked at; `None`: the body is empty.
pub(crate) struct Source(pub(super) Option<Value>);

impl FromRequest<App> for Source {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let kind = request.headers().get(CONTENT_TYPE).map(|value| {
            let text = String::from_utf8_lossy(value.as_bytes());
            text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
        });
        let text = read_text(request, app.options.body_bytes).await?;
        // Clients name a type of their own when they send nothing.
        if text.trim().is_empty() {
            return Ok(Self(None));
        }
        match kind.as_deref() {
            None | Some("application/json") => Ok(Self(Some(json(&text)?))),
            Some(kind) if YAML.contains(&kind) => Ok(Self(Some(yaml(&text)?))),
            Some(other) => Err(Problem(Fault::MediaType {
                found: other.chars().take(100).collect(),
                wanted: "JSON or YAML",
            })),
        }
    }
}

impl Source {
    /// The definition, where there must be one.
    pub(super) fn required(self) -> Result<Value, Fault> {
        self.0.ok_or_else(|| Fault::invalid("body", "is empty: send the definition"))
    }
}

fn json(text: &str) -> Result<Value, Fault> {
    check_depth(text)?;
    parse(text)
}

fn yaml(text: &str) -> Result<Value, Fault> {
    yaml::value(text).map_err(|error| Fault::invalid("body", format!("is no YAML: {error}")))
}
