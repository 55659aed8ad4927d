//! What the rules need of `cargo metadata`, and nothing else of it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::Value;

/// Which crate uses which.
pub(super) type Edges = BTreeMap<String, BTreeSet<String>>;

/// A crate from outside, as `name version`, and its licence expression if it states one.
pub(super) type Licence = (String, Option<String>);

/// The answer of `cargo metadata`.
#[derive(Debug)]
pub(super) struct Metadata {
    packages: Vec<Value>,
    members: BTreeSet<String>,
}

impl Metadata {
    /// Reads the answer in format version 1.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        let mut whole: Value =
            serde_json::from_slice(bytes).context("cargo metadata is no JSON")?;
        let members = whole["workspace_members"].as_array().context("no workspace_members")?;
        let members = members.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        let Value::Array(packages) = whole["packages"].take() else {
            anyhow::bail!("cargo metadata has no packages")
        };
        Ok(Self { packages, members })
    }

    /// Between crates of the workspace. What only tests use doesn't count.
    pub(super) fn edges(&self) -> Edges {
        self.member_edges(|dependency| !dependency["path"].is_null())
    }

    /// From crates of the workspace to crates from outside; tests' use counts here.
    pub(super) fn outside_edges(&self) -> Edges {
        let mut edges = Edges::new();
        for package in self.packages.iter().filter(|package| self.is_member(package)) {
            let used = dependencies(package).filter(|dependency| dependency["path"].is_null());
            edges.insert(name(package), used.map(name).collect());
        }
        edges
    }

    /// Of all crates from outside, also those for other systems.
    pub(super) fn licences(&self) -> Vec<Licence> {
        let outside = self.packages.iter().filter(|package| !self.is_member(package));
        outside
            .map(|package| {
                let version = package["version"].as_str().unwrap_or("?");
                let licence = package["license"].as_str().map(str::to_owned);
                (format!("{} {version}", name(package)), licence)
            })
            .collect()
    }

    fn member_edges(&self, wanted: impl Fn(&Value) -> bool) -> Edges {
        let mut edges = Edges::new();
        for package in self.packages.iter().filter(|package| self.is_member(package)) {
            let used = dependencies(package)
                .filter(|dependency| dependency["kind"] != "dev" && wanted(dependency))
                .map(name)
                .collect();
            edges.insert(name(package), used);
        }
        edges
    }

    fn is_member(&self, package: &Value) -> bool {
        package["id"].as_str().is_some_and(|id| self.members.contains(id))
    }
}

fn dependencies(package: &Value) -> impl Iterator<Item = &Value> {
    package["dependencies"].as_array().into_iter().flatten()
}

/// Without the prefix that our packages share, which the code leaves out too.
fn name(value: &Value) -> String {
    let name = value["name"].as_str().unwrap_or_default();
    name.strip_prefix("stepstream-").unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Metadata {
        let whole = serde_json::json!({
            "workspace_members": ["id-a", "id-b"],
            "packages": [
                {"name": "stepstream-a", "id": "id-a", "version": "0.1.0", "license": "Apache-2.0",
                 "dependencies": [
                    {"name": "stepstream-b", "kind": null, "path": "/b"},
                    {"name": "stepstream-c", "kind": "dev", "path": "/c"},
                    {"name": "stepstream-d", "kind": "build", "path": "/d"},
                    {"name": "serde", "kind": null},
                    {"name": "rdkafka", "kind": "dev"},
                 ]},
                {"name": "stepstream-b", "id": "id-b", "version": "0.1.0", "dependencies": []},
                {"name": "serde", "id": "s", "version": "1.0.0", "license": "MIT", "dependencies": []},
                {"name": "odd", "id": "o", "version": "2.0.0", "license": null, "dependencies": []},
            ],
        });
        Metadata::parse(whole.to_string().as_bytes()).unwrap()
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn build_dependencies_are_edges_and_dev_dependencies_are_not() {
        assert_eq!(sample().edges()["a"], set(&["b", "d"]));
        assert_eq!(sample().edges()["b"], set(&[]));
    }

    #[test]
    fn what_comes_from_outside_is_seen_also_in_tests() {
        assert_eq!(sample().outside_edges()["a"], set(&["rdkafka", "serde"]));
    }

    #[test]
    fn licences_are_those_of_crates_from_outside() {
        let licences = sample().licences();
        assert_eq!(
            licences,
            [("serde 1.0.0".to_owned(), Some("MIT".to_owned())), ("odd 2.0.0".to_owned(), None),]
        );
    }
}
