//! One scope: the whole, or the body of an iteration.
//!
//! A `start` becomes nothing, unless its edges would be lost that way: then it is a `fork`. What isn't
//! reached from it never runs there, and is left out.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::super::NOT_CONVERTED;
use super::nodes;
use super::policy;
use super::ports::{self, Port};
use super::reference::Desk;
use super::result::{self, Ending};
use super::source::Kind;
use super::text::escape;
use crate::workflow::problem::Pointer;

/// What is only for the canvas, or says again what the edges and places say.
const PLAIN: [&str; 22] = [
    "title",
    "desc",
    "type",
    "selected",
    "width",
    "height",
    "isInIteration",
    "isInLoop",
    "iteration_id",
    "loop_id",
    "start_node_id",
    "parentId",
    "zIndex",
    "version",
    "targetBranches",
    "isIterationStart",
    "default_value",
    "tool_node_version",
    "iteration_info",
    "isStart",
    "startNodeType",
    "showAuthor",
];

/// The nodes of a scope, by index, and what leads from where to where.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// In the order of the source; without starts.
    pub(super) members: Vec<usize>,
    /// Each after those before it.
    pub(super) order: Vec<usize>,
    /// Between members.
    pub(super) links: Vec<Link>,
    /// Where a start leads.
    entries: Vec<usize>,
    /// What stands at the beginning.
    starts: Vec<usize>,
}

/// An edge that can be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) from: usize,
    pub(super) port: Port,
    pub(super) to: usize,
}

impl Plan {
    /// How many ways lead to a node.
    fn ways_to(&self, node: usize) -> usize {
        let entries = self.entries.iter().filter(|entry| **entry == node).count();
        entries + self.links.iter().filter(|link| link.to == node).count()
    }

    /// Whether anything comes after a node.
    pub(super) fn leads_on(&self, node: usize) -> bool {
        self.links.iter().any(|link| link.from == node)
    }

    /// Whether there is never more than one node at work.
    pub(super) fn is_single_file(&self) -> bool {
        let mut seen = BTreeSet::new();
        let key = |link: &Link| match link.port {
            Port::Case(case) => (link.from, 2 + case),
            Port::Else => (link.from, 1),
            Port::Fail => (link.from, usize::MAX),
            Port::Normal | Port::Dead => (link.from, 0),
        };
        self.entries.len() <= 1 && self.links.iter().all(|link| seen.insert(key(link)))
    }
}

/// Converts the body of an iteration: `nodes` and `edges`.
pub(super) fn body(desk: &mut Desk<'_>, owner: usize) -> Map<String, Value> {
    convert(desk, Some(owner))
}

/// Converts a scope; of the whole with its `result`.
pub(super) fn convert(desk: &mut Desk<'_>, owner: Option<usize>) -> Map<String, Value> {
    let plan = plan(desk, owner);
    let ending = result::ending(desk, &plan, owner);
    let mut out = Out::default();
    begin(desk, &plan, owner, &mut out);
    for node in &plan.order {
        member(desk, &plan, *node, &ending, &mut out);
    }
    let mut made = Map::new();
    made.insert("nodes".to_owned(), Value::from(out.nodes));
    if !out.edges.is_empty() {
        made.insert("edges".to_owned(), Value::from(out.edges));
    }
    if owner.is_none()
        && let Some(result) = result::merged(desk, &ending)
    {
        made.insert("result".to_owned(), result);
    }
    made
}

#[derive(Default)]
struct Out {
    nodes: Vec<Value>,
    edges: Vec<Value>,
}

impl Out {
    fn edge(&mut self, from: &str, to: &str) {
        let edge = json!({"from": from, "to": to});
        if !self.edges.contains(&edge) {
            self.edges.push(edge);
        }
    }
}

