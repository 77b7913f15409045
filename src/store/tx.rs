//! A transaction under way: what it has read, what it is going to write, and the statements that do neither ahead of time nor together.

mod known;
mod table;
mod waiting;

pub(in crate::store) use known::{Known, KnownKey};

use super::claim::{Look, View};
use super::contexts::Context;
use super::identity::Identity;
use super::row::to_json;
use super::sql::{Dialect, Sql, Statement};
use crate::domain::federation::Shared;
use crate::events::Wake;
use crate::telemetry::metric;
use muster_protocol::event::Event;
use muster_protocol::ids::{CodebaseId, EventId, PrincipalId, TaskId, WorkerId};
use muster_protocol::stream::{EntryKind, StreamEntry};
use muster_protocol::task::TaskState;
use muster_protocol::time::Timestamp;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;
use std::collections::BTreeSet;
use waiting::Waiting;

/// An event that is to be written. Its place in the log is given with the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// What the writes of a batch say they will read, so that it is read for all of them together.
#[derive(Debug, Default)]
pub struct ReadAhead {
    /// Tasks.
    pub tasks: Vec<TaskId>,
    /// Codebases.
    pub codebases: Vec<CodebaseId>,
    /// Workers that register, and their codebases.
    pub workers: Vec<WorkerId>,
    /// Idempotency keys.
    pub keys: Vec<(PrincipalId, String)>,
    /// Looks into the queue.
    pub looks: Vec<Look>,
}

/// The head of the event log: the place of its newest event, and that among those which other servers may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Head {
    pub(in crate::store) seq: u64,
    pub(in crate::store) shared: u64,
}

/// The transaction of a batch.
pub struct Tx<'c> {
    conn: &'c mut AnyConnection,
    dialect: Dialect,
    identity: &'c Identity,
    shared: &'c Shared,
    new_id: &'c mut (dyn FnMut(Timestamp) -> EventId + Send),
    known: Known,
    waiting: Waiting,
    head: Head,
    begun_at: Head,
    /// Looks that are announced, and what those found that were read already.
    pub(in crate::store) looks: Vec<Look>,
    pub(in crate::store) views: Vec<View>,
    wakes: Vec<Wake>,
}

/// What a transaction leaves behind, once it is committed.
pub(in crate::store) struct Done {
    /// The head of the log.
    pub(in crate::store) head: Head,
    /// Whether it has new events.
    pub(in crate::store) has_events: bool,
    /// Whom to wake.
    pub(in crate::store) wakes: Vec<Wake>,
    /// Rows that are as they are stored.
    pub(in crate::store) known: Known,
}

/// The statements of all files of this module.
pub(in crate::store) fn all() -> impl Iterator<Item = (&'static str, Sql)> {
    known::ALL.iter().copied().chain([("WRITE_ALL", table::write_all())])
}

impl<'c> Tx<'c> {
    pub(super) fn new(
        conn: &'c mut AnyConnection,
        dialect: Dialect,
        (identity, shared): (&'c Identity, &'c Shared),
        new_id: &'c mut (dyn FnMut(Timestamp) -> EventId + Send),
        known: Known,
        head: Head,
    ) -> Self {
        let (waiting, looks, views, wakes) = (Waiting::default(), Vec::new(), Vec::new(), Vec::new());
        Self { conn, dialect, identity, shared, new_id, known, waiting, head, begun_at: head, looks, views, wakes }
    }

    /// Reads what the writes of the batch will ask for.
    pub(super) async fn read_ahead(&mut self, ahead: ReadAhead) -> sqlx::Result<()> {
        self.read_tasks(ahead.tasks).await?;
        self.read_codebases(ahead.codebases).await?;
        self.read_registered(ahead.workers).await?;
        self.read_keys(ahead.keys).await?;
        self.looks = ahead.looks;
        Ok(())
    }

    /// Which database it is.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Runs a statement that changes rows; answers how many. Whatever was read is read again after it.
    ///
    /// # Errors
    /// Of the database.
    pub async fn execute(&mut self, statement: Statement<'_>) -> sqlx::Result<u64> {
        self.write_waiting().await?;
        self.forget();
        Ok(statement.execute(&mut *self.conn).await?.rows_affected())
    }

    /// Runs a statement that changes rows and answers some. Whatever was read is read again after it.
    ///
    /// # Errors
    /// Of the database.
    pub async fn execute_returning(&mut self, statement: Statement<'_>) -> sqlx::Result<Vec<AnyRow>> {
        self.write_waiting().await?;
        self.forget();
        statement.fetch_all(&mut *self.conn).await
    }

    /// Runs a statement that changes nothing of what is known here: tasks, attempts, conversations, codebases, workers.
    ///
    /// # Errors
    /// Of the database.
    pub async fn execute_aside(&mut self, statement: Statement<'_>) -> sqlx::Result<u64> {
        self.write_waiting().await?;
        Ok(statement.execute(&mut *self.conn).await?.rows_affected())
    }

