//! From JSON to a [`Definition`] and the expressions in it, noting everything that is wrong on the way.
//!
//! What is broken is replaced by something harmless and marked, so that the checks of the graph can go
//! on with the rest. It doesn't judge the graph: names of nodes stay names here.

mod kinds;
mod texts;

use std::collections::{BTreeMap, BTreeSet};

use minijinja::Environment;
use serde_json::Value;

use super::definition::{
    self, API_VERSION, Concurrency, Definition, Edge, KIND, Kind, MAX_NAME_BYTES, Node, Policy,
    Retry, Scope, TOP, Variable,
};
use super::expression::Analysis;
use super::fields;
use super::problem::{Pointer, Problems};
use super::reader::{Object, choice, identifier, text, wrong_type};
use super::schema;
use super::template::Template;
use crate::answer::ErrorClass;

/// More nodes are a mistake: a `map` runs one node for thousands of items.
const MAX_NODES: usize = 2_000;
/// More edges of one scope are a mistake.
const MAX_EDGES: usize = 20_000;
/// Bodies within bodies within bodies are hard to follow from here on.
const MAX_DEPTH: usize = 8;
/// What was read.
pub(super) struct Draft {
    /// With something harmless in place of what is broken.
    pub(super) definition: Definition,
    /// Nodes whose kind is not to be looked at.
    pub(super) broken: BTreeSet<usize>,
    /// All texts with expressions.
    pub(super) sites: Vec<Site>,
    /// The nodes by id; of several with the same, the first.
    pub(super) by_id: BTreeMap<String, usize>,
}

/// A text with expressions.
pub(super) struct Site {
    /// Where it stands.
    pub(super) at: Pointer,
    /// When it is evaluated.
    pub(super) place: Place,
    /// What it must give.
    pub(super) wanted: Wanted,
    /// What is known of it.
    pub(super) analysis: Analysis,
}

/// When a text is evaluated, and so what it can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// At admission, over the inputs.
    Variable,
    /// At admission, over inputs and variables.
    ConcurrencyKey,
    /// When this node runs.
    Node(usize),
    /// When this node has failed.
    Default(usize),
    /// Around an iteration of this node.
    LoopCondition(usize),
    /// When the source of this edge has succeeded.
    Edge { scope: usize, index: usize },
    /// When this scope ends.
    Result(usize),
}

/// What a text must give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Anything.
    Value,
    /// True or false.
    Condition,
    /// A list.
    List,
}

/// Reads a definition.
pub(super) fn read(
    value: &Value,
    environment: &Environment<'_>,
    problems: &mut Problems,
) -> Option<Draft> {
    let reader = Reader {
        environment,
        problems,
        nodes: Vec::new(),
        scopes: Vec::new(),
        sites: Vec::new(),
        broken: BTreeSet::new(),
        by_id: BTreeMap::new(),
        items: Vec::new(),
    };
    reader.definition(value)
}

struct Reader<'r> {
    environment: &'r Environment<'r>,
    problems: &'r mut Problems,
    nodes: Vec<Node>,
    scopes: Vec<Scope>,
    sites: Vec<Site>,
    broken: BTreeSet<usize>,
    by_id: BTreeMap<String, usize>,
    /// The names of the items of the maps that we are inside of.
    items: Vec<String>,
}

