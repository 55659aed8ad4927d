//! `stepstream schedule`: when workflows start by themselves, in files and stored, without a gateway.
//!
//! Whatever is stored is checked first, and by the same rules as over HTTP. What steers a schedule that stands
//! goes through the gateway.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::{ArgGroup, Args, Subcommand};
use domain::catalogue::Version;
use domain::schedule::definition::Definition;
use domain::schedule::{SCHEMA, stored};
use domain::time::{Millis, to_rfc3339};
use domain::workflow::problem::Problem;

use super::stored::{Candidate, Opened, SCHEDULES, Where, name, parsed};
use super::workflow::files::{read, shown};
use crate::error::CommandError;
use crate::print;

/// Manage schedules, which start workflows by themselves, and see when a schedule is due.
///
/// `next` with a file and `schema` need no cluster. What steers one that stands (pause, resume, trigger,
/// backfill) goes through the gateway (`POST /v1/schedules/{name}:pause`).
#[derive(Debug, Subcommand)]
pub(crate) enum Schedule {
    /// Store schedules: a new version of each that changed
    Apply(Apply),
    /// Print the schedules of a tenant
    List(List),
    /// Print a stored schedule as JSON
    Get(Get),
    /// Delete a schedule: nothing starts by it any more, and its versions can still be read
    Delete(Delete),
    /// Print when a schedule is due next, without its jitter and whether or not it is paused
    Next(Next),
    /// Print the JSON Schema of schedules, for editors
    Schema,
}

#[derive(Debug, Args)]
pub(crate) struct Apply {
    #[command(flatten)]
    place: Where,
    /// Schedules (YAML or JSON), each stored under the name of its file; `-` reads standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Store it under this name. For one file
    #[arg(long, value_parser = name)]
    name: Option<String>,
    /// Store it only if this version stands; 0: if there never was one. For one file
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(i32).range(0..))]
    expect: Option<i32>,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    place: Where,
}

#[derive(Debug, Args)]
// Its own `version` takes the place of the program's.
#[command(disable_version_flag = true)]
pub(crate) struct Get {
    #[command(flatten)]
    place: Where,
    /// The schedule
    #[arg(value_parser = name)]
    name: String,
    /// This version. Default: the newest
    #[arg(long, value_name = "VERSION")]
    version: Option<i32>,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    place: Where,
    /// The schedule
    #[arg(value_parser = name)]
    name: String,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).args(["name", "definition"]))]
pub(crate) struct Next {
    #[command(flatten)]
    place: Where,
    /// The schedule
    #[arg(value_parser = name)]
    name: Option<String>,
    /// Read the schedule from this file instead; `-` reads standard input
    #[arg(long = "file", value_name = "FILE")]
    definition: Option<PathBuf>,
    /// How many times
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    count: u16,
}

impl Schedule {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        match self {
            Self::Apply(apply) => apply.run().await,
            Self::List(list) => list.run().await,
            Self::Get(get) => get.run().await,
            Self::Delete(delete) => delete.run().await,
            Self::Next(next) => next.run().await,
            Self::Schema => {
                print::line(SCHEMA.trim_end());
                Ok(())
            }
        }
    }
}

impl Apply {
    async fn run(self) -> Result<(), CommandError> {
        let Self { place, files, name, expect } = self;
        if files.len() > 1 && (name.is_some() || expect.is_some()) {
            return Err(CommandError::plain("--name and --expect are about one file")
                .advise("apply the files one by one"));
        }
        let candidates = candidates(&files, name.as_deref())?;
        let opened = place.open(&SCHEDULES).await?;
        for candidate in &candidates {
            print::line(&apply(&opened, candidate, expect).await?);
        }
        Ok(())
    }
}

/// What the files hold, if all of it can be used as far as that can be told without a cluster.
fn candidates(files: &[PathBuf], called: Option<&str>) -> Result<Vec<Candidate>, CommandError> {
    let mut candidates = Vec::with_capacity(files.len());
    for file in files {
        let (shown, definition) = (shown(file), read(file)?);
        let stem = file.file_stem().and_then(|stem| stem.to_str()).filter(|stem| *stem != "-");
        let name = match called.or(stem).map(name) {
            Some(Ok(name)) => name,
            _ => {
                return Err(CommandError::plain(format!("{shown} has no name for a schedule"))
                    .advise("say it with --name"));
            }
        };
        if let Err(problems) = Definition::read(&definition) {
            return Err(unusable(&shown, &problems).advise("nothing was stored"));
        }
        candidates.push(Candidate { shown, name, definition });
    }
    Ok(candidates)
}

/// Tells what is wrong with a definition.
fn unusable(shown: &str, problems: &[Problem]) -> CommandError {
    problems.iter().for_each(|problem| print::remark(&format!("{shown}: {problem}")));
    CommandError::plain(format!("{shown} can't be used"))
}

