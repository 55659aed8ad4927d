//! Workflow definitions that are stored: the commands that read and change the log of definitions, without a
//! gateway.
//!
//! Whatever is stored is checked first, and by the same rules as over HTTP.

use std::path::PathBuf;

use clap::Args;
use domain::catalogue::{Catalogue, DefinitionKind, DefinitionProposed, Version, Which, alias};
use domain::request::DEFAULT_TENANT;
use domain::workflow::definition::{MAX_NAME_BYTES, is_name};
use domain::workflow::diff::{self, Change};
use domain::workflow::{compile, stored};
use gateway::RECORD_BODY_BYTES;
use serde_json::Value;
use service::catalogue::Definitions;
use uuid::Uuid;

use super::files::{read, shown, told};
use crate::commands::ConfigFile;
use crate::commands::proposing::{change, newest, read_all};
use crate::error::CommandError;
use crate::{cluster, print};

const KIND: DefinitionKind = DefinitionKind::Workflow;

/// Whose definitions, and where they are.
#[derive(Debug, Args)]
struct Where {
    #[command(flatten)]
    file: ConfigFile,
    /// Whose
    #[arg(long, default_value = DEFAULT_TENANT)]
    tenant: String,
}

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

fn name(text: &str) -> Result<String, String> {
    match is_name(text) {
        true => Ok(text.to_owned()),
        false => Err(format!("a name has 1 to {MAX_NAME_BYTES} letters, digits, -, _ and .")),
    }
}

/// The definitions of a tenant, and the way to change them.
struct Opened {
    cluster: kafka::Cluster,
    definitions: Definitions,
    tenant: String,
}

impl Where {
    async fn open(self) -> Result<Opened, CommandError> {
        let config = self.file.load_quietly()?;
        let cluster = cluster::connect(&config).await?;
        let definitions = read_all(&cluster).await?;
        Ok(Opened { cluster, definitions, tenant: self.tenant })
    }
}

impl Opened {
    /// Proposes that `name` shall say this, in place of the version that stands.
    async fn change(&self, name: &str, body: Option<String>) -> Result<i32, CommandError> {
        let proposal = DefinitionProposed {
            id: Uuid::now_v7().to_string(),
            kind: KIND,
            expects: newest(&self.definitions.snapshot(), KIND, &self.tenant, name),
            tenant: self.tenant.clone(),
            name: name.to_owned(),
            body,
            proposed_by: "stepstream workflow".into(),
            time: cluster::now(),
        };
        change(&self.cluster, &self.definitions, &proposal).await
    }
}

fn missing(name: &str) -> CommandError {
    CommandError::plain(format!("there is no workflow {name}"))
        .advise("`stepstream workflow list` prints those that there are")
}

/// What a version of a workflow says.
fn said(
    catalogue: &Catalogue,
    tenant: &str,
    name: &str,
    number: Option<i32>,
) -> Result<Value, CommandError> {
    let version = match number {
        Some(number) => {
            let version = catalogue.resolve(KIND, tenant, name, Which::Version(number));
            version.ok_or_else(|| {
                CommandError::plain(format!("there is no version {number} of a workflow {name}"))
            })?
        }
        None => catalogue.newest(KIND, tenant, name).ok_or_else(|| missing(name))?,
    };
    parsed(version).map_err(|error| {
        CommandError::new(format!("version {} of {name} is no JSON", version.number), error)
    })
}

fn parsed(version: &Version) -> Result<Value, serde_json::Error> {
    serde_json::from_str(version.body.as_deref().unwrap_or_default())
}

/// A definition from a file, with its name.
struct Candidate {
    shown: String,
    name: String,
    definition: Value,
}

