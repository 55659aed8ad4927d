//! The definitions, folded from their log: a proposal names the version it expects to replace, and the
//! first one in the log wins. Every process folds the same catalogue; nobody coordinates.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::time::Millis;

/// What a definition defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DefinitionKind {
    /// A model alias and its deployments.
    Model,
    /// A workflow graph.
    Workflow,
    /// An agent.
    Agent,
    /// A function.
    Function,
    /// An API key: its hash, scopes and tenant.
    Key,
}

impl DefinitionKind {
    /// All of them, in declaration order: the symbols of the Avro enum.
    pub const ALL: [Self; 5] =
        [Self::Model, Self::Workflow, Self::Agent, Self::Function, Self::Key];

    /// The name in record keys and routes.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Workflow => "workflow",
            Self::Agent => "agent",
            Self::Function => "function",
            Self::Key => "key",
        }
    }
}

/// A proposed change of one definition (topic `definitions`, key `kind/tenant/name`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefinitionProposed {
    /// Unique; lets the proposer find its own outcome.
    pub id: String,
    /// What it defines.
    pub kind: DefinitionKind,
    /// Whose it is.
    pub tenant: String,
    /// Its name.
    pub name: String,
    /// The version that it expects to replace; 0: none yet.
    pub expects: i32,
    /// The definition's JSON; `None` deletes.
    pub body: Option<String>,
    /// Who proposes, for the audit.
    pub proposed_by: String,
    /// When.
    pub time: Millis,
}

impl DefinitionProposed {
    /// The record key.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}/{}", self.kind.as_str(), self.tenant, self.name)
    }
}

/// One immutable version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// From 1.
    pub number: i32,
    /// Its JSON; `None`: deleted at this version.
    pub body: Option<String>,
    /// The proposal that made it.
    pub proposal: String,
    /// When it was proposed.
    pub time: Millis,
}

/// What became of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is now this version.
    Accepted(i32),
    /// Another came first; this is the version that stands.
    Conflict(i32),
}

/// All definitions as of some offset of their log.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    versions: BTreeMap<(DefinitionKind, String, String), Vec<Version>>,
}

impl Catalogue {
    /// Folds one proposal. The same log gives the same catalogue everywhere.
    pub fn apply(&mut self, proposal: DefinitionProposed) -> Outcome {
        let DefinitionProposed { id, kind, tenant, name, expects, body, time, .. } = proposal;
        let versions = self.versions.entry((kind, tenant, name)).or_default();
        let stands = versions.last().map_or(0, |version| version.number);
        if expects != stands {
            return Outcome::Conflict(stands);
        }
        let number = stands + 1;
        versions.push(Version { number, body, proposal: id, time });
        Outcome::Accepted(number)
    }

    /// The newest version that is not deleted.
    #[must_use]
    pub fn newest(&self, kind: DefinitionKind, tenant: &str, name: &str) -> Option<&Version> {
        self.history(kind, tenant, name).last().filter(|version| version.body.is_some())
    }

    /// One version, whether or not a newer one exists.
    #[must_use]
    pub fn version(
        &self,
        kind: DefinitionKind,
        tenant: &str,
        name: &str,
        number: i32,
    ) -> Option<&Version> {
        self.history(kind, tenant, name).iter().find(|version| version.number == number)
    }

    /// Every version, oldest first.
    #[must_use]
    pub fn history(&self, kind: DefinitionKind, tenant: &str, name: &str) -> &[Version] {
        self.versions.get(&(kind, tenant.to_owned(), name.to_owned())).map_or(&[], Vec::as_slice)
    }

    /// The newest versions of one kind that a tenant has, by name.
    pub fn names<'a>(
        &'a self,
        kind: DefinitionKind,
        tenant: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a Version)> {
        self.versions
            .range((kind, tenant.to_owned(), String::new())..)
            .take_while(move |((k, t, _), _)| *k == kind && t == tenant)
            .filter_map(|((_, _, name), versions)| {
                versions.last().filter(|v| v.body.is_some()).map(|v| (name.as_str(), v))
            })
    }

    /// The newest versions of one kind, of every tenant: `(tenant, name, version)`.
    pub fn every(&self, kind: DefinitionKind) -> impl Iterator<Item = (&str, &str, &Version)> {
        self.versions.iter().filter(move |((k, _, _), _)| *k == kind).filter_map(
            |((_, tenant, name), versions)| {
                versions
                    .last()
                    .filter(|v| v.body.is_some())
                    .map(|v| (tenant.as_str(), name.as_str(), v))
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposal(expects: i32, body: Option<&str>) -> DefinitionProposed {
        DefinitionProposed {
            id: format!("p{expects}"),
            kind: DefinitionKind::Model,
            tenant: "default".into(),
            name: "fast".into(),
            expects,
            body: body.map(str::to_owned),
            proposed_by: "test".into(),
            time: Millis(0),
        }
    }

    #[test]
    fn first_proposal_in_the_log_wins() {
        let mut catalogue = Catalogue::default();
        assert_eq!(catalogue.apply(proposal(0, Some("a"))), Outcome::Accepted(1));
        assert_eq!(catalogue.apply(proposal(0, Some("b"))), Outcome::Conflict(1));
        assert_eq!(catalogue.apply(proposal(1, Some("c"))), Outcome::Accepted(2));
        let body = |v: Option<&Version>| v.and_then(|v| v.body.clone());
        let kind = DefinitionKind::Model;
        assert_eq!(body(catalogue.newest(kind, "default", "fast")).as_deref(), Some("c"));
        assert_eq!(body(catalogue.version(kind, "default", "fast", 1)).as_deref(), Some("a"));
    }

    #[test]
    fn deleted_definition_keeps_its_versions() {
        let mut catalogue = Catalogue::default();
        catalogue.apply(proposal(0, Some("a")));
        catalogue.apply(proposal(1, None));
        let kind = DefinitionKind::Model;
        assert!(catalogue.newest(kind, "default", "fast").is_none());
        assert!(catalogue.version(kind, "default", "fast", 1).is_some());
        assert_eq!(catalogue.apply(proposal(2, Some("b"))), Outcome::Accepted(3));
    }
}
