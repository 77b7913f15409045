//! Giving waiting tasks to machines of peers.

use super::row::{Columns as _, to_json};
use super::sql::statements;
use super::submit::FORWARDED_KEY;
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
    // Not those of a conversation whose turn before may yet say where it is.
    WAITING: "SELECT id FROM tasks t WHERE state = 'submitted' AND held = 0 AND target_worker = '' AND target_codebase = '' AND not_before <= $1
        AND NOT EXISTS (SELECT 1 FROM tasks e WHERE e.context_id = t.context_id AND e.completed_at IS NULL AND e.id < t.id)
        ORDER BY priority DESC, id LIMIT $2";
    METADATA: "UPDATE tasks SET metadata = $2 WHERE id = $1";
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
        let Some(record) = tx.task(self.task).await?.filter(waits) else { return Ok(()) };
        tx.lead_context(&record.task.context_id, &self.to, self.now).await?;
        let mut metadata = record.task.metadata;
        metadata.insert(FORWARDED_KEY.to_owned(), self.data.clone());
        tx.execute(METADATA.on(tx.dialect()).bind(self.task.to_string()).bind(to_json(&metadata))).await?;
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
