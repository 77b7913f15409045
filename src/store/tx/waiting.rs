//! The rows that a batch writes: they go to the database together, in one statement, because the way there costs more than a row.

use super::known::{AttemptChange, KnownTask, TaskChange};
use crate::store::attempts::Attempt;
use crate::store::contexts::Context;
use crate::store::row::{JsonRows, to_json};
use crate::store::sql::{Dialect, Statement};
use crate::store::tasks::TaskRecord;
use muster_protocol::ids::{CodebaseId, PrincipalId, TaskId, WorkerId};
use muster_protocol::stream::StreamEntry;
use muster_protocol::task::TaskState;
use muster_protocol::time::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// With how many bytes the rows are written without waiting for more.
const MOST_BYTES: usize = 1 << 20;

/// The rows that wait, in the order of the statement's parameters; each is an array of its columns, as `table.rs` lists them.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    contexts: JsonRows,
    tasks: JsonRows,
    changed_tasks: JsonRows,
    counted_tasks: JsonRows,
    attempts: JsonRows,
    changed_attempts: JsonRows,
    entries: JsonRows,
    events: JsonRows,
    head: JsonRows,
    workers: JsonRows,
    codebases: JsonRows,
    keys: JsonRows,
    models: JsonRows,
    /// How many tasks of an owner are more, or fewer, in a state.
    counts: BTreeMap<(PrincipalId, &'static str), i64>,
    batch: JsonRows,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        let rows = [&self.contexts, &self.tasks, &self.changed_tasks, &self.counted_tasks, &self.attempts, &self.changed_attempts];
        let others = [&self.entries, &self.events, &self.workers, &self.codebases, &self.keys, &self.models, &self.batch];
        rows.iter().chain(&others).all(|rows| rows.is_empty())
    }

    /// Whether there is so much that it should not wait for more.
    pub(super) fn is_large(&self) -> bool {
        self.tasks.bytes() + self.entries.bytes() + self.workers.bytes() > MOST_BYTES
    }

    /// The statement that writes it.
    pub(super) fn statement(self, dialect: Dialect) -> Statement<'static> {
        let rows = [self.contexts, self.tasks, self.changed_tasks, self.counted_tasks, self.attempts, self.changed_attempts];
        let mut statement = super::table::write_all().on(dialect);
        let mut counts = JsonRows::default();
        for ((owner, state), n) in self.counts.iter().filter(|(_, n)| **n != 0) {
            counts.push(&(owner, state, n));
        }
        let others = [self.entries, self.events, self.head, self.workers, self.codebases, self.keys, self.models, counts];
        for rows in rows.into_iter().chain(others) {
            statement = statement.bind(rows.into_text());
        }
        if dialect == Dialect::Postgres { statement.bind(self.batch.into_text()) } else { statement }
    }

    /// A new conversation.
    pub(super) fn add_context(&mut self, context: &Context, now: Timestamp) {
        let Context { id, owner, worker_id, codebase_id, session_id, fork_of } = context;
        self.contexts.push(&(id, owner, worker_id, codebase_id, session_id, fork_of, now.0, now.0));
    }

    /// A new task.
    pub(super) fn add_task(&mut self, columns: &Value) {
        self.tasks.push(columns);
    }

    /// So many tasks more of an owner are in a state.
    pub(super) fn count_tasks(&mut self, owner: &PrincipalId, state: TaskState, more: i64) {
        *self.counts.entry((owner.clone(), state.as_str())).or_default() += more;
    }

    /// An entry of a stream.
    pub(super) fn add_entry(&mut self, task: TaskId, entry: &StreamEntry) {
        self.entries.push(&(task, entry.task_seq, entry.attempt, entry.at.0, &entry.kind, entry.data.get()));
    }

    /// An event of the log.
    pub(super) fn add_event(&mut self, columns: &impl Serialize) {
        self.events.push(columns);
    }

    /// A worker as it registered.
    pub(super) fn add_worker(&mut self, columns: &Value) {
        self.workers.push(columns);
    }

    /// A new codebase.
    pub(super) fn add_codebase(&mut self, columns: &Value) {
        self.codebases.push(columns);
    }

    /// With which key a task was submitted.
    pub(super) fn add_key(&mut self, columns: &impl Serialize) {
        self.keys.push(columns);
    }

    /// A model of a worker.
    pub(super) fn add_model(&mut self, worker: &WorkerId, model: &str) {
        self.models.push(&(worker, model));
    }

    /// The head of the log after the events.
    pub(super) fn set_head(&mut self, seq: u64, shared: u64) {
        self.head = JsonRows::default();
        self.head.push(&(1, seq, shared));
    }

    /// The batch itself, and before when others are forgotten.
    pub(super) fn set_batch(&mut self, id: &str, now: Timestamp, kept_from: Timestamp) {
        self.batch.push(&(id, now.0, kept_from.0));
    }

    /// What was changed of a task and its newest attempt.
    pub(super) fn add_changes(&mut self, known: &KnownTask, task: TaskChange, attempt: AttemptChange) {
        let record = &known.record;
        match task {
            TaskChange::None => {}
            TaskChange::Counted => self.counted_tasks.push(&(record.task.id, record.task.entries, record.task.updated_at.0)),
            TaskChange::Changed => self.changed_tasks.push(&changed_task(record)),
        }
        if let Some(newest) = &known.attempt {
            match attempt {
                AttemptChange::None => {}
                AttemptChange::New => self.attempts.push(&new_attempt(record.task.id, newest)),
                AttemptChange::Changed => self.changed_attempts.push(&changed_attempt(record.task.id, newest)),
            }
        }
    }
}

