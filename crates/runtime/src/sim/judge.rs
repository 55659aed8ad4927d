//! The verdict: named invariants over what an outsider can read, and every log folded again.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use domain::event::ExecutionEvent;
use domain::fact::Source;
use domain::invariants::{self, Copyable};
use domain::log_row::ExecutionLogRecord;
use domain::topic::{Kind, Topic};
use schemas::Ids;

use super::broker::{Broker, PARTITIONS};
use super::seat::Tenure;
use super::world::World;
use super::{Broken, Program, Replay, Scenario};
use crate::partition::{Options, wire};
use crate::ports::{Outgoing, Raw, header};

/// How much of a record a line shows, in characters.
const LINE: usize = 300;

/// What a run left behind.
pub struct Past<'w> {
    broker: &'w Broker,
    ids: &'w Ids,
    rows: &'w [ExecutionLogRecord],
}

impl Past<'_> {
    /// The rows of the execution log, as a read_committed reader sees them.
    #[must_use]
    pub fn rows(&self) -> &[ExecutionLogRecord] {
        self.rows
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
}

/// Where outputs of folds go.
fn chained<S: Scenario>() -> impl Iterator<Item = Topic> {
    let own = |kind: &Kind| [Topic::Feed(*kind), Topic::Log(*kind)];
    [Topic::Results].into_iter().chain(S::KINDS.iter().flat_map(own))
}

impl<S: Scenario> World<S> {
    /// What stands in the topics, a line a record, for people who look at a seed.
    pub(super) fn records(&self) -> String {
        let mut lines = String::new();
        for (topic, partition) in
            chained::<S>().flat_map(|it| (0..PARTITIONS).map(move |p| (it, p)))
        {
            for raw in self.broker.read(topic, partition, 0, usize::MAX) {
                let key = raw.key.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
                let text = if let Ok(fact) = self.ids.read_fact(&raw.value) {
                    format!("{fact:?}")
                } else if let Ok(event) = self.ids.read::<ExecutionEvent>(&raw.value) {
                    let ExecutionEvent { generation, number, event_type, step, data, .. } = event;
                    format!("{generation}.{number} {} {step:?} {data:?}", event_type.as_str())
                } else {
                    String::from_utf8_lossy(&raw.value).replace(char::is_control, " ")
                };
                let text: String = text.chars().take(LINE).collect();
                let place = format!("{}/{partition}@{}", topic.name(), raw.offset);
                let _ = writeln!(lines, "{place} {} {key}: {text}", raw.time.0);
            }
        }
        lines
    }

    pub(super) fn judge(&mut self) -> Result<(), Broken> {
        let ids = &self.ids;
        for raw in self.broker.all(Topic::Results) {
            let event = ids.read::<ExecutionEvent>(&raw.value).expect("our own event");
            self.history.events.push(event);
        }
        let read = |value| ids.read::<ExecutionLogRecord>(value).expect("our own row");
        let rows: Vec<_> = self.broker.rows.iter().map(|value| read(value)).collect();
        for row in &rows {
            let (id, execution, event) = (&row.event_id, &row.execution_id, &row.event_type);
            self.history.rows.push((id.clone(), execution.clone(), event.clone()));
        }
        for topic in chained::<S>() {
            for raw in self.broker.all(topic) {
                if wire::source(&raw.headers).is_some() {
                    let id = header(&raw.headers, wire::ID).unwrap_or_default().to_owned();
                    let value = raw.value.to_vec();
                    self.history.outputs.push(Copyable { topic: topic.name().into(), id, value });
                }
            }
        }
        let past = Past { broker: &self.broker, ids, rows: &rows };
        self.scenario.complete(&past, &mut self.history);
        invariants::check(&self.history).map_err(|violation| Broken(violation.to_string()))?;
        let mut lateness = rows.iter().filter_map(|row| row.timer_lateness_ms);
        if let Some(early) = lateness.find(|lateness| *lateness < 0) {
            return Err(Broken(format!("I8: a timer fired {early} ms late")));
        }
        let replay = self.scenario.before_replay();
        if replay != Replay::Nothing {
            self.fold_again(replay)?;
        }
        let past = Past { broker: &self.broker, ids: &self.ids, rows: &rows };
        self.scenario.judge(&past, &self.history).map_err(Broken)
    }

    /// Folding a whole log again, by an owner that never was before, puts out the same (invariant I13).
    fn fold_again(&mut self, replay: Replay) -> Result<(), Broken> {
        for partition in 0..PARTITIONS {
            let mut broker = self.broker.anew(S::KINDS, &self.genesis);
            for kind in S::KINDS {
                let patient = Options {
                    max_unchecked: i64::MAX,
                    max_outbox: usize::MAX,
                    checkpoint_max_ms: i64::MAX,
                    checkpoint_min_ms: i64::MAX,
                    ..self.scenario.options(*kind)
                };
                let process = self.scenario.seat(Tenure {
                    id: self.next_process,
                    kind: *kind,
                    partition,
                    program: Program::First,
                    ids: self.ids.clone(),
                    options: patient,
                    rules: self.rules,
                });
                let again = process.fold_again(&mut broker, &mut self.rng);
                self.compare(Topic::Log(*kind), partition, &again, replay)?;
            }
        }
        Ok(())
    }

    /// What the folds of one log partition put out, then and now.
    fn compare(
        &self,
        log: Topic,
        partition: i32,
        again: &[Arc<Outgoing>],
        replay: Replay,
    ) -> Result<(), Broken> {
        let counts = |topic: &Topic| replay == Replay::Everything || *topic != Topic::Results;
        let topics: Vec<Topic> = chained::<S>().filter(counts).collect();
        let mut then = BTreeMap::new();
        for topic in &topics {
            for raw in self.broker.all(*topic) {
                let here =
                    |source: &Source| source.topic == log.name() && source.partition == partition;
                if let Some(source) = wire::source(&raw.headers).filter(here) {
                    then.insert((*topic, source.id), raw.value.clone());
                }
            }
        }
        let mut now = BTreeMap::new();
        for record in again.iter().filter(|record| topics.contains(&record.topic)) {
            if let Some(source) = wire::source(&record.headers) {
                now.insert((record.topic, source.id), record.value.clone());
            }
        }
        let differs = then
            .iter()
            .find(|(id, value)| now.get(*id) != Some(value))
            .map(|(id, _)| id)
            .or_else(|| now.keys().find(|id| !then.contains_key(*id)));
        match differs {
            None => Ok(()),
            Some((topic, id)) => {
                let text = |value: Option<&bytes::Bytes>| {
                    value.map_or("nothing".into(), |it| String::from_utf8_lossy(it).into_owned())
                };
                let key = (*topic, id.clone());
                let (was, is) = (text(then.get(&key)), text(now.get(&key)));
                Err(Broken(format!("I13: {id} on {topic:?} was {was:?} and is now {is:?}")))
            }
        }
    }
}
