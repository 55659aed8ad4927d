//! Carries out a plan on a real cluster: looks, creates, alters, writes genesis records. It deletes
//! nothing, and writes a genesis record only into a partition that it has made itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use domain::state::Genesis;
use domain::time::Millis;
use domain::topic::Topic;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigEntry, ConfigSource, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use runtime::partition::genesis_key;
use runtime::ports::{ClusterError, Outgoing, Publish};
use schemas::Ids;

use super::plan::{Difference, Found, Plan, compare};
use super::{Layout, Spec, specs};
use crate::config::{Role, Settings};
use crate::events::Logged;
use crate::reading::ANSWER;
use crate::{Publisher, failed};

/// How long a broker may take to carry out an administrative request.
const CARRY_OUT: Duration = Duration::from_secs(30);

/// How long a topic may take to appear on all brokers after it was made.
const APPEAR: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(100);

/// What [`Admin::apply`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Topics that were created, by name.
    pub created: Vec<String>,
    /// Settings that were altered.
    pub altered: usize,
    /// Genesis records that were written.
    pub genesis: usize,
}

/// Looks at topics and sets them up.
pub struct Admin {
    settings: Settings,
    client: AdminClient<Logged>,
}

impl Admin {
    /// Connects in the background.
    ///
    /// # Errors
    /// The settings are not accepted.
    pub fn connect(settings: &Settings) -> Result<Self, ClusterError> {
        let client = settings
            .client(Role::Admin)
            .create_with_context(Logged)
            .map_err(|error| failed("making an administrative client", error))?;
        Ok(Self { settings: settings.clone(), client })
    }

    /// What would have to be done.
    ///
    /// # Errors
    /// No broker answers, or it doesn't allow to look.
    pub async fn plan(&self, layout: Layout) -> Result<Plan, ClusterError> {
        let specs = specs(&self.settings, layout);
        let found = self.look(&specs).await?;
        let mut plan = compare(&specs, &found);
        self.look_for_genesis(&specs, &found, &mut plan)?;
        Ok(plan)
    }

    /// Does what can be done. `ids` must know the genesis record's schema; `now` goes into it.
    ///
    /// # Errors
    /// A refusal of the plan (then nothing was done), or the first request that failed (what was done
    /// before it stays; run it again).
    pub async fn apply(
        &self,
        layout: Layout,
        ids: &Ids,
        now: Millis,
    ) -> Result<Applied, ClusterError> {
        let plan = self.plan(layout).await?;
        if let Some(refusal) = plan.refused.first() {
            return Err(failed(format!("setting up topic {}", refusal.topic), &refusal.reason));
        }
        // Framed before anything is made: a state topic must not be left without its genesis records.
        let genesis = genesis_records(&plan.create, ids, now)?;
        let mut applied = Applied::default();
        for spec in &plan.create {
            self.create(spec).await?;
            applied.created.push(spec.name.clone());
        }
        for spec in &plan.create {
            self.wait_for(spec).await?;
        }
        let publisher = Publisher::new(&self.settings)?;
        for record in genesis {
            publisher.publish(record).await?;
            applied.genesis += 1;
        }
        applied.altered = self.alter(&plan.alter).await?;
        Ok(applied)
    }

