//! The schema registry: fetching a schema by its id, registering ours, setting their compatibility.
//!
//! It keeps no cache of its own: what is known lives in [`schemas::Ids`], so a registry that is away
//! stops nothing that was read before. It never takes "no answer" for "doesn't exist".

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use schema_registry_converter::async_impl::schema_registry::{
    SrSettings, get_schema_by_id, post_schema,
};
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::{RawError, SchemaType, SuppliedSchema};
use schemas::Ids;
use secrecy::{ExposeSecret, SecretString};
use tokio::runtime::Runtime;

/// The content type of the registry's requests.
const CONTENT: &str = "application/vnd.schemaregistry.v1+json";

/// Registrations under way at once: there are about a hundred, and each is two round trips.
const AT_ONCE: usize = 8;

/// Error codes of the registry that mean "doesn't exist": subject, version, schema; and plain 404, which
/// some registries answer.
const ABSENT: [u32; 4] = [40_401, 40_402, 40_403, 404];

/// Error codes that mean "not compatible with an earlier version".
const INCOMPATIBLE: [u32; 2] = [409, 40_901];

/// The rule for our subjects: any version reads any other's records.
pub const COMPATIBILITY: &str = "FULL_TRANSITIVE";

/// How to reach the registry.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Base address, up to and without `/subjects`.
    pub url: String,
    /// User and password for HTTP basic authentication.
    pub credentials: Option<(String, SecretString)>,
    /// How long one request may take.
    pub timeout: Duration,
}

impl Settings {
    /// Without credentials, with a timeout of 5 seconds.
    #[must_use]
    pub fn at(url: impl Into<String>) -> Self {
        Self { url: url.into(), credentials: None, timeout: Duration::from_secs(5) }
    }
}

/// The registry could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No answer, or one that asks to come back later. Worth trying again.
    #[error("the registry can't be reached: {0}")]
    Unreachable(String),
    /// A version of ours is not compatible with what the registry has.
    #[error("subject {subject}: not compatible with an earlier version: {why}")]
    Incompatible {
        /// The subject.
        subject: String,
        /// In the registry's words.
        why: String,
    },
    /// The registry understood and said no.
    #[error("the registry refused: {0}")]
    Refused(String),
}

