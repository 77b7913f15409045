//! The two ways in which an attempt ends: with the task, or with the task back in the queue.

use super::super::Tx;
use super::super::row::{Columns as _, to_int, to_json};
use super::super::sql::statements;
use super::super::tasks::TaskRecord;
use super::super::tx::NewEvent;
use crate::events::Wake;
use muster_protocol::event::kind;
use muster_protocol::ids::{CodebaseId, SessionId, WorkerId};
use muster_protocol::stream::{EntryKind, FileChange, StatusNote};
use muster_protocol::task::{TaskState, Usage};
use muster_protocol::time::Timestamp;
use serde_json::json;

statements! {
    END_ATTEMPT: "UPDATE attempts SET state = 'ended', outcome = $3, ended_at = $4 WHERE task_id = $1 AND attempt = $2";
    FINISH: "UPDATE tasks SET state = $2, held = 0, result = $3, error = $4, error_code = $5, session_id = COALESCE($6, session_id),
        usage = $7, changes = $8, verified = $9, cancel_confirmed = $10, disconnected_at = NULL, entries = entries + 1, updated_at = $11,
        completed_at = $11 WHERE id = $1";
    REQUEUE: "UPDATE tasks SET state = 'submitted', held = 0, holder = NULL, codebase_id = '', losses = $2, continuation = $3,
        target_worker = $4, target_codebase = $5, disconnected_at = NULL, started_at = NULL, entries = entries + 1, updated_at = $6
        WHERE id = $1";
    NEXT_TURN: "SELECT target_worker FROM tasks WHERE context_id = $1 AND completed_at IS NULL ORDER BY id LIMIT 1";
}

/// The stable code of a task whose worker was lost.
pub(in crate::store) const WORKER_LOST: &str = "worker_lost";
/// The stable code of a task that has not ended by its deadline.
pub(in crate::store) const DEADLINE_EXCEEDED: &str = "deadline_exceeded";
/// The outcome of an attempt whose worker was lost.
pub(in crate::store) const LOST: &str = "lost";
/// The outcome of an attempt that was lost before it was started.
pub(in crate::store) const EXPIRED: &str = "expired";
/// The outcome of an attempt that its worker gave back.
pub(in crate::store) const HANDED_BACK: &str = "handed_back";

/// How a task ends.
#[derive(Debug, Clone)]
pub(in crate::store) struct End {
    /// A terminal state.
    pub(in crate::store) state: TaskState,
    /// The answer.
    pub(in crate::store) result: Option<String>,
    /// Why it failed.
    pub(in crate::store) error: Option<String>,
    /// The stable code of the failure.
    pub(in crate::store) error_code: Option<String>,
    /// The session it ran in.
    pub(in crate::store) session_id: Option<SessionId>,
    /// Tokens and cost.
    pub(in crate::store) usage: Option<Usage>,
    /// The files it changed.
    pub(in crate::store) changes: Vec<FileChange>,
    /// Whether the stored output is what the worker sent.
    pub(in crate::store) verified: Option<bool>,
    /// Whether nothing of a canceled run is left.
    pub(in crate::store) confirmed: Option<bool>,
}

impl End {
    /// How a task ends that had not ended by its deadline.
    pub(in crate::store) fn overdue() -> Self {
        Self::without_result(TaskState::Failed, Some("the task had not ended by its deadline"), Some(DEADLINE_EXCEEDED))
    }

    /// How a task ends whose cancel was carried out or given up: it was its deadline that asked for it, or somebody.
    pub(in crate::store) fn by_cancel(record: &TaskRecord, confirmed: bool, now: Timestamp) -> Self {
        let asked_at = record.cancel_asked_at.unwrap_or(now);
        if record.task.deadline.is_some_and(|deadline| deadline <= asked_at) {
            return Self::overdue();
        }
        Self { confirmed: Some(confirmed), ..Self::without_result(TaskState::Canceled, None, None) }
    }

    /// What the attempt keeps of it. A lost run is told from one that failed: its worker may still report another end.
    fn outcome(&self) -> &'static str {
        match self.error_code.as_deref() {
            Some(WORKER_LOST) => LOST,
            _ => self.state.as_str(),
        }
    }

    /// A task whose codebase is not in the registry any more.
    pub(in crate::store) fn codebase_removed(codebase: &CodebaseId) -> Self {
        let error = format!("its codebase {codebase} was removed from the registry");
        Self::without_result(TaskState::Failed, Some(&error), Some("codebase_removed"))
    }

    /// An end without a result.
    pub(in crate::store) fn without_result(state: TaskState, error: Option<&str>, code: Option<&str>) -> Self {
        Self {
            state,
            result: None,
            error: error.map(str::to_owned),
            error_code: code.map(str::to_owned),
            session_id: None,
            usage: None,
            changes: Vec::new(),
            verified: None,
            confirmed: None,
        }
    }
}

/// Ends a task, and its attempt if it has one.
pub(in crate::store) struct FinishTask<'a> {
    /// The task as it is.
    pub(in crate::store) record: &'a TaskRecord,
    /// How it ends.
    pub(in crate::store) end: End,
    /// When.
    pub(in crate::store) now: Timestamp,
}

