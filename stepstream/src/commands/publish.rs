//! `stepstream publish`: requests from a file, as an upstream system would publish them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use domain::topic::{Kind, Topic};
use publish::decode::Decoder;
use publish::input::{self, Format, Material, Rows, Unread};
use publish::pace::Rate;
use publish::progress::{Progress, rate};
use publish::request::{Template, kinds};
use publish::results::{self, Outcomes, Results};
use publish::run::{self, End, Happened, Job, Requests, SHOWN_FAULTS, Summary, Wrong};
use runtime::ports::{TailFrom, Topics as _};
use service::config::StoreKind;
use service::shutdown::Shutdown;

use super::{ConfigFile, tail::Output};
use crate::cluster::{self, blocking};
use crate::error::{CommandError, chain};
use crate::large::{self, Keeping};
use crate::{print, store};

/// The exit code when something was published and something wasn't.
const IN_PART: u8 = 3;
/// The exit code when everything was published and an execution has no answer.
const UNANSWERED: u8 = 4;
/// The exit code after Ctrl-C, as shells have it.
const INTERRUPTED: u8 = 130;

/// Publish requests from JSON lines, a JSON array or CSV.
///
/// The whole input is checked first: when a row is wrong, nothing is published. A row has the fields of a
/// request, e.g. {"model": "demo", "body": {"messages": [{"role": "user", "content": "hi"}]}}; an id is made
/// where it is missing. In CSV the first row names the fields; `labels.team` is an entry of a map.
///
/// Ctrl-C finishes what is on its way and says where it stopped.
///
/// Exit codes: 0 all went well, 1 nothing was published, 2 wrong arguments, 3 some rows were not published,
/// 4 an execution has no answer (with --follow), 130 stopped by Ctrl-C.
#[derive(Debug, Args)]
pub(crate) struct Publish {
    #[command(flatten)]
    file: ConfigFile,
    /// The file, or - for standard input
    #[arg(default_value = "-")]
    path: PathBuf,
    /// What kind of requests: as yet only model
    #[arg(long, default_value = "model", value_parser = kind)]
    kind: Kind,
    /// What the file holds. Default: by its name, else by its beginning
    #[arg(long, value_enum)]
    format: Option<FileFormat>,
    /// The model of rows that name none
    #[arg(long, value_name = "ALIAS")]
    model: Option<String>,
    /// The tenant of rows that name none
    #[arg(long)]
    tenant: Option<String>,
    /// Labels of rows that don't have them, separated by commas
    #[arg(long, value_name = "NAME=VALUE", value_delimiter = ',', value_parser = pair)]
    labels: Vec<(String, String)>,
    /// Any other field of rows that leave it out, e.g. --set stream=true. May come several times
    #[arg(long, value_name = "FIELD=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
    /// How fast at most: 100/s, 30/m. Default: as fast as they are taken
    #[arg(long, value_name = "RATE")]
    rate: Option<Rate>,
    /// Check everything, print the first N requests as JSON, and publish nothing
    #[arg(
        long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "3",
        conflicts_with_all = ["follow", "rate"]
    )]
    dry_run: Option<usize>,
    /// Wait until every execution has ended, and print what comes of it
    #[arg(long)]
    follow: bool,
    /// How results are printed
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Publish what is right, and say what isn't
    #[arg(long)]
    skip_invalid: bool,
    /// Begin with this line of the file, e.g. where an earlier run stopped
    #[arg(long, value_name = "LINE", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    from_line: u64,
}

/// The formats by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FileFormat {
    /// A JSON object on each line
    Jsonl,
    /// One JSON array
    Json,
    /// Comma-separated values
    Csv,
}

impl From<FileFormat> for Format {
    fn from(format: FileFormat) -> Self {
        match format {
            FileFormat::Jsonl => Self::Lines,
            FileFormat::Json => Self::Array,
            FileFormat::Csv => Self::Table,
        }
    }
}

