//! `stepstream replay`: a range of a topic once more, as bytes.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use clap::Args;
use domain::topic::Topic;
use publish::decode::Decoder;
use publish::progress::{Progress, rate};
use publish::replay::{self, ReplayError, Selection, Summary, Target};
use publish::topic::{check_target, named};
use runtime::ports::{ClusterError, Topics as _};
use service::shutdown::Shutdown;

use super::ConfigFile;
use super::tail::Begin;
use crate::cluster::{self, blocking};
use crate::error::CommandError;
use crate::print;

/// The exit code when something was copied and something wasn't.
const IN_PART: u8 = 3;
/// The exit code after Ctrl-C, as shells have it.
const INTERRUPTED: u8 = 130;

/// Copy a range of a topic into another topic, or print it.
///
/// Key, value and headers stay as they are; the header `stepstream-replayed-from` is added. It ends where
/// the topic ends now. A copy of a request keeps its id: while that is remembered, it is dropped as a copy.
#[derive(Debug, Args)]
pub(crate) struct Replay {
    #[command(flatten)]
    file: ConfigFile,
    /// Which topic, without the prefix, e.g. model-requests
    #[arg(value_parser = topic)]
    topic: Topic,
    /// Where to begin: earliest, a time like 2026-01-31T12:00:00Z, or (with --partition) an offset
    #[arg(long, value_name = "PLACE", default_value = "earliest")]
    from: Begin,
    /// Where to end: latest, before a time, or (with --partition) before an offset
    #[arg(long, value_name = "PLACE", default_value = "latest")]
    to: Begin,
    /// Only this partition
    #[arg(long, value_name = "PARTITION", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// Only records with this key: an execution's id
    #[arg(long)]
    key: Option<String>,
    #[command(flatten)]
    target: Destination,
    /// Don't ask
    #[arg(long)]
    yes: bool,
}

/// Where the copies go. One of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Destination {
    /// Into this topic, without the prefix. Logs and state take no copies
    #[arg(long, value_name = "TOPIC", value_parser = target)]
    into: Option<Topic>,
    /// To standard output: a line of JSON each, bytes in base64
    #[arg(long)]
    stdout: bool,
    /// Of dead-letters: the original bytes to the feed that they came from
    #[arg(long)]
    original: bool,
}

fn topic(text: &str) -> Result<Topic, String> {
    named(text).map_err(|error| error.to_string())
}

fn target(text: &str) -> Result<Topic, String> {
    let topic = topic(text)?;
    check_target(topic).map_err(|error| error.to_string())?;
    Ok(topic)
}

