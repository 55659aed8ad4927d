//! Collects what became of everything. It judges nothing.

use std::collections::BTreeSet;

use super::super::{Finding, Outcome};
use super::fields::Fields;
use crate::workflow::problem::Pointer;

/// The findings so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    findings: Vec<Finding>,
    /// Pointers and messages of what was said, as the same is often met several times.
    said: BTreeSet<(String, String)>,
}

impl Report {
    /// It does here what it did there.
    pub(super) fn converted(
        &mut self,
        at: &Pointer,
        subject: &str,
        node: Option<&str>,
        message: impl Into<String>,
    ) {
        self.add(Outcome::Converted, at, subject, node, message.into());
    }

    /// It does something else in some cases.
    pub(super) fn different(
        &mut self,
        at: &Pointer,
        subject: &str,
        node: Option<&str>,
        message: impl Into<String>,
    ) {
        self.add(Outcome::Different, at, subject, node, message.into());
    }

    /// It is not there.
    pub(super) fn missing(
        &mut self,
        at: &Pointer,
        subject: &str,
        node: Option<&str>,
        message: impl Into<String>,
    ) {
        self.add(Outcome::NotConverted, at, subject, node, message.into());
    }

    /// Notes the settings that nobody has read.
    pub(super) fn unread(&mut self, fields: &Fields<'_>, plain: &[&str], node: Option<&str>) {
        for (name, _) in fields.unread(plain) {
            let message = "is not converted: nothing here stands for it; see whether it matters";
            self.missing(&fields.at.field(name), name, node, message);
        }
    }

    /// A node was converted; noted before what was noted of its settings since there were `at_first`.
    pub(super) fn converted_before(
        &mut self,
        at_first: usize,
        at: &Pointer,
        subject: &str,
        node: &str,
        message: String,
    ) {
        let finding = Finding {
            outcome: Outcome::Converted,
            pointer: at.as_str().to_owned(),
            subject: subject.to_owned(),
            node: Some(node.to_owned()),
            message,
        };
        self.said.insert((finding.pointer.clone(), finding.message.clone()));
        self.findings.insert(at_first.min(self.findings.len()), finding);
    }

    /// Whether anything was said about what stands at a place.
    pub(super) fn tells_of(&self, at: &Pointer) -> bool {
        let first = (at.as_str().to_owned(), String::new());
        self.said.range(first..).next().is_some_and(|(pointer, _)| pointer == at.as_str())
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.findings.len()
    }

    /// All of them.
    pub(super) fn into_findings(self) -> Vec<Finding> {
        self.findings
    }

    fn add(
        &mut self,
        outcome: Outcome,
        at: &Pointer,
        subject: &str,
        node: Option<&str>,
        message: String,
    ) {
        let finding = Finding {
            outcome,
            pointer: at.as_str().to_owned(),
            subject: subject.to_owned(),
            node: node.map(str::to_owned),
            message,
        };
        if self.said.insert((finding.pointer.clone(), finding.message.clone())) {
            self.findings.push(finding);
        }
    }
}
