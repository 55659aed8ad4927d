//! The names of this crate's metrics, with their units and what they say.

/// Records that were passed to at least one follower. Label `topic`.
pub const DELIVERED: &str = "stepstream_follow_delivered_total";
/// Records that could not be read. Label `topic`.
pub const UNREADABLE: &str = "stepstream_follow_unreadable_total";
/// Records of another tenant than the follower's: an id that two tenants use, or somebody guesses.
pub const OTHER_TENANT: &str = "stepstream_follow_other_tenant_total";
/// Followers now.
pub const FOLLOWERS: &str = "stepstream_follow_followers";
/// Times that a feed's owner was so far behind that its records were dropped.
pub const OVERFLOWED: &str = "stepstream_follow_overflowed_total";
/// Times that reading a topic broke and began anew at its end. Label `topic`.
pub const REOPENED: &str = "stepstream_follow_reopened_total";

/// Gives each metric its help text; once per process.
pub fn describe() {
    metrics::describe_counter!(DELIVERED, "records passed to at least one follower");
    metrics::describe_counter!(UNREADABLE, "records that could not be read");
    metrics::describe_counter!(OTHER_TENANT, "records withheld because they are another tenant's");
    metrics::describe_gauge!(FOLLOWERS, "clients that follow an execution now");
    metrics::describe_counter!(OVERFLOWED, "times that a feed's records were dropped");
    metrics::describe_counter!(REOPENED, "times that reading a topic began anew at its end");
}
