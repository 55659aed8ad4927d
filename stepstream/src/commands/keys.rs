//! `stepstream keys`: API keys. A key is printed once, when it is made, and kept nowhere.

use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use domain::request::DEFAULT_TENANT;
use secrecy::ExposeSecret;
use service::auth::{KeyDefinition, NewKey, Scope};
use uuid::Uuid;

use super::ConfigFile;
use crate::error::CommandError;
use crate::{cluster, definitions, print};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Manage API keys.
///
/// Keys are definitions: every gateway knows a new one within moments.
#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Make a key and print it, once
    Create(Create),
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    #[command(flatten)]
    file: ConfigFile,
    /// Whose data it shows and whose work it starts
    #[arg(long, default_value = DEFAULT_TENANT, value_parser = tenant)]
    tenant: String,
    /// What it allows, separated by commas: requests:write, executions:read, executions:write,
    /// definitions:read, definitions:write, admin
    #[arg(
        long,
        value_name = "SCOPES",
        value_delimiter = ',',
        value_parser = scope,
        default_value = "requests:write,executions:read,executions:write,definitions:read"
    )]
    scopes: Vec<Scope>,
    /// What it is for; shown to people
    #[arg(long, default_value = "")]
    label: String,
    /// After how many days it is refused. Default: never
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(1..))]
    expires: Option<u16>,
}

fn scope(text: &str) -> Result<Scope, String> {
    let known = Scope::ALL.into_iter().find(|scope| scope.as_str() == text.trim());
    known.ok_or_else(|| {
        let names: Vec<_> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
        format!("there are {}", names.join(", "))
    })
}

fn tenant(text: &str) -> Result<String, String> {
    domain::id::check(text).map_err(|why| format!("the tenant {why}"))?;
    Ok(text.to_owned())
}

impl Keys {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        match self {
            Self::Create(create) => create.run().await,
        }
    }
}

impl Create {
    async fn run(self) -> Result<(), CommandError> {
        let config = self.file.load_quietly()?;
        let cluster = cluster::connect(&config).await?;
        let publisher = cluster
            .publisher()
            .map_err(|error| CommandError::new("making the publisher", error))?;
        let created = cluster::now();
        let definition = KeyDefinition {
            tenant: self.tenant,
            scopes: self.scopes.into_iter().collect::<BTreeSet<_>>(),
            label: self.label,
            created,
            expires: self.expires.map(|days| created.plus(i64::from(days) * DAY_MS)),
        };
        let key = NewKey::generate().map_err(|error| CommandError::new("making a key", error))?;
        let proposal = key.proposal(Uuid::now_v7().to_string(), &definition, "stepstream keys");
        definitions::publish(&publisher, cluster.ids(), &proposal)
            .await
            .map_err(|error| CommandError::new("making the key known", error))?;
        print::line(key.key.expose_secret());
        print::remark(&format!(
            "key {} of tenant {}; it is shown this once",
            key.key_id(),
            definition.tenant
        ));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_scope_or_tenant_is_answered_with_what_is_right() {
        assert_eq!(scope(" admin"), Ok(Scope::Admin));
        assert!(scope("root").unwrap_err().contains("requests:write, executions:read"));
        assert_eq!(tenant(""), Err("the tenant is empty".into()));
        assert_eq!(tenant("acme"), Ok("acme".into()));
    }
}
