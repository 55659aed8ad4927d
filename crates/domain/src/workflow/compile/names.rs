//! Every name in every expression: whether there is such a thing, whether it can be known when the
//! expression is evaluated, and whether its value is of a type that fits.

mod types;

use super::ExpressionReads;
use super::build::Built;
use super::flow::{self, Flows, Moment};
use super::graph::Role;
use crate::workflow::definition::Kind;
use crate::workflow::expression::{Guard, Read};
use crate::workflow::problem::{Pointer, Problems};
use crate::workflow::read::{Draft, Place, Site};
use crate::workflow::schema::{self, Known};

/// Checks all expressions, and says what each reads; in the order of [`Draft::sites`].
pub(super) fn check(
    draft: &Draft,
    built: &Built,
    flows: &Flows,
    problems: &mut Problems,
) -> Vec<ExpressionReads> {
    let mut names = Names { draft, built, flows, problems };
    draft
        .sites
        .iter()
        .map(|site| {
            types::check(site, names.draft, names.problems);
            names.site(site)
        })
        .collect()
}

struct Names<'n> {
    draft: &'n Draft,
    built: &'n Built,
    flows: &'n Flows,
    problems: &'n mut Problems,
}

/// What an expression sees of the nodes of one scope.
struct View {
    scope: usize,
    moment: Option<Moment>,
    /// The node that the expression belongs to or is inside of.
    node: Option<usize>,
    /// Whether that node has failed, so that its error can be read.
    has_failed: HasFailed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum HasFailed {
    Yes,
    No,
}

impl Names<'_> {
    fn site(&mut self, site: &Site) -> ExpressionReads {
        let views = self.views(site.place);
        let locals = self.locals(site.place);
        let mut nodes = Vec::new();
        for read in &site.analysis.reads {
            match read.path[0].as_str() {
                "inputs" => self.input(read, &site.at),
                "variables" => self.variable(read, site),
                "execution" => {
                    if read.path.get(1).map(String::as_str) != Some("id") {
                        let message = "of the execution only execution.id can be read: write that";
                        self.problems.error(&site.at, message);
                    }
                }
                "nodes" => nodes.extend(self.node(read, site, &views)),
                name if locals.iter().any(|local| local == name) => {}
                name => self.unknown(name, &locals, site),
            }
        }
        nodes.sort_unstable();
        nodes.dedup();
        let paths = site.analysis.reads.iter().map(|read| read.path.clone()).collect();
        ExpressionReads { pointer: site.at.as_str().to_owned(), paths, nodes }
    }

    /// What is seen of each scope, from the innermost outwards.
    fn views(&self, place: Place) -> Vec<View> {
        let definition = &self.draft.definition;
        let before = |node: usize, has_failed| View {
            scope: definition.nodes[node].scope,
            // What undoes a node runs after it; all else of it is as before.
            moment: match self.built.graph.nodes[node].role {
                Role::Compensation(of) => flow::after(of, self.flows),
                _ => self.flows.nodes[node].clone(),
            },
            node: Some(node),
            has_failed,
        };
        let first = match place {
            Place::Variable | Place::ConcurrencyKey => return Vec::new(),
            Place::Node(node) | Place::LoopCondition(node) => before(node, HasFailed::No),
            Place::Default(node) => before(node, HasFailed::Yes),
            Place::Edge { scope, index } => {
                let from = &definition.scopes[scope].edges[index].from;
                let from = self.draft.by_id.get(from).copied();
                let from = from.filter(|from| definition.nodes[*from].scope == scope);
                let moment = from.and_then(|from| flow::after(from, self.flows));
                View { scope, moment, node: None, has_failed: HasFailed::No }
            }
            Place::Result(scope) => View {
                scope,
                moment: self.flows.ends[scope].clone(),
                node: None,
                has_failed: HasFailed::No,
            },
        };
        let mut scope = first.scope;
        let mut views = vec![first];
        while let Some(owner) = definition.scopes[scope].owner {
            views.push(before(owner, HasFailed::No));
            scope = definition.nodes[owner].scope;
        }
        views
    }

