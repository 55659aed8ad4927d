//! Finds the key that a definition refers to. Refuses any place that the operator didn't open, because
//! a definition also chooses where the key is sent.

use std::path::{Path, PathBuf};

use domain::answer::{ErrorClass, Failure};
use domain::model_definition::KeyReference;
use secrecy::SecretString;

use crate::environment::Environment;

/// A key file larger than this is not a key.
const MAX_KEY_BYTES: u64 = 16 * 1024;

/// The places from which definitions may take keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySources {
    /// Environment variables whose name begins with one of these.
    pub env_prefixes: Vec<String>,
    /// Environment variables whose name ends with one of these.
    pub env_suffixes: Vec<String>,
    /// Files under these directories, links resolved.
    pub directories: Vec<PathBuf>,
}

impl Default for KeySources {
    fn default() -> Self {
        Self {
            env_prefixes: vec!["STEPSTREAM_KEY_".into()],
            env_suffixes: vec!["_API_KEY".into()],
            directories: vec!["/run/secrets".into(), "/etc/stepstream/keys".into()],
        }
    }
}

/// The key behind a reference, read afresh: a rotated key counts from the next try on.
pub(crate) async fn resolve(
    sources: &KeySources,
    environment: &dyn Environment,
    reference: &KeyReference,
) -> Result<SecretString, Failure> {
    let text = match reference {
        KeyReference::Env(name) => {
            let allowed = sources.env_prefixes.iter().any(|p| name.starts_with(p.as_str()))
                || sources.env_suffixes.iter().any(|s| name.ends_with(s.as_str()));
            if !allowed {
                return Err(not_allowed(format!("environment variable {name}")));
            }
            environment
                .variable(name)
                .ok_or_else(|| missing(format!("environment variable {name} is not set")))?
        }
        KeyReference::File(path) => read(sources, Path::new(path)).await?,
    };
    let text = text.trim();
    if text.is_empty() {
        return Err(missing("the key is empty".into()));
    }
    if !text.bytes().all(|byte| (0x21..0x7f).contains(&byte)) {
        return Err(missing("the key has a character that headers can't carry".into()));
    }
    Ok(SecretString::from(text.to_owned()))
}

async fn read(sources: &KeySources, path: &Path) -> Result<String, Failure> {
    let shown = path.display();
    let unreadable = |_| missing(format!("key file {shown} can't be read"));
    let real = tokio::fs::canonicalize(path).await.map_err(unreadable)?;
    let mut allowed = false;
    for directory in &sources.directories {
        if let Ok(directory) = tokio::fs::canonicalize(directory).await {
            allowed |= real.starts_with(directory);
        }
    }
    if !allowed {
        return Err(not_allowed(format!("key file {shown}")));
    }
    let length = tokio::fs::metadata(&real).await.map_err(unreadable)?.len();
    if length > MAX_KEY_BYTES {
        return Err(missing(format!("key file {shown} is too long for a key")));
    }
    tokio::fs::read_to_string(&real).await.map_err(unreadable)
}

fn missing(message: String) -> Failure {
    Failure::new(ErrorClass::Authentication, "key_missing", message)
}

fn not_allowed(place: String) -> Failure {
    let message = format!("{place} is not among the places that this process takes keys from");
    Failure::new(ErrorClass::Authentication, "key_not_allowed", message)
}
