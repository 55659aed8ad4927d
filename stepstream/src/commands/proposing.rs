//! What the commands that change definitions share: the catalogue as it stands, and a change that says
//! what became of it.

use std::time::Duration;

use domain::catalogue::{Catalogue, DefinitionKind, DefinitionProposed, Outcome};
use service::catalogue::Definitions;

use crate::definitions;
use crate::error::CommandError;

/// How long reading all definitions may take.
const CATCH_UP: Duration = Duration::from_secs(60);

/// The catalogue as it stands. It is followed for as long as the program runs.
pub(super) async fn read_all(cluster: &kafka::Cluster) -> Result<Definitions, CommandError> {
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

/// The version of a definition that a proposal has to expect. A deleted one counts as well.
pub(super) fn newest(catalogue: &Catalogue, kind: DefinitionKind, tenant: &str, name: &str) -> i32 {
    catalogue.history(kind, tenant, name).last().map_or(0, |version| version.number)
}

/// Proposes a change; returns the version that it became.
pub(super) async fn change(
    cluster: &kafka::Cluster,
    definitions: &Definitions,
    proposal: &DefinitionProposed,
) -> Result<i32, CommandError> {
    let publisher =
        cluster.publisher().map_err(|error| CommandError::new("making the publisher", error))?;
    let outcome = definitions::propose(&publisher, cluster.ids(), definitions, proposal)
        .await
        .map_err(|error| CommandError::new("proposing the definition", error))?;
    match outcome {
        Outcome::Accepted(version) => Ok(version),
        Outcome::Conflict(stands) => Err(CommandError::plain(format!(
            "somebody else made version {stands} of {} at the same time",
            proposal.name
        ))
        .advise("look at it, and run the command again if yours shall follow")),
    }
}
