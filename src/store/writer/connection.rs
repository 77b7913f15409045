//! The writer's connection: the transaction itself, and on PostgreSQL the lock that keeps a second server away.

use super::Queued;
use super::fault::{Failed, Fault};
use crate::domain::federation::Shared;
use crate::events::Wake;
use crate::store::identity::Identity;
use crate::store::open::{self, OpenError};
use crate::store::row::Columns as _;
use crate::store::sql::{Dialect, statements};
use crate::store::tx::{Head, Known, ReadAhead, Tx};
use muster_protocol::ids::EventId;
use muster_protocol::time::Timestamp;
use sqlx::AnyConnection;
use sqlx::Connection as _;
use std::time::Duration;

statements! {
    HEAD: "SELECT seq, shared FROM log_head WHERE id = 1";
    FIND_BATCH: "SELECT COUNT(*) AS n FROM batches WHERE id = $1";
}

/// How long, and how often, a lost PostgreSQL is looked for before the waiting writes are refused.
const RECONNECT_TRIES: u32 = 10;
const RECONNECT_PAUSE: Duration = Duration::from_millis(300);
/// How often the lock is tried for. It may still be held by the connection that was lost, until PostgreSQL has noticed (25 s, see
/// `open::set_up`); once it is free, the fate of that connection's commit is settled.
const LOCK_TRIES: u32 = 130;
/// For how long a committed batch is remembered. It is looked up within seconds.
const BATCH_KEPT_MS: i64 = 60 * 60 * 1_000;

/// The connection and what it takes to make it again.
pub(in crate::store) struct WriterConnection {
    conn: AnyConnection,
    url: String,
    dialect: Dialect,
    identity: Identity,
    shared: Shared,
    /// What the last transaction left; nothing after a fault.
    known: Known,
    head: Option<Head>,
    /// Whether a failed statement left the connection unusable.
    broken: bool,
}

impl WriterConnection {
    pub(in crate::store) fn new(conn: AnyConnection, url: String, dialect: Dialect, identity: Identity, shared: Shared) -> Self {
        Self { conn, url, dialect, identity, shared, known: Known::default(), head: None, broken: false }
    }

    /// Applies and commits a batch.
    pub(super) async fn transact(
        &mut self,
        batch: &mut [Box<dyn Queued>],
        batch_id: &str,
        now: Timestamp,
        new_id: &mut (dyn FnMut(Timestamp) -> EventId + Send),
    ) -> Result<(u64, Vec<Wake>), Failed> {
        let early = |error| Failed { error, at_commit: false };
        let head = self.head().await.map_err(early)?;
        let known = std::mem::take(&mut self.known);
        let mut transaction = self.conn.begin().await.map_err(early)?;
        let mut tx = Tx::new(&mut transaction, self.dialect, (&self.identity, &self.shared), new_id, known, head);
        let mut ahead = ReadAhead::default();
        for write in batch.iter() {
            write.reads(&mut ahead);
        }
        tx.read_ahead(ahead).await.map_err(early)?;
        for write in batch {
            write.apply(&mut tx).await.map_err(early)?;
        }
        let done = tx.finish(batch_id, now, Timestamp(now.0 - BATCH_KEPT_MS)).await.map_err(early)?;
        transaction.commit().await.map_err(|error| Failed { error, at_commit: true })?;
        (self.known, self.head) = (done.known, Some(done.head));
        Ok((if done.has_events { done.head.seq } else { 0 }, done.wakes))
    }

    /// The head of the log. Nobody else moves it.
    async fn head(&mut self) -> sqlx::Result<Head> {
        if let Some(head) = self.head {
            return Ok(head);
        }
        let row = HEAD.on(self.dialect).fetch_one(&mut self.conn).await?;
        let head = Head { seq: row.count("seq")?, shared: row.count("shared")? };
        self.head = Some(head);
        Ok(head)
    }

    /// Has the connection made anew before the next batch: after a fault it may be in the middle of a transaction.
    pub(super) fn distrust(&mut self) {
        self.broken = true;
    }

    /// Connects again if the connection is not to be trusted.
    pub(super) async fn be_connected(&mut self) -> Result<(), Fault> {
        if self.broken { self.reconnect().await } else { Ok(()) }
    }

    /// Connects again after the connection was lost, and takes the server's lock again.
    pub(super) async fn reconnect(&mut self) -> Result<(), Fault> {
        self.broken = true;
        let (mut tries, mut locked, mut last) = (0, 0, String::new());
        while tries < RECONNECT_TRIES {
            match open::connect_writer(&self.url, self.dialect, &self.identity.name).await {
                Ok(conn) => {
                    self.conn = conn;
                    (self.known, self.head) = (Known::default(), None);
                    self.broken = false;
                    return Ok(());
                }
                Err(error @ OpenError::Locked { .. }) if locked >= LOCK_TRIES => return Err(Fault::Fatal(error.to_string())),
                Err(OpenError::Locked { .. }) => locked += 1,
                Err(error) => (tries, last) = (tries + 1, error.to_string()),
            }
            tokio::time::sleep(RECONNECT_PAUSE).await;
        }
        Err(Fault::Unavailable(last))
    }

    /// Whether a batch was committed, although the answer was lost.
    pub(super) async fn has_committed(&mut self, batch_id: &str) -> sqlx::Result<bool> {
        let row = FIND_BATCH.on(self.dialect).bind(batch_id.to_owned()).fetch_one(&mut self.conn).await?;
        Ok(row.int("n")? > 0)
    }

    pub(super) async fn close(self) {
        if let Err(error) = self.conn.close().await {
            tracing::warn!(%error, "the database connection did not close cleanly");
        }
    }
}
