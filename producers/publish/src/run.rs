//! Publishing the requests of an input: at a pace, several on their way at once, to an end of which it is
//! known what stands.
//!
//! It stops at the first request that can't be published, rather than go on without it, and when it is
//! asked to; either way it finishes what is on its way and says where to go on. Whether an input is right
//! as a whole is [`check`]'s question, asked before.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::pin::pin;
use std::time::Duration;

use domain::event::ExecutionEvent;
use runtime::ports::{ClusterError, Publish, Tailed};
use schemas::{FrameError, Ids};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use crate::decode::DecodeError;
use crate::delivery::{Delivered, Delivery};
use crate::input::{Rows, Unread};
use crate::pace::{Pace, Rate};
use crate::progress::{EVERY, Progress};
use crate::request::{Request, Template};
use crate::results::{Outcomes, Results};

/// Requests that are read ahead: as many as may be on their way.
const AHEAD: usize = crate::delivery::IN_FLIGHT;

/// The most faults that are shown of one input.
pub const SHOWN_FAULTS: usize = 20;

/// The requests of rows, each checked, also against the ids before it.
pub struct Requests {
    rows: Rows,
    template: Template,
    from_line: u64,
    hasher: RandomState,
    /// By the hash of an id, the line that has it: a million take 30 MB.
    seen: HashMap<u64, u64>,
}

impl Requests {
    /// The requests of the rows that begin on `from_line` or after it. What is before isn't judged.
    #[must_use]
    pub fn new(rows: Rows, template: Template, from_line: u64) -> Self {
        Self { rows, template, from_line, hasher: RandomState::new(), seen: HashMap::new() }
    }

    fn request(&mut self, row: crate::input::Row) -> Result<Request, Unread> {
        let line = row.line;
        let request =
            self.template.read(row).map_err(|problem| Unread::Invalid { line, problem })?;
        // An id that comes twice would be one execution, and the second request a copy of the first.
        match self.seen.insert(self.hasher.hash_one(&request.id), line) {
            None => Ok(request),
            Some(before) => {
                Err(Unread::invalid(line, "id", format!("is the one of line {before}")))
            }
        }
    }
}

impl Iterator for Requests {
    type Item = Result<Request, Unread>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            return match self.rows.next()? {
                Ok(row) if row.line < self.from_line => continue,
                Ok(row) => Some(self.request(row)),
                Err(Unread::Invalid { line, .. }) if line < self.from_line => continue,
                Err(error) => Some(Err(error)),
            };
        }
    }
}

/// What an input holds.
#[derive(Debug, Default)]
pub struct Checked {
    /// Requests that are right.
    pub right: u64,
    /// How much is wrong.
    pub wrong: u64,
    /// The first [`SHOWN_FAULTS`] of that.
    pub faults: Vec<Unread>,
    /// The first requests, as many as were asked for.
    pub first: Vec<Request>,
}

/// Reads a whole input and publishes nothing.
#[must_use]
pub fn check(requests: Requests, keep: usize) -> Checked {
    let mut checked = Checked::default();
    for request in requests {
        match request {
            Ok(request) => {
                checked.right += 1;
                if checked.first.len() < keep {
                    checked.first.push(request);
                }
            }
            Err(fault) => {
                checked.wrong += 1;
                if checked.faults.len() < SHOWN_FAULTS {
                    checked.faults.push(fault);
                }
            }
        }
    }
    checked
}

/// Reads requests on a thread of its own, since a file or a pipe may block.
///
/// # Errors
/// The system has no thread to give.
pub fn read_ahead(
    mut requests: Requests,
) -> std::io::Result<mpsc::Receiver<Result<Request, Unread>>> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    std::thread::Builder::new().name("input".into()).spawn(move || {
        // Nobody takes what comes after a stop.
        while let Some(request) = requests.next()
            && sender.blocking_send(request).is_ok()
        {}
    })?;
    Ok(receiver)
}

/// What to do about a row that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Pass it over.
    Skip,
    /// Stop before it.
    Stop,
}

/// What is to be done, and with what.
pub struct Job<'a> {
    /// From [`read_ahead`].
    pub requests: mpsc::Receiver<Result<Request, Unread>>,
    /// Where to.
    pub to: &'a dyn Publish,
    /// The ids of the schemas.
    pub ids: &'a Ids,
    /// How fast at most.
    pub rate: Option<Rate>,
    /// What to do about a wrong row.
    pub wrong: Wrong,
    /// To be watched until every execution has ended.
    pub results: Option<Results>,
    /// To be told how far it is.
    pub progress: &'a mut Progress,
}

/// What the person may want to see at once.
#[derive(Debug)]
pub enum Happened<'a> {
    /// A row was passed over.
    Skipped(&'a Unread),
    /// A request does not stand, or nobody knows.
    Lost {
        /// The request.
        request: &'a Request,
        /// Why.
        why: &'a ClusterError,
    },
    /// A result came.
    Result(&'a ExecutionEvent),
    /// A result can't be read.
    Unreadable(&'a Tailed, &'a DecodeError),
}

/// Where to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Every request that begins on an earlier line stands, was skipped, or was reported as lost.
    pub line: u64,
    /// Some that begin on that line stand already: it holds several.
    pub divides_a_line: bool,
}

/// Why no more was published.
#[derive(Debug)]
pub enum End {
    /// There was no more.
    Complete,
    /// It was asked to stop.
    Stopped(Place),
    /// A request could not be published.
    Lost(Place),
    /// The input was wrong here.
    Unread(Unread),
    /// A record can't be framed: our own mistake.
    Frame(FrameError),
}

