//! From the configuration to a store.
//!
//! It opens what is there; tables are made by `stepstream store apply`, and nowhere else but in `dev`.

use std::sync::Arc;

use service::config::{self, Config, StoreKind};
use store::Store;
use store::cql::{self, Cql, Keyspace, OpenError};

use crate::cluster::blocking;
use crate::error::CommandError;

/// Opens the store.
///
/// # Errors
/// A file that another process has open, nodes that don't answer, tables that aren't there.
pub(crate) async fn open(config: &Config) -> Result<Arc<dyn Store>, CommandError> {
    match config.store.kind {
        StoreKind::Embedded => {
            let path = config.store.path.clone();
            let opened = blocking(move || store::Embedded::open(&path)).await;
            Ok(Arc::new(opened.map_err(|error| {
                CommandError::new("opening the store", error).advise(format!(
                    "one process may have {} open at a time; set `store.path`, or `--data` of `stepstream dev`",
                    config.store.path.display()
                ))
            })?))
        }
        StoreKind::Cql => {
            let opened = Cql::open(options(config)).await;
            Ok(Arc::new(opened.map_err(|error| failed("opening the store", error))?))
        }
    }
}

/// The keyspace of a store of kind `cql`, whatever is in it.
///
/// # Errors
/// Nodes that don't answer.
pub(crate) async fn keyspace(config: &Config) -> Result<Keyspace, CommandError> {
    let connected = Keyspace::connect(options(config)).await;
    connected.map_err(|error| failed("connecting to the store", error))
}

/// Adds what to do about it.
pub(crate) fn failed(what: &str, error: OpenError) -> CommandError {
    let advice = match &error {
        OpenError::Connect { .. } => {
            "`store.nodes`, `store.user` and `store.password` say how it is reached; \
             `infra/local/up --with cassandra` starts one"
        }
        OpenError::Missing { .. } => "`stepstream store apply` makes what is missing",
        OpenError::Refused { .. } => {
            "`stepstream store plan` shows all of it; `store.keyspace` names another keyspace"
        }
        OpenError::Look { .. } | OpenError::Prepare(_) => {
            "the user needs SELECT and MODIFY on the keyspace"
        }
    };
    CommandError::new(what, error).advise(advice)
}

fn options(config: &Config) -> cql::Options {
    let config::Store { user, password, .. } = &config.store;
    cql::Options {
        nodes: config.store.nodes.clone(),
        keyspace: config.store.keyspace.clone(),
        replication_factor: config.store.replication_factor,
        consistency: match config.store.consistency {
            config::Consistency::One => cql::Consistency::One,
            config::Consistency::LocalOne => cql::Consistency::LocalOne,
            config::Consistency::Quorum => cql::Consistency::Quorum,
            config::Consistency::LocalQuorum => cql::Consistency::LocalQuorum,
        },
        datacenter: config.store.datacenter.clone(),
        credentials: user.clone().zip(password.as_ref().map(|password| password.value().clone())),
        timeout: config.store.timeout(),
        keep: cql::Keep {
            executions: Some(config.store.retention()),
            events: Some(config.store.event_retention()),
            log_rows: Some(config.store.log_row_retention()),
        },
        prefix: config.kafka.prefix.clone(),
    }
}
