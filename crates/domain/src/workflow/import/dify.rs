//! From an app that Dify exported to a definition of ours.
//!
//! Conversion runs in rounds: what the compiler says about the result (a node that may have been skipped,
//! an expression that has no counterpart) is fed back, and the whole is converted again, until it
//! compiles. So nothing here repeats what the compiler knows about graphs.

mod condition;
mod feedback;
mod fields;
mod ids;
mod inputs;
mod nodes;
mod policy;
mod ports;
mod reference;
mod report;
mod result;
mod scope;
mod source;
mod text;
mod whole;

use serde_json::{Value, json};

use super::{Imported, NOT_CONVERTED, NotDify};
use crate::workflow::compile::compile;
use crate::workflow::problem::Pointer;
use feedback::Feedback;
use ids::Ids;
use report::Report;
use source::App;

/// More rounds than this settle nothing: each makes the definition plainer.
const ROUNDS: usize = 12;

/// See [`super::dify`].
pub(super) fn import(source: &Value) -> Result<Imported, NotDify> {
    let app = App::read(source)?;
    let ids = Ids::assign(&app);
    let mut feedback = Feedback::default();
    let mut reason = String::new();
    for _ in 0..ROUNDS {
        let mut report = Report::default();
        let definition = whole::convert(&app, &ids, &feedback, &mut report);
        let (problems, compiles) = match compile(&definition) {
            Ok(compiled) => (compiled.warnings, true),
            Err(problems) => (problems, false),
        };
        let has_news = feedback.learn(&definition, &problems);
        if compiles && !has_news {
            return Ok(Imported { definition, report: report.into_findings() });
        }
        reason = problems.first().map(ToString::to_string).unwrap_or_default();
        if !has_news {
            break;
        }
    }
    Ok(nothing(&app, &reason))
}

/// What is left when the parts don't fit together at all.
fn nothing(app: &App<'_>, reason: &str) -> Imported {
    let mut report = Report::default();
    report.missing(
        &Pointer::root(),
        "the whole",
        None,
        format!("the graph can't be put together, so a single fail node stands for it: {reason}"),
    );
    let message = "the workflow could not be converted: see the report of the import";
    let fail = json!({"id": "start", "kind": "fail", "code": NOT_CONVERTED, "message": message});
    let definition = whole::envelope(app, json!({"nodes": [fail]}));
    Imported { definition, report: report.into_findings() }
}
