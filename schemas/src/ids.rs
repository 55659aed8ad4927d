//! Confluent framing, and what the registry's ids in it stand for.
//!
//! A frame is the byte 0, the writer schema's id (4 bytes, big-endian) and the datum. Nothing here talks
//! to a registry: whoever does tells [`Ids`] what it learned, and asks again after
//! [`ReadError::UnknownSchema`].

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use apache_avro::Schema;
use domain::fact::Fact;

use crate::fact;
use crate::foreign::{self, SchemaRefused};
use crate::record::{ALL, Declared, Record, declared};
use crate::wire::{DecodeError, Problem, Reader, place};

/// The first byte of every frame.
const MAGIC: u8 = 0;
/// Magic and id.
const HEADER_BYTES: usize = 5;
/// How many refused ids are remembered. Ids come from the wire, so a hostile writer could name all four
/// billion; past this bound they are forgotten and asked for again.
const MAX_REFUSED: usize = 10_000;

/// Why a record can't be framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The registry's id of the record isn't known: registration comes first.
    #[error("{0} has no schema id yet: it isn't registered")]
    NotRegistered(&'static str),
}

/// A name that isn't one of our records.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a record of ours")]
pub struct NotOurs(pub String);

/// Why a frame can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Shorter than magic and id.
    #[error("the value is shorter than the {HEADER_BYTES} bytes of a frame's header")]
    TooShort,
    /// Another first byte than 0: not in Confluent framing.
    #[error("the value starts with {0:#04x} and not with the magic byte 0")]
    BadMagic(u8),
    /// Not yet learned: fetch it from the registry, tell [`Ids`], and try again.
    #[error("schema {0} isn't known yet")]
    UnknownSchema(u32),
    /// The registry doesn't have it, or it is not fit for use.
    #[error("schema {0} is refused: {1}")]
    RefusedSchema(u32, Arc<str>),
    /// A record that doesn't belong here.
    #[error("expected {expected}, found {found}")]
    WrongRecord {
        /// What belongs here.
        expected: &'static str,
        /// Full name in the writer's schema.
        found: Arc<str>,
    },
    /// The datum doesn't follow its schema.
    #[error("{record}: {}{problem}", place(field))]
    Malformed {
        /// Full name of the record.
        record: Arc<str>,
        /// Dotted path of the field; empty when the record as a whole is wrong.
        field: String,
        /// What is wrong with it.
        problem: Problem,
    },
    /// Bytes after the datum.
    #[error("{record} is followed by {count} more bytes")]
    TrailingBytes {
        /// Full name of the record.
        record: Arc<str>,
        /// How many.
        count: usize,
    },
}

impl ReadError {
    /// A stable name for programs: the `code` of a dead letter.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooShort | Self::BadMagic(_) => "bad_framing",
            Self::UnknownSchema(_) => "unknown_schema",
            Self::RefusedSchema(..) => "refused_schema",
            Self::WrongRecord { .. } => "wrong_record",
            Self::Malformed { .. } => "malformed",
            Self::TrailingBytes { .. } => "trailing_bytes",
        }
    }
}

/// What the registry's ids stand for. Clones share one table; a copy for each thread is cheap.
#[derive(Clone, Debug, Default)]
pub struct Ids(Arc<RwLock<Table>>);

#[derive(Debug, Default)]
struct Table {
    /// The id under which each of our records is written.
    ours: HashMap<&'static str, u32>,
    writers: HashMap<u32, Writer>,
    refused: HashMap<u32, Arc<str>>,
}

/// The writer of a frame.
#[derive(Clone, Debug)]
enum Writer {
    /// Writes the same bytes as we do.
    Ours(&'static Known),
    /// Writes a record of ours in a schema that resolves to ours.
    Resolves(Arc<Schema>, &'static Known),
    /// Writes something else.
    Stranger(Arc<str>),
}

/// One of our records with its schema, parsed.
#[derive(Debug)]
struct Known {
    declared: &'static Declared,
    name: Arc<str>,
    schema: Schema,
    /// The same without references.
    expanded: Schema,
}

static KNOWN: LazyLock<Vec<Known>> = LazyLock::new(|| {
    ALL.iter()
        .map(|declared| Known {
            declared,
            name: declared.name.into(),
            schema: Schema::parse_str(declared.schema)
                .expect("our schemas are compiled in and parsed by a test"),
            expanded: foreign::parse(declared.schema)
                .expect("our schemas are compiled in and parsed by a test"),
        })
        .collect()
});

fn known(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.declared.name == name)
}

impl Writer {
    fn name(&self) -> &Arc<str> {
        match self {
            Self::Ours(known) | Self::Resolves(_, known) => &known.name,
            Self::Stranger(name) => name,
        }
    }

