//! Aliases: names for versions of a workflow, such as `stable`.
//!
//! An alias is a definition of kind [`DefinitionKind::Workflow`] with the name `NAME@ALIAS` and the body
//! `{"version": 3}`. No workflow's name has an `@`, so the two can't be mixed up, and an alias changes by the
//! rule that everything in the log changes by: whoever names the version that stands, first. Nothing here
//! says whether the version exists; whoever proposes an alias looks first, and whoever follows one looks too.

use serde::{Deserialize, Serialize};

use super::{DefinitionKind, Version};

/// What stands between a workflow's name and the alias.
const SEPARATOR: char = '@';

/// The body of an alias. Fields that are not known here may follow one day.
#[derive(Serialize, Deserialize)]
struct Body {
    version: i32,
}

/// The name that a workflow's alias has in the log.
#[must_use]
pub fn full_name(workflow: &str, alias: &str) -> String {
    format!("{workflow}{SEPARATOR}{alias}")
}

/// What the log has for an alias of this version.
#[must_use]
pub fn body(version: i32) -> String {
    serde_json::to_string(&Body { version }).expect("a number is JSON")
}

/// Whether a definition of this name is an alias.
#[must_use]
pub fn is_alias(kind: DefinitionKind, name: &str) -> bool {
    kind == DefinitionKind::Workflow && name.contains(SEPARATOR)
}

/// The version that an alias stands for; `None`: it is deleted, or says nothing that can be read.
#[must_use]
pub fn version_of(alias: &Version) -> Option<i32> {
    serde_json::from_str(alias.body.as_deref()?).ok().map(|Body { version }| version)
}
