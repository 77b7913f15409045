//! Tasks: pieces of work. A task is the A2A Task; there is no second kind.

use crate::codebase::Codebase;
use crate::ids::{CodebaseId, ContextId, InstanceId, PrincipalId, SessionId, TaskId, WorkerId};
use crate::keyword::keywords;
use crate::stream::FileChange;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The states of a task: A2A's. The last four are terminal and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum TaskState {
    /// Accepted, durable, waiting for a worker.
    Submitted,
    /// A worker has it.
    Working,
    /// It waits for an answer.
    InputRequired,
    /// It waits for a credential.
    AuthRequired,
    /// It ended well.
    Completed,
    /// It ended with an error.
    Failed,
    /// It was canceled.
    Canceled,
    /// It was not accepted.
    Rejected,
}

impl TaskState {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Submitted,
        Self::Working,
        Self::InputRequired,
        Self::AuthRequired,
        Self::Completed,
        Self::Failed,
        Self::Canceled,
        Self::Rejected,
    ];

    /// Whether the state never changes again.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Canceled | Self::Rejected)
    }

    /// The word as it goes over the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Submitted => "submitted",
            Self::Working => "working",
            Self::InputRequired => "input-required",
            Self::AuthRequired => "auth-required",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Rejected => "rejected",
        }
    }

    /// The state of a word; `None` if there is none.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// How the `/v1/opencode` routes show the state.
    #[must_use]
    pub fn status(self) -> TaskStatus {
        match self {
            Self::Submitted => TaskStatus::Pending,
            Self::Working => TaskStatus::Running,
            Self::InputRequired | Self::AuthRequired => TaskStatus::Waiting,
            Self::Completed => TaskStatus::Completed,
            Self::Failed | Self::Rejected => TaskStatus::Failed,
            Self::Canceled => TaskStatus::Cancelled,
        }
    }
}

impl std::fmt::Display for TaskState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

keywords! {
    /// A task's state as the `/v1/opencode` routes show it. As a filter, `assigned` means `running`.
    TaskStatus {
        /// Waiting for a worker.
        Pending = "pending",
        /// A worker has it.
        Running = "running",
        /// It waits for an answer or a credential.
        Waiting = "waiting",
        /// It ended well.
        Completed = "completed",
        /// It ended with an error, or was rejected.
        Failed = "failed",
        /// It was canceled.
        Cancelled = "cancelled",
    }
}

impl TaskStatus {
    /// The states that show as this status; empty for an unknown word.
    #[must_use]
    pub fn states(&self) -> Vec<TaskState> {
        let wanted = if self.as_str() == "assigned" { &Self::Running } else { self };
        TaskState::ALL.into_iter().filter(|state| state.status() == *wanted).collect()
    }
}

/// What happens to a started attempt whose worker is lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum OnLost {
    /// Nobody else gets the task; it waits for the worker and fails after `lost_after`.
    #[default]
    Wait,
    /// As `wait`; a worker that is back without the run continues the session with a new prompt.
    Resume,
    /// After the lease another worker may take it.
    Restart,
}

impl OnLost {
    /// The word as it goes over the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Resume => "resume",
            Self::Restart => "restart",
        }
    }

    /// The policy of a word; `None` if there is none.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Wait, Self::Resume, Self::Restart].into_iter().find(|policy| policy.as_str() == word)
    }
}

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
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
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

keywords! {
    /// What a worker says of an attempt with `PUT /v1/opencode/tasks/{id}/status`.
    ReportedStatus {
        /// It is started; from a plain worker this is the claim.
        Running = "running",
        /// It ended well.
        Completed = "completed",
        /// It ended with an error.
        Failed = "failed",
        /// The cancel was carried out: the run is aborted, its processes are gone.
        Cancelled = "cancelled",
        /// It was not started and is handed back.
        Pending = "pending",
        /// It was started and the run is gone, for example after a crash; the task's `on_lost` decides.
        Interrupted = "interrupted",
    }
}

/// `PUT /v1/opencode/tasks/{id}/status`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReportStatus {
    /// What happened.
    pub status: ReportedStatus,
    /// Who says so.
    pub worker_id: WorkerId,
    /// Its start of the daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    /// The attempt; the holder's current one if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u64>,
    /// The answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The stable code of the failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// The OpenCode session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// Tokens and cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// The files it changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<FileChange>,
    /// How many entries the attempt has; if the server has fewer it answers 409 `gap` and nothing changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries: Option<u64>,
    /// [`crate::digest::OutputDigest::bytes`] of the attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// [`crate::digest::OutputDigest::hash`] of the attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
}

/// The answer to [`ReportStatus`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StatusReported {
    /// Always true.
    pub success: bool,
    /// The task as it is now.
    pub task: Task,
}

/// An attempt given to a worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Assignment {
    /// The task.
    pub task: Task,
    /// The number that every write under this attempt names.
    pub attempt: u64,
    /// Where to run it. Absent where the mode needs no codebase.
    pub codebase: Option<Codebase>,
    /// The session to continue; a new one if absent.
    #[serde(default)]
    pub session_id: Option<SessionId>,
    /// The session holds an interrupted run of this task: continue it instead of giving the prompt again.
    #[serde(default)]
    pub continuation: bool,
    /// The run must have been stopped when no renewal was answered for this long; no such limit if absent.
    #[serde(default)]
    pub stop_after_ms: Option<u64>,
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

#[cfg(test)]
mod tests {
    use super::{TaskState, TaskStatus};

    #[test]
    fn every_state_is_found_by_its_word_and_shown_as_one_status() {
        for state in TaskState::ALL {
            assert_eq!(TaskState::from_word(state.as_str()), Some(state));
            assert!(state.status().states().contains(&state));
        }
    }

    #[test]
    fn assigned_is_accepted_as_running() {
        assert_eq!(TaskStatus::from("assigned").states(), vec![TaskState::Working]);
        assert!(TaskStatus::from("nonsense").states().is_empty());
    }
}
