//! What a schedule says: read from JSON with everything that is wrong with it at once, and written back.
//!
//! It doesn't know whether the workflow exists: an execution that can't start says so itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::calendar::{self, Calendar};
use super::cron::Cron;
use crate::time::Millis;
use crate::workflow::definition::Pin;
use crate::workflow::fields::{Shape, optional, required};
use crate::workflow::problem::{Pointer, Problem, Problems};
use crate::workflow::reader::{Object, text, wrong_type};

/// The fields of a schedule.
pub const SHAPE: Shape = Shape {
    name: "schedule",
    fields: &[
        required("workflow"),
        optional("version"),
        optional("alias"),
        required("cron"),
        optional("timeZone"),
        optional("input"),
        optional("labels"),
        optional("searchAttributes"),
        optional("overlap"),
        optional("catchUp"),
        optional("catchUpWindow"),
        optional("paused"),
        optional("startAt"),
        optional("endAt"),
        optional("jitter"),
    ],
};

/// How long times that passed are made up for, unless the definition says otherwise: a day.
const DEFAULT_WINDOW_MS: u64 = 24 * 60 * 60 * 1000;

/// What happens at a due time while a former execution still runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overlap {
    /// The new one is dropped.
    #[default]
    Skip,
    /// The new one waits until nothing runs any more. At most one waits; what is due meanwhile is dropped.
    Queue,
    /// The former is cancelled, and the new one starts when it has ended, compensations included. What is
    /// due meanwhile takes the place of the one that waits.
    Cancel,
    /// Both run.
    Allow,
}

/// What happens with times that passed while nobody could fire them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CatchUp {
    /// They are missed.
    None,
    /// The newest within the window fires, unless one fires that is on time; the others are missed.
    #[default]
    One,
    /// Those within the window fire, each on its own.
    All,
}

const OVERLAPS: [(&str, Overlap); 4] = [
    ("skip", Overlap::Skip),
    ("queue", Overlap::Queue),
    ("cancel", Overlap::Cancel),
    ("allow", Overlap::Allow),
];

const CATCH_UPS: [(&str, CatchUp); 3] =
    [("none", CatchUp::None), ("one", CatchUp::One), ("all", CatchUp::All)];

/// What a schedule says.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// The name of the workflow.
    pub workflow: String,
    /// Which version of it, resolved at each start.
    pub pin: Pin,
    /// The input of each execution: an object.
    pub input: Arc<Value>,
    /// Labels of each execution.
    pub labels: BTreeMap<String, String>,
    /// Search attributes of each execution.
    pub search_attributes: BTreeMap<String, String>,
    /// See [`Overlap`].
    pub overlap: Overlap,
    /// See [`CatchUp`].
    pub catch_up: CatchUp,
    /// How far back times are made up for, in milliseconds.
    pub catch_up_window_ms: u64,
    /// Whether it starts paused.
    pub paused: bool,
    /// Nothing is due before.
    pub start_at: Option<Millis>,
    /// Nothing is due from here on.
    pub end_at: Option<Millis>,
    /// A time fires up to so many milliseconds after it is due, but before the next is, so that schedules of
    /// the same hour don't all fire at once. Which delay it is follows from the schedule's id and the time.
    pub jitter_ms: u64,
    cron: String,
    time_zone: String,
    calendar: Calendar,
}

