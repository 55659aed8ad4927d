//! What is true of every folder.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use domain::workflow::compile::{Compiled, compile_with};
use domain::workflow::definition::Kind;
use domain::workflow::schema;
use serde_json::Value;

use crate::example::{definitions, json, models, root, text};

/// The folders that a module of this crate runs.
const RUN: [&str; 8] = [
    "approval",
    "children",
    "map-reduce",
    "nightly",
    "saga",
    "self-correcting",
    "summarise-and-classify",
    "vote",
];

fn folders() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("examples")).expect("the examples");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut folders: Vec<_> = paths.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

fn compiled(definition: &Value, siblings: &[(PathBuf, Value)], name: &str) -> Compiled {
    let inputs_of = |child: &str| {
        let named = |one: &&(PathBuf, Value)| one.1["metadata"]["name"] == child;
        siblings.iter().find(named).map(|(_, it)| it["spec"]["inputs"].clone())
    };
    compile_with(definition, &|child, _| inputs_of(child))
        .unwrap_or_else(|problems| panic!("{name}: {problems:?}"))
}

#[test]
fn every_folder_is_listed_and_run() {
    let names: Vec<_> = folders()
        .iter()
        .map(|folder| folder.file_name().expect("a name").to_string_lossy().into_owned())
        .collect();
    assert_eq!(names, RUN);
    let list = text(&root().join("examples/README.md"));
    for name in names {
        assert!(list.contains(&format!("| [{name}]({name}/) |")), "{name} isn't in the list");
    }
}

#[test]
fn every_definition_compiles_without_a_warning_and_finds_what_it_names() {
    for folder in folders() {
        let (definitions, models) = (definitions(&folder), models(&folder));
        let children: BTreeSet<_> =
            definitions.iter().filter_map(|(_, it)| it["metadata"]["name"].as_str()).collect();
        let mut asked = BTreeSet::new();
        for (path, definition) in &definitions {
            let name = path.display().to_string();
            let Compiled { definition, warnings, .. } = compiled(definition, &definitions, &name);
            assert_eq!(warnings, [], "{name}");
            for node in definition.nodes {
                match node.kind {
                    Kind::Model { model, .. } => drop(asked.insert(model)),
                    Kind::Workflow { name: child, .. } => {
                        assert!(children.contains(child.as_str()), "{name}: no {child}");
                    }
                    _ => {}
                }
            }
        }
        let put: BTreeSet<_> = models.into_keys().collect();
        assert_eq!(asked, put, "{}: models asked, models there", folder.display());
    }
}

#[test]
fn every_input_fits_its_workflow() {
    for folder in folders() {
        let (_, workflow) = definitions(&folder).pop().expect("a workflow");
        let input = json(&folder.join("input.json"));
        let violations = schema::violations(&workflow["spec"]["inputs"], &input);
        assert!(violations.is_empty(), "{}: {violations:?}", folder.display());
    }
}

#[test]
fn editors_and_shells_find_what_they_look_for() {
    let schema = root().join("schemas/json/workflow.schema.json");
    for (path, definition) in folders().iter().flat_map(|folder| definitions(folder)) {
        let written = text(&path);
        let first = written.lines().next().expect("a line");
        let link = first.strip_prefix("# yaml-language-server: $schema=").expect(first);
        let linked = path.parent().expect("a folder").join(link);
        let same = fs::canonicalize(&linked).ok() == fs::canonicalize(&schema).ok();
        assert!(same, "{}: {link}", path.display());
        // What the first page's command takes for the name.
        let name = written.lines().find_map(|line| line.strip_prefix("  name: "));
        assert_eq!(name, definition["metadata"]["name"].as_str(), "{}", path.display());
    }
}

#[test]
fn all_examples_can_stand_beside_each_other() {
    let mut names = BTreeSet::new();
    for folder in folders() {
        for (path, definition) in definitions(&folder) {
            let name = definition["metadata"]["name"].to_string();
            assert!(names.insert(name), "{} has a name that is taken", path.display());
        }
        for model in models(&folder).into_keys() {
            assert!(names.insert(format!("model {model}")), "model {model} is there twice");
        }
    }
}
