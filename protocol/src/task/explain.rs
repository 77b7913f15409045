//! Why a task waits.

use super::TaskState;
use crate::ids::{TaskId, WorkerId};
use serde::{Deserialize, Serialize};

/// `GET /v1/opencode/tasks/{id}/explain`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Explanation {
    /// The task.
    pub task_id: TaskId,
    /// Its state.
    pub state: TaskState,
    /// The answer in a sentence.
    pub summary: String,
    /// What holds it back whichever worker is looked at, for example `not_before`.
    pub blockers: Vec<Blocker>,
    /// Every worker considered.
    pub workers: Vec<WorkerVerdict>,
}

/// A condition that fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Blocker {
    /// A stable word.
    #[cfg_attr(feature = "openapi", schema(example = "codebase_busy"))]
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

/// One worker and why it does not take a task; an empty list means it would.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkerVerdict {
    /// The worker.
    pub worker_id: WorkerId,
    /// Its name.
    pub name: String,
    /// The conditions that fail.
    pub blockers: Vec<Blocker>,
}