    /// The names that the bodies around an expression bring.
    fn locals(&self, place: Place) -> Vec<String> {
        let definition = &self.draft.definition;
        let mut locals = Vec::new();
        let mut scope = match place {
            Place::Variable | Place::ConcurrencyKey => return locals,
            Place::Node(node) | Place::Default(node) => definition.nodes[node].scope,
            Place::LoopCondition(node) => {
                locals.extend(["iteration".to_owned(), "last".to_owned()]);
                definition.nodes[node].scope
            }
            Place::Edge { scope, .. } | Place::Result(scope) => scope,
        };
        while let Some(owner) = definition.scopes[scope].owner {
            match &definition.nodes[owner].kind {
                Kind::Map { item, .. } => locals.extend([item.clone(), "index".to_owned()]),
                Kind::Loop { .. } => locals.extend(["iteration".to_owned(), "last".to_owned()]),
                // Its kind couldn't be read: whatever it brings must not be called unknown.
                _ => locals.extend(["item", "index", "iteration", "last"].map(str::to_owned)),
            }
            scope = definition.nodes[owner].scope;
        }
        locals
    }

    fn unknown(&mut self, name: &str, locals: &[String], site: &Site) {
        let mut known = vec!["inputs", "variables", "execution"];
        if !matches!(site.place, Place::Variable | Place::ConcurrencyKey) {
            known.push("nodes");
        }
        known.extend(locals.iter().map(String::as_str));
        let hint = if self.draft.by_id.contains_key(name) {
            format!("; did you mean nodes.{name}.output?")
        } else if self.draft.definition.variables.iter().any(|variable| variable.name == name) {
            format!("; did you mean variables.{name}?")
        } else if self.draft.definition.inputs.pointer(&format!("/properties/{name}")).is_some() {
            format!("; did you mean inputs.{name}?")
        } else {
            match self.problems.hint(name, known.iter().copied()) {
                hint if hint.is_empty() => format!(": here one can read {}", known.join(", ")),
                hint => hint,
            }
        };
        self.problems.error(&site.at, format!("there is no variable {name:?}{hint}"));
    }

    fn input(&mut self, read: &Read, at: &Pointer) {
        let path = &read.path[1..];
        let written = read.path.join(".");
        match schema::known(&self.draft.definition.inputs, path) {
            Known::Forbidden { name, declared } => {
                let hint = self.problems.hint(&name, declared.iter().map(String::as_str));
                let hint = if hint.is_empty() { ": add it to the schema".into() } else { hint };
                let message = format!("{written:?} reads what the schema of inputs forbids{hint}");
                self.problems.error(at, message);
            }
            Known::Undeclared { name, declared } => {
                let hint = self.problems.hint(&name, declared.iter().map(String::as_str));
                let hint = if hint.is_empty() { ": add it there".into() } else { hint };
                let message = format!("{written:?} isn't in the schema of inputs{hint}");
                self.problems.warning(at, message);
            }
            Known::Optional { depth, name } => {
                if !(read.guard == Guard::Guarded && depth == path.len()) {
                    let optional = read.path[..=depth].join(".");
                    let message = format!(
                        "{name:?} may be left out by whoever starts the workflow: write \
                         `{optional} | default(...)`, or make it required"
                    );
                    self.problems.warning(at, message);
                }
            }
            Known::Nothing | Known::Types(_) => {}
        }
    }

    fn variable(&mut self, read: &Read, site: &Site) {
        let variables = &self.draft.definition.variables;
        if site.place == Place::Variable {
            let message = "a variable can't read variables: read inputs, or use a transform node";
            self.problems.error(&site.at, message);
            return;
        }
        let Some(name) = read.path.get(1) else { return };
        if variables.iter().all(|variable| &variable.name != name) {
            let hint = self.problems.hint(name, variables.iter().map(|one| one.name.as_str()));
            let hint = if hint.is_empty() { ": add it to spec.variables".into() } else { hint };
            self.problems
                .error(&site.at, format!("there is no variable \"variables.{name}\"{hint}"));
        }
    }

