//! `stepstream models`: model definitions, without a gateway.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use domain::catalogue::{DefinitionKind, DefinitionProposed};
use domain::model_definition::ModelDefinition;
use domain::request::DEFAULT_TENANT;
use uuid::Uuid;

use super::ConfigFile;
use super::proposing::{change, newest, read_all};
use crate::error::CommandError;
use crate::{cluster, print};

/// Manage model definitions.
///
/// A definition says which deployments answer for an alias, and how they are called. It takes effect
/// without a restart.
#[derive(Debug, Subcommand)]
pub(crate) enum Models {
    /// Print the aliases of a tenant, with their versions
    List(List),
    /// Make a new version of an alias from a file
    Put(Put),
}

#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    file: ConfigFile,
    /// Whose
    #[arg(long, default_value = DEFAULT_TENANT)]
    tenant: String,
}

#[derive(Debug, Args)]
pub(crate) struct Put {
    #[command(flatten)]
    file: ConfigFile,
    /// Whose
    #[arg(long, default_value = DEFAULT_TENANT)]
    tenant: String,
    /// The alias
    name: String,
    /// The definition (JSON). It names the environment variable that holds a key, never the key
    path: PathBuf,
}

impl Models {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        match self {
            Self::List(list) => list.run().await,
            Self::Put(put) => put.run().await,
        }
    }
}

impl List {
    async fn run(self) -> Result<(), CommandError> {
        let config = self.file.load_quietly()?;
        let cluster = cluster::connect(&config).await?;
        let definitions = read_all(&cluster).await?;
        for (name, version) in definitions.snapshot().names(DefinitionKind::Model, &self.tenant) {
            print::line(&format!("{name}\tversion {}", version.number));
        }
        Ok(())
    }
}

impl Put {
    async fn run(self) -> Result<(), CommandError> {
        let Self { file, tenant, name, path } = self;
        domain::id::check(&name).map_err(|why| CommandError::new("the alias", why))?;
        let shown = path.display().to_string();
        let body = std::fs::read_to_string(&path)
            .map_err(|error| CommandError::new(format!("reading {shown}"), error))?;
        ModelDefinition::parse(&body).map_err(|error| CommandError::new(shown, error))?;
        let config = file.load_quietly()?;
        let cluster = cluster::connect(&config).await?;
        let definitions = read_all(&cluster).await?;
        let proposal = DefinitionProposed {
            id: Uuid::now_v7().to_string(),
            kind: DefinitionKind::Model,
            expects: newest(&definitions.snapshot(), DefinitionKind::Model, &tenant, &name),
            tenant,
            name,
            body: Some(body),
            proposed_by: "stepstream models".into(),
            time: cluster::now(),
        };
        let version = change(&cluster, &definitions, &proposal).await?;
        print::line(&format!("{} is version {version}", proposal.name));
        Ok(())
    }
}
