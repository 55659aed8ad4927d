//! `stepstream store`: the tables of the store, and the store from the topics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use archive::rebuild::{self, Done, RebuildError};
use clap::{Args, Subcommand};
use domain::topic::Topic;
use runtime::ports;
use service::config::{Config, StoreKind};

use super::ConfigFile;
use crate::cluster::{self, blocking};
use crate::error::CommandError;
use crate::progress::Bar;
use crate::{print, store};

/// Make the tables of the store, or compare them; fill the store from the topics.
///
/// Nothing is ever dropped or altered.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Print what `apply` would do, and change nothing
    Plan(ConfigFile),
    /// Make the keyspace and the tables that are missing
    Apply(ConfigFile),
    Rebuild(Rebuild),
    /// Read the topics and say what the store lacks of them; change nothing
    Compare(ConfigFile),
}

/// Write all that the topics `results` and `execution-log` hold into the store.
///
/// For a store that was lost, or a new one. It reads from the oldest record to where each topic ends at
/// the start, and then reads again to compare. Archives may run meanwhile. A file of the embedded store
/// has to be closed: stop its process first.
#[derive(Debug, Args)]
pub(crate) struct Rebuild {
    #[command(flatten)]
    file: ConfigFile,
    /// Don't read again to compare
    #[arg(long)]
    skip_comparison: bool,
}

impl StoreCommand {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        match self {
            Self::Plan(file) => plan(&file.load_quietly()?).await,
            Self::Apply(file) => apply(&file.load_quietly()?).await,
            Self::Rebuild(rebuild) => rebuild.run().await,
            Self::Compare(file) => {
                let config = file.load_quietly()?;
                let (cluster, parts) = parts(&config).await?;
                compare(&config, &cluster, &parts).await
            }
        }
    }
}

async fn plan(config: &Config) -> Result<(), CommandError> {
    if config.store.kind == StoreKind::Embedded {
        print::line("the embedded store makes its file by itself");
        return Ok(());
    }
    let keyspace = store::keyspace(config).await?;
    let plan = keyspace.plan().await.map_err(|error| store::failed("comparing tables", error))?;
    print::line(plan.to_string().trim_end());
    match plan.refused.is_empty() {
        true => Ok(()),
        false => Err(CommandError::plain("the store can't be set up as it is")
            .advise("put right what is refused, or name another keyspace by `store.keyspace`")),
    }
}

async fn apply(config: &Config) -> Result<(), CommandError> {
    if config.store.kind == StoreKind::Embedded {
        print::line("the embedded store makes its file by itself");
        return Ok(());
    }
    let done = set_up(config).await?;
    for step in &done.create {
        print::line(&format!("created  {}", step.what));
    }
    for note in &done.notes {
        print::line(&format!("note     {note}"));
    }
    print::line(&format!("{} made; the store is as it must be", done.create.len()));
    Ok(())
}

/// Makes what is missing.
pub(crate) async fn set_up(config: &Config) -> Result<::store::cql::Plan, CommandError> {
    let keyspace = store::keyspace(config).await?;
    keyspace.apply().await.map_err(|error| store::failed("setting up the store", error))
}

impl Rebuild {
    async fn run(self) -> Result<(), CommandError> {
        let config = self.file.load_quietly()?;
        let (cluster, parts) = parts(&config).await?;
        let began = Instant::now();
        let mut written = Vec::new();
        for topic in rebuild::TOPICS {
            let mut bar = bar(&cluster, "writing", topic).await?;
            let done = rebuild::write(topic, &parts, |done| bar.at(&done.next)).await;
            written.push((topic, bar.end(done).map_err(broken)?));
        }
        print::line(&summary("written", &written));
        if !self.skip_comparison {
            compare(&config, &cluster, &parts).await?;
        }
        let memory = peak_memory().map_or(String::new(), |mib| format!(", at most {mib} MiB"));
        print::line(&format!("took {:.1} s{memory}", began.elapsed().as_secs_f64()));
        Ok(())
    }
}

