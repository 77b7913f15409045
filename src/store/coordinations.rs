//! Coordinations: tasks of this server's coordinator whose parts are tasks of their own.

use super::sql::statements;
use super::tasks::{TaskRecord, columns};
use super::{Store, StoreError};
use muster_protocol::ids::TaskId;

/// In the metadata of a coordination: its plan.
pub const PLAN_KEY: &str = "coordination";

statements! {
    CHILDREN: concat!("SELECT ", columns!(), " FROM tasks WHERE parent_id = $1 ORDER BY id LIMIT 1000");
    // The mode is that of what this server answers itself, and spelled out so that the index serves.
    ANSWERING: concat!("SELECT ", columns!(), " FROM tasks WHERE mode = 'message' AND completed_at IS NULL AND state = 'working' ORDER BY id");
}

impl TaskRecord {
    /// Whether it is a coordination. It ends with its parts, so that a cancel is the coordinator's to carry out.
    #[must_use]
    pub fn is_coordination(&self) -> bool {
        self.is_own() && self.task.metadata.contains_key(PLAN_KEY)
    }
}

impl Store {
    /// The tasks that are parts of a task, oldest first.
    ///
    /// # Errors
    /// Of the database.
    pub async fn children(&self, parent: TaskId) -> Result<Vec<TaskRecord>, StoreError> {
        let rows = CHILDREN.on(self.dialect()).bind(parent.to_string()).fetch_all(self.readers()).await?;
        Ok(rows.iter().map(TaskRecord::read).collect::<sqlx::Result<_>>()?)
    }

    /// The coordinations that have not ended.
    ///
    /// # Errors
    /// Of the database.
    pub async fn open_coordinations(&self) -> Result<Vec<TaskRecord>, StoreError> {
        let rows = ANSWERING.on(self.dialect()).fetch_all(self.readers()).await?;
        let mut open = rows.iter().map(TaskRecord::read).collect::<sqlx::Result<Vec<_>>>()?;
        open.retain(TaskRecord::is_coordination);
        Ok(open)
    }
}
