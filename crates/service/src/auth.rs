//! API keys: who may do what, for which tenant.
//!
//! A key is `sk-ss-` and 64 hex digits: 256 random bits. It is shown once, when it is made; what is kept
//! is its SHA-256 hash, as the name of a definition of kind `key`. A slow, salted hash is for passwords,
//! which people choose and which can be guessed; nobody guesses 256 random bits, so one fast hash is as
//! safe here, and each request can afford it. A key is found by its hash: how long the look-up takes may
//! tell something of the hash of what was presented, which its sender knows anyway, and nothing of a key
//! that exists. So nothing here compares secrets.
//!
//! Keys come and go with the catalogue; nothing here stores, caches or logs one.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use domain::catalogue::{Catalogue, DefinitionKind, DefinitionProposed};
use domain::time::Millis;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What every key begins with, so that scanners for leaked secrets know one.
pub const PREFIX: &str = "sk-ss-";

/// Under which tenant the definitions of keys stand. Whoever presents a key doesn't say whose it is, so
/// all keys stand in one place, where the hash alone finds them; the tenant of a key is in its body.
pub const KEYS_TENANT: &str = "-";

const RANDOM_BYTES: usize = 32;
/// The hash of a key, in hexadecimal digits.
const HASH_DIGITS: usize = 64;

/// What a key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// Start executions.
    #[serde(rename = "requests:write")]
    RequestsWrite,
    /// See executions, their events and answers.
    #[serde(rename = "executions:read")]
    ExecutionsRead,
    /// Cancel, pause, resume and signal executions.
    #[serde(rename = "executions:write")]
    ExecutionsWrite,
    /// See models, workflows, agents and functions.
    #[serde(rename = "definitions:read")]
    DefinitionsRead,
    /// Change them.
    #[serde(rename = "definitions:write")]
    DefinitionsWrite,
    /// All of the above, and keys, in the key's own tenant.
    #[serde(rename = "admin")]
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::RequestsWrite,
        Self::ExecutionsRead,
        Self::ExecutionsWrite,
        Self::DefinitionsRead,
        Self::DefinitionsWrite,
        Self::Admin,
    ];

    /// The name in definitions and errors.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RequestsWrite => "requests:write",
            Self::ExecutionsRead => "executions:read",
            Self::ExecutionsWrite => "executions:write",
            Self::DefinitionsRead => "definitions:read",
            Self::DefinitionsWrite => "definitions:write",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is kept of a key: the body of its definition.
///
/// A field that this program doesn't know makes it unusable: it may be one that restricts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyDefinition {
    /// Whose it is.
    pub tenant: String,
    /// What it may be used for.
    pub scopes: BTreeSet<Scope>,
    /// For people.
    pub label: String,
    /// When it was made.
    pub created: Millis,
    /// From when on it is refused; `None`: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Millis>,
}

/// A new key: the only time at which it can be seen.
#[derive(Debug)]
pub struct NewKey {
    /// The key, for its owner.
    pub key: SecretString,
    /// Its hash: the name of its definition.
    pub hash: String,
}

impl NewKey {
    /// Draws a key from the system's random numbers.
    ///
    /// # Errors
    /// [`GenerateError`], when the system has none.
    pub fn generate() -> Result<Self, GenerateError> {
        let mut random = [0; RANDOM_BYTES];
        getrandom::fill(&mut random).map_err(GenerateError)?;
        let key = format!("{PREFIX}{}", hex(&random));
        Ok(Self { hash: hash(&key), key: key.into() })
    }

    /// The same key as it was given, e.g. one that `stepstream dev` was started with.
    ///
    /// # Errors
    /// [`AuthError::Malformed`], when it isn't one.
    pub fn given(key: SecretString) -> Result<Self, AuthError> {
        check_shape(key.expose_secret())?;
        Ok(Self { hash: hash(key.expose_secret()), key })
    }

    /// The name of the key in audits.
    #[must_use]
    pub fn key_id(&self) -> &str {
        key_id(&self.hash)
    }

    /// The proposal that makes the key known, to be written to `definitions` under the id `id`.
    #[must_use]
    pub fn proposal(
        &self,
        id: impl Into<String>,
        definition: &KeyDefinition,
        proposed_by: impl Into<String>,
    ) -> DefinitionProposed {
        let body = serde_json::to_string(definition)
            .expect("a key's definition has text keys and plain values");
        DefinitionProposed {
            id: id.into(),
            kind: DefinitionKind::Key,
            tenant: KEYS_TENANT.into(),
            name: self.hash.clone(),
            expects: 0,
            body: Some(body),
            proposed_by: proposed_by.into(),
            time: definition.created,
        }
    }
}

