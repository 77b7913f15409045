//! A transaction under way: statements, and what is written once for the whole batch at its end.

use super::identity::Identity;
use super::row::{Columns as _, to_int, to_json};
use super::sql::{Dialect, Statement, statements};
use crate::events::Wake;
use crate::telemetry::metric;
use muster_protocol::ids::{EventId, TaskId};
use muster_protocol::stream::{EntryKind, StreamEntry};
use muster_protocol::time::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

/// An event that is to be written. Its place in the log is given at the end of the batch.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// One of [`muster_protocol::event::kind`].
    pub kind: &'static str,
    /// `tasks/{id}`, `workers/{id}`, ..
    pub subject: String,
    /// When it happened.
    pub at: Timestamp,
    /// The fact.
    pub data: Value,
}

/// The transaction of a batch.
pub struct Tx<'c> {
    conn: &'c mut AnyConnection,
    dialect: Dialect,
    identity: &'c Identity,
    events: Vec<NewEvent>,
    entries: Vec<(TaskId, StreamEntry)>,
    wakes: Vec<Wake>,
}

statements! {
    INSERT_ENTRIES: "INSERT INTO stream_entries (task_id, task_seq, attempt, at, kind, data)
        SELECT value ->> 't', value ->> 's', value ->> 'n', value ->> 'a', value ->> 'k', value ->> 'd' FROM json_each($1)",
    postgres: "INSERT INTO stream_entries (task_id, task_seq, attempt, at, kind, data)
        SELECT e ->> 't', (e ->> 's')::bigint, (e ->> 'n')::bigint, (e ->> 'a')::bigint, e ->> 'k', e ->> 'd'
        FROM json_array_elements($1::text::json) e";
    ADVANCE_HEAD: "UPDATE log_head SET seq = seq + $1, shared = shared + $1 WHERE id = 1 RETURNING seq, shared";
    INSERT_EVENTS: "INSERT INTO events (seq, id, origin, epoch, origin_seq, kind, subject, at, data)
        SELECT value ->> 's', value ->> 'i', $2, $3, value ->> 'o', value ->> 'k', value ->> 'b', value ->> 'a', value ->> 'd'
        FROM json_each($1)",
    postgres: "INSERT INTO events (seq, id, origin, epoch, origin_seq, kind, subject, at, data)
        SELECT (e ->> 's')::bigint, e ->> 'i', $2, $3, (e ->> 'o')::bigint, e ->> 'k', e ->> 'b', (e ->> 'a')::bigint, e ->> 'd'
        FROM json_array_elements($1::text::json) e";
}

impl<'c> Tx<'c> {
    pub(super) fn new(conn: &'c mut AnyConnection, dialect: Dialect, identity: &'c Identity) -> Self {
        Self { conn, dialect, identity, events: Vec::new(), entries: Vec::new(), wakes: Vec::new() }
    }

    /// Which database it is.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Runs a statement; answers how many rows it changed.
    ///
    /// # Errors
    /// Of the database.
    pub async fn execute(&mut self, statement: Statement<'_>) -> sqlx::Result<u64> {
        Ok(statement.execute(&mut *self.conn).await?.rows_affected())
    }

    /// Runs a statement that answers at most one row.
    ///
    /// # Errors
    /// Of the database.
    pub async fn optional(&mut self, statement: Statement<'_>) -> sqlx::Result<Option<AnyRow>> {
        statement.fetch_optional(&mut *self.conn).await
    }

    /// Runs a statement that answers rows.
    ///
    /// # Errors
    /// Of the database.
    pub async fn all(&mut self, statement: Statement<'_>) -> sqlx::Result<Vec<AnyRow>> {
        statement.fetch_all(&mut *self.conn).await
    }

    /// Adds an event to the log.
    pub fn event(&mut self, event: NewEvent) {
        self.events.push(event);
    }

    /// Adds an entry to a task's stream. The caller has counted it in `tasks.entries`.
    pub fn entry(&mut self, task: TaskId, entry: StreamEntry) {
        self.entries.push((task, entry));
    }

    /// Adds an entry that the server itself writes.
    pub fn note(&mut self, task: TaskId, task_seq: u64, attempt: u64, at: Timestamp, kind: EntryKind, data: &impl Serialize) {
        let data = serde_json::value::to_raw_value(data).unwrap_or_else(|_| RawValue::NULL.to_owned());
        self.entry(task, StreamEntry { task_seq, attempt, at, kind, data });
    }

    /// Wakes somebody after the commit.
    pub fn wake(&mut self, wake: Wake) {
        self.wakes.push(wake);
    }

    /// Writes what was collected; the last step before the commit. Answers the head of the log and whom to wake.
    pub(super) async fn finish(mut self, new_id: &mut (dyn FnMut(Timestamp) -> EventId + Send)) -> sqlx::Result<(u64, Vec<Wake>)> {
        self.write_entries().await?;
        let head = self.write_events(new_id).await?;
        Ok((head, self.wakes))
    }

    async fn write_entries(&mut self) -> sqlx::Result<()> {
        if self.entries.is_empty() {
            return Ok(());
        }
        let rows: Vec<_> = self
            .entries
            .drain(..)
            .map(|(task, e)| json!({"t": task, "s": e.task_seq, "n": e.attempt, "a": e.at.0, "k": e.kind, "d": e.data.get()}))
            .collect();
        self.execute(INSERT_ENTRIES.on(self.dialect).bind(to_json(&rows))).await?;
        Ok(())
    }

    /// Takes the places in the log as late as can be: from here to the commit the head is locked.
    async fn write_events(&mut self, new_id: &mut (dyn FnMut(Timestamp) -> EventId + Send)) -> sqlx::Result<u64> {
        if self.events.is_empty() {
            return Ok(0);
        }
        let events = std::mem::take(&mut self.events);
        for event in &events {
            metrics::counter!(metric::EVENTS, "type" => event.kind).increment(1);
        }
        let count = events.len() as u64;
        let row = ADVANCE_HEAD.on(self.dialect).bind(to_int(count)).fetch_one(&mut *self.conn).await?;
        let (head, shared) = (row.count("seq")?, row.count("shared")?);
        let rows: Vec<_> = (1..)
            .zip(events)
            .map(|(n, e)| {
                json!({"s": head - count + n, "o": shared - count + n, "i": new_id(e.at), "k": e.kind, "b": e.subject,
                    "a": e.at.0, "d": to_json(&e.data)})
            })
            .collect();
        let statement = INSERT_EVENTS.on(self.dialect).bind(to_json(&rows));
        let statement = statement.bind(self.identity.server_id.to_string()).bind(self.identity.epoch.clone());
        self.execute(statement).await?;
        Ok(head)
    }
}
