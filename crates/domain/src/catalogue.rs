//! The definitions, folded from their log: a proposal names the version it expects to replace, and the
//! first one in the log wins. Every process folds the same catalogue; nobody coordinates.
//!
//! A workflow's aliases stand in the same log ([`alias`]), and are nowhere taken for workflows.

pub mod alias;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::time::Millis;

/// The alias that says which version of a workflow runs where nobody names one.
pub const STABLE: &str = "stable";

/// Which version of a definition is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which<'a> {
    /// The one that runs where nobody names one: that of the alias [`STABLE`], else the newest.
    Standing,
    /// This one.
    Version(i32),
    /// The one that has this alias.
    Alias(&'a str),
}

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
    /// When a workflow starts by itself.
    Schedule,
}

impl DefinitionKind {
    /// All of them, in declaration order: the symbols of the Avro enum.
    pub const ALL: [Self; 6] =
        [Self::Model, Self::Workflow, Self::Agent, Self::Function, Self::Key, Self::Schedule];

    /// The name in record keys and routes.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Workflow => "workflow",
            Self::Agent => "agent",
            Self::Function => "function",
            Self::Key => "key",
            Self::Schedule => "schedule",
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

    /// The version that is meant, if it can be used.
    ///
    /// Of a deleted definition only [`Which::Version`] still finds one: what was begun with it goes on, and
    /// nothing new begins, whatever aliases outlived it. An alias that leads nowhere finds nothing, since to
    /// run something else than what was chosen would be worse.
    #[must_use]
    pub fn resolve(
        &self,
        kind: DefinitionKind,
        tenant: &str,
        name: &str,
        which: Which<'_>,
    ) -> Option<&Version> {
        if alias::is_alias(kind, name) {
            return None;
        }
        let number = match which {
            Which::Version(number) => number,
            Which::Standing => match self.alias(kind, tenant, name, STABLE) {
                Some(alias) => {
                    self.newest(kind, tenant, name)?;
                    alias::version_of(alias)?
                }
                None => return self.newest(kind, tenant, name),
            },
            Which::Alias(which) => {
                self.newest(kind, tenant, name)?;
                alias::version_of(self.alias(kind, tenant, name, which)?)?
            }
        };
        self.version(kind, tenant, name, number).filter(|version| version.body.is_some())
    }

    /// A workflow's aliases by name: the alias, the version that it stands for, and the alias's own version.
    pub fn aliases(&self, tenant: &str, name: &str) -> impl Iterator<Item = (&str, i32, &Version)> {
        let kind = DefinitionKind::Workflow;
        let (tenant, prefix) = (tenant.to_owned(), alias::full_name(name, ""));
        self.versions
            .range((kind, tenant.clone(), prefix.clone())..)
            .map_while(move |((k, t, full), versions)| {
                let alias = full.strip_prefix(&prefix).filter(|_| *k == kind && *t == tenant)?;
                Some((alias, versions))
            })
            .filter_map(|(alias, versions)| {
                let version = versions.last()?;
                Some((alias, alias::version_of(version)?, version))
            })
    }

    /// The newest version of an alias that isn't deleted.
    fn alias(
        &self,
        kind: DefinitionKind,
        tenant: &str,
        name: &str,
        alias: &str,
    ) -> Option<&Version> {
        match kind {
            DefinitionKind::Workflow => self.newest(kind, tenant, &alias::full_name(name, alias)),
            _ => None,
        }
    }

    /// Every version, oldest first.
    #[must_use]
    pub fn history(&self, kind: DefinitionKind, tenant: &str, name: &str) -> &[Version] {
        self.versions.get(&(kind, tenant.to_owned(), name.to_owned())).map_or(&[], Vec::as_slice)
    }

    /// The newest versions of one kind that a tenant has, by name. Aliases are none.
    pub fn names<'a>(
        &'a self,
        kind: DefinitionKind,
        tenant: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a Version)> {
        self.versions
            .range((kind, tenant.to_owned(), String::new())..)
            .take_while(move |((k, t, _), _)| *k == kind && t == tenant)
            .filter(move |((_, _, name), _)| !alias::is_alias(kind, name))
            .filter_map(|((_, _, name), versions)| {
                versions.last().filter(|v| v.body.is_some()).map(|v| (name.as_str(), v))
            })
    }

    /// Every version of every definition of one kind, also of what is deleted by now: `(tenant, name,
    /// versions)`, the versions oldest first.
    pub fn histories(
        &self,
        kind: DefinitionKind,
    ) -> impl Iterator<Item = (&str, &str, &[Version])> {
        let of_kind = self.versions.iter().filter(move |((k, _, _), _)| *k == kind);
        of_kind.map(|((_, tenant, name), versions)| {
            (tenant.as_str(), name.as_str(), versions.as_slice())
        })
    }

    /// The newest versions of one kind, of every tenant: `(tenant, name, version)`. Aliases are none.
    pub fn every(&self, kind: DefinitionKind) -> impl Iterator<Item = (&str, &str, &Version)> {
        self.versions
            .iter()
            .filter(move |((k, _, name), _)| *k == kind && !alias::is_alias(kind, name))
            .filter_map(|((_, tenant, name), versions)| {
                versions
                    .last()
                    .filter(|v| v.body.is_some())
                    .map(|v| (tenant.as_str(), name.as_str(), v))
            })
    }
}

#[cfg(test)]
mod tests;
