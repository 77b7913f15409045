//! Task streams: taking in a worker's entries, and reading them.

use super::row::{Columns as _, to_int};
use super::sql::statements;
use super::{ReadAhead, Store, StoreError, Tx, Write};
use crate::events::Wake;
use muster_protocol::ids::{InstanceId, TaskId, WorkerId};
use muster_protocol::stream::{Entry, EntryKind, StreamEntry};
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
    AFTER: "SELECT task_seq, attempt, at, kind, data FROM stream_entries WHERE task_id = $1 AND task_seq > $2 ORDER BY task_seq LIMIT $3";
}

impl Write for AppendEntries {
    const NAME: &'static str = "append_entries";
    type Output = AppendOutcome;

    fn reads(&self, ahead: &mut ReadAhead) {
        ahead.tasks.push(self.task);
    }

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<AppendOutcome> {
        let Some(known) = tx.known(self.task).await? else { return Ok(AppendOutcome::NotFound) };
        let record = &known.record;
        let number = self.attempt.unwrap_or(record.task.attempt);
        let is_holder = record.held && record.holder.as_ref() == Some(&self.worker);
        let Some(attempt) = known.attempt.as_ref().filter(|newest| is_holder && newest.attempt == number) else {
            return Ok(AppendOutcome::Stale);
        };
        if known.is_superseded(self.instance) {
            return Ok(AppendOutcome::Superseded);
        }
        let was_disconnected = record.disconnected_at.is_some();
        let expected = attempt.next_seq;
        let first_seq = self.first_seq.unwrap_or(expected);
        if first_seq > expected {
            return Ok(AppendOutcome::Gap { next_seq: expected });
        }
        let taken_before = usize::try_from(expected - first_seq).unwrap_or(usize::MAX);
        let new = self.entries.get(taken_before..).unwrap_or_default();
        if !new.is_empty() {
            self.store(tx, number, new).await?;
        }
        Ok(AppendOutcome::Taken { next_seq: expected + new.len() as u64, attempt: number, was_disconnected })
    }
}

impl AppendEntries {
    async fn store(&self, tx: &mut Tx<'_>, number: u64, entries: &[Entry]) -> sqlx::Result<()> {
        let count = entries.len() as u64;
        let last = tx.count_entries(self.task, count, self.now).await?;
        tx.change_attempt(self.task, number, |attempt| {
            attempt.next_seq += count;
            for entry in entries {
                attempt.digest.add(entry);
            }
        })
        .await?;
        for (task_seq, entry) in (last - count + 1..).zip(entries) {
            let (at, kind, data) = (entry.at, entry.kind.clone(), entry.data.clone());
            tx.entry(self.task, &StreamEntry { task_seq, attempt: number, at, kind, data });
        }
        for note in entries.iter().filter(|entry| entry.kind == EntryKind::Interaction) {
            // What has another shape is for viewers only.
            if let Ok(note) = serde_json::from_str(note.data.get()) {
                tx.follow_interaction(self.task, number, &note, self.now).await?;
            }
        }
        tx.wake(Wake::Task(self.task));
        Ok(())
    }
}

pub(in crate::store) fn read(row: &AnyRow) -> sqlx::Result<StreamEntry> {
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
