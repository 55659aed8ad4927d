//! What a bench has to say: rows as measured, and each reach as met or not. Losing rows stay.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context;
use hdrhistogram::Histogram;
use serde::Serialize;

/// One way that was measured.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Row {
    /// What was measured.
    pub(crate) name: String,
    /// Records a second that were meant to be sent.
    pub(crate) rate: u64,
    /// How many were sent, warm-up included.
    pub(crate) sent: u64,
    /// How many came out, each counted once.
    pub(crate) completed: u64,
    /// How many came out again.
    pub(crate) copies: u64,
    /// Why the row doesn't count; absent when it does.
    pub(crate) void: Option<String>,
    /// Latency from the intended time, in milliseconds.
    pub(crate) latency_ms: Option<Latency>,
    /// CPU seconds of this process, harness included, for 1,000 completed.
    pub(crate) own_cpu_s_per_1000: Option<f64>,
    /// CPU seconds of the broker for 1,000 completed.
    pub(crate) broker_cpu_s_per_1000: Option<f64>,
    /// Other numbers, with their units in the name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) more: Vec<(String, f64)>,
}

/// Milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Latency {
    /// The median.
    pub(crate) p50: f64,
    /// Of a hundred, the second slowest.
    pub(crate) p99: f64,
    /// Of a thousand, the second slowest.
    pub(crate) p999: f64,
    /// The slowest.
    pub(crate) max: f64,
}

impl Latency {
    /// Of a histogram of microseconds; `None` when it is empty.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Option<Self> {
        let ms = |micros: u64| f64::from(u32::try_from(micros).unwrap_or(u32::MAX)) / 1000.0;
        (!histogram.is_empty()).then(|| Self {
            p50: ms(histogram.value_at_quantile(0.5)),
            p99: ms(histogram.value_at_quantile(0.99)),
            p999: ms(histogram.value_at_quantile(0.999)),
            max: ms(histogram.max()),
        })
    }
}

/// A number that the project set itself, beside what was measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Reach {
    /// What it is about.
    pub(crate) what: String,
    /// The bound.
    pub(crate) reach: f64,
    /// What was measured.
    pub(crate) measured: f64,
    /// Unit of both.
    pub(crate) unit: &'static str,
    /// Whether it holds.
    pub(crate) met: bool,
}

impl Reach {
    /// Met when it is at most the bound.
    pub(crate) fn at_most(
        what: impl Into<String>,
        measured: f64,
        reach: f64,
        unit: &'static str,
    ) -> Self {
        Self { what: what.into(), reach, measured, unit, met: measured <= reach }
    }

    /// Met when it is at least the bound.
    pub(crate) fn at_least(
        what: impl Into<String>,
        measured: f64,
        reach: f64,
        unit: &'static str,
    ) -> Self {
        Self { what: what.into(), reach, measured, unit, met: measured >= reach }
    }
}

/// The machine, because only ratios travel.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    cpu: String,
    cores: usize,
    memory_gib: f64,
    /// Runnable tasks on average over the last minute, at the end of the run.
    load: f64,
}

impl Machine {
    fn here() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let field = |text: &str, name: &str| {
            text.lines()
                .find(|line| line.starts_with(name))
                .and_then(|line| line.split_once(':'))
                .map(|(_, value)| value.trim().to_owned())
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
        let kib: f64 = memory.trim_end_matches(" kB").parse().unwrap_or_default();
        Self {
            cpu: field(&cpuinfo, "model name").unwrap_or_else(|| "unknown".into()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: (kib / 1024.0 / 1024.0).round(),
            load: read("/proc/loadavg")
                .split(' ')
                .next()
                .and_then(|text| text.parse().ok())
                .unwrap_or_default(),
        }
    }
}

/// All that one bench says.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// Its name.
    pub(crate) bench: &'static str,
    /// How long each row was measured, in seconds.
    pub(crate) seconds: u64,
    /// Where.
    pub(crate) machine: Machine,
    /// What was measured.
    pub(crate) rows: Vec<Row>,
    /// Against what.
    pub(crate) reaches: Vec<Reach>,
    /// What has to be known beside the rows: settings, what a name stands for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) notes: Vec<String>,
    /// Peak resident memory of this process in MiB.
    pub(crate) own_peak_rss_mib: Option<f64>,
    /// Peak resident memory of the broker in MiB.
    pub(crate) broker_peak_rss_mib: Option<f64>,
}

