//! The files of one example.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::model_definition::ModelDefinition;
use serde_json::Value;

/// What an example's folder has.
pub(crate) struct Example {
    /// Its definitions; the one that is started comes last.
    pub(crate) definitions: Vec<Value>,
    pub(crate) input: Value,
    pub(crate) models: BTreeMap<String, Arc<ModelDefinition>>,
    pub(crate) readme: String,
}

/// The top of the tree.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub(crate) fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn json(path: &Path) -> Value {
    let text = text(path);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// YAML as the gateway and the command line read it.
pub(crate) fn yaml(text: &str) -> Value {
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options(text, options)
        .unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The definitions of a folder, by file; the one that is started comes last.
pub(crate) fn definitions(folder: &Path) -> Vec<(PathBuf, Value)> {
    let entries = fs::read_dir(folder).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|ext| ext == "yaml")).collect();
    paths.sort_by_key(|path| (path.ends_with("workflow.yaml"), path.clone()));
    paths.into_iter().map(|path| (path.clone(), yaml(&text(&path)))).collect()
}

/// The models of a folder; none where it has no file of them.
pub(crate) fn models(folder: &Path) -> BTreeMap<String, Arc<ModelDefinition>> {
    let path = folder.join("models.json");
    if !path.exists() {
        return BTreeMap::new();
    }
    let models = json(&path);
    let models = models.as_object().expect("models by name").iter().map(|(name, model)| {
        let model = ModelDefinition::parse(&model.to_string())
            .unwrap_or_else(|error| panic!("{}: {name}: {error}", path.display()));
        (name.clone(), Arc::new(model))
    });
    models.collect()
}

impl Example {
    pub(crate) fn read(name: &str) -> Self {
        let folder = root().join("examples").join(name);
        Self {
            definitions: definitions(&folder).into_iter().map(|(_, it)| it).collect(),
            input: json(&folder.join("input.json")),
            models: models(&folder),
            readme: text(&folder.join("README.md")),
        }
    }

    /// The name of the workflow that is started.
    pub(crate) fn workflow(&self) -> &str {
        let workflow = self.definitions.last().expect("a workflow");
        workflow["metadata"]["name"].as_str().expect("a name")
    }

    /// What its page says that comes out: the first JSON in it.
    pub(crate) fn promised(&self) -> Value {
        let json = self.readme.split("```json\n").nth(1).and_then(|rest| rest.split("```").next());
        serde_json::from_str(json.expect("a page with what comes out")).expect("JSON")
    }
}
