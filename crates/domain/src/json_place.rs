//! Where in a JSON text something stands: turns the line and column of a `serde_json` error into a path
//! like `deployments[1].price.input`, so that an author finds the place.
//!
//! It doesn't judge the text: on broken JSON the path ends where the text does.

/// The path of the value, or of the key, that ends at or holds `line` and `column` (both from 1, as
/// `serde_json::Error` counts them: columns in bytes). Empty: the whole text.
#[must_use]
pub fn path_at(text: &str, line: usize, column: usize) -> String {
    let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    path_at_byte(text, before.saturating_add(column))
}

/// One open object or array.
enum Open {
    Object(Option<String>),
    Array(usize),
}

/// The path as of the first `end` bytes of the text.
fn path_at_byte(text: &str, end: usize) -> String {
    let bytes = &text.as_bytes()[..end.min(text.len())];
    let mut open: Vec<Open> = Vec::new();
    let mut key_is_next = false;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'{' => {
                open.push(Open::Object(None));
                key_is_next = true;
            }
            b'[' => {
                open.push(Open::Array(0));
                key_is_next = false;
            }
            // The error of a missing field is reported at the closing brace: that object is the place.
            b'}' | b']' if at + 1 < bytes.len() => {
                open.pop();
                key_is_next = false;
            }
            b'}' => {
                if let Some(Open::Object(key)) = open.last_mut() {
                    *key = None;
                }
            }
            b',' => match open.last_mut() {
                // A value is sometimes reported at the comma behind it.
                Some(Open::Object(_)) if at + 1 < bytes.len() => key_is_next = true,
                Some(Open::Array(index)) if at + 1 < bytes.len() => *index += 1,
                _ => {}
            },
            b'"' => {
                let start = at + 1;
                at = end_of_string(bytes, start);
                if key_is_next && let Some(Open::Object(key)) = open.last_mut() {
                    *key = Some(String::from_utf8_lossy(&bytes[start..at]).into_owned());
                    key_is_next = false;
                }
            }
            _ => {}
        }
        at += 1;
    }
    render(&open)
}

/// The index of the closing quote of the string whose text begins at `at`, or the end of the bytes.
fn end_of_string(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at.min(bytes.len())
}

fn render(open: &[Open]) -> String {
    let mut path = String::new();
    for level in open {
        match level {
            Open::Object(Some(key)) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(key);
            }
            Open::Object(None) => {}
            Open::Array(index) => path.push_str(&format!("[{index}]")),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::path_at;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only its errors are looked at")]
    struct Inner {
        n: u8,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only its errors are looked at")]
    struct Outer {
        list: Vec<Inner>,
        #[serde(default)]
        one: Option<Inner>,
    }

    #[test]
    fn error_names_the_place() {
        for (text, path) in [
            (r#"{"list": [{"n": 1}, {"n": "x"}]}"#, "list[1].n"),
            (r#"{"list": [{"n": 1}, {"n": 300}]}"#, "list[1].n"),
            (r#"{"list": [{"n": 1}, {"m": 1}]}"#, "list[1].m"),
            (r#"{"list": [{"n": 1}, {}]}"#, "list[1]"),
            ("{\n \"list\": [],\n \"one\": {\"n\": \"a\\\"b\"}\n}", "one.n"),
            (r#"{"list": [], "one": {"n": -1}, "list": []}"#, "one.n"),
            (r#"{"list": [], "two": 1}"#, "two"),
            (r#"{"one": null}"#, ""),
            (r#"{"list": 3}"#, "list"),
            (r#"{"list": [], "one": {"n": "#, "one.n"),
        ] {
            let error = serde_json::from_str::<Outer>(text).expect_err(text);
            assert_eq!(path_at(text, error.line(), error.column()), path, "{text}: {error}");
        }
    }
}
