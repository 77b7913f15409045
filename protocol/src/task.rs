//! Tasks: pieces of work. A task is the A2A Task; there is no second kind.

mod earlier;
mod explain;
mod report;
mod state;

pub use earlier::{CreateCodebaseTask, OutputItem, PostOutput, TaskCreated, TaskOutput};
pub use explain::{Blocker, Explanation, WorkerVerdict};
pub use report::{Assignment, ReportStatus, ReportedStatus, StatusReported};
pub use state::{OnLost, TaskState, TaskStatus};

use crate::ids::{CodebaseId, ContextId, PrincipalId, SessionId, TaskId, WorkerId};
use crate::stream::FileChange;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Where a task is to run. At most one of `codebase`, `agent` and `any`; `worker` alone means that worker's global codebase, together with
/// `codebase` it tells codebases of one name apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Target {
    /// Id or name of a codebase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codebase: Option<String>,
    /// Id or name of a worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// Name of an agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Any worker, in its global codebase.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub any: bool,
}

/// `POST /v1/opencode/tasks`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SubmitTask {
    /// What to do.
    pub prompt: String,
    /// A short title; the beginning of the prompt if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Where; any worker if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// Which model (`provider/model`); the worker's default if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Which of OpenCode's agents: `build` (default), `plan`, .. or `echo`, `noop`, which need no OpenCode.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "agent_type", alias = "agent")]
    pub mode: Option<String>,
    /// Capabilities that the worker must have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// Labels that the worker must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Higher goes first; 0 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// Not to be started before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Failed if not ended by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// The conversation that it continues; a new one if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_id: Option<ContextId>,
    /// The OpenCode session that it continues, where the conversation has none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume_session_id: Option<SessionId>,
    /// Continue a copy of that session, and leave the session itself as it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fork: bool,
    /// What happens if its worker is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_lost: Option<OnLost>,
    /// How many attempts there may be; 3 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// Anything; kept and given back.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub metadata: Map<String, Value>,
}

/// Tokens and cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Usage {
    /// Tokens read.
    #[serde(default)]
    pub input: u64,
    /// Tokens written.
    #[serde(default)]
    pub output: u64,
    /// Tokens spent on reasoning.
    #[serde(default)]
    pub reasoning: u64,
    /// Tokens read from the provider's cache.
    #[serde(default)]
    pub cache_read: u64,
    /// Tokens written to the provider's cache.
    #[serde(default)]
    pub cache_write: u64,
    /// US dollars, as OpenCode counts them.
    #[serde(default)]
    pub cost: f64,
}

/// A task as the server shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// The codebase it runs in, or `__pending__` if that is decided when a worker takes it.
    pub codebase_id: CodebaseId,
    /// Short title.
    pub title: String,
    /// What to do.
    pub prompt: String,
    /// The mode under its earlier name.
    pub agent_type: String,
    /// The mode.
    pub mode: String,
    /// The state as earlier clients know it.
    pub status: TaskStatus,
    /// The state.
    pub state: TaskState,
    /// Higher goes first.
    pub priority: i32,
    /// When it was submitted.
    pub created_at: Timestamp,
    /// When it changed last.
    pub updated_at: Timestamp,
    /// When its newest attempt was started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// The answer.
    pub result: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// The stable code of the failure.
    #[serde(default)]
    pub error_code: Option<String>,
    /// The OpenCode session it ran in.
    pub session_id: Option<SessionId>,
    /// Given with the submit.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub metadata: Map<String, Value>,
    /// The number of the newest attempt; 0 before the first.
    pub attempt: u64,
    /// Who has it, had it last, or is the only one that may take it.
    pub worker_id: Option<WorkerId>,
    /// The conversation.
    pub context_id: ContextId,
    /// The task that this one is a part of.
    #[serde(default)]
    pub parent_id: Option<TaskId>,
    /// The task that this one repeats.
    #[serde(default)]
    pub retry_of: Option<TaskId>,
    /// Where it is to run, as asked.
    #[serde(default)]
    pub target: Target,
    /// Which model, as asked.
    #[serde(default)]
    pub model: Option<String>,
    /// Capabilities that the worker must have.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// Labels that the worker must have.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What happens if its worker is lost.
    #[serde(default)]
    pub on_lost: OnLost,
    /// How many attempts there may be.
    #[serde(default)]
    pub max_attempts: u32,
    /// Not to be started before.
    #[serde(default)]
    pub not_before: Option<Timestamp>,
    /// Failed if not ended by then.
    #[serde(default)]
    pub deadline: Option<Timestamp>,
    /// Who submitted it.
    #[serde(default = "unknown_owner")]
    pub owner: PrincipalId,
    /// Tokens and cost.
    #[serde(default)]
    pub usage: Option<Usage>,
    /// The files it changed.
    #[serde(default)]
    pub changes: Vec<FileChange>,
    /// Whether its worker has not been heard of for longer than the lease.
    #[serde(default)]
    pub disconnected: bool,
    /// Whether a cancel is on its way to the worker.
    #[serde(default)]
    pub cancel_requested: bool,
    /// Whether the worker confirmed that the canceled run and its processes are gone; none unless canceled.
    #[serde(default)]
    pub confirmed: Option<bool>,
    /// Whether the stored output is byte for byte what the worker sent; none until it ended, or if the worker did not say.
    #[serde(default)]
    pub verified: Option<bool>,
    /// How many entries its stream has.
    #[serde(default)]
    pub entries: u64,
}

fn unknown_owner() -> PrincipalId {
    PrincipalId::from("unknown")
}

/// `codebase_id` of a task whose codebase is decided when a worker takes it.
pub const PENDING_CODEBASE: &str = "__pending__";

/// The modes that need no OpenCode.
pub mod builtin_mode {
    /// Answers with its prompt.
    pub const ECHO: &str = "echo";
    /// Answers nothing.
    pub const NOOP: &str = "noop";
    /// Completed by the worker that has the path in `metadata.path`.
    pub const REGISTER_CODEBASE: &str = "register_codebase";

    /// Whether a mode needs no OpenCode.
    #[must_use]
    pub fn contains(mode: &str) -> bool {
        [ECHO, NOOP, REGISTER_CODEBASE].contains(&mode)
    }
}

/// `POST /v1/opencode/tasks/{id}/cancel`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CancelAnswer {
    /// Whether the task is canceled or will be.
    pub success: bool,
    /// What happens now, for people.
    pub message: String,
    /// Whether nothing of it runs any more.
    pub confirmed: bool,
    /// The task as it is now.
    pub task: Task,
}
