//! A topic as lines, as its records come: for people in columns, for programs as JSON.
//!
//! It reads whole topics outside any group, changes nothing, and drops nothing: also copies are shown. A
//! record that can't be read is shown as such. When whoever reads the lines has gone, it ends.

use std::io::{self, Write};
use std::pin::pin;

use domain::catalogue::DefinitionProposed;
use domain::event::{Chunk, ExecutionEvent};
use domain::fact::DeadLetter;
use domain::log_row::ExecutionLogRecord;
use domain::time::Millis;
use domain::topic::Topic;
use runtime::ports::{ClusterError, Tail, Tailed};
use schemas::Record;
use serde_json::json;

use crate::decode::{DecodeError, Decoder};
use crate::view::View;

/// A topic that has a form for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Execution events.
    Results,
    /// Token deltas.
    Stream,
    /// The typed log.
    ExecutionLog,
    /// What could not be taken.
    DeadLetters,
    /// Definitions.
    Definitions,
}

impl Shown {
    /// The topic.
    #[must_use]
    pub fn topic(self) -> Topic {
        match self {
            Self::Results => Topic::Results,
            Self::Stream => Topic::Stream,
            Self::ExecutionLog => Topic::ExecutionLog,
            Self::DeadLetters => Topic::DeadLetters,
            Self::Definitions => Topic::Definitions,
        }
    }
}

/// How a record becomes a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Columns.
    Text,
    /// JSON.
    Json,
}

/// Which records are shown. What a record doesn't say, it isn't chosen by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this execution only.
    pub execution: Option<String>,
    /// Of this tenant only.
    pub tenant: Option<String>,
    /// Of this time or later.
    pub since: Option<Millis>,
    /// Of this partition only.
    pub partition: Option<i32>,
    /// So many, then it ends.
    pub limit: Option<u64>,
}

impl Filter {
    fn lets_read(&self, record: &Tailed) -> bool {
        self.partition.is_none_or(|partition| record.partition == partition)
            && self.since.is_none_or(|since| record.record.time >= since)
    }

    fn shows(&self, tenant: Option<&str>, execution: Option<&str>) -> bool {
        let fits = |wanted: &Option<String>, is: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| is == Some(wanted))
        };
        fits(&self.tenant, tenant) && fits(&self.execution, execution)
    }

    /// Whether it leaves out records by what is in them.
    fn looks_inside(&self) -> bool {
        self.tenant.is_some() || self.execution.is_some()
    }
}

/// Why it ended early.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// The topic can't be read any further.
    #[error("reading")]
    Read(#[source] ClusterError),
    /// The lines can't be written.
    #[error("writing")]
    Write(#[source] io::Error),
}

/// Writes lines until `stop`, the limit, or until nobody reads them. Returns how many.
///
/// # Errors
/// [`TailError`].
pub async fn run(
    mut tail: Box<dyn Tail>,
    decoder: Decoder,
    shown: Shown,
    filter: Filter,
    form: Form,
    out: &mut (dyn Write + Send),
    stop: impl Future<Output = ()>,
) -> Result<u64, TailError> {
    let mut stop = pin!(stop);
    let mut count = 0;
    while filter.limit.is_none_or(|limit| count < limit) {
        let batch = tokio::select! {
            batch = tail.next() => batch.map_err(TailError::Read)?,
            () = &mut stop => break,
        };
        for record in batch.iter().filter(|record| filter.lets_read(record)) {
            let line = match shown {
                Shown::Results => line::<ExecutionEvent>(&decoder, &filter, form, record).await,
                Shown::Stream => line::<Chunk>(&decoder, &filter, form, record).await,
                Shown::ExecutionLog => {
                    line::<ExecutionLogRecord>(&decoder, &filter, form, record).await
                }
                Shown::DeadLetters => line::<DeadLetter>(&decoder, &filter, form, record).await,
                Shown::Definitions => {
                    line::<DefinitionProposed>(&decoder, &filter, form, record).await
                }
            };
            let Some(line) = line else { continue };
            if let Err(error) = writeln!(out, "{line}") {
                return ended(count, error);
            }
            count += 1;
            if filter.limit.is_some_and(|limit| count >= limit) {
                break;
            }
        }
        if let Err(error) = out.flush() {
            return ended(count, error);
        }
    }
    Ok(count)
}

fn ended(count: u64, error: io::Error) -> Result<u64, TailError> {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(count),
        _ => Err(TailError::Write(error)),
    }
}

async fn line<R: Record + View>(
    decoder: &Decoder,
    filter: &Filter,
    form: Form,
    record: &Tailed,
) -> Option<String> {
    match decoder.read::<R>(&record.record.value).await {
        Ok(read) if !filter.shows(read.tenant(), read.execution()) => None,
        Ok(read) => Some(match form {
            Form::Text => read.text(record),
            Form::Json => read.json(),
        }),
        // Whose it is can't be told.
        Err(_) if filter.looks_inside() => None,
        Err(error) => Some(unreadable(&error, form, record)),
    }
}

fn unreadable(error: &DecodeError, form: Form, record: &Tailed) -> String {
    let (partition, offset) = (record.partition, record.record.offset);
    let why = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    let why = crate::view::plain(&format!("{error}: {why}"));
    match form {
        Form::Text => format!("{partition}/{offset}: {why}"),
        Form::Json => {
            json!({ "partition": partition, "offset": offset, "unreadable": why }).to_string()
        }
    }
}
