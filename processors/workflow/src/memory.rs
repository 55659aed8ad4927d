//! The entries of an execution, as the runtime keeps them.

use domain::workflow::run::Memory;
use domain::workflow::run::entry::Entry;
use runtime::context::Context;

use crate::Workflows;

/// The entries of the execution that is folded.
pub(crate) struct Entries<'c, 'a>(pub(crate) &'c mut Context<'a, Workflows>);

impl Memory for Entries<'_, '_> {
    fn get(&self, name: &str) -> Option<&Entry> {
        self.0.get(name)
    }

    fn put(&mut self, name: &str, entry: Entry) {
        self.0.put(name, entry);
    }

    fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }
}
