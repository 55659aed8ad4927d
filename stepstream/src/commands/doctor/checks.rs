//! What the doctor looks at. Each check reads only; the store's file isn't even made.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use domain::catalogue::DefinitionKind;
use domain::model_definition::{KeyReference, ModelDefinition};
use domain::topic::Topic;
use kafka::topics::admin::Admin;
use reqwest::StatusCode;
use service::catalogue::Definitions;
use service::config::{Config, Registry, Role, StoreKind};

use super::Finding;
use crate::cluster;
use crate::definitions;
use crate::error::chain;

/// How long reading all definitions may take.
const CATCH_UP: Duration = Duration::from_secs(20);

/// A clock that differs by more from the registry's machine makes deadlines and timers wrong for people.
const SKEW: Duration = Duration::from_secs(5);

/// Looks at everything, in the order in which one thing needs another.
pub(super) async fn all(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let roles: Vec<_> = config.roles.iter().map(|role| role.as_str()).collect();
    findings.push(Finding::good("configuration", format!("roles {}", roles.join(", "))));
    let topics_stand = brokers_and_topics(config, &mut findings).await;
    let registry_answers = registry_and_clock(config, &mut findings).await;
    if config.has(Role::Gateway) || config.has(Role::Archive) {
        findings.push(match config.store.kind {
            StoreKind::Embedded => store(&config.store.path),
            StoreKind::Cql => tables(config).await,
        });
    }
    if config.has(Role::Inference) {
        findings.push(match topics_stand && registry_answers {
            true => provider_keys(config).await,
            false => Finding::skipped("provider keys", "needs the brokers, topics and registry"),
        });
    }
    findings
}

async fn brokers_and_topics(config: &Config, findings: &mut Vec<Finding>) -> bool {
    let addresses = config.kafka.bootstrap_servers();
    let admin = match Admin::connect(&cluster::settings(config)) {
        Ok(admin) => admin,
        Err(error) => {
            let advice = "look at `kafka` in `stepstream config show`";
            findings.push(Finding::bad("brokers", chain(&error), advice));
            return false;
        }
    };
    let began = Instant::now();
    let plan = match admin.plan(cluster::layout(&config.kafka)).await {
        Ok(plan) => plan,
        Err(error) => {
            let advice = format!(
                "is a broker running at {addresses}? `infra/local/up` starts one; `kafka.brokers` says where it is"
            );
            findings.push(Finding::bad("brokers", chain(&error), advice));
            findings.push(Finding::skipped("topics", "needs the brokers"));
            return false;
        }
    };
    let took = began.elapsed().as_millis();
    findings.push(Finding::good("brokers", format!("{addresses} answers ({took} ms)")));
    if let Some(refusal) = plan.refused.first() {
        let detail = format!("{}: {}", refusal.topic, refusal.reason);
        let advice = "this has to be put right by hand; `stepstream topics plan` shows all of it";
        findings.push(Finding::bad("topics", detail, advice));
        return false;
    }
    if !plan.is_empty() {
        let (create, alter) = (plan.create.len(), plan.alter.len());
        let detail = format!("{create} are missing, {alter} settings differ");
        findings.push(Finding::bad("topics", detail, "run `stepstream topics apply`"));
        return create == 0;
    }
    let count = Topic::ALL.len();
    findings.push(match plan.notes.first() {
        None => Finding::good("topics", format!("all {count} are as they must be")),
        Some(note) => Finding::note("topics", note, "`stepstream topics plan` shows all of it"),
    });
    true
}

async fn registry_and_clock(config: &Config, findings: &mut Vec<Finding>) -> bool {
    let url = &config.registry.url;
    let Subjects { total, missing, date } = match subjects(config).await {
        Ok(found) => found,
        Err(error) => {
            let advice = format!(
                "is a schema registry running at {url}? `infra/local/up` starts one; `registry.url` says where it is"
            );
            findings.push(Finding::bad("registry", chain(&error), advice));
            findings.push(Finding::skipped("clock", "is compared with the registry's"));
            return false;
        }
    };
    findings.push(match missing {
        0 => Finding::good("registry", format!("{url} has all {total} subjects")),
        _ => Finding::bad(
            "registry",
            format!("{missing} of {total} subjects are not registered at {url}"),
            "run `stepstream topics apply`",
        ),
    });
    findings.push(clock(date.as_deref(), SystemTime::now()));
    true
}

