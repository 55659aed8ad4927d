//! The model definitions of the catalogue, parsed: each version once, for versions never change.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use domain::answer::{ErrorClass, Failure};
use domain::catalogue::{Catalogue, DefinitionKind};
use domain::model_definition::{DefinitionError, ModelDefinition};
use service::catalogue::Definitions;

/// How long a call waits for a pinned version that this process's catalogue doesn't have yet. Whoever
/// admitted it had it, so it is on its way; later than this, the process is cut off from the definitions.
const CATCH_UP: Duration = Duration::from_secs(30);

/// Why a model can't be called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The tenant has no such model, or has deleted it.
    #[error("there is no model `{alias}`")]
    Unknown {
        /// What was asked for.
        alias: String,
    },
    /// Its definition was published without being checked.
    #[error("version {version} of model `{alias}` can't be used")]
    Broken {
        /// What was asked for.
        alias: String,
        /// The version that stands.
        version: i32,
        /// Where it is wrong.
        #[source]
        error: DefinitionError,
    },
}

impl From<Unfit> for Failure {
    fn from(unfit: Unfit) -> Self {
        let (code, message) = match &unfit {
            Unfit::Unknown { .. } => ("unknown_model", unfit.to_string()),
            Unfit::Broken { error, .. } => ("invalid_definition", format!("{unfit}: {error}")),
        };
        Self::new(ErrorClass::NotFound, code, message).from_source("admission")
    }
}

/// Tenant, alias, version.
type Key = (String, String, i32);

/// The models of the catalogue.
pub struct Models {
    definitions: Definitions,
    parsed: RwLock<HashMap<Key, Result<Arc<ModelDefinition>, DefinitionError>>>,
}

impl Models {
    /// The models that `definitions` knows, now and later.
    #[must_use]
    pub fn new(definitions: Definitions) -> Self {
        Self { definitions, parsed: RwLock::default() }
    }

    /// The version of a model that stands, for admission to pin.
    ///
    /// # Errors
    /// [`Unfit`]: there is none, or it can't be used.
    pub fn newest(&self, tenant: &str, alias: &str) -> Result<(i32, Arc<ModelDefinition>), Unfit> {
        let catalogue = self.definitions.snapshot();
        let Some(version) = catalogue.newest(DefinitionKind::Model, tenant, alias) else {
            return Err(Unfit::Unknown { alias: alias.to_owned() });
        };
        let body = version.body.as_deref().unwrap_or_default();
        match self.parsed(tenant, alias, version.number, body) {
            Ok(definition) => Ok((version.number, definition)),
            Err(error) => {
                Err(Unfit::Broken { alias: alias.to_owned(), version: version.number, error })
            }
        }
    }

    /// Waits until a pinned version is here.
    ///
    /// # Errors
    /// A failure that is worth another try, when it hasn't come within half a minute.
    pub(crate) async fn arrival(
        &self,
        tenant: &str,
        alias: &str,
        version: i32,
    ) -> Result<(), Failure> {
        let is_here = |catalogue: &Catalogue| {
            catalogue.version(DefinitionKind::Model, tenant, alias, version).is_some()
        };
        let arrived = self.definitions.wait_until(is_here, CATCH_UP).await;
        arrived.map(|_catalogue| ()).ok_or_else(|| {
            let message = format!("version {version} of model `{alias}` hasn't arrived here");
            Failure::new(ErrorClass::NotFound, "definition_late", message)
                .from_source("inference")
                .retryable()
        })
    }

    fn parsed(
        &self,
        tenant: &str,
        alias: &str,
        version: i32,
        body: &str,
    ) -> Result<Arc<ModelDefinition>, DefinitionError> {
        let key = (tenant.to_owned(), alias.to_owned(), version);
        let parsed = self.parsed.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = parsed.get(&key) {
            return known.clone();
        }
        drop(parsed);
        let fresh = ModelDefinition::parse(body).map(Arc::new);
        // Two that parse the same version at once get the same; the first one stays.
        let mut parsed = self.parsed.write().unwrap_or_else(PoisonError::into_inner);
        parsed.entry(key).or_insert(fresh).clone()
    }
}

