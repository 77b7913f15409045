//! The event log: reading it, and events that stand for themselves.

use super::row::{Columns as _, to_int, to_json};
use super::sql::statements;
use super::tx::NewEvent;
use super::{Store, StoreError, Tx, Write};
use crate::domain::monitor::Tally;
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

/// The columns of an event.
macro_rules! columns {
    () => {
        "seq, id, origin, epoch, origin_seq, kind, subject, at, data"
    };
}
pub(super) use columns as COLUMNS;

statements! {
    AFTER: "SELECT seq, id, origin, epoch, origin_seq, kind, subject, at, data FROM events WHERE seq > $1 AND ($2 = '' OR kind = $2)
        AND ($3 = '' OR subject = $3) AND ($4 = '' OR origin = $4) ORDER BY seq LIMIT $5";
    BEFORE: "SELECT seq, id, origin, epoch, origin_seq, kind, subject, at, data FROM events WHERE seq < $1 AND seq > $2 ORDER BY seq DESC LIMIT $3";
    // The newest of a kind are the end of its part of the index, however rare it is.
    PLACES_OF_KIND: "SELECT seq FROM events WHERE kind = $1 AND seq < $2 AND seq > $3 ORDER BY seq DESC LIMIT $4";
    AT_PLACES: "SELECT seq, id, origin, epoch, origin_seq, kind, subject, at, data FROM events
        WHERE seq IN (SELECT value FROM json_each($1)) ORDER BY seq DESC",
    postgres: "SELECT seq, id, origin, epoch, origin_seq, kind, subject, at, data FROM events
        WHERE seq IN (SELECT CAST(json_array_elements_text($1::text::json) AS BIGINT)) ORDER BY seq DESC";
    HEAD: "SELECT seq FROM log_head WHERE id = 1";
    SHARED_HEAD: "SELECT shared FROM log_head WHERE id = 1";
    KEPT_TALLY: "SELECT value FROM server WHERE key = $1";
    KEEP_TALLY: "INSERT INTO server (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
    COUNT_BY_KIND: "SELECT kind, COUNT(*) AS n FROM events GROUP BY kind ORDER BY kind";
}

pub(super) fn read(row: &AnyRow) -> sqlx::Result<Event> {
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

    /// A page of the event log, newest first, between two places, both of them left out; with `kinds` only these.
    ///
    /// # Errors
    /// Of the database.
    pub async fn events_before(&self, before: u64, after: u64, kinds: Option<&[String]>, limit: u32) -> Result<Vec<Event>, StoreError> {
        let (before, after) = (to_int(before), to_int(after));
        let query = match kinds {
            Some(kinds) => {
                let places = self.places_of(kinds, before, after, limit).await?;
                if places.is_empty() {
                    return Ok(Vec::new());
                }
                AT_PLACES.on(self.dialect()).bind(to_json(&places))
            }
            None => BEFORE.on(self.dialect()).bind(before).bind(after).bind(i64::from(limit)),
        };
        let rows = query.fetch_all(self.readers()).await?;
        Ok(rows.iter().map(read).collect::<sqlx::Result<_>>()?)
    }

    /// The places of the newest events of some kinds.
    async fn places_of(&self, kinds: &[String], before: i64, after: i64, limit: u32) -> Result<Vec<i64>, StoreError> {
        let mut places = Vec::new();
        for kind in kinds {
            let query = PLACES_OF_KIND.on(self.dialect()).bind(kind.clone()).bind(before).bind(after).bind(i64::from(limit));
            for row in query.fetch_all(self.readers()).await? {
                places.push(row.int("seq")?);
            }
        }
        places.sort_unstable_by(|one, other| other.cmp(one));
        places.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(places)
    }

    /// The newest place in the log.
    ///
    /// # Errors
    /// Of the database.
    pub async fn log_head(&self) -> Result<u64, StoreError> {
        Ok(HEAD.on(self.dialect()).fetch_one(self.readers()).await?.count("seq")?)
    }

    /// How many events of this start other servers may see.
    ///
    /// # Errors
    /// Of the database.
    pub async fn shared_head(&self) -> Result<u64, StoreError> {
        Ok(SHARED_HEAD.on(self.dialect()).fetch_one(self.readers()).await?.count("shared")?)
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

/// Under which key of the table of the server's own facts the tally is: that of another form is not read.
fn tally_key() -> String {
    format!("tally_{}", Tally::FORM)
}

impl Store {
    /// The tally that was kept last.
    ///
    /// # Errors
    /// Of the database.
    pub async fn kept_tally(&self) -> Result<Option<Tally>, StoreError> {
        let row = KEPT_TALLY.on(self.dialect()).bind(tally_key()).fetch_optional(self.readers()).await?;
        Ok(row.map(|row| row.json("value")).transpose()?)
    }
}

/// Keeps a tally, so that the next start has to count only what came after it.
#[derive(Debug, Clone)]
pub struct KeepTally(pub Tally);

impl Write for KeepTally {
    const NAME: &'static str = "keep_tally";
    type Output = ();

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<()> {
        tx.execute_aside(KEEP_TALLY.on(tx.dialect()).bind(tally_key()).bind(to_json(&self.0))).await?;
        Ok(())
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
