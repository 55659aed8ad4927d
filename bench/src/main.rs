//! `stepstream-bench NAME`: speed, cost and scale, measured on a real broker beside peers in the same run.
//!
//! Open loop, latency from the intended time, and a gate: a run in which a record is lost or comes twice
//! doesn't count, and the program says so by its exit code. It asserts no speed; that is for people.

mod archive;
mod asks;
mod cassandra;
mod client;
mod codec;
mod facts;
mod fan_out;
mod flight;
mod gateway;
mod highest;
mod hops;
mod installed;
mod lane;
mod litellm;
mod models;
mod operator;
mod peers;
mod platform;
mod product;
mod push_role;
mod rebuild;
mod relay;
mod report;
mod restart;
mod socket;
mod sockets;
mod stack;
mod tokens;
mod usage;
mod worker;
mod workflow;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Parser, ValueEnum};
use tracing_subscriber::EnvFilter;

use crate::report::Report;
use crate::stack::Stack;
use crate::workflow::{Shape, Wanted};

/// Measures speed, cost and scale.
#[derive(Debug, Parser)]
#[command(name = "stepstream-bench", version)]
struct Cli {
    /// What to measure.
    #[arg(value_enum)]
    bench: Bench,
    /// How long each row is measured.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Write the report there, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// A broker that runs already; without it, one is started and stopped.
    #[arg(long, value_name = "HOST:PORT", requires = "registry")]
    brokers: Option<String>,
    /// Base address of the registry beside `--brokers`.
    #[arg(long, value_name = "URL", requires = "brokers")]
    registry: Option<String>,
    /// The broker's process, to count its CPU and memory.
    #[arg(long, value_name = "PID", requires = "brokers")]
    broker_pid: Option<u32>,
    /// `codec` only: decode and encode each record N times with our codec and say nothing; for counting
    /// instructions with callgrind.
    #[arg(long, value_name = "N")]
    once: Option<u64>,
    /// `workflow` only: what is measured of workflows.
    #[arg(long, value_enum, default_value_t = Shape::Steps)]
    shape: Shape,
    /// `workflow` only: `steps` and `pure`: the only rate; `saturation`: where the search begins.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=20_000))]
    rate: Option<u64>,
    /// `workflow` only: `fan-out`: the widest; `loop`, `timers` and `waiting`: how many. Default: 10,000;
    /// 10,000; 100,000; 50,000
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(10..=100_000))]
    count: Option<u64>,
    /// `workflow` only: `steps` and `saturation` without the peers, to look at ours.
    #[arg(long)]
    alone: bool,
    /// `archive` and `rebuild` only: records in `results` and `execution-log`. Default: 60,000; 1,000,000
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(6..=100_000_000))]
    records: Option<u64>,
    /// `worker` only: the topics' prefix.
    #[arg(long, hide = true, default_value = "")]
    prefix: String,
    /// `worker` only: where the models are.
    #[arg(long, hide = true, default_value = "")]
    model_url: String,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Bench {
    /// Log record, fold, output read by the next.
    Hop,
    /// The same from the feed.
    Admit,
    /// 1, 3 and 9 hops.
    Chain,
    /// The highest rate at which one stage keeps up.
    Saturation,
    /// Our codec against apache-avro through `Value`.
    Codec,
    /// A thousand scripted calls in flight.
    Model,
    /// Whether slow calls hold back fast ones.
    HeadOfLine,
    /// One of two workers is killed.
    Restart,
    /// Time to first token through the gateway.
    Tokens,
    /// Memory of idle processes.
    Memory,
    /// Memory of ten thousand idle sockets.
    Sockets,
    /// From a topic to a thousand sockets.
    FanOut,
    /// Chat completions through the gateway, beside LiteLLM.
    Gateway,
    /// `results` and `execution-log` into Cassandra, beside raw inserts.
    Archive,
    /// The projection from the topics alone.
    Rebuild,
    /// Workflows, beside Restate and Celery: see `--shape`.
    Workflow,
    /// A worker process of one of the others.
    #[value(hide = true)]
    Worker,
}

/// A third of the CPU of a busy worker went into the C library's allocator, which returns what other threads
/// freed only with effort.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            tracing::error!("a row doesn't count: see the table");
            ExitCode::FAILURE
        }
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every row counts.
fn run(cli: Cli) -> anyhow::Result<bool> {
    if let Some(times) = cli.once {
        if cli.bench != Bench::Codec {
            bail!("--once: is for `codec` only");
        }
        codec::once(times)?;
        return Ok(true);
    }
    if cli.bench == Bench::Codec {
        return told(&cli, &codec::run(cli.seconds)?);
    }
    let stack = match (&cli.brokers, &cli.registry) {
        (Some(brokers), Some(registry)) => {
            Stack::at(brokers.clone(), registry.clone(), cli.broker_pid)
        }
        _ => Stack::start()?,
    };
    let bench = match cli.bench {
        Bench::Hop => hops::hop,
        Bench::Admit => hops::admit,
        Bench::Chain => hops::chain,
        Bench::Saturation => hops::saturation,
        Bench::Model => models::model,
        Bench::HeadOfLine => models::head_of_line,
        Bench::Restart => restart::run,
        Bench::Tokens => tokens::run,
        Bench::Memory => product::memory,
        Bench::Sockets => sockets::run,
        Bench::FanOut => fan_out::run,
        Bench::Gateway => gateway::run,
        Bench::Workflow => {
            let Cli { shape, seconds, rate, count, alone, .. } = cli;
            let wanted = Wanted { shape, seconds, rate, count, alone };
            return told(&cli, &workflow::run(&stack, wanted)?);
        }
        Bench::Archive => return told(&cli, &archive::run(&stack, cli.records)?),
        Bench::Rebuild => return told(&cli, &rebuild::run(&stack, cli.records)?),
        Bench::Worker | Bench::Codec => {
            let place = worker::Place { prefix: cli.prefix, model_url: cli.model_url };
            worker::run(&stack, &place)?;
            return Ok(true);
        }
    };
    told(&cli, &bench(&stack, cli.seconds)?)
}

fn told(cli: &Cli, report: &Report) -> anyhow::Result<bool> {
    report.publish(cli.json.as_deref())?;
    Ok(report.counts())
}