/// Finds what is in a scope, and notes what is left out.
fn plan(desk: &mut Desk<'_>, owner: Option<usize>) -> Plan {
    let app = desk.app;
    let inside: Vec<usize> = (0..app.nodes.len())
        .filter(|node| app.nodes[*node].parent == owner && app.nodes[*node].kind != Kind::Note)
        .collect();
    let is_inside =
        |node: usize| app.nodes[node].parent == owner && app.nodes[node].kind != Kind::Note;
    let is_start = |node: &usize| app.nodes[*node].kind.is_start();
    let starts = inside.iter().copied().filter(is_start).collect();
    let mut plan = Plan { starts, ..Plan::default() };
    let mut links = Vec::new();
    for edge in app.edges.iter().filter(|edge| is_inside(edge.from)) {
        let port = ports::port(app, desk.ids, desk.feedback, edge);
        let problem = if !is_inside(edge.to) {
            Some("leads out of its body, or into another: it is left out")
        } else if app.nodes[edge.to].kind.is_start() {
            Some("leads to a start, which nothing can: it is left out")
        } else if port == Port::Dead {
            Some("begins where its source has no output, so it is never taken: it is left out")
        } else {
            None
        };
        match problem {
            Some(problem) => desk.report.missing(&edge.at, "edge", None, problem),
            None => {
                let link = Link { from: edge.from, port, to: edge.to };
                if !links.iter().any(|(known, _)| *known == link) {
                    links.push((link, edge.at.clone()));
                }
            }
        }
    }
    let named = owner.and_then(|owner| app.nodes[owner].data.peek("start_node_id"));
    let named = named.and_then(super::fields::name_of).and_then(|id| app.find(&id));
    if let Some(first) = named.filter(|first| plan.starts.is_empty() && is_inside(*first)) {
        plan.entries = vec![first];
    } else if plan.starts.is_empty() && !inside.is_empty() {
        let targets: BTreeSet<usize> = links.iter().map(|(link, _)| link.to).collect();
        plan.entries = inside.iter().copied().filter(|node| !targets.contains(node)).collect();
        if plan.entries.is_empty() {
            plan.entries = inside.iter().copied().take(1).collect();
        }
        let at = owner
            .map_or_else(|| app.workflow.at.field("graph"), |owner| app.nodes[owner].at.clone());
        let message = "has no start: everything that no edge leads to starts at once";
        desk.report.different(&at, "start", None, message);
    }
    for (link, _) in &links {
        if plan.starts.contains(&link.from) && !plan.entries.contains(&link.to) {
            plan.entries.push(link.to);
        }
    }
    links.retain(|(link, _)| !plan.starts.contains(&link.from));
    let (order, backwards) = walk(&plan.entries, &links);
    for index in &backwards {
        let message = "closes a circle, which only loops may here: it is left out";
        desk.report.missing(&links[*index].1, "edge", None, message);
    }
    let reached: BTreeSet<usize> = order.iter().copied().collect();
    for node in &inside {
        let source = &app.nodes[*node];
        if !reached.contains(node) && !plan.starts.contains(node) {
            let message = "is never reached from the start, so it never ran: it is left out";
            desk.report.missing(&source.at, &source.title, None, message);
        }
    }
    let kept = links.into_iter().enumerate();
    plan.links = kept
        .filter(|(i, (link, _))| !backwards.contains(i) && reached.contains(&link.from))
        .map(|(_, (link, _))| link)
        .collect();
    plan.members = inside.into_iter().filter(|node| reached.contains(node)).collect();
    plan.order = order;
    plan
}

/// The nodes that can be reached, each after those before it, and the links that would close a circle.
fn walk(entries: &[usize], links: &[(Link, Pointer)]) -> (Vec<usize>, BTreeSet<usize>) {
    let mut from: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (i, (link, _)) in links.iter().enumerate() {
        from.entry(link.from).or_default().push(i);
    }
    let none = Vec::new();
    let mut done = Vec::new();
    let mut backwards = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut open = BTreeSet::new();
    for entry in entries.iter().rev() {
        if !seen.insert(*entry) {
            continue;
        }
        open.insert(*entry);
        // From the last link to the first, so that the order is that of the source.
        let mut stack = vec![(*entry, from.get(entry).unwrap_or(&none).len())];
        while let Some((node, left)) = stack.last_mut() {
            if *left == 0 {
                open.remove(node);
                done.push(*node);
                stack.pop();
                continue;
            }
            *left -= 1;
            let index = from.get(node).unwrap_or(&none)[*left];
            let to = links[index].0.to;
            if open.contains(&to) {
                backwards.insert(index);
            } else if seen.insert(to) {
                open.insert(to);
                stack.push((to, from.get(&to).unwrap_or(&none).len()));
            }
        }
    }
    done.reverse();
    (done, backwards)
}

