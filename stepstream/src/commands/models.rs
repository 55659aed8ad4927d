//! `stepstream models`: model definitions, without a gateway.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use domain::catalogue::{Catalogue, DefinitionKind, DefinitionProposed, Outcome};
use domain::model_definition::ModelDefinition;
use domain::request::DEFAULT_TENANT;
use service::catalogue::Definitions;
use uuid::Uuid;

use super::ConfigFile;
use crate::error::CommandError;
use crate::{cluster, definitions, print};

/// How long reading all definitions may take.
const CATCH_UP: Duration = Duration::from_secs(60);

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
        let publisher = cluster
            .publisher()
            .map_err(|error| CommandError::new("making the publisher", error))?;
        let proposal = DefinitionProposed {
            id: Uuid::now_v7().to_string(),
            kind: DefinitionKind::Model,
            expects: newest(&definitions.snapshot(), &tenant, &name),
            tenant,
            name,
            body: Some(body),
            proposed_by: "stepstream models".into(),
            time: cluster::now(),
        };
        let outcome = definitions::propose(&publisher, cluster.ids(), &definitions, &proposal)
            .await
            .map_err(|error| CommandError::new("proposing the definition", error))?;
        match outcome {
            Outcome::Accepted(version) => {
                print::line(&format!("{} is version {version}", proposal.name));
                Ok(())
            }
            Outcome::Conflict(stands) => Err(CommandError::plain(format!(
                "somebody else made version {stands} of {} at the same time",
                proposal.name
            ))
            .advise("look at it, and run the command again if yours shall follow")),
        }
    }
}

/// The version of an alias that a proposal has to expect. A deleted one counts as well.
fn newest(catalogue: &Catalogue, tenant: &str, name: &str) -> i32 {
    let history = catalogue.history(DefinitionKind::Model, tenant, name);
    history.last().map_or(0, |version| version.number)
}

/// The catalogue as it stands. It is followed for as long as the program runs.
async fn read_all(cluster: &kafka::Cluster) -> Result<Definitions, CommandError> {
    let definitions = Definitions::new();
    tokio::spawn(definitions::follow(cluster.clone(), definitions.clone()));
    match tokio::time::timeout(CATCH_UP, definitions.wait_caught_up()).await {
        Ok(()) => Ok(definitions),
        Err(_) => Err(CommandError::plain(format!(
            "the definitions could not be read within {} s",
            CATCH_UP.as_secs()
        ))
        .advise("`stepstream doctor` looks closer")),
    }
}
