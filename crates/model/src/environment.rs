//! What a call takes from the world around it: wall-clock time, chance and environment variables. A trait,
//! so that tests decide all three. Durations are measured by tokio's clock, which tests can pause.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::SystemTime;

use domain::time::Millis;

/// Where time of day, chance and environment variables come from.
pub trait Environment: Send + Sync {
    /// The time of day, for deadlines.
    fn now(&self) -> Millis;
    /// A number that nobody can foresee, for jitter.
    fn random(&self) -> u64;
    /// An environment variable, for keys.
    fn variable(&self, name: &str) -> Option<String>;
}

/// The real one.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEnvironment;

impl Environment for SystemEnvironment {
    fn now(&self) -> Millis {
        SystemTime::now().into()
    }

    /// The standard library seeds each `RandomState` differently; jitter needs no more than that.
    fn random(&self) -> u64 {
        RandomState::new().build_hasher().finish()
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}
