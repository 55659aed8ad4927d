//! A request body that is passed through: the members of its outermost object, each kept as the bytes it
//! came in. What isn't ours to change comes out as it went in, numbers and vendor fields included.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use crate::try_once::Delivery;

/// The members of a JSON object, in order, unread.
#[derive(Clone, Debug)]
pub(crate) struct Body(Vec<(String, Box<RawValue>)>);

impl Body {
    /// Reads the outermost object only.
    ///
    /// # Errors
    /// What is wrong, to complete the sentence "the body …".
    pub(crate) fn parse(json: &str) -> Result<Self, String> {
        serde_json::from_str(json).map_err(|error| {
            // The error's own words may quote the body.
            format!("is not a JSON object (line {}, column {})", error.line(), error.column())
        })
    }

    /// A member, unread.
    pub(crate) fn get(&self, name: &str) -> Option<&RawValue> {
        self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_ref())
    }

    /// Replaces a member where it stands, or adds it at the end.
    fn set(&mut self, name: &str, value: &(impl Serialize + ?Sized)) {
        let value = to_raw_value(value).expect("strings, booleans and raw values serialise");
        let mut members = self.0.iter_mut().filter(|(key, _)| key == name);
        match members.next_back() {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    fn remove(&mut self, name: &str) {
        self.0.retain(|(key, _)| key != name);
    }

    fn to_json(&self) -> String {
        serde_json::to_string(self).expect("raw values and string keys serialise")
    }
}

/// The body as the provider gets it: its own name of the model, and streaming as it was asked for, with
/// the usage at the end. All else is as it came.
pub(crate) fn for_provider(body: &Body, model: &str, delivery: Delivery) -> String {
    let mut body = body.clone();
    body.set("model", model);
    match delivery {
        Delivery::Stream => {
            body.set("stream", &true);
            let options =
                body.get("stream_options").map(RawValue::get).and_then(|raw| Body::parse(raw).ok());
            let mut options = options.unwrap_or(Body(Vec::new()));
            options.set("include_usage", &true);
            body.set("stream_options", &options);
        }
        Delivery::Whole => {
            if body.get("stream").is_some() {
                body.set("stream", &false);
            }
            // OpenAI refuses them on a request that doesn't stream.
            body.remove("stream_options");
        }
    }
    body.to_json()
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Body;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Body, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry::<String, Box<RawValue>>()? {
                    members.push(member);
                }
                Ok(Body(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

impl Serialize for Body {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_model_and_streaming_are_changed() {
        for (body, delivery, sent) in [
            (
                r#"{"model":"alias","messages":[ {"role":"user"} ],"vendor":{"x":1.0,"y":12345678901234567890123},"temperature":0.10}"#,
                Delivery::Whole,
                r#"{"model":"m","messages":[ {"role":"user"} ],"vendor":{"x":1.0,"y":12345678901234567890123},"temperature":0.10}"#,
            ),
            (r#"{"input":"x"}"#, Delivery::Whole, r#"{"input":"x","model":"m"}"#),
            (
                r#"{"stream":true,"stream_options":{"include_usage":true}}"#,
                Delivery::Whole,
                r#"{"stream":false,"model":"m"}"#,
            ),
            (
                "{}",
                Delivery::Stream,
                r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
            ),
            (
                r#"{"stream":false,"stream_options":{"include_usage":false,"vendor":[1]}}"#,
                Delivery::Stream,
                r#"{"stream":true,"stream_options":{"include_usage":true,"vendor":[1]},"model":"m"}"#,
            ),
        ] {
            let parsed = Body::parse(body).expect("an object");
            assert_eq!(for_provider(&parsed, "m", delivery), sent, "{body}");
        }
    }

    #[test]
    fn what_is_no_object_is_refused_without_quoting_it() {
        for body in ["", "secret", "[1]", "\"secret\"", r#"{"secret":}"#, r#"{"a":1} secret"#] {
            let problem = Body::parse(body).expect_err(body);
            assert!(problem.starts_with("is not a JSON object (line 1"), "{problem}");
            assert!(!problem.contains("secret"), "{problem}");
        }
    }
}