impl Definition {
    /// Reads a definition; the warnings are for its author.
    ///
    /// # Errors
    /// Everything that is wrong with it, warnings included; at least one is an error.
    pub fn read(value: &Value) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        let mut problems = Problems::default();
        match read(value, &mut problems) {
            Some(definition) if !problems.has_errors() => Ok((definition, problems.into_sorted())),
            _ => Err(problems.into_sorted()),
        }
    }

    /// As JSON, with every default written out; reading it gives the same definition.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut map = Map::new();
        let mut put = |name: &str, value: Value| map.insert(name.to_owned(), value);
        put("workflow", json!(self.workflow));
        match &self.pin {
            Pin::Version(version) => _ = put("version", json!(version)),
            Pin::Alias(alias) => _ = put("alias", json!(alias)),
            Pin::Newest => {}
        }
        put("cron", json!(self.cron));
        put("timeZone", json!(self.time_zone));
        put("input", Value::clone(&self.input));
        put("labels", json!(self.labels));
        put("searchAttributes", json!(self.search_attributes));
        put("overlap", json!(word(self.overlap, &OVERLAPS)));
        put("catchUp", json!(word(self.catch_up, &CATCH_UPS)));
        if self.catch_up != CatchUp::None {
            put("catchUpWindow", json!(format!("{}ms", self.catch_up_window_ms)));
        }
        put("paused", json!(self.paused));
        for (name, time) in [("startAt", self.start_at), ("endAt", self.end_at)] {
            if let Some(time) = time.and_then(|time| Timestamp::from_millisecond(time.0).ok()) {
                put(name, json!(time.to_string()));
            }
        }
        if self.jitter_ms > 0 {
            put("jitter", json!(format!("{}ms", self.jitter_ms)));
        }
        Value::Object(map)
    }

    /// The cron expression, as written.
    #[must_use]
    pub fn cron(&self) -> &str {
        &self.cron
    }

    /// The name of the time zone, as the database writes it.
    #[must_use]
    pub fn time_zone(&self) -> &str {
        &self.time_zone
    }

    /// The first due time after `after`; `None`: there is none any more.
    #[must_use]
    pub fn next_after(&self, after: Millis) -> Option<Millis> {
        let due = self.calendar.next_after(self.since(after))?;
        self.end_at.is_none_or(|end| due < end).then_some(due)
    }

    /// How many due times there are after `after`, up to and with `until`.
    #[must_use]
    pub fn count(&self, after: Millis, until: Millis) -> u64 {
        self.calendar.count(self.since(after), self.until(until))
    }

    /// The newest due times after `after`, up to and with `until`: at most `most`, the oldest first.
    #[must_use]
    pub fn newest(&self, after: Millis, until: Millis, most: usize) -> Vec<Millis> {
        self.calendar.newest(self.since(after), self.until(until), most)
    }

    fn since(&self, after: Millis) -> Millis {
        self.start_at.map_or(after, |start| after.max(start.plus(-1)))
    }

    fn until(&self, until: Millis) -> Millis {
        self.end_at.map_or(until, |end| until.min(end.plus(-1)))
    }
}

