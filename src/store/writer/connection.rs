//! The writer's connection: the transaction itself, and on PostgreSQL the lock that keeps a second server away.

use super::Queued;
use super::fault::{Failed, Fault};
use crate::events::Wake;
use crate::store::identity::Identity;
use crate::store::open::{self, OpenError};
use crate::store::row::Columns as _;
use crate::store::sql::{Dialect, statements};
use crate::store::tx::Tx;
use muster_protocol::ids::EventId;
use muster_protocol::time::Timestamp;
use sqlx::AnyConnection;
use sqlx::Connection as _;
use std::time::Duration;

statements! {
    REMEMBER_BATCH: "INSERT INTO batches (id, committed_at) VALUES ($1, $2)";
    FIND_BATCH: "SELECT COUNT(*) AS n FROM batches WHERE id = $1";
}

/// How long, and how often, a lost PostgreSQL is looked for before the waiting writes are refused.
const RECONNECT_TRIES: u32 = 10;
const RECONNECT_PAUSE: Duration = Duration::from_millis(300);

/// The connection and what it takes to make it again.
pub(in crate::store) struct WriterConnection {
    conn: AnyConnection,
    url: String,
    dialect: Dialect,
    identity: Identity,
    /// Whether a failed statement left the connection unusable.
    broken: bool,
}

impl WriterConnection {
    pub(in crate::store) fn new(conn: AnyConnection, url: String, dialect: Dialect, identity: Identity) -> Self {
        Self { conn, url, dialect, identity, broken: false }
    }

    /// Applies and commits a batch.
    pub(super) async fn transact(
        &mut self,
        batch: &mut [Box<dyn Queued>],
        batch_id: &str,
        now: Timestamp,
        new_id: &mut (dyn FnMut(Timestamp) -> EventId + Send),
    ) -> Result<(u64, Vec<Wake>), Failed> {
        if self.broken {
            self.reconnect().await.map_err(|_| Failed { error: sqlx::Error::WorkerCrashed, at_commit: false })?;
        }
        let early = |error| Failed { error, at_commit: false };
        let mut transaction = self.conn.begin().await.map_err(early)?;
        let mut tx = Tx::new(&mut transaction, self.dialect, &self.identity);
        for write in batch {
            write.apply(&mut tx).await.map_err(early)?;
        }
        if self.dialect == Dialect::Postgres {
            tx.execute(REMEMBER_BATCH.on(self.dialect).bind(batch_id.to_owned()).bind(now.0)).await.map_err(early)?;
        }
        let done = tx.finish(new_id).await.map_err(early)?;
        transaction.commit().await.map_err(|error| Failed { error, at_commit: true })?;
        Ok(done)
    }

    /// Connects again after the connection was lost, and takes the server's lock again.
    pub(super) async fn reconnect(&mut self) -> Result<(), Fault> {
        self.broken = true;
        let mut last = String::new();
        for _ in 0..RECONNECT_TRIES {
            match open::connect_writer(&self.url, self.dialect, &self.identity.name).await {
                Ok(conn) => {
                    self.conn = conn;
                    self.broken = false;
                    return Ok(());
                }
                Err(error @ OpenError::Locked { .. }) => return Err(Fault::Fatal(error.to_string())),
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(RECONNECT_PAUSE).await;
        }
        Err(Fault::Unavailable(last))
    }

    /// Whether a batch was committed, although the answer was lost.
    pub(super) async fn has_committed(&mut self, batch_id: &str) -> Result<bool, Fault> {
        let row = FIND_BATCH.on(self.dialect).bind(batch_id.to_owned()).fetch_one(&mut self.conn).await;
        match row.and_then(|row| row.int("n")) {
            Ok(found) => Ok(found > 0),
            Err(error) => Err(Failed { error, at_commit: false }.into_fault()),
        }
    }

    pub(super) async fn close(self) {
        if let Err(error) = self.conn.close().await {
            tracing::warn!(%error, "the database connection did not close cleanly");
        }
    }
}
