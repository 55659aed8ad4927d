//! `stepstream keys`: API keys. A key is printed once, when it is made, and kept nowhere.

use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use domain::catalogue::{DefinitionKind, DefinitionProposed};
use domain::request::DEFAULT_TENANT;
use domain::time::Millis;
use secrecy::ExposeSecret;
use service::auth::{KEYS_TENANT, KeyDefinition, NewKey, PREFIX, Scope, is_hex, key_id};
use uuid::Uuid;

use super::ConfigFile;
use super::proposing::{change, newest, read_all};
use crate::error::CommandError;
use crate::{cluster, definitions, print};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Who proposes what these commands change.
const PROPOSER: &str = "stepstream keys";

/// The digits of a key's id.
const ID_DIGITS: usize = 8;

/// Manage API keys.
///
/// Keys are definitions: every gateway knows a new one within moments.
#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Make a key and print it, once
    Create(Create),
    /// Print the keys that are good: id, tenant, scopes, how long, label
    List(List),
    /// Make a key worthless, for ever: requests are refused within moments, and open sockets are closed
    Revoke(Revoke),
}

#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    file: ConfigFile,
    /// Only those of this tenant. Default: all
    #[arg(long, value_parser = tenant)]
    tenant: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Revoke {
    #[command(flatten)]
    file: ConfigFile,
    /// The key's id, as `keys create` and `keys list` print it; never the key itself
    #[arg(value_parser = id)]
    id: String,
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

fn id(text: &str) -> Result<String, String> {
    if text.starts_with(PREFIX) {
        return Err("this is a key; its id is printed by `stepstream keys list`".into());
    }
    // A few digits more are fine, where the first eight belong to two keys.
    match text.len() >= ID_DIGITS && is_hex(text) {
        true => Ok(text.to_owned()),
        false => Err(format!("an id has {ID_DIGITS} hexadecimal digits, as in 1a2b3c4d")),
    }
}

impl Keys {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        match self {
            Self::Create(create) => create.run().await,
            Self::List(list) => list.run().await,
            Self::Revoke(revoke) => revoke.run().await,
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
        let proposal = key.proposal(Uuid::now_v7().to_string(), &definition, PROPOSER);
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

impl List {
    async fn run(self) -> Result<(), CommandError> {
        let config = self.file.load_quietly()?;
        let cluster = cluster::connect(&config).await?;
        let definitions = read_all(&cluster).await?;
        let (catalogue, now) = (definitions.snapshot(), cluster::now());
        for (hash, version) in catalogue.names(DefinitionKind::Key, KEYS_TENANT) {
            let Some(line) = line(hash, version.body.as_deref(), self.tenant.as_deref(), now)
            else {
                continue;
            };
            print::line(&line);
        }
        Ok(())
    }
}

/// What `list` says of a key; `None` when it isn't to be listed.
fn line(hash: &str, body: Option<&str>, tenant: Option<&str>, now: Millis) -> Option<String> {
    let id = key_id(hash);
    let Ok(key) = serde_json::from_str::<KeyDefinition>(body?) else {
        // It lets nobody in, and whoever looks for trouble wants to see it.
        return tenant.is_none().then(|| format!("{id}\t(its definition can't be read)"));
    };
    let expired = key.expires.is_some_and(|expires| expires <= now);
    if expired || tenant.is_some_and(|tenant| tenant != key.tenant) {
        return None;
    }
    let scopes: Vec<_> = key.scopes.iter().map(|scope| scope.as_str()).collect();
    let until = key.expires.map_or_else(
        || "never ends".to_owned(),
        |expires| format!("{} days left", (expires.since(now) + DAY_MS - 1) / DAY_MS),
    );
    Some(format!("{id}\t{}\t{}\t{until}\t{}", key.tenant, scopes.join(","), key.label))
}

impl Revoke {
    async fn run(self) -> Result<(), CommandError> {
        let config = self.file.load_quietly()?;
        let cluster = cluster::connect(&config).await?;
        let definitions = read_all(&cluster).await?;
        let catalogue = definitions.snapshot();
        let keys = catalogue.names(DefinitionKind::Key, KEYS_TENANT).map(|(hash, _)| hash);
        let hash = only(&self.id, keys)?;
        let proposal = DefinitionProposed {
            id: Uuid::now_v7().to_string(),
            kind: DefinitionKind::Key,
            tenant: KEYS_TENANT.into(),
            expects: newest(&catalogue, DefinitionKind::Key, KEYS_TENANT, hash),
            name: hash.to_owned(),
            body: None,
            proposed_by: PROPOSER.into(),
            time: cluster::now(),
        };
        change(&cluster, &definitions, &proposal).await?;
        print::line(&format!("key {} is revoked", key_id(hash)));
        Ok(())
    }
}

/// Enough digits to tell keys apart.
fn more(hash: &str) -> &str {
    hash.get(..16).unwrap_or(hash)
}

/// The one key whose hash begins with these digits.
fn only<'a>(id: &str, keys: impl Iterator<Item = &'a str>) -> Result<&'a str, CommandError> {
    let mut those = keys.filter(|hash| hash.starts_with(id));
    match (those.next(), those.next()) {
        (Some(hash), None) => Ok(hash),
        (None, _) => Err(CommandError::plain(format!("there is no key {id}"))
            .advise("`stepstream keys list` prints those that are good")),
        (Some(one), Some(other)) => {
            Err(CommandError::plain(format!("{id} is the beginning of several keys"))
                .advise(format!("say more digits: {} or {}", more(one), more(other))))
        }
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

    #[test]
    fn id_is_no_key_and_no_word() {
        assert_eq!(id("1a2b3c4d"), Ok("1a2b3c4d".into()));
        assert!(id(&format!("{PREFIX}{}", "0".repeat(64))).unwrap_err().contains("keys list"));
        for wrong in ["", "1a2b3c4", "1A2B3C4D", "my-key-1"] {
            assert!(id(wrong).unwrap_err().contains("8 hexadecimal digits"), "{wrong}");
        }
    }

    #[test]
    fn key_is_revoked_only_when_its_id_says_which() {
        let keys = [format!("1a2b3c4d0{}", "0".repeat(55)), format!("1a2b3c4d1{}", "0".repeat(55))];
        let find =
            |id| only(id, keys.iter().map(String::as_str)).map_err(|error| error.to_string());
        assert_eq!(find("1a2b3c4d1"), Ok(keys[1].as_str()));
        assert!(find("1a2b3c4d").unwrap_err().contains("several keys"));
        assert!(find("00000000").unwrap_err().contains("no key 00000000"));
    }

    #[test]
    fn list_shows_no_hash_and_nothing_that_is_over() {
        let hash = "1a2b3c4d".repeat(8);
        let key = |expires| KeyDefinition {
            tenant: "acme".into(),
            scopes: [Scope::Admin, Scope::RequestsWrite].into(),
            label: "batch".into(),
            created: Millis(0),
            expires,
        };
        let listed = |key: &KeyDefinition, tenant| {
            line(&hash, Some(&serde_json::to_string(key).unwrap()), tenant, Millis(1_000))
        };
        let expected = "1a2b3c4d\tacme\trequests:write,admin\tnever ends\tbatch";
        assert_eq!(listed(&key(None), None).as_deref(), Some(expected));
        assert_eq!(listed(&key(None), Some("acme")).as_deref(), Some(expected));
        assert_eq!(listed(&key(None), Some("other")), None);
        assert_eq!(listed(&key(Some(Millis(1_000))), None), None);
        for (left, said) in [(2 * DAY_MS, "2 days left"), (2 * DAY_MS - 1, "2 days left")] {
            let line = listed(&key(Some(Millis(1_000 + left))), None).unwrap();
            assert!(line.contains(&format!("\t{said}\t")), "{line}");
        }
        assert!(line(&hash, Some("{"), None, Millis(0)).unwrap().contains("can't be read"));
    }
}