impl FinishTask<'_> {
    pub(in crate::store) async fn apply(self, tx: &mut Tx<'_>) -> sqlx::Result<()> {
        let Self { record, end, now } = self;
        let task = &record.task;
        if record.held {
            end_attempt(tx, record, end.outcome(), now).await?;
        }
        let statement = FINISH
            .on(tx.dialect())
            .bind(task.id.to_string())
            .bind(end.state.as_str())
            .bind(end.result.clone())
            .bind(end.error.clone())
            .bind(end.error_code.clone())
            .bind(end.session_id.as_ref().map(|id| id.0.clone()))
            .bind(end.usage.as_ref().map(to_json))
            .bind(to_json(&end.changes))
            .bind(end.verified.map(i64::from))
            .bind(end.confirmed.map(i64::from))
            .bind(now.0);
        tx.execute(statement).await?;
        let note = StatusNote {
            state: end.state.as_str().to_owned(),
            message: end.error.clone(),
            code: end.error_code.clone(),
            ..StatusNote::default()
        };
        tx.note(task.id, task.entries + 1, task.attempt, now, EntryKind::Status, &note);
        tx.event(NewEvent {
            kind: event_of(end.state),
            subject: format!("tasks/{}", task.id),
            at: now,
            data: self::summary(record, &end, now),
        });
        wake(tx, record);
        wake_next_turn(tx, record).await
    }
}

/// What the event log keeps of an end: no prompt and no result.
fn summary(record: &TaskRecord, end: &End, now: Timestamp) -> serde_json::Value {
    json!({
        "title": record.task.title, "worker_id": record.holder, "attempt": record.task.attempt, "error": end.error,
        "error_code": end.error_code, "usage": end.usage, "files": end.changes.len(), "confirmed": end.confirmed,
        "took_ms": record.task.started_at.map(|started| now.since(started)),
    })
}

fn event_of(state: TaskState) -> &'static str {
    match state {
        TaskState::Completed => kind::TASK_COMPLETED,
        TaskState::Canceled => kind::TASK_CANCELED,
        _ => kind::TASK_FAILED,
    }
}

/// Puts a task back into the queue and ends its attempt.
pub(in crate::store) struct RequeueTask<'a> {
    /// The task as it is.
    pub(in crate::store) record: &'a TaskRecord,
    /// How the attempt ended: `handed_back`, `expired`, `lost`, ..
    pub(in crate::store) outcome: &'static str,
    /// Whether a started attempt was lost.
    pub(in crate::store) lost: bool,
    /// Whether the next attempt continues the session on the same worker.
    pub(in crate::store) continuation: bool,
    /// When.
    pub(in crate::store) now: Timestamp,
}

impl RequeueTask<'_> {
    pub(in crate::store) async fn apply(self, tx: &mut Tx<'_>) -> sqlx::Result<()> {
        let Self { record, outcome, lost, continuation, now } = self;
        let task = &record.task;
        let (worker, codebase) = if continuation {
            (record.holder.clone(), Some(task.codebase_id.clone()))
        } else {
            (record.target_worker.clone(), record.target_codebase.clone())
        };
        if let Some(codebase) = &codebase
            && tx.codebase(codebase).await?.is_none()
        {
            return FinishTask { record, end: End::codebase_removed(codebase), now }.apply(tx).await;
        }
        end_attempt(tx, record, outcome, now).await?;
        let statement = REQUEUE
            .on(tx.dialect())
            .bind(task.id.to_string())
            .bind(i64::from(record.losses + u32::from(lost)))
            .bind(i64::from(continuation))
            .bind(worker.as_ref().map(|id| id.0.clone()).unwrap_or_default())
            .bind(codebase.map(|id| id.0).unwrap_or_default())
            .bind(now.0);
        tx.execute(statement).await?;
        let state = TaskState::Submitted.as_str().to_owned();
        let note =
            StatusNote { state, message: Some(format!("attempt {} {outcome}; queued again", task.attempt)), ..StatusNote::default() };
        tx.note(task.id, task.entries + 1, task.attempt, now, EntryKind::Status, &note);
        let data = json!({ "attempt": task.attempt, "outcome": outcome, "worker_id": record.holder, "continuation": continuation });
        tx.event(NewEvent { kind: kind::TASK_REQUEUED, subject: format!("tasks/{}", task.id), at: now, data });
        wake(tx, record);
        tx.wake(worker.map_or(Wake::AnyWorker, Wake::Worker));
        Ok(())
    }
}

async fn end_attempt(tx: &mut Tx<'_>, record: &TaskRecord, outcome: &str, now: Timestamp) -> sqlx::Result<()> {
    let statement = END_ATTEMPT.on(tx.dialect()).bind(record.task.id.to_string()).bind(to_int(record.task.attempt));
    tx.execute(statement.bind(outcome.to_owned()).bind(now.0)).await.map(|_| ())
}

/// Whoever may take the next turn of the conversation.
async fn wake_next_turn(tx: &mut Tx<'_>, record: &TaskRecord) -> sqlx::Result<()> {
    if let Some(row) = tx.optional(NEXT_TURN.on(tx.dialect()).bind(record.task.context_id.0.clone())).await? {
        let worker = row.text("target_worker")?;
        tx.wake(if worker.is_empty() { Wake::AnyWorker } else { Wake::Worker(WorkerId(worker)) });
    }
    Ok(())
}

/// Its viewers, and its worker, which has a free slot now.
fn wake(tx: &mut Tx<'_>, record: &TaskRecord) {
    tx.wake(Wake::Task(record.task.id));
    if let Some(holder) = record.holder.clone().filter(|_| record.held) {
        tx.wake(Wake::Worker(holder));
    }
}
