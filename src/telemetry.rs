//! Tracing and metrics.

/// Every metric's name.
pub mod metric {
    /// How long a write takes from the queue to its commit, by write (seconds).
    pub const STORE_WRITE_SECONDS: &str = "muster_store_write_seconds";
    /// How many writes share a transaction.
    pub const STORE_BATCH_WRITES: &str = "muster_store_batch_writes";
}