/// Stores one definition, unless it says what stands already; a line that says which it was.
async fn apply(
    opened: &Opened,
    candidate: &Candidate,
    expect: Option<i32>,
) -> Result<String, CommandError> {
    let Candidate { shown, name, definition } = candidate;
    let (catalogue, tenant) = (opened.definitions.snapshot(), opened.tenant.as_str());
    let (read, warnings) = stored::check(&catalogue, tenant, name, definition)
        .map_err(|problems| unusable(shown, &problems))?;
    warnings.iter().for_each(|problem| print::remark(&format!("{shown}: {problem}")));
    let same = |stands: &Version| definition_of(stands).is_ok_and(|stands| stands == read);
    opened.store(candidate, expect, same).await
}

/// What a stored version says. One that was written into the topic by somebody else may be no schedule.
fn definition_of(version: &Version) -> Result<Definition, String> {
    let value = parsed(version).map_err(|error| format!("is no JSON: {error}"))?;
    Definition::read(&value).map(|(definition, _)| definition).map_err(|problems| {
        let first = problems.first().map(Problem::to_string).unwrap_or_default();
        format!("can't be used: {first}")
    })
}

impl List {
    async fn run(self) -> Result<(), CommandError> {
        let opened = self.place.open(&SCHEDULES).await?;
        let catalogue = opened.definitions.snapshot();
        for (name, version) in catalogue.names(SCHEDULES.kind, &opened.tenant) {
            print::line(&line(name, version));
        }
        Ok(())
    }
}

/// What `list` says of a schedule.
fn line(name: &str, version: &Version) -> String {
    let number = version.number;
    match definition_of(version) {
        Ok(it) => {
            let (workflow, cron, zone) = (&it.workflow, it.cron(), it.time_zone());
            format!("{name}\tversion {number}\t{workflow}\t{cron}\t{zone}")
        }
        Err(why) => format!("{name}\tversion {number}\t{why}"),
    }
}

impl Get {
    async fn run(self) -> Result<(), CommandError> {
        let opened = self.place.open(&SCHEDULES).await?;
        let catalogue = opened.definitions.snapshot();
        let said = SCHEDULES.said(&catalogue, &opened.tenant, &self.name, self.version)?;
        print::line(&format!("{said:#}"));
        Ok(())
    }
}

impl Delete {
    async fn run(self) -> Result<(), CommandError> {
        self.place.open(&SCHEDULES).await?.delete(&self.name).await
    }
}

impl Next {
    async fn run(self) -> Result<(), CommandError> {
        let definition = match (&self.definition, &self.name) {
            (Some(file), _) => {
                let shown = shown(file);
                let (definition, warnings) = Definition::read(&read(file)?)
                    .map_err(|problems| unusable(&shown, &problems))?;
                warnings.iter().for_each(|problem| print::remark(&format!("{shown}: {problem}")));
                definition
            }
            (None, name) => {
                let name = name.as_deref().unwrap_or_default();
                let opened = self.place.open(&SCHEDULES).await?;
                let catalogue = opened.definitions.snapshot();
                let version = SCHEDULES.find(&catalogue, &opened.tenant, name, None)?;
                definition_of(version).map_err(|why| {
                    CommandError::plain(format!("version {} of {name} {why}", version.number))
                })?
            }
        };
        times(&definition, SystemTime::now().into(), self.count.into())
            .iter()
            .for_each(|time| print::line(time));
        Ok(())
    }
}

/// The times after `now` at which a schedule is due: at most `count`.
fn times(definition: &Definition, now: Millis, count: usize) -> Vec<String> {
    let due = |after: &Millis| definition.next_after(*after);
    std::iter::successors(due(&now), due).take(count).map(to_rfc3339).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn version(body: &Value) -> Version {
        let body = Some(body.to_string());
        Version { number: 3, body, proposal: "p".into(), time: Millis(0) }
    }

    #[test]
    fn list_shows_what_starts_when() {
        let good = version(&json!({"workflow": "w", "cron": "0 2 * * *"}));
        assert_eq!(line("n", &good), "n\tversion 3\tw\t0 2 * * *\tUTC");
        let broken = line("n", &version(&json!({"workflow": "w"})));
        assert!(broken.starts_with("n\tversion 3\tcan't be used: error at"), "{broken}");
    }

    #[test]
    fn next_times_end_with_the_schedule() {
        let body = json!({"workflow": "w", "cron": "0 2 * * *", "endAt": "1970-01-03T00:00:00Z"});
        let definition = definition_of(&version(&body)).unwrap();
        let expected = ["1970-01-01T02:00:00.000Z", "1970-01-02T02:00:00.000Z"];
        assert_eq!(times(&definition, Millis(0), 5), expected);
        assert_eq!(times(&definition, Millis(0), 1), expected[..1]);
    }
}
