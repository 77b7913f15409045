//! Attempts whose worker is not heard of any more, and tasks whose deadline has passed.

use super::super::relays::was_sent;
use super::super::tasks::TaskRecord;
use super::super::tx::NewEvent;
use super::super::{Tx, Write};
use super::cancel::CancelTask;
use super::end::{EXPIRED, End, FinishTask, LOST, RequeueTask, WORKER_LOST};
use crate::domain::loss::{AfterLoss, Loss, decide};
use crate::events::Wake;
use muster_protocol::event::kind;
use muster_protocol::ids::TaskId;
use muster_protocol::stream::{EntryKind, StatusNote};
use muster_protocol::task::TaskState;
use muster_protocol::time::Timestamp;
use serde_json::json;

/// Ends, requeues or marks an attempt that was lost.
#[derive(Debug, Clone)]
pub struct LoseAttempt {
    /// The task.
    pub task: TaskId,
    /// The attempt; if it is not the current one any more, nothing happens.
    pub attempt: u64,
    /// How it was lost.
    pub loss: Loss,
    /// When.
    pub now: Timestamp,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoseOutcome {
    /// The attempt was not the current one any more.
    Stale,
    /// What was decided.
    Decided(AfterLoss),
    /// A cancel had been asked for: the task is canceled, unconfirmed.
    Canceled,
}

impl Write for LoseAttempt {
    const NAME: &'static str = "lose_attempt";
    type Output = LoseOutcome;

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<LoseOutcome> {
        let Some(record) = tx.task(self.task).await? else { return Ok(LoseOutcome::Stale) };
        if !record.held || record.task.attempt != self.attempt {
            return Ok(LoseOutcome::Stale);
        }
        if self.loss == Loss::GaveUp && record.disconnected_at.is_none() {
            // It came back meanwhile.
            return Ok(LoseOutcome::Stale);
        }
        if self.loss == Loss::Untaken && record.task.state != TaskState::Submitted {
            // It was claimed meanwhile.
            return Ok(LoseOutcome::Stale);
        }
        lose(tx, &record, self.loss, None, self.now).await
    }
}

/// Applies the policy of loss to a held task. `said` is what its worker says of it.
pub(in crate::store) async fn lose(
    tx: &mut Tx<'_>,
    record: &TaskRecord,
    loss: Loss,
    said: Option<&str>,
    now: Timestamp,
) -> sqlx::Result<LoseOutcome> {
    let started = record.task.started_at.is_some() || was_sent(tx, record).await?;
    if record.cancel_asked_at.is_some() {
        // A run that was begun may still go on where nobody can see it.
        let confirmed = !started || loss == Loss::Interrupted;
        let end = End::by_cancel(record, confirmed, now);
        FinishTask { record, end, now }.apply(tx).await?;
        return Ok(LoseOutcome::Canceled);
    }
    let losses = record.losses + u32::from(started);
    let after = decide(loss, started, record.task.on_lost, losses, record.task.max_attempts);
    match after {
        AfterLoss::Wait => disconnect(tx, record, now).await?,
        AfterLoss::Requeue | AfterLoss::Continue => {
            let outcome = if started { LOST } else { EXPIRED };
            // A continuation that was not begun is still one: its session holds the interrupted run.
            let continuation = after == AfterLoss::Continue || (!started && record.continuation);
            RequeueTask { record, outcome, lost: started, continuation, now }.apply(tx).await?;
        }
        AfterLoss::Fail => {
            let error = why(record, loss, said);
            let end = End::without_result(TaskState::Failed, Some(&error), Some(WORKER_LOST));
            FinishTask { record, end, now }.apply(tx).await?;
        }
    }
    Ok(LoseOutcome::Decided(after))
}

fn why(record: &TaskRecord, loss: Loss, said: Option<&str>) -> String {
    let worker = record.holder.as_ref().map_or("its worker", |id| id.as_str());
    let session = record.task.session_id.as_ref().map(|id| format!(" (OpenCode session {id})")).unwrap_or_default();
    let what = match loss {
        Loss::Expired | Loss::Untaken | Loss::GaveUp => format!("the worker {worker} was not heard of any more while it ran the task"),
        Loss::Interrupted => format!("the run was interrupted on the worker {worker}"),
        Loss::Left | Loss::Removed => format!("the worker {worker} left while it ran the task"),
    };
    let said = said.map(|said| format!(": {said}")).unwrap_or_default();
    format!("{what}{session}{said}; look at what it left behind, then retry the task")
}

async fn disconnect(tx: &mut Tx<'_>, record: &TaskRecord, now: Timestamp) -> sqlx::Result<()> {
    if record.disconnected_at.is_some() {
        return Ok(());
    }
    let marked = mark(tx, record.task.id, Some(now), now).await?;
    tell(tx, &marked, "disconnected", kind::TASK_DISCONNECTED, now);
    Ok(())
}

/// A worker that was not heard of is back with its attempt.
#[derive(Debug, Clone)]
pub struct MarkReconnected {
    /// The task.
    pub task: TaskId,
    /// The attempt.
    pub attempt: u64,
    /// When.
    pub now: Timestamp,
}

impl Write for MarkReconnected {
    const NAME: &'static str = "mark_reconnected";
    type Output = ();

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<()> {
        let Some(record) = tx.task(self.task).await? else { return Ok(()) };
        if record.held && record.task.attempt == self.attempt {
            reconnect(tx, &record, self.now).await?;
        }
        Ok(())
    }
}

/// Takes the mark of a lost worker off a held task; answers whether there was one, for the caller's count of entries.
pub(in crate::store) async fn reconnect(tx: &mut Tx<'_>, record: &TaskRecord, now: Timestamp) -> sqlx::Result<bool> {
    if record.disconnected_at.is_none() {
        return Ok(false);
    }
    let marked = mark(tx, record.task.id, None, now).await?;
    tell(tx, &marked, "reconnected", kind::TASK_RECONNECTED, now);
    Ok(true)
}

async fn mark(tx: &mut Tx<'_>, task: TaskId, disconnected_at: Option<Timestamp>, now: Timestamp) -> sqlx::Result<TaskRecord> {
    let marked = tx.change_task(task, |record| {
        record.disconnected_at = disconnected_at;
        record.task.entries += 1;
        record.task.updated_at = now;
    });
    marked.await
}

fn tell(tx: &mut Tx<'_>, record: &TaskRecord, state: &str, kind: &'static str, at: Timestamp) {
    let task = &record.task;
    let worker = record.holder.as_ref().map(ToString::to_string);
    let note = StatusNote { state: state.to_owned(), worker, ..StatusNote::default() };
    tx.note(task.id, task.entries, task.attempt, at, EntryKind::Status, &note);
    let data = json!({ "worker_id": record.holder, "attempt": task.attempt });
    tx.event(NewEvent { kind, subject: format!("tasks/{}", task.id), at, data });
    tx.wake(Wake::Task(task.id));
}

/// Ends a task that has not ended by its deadline: one in the queue fails at once, a running one is canceled by its worker first.
#[derive(Debug, Clone)]
pub struct EndOverdueTask {
    /// Which.
    pub task: TaskId,
    /// How long a lost worker is waited for.
    pub lease_ms: u64,
    /// When.
    pub now: Timestamp,
}

impl Write for EndOverdueTask {
    const NAME: &'static str = "end_overdue_task";
    type Output = ();

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<()> {
        let Some(record) = tx.task(self.task).await? else { return Ok(()) };
        if record.task.state.is_terminal() || record.task.deadline.is_none_or(|deadline| deadline > self.now) {
            return Ok(());
        }
        if record.held {
            CancelTask { task: self.task, lease_ms: self.lease_ms, now: self.now }.apply(tx).await?;
        } else {
            let end = End::overdue();
            FinishTask { record: &record, end, now: self.now }.apply(tx).await?;
        }
        Ok(())
    }
}