fn kind(text: &str) -> Result<Kind, String> {
    let known = kinds().into_iter().find(|kind| kind.as_str() == text);
    known.ok_or_else(|| {
        let names: Vec<_> = kinds().into_iter().map(Kind::as_str).collect();
        format!("there are requests for: {}", names.join(", "))
    })
}

fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = pair.ok_or("it is written NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Publish {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        let shown = match self.path.to_str() {
            Some("-") => "standard input".to_owned(),
            _ => self.path.display().to_string(),
        };
        let template = self.template()?;
        let source = Source {
            format: self.format.map(Format::from).or_else(|| input::format_of(&self.path)),
            template,
            from_line: self.from_line,
            shown,
        };
        if let Some(count) = self.dry_run {
            let path = self.path.clone();
            return blocking(move || dry_run(&source, &path, count)).await;
        }
        let wrong = if self.skip_invalid { Wrong::Skip } else { Wrong::Stop };
        let path = self.path.clone();
        let (source, material, total) = blocking(move || source.ready(&path, wrong)).await?;
        if total == Some(0) {
            print::remark("there is nothing to publish");
            return Ok(());
        }
        self.publish(&source, &material, wrong, total).await
    }

    fn template(&self) -> Result<Template, CommandError> {
        let given = |name: &str, value: &Option<String>| {
            value.clone().map(|value| (name.to_owned(), value))
        };
        let labels = self.labels.iter();
        let labels = labels.map(|(name, value)| (format!("labels.{name}"), value.clone()));
        let otherwise = given("model", &self.model)
            .into_iter()
            .chain(given("tenant", &self.tenant))
            .chain(labels)
            .chain(self.set.iter().cloned())
            .collect();
        Template::new(self.kind, otherwise)
            .map_err(|error| CommandError::new("reading the arguments", error).exit_with(2))
    }

    async fn publish(
        &self,
        source: &Source,
        material: &Material,
        wrong: Wrong,
        total: Option<u64>,
    ) -> Result<(), CommandError> {
        let config = self.file.load_quietly()?;
        let shutdown = Shutdown::new();
        shutdown
            .listen_to_signals()
            .map_err(|error| CommandError::new("listening to signals", error))?;
        let at_once = shutdown.clone();
        let cluster = tokio::select! {
            cluster = cluster::connect(&config) => cluster?,
            () = shutdown.asked() => return Err(interrupted("nothing was published")),
        };
        let publisher = cluster
            .publisher()
            .map_err(|error| CommandError::new("making the publisher", error))?;
        let claims = match config.store.kind {
            StoreKind::Cql => {
                let store = tokio::select! {
                    store = store::open(&config) => store?,
                    () = shutdown.asked() => return Err(interrupted("nothing was published")),
                };
                Some(large::claims(&config, store))
            }
            // The file of another process.
            StoreKind::Embedded => None,
        };
        let publisher = Keeping { to: publisher, ids: cluster.ids().clone(), claims };
        // Without this, a broker that isn't there would show as no progress for a minute.
        let (asked, feed) = (cluster.clone(), Topic::Feed(self.kind));
        tokio::select! {
            found = blocking(move || asked.partitions_of(feed)) => found.map_err(|error| {
                CommandError::new("looking for the feed", error)
                    .advise("is the broker there? `stepstream doctor` looks closer")
            })?,
            () = shutdown.asked() => return Err(interrupted("nothing was published")),
        };
        let results = match self.follow {
            true => Some(watch(&cluster).await?),
            false => None,
        };
        let requests = source.requests(material)?;
        let requests = run::read_ahead(requests)
            .map_err(|error| CommandError::new("starting to read", error))?;
        let mut progress = Progress::new("published", total);
        let job = Job {
            requests,
            to: &publisher,
            ids: cluster.ids(),
            rate: self.rate,
            wrong,
            results,
            progress: &mut progress,
        };
        let output = self.output;
        let mut skipped = 0;
        let mut each = |progress: &Progress, happened: Happened<'_>| {
            progress.beside(|| say(source, output, &mut skipped, &happened));
        };
        let running = run::run(job, shutdown.asked(), &mut each);
        let summary = tokio::select! {
            summary = running => summary,
            () = at_once.at_once() => {
                return Err(interrupted("it isn't known what stands of what was on its way"));
            }
        };
        progress.finish();
        self.judge(source, summary)
    }

    /// Says what was done, and whether that is well.
    fn judge(&self, source: &Source, summary: Summary) -> Result<(), CommandError> {
        let Summary { published, skipped, lost, outcomes, unwatched, end, took } = summary;
        print::remark(&done(published, skipped, lost, took));
        if let Some(outcomes) = &outcomes {
            print::remark(&how_they_ended(*outcomes));
        }
        let code = if published > 0 { IN_PART } else { 1 };
        let go_on = |place: run::Place| match place.divides_a_line {
            false => format!("go on with --from-line {}", place.line),
            true => format!(
                "line {} holds several requests, of which some stand: put each on a line of its own to go on",
                place.line
            ),
        };
        match end {
            End::Complete => {}
            End::Stopped(place) => {
                let line = place.line;
                return Err(interrupted(&format!(
                    "stopped before line {line} of {}",
                    source.shown
                ))
                .advise(go_on(place)));
            }
            End::Lost(place) => {
                let what = format!("{lost} of the requests could not be published");
                let advice = format!("publish those named above again, then {}", go_on(place));
                return Err(CommandError::plain(what).advise(advice).exit_with(code));
            }
            End::Unread(unread) => {
                return Err(CommandError::plain(source.fault(&unread)).exit_with(code));
            }
            End::Frame(error) => return Err(CommandError::new("framing a request", error)),
        }
        if skipped > 0 {
            let what = format!("{skipped} rows of {} were passed over", source.shown);
            return Err(CommandError::plain(what).exit_with(IN_PART));
        }
        if let Some(error) = unwatched {
            return Err(CommandError::new("reading the results", error).exit_with(UNANSWERED));
        }
        match outcomes {
            Some(Outcomes { open, .. }) if open > 0 => {
                Err(interrupted(&format!("{open} executions have not ended yet")))
            }
            Some(outcomes) if !outcomes.all_succeeded() => {
                Err(CommandError::plain("not every execution has an answer").exit_with(UNANSWERED))
            }
            _ => Ok(()),
        }
    }
}

