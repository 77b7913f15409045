//! Storage (provisional: replaced by the store's own module).

/// What can come of a call to the store besides its answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The queue of writes is full.
    #[error("the queue of writes is full")]
    Overloaded,
    /// The database cannot write now.
    #[error("the database cannot write now: {0}")]
    Unavailable(String),
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
    /// The database failed.
    #[error("the database failed")]
    Database(#[source] sqlx::Error),
}
