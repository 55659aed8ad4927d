//! The entries of a workflow execution or of a schedule: one record, of which exactly one field is set.

use domain::schedule::kept::Kept;
use domain::schedule::{Counts, Next, Running};
use domain::workflow::run::document::Document;
use domain::workflow::run::entry::{
    Asked, Entry, Execution, Frame, Items, Line, Parent, PendingEnding, Progress, Step, Task,
};

use super::{Field, Reader, Record};
use crate::wire::{DecodeError, Problem, write_long};

fields!(Execution {
    tenant,
    origin,
    workflow,
    version,
    labels,
    search_attributes,
    priority,
    admitted,
    deadline,
    trace_parent,
    log_content,
});
fields!(Progress { started, paused, ending, place, waiting, undo, undoing, usage, costs });
fields!(PendingEnding { failure, timed_out, reason });
fields!(Frame { scope, parent, nodes, edges, undecided, undoable, over });
fields!(Parent { frame, node, index });
fields!(Step { frame, node, attempt, started, asked, until, signal, items, iteration });
fields!(Asked { kind, id });
fields!(Items { total, next, active });
fields!(Task { frame, node, body });
fields!(Line { first, next });
fields!(Kept { name, version, over, paused, next, queued, last_fired, counts });
fields!(Next { scheduled_for, fires_at });
fields!(Running { scheduled_for, cancelled });

/// Avro has no unsigned numbers; no count comes near the half of them.
const COUNTS: [&str; 4] = ["started", "skipped", "missed", "cancelled"];

#[cfg(test)]
impl super::tests::Fields for Counts {
    const FIELDS: &'static [&'static str] = &COUNTS;
}

impl Field for Counts {
    fn write(&self, out: &mut Vec<u8>) {
        for count in [self.started, self.skipped, self.missed, self.cancelled] {
            write_long(count.cast_signed(), out);
        }
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut counts = [0; COUNTS.len()];
        for (count, name) in counts.iter_mut().zip(COUNTS) {
            *count = i64::read(input).map_err(|error| error.within(name))?.cast_unsigned();
        }
        let [started, skipped, missed, cancelled] = counts;
        Ok(Self { started, skipped, missed, cancelled })
    }
}

/// As its text; what was written by a checkpoint is JSON.
impl Field for Document {
    fn write(&self, out: &mut Vec<u8>) {
        crate::wire::write_bytes(self.text().as_bytes(), out);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        String::read(input).map(Self::trusted)
    }
}

/// The names of the fields, in the order of the schema.
const FIELDS: [&str; 11] = [
    "execution",
    "progress",
    "frame",
    "step",
    "value",
    "failure",
    "pieces",
    "task",
    "line",
    "schedule",
    "running",
];

#[cfg(test)]
impl super::tests::Fields for Entry {
    const FIELDS: &'static [&'static str] = &FIELDS;
}

impl Field for Entry {
    fn write(&self, out: &mut Vec<u8>) {
        let place = match self {
            Self::Execution(_) => 0,
            Self::Progress(_) => 1,
            Self::Frame(_) => 2,
            Self::Step(_) => 3,
            Self::Value(_) => 4,
            Self::Failure(_) => 5,
            Self::Pieces(_) => 6,
            Self::Task(_) => 7,
            Self::Line(_) => 8,
            Self::Schedule(_) => 9,
            Self::Running(_) => 10,
        };
        for _ in 0..place {
            write_long(0, out);
        }
        write_long(1, out);
        match self {
            Self::Execution(it) => it.write(out),
            Self::Progress(it) => it.write(out),
            Self::Frame(it) => it.write(out),
            Self::Step(it) => it.write(out),
            Self::Value(it) => it.write(out),
            Self::Failure(it) => it.write(out),
            Self::Pieces(it) => it.write(out),
            Self::Task(it) => it.write(out),
            Self::Line(it) => it.write(out),
            Self::Schedule(it) => it.write(out),
            Self::Running(it) => it.write(out),
        }
        for _ in place + 1..FIELDS.len() {
            write_long(0, out);
        }
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut found = None;
        for (place, name) in FIELDS.iter().enumerate() {
            let within = |error: DecodeError| error.within(name);
            if input.branch(2).map_err(|problem| within(problem.into()))? == 0 {
                continue;
            }
            let entry = match place {
                0 => Field::read(input).map(|it| Self::Execution(Box::new(it))),
                1 => Field::read(input).map(|it| Self::Progress(Box::new(it))),
                2 => Field::read(input).map(Self::Frame),
                3 => Field::read(input).map(|it| Self::Step(Box::new(it))),
                4 => Field::read(input).map(Self::Value),
                5 => Field::read(input).map(|it| Self::Failure(Box::new(it))),
                6 => Field::read(input).map(Self::Pieces),
                7 => Field::read(input).map(Self::Task),
                8 => Field::read(input).map(Self::Line),
                9 => Field::read(input).map(|it| Self::Schedule(Box::new(it))),
                _ => Field::read(input).map(Self::Running),
            };
            let entry = entry.map_err(within)?;
            if found.replace(entry).is_some() {
                return Err(within(Problem::Unresolvable.into()));
            }
        }
        found.ok_or_else(|| Problem::Unresolvable.into())
    }
}

impl Record for Entry {
    const NAME: &'static str = "io.stepstream.v1.WorkflowEntry";
    const SCHEMA: &'static str = include_str!("../../workflow-entry.avsc");
}
