//! `rebuild`: the projection from the topics alone, by `stepstream store rebuild` as an operator runs it: how
//! fast it writes and compares, and whether its memory grows with what it has read.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::asks::per_thousand;
use crate::facts::{self, Written};
use crate::lane::precise;
use crate::operator::Operator;
use crate::platform::Platform;
use crate::report::{Reach, Report, Row};
use crate::stack::Stack;
use crate::usage::{cpu_seconds, peak_rss_mib, rss_mib};

/// Events and rows that are read, unless said otherwise.
const RECORDS: u64 = 1_000_000;
/// How often memory and CPU of the command are looked at.
const LOOK: Duration = Duration::from_millis(50);
/// What memory may have grown to at the end, times what it was after a quarter.
const FLAT: f64 = 1.2;

/// The bench.
pub(crate) fn run(stack: &Stack, records: Option<u64>) -> anyhow::Result<Report> {
    let operator = Operator::new(stack)?;
    let platform = Platform::join(stack, operator.prefix())?;
    let written = facts::write(&platform, records.unwrap_or(RECORDS))?;
    drop(platform);
    let watched = Watched::run(&operator)?;
    let records = written.records();
    let mut rows = vec![Row {
        name: "stepstream store rebuild".into(),
        sent: records,
        completed: records,
        void: watched.wrong(written),
        more: vec![
            ("s in all".into(), watched.took.as_secs_f64()),
            ("its CPU s/1000".into(), per_thousand(watched.cpu, records)),
            ("its peak MiB".into(), watched.peak_mib),
            ("lines of progress".into(), precise(watched.between())),
        ],
        ..Row::default()
    }];
    let shown = precise(watched.between());
    let mut reaches =
        vec![Reach::at_least("lines that say how far it is, before an end", shown, 1.0, "lines")];
    for verb in ["writing", "comparing"] {
        let Some(part) = Part::of(verb, &watched, records) else {
            rows[0].void.get_or_insert_with(|| format!("nothing was heard of {verb}"));
            continue;
        };
        let [first, .., last] = part.mib;
        let what = format!("{verb}: memory at 100 % / at 25 %");
        reaches.push(Reach::at_most(what, last / first.max(f64::MIN_POSITIVE), FLAT, "x"));
        rows.push(part.row(verb, records));
    }
    let seconds = watched.took.as_secs();
    Ok(Report::new("rebuild", seconds, rows, reaches, stack.broker_pid))
}

/// Memory at a moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    mib: f64,
}

/// A line of progress, and when it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    at: Instant,
    /// What is done with which topic.
    what: String,
    done: u64,
    of: u64,
}

impl Said {
    /// `writing results: 50 of 200 offsets, 25 %, 10/s, 15 s left`; `None`: it says something else.
    fn parse(line: &str, at: Instant) -> Option<Self> {
        let (what, rest) = line.split_once(": ")?;
        let (done, rest) = rest.split_once(" of ")?;
        let (of, _) = rest.split_once(" offsets, ")?;
        Some(Self { at, what: what.into(), done: done.parse().ok()?, of: of.parse().ok()? })
    }
}

/// A command that has run, and what was seen of it.
struct Watched {
    began: Instant,
    took: Duration,
    status: ExitStatus,
    printed: String,
    /// What it said that is no progress.
    other: Vec<String>,
    said: Vec<Said>,
    samples: Vec<Sample>,
    cpu: f64,
    peak_mib: f64,
}

impl Watched {
    fn run(operator: &Operator) -> anyhow::Result<Self> {
        let began = Instant::now();
        let mut child = operator
            .command(&["store", "rebuild"])?
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting `stepstream store rebuild`")?;
        let errors = child.stderr.take().context("its errors were piped")?;
        let mut output = child.stdout.take().context("its output was piped")?;
        let heard = thread::spawn(move || {
            let (mut said, mut other) = (Vec::new(), Vec::new());
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                match Said::parse(&line, Instant::now()) {
                    Some(progress) => said.push(progress),
                    None => other.push(line),
                }
            }
            (said, other)
        });
        let printed = thread::spawn(move || {
            let mut text = String::new();
            output.read_to_string(&mut text).map(|_| text)
        });
        let (mut samples, mut cpu, mut peak_mib) = (Vec::new(), 0.0, 0.0);
        let status = loop {
            if let Some(status) = child.try_wait().context("waiting for the rebuild")? {
                break status;
            }
            let pid = child.id();
            // One that has ended meanwhile has no memory left.
            if let Some(mib) = rss_mib(pid) {
                samples.push(Sample { at: Instant::now(), mib });
                cpu = cpu_seconds(pid).unwrap_or(cpu);
                peak_mib = peak_rss_mib(pid).unwrap_or(peak_mib);
            }
            thread::sleep(LOOK);
        };
        let took = began.elapsed();
        let (said, other) = heard.join().expect("reading lines doesn't panic");
        let printed = printed.join().expect("reading doesn't panic").context("reading it")?;
        Ok(Self { began, took, status, printed, other, said, samples, cpu, peak_mib })
    }

    /// Lines of progress that aren't the last of their topic.
    fn between(&self) -> u64 {
        self.said.iter().filter(|said| said.done < said.of).count() as u64
    }

    /// The gate: it went well, and says what was in the topics.
    fn wrong(&self, written: Written) -> Option<String> {
        if !self.status.success() {
            return Some(format!("{}: {}", self.status, self.other.join(" / ")));
        }
        ["written", "compared"].into_iter().find_map(|verb| {
            let expected = expected(verb, written);
            let found = self.printed.lines().find(|line| line.starts_with(verb));
            (found != Some(expected.as_str()))
                .then(|| format!("it says {found:?} instead of '{expected}'"))
        })
    }
}

