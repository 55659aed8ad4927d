//! The tables and their keys. Each key begins with the tenant, so no range of one tenant can reach into
//! another's.

use redb::{Database, ReadableTable, TableDefinition};

/// The layout of the keys below; raised when one changes.
pub(super) const LAYOUT: u32 = 1;

/// `layout` -> [`LAYOUT`].
pub(super) const ABOUT: TableDefinition<'_, &str, u32> = TableDefinition::new("about");

/// (tenant, execution) -> summary.
pub(super) const EXECUTIONS: TableDefinition<'_, (&str, &str), &[u8]> =
    TableDefinition::new("executions");

/// (tenant, execution, number) -> event.
pub(super) const EVENTS: TableDefinition<'_, (&str, &str, i64), &[u8]> =
    TableDefinition::new("events");

/// (tenant, execution, event time, source offset, row id) -> execution-log row.
pub(super) const LOG_ROWS: TableDefinition<'_, (&str, &str, i64, i64, &str), &[u8]> =
    TableDefinition::new("log-rows");

/// (tenant, created, execution): a tenant's executions by time.
pub(super) const BY_TIME: TableDefinition<'_, (&str, i64, &str), ()> =
    TableDefinition::new("by-time");

/// (tenant, name, value, time, execution): a tenant's executions by each of their search attributes, and by
/// the time at which those were named. A file from before has none, and so have its executions.
pub(super) const BY_ATTRIBUTE: TableDefinition<'_, (&str, &str, &str, i64, &str), ()> =
    TableDefinition::new("by-attribute");

/// (created, tenant, execution): all executions by time, for the retention.
pub(super) const BY_AGE: TableDefinition<'_, (i64, &str, &str), ()> =
    TableDefinition::new("by-age");

/// (topic, partition) -> next offset.
pub(super) const PROGRESS: TableDefinition<'_, (&str, i32), &[u8]> =
    TableDefinition::new("progress");

/// (tenant, hash, chunk) -> bytes of a value.
pub(super) const VALUES: TableDefinition<'_, (&str, &str, i32), &[u8]> =
    TableDefinition::new("values");

/// (tenant, hash) -> length of the value, and when it was put last.
pub(super) const VALUE_HEADS: TableDefinition<'_, (&str, &str), (i64, i64)> =
    TableDefinition::new("value-heads");

/// (put last, tenant, hash): all values by time, for the retention.
pub(super) const VALUES_BY_AGE: TableDefinition<'_, (i64, &str, &str), ()> =
    TableDefinition::new("values-by-age");

/// Makes the tables of an empty file, so that a read never misses one. Returns the file's layout.
pub(super) fn prepare(database: &Database) -> Result<u32, redb::Error> {
    let transaction = database.begin_write()?;
    let layout = {
        let mut about = transaction.open_table(ABOUT)?;
        let found = about.get("layout")?.map(|value| value.value());
        if found.is_none() {
            about.insert("layout", LAYOUT)?;
        }
        found.unwrap_or(LAYOUT)
    };
    if layout == LAYOUT {
        transaction.open_table(EXECUTIONS)?;
        transaction.open_table(EVENTS)?;
        transaction.open_table(LOG_ROWS)?;
        transaction.open_table(BY_TIME)?;
        transaction.open_table(BY_ATTRIBUTE)?;
        transaction.open_table(BY_AGE)?;
        transaction.open_table(PROGRESS)?;
        transaction.open_table(VALUES)?;
        transaction.open_table(VALUE_HEADS)?;
        transaction.open_table(VALUES_BY_AGE)?;
    }
    transaction.commit()?;
    Ok(layout)
}

/// The text right behind `text` in byte order: the open end of a range over all keys that begin with it.
pub(super) fn successor(text: &str) -> String {
    format!("{text}\u{0}")
}
