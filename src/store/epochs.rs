//! The starts of this server. Its events are numbered anew in each (`epoch`), and other servers remember places of its log by start, so that a log
//! that was set back (a restored backup, a copied directory) is found out and nothing is passed over.

use super::row::Columns as _;
use super::sql::{Dialect, statements};
use super::{Store, StoreError};
use muster_protocol::ids::ServerId;
use sqlx::AnyConnection;

/// A start of this server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epoch {
    /// Its id.
    pub epoch: String,
    /// The newest place of the log before it.
    pub begins_at: u64,
}

statements! {
    LIST: "SELECT epoch, begins_at FROM epochs ORDER BY n";
    FORMER: "SELECT value FROM server WHERE key = 'epoch'";
    // What was told during the former start is known as what others tell is.
    CLOSE_FORMER: "INSERT INTO event_heads (origin, epoch, seq) SELECT $1, $2, shared FROM log_head WHERE id = 1
        ON CONFLICT (origin, epoch) DO UPDATE SET seq = excluded.seq";
    RESTART: "UPDATE log_head SET shared = 0 WHERE id = 1";
    BEGIN: "INSERT INTO epochs (epoch, begins_at, n) SELECT $1, seq, (SELECT COUNT(*) FROM epochs) FROM log_head WHERE id = 1";
    NAME: "INSERT INTO server (key, value) VALUES ('epoch', $1) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
}

/// Begins a start: `epoch` is its id.
pub(super) async fn begin(conn: &mut AnyConnection, dialect: Dialect, server: ServerId, epoch: &str) -> sqlx::Result<()> {
    use sqlx::Connection as _;
    let mut tx = conn.begin().await?;
    if let Some(former) = FORMER.on(dialect).fetch_optional(&mut *tx).await? {
        CLOSE_FORMER.on(dialect).bind(server.to_string()).bind(former.text("value")?).execute(&mut *tx).await?;
    }
    RESTART.on(dialect).execute(&mut *tx).await?;
    BEGIN.on(dialect).bind(epoch.to_owned()).execute(&mut *tx).await?;
    NAME.on(dialect).bind(epoch.to_owned()).execute(&mut *tx).await?;
    tx.commit().await
}

impl Store {
    /// The starts of this server, oldest first.
    ///
    /// # Errors
    /// Of the database.
    pub async fn epochs(&self) -> Result<Vec<Epoch>, StoreError> {
        let rows = LIST.on(self.dialect()).fetch_all(self.readers()).await?;
        let read = |row: &sqlx::any::AnyRow| Ok(Epoch { epoch: row.text("epoch")?, begins_at: row.count("begins_at")? });
        Ok(rows.iter().map(read).collect::<sqlx::Result<_>>()?)
    }
}