/// The system has no random numbers.
#[derive(Debug, thiserror::Error)]
#[error("failed to draw a random key")]
pub struct GenerateError(#[source] getrandom::Error);

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Whose data they see.
    pub tenant: String,
    /// What they may do.
    pub scopes: BTreeSet<Scope>,
    /// Their key in audits: the first 8 digits of its hash.
    pub key_id: String,
}

impl Principal {
    /// Whether they may do what `scope` stands for.
    ///
    /// # Errors
    /// [`AuthError::Forbidden`].
    pub fn require(&self, scope: Scope) -> Result<(), AuthError> {
        if self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin) {
            Ok(())
        } else {
            Err(AuthError::Forbidden { scope, key_id: self.key_id.clone() })
        }
    }
}

/// Why someone is refused. All but [`AuthError::Forbidden`] look the same from outside: 401. None holds
/// what was presented.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Not a key at all.
    #[error("not an API key: one is {PREFIX} and {} hex digits", 2 * RANDOM_BYTES)]
    Malformed,
    /// A key that isn't known, or was taken back.
    #[error("unknown API key")]
    Unknown,
    /// Its time is over.
    #[error("API key {key_id} has expired")]
    Expired {
        /// Which.
        key_id: String,
    },
    /// Its definition can't be read, so what it allows isn't known.
    #[error("the definition of API key {key_id} can't be read: {reason}")]
    Damaged {
        /// Which.
        key_id: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A good key that doesn't allow this: 403.
    #[error("API key {key_id} lacks the scope {scope}")]
    Forbidden {
        /// What would be needed.
        scope: Scope,
        /// Which key.
        key_id: String,
    },
}

/// A key by its hash, for whoever has to look again later whether it is still good: a connection that
/// stays open, a ticket. The key itself can't be had from it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyHash(String);

impl KeyHash {
    /// The hash of what was presented.
    ///
    /// # Errors
    /// [`AuthError::Malformed`], when it isn't a key.
    pub fn of(presented: &str) -> Result<Self, AuthError> {
        check_shape(presented)?;
        Ok(Self(hash(presented)))
    }

    /// The same from what [`KeyHash::as_str`] gave; `None`, when that can't be.
    #[must_use]
    pub fn from_hash(text: &str) -> Option<Self> {
        (text.len() == HASH_DIGITS && is_hex(text)).then(|| Self(text.to_owned()))
    }

    /// The hash, in hexadecimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Who has this key at the time `now`.
    ///
    /// # Errors
    /// As [`authenticate`].
    pub fn authenticate(&self, catalogue: &Catalogue, now: Millis) -> Result<Principal, AuthError> {
        let Self(hash) = self;
        let version =
            catalogue.newest(DefinitionKind::Key, KEYS_TENANT, hash).ok_or(AuthError::Unknown)?;
        let body = version.body.as_deref().ok_or(AuthError::Unknown)?;
        let key_id = key_id(hash).to_owned();
        let definition: KeyDefinition = match serde_json::from_str(body) {
            Ok(definition) => definition,
            Err(source) => {
                return Err(AuthError::Damaged { key_id, reason: source.to_string() });
            }
        };
        if definition.expires.is_some_and(|expires| expires <= now) {
            return Err(AuthError::Expired { key_id });
        }
        let KeyDefinition { tenant, scopes, .. } = definition;
        Ok(Principal { tenant, scopes, key_id })
    }
}

/// Finds out who presents the key `presented` at the time `now`.
///
/// # Errors
/// [`AuthError`], but never [`AuthError::Forbidden`].
pub fn authenticate(
    presented: &str,
    catalogue: &Catalogue,
    now: Millis,
) -> Result<Principal, AuthError> {
    KeyHash::of(presented)?.authenticate(catalogue, now)
}

/// A key has one spelling, so that it has one hash.
fn check_shape(text: &str) -> Result<(), AuthError> {
    let digits = text.strip_prefix(PREFIX).ok_or(AuthError::Malformed)?;
    if digits.len() == 2 * RANDOM_BYTES && is_hex(digits) {
        Ok(())
    } else {
        Err(AuthError::Malformed)
    }
}

fn hash(key: &str) -> String {
    hex(&Sha256::digest(key.as_bytes()))
}

/// What a key is called in audits, by its hash.
#[must_use]
pub fn key_id(hash: &str) -> &str {
    // Somebody else may have written a definition whose name is no hash.
    hash.get(..8).unwrap_or(hash)
}