/// Reads results from where they end now: before the first request goes out.
async fn watch(cluster: &kafka::Cluster) -> Result<Results, CommandError> {
    let opening = cluster.clone();
    let tail = blocking(move || opening.tail(Topic::Results, TailFrom::Latest))
        .await
        .map_err(|error| CommandError::new("reading the results", error))?;
    let decoder = Decoder::new(cluster.ids().clone(), std::sync::Arc::new(cluster.clone()));
    Ok(Results::new(tail, decoder))
}

fn interrupted(what: &str) -> CommandError {
    CommandError::plain(what).exit_with(INTERRUPTED)
}

fn say(source: &Source, output: Output, skipped: &mut usize, happened: &Happened<'_>) {
    match happened {
        Happened::Skipped(unread) => {
            *skipped += 1;
            if *skipped <= SHOWN_FAULTS {
                print::remark(&format!("passed over: {}", source.fault(unread)));
            }
        }
        Happened::Lost { request, why } => print::remark(&format!(
            "not published: {}:{}: id {}: {why}",
            source.shown, request.line, request.id
        )),
        Happened::Result(event) => match output {
            Output::Json => print::line(&results::json(event)),
            Output::Text => {
                if let Some(line) = results::text(event) {
                    print::line(&line);
                }
            }
        },
        Happened::Unreadable(record, error) => print::remark(&format!(
            "the result at {}/{} is left out: {}",
            record.partition,
            record.record.offset,
            chain(*error)
        )),
    }
}