impl Replay {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        self.check()?;
        let config = self.file.load_quietly()?;
        let shutdown = Shutdown::new();
        shutdown
            .listen_to_signals()
            .map_err(|error| CommandError::new("listening to signals", error))?;
        let opening = async {
            let cluster = cluster::connect(&config).await?;
            let selection = self.selection(&cluster).await?;
            Ok::<_, CommandError>((cluster, selection))
        };
        let (cluster, selection) = tokio::select! {
            opened = opening => opened?,
            () = shutdown.asked() => return Err(interrupted("nothing was copied")),
        };
        tokio::select! {
            agreed = self.agreed(&selection) => agreed?,
            () = shutdown.asked() => return Err(interrupted("nothing was copied")),
        }
        let opening = cluster.clone();
        let (of, from) = (selection.topic, selection.from());
        let tail = blocking(move || opening.tail(of, from))
            .await
            .map_err(|error| CommandError::new("opening the topic", error))?;
        let publisher = cluster
            .publisher()
            .map_err(|error| CommandError::new("making the publisher", error))?;
        let mut out = io::stdout();
        let target = match self.target {
            Destination { into: Some(into), .. } => Target::Topic(into, &publisher),
            Destination { original: true, .. } => {
                let decoder =
                    Decoder::new(cluster.ids().clone(), std::sync::Arc::new(cluster.clone()));
                Target::Original(decoder, &publisher)
            }
            Destination { .. } => Target::Out(&mut out),
        };
        let mut progress = Progress::new("copied", Some(selection.at_most()));
        let ends: BTreeMap<i32, i64> =
            selection.ranges.iter().map(|(partition, (_, end))| (*partition, *end)).collect();
        let asked = shutdown.clone();
        let summary = tokio::select! {
            summary = replay::run(tail, selection, target, &mut progress, asked.asked()) => summary,
            () = shutdown.at_once() => {
                return Err(interrupted("it isn't known what stands of what was on its way"));
            }
        };
        progress.finish();
        judge(summary, &ends)
    }

    /// What the arguments alone tell.
    fn check(&self) -> Result<(), CommandError> {
        let wrong =
            |what: &str, advice: &str| Err(CommandError::plain(what).advise(advice).exit_with(2));
        if self.target.original && self.topic != Topic::DeadLetters {
            return wrong("only dead letters have an original", "replay dead-letters --original");
        }
        let by_offset = [self.from, self.to].iter().any(|at| matches!(at, Begin::Offset(_)));
        if by_offset && self.partition.is_none() {
            return wrong("an offset is one of a partition", "name it: --partition 0");
        }
        if self.from == Begin::Latest || self.to == Begin::Earliest {
            return wrong("that range is empty", "--from earliest --to latest is all there is");
        }
        Ok(())
    }

    /// The range in offsets, as the topic stands now.
    async fn selection(&self, cluster: &kafka::Cluster) -> Result<Selection, CommandError> {
        let (topic, from, to, only) = (self.topic, self.from, self.to, self.partition);
        let asked = cluster.clone();
        let found = blocking(move || {
            let count = asked.partitions_of(topic)?;
            if let Some(partition) = only.filter(|partition| *partition >= count) {
                let what = format!("looking for partition {partition} of {}", topic.name());
                return Err(ClusterError { what, why: format!("it has {count}, from 0 on") });
            }
            let mut ranges = BTreeMap::new();
            for partition in 0..count {
                let (low, high) = asked.watermarks(topic, partition)?;
                let range = match only {
                    Some(only) if only != partition => (high, high),
                    _ => (first(from, low), end(to, high)),
                };
                ranges.insert(partition, range);
            }
            Ok(ranges)
        });
        let ranges = found.await.map_err(|error| {
            CommandError::new("looking at the topic", error)
                .advise("`stepstream topics check` says whether the topics are there")
        })?;
        let time = |at: Begin| match at {
            Begin::Time(time) => Some(time),
            _ => None,
        };
        let key = self.key.clone();
        Ok(Selection { topic, ranges, since: time(from), until: time(to), key })
    }

    /// Asks, unless nothing is written to a topic or nobody wants to be asked.
    async fn agreed(&self, selection: &Selection) -> Result<(), CommandError> {
        let into = match self.target {
            Destination { stdout: true, .. } => return Ok(()),
            Destination { into: Some(into), .. } => into.name(),
            Destination { .. } => "the feeds they came from",
        };
        if self.yes {
            return Ok(());
        }
        if !io::stdin().is_terminal() {
            return Err(
                CommandError::plain("nobody is there to be asked").advise("--yes doesn't ask")
            );
        }
        let (count, topic) = (selection.at_most(), selection.topic.name());
        let _ = write!(io::stderr(), "copy up to {count} records of {topic} into {into}? [y/N] ");
        // A thread that waits for a key holds nobody up when the program ends.
        let answer = blocking(|| {
            let mut answer = String::new();
            io::stdin().lock().read_line(&mut answer).map(|_| answer)
        });
        let answer =
            answer.await.map_err(|error| CommandError::new("reading the answer", error))?;
        match answer.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => Err(CommandError::plain("nothing was copied")),
        }
    }
}

fn first(from: Begin, low: i64) -> i64 {
    match from {
        Begin::Offset(offset) => offset,
        Begin::Earliest | Begin::Latest | Begin::Time(_) => low,
    }
}

/// A range beyond the end ends there.
fn end(to: Begin, high: i64) -> i64 {
    match to {
        Begin::Offset(offset) => offset.min(high),
        Begin::Earliest | Begin::Latest | Begin::Time(_) => high,
    }
}

fn interrupted(what: &str) -> CommandError {
    CommandError::plain(what).exit_with(INTERRUPTED)
}

fn judge(summary: Summary, ends: &BTreeMap<i32, i64>) -> Result<(), CommandError> {
    let Summary { copied, passed, next, stopped, error, took } = summary;
    let speed = rate(copied, took);
    let mut text = format!("copied {copied} in {:.1} s ({speed})", took.as_secs_f64());
    if passed > 0 {
        text.push_str(&format!(", {passed} passed over: they are not of a feed"));
    }
    print::remark(&text);
    let unfinished = next.iter().filter(|(partition, next)| ends.get(partition) > Some(next));
    let places: Vec<_> = unfinished
        .map(|(partition, next)| format!("--partition {partition} --from {next}"))
        .collect();
    let go_on = format!("go on with: {}", places.join(" and "));
    match error {
        // Whoever read standard output has enough.
        Some(ReplayError::Out(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Some(error) => {
            let code = if copied > 0 { IN_PART } else { 1 };
            Err(CommandError::new("copying", error).advise(go_on).exit_with(code))
        }
        None if stopped => Err(interrupted("stopped before the end").advise(go_on)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn internal_topics_are_no_targets() {
        assert_eq!(target("model-requests"), Ok(Topic::Feed(domain::topic::Kind::Model)));
        assert!(target("model-events").unwrap_err().contains("its processor only"));
        assert!(target("agent-state").is_err());
        assert!(target("requests").unwrap_err().contains("there is no topic requests"));
    }

    #[test]
    fn range_ends_where_the_topic_does() {
        assert_eq!((first(Begin::Offset(7), 3), first(Begin::Earliest, 3)), (7, 3));
        assert_eq!((end(Begin::Offset(7), 5), end(Begin::Offset(4), 5)), (5, 4));
        assert_eq!(end(Begin::Latest, 5), 5);
    }
}
