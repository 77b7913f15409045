//! Giving waiting tasks to machines of peers.

use super::row::Columns as _;
use super::sql::statements;
use super::tasks::TaskRecord;
use super::tx::NewEvent;
use super::{ReadAhead, Store, StoreError, Tx, Write};
use crate::events::Wake;
use muster_protocol::event::kind;
use muster_protocol::ids::{TaskId, WorkerId};
use muster_protocol::stream::{EntryKind, StatusNote};
use muster_protocol::task::{Task, TaskState};
use muster_protocol::time::Timestamp;
use serde_json::Value;

statements! {
    WAITING: "SELECT id FROM tasks WHERE state = 'submitted' AND held = 0 AND target_worker = '' AND target_codebase = '' AND not_before <= $1
        ORDER BY priority DESC, id LIMIT $2";
}

impl Store {
    /// The tasks that any worker may take and none has taken.
    ///
    /// # Errors
    /// Of the database.
    pub async fn waiting_for_anybody(&self, now: Timestamp, limit: u32) -> Result<Vec<Task>, StoreError> {
        let rows = WAITING.on(self.dialect()).bind(now.0).bind(i64::from(limit)).fetch_all(self.readers()).await?;
        let mut tasks = Vec::new();
        for row in rows {
            tasks.extend(self.task(row.parsed("id")?).await?.map(|record| record.task));
        }
        Ok(tasks)
    }
}

/// Gives a waiting task to a machine of a peer. Whoever took it meanwhile keeps it.
#[derive(Debug, Clone)]
pub struct ForwardTask {
    /// The task.
    pub task: TaskId,
    /// What holds the tasks of that machine.
    pub to: WorkerId,
    /// What is said of it in the task's stream.
    pub said: String,
    /// What the event says.
    pub data: Value,
    /// When.
    pub now: Timestamp,
}

impl Write for ForwardTask {
    const NAME: &'static str = "forward_task";
    type Output = ();

    fn reads(&self, ahead: &mut ReadAhead) {
        ahead.tasks.push(self.task);
    }

    async fn apply<'a>(&'a self, tx: &'a mut Tx<'_>) -> sqlx::Result<()> {
        let waits = |record: &TaskRecord| record.task.state == TaskState::Submitted && !record.held && record.target_worker.is_none();
        if !tx.task(self.task).await?.is_some_and(|record| waits(&record)) {
            return Ok(());
        }
        let changed = tx.change_task(self.task, |record| {
            record.target_worker = Some(self.to.clone());
            record.task.entries += 1;
            record.task.updated_at = self.now;
        });
        let record = changed.await?;
        let note =
            StatusNote { state: TaskState::Submitted.as_str().to_owned(), message: Some(self.said.clone()), ..StatusNote::default() };
        tx.note(self.task, record.task.entries, record.task.attempt, self.now, EntryKind::Status, &note);
        let subject = format!("tasks/{}", self.task);
        tx.event(NewEvent { kind: kind::TASK_FORWARDED, subject, at: self.now, data: self.data.clone() });
        tx.wake(Wake::Task(self.task));
        tx.wake(Wake::Worker(self.to.clone()));
        Ok(())
    }
}
