//! `stepstream workflow`: workflow definitions in files, looked at without a cluster.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use domain::workflow::compile::{Compiled, compile};
use domain::workflow::problem::{Problem, Severity};
use domain::workflow::{SCHEMA, mermaid};
use serde_json::{Value, json};

use crate::error::CommandError;
use crate::print;

/// The path that means standard input.
const STDIN: &str = "-";

/// The largest file that is read: many times any workflow that somebody wrote.
const MAX_BYTES: u64 = 8 * 1024 * 1024;

/// Look at workflow definitions in files (YAML or JSON). Needs no cluster.
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
    pub(super) fn run(self) -> Result<(), CommandError> {
        match self {
            Self::Check(check) => check.run(),
            Self::Graph(graph) => graph.run(),
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

/// A line for each problem, and one that sums up. `size`: how many nodes it has, where it can be used.
fn told(name: &str, problems: &[Problem], size: Option<usize>) -> Vec<String> {
    let mut lines: Vec<_> = problems.iter().map(|problem| format!("{name}: {problem}")).collect();
    let count = |severity| problems.iter().filter(|problem| problem.severity == severity).count();
    let warnings = counted(count(Severity::Warning), "warning");
    lines.push(match size {
        Some(nodes) => format!("{name}: ok, {}, {warnings}", counted(nodes, "node")),
        None => format!("{name}: {}, {warnings}", counted(count(Severity::Error), "error")),
    });
    lines
}

fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}

fn shown(file: &Path) -> String {
    match file.to_str() {
        Some(STDIN) => "standard input".into(),
        _ => file.display().to_string(),
    }
}

/// A definition as JSON. YAML has line and column in its errors, and so has JSON.
fn read(file: &Path) -> Result<Value, CommandError> {
    let name = shown(file);
    let failed = |error: std::io::Error| CommandError::new(format!("reading {name}"), error);
    let mut text = String::new();
    let size = match file.to_str() {
        Some(STDIN) => std::io::stdin().take(MAX_BYTES + 1).read_to_string(&mut text),
        _ => std::fs::File::open(file)
            .and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text)),
    };
    if size.map_err(failed)? as u64 > MAX_BYTES {
        return Err(CommandError::plain(format!("{name} is larger than {MAX_BYTES} bytes")));
    }
    parse(&text).map_err(|why| CommandError::plain(format!("{name}: {why}")))
}

fn parse(text: &str) -> Result<Value, String> {
    match text.trim_start().starts_with('{') {
        true => serde_json::from_str(text).map_err(|error| format!("is no JSON: {error}")),
        false => serde_saphyr::from_str(text).map_err(|error| format!("is no YAML: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_and_json_are_the_same_and_a_mistake_has_its_place() {
        let json = parse(r#"{"a": [1, "x", true, null]}"#).unwrap();
        assert_eq!(parse("a: [1, x, true, ~]\n").unwrap(), json);
        assert!(parse("{\"a\": 1,\n 2}").unwrap_err().contains("line 2 column 2"));
        let why = parse("a: 1\nb: [1, 2\nc: 3\n").unwrap_err();
        assert!(why.contains("is no YAML") && why.contains("line"), "{why}");
        assert!(parse("a: 1\na: 2\n").unwrap_err().contains("duplicate"));
    }
}
