//! The event log: reading it, and events that stand for themselves.

use super::row::{Columns as _, to_int};
use super::sql::statements;
use super::tx::NewEvent;
use super::{Store, StoreError, Tx, Write};
use muster_protocol::event::{Event, SPEC_VERSION};
use sqlx::any::AnyRow;
use std::collections::BTreeMap;

/// Which events a page shows.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Only after this place in the log.
    pub after: u64,
    /// Only of this type.
    pub kind: Option<String>,
    /// Only about this.
    pub subject: Option<String>,
    /// Only from this server.
    pub origin: Option<String>,
    /// At most so many.
    pub limit: u32,
}

statements! {
    AFTER: "SELECT seq, id, origin, epoch, origin_seq, kind, subject, at, data FROM events WHERE seq > $1 AND ($2 = '' OR kind = $2)
        AND ($3 = '' OR subject = $3) AND ($4 = '' OR origin = $4) ORDER BY seq LIMIT $5";
    HEAD: "SELECT seq FROM log_head WHERE id = 1";
    COUNT_BY_KIND: "SELECT kind, COUNT(*) AS n FROM events GROUP BY kind ORDER BY kind";
}

fn read(row: &AnyRow) -> sqlx::Result<Event> {
    let origin: String = row.text("origin")?;
    Ok(Event {
        specversion: SPEC_VERSION.to_owned(),
        id: row.parsed("id")?,
        source: format!("/servers/{origin}"),
        kind: row.text("kind")?,
        subject: row.text("subject")?,
        time: row.time("at")?,
        datacontenttype: "application/json".to_owned(),
        data: row.json("data")?,
        sequence: row.count("seq")?,
        origin: origin.parse().map_err(|e: uuid::Error| super::row::wrong("origin", e.to_string()))?,
        epoch: row.text("epoch")?,
        originseq: row.maybe_int("origin_seq")?.and_then(|seq| u64::try_from(seq).ok()),
    })
}

impl Store {
    /// A page of the event log, oldest first.
    ///
    /// # Errors
    /// Of the database.
    pub async fn events(&self, filter: &EventFilter) -> Result<Vec<Event>, StoreError> {
        let query = AFTER
            .on(self.dialect())
            .bind(to_int(filter.after))
            .bind(filter.kind.clone().unwrap_or_default())
            .bind(filter.subject.clone().unwrap_or_default())
            .bind(filter.origin.clone().unwrap_or_default())
            .bind(i64::from(filter.limit));
        let rows = query.fetch_all(self.readers()).await?;
        Ok(rows.iter().map(read).collect::<sqlx::Result<_>>()?)
    }

    /// The newest place in the log.
    ///
    /// # Errors
    /// Of the database.
    pub async fn log_head(&self) -> Result<u64, StoreError> {
        Ok(HEAD.on(self.dialect()).fetch_one(self.readers()).await?.count("seq")?)
    }

    /// How many events there are of each type.
    ///
    /// # Errors
    /// Of the database.
    pub async fn count_events(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        let rows = COUNT_BY_KIND.on(self.dialect()).fetch_all(self.readers()).await?;
        Ok(rows.iter().map(|row| Ok((row.text("kind")?, row.count("n")?))).collect::<sqlx::Result<_>>()?)
    }
}

/// Writes an event that goes with no other change.
#[derive(Debug, Clone)]
pub struct RecordEvent(pub NewEvent);

impl Write for RecordEvent {
    const NAME: &'static str = "record_event";
    type Output = ();

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<()> {
        tx.event(self.0.clone());
        Ok(())
    }
}
