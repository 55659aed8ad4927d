//! The hands of a simulation's clients: what they write, and what they can read.

use bytes::Bytes;
use domain::fact::{Command, Fact};
use domain::time::Millis;
use domain::topic::{Kind, Topic};
use schemas::{Ids, Record};

use super::broker::Broker;
use super::rng::Rng;
use super::world::Notes;
use crate::ports::{Headers, Outgoing, Raw};

/// What clients see and may do. What they write stands at once.
pub struct Clients<'w> {
    /// Chance.
    pub rng: &'w mut Rng,
    pub(super) broker: &'w mut Broker,
    pub(super) ids: &'w Ids,
    pub(super) notes: &'w mut Notes,
    pub(super) accepted: &'w mut std::collections::BTreeSet<String>,
}

impl Clients<'_> {
    /// A line of the trace.
    pub fn note(&mut self, what: &str) {
        self.notes.note(self.broker.time, what);
    }

    /// What the clock of the brokers shows.
    #[must_use]
    pub fn now(&self) -> Millis {
        self.broker.now()
    }

    /// Time passes.
    pub fn pass(&mut self, ms: i64) {
        self.broker.time += ms;
    }

    /// A request of this id is accepted: it has to end.
    pub fn accept(&mut self, id: &str) {
        self.accepted.insert(id.to_owned());
    }

    /// A request, as it stands in a record.
    ///
    /// # Panics
    /// When it is no record of the contract.
    #[must_use]
    pub fn framed<R: Record>(&self, request: &R) -> Bytes {
        self.ids.frame(request).expect("a request is a record of the contract").into()
    }

    /// Writes into a feed. `partition`: where a client's partitioner differs from ours.
    pub fn publish(&mut self, kind: Kind, key: &str, value: Bytes, partition: Option<i32>) {
        self.write(Topic::Feed(kind), key, value, partition);
    }

    /// Writes a command.
    ///
    /// # Panics
    /// When the schemas of the test lack that of commands.
    pub fn command(&mut self, kind: Kind, entity: &str, command: Command) {
        let value = self.ids.frame_fact(&Fact::Command(command)).expect("it is registered");
        self.write(Topic::Log(kind), entity, value.into(), None);
    }

    /// Writes a record again, without saying where it came from, as nobody of ours does.
    pub fn repeat(&mut self, topic: Topic, raw: &Raw) {
        let Raw { key, value, .. } = raw.clone();
        let headers = Headers::new();
        self.broker.append(&Outgoing { topic, partition: None, key, value, headers });
    }

    /// The records of a topic.
    pub fn records(&self, topic: Topic) -> impl Iterator<Item = &Raw> {
        self.broker.all(topic)
    }

    /// The schemas that records are read with.
    #[must_use]
    pub fn ids(&self) -> &Ids {
        self.ids
    }

    fn write(&mut self, topic: Topic, key: &str, value: Bytes, partition: Option<i32>) {
        let key = Some(Bytes::from(key.to_owned()));
        let headers = Headers::new();
        self.broker.append(&Outgoing { topic, partition, key, value, headers });
    }
}