    /// Decodes all of `body`, in this writer's schema.
    fn decode<T>(
        &self,
        body: &[u8],
        decode: impl FnOnce(&mut Reader<'_>) -> Result<T, DecodeError>,
    ) -> Result<T, ReadError> {
        let malformed = |DecodeError { field, problem }| ReadError::Malformed {
            record: self.name().clone(),
            field,
            problem,
        };
        let (datum, trailing) = match self {
            Self::Resolves(schema, known) => {
                let translated = foreign::translate(schema, &known.schema, &known.expanded, body)
                    .map_err(malformed)?;
                (Cow::Owned(translated.datum), translated.trailing)
            }
            Self::Ours(_) | Self::Stranger(_) => (Cow::Borrowed(body), 0),
        };
        let mut input = Reader::new(&datum);
        let value = decode(&mut input).map_err(malformed)?;
        match trailing + input.remaining() {
            0 => Ok(value),
            count => Err(ReadError::TrailingBytes { record: self.name().clone(), count }),
        }
    }
}

impl Ids {
    /// Knows no id.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Knows all of ours under fixed ids, from 1 in the order of [`ALL`]: for tests and benchmarks
    /// without a registry.
    #[must_use]
    pub fn for_tests() -> Self {
        let ids = Self::new();
        for (id, known) in (1..).zip(KNOWN.iter()) {
            ids.enter(known, id);
        }
        ids
    }

    /// The registry has `R` under this id; from now on it is written so.
    pub fn ours<R: Record>(&self, id: u32) {
        self.register(R::NAME, id).expect("every Record is in ALL, which a test checks");
    }

    /// As [`Ids::ours`], by the schema's full name.
    ///
    /// # Errors
    /// [`NotOurs`] for a name that isn't in [`ALL`].
    pub fn register(&self, name: &str, id: u32) -> Result<(), NotOurs> {
        self.enter(known(name).ok_or_else(|| NotOurs(name.to_owned()))?, id);
        Ok(())
    }

    /// The id under which a record of ours is written.
    #[must_use]
    pub fn id_of(&self, name: &str) -> Option<u32> {
        self.table().ours.get(name).copied()
    }

    /// The records of ours that have no id yet.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static Declared> {
        let table = self.table();
        ALL.iter().filter(|declared| !table.ours.contains_key(declared.name)).collect()
    }

    /// The registry has this schema under this id, which was met on the wire.
    ///
    /// # Errors
    /// [`SchemaRefused`]; reading then gives [`ReadError::RefusedSchema`] until the id is learned again.
    pub fn learn(&self, id: u32, schema: &str) -> Result<(), SchemaRefused> {
        match writer_of(schema) {
            Ok(writer) => {
                let mut table = self.table_mut();
                table.refused.remove(&id);
                table.writers.insert(id, writer);
                Ok(())
            }
            Err(refused) => {
                self.put_refused(id, refused.to_string().into());
                Err(refused)
            }
        }
    }

    /// The registry says that it doesn't have this id.
    pub fn refuse(&self, id: u32) {
        self.put_refused(id, "the registry doesn't have it".into());
    }

    /// The record in Confluent framing.
    ///
    /// # Errors
    /// [`FrameError::NotRegistered`].
    pub fn frame<R: Record>(&self, record: &R) -> Result<Vec<u8>, FrameError> {
        let mut out = self.header(R::NAME)?;
        record.encode(&mut out);
        Ok(out)
    }

