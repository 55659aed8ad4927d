//! Compares what topics must look like with what was found. Facts in, plan out; it changes nothing.

use std::collections::BTreeMap;
use std::fmt;

use super::Spec;

/// A topic as the cluster has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// How many partitions.
    pub partitions: i32,
    /// Copies of its first partition.
    pub replication_factor: i32,
    /// The settings in force.
    pub settings: BTreeMap<String, String>,
}

/// A setting that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The topic's name.
    pub topic: String,
    /// The setting, by Kafka's name.
    pub setting: &'static str,
    /// What the cluster has.
    pub found: Option<String>,
    /// What it must be.
    pub wanted: String,
}

/// Something that must not be put right by a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The topic's name.
    pub topic: String,
    /// What is wrong, and what to do.
    pub reason: String,
}

/// What has to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Topics to create.
    pub create: Vec<Spec>,
    /// Settings to alter.
    pub alter: Vec<Difference>,
    /// What stands in the way.
    pub refused: Vec<Refusal>,
    /// What is worth knowing but works.
    pub notes: Vec<String>,
}

impl Plan {
    /// Whether the cluster is as it must be.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.create.is_empty() && self.alter.is_empty() && self.refused.is_empty()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for spec in &self.create {
            writeln!(
                f,
                "create  {} with {} partitions, {} copies",
                spec.name, spec.partitions, spec.replication_factor
            )?;
        }
        for difference in &self.alter {
            let found = difference.found.as_deref().unwrap_or("nothing");
            writeln!(
                f,
                "alter   {} {}: {found} -> {}",
                difference.topic, difference.setting, difference.wanted
            )?;
        }
        for refusal in &self.refused {
            writeln!(f, "refused {}: {}", refusal.topic, refusal.reason)?;
        }
        for note in &self.notes {
            writeln!(f, "note    {note}")?;
        }
        if self.is_empty() {
            writeln!(f, "every topic is as it must be")?;
        }
        Ok(())
    }
}

/// Compares. `found` has the topics that exist, by name.
#[must_use]
pub fn compare(specs: &[Spec], found: &BTreeMap<String, Found>) -> Plan {
    let mut plan = Plan::default();
    for spec in specs {
        match found.get(&spec.name) {
            None => plan.create.push(spec.clone()),
            Some(found) => compare_one(spec, found, &mut plan),
        }
    }
    plan
}

fn compare_one(spec: &Spec, found: &Found, plan: &mut Plan) {
    if found.partitions != spec.partitions {
        plan.refused.push(Refusal {
            topic: spec.name.clone(),
            reason: format!(
                "has {} partitions instead of {}; keys would move to other partitions, so the count of a \
                 topic never changes: configure {} or use another prefix",
                found.partitions, spec.partitions, found.partitions
            ),
        });
        return;
    }
    if found.replication_factor < spec.replication_factor {
        plan.notes.push(format!(
            "{} has {} copies instead of {}: reassign its partitions with Kafka's own tool",
            spec.name, found.replication_factor, spec.replication_factor
        ));
    }
    for (setting, wanted) in &spec.settings {
        let has = found.settings.get(*setting);
        if has != Some(wanted) {
            plan.alter.push(Difference {
                topic: spec.name.clone(),
                setting,
                found: has.cloned(),
                wanted: wanted.clone(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::topic::{Kind, Topic};

    use super::*;
    use crate::topics::{Layout, specs};
    use crate::{Settings, Stack};

    fn wanted() -> Vec<Spec> {
        let settings = Settings {
            brokers: "127.0.0.1:9".into(),
            prefix: String::new(),
            client_id: "test".into(),
            properties: BTreeMap::new(),
            stack: Stack::Real,
        };
        specs(&settings, Layout::DEV)
    }

    fn as_wanted(specs: &[Spec]) -> BTreeMap<String, Found> {
        specs
            .iter()
            .map(|spec| {
                let found = Found {
                    partitions: spec.partitions,
                    replication_factor: spec.replication_factor,
                    settings: spec
                        .settings
                        .iter()
                        .map(|(k, v)| ((*k).to_owned(), v.clone()))
                        .collect(),
                };
                (spec.name.clone(), found)
            })
            .collect()
    }

    #[test]
    fn a_cluster_as_it_must_be_needs_nothing() {
        let specs = wanted();
        let plan = compare(&specs, &as_wanted(&specs));
        assert!(plan.is_empty(), "{plan}");
        assert_eq!(plan.to_string(), "every topic is as it must be\n");
    }

    #[test]
    fn missing_topics_are_created() {
        let specs = wanted();
        let mut found = as_wanted(&specs);
        found.remove("results");
        let plan = compare(&specs, &found);
        assert_eq!(plan.create.iter().map(|s| s.topic).collect::<Vec<_>>(), [Topic::Results]);
        assert!(plan.alter.is_empty() && plan.refused.is_empty());
        assert_eq!(compare(&specs, &BTreeMap::new()).create.len(), specs.len());
    }

    #[test]
    fn another_partition_count_is_refused_with_a_reason() {
        let specs = wanted();
        let mut found = as_wanted(&specs);
        found.get_mut("model-requests").unwrap().partitions = 6;
        let plan = compare(&specs, &found);
        assert_eq!(plan.refused.len(), 1);
        assert_eq!(plan.refused[0].topic, "model-requests");
        assert!(plan.refused[0].reason.starts_with("has 6 partitions instead of 4"));
        assert!(!plan.is_empty());
    }

    #[test]
    fn a_setting_that_differs_is_altered() {
        let specs = wanted();
        let mut found = as_wanted(&specs);
        let name = Topic::Log(Kind::Model).name();
        found
            .get_mut(name)
            .unwrap()
            .settings
            .insert("message.timestamp.type".into(), "CreateTime".into());
        let plan = compare(&specs, &found);
        assert_eq!(
            plan.alter,
            [Difference {
                topic: name.into(),
                setting: "message.timestamp.type",
                found: Some("CreateTime".into()),
                wanted: "LogAppendTime".into(),
            }]
        );
    }

    #[test]
    fn fewer_copies_are_noted_and_more_are_welcome() {
        let mut specs = wanted();
        for spec in &mut specs {
            spec.replication_factor = 3;
        }
        let mut found = as_wanted(&specs);
        found.get_mut("results").unwrap().replication_factor = 1;
        found.get_mut("stream").unwrap().replication_factor = 5;
        let plan = compare(&specs, &found);
        assert!(plan.is_empty());
        assert_eq!(plan.notes.len(), 1);
    }
}