fn word<T: PartialEq>(value: T, words: &[(&'static str, T)]) -> &'static str {
    words.iter().find(|(_, one)| *one == value).map_or("", |(word, _)| word)
}

/// What was read; `None` when something is missing that nothing can stand for.
fn read(value: &Value, problems: &mut Problems) -> Option<Definition> {
    let whole = Object::open(value, &SHAPE, Pointer::root(), problems)?;
    let workflow = whole.text("workflow", problems);
    let pin = read_pin(&whole, problems);
    let cron = read_cron(&whole, problems);
    let zone = read_zone(&whole, problems);
    let input = match whole.get("input") {
        Some((value @ Value::Object(_), _)) => value.clone(),
        Some((value, at)) => wrong_type(value, "an object", &at, problems).unwrap_or_default(),
        None => json!({}),
    };
    let labels = texts(&whole, "labels", problems);
    let search_attributes = texts(&whole, "searchAttributes", problems);
    let overlap = whole.choice("overlap", &OVERLAPS, problems).unwrap_or_default();
    let catch_up = whole.choice("catchUp", &CATCH_UPS, problems).unwrap_or_default();
    let window = whole.duration("catchUpWindow", problems);
    if catch_up == CatchUp::None && whole.has("catchUpWindow") {
        let at = whole.at.field("catchUpWindow");
        problems.warning(&at, "has no meaning, as \"catchUp\" is \"none\"");
    }
    if catch_up == CatchUp::All && overlap != Overlap::Allow {
        let at = whole.at.field("catchUp");
        let message = "times that passed are due at once, so \"overlap\" drops most of them: write \
                       \"allow\" there for all of them to run";
        problems.warning(&at, message);
    }
    let paused = whole.boolean("paused", problems).unwrap_or_default();
    let start_at = time(&whole, "startAt", problems);
    let end_at = time(&whole, "endAt", problems);
    let jitter_ms = whole.duration("jitter", problems).unwrap_or_default();
    let end = whole.at.field(if end_at.is_some() { "endAt" } else { "startAt" });
    whole.close();

    let (cron, parsed) = cron?;
    let (time_zone, zone) = zone?;
    let definition = Definition {
        workflow: workflow?,
        pin,
        input: Arc::new(input),
        labels,
        search_attributes,
        overlap,
        catch_up,
        catch_up_window_ms: window
            .filter(|_| catch_up != CatchUp::None)
            .unwrap_or(DEFAULT_WINDOW_MS),
        paused,
        start_at,
        end_at,
        jitter_ms,
        cron,
        time_zone,
        calendar: Calendar::new(parsed, zone),
    };
    if definition.next_after(Millis(-1)).is_none() {
        let message =
            "nothing is due between \"startAt\" and \"endAt\": write another time, or leave it out";
        problems.error(&end, message);
    }
    Some(definition)
}

fn read_pin(whole: &Object<'_>, problems: &mut Problems) -> Pin {
    let version = whole.integer("version", 1..=i32::MAX.unsigned_abs(), problems);
    let alias = whole.text("alias", problems);
    if whole.has("version") && whole.has("alias") {
        problems.error(&whole.at.field("alias"), "has a version as well: keep one of the two");
    }
    match (version.and_then(|version| i32::try_from(version).ok()), alias) {
        (Some(version), _) => Pin::Version(version),
        (None, Some(alias)) => Pin::Alias(alias),
        (None, None) => Pin::Newest,
    }
}

fn read_cron(whole: &Object<'_>, problems: &mut Problems) -> Option<(String, Cron)> {
    let written = whole.text("cron", problems)?;
    let at = whole.at.field("cron");
    match Cron::parse(&written) {
        Ok(cron) => {
            for remark in Cron::remarks(&written) {
                problems.warning(&at, remark);
            }
            Some((written, cron))
        }
        Err(error) => {
            problems.error(&at, error.to_string());
            None
        }
    }
}

fn read_zone(whole: &Object<'_>, problems: &mut Problems) -> Option<(String, jiff::tz::TimeZone)> {
    let name = match whole.get("timeZone") {
        None => "UTC".to_owned(),
        Some((value, at)) => text(value, &at, problems)?,
    };
    let zone = calendar::zone(&name);
    if zone.is_none() {
        let names = calendar::zone_names();
        let what = match problems.hint(&name, names.iter().map(String::as_str)) {
            hint if hint.is_empty() => {
                ": write one of the IANA names, such as Europe/Berlin".into()
            }
            hint => hint,
        };
        let message = format!("{name:?} is no time zone that is known{what}");
        problems.error(&whole.at.field("timeZone"), message);
    }
    zone
}

fn texts(whole: &Object<'_>, name: &str, problems: &mut Problems) -> BTreeMap<String, String> {
    let mut texts = BTreeMap::new();
    for (name, value, at) in whole.entries(name, problems) {
        if let Some(value) = text(value, &at, problems) {
            texts.insert(name.clone(), value);
        }
    }
    texts
}

/// A point in time, to the millisecond.
fn time(whole: &Object<'_>, name: &str, problems: &mut Problems) -> Option<Millis> {
    let written = whole.text(name, problems)?;
    match written.parse::<Timestamp>() {
        Ok(time) => Some(Millis(time.as_millisecond())),
        Err(_) => {
            let message = format!(
                "{written:?} is no point in time: write date, time and offset, such as \
                 2026-03-29T02:00:00Z"
            );
            problems.error(&whole.at.field(name), message);
            None
        }
    }
}