    /// As [`Ids::frame`], for whichever record carries the fact.
    ///
    /// # Errors
    /// [`FrameError::NotRegistered`].
    pub fn frame_fact(&self, fact: &Fact) -> Result<Vec<u8>, FrameError> {
        let mut out = self.header(fact::name(fact))?;
        fact::encode(fact, &mut out);
        Ok(out)
    }

    /// Reads a frame that must hold an `R`, in any schema that resolves to ours.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read<R: Record>(&self, frame: &[u8]) -> Result<R, ReadError> {
        let (writer, body) = self.open(frame)?;
        if **writer.name() != *R::NAME {
            return Err(ReadError::WrongRecord { expected: R::NAME, found: writer.name().clone() });
        }
        writer.decode(body, R::decode)
    }

    /// Reads a frame that must hold a fact, whichever record carries it.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read_fact(&self, frame: &[u8]) -> Result<Fact, ReadError> {
        let (writer, body) = self.open(frame)?;
        let decode = fact::decoder(writer.name()).ok_or_else(|| ReadError::WrongRecord {
            expected: "a fact",
            found: writer.name().clone(),
        })?;
        writer.decode(body, decode)
    }

    /// The full name of the record in a frame; the datum isn't looked at.
    ///
    /// # Errors
    /// [`ReadError`], but for those about the datum.
    pub fn name_of(&self, frame: &[u8]) -> Result<Arc<str>, ReadError> {
        self.open(frame).map(|(writer, _)| writer.name().clone())
    }

    fn open<'a>(&self, frame: &'a [u8]) -> Result<(Writer, &'a [u8]), ReadError> {
        let id = schema_id(frame)?;
        let table = self.table();
        if let Some(writer) = table.writers.get(&id) {
            return Ok((writer.clone(), &frame[HEADER_BYTES..]));
        }
        Err(table
            .refused
            .get(&id)
            .map_or(ReadError::UnknownSchema(id), |why| ReadError::RefusedSchema(id, why.clone())))
    }

    fn header(&self, name: &'static str) -> Result<Vec<u8>, FrameError> {
        let id = self.id_of(name).ok_or(FrameError::NotRegistered(name))?;
        let mut out = Vec::with_capacity(256);
        out.push(MAGIC);
        out.extend_from_slice(&id.to_be_bytes());
        Ok(out)
    }

    fn enter(&self, known: &'static Known, id: u32) {
        let mut table = self.table_mut();
        table.refused.remove(&id);
        table.ours.insert(known.declared.name, id);
        table.writers.insert(id, Writer::Ours(known));
    }

    /// An id that is in use stays so: a registry that loses a schema doesn't make its data unreadable.
    fn put_refused(&self, id: u32, why: Arc<str>) {
        let mut table = self.table_mut();
        if table.writers.contains_key(&id) {
            return;
        }
        if table.refused.len() >= MAX_REFUSED {
            table.refused.clear();
        }
        table.refused.insert(id, why);
    }

    // A panic elsewhere leaves the table whole: every change is a single insert or remove.
    fn table(&self) -> RwLockReadGuard<'_, Table> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn table_mut(&self) -> RwLockWriteGuard<'_, Table> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writer schema's id in a frame.
///
/// # Errors
/// [`ReadError::TooShort`], [`ReadError::BadMagic`].
pub fn schema_id(frame: &[u8]) -> Result<u32, ReadError> {
    match frame {
        [MAGIC, a, b, c, d, ..] => Ok(u32::from_be_bytes([*a, *b, *c, *d])),
        [] | [MAGIC, ..] => Err(ReadError::TooShort),
        [other, ..] => Err(ReadError::BadMagic(*other)),
    }
}

fn writer_of(schema: &str) -> Result<Writer, SchemaRefused> {
    let writer = foreign::parse(schema)?;
    let name = foreign::record_name(&writer)?;
    let Some(known) = declared(&name).and_then(|declared| known(declared.name)) else {
        return Ok(Writer::Stranger(name.into()));
    };
    if foreign::same_bytes(&writer, &known.expanded) {
        return Ok(Writer::Ours(known));
    }
    foreign::check_readable(&name, &writer, &known.expanded)?;
    Ok(Writer::Resolves(Arc::new(writer), known))
}
