//! The metrics of this crate: names, units, help.

/// Looks at a start that did not admit it, by the failure's code.
const REFUSALS: &str = "stepstream_workflow_refusals_total";
/// Events that nodes `emit` published, by outcome.
const EVENTS: &str = "stepstream_workflow_events_total";

/// Tells the recorder what the metrics mean. Once, at start.
pub fn describe() {
    use metrics::{Unit, describe_counter};
    describe_counter!(
        REFUSALS,
        Unit::Count,
        "looks at a start that did not admit it; one that waits for its workflow is looked at again"
    );
    describe_counter!(EVENTS, Unit::Count, "events that workflows published, by outcome");
}

/// `code` is one of the few of [`crate::admission`] and [`crate::Programs`], never an upstream's text.
pub(crate) fn refused(code: &str) {
    metrics::counter!(REFUSALS, "code" => code.to_owned()).increment(1);
}

/// `outcome`: `ok`, or a class of failure.
pub(crate) fn published(outcome: &'static str) {
    metrics::counter!(EVENTS, "outcome" => outcome).increment(1);
}
