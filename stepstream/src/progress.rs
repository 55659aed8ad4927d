//! How far something is that reads topics from end to end: a line on standard error, drawn anew on a
//! terminal and now and then elsewhere.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often the line is drawn on a terminal.
const REDRAW: Duration = Duration::from_millis(200);
/// How often a line is written elsewhere.
const REPEAT: Duration = Duration::from_secs(5);

/// A line about one topic.
#[derive(Debug)]
pub(crate) struct Bar {
    what: String,
    /// The first and the last offset of each partition, at the start.
    ranges: BTreeMap<i32, (i64, i64)>,
    began: Instant,
    drawn: Instant,
    where_to: WhereTo,
    read: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WhereTo {
    Terminal,
    Elsewhere,
}

impl Bar {
    /// A line for `what`, about these offsets.
    pub(crate) fn new(what: &str, ranges: BTreeMap<i32, (i64, i64)>) -> Self {
        let where_to = match io::stderr().is_terminal() {
            true => WhereTo::Terminal,
            false => WhereTo::Elsewhere,
        };
        let now = Instant::now();
        Self { what: what.into(), ranges, began: now, drawn: now, where_to, read: 0 }
    }

    /// These are the next offsets now.
    pub(crate) fn at(&mut self, next: &BTreeMap<i32, i64>) {
        self.read = read_of(&self.ranges, next);
        let pause = match self.where_to {
            WhereTo::Terminal => REDRAW,
            WhereTo::Elsewhere => REPEAT,
        };
        if self.drawn.elapsed() >= pause {
            self.draw(Drawn::Between);
        }
    }

    /// Writes the last line, when it went well; returns what came out.
    pub(crate) fn end<T, E>(mut self, result: Result<T, E>) -> Result<T, E> {
        if result.is_ok() {
            self.read = self.total();
        }
        self.draw(Drawn::Last);
        result
    }

    fn total(&self) -> i64 {
        self.ranges.values().map(|(low, high)| high - low).sum()
    }

    fn draw(&mut self, which: Drawn) {
        self.drawn = Instant::now();
        let text = line(&self.what, self.read, self.total(), self.began.elapsed());
        let mut out = io::stderr().lock();
        // Nobody who looks at it: no failure of the command.
        let _ = match (self.where_to, which) {
            (WhereTo::Terminal, Drawn::Between) => write!(out, "\r\x1b[K{text}"),
            (WhereTo::Terminal, Drawn::Last) => writeln!(out, "\r\x1b[K{text}"),
            (WhereTo::Elsewhere, _) => writeln!(out, "{text}"),
        };
        let _ = out.flush();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drawn {
    Between,
    Last,
}

/// How many offsets lie behind.
fn read_of(ranges: &BTreeMap<i32, (i64, i64)>, next: &BTreeMap<i32, i64>) -> i64 {
    let of = |(partition, (low, high)): (&i32, &(i64, i64))| {
        next.get(partition).map_or(0, |next| next.clamp(low, high) - low)
    };
    ranges.iter().map(of).sum()
}

fn line(what: &str, read: i64, total: i64, took: Duration) -> String {
    let share = if total == 0 { 100 } else { read * 100 / total };
    let rate = read as f64 / took.as_secs_f64().max(0.001);
    let left = match read {
        0 => "?".to_owned(),
        _ => format!("{:.0}", (total - read) as f64 / rate.max(0.001)),
    };
    format!("{what}: {read} of {total} offsets, {share} %, {rate:.0}/s, {left} s left")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_behind_is_counted_within_what_there_was() {
        let ranges = BTreeMap::from([(0, (10, 20)), (1, (0, 5)), (2, (7, 7))]);
        for (next, read) in [
            (BTreeMap::new(), 0),
            (BTreeMap::from([(0, 15)]), 5),
            // More was written meanwhile.
            (BTreeMap::from([(0, 25), (1, 5), (2, 9)]), 15),
        ] {
            assert_eq!(read_of(&ranges, &next), read, "{next:?}");
        }
    }

    #[test]
    fn line_says_rate_and_what_is_left() {
        let text = line("writing results", 50, 200, Duration::from_secs(5));
        assert_eq!(text, "writing results: 50 of 200 offsets, 25 %, 10/s, 15 s left");
        assert!(line("x", 0, 0, Duration::ZERO).contains("0 of 0 offsets, 100 %"));
        assert!(line("x", 0, 9, Duration::ZERO).ends_with("? s left"));
    }
}
