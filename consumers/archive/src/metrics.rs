//! The names of this crate's metrics, with their units and what they say.

/// Records that were written. Label `topic`.
pub const ARCHIVED: &str = "stepstream_archive_records_total";
/// Records that could not be read and were passed over. Label `topic`.
pub const UNREADABLE: &str = "stepstream_archive_unreadable_total";
/// Seconds from the time of the last record written to its being written; 0 when there is nothing to do.
/// Label `topic`.
pub const LAG: &str = "stepstream_archive_lag_seconds";
/// Writes that failed and will be done again. Label `topic`.
pub const RETRIES: &str = "stepstream_archive_retries_total";
/// 1 while a topic can't be read on, e.g. because retention has passed the archive. Alarm on it. Label
/// `topic`.
pub const STOPPED: &str = "stepstream_archive_stopped";

/// Gives each metric its help text; once per process.
pub fn describe() {
    use ::metrics::{Unit, describe_counter, describe_gauge};
    describe_counter!(ARCHIVED, "records written to the store");
    describe_counter!(UNREADABLE, "records that could not be read and were passed over");
    describe_gauge!(LAG, Unit::Seconds, "age of the last record when it was written");
    describe_counter!(RETRIES, "writes that failed and will be done again");
    describe_gauge!(STOPPED, "1 while a topic can't be read on; a person must look");
}
