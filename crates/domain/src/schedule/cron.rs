//! A cron expression: five fields as crontab(5) has them, and which times of a local clock they mean.
//!
//! It knows no time zone: a local time here is the number of seconds that a clock on the wall shows since
//! 1970-01-01 00:00, whatever instant that is. It refuses seconds, years and the extensions `L`, `W` and
//! `#`, which crontab(5) doesn't have.
//!
//! | field | values | names |
//! |---|---|---|
//! | minute | 0-59 | |
//! | hour | 0-23 | |
//! | day of month | 1-31 | |
//! | month | 1-12 | JAN-DEC |
//! | day of week | 0-7, 0 and 7 are Sunday | SUN-SAT |
//!
//! A field is a list of `*`, `a`, `a-b`, each with `/step` if need be; `a/step` is `a-max/step`, and `?` is
//! `*`, both as in Kubernetes. When neither field of days begins with `*`, a day that is in either of them
//! counts; else it must be in both. So `0 0 1 * MON` is the 1st *and* each Monday. That is the rule of
//! crontab(5); for a `*` with a step Kubernetes reads it otherwise.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::Offset;

const MINUTES_PER_DAY: i64 = 24 * 60;
const SECONDS_PER_DAY: i64 = MINUTES_PER_DAY * 60;

/// Why a text is no cron expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CronError {
    /// Not five fields.
    #[error(
        "has {found} fields: write five, minute, hour, day of month, month and day of week, such as \
         \"0 3 * * *\""
    )]
    Fields {
        /// How many there are.
        found: usize,
    },
    /// A time zone within the expression.
    #[error("names a time zone: write it into the field \"timeZone\"")]
    Zone,
    /// `@` and something else than the known words.
    #[error(
        "{word:?} isn't known here: write one of @yearly, @annually, @monthly, @weekly, @daily, @midnight, \
         @hourly, or five fields"
    )]
    Word {
        /// What was written.
        word: String,
    },
    /// Neither a number nor a name of the field.
    #[error("{text:?} is no {field}: write {allowed}")]
    Value {
        /// What was written.
        text: String,
        /// What the field is called.
        field: &'static str,
        /// What it takes.
        allowed: &'static str,
    },
    /// A range whose end is before its start.
    #[error("the range {text:?} of the {field} runs backwards: split it in two, such as 22-23,0-2")]
    Backwards {
        /// What was written.
        text: String,
        /// What the field is called.
        field: &'static str,
    },
    /// A step that isn't a positive whole number.
    #[error("the step of {text:?} in the {field} is no whole number from 1 on")]
    Step {
        /// What was written.
        text: String,
        /// What the field is called.
        field: &'static str,
    },
    /// No year has such a day.
    #[error("is never due: none of its months has such a day")]
    Never,
}

/// What happens to times at which the clock is set forward or back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cadence {
    /// The times of the day are given one by one: none may be lost or doubled.
    Fixed,
    /// The minute or the hour begins with `*`: it goes by the time that passes.
    Frequent,
}

/// How the two fields of days go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Days {
    Both,
    Either,
}

/// A set of small numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Set(u64);

impl Set {
    fn has(self, number: i64) -> bool {
        self.0 >> number & 1 == 1
    }

    /// The smallest number from `number` on.
    fn from(self, number: i64) -> Option<i64> {
        let rest = if number < 64 { self.0 >> number << number } else { 0 };
        (rest != 0).then(|| i64::from(rest.trailing_zeros()))
    }

    fn len(self) -> u64 {
        u64::from(self.0.count_ones())
    }

    /// How many are below `number`, which is below 64.
    fn below(self, number: i64) -> u64 {
        u64::from((self.0 & ((1 << number) - 1)).count_ones())
    }
}

/// A cron expression that is due some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cron {
    minutes: Set,
    hours: Set,
    days: Set,
    months: Set,
    weekdays: Set,
    rule: Days,
    cadence: Cadence,
}