/// Columns that must not be NULL hold '' for nothing.
fn or_nothing(text: Option<&str>) -> &str {
    text.unwrap_or_default()
}

fn changed_task(record: &TaskRecord) -> Value {
    let task = &record.task;
    json!([
        task.id,
        task.state.as_str(),
        i64::from(record.held),
        record.holder,
        task.attempt,
        or_nothing(record.runs_in.as_ref().map(CodebaseId::as_str)),
        i64::from(record.writing),
        task.session_id,
        task.started_at.map(ms),
        record.disconnected_at.map(ms),
        record.cancel_asked_at.map(ms),
        task.confirmed.map(i64::from),
        task.verified.map(i64::from),
        task.result,
        task.error,
        task.error_code,
        task.usage.as_ref().map(to_json),
        to_json(&task.changes),
        task.entries,
        ms(task.updated_at),
        task.completed_at.map(ms),
        record.losses,
        i64::from(record.continuation),
        or_nothing(record.target_worker.as_ref().map(WorkerId::as_str)),
        or_nothing(record.target_codebase.as_ref().map(CodebaseId::as_str)),
    ])
}

/// A time as a column holds it.
fn ms(time: Timestamp) -> i64 {
    time.0
}

fn new_attempt(task: TaskId, attempt: &Attempt) -> Value {
    json!([
        task,
        attempt.attempt,
        attempt.worker_id,
        attempt.instance,
        attempt.state,
        attempt.outcome,
        attempt.session_id,
        ms(attempt.assigned_at),
        attempt.started_at.map(ms),
        attempt.ended_at.map(ms),
        attempt.next_seq,
        attempt.digest.bytes,
        attempt.digest.hash,
    ])
}

fn changed_attempt(task: TaskId, attempt: &Attempt) -> Value {
    json!([
        task,
        attempt.attempt,
        attempt.instance,
        attempt.state,
        attempt.outcome,
        attempt.session_id,
        attempt.started_at.map(ms),
        attempt.ended_at.map(ms),
        attempt.next_seq,
        attempt.digest.bytes,
        attempt.digest.hash,
    ])
}
