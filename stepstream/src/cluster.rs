//! From the configuration to a cluster: brokers, registry, and the ids of our records' schemas.
//!
//! It connects; it makes no topic and changes none.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use domain::time::Millis;
use kafka::topics::Layout;
use schemas::Ids;
use service::config::{self, Config};

use crate::error::CommandError;

/// librdkafka's name for how long a member of a group may be silent.
const SESSION_TIMEOUT: &str = "session.timeout.ms";

/// The time on this machine's clock.
pub(crate) fn now() -> Millis {
    SystemTime::now().into()
}

/// How the brokers are reached.
pub(crate) fn settings(config: &Config) -> kafka::Settings {
    kafka::Settings {
        brokers: config.kafka.bootstrap_servers(),
        prefix: config.kafka.prefix.clone(),
        client_id: config.kafka.client_id.clone(),
        properties: properties(config),
        stack: kafka::Stack::Real,
    }
}

/// The properties of librdkafka that the configuration asks for.
pub(crate) fn properties(config: &Config) -> BTreeMap<String, String> {
    let session = (SESSION_TIMEOUT.to_owned(), config.runtime.session_timeout_ms.to_string());
    let given = config.kafka.expose_properties();
    given.map(|(name, value)| (name.to_owned(), value.to_owned())).chain([session]).collect()
}

/// A client of the registry.
///
/// # Errors
/// An address that isn't one.
pub(crate) fn registry(config: &config::Registry) -> Result<kafka::Registry, CommandError> {
    let credentials =
        config.user.clone().zip(config.password.as_ref().map(|password| password.value().clone()));
    let settings = kafka::registry::Settings {
        url: config.url.clone(),
        credentials,
        timeout: config.timeout(),
    };
    kafka::Registry::connect(settings).map_err(|error| {
        CommandError::new("setting up the registry's client", error)
            .advise("look at `registry` in `stepstream config show`")
    })
}

/// A cluster of which the registry has told us the ids of all our records.
///
/// # Errors
/// The registry doesn't answer, or refuses one of our schemas.
pub(crate) async fn connect(config: &Config) -> Result<kafka::Cluster, CommandError> {
    let ids = Ids::new();
    let registry = registry(&config.registry)?;
    learn_ids(registry.clone(), ids.clone(), config.kafka.prefix.clone()).await?;
    kafka::Cluster::connect(settings(config), registry, ids).map_err(|error| {
        CommandError::new("connecting to the brokers", error)
            .advise("look at `kafka` in `stepstream config show`")
    })
}

/// Asks the registry for the id of each of our records. Each schema is registered once more, under one of
/// its subjects, which changes nothing when it is there already.
async fn learn_ids(
    registry: kafka::Registry,
    ids: Ids,
    prefix: String,
) -> Result<(), CommandError> {
    let url = registry.url().to_owned();
    blocking(move || {
        let mut seen = BTreeSet::new();
        for (subject, record) in schemas::subjects::all(&prefix) {
            if seen.insert(record.name) {
                let id = registry.register(&subject, record.schema)?;
                ids.register(record.name, id).expect("the list has records of ours only");
            }
        }
        Ok(())
    })
    .await
    .map_err(|error: kafka::registry::RegistryError| registry_error(&url, error))
}

/// What to do about a registry that says no, or nothing.
pub(crate) fn registry_error(url: &str, error: kafka::registry::RegistryError) -> CommandError {
    use kafka::registry::RegistryError as Why;
    let advice = match &error {
        Why::Unreachable(_) => format!(
            "is a schema registry running at {url}? `infra/local/up` starts one, and `stepstream doctor` looks closer"
        ),
        Why::Incompatible { .. } => {
            "another program registered a schema under our name: use another `kafka.prefix`".into()
        }
        Why::Refused(_) => "look at `registry` in `stepstream config show`".into(),
    };
    CommandError::new(format!("registering schemas at {url}"), error).advise(advice)
}

/// How topics are laid out that we make. With three copies or more, two must have a record before it is
/// acknowledged, so the loss of one broker costs nothing.
pub(crate) fn layout(config: &config::Kafka) -> Layout {
    Layout {
        partitions: config.partitions,
        replication_factor: config.replication_factor,
        min_in_sync: if config.replication_factor >= 3 { 2 } else { 1 },
    }
}

/// Runs what blocks on a thread that may.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => unreachable!("nobody cancels blocking work: {error}"),
        },
    }
}
