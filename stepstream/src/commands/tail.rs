//! `stepstream tail`: a topic as lines, as its records come.

use std::io;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use domain::time::Millis;
use domain::topic::Topic;
use publish::decode::Decoder;
use publish::moment;
use publish::tail::{self, Filter, Form, Shown};
use runtime::ports::{TailFrom, Topics as _};
use service::shutdown::Shutdown;

use super::ConfigFile;
use crate::cluster::{self, blocking};
use crate::error::CommandError;

/// Print the records of a topic as they come.
///
/// It reads beside everybody else and changes nothing. Ctrl-C ends it.
#[derive(Debug, Args)]
pub(crate) struct Tail {
    #[command(flatten)]
    file: ConfigFile,
    /// Which topic
    #[arg(value_enum)]
    topic: TailTopic,
    /// Where to begin: latest, earliest, a time like 2026-01-31T12:00:00Z, or (with --partition) an offset
    #[arg(long, value_name = "PLACE", default_value = "latest")]
    from: Begin,
    /// Only records of this partition
    #[arg(long, value_name = "PARTITION", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// Only records of this execution
    #[arg(long, value_name = "ID")]
    execution: Option<String>,
    /// Only records of this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// How they are printed
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// End after so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
}

/// How something is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Text,
    /// JSON, one object on each line
    Json,
}

/// The topics that can be printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TailTopic {
    /// Events of executions
    Results,
    /// The typed log for data teams
    ExecutionLog,
    /// Tokens as they come
    Stream,
    /// What could not be taken
    DeadLetters,
    /// Models, keys and other definitions
    Definitions,
}

impl From<TailTopic> for Shown {
    fn from(topic: TailTopic) -> Self {
        match topic {
            TailTopic::Results => Self::Results,
            TailTopic::ExecutionLog => Self::ExecutionLog,
            TailTopic::Stream => Self::Stream,
            TailTopic::DeadLetters => Self::DeadLetters,
            TailTopic::Definitions => Self::Definitions,
        }
    }
}

/// A place in a topic, as people name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    Earliest,
    Latest,
    Offset(i64),
    Time(Millis),
}

impl FromStr for Begin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "earliest" => return Ok(Self::Earliest),
            "latest" => return Ok(Self::Latest),
            _ => {}
        }
        if let Ok(offset @ 0..) = text.parse() {
            return Ok(Self::Offset(offset));
        }
        moment::parse(text).map(Self::Time).map_err(|_| {
            "it is earliest, latest, an offset, or a time like 2026-01-31T12:00:00Z".to_owned()
        })
    }
}

impl Tail {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        let shown = Shown::from(self.topic);
        if self.execution.is_some() && shown == Shown::Definitions {
            return Err(CommandError::plain("definitions belong to no execution").exit_with(2));
        }
        let partition = match shown {
            Shown::Definitions => Some(0),
            _ => self.partition,
        };
        let from = match (self.from, partition) {
            (Begin::Offset(_), None) => {
                return Err(CommandError::plain("an offset is one of a partition")
                    .advise("name it: --partition 0")
                    .exit_with(2));
            }
            (Begin::Offset(offset), Some(partition)) => Start::Offset(partition, offset),
            (Begin::Latest, _) => Start::Tail(TailFrom::Latest),
            (Begin::Earliest | Begin::Time(_), _) => Start::Tail(TailFrom::Earliest),
        };
        let since = match self.from {
            Begin::Time(time) => Some(time),
            _ => None,
        };
        let Self { execution, tenant, limit, output, .. } = self;
        let filter = Filter { execution, tenant, since, partition: self.partition, limit };
        let form = match output {
            Output::Text => Form::Text,
            Output::Json => Form::Json,
        };
        let config = self.file.load_quietly()?;
        let shutdown = Shutdown::new();
        shutdown
            .listen_to_signals()
            .map_err(|error| CommandError::new("listening to signals", error))?;
        let opening = async {
            let cluster = cluster::connect(&config).await?;
            let opening = cluster.clone();
            let tail = blocking(move || {
                let from = from.resolve(&opening, shown.topic())?;
                opening.tail(shown.topic(), from)
            });
            let tail = tail.await.map_err(|error| {
                CommandError::new("opening the topic", error)
                    .advise("`stepstream topics check` says whether the topics are there")
            })?;
            Ok::<_, CommandError>((cluster, tail))
        };
        let (cluster, reading) = tokio::select! {
            opened = opening => opened?,
            () = shutdown.asked() => return Ok(()),
        };
        let decoder = Decoder::new(cluster.ids().clone(), std::sync::Arc::new(cluster));
        let mut out = io::stdout();
        tail::run(reading, decoder, shown, filter, form, &mut out, shutdown.asked())
            .await
            .map(|_| ())
            .map_err(|error| CommandError::new(shown.topic().name(), error))
    }
}

/// Where to begin, as far as it can be told without a broker.
enum Start {
    Tail(TailFrom),
    Offset(i32, i64),
}

impl Start {
    /// Of the other partitions nothing is read.
    fn resolve(
        self,
        cluster: &kafka::Cluster,
        topic: Topic,
    ) -> Result<TailFrom, runtime::ports::ClusterError> {
        let (partition, offset) = match self {
            Self::Tail(from) => return Ok(from),
            Self::Offset(partition, offset) => (partition, offset),
        };
        let mut offsets = std::collections::BTreeMap::new();
        for other in 0..cluster.partitions_of(topic)? {
            offsets.insert(other, cluster.watermarks(topic, other)?.1);
        }
        offsets.insert(partition, offset);
        Ok(TailFrom::Offsets(offsets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_is_read_as_people_write_it() {
        assert_eq!("earliest".parse(), Ok(Begin::Earliest));
        assert_eq!("12".parse(), Ok(Begin::Offset(12)));
        assert_eq!("1970-01-01T00:00:01Z".parse(), Ok(Begin::Time(Millis(1_000))));
        for wrong in ["", "-1", "yesterday", "2026-01-31"] {
            assert!(wrong.parse::<Begin>().unwrap_err().contains("earliest"), "{wrong}");
        }
    }
}
