//! Workflow definitions that are stored: the commands that read and change the log of definitions, without a
//! gateway.
//!
//! Whatever is stored is checked first, and by the same rules as over HTTP.

use std::path::PathBuf;

use clap::Args;
use domain::catalogue::{Catalogue, Version, Which, alias};
use domain::workflow::diff::{self, Change};
use domain::workflow::{compile, stored};

use super::files::{read, shown, told};
use crate::commands::stored::{Candidate, Opened, WORKFLOWS, Where, name, parsed};
use crate::error::CommandError;
use crate::print;

#[derive(Debug, Args)]
pub(crate) struct Apply {
    #[command(flatten)]
    place: Where,
    /// Definitions (YAML or JSON), stored in this order; `-` reads standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Store it only if this version stands; 0: if there never was one. For one file
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(i32).range(0..))]
    expect: Option<i32>,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    place: Where,
}

#[derive(Debug, Args)]
// Its own `version` takes the place of the program's.
#[command(disable_version_flag = true)]
pub(crate) struct Get {
    #[command(flatten)]
    place: Where,
    /// The workflow
    #[arg(value_parser = name)]
    name: String,
    /// This version. Default: the newest
    #[arg(long, value_name = "VERSION")]
    version: Option<i32>,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    place: Where,
    /// The workflow
    #[arg(value_parser = name)]
    name: String,
}

#[derive(Debug, Args)]
pub(crate) struct Diff {
    #[command(flatten)]
    place: Where,
    /// The workflow
    #[arg(value_parser = name)]
    name: String,
    /// The earlier version
    #[arg(long, value_name = "VERSION")]
    from: i32,
    /// The later version
    #[arg(long, value_name = "VERSION")]
    to: i32,
}

#[derive(Debug, Args)]
// Its own `version` takes the place of the program's.
#[command(disable_version_flag = true)]
pub(crate) struct Alias {
    #[command(flatten)]
    place: Where,
    /// The workflow
    #[arg(value_parser = name)]
    name: String,
    /// The alias, such as `stable`
    #[arg(value_parser = name)]
    alias: String,
    /// The version that it stands for
    #[arg(required_unless_present = "delete")]
    version: Option<i32>,
    /// Delete the alias instead
    #[arg(long, conflicts_with = "version")]
    delete: bool,
}

impl Apply {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        if self.expect.is_some() && self.files.len() > 1 {
            return Err(CommandError::plain("--expect is about one file")
                .advise("apply the files one by one"));
        }
        let candidates = candidates(&self.files)?;
        let opened = self.place.open(&WORKFLOWS).await?;
        for candidate in &candidates {
            print::line(&apply(&opened, candidate, self.expect).await?);
        }
        Ok(())
    }
}

/// What the files hold, if all of it can be used as far as that can be told without a cluster.
fn candidates(files: &[PathBuf]) -> Result<Vec<Candidate>, CommandError> {
    let mut candidates = Vec::with_capacity(files.len());
    let mut wrong = 0;
    for file in files {
        let (shown, definition) = (shown(file), read(file)?);
        match compile::compile(&definition) {
            Ok(compiled) => {
                candidates.push(Candidate { shown, name: compiled.definition.name, definition });
            }
            Err(problems) => {
                wrong += 1;
                told(&shown, &problems, None).iter().for_each(|line| print::remark(line));
            }
        }
    }
    match wrong {
        0 => Ok(candidates),
        _ => {
            let all = files.len();
            Err(CommandError::plain(format!("{wrong} of {all} definitions can't be used"))
                .advise("nothing was stored"))
        }
    }
}

/// Stores one definition, unless it says what stands already; a line that says which it was.
async fn apply(
    opened: &Opened,
    candidate: &Candidate,
    expect: Option<i32>,
) -> Result<String, CommandError> {
    let Candidate { shown, name, definition } = candidate;
    let (catalogue, tenant) = (opened.definitions.snapshot(), opened.tenant.as_str());
    let problems = match stored::check(&catalogue, tenant, Some(name), definition) {
        Ok(compiled) => compiled.warnings,
        Err(problems) => {
            told(shown, &problems, None).iter().for_each(|line| print::remark(line));
            return Err(CommandError::plain(format!("{shown} can't be used")));
        }
    };
    problems.iter().for_each(|problem| print::remark(&format!("{shown}: {problem}")));
    let same = |version: &Version| {
        parsed(version).is_ok_and(|stands| diff::diff(&stands, definition).is_empty())
    };
    opened.store(candidate, expect, same).await
}

impl List {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        let opened = self.place.open(&WORKFLOWS).await?;
        let (catalogue, tenant) = (opened.definitions.snapshot(), opened.tenant.as_str());
        for (name, version) in catalogue.names(WORKFLOWS.kind, tenant) {
            print::line(&line(&catalogue, tenant, name, version));
        }
        Ok(())
    }
}

