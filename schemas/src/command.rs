//! The commands as records: one per order, so that an outsider fills in only what the order needs.
//!
//! The domain has one `Command` with an `Order`; here is how the two correspond, and nothing else.

use domain::fact::{Command, Order};

use crate::record::Record;
use crate::wire::{Field, write_bytes};

/// Ends an execution as cancelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancel {
    /// As in [`Command`].
    pub id: String,
    /// As in [`Command`].
    pub tenant: String,
    /// For people.
    pub reason: Option<String>,
}

/// Lets an execution start nothing new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// As in [`Command`].
    pub id: String,
    /// As in [`Command`].
    pub tenant: String,
}

/// Lets a paused execution go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// As in [`Command`].
    pub id: String,
    /// As in [`Command`].
    pub tenant: String,
}

/// Tells a waiting step something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    /// As in [`Command`].
    pub id: String,
    /// As in [`Command`].
    pub tenant: String,
    /// The signal's name.
    pub name: String,
    /// JSON.
    pub payload: Option<String>,
}

/// The outcome of a function that answers by callback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callback {
    /// As in [`Command`].
    pub id: String,
    /// As in [`Command`].
    pub tenant: String,
    /// The single-use token of the call.
    pub token: String,
    /// JSON.
    pub payload: Option<String>,
}

/// The record that carries an order.
#[must_use]
pub(crate) fn name(order: &Order) -> &'static str {
    match order {
        Order::Cancel { .. } => Cancel::NAME,
        Order::Pause => Pause::NAME,
        Order::Resume => Resume::NAME,
        Order::Signal { .. } => Signal::NAME,
        Order::Callback { .. } => Callback::NAME,
    }
}

/// Appends the datum of the order's record: its fields are the command's, then the order's.
pub(crate) fn encode(command: &Command, out: &mut Vec<u8>) {
    command.id.write(out);
    command.tenant.write(out);
    match &command.order {
        Order::Pause | Order::Resume => {}
        Order::Cancel { reason } => reason.write(out),
        Order::Signal { name: word, payload } | Order::Callback { token: word, payload } => {
            write_bytes(word.as_bytes(), out);
            payload.write(out);
        }
    }
}

impl From<Cancel> for Command {
    fn from(Cancel { id, tenant, reason }: Cancel) -> Self {
        Self { id, tenant, order: Order::Cancel { reason } }
    }
}

impl From<Pause> for Command {
    fn from(Pause { id, tenant }: Pause) -> Self {
        Self { id, tenant, order: Order::Pause }
    }
}

impl From<Resume> for Command {
    fn from(Resume { id, tenant }: Resume) -> Self {
        Self { id, tenant, order: Order::Resume }
    }
}

impl From<Signal> for Command {
    fn from(Signal { id, tenant, name, payload }: Signal) -> Self {
        Self { id, tenant, order: Order::Signal { name, payload } }
    }
}

impl From<Callback> for Command {
    fn from(Callback { id, tenant, token, payload }: Callback) -> Self {
        Self { id, tenant, order: Order::Callback { token, payload } }
    }
}
