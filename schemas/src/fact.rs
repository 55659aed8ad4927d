//! A processor's log holds several records; which one a `Fact` is, and back.

use domain::answer::Answer;
use domain::fact::{Admitted, Fact, Failed, Finished, Rejected, Skipped, TakenOver, TimerFired};

use crate::command::{self, Callback, Cancel, Pause, Resume, Signal};
use crate::record::Record;
use crate::wire::{DecodeError, Reader};

/// The record that carries a fact.
#[must_use]
pub fn name(fact: &Fact) -> &'static str {
    match fact {
        Fact::Admitted(_) => Admitted::NAME,
        Fact::Rejected(_) => Rejected::NAME,
        Fact::Finished(_) => Finished::NAME,
        Fact::Failed(_) => Failed::NAME,
        Fact::TimerFired(_) => TimerFired::NAME,
        Fact::TakenOver(_) => TakenOver::NAME,
        Fact::Skipped(_) => Skipped::NAME,
        Fact::Answer(_) => Answer::NAME,
        Fact::Command(command) => command::name(&command.order),
    }
}

/// Appends the fact's datum, without framing.
pub fn encode(fact: &Fact, out: &mut Vec<u8>) {
    match fact {
        Fact::Admitted(fact) => fact.encode(out),
        Fact::Rejected(fact) => fact.encode(out),
        Fact::Finished(fact) => fact.encode(out),
        Fact::Failed(fact) => fact.encode(out),
        Fact::TimerFired(fact) => fact.encode(out),
        Fact::TakenOver(fact) => fact.encode(out),
        Fact::Skipped(fact) => fact.encode(out),
        Fact::Answer(fact) => fact.encode(out),
        Fact::Command(fact) => command::encode(fact, out),
    }
}

/// Decodes one fact of a record.
type Decode = fn(&mut Reader<'_>) -> Result<Fact, DecodeError>;

/// How to decode the facts that the record of that full name carries; `None`: it is no fact.
pub(crate) fn decoder(name: &str) -> Option<Decode> {
    Some(match name {
        Admitted::NAME => |input| Admitted::decode(input).map(Fact::Admitted),
        Rejected::NAME => |input| Rejected::decode(input).map(Fact::Rejected),
        Finished::NAME => |input| Finished::decode(input).map(Fact::Finished),
        Failed::NAME => |input| Failed::decode(input).map(Fact::Failed),
        TimerFired::NAME => |input| TimerFired::decode(input).map(Fact::TimerFired),
        TakenOver::NAME => |input| TakenOver::decode(input).map(Fact::TakenOver),
        Skipped::NAME => |input| Skipped::decode(input).map(Fact::Skipped),
        Answer::NAME => |input| Answer::decode(input).map(Fact::Answer),
        Cancel::NAME => |input| Cancel::decode(input).map(|it| Fact::Command(it.into())),
        Pause::NAME => |input| Pause::decode(input).map(|it| Fact::Command(it.into())),
        Resume::NAME => |input| Resume::decode(input).map(|it| Fact::Command(it.into())),
        Signal::NAME => |input| Signal::decode(input).map(|it| Fact::Command(it.into())),
        Callback::NAME => |input| Callback::decode(input).map(|it| Fact::Command(it.into())),
        _ => return None,
    })
}