/// What the registry has of ours.
struct Subjects {
    total: usize,
    missing: usize,
    /// The `Date` of its last answer.
    date: Option<String>,
}

/// Asks for each subject by itself: registries cut their list of all subjects off (Apicurio's after 1,000).
async fn subjects(config: &Config) -> Result<Subjects, reqwest::Error> {
    let Registry { url, user, password, .. } = &config.registry;
    let client = reqwest::Client::builder().timeout(config.registry.timeout()).build()?;
    let mut found = Subjects { total: 0, missing: 0, date: None };
    for (subject, _) in schemas::subjects::all(&config.kafka.prefix) {
        // A subject is a topic's name and a record's, which need no escaping.
        let url = format!("{}/subjects/{subject}/versions", url.trim_end_matches('/'));
        let mut request = client.get(url);
        if let Some(user) = user {
            request = request.basic_auth(user, password.as_ref().map(|secret| secret.expose()));
        }
        let answer = request.send().await?;
        let date = answer.headers().get("date").and_then(|date| date.to_str().ok());
        found.date = date.map(str::to_owned);
        found.total += 1;
        match answer.status() {
            StatusCode::NOT_FOUND => found.missing += 1,
            _ => drop(answer.error_for_status()?),
        }
    }
    Ok(found)
}

fn clock(date: Option<&str>, now: SystemTime) -> Finding {
    let Some(theirs) = date.and_then(seconds_of) else {
        return Finding::skipped("clock", "the registry doesn't tell its time");
    };
    let ours = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let skew = Duration::from_secs(ours.abs_diff(theirs));
    match skew > SKEW {
        false => Finding::good("clock", "as the registry's"),
        true => Finding::bad(
            "clock",
            format!("{} s away from the registry's", skew.as_secs()),
            "let both machines follow a time server",
        ),
    }
}

/// Seconds since the epoch of an HTTP date (RFC 9110, IMF-fixdate: `Sun, 06 Nov 1994 08:49:37 GMT`).
fn seconds_of(date: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = date.split_once(", ")?.1.split(' ');
    let day: i64 = words.next()?.parse().ok()?;
    let name = words.next()?;
    let month = i64::try_from(MONTHS.iter().position(|month| *month == name)?).ok()? + 1;
    let year: i64 = words.next()?.parse().ok()?;
    let mut time = words.next()?.split(':').map(|part| part.parse::<i64>().ok());
    let (hours, minutes, seconds) = (time.next()??, time.next()??, time.next()??);
    // Days from civil (Howard Hinnant's algorithm): a year that begins in March has its odd day last.
    let shifted = if month <= 2 { year - 1 } else { year };
    let in_era = shifted.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = in_era * 365 + in_era / 4 - in_era / 100 + day_of_year;
    let days = shifted.div_euclid(400) * 146_097 + day_of_era - 719_468;
    u64::try_from(((days * 24 + hours) * 60 + minutes) * 60 + seconds).ok()
}

/// Whether the nodes answer, and have the tables.
async fn tables(config: &Config) -> Finding {
    let nodes = config.store.nodes.join(", ");
    let keyspace = match crate::store::keyspace(config).await {
        Ok(keyspace) => keyspace,
        Err(error) => {
            return Finding::bad("store", error.chain(), error.advice().unwrap_or_default());
        }
    };
    let plan = match keyspace.plan().await {
        Ok(plan) => plan,
        Err(error) => {
            let advice = "the user needs SELECT on the keyspace";
            return Finding::bad("store", chain(&error), advice);
        }
    };
    if let Some(refusal) = plan.refused.first() {
        let detail = format!("table {}: {}", refusal.table, refusal.reason);
        return Finding::bad("store", detail, "`stepstream store plan` shows all of it");
    }
    match (plan.create.len(), plan.notes.first()) {
        (0, None) => Finding::good("store", format!("{nodes} has the tables")),
        (0, Some(note)) => Finding::note("store", note, "`stepstream store plan` shows it as well"),
        (missing, _) => Finding::bad(
            "store",
            format!("{missing} things are missing at {nodes}"),
            "run `stepstream store apply`",
        ),
    }
}

