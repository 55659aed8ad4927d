//! What the embedded registry holds and decides: subjects, versions, ids and compatibility. No network.

use std::collections::BTreeMap;

use apache_avro::Schema;
use apache_avro::schema_compatibility::{Compatibility, SchemaCompatibility};
use serde_json::{Value, json};

/// The rule of a registry that nobody configured, as Confluent's has it.
const DEFAULT_RULE: Rule = Rule::Backward;

/// The longest schema that is taken, in bytes.
const MAX_SCHEMA_BYTES: usize = 1 << 20;

/// An answer that says no: Confluent's error code, whose first three digits are the HTTP status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) code: u32,
    pub(super) message: String,
}

impl Problem {
    pub(super) fn new(code: u32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    fn no_subject(subject: &str) -> Self {
        Self::new(40_401, format!("Subject '{subject}' not found."))
    }
}

/// Confluent's compatibility levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    None,
    Backward,
    BackwardTransitive,
    Forward,
    ForwardTransitive,
    Full,
    FullTransitive,
}

impl Rule {
    const ALL: [(Self, &'static str); 7] = [
        (Self::None, "NONE"),
        (Self::Backward, "BACKWARD"),
        (Self::BackwardTransitive, "BACKWARD_TRANSITIVE"),
        (Self::Forward, "FORWARD"),
        (Self::ForwardTransitive, "FORWARD_TRANSITIVE"),
        (Self::Full, "FULL"),
        (Self::FullTransitive, "FULL_TRANSITIVE"),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(rule, _)| *rule == self).map_or("NONE", |(_, name)| name)
    }

    fn transitive(self) -> bool {
        matches!(self, Self::BackwardTransitive | Self::ForwardTransitive | Self::FullTransitive)
    }

    fn reads_old(self) -> bool {
        matches!(
            self,
            Self::Backward | Self::BackwardTransitive | Self::Full | Self::FullTransitive
        )
    }

    fn readable_by_old(self) -> bool {
        matches!(self, Self::Forward | Self::ForwardTransitive | Self::Full | Self::FullTransitive)
    }
}

/// A schema in a request.
#[derive(Debug)]
pub(super) struct Wanted {
    text: String,
    /// The same for every way to write it down: white space and the order of keys don't count.
    value: Value,
    parsed: Schema,
}

impl Wanted {
    /// Reads the body of a request.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Problem> {
        let invalid = |why: String| Problem::new(42_201, format!("Invalid schema: {why}"));
        let body: Value = serde_json::from_slice(body)
            .map_err(|error| Problem::new(42_201, format!("Invalid request body: {error}")))?;
        if body.get("schemaType").and_then(Value::as_str).is_some_and(|kind| kind != "AVRO") {
            return Err(invalid("only AVRO is supported".into()));
        }
        if body.get("references").and_then(Value::as_array).is_some_and(|list| !list.is_empty()) {
            return Err(invalid("references are not supported".into()));
        }
        let text = body
            .get("schema")
            .and_then(Value::as_str)
            .ok_or_else(|| invalid("there is no text in 'schema'".into()))?;
        if text.len() > MAX_SCHEMA_BYTES {
            return Err(invalid(format!("longer than {MAX_SCHEMA_BYTES} bytes")));
        }
        // Bounds the depth, which the Avro parser doesn't.
        let value: Value =
            serde_json::from_str(text).map_err(|error| invalid(error.to_string()))?;
        let parsed = Schema::parse(&value).map_err(|error| invalid(error.to_string()))?;
        Ok(Self { text: text.to_owned(), value, parsed })
    }
}

#[derive(Debug)]
struct Registered {
    text: String,
    value: Value,
    parsed: Schema,
}

/// Everything that the registry holds.
#[derive(Debug, Default)]
pub(super) struct Store {
    /// The schema with id n is at n - 1.
    schemas: Vec<Registered>,
    /// Of each subject, the ids of its versions, from version 1.
    subjects: BTreeMap<String, Vec<u32>>,
    rule: Option<Rule>,
    rules: BTreeMap<String, Rule>,
}

impl Store {
    pub(super) fn subjects(&self) -> Vec<&str> {
        self.subjects.keys().map(String::as_str).collect()
    }

    pub(super) fn versions(&self, subject: &str) -> Result<Vec<usize>, Problem> {
        Ok((1..=self.ids(subject)?.len()).collect())
    }

    pub(super) fn version(&self, subject: &str, version: &str) -> Result<Value, Problem> {
        let number = self.number(subject, version)?;
        let id = self.ids(subject)?[number - 1];
        Ok(self.described(subject, number, id))
    }

    pub(super) fn by_id(&self, id: &str) -> Result<&str, Problem> {
        id.parse()
            .ok()
            .and_then(|id| self.schema(id))
            .map(|schema| schema.text.as_str())
            .ok_or_else(|| Problem::new(40_403, format!("Schema {id} not found")))
    }

    pub(super) fn look_up(&self, subject: &str, wanted: &Wanted) -> Result<Value, Problem> {
        let ids = self.ids(subject)?;
        let known = self.same(wanted);
        let at = ids.iter().position(|id| Some(*id) == known);
        match (at, known) {
            (Some(at), Some(id)) => Ok(self.described(subject, at + 1, id)),
            _ => Err(Problem::new(40_403, "Schema not found")),
        }
    }

