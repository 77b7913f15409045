//! The store: the only SQL of the server, once for SQLite and PostgreSQL.
//!
//! Reads go to a pool of connections. Writes are small structs ([`Write`]) that one task commits in groups
//! ([`writer`]); state and event are in one transaction, and the hub is told after the commit.

pub mod a2a;
pub mod attempts;
pub mod claim;
pub mod codebases;
pub mod contexts;
pub mod coordinations;
pub mod epochs;
pub mod events;
pub mod external;
pub mod federation;
pub mod forward;
pub mod identity;
pub mod interactions;
mod open;
pub mod own;
pub mod peer_agents;
pub mod peers;
pub mod probe;
pub mod relays;
pub mod row;
pub mod sessions;
pub mod sql;
pub mod stream;
pub mod submit;
pub mod tail;
pub mod tasks;
pub mod tokens;
pub mod tx;
pub mod upkeep;
pub mod webhooks;
pub mod workers;
pub mod writer;

pub use identity::Identity;
pub use open::{OpenError, OpenOptions};
pub use tx::{ReadAhead, Tx};

use crate::events::Hub;
use sql::Dialect;
use sqlx::AnyPool;
use std::sync::Arc;
use tail::Tails;
use writer::Writer;

/// Why the store did not do as asked. Refusals of the domain are not errors: they are values of a write's output.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Too many wait for the database already; nothing was changed.
    #[error("too many wait for the database; try again in a moment")]
    Overloaded,
    /// The database cannot write now, for example on a full disk; nothing was changed.
    #[error("the database cannot write now: {0}")]
    Unavailable(String),
    /// The store is closed, or failed in a way that makes going on unsafe.
    #[error("the database is closed")]
    Closed,
    /// A fault in a statement, or the connection broke.
    #[error("database error: {0}")]
    Database(#[source] sqlx::Error),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::PoolTimedOut => Self::Overloaded,
            error => Self::Database(error),
        }
    }
}

/// A change, applied in a transaction together with others. It is repeatable: whatever is not in the database (time, ids) it carries.
pub trait Write: Send + Sync + 'static {
    /// What it is called in logs and metrics.
    const NAME: &'static str;
    /// What it answers; a refusal by the domain is one of these values and must leave the transaction as it was.
    type Output: Send + 'static;
    /// Whether it is applied after the others of its batch, because it looks for what they leave.
    const AFTER_OTHERS: bool = false;

    /// Says what it will read, so that this is read for a whole batch together. What is not said is read when it is asked for.
    fn reads(&self, _ahead: &mut ReadAhead) {}

    /// Does it.
    fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> impl Future<Output = sqlx::Result<Self::Output>> + Send + 'a;
}

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    readers: AnyPool,
    writer: Writer,
    hub: Arc<Hub>,
    tails: Arc<Tails>,
    dialect: Dialect,
    identity: Identity,
}

impl Store {
    /// Applies a write and answers after its commit.
    ///
    /// # Errors
    /// [`StoreError`]; after `Overloaded` and `Unavailable` nothing was changed.
    pub async fn write<W: Write>(&self, write: W) -> Result<W::Output, StoreError> {
        self.writer.write(write).await
    }

    /// Who wakes and waits.
    #[must_use]
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Who this server is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Which database it is.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Resolves with a reason once the database failed in a way that makes going on unsafe (a failed fsync, another server's lock).
    pub async fn failed(&self) -> String {
        self.writer.failed().await
    }

    /// Commits what waits and refuses what comes later.
    pub async fn close(&self) {
        self.writer.close().await;
        self.readers.close().await;
    }

    pub(in crate::store) fn readers(&self) -> &AnyPool {
        &self.readers
    }
}

/// Every statement of the store with its name, so that a test can prepare each on both databases. A spelling that is empty is not used there.
pub fn statements() -> impl Iterator<Item = (&'static str, sql::Sql)> {
    let files = [
        a2a::ALL,
        contexts::ALL,
        codebases::ALL,
        coordinations::ALL,
        epochs::ALL,
        events::ALL,
        external::ALL,
        federation::ALL,
        forward::ALL,
        identity::ALL,
        interactions::ALL,
        own::ALL,
        peer_agents::ALL,
        peers::ALL,
        relays::ALL,
        stream::ALL,
        submit::ALL,
        tail::ALL,
        tasks::ALL,
        probe::ALL,
        tokens::ALL,
        upkeep::ALL,
        webhooks::ALL,
        writer::ALL,
    ];
    let one = files.into_iter().flatten();
    one.chain(attempts::all()).chain(claim::all()).chain(sessions::all()).chain(workers::all()).copied().chain(tx::all())
}