fn expected(verb: &str, written: Written) -> String {
    let (records, events, calls) = (written.records(), written.events(), written.calls);
    format!("{verb} {records} records: {events} events ({calls} executions ended), {events} rows")
}

/// Writing, or comparing: both topics one after the other.
struct Part {
    seconds: f64,
    /// After each quarter.
    mib: [f64; 4],
}

impl Part {
    fn of(verb: &str, watched: &Watched, records: u64) -> Option<Self> {
        let began = match verb {
            "writing" => watched.began,
            // It begins where the one before has ended.
            _ => watched.said.iter().rfind(|said| !said.what.starts_with(verb))?.at,
        };
        let points = points(verb, began, &watched.said);
        let (ended, _) = points.last().filter(|(_, done)| *done == records)?;
        let mut mib = [0.0; 4];
        for (nth, mib) in mib.iter_mut().enumerate() {
            let at = when(&points, records * (nth as u64 + 1) / 4)?;
            *mib = watched.samples.iter().rfind(|sample| sample.at <= at)?.mib;
        }
        Some(Self { seconds: ended.duration_since(began).as_secs_f64(), mib })
    }

    fn row(&self, verb: &str, records: u64) -> Row {
        let rate = precise(records) / self.seconds.max(f64::MIN_POSITIVE);
        let mut more = vec![("records/s".to_owned(), rate)];
        for (quarter, mib) in ["25", "50", "75", "100"].iter().zip(self.mib) {
            more.push((format!("MiB at {quarter} %"), mib));
        }
        let name = format!("{verb}, both topics");
        Row { name, sent: records, completed: records, more, ..Row::default() }
    }
}

/// When how many records of both topics were done.
fn points(verb: &str, began: Instant, said: &[Said]) -> Vec<(Instant, u64)> {
    let mut points = vec![(began, 0)];
    let (mut before, mut topic) = (0, None);
    for said in said.iter().filter(|said| said.what.starts_with(verb)) {
        if let Some((_, total)) =
            topic.replace((&said.what, said.of)).filter(|(what, _)| *what != &said.what)
        {
            before += total;
        }
        points.push((said.at, before + said.done));
    }
    points
}

/// When so many were done, between two points as if it had gone evenly.
fn when(points: &[(Instant, u64)], done: u64) -> Option<Instant> {
    points.windows(2).find_map(|pair| {
        let [(from, low), (to, high)] = [pair[0], pair[1]];
        if done > high {
            return None;
        }
        let share = precise(done.saturating_sub(low)) / precise((high - low).max(1));
        Some(from + to.duration_since(from).mul_f64(share.clamp(0.0, 1.0)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(what: &str, at: Instant, done: u64, of: u64) -> Said {
        Said { at, what: what.into(), done, of }
    }

    #[test]
    fn line_of_progress_is_read_and_any_other_is_not() {
        let at = Instant::now();
        let line = "writing results: 50 of 200 offsets, 25 %, 10/s, 15 s left";
        assert_eq!(Said::parse(line, at), Some(said("writing results", at, 50, 200)));
        for line in ["", "error: opening the store", "a: b of c offsets, 1 %", "WARN x: 1 of 2"] {
            assert_eq!(Said::parse(line, at), None, "{line}");
        }
    }

    #[test]
    fn quarters_run_over_both_topics() {
        let began = Instant::now();
        let after = |seconds| began + Duration::from_secs(seconds);
        let lines = [
            said("writing results", after(5), 50, 100),
            said("writing results", after(10), 100, 100),
            said("writing execution-log", after(30), 100, 100),
            said("comparing results", after(40), 100, 100),
        ];
        let points = points("writing", began, &lines);
        assert_eq!(points.last(), Some(&(after(30), 200)));
        let times = [50, 100, 150, 200].map(|done| when(&points, done).unwrap());
        assert_eq!(times, [after(5), after(10), after(20), after(30)]);
        assert_eq!(when(&points, 201), None);
    }

    #[test]
    fn gate_wants_the_very_numbers() {
        let written = Written { calls: 2 };
        let text = "written 12 records: 6 events (2 executions ended), 6 rows";
        assert_eq!(expected("written", written), text);
    }
}