    /// The id of the schema, which is a new one only if no subject has it yet.
    pub(super) fn register(&mut self, subject: &str, wanted: Wanted) -> Result<u32, Problem> {
        let known = self.same(&wanted);
        if let (Some(id), Some(ids)) = (known, self.subjects.get(subject))
            && ids.contains(&id)
        {
            return Ok(id);
        }
        if self.subjects.contains_key(subject) {
            let messages = self.check(subject, None, &wanted)?;
            if !messages.is_empty() {
                return Err(Problem::new(
                    409,
                    format!(
                        "Schema being registered is incompatible with an earlier schema for subject \
                         \"{subject}\", details: {}",
                        messages.join("; ")
                    ),
                ));
            }
        }
        let id = match known {
            Some(id) => id,
            None => {
                let Wanted { text, value, parsed } = wanted;
                self.schemas.push(Registered { text, value, parsed });
                u32::try_from(self.schemas.len())
                    .map_err(|_| Problem::new(50_001, "there are no ids left"))?
            }
        };
        self.subjects.entry(subject.to_owned()).or_default().push(id);
        Ok(id)
    }

    /// What the subject's rule has against `wanted`: nothing when it is compatible. Against one version, or
    /// against those that the rule names.
    pub(super) fn check(
        &self,
        subject: &str,
        version: Option<&str>,
        wanted: &Wanted,
    ) -> Result<Vec<String>, Problem> {
        let rule = self.rules.get(subject).copied().or(self.rule).unwrap_or(DEFAULT_RULE);
        let ids = self.ids(subject)?;
        let versions = match version {
            Some(version) => {
                let number = self.number(subject, version)?;
                number..=number
            }
            None if rule.transitive() => 1..=ids.len(),
            None => ids.len()..=ids.len(),
        };
        let mut messages = Vec::new();
        for number in versions {
            let Some(old) = ids.get(number - 1).and_then(|id| self.schema(*id)) else {
                continue;
            };
            if rule.reads_old()
                && let Some(why) = unreadable(&old.parsed, &wanted.parsed)
            {
                messages.push(format!("the new schema can't read version {number}: {why}"));
            }
            if rule.readable_by_old()
                && let Some(why) = unreadable(&wanted.parsed, &old.parsed)
            {
                messages.push(format!("version {number} can't read the new schema: {why}"));
            }
        }
        Ok(messages)
    }

    pub(super) fn rule(&self, subject: Option<&str>) -> Result<&'static str, Problem> {
        match subject {
            None => Ok(self.rule.unwrap_or(DEFAULT_RULE).name()),
            Some(subject) => self.rules.get(subject).map(|rule| rule.name()).ok_or_else(|| {
                let why = "does not have subject-level compatibility configured";
                Problem::new(40_408, format!("Subject '{subject}' {why}"))
            }),
        }
    }

    pub(super) fn set_rule(
        &mut self,
        subject: Option<&str>,
        body: &[u8],
    ) -> Result<&'static str, Problem> {
        let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let name = body.get("compatibility").and_then(Value::as_str).unwrap_or_default();
        let (rule, name) =
            Rule::ALL.into_iter().find(|(_, known)| *known == name).ok_or_else(|| {
                let names: Vec<&str> = Rule::ALL.iter().map(|(_, name)| *name).collect();
                let why =
                    format!("Invalid compatibility level. Valid values are {}", names.join(", "));
                Problem::new(42_203, why)
            })?;
        match subject {
            None => self.rule = Some(rule),
            Some(subject) => {
                self.rules.insert(subject.to_owned(), rule);
            }
        }
        Ok(name)
    }

    fn ids(&self, subject: &str) -> Result<&[u32], Problem> {
        self.subjects.get(subject).map(Vec::as_slice).ok_or_else(|| Problem::no_subject(subject))
    }

    /// A version's number, from its text or `latest`.
    fn number(&self, subject: &str, version: &str) -> Result<usize, Problem> {
        let count = self.ids(subject)?.len();
        if matches!(version, "latest" | "-1") {
            return Ok(count);
        }
        match version.parse::<usize>() {
            Ok(number) if (1..=count).contains(&number) => Ok(number),
            Ok(number) if number > 0 => {
                Err(Problem::new(40_402, format!("Version {number} not found.")))
            }
            Ok(_) | Err(_) => Err(Problem::new(
                42_202,
                format!(
                    "The specified version '{version}' is not a valid version id. Allowed values are \
                     between [1, 2^31-1] and the string \"latest\""
                ),
            )),
        }
    }

    fn schema(&self, id: u32) -> Option<&Registered> {
        self.schemas.get(usize::try_from(id).ok()?.checked_sub(1)?)
    }

    fn same(&self, wanted: &Wanted) -> Option<u32> {
        let at = self.schemas.iter().position(|schema| schema.value == wanted.value)?;
        u32::try_from(at + 1).ok()
    }

    fn described(&self, subject: &str, version: usize, id: u32) -> Value {
        let schema = self.schema(id).map(|schema| schema.text.as_str());
        json!({ "subject": subject, "version": version, "id": id, "schema": schema })
    }
}

/// Why `reader` can't read everything that `writer` writes.
fn unreadable(writer: &Schema, reader: &Schema) -> Option<String> {
    match SchemaCompatibility::can_read(writer, reader) {
        Ok(Compatibility::Full) => None,
        Ok(Compatibility::Partial) => Some("only some values could be read".into()),
        Err(error) => Some(error.to_string()),
    }
}
