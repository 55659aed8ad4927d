//! `stepstream models`: model definitions, without a gateway.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use domain::model_definition::ModelDefinition;

use super::stored::{MODELS, Where};
use crate::error::CommandError;
use crate::print;

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
    place: Where,
}

#[derive(Debug, Args)]
pub(crate) struct Put {
    #[command(flatten)]
    place: Where,
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
        let opened = self.place.open(&MODELS).await?;
        for (name, version) in opened.definitions.snapshot().names(MODELS.kind, &opened.tenant) {
            print::line(&format!("{name}\tversion {}", version.number));
        }
        Ok(())
    }
}

impl Put {
    async fn run(self) -> Result<(), CommandError> {
        let Self { place, name, path } = self;
        domain::id::check(&name).map_err(|why| CommandError::new("the alias", why))?;
        let shown = path.display().to_string();
        let body = std::fs::read_to_string(&path)
            .map_err(|error| CommandError::new(format!("reading {shown}"), error))?;
        ModelDefinition::parse(&body).map_err(|error| CommandError::new(shown, error))?;
        let version = place.open(&MODELS).await?.change(&name, Some(body)).await?;
        print::line(&format!("{name} is version {version}"));
        Ok(())
    }
}
