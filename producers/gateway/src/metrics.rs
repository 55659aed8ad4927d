//! The names of this crate's metrics, with their units and what they say.

/// HTTP answers. Labels `method`, `route` (the pattern, never a path), `status`.
pub const REQUESTS: &str = "stepstream_gateway_requests_total";
/// Seconds until the head of an answer. Label `route`.
pub const SECONDS: &str = "stepstream_gateway_seconds";
/// Clients that wait for an answer or for tokens now.
pub const WAITING: &str = "stepstream_gateway_waiting";
/// Executions that were cancelled because their client left.
pub const ABANDONED: &str = "stepstream_gateway_abandoned_total";
/// Answers that came from the store, because the live ones were missed.
pub const FROM_STORE: &str = "stepstream_gateway_from_store_total";
/// Streams that ended with an error because a new try's text differed.
pub const DIVERGED: &str = "stepstream_gateway_diverged_total";

/// Gives each metric its help text; once per process.
pub fn describe() {
    use ::metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_counter!(REQUESTS, "answers to HTTP requests");
    describe_histogram!(SECONDS, Unit::Seconds, "time until the head of an answer");
    describe_gauge!(WAITING, "clients that wait for an answer or for tokens now");
    describe_counter!(ABANDONED, "executions cancelled because their client left");
    describe_counter!(FROM_STORE, "answers that came from the store, not live");
    describe_counter!(DIVERGED, "streams ended because a new try's text differed");
}