/// Whether the store's file could be written, without making it.
fn store(path: &Path) -> Finding {
    let shown = path.display();
    if path.exists() {
        return match std::fs::OpenOptions::new().write(true).open(path) {
            Ok(_) => Finding::good("store", format!("{shown} can be written")),
            Err(error) => Finding::bad(
                "store",
                format!("{shown}: {error}"),
                "let this user write it, or set `store.path`",
            ),
        };
    }
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let nearest = absolute.ancestors().skip(1).find(|folder| folder.exists());
    let writable = |folder: &Path| {
        std::fs::metadata(folder)
            .map(|found| found.is_dir() && !found.permissions().readonly())
            .unwrap_or(false)
    };
    match nearest {
        Some(folder) if writable(folder) => {
            Finding::good("store", format!("{shown} is made at the first start"))
        }
        _ => Finding::bad(
            "store",
            format!("{shown} can't be made"),
            "set `store.path` to a place in a directory that can be written",
        ),
    }
}

/// Whether each key that a model definition names is there for this process.
async fn provider_keys(config: &Config) -> Finding {
    let what = "provider keys";
    let cluster = match cluster::connect(config).await {
        Ok(cluster) => cluster,
        Err(error) => return Finding::skipped(what, error.chain()),
    };
    let catalogue = Definitions::new();
    let reading = tokio::spawn(definitions::follow(cluster, catalogue.clone()));
    let read = tokio::time::timeout(CATCH_UP, catalogue.wait_caught_up()).await;
    reading.abort();
    if read.is_err() {
        let detail = format!("{} could not be read", Topic::Definitions.name());
        return Finding::bad(what, detail, "look at the brokers' log");
    }
    let snapshot = catalogue.snapshot();
    let (mut models, mut missing, mut broken) = (0, BTreeSet::new(), Vec::new());
    for (tenant, name, version) in snapshot.every(DefinitionKind::Model) {
        models += 1;
        match ModelDefinition::parse(version.body.as_deref().unwrap_or_default()) {
            Err(error) => broken.push(format!("{tenant}/{name}: {error}")),
            Ok(definition) => {
                let keys = definition.deployments.iter().filter_map(|one| one.key.as_ref());
                missing.extend(keys.filter(|key| !is_there(key)).map(place));
            }
        }
    }
    if let Some(first) = broken.first() {
        return Finding::bad(what, first.clone(), "put a definition that can be used");
    }
    if models == 0 {
        let advice = "`stepstream models put NAME FILE` makes one";
        return Finding::note(what, "there is no model yet", advice);
    }
    match missing.is_empty() {
        true => Finding::good(what, format!("all that {models} models name are there")),
        false => Finding::bad(
            what,
            format!("not there: {}", missing.into_iter().collect::<Vec<_>>().join(", ")),
            "calls of their deployments will fail: set them for this process",
        ),
    }
}

fn is_there(key: &KeyReference) -> bool {
    match key {
        KeyReference::Env(name) => std::env::var_os(name).is_some_and(|value| !value.is_empty()),
        KeyReference::File(path) => Path::new(path).is_file(),
    }
}

fn place(key: &KeyReference) -> String {
    match key {
        KeyReference::Env(name) => name.clone(),
        KeyReference::File(path) => path.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::State;

    #[test]
    fn http_dates_are_read() {
        for (date, seconds) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Thu, 29 Feb 2024 23:59:59 GMT", Some(1_709_251_199)),
            ("yesterday", None),
            ("Sun, 06 Now 1994 08:49:37 GMT", None),
        ] {
            assert_eq!(seconds_of(date), seconds, "{date}");
        }
    }

    #[test]
    fn clock_that_differs_is_bad() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777 + 4);
        let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(clock(date, now).state, State::Good);
        assert_eq!(clock(date, now + Duration::from_secs(2)).state, State::Bad);
        assert_eq!(clock(None, now).state, State::Skipped);
    }

    #[test]
    fn store_is_looked_at_and_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/store.redb");
        assert_eq!(store(&path).state, State::Good);
        assert!(!path.parent().unwrap().exists());
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(store(&file.join("store.redb")).state, State::Bad);
    }
}
