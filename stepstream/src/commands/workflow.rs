//! `stepstream workflow`: workflow definitions, in files and stored.
//!
//! What is here needs no cluster; the commands that do are in `stored.rs`.

pub(super) mod files;
mod import;
mod stored;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use domain::workflow::compile::{Compiled, compile};
use domain::workflow::{SCHEMA, mermaid};
use serde_json::json;

use self::files::{read, shown, told};
use crate::error::CommandError;
use crate::print;

/// Look at workflow definitions in files (YAML or JSON), and manage those that are stored.
///
/// `check`, `graph`, `schema` and `import` need no cluster. What is stored is started through the gateway
/// (`POST /v1/workflows/{name}:start`), by a record, or by a schedule (`stepstream schedule`).
#[derive(Debug, Subcommand)]
pub(crate) enum Workflow {
    /// Find everything that is wrong with definitions
    ///
    /// Each problem has its place as a JSON pointer, and says what to do. Fails when there is an error;
    /// warnings alone are none.
    Check(Check),
    /// Print a definition as a Mermaid flowchart
    Graph(Graph),
    /// Print the JSON Schema of definitions, for editors
    Schema,
    /// Make a definition of an app that Dify exported
    ///
    /// The definition, as YAML, goes to standard output, the report of what became of each node and setting
    /// to standard error. Fails when something could not be converted: a node `fail` stands in its place then.
    Import(import::Import),
    /// Store definitions: a new version of each that changed
    Apply(stored::Apply),
    /// Print the workflows of a tenant, with their versions and aliases
    List(stored::List),
    /// Print a stored definition as JSON
    Get(stored::Get),
    /// Delete a workflow: nothing new starts with it, and its versions can still be read
    Delete(stored::Delete),
    /// Print what differs between two stored versions
    ///
    /// `+` was added, `-` removed and `~` changed, each with its place as a JSON pointer. Nodes are matched
    /// by their id.
    Diff(stored::Diff),
    /// Let an alias stand for a version. `stable` is what runs where nobody names one
    Alias(stored::Alias),
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Definitions; `-` reads standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// `json`: a line for each file
    #[arg(long, default_value = "text")]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Text,
    /// For programs
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct Graph {
    /// The definition; `-` reads standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Workflow {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        match self {
            Self::Apply(apply) => apply.run().await,
            Self::List(list) => list.run().await,
            Self::Get(get) => get.run().await,
            Self::Delete(delete) => delete.run().await,
            Self::Diff(diff) => diff.run().await,
            Self::Alias(alias) => alias.run().await,
            Self::Check(check) => check.run(),
            Self::Graph(graph) => graph.run(),
            Self::Import(import) => import.run(),
            Self::Schema => {
                print::line(SCHEMA.trim_end());
                Ok(())
            }
        }
    }
}

impl Check {
    fn run(self) -> Result<(), CommandError> {
        let mut wrong = 0;
        for file in &self.files {
            let name = shown(file);
            let (problems, size) = match compile(&read(file)?) {
                Ok(Compiled { warnings, graph, .. }) => (warnings, Some(graph.nodes.len())),
                Err(problems) => (problems, None),
            };
            wrong += usize::from(size.is_none());
            match self.output {
                Output::Text => {
                    told(&name, &problems, size).iter().for_each(|line| print::line(line))
                }
                Output::Json => {
                    let line = json!({ "file": name, "ok": size.is_some(), "problems": problems });
                    print::line(&line.to_string());
                }
            }
        }
        match wrong {
            0 => Ok(()),
            _ => Err(CommandError::plain(format!(
                "{wrong} of {} definitions can't be used",
                self.files.len()
            ))),
        }
    }
}

impl Graph {
    fn run(self) -> Result<(), CommandError> {
        let name = shown(&self.file);
        match compile(&read(&self.file)?) {
            Ok(compiled) => {
                print::line(mermaid::flowchart(&compiled).trim_end());
                Ok(())
            }
            Err(problems) => {
                told(&name, &problems, None).iter().for_each(|line| print::remark(line));
                Err(CommandError::plain(format!("{name} can't be used")))
            }
        }
    }
}