    /// Checks what is read of a node, and says which it is.
    fn node(&mut self, read: &Read, site: &Site, views: &[View]) -> Option<usize> {
        let at = &site.at;
        if views.is_empty() {
            let message = "nodes can't be read here, as this is evaluated before any runs: read \
                           inputs";
            self.problems.error(at, message);
            return None;
        }
        let Some(id) = read.path.get(1) else {
            let message = "reads nodes by a name that isn't fixed: write nodes.<id>.output, so that it \
                           is known what this waits for";
            self.problems.error(at, message);
            return None;
        };
        let Some(node) = self.draft.by_id.get(id).copied() else {
            let hint = self.problems.hint(id, self.draft.by_id.keys().map(String::as_str));
            let hint = if hint.is_empty() { ": add it, or read another".into() } else { hint };
            self.problems.error(at, format!("there is no node {id:?}{hint}"));
            return None;
        };
        let scope = self.draft.definition.nodes[node].scope;
        let Some(view) = views.iter().find(|view| view.scope == scope) else {
            let owner = self.draft.definition.scopes[scope].owner;
            let owner = owner.map_or("", |owner| self.draft.definition.nodes[owner].id.as_str());
            let message = format!(
                "{id:?} is inside of the body of {owner:?}, which can't be looked into: read \
                 nodes.{owner}.output"
            );
            self.problems.error(at, message);
            return Some(node);
        };
        let field = read.path.get(2).map(String::as_str);
        if !matches!(field, Some("output" | "error" | "status")) {
            let message = format!(
                "of a node its output, error and status can be read: write nodes.{id}.output"
            );
            self.problems.error(at, message);
            return Some(node);
        }
        self.timing(id, node, field.unwrap_or_default(), read, site, view);
        Some(node)
    }

    /// Whether what is read of a node is there by then.
    fn timing(
        &mut self,
        id: &str,
        node: usize,
        field: &str,
        read: &Read,
        site: &Site,
        view: &View,
    ) {
        let at = &site.at;
        if view.node == Some(node) {
            if field != "error" || view.has_failed == HasFailed::No {
                let message = format!(
                    "{id:?} reads itself, and has nothing to give yet: read a node before it"
                );
                self.problems.error(at, message);
            }
            return;
        }
        let Some(moment) = &view.moment else { return };
        if let Role::Compensation(_) = self.built.graph.nodes[node].role {
            let message =
                format!("{id:?} runs only to undo another, so nothing can read it: read another");
            self.problems.error(at, message);
            return;
        }
        if !moment.before.has(node) {
            let comes_after = view.node.is_some_and(|reader| {
                self.flows.nodes[node].as_ref().is_some_and(|moment| moment.before.has(reader))
            });
            let message = if comes_after {
                format!(
                    "{id:?} runs after this, so it can't have run: read a node before it, or turn \
                     the edges round"
                )
            } else {
                format!(
                    "{id:?} isn't before this on any path, so it can't have run for certain: add an \
                     edge from it, or read another"
                )
            };
            self.problems.error(at, message);
            return;
        }
        let prefix = &read.path[..3];
        let guarded = read.guard == Guard::Guarded && read.path.len() == 3;
        let tested = site.analysis.tested.iter().any(|path| prefix.starts_with(path));
        let asks_status =
            site.analysis.reads.iter().any(|other| {
                other.path.len() >= 3 && other.path[1] == id && other.path[2] == "status"
            });
        let is_safe = guarded || tested || asks_status;
        let name = prefix.join(".");
        match field {
            "output" if moment.failed.has(node) => {
                let message = format!(
                    "{id:?} has failed when this runs, so it has no output: read nodes.{id}.error"
                );
                self.problems.error(at, message);
            }
            "output" if !is_safe && !moment.succeeded.has(node) => {
                let message = format!(
                    "{id:?} may be skipped or fail before this runs, and then has no output: write \
                     `({name} | default(...))`, or lead to this only from it"
                );
                self.problems.warning(at, message);
            }
            "error" if moment.succeeded.has(node) => {
                let message = format!(
                    "{id:?} has succeeded when this runs, so it has no error: read nodes.{id}.output, \
                     or read this in its error branch"
                );
                self.problems.error(at, message);
            }
            "error" if !is_safe && !moment.failed.has(node) => {
                let message = format!(
                    "{id:?} has an error only when it fails: write `({name} | default(...))`, or read \
                     it in its error branch"
                );
                self.problems.warning(at, message);
            }
            _ => {}
        }
    }
}
