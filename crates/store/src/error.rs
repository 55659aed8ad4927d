//! What can go wrong between a caller and its rows.

/// Why a store operation failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused or failed. After a failed write of the embedded store every later one fails
    /// as well, until the process opens the file again: what was not yet durable may be lost, so whoever
    /// feeds the store has to start over at its progress.
    #[error("the store failed to {operation}")]
    Backend {
        /// What was tried.
        operation: &'static str,
        /// What the database says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A stored value can't be read.
    #[error("row {key} of table {table} is damaged")]
    Damaged {
        /// The table.
        table: &'static str,
        /// The row's key.
        key: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// A stored value was written by a newer program.
    #[error("row {key} of table {table} has version {found}, and this program reads up to {known}")]
    Version {
        /// The table.
        table: &'static str,
        /// The row's key.
        key: String,
        /// The version it has.
        found: Version,
        /// The newest version that this program reads.
        known: u8,
    },
    /// What lies under a hash is something else.
    #[error("the value {hash} was altered: its bytes have another hash")]
    Altered {
        /// The hash.
        hash: String,
    },
    /// A cursor that this store didn't give out.
    #[error("the cursor is not one of ours")]
    Cursor,
    /// The writer has stopped.
    #[error("the store is closed")]
    Closed,
}

/// The version byte of a stored value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The value is empty, so it has none.
    Missing,
    /// What it says.
    Number(u8),
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing => f.write_str("none"),
            Self::Number(number) => number.fmt(f),
        }
    }
}

impl StoreError {
    /// Wraps what a database says about `operation`.
    pub(crate) fn backend(
        operation: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Backend { operation, source: source.into() }
    }
}
