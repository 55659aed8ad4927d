//! Definitions of workflows and schedules in files: reading them, and telling what is wrong with them.

use std::io::Read as _;
use std::path::Path;

use domain::workflow::problem::{Problem, Severity};
use serde_json::Value;

use crate::error::CommandError;

/// The path that means standard input.
const STDIN: &str = "-";

/// The largest file that is read: many times any workflow that somebody wrote.
const MAX_BYTES: u64 = 8 * 1024 * 1024;

/// A line for each problem, and one that sums up. `size`: how many nodes it has, where it can be used.
pub(super) fn told(name: &str, problems: &[Problem], size: Option<usize>) -> Vec<String> {
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

pub(in crate::commands) fn shown(file: &Path) -> String {
    match file.to_str() {
        Some(STDIN) => "standard input".into(),
        _ => file.display().to_string(),
    }
}

/// A definition as JSON. YAML has line and column in its errors, and so has JSON.
pub(in crate::commands) fn read(file: &Path) -> Result<Value, CommandError> {
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
        false => gateway::yaml::value(text).map_err(|error| format!("is no YAML: {error}")),
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
