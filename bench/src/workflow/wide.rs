//! `fan-out`: 1 -> n -> 1 for n from 100 to 10,000, with bodies that ask nobody and bodies that ask a model:
//! what an item costs, and how large a record becomes.

use std::time::{Duration, Instant};

use anyhow::Context;
use domain::topic::{Kind, Topic};
use rdkafka::Message;
use rdkafka::message::Headers as _;
use serde_json::{Value, json};

use super::definitions::{Work, fan_out, fan_out_name};
use super::flight::Leg;
use super::ours::{DURABILITY, LONG, Ours};
use crate::asks::per_thousand;
use crate::client;
use crate::lane::{Series, precise};
use crate::platform::Platform;
use crate::report::{Reach, Report, Row};
use crate::stack::Stack;

/// Items of a list.
const WIDTHS: [u64; 3] = [100, 1_000, 10_000];
/// Executions of each width, one after the other; the widths take turns.
const RUNS: u32 = 5;
/// Executions before the first that counts, until the broker's code is compiled.
const WARM_UP: u32 = 5;
/// What an item may cost more in the widest than in the cheapest width.
const FLAT: f64 = 1.2;
/// The largest value that a record may have.
const RECORD_KIB: f64 = 256.0;
/// Nothing more for this long after the last record: the end, since nobody writes any more.
const QUIET: Duration = Duration::from_secs(3);

/// The bench.
pub(crate) fn run(stack: &Stack, count: Option<u64>) -> anyhow::Result<Report> {
    let widest = count.unwrap_or(u64::MAX).max(WIDTHS[0]);
    let works = [Work::Pure, Work::Call];
    let ours = Ours::start(stack, &works.map(fan_out))?;
    let (mut rows, mut reaches) = (Vec::new(), Vec::new());
    for work in works {
        for _ in 0..WARM_UP {
            fan(&ours, work, WIDTHS[1].min(widest))?;
        }
        let widths = WIDTHS.into_iter().filter(|width| *width <= widest);
        let mut widths: Vec<_> = widths.map(|width| Wide::new(work, width)).collect();
        for _ in 0..RUNS {
            for wide in &mut widths {
                let leg = fan(&ours, work, wide.width)?;
                wide.add(&leg, ours.last_result().as_deref());
            }
        }
        let costs: Vec<Option<f64>> = widths.iter().map(Wide::ms_of_item).collect();
        reaches.extend(flat(work, &costs));
        rows.extend(widths.into_iter().map(Wide::row));
    }
    let largest = largest_record(&ours.platform)?;
    let what = format!("largest record, in {}", largest.topic);
    let kib = precise(largest.bytes) / 1024.0;
    reaches.push(Reach::at_most(what, kib, RECORD_KIB, "KiB"));
    let report = Report::new("workflow, fan-out", 0, rows, reaches, stack.broker_pid);
    Ok(Report { notes: vec![DURABILITY.into()], ..report })
}

/// One execution over so many items.
fn fan(ours: &Ours, work: Work, width: u64) -> anyhow::Result<Leg> {
    let items: Vec<Value> = (0..width).map(Value::from).collect();
    let lane = ours.lane(&fan_out_name(work), move |_| json!({ "items": items }))?;
    ours.fly_one(&lane.patient(LONG))
}

/// A row, as it comes about.
struct Wide {
    width: u64,
    series: Series,
    cpu: f64,
    took_ms: Vec<f64>,
    wrong: Option<String>,
}

impl Wide {
    fn new(work: Work, width: u64) -> Self {
        let body = match work {
            Work::Call => "with a model call",
            Work::Pure => "pure",
        };
        let series = Series::new(format!("1 to {width} to 1, {body}"));
        Self { width, series, cpu: 0.0, took_ms: Vec::new(), wrong: None }
    }

    fn add(&mut self, leg: &Leg, result: Option<&str>) {
        self.series.add(&leg.flown);
        self.cpu += leg.cpu;
        self.took_ms.push(precise(leg.flown.tally.latency().max()) / 1000.0);
        if leg.flown.void.is_none() && result != Some(&self.width.to_string()) {
            self.wrong.get_or_insert_with(|| format!("it gave {result:?}"));
        }
    }

    /// Of the median execution.
    fn ms_of_item(&self) -> Option<f64> {
        let mut took = self.took_ms.clone();
        took.sort_by(f64::total_cmp);
        let median = took.get(took.len() / 2)?;
        Some(median / precise(self.width))
    }

    fn row(self) -> Row {
        let items = self.width * u64::from(RUNS);
        let each = self.ms_of_item().unwrap_or_default();
        let cpu = per_thousand(self.cpu, items);
        let mut row = self.series.row();
        row.void = row.void.or(self.wrong);
        row.more.push(("ms an item".into(), each));
        row.more.push((super::flight::CPU.replace("s/1000", "s/1000 items"), cpu));
        row
    }
}

/// How much more an item costs in the dearest width than in the cheapest.
fn flat(work: Work, costs: &[Option<f64>]) -> Option<Reach> {
    let costs: Vec<f64> = costs.iter().copied().collect::<Option<_>>()?;
    let least = costs.iter().copied().min_by(f64::total_cmp)?;
    let most = costs.iter().copied().max_by(f64::total_cmp)?;
    let what = format!("time of an item, dearest / cheapest width, {}", work.as_str());
    Some(Reach::at_most(what, most / least.max(f64::MIN_POSITIVE), FLAT, "x"))
}

/// The largest record, and where it is.
struct Largest {
    topic: &'static str,
    bytes: u64,
}

/// Reads all that executions left.
fn largest_record(platform: &Platform) -> anyhow::Result<Largest> {
    let kinds = [Kind::Workflow, Kind::Model];
    let of_kind = |kind| [Topic::Feed(kind), Topic::Log(kind), Topic::State(kind)];
    let topics = kinds.into_iter().flat_map(of_kind);
    let mut largest = Largest { topic: "none", bytes: 0 };
    for topic in topics.chain([Topic::Results, Topic::ExecutionLog]) {
        let name = platform.topic(topic);
        let consumer = client::consumer_from_start(&platform.brokers, &name, "bench-largest")?;
        let mut last = Instant::now();
        while last.elapsed() < QUIET {
            let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
            let message = message.with_context(|| format!("reading {name}"))?;
            last = Instant::now();
            let headers = message.headers().map_or(0, |headers| {
                headers.iter().map(|it| it.key.len() + it.value.map_or(0, <[u8]>::len)).sum()
            });
            let (key, value) = (message.key_len(), message.payload_len());
            let bytes = u64::try_from(key + value + headers).unwrap_or(u64::MAX);
            if bytes > largest.bytes {
                largest = Largest { topic: topic.name(), bytes };
            }
        }
    }
    Ok(largest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn item_is_judged_by_its_dearest_and_its_cheapest_width() {
        let reach = flat(Work::Pure, &[Some(1.1), Some(1.0), Some(1.3)]).unwrap();
        assert!((reach.measured - 1.3).abs() < 1e-9 && !reach.met);
        assert!(flat(Work::Pure, &[Some(1.0), None]).is_none(), "a width that wasn't measured");
    }

    #[test]
    fn execution_that_counts_wrong_voids_its_row() {
        let mut wide = Wide::new(Work::Pure, 100);
        wide.wrong = Some("it gave 99".into());
        wide.took_ms = vec![30.0, 10.0, 20.0];
        assert_eq!(wide.ms_of_item(), Some(0.2));
        assert_eq!(wide.row().void.as_deref(), Some("it gave 99"));
    }
}