impl Apply {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        if self.expect.is_some() && self.files.len() > 1 {
            return Err(CommandError::plain("--expect is about one file")
                .advise("apply the files one by one"));
        }
        let candidates = candidates(&self.files)?;
        let opened = self.place.open().await?;
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
    let stands = newest(&catalogue, KIND, tenant, name);
    if expect.is_some_and(|expect| expect != stands) {
        return Err(CommandError::plain(format!("version {stands} of {name} stands"))
            .advise("look at it, and expect that one if yours shall follow"));
    }
    let same = catalogue.newest(KIND, tenant, name).filter(|version| {
        parsed(version).is_ok_and(|stands| diff::diff(&stands, definition).is_empty())
    });
    if let Some(version) = same {
        return Ok(format!("{name} is version {}, as before", version.number));
    }
    let body = definition.to_string();
    if body.len() > RECORD_BODY_BYTES {
        return Err(CommandError::plain(format!(
            "{shown} is larger than {RECORD_BODY_BYTES} bytes"
        )));
    }
    let version = opened.change(name, Some(body)).await?;
    Ok(format!("{name} is version {version}"))
}

impl List {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        let opened = self.place.open().await?;
        let (catalogue, tenant) = (opened.definitions.snapshot(), opened.tenant.as_str());
        for (name, version) in catalogue.names(KIND, tenant) {
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
        let opened = self.place.open().await?;
        let catalogue = opened.definitions.snapshot();
        let said = said(&catalogue, &opened.tenant, &self.name, self.version)?;
        print::line(&format!("{said:#}"));
        Ok(())
    }
}

impl Delete {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        let opened = self.place.open().await?;
        let catalogue = opened.definitions.snapshot();
        catalogue.newest(KIND, &opened.tenant, &self.name).ok_or_else(|| missing(&self.name))?;
        opened.change(&self.name, None).await?;
        print::line(&format!("{} is deleted", self.name));
        Ok(())
    }
}

impl Diff {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        let opened = self.place.open().await?;
        let catalogue = opened.definitions.snapshot();
        let said = |number| said(&catalogue, &opened.tenant, &self.name, Some(number));
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
        let opened = place.open().await?;
        let (catalogue, tenant) = (opened.definitions.snapshot(), opened.tenant.as_str());
        let full = alias::full_name(&name, &alias);
        let Some(version) = version else {
            if catalogue.newest(KIND, tenant, &full).is_none() {
                return Err(CommandError::plain(format!("{name} has no alias {alias}")));
            }
            opened.change(&full, None).await?;
            print::line(&format!("{name} has no alias {alias} any more"));
            return Ok(());
        };
        catalogue.newest(KIND, tenant, &name).ok_or_else(|| missing(&name))?;
        if catalogue.resolve(KIND, tenant, &name, Which::Version(version)).is_none() {
            return Err(CommandError::plain(format!("{name} has no version {version}")));
        }
        opened.change(&full, Some(alias::body(version))).await?;
        print::line(&format!("{alias} of {name} is version {version}"));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use domain::time::Millis;
    use serde_json::json;

    use super::*;

    #[test]
    fn name_is_one_that_a_workflow_can_have() {
        assert_eq!(name("a-b_c.1"), Ok("a-b_c.1".into()));
        for wrong in ["", "a@stable", "a b", "é"] {
            assert!(name(wrong).unwrap_err().contains("128 letters"), "{wrong}");
        }
    }

    #[test]
    fn list_shows_aliases_and_what_they_stand_for() {
        let mut catalogue = Catalogue::default();
        for (name, body) in [("w", "{}".into()), ("v", "{}".into()), ("w@stable", alias::body(1))] {
            catalogue.apply(DefinitionProposed {
                id: name.into(),
                kind: KIND,
                tenant: "acme".into(),
                name: name.into(),
                expects: 0,
                body: Some(body),
                proposed_by: "test".into(),
                time: Millis(0),
            });
        }
        let names = catalogue.names(KIND, "acme");
        let lines: Vec<_> = names.map(|(name, v)| line(&catalogue, "acme", name, v)).collect();
        assert_eq!(lines, ["v\tversion 1", "w\tversion 1\tstable=1"]);
        assert!(said(&catalogue, "acme", "w@stable", Some(1)).is_err());
        assert!(
            said(&catalogue, "acme", "w", Some(2)).unwrap_err().to_string().contains("version 2")
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