impl Report {
    /// Of a run that ends now.
    pub(crate) fn new(
        bench: &'static str,
        seconds: u64,
        rows: Vec<Row>,
        reaches: Vec<Reach>,
        broker: Option<u32>,
    ) -> Self {
        Self {
            bench,
            seconds,
            machine: Machine::here(),
            rows,
            reaches,
            notes: Vec::new(),
            own_peak_rss_mib: crate::usage::peak_rss_mib(std::process::id()),
            broker_peak_rss_mib: broker.and_then(crate::usage::peak_rss_mib),
        }
    }

    /// Whether every row counts.
    pub(crate) fn counts(&self) -> bool {
        self.rows.iter().all(|row| row.void.is_none())
    }

    /// Writes the JSON to `json`, where one is wanted, and the table to standard output.
    pub(crate) fn publish(&self, json: Option<&Path>) -> anyhow::Result<()> {
        if let Some(path) = json {
            let text = serde_json::to_string_pretty(self).context("writing the report as JSON")?;
            fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))?;
        }
        std::io::stdout().lock().write_all(self.table().as_bytes()).context("writing the table")
    }

    /// The table, in Markdown.
    fn table(&self) -> String {
        let mut out = String::new();
        // Writing to a string doesn't fail.
        let _ = self.write_table(&mut out);
        out
    }

    fn write_table(&self, out: &mut String) -> std::fmt::Result {
        let Machine { cpu, cores, load, .. } = &self.machine;
        writeln!(out, "{}: {cores} x {cpu}, load {load:.1}, {} s a row", self.bench, self.seconds)?;
        if self.rows.iter().any(|row| row.latency_ms.is_some()) {
            writeln!(
                out,
                "\n| way | rate/s | p50 ms | p99 ms | p99.9 ms | max ms | own CPU s/1000 | broker CPU s/1000 | |\n|---|---|---|---|---|---|---|---|---|"
            )?;
        } else {
            writeln!(out, "\n| what | |\n|---|---|")?;
        }
        for row in &self.rows {
            let note = row.note();
            match row.latency_ms {
                Some(latency) => writeln!(
                    out,
                    "| {} | {} | {:.2} | {:.2} | {:.2} | {:.1} | {} | {} | {note} |",
                    row.name,
                    row.rate,
                    latency.p50,
                    latency.p99,
                    latency.p999,
                    latency.max,
                    shown(row.own_cpu_s_per_1000),
                    shown(row.broker_cpu_s_per_1000),
                )?,
                None => writeln!(out, "| {} | {note} |", row.name)?,
            }
        }
        if !self.reaches.is_empty() {
            writeln!(out, "\n| reach | bound | measured | |\n|---|---|---|---|")?;
        }
        for reach in &self.reaches {
            let unit = reach.unit;
            let met = if reach.met { "met" } else { "**not met**" };
            writeln!(
                out,
                "| {} | {} {unit} | {:.2} {unit} | {met} |",
                reach.what, reach.reach, reach.measured
            )?;
        }
        for note in &self.notes {
            writeln!(out, "\n{note}")?;
        }
        let memory =
            [("this process", self.own_peak_rss_mib), ("broker", self.broker_peak_rss_mib)];
        for (who, mib) in memory {
            if let Some(mib) = mib {
                writeln!(out, "\npeak memory, {who}: {mib:.0} MiB")?;
            }
        }
        Ok(())
    }
}

impl Row {
    fn note(&self) -> String {
        let void = self.void.iter().map(|why| format!("**void: {why}**"));
        let more = self.more.iter().map(|(name, value)| format!("{name} {value:.2}"));
        void.chain(more).collect::<Vec<_>>().join(", ")
    }
}

fn shown(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn void_row_stays_in_the_table_and_makes_the_report_not_count() {
        let row =
            Row { name: "hop".into(), void: Some("1 copies came out".into()), ..Row::default() };
        let reach = Reach::at_most("p50", 2.0, 1.5, "x");
        let report = Report::new("hop", 1, vec![row], vec![reach], None);
        assert!(!report.counts());
        let table = report.table();
        assert!(table.contains("| hop | **void: 1 copies came out** |"), "{table}");
        assert!(table.contains("| p50 | 1.5 x | 2.00 x | **not met** |"), "{table}");
    }

    #[test]
    fn reaches_bound_from_the_side_they_say() {
        assert!(Reach::at_most("", 1.5, 1.5, "").met);
        assert!(!Reach::at_most("", 1.6, 1.5, "").met);
        assert!(Reach::at_least("", 8.0, 8.0, "").met);
        assert!(!Reach::at_least("", 7.9, 8.0, "").met);
    }
}