impl Reader<'_> {
    fn definition(mut self, value: &Value) -> Option<Draft> {
        let whole = Object::open(value, &fields::DEFINITION, Pointer::root(), self.problems)?;
        for (field, wanted) in [("apiVersion", API_VERSION), ("kind", KIND)] {
            if let Some((value, at)) = whole.get(field) {
                choice(value, &[(wanted, ())], &at, self.problems);
            }
        }
        let (name, description, labels) = whole
            .object("metadata", &fields::METADATA, self.problems)
            .map(|metadata| self.metadata(metadata))
            .unwrap_or_default();
        let spec = whole.object("spec", &fields::SPEC, self.problems);
        whole.close();
        let spec = spec?;

        let inputs = self.schema(&spec, "inputs");
        let inputs = inputs.unwrap_or_else(|| serde_json::json!({"type": "object"}));
        if inputs.get("type").is_some_and(|one| one != "object") {
            let at = spec.at.field("inputs").field("type");
            self.problems.error(&at, "inputs are always an object: write \"object\"");
        }
        let outputs = self.schema(&spec, "outputs");
        let variables = self.variables(&spec);
        let concurrency = spec
            .object("concurrency", &fields::CONCURRENCY, self.problems)
            .map(|concurrency| self.concurrency(concurrency));
        let timeout_ms = spec.duration("timeout", self.problems);
        let top = self.scope(&spec, None);
        debug_assert_eq!(top, TOP, "the whole is read before any body");
        self.layout(&spec);
        spec.close();

        let definition = Definition {
            name,
            description,
            labels,
            inputs,
            outputs,
            variables,
            concurrency,
            timeout_ms,
            nodes: self.nodes,
            scopes: self.scopes,
        };
        Some(Draft { definition, broken: self.broken, sites: self.sites, by_id: self.by_id })
    }

    fn metadata(
        &mut self,
        metadata: Object<'_>,
    ) -> (String, Option<String>, BTreeMap<String, String>) {
        let name = metadata.text("name", self.problems).unwrap_or_default();
        if !name.is_empty() && !definition::is_name(&name) {
            let message = format!(
                "{name:?} is no name of a workflow: write at most {MAX_NAME_BYTES} letters, digits, -, _ \
                 and ., as it is part of addresses"
            );
            self.problems.error(&metadata.at.field("name"), message);
        }
        let description = metadata.text("description", self.problems);
        let mut labels = BTreeMap::new();
        for (name, value, at) in metadata.entries("labels", self.problems) {
            if let Some(value) = text(value, &at, self.problems) {
                labels.insert(name.clone(), value);
            }
        }
        metadata.close();
        (name, description, labels)
    }

    fn variables(&mut self, spec: &Object<'_>) -> Vec<Variable> {
        let mut variables = Vec::new();
        for (name, value, at) in spec.entries("variables", self.problems) {
            identifier(name, &at, self.problems);
            let variable = Object::open(value, &fields::VARIABLE, at.clone(), self.problems);
            let Some(variable) = variable else { continue };
            let schema = self.schema(&variable, "schema");
            let value = self.template(&variable, "value", Place::Variable);
            variable.close();
            let value = value.unwrap_or(Template::Literal(Value::Null));
            variables.push(Variable { name: name.clone(), schema, value, at });
        }
        variables
    }

    fn concurrency(&mut self, concurrency: Object<'_>) -> Concurrency {
        let limit = concurrency.integer("limit", 1..=1_000_000, self.problems).unwrap_or(1);
        let key = self.template(&concurrency, "key", Place::ConcurrencyKey);
        concurrency.close();
        Concurrency { limit, key }
    }

    fn layout(&mut self, spec: &Object<'_>) {
        for (id, value, at) in spec.entries("layout", self.problems) {
            if !self.by_id.contains_key(id) {
                let hint = self.problems.hint(id, self.by_id.keys().map(String::as_str));
                let message = format!("there is no node {id:?}: remove its position{hint}");
                self.problems.warning(&at, message);
            }
            let Some(position) = Object::open(value, &fields::POSITION, at, self.problems) else {
                continue;
            };
            for field in ["x", "y"] {
                if let Some((value, at)) = position.get(field)
                    && !value.is_number()
                {
                    wrong_type::<()>(value, "a number", &at, self.problems);
                }
            }
            position.close();
        }
    }

    /// Reads the nodes, edges and result of the whole or of a body.
    fn scope(&mut self, object: &Object<'_>, owner: Option<usize>) -> usize {
        let index = self.scopes.len();
        self.scopes.push(Scope {
            owner,
            nodes: Vec::new(),
            edges: Vec::new(),
            result: None,
            at: object.at.clone(),
        });
        let nodes = object.list("nodes", self.problems);
        if nodes.is_empty() && object.get("nodes").is_some_and(|(nodes, _)| nodes.is_array()) {
            self.problems.error(&object.at.field("nodes"), "has no nodes: add at least one");
        }
        for (value, at) in nodes {
            if self.nodes.len() >= MAX_NODES {
                let message = format!(
                    "has more than {MAX_NODES} nodes: use a map, or split it into child workflows"
                );
                self.problems.error(&object.at.field("nodes"), message);
                break;
            }
            if let Some(node) = self.node(value, at, index) {
                self.scopes[index].nodes.push(node);
            }
        }
        for (value, at) in object.list("edges", self.problems) {
            if self.scopes[index].edges.len() >= MAX_EDGES {
                let message = format!("has more than {MAX_EDGES} edges: use a map");
                self.problems.error(&object.at.field("edges"), message);
                break;
            }
            if let Some(edge) = self.edge(value, at, index) {
                self.scopes[index].edges.push(edge);
            }
        }
        self.scopes[index].result = self.template(object, "result", Place::Result(index));
        index
    }

    fn edge(&mut self, value: &Value, at: Pointer, scope: usize) -> Option<Edge> {
        let edge = Object::open(value, &fields::EDGE, at.clone(), self.problems)?;
        let from = edge.text("from", self.problems);
        let to = edge.text("to", self.problems);
        let index = self.scopes[scope].edges.len();
        let sites = self.sites.len();
        let when = self.condition(&edge, "when", Place::Edge { scope, index });
        edge.close();
        let (Some(from), Some(to)) = (from, to) else {
            self.sites.truncate(sites);
            return None;
        };
        Some(Edge { from, to, when, at })
    }

    /// Reads a node; `None` when nothing can be said of it.
    fn node(&mut self, value: &Value, at: Pointer, scope: usize) -> Option<usize> {
        let Value::Object(map) = value else {
            return wrong_type(value, "a node: an object with id and kind", &at, self.problems);
        };
        let index = self.nodes.len();
        self.nodes.push(Node {
            id: map.get("id").and_then(Value::as_str).unwrap_or_default().to_owned(),
            description: None,
            kind: Kind::Fork,
            policy: Policy::default(),
            scope,
            at: at.clone(),
        });
        self.broken.insert(index);
        self.claim_id(map.get("id"), &at, index);

        let kind_at = at.field("kind");
        let Some(kind) = map.get("kind") else {
            let kinds: Vec<_> = fields::KINDS.iter().map(|shape| shape.name).collect();
            let message = format!("the field \"kind\" is missing: add one of {}", kinds.join(", "));
            self.problems.error(&at, message);
            return Some(index);
        };
        let kinds: Vec<_> = fields::KINDS.iter().map(|shape| (shape.name, shape)).collect();
        let Some(shape) = choice(kind, &kinds, &kind_at, self.problems) else {
            return Some(index);
        };
        let node = Object::open(value, shape, at, self.problems)?;
        let _read_above = (node.get("id"), node.get("kind"));
        let description = node.text("description", self.problems);
        let policy = self.policy(&node, index);
        let kind = self.kind(&node, shape.name, index);
        node.close();
        if kind.is_some() {
            self.broken.remove(&index);
        }
        let placed = &mut self.nodes[index];
        placed.description = description;
        placed.policy = policy;
        placed.kind = kind.unwrap_or(Kind::Fork);
        Some(index)
    }

    fn claim_id(&mut self, id: Option<&Value>, at: &Pointer, index: usize) {
        let at = at.field("id");
        let Some(id) = id else { return };
        let Some(id) = text(id, &at, self.problems) else { return };
        identifier(&id, &at, self.problems);
        if let Some(first) = self.by_id.get(&id) {
            let first = &self.nodes[*first].at;
            let message = format!(
                "{id:?} is the id of the node at {first}, too: ids are unique in the whole \
                 definition, bodies included"
            );
            self.problems.error(&at, message);
        } else {
            self.by_id.insert(id, index);
        }
    }

    fn policy(&mut self, node: &Object<'_>, index: usize) -> Policy {
        let mut policy = Policy::default();
        if node.takes("retry") {
            policy.retry =
                node.object("retry", &fields::RETRY_POLICY, self.problems).map(|r| self.retry(r));
        }
        if node.takes("timeout") {
            policy.timeout_ms = node.duration("timeout", self.problems);
        }
        if node.takes("onError") {
            policy.on_error = node.text("onError", self.problems);
        }
        if node.takes("default") {
            policy.default = self.template(node, "default", Place::Default(index));
        }
        if node.takes("compensate") {
            policy.compensate = node.text("compensate", self.problems);
        }
        if node.takes("cacheKey") {
            policy.cache_key = self.template(node, "cacheKey", Place::Node(index));
        }
        if policy.on_error.is_some() && policy.default.is_some() {
            let message = "has a default, so its onError is never taken: remove one of them";
            self.problems.error(&node.at.field("onError"), message);
        }
        policy
    }

    fn retry(&mut self, retry: Object<'_>) -> Retry {
        let standard = Retry::default();
        let classes = ErrorClass::ALL.map(|class| (class.as_str(), class));
        let on = retry.has("on").then(|| {
            let listed = retry.list("on", self.problems);
            if listed.is_empty() {
                let message = "names no class: list some, or leave it out";
                self.problems.error(&retry.at.field("on"), message);
            }
            listed
                .into_iter()
                .filter_map(|(value, at)| choice(value, &classes, &at, self.problems))
                .collect()
        });
        let _asked = retry.get("on");
        let max_tries = retry.integer("maxTries", 1..=100, self.problems);
        let (mut initial, mut max, mut factor) = (None, None, None);
        if let Some(backoff) = retry.object("backoff", &fields::BACKOFF, self.problems) {
            initial = backoff.duration("initial", self.problems);
            max = backoff.duration("max", self.problems);
            if let Some((value, at)) = backoff.get("factor") {
                factor = value.as_f64().filter(|factor| (1.0..=100.0).contains(factor));
                if factor.is_none() {
                    self.problems.error(&at, "must be a number from 1 to 100: write such a one");
                }
            }
            backoff.close();
        }
        let initial_ms = initial.unwrap_or(standard.initial_ms);
        let max_ms = max.unwrap_or(standard.max_ms.max(initial_ms));
        if initial_ms > max_ms {
            let at = retry.at.field("backoff").field("max");
            self.problems.error(&at, "is shorter than the first wait: make it at least as long");
        }
        retry.close();
        Retry {
            on,
            max_tries: max_tries.unwrap_or(standard.max_tries),
            initial_ms,
            max_ms,
            factor: factor.unwrap_or(standard.factor),
        }
    }

    fn schema(&mut self, object: &Object<'_>, name: &str) -> Option<Value> {
        let (value, at) = object.get(name)?;
        schema::check(value, &at, self.problems);
        Some(value.clone())
    }
}