    /// Reads at most one row.
    ///
    /// # Errors
    /// Of the database.
    pub async fn optional(&mut self, statement: Statement<'_>) -> sqlx::Result<Option<AnyRow>> {
        self.write_waiting().await?;
        statement.fetch_optional(&mut *self.conn).await
    }

    /// Reads rows.
    ///
    /// # Errors
    /// Of the database.
    pub async fn all(&mut self, statement: Statement<'_>) -> sqlx::Result<Vec<AnyRow>> {
        self.write_waiting().await?;
        statement.fetch_all(&mut *self.conn).await
    }

    fn forget(&mut self) {
        self.known.forget();
        self.views.clear();
    }

    /// Adds an event to the log.
    pub fn event(&mut self, event: NewEvent) {
        let NewEvent { kind, subject, at, data } = event;
        metrics::counter!(metric::EVENTS, "type" => kind).increment(1);
        let is_shared = self.shared.has(kind);
        self.head = Head { seq: self.head.seq + 1, shared: self.head.shared + u64::from(is_shared) };
        let (origin, epoch, data) = (self.identity.server_id, &self.identity.epoch, to_json(&data));
        let number = is_shared.then_some(self.head.shared);
        let columns = (self.head.seq, (self.new_id)(at), origin, epoch, number, kind, subject, at.0, data);
        self.waiting.add_event(&columns);
    }

    /// Adds an event of another server to the log.
    pub fn event_of_others(&mut self, event: &Event) {
        self.head.seq += 1;
        let Event { id, origin, epoch, originseq, kind, subject, time, data, .. } = event;
        self.waiting.add_event(&(self.head.seq, id, origin, epoch, originseq, kind, subject, time.0, to_json(data)));
    }

    /// Adds an entry to a task's stream. The caller has counted it.
    pub fn entry(&mut self, task: TaskId, entry: &StreamEntry) {
        self.waiting.add_entry(task, entry);
    }

    /// Adds an entry that the server itself writes.
    pub fn note(&mut self, task: TaskId, task_seq: u64, attempt: u64, at: Timestamp, kind: EntryKind, data: &impl Serialize) {
        let data = serde_json::value::to_raw_value(data).unwrap_or_else(|_| RawValue::NULL.to_owned());
        self.entry(task, &StreamEntry { task_seq, attempt, at, kind, data });
    }

    /// Wakes somebody after the commit.
    pub fn wake(&mut self, wake: Wake) {
        self.wakes.push(wake);
    }

    /// Begins a conversation.
    pub(in crate::store) fn insert_context(&mut self, context: &Context, now: Timestamp) {
        self.waiting.add_context(context, now);
    }

    /// Adds a task, given as its columns.
    pub(in crate::store) async fn insert_task(&mut self, owner: &PrincipalId, state: TaskState, columns: &Value) -> sqlx::Result<()> {
        self.waiting.add_task(columns);
        self.waiting.count_tasks(owner, state, 1);
        if self.waiting.is_large() { self.write_waiting().await } else { Ok(()) }
    }

    /// Puts a worker, given as its columns.
    pub(in crate::store) async fn put_worker(&mut self, columns: &Value, models: &BTreeSet<&str>, id: &WorkerId) -> sqlx::Result<()> {
        self.waiting.add_worker(columns);
        self.wake(Wake::Registry);
        for model in models {
            self.waiting.add_model(id, model);
        }
        if self.waiting.is_large() { self.write_waiting().await } else { Ok(()) }
    }

    /// Adds a codebase of a worker, given as its columns. If that worker registers in the same batch, its codebases are read again.
    pub(in crate::store) fn insert_codebase(&mut self, worker: &WorkerId, columns: &Value) {
        self.waiting.add_codebase(columns);
        self.known.forget_registered(worker);
    }

    /// Writes all that waits and forgets what was read: it may be something else now.
    pub(in crate::store) async fn read_again(&mut self) -> sqlx::Result<()> {
        self.write_waiting().await?;
        self.forget();
        Ok(())
    }

    /// Writes all that waits, so that the next statement sees it.
    pub(in crate::store) async fn write_waiting(&mut self) -> sqlx::Result<()> {
        if self.waiting.is_empty() && !self.known.is_changed() {
            return Ok(());
        }
        let mut waiting = std::mem::take(&mut self.waiting);
        self.known.take_changes(|known, task, attempt| waiting.add_changes(known, task, attempt));
        if self.head != self.begun_at {
            waiting.set_head(self.head.seq, self.head.shared);
        }
        waiting.statement(self.dialect).execute(&mut *self.conn).await?;
        Ok(())
    }

    /// Writes what is left; the last step before the commit. PostgreSQL remembers the batch.
    pub(super) async fn finish(mut self, batch: &str, now: Timestamp, kept_from: Timestamp) -> sqlx::Result<Done> {
        if self.dialect == Dialect::Postgres {
            self.waiting.set_batch(batch, now, kept_from);
        }
        self.write_waiting().await?;
        self.known.keep();
        Ok(Done { head: self.head, has_events: self.head != self.begun_at, wakes: self.wakes, known: self.known })
    }
}
