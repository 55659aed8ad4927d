//! How far a long command is: a bar on a terminal, else a line each few seconds. On standard error, since
//! standard output is the answer's.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often a line is written where there is no terminal.
pub const EVERY: Duration = Duration::from_secs(5);

/// How far something is.
pub struct Progress {
    verb: &'static str,
    total: Option<u64>,
    done: u64,
    began: Instant,
    display: Display,
}

/// How it is shown.
enum Display {
    Bar(ProgressBar),
    Lines,
    Nothing,
}

impl Progress {
    /// Of what is `verb` ("published"), `total` times where that is known.
    ///
    /// # Panics
    /// Never: the templates are fixed.
    #[must_use]
    pub fn new(verb: &'static str, total: Option<u64>) -> Self {
        if !io::stderr().is_terminal() {
            return Self { display: Display::Lines, ..Self::silent(verb, total) };
        }
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(10));
        let template = match total {
            Some(_) => "{msg} [{bar:30}] {human_pos} of {human_len}, {per_sec}, {eta} left",
            None => "{msg} {spinner} {human_pos}, {per_sec}",
        };
        let style = ProgressStyle::with_template(template).expect("a fixed template is right");
        bar.set_style(style.progress_chars("=> "));
        bar.set_message(verb);
        Self { display: Display::Bar(bar), ..Self::silent(verb, total) }
    }

    /// As [`Progress::new`], and shows nothing.
    #[must_use]
    pub fn silent(verb: &'static str, total: Option<u64>) -> Self {
        Self { verb, total, done: 0, began: Instant::now(), display: Display::Nothing }
    }

    /// `count` more are done.
    pub fn add(&mut self, count: u64) {
        self.done += count;
        if let Display::Bar(bar) = &self.display {
            bar.set_position(self.done);
        }
    }

    /// To be called each [`EVERY`].
    pub fn tick(&self) {
        match &self.display {
            Display::Nothing => {}
            Display::Bar(bar) => bar.tick(),
            Display::Lines => {
                let line = line(self.verb, self.done, self.total, self.began.elapsed());
                let _ = writeln!(io::stderr().lock(), "{line}");
            }
        }
    }

    /// How long it took so far.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Runs what writes to the terminal, with the bar out of the way.
    pub fn beside<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.display {
            Display::Bar(bar) => bar.suspend(write),
            Display::Lines | Display::Nothing => write(),
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Display::Bar(bar) = &self.display {
            bar.finish_and_clear();
        }
    }
}

/// A line like `published 1200 of 5000 (24 %), 240/s`.
fn line(verb: &str, done: u64, total: Option<u64>, elapsed: Duration) -> String {
    let share = match total {
        Some(total @ 1..) => {
            format!(" of {total} ({} %)", u128::from(done) * 100 / u128::from(total))
        }
        _ => String::new(),
    };
    format!("{verb} {done}{share}, {}", rate(done, elapsed))
}

/// So many in a second.
#[must_use]
pub fn rate(done: u64, elapsed: Duration) -> String {
    #[allow(clippy::cast_precision_loss, reason = "it is shown with two or three digits")]
    let rate = done as f64 / elapsed.as_secs_f64().max(1e-3);
    if rate < 10.0 { format!("{rate:.1}/s") } else { format!("{rate:.0}/s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_says_how_far_and_how_fast() {
        let five = Duration::from_secs(5);
        assert_eq!(
            line("published", 1200, Some(5000), five),
            "published 1200 of 5000 (24 %), 240/s"
        );
        assert_eq!(line("copied", 3, None, five), "copied 3, 0.6/s");
        assert_eq!(line("copied", 0, Some(0), Duration::ZERO), "copied 0, 0.0/s");
        assert!(line("x", u64::MAX, Some(u64::MAX), five).contains("(100 %)"));
    }
}
