//! Tasks as earlier clients submit them and read their output.

use super::Task;
use crate::ids::{TaskId, WorkerId};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// `GET /v1/opencode/tasks/{id}/output`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskOutput {
    /// The task.
    pub task_id: TaskId,
    /// From number `since` on.
    pub outputs: Vec<OutputItem>,
    /// How many there are in all.
    pub total: u64,
}

/// One piece of output as earlier clients read it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OutputItem {
    /// The text.
    pub output: String,
    /// When.
    pub timestamp: Timestamp,
    /// From whom.
    pub worker_id: Option<WorkerId>,
}

/// `POST /v1/opencode/codebases/{id}/tasks`, as earlier clients send it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateCodebaseTask {
    /// A short title.
    pub title: String,
    /// What to do.
    pub prompt: String,
    /// The mode; `build` if absent.
    #[serde(default)]
    pub agent_type: Option<String>,
    /// Higher goes first.
    #[serde(default)]
    pub priority: Option<i32>,
    /// `model` and `resume_session_id` are read, all is kept.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub metadata: Option<Map<String, Value>>,
}

/// The answer to [`CreateCodebaseTask`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskCreated {
    /// Always true.
    pub success: bool,
    /// The task.
    pub task: Task,
}

/// `POST /v1/opencode/tasks/{id}/output`, as plain workers send it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PostOutput {
    /// From whom.
    pub worker_id: WorkerId,
    /// The text.
    pub output: String,
    /// When; now if absent.
    #[serde(default)]
    pub timestamp: Option<Timestamp>,
}
