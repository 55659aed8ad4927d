//! Requests: which there are, and how a row becomes one, ready to be published as an upstream would.
//!
//! The kinds follow from the records that are declared for the feeds; nothing here names their fields but
//! the two that make a record's key. It publishes nothing.

use bytes::Bytes;
use domain::topic::{Kind, Topic};
use runtime::ports::{Headers, Outgoing};
use schemas::{Declared, FrameError, Ids, SUBJECTS};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::check;
use crate::fill::{self, Cell, Problem, fill};
use crate::input::Row;
use crate::shape::{self, Shape, Type};

/// Who the CloudEvents of this crate say they come from.
const SOURCE: &str = "stepstream/publish";

/// The first byte of a frame (Confluent framing).
const MAGIC: u8 = 0;

/// The field of an id, which is made where it is missing.
const ID: &str = "id";

/// The kinds of which there are requests.
#[must_use]
pub fn kinds() -> Vec<Kind> {
    Kind::ALL.into_iter().filter(|kind| declared(*kind).is_some()).collect()
}

fn declared(kind: Kind) -> Option<&'static Declared> {
    let feed = SUBJECTS.iter().find(|subjects| subjects.topic == Topic::Feed(kind))?;
    feed.records().next()
}

/// The field whose text is the record's key.
fn key_field(kind: Kind) -> &'static str {
    match kind {
        Kind::Agent => "session",
        Kind::Model | Kind::Function | Kind::Workflow => ID,
    }
}

/// Why requests of a kind can't be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// No record is declared for its feed.
    #[error("there are no {} requests yet", .0.as_str())]
    NoSuchRequest(Kind),
    /// What is to be filled in doesn't fit.
    #[error("the option for {0}")]
    Default(String, #[source] Problem),
}

/// How requests of one kind are made of rows.
#[derive(Clone, Debug)]
pub struct Template {
    kind: Kind,
    declared: &'static Declared,
    shape: Shape,
    otherwise: Vec<(String, String)>,
}

impl Template {
    /// Requests of `kind`. Where a row leaves out a field of `otherwise`, it has that one's value; the name
    /// may be dotted (`labels.team`).
    ///
    /// # Errors
    /// [`TemplateError`].
    ///
    /// # Panics
    /// Never: a test reads the schemas of all requests.
    pub fn new(kind: Kind, otherwise: Vec<(String, String)>) -> Result<Self, TemplateError> {
        let declared = declared(kind).ok_or(TemplateError::NoSuchRequest(kind))?;
        let shape = Shape::parse(declared.schema).expect("a test reads every request's schema");
        for (name, value) in &otherwise {
            let of = |problem| TemplateError::Default(name.clone(), problem);
            let cells = vec![(name.clone(), Cell::Text(value.clone()))];
            // Whatever else a request needs isn't the question here.
            let anything = |_: &str| Some(Value::Null);
            fill(&shape, cells, Vec::new(), &anything).map_err(of)?;
        }
        for (at, (name, _)) in otherwise.iter().enumerate() {
            if otherwise[..at].iter().any(|(other, _)| other == name) {
                let twice = Problem::new(name, "comes twice");
                return Err(TemplateError::Default(name.clone(), twice));
            }
        }
        Ok(Self { kind, declared, shape, otherwise })
    }

    /// Whether a row may have a field of that name.
    pub(crate) fn check_name(&self, name: &str) -> Result<(), Problem> {
        fill::check_name(&self.shape, name)
    }

    /// The request of a row.
    ///
    /// # Errors
    /// [`Problem`], with the field.
    pub fn read(&self, row: Row) -> Result<Request, Problem> {
        let otherwise = self.otherwise.iter();
        let otherwise =
            otherwise.map(|(name, value)| (name.clone(), Cell::Text(value.clone()))).collect();
        let made = |name: &str| (name == ID).then(|| Value::String(Uuid::now_v7().to_string()));
        let record = fill(&self.shape, row.cells, otherwise, &made)?;
        check::check(self.kind, &record)?;
        let text = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default();
        let (id, tenant) = (text(ID).to_owned(), text("tenant").to_owned());
        let key = text(key_field(self.kind)).to_owned();
        let mut datum = Vec::with_capacity(256);
        let record = Value::Object(record);
        shape::encode(&Type::Record(self.shape.clone()), &record, &mut datum);
        let Value::Object(fields) = record else { unreachable!("it was made an object above") };
        Ok(Request {
            line: row.line,
            id,
            tenant,
            key,
            datum,
            fields,
            kind: self.kind,
            record: self.declared.name,
        })
    }
}

/// A request, whole and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The line on which its row begins, from 1.
    pub line: u64,
    /// Its id, which is that of the execution as well.
    pub id: String,
    /// Whose it is.
    pub tenant: String,
    key: String,
    kind: Kind,
    record: &'static str,
    fields: Map<String, Value>,
    datum: Vec<u8>,
}

impl Request {
    /// The record for its feed, as upstreams write it: framed, keyed, with the headers of a CloudEvent.
    ///
    /// # Errors
    /// [`FrameError`]: the registry's id of its schema isn't known.
    pub fn outgoing(&self, ids: &Ids) -> Result<Outgoing, FrameError> {
        let schema = ids.id_of(self.record).ok_or(FrameError::NotRegistered(self.record))?;
        let mut value = Vec::with_capacity(self.datum.len() + 5);
        value.push(MAGIC);
        value.extend_from_slice(&schema.to_be_bytes());
        value.extend_from_slice(&self.datum);
        Ok(Outgoing {
            topic: Topic::Feed(self.kind),
            partition: None,
            key: Some(Bytes::copy_from_slice(self.key.as_bytes())),
            value: value.into(),
            headers: self.headers(),
        })
    }

    fn headers(&self) -> Headers {
        let text =
            |name: &str, value: &str| (name.to_owned(), Bytes::copy_from_slice(value.as_bytes()));
        vec![
            text("content-type", "application/avro"),
            text("ce_specversion", "1.0"),
            text("ce_id", &self.id),
            text("ce_type", self.record),
            text("ce_source", SOURCE),
            text("ce_subject", &self.key),
            text("ce_tenant", &self.tenant),
        ]
    }

    /// The whole request as one line of JSON, which reads back as the same request.
    ///
    /// # Panics
    /// Never: it has text keys and plain values.
    #[must_use]
    pub fn json(&self) -> String {
        let raw = |text: String| RawValue::from_string(text).expect("it was checked to be JSON");
        let mut members = Vec::with_capacity(self.fields.len());
        for (name, value) in &self.fields {
            let is_json = self.fields.contains_key(&format!("{name}_media_type"));
            let value = match value {
                // Line breaks outside of strings are all that a line can't hold.
                Value::String(held) if is_json => raw(held.replace(['\n', '\r'], " ")),
                other => raw(other.to_string()),
            };
            let name = Value::String(name.clone());
            members.push(format!("{name}:{value}"));
        }
        format!("{{{}}}", members.join(","))
    }
}

#[cfg(test)]
mod tests;
