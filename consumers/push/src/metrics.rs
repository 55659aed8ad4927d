//! The names of this crate's metrics, with their units and what they say.

/// Sockets open now.
pub const SOCKETS: &str = "stepstream_push_sockets";
/// Subscriptions now.
pub const SUBSCRIPTIONS: &str = "stepstream_push_subscriptions";
/// Events and pieces of text that were handed to sockets.
pub const SENT: &str = "stepstream_push_events_sent_total";
/// Pieces of text that were joined to an earlier one, since their client was behind.
pub const COALESCED: &str = "stepstream_push_coalesced_total";
/// Times that a subscription fell so far behind that what waited was dropped, to be read again.
pub const LAGGED: &str = "stepstream_push_lagged_total";
/// Sockets that were closed. Label `code`: the close code; 1006 where the connection broke.
pub const CLOSED: &str = "stepstream_push_closed_total";
/// Tickets that were made.
pub const TICKETS: &str = "stepstream_push_tickets_total";

/// Gives each metric its help text; once per process.
pub fn describe() {
    metrics::describe_gauge!(SOCKETS, "sockets open now");
    metrics::describe_gauge!(SUBSCRIPTIONS, "subscriptions now");
    metrics::describe_counter!(SENT, "events and pieces of text handed to sockets");
    metrics::describe_counter!(COALESCED, "pieces of text joined since their client was behind");
    metrics::describe_counter!(LAGGED, "times that a subscription fell behind and was read again");
    metrics::describe_counter!(CLOSED, "sockets closed, by close code");
    metrics::describe_counter!(TICKETS, "tickets made");
}
