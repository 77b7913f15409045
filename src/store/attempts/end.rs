//! The two ways in which an attempt ends: with the task, or with the task back in the queue.

use super::super::Tx;
use super::super::row::Columns as _;
use super::super::sql::statements;
use super::super::tasks::TaskRecord;
use super::super::tx::NewEvent;
use super::state;
use crate::events::Wake;
use muster_protocol::event::kind;
use muster_protocol::ids::{CodebaseId, SessionId, WorkerId};
use muster_protocol::stream::{EntryKind, FileChange, StatusNote};
use muster_protocol::task::{TaskState, Usage};
use muster_protocol::time::Timestamp;
use serde_json::json;

statements! {
    // The worker of the conversation's next turn, which is told that it may begin.
    NEXT_TURN: "SELECT target_worker FROM tasks WHERE context_id = $1 AND completed_at IS NULL AND id <> $2 ORDER BY id LIMIT 1";
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
    /// Does it, and answers the task as it is then.
    pub(in crate::store) async fn apply(self, tx: &mut Tx<'_>) -> sqlx::Result<TaskRecord> {
        let Self { record, end, now } = self;
        let task = &record.task;
        if record.held {
            end_attempt(tx, record, end.outcome(), now).await?;
        }
        let end = &end;
        let ended = tx.change_task(task.id, |record| {
            record.held = false;
            record.disconnected_at = None;
            let task = &mut record.task;
            task.state = end.state;
            task.result.clone_from(&end.result);
            task.error.clone_from(&end.error);
            task.error_code.clone_from(&end.error_code);
            task.session_id = end.session_id.clone().or_else(|| task.session_id.take());
            task.usage = end.usage;
            task.changes.clone_from(&end.changes);
            (task.verified, task.confirmed) = (end.verified, end.confirmed);
            task.entries += 1;
            (task.updated_at, task.completed_at) = (now, Some(now));
        });
        let ended = ended.await?;
        // Of a worker's task the stream has told the result before.
        let said = end.result.clone().filter(|_| record.is_own());
        let note = StatusNote {
            state: end.state.as_str().to_owned(),
            message: end.error.clone().or(said),
            code: end.error_code.clone(),
            ..StatusNote::default()
        };
        tx.note(task.id, ended.task.entries, task.attempt, now, EntryKind::Status, &note);
        let (kind, subject) = (event_of(end.state), format!("tasks/{}", task.id));
        tx.event(NewEvent { kind, subject, at: now, data: summary(record, end, now) });
        wake(tx, record);
        wake_next_turn(tx, &ended).await?;
        Ok(ended)
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
            return FinishTask { record, end: End::codebase_removed(codebase), now }.apply(tx).await.map(drop);
        }
        end_attempt(tx, record, outcome, now).await?;
        let requeued = tx.change_task(task.id, |record| {
            (record.held, record.holder, record.runs_in, record.disconnected_at) = (false, None, None, None);
            record.losses += u32::from(lost);
            record.continuation = continuation;
            (record.target_worker, record.target_codebase) = (worker.clone(), codebase);
            record.task.state = TaskState::Submitted;
            record.task.started_at = None;
            record.task.entries += 1;
            record.task.updated_at = now;
        });
        let entries = requeued.await?.task.entries;
        let state = TaskState::Submitted.as_str().to_owned();
        let note =
            StatusNote { state, message: Some(format!("attempt {} {outcome}; queued again", task.attempt)), ..StatusNote::default() };
        tx.note(task.id, entries, task.attempt, now, EntryKind::Status, &note);
        let data = json!({ "attempt": task.attempt, "outcome": outcome, "worker_id": record.holder, "continuation": continuation });
        tx.event(NewEvent { kind: kind::TASK_REQUEUED, subject: format!("tasks/{}", task.id), at: now, data });
        wake(tx, record);
        tx.wake(worker.map_or(Wake::AnyWorker, Wake::Worker));
        Ok(())
    }
}

async fn end_attempt(tx: &mut Tx<'_>, record: &TaskRecord, outcome: &str, now: Timestamp) -> sqlx::Result<()> {
    tx.void_interactions(record, now).await?;
    tx.change_attempt(record.task.id, record.task.attempt, |attempt| {
        state::ENDED.clone_into(&mut attempt.state);
        attempt.outcome = Some(outcome.to_owned());
        attempt.ended_at = Some(now);
    })
    .await
}

/// Tells the worker of the conversation's next turn. One that is submitted in the same batch tells it itself.
async fn wake_next_turn(tx: &mut Tx<'_>, ended: &TaskRecord) -> sqlx::Result<()> {
    let id = ended.task.id;
    if !tx.known(id).await?.is_none_or(|known| known.turn_waits) {
        return Ok(());
    }
    let next = NEXT_TURN.on(tx.dialect()).bind(ended.task.context_id.0.clone()).bind(id.to_string());
    if let Some(row) = tx.optional(next).await? {
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
