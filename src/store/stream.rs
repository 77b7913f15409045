//! Task streams: taking in a worker's entries, and reading them.

use super::row::{Columns as _, to_int};
use super::sql::statements;
use super::{Store, StoreError, Tx, Write};
use crate::events::Wake;
use muster_protocol::ids::{InstanceId, TaskId, WorkerId};
use muster_protocol::stream::{Entry, StreamEntry};
use muster_protocol::time::Timestamp;
use serde_json::value::RawValue;
use sqlx::any::AnyRow;

/// Takes in entries of an attempt.
#[derive(Debug, Clone)]
pub struct AppendEntries {
    /// The task.
    pub task: TaskId,
    /// Who sends.
    pub worker: WorkerId,
    /// Its start of the daemon; plain workers have none.
    pub instance: Option<InstanceId>,
    /// The attempt; a plain worker's current one if absent.
    pub attempt: Option<u64>,
    /// In order, without gaps. A plain worker's have no numbers of their own and are taken as the next ones.
    pub entries: Vec<Entry>,
    /// `seq` of the first; the next one if absent.
    pub first_seq: Option<u64>,
    /// When.
    pub now: Timestamp,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppendOutcome {
    /// There is no such task.
    NotFound,
    /// Taken in, now or before.
    Taken {
        /// The `seq` expected next.
        next_seq: u64,
        /// The attempt.
        attempt: u64,
        /// Whether the task was shown as disconnected.
        was_disconnected: bool,
    },
    /// The attempt is not the worker's current one.
    Stale,
    /// A newer start of the worker's daemon has registered.
    Superseded,
    /// Entries before these are missing.
    Gap {
        /// The `seq` expected next.
        next_seq: u64,
    },
}

statements! {
    COUNT_IN_TASK: "UPDATE tasks SET entries = entries + $2, updated_at = $3 WHERE id = $1 RETURNING entries";
    COUNT_IN_ATTEMPT: "UPDATE attempts SET next_seq = $3, bytes = $4, hash = $5 WHERE task_id = $1 AND attempt = $2";
    HOLDER: "SELECT attempt, held, holder, disconnected_at FROM tasks WHERE id = $1";
    AFTER: "SELECT task_seq, attempt, at, kind, data FROM stream_entries WHERE task_id = $1 AND task_seq > $2 ORDER BY task_seq LIMIT $3";
}

impl Write for AppendEntries {
    const NAME: &'static str = "append_entries";
    type Output = AppendOutcome;

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<AppendOutcome> {
        let Some(row) = tx.optional(HOLDER.on(tx.dialect()).bind(self.task.to_string())).await? else {
            return Ok(AppendOutcome::NotFound);
        };
        let number = self.attempt.unwrap_or(row.count("attempt")?);
        let is_holder = row.flag("held")? && row.maybe_text("holder")?.as_deref() == Some(self.worker.as_str());
        if !is_holder || row.count("attempt")? != number {
            return Ok(AppendOutcome::Stale);
        }
        if tx.is_superseded(&self.worker, self.instance).await? {
            return Ok(AppendOutcome::Superseded);
        }
        let was_disconnected = row.maybe_int("disconnected_at")?.is_some();
        let Some(attempt) = tx.attempt(self.task, number).await? else { return Ok(AppendOutcome::Stale) };
        let first_seq = self.first_seq.unwrap_or(attempt.next_seq);
        if first_seq > attempt.next_seq {
            return Ok(AppendOutcome::Gap { next_seq: attempt.next_seq });
        }
        let known = usize::try_from(attempt.next_seq - first_seq).unwrap_or(usize::MAX);
        let new = self.entries.get(known..).unwrap_or_default();
        let next_seq = attempt.next_seq + new.len() as u64;
        if !new.is_empty() {
            let mut digest = attempt.digest;
            for entry in new {
                digest.add(entry);
            }
            self.store(tx, number, new).await?;
            let count = COUNT_IN_ATTEMPT.on(tx.dialect()).bind(self.task.to_string()).bind(to_int(number)).bind(to_int(next_seq));
            tx.execute(count.bind(to_int(digest.bytes)).bind(digest.hash)).await?;
            tx.wake(Wake::Task(self.task));
        }
        Ok(AppendOutcome::Taken { next_seq, attempt: number, was_disconnected })
    }
}

impl AppendEntries {
    async fn store(&self, tx: &mut Tx<'_>, attempt: u64, entries: &[Entry]) -> sqlx::Result<()> {
        let count = entries.len() as u64;
        let statement = COUNT_IN_TASK.on(tx.dialect()).bind(self.task.to_string()).bind(to_int(count)).bind(self.now.0);
        let last = tx.optional(statement).await?.ok_or(sqlx::Error::RowNotFound)?.count("entries")?;
        for (task_seq, entry) in (last - count + 1..).zip(entries) {
            let (at, kind, data) = (entry.at, entry.kind.clone(), entry.data.clone());
            tx.entry(self.task, StreamEntry { task_seq, attempt, at, kind, data });
        }
        Ok(())
    }
}

fn read(row: &AnyRow) -> sqlx::Result<StreamEntry> {
    Ok(StreamEntry {
        task_seq: row.count("task_seq")?,
        attempt: row.count("attempt")?,
        at: row.time("at")?,
        kind: row.text("kind")?.as_str().into(),
        data: RawValue::from_string(row.text("data")?).map_err(|e| super::row::wrong("data", e.to_string()))?,
    })
}

impl Store {
    /// Up to `limit` entries of a task after a place.
    ///
    /// # Errors
    /// Of the database.
    pub async fn entries(&self, task: TaskId, after: u64, limit: u32) -> Result<Vec<StreamEntry>, StoreError> {
        let query = AFTER.on(self.dialect()).bind(task.to_string()).bind(to_int(after)).bind(i64::from(limit));
        let rows = query.fetch_all(self.readers()).await?;
        Ok(rows.iter().map(read).collect::<sqlx::Result<_>>()?)
    }
}