/// A client of the registry. Cheap to clone; its calls run on a thread of its own, so they may be made from
/// anywhere.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    base: String,
    credentials: Option<(String, SecretString)>,
    converter: SrSettings,
    http: reqwest::Client,
    runtime: Option<Runtime>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Waiting for it is not allowed on an async thread, and nothing of value is left on it.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Registry {
    /// Makes the client; connects when first asked.
    ///
    /// # Errors
    /// [`RegistryError::Refused`] when the address or a credential can't be used.
    pub fn connect(settings: Settings) -> Result<Self, RegistryError> {
        let refused = |why: &dyn std::fmt::Display| RegistryError::Refused(why.to_string());
        let base = settings.url.trim_end_matches('/').to_owned();
        if !(base.starts_with("http://") || base.starts_with("https://")) {
            return Err(refused(&format!("'{base}' is not an http or https address")));
        }
        let mut builder = SrSettings::new_builder(base.clone());
        builder.set_timeout(settings.timeout);
        if let Some((user, password)) = &settings.credentials {
            builder.set_basic_authorization(user, Some(password.expose_secret()));
        }
        let converter = builder.build().map_err(|error| refused(&error))?;
        let http = reqwest::Client::builder()
            .timeout(settings.timeout)
            .build()
            .map_err(|error| refused(&error))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("registry")
            .enable_all()
            .build()
            .map_err(|error| refused(&error))?;
        Ok(Self {
            inner: Arc::new(Inner {
                base,
                credentials: settings.credentials,
                converter,
                http,
                runtime: Some(runtime),
            }),
        })
    }

    /// The base address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.inner.base
    }

    /// The schema under `id`; `None` when the registry says that it has none, or one that isn't Avro.
    /// Blocks.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn fetch(&self, id: u32) -> Result<Option<String>, RegistryError> {
        let converter = self.inner.converter.clone();
        match self.wait(async move { get_schema_by_id(id, &converter).await })? {
            Ok(found) if found.schema_type == SchemaType::Avro => Ok(Some(found.schema)),
            Ok(_) => Ok(None),
            Err(error) if says(&error, &ABSENT) => Ok(None),
            Err(error) => Err(sorted(&error)),
        }
    }

    /// Fetches `id` and teaches it to `ids`. `Ok(false)`: it doesn't exist, or can't be used. Blocks.
    ///
    /// # Errors
    /// [`RegistryError`]; then nothing was taught, and it is worth trying again.
    pub fn resolve(&self, ids: &Ids, id: u32) -> Result<bool, RegistryError> {
        match self.fetch(id)? {
            Some(schema) => match ids.learn(id, &schema) {
                Ok(()) => Ok(true),
                Err(error) => {
                    tracing::warn!(id, %error, "a schema was refused");
                    Ok(false)
                }
            },
            None => {
                ids.refuse(id);
                Ok(false)
            }
        }
    }

    /// Registers `schema` under `subject` and returns its id: the one it has when it is there already.
    /// Blocks.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn register(&self, subject: &str, schema: &str) -> Result<u32, RegistryError> {
        let converter = self.inner.converter.clone();
        let supplied = SuppliedSchema::new(None, SchemaType::Avro, schema.to_owned());
        let owned = subject.to_owned();
        let posted = self.wait(async move { post_schema(&converter, owned, supplied).await })?;
        match posted {
            Ok(registered) => Ok(registered.id),
            Err(error) if says(&error, &INCOMPATIBLE) => Err(RegistryError::Incompatible {
                subject: subject.to_owned(),
                why: error.cause.unwrap_or(error.error),
            }),
            Err(error) => Err(sorted(&error)),
        }
    }

    /// Sets the compatibility rule of `subject`. Blocks.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn set_compatibility(&self, subject: &str, rule: &str) -> Result<(), RegistryError> {
        let url = format!("{}/config/{}", self.inner.base, escaped(subject));
        let body = serde_json::json!({ "compatibility": rule }).to_string();
        let mut request = self.inner.http.put(url).header(CONTENT_TYPE, CONTENT).body(body);
        if let Some((user, password)) = &self.inner.credentials {
            request = request.basic_auth(user, Some(password.expose_secret()));
        }
        let answered = self.wait(async move {
            let answer = request.send().await?;
            let status = answer.status();
            answer.text().await.map(|text| (status, text))
        })?;
        let (status, text) =
            answered.map_err(|error| RegistryError::Unreachable(error.to_string()))?;
        if status.is_success() {
            return Ok(());
        }
        let why = format!("compatibility of {subject}: {status}: {text}");
        Err(if is_temporary(status) {
            RegistryError::Unreachable(why)
        } else {
            RegistryError::Refused(why)
        })
    }

    /// Registers every record of ours under every topic that carries it, with [`COMPATIBILITY`], and enters
    /// their ids. Returns how many subjects there are. Blocks.
    ///
    /// # Errors
    /// The first that failed.
    pub fn register_all(&self, ids: &Ids, prefix: &str) -> Result<usize, RegistryError> {
        // One record stands under many subjects and usually has one id: each subject is asked all the same,
        // because a registry counts versions by subject.
        let all: Vec<_> = schemas::subjects::all(prefix).collect();
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some((subject, record)) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                let id = self.register(subject, record.schema)?;
                self.set_compatibility(subject, COMPATIBILITY)?;
                ids.register(record.name, id)
                    .map_err(|error| RegistryError::Refused(error.to_string()))?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| {
                worker.join().unwrap_or_else(|_| {
                    Err(RegistryError::Refused("registering schemas panicked".into()))
                })
            })
        })?;
        Ok(all.len())
    }

    /// Runs `call` on the client's own thread and waits for it here.
    fn wait<T: Send + 'static>(
        &self,
        call: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, RegistryError> {
        let gone = || RegistryError::Unreachable("the client was shut down".into());
        let runtime = self.inner.runtime.as_ref().ok_or_else(gone)?;
        let (done, result) = std::sync::mpsc::sync_channel(1);
        runtime.spawn(async move {
            let _ = done.send(call.await);
        });
        result.recv().map_err(|_| gone())
    }
}

/// Whether the registry answered with one of these codes.
fn says(error: &SRCError, codes: &[u32]) -> bool {
    std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<RawError>())
        .is_some_and(|raw| codes.contains(&raw.error_code))
}

fn sorted(error: &SRCError) -> RegistryError {
    let why = match &error.cause {
        Some(cause) => format!("{}: {cause}", error.error),
        None => error.error.clone(),
    };
    // A 500 is not marked as worth a retry by the client, but an answer about a schema it is not either.
    if error.retriable || why.contains("status 5") || why.contains("status 429") {
        RegistryError::Unreachable(why)
    } else {
        RegistryError::Refused(why)
    }
}

fn is_temporary(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

/// A subject as a segment of a path.
fn escaped(subject: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    subject
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
