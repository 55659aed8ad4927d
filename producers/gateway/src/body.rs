//! Reading a JSON body: bounded in bytes, in time and in depth, with an error that names the place.

use std::time::Duration;

use axum::extract::{FromRequest, Request};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::IntoResponse;
use domain::json_place::path_at;
use futures_util::StreamExt as _;

use crate::App;
use crate::fault::{Fault, Problem};

/// The deepest nesting that a body may have: tools' schemas in use stay below half of it.
pub(crate) const MAX_DEPTH: usize = 64;

/// The longest that a client may take to send its body.
const BODY_PATIENCE: Duration = Duration::from_secs(30);

/// A body that is JSON text. `E` is the form of a refusal.
pub(crate) struct JsonText<E> {
    text: String,
    form: std::marker::PhantomData<E>,
}

impl<E> JsonText<E> {
    /// The text.
    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

impl<E> FromRequest<App> for JsonText<E>
where
    E: From<Fault> + IntoResponse,
{
    type Rejection = E;

    async fn from_request(request: Request, app: &App) -> Result<Self, E> {
        check_kind(&request)?;
        let text = read(request, app.options.body_bytes).await?;
        Ok(Self { text, form: std::marker::PhantomData })
    }
}

/// JSON text whose media type somebody else has looked at.
pub(crate) struct Text(String);

impl Text {
    /// The text.
    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

impl FromRequest<App> for Text {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        Ok(Self(read(request, app.options.body_bytes).await?))
    }
}

fn check_kind(request: &Request) -> Result<(), Fault> {
    if let Some(value) = request.headers().get(CONTENT_TYPE) {
        let found = String::from_utf8_lossy(value.as_bytes());
        let essence = found.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/json") {
            let found = essence.chars().take(100).collect();
            return Err(Fault::MediaType { found, wanted: "JSON" });
        }
    }
    Ok(())
}

async fn read(request: Request, limit: usize) -> Result<String, Fault> {
    let text = read_text(request, limit).await?;
    check_depth(&text)?;
    Ok(text)
}

/// The body as text of any kind, whose depth nobody has looked at.
pub(crate) async fn read_text(request: Request, limit: usize) -> Result<String, Fault> {
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok());
    if announced.and_then(|v| v.parse::<usize>().ok()).is_some_and(|length| length > limit) {
        return Err(Fault::TooLarge { limit });
    }
    let collect = async {
        let mut bytes = Vec::new();
        let mut frames = request.into_body().into_data_stream();
        while let Some(frame) = frames.next().await {
            let frame = frame.map_err(|_| Fault::invalid("body", "broke off"))?;
            if bytes.len() + frame.len() > limit {
                return Err(Fault::TooLarge { limit });
            }
            bytes.extend_from_slice(&frame);
        }
        Ok(bytes)
    };
    let bytes =
        tokio::time::timeout(BODY_PATIENCE, collect).await.map_err(|_| Fault::SlowBody)??;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Fault::invalid("body", format!("is not UTF-8 at byte {at}"))
    })
}

/// Refuses nesting deeper than [`MAX_DEPTH`] before anything is built from the text.
pub(crate) fn check_depth(text: &str) -> Result<(), Fault> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    let problem = format!("is nested deeper than {MAX_DEPTH} levels at byte {at}");
                    return Err(Fault::invalid("body", problem));
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// Parses the text, naming path, line and column of what is wrong.
pub(crate) fn parse<'a, T: serde::Deserialize<'a>>(text: &'a str) -> Result<T, Fault> {
    serde_json::from_str(text).map_err(|error| {
        // serde_json quotes unknown field names and enum values, never more: those are the client's own
        // words, back to the client, and nothing of them is logged.
        let place = path_at(text, error.line(), error.column());
        let place = if place.is_empty() { "body".to_owned() } else { place };
        Fault::invalid(place, format!("is not what it should be: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_counted_outside_of_strings_only() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(check_depth(&nested(MAX_DEPTH)).is_ok());
        let Err(Fault::Invalid { problem, .. }) = check_depth(&nested(MAX_DEPTH + 1)) else {
            panic!("not refused")
        };
        assert!(problem.contains(&format!("byte {MAX_DEPTH}")), "{problem}");
        let quoted = format!(r#"{{"a":"{}\"{}"}}"#, "[".repeat(500), "{".repeat(500));
        assert!(check_depth(&quoted).is_ok());
    }
}
