//! `stepstream serve`: any roles of the platform in one process, on a cluster that is set up.

use clap::Args;
use gateway::Page;
use service::config::Role;
use service::shutdown::Shutdown;
use service::telemetry::Metrics;

use super::{ConfigFile, init_logs, init_traces};
use crate::error::CommandError;
use crate::node::{Node, Plan};
use crate::{cluster, print};

/// Run some or all roles of the platform on a Kafka cluster.
///
/// Stops on SIGTERM or SIGINT: lets running requests and calls end, takes a last checkpoint, leaves the
/// group. A second signal ends it at once.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    file: ConfigFile,
    /// What this process does: gateway, inference, archive, separated by commas. Default: as configured,
    /// else all. With the embedded store a process with the gateway keeps its own, as `archive` does
    #[arg(long, value_name = "ROLES", value_delimiter = ',', value_parser = role)]
    roles: Vec<Role>,
}

fn role(text: &str) -> Result<Role, String> {
    let known = Role::ALL.into_iter().find(|role| role.as_str() == text.trim());
    known.ok_or_else(|| {
        let names: Vec<_> = Role::ALL.iter().map(|role| role.as_str()).collect();
        format!("there are {}", names.join(", "))
    })
}

impl Serve {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        let mut config = self.file.load()?;
        if !self.roles.is_empty() {
            config.roles = self.roles;
            config.check().map_err(|error| CommandError::new("reading the roles", error))?;
        }
        init_logs(&config)?;
        let metrics =
            Metrics::install().map_err(|error| CommandError::new("setting up metrics", error))?;
        let traces = init_traces(&config)?;
        let shutdown = Shutdown::new();
        shutdown
            .listen_to_signals()
            .map_err(|error| CommandError::new("listening to signals", error))?;
        let roles: Vec<_> = config.roles.iter().map(|role| role.as_str()).collect();
        let roles = roles.join(",");
        let cluster = cluster::connect(&config).await?;
        let plan = Plan {
            config,
            cluster,
            archive_from: archive::Start::Stored,
            page: Page::Hidden,
            listener: None,
            metrics,
            shutdown: shutdown.clone(),
        };
        let node = tokio::select! {
            node = Node::start(plan) => node?,
            // Nothing has begun that would have to end well.
            () = shutdown.asked() => return Ok(()),
        };
        match node.address {
            Some(address) => tracing::info!(roles, %address, "serving"),
            None => tracing::info!(roles, "serving"),
        }
        let result = node.stages.run().await;
        traces.flush().await;
        print::remark("stopped");
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_role_is_answered_with_those_there_are() {
        assert_eq!(role("archive"), Ok(Role::Archive));
        let all = "there are gateway, inference, workflow, archive, push";
        assert_eq!(role("king").unwrap_err(), all);
    }
}
