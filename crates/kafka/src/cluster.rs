//! The runtime's cluster and topics, on a real or an embedded broker.

use std::sync::Arc;

use domain::topic::{Kind, Topic};
use runtime::ports::{
    self, Checkpoints, ClusterError, Deltas, Inbox, Membership, Reader, Scanned, Sender, Tail,
    TailFrom, Topics,
};
use schemas::Ids;

use crate::checkpoints::{InProcess, Kept, Rows, Transactional};
use crate::config::Settings;
use crate::reading::{From, Until, Watermarks, read};
use crate::topics::Names;
use crate::{Publisher, Registry, failed, records};

/// A cluster, ready to hand out its parts. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    settings: Arc<Settings>,
    names: Arc<Names>,
    watermarks: Arc<Watermarks>,
    registry: Registry,
    ids: Ids,
    keeping: Keeping,
}

/// Where checkpoints are kept.
#[derive(Clone)]
enum Keeping {
    /// In state topics, in transactions.
    Topics,
    /// In the process.
    Process { kept: Arc<Kept>, rows: Arc<Rows> },
}

impl Cluster {
    /// A real cluster. Connects in the background.
    ///
    /// # Errors
    /// The settings are not accepted.
    pub fn connect(settings: Settings, registry: Registry, ids: Ids) -> Result<Self, ClusterError> {
        Self::new(settings, registry, ids, None)
    }

    pub(crate) fn new(
        settings: Settings,
        registry: Registry,
        ids: Ids,
        kept: Option<Arc<Kept>>,
    ) -> Result<Self, ClusterError> {
        settings.check().map_err(|error| failed("configuring the cluster", error))?;
        let names = Names::of_settings(&settings);
        let keeping = match kept {
            None => Keeping::Topics,
            Some(kept) => {
                let rows = Rows::start(&settings, names.of(Topic::ExecutionLog).to_owned())?;
                Keeping::Process { kept, rows: Arc::new(rows) }
            }
        };
        Ok(Self {
            watermarks: Arc::new(Watermarks::connect(&settings)?),
            names: Arc::new(names),
            settings: Arc::new(settings),
            registry,
            ids,
            keeping,
        })
    }

    /// How the cluster is reached.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The ids of schemas that this process knows.
    #[must_use]
    pub fn ids(&self) -> &Ids {
        &self.ids
    }

    /// The schema registry.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// A publisher of single records.
    ///
    /// # Errors
    /// The settings are not accepted.
    pub fn publisher(&self) -> Result<Publisher, ClusterError> {
        Publisher::new(&self.settings)
    }

    /// How many partitions `topic` has.
    ///
    /// # Errors
    /// It doesn't exist, or no broker answers.
    pub fn partitions_of(&self, topic: Topic) -> Result<i32, ClusterError> {
        let name = self.names.of(topic);
        self.watermarks
            .partitions(name)
            .map_err(|error| failed(format!("looking for topic {name}"), error))
    }

    /// The oldest offset of a partition and the one after its newest record.
    ///
    /// # Errors
    /// It doesn't exist, or no broker answers.
    pub fn watermarks(&self, topic: Topic, partition: i32) -> Result<(i64, i64), ClusterError> {
        let name = self.names.of(topic);
        self.watermarks
            .of(name, partition)
            .map_err(|error| failed(format!("asking for the ends of {name} [{partition}]"), error))
    }
}

impl ports::Cluster for Cluster {
    fn partitions(&self, kind: Kind) -> Result<i32, ClusterError> {
        let feed = self.partitions_of(Topic::Feed(kind))?;
        for topic in [Topic::Log(kind), Topic::State(kind)] {
            let count = self.partitions_of(topic)?;
            if count != feed {
                return Err(failed(
                    format!("counting the partitions of {}", kind.as_str()),
                    format!(
                        "{} has {count}, {} has {feed}: entities would move between owners",
                        self.names.of(topic),
                        self.names.of(Topic::Feed(kind)),
                    ),
                ));
            }
        }
        Ok(feed)
    }

    fn join(&self, kind: Kind, inbox: Inbox) -> Result<Arc<dyn Membership>, ClusterError> {
        Ok(Arc::new(crate::membership::Membership::join(&self.settings, kind, inbox)?))
    }

    fn reader(&self, kind: Kind, inbox: Inbox) -> Result<Arc<dyn Reader>, ClusterError> {
        let watermarks = Arc::clone(&self.watermarks);
        Ok(Arc::new(crate::reader::Reader::start(&self.settings, kind, inbox, watermarks)?))
    }

    fn sender(&self, inbox: Inbox) -> Result<Arc<dyn Sender>, ClusterError> {
        let names = Arc::clone(&self.names);
        Ok(Arc::new(crate::sender::Sender::start(&self.settings, names, inbox)?))
    }

    fn deltas(&self) -> Result<Arc<dyn Deltas>, ClusterError> {
        let topic = self.names.of(Topic::Stream);
        Ok(Arc::new(crate::deltas::Deltas::start(&self.settings, topic)?))
    }

    fn checkpoints(
        &self,
        kind: Kind,
        partition: i32,
    ) -> Result<Box<dyn Checkpoints>, ClusterError> {
        Ok(match &self.keeping {
            Keeping::Topics => {
                let watermarks = Arc::clone(&self.watermarks);
                Box::new(Transactional::new(&self.settings, watermarks, kind, partition))
            }
            Keeping::Process { kept, rows } => Box::new(InProcess {
                kept: Arc::clone(kept),
                of: (kind, partition),
                rows: Arc::clone(rows),
                epoch: None,
            }),
        })
    }

    fn scan(
        &self,
        kind: Kind,
        partition: i32,
        from: i64,
        to: i64,
    ) -> Result<Scanned, ClusterError> {
        let topic = self.names.of(Topic::Log(kind));
        let (low, _) = self
            .watermarks
            .of(topic, partition)
            .map_err(|error| failed(format!("reading {topic} [{partition}]"), error))?;
        let Some(from) = first_of(from, low) else {
            let gone =
                format!("offset {from} of {topic} [{partition}] is gone: it begins at {low}");
            return Ok(Scanned::Gone(gone));
        };
        let mut found = Vec::new();
        read(
            &self.settings,
            &self.watermarks,
            (topic, partition),
            (From::At(from), Until::Before(to.saturating_add(1))),
            &mut |message| found.push(records::raw(message)),
        )?;
        Ok(Scanned::Records(found))
    }

    fn resolve_schema(&self, id: u32) -> Result<bool, ClusterError> {
        self.registry
            .resolve(&self.ids, id)
            .map_err(|error| failed(format!("asking the registry for schema {id}"), error))
    }
}

impl Topics for Cluster {
    fn tail(&self, topic: Topic, from: TailFrom) -> Result<Box<dyn Tail>, ClusterError> {
        let name = self.names.of(topic);
        Ok(Box::new(crate::edge::Tail::open(&self.settings, &self.watermarks, name, &from)?))
    }
}

/// Where a scan from `from` begins in a log whose oldest record is at `low`; `None`: what it asks for is gone.
fn first_of(from: i64, low: i64) -> Option<i64> {
    match from {
        ..=0 => Some(low),
        _ => (from >= low).then_some(from),
    }
}

#[cfg(test)]
mod tests {
    use super::first_of;

    #[test]
    fn what_retention_has_passed_is_gone_and_zero_is_the_oldest() {
        for (from, low, first) in
            [(0, 0, Some(0)), (0, 7, Some(7)), (7, 7, Some(7)), (9, 7, Some(9)), (6, 7, None)]
        {
            assert_eq!(first_of(from, low), first, "{from} {low}");
        }
    }
}