async fn parts(config: &Config) -> Result<(kafka::Cluster, archive::Parts), CommandError> {
    let store = store::open(config).await?;
    let cluster = cluster::connect(config).await?;
    let resolving = cluster.clone();
    let parts = archive::Parts {
        topics: Arc::new(cluster.clone()),
        ids: cluster.ids().clone(),
        store,
        resolve: Arc::new(move |id| ports::Cluster::resolve_schema(&resolving, id)),
    };
    Ok((cluster, parts))
}

/// Reads the topics, and fails when the store doesn't say what the topics say.
async fn compare(
    config: &Config,
    cluster: &kafka::Cluster,
    parts: &archive::Parts,
) -> Result<(), CommandError> {
    let mut compared = Vec::new();
    for topic in rebuild::TOPICS {
        let kept = match topic {
            Topic::Results => config.store.event_retention(),
            _ => config.store.log_row_retention(),
        };
        let kept = kept.min(config.store.retention());
        let since = cluster::now().plus(i64::try_from(kept.as_millis()).map_or(i64::MIN, |ms| -ms));
        let mut bar = bar(cluster, "comparing", topic).await?;
        let done = rebuild::compare(topic, parts, since, |done| bar.at(&done.next)).await;
        compared.push((topic, bar.end(done).map_err(broken)?));
    }
    print::line(&summary("compared", &compared));
    let missing: u64 = compared.iter().map(|(_, done)| done.missing).sum();
    let first = compared.iter().find_map(|(_, done)| done.first_missing.clone());
    match first {
        None => Ok(()),
        Some(first) => Err(CommandError::plain(format!(
            "the store lacks {missing} of what the topics hold, first {first}"
        ))
        .advise("run it again; if it stays so, look at the store's own log")),
    }
}

fn broken(error: RebuildError) -> CommandError {
    let advice = match &error {
        RebuildError::Open { .. } | RebuildError::Read { .. } => {
            "`stepstream doctor` looks at brokers, topics and registry"
        }
        RebuildError::Store { .. } => "run it again when the store is back: it begins anew",
    };
    CommandError::new("rebuilding the store", error).advise(advice)
}

/// One line: what was done of each topic, and with what result.
fn summary(verb: &str, topics: &[(Topic, Done)]) -> String {
    let sum = |of: fn(&Done) -> u64| topics.iter().map(|(_, done)| of(done)).sum::<u64>();
    let mut text = format!(
        "{verb} {} records: {} events ({} executions ended), {} rows",
        sum(|done| done.records),
        sum(|done| done.events),
        sum(|done| done.ends),
        sum(|done| done.rows)
    );
    for (count, what) in
        [(sum(|done| done.unreadable), "unreadable"), (sum(|done| done.missing), "missing")]
    {
        if count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    text
}

/// A bar over the offsets that a topic has now.
async fn bar(cluster: &kafka::Cluster, verb: &str, topic: Topic) -> Result<Bar, CommandError> {
    let cluster = cluster.clone();
    let ranges = blocking(move || {
        (0..cluster.partitions_of(topic)?)
            .map(|partition| Ok((partition, cluster.watermarks(topic, partition)?)))
            .collect::<Result<BTreeMap<i32, (i64, i64)>, ports::ClusterError>>()
    })
    .await;
    let ranges =
        ranges.map_err(|error| CommandError::new(format!("looking at {}", topic.name()), error))?;
    Ok(Bar::new(&format!("{verb} {}", topic.name()), ranges))
}

/// The most memory that this process ever had, where the system tells it.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_names_only_what_is_wrong() {
        let good = Done { records: 3, events: 3, ends: 1, ..Done::default() };
        let rows = Done { records: 2, rows: 2, ..Done::default() };
        let topics = [(Topic::Results, good.clone()), (Topic::ExecutionLog, rows)];
        let expected = "written 5 records: 3 events (1 executions ended), 2 rows";
        assert_eq!(summary("written", &topics), expected);
        let bad = Done { unreadable: 1, missing: 2, ..good };
        let text = summary("compared", &[(Topic::Results, bad)]);
        assert!(text.ends_with("0 rows, 1 unreadable, 2 missing"), "{text}");
    }
}
