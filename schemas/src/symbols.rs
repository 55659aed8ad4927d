//! The enums of the contract. A symbol's index is its place in the `.avsc` file, for ever: symbols are
//! only ever added at the end.
//!
//! Where misreading would do harm, index 0 is `unknown`: what an older reader sees in place of a symbol
//! that only a newer writer has. Nothing here ever writes it, and reading it is an error, so that an
//! operation that we don't know is a dead letter and not a chat.

use domain::answer::{ErrorClass, Terminal};
use domain::catalogue::DefinitionKind;
use domain::event::{ChunkKind, EventType};
use domain::request::{FunctionMode, OnBusy, Operation, OriginKind};
use domain::topic::Kind;

use crate::wire::{DecodeError, Field, Problem, Reader, write_long};

/// What the first symbol of an enum is.
#[derive(Clone, Copy)]
enum First {
    /// `unknown`, which no value of ours has.
    Unknown,
    /// The first value.
    Value,
}

impl First {
    fn index(self) -> i64 {
        match self {
            Self::Unknown => 1,
            Self::Value => 0,
        }
    }
}

fn read_symbol<T: Copy>(
    input: &mut Reader<'_>,
    name: &str,
    values: &[T],
    first: First,
) -> Result<T, DecodeError> {
    let index = i64::from(input.int()?);
    usize::try_from(index - first.index())
        .ok()
        .and_then(|place| values.get(place))
        .copied()
        .ok_or_else(|| Problem::Symbol { name: name.to_owned(), index }.into())
}

fn write_symbol(place: i64, first: First, out: &mut Vec<u8>) {
    write_long(place + first.index(), out);
}

/// In declaration order, as the symbols are.
const ORIGIN_KINDS: [OriginKind; 3] = [OriginKind::Client, OriginKind::Workflow, OriginKind::Agent];
const OPERATIONS: [Operation; 4] =
    [Operation::Chat, Operation::TextCompletion, Operation::Embeddings, Operation::Rerank];
const FUNCTION_MODES: [FunctionMode; 2] = [FunctionMode::Sync, FunctionMode::Callback];
const ON_BUSY: [OnBusy; 3] = [OnBusy::Reject, OnBusy::Enqueue, OnBusy::Interrupt];
const CHUNK_KINDS: [ChunkKind; 5] = [
    ChunkKind::Text,
    ChunkKind::Reasoning,
    ChunkKind::ToolCalls,
    ChunkKind::Done,
    ChunkKind::Queued,
];
const TERMINALS: [Terminal; 4] =
    [Terminal::Succeeded, Terminal::Failed, Terminal::Cancelled, Terminal::TimedOut];

impl Field for Kind {
    fn write(&self, out: &mut Vec<u8>) {
        write_symbol(*self as i64, First::Unknown, out);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        read_symbol(input, "Kind", &Self::ALL, First::Unknown)
    }
}

impl Field for OriginKind {
    fn write(&self, out: &mut Vec<u8>) {
        write_symbol(*self as i64, First::Unknown, out);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        read_symbol(input, "OriginKind", &ORIGIN_KINDS, First::Unknown)
    }
}

impl Field for Operation {
    fn write(&self, out: &mut Vec<u8>) {
        write_symbol(*self as i64, First::Unknown, out);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        read_symbol(input, "Operation", &OPERATIONS, First::Unknown)
    }
}

impl Field for FunctionMode {
    fn write(&self, out: &mut Vec<u8>) {
        write_symbol(*self as i64, First::Unknown, out);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        read_symbol(input, "FunctionMode", &FUNCTION_MODES, First::Unknown)
    }
}

impl Field for OnBusy {
    fn write(&self, out: &mut Vec<u8>) {
        write_symbol(*self as i64, First::Unknown, out);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        read_symbol(input, "OnBusy", &ON_BUSY, First::Unknown)
    }
}

impl Field for EventType {
    fn write(&self, out: &mut Vec<u8>) {
        write_symbol(*self as i64, First::Unknown, out);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        read_symbol(input, "EventType", &Self::ALL, First::Unknown)
    }
}

impl Field for ChunkKind {
    fn write(&self, out: &mut Vec<u8>) {
        write_symbol(*self as i64, First::Unknown, out);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        read_symbol(input, "ChunkKind", &CHUNK_KINDS, First::Unknown)
    }
}

impl Field for DefinitionKind {
    fn write(&self, out: &mut Vec<u8>) {
        write_symbol(*self as i64, First::Unknown, out);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        read_symbol(input, "DefinitionKind", &Self::ALL, First::Unknown)
    }
}

/// A class that we don't know reads as `internal`: a failure must stay readable.
impl Field for ErrorClass {
    fn write(&self, out: &mut Vec<u8>) {
        write_symbol(*self as i64, First::Value, out);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        read_symbol(input, "ErrorClass", &Self::ALL, First::Value)
    }
}

/// A status that we don't know reads as `failed`: an answer must stay readable.
impl Field for Terminal {
    fn write(&self, out: &mut Vec<u8>) {
        write_symbol(*self as i64, First::Value, out);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        read_symbol(input, "Terminal", &TERMINALS, First::Value)
    }
}
