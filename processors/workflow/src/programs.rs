//! The workflows of the catalogue, compiled: each version once, for versions never change.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use domain::answer::{ErrorClass, Failure};
use domain::catalogue::{Catalogue, DefinitionKind, Which};
use domain::request::WorkflowStart;
use domain::workflow::run::program::Program;
use service::catalogue::Definitions;

/// Why a workflow can't be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The tenant has no such workflow, version or alias, or has deleted it.
    #[error("there is no {0}")]
    Unknown(String),
    /// Its definition was published without being checked.
    #[error("version {version} of workflow `{name}` can't be used: {problem}")]
    Broken {
        /// What was asked for.
        name: String,
        /// The version.
        version: i32,
        /// The first thing that is wrong with it.
        problem: String,
    },
}

impl From<Unfit> for Failure {
    fn from(unfit: Unfit) -> Self {
        let code = match &unfit {
            Unfit::Unknown(_) => "unknown_workflow",
            Unfit::Broken { .. } => "invalid_definition",
        };
        Self::new(ErrorClass::NotFound, code, unfit.to_string()).from_source("admission")
    }
}

/// Tenant, name, version.
type Key = (String, String, i32);

/// A version that compiles, or the first thing that is wrong with it.
type Compiled = Result<Arc<Program>, String>;

/// The workflows of the catalogue.
pub struct Programs {
    definitions: Definitions,
    compiled: RwLock<HashMap<Key, Compiled>>,
}

impl Programs {
    /// The workflows that `definitions` knows, now and later.
    #[must_use]
    pub fn new(definitions: Definitions) -> Self {
        Self { definitions, compiled: RwLock::default() }
    }

    /// The catalogue as it stands.
    pub(crate) fn catalogue(&self) -> Arc<Catalogue> {
        self.definitions.snapshot()
    }

    /// The version that a start means, for admission to pin.
    ///
    /// # Errors
    /// [`Unfit`]: there is none, or it can't be used.
    pub fn resolve(&self, start: &WorkflowStart) -> Result<(i32, Arc<Program>), Unfit> {
        let which = start.which();
        let (tenant, name) = (&start.tenant, &start.workflow);
        let catalogue = self.definitions.snapshot();
        let found = catalogue.resolve(DefinitionKind::Workflow, tenant, name, which);
        let Some(version) = found else {
            return Err(Unfit::Unknown(match which {
                Which::Version(version) => format!("version {version} of workflow `{name}`"),
                Which::Alias(alias) => format!("alias `{alias}` of workflow `{name}`"),
                Which::Standing => format!("workflow `{name}`"),
            }));
        };
        let number = version.number;
        let body = version.body.as_deref().unwrap_or_default();
        match self.compiled(tenant, name, number, body) {
            Ok(program) => Ok((number, program)),
            Err(problem) => Err(Unfit::Broken { name: name.clone(), version: number, problem }),
        }
    }

    /// The program of a pinned version; `None`: it isn't here yet.
    #[must_use]
    pub(crate) fn pinned(&self, tenant: &str, name: &str, version: i32) -> Option<Compiled> {
        let key = (tenant.to_owned(), name.to_owned(), version);
        if let Some(known) = self.known(&key) {
            return Some(known);
        }
        let catalogue = self.definitions.snapshot();
        let found = catalogue.version(DefinitionKind::Workflow, tenant, name, version)?;
        Some(self.compiled(tenant, name, version, found.body.as_deref().unwrap_or_default()))
    }

    fn known(&self, key: &Key) -> Option<Compiled> {
        self.compiled.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn compiled(&self, tenant: &str, name: &str, version: i32, body: &str) -> Compiled {
        let key = (tenant.to_owned(), name.to_owned(), version);
        if let Some(known) = self.known(&key) {
            return known;
        }
        let fresh = Program::read(body).map(Arc::new);
        // Two that compile the same version at once get the same; the first one stays.
        let mut compiled = self.compiled.write().unwrap_or_else(PoisonError::into_inner);
        compiled.entry(key).or_insert(fresh).clone()
    }
}