impl model::Definitions for Models {
    fn model(
        &self,
        tenant: &str,
        alias: &str,
        version: Option<i32>,
    ) -> Option<Arc<ModelDefinition>> {
        let Some(number) = version else {
            return self.newest(tenant, alias).ok().map(|(_, definition)| definition);
        };
        let catalogue = self.definitions.snapshot();
        let version = catalogue.version(DefinitionKind::Model, tenant, alias, number)?;
        self.parsed(tenant, alias, number, version.body.as_deref()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use domain::catalogue::DefinitionProposed;
    use domain::time::Millis;
    use model::Definitions as _;

    use super::*;

    const GOOD: &str = r#"{"deployments":[{"name":"one","provider":"scripted","model":"m"}]}"#;

    fn propose(definitions: &Definitions, tenant: &str, expects: i32, body: Option<&str>) {
        definitions.apply(DefinitionProposed {
            id: format!("{tenant}-{expects}"),
            kind: DefinitionKind::Model,
            tenant: tenant.into(),
            name: "fast".into(),
            expects,
            body: body.map(str::to_owned),
            proposed_by: "test".into(),
            time: Millis(0),
        });
    }

    #[test]
    fn newest_version_is_pinned_and_older_ones_stay_callable() {
        let definitions = Definitions::default();
        let models = Models::new(definitions.clone());
        propose(&definitions, "acme", 0, Some(GOOD));
        assert_eq!(models.newest("acme", "fast").map(|(number, _)| number), Ok(1));
        propose(&definitions, "acme", 1, Some(&GOOD.replace("one", "two")));
        let (number, newest) = models.newest("acme", "fast").expect("version 2");
        assert_eq!((number, newest.deployments[0].name.as_str()), (2, "two"));
        let first = models.model("acme", "fast", Some(1)).expect("version 1");
        assert_eq!(first.deployments[0].name, "one");
        let again = models.model("acme", "fast", Some(1)).expect("version 1");
        assert!(Arc::ptr_eq(&first, &again), "a version is parsed once");
        assert!(models.model("acme", "fast", Some(3)).is_none());
    }

    #[test]
    fn model_belongs_to_its_tenant() {
        let definitions = Definitions::default();
        let models = Models::new(definitions.clone());
        propose(&definitions, "acme", 0, Some(GOOD));
        let unknown = Unfit::Unknown { alias: "fast".into() };
        assert_eq!(models.newest("other", "fast").err(), Some(unknown));
        assert!(models.model("other", "fast", None).is_none());
    }

    #[test]
    fn deleted_model_is_unknown_to_admission_and_callable_where_it_was_pinned() {
        let definitions = Definitions::default();
        let models = Models::new(definitions.clone());
        propose(&definitions, "acme", 0, Some(GOOD));
        propose(&definitions, "acme", 1, None);
        assert!(models.newest("acme", "fast").is_err());
        assert!(models.model("acme", "fast", Some(1)).is_some());
        assert!(models.model("acme", "fast", Some(2)).is_none());
    }

    #[test]
    fn definition_that_nobody_checked_is_refused_with_its_place() {
        let definitions = Definitions::default();
        let models = Models::new(definitions.clone());
        propose(&definitions, "acme", 0, Some(&GOOD.replace("scripted", "psychic")));
        let failure: Failure = models.newest("acme", "fast").expect_err("no provider").into();
        assert_eq!(failure.code, "invalid_definition");
        assert!(failure.message.contains("deployments[0].provider"), "{failure}");
    }

    #[tokio::test(start_paused = true)]
    async fn call_waits_for_a_version_that_is_on_its_way() {
        let definitions = Definitions::default();
        let models = Models::new(definitions.clone());
        let later = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            propose(&definitions, "acme", 0, Some(GOOD));
        };
        let (arrived, ()) = tokio::join!(models.arrival("acme", "fast", 1), later);
        assert_eq!(arrived, Ok(()));
        let failure = models.arrival("acme", "fast", 2).await.expect_err("never proposed");
        assert!(failure.retryable, "{failure}");
    }
}