/// Whether these are digits as [`hex`] writes them: one spelling, so that it has one hash.
#[must_use]
pub fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Bytes as hexadecimal digits, in small letters.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes every text");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(scopes: &[Scope], expires: Option<i64>) -> KeyDefinition {
        KeyDefinition {
            tenant: "acme".into(),
            scopes: scopes.iter().copied().collect(),
            label: "test".into(),
            created: Millis(1),
            expires: expires.map(Millis),
        }
    }

    fn known(definition: &KeyDefinition) -> (NewKey, Catalogue) {
        let (key, mut catalogue) = (NewKey::generate().unwrap(), Catalogue::default());
        catalogue.apply(key.proposal("p1", definition, "test"));
        (key, catalogue)
    }

    fn present(key: &NewKey, catalogue: &Catalogue, now: i64) -> Result<Principal, AuthError> {
        authenticate(key.key.expose_secret(), catalogue, Millis(now))
    }

    #[test]
    fn known_key_tells_tenant_and_scopes() {
        let (key, catalogue) = known(&definition(&[Scope::RequestsWrite], None));
        let principal = present(&key, &catalogue, i64::MAX).unwrap();
        assert_eq!(principal.tenant, "acme");
        assert_eq!(principal.key_id, key.hash[..8]);
        assert_eq!(principal.require(Scope::RequestsWrite), Ok(()));
        let refused = principal.require(Scope::DefinitionsWrite).unwrap_err();
        let id = key.key_id();
        assert_eq!(refused.to_string(), format!("API key {id} lacks the scope definitions:write"));
    }

    #[test]
    fn admin_may_do_everything() {
        let (key, catalogue) = known(&definition(&[Scope::Admin], None));
        let principal = present(&key, &catalogue, 0).unwrap();
        assert!(Scope::ALL.into_iter().all(|scope| principal.require(scope).is_ok()));
    }

    #[test]
    fn unknown_revoked_expired_and_damaged_keys_are_refused() {
        let (key, mut catalogue) = known(&definition(&[Scope::Admin], Some(100)));
        assert!(present(&key, &catalogue, 99).is_ok());
        assert!(matches!(present(&key, &catalogue, 100), Err(AuthError::Expired { .. })));
        let other = NewKey::generate().unwrap();
        assert_eq!(present(&other, &catalogue, 0), Err(AuthError::Unknown));
        let restricted = r#"{"tenant":"acme","scopes":["admin"],"label":"","created":1,"ips":[]}"#;
        for (expects, body) in [(1, Some(restricted)), (2, Some("{}"))] {
            let mut proposal = key.proposal("p", &definition(&[], None), "test");
            (proposal.expects, proposal.body) = (expects, body.map(str::to_owned));
            catalogue.apply(proposal);
            assert!(matches!(present(&key, &catalogue, 0), Err(AuthError::Damaged { .. })));
        }
        let mut gone = key.proposal("p", &definition(&[], None), "test");
        (gone.expects, gone.body) = (3, None);
        catalogue.apply(gone);
        assert_eq!(present(&key, &catalogue, 0), Err(AuthError::Unknown));
    }

    #[test]
    fn text_that_is_no_key_is_refused_without_being_repeated() {
        let canary = "sk-ss-canary";
        let upper = format!("{PREFIX}{}", "A".repeat(64));
        let long = format!("{PREFIX}{}", "a".repeat(65));
        for text in ["", "sk-ss-", "Bearer x", canary, &upper, &long] {
            let error = authenticate(text, &Catalogue::default(), Millis(0)).unwrap_err();
            assert_eq!(error, AuthError::Malformed);
            assert!(!format!("{error} {error:?}").contains("canary"));
        }
        assert!(NewKey::given(canary.to_owned().into()).is_err());
    }

    #[test]
    fn key_itself_is_neither_in_its_definition_nor_in_debug_output() {
        let key = NewKey::generate().unwrap();
        let proposal = key.proposal("p", &definition(&[Scope::Admin], None), "test");
        let secret = key.key.expose_secret();
        assert!(!format!("{proposal:?} {key:?}").contains(&secret[PREFIX.len()..]));
        assert_eq!(NewKey::given(key.key.clone()).unwrap().hash, key.hash);
        assert_ne!(NewKey::generate().unwrap().hash, key.hash);
    }

    #[test]
    fn every_scope_is_written_by_its_name() {
        for scope in Scope::ALL {
            assert_eq!(serde_json::to_string(&scope).unwrap(), format!("{:?}", scope.as_str()));
        }
    }
}