/// Puts a fork at the beginning where the start's edges matter.
fn begin(desk: &mut Desk<'_>, plan: &Plan, owner: Option<usize>, out: &mut Out) {
    let is_plain = plan.entries.iter().all(|entry| plan.ways_to(*entry) == 1);
    let id =
        owner.map_or_else(|| "start".to_owned(), |owner| format!("{}_start", desk.ids.own(owner)));
    let is_needed = !is_plain || plan.members.is_empty();
    if is_needed {
        out.nodes.push(json!({"id": id, "kind": "fork"}));
        for entry in &plan.entries {
            out.edge(&id, desk.ids.own(*entry));
        }
    }
    for start in &plan.starts {
        let source = &desk.app.nodes[*start];
        source.data.mark("variables");
        let what = if is_needed {
            format!("became the fork {id:?}")
        } else {
            "needs no node here".to_owned()
        };
        if is_needed && start == &plan.starts[0] {
            desk.place(*start, &id, 0);
        }
        if source.kind == Kind::Trigger {
            let message = format!(
                "what triggers it is not converted: start the workflow over HTTP, with a record or on a \
                 schedule instead ({})",
                source.type_name
            );
            desk.report.missing(&source.at, &source.title, None, message);
        } else {
            desk.report.converted(&source.at, &source.title, None, what);
            desk.report.unread(&source.data, &PLAIN, None);
        }
    }
}

/// Converts one node, with what leads on from it.
fn member(desk: &mut Desk<'_>, plan: &Plan, node: usize, ending: &Ending, out: &mut Out) {
    let app = desk.app;
    let source = &app.nodes[node];
    let id = desk.ids.own(node).to_owned();
    let at_first = desk.report.len();
    desk.reader.clone_from(&id);
    desk.node = Some(node);
    let gap = desk.feedback.gap(&id).or_else(|| desk.feedback.gap(desk.ids.data(node)));
    let made = match gap {
        Some(reason) => Err(format!("its conversion doesn't compile, write it by hand: {reason}")),
        None => match source.kind {
            Kind::IfElse => branch(desk, plan, node, out).map(|made| vec![made]),
            Kind::End | Kind::Answer => Ok(vec![result::end(desk, plan, node, ending)]),
            _ => nodes::make(desk, source, &id),
        },
    };
    let targets =
        |port: Port| plan.links.iter().filter(move |link| link.from == node && link.port == port);
    let on_error = ports::has_fail_branch(source).then(|| {
        target(
            desk,
            plan,
            &targets(Port::Fail).map(|link| link.to).collect::<Vec<_>>(),
            &format!("{id}_failed"),
            node,
            out,
        )
    });
    let (mut made, is_gap) = match made {
        Ok(made) => (made, false),
        Err(reason) => {
            desk.report.missing(&source.at, &source.title, Some(&id), reason.clone());
            (vec![stand_in(&id, &source.title, &reason, plan.leads_on(node))], true)
        }
    };
    if !is_gap {
        policy::apply(desk, source, &mut made, on_error.as_deref());
    } else if let Some(target) = &on_error
        && made[0]["kind"] == "map"
    {
        made[0]["onError"] = json!(target);
    }
    describe(desk, node, &mut made);
    let exit = made.last().and_then(|last| last["id"].as_str()).unwrap_or(&id).to_owned();
    let ids: Vec<String> =
        made.iter().filter_map(|one| one["id"].as_str().map(str::to_owned)).collect();
    for pair in ids.windows(2) {
        out.edge(&pair[0], &pair[1]);
    }
    let leads_by_cases = made[0]["kind"] == "switch";
    for link in plan.links.iter().filter(|link| link.from == node && link.port != Port::Fail) {
        let is_plain = match link.port {
            Port::Normal => true,
            // A branch without cases, or one that isn't converted, leads everywhere.
            _ => !leads_by_cases && (is_gap || link.port == Port::Else),
        };
        if is_plain {
            out.edge(&exit, desk.ids.own(link.to));
        }
    }
    for (i, one) in ids.iter().enumerate() {
        desk.place(node, one, i);
    }
    if !is_gap {
        let kinds: Vec<String> = made
            .iter()
            .filter_map(|one| Some(format!("{} node {}", one["kind"].as_str()?, one["id"])))
            .collect();
        let read: Vec<String> =
            source.data.read().into_iter().filter(|name| !PLAIN.contains(&name.as_str())).collect();
        let message = match read.as_slice() {
            [] => format!("became the {}", kinds.join(" and the ")),
            _ => format!("became the {} ({})", kinds.join(" and the "), read.join(", ")),
        };
        desk.report.converted_before(at_first, &source.at, &source.title, &id, message);
        desk.report.unread(&source.data, &PLAIN, Some(&id));
    }
    out.nodes.extend(made);
    desk.node = None;
}