    async fn look(&self, specs: &[Spec]) -> Result<BTreeMap<String, Found>, ClusterError> {
        let what = "looking at topics";
        let mut found = BTreeMap::new();
        {
            let metadata = self
                .client
                .inner()
                .fetch_metadata(None, ANSWER)
                .map_err(|error| failed(what, error))?;
            let ours: BTreeSet<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
            for topic in metadata.topics().iter().filter(|topic| ours.contains(topic.name())) {
                let copies = topic.partitions().first().map_or(0, |first| first.replicas().len());
                let entry = Found {
                    partitions: i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX),
                    replication_factor: i32::try_from(copies).unwrap_or(i32::MAX),
                    settings: BTreeMap::new(),
                };
                found.insert(topic.name().to_owned(), entry);
            }
        }
        let names: Vec<String> = found.keys().cloned().collect();
        for (name, entries) in self.describe(&names).await? {
            if let Some(found) = found.get_mut(&name) {
                found.settings = entries
                    .into_iter()
                    .filter_map(|entry| Some((entry.name, entry.value?)))
                    .collect();
            }
        }
        Ok(found)
    }

    /// A state partition without any record would be taken for one that was emptied.
    fn look_for_genesis(
        &self,
        specs: &[Spec],
        found: &BTreeMap<String, Found>,
        plan: &mut Plan,
    ) -> Result<(), ClusterError> {
        let states = specs.iter().filter(|spec| matches!(spec.topic, Topic::State(_)));
        for spec in states.filter(|spec| found.contains_key(&spec.name)) {
            for partition in 0..found.get(&spec.name).map_or(0, |found| found.partitions) {
                let (_, high) = self
                    .client
                    .inner()
                    .fetch_watermarks(&spec.name, partition, ANSWER)
                    .map_err(|error| failed(format!("looking at {}", spec.name), error))?;
                if high == 0 {
                    plan.refused.push(super::plan::Refusal {
                        topic: spec.name.clone(),
                        reason: format!(
                            "partition {partition} exists but never had a record, not even the one that \
                             setting up writes: somebody else made the topic, or setting up broke off; if \
                             it was never used, delete it and apply again"
                        ),
                    });
                    break;
                }
            }
        }
        Ok(())
    }

    async fn describe(
        &self,
        names: &[String],
    ) -> Result<Vec<(String, Vec<ConfigEntry>)>, ClusterError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let what = || "reading the settings of topics";
        let which: Vec<ResourceSpecifier<'_>> =
            names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
        let options = AdminOptions::new().request_timeout(Some(CARRY_OUT));
        let answers = self
            .client
            .describe_configs(&which, &options)
            .await
            .map_err(|error| failed(what(), error))?;
        names
            .iter()
            .zip(answers)
            .map(|(name, answer)| match answer {
                Ok(resource) => Ok((name.clone(), resource.entries)),
                Err(code) => Err(failed(format!("{}: {name}", what()), code)),
            })
            .collect()
    }

    async fn create(&self, spec: &Spec) -> Result<(), ClusterError> {
        let what = || format!("creating topic {}", spec.name);
        let copies = TopicReplication::Fixed(spec.replication_factor);
        let mut topic = NewTopic::new(&spec.name, spec.partitions, copies);
        for (name, value) in &spec.settings {
            topic = topic.set(name, value);
        }
        let options =
            AdminOptions::new().request_timeout(Some(CARRY_OUT)).operation_timeout(Some(CARRY_OUT));
        let answers = self
            .client
            .create_topics([&topic], &options)
            .await
            .map_err(|error| failed(what(), error))?;
        for answer in answers {
            if let Err((_, code)) = answer {
                return Err(failed(what(), code));
            }
        }
        Ok(())
    }

    async fn wait_for(&self, spec: &Spec) -> Result<(), ClusterError> {
        let began = tokio::time::Instant::now();
        loop {
            let seen = self.leaders_of(&spec.name);
            match seen {
                Ok(leaders) if leaders == spec.partitions => return Ok(()),
                Ok(_) | Err(_) if began.elapsed() < APPEAR => tokio::time::sleep(LOOK).await,
                Ok(leaders) => {
                    let why = format!("{leaders} of {} partitions have a leader", spec.partitions);
                    return Err(failed(format!("waiting for topic {}", spec.name), why));
                }
                Err(error) => {
                    return Err(failed(format!("waiting for topic {}", spec.name), error));
                }
            }
        }
    }

    fn leaders_of(&self, name: &str) -> Result<i32, KafkaError> {
        let metadata = self.client.inner().fetch_metadata(Some(name), ANSWER)?;
        let unknown = KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition);
        let topic = metadata.topics().first().ok_or(unknown)?;
        let led = topic.partitions().iter().filter(|partition| partition.leader() >= 0).count();
        Ok(i32::try_from(led).unwrap_or(i32::MAX))
    }

    /// The request replaces all settings of a topic, so those that others made are sent along.
    async fn alter(&self, differences: &[Difference]) -> Result<usize, ClusterError> {
        let names: BTreeSet<String> = differences.iter().map(|d| d.topic.clone()).collect();
        let names: Vec<String> = names.into_iter().collect();
        for (name, entries) in self.describe(&names).await? {
            let mut values: BTreeMap<String, String> = entries
                .into_iter()
                .filter(|entry| entry.source == ConfigSource::DynamicTopic)
                .filter_map(|entry| Some((entry.name, entry.value?)))
                .collect();
            for difference in differences.iter().filter(|d| d.topic == name) {
                values.insert(difference.setting.to_owned(), difference.wanted.clone());
            }
            let mut request = AlterConfig::new(ResourceSpecifier::Topic(&name));
            for (setting, value) in &values {
                request = request.set(setting, value);
            }
            let options = AdminOptions::new().request_timeout(Some(CARRY_OUT));
            let answers = self
                .client
                .alter_configs([&request], &options)
                .await
                .map_err(|error| failed(format!("altering topic {name}"), error))?;
            for answer in answers {
                if let Err((_, code)) = answer {
                    return Err(failed(format!("altering topic {name}"), code));
                }
            }
        }
        Ok(differences.len())
    }
}

/// The genesis records of the state topics among `created`.
fn genesis_records(
    created: &[Spec],
    ids: &Ids,
    now: Millis,
) -> Result<Vec<Outgoing>, ClusterError> {
    let mut records = Vec::new();
    for spec in created.iter().filter(|spec| matches!(spec.topic, Topic::State(_))) {
        for partition in 0..spec.partitions {
            records.push(Outgoing {
                topic: spec.topic,
                partition: Some(partition),
                key: Some(Bytes::from(genesis_key())),
                value: genesis(spec.topic, partition, ids, now)?,
                headers: Vec::new(),
            });
        }
    }
    Ok(records)
}

/// The genesis record of one state partition, framed.
pub(crate) fn genesis(
    topic: Topic,
    partition: i32,
    ids: &Ids,
    now: Millis,
) -> Result<Bytes, ClusterError> {
    let record = Genesis { topic: topic.name().to_owned(), partition, created: now };
    ids.frame(&record).map(Bytes::from).map_err(|error| failed("writing a genesis record", error))
}