/// What `list` says of a workflow.
fn line(catalogue: &Catalogue, tenant: &str, name: &str, version: &Version) -> String {
    let aliases = catalogue.aliases(tenant, name);
    let aliases: Vec<_> = aliases.map(|(alias, of, _)| format!("{alias}={of}")).collect();
    let line = format!("{name}\tversion {}\t{}", version.number, aliases.join(","));
    line.trim_end().to_owned()
}

impl Get {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        let opened = self.place.open(&WORKFLOWS).await?;
        let catalogue = opened.definitions.snapshot();
        let said = WORKFLOWS.said(&catalogue, &opened.tenant, &self.name, self.version)?;
        print::line(&format!("{said:#}"));
        Ok(())
    }
}

impl Delete {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        self.place.open(&WORKFLOWS).await?.delete(&self.name).await
    }
}

impl Diff {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        let opened = self.place.open(&WORKFLOWS).await?;
        let catalogue = opened.definitions.snapshot();
        let said = |number| WORKFLOWS.said(&catalogue, &opened.tenant, &self.name, Some(number));
        for change in diff::diff(&said(self.from)?, &said(self.to)?) {
            print::line(&change_line(&change));
        }
        Ok(())
    }
}

/// What `diff` says of a change.
fn change_line(change: &Change) -> String {
    let (sign, pointer, node, what) = match change {
        Change::Added { pointer, node, to } => ('+', pointer, node, to.to_string()),
        Change::Removed { pointer, node, from } => ('-', pointer, node, from.to_string()),
        Change::Changed { pointer, node, from, to } => {
            ('~', pointer, node, format!("{from} -> {to}"))
        }
    };
    let node = node.as_ref().map_or_else(String::new, |node| format!(" ({node})"));
    format!("{sign} {pointer}{node}: {what}")
}

impl Alias {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        let Self { place, name, alias, version, delete: _ } = self;
        let opened = place.open(&WORKFLOWS).await?;
        let (catalogue, tenant) = (opened.definitions.snapshot(), opened.tenant.as_str());
        let full = alias::full_name(&name, &alias);
        let Some(version) = version else {
            if catalogue.newest(WORKFLOWS.kind, tenant, &full).is_none() {
                return Err(CommandError::plain(format!("{name} has no alias {alias}")));
            }
            opened.change(&full, None).await?;
            print::line(&format!("{name} has no alias {alias} any more"));
            return Ok(());
        };
        WORKFLOWS.find(&catalogue, tenant, &name, None)?;
        if catalogue.resolve(WORKFLOWS.kind, tenant, &name, Which::Version(version)).is_none() {
            return Err(CommandError::plain(format!("{name} has no version {version}")));
        }
        opened.change(&full, Some(alias::body(version))).await?;
        print::line(&format!("{alias} of {name} is version {version}"));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use domain::catalogue::DefinitionProposed;
    use domain::time::Millis;
    use serde_json::json;

    use super::*;

    #[test]
    fn list_shows_aliases_and_what_they_stand_for() {
        let mut catalogue = Catalogue::default();
        for (name, body) in [("w", "{}".into()), ("v", "{}".into()), ("w@stable", alias::body(1))] {
            catalogue.apply(DefinitionProposed {
                id: name.into(),
                kind: WORKFLOWS.kind,
                tenant: "acme".into(),
                name: name.into(),
                expects: 0,
                body: Some(body),
                proposed_by: "test".into(),
                time: Millis(0),
            });
        }
        let names = catalogue.names(WORKFLOWS.kind, "acme");
        let lines: Vec<_> = names.map(|(name, v)| line(&catalogue, "acme", name, v)).collect();
        assert_eq!(lines, ["v\tversion 1", "w\tversion 1\tstable=1"]);
        assert!(WORKFLOWS.said(&catalogue, "acme", "w@stable", Some(1)).is_err());
        assert!(
            WORKFLOWS
                .said(&catalogue, "acme", "w", Some(2))
                .unwrap_err()
                .to_string()
                .contains("version 2")
        );
    }

    #[test]
    fn each_change_is_one_line() {
        let from = json!({"spec": {"nodes": [{"id": "a", "value": 1}], "timeout": "1s"}});
        let to = json!({"spec": {"nodes": [{"id": "a", "value": "2\n"}], "result": null}});
        let lines: Vec<_> = diff::diff(&from, &to).iter().map(change_line).collect();
        let expected = [
            "~ /spec/nodes/0/value (a): 1 -> \"2\\n\"",
            "- /spec/timeout: \"1s\"",
            "+ /spec/result: null",
        ];
        assert_eq!(lines, expected);
    }
}
