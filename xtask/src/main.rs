//! `cargo xtask`: set-up, checks, tests, a development server and benchmarks, each by one command.
//!
//! It only calls what a person could call by hand, and says what it calls. It refuses to be a build
//! system: nothing that `cargo build` needs is made here.

mod bench;
mod check;
mod dev;
mod places;
mod report;
mod setup;
mod stack;
mod test;
mod tidy;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Set-up, checks, tests, a development server and benchmarks of Stepstream.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about, version)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

/// The tasks; their doc comments are the help texts.
#[derive(Debug, Subcommand)]
enum Task {
    /// Build, then run `stepstream dev`: everything in one process
    #[command(disable_help_flag = true)]
    Dev {
        /// `--real` for a real broker and registry (infra/local) instead of the embedded ones; all else
        /// goes to `stepstream dev`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<OsString>,
    },
    /// Set up, check, and run every test, those on a real broker and registry included
    Test {
        /// Leave out set-up, checks and the end-to-end tests
        #[arg(long)]
        fast: bool,
    },
    /// Formatting, lints, documentation and tidy
    Check,
    /// What no other tool checks: crate edges, licences, file headers and lengths, stray paths
    Tidy,
    /// Build `stepstream-bench` for release and run it with these arguments
    #[command(disable_help_flag = true)]
    Bench {
        /// Arguments of `stepstream-bench`, such as `hop --seconds 30 --json hop.json`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<OsString>,
    },
    /// Look for what building and testing need, and install what the system's package manager has
    Setup,
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<()> {
    match task {
        Task::Dev { rest } => {
            let (broker, rest) = dev::arguments(rest);
            dev::run(broker, &rest)
        }
        Task::Test { fast } => {
            test::run(if fast { test::Extent::Fast } else { test::Extent::Everything })
        }
        Task::Check => check::run(),
        Task::Tidy => tidy::run(),
        Task::Bench { rest } => bench::run(&rest),
        Task::Setup => setup::run(),
    }
}
