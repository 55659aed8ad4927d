//! The types of values as far as schemas, literals and kinds of nodes tell: lists to map over, and values
//! that a text would not show as JSON.

use crate::workflow::definition::{JoinPolicy, Kind};
use crate::workflow::expression::Emit;
use crate::workflow::problem::Problems;
use crate::workflow::read::{Draft, Site, Wanted};
use crate::workflow::schema::{self, JsonType};
use crate::workflow::template::Template;

/// Notes where a type can't be what is wanted.
pub(super) fn check(site: &Site, draft: &Draft, problems: &mut Problems) {
    if site.analysis.exact.is_none() {
        for emit in &site.analysis.emits {
            in_text(emit, site, draft, problems);
        }
        return;
    }
    let Some(types) = site.analysis.emits.first().and_then(|emit| of(emit, draft)) else { return };
    let Some(first) = types.first() else { return };
    if site.wanted == Wanted::List && !types.contains(&JsonType::Array) {
        let message = format!("gives {first}: write an expression that gives a list");
        problems.error(&site.at, message);
    }
    let never_false = [JsonType::Object, JsonType::Array];
    if site.wanted == Wanted::Condition && types.iter().all(|one| never_false.contains(one)) {
        let message = format!(
            "gives {first}, which is no condition: compare it, such as with `| length > 0`"
        );
        problems.warning(&site.at, message);
    }
}

/// What is put into a text without `tojson` shows as it would in Python: `True`, `None`, `{'a': 1}`.
fn in_text(emit: &Emit, site: &Site, draft: &Draft, problems: &mut Problems) {
    let Some(types) = of(emit, draft) else { return };
    let odd = [JsonType::Boolean, JsonType::Null, JsonType::Object, JsonType::Array];
    let Some(one) = types.iter().find(|one| odd.contains(one)) else { return };
    let what = match emit {
        Emit::Path(path) => format!("{:?} is", path.join(".")),
        _ => "an expression here gives".to_owned(),
    };
    let message = format!("{what} {one}, which in a text isn't shown as JSON: add `| tojson`");
    problems.warning(&site.at, message);
}

/// The types that an expression can give; `None`: unknown.
fn of(emit: &Emit, draft: &Draft) -> Option<Vec<JsonType>> {
    match emit {
        Emit::Type(one) => Some(vec![*one]),
        Emit::Either(branches) => {
            let mut types = Vec::new();
            for branch in branches {
                types.extend(of(branch, draft)?);
            }
            Some(types)
        }
        Emit::Other => None,
        Emit::Path(path) => of_path(path, draft),
    }
}

fn of_path(path: &[String], draft: &Draft) -> Option<Vec<JsonType>> {
    let definition = &draft.definition;
    match path.first()?.as_str() {
        "inputs" | "variables" | "execution" if path.len() == 1 => Some(vec![JsonType::Object]),
        "inputs" => schema::types_at(&definition.inputs, &path[1..]),
        "variables" => {
            let variable = definition.variables.iter().find(|one| one.name == path[1])?;
            match (&variable.schema, variable.value.as_literal()) {
                (_, Some(value)) => of_value(value, &path[2..]),
                (Some(schema), None) => schema::types_at(schema, &path[2..]),
                (None, None) => None,
            }
        }
        "nodes" => {
            let [_, id, field, rest @ ..] = path else { return None };
            let node = *draft.by_id.get(id)?;
            if draft.broken.contains(&node) || field != "output" {
                return None;
            }
            let node = &definition.nodes[node];
            // A default of another type may stand in for the output.
            if node.policy.default.is_some() {
                return None;
            }
            of_output(&node.kind, rest)
        }
        _ => None,
    }
}

fn of_output(kind: &Kind, rest: &[String]) -> Option<Vec<JsonType>> {
    let whole = match kind {
        Kind::Model { .. } => JsonType::Object,
        Kind::Map { .. } => JsonType::Array,
        Kind::Join {
            policy: JoinPolicy::All | JoinPolicy::AtLeast(_) | JoinPolicy::Tolerate(_),
            ..
        } => JsonType::Array,
        Kind::Transform { value } => return of_template(value, rest),
        Kind::Wait(crate::workflow::definition::Wait::Signal(signal)) => {
            return schema::types_at(signal.schema.as_ref()?, rest);
        }
        _ => return None,
    };
    rest.is_empty().then(|| vec![whole])
}

fn of_template(template: &Template, rest: &[String]) -> Option<Vec<JsonType>> {
    match (template, rest) {
        (Template::Literal(value), _) => of_value(value, rest),
        (Template::Text(_), []) => Some(vec![JsonType::String]),
        (Template::List(_), []) => Some(vec![JsonType::Array]),
        (Template::Object(_), []) => Some(vec![JsonType::Object]),
        (Template::Object(fields), [name, rest @ ..]) => {
            let (_, field) = fields.iter().find(|(field, _)| field == name)?;
            of_template(field, rest)
        }
        _ => None,
    }
}

fn of_value(value: &serde_json::Value, rest: &[String]) -> Option<Vec<JsonType>> {
    let mut here = value;
    for name in rest {
        here = here.get(name)?;
    }
    Some(vec![JsonType::of(here)])
}
