//! The prepared statements: everything that is ever asked of the tables.
//!
//! Each write says what it is worth by its timestamp (see `rank`) and how long it lives; none of them
//! looks at what is there.

use scylla::client::session::Session;
use scylla::errors::PrepareError;
use scylla::statement::prepared::PreparedStatement;

/// All of them. Cheap to clone, each by itself.
#[derive(Debug)]
pub(super) struct Statements {
    /// (ttl, timestamp, value, tenant, execution), for each column.
    pub(super) created: PreparedStatement,
    pub(super) accepted: PreparedStatement,
    pub(super) logged: PreparedStatement,
    pub(super) attributed: PreparedStatement,
    pub(super) latest: PreparedStatement,
    pub(super) standing: PreparedStatement,
    pub(super) ended: PreparedStatement,
    /// (tenant, hour, time, execution, ttl, timestamp)
    pub(super) listed: PreparedStatement,
    /// (tenant, hour, ttl, timestamp)
    pub(super) hour: PreparedStatement,
    /// (tenant, name, value, hour, time, execution, ttl, timestamp)
    pub(super) listed_by_attribute: PreparedStatement,
    /// (tenant, name, value, hour, ttl, timestamp)
    pub(super) hour_by_attribute: PreparedStatement,
    /// (tenant, execution, number, newest, value, ttl, timestamp)
    pub(super) event: PreparedStatement,
    /// (tenant, execution, event time, source offset, event id, value, ttl, timestamp)
    pub(super) log_row: PreparedStatement,
    /// (prefix, topic, partition, next offset); the newest write stands.
    pub(super) progress: PreparedStatement,
    /// (tenant, hash, chunk, length, value, ttl, timestamp)
    pub(super) value_chunk: PreparedStatement,
    /// (tenant, execution) -> (created, accepted, logged, attributed, latest, standing,
    /// ended)
    pub(super) read_execution: PreparedStatement,
    /// (tenant, execution, number) -> (number, newest, value) from there on
    pub(super) read_events: PreparedStatement,
    /// (tenant, execution, event time, source offset, event id) -> value behind there
    pub(super) read_log_rows: PreparedStatement,
    /// (tenant, hour, hour) -> hour, newest first; both ends are in
    pub(super) read_hours: PreparedStatement,
    /// (tenant, hour, time, execution, time, execution) -> (time, execution), newest first; the first end
    /// is in, the second isn't
    pub(super) read_listed: PreparedStatement,
    /// (tenant, name, value, hour, hour) -> as `read_hours`
    pub(super) read_hours_by_attribute: PreparedStatement,
    /// (tenant, name, value, hour, time, execution, time, execution) -> as `read_listed`
    pub(super) read_listed_by_attribute: PreparedStatement,
    /// (prefix, topic, partition) -> next offset
    pub(super) read_progress: PreparedStatement,
    /// (tenant, hash) -> (chunk, length, value), in order
    pub(super) read_value: PreparedStatement,
}

impl Statements {
    /// Prepares all of them.
    pub(super) async fn prepare(session: &Session, keyspace: &str) -> Result<Self, PrepareError> {
        let prepare = async |text: String| {
            let mut statement = session.prepare(text).await?;
            // Every write says the same however often it is said.
            statement.set_is_idempotent(true);
            Ok::<_, PrepareError>(statement)
        };
        let update = |column: &str| {
            format!(
                "UPDATE {keyspace}.executions USING TTL ? AND TIMESTAMP ? SET {column} = ? \
                 WHERE tenant = ? AND execution = ?"
            )
        };
        let insert = |table: &str, columns: &str| {
            let marks = vec!["?"; columns.split(',').count()].join(", ");
            format!("INSERT INTO {keyspace}.{table} ({columns}) VALUES ({marks})")
        };
        let lasting = |table: &str, columns: &str| {
            format!("{} USING TTL ? AND TIMESTAMP ?", insert(table, columns))
        };
        let select = |columns: &str, table: &str, of: &str| {
            format!("SELECT {columns} FROM {keyspace}.{table} WHERE {of}")
        };
        let of_execution = "tenant = ? AND execution = ?";
        let with_attribute = "tenant = ? AND name = ? AND value = ?";
        let hours = "hour >= ? AND hour <= ?";
        let places = "hour = ? AND (time, execution) >= (?, ?) AND (time, execution) < (?, ?)";
        let row_key = "event_time, source_offset, event_id";
        Ok(Self {
            created: prepare(update("created")).await?,
            accepted: prepare(update("accepted")).await?,
            logged: prepare(update("logged")).await?,
            attributed: prepare(update("attributed")).await?,
            latest: prepare(update("latest")).await?,
            standing: prepare(update("standing")).await?,
            ended: prepare(update("ended")).await?,
            listed: prepare(lasting("executions_by_time", "tenant, hour, time, execution")).await?,
            hour: prepare(lasting("hours", "tenant, hour")).await?,
            listed_by_attribute: prepare(lasting(
                "executions_by_attribute",
                "tenant, name, value, hour, time, execution",
            ))
            .await?,
            hour_by_attribute: prepare(lasting("hours_by_attribute", "tenant, name, value, hour"))
                .await?,
            event: prepare(lasting("events", "tenant, execution, number, newest, value")).await?,
            log_row: prepare(lasting("log_rows", &format!("tenant, execution, {row_key}, value")))
                .await?,
            progress: prepare(insert("progress", "prefix, topic, partition_number, next_offset"))
                .await?,
            value_chunk: prepare(lasting("value_chunks", "tenant, hash, chunk, length, value"))
                .await?,
            read_execution: prepare(select(
                "created, accepted, logged, attributed, latest, standing, ended",
                "executions",
                of_execution,
            ))
            .await?,
            read_events: prepare(select(
                "number, newest, value",
                "events",
                &format!("{of_execution} AND number >= ?"),
            ))
            .await?,
            read_log_rows: prepare(select(
                "value",
                "log_rows",
                &format!("{of_execution} AND ({row_key}) > (?, ?, ?)"),
            ))
            .await?,
            read_hours: prepare(select("hour", "hours", &format!("tenant = ? AND {hours}")))
                .await?,
            read_listed: prepare(select(
                "time, execution",
                "executions_by_time",
                &format!("tenant = ? AND {places}"),
            ))
            .await?,
            read_hours_by_attribute: prepare(select(
                "hour",
                "hours_by_attribute",
                &format!("{with_attribute} AND {hours}"),
            ))
            .await?,
            read_listed_by_attribute: prepare(select(
                "time, execution",
                "executions_by_attribute",
                &format!("{with_attribute} AND {places}"),
            ))
            .await?,
            read_progress: prepare(select(
                "next_offset",
                "progress",
                "prefix = ? AND topic = ? AND partition_number = ?",
            ))
            .await?,
            read_value: prepare(select(
                "chunk, length, value",
                "value_chunks",
                "tenant = ? AND hash = ?",
            ))
            .await?,
        })
    }
}
