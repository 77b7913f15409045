//! Canceling a task.

use super::super::tx::NewEvent;
use super::super::{ReadAhead, Tx, Write};
use super::end::{End, FinishTask};
use crate::domain::cancel::{CancelDecision, decide};
use crate::events::Wake;
use muster_protocol::event::kind;
use muster_protocol::ids::TaskId;
use muster_protocol::stream::{EntryKind, StatusNote};
use muster_protocol::task::{Task, TaskState};
use muster_protocol::time::Timestamp;
use serde_json::json;

/// Asks for a task to be canceled.
#[derive(Debug, Clone)]
pub struct CancelTask {
    /// Which.
    pub task: TaskId,
    /// How long a lost worker is waited for.
    pub lease_ms: u64,
    /// When.
    pub now: Timestamp,
}

/// What became of it.
#[derive(Debug, Clone)]
pub enum CancelOutcome {
    /// There is no such task.
    NotFound,
    /// It is canceled.
    Canceled(Box<Task>),
    /// Its worker has been asked to stop it.
    Asked(Box<Task>),
    /// It had ended before.
    Terminal(Box<Task>),
}

impl Write for CancelTask {
    const NAME: &'static str = "cancel_task";
    type Output = CancelOutcome;

    fn reads(&self, ahead: &mut ReadAhead) {
        ahead.tasks.push(self.task);
    }

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<CancelOutcome> {
        let Some(record) = tx.task(self.task).await? else { return Ok(CancelOutcome::NotFound) };
        let asked = record.cancel_asked_at.map(|asked| self.now.since(asked));
        // A reservation is no attempt yet.
        let held = (record.held && record.task.state != TaskState::Submitted) || record.is_coordination();
        let decision = decide(record.task.state, held, asked, record.disconnected_at.is_some(), self.lease_ms);
        match decision {
            CancelDecision::Refuse => return Ok(CancelOutcome::Terminal(Box::new(record.task))),
            CancelDecision::AlreadyAsked => return Ok(CancelOutcome::Asked(Box::new(record.task))),
            CancelDecision::AtOnce | CancelDecision::GiveUp => {
                let confirmed = decision == CancelDecision::AtOnce;
                let end = End::by_cancel(&record, confirmed, self.now);
                FinishTask { record: &record, end, now: self.now }.apply(tx).await?;
            }
            CancelDecision::AskWorker => {
                let asked = tx.change_task(self.task, |record| {
                    record.cancel_asked_at = Some(self.now);
                    record.task.entries += 1;
                    record.task.updated_at = self.now;
                });
                let entries = asked.await?.task.entries;
                let note = StatusNote { state: "cancel-requested".to_owned(), ..StatusNote::default() };
                tx.note(self.task, entries, record.task.attempt, self.now, EntryKind::Status, &note);
                let data = json!({ "worker_id": record.holder, "attempt": record.task.attempt });
                tx.event(NewEvent { kind: kind::TASK_CANCEL_REQUESTED, subject: format!("tasks/{}", self.task), at: self.now, data });
                tx.wake(Wake::Task(self.task));
                if let Some(holder) = record.holder {
                    tx.wake(Wake::Worker(holder));
                }
            }
        }
        let task = tx.task(self.task).await?.ok_or(sqlx::Error::RowNotFound)?.task;
        Ok(if decision == CancelDecision::AskWorker {
            CancelOutcome::Asked(Box::new(task))
        } else {
            CancelOutcome::Canceled(Box::new(task))
        })
    }
}
