//! Values that must not be seen: kept in the process, never written by `Debug`, by `config show` or in
//! an error.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use serde::de::{Error, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The largest secret in a file. A wrong path must not fill the memory.
const MAX_FILE_BYTES: usize = 64 * 1024;

/// What is shown in place of a secret.
const HIDDEN: &str = "***";

/// A secret: the text itself, `{ env = "NAME" }` for an environment variable, or `{ file = "/path" }`
/// for a file, whose last line break doesn't count. It is read once, with the configuration.
#[derive(Clone, Debug)]
pub struct Secret {
    value: SecretString,
    kept: Kept,
}

/// Where a secret is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kept {
    Here,
    Env(String),
    File(PathBuf),
}

impl Secret {
    /// A secret that is at hand.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self { value: SecretString::from(value.into()), kept: Kept::Here }
    }

    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.value.expose_secret()
    }

    /// The secret for those who take one.
    #[must_use]
    pub fn value(&self) -> &SecretString {
        &self.value
    }

    /// Whether it stands in the configuration itself.
    pub(super) fn is_literal(&self) -> bool {
        self.kept == Kept::Here
    }

    fn from_env(name: String) -> Result<Self, String> {
        match std::env::var(&name) {
            Ok(value) => Ok(Self { value: value.into(), kept: Kept::Env(name) }),
            Err(std::env::VarError::NotPresent) => {
                Err(format!("environment variable {name} is not set"))
            }
            Err(std::env::VarError::NotUnicode(_)) => {
                Err(format!("environment variable {name} is not text"))
            }
        }
    }

    fn from_file(path: PathBuf) -> Result<Self, String> {
        let text = read_text(&path).map_err(|why| format!("file {}: {why}", path.display()))?;
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        Ok(Self { value: line.to_owned().into(), kept: Kept::File(path) })
    }
}

fn read_text(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes))
        .map_err(|source| source.to_string())?;
    if bytes.len() > MAX_FILE_BYTES {
        return Err(format!("is larger than {MAX_FILE_BYTES} bytes"));
    }
    // The error of the conversion holds the bytes; it goes no further.
    String::from_utf8(bytes).map_err(|_| "is not text".to_owned())
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let place = |serializer: S, name: &str, value: &str| {
            let mut map = serializer.serialize_map(Some(1))?;
            map.serialize_entry(name, value)?;
            map.end()
        };
        match &self.kept {
            Kept::Here => serializer.serialize_str(HIDDEN),
            Kept::Env(name) => place(serializer, "env", name),
            Kept::File(path) => place(serializer, "file", &path.to_string_lossy()),
        }
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SecretVisitor)
    }
}

const EXPECTED: &str = "text, { env = \"NAME\" } or { file = \"/path\" }";

struct SecretVisitor;

/// The messages are made here and not by serde, whose own repeat the value.
impl<'de> Visitor<'de> for SecretVisitor {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Secret, E> {
        Ok(Secret::new(text))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Secret, E> {
        Ok(Secret::new(value.to_string()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Secret, E> {
        Ok(Secret::new(value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Secret, E> {
        Ok(Secret::new(value.to_string()))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Secret, E> {
        Err(E::custom("a number with a fraction has to be in quotes"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Secret, A::Error> {
        let expected = || A::Error::custom(format!("expected {EXPECTED}"));
        let Some(name) = map.next_key::<String>()? else {
            return Err(expected());
        };
        let secret = match name.as_str() {
            "env" => Secret::from_env(map.next_value()?),
            "file" => Secret::from_file(map.next_value()?),
            _ => {
                return Err(A::Error::custom(format!(
                    "expected {EXPECTED}; a name with dots has to be in quotes"
                )));
            }
        };
        if map.next_key::<String>()?.is_some() {
            return Err(expected());
        }
        secret.map_err(A::Error::custom)
    }
}