/// What was done.
#[derive(Debug)]
pub struct Summary {
    /// Requests that stand.
    pub published: u64,
    /// Rows that were passed over.
    pub skipped: u64,
    /// Requests that don't stand, or of which nobody knows.
    pub lost: u64,
    /// How the executions ended, if that was watched.
    pub outcomes: Option<Outcomes>,
    /// Why results could not be watched to the end.
    pub unwatched: Option<ClusterError>,
    /// Until when.
    pub end: End,
    /// How long publishing took, results not counted.
    pub took: Duration,
}

/// Publishes until there is no more, until `stop`, or until something can't be published.
pub async fn run(
    job: Job<'_>,
    stop: impl Future<Output = ()>,
    each: &mut (dyn FnMut(&Progress, Happened<'_>) + Send),
) -> Summary {
    let Job { mut requests, to, ids, rate, wrong, mut results, progress } = job;
    let began = Instant::now();
    let mut stop = pin!(stop);
    let mut asked = false;
    let mut pace = Pace::new(rate);
    let mut delivery: Delivery<'_, Request> = Delivery::new(to);
    let mut waiting: Option<Request> = None;
    let mut last_line = 0;
    let mut end: Option<Ending> = None;
    let mut ticks = tokio::time::interval_at(began + EVERY, EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut summary = Summary {
        published: 0,
        skipped: 0,
        lost: 0,
        outcomes: None,
        unwatched: None,
        end: End::Complete,
        took: Duration::ZERO,
    };
    loop {
        let open = end.is_none();
        if !open && delivery.is_empty() {
            if summary.took.is_zero() {
                summary.took = began.elapsed();
            }
            let watches = results.as_ref().is_some_and(|results| !results.is_empty());
            if !watches || asked {
                break;
            }
        }
        let due = began + pace.due();
        tokio::select! {
            () = &mut stop, if !asked => {
                asked = true;
                // What ended already is only not watched any further.
                end = end.or(Some(Ending::Stopped));
            }
            Delivered { tag: request, place } = delivery.next(), if !delivery.is_empty() => {
                match place {
                    Ok(_) => {
                        summary.published += 1;
                        progress.add(1);
                    }
                    Err(why) => {
                        summary.lost += 1;
                        if let Some(results) = &mut results {
                            results.forget(&request.id);
                        }
                        each(progress, Happened::Lost { request: &request, why: &why });
                        if end.is_none() {
                            end = Some(Ending::Lost);
                        }
                    }
                }
            }
            next = requests.recv(), if open && waiting.is_none() && delivery.has_room() => {
                match next {
                    Some(Ok(request)) => waiting = Some(request),
                    Some(Err(unread)) if wrong == Wrong::Skip && unread.goes_on() => {
                        summary.skipped += 1;
                        each(progress, Happened::Skipped(&unread));
                    }
                    Some(Err(unread)) => end = Some(Ending::Unread(unread)),
                    None => end = Some(Ending::Complete),
                }
            }
            () = tokio::time::sleep_until(due), if open && waiting.is_some() => {
                let request = waiting.take().expect("it was looked at just now");
                match request.outgoing(ids) {
                    Ok(record) => {
                        if let Some(results) = &mut results {
                            results.expect(&request.id);
                        }
                        last_line = request.line;
                        delivery.send(record, request).await;
                        pace.sent(began.elapsed());
                    }
                    Err(error) => end = Some(Ending::Frame(error)),
                }
            }
            batch = next_results(&mut results), if results.is_some() => {
                match (batch, &mut results) {
                    (Ok(batch), Some(results)) => {
                        for record in batch {
                            match results.news(&record).await {
                                Ok(None) => {}
                                Ok(Some(event)) => each(progress, Happened::Result(&event)),
                                Err(error) => each(progress, Happened::Unreadable(&record, &error)),
                            }
                        }
                    }
                    (Err(error), Some(watched)) => {
                        summary.outcomes = Some(watched.outcomes());
                        summary.unwatched = Some(error);
                        results = None;
                    }
                    (_, None) => {}
                }
            }
            _ = ticks.tick() => progress.tick(),
        }
    }
    if let Some(results) = &results {
        summary.outcomes = Some(results.outcomes());
    }
    let place = || {
        let next = waiting.map(|request| request.line).or_else(|| match requests.try_recv() {
            Ok(Ok(request)) => Some(request.line),
            Ok(Err(Unread::Invalid { line, .. } | Unread::Broken { line, .. })) => Some(line),
            _ => None,
        });
        let line = next.unwrap_or(last_line + 1);
        Place { line, divides_a_line: line == last_line }
    };
    summary.end = match end {
        None | Some(Ending::Complete) => End::Complete,
        Some(Ending::Stopped) => End::Stopped(place()),
        Some(Ending::Lost) => End::Lost(place()),
        Some(Ending::Unread(unread)) => End::Unread(unread),
        Some(Ending::Frame(error)) => End::Frame(error),
    };
    summary
}

/// Why nothing more is taken.
enum Ending {
    Complete,
    Stopped,
    Lost,
    Unread(Unread),
    Frame(FrameError),
}

async fn next_results(results: &mut Option<Results>) -> Result<Vec<Tailed>, ClusterError> {
    match results {
        Some(results) => results.next().await,
        None => std::future::pending().await,
    }
}
