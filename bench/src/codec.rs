//! `codec`: each record of the contract, decoded and encoded again by our codec and by apache-avro through
//! `Value`. The peer stops at the `Value`: making our types of it would cost it still more.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::writer::datum::GenericDatumWriter;
use schemas::samples::{self, Sample};

use crate::report::{Reach, Report, Row};

/// The two take turns so often; the fastest turn of each counts, as the one least disturbed.
const TURNS: u32 = 9;

/// Decodes and encodes every record so many times with our codec, for counting instructions:
/// `valgrind --tool=callgrind stepstream-bench codec --once N`.
pub(crate) fn once(times: u64) -> anyhow::Result<()> {
    let samples = samples::all();
    for _ in 0..times {
        for sample in &samples {
            ours(sample)?;
        }
    }
    Ok(())
}

fn ours(sample: &Sample) -> anyhow::Result<()> {
    let again = (sample.again)(black_box(&sample.datum));
    black_box(again.with_context(|| sample.record.name.to_owned())?);
    Ok(())
}

/// The peer, ready to read and write one record: schemas are resolved once, not for each record.
struct Avro<'s> {
    reader: GenericDatumReader<'s>,
    writer: GenericDatumWriter<'s>,
}

impl<'s> Avro<'s> {
    fn of(schema: &'s Schema) -> anyhow::Result<Self> {
        Ok(Self {
            reader: GenericDatumReader::builder(schema).build()?,
            writer: GenericDatumWriter::builder(schema).build()?,
        })
    }

    fn again(&self, datum: &[u8]) -> anyhow::Result<Vec<u8>> {
        let mut input = datum;
        let value = self.reader.read_value(&mut input)?;
        let mut out = Vec::with_capacity(datum.len());
        self.writer.write_value(&mut out, value)?;
        Ok(out)
    }
}

/// The bench.
pub(crate) fn run(seconds: u64) -> anyhow::Result<Report> {
    let samples = samples::all();
    let count = u32::try_from(samples.len()).context("a few dozen records")?;
    let turn = Duration::from_secs(seconds) / (count * TURNS * 2);
    let mut rows = Vec::new();
    let mut reaches = Vec::new();
    for sample in &samples {
        let schema = Schema::parse_str(sample.record.schema)?;
        let avro = Avro::of(&schema)?;
        if avro.again(&sample.datum)? != sample.datum {
            return Err(anyhow!(
                "apache-avro writes other bytes of {} than we do",
                sample.record.name
            ));
        }
        let (mut our_ns, mut avro_ns) = (f64::MAX, f64::MAX);
        for _ in 0..TURNS {
            our_ns = our_ns.min(nanoseconds(turn, || ours(sample))?);
            avro_ns = avro_ns.min(nanoseconds(turn, || {
                black_box(avro.again(black_box(&sample.datum))?);
                Ok(())
            })?);
        }
        let name = sample.record.name.rsplit('.').next().unwrap_or_default();
        rows.push(Row {
            name: name.into(),
            more: vec![
                ("bytes".into(), f64::from(u32::try_from(sample.datum.len())?)),
                ("ours ns".into(), our_ns),
                ("apache-avro ns".into(), avro_ns),
                ("times".into(), avro_ns / our_ns),
            ],
            ..Row::default()
        });
        let what = format!("{name}: apache-avro / ours");
        reaches.push(Reach::at_least(what, avro_ns / our_ns, 5.0, "x"));
    }
    Ok(Report::new("codec", seconds, rows, reaches, None))
}

/// How long one `work` takes, doing it for about `turn`.
fn nanoseconds(
    turn: Duration,
    mut work: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<f64> {
    const BATCH: u32 = 64;
    let began = Instant::now();
    let mut done = 0_u32;
    while began.elapsed() < turn || done == 0 {
        for _ in 0..BATCH {
            work()?;
        }
        done += BATCH;
    }
    Ok(began.elapsed().as_secs_f64() * 1e9 / f64::from(done))
}
