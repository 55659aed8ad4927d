//! The program `stepstream`: reads the command line, hands over to one command, and says why it failed.
//!
//! Nothing is worked out here. The roles of a process are put together in [`node`]; everything else is
//! the business of the crates.

mod cluster;
mod commands;
mod definitions;
mod error;
mod health;
mod large;
mod node;
mod print;
mod program;
mod progress;
mod stages;
mod store;

use std::process::ExitCode;

use clap::Parser;

use crate::commands::Command;

/// An event-driven AI platform on Kafka.
///
/// Start with `stepstream dev`: it needs no broker, no key and no set-up.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// A third of the CPU of a busy worker went into the C library's allocator, which returns what other threads
/// freed only with effort.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("stepstream")
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            print::error(&error::CommandError::new("starting the program's threads", error));
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(command.run());
    // What still blocks a thread (a broker that doesn't answer) must not hold the end up.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print::error(&error);
            ExitCode::from(error.code())
        }
    }
}
