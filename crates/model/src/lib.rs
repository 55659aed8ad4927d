//! Model calls: from a request and a model definition to one answer, whoever gives it.
//!
//! [`Caller`] is the only way in. Which deployment is asked, when it is asked again and when another is
//! asked instead is decided in `policy`, purely; the drivers ask once and decide nothing. Dropping the
//! future of a call closes the provider's connection.
//!
//! Nothing here knows of Kafka, of stores, or of what becomes of an answer. Keys are read where they
//! are used, and never reach a log, a metric or an error text.

mod anthropic_gemini;
mod call;
mod caller;
mod environment;
mod live;
pub mod metrics;
mod openai;
mod policy;
mod provider_error;
mod queue;
mod redact;
mod retry_after;
pub mod scripted;
mod secret;
mod try_once;
mod usage;

pub use caller::{Asked, Caller, ChunkSink, Definitions, Delta, Options, TryEnd};
pub use environment::{Environment, SystemEnvironment};
pub use secret::KeySources;