struct Field {
    name: &'static str,
    allowed: &'static str,
    low: u32,
    high: u32,
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

const FIELDS: [Field; 5] = [
    Field { name: "minute", allowed: "0 to 59", low: 0, high: 59, names: &[] },
    Field { name: "hour", allowed: "0 to 23", low: 0, high: 23, names: &[] },
    Field { name: "day of month", allowed: "1 to 31", low: 1, high: 31, names: &[] },
    Field { name: "month", allowed: "1 to 12 or JAN to DEC", low: 1, high: 12, names: &MONTHS },
    Field {
        name: "day of week",
        allowed: "0 to 7 or SUN to SAT",
        low: 0,
        high: 7,
        names: &WEEKDAYS,
    },
];

/// The most days that a month can have, by month.
const LONGEST: [i64; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

impl Cron {
    /// Reads an expression.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, CronError> {
        let text = text.trim();
        if text.starts_with("TZ=") || text.starts_with("CRON_TZ=") {
            return Err(CronError::Zone);
        }
        let text = if text.starts_with('@') { word(text)? } else { text };
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(CronError::Fields { found: fields.len() });
        };
        let [minutes, hours, days, months, mut weekdays] = [
            set(minute, &FIELDS[0])?,
            set(hour, &FIELDS[1])?,
            set(day, &FIELDS[2])?,
            set(month, &FIELDS[3])?,
            set(weekday, &FIELDS[4])?,
        ];
        // 7 is Sunday as well.
        weekdays.0 = (weekdays.0 | weekdays.0 >> 7) & 0x7f;
        let star = |field: &str| field.starts_with(['*', '?']);
        let rule = if star(day) || star(weekday) { Days::Both } else { Days::Either };
        let cadence = if star(minute) || star(hour) { Cadence::Frequent } else { Cadence::Fixed };
        let cron = Self { minutes, hours, days, months, weekdays, rule, cadence };
        if cron.is_ever_due() { Ok(cron) } else { Err(CronError::Never) }
    }

    /// What the author of `text`, which is an expression, should look at.
    pub(super) fn remarks(text: &str) -> Vec<String> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let mut remarks = Vec::new();
        for (written, field) in fields.iter().zip(&FIELDS) {
            let steps = written.split(',').filter_map(|part| part.split_once('/')?.1.parse().ok());
            let values = field.high - field.low;
            if let Some(step) = steps.filter(|step: &u32| *step > values).max() {
                remarks.push(format!(
                    "a step of {step} in the {} reaches past its end, so only the first value counts",
                    field.name
                ));
            }
        }
        if Self::parse(text).is_ok_and(|cron| cron.rule == Days::Either) {
            remarks.push(
                "both days are given, and a day that is in either of them counts: to name just one of \
                 them, write * for the other"
                    .to_owned(),
            );
        }
        remarks
    }

    /// See [`Cadence`].
    pub(super) fn cadence(&self) -> Cadence {
        self.cadence
    }

    /// The first local time from `from` on and before `before`, in seconds.
    pub(super) fn next_local(&self, from: i64, before: i64) -> Option<i64> {
        let minute = minutes_up(from);
        let mut day = minute.div_euclid(MINUTES_PER_DAY);
        let mut minute = minute.rem_euclid(MINUTES_PER_DAY);
        let mut date = date_of(day)?;
        while day * SECONDS_PER_DAY < before {
            let time = self.is_on(date).then(|| self.time_from(minute)).flatten();
            if let Some(time) = time {
                let local = day * SECONDS_PER_DAY + time * 60;
                return (local < before).then_some(local);
            }
            if !self.months.has(i64::from(date.month())) {
                let last = date.last_of_month();
                day += i64::from(last.day() - date.day());
                date = last;
            }
            date = date.tomorrow().ok()?;
            day += 1;
            minute = 0;
        }
        None
    }

    /// How many local times there are from `from` on and before `before`. It takes a moment per day.
    pub(super) fn count_local(&self, from: i64, before: i64) -> u64 {
        let (from, before) = (minutes_up(from), minutes_up(before));
        let mut day = from.div_euclid(MINUTES_PER_DAY);
        let Some(mut date) = date_of(day) else { return 0 };
        let mut count = 0;
        while day * MINUTES_PER_DAY < before {
            if self.is_on(date) {
                let within =
                    |minute: i64| (minute - day * MINUTES_PER_DAY).clamp(0, MINUTES_PER_DAY);
                count += self
                    .times_before(within(before))
                    .saturating_sub(self.times_before(within(from)));
            }
            let Ok(next) = date.tomorrow() else { break };
            date = next;
            day += 1;
        }
        count
    }

    fn is_on(&self, date: Date) -> bool {
        let day = self.days.has(i64::from(date.day()));
        let weekday = self.weekdays.has(i64::from(date.weekday().to_sunday_zero_offset()));
        let on = match self.rule {
            Days::Both => day && weekday,
            Days::Either => day || weekday,
        };
        on && self.months.has(i64::from(date.month()))
    }

    /// The first time of a day from `minute` on, in minutes.
    fn time_from(&self, minute: i64) -> Option<i64> {
        let (hour, minute) = (minute / 60, minute % 60);
        if self.hours.has(hour)
            && let Some(minute) = self.minutes.from(minute)
        {
            return Some(hour * 60 + minute);
        }
        Some(self.hours.from(hour + 1)? * 60 + self.minutes.from(0)?)
    }

    /// How many times of a day are before `minute`, which may be the day's end.
    fn times_before(&self, minute: i64) -> u64 {
        let (hour, minute) = (minute / 60, minute % 60);
        let begun = if self.hours.has(hour) { self.minutes.below(minute) } else { 0 };
        self.hours.below(hour) * self.minutes.len() + begun
    }

    /// Each date falls on each weekday within 40 years, so only days that a month doesn't have are in the
    /// way.
    fn is_ever_due(&self) -> bool {
        let exists = |month: i64, longest: &i64| {
            self.months.has(month) && self.days.from(1).is_some_and(|day| day <= *longest)
        };
        self.rule == Days::Either
            || (1..).zip(&LONGEST).any(|(month, longest)| exists(month, longest))
    }
}

