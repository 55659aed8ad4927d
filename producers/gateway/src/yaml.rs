//! Definitions that are written in YAML, as the JSON that they stand for.
//!
//! It is YAML 1.2: `yes`, `no`, `on`, `off`, `y` and `n` are texts, since a node may be called `n` and an
//! answer may be `no`. What means nothing in JSON is refused, and so is what is there twice.

use serde_json::Value;

/// Why a text is no definition in YAML.
#[derive(Debug, thiserror::Error)]
#[error("{}", plain(.0))]
pub struct YamlError(serde_saphyr::Error);

/// What is wrong, where, and the lines around it; without the word that a compiler would begin with.
fn plain(error: &serde_saphyr::Error) -> String {
    let text = error.to_string();
    text.strip_prefix("error: ").map(str::to_owned).unwrap_or(text)
}

/// The value that a document stands for. Its depth and what its aliases expand to are bounded.
///
/// # Errors
/// What is wrong, with line and column.
pub fn value(text: &str) -> Result<Value, YamlError> {
    serde_saphyr::from_str_with_options(text, serde_saphyr::options! { strict_booleans: true })
        .map_err(YamlError)
}

/// A value as a YAML document that people go on with.
///
/// # Errors
/// None for what is JSON, as far as is known.
pub fn text(value: &Value) -> Result<String, serde_saphyr::ser::Error> {
    serde_saphyr::to_string(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(text: &str) -> String {
        value(text).map_err(|error| error.to_string()).expect_err(text)
    }

    #[test]
    fn document_is_the_json_that_one_would_write() {
        let text = "a: [1, x, true, ~, 1.5, '1']\nb:\n  c: |\n    {{ \"[[[\" }}\n";
        let same = json!({"a": [1, "x", true, null, 1.5, "1"], "b": {"c": "{{ \"[[[\" }}\n"}});
        assert_eq!(value(text).unwrap(), same);
        let texts = value("[y, n, yes, No, on, OFF]").unwrap();
        assert_eq!(texts, json!(["y", "n", "yes", "No", "on", "OFF"]));
        assert_eq!(value("retry: {on: [timeout]}").unwrap(), json!({"retry": {"on": ["timeout"]}}));
        let order: Vec<_> =
            value("z: 1\na: 2\n").unwrap().as_object().unwrap().keys().cloned().collect();
        assert_eq!(order, ["z", "a"]);
    }

    #[test]
    fn mistake_has_its_line() {
        assert!(refused("a: 1\nb: [1, 2\nc: 3\n").starts_with("line 3 column 2: "));
        assert!(refused("a: 1\na: 2\n").contains("duplicate"));
        refused("a: 1\n---\nb: 2\n");
        refused("a: .inf\n");
    }

    #[test]
    fn what_would_fill_the_memory_is_refused() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..10 {
            let before = format!("*a{}", n - 1);
            bomb += &format!("a{n}: &a{n} [{}]\n", [before.as_str(); 10].join(", "));
        }
        refused(&bomb);
        refused(&format!("{}{}", "[".repeat(200), "]".repeat(200)));
        let nested: String = (0..200).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
        refused(&nested);
    }
}