/// What fails in a node's place. In the middle it is the body of a map, so that what comes after it stays
/// where it is, and only this one node has to be replaced.
fn stand_in(id: &str, title: &str, reason: &str, leads_on: bool) -> Value {
    let message = escape(&format!("{title:?} was not converted: {reason}"));
    let fail =
        |id: &str| json!({"id": id, "kind": "fail", "code": NOT_CONVERTED, "message": message});
    if !leads_on {
        return fail(id);
    }
    json!({
        "id": id,
        "kind": "map",
        "over": [NOT_CONVERTED],
        "as": format!("{id}_item"),
        "body": {"nodes": [fail(&format!("{id}_gap"))], "result": null},
    })
}

/// Makes a switch of an `if-else`.
fn branch(desk: &mut Desk<'_>, plan: &Plan, node: usize, out: &mut Out) -> Result<Value, String> {
    let source = &desk.app.nodes[node];
    let id = desk.ids.own(node).to_owned();
    let mut whens = Vec::new();
    for (_, case) in ports::cases(source) {
        whens.push(desk.case(&case)?);
        for condition in case.objects("conditions") {
            let read = [
                "comparison_operator",
                "variable_selector",
                "value",
                "varType",
                "numberVarType",
                "sub_variable_condition",
                "value_selector",
                "value_type",
                "key",
            ];
            desk.report.unread(&condition, &[&read[..], &PLAIN[..], &["id"]].concat(), Some(&id));
        }
    }
    source.data.mark("logical_operator");
    source.data.mark("conditions");
    let to = |port: Port| -> Vec<usize> {
        let links = plan.links.iter().filter(|link| link.from == node && link.port == port);
        links.map(|link| link.to).collect()
    };
    if whens.is_empty() {
        return Ok(json!({"id": id, "kind": "fork"}));
    }
    let mut cases = Vec::new();
    for (i, when) in whens.iter().enumerate() {
        let purpose = format!("{id}_case_{}", i + 1);
        let target = switch_target(desk, &to(Port::Case(i)), &purpose, node, out);
        cases.push(json!({"when": format!("{{{{ {when} }}}}"), "to": target}));
    }
    let mut made = json!({"id": id, "kind": "switch", "cases": cases});
    let others = to(Port::Else);
    // Without an else the compiler asks whether that is meant; where nothing comes after, it is.
    made["else"] = json!(switch_target(desk, &others, &format!("{id}_else"), node, out));
    Ok(made)
}

/// The one node that a case leads to: a fork, where there are several or none.
fn switch_target(
    desk: &mut Desk<'_>,
    targets: &[usize],
    purpose: &str,
    node: usize,
    out: &mut Out,
) -> String {
    match targets {
        [one] => desk.ids.own(*one).to_owned(),
        _ => fork(desk, targets, purpose, node, out),
    }
}

/// The one node that a failure leads to, which nothing else may lead to.
fn target(
    desk: &mut Desk<'_>,
    plan: &Plan,
    targets: &[usize],
    purpose: &str,
    node: usize,
    out: &mut Out,
) -> String {
    match targets {
        [one] if plan.ways_to(*one) == 1 && !nodes::has_data(&desk.app.nodes[node]) => {
            desk.ids.own(*one).to_owned()
        }
        _ => fork(desk, targets, purpose, node, out),
    }
}

fn fork(
    desk: &mut Desk<'_>,
    targets: &[usize],
    purpose: &str,
    node: usize,
    out: &mut Out,
) -> String {
    let id = desk.ids.extra(purpose);
    out.nodes.push(json!({"id": id, "kind": "fork"}));
    for target in targets {
        out.edge(&id, desk.ids.own(*target));
    }
    desk.place(node, &id, 2);
    id
}

/// Keeps what people wrote about a node.
fn describe(desk: &Desk<'_>, node: usize, made: &mut [Value]) {
    let source = &desk.app.nodes[node];
    let about = source.data.text("desc").trim();
    let described = match about {
        "" => source.title.clone(),
        about => format!("{}: {about}", source.title),
    };
    if let Some(first) = made.first_mut()
        && super::ids::identifier(&described) != desk.ids.own(node)
    {
        first["description"] = json!(described);
    }
}