fn done(published: u64, skipped: u64, lost: u64, took: Duration) -> String {
    let mut text =
        format!("published {published} in {:.1} s ({})", took.as_secs_f64(), rate(published, took));
    for (count, what) in [(lost, "failed"), (skipped, "passed over")] {
        if count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    text
}

fn how_they_ended(outcomes: Outcomes) -> String {
    let Outcomes { succeeded, failed, cancelled, timed_out, open } = outcomes;
    let counts = [
        (succeeded, "succeeded"),
        (failed, "failed"),
        (cancelled, "cancelled"),
        (timed_out, "timed out"),
        (open, "not ended yet"),
    ];
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let counts: Vec<_> = counts.map(|(count, what)| format!("{count} {what}")).collect();
    if counts.is_empty() { "no executions".into() } else { counts.join(", ") }
}

/// The input, and how it is read.
struct Source {
    format: Option<Format>,
    template: Template,
    from_line: u64,
    shown: String,
}

impl Source {
    fn rows(&self, material: &Material) -> Result<Rows, CommandError> {
        let reading = |error| CommandError::new(format!("reading {}", self.shown), error);
        let bytes = material.open().map_err(reading)?;
        input::rows(bytes, self.format, &self.template)
            .map_err(|unread| CommandError::plain(self.fault(&unread)))
    }

    fn requests(&self, material: &Material) -> Result<Requests, CommandError> {
        Ok(Requests::new(self.rows(material)?, self.template.clone(), self.from_line))
    }

    /// Checks all of it, unless what is wrong is to be passed over. Returns how much there is, if known.
    fn ready(
        self,
        path: &Path,
        wrong: Wrong,
    ) -> Result<(Self, Material, Option<u64>), CommandError> {
        if wrong == Wrong::Skip {
            let material = Material::once(path);
            return Ok((self, material, None));
        }
        let material = self.checkable(path)?;
        let checked = run::check(self.requests(&material)?, 0);
        self.refuse_faults(&checked)?;
        Ok((self, material, Some(checked.right)))
    }

    fn checkable(&self, path: &Path) -> Result<Material, CommandError> {
        Material::checkable(path)
            .map_err(|error| CommandError::new(format!("reading {}", self.shown), error))
    }

    fn refuse_faults(&self, checked: &run::Checked) -> Result<(), CommandError> {
        if checked.wrong == 0 {
            return Ok(());
        }
        for fault in &checked.faults {
            print::remark(&self.fault(fault));
        }
        let more = checked.wrong.saturating_sub(checked.faults.len() as u64);
        if more > 0 {
            print::remark(&format!("and {more} more"));
        }
        let what = format!(
            "{} of {} rows are wrong; nothing was published",
            checked.wrong,
            checked.wrong + checked.right
        );
        Err(CommandError::plain(what).advise("--skip-invalid publishes those that are right"))
    }

    /// A fault with its place.
    fn fault(&self, unread: &Unread) -> String {
        match unread {
            Unread::Invalid { line, problem } | Unread::Broken { line, problem } => {
                format!("{}:{line}: {problem}", self.shown)
            }
            Unread::Io(error) => format!("reading {}: {error}", self.shown),
        }
    }
}

fn dry_run(source: &Source, path: &Path, count: usize) -> Result<(), CommandError> {
    let material = source.checkable(path)?;
    let checked = run::check(source.requests(&material)?, count);
    for request in &checked.first {
        print::line(&request.json());
    }
    source.refuse_faults(&checked)?;
    print::remark(&format!("{} requests are right; nothing was published", checked.right));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_kind_and_half_a_pair_are_answered_with_what_is_right() {
        assert_eq!(kind("model"), Ok(Kind::Model));
        let all = "there are requests for: model, function, workflow, agent";
        assert_eq!(kind("king").unwrap_err(), all);
        assert_eq!(pair("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(pair("a").is_err() && pair("=b").is_err());
    }

    #[test]
    fn summary_says_what_there_was() {
        let five = Duration::from_secs(5);
        assert_eq!(done(50, 0, 0, five), "published 50 in 5.0 s (10/s)");
        assert_eq!(done(5, 2, 1, five), "published 5 in 5.0 s (1.0/s), 1 failed, 2 passed over");
        let outcomes = Outcomes { succeeded: 3, failed: 1, ..Outcomes::default() };
        assert_eq!(how_they_ended(outcomes), "3 succeeded, 1 failed");
    }
}
