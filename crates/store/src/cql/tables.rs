//! The tables, as data: what `schema` compares a keyspace with, and makes.
//!
//! Every partition key begins with the tenant, so no read of one tenant can reach into another's. What is
//! told apart by a person is a column; what only this program reads is a value with a version in it.

/// The layout of the tables below; raised when one changes.
pub(super) const LAYOUT: i32 = 3;

/// A table.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    /// The columns of the partition key, then those by which rows are sorted, then the others.
    pub(super) columns: &'static [Column],
    pub(super) comment: &'static str,
}

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// CQL's name of its type.
    pub(super) of: &'static str,
}

/// What a column is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Of the partition key.
    Partition,
    /// Sorts the rows of a partition, upwards.
    Rising,
    /// Sorts the rows of a partition, downwards.
    Falling,
    /// One value for the partition.
    Static,
    /// One value for the row.
    Value,
}

impl Kind {
    /// As `system_schema.columns` says it: `kind` and `clustering_order`.
    pub(super) fn in_schema(self) -> (&'static str, &'static str) {
        match self {
            Self::Partition => ("partition_key", "none"),
            Self::Rising => ("clustering", "asc"),
            Self::Falling => ("clustering", "desc"),
            Self::Static => ("static", "none"),
            Self::Value => ("regular", "none"),
        }
    }
}

const fn partition(name: &'static str, of: &'static str) -> Column {
    Column { name, kind: Kind::Partition, of }
}

const fn rising(name: &'static str, of: &'static str) -> Column {
    Column { name, kind: Kind::Rising, of }
}

const fn falling(name: &'static str, of: &'static str) -> Column {
    Column { name, kind: Kind::Falling, of }
}

const fn value(name: &'static str, of: &'static str) -> Column {
    Column { name, kind: Kind::Value, of }
}

/// All of them.
pub(super) const ALL: [Table; 10] = [
    Table {
        name: "about",
        comment: "the layout of the tables",
        columns: &[partition("name", "text"), value("value", "int")],
    },
    Table {
        name: "executions",
        comment: "one row an execution; each column has its own rule for what stands",
        columns: &[
            partition("tenant", "text"),
            partition("execution", "text"),
            value("created", "blob"),
            value("accepted", "blob"),
            value("logged", "blob"),
            value("attributed", "blob"),
            value("latest", "blob"),
            value("standing", "blob"),
            value("ended", "blob"),
        ],
    },
    Table {
        name: "executions_by_time",
        comment: "a tenant's executions, a partition an hour; rows whose time another one beats are stale",
        columns: &[
            partition("tenant", "text"),
            partition("hour", "bigint"),
            falling("time", "bigint"),
            falling("execution", "text"),
        ],
    },
    Table {
        name: "hours",
        comment: "the hours in which a tenant has executions",
        columns: &[partition("tenant", "text"), falling("hour", "bigint")],
    },
    Table {
        name: "executions_by_attribute",
        comment: "a tenant's executions by each of their search attributes, a partition an hour; rows whose time \
                  another one beats are stale",
        columns: &[
            partition("tenant", "text"),
            partition("name", "text"),
            partition("value", "text"),
            partition("hour", "bigint"),
            falling("time", "bigint"),
            falling("execution", "text"),
        ],
    },
    Table {
        name: "hours_by_attribute",
        comment: "the hours in which a tenant has executions with a search attribute",
        columns: &[
            partition("tenant", "text"),
            partition("name", "text"),
            partition("value", "text"),
            falling("hour", "bigint"),
        ],
    },
    Table {
        name: "events",
        comment: "the events of an execution; of one number the highest generation",
        columns: &[
            partition("tenant", "text"),
            partition("execution", "text"),
            rising("number", "bigint"),
            Column { name: "newest", kind: Kind::Static, of: "int" },
            value("value", "blob"),
        ],
    },
    Table {
        name: "log_rows",
        comment: "the execution-log rows of an execution",
        columns: &[
            partition("tenant", "text"),
            partition("execution", "text"),
            rising("event_time", "bigint"),
            rising("source_offset", "bigint"),
            rising("event_id", "text"),
            value("value", "blob"),
        ],
    },
    Table {
        name: "progress",
        comment: "the next offset to read of each partition, by the prefix of the topics",
        columns: &[
            partition("prefix", "text"),
            partition("topic", "text"),
            rising("partition_number", "int"),
            value("next_offset", "bigint"),
        ],
    },
    Table {
        name: "value_chunks",
        comment: "the chunks of values that are too large for a record, by the hash of the whole",
        columns: &[
            partition("tenant", "text"),
            partition("hash", "text"),
            rising("chunk", "int"),
            value("length", "bigint"),
            value("value", "blob"),
        ],
    },
];

impl Table {
    /// The statement that makes it.
    pub(super) fn create(&self, keyspace: &str) -> String {
        let named = |wanted: &[Kind]| {
            let columns = self.columns.iter().filter(|column| wanted.contains(&column.kind));
            columns.map(|column| column.name).collect::<Vec<_>>()
        };
        let columns: Vec<_> = self.columns.iter().map(Column::define).collect();
        let sorted = named(&[Kind::Rising, Kind::Falling]);
        let mut key = vec![format!("({})", named(&[Kind::Partition]).join(", "))];
        key.extend(sorted.iter().map(|&name| name.to_owned()));
        let order: Vec<_> = self.columns.iter().filter_map(Column::order).collect();
        let order = match order.is_empty() {
            true => String::new(),
            false => format!("CLUSTERING ORDER BY ({}) AND ", order.join(", ")),
        };
        format!(
            "CREATE TABLE IF NOT EXISTS {keyspace}.{} ({}, PRIMARY KEY ({})) WITH {order}comment = '{}'",
            self.name,
            columns.join(", "),
            key.join(", "),
            self.comment.replace('\'', "''"),
        )
    }
}

impl Column {
    fn define(&self) -> String {
        let is_static = if self.kind == Kind::Static { " static" } else { "" };
        format!("{} {}{is_static}", self.name, self.of)
    }

    fn order(&self) -> Option<String> {
        match self.kind {
            Kind::Rising => Some(format!("{} ASC", self.name)),
            Kind::Falling => Some(format!("{} DESC", self.name)),
            Kind::Partition | Kind::Static | Kind::Value => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statement_says_keys_order_and_static_columns() {
        let events = ALL.iter().find(|table| table.name == "events").unwrap();
        assert_eq!(
            events.create("k"),
            "CREATE TABLE IF NOT EXISTS k.events (tenant text, execution text, number bigint, \
             newest int static, value blob, PRIMARY KEY ((tenant, execution), number)) WITH \
             CLUSTERING ORDER BY (number ASC) AND comment = \
             'the events of an execution; of one number the highest generation'"
        );
    }

    #[test]
    fn no_row_of_a_tenant_lies_in_a_partition_without_it() {
        for table in ALL.iter().filter(|table| !["about", "progress"].contains(&table.name)) {
            assert_eq!(table.columns[0], partition("tenant", "text"), "{}", table.name);
        }
    }
}
