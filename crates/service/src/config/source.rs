//! Where the values come from, each laid over the one before: the defaults, the variables that
//! OpenTelemetry has for everybody, the file, our own variables.

use std::collections::BTreeMap;
use std::path::Path;

use figment::Figment;
use figment::error::{Actual, Kind};
use figment::providers::Serialized;
use toml::{Table, Value};

use super::{Config, ConfigError};

/// What our variables begin with.
const PREFIX: &str = "STEPSTREAM_";

/// The one variable that names a key outside the areas.
const ROLES: &str = "STEPSTREAM_ROLES";

/// The variables of OpenTelemetry's specification that have a key here. An empty one counts as not set,
/// as the specification says.
const STANDARD: [(&str, &str); 3] = [
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "otlp-endpoint"),
    ("OTEL_TRACES_SAMPLER_ARG", "trace-ratio"),
    ("OTEL_SERVICE_NAME", "service-name"),
];

/// Reads the sources and lays one over the other.
pub(super) fn read(
    path: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, ConfigError> {
    let file = path.map(read_file).transpose()?.unwrap_or_default();
    let variables = Variables::of(environment)?;
    Figment::from(Serialized::defaults(&variables.standard))
        .merge(Serialized::defaults(&file))
        .merge(Serialized::defaults(&variables.table))
        // Lossy: a number or truth value may be text, as it is in every variable.
        .extract_lossy::<Config>()
        .map_err(|error| explain(error, path, &variables))
}

fn read_file(path: &Path) -> Result<Table, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.into(), source })?;
    text.parse::<Table>().map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        ConfigError::Syntax { path: path.into(), line, column, message: error.message().into() }
    })
}

/// The variables that are ours.
struct Variables {
    table: Table,
    /// What the standard variables say.
    standard: Table,
    /// The variable of each key, by the key's path.
    names: BTreeMap<Vec<String>, String>,
}

impl Variables {
    fn of(environment: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let mut variables =
            Self { table: Table::new(), standard: Table::new(), names: BTreeMap::new() };
        for (name, value) in environment {
            let standard = STANDARD.into_iter().find(|(standard, _)| *standard == name);
            if let Some((_, key)) = standard.filter(|_| !value.is_empty()) {
                let path = ["telemetry".to_owned(), key.to_owned()];
                insert(&mut variables.standard, &path, value)
                    .map_err(|message| ConfigError::Variable { name: name.clone(), message })?;
                variables.names.entry(path.to_vec()).or_insert(name);
                continue;
            }
            if let Some(path) = key_path(&name) {
                insert(&mut variables.table, &path, value)
                    .map_err(|message| ConfigError::Variable { name: name.clone(), message })?;
                variables.names.insert(path, name);
            }
        }
        Ok(variables)
    }

    /// The variable at `path`, or one below it.
    fn at(&self, path: &[String]) -> Option<&str> {
        self.names.iter().find(|(at, _)| at.starts_with(path)).map(|(_, name)| name.as_str())
    }
}

/// The key that a variable is for; `None` when it isn't ours.
fn key_path(name: &str) -> Option<Vec<String>> {
    if name == ROLES {
        return Some(vec!["roles".into()]);
    }
    let rest = name.strip_prefix(PREFIX)?;
    if !rest.contains("__") {
        return None;
    }
    let mut path: Vec<String> =
        rest.split("__").map(|part| part.to_lowercase().replace('_', "-")).collect();
    // librdkafka's names have dots where a variable can't.
    if path.len() > 2 && path[0] == "kafka" && path[1] == "properties" {
        path[2] = path[2].replace('-', ".");
    }
    Some(path)
}

fn insert(table: &mut Table, path: &[String], value: String) -> Result<(), String> {
    const CLASH: &str = "sets a key that another variable sets a part of";
    let (last, areas) = path.split_last().ok_or(CLASH)?;
    if path.iter().any(String::is_empty) {
        return Err("has an empty part between its underscores".into());
    }
    let mut at = table;
    for area in areas {
        at = at
            .entry(area.as_str())
            .or_insert_with(|| Value::Table(Table::new()))
            .as_table_mut()
            .ok_or(CLASH)?;
    }
    match at.insert(last.clone(), Value::String(value)) {
        None => Ok(()),
        Some(_) => Err(CLASH.into()),
    }
}

/// Says where the value that figment complains about came from, and what is wrong with it, without
/// repeating the value: it may be a secret under the wrong key.
fn explain(error: figment::Error, file: Option<&Path>, variables: &Variables) -> ConfigError {
    let mut path = error.path.clone();
    let message = match &error.kind {
        Kind::UnknownField(field, known) => {
            if path.last() != Some(field) {
                path.push(field.clone());
            }
            format!("unknown key, expected one of {}", known.join(", "))
        }
        Kind::InvalidType(found, expected) | Kind::InvalidValue(found, expected) => {
            format!("expected {expected}, found {}", kind_of(found))
        }
        Kind::UnknownVariant(_, known) => {
            format!("unknown value, expected one of {}", known.join(", "))
        }
        Kind::Message(message) => message.clone(),
        Kind::Unsupported(found) | Kind::UnsupportedKey(found, _) => {
            format!("{} can't stand here", kind_of(found))
        }
        Kind::ISizeOutOfRange(_) | Kind::USizeOutOfRange(_) => "number out of range".into(),
        Kind::InvalidLength(_, expected) => format!("expected {expected}"),
        Kind::MissingField(field) => format!("{field} is missing"),
        Kind::DuplicateField(field) => format!("{field} is there twice"),
    };
    let place = match (variables.at(&path), file) {
        (Some(name), _) => format!("environment variable {name}"),
        (None, Some(file)) => file.display().to_string(),
        (None, None) => "configuration".to_owned(),
    };
    ConfigError::Value { place, key: path.join("."), message }
}

fn kind_of(found: &Actual) -> &'static str {
    match found {
        Actual::Bool(_) => "true or false",
        Actual::Unsigned(_) | Actual::Signed(_) | Actual::Float(_) => "another number",
        Actual::Char(_) | Actual::Str(_) => "text",
        Actual::Seq => "a list",
        Actual::Map => "a table",
        _ => "something else",
    }
}