/// What a word stands for.
fn word(text: &str) -> Result<&'static str, CronError> {
    match text.to_ascii_lowercase().as_str() {
        "@yearly" | "@annually" => Ok("0 0 1 1 *"),
        "@monthly" => Ok("0 0 1 * *"),
        "@weekly" => Ok("0 0 * * 0"),
        "@daily" | "@midnight" => Ok("0 0 * * *"),
        "@hourly" => Ok("0 * * * *"),
        _ => Err(CronError::Word { word: text.to_owned() }),
    }
}

fn set(text: &str, field: &Field) -> Result<Set, CronError> {
    let mut set = 0;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (part, None),
        };
        let (low, high) = match range.split_once('-') {
            _ if matches!(range, "*" | "?") => (field.low, field.high),
            Some((low, high)) => {
                let (low, mut high) = (value(low, part, field)?, value(high, part, field)?);
                // A week may end on Sunday, whatever number it has.
                if field.names.len() == WEEKDAYS.len() && high == 0 && low > 0 {
                    high = 7;
                }
                (low, high)
            }
            None => {
                let low = value(range, part, field)?;
                (low, if step.is_some() { field.high } else { low })
            }
        };
        if high < low {
            return Err(CronError::Backwards { text: part.to_owned(), field: field.name });
        }
        let step = match step.map(|step| (step, step.parse::<usize>())) {
            None => 1,
            Some((text, Ok(step))) if step > 0 && is_number(text) => step,
            Some(_) => return Err(CronError::Step { text: part.to_owned(), field: field.name }),
        };
        for number in (low..=high).step_by(step) {
            set |= 1_u64 << number;
        }
    }
    Ok(Set(set))
}

fn value(text: &str, part: &str, field: &Field) -> Result<u32, CronError> {
    let named = (field.low..).zip(field.names).find(|(_, name)| name.eq_ignore_ascii_case(text));
    let number = if is_number(text) { text.parse().ok() } else { None };
    named
        .map(|(number, _)| number)
        .or(number)
        .filter(|n| (field.low..=field.high).contains(n))
        .ok_or_else(|| CronError::Value {
            text: part.to_owned(),
            field: field.name,
            allowed: field.allowed,
        })
}

/// Digits alone: `parse` takes a sign as well.
fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The first whole minute from `seconds` on.
fn minutes_up(seconds: i64) -> i64 {
    seconds.div_euclid(60) + i64::from(seconds.rem_euclid(60) > 0)
}

fn date_of(day: i64) -> Option<Date> {
    let midnight = Timestamp::from_second(day.checked_mul(SECONDS_PER_DAY)?).ok()?;
    Some(Offset::UTC.to_datetime(midnight).date())
}
