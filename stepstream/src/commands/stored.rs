//! Definitions that are stored, of any kind: whose they are, how one is found, changed, stored and deleted, without a
//! gateway. What makes a good one is for the commands of its kind.

use clap::Args;
use domain::catalogue::{Catalogue, DefinitionKind, DefinitionProposed, Version, Which};
use domain::request::DEFAULT_TENANT;
use domain::workflow::definition::{MAX_NAME_BYTES, is_name};
use gateway::RECORD_BODY_BYTES;
use serde_json::Value;
use service::catalogue::Definitions;
use uuid::Uuid;

use super::ConfigFile;
use super::proposing::{change, newest, read_all};
use crate::error::CommandError;
use crate::{cluster, print};

/// A kind of definition, as commands meet it.
#[derive(Debug)]
pub(super) struct Sort {
    pub(super) kind: DefinitionKind,
    /// What one is called.
    what: &'static str,
    /// The commands that are about it.
    command: &'static str,
}

pub(super) const MODELS: Sort =
    Sort { kind: DefinitionKind::Model, what: "model", command: "stepstream models" };
pub(super) const WORKFLOWS: Sort =
    Sort { kind: DefinitionKind::Workflow, what: "workflow", command: "stepstream workflow" };
pub(super) const SCHEDULES: Sort =
    Sort { kind: DefinitionKind::Schedule, what: "schedule", command: "stepstream schedule" };

/// Whose definitions, and where they are.
#[derive(Debug, Args)]
pub(super) struct Where {
    #[command(flatten)]
    file: ConfigFile,
    /// Whose
    #[arg(long, default_value = DEFAULT_TENANT)]
    tenant: String,
}

impl Where {
    /// Connects and reads them.
    pub(super) async fn open(self, sort: &'static Sort) -> Result<Opened, CommandError> {
        let config = self.file.load_quietly()?;
        let cluster = cluster::connect(&config).await?;
        let definitions = read_all(&cluster).await?;
        Ok(Opened { sort, cluster, definitions, tenant: self.tenant })
    }
}

/// The definitions of a tenant, and the way to change those of one kind.
pub(super) struct Opened {
    sort: &'static Sort,
    cluster: kafka::Cluster,
    pub(super) definitions: Definitions,
    pub(super) tenant: String,
}

/// A definition from a file, with its name.
pub(super) struct Candidate {
    pub(super) shown: String,
    pub(super) name: String,
    pub(super) definition: Value,
}

impl Opened {
    /// Proposes that `name` shall say this, in place of the version that stands.
    pub(super) async fn change(
        &self,
        name: &str,
        body: Option<String>,
    ) -> Result<i32, CommandError> {
        let kind = self.sort.kind;
        let proposal = DefinitionProposed {
            id: Uuid::now_v7().to_string(),
            kind,
            expects: newest(&self.definitions.snapshot(), kind, &self.tenant, name),
            tenant: self.tenant.clone(),
            name: name.to_owned(),
            body,
            proposed_by: self.sort.command.into(),
            time: cluster::now(),
        };
        change(&self.cluster, &self.definitions, &proposal).await
    }

    /// Stores a definition that was checked, unless what stands says the same; a line that says which it was.
    pub(super) async fn store(
        &self,
        candidate: &Candidate,
        expect: Option<i32>,
        is_same: impl Fn(&Version) -> bool,
    ) -> Result<String, CommandError> {
        let Candidate { shown, name, definition } = candidate;
        let (catalogue, kind, tenant) = (self.definitions.snapshot(), self.sort.kind, &self.tenant);
        let stands = newest(&catalogue, kind, tenant, name);
        if expect.is_some_and(|expect| expect != stands) {
            return Err(CommandError::plain(format!("version {stands} of {name} stands"))
                .advise("look at it, and expect that one if yours shall follow"));
        }
        if let Some(same) = catalogue.newest(kind, tenant, name).filter(|it| is_same(it)) {
            return Ok(format!("{name} is version {}, as before", same.number));
        }
        let body = definition.to_string();
        if body.len() > RECORD_BODY_BYTES {
            let message = format!("{shown} is larger than {RECORD_BODY_BYTES} bytes");
            return Err(CommandError::plain(message));
        }
        let version = self.change(name, Some(body)).await?;
        Ok(format!("{name} is version {version}"))
    }

    /// Deletes a definition, and says so.
    pub(super) async fn delete(&self, name: &str) -> Result<(), CommandError> {
        self.sort.find(&self.definitions.snapshot(), &self.tenant, name, None)?;
        self.change(name, None).await?;
        print::line(&format!("{name} is deleted"));
        Ok(())
    }
}

impl Sort {
    /// This version of a definition, or the newest. Never one that it was deleted with, and never an alias.
    pub(super) fn find<'c>(
        &self,
        catalogue: &'c Catalogue,
        tenant: &str,
        name: &str,
        number: Option<i32>,
    ) -> Result<&'c Version, CommandError> {
        let Self { kind, what, command } = self;
        match number {
            None => catalogue.newest(*kind, tenant, name).ok_or_else(|| {
                CommandError::plain(format!("there is no {what} {name}"))
                    .advise(format!("`{command} list` prints those that there are"))
            }),
            Some(number) => {
                let version = catalogue.resolve(*kind, tenant, name, Which::Version(number));
                version.ok_or_else(|| {
                    CommandError::plain(format!("there is no version {number} of a {what} {name}"))
                })
            }
        }
    }

    /// What this version of a definition says, or the newest.
    pub(super) fn said(
        &self,
        catalogue: &Catalogue,
        tenant: &str,
        name: &str,
        number: Option<i32>,
    ) -> Result<Value, CommandError> {
        let version = self.find(catalogue, tenant, name, number)?;
        parsed(version).map_err(|error| {
            CommandError::new(format!("version {} of {name} is no JSON", version.number), error)
        })
    }
}

/// What a version says.
pub(super) fn parsed(version: &Version) -> Result<Value, serde_json::Error> {
    serde_json::from_str(version.body.as_deref().unwrap_or_default())
}

/// A name that a workflow or a schedule can have.
pub(super) fn name(text: &str) -> Result<String, String> {
    match is_name(text) {
        true => Ok(text.to_owned()),
        false => Err(format!("a name has 1 to {MAX_NAME_BYTES} letters, digits, -, _ and .")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_one_that_a_workflow_can_have() {
        assert_eq!(name("a-b_c.1"), Ok("a-b_c.1".into()));
        for wrong in ["", "a@stable", "a b", "é"] {
            assert!(name(wrong).unwrap_err().contains("128 letters"), "{wrong}");
        }
    }
}
