//! `stepstream topics`: what must stand on the cluster before a process can serve.

use clap::Subcommand;
use kafka::topics::admin::Admin;
use kafka::topics::plan::Plan;
use schemas::Ids;
use service::config::Config;

use super::ConfigFile;
use crate::cluster::{self, blocking, registry_error};
use crate::error::CommandError;
use crate::print;

/// Make the topics on a Kafka cluster, or compare them.
///
/// Topics are never deleted, and none is ever made but by `apply`.
#[derive(Debug, Subcommand)]
pub(crate) enum Topics {
    /// Print what `apply` would do, and change nothing
    Plan(ConfigFile),
    /// Make what is missing, put settings right, and register the schemas
    Apply(ConfigFile),
    /// As `plan`, and fail when anything is not as it must be: for scripts
    Check(ConfigFile),
}

impl Topics {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        match self {
            Self::Plan(file) => {
                let plan = plan(&file.load_quietly()?).await?;
                print::line(plan.to_string().trim_end());
                Ok(())
            }
            Self::Apply(file) => apply(&file.load_quietly()?).await,
            Self::Check(file) => {
                let plan = plan(&file.load_quietly()?).await?;
                print::line(plan.to_string().trim_end());
                match plan.is_empty() {
                    true => Ok(()),
                    false => Err(CommandError::plain("the topics are not as they must be")
                        .advise("`stepstream topics apply` does what can be done")),
                }
            }
        }
    }
}

/// What would have to be done.
pub(crate) async fn plan(config: &Config) -> Result<Plan, CommandError> {
    admin(config)?
        .plan(cluster::layout(&config.kafka))
        .await
        .map_err(|error| broker_error("comparing topics", config, error))
}

async fn apply(config: &Config) -> Result<(), CommandError> {
    let Done { subjects, applied } = set_up(config).await?;
    for topic in &applied.created {
        print::line(&format!("created  {topic}"));
    }
    print::line(&format!(
        "{} topics created, {} settings altered, {subjects} subjects registered",
        applied.created.len(),
        applied.altered
    ));
    Ok(())
}

/// What was set up.
pub(crate) struct Done {
    /// Subjects in the registry, new or not.
    pub(crate) subjects: usize,
    /// What was done to the topics.
    pub(crate) applied: kafka::topics::admin::Applied,
}

/// Registers the schemas, and makes what is missing.
pub(crate) async fn set_up(config: &Config) -> Result<Done, CommandError> {
    let registry = cluster::registry(&config.registry)?;
    let url = registry.url().to_owned();
    let (ids, prefix) = (Ids::new(), config.kafka.prefix.clone());
    let known = ids.clone();
    let subjects = blocking(move || registry.register_all(&known, &prefix))
        .await
        .map_err(|error| registry_error(&url, error))?;
    let applied = admin(config)?
        .apply(cluster::layout(&config.kafka), &ids, cluster::now())
        .await
        .map_err(|error| broker_error("setting up topics", config, error))?;
    Ok(Done { subjects, applied })
}

fn admin(config: &Config) -> Result<Admin, CommandError> {
    Admin::connect(&cluster::settings(config))
        .map_err(|error| broker_error("connecting to the brokers", config, error))
}

fn broker_error(what: &str, config: &Config, error: runtime::ports::ClusterError) -> CommandError {
    let brokers = config.kafka.bootstrap_servers();
    CommandError::new(format!("{what} at {brokers}"), error).advise(
        "if no broker answers: `infra/local/up` starts one, `kafka.brokers` says where it is; \
         `stepstream doctor` looks closer",
    )
}
