//! Who changed what: a line in the log under the target `audit`, beside the record itself.
//!
//! The trail is the log of definitions, which is kept for ever and names the proposer in each record. These
//! lines are for those who watch. No line holds a definition's content, or a key.

use domain::catalogue::{DefinitionProposed, Outcome};
use service::audit::TARGET;
use service::auth::Principal;

/// Somebody proposed a change of a definition.
pub(crate) fn proposed(
    proposal: &DefinitionProposed,
    principal: &Principal,
    outcome: Option<Outcome>,
) {
    let (result, version) = match outcome {
        Some(Outcome::Accepted(version)) => ("accepted", Some(version)),
        Some(Outcome::Conflict(version)) => ("conflict", Some(version)),
        None => ("unknown", None),
    };
    tracing::info!(
        target: TARGET,
        action = "definition.propose",
        kind = proposal.kind.as_str(),
        tenant = proposal.tenant,
        name = proposal.name,
        expects = proposal.expects,
        proposal = proposal.id,
        proposed_by = proposal.proposed_by,
        key_id = principal.key_id,
        result,
        version,
        "a definition was proposed"
    );
}
